"""The life of a container: create, start, attach, exec, stop, remove, recover."""
