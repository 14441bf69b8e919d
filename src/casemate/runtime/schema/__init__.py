"""The runtime-spec's configuration as data, and the two readers of that data: one quick, one that explains."""
