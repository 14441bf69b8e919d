"""`pause`, `resume` and `ps`: what the control group of a container tells and does."""

from __future__ import annotations

import os
import sys

from casemate.errors import Conflict, Internal, Invalid, Unsupported
from casemate.oci.quick_json import dumps
from casemate.runtime.cli.args import VALUE, parse
from casemate.runtime.cli.record import load_record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from casemate.cgroups.manager import Cgroup
    from casemate.runtime.cli.args import Arguments
    from casemate.runtime.cli.main import Settings
    from casemate.runtime.cli.record import Record

OPTIONS_OF = {"pause": {}, "resume": {}, "ps": {"format": VALUE}}
SHORT = {"f": "format"}


def open_group(settings: Settings, arguments: Arguments) -> tuple[Record, Cgroup]:
    """Return a container that has not ended, and its control group. Raises: NotFound, Conflict, Unsupported."""
    record = load_record(settings.root, arguments.operands[0])
    if not record.is_alive():
        raise Conflict("use control group", record.id, "container not running")
    group = record.cgroup()
    if group is None:
        raise Unsupported(
            "use control group",
            record.id,
            "the container has none",
            hint="an ordinary user needs a delegated group: casemate doctor says how",
        )
    return record, group


def pause(settings: Settings, words: list[str]) -> int:
    """Freeze every process of a container."""
    arguments = parse(words, OPTIONS_OF["pause"], {})
    arguments.expect(1, 1)
    record, group = open_group(settings, arguments)
    if group.is_frozen():
        raise Conflict("pause container", record.id, "it is paused already")
    group.freeze()
    return 0


def resume(settings: Settings, words: list[str]) -> int:
    """Let a frozen container go on."""
    arguments = parse(words, OPTIONS_OF["resume"], {})
    arguments.expect(1, 1)
    record, group = open_group(settings, arguments)
    if not group.is_frozen():
        raise Conflict("resume container", record.id, "container not paused")
    group.thaw()
    return 0


def ps(settings: Settings, words: list[str]) -> int:
    """Show the processes: a JSON list of pids, or what the ps program says of them."""
    arguments = parse(words, OPTIONS_OF["ps"], SHORT)
    arguments.expect(1)
    form = arguments.value("format", "table")
    if form not in ("table", "json"):
        raise Invalid("read command line", f"--format {form}", "it is table or json")
    record = load_record(settings.root, arguments.operands[0])
    pids = _members(record)
    if form == "json":
        sys.stdout.write(dumps(sorted(pids)) + "\n")
        return 0
    from casemate.kernel.process import find_helper, run_helper

    program = find_helper("ps")
    if program is None:
        raise Unsupported("show processes", "ps", "it is not installed", hint="use --format json")
    code, text = run_helper(program, ["ps", *(arguments.operands[1:] or ["-ef"])], limit_bytes=4 << 20)
    if code:
        raise Internal(
            "show processes", " ".join(arguments.operands[1:]), text.strip() or f"ps returned {code}"
        )
    sys.stdout.write(_filter(text, {str(pid) for pid in pids}))
    return 0


def _members(record: Record) -> list[int]:
    """Return the processes: those of the group, or without one those of the container's own pid namespace."""
    group = record.cgroup()
    if group is not None and (pids := group.pids()):
        return pids
    if not record.is_alive():
        return []
    from casemate.kernel.procfs import process_ids

    inside, own = _pid_namespace(record.pid), _pid_namespace("self")
    if inside == own:
        return [record.pid]
    return [pid for pid in process_ids() if _pid_namespace(pid) == inside]


def _pid_namespace(pid: int | str) -> str:
    try:
        return os.readlink(f"/proc/{pid}/ns/pid")
    except OSError:  # it has ended, or is somebody else's
        return ""


def _filter(text: str, pids: set[str]) -> str:
    lines = text.splitlines(keepends=True)
    titles = lines[0].split() if lines else []
    if "PID" not in titles:
        raise Invalid("show processes", "", "the output of ps has no PID column", hint="add pid to its -o")
    column = titles.index("PID")
    kept = [line for line in lines[1:] if len(line.split()) > column and line.split()[column] in pids]
    return lines[0] + "".join(kept)
