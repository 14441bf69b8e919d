"""Why a container failed: what its end, its limits, its output and, if it was watched, its system calls tell."""
