"""One module per operation: its options as a dataclass, its story as ``run``. No printing, no SQL, no byte offsets."""
