"""How failures are shown and which exit code they give.

casemate: cannot pull image debian:bookwrm
  why: the registry has no tag bookwrm
  fix: did you mean bookworm?
  code: E-NOT-FOUND
"""

from __future__ import annotations

from casemate.cli.streams import BOLD, DIM, RED, note, paint, printable
from casemate.errors import CasemateError, NotExecutable, ProgramNotFound

TYPE_CHECKING = False
if TYPE_CHECKING:
    from casemate.cli.table import Verb

SIGNAL_BASE = 128
SIGNAL_MEANINGS = {
    132: "illegal instruction",
    134: "it aborted",
    137: "killed",
    139: "segmentation fault",
    143: "terminated",
}


def show(error: CasemateError) -> None:
    """Write an error to stderr: what could not be done, why, how to fix it, its code."""
    head = " ".join(f"{error.doing} {error.subject}".split(" ")).strip()
    lines = [f"{paint('casemate:', RED, fd=2)} {paint('cannot ' + printable(head), BOLD, fd=2)}"]
    lines += _labelled("why", error.why)
    lines += _labelled("fix", error.hint)
    lines += [paint(f"  code: {error.code}", DIM, fd=2)]
    note("\n".join(lines))


def _labelled(label: str, text: str) -> list[str]:
    """Return the lines of one part, later lines indented below the first."""
    lines = printable(text).splitlines()
    return [f"  {label}: {line}" if not i else f"       {line}" for i, line in enumerate(lines)]


def exit_code(error: CasemateError, verb: Verb | None) -> int:
    """Return the exit code: the program's fault keeps its own (126, 127), usage errors state theirs.

    Else the verb decides.
    """
    from casemate.cli.usage import UsageError  # only on the failing path

    if isinstance(error, (UsageError, NotExecutable, ProgramNotFound)):
        return error.exit_code
    return verb.failure_code if verb is not None else 1


def from_os_error(error: OSError, path: str) -> CasemateError:
    """Return a system error that reached the top as an error of the tree."""
    import errno  # only on the failing path

    from casemate import errors

    categories: dict[int, type[CasemateError]] = {
        errno.EACCES: errors.Denied,
        errno.EPERM: errors.Denied,
        errno.ENOENT: errors.NotFound,
        errno.ENOSPC: errors.Exhausted,
        errno.EDQUOT: errors.Exhausted,
        errno.EMFILE: errors.Exhausted,
        errno.ENOSYS: errors.Unsupported,
    }
    category = categories.get(error.errno or 0, errors.Internal)
    subject = error.filename if isinstance(error.filename, str) else ""
    call = getattr(error, "call", "")
    why = (
        (error.strerror or str(error)).lower()
        if not call
        else f"{call}: {(error.strerror or str(error)).lower()}"
    )
    full = error.errno in {errno.ENOSPC, errno.EDQUOT}
    hint = "free disk space: casemate system prune" if full else "casemate doctor checks this host"
    return category(f"complete casemate {path}", subject, why, hint=hint)


def unexpected(error: BaseException, path: str) -> CasemateError:
    """Return a fault of casemate itself as an error that says so."""
    from casemate.errors import Internal  # only on the failing path

    return Internal(
        path,
        why=f"{type(error).__name__}: {error}",
        hint=f"please report it, with the output of: casemate -D {path} ...",
    )
