"""What single values must look like beyond their type, and what must hold between the parts of one."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Wrong = list[tuple[str, str]]

_IDS = 1 << 32
_LONGEST_NAME = 64
_LONGEST_INTERFACE = 15
_CLOCKS = ("monotonic", "boottime")
_REAL_TIME = ("SCHED_FIFO", "SCHED_RR")
_DEADLINE = ("runtime", "deadline", "period")
_LEAST_RUNTIME = 1024  # nanoseconds, DL_SCALE in the kernel
_WITHOUT_NODES = ("MPOL_DEFAULT", "MPOL_LOCAL")
_RDMA = ("hcaHandles", "hcaObjects")


def version(text: str) -> str:
    """`ociVersion` is a semantic version; which ones are known is not a question of form."""
    parts = text.partition("+")[0].partition("-")[0].split(".")
    if len(parts) == 3 and all(part.isascii() and part.isdigit() for part in parts):  # noqa: PLR2004 - major.minor.patch
        return ""
    return "must be a version such as 1.2.0"


def not_empty(text: str) -> str:
    """A text with at least one character."""
    return "" if text else "must not be empty"


def absolute_or_empty(text: str) -> str:
    """An absolute path; the empty text is the same as none."""
    return "must be an absolute path" if text and not text.startswith("/") else ""


def program(words: Any) -> Wrong:
    """The first word of a command names a program."""
    return [] if words[0] else [("[0]", "must not be empty")]


def variable(text: str) -> str:
    """An environment variable: NAME=value."""
    return "" if text.find("=") > 0 else "must be NAME=value"


def host_name(text: str) -> str:
    """A name that sethostname(2) takes."""
    return "" if len(text.encode()) <= _LONGEST_NAME else f"must have at most {_LONGEST_NAME} bytes"


def numbers(text: str) -> str:
    """A list of processors or memory nodes such as 0-3,7."""
    for part in text.replace(" ", "").split(",") if text.strip() else ():
        low, dash, high = part.partition("-")
        if not (low.isascii() and low.isdigit()) or (dash and not (high.isascii() and high.isdigit())):
            return "must be a list of numbers and ranges such as 0-3,7"
        if dash and int(low) > int(high):
            return "must have ranges that go upwards, such as 0-3"
    return ""


def access(text: str) -> str:
    """Letters of r (read), w (write) and m (make a node)."""
    return "must consist of the letters r, w and m" if text.strip("rwm") else ""


def page_size(text: str) -> str:
    """A size of huge pages such as 2MB."""
    digits = text[:-2]
    fine = text[-2:] in ("KB", "MB", "GB") and digits.isascii() and digits.isdigit() and digits[0] != "0"
    return "" if fine else "must be a size such as 64KB, 2MB or 1GB"


def bandwidth(text: str) -> str:
    """A memory bandwidth line of resctrl."""
    return "" if text.startswith("MB:") and "\n" not in text else "must be one line that begins with MB:"


def one_line(text: str) -> str:
    """A line of a file of the kernel."""
    return "must be one line" if "\n" in text else ""


def interface(text: str) -> str:
    """A name that a network interface can have."""
    fine = 0 < len(text.encode()) <= _LONGEST_INTERFACE and text not in (".", "..")
    if fine and not any(character in "/:" or character.isspace() for character in text):
        return ""
    return f"must be an interface name: at most {_LONGEST_INTERFACE} bytes without slash, colon and space"


def new_interface(text: str) -> str:
    """A name, or one with %d for which the kernel puts a number; empty: the name does not change."""
    if text.replace("%d", "", 1).count("%"):
        return "must have no % but one %d"
    return interface(text) if text else ""


def names_once(devices: Any) -> Wrong:
    """Two interfaces cannot have one name."""
    seen: dict[str, str] = {}
    wrong = []
    for name, about in devices.items():
        new = (about or {}).get("name") or name
        if "%d" not in new and new in seen:
            wrong.append((f"[{name!r}].name", f"{new} is what {seen[new]} will be called"))
        seen[new] = name
    return wrong


def own_network(linux: Any) -> Wrong:
    """Interfaces are moved into a network namespace; id mappings come in pairs."""
    kinds = [item["type"] for item in linux.get("namespaces") or ()]
    if linux.get("netDevices") and "network" not in kinds:
        return [(".netDevices", "needs a network namespace in linux.namespaces"), *both_mappings(linux)]
    return both_mappings(linux)


def clock(text: str) -> str:
    """The name of a clock that has an offset."""
    return "" if text in _CLOCKS else f"must be one of {', '.join(_CLOCKS)}"


def types_once(items: Any) -> Wrong:
    """Namespaces and limits: each type once."""
    seen: set[str] = set()
    wrong = []
    for number, item in enumerate(items):
        kind = item["type"]
        if kind in seen:
            wrong.append((f"[{number}].type", f"{kind} is listed twice"))
        seen.add(kind)
    return wrong


def soft_below_hard(limit: Any) -> Wrong:
    """A soft limit is at most the hard one."""
    soft, hard = limit["soft"], limit["hard"]
    return [] if soft <= hard else [(".soft", f"{soft} is above hard {hard}")]


def inside_id_space(item: Any) -> Wrong:
    """A range of ids ends before the id that means none."""
    for name in ("containerID", "hostID"):
        if item[name] + item["size"] > _IDS:
            return [(".size", f"{item['size']} ids from {name} {item[name]} end beyond {_IDS - 1}")]
    return []


def both_mappings(holder: Any) -> Wrong:
    """Mappings of users and groups are given together."""
    for one, other in (("uidMappings", "gidMappings"), ("gidMappings", "uidMappings")):
        if holder.get(one) and not holder.get(other):
            return [(f".{other}", f"is missing: it goes with {one}")]
    return []


def device_numbers(item: Any) -> Wrong:
    """A device that is no FIFO has its numbers."""
    if item["type"] == "p":
        return []
    return [(f".{name}", "is missing") for name in ("major", "minor") if item.get(name) is None]


def one_limit(item: Any) -> Wrong:
    """An rdma device has at least one limit."""
    if any(item.get(name) is not None for name in _RDMA):
        return []
    return [("", "must have hcaHandles or hcaObjects")]


def listener(seccomp: Any) -> Wrong:
    """Metadata is for the listener."""
    if seccomp.get("listenerMetadata") and not seccomp.get("listenerPath"):
        return [(".listenerPath", "is missing: listenerMetadata is for it")]
    return []


def policy_numbers(scheduler: Any) -> Wrong:
    """Each scheduling policy has its own numbers; sched_setattr(2) takes no others."""
    policy, priority = scheduler["policy"], scheduler.get("priority") or 0
    if policy in _REAL_TIME:
        return [] if priority else [(".priority", f"must be from 1 to 99 with {policy}")]
    wrong = [(".priority", f"must be 0 with {policy}")] if priority else []
    times = [scheduler.get(name) or 0 for name in _DEADLINE]
    if policy != "SCHED_DEADLINE":
        named = [name for name, value in zip(_DEADLINE, times, strict=True) if value]
        return wrong + [(f".{name}", f"must be 0 with {policy}") for name in named]
    runtime, deadline, period = times
    if not _LEAST_RUNTIME <= runtime <= deadline <= (period or deadline):
        wrong.append((".runtime", f"must be from {_LEAST_RUNTIME} to deadline, and that at most period"))
    return wrong


def mode_nodes(policy: Any) -> Wrong:
    """Some memory policies are about nodes, others are not; set_mempolicy(2)."""
    mode, nodes = policy["mode"], (policy.get("nodes") or "").strip()
    wrong = []
    if mode in _WITHOUT_NODES and nodes:
        wrong.append((".nodes", f"must be empty with {mode}"))
    if mode not in (*_WITHOUT_NODES, "MPOL_PREFERRED") and not nodes:
        wrong.append((".nodes", f"must name at least one node with {mode}"))
    flags = policy.get("flags") or ()
    if "MPOL_F_STATIC_NODES" in flags and "MPOL_F_RELATIVE_NODES" in flags:
        wrong.append((".flags", "must not have both MPOL_F_STATIC_NODES and MPOL_F_RELATIVE_NODES"))
    return wrong
