"""Names and numbers of signals, without the signal module's enum."""

from __future__ import annotations

from casemate.errors import Invalid

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal as _signal
else:
    import _signal  # the C module: `signal` turns every name into an enum first

_REALTIME_MIN, _REALTIME_MAX = 34, 64
_NUMBERS = {
    name: value
    for name, value in vars(_signal).items()
    if name.startswith("SIG") and not name.startswith("SIG_") and isinstance(value, int)
}


def signal_number(text: str | int) -> int:
    """The number of ``15``, ``"15"``, ``"TERM"``, ``"SIGTERM"`` or ``"RTMIN+3"``. Raises: Invalid."""
    word = str(text).upper()
    if word.isascii() and word.isdigit() and len(word) <= 2 and 0 < int(word) <= _REALTIME_MAX:  # noqa: PLR2004
        return int(word)
    name = word if word.startswith("SIG") else f"SIG{word}"
    if name in _NUMBERS:
        return _NUMBERS[name]
    for edge, start, sign in (("SIGRTMIN+", _REALTIME_MIN, 1), ("SIGRTMAX-", _REALTIME_MAX, -1)):
        rest = name.removeprefix(edge)
        if rest != name and rest.isdigit() and len(rest) <= 2 and int(rest) <= _REALTIME_MAX - _REALTIME_MIN:  # noqa: PLR2004
            return start + sign * int(rest)
    raise Invalid("send signal", repr(text), "no such signal", hint="for example TERM, SIGHUP or 9")
