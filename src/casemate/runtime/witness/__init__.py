"""Watching a container to learn why it fails: system calls that end in an error are counted, nothing is changed."""
