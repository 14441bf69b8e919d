"""The program of `run`, `create` and `exec`, seen from our command line: what it gets, and how we follow it."""
