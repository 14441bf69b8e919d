"""Verbs of existing containers."""

from __future__ import annotations

from casemate.cli.table import Option, Verb

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

FORMAT_HELP = "Output format: table, json, 'table TEMPLATE' or a Go template"
EXPLAIN = Option("explain", "Watch this run, so that casemate why can name what was refused (slower)")
SEVERAL = ("CONTAINER [CONTAINER...]", 1, None)


def start_options() -> Sequence[Option]:
    """Return the options of start."""
    return [
        Option("attach", "Show the output, pass signals on, exit with the program's code", short="a"),
        Option("detach-keys", "Keys that detach (default ctrl-p,ctrl-q)", kind="detach-keys", meta="KEYS"),
        EXPLAIN,
        Option("interactive", "Attach stdin too", short="i"),
    ]


def stop_options() -> Sequence[Option]:
    """Return the options of stop, and of restart."""
    return [
        Option("signal", "Signal to send first", short="s", kind="signal", meta="SIGNAL", completes="signal"),
        Option(
            "timeout",
            "Seconds to wait before killing (-1: for ever)",
            short="t",
            kind="seconds",
            meta="SECONDS",
        ),
        Option("time", "The old name of --timeout", kind="seconds", meta="SECONDS", hidden=True),
    ]


def restart_options() -> Sequence[Option]:
    """Return the options of restart."""
    return [EXPLAIN, *stop_options()]


def why_options() -> Sequence[Option]:
    """Return the options of why."""
    return [
        Option("all", "Show also what programs expect and work around", short="a"),
        Option("json", "Write JSON"),
        Option(
            "watch",
            "Watch the running container for so many seconds first",
            short="w",
            kind="seconds",
            meta="SECONDS",
        ),
    ]


def kill_options() -> Sequence[Option]:
    """Return the options of kill."""
    return [
        Option(
            "signal",
            "Signal to send (default KILL)",
            short="s",
            kind="signal",
            meta="SIGNAL",
            completes="signal",
        )
    ]


def rm_options() -> Sequence[Option]:
    """Return the options of rm."""
    return [
        Option("force", "Kill a running container first", short="f"),
        Option(
            "link",
            "Remove a link",
            short="l",
            refused=("casemate has no links", "leave it away"),
            hidden=True,
        ),
        Option("volumes", "Remove its anonymous volumes too", short="v"),
    ]


def attach_options() -> Sequence[Option]:
    """Return the options of attach."""
    return [
        Option("detach-keys", "Keys that detach (default ctrl-p,ctrl-q)", kind="detach-keys", meta="KEYS"),
        Option("no-stdin", "Do not attach stdin"),
        Option("sig-proxy", "Pass signals on to the program (default true)"),
    ]


def logs_options() -> Sequence[Option]:
    """Return the options of logs."""
    return [
        Option("details", "Accepted; logs have no extra details", hidden=True),
        Option("follow", "Go on until the program ends", short="f"),
        Option(
            "since", "Only what is newer: 2026-01-02T15:04:05Z, 1700000000, 42m", kind="moment", meta="TIME"
        ),
        Option("tail", "Only the last N lines (all: every one)", short="n", kind="tail", meta="N"),
        Option("timestamps", "Show the time of each line", short="t"),
        Option("until", "Only what is older", kind="moment", meta="TIME"),
    ]


def ps_options() -> Sequence[Option]:
    """Return the options of ps."""
    return [
        Option("all", "Show every container (default: the running ones)", short="a"),
        Option(
            "filter",
            "Show only what fits: status=exited, name=web, label=a=b",
            short="f",
            kind="filter",
            meta="FILTER",
            many=True,
        ),
        Option("format", FORMAT_HELP, kind="string", meta="FORMAT", completes=("json", "table")),
        Option("last", "Show the N containers created last", short="n", kind="integer", meta="N"),
        Option("latest", "Show the container created last", short="l"),
        Option("no-trunc", "Do not shorten the output"),
        Option("quiet", "Show only ids", short="q"),
        Option("size", "Show the size of the files", short="s"),
    ]


def inspect_options() -> Sequence[Option]:
    """Return the options of inspect."""
    return [
        Option(
            "format",
            "Output format: json or a Go template",
            short="f",
            kind="string",
            meta="FORMAT",
            completes=("json",),
        ),
        Option("size", "Show the size of a container's files", short="s"),
        Option(
            "type",
            "Kind of object: container or image",
            kind="object",
            meta="KIND",
            completes=("container", "image"),
        ),
    ]


