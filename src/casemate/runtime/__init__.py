"""The OCI runtime: plan, then enter."""
