"""Foreign text made safe to show in a message: short, on one line, without control characters."""


def quoted(text: object, limit: int = 100) -> str:
    """Return ``text`` in quotes, control characters escaped, cut to ``limit`` characters."""
    shown = ascii(text if isinstance(text, str) else str(text))
    return shown if len(shown) <= limit else shown[: limit - 4] + "...'"
