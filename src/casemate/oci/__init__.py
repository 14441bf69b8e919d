"""Vocabulary of the OCI specifications."""
