"""Redo log layouts: headers, checkpoints, where an LSN lies, and logs rebuilt from a raw window."""
