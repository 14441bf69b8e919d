"""Other ways on older kernels, each module with the version from which on it can go."""
