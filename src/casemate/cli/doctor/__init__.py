"""What this host can do: one small check per subject."""
