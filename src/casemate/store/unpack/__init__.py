"""The confined worker: archives become directories, and users' trees are handled inside their id map."""
