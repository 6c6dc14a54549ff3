"""InnoDB tablespace files: geometry from page 0, checksums of pages."""
