"""``linux.resources`` as properties of a systemd unit: what systemd would otherwise set back to its own idea. Pure.

Whatever has no property here is written into the control files afterwards, as without systemd; so is, again, what has one.
Source: systemd.resource-control(5), org.freedesktop.systemd1(5); the choice of properties is runc's.
"""

from __future__ import annotations

from casemate.cgroups.convert import (
    DEFAULT_PERIOD_US,
    cpu_shares_to_weight,
    parse_cpu_list,
    swap_alone,
)
from casemate.cgroups.fields import integer, line, section
from casemate.errors import Invalid

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from casemate.cgroups.devices import DeviceRules

    Property = tuple[str, tuple[str, Any]]

INFINITY = (1 << 64) - 1
NUMBERS_SINCE, PERIOD_SINCE, ALLOWED_SINCE, IDLE_SINCE, OOM_POLICY_SINCE = 240, 242, 244, 252, 253
_US_PER_S = 1_000_000
_PERCENT_US = 10_000  # systemd keeps a quota in whole per cents of a cpu

_SIZES = {
    "memory.high": "MemoryHigh",
    "memory.low": "MemoryLow",
    "memory.min": "MemoryMin",
    "memory.max": "MemoryMax",
    "memory.swap.max": "MemorySwapMax",
}


def v2_properties(resources: Mapping[str, Any], *, version: int, rules: DeviceRules | None) -> list[Property]:
    """The properties for a unit under cgroup v2; ``version`` is systemd's.

    Raises: Invalid.
    """
    memory, cpu = section(resources, "memory"), section(resources, "cpu")
    limit = integer("memory", memory, "limit") or 0
    swap = swap_alone(limit, integer("memory", memory, "swap") or 0)
    found: list[Property] = _devices(rules, version)
    for name, value in (("MemoryMax", limit), ("MemoryLow", integer("memory", memory, "reservation") or 0)):
        if value:
            found.append((name, ("t", _unsigned(value))))
    if swap is not None:
        found.append(("MemorySwapMax", ("t", _unsigned(swap))))
    idle = integer("cpu", cpu, "idle") == 1 and version >= IDLE_SINCE
    weight = cpu_shares_to_weight(integer("cpu", cpu, "shares", lowest=0) or 0)
    if idle or weight:
        found.append(("CPUWeight", ("t", 0 if idle else weight)))  # 0 is systemd's word for cpu.idle
    found += _quota(integer("cpu", cpu, "quota") or 0, integer("cpu", cpu, "period") or 0, version)
    found += _tasks(resources)
    found += _cpusets(line("cpu", cpu, "cpus"), line("cpu", cpu, "mems"), version=version)
    return _last_of_each([*found, *_unified(section(resources, "unified"), version)])


def v1_properties(resources: Mapping[str, Any], *, version: int, rules: DeviceRules | None) -> list[Property]:
    """The properties for a unit under cgroup v1.

    Raises: Invalid.
    """
    memory, cpu = section(resources, "memory"), section(resources, "cpu")
    found: list[Property] = _devices(rules, version)
    for name, value in (
        ("MemoryLimit", integer("memory", memory, "limit")),
        ("CPUShares", integer("cpu", cpu, "shares", lowest=0)),
        ("BlockIOWeight", integer("blockIO", section(resources, "blockIO"), "weight", lowest=0)),
    ):
        if value:
            found.append((name, ("t", _unsigned(value))))
    found += _quota(integer("cpu", cpu, "quota") or 0, integer("cpu", cpu, "period") or 0, version)
    found += _tasks(resources)
    found += _cpusets(line("cpu", cpu, "cpus"), line("cpu", cpu, "mems"), version=version)
    return _last_of_each(found)


def creation_properties(resources: Mapping[str, Any], version: int) -> list[Property]:
    """What systemd takes only when a unit is made."""
    group = section(resources, "unified").get("memory.oom.group")
    if version < OOM_POLICY_SINCE or group not in ("0", "1"):
        return []
    return [("OOMPolicy", ("s", "kill" if group == "1" else "continue"))]


