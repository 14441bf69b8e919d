"""Commands of the noun system."""
