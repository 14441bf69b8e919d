"""Protocols and value types that the rooms share; no code to run."""
