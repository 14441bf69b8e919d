"""The invariants of the wall, tried from outside on the user's own host."""