def cpu_bits(listed: str) -> bytes:
    """A cpu or node list as systemd's bit mask, lowest number first.

    Raises: Invalid when it names none.
    """
    numbers = parse_cpu_list(listed)
    if not numbers:
        raise Invalid("read cpu list", repr(listed), "it names no cpu")
    mask = sum(1 << number for number in numbers)
    return mask.to_bytes(max(numbers) // 8 + 1, "little")


def _unsigned(value: int) -> int:
    return INFINITY if value < 0 else value


def _last_of_each(found: list[Property]) -> list[Property]:
    """Of a property that is named twice the later one: ``unified`` comes last and wins, as it does in the files."""
    return list(dict(found).items())


def _tasks(resources: Mapping[str, Any]) -> list[Property]:
    limit = integer("pids", section(resources, "pids"), "limit")
    return [] if limit is None else [("TasksMax", ("t", _unsigned(limit) or 1))]


def _quota(quota: int, period: int, version: int) -> list[Property]:
    """Systemd counts microseconds a second; what is no whole per cent is rounded up, never down."""
    found: list[Property] = []
    if period and version >= PERIOD_SINCE:
        found.append(("CPUQuotaPeriodUSec", ("t", period)))
    if quota or period:
        per_second = INFINITY
        if quota > 0:
            exact = quota * _US_PER_S // (period or DEFAULT_PERIOD_US)
            per_second = -(-exact // _PERCENT_US) * _PERCENT_US
        found.append(("CPUQuotaPerSecUSec", ("t", per_second)))
    return found


def _cpusets(cpus: str | None, mems: str | None, *, version: int) -> list[Property]:
    if version < ALLOWED_SINCE:
        return []
    pairs = (("AllowedCPUs", cpus), ("AllowedMemoryNodes", mems))
    return [(name, ("ay", cpu_bits(listed))) for name, listed in pairs if listed]


def _unified(unified: Mapping[str, Any], version: int) -> list[Property]:
    found: list[Property] = []
    for key, value in unified.items():
        text = str(value).strip()
        if key in _SIZES:
            found.append((_SIZES[key], ("t", _number(key, text))))
        elif key == "pids.max":
            found.append(("TasksMax", ("t", _number(key, text) or 1)))
        elif key == "cpu.weight":
            found.append(("CPUWeight", ("t", _number(key, text))))
        elif key == "cpu.idle" and text == "1" and version >= IDLE_SINCE:
            found.append(("CPUWeight", ("t", 0)))
        elif key == "cpu.max":
            quota, _, period = text.partition(" ")
            found += _quota(
                -1 if quota == "max" else _number(key, quota), _number(key, period or "0"), version
            )
        elif key in ("cpuset.cpus", "cpuset.mems"):
            found += _cpusets(*((text, None) if key == "cpuset.cpus" else (None, text)), version=version)
    return found


def _number(key: str, text: str) -> int:
    if text == "max":
        return INFINITY
    if not (text.isascii() and text.isdigit()) or int(text) > INFINITY:
        raise Invalid("read linux.resources", f"unified.{key}", f"{text!r} is not a number")
    return int(text)


def _devices(rules: DeviceRules | None, version: int) -> list[Property]:
    """Systemd's own device rules: strict, and a list of what is allowed.

    Our rules are attached or written in any case. Those that systemd has no words for ("all but some", one minor of every
    major) leave it out of the matter: it would forbid what they allow.
    """
    if rules is None:
        return []
    leave = [("DevicePolicy", ("s", "auto")), ("DeviceAllow", ("a(ss)", []))]
    if rules.allow_by_default or version < NUMBERS_SINCE:
        return leave
    allowed: list[tuple[str, str]] = []
    for (kind, major, minor), letters in rules.exceptions.items():
        name = device_name(kind, major, minor)
        if not name:
            return leave
        allowed.append((name, "".join(letter for letter in "rwm" if letter in letters)))
    return [("DevicePolicy", ("s", "strict")), ("DeviceAllow", ("a(ss)", allowed))]


def device_name(kind: str, major: int, minor: int) -> str:
    """How systemd names a device or a group of devices; empty when it cannot."""
    word = "block" if kind == "b" else "char"
    if major < 0:
        return f"{word}-*" if minor < 0 else ""
    return f"{word}-{major}" if minor < 0 else f"/dev/{word}/{major}:{minor}"
