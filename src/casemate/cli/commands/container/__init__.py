"""Commands of the noun container."""
