"""Every check, in the order shown."""

from __future__ import annotations

from casemate.cli.doctor import identity, kernel, limits, programs, session, storage
from casemate.cli.doctor.finding import FAIL, OK, WARN, Finding

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

CHECKS: Sequence[Callable[[], Finding | None]] = (
    kernel.kernel_version,
    kernel.user_namespaces,
    identity.subordinate_ids,
    identity.id_map_helpers,
    identity.root_capabilities,
    kernel.overlay,
    kernel.idmapped_mounts,
    limits.control_groups,
    kernel.seccomp,
    kernel.landlock,
    programs.enter,
    storage.store_opens,
    storage.file_system,
    storage.space,
    session.runtime_directory,
    session.linger,
    session.docker_host,
    programs.slow_start,
    programs.bootstrap_program,
)


def run_checks() -> list[Finding]:
    """Return what every check found; a check that fails itself is a finding too."""
    found: list[Finding] = []
    for check in CHECKS:
        try:
            finding = check()
        except Exception as error:  # noqa: BLE001 - one check must not hide the others
            name = check.__name__.replace("_", " ")
            finding = Finding(
                name,
                WARN,
                f"the check failed: {type(error).__name__}: {error}",
                effect="not known",
                fix="please report it",
            )
        if finding is not None:
            found.append(finding)
    return found


def exit_code(findings: Sequence[Finding]) -> int:
    """Return 0 when all is well, 1 with a warning, 2 when containers cannot run."""
    worst = {finding.status for finding in findings}
    return 2 if FAIL in worst else 1 if WARN in worst else 0


def totals(findings: Sequence[Finding]) -> str:
    """Return ``14 ok, 2 warnings, 0 failures``."""
    counts = [sum(finding.status == status for finding in findings) for status in (OK, WARN, FAIL)]
    words = ("ok", "warning" if counts[1] == 1 else "warnings", "failure" if counts[2] == 1 else "failures")
    return ", ".join(f"{count} {word}" for count, word in zip(counts, words, strict=True))
