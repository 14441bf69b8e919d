"""casemate-oci: an OCI runtime with runc's command line."""
