"""How results and progress look."""
