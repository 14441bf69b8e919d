"""`update`: other limits for a running container. A limit that fails takes back those that were set before it."""

from __future__ import annotations

import sys

from casemate.errors import CasemateError, Invalid, Unsupported
from casemate.runtime.cli.args import VALUE, parse
from casemate.runtime.cli.group.resources import open_group
from casemate.runtime.cli.main import warn
from casemate.runtime.cli.record import read_file

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from casemate.cgroups.manager import Cgroup
    from casemate.runtime.cli.args import Arguments
    from casemate.runtime.cli.main import Settings
    from casemate.runtime.cli.record import Record

# option of runc -> (object of linux.resources, key)
_NUMBERS = {
    "blkio-weight": ("blockIO", "weight"),
    "cpu-burst": ("cpu", "burst"),
    "cpu-idle": ("cpu", "idle"),
    "cpu-period": ("cpu", "period"),
    "cpu-quota": ("cpu", "quota"),
    "cpu-rt-period": ("cpu", "realtimePeriod"),
    "cpu-rt-runtime": ("cpu", "realtimeRuntime"),
    "cpu-share": ("cpu", "shares"),
    "pids-limit": ("pids", "limit"),
}
_SIZES = {
    "kernel-memory": ("memory", "kernel"),
    "kernel-memory-tcp": ("memory", "kernelTCP"),
    "memory": ("memory", "limit"),
    "memory-reservation": ("memory", "reservation"),
    "memory-swap": ("memory", "swap"),
}
_TEXTS = {"cpuset-cpus": ("cpu", "cpus"), "cpuset-mems": ("cpu", "mems")}
_REFUSED = ("l3-cache-schema", "mem-bw-schema")
OPTIONS = dict.fromkeys([*_NUMBERS, *_SIZES, *_TEXTS, *_REFUSED, "resources"], VALUE)
SHORT = {"r": "resources"}
_MULTIPLES = "kmgtp"
_LIMIT = 1 << 20
_INT64 = 1 << 63


def update(settings: Settings, words: list[str]) -> int:
    """Change limits, given as options or as a JSON file (--resources, - for standard input)."""
    arguments = parse(words, OPTIONS, SHORT)
    arguments.expect(1, 1)
    path = arguments.value("resources")
    resources = _read(path) if path else _from_options(arguments)
    record, group = open_group(settings, arguments)
    absent = _apply(record, group, resources, strict=not settings.rootless)
    warn(settings, [f"{name} could not be limited" for name in absent])
    return 0


def _read(path: str) -> dict[str, Any]:
    raw = sys.stdin.buffer.read(_LIMIT + 1) if path == "-" else read_file(path)
    if len(raw) > _LIMIT:
        raise Invalid("read --resources", path, "it is larger than 1 MiB")
    from casemate.runtime.schema.check import check_resources
    from casemate.runtime.schema.document import read

    resources: dict[str, Any] = read(raw, what=path)
    check_resources(resources, what=path)
    return resources


def _from_options(arguments: Arguments) -> dict[str, Any]:
    for option in _REFUSED:
        if arguments.value(option):
            raise Unsupported("update container", f"--{option}", "resctrl is not managed")
    resources: dict[str, Any] = {}
    for table, read in ((_NUMBERS, _number), (_SIZES, parse_size), (_TEXTS, _text)):
        for option, (name, key) in table.items():
            if option in arguments.values:
                resources.setdefault(name, {})[key] = read(option, arguments.value(option))
    return resources


def _apply(record: Record, group: Cgroup, resources: dict[str, Any], *, strict: bool) -> list[str]:
    """Set the limits and remember them; return the names of those that cannot be set here."""
    before = record.data.get("resources") or (record.spec().get("linux") or {}).get("resources") or {}
    before = {name: value for name, value in before.items() if name != "devices"}
    try:
        absent = group.apply(resources, strict=strict)
    except CasemateError as failure:
        try:
            group.apply(before)
        except CasemateError as error:
            failure.hint = failure.hint or f"the limits from before could not be set again: {error}"
        raise
    record.data["resources"] = _merged(before, resources)
    record.save()
    return absent


def _merged(before: dict[str, Any], after: dict[str, Any]) -> dict[str, Any]:
    merged = dict(before)
    for name, value in after.items():
        old = merged.get(name)
        merged[name] = {**old, **value} if isinstance(old, dict) and isinstance(value, dict) else value
    return merged


def _number(option: str, text: str) -> int:
    digits = text.removeprefix("-")
    if not (digits.isascii() and digits.isdigit()) or int(digits) >= _INT64:
        raise Invalid("read command line", f"--{option} {text}", "it is not a number")
    return int(text)


def parse_size(option: str, text: str) -> int:
    """Return bytes of "-1", "1048576", "512m", "1.5GiB": binary multiples. Raises: Invalid."""
    if text == "-1":
        return -1
    digits = text.lower().removesuffix("b").removesuffix("i").rstrip()
    power = _MULTIPLES.find(digits[-1:]) + 1 if digits else 0
    digits = digits[:-1].rstrip() if power else digits
    whole, dot, part = digits.partition(".")
    if not all(item.isascii() and item.isdigit() for item in ([whole, part] if dot else [whole])):
        raise Invalid(
            "read command line", f"--{option} {text}", "it is not a size", hint="as in 512m or 1073741824"
        )
    unit = 1 << 10 * power
    size: int = int(whole) * unit + int(part or 0) * unit // 10 ** len(part)
    if size >= _INT64:
        raise Invalid("read command line", f"--{option} {text}", "it is too large")
    return size


def _text(_option: str, text: str) -> str:
    return text
