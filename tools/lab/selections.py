"""The named selections of tests: as whom they run in the guest, and how long each may take."""

from __future__ import annotations

from dataclasses import dataclass, field

ROOT, USER = "root", "user"
MARKERS = {ROOT: "not rootless", USER: "rootless or (system and not needs_root)"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """One run of pytest in the guest; its name is that of its junit file."""

    name: str
    user: str
    arguments: tuple[str, ...]
    deadline_s: int = 900
    groups: tuple[str, ...] = field(default=())


def _both(name: str, *arguments: str, deadline_s: int = 900) -> list[Selection]:
    return [
        Selection(
            name=f"{name}-{user}", user=user, arguments=arguments, deadline_s=deadline_s, groups=(name,)
        )
        for user in (ROOT, USER)
    ]


SELECTIONS = [
    Selection(name="short-root", user=ROOT, groups=("short",), deadline_s=150, arguments=("tests/lab",)),
    Selection(name="short-user", user=USER, groups=("short",), deadline_s=150, arguments=("tests/lab",)),
    *_both("machine", "tests/lab"),
    *_both("kernel", "tests/unit/kernel", "tests/unit/cgroups", "tests/unit/runtime"),
    *_both("enter", "tests/system/test_enter_start.py", "tests/system/test_enter_attach.py",
           "tests/system/test_enter_keeper.py", "tests/system/test_enter_keeper_kills.py",
           "tests/system/test_enter_kernel_facts.py", deadline_s=1800),
    *_both("cgroups", "tests/system/test_cgroups_peers.py", "tests/system/test_cgroups_v1.py",
           "tests/system/test_cgroups_v2.py"),
    *_both("runtime", "tests/system/test_oci_runtime.py", deadline_s=1800),
    *_both("engine", "tests/system/engine", deadline_s=2700),
]  # fmt: skip
WHOLE = [selection for selection in SELECTIONS if "short" not in selection.groups]


def choose(words: list[str]) -> list[Selection]:
    """The selections that ``words`` name, by name or group; a path is run as root and as the ordinary user.

    Whatever begins with a dash, and all after it, goes to pytest with the paths before it.

    Raises: LookupError with the word that names nothing.
    """
    if not words:
        return WHOLE
    dash = next((at for at, word in enumerate(words) if word.startswith("-")), len(words))
    names, options = words[:dash], words[dash:]
    paths = [word for word in names if "/" in word]
    chosen = []
    for word in names:
        if word in paths:
            continue
        found = [s for s in SELECTIONS if word == s.name or word in s.groups]
        if not found:
            raise LookupError(word)
        chosen += found
    if paths:
        chosen += _both("named", *paths, *options)
    elif options:
        raise LookupError(options[0])
    return list(dict.fromkeys(chosen))
