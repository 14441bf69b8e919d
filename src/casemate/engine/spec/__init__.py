"""Pure parts: from image configuration, options and profile to an OCI runtime specification."""
