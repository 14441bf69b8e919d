"""Kernel constants, one module per header family, with the header and the first kernel version of each."""
