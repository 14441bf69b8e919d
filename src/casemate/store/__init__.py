"""Content, snapshots and metadata."""
