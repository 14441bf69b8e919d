"""The engine for one command, and the objects that its operands name."""

from __future__ import annotations

from casemate.cli.suggest import did_you_mean
from casemate.engine.engine import Engine
from casemate.errors import CasemateError, NotFound

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from casemate.core.transport import Progress
    from casemate.engine.containers import Container
    from casemate.engine.images import Image


def open_engine(progress: Progress | None = None) -> Engine:
    """Return an open engine over the store that the environment names; a context manager."""
    return Engine(progress=progress)


def container(engine: Engine, reference: str) -> Container:
    """Return the container with this name, id or beginning of an id. Raises: NotFound, with a near name."""
    try:
        return engine.containers.get(reference)
    except NotFound as error:
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
