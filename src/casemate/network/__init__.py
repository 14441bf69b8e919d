"""How network namespaces are furnished."""
