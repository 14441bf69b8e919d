"""`kill`: a signal to the first process, or with --all to every process of the container's control group."""

from __future__ import annotations

from casemate.errors import Conflict, Invalid
from casemate.kernel.pidfd import pidfd_send_signal
from casemate.runtime.cli.args import FLAG, parse
from casemate.runtime.cli.record import load_record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from casemate.runtime.cli.main import Settings
    from casemate.runtime.cli.record import Record

OPTIONS = {"all": FLAG}
SHORT = {"a": "all"}
_SIGTERM, _LAST_SIGNAL = 15, 64
_NAMES = [
    "HUP",
    "INT",
    "QUIT",
    "ILL",
    "TRAP",
    "ABRT",
    "BUS",
    "FPE",
    "KILL",
    "USR1",
    "SEGV",
    "USR2",
    "PIPE",
    "ALRM",
    "TERM",
    "STKFLT",
    "CHLD",
    "CONT",
    "STOP",
    "TSTP",
    "TTIN",
    "TTOU",
    "URG",
    "XCPU",
    "XFSZ",
    "VTALRM",
    "PROF",
    "WINCH",
    "IO",
    "PWR",
    "SYS",
]


def parse_signal(text: str) -> int:
    """Return the number of "9", "KILL", "SIGKILL", "SIGRTMIN+3"; 0 only asks whether it is there. Raises: Invalid."""
    if text.isascii() and text.isdigit() and 0 <= int(text) <= _LAST_SIGNAL:
        return int(text)
    name = text.upper().removeprefix("SIG")
    if name in _NAMES:
        return _NAMES.index(name) + 1
    for prefix, base, sign in (("RTMIN", 34, 1), ("RTMAX", 64, -1)):
        rest = name.removeprefix(prefix)
        if rest != name and (not rest or (rest[0] in "+-" and rest[1:].isdigit())):
            number = base + sign * abs(int(rest or 0))
            if (base == 34 and number <= _LAST_SIGNAL) or (base == 64 and number >= 34):  # noqa: PLR2004 - signal(7)
                return number
    raise Invalid("read signal", text, "unknown signal")


def kill(settings: Settings, words: list[str]) -> int:
    """Send a signal (default TERM) to a container."""
    arguments = parse(words, OPTIONS, SHORT)
    operands = arguments.expect(1, 2)
    signal = parse_signal(operands[1]) if len(operands) > 1 else _SIGTERM
    record = load_record(settings.root, operands[0])
    if arguments.flag("all"):
        signal_all(record, signal)
    elif not record.is_alive() or not signal_first(record, signal):
        raise Conflict("kill container", record.id, "container not running")
    return 0


def signal_first(record: Record, signal: int) -> bool:
    """Send a signal to exactly the process that was recorded; whether it was still there."""
    pidfd = record.open_first()
    if pidfd is None:
        return False
    with pidfd:
        return pidfd_send_signal(pidfd.fileno(), signal)


def signal_all(record: Record, signal: int) -> None:
    """Signal every process of the container: those of the cgroup, else the first one, which takes its pid namespace along."""
    group = record.cgroup()
    if group is not None and group.pids():
        group.signal_all(signal)
    elif record.is_alive():
        signal_first(record, signal)
