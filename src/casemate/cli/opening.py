"""The engine for one command, and the objects that its operands name."""

from __future__ import annotations

from casemate import quickstart
from casemate.engine.engine import Engine
from casemate.errors import CasemateError, NotFound

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import TracebackType

    from casemate.core.transport import Progress
    from casemate.engine.containers import Container
    from casemate.engine.images import Image


class open_engine:  # noqa: N801 - read as a verb: with open_engine() as engine
    """An open engine over the store that the environment names; a context manager.

    A process that is one command ends without closing it: the last one to close SQLite's log deletes it, for
    which a disk may wait 20 ms, only to make it anew for the next command (ADR 3).
    """

    __slots__ = ("engine",)

    def __init__(self, progress: Progress | None = None) -> None:
        self.engine = Engine(progress=progress)

    def __enter__(self) -> Engine:
        return self.engine

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if quickstart.ends_at_once:
            _kept.append(self.engine)
        else:
            self.engine.close()


_kept: list[Engine] = []
"""Referenced until the process ends, since what nobody references is closed."""


def container(engine: Engine, reference: str) -> Container:
    """Return the container with this name, id or beginning of an id. Raises: NotFound, with a near name."""
    try:
        return engine.containers.get(reference)
    except NotFound as error:
        from casemate.cli.suggest import did_you_mean  # only on the failing path

        names = [known.name for known in engine.containers.list(all=True)]
        error.hint = did_you_mean(
            reference, names, otherwise=error.hint or "casemate ps -a lists the containers"
        )
        raise


def image(engine: Engine, reference: str) -> Image:
    """Return the image with this name or id. Raises: NotFound, with a near name."""
    try:
        return engine.images.get(reference)
    except NotFound as error:
        hint_near_image(engine, reference, error)
        raise


def hint_near_image(engine: Engine, reference: str, error: CasemateError) -> None:
    """Add the nearest local image to an error about an image that is not there."""
    from casemate.cli.suggest import did_you_mean  # only on the failing path

    names = [f"{row['Repository']}:{row['Tag']}" for known in engine.images.list() for row in known.summary()]
    wanted = reference if ":" in reference.rpartition("/")[2] else f"{reference}:latest"
    error.hint = did_you_mean(wanted, names, otherwise=error.hint or "casemate images lists the images")


def for_each(names: Sequence[str], action: Callable[[str], object]) -> int:
    """Do ``action`` with every name; a failure is shown and the rest goes on.

    Return 0, or 1 when one failed.
    """
    from casemate.cli import failure  # shown only when something fails

    code = 0
    for name in names:
        try:
            action(name)
        except CasemateError as error:
            failure.show(error)
            code = 1
        except BrokenPipeError:
            raise
        except OSError as error:
            failure.show(failure.from_os_error(error, f"handle {name}"))
            code = 1
    return code
