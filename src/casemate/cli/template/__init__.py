"""Docker's --format: the part of Go's text/template that people use."""
