"""What is checked: our engine, or any runtime with an OCI command line."""
