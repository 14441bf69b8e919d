"""``casemate create``."""

from __future__ import annotations

from casemate.cli.commands.container.run import create
from casemate.cli.idfile import IdFile
from casemate.cli.opening import open_engine
from casemate.cli.request import container_options
from casemate.cli.show.progress import progress_for
from casemate.cli.streams import say
from casemate.cli.unenforced import say_unenforced

TYPE_CHECKING = False
if TYPE_CHECKING:
    from casemate.cli.args import Parsed


def run(parsed: Parsed) -> int:
    """Create a container and print its id."""
    options = container_options(parsed)
    with progress_for(quiet=parsed.flag("quiet")) as progress, open_engine(progress) as engine:
        with IdFile(parsed.text("cidfile")) as id_file:
            container = create(engine, parsed.operands[0], options)
            id_file.write(container.id)
        progress.finish()
        say_unenforced(options)
        say(container.id)
    return 0
