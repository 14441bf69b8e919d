"""Verbs about the control group of a container."""
