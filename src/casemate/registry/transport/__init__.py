"""One module for each place that images are read from and written to."""
