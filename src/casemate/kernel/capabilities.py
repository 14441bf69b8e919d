"""Capabilities: names and bits.

The position in NAMES is the bit. A name that this kernel does not have yet is still known here; ``last_cap``
says how far the running kernel goes. Source: linux/capability.h, capabilities(7).
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

NAMES = (
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_DAC_READ_SEARCH",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETPCAP",
    "CAP_LINUX_IMMUTABLE",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_BROADCAST",
    "CAP_NET_ADMIN",
    "CAP_NET_RAW",
    "CAP_IPC_LOCK",
    "CAP_IPC_OWNER",
    "CAP_SYS_MODULE",
    "CAP_SYS_RAWIO",
    "CAP_SYS_CHROOT",
    "CAP_SYS_PTRACE",
    "CAP_SYS_PACCT",
    "CAP_SYS_ADMIN",
    "CAP_SYS_BOOT",
    "CAP_SYS_NICE",
    "CAP_SYS_RESOURCE",
    "CAP_SYS_TIME",
    "CAP_SYS_TTY_CONFIG",
    "CAP_MKNOD",
    "CAP_LEASE",
    "CAP_AUDIT_WRITE",
    "CAP_AUDIT_CONTROL",
    "CAP_SETFCAP",
    "CAP_MAC_OVERRIDE",
    "CAP_MAC_ADMIN",
    "CAP_SYSLOG",
    "CAP_WAKE_ALARM",
    "CAP_BLOCK_SUSPEND",
    "CAP_AUDIT_READ",
    "CAP_PERFMON",
    "CAP_BPF",
    "CAP_CHECKPOINT_RESTORE",
)

BITS = {name: bit for bit, name in enumerate(NAMES)}

_last_cap = -1


def last_cap() -> int:
    """The highest capability of the running kernel; the highest known here when /proc does not say."""
    global _last_cap  # noqa: PLW0603 - it cannot change while this process lives
    if _last_cap < 0:
        try:
            with open("/proc/sys/kernel/cap_last_cap", "rb") as file:
                _last_cap = int(file.read(16))
        except (OSError, ValueError):
            _last_cap = len(NAMES) - 1
    return _last_cap


def canonical(name: str) -> str | None:
    """The full name of what a user wrote (``net_raw``, ``CAP_NET_RAW``); None when there is none."""
    upper = name.upper()
    full = upper if upper.startswith("CAP_") else f"CAP_{upper}"
    return full if full in BITS else None


def to_mask(names: Iterable[str]) -> int:
    """The bits of exact names (``CAP_CHOWN``), without those that the running kernel does not have.

    Raises: KeyError for a name that does not exist at all.
    """
    mask = 0
    for name in names:
        mask |= 1 << BITS[name]
    return mask & all_mask()


def to_names(mask: int) -> list[str]:
    """The names of the bits, in the order of the bits; bits without a name are given as ``CAP_<number>``."""
    return [
        NAMES[bit] if bit < len(NAMES) else f"CAP_{bit}"
        for bit in range(mask.bit_length())
        if mask >> bit & 1
    ]


def all_mask() -> int:
    """Every capability of the running kernel."""
    return (1 << (last_cap() + 1)) - 1