VERBS = {
    "start": Verb(
        "start",
        "Start stopped containers",
        module="container.start",
        operands=SEVERAL,
        options=start_options,
        completes="stopped",
        examples=(
            ("casemate start web db", "start two containers"),
            ("casemate start -ai job", "start and stay with it"),
        ),
    ),
    "stop": Verb(
        "stop",
        "Stop running containers: a signal first, SIGKILL when the time is over",
        module="container.stop",
        operands=SEVERAL,
        options=stop_options,
        completes="running",
        examples=(
            ("casemate stop web", "stop with the image's stop signal, kill after 10 s"),
            ("casemate stop -t 0 web", "kill at once"),
        ),
    ),
    "restart": Verb(
        "restart",
        "Stop and start containers",
        module="container.restart",
        operands=SEVERAL,
        options=restart_options,
        completes="container",
        examples=(
            ("casemate restart -t 3 web", "give it three seconds to stop"),
            ("casemate restart --explain web", "watch this run, for casemate why"),
        ),
    ),
    "kill": Verb(
        "kill",
        "Send a signal to running containers",
        module="container.kill",
        operands=SEVERAL,
        options=kill_options,
        completes="running",
        examples=(("casemate kill -s HUP web", "make a server read its configuration again"),),
    ),
    "rm": Verb(
        "rm",
        "Remove containers",
        module="container.rm",
        operands=SEVERAL,
        options=rm_options,
        aliases=("container remove",),
        completes="container",
        examples=(
            ("casemate rm job", "remove a stopped container"),
            ("casemate rm -f $(casemate ps -aq)", "remove every container, running or not"),
        ),
    ),
    "wait": Verb(
        "wait",
        "Wait until containers have ended, then print their exit codes",
        module="container.wait",
        operands=SEVERAL,
        completes="container",
        examples=(("casemate wait job", "prints for example 0"),),
    ),
    "attach": Verb(
        "attach",
        "Join the input and output of a running container",
        module="container.attach",
        operands=("CONTAINER", 1, 1),
        options=attach_options,
        completes="running",
        examples=(("casemate attach web", "ctrl-p ctrl-q leaves a container with a terminal running"),),
    ),
    "logs": Verb(
        "logs",
        "Show the output of a container",
        module="container.logs",
        operands=("CONTAINER", 1, 1),
        options=logs_options,
        completes="container",
        describe="What the program wrote on stderr is written on stderr.",
        examples=(
            ("casemate logs -f --tail 20 web", "the last lines, and what follows"),
            ("casemate logs --since 10m web", "the last ten minutes"),
        ),
    ),
    "ps": Verb(
        "ps",
        "List containers",
        module="container.ps",
        options=ps_options,
        aliases=("container ls", "container list", "container ps"),
        examples=(
            ("casemate ps -a", "every container"),
            ("casemate ps -aq --filter status=exited", "ids of those that ended"),
            ("casemate ps --format 'table {{.Names}}\\t{{.Status}}'", "two columns"),
            ("casemate ps --format json", "one JSON object a line"),
        ),
    ),
    "inspect": Verb(
        "inspect",
        "Show everything about containers or images as JSON",
        module="container.inspect",
        operands=("NAME|ID [NAME|ID...]", 1, None),
        options=inspect_options,
        completes="object",
        examples=(
            ("casemate inspect -f '{{.State.ExitCode}}' job", "one value"),
            ("casemate inspect -f '{{json .Mounts}}' web", "one part as JSON"),
        ),
    ),
    "pause": Verb(
        "pause",
        "Freeze every process of containers",
        module="container.pause",
        operands=SEVERAL,
        completes="running",
        examples=(("casemate pause web", "processes stand still and keep their memory"),),
    ),
    "unpause": Verb(
        "unpause",
        "Let paused containers go on",
        module="container.unpause",
        operands=SEVERAL,
        completes="paused",
        examples=(("casemate unpause web", ""),),
    ),
    "rename": Verb(
        "rename",
        "Give a container another name",
        module="container.rename",
        operands=("CONTAINER NEW_NAME", 2, 2),
        completes="container",
        examples=(("casemate rename happy_turing web", ""),),
    ),
    "top": Verb(
        "top",
        "Show the processes of a container",
        module="container.top",
        operands=("CONTAINER", 1, 1),
        completes="running",
        examples=(("casemate top web", "pids are the host's"),),
    ),
    "why": Verb(
        "why",
        "Say which rule made a container's program fail, and what would allow it",
        module="container.why",
        operands=("CONTAINER", 1, 1),
        options=why_options,
        completes="container",
        describe="Each reason names the system call and its arguments, the rule that refused it, how often and when, "
        "and the option that would allow it with what that gives away. All of it is known of a run that was watched "
        "(--explain with run, create, start or restart, or --watch here); of any other run its end, its limits and "
        "its output. Watching changes no result of the program; it makes system calls slower. "
        "Exit code 0: there is a reason; 3: no rule is known to have refused anything.",
        examples=(
            ("casemate why web", "of a container that has ended, or runs"),
            (
                "casemate run --rm --explain debian:bookworm mount /dev/sda /mnt",
                "run something and read why it failed",
            ),
            ("casemate restart --explain web && casemate why web", "the whole story of the next run"),
            ("casemate why --watch 10 web", "what is refused now, without a restart"),
            ("casemate why --json web", "for programs"),
        ),
    ),
}
