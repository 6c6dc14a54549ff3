"""A live server: sessions, locks, log position, files, and processes that we start ourselves.

Knows MySQL and MariaDB through ``dialect``; knows nothing of backups, images or where they are kept.
"""
