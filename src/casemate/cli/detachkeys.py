"""The key sequence that leaves a container running."""

from __future__ import annotations

CTRL_P, CTRL_Q = 0x10, 0x11
DEFAULT_SEQUENCE = bytes((CTRL_P, CTRL_Q))


class DetachKeys:
    """Finds the sequence in what is typed; keys that only began it are passed on.

    Source: moby/term EscapeProxy.
    """

    __slots__ = ("held", "sequence")

    def __init__(self, sequence: bytes = DEFAULT_SEQUENCE) -> None:
        self.sequence = sequence
        self.held = b""

    def feed(self, typed: bytes) -> tuple[bytes, bool]:
        """Return what to pass on of ``typed``.

        And whether the sequence was completed (what followed it is dropped).
        """
        if not self.sequence:
            return typed, False
        passed = b""
        for i in range(len(typed)):
            self.held += typed[i : i + 1]
            while not self.sequence.startswith(self.held):
                passed, self.held = passed + self.held[:1], self.held[1:]
            if self.held == self.sequence:
                self.held = b""
                return passed, True
        return passed, False
