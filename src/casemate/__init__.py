"""casemate: secure Linux containers behind a wall whose thickness you choose."""

__version__ = "0.1.0"
