"""``casemate load``."""

from __future__ import annotations

from casemate.cli.opening import open_engine
from casemate.cli.show.progress import progress_for
from casemate.cli.streams import is_terminal, note, say
from casemate.cli.usage import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from casemate.cli.args import Parsed


def run(parsed: Parsed) -> int:
    """Read images from an archive and print their names."""
    source = parsed.text("input")
    if not source and is_terminal(0):
        raise UsageError(
            "load images from a terminal",
            "stdin is the keyboard",
            hint="give a file: casemate load -i FILE",
            exit_code=1,
        )
    with progress_for(quiet=parsed.flag("quiet")) as progress, open_engine(progress) as engine:
        kept: list[tuple[str, str]] = []
        on_kept = None if parsed.flag("replace") else lambda name, digest: kept.append((name, digest))
        images = engine.images.load(source or 0, on_kept=on_kept)
        progress.finish()
        for image in images:
            if not image.names:
                say(f"Loaded image ID: {image.id}")
            for row in image.summary():
                if row["Repository"] != "<none>":
                    say(f"Loaded image: {row['Repository']}:{row['Tag']}")
        for name, digest in kept:
            note(f"casemate: {name} names another image here and was left alone; the new one is {digest}")
            note("  fix: casemate load --replace, or casemate tag DIGEST NAME")
    return 0
