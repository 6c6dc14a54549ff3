"""From an image to a data directory: files laid down in one pass, then the server's own crash recovery."""
