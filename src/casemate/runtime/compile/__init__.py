"""OCI runtime-spec -> plan, one module per subject of the specification."""
