"""The checks: small functions that say what held, or raise what did not."""
