"""Commands of the noun image."""
