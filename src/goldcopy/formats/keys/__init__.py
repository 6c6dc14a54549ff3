"""MySQL's keys: the files that keep them, and what was encrypted with them. AES comes from ``cryptography``."""
