"""Pure image algebra."""
