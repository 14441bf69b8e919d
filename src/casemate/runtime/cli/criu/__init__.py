"""Checkpoint and restore, which the program criu does."""
