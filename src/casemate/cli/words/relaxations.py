"""docs/relaxations.md, made from the table of relaxations."""

from __future__ import annotations

from casemate.engine.spec.relaxations import RELAXATIONS, families

_BEFORE = """# Relaxations

A container of casemate is sealed: its own ids, eight capabilities or none, some 290 system calls, four socket families, no
set-user-id programs, no namespaces of its own, no 32-bit programs (SECURITY.md). What an image needs beyond that is granted by
name, and by nothing else; there is no need for `--privileged`.

    casemate run --relax debug debian:bookworm gdb -p 1
    casemate run --relax suid,family=packet IMAGE
    casemate relax                     # this page, in short
    casemate inspect -f '{{.Casemate.Relaxations}}' NAME

A relaxation is written into the container's record when it is made, holds for `exec` too, and cannot be asked for by an image.
`casemate inspect` shows it as `relax=NAME`, beside everything else that widens the wall (`cap-add=NET_RAW`, `seccomp=FILE`,
`privileged`, `device=...`, `network=host`, `userns=host`).

| name | what works | who needs it | what it gives away | what it changes |
|---|---|---|---|---|
"""
_AFTER = """
Families: {families}. Each is a grant of its own: `--relax family=vsock,family=can`.

Capabilities are not relaxations of their own: `--cap-add NAME` grants one, and the system calls that only make sense with it.
"""


def page() -> str:
    """Return the page."""
    rows = []
    for row in RELAXATIONS.values():
        changed = [f"`{path}`" for path in row.changes] + ["Landlock"] * ("landlock" in row.switches)
        cells = (f"`{row.label}`", row.allows, row.needed_by, row.gives_away, ", ".join(changed))
        rows.append(f"| {' | '.join(cells)} |\n")
    return _BEFORE + "".join(rows) + _AFTER.format(families=", ".join(families()))
