"""System calls, one module per kernel subject, no policy."""
