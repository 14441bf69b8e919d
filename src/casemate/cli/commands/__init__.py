"""What each verb does: read the parsed line, one call of the engine, show the result."""
