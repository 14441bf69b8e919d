"""The rows of the verb table, one module per noun."""
