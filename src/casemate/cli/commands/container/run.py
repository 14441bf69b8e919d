"""``casemate run``."""

from __future__ import annotations

from casemate.cli import streams
from casemate.cli.attached import Stay
from casemate.cli.idfile import IdFile
from casemate.cli.opening import hint_near_image, open_engine
from casemate.cli.request import container_options
from casemate.cli.show.progress import progress_for
from casemate.cli.terminal import require_terminal
from casemate.cli.unenforced import say_unenforced
from casemate.errors import Denied, NotFound, Unauthorized, Unavailable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from casemate.cli.args import Parsed
    from casemate.engine.containers import Container
    from casemate.engine.engine import Engine
    from casemate.engine.options import ContainerOptions


def run(parsed: Parsed) -> int:
    """Create a container, start it and, unless detached, stay with it; return its exit code."""
    options = container_options(parsed)
    require_terminal(tty=options.tty, stdin=options.interactive and not options.detach)
    with progress_for(quiet=parsed.flag("quiet")) as progress, open_engine(progress) as engine:
        with IdFile(parsed.text("cidfile")) as id_file:
            container = create(engine, parsed.operands[0], options, to_start=True)
            id_file.write(container.id)
        progress.finish()
        say_unenforced(options)
        if options.detach:
            container.start()
            streams.say(container.id)
            return 0
        if "network" not in parsed.values and "net" not in parsed.values:
            _say_network_once(engine)
        return _stay(container, parsed, options)


def create(engine: Engine, image: str, options: ContainerOptions, *, to_start: bool = False) -> Container:
    """Create the container; an image that is nowhere is answered with the nearest one here."""
    try:
        return engine.containers.create(image, options, to_start=to_start)
    except (NotFound, Unavailable, Unauthorized, Denied) as error:
        hint_near_image(engine, image, error)
        raise


def _stay(container: Container, parsed: Parsed, options: ContainerOptions) -> int:
    wanted = [stream.lower() for stream in parsed.all("attach")]
    stay = Stay(
        container.name,
        tty=options.tty,
        stdin="stdin" in wanted if wanted else options.interactive,
        sig_proxy=parsed.values.get("sig-proxy", True),
        detach_keys=parsed.get("detach-keys"),
    )
    attach = stay.attach()
    if wanted:
        attach.stdout_fd = 1 if "stdout" in wanted else None
        attach.stderr_fd = 2 if "stderr" in wanted and not options.tty else None
    return stay.with_program(lambda: container.start(attach))


def _say_network_once(engine: Engine) -> None:
    """Tell a person at a terminal, once for this store, that containers have no network unless asked."""
    if not streams.is_terminal(2):
        return
    import os  # only at a terminal

    try:
        os.close(
            os.open(
                f"{engine.store.paths.root}/.network-explained",
                os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC,
                0o600,
            )
        )
    except OSError:
        return
    streams.note("casemate: containers see no network unless you give --network host (this is said once)")
