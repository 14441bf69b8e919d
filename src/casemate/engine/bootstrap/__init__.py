"""Images without a registry: made from Debian's own packages."""
