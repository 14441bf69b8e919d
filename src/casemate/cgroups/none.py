"""No control groups: an unprivileged user without delegation. Nothing is limited, and that is said."""

from __future__ import annotations

from casemate.cgroups import settings_v2
from casemate.cgroups.devices import fold_rules
from casemate.cgroups.names import parse_path
from casemate.cgroups.settings import refuse_absent
from casemate.errors import Unsupported

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

UNENFORCED = ["cpu", "devices", "memory", "pids"]


class NoManager:
    """Hands out groups that do nothing."""

    __slots__ = ("kind", "unenforced", "why")

    def __init__(self, why: str = "this user has no control groups of its own") -> None:
        self.kind = "none"
        self.unenforced = list(UNENFORCED)
        self.why = why

    def check(self, path: str, resources: Mapping[str, Any]) -> list[str]:
        """Everything that was asked for.

        Raises: Invalid.
        """
        parse_path(path)
        return _names(resources)

    def create(
        self,
        path: str,
        *,
        resources: Mapping[str, Any] | None = None,  # noqa: ARG002 - Protocol
        adopt: bool = False,  # noqa: ARG002 - Protocol
    ) -> NoCgroup:
        """A group in name only.

        Raises: Invalid, as on machines that have groups.
        """
        return self.open(path)

    def open(self, path: str) -> NoCgroup:
        """The same as ``create``.

        Raises: Invalid.
        """
        return NoCgroup(str(parse_path(path)))


def _names(resources: Mapping[str, Any]) -> list[str]:
    wanted, ignored = settings_v2.settings(resources)
    names = [*(setting.name for setting in wanted), *ignored]
    if fold_rules(resources) is not None:
        names.append("devices")
    return list(dict.fromkeys(names))


class NoCgroup:
    """Keeps the Protocol, limits nothing and knows no processes."""

    __slots__ = ("path", "unenforced")

    def __init__(self, path: str) -> None:
        self.path = path
        self.unenforced = list(UNENFORCED)

    def apply(self, resources: Mapping[str, Any], *, strict: bool = False) -> list[str]:
        """The name of everything that was asked for.

        Raises: Invalid, as on machines that have groups; Unsupported when ``strict``.
        """
        names = _names(resources)
        if strict:
            refuse_absent(names)
        return names

    def join_fds(self, *, born: bool = False) -> list[int]:
        """Empty."""
        del born
        return []

    def birth_fd(self) -> int | None:
        """None."""
        return None

    def occupied(self) -> None:
        """Nothing to do."""

    def dirs(self) -> list[tuple[int, str]]:
        """Empty."""
        return []

    def collect(self) -> list[tuple[str, int]]:
        """Empty."""
        return []

    def pids(self) -> list[int]:
        """Empty."""
        return []

    def signal_all(self, signal: int) -> int:  # noqa: ARG002 - Protocol
        """0: nobody is known to be inside."""
        return 0

    def kill(self, timeout_s: float = 10.0) -> None:
        """Nothing to do."""

    def freeze(self, timeout_s: float = 10.0) -> None:  # noqa: ARG002 - Protocol
        """Raise Unsupported."""
        raise Unsupported(
            "freeze cgroup",
            self.path,
            "this user has no control groups",
            hint="start casemate inside: systemd-run --user --scope -p Delegate=yes",
        )

    def thaw(self) -> None:
        """Nothing to do."""

    def is_frozen(self) -> bool:
        """False."""
        return False

    def stats(self) -> dict[str, Any]:
        """Empty."""
        return {}

    def remove(self, timeout_s: float = 5.0) -> None:
        """Nothing to do."""
