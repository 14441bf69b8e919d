"""Verbs that start a program: run, create, exec."""

from __future__ import annotations

from casemate.cli.table import ENGINE_ERROR, Option, Verb
from casemate.cli.tables.absent import absent_options
from casemate.cli.tables.shared import container_options

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence


def create_options() -> Sequence[Option]:
    """Return the options of create."""
    return [*container_options(), *absent_options()]


def run_options() -> Sequence[Option]:
    """Return the options of run."""
    return [
        *container_options(),
        Option("detach", "Run in the background and print the container's id", short="d"),
        Option("detach-keys", "Keys that detach (default ctrl-p,ctrl-q)", kind="detach-keys", meta="KEYS"),
        Option("sig-proxy", "Pass signals on to the program (default true)"),
        *absent_options(),
    ]


def exec_options() -> Sequence[Option]:
    """Return the options of exec."""
    return [
        Option("detach", "Run in the background", short="d"),
        Option("detach-keys", "Keys that detach (default ctrl-p,ctrl-q)", kind="detach-keys", meta="KEYS"),
        Option("env", "Set a variable", short="e", kind="env", meta="VAR", many=True),
        Option(
            "env-file", "Read variables from a file", kind="string", meta="FILE", many=True, completes="file"
        ),
        Option("interactive", "Keep stdin open", short="i"),
        Option("privileged", "Give the program every capability"),
        Option("tty", "Give a terminal", short="t"),
        Option("user", "User inside (name|uid)[:(group|gid)]", short="u", kind="string", meta="USER"),
        Option("workdir", "Working directory inside", short="w", kind="string", meta="DIR"),
    ]


VERBS = {
    "run": Verb(
        "run",
        "Create and run a new container from an image",
        module="container.run",
        operands=("IMAGE [COMMAND] [ARG...]", 1, None),
        options=run_options,
        stop_at_operand=True,
        failure_code=ENGINE_ERROR,
        completes="image",
        describe=(
            "The exit code is the program's. 125: casemate could not start it; "
            "126: the program cannot be executed; "
            "127: it was not found; 128+n: signal n killed it. "
            "The network is none (loopback only) unless --network host is given."
        ),
        examples=(
            ("casemate run -it --rm debian:bookworm bash", "a shell that leaves nothing behind"),
            (
                'casemate run --rm -v "$PWD:/work" -w /work -u "$(id -u)" debian:bookworm make',
                "build the present directory",
            ),
            (
                "casemate run -d --name web --memory 256m --cpus 0.5 --network host nginx",
                "a server in the background, limited",
            ),
            ("echo hello | casemate run --rm -i busybox tr a-z A-Z", "a filter in a pipeline"),
        ),
    ),
    "create": Verb(
        "create",
        "Create a new container without starting it",
        module="container.create",
        operands=("IMAGE [COMMAND] [ARG...]", 1, None),
        options=create_options,
        stop_at_operand=True,
        failure_code=ENGINE_ERROR,
        completes="image",
        examples=(
            (
                "casemate start -a $(casemate create --name job debian:bookworm date)",
                "create now, run when wanted",
            ),
        ),
    ),
    "exec": Verb(
        "exec",
        "Execute a command in a running container",
        module="container.exec",
        operands=("CONTAINER COMMAND [ARG...]", 2, None),
        options=exec_options,
        stop_at_operand=True,
        failure_code=ENGINE_ERROR,
        completes="running",
        describe="The command runs behind the same wall as the container's program. "
        "Exit codes are those of casemate run.",
        examples=(
            ("casemate exec -it web sh", "a shell inside"),
            ("casemate exec -u root web cat /etc/shadow", "as another user"),
        ),
    ),
}
