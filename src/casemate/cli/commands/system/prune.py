"""``casemate system prune``."""

from __future__ import annotations

from casemate.cli.opening import open_engine
from casemate.cli.streams import is_terminal, note, say, write_all
from casemate.cli.usage import UsageError
from casemate.errors import Conflict, NotFound

TYPE_CHECKING = False
if TYPE_CHECKING:
    from casemate.cli.args import Parsed
    from casemate.engine.engine import Engine

ENDED = ("created", "exited", "dead")


def run(parsed: Parsed) -> int:
    """Remove ended containers, unused images and loose layers; print what went."""
    every = parsed.flag("all")
    if not parsed.flag("force") and not _agreed(every=every):
        return 0
    with open_engine() as engine:
        engine.store.gc()  # first what needs no record to go: on a full disk it makes room for writing the rest
        _remove_containers(engine)
        _remove_images(engine, every=every)
        engine.store.gc()
    return 0


def _agreed(*, every: bool) -> bool:
    """Ask the person at the terminal; nobody there: refuse."""
    if not is_terminal(0):
        raise UsageError(
            "remove without asking",
            "stdin is not a terminal",
            hint="say so: casemate system prune -f",
            exit_code=1,
        )
    images = "every image that no container uses" if every else "images without a name"
    note(f"This removes all ended containers, {images} and their layers.")
    write_all(2, b"Go on? [y/N] ")
    import os  # only when asking

    return os.read(0, 64).strip().lower() in (b"y", b"yes")


def _remove_containers(engine: Engine) -> None:
    for box in engine.containers.list(all=True):
        if box.state not in ENDED:
            continue
        try:
            box.remove()
        except (Conflict, NotFound):
            continue  # started or removed by somebody else meanwhile
        say(f"Deleted container: {box.id}")


def _remove_images(engine: Engine, *, every: bool) -> None:
    used = {box.inspect()["Image"] for box in engine.containers.list(all=True)}
    for image in engine.images.list():
        if image.id in used or (image.names and not every):
            continue
        for name in image.names or (image.id,):
            try:
                steps = engine.images.remove(name)
            except (Conflict, NotFound):
                continue  # used or removed by somebody else meanwhile
            for step in steps:
                for key, value in step.items():
                    say(f"{key}: {value}")
