"""Readers of ``-v``, ``--mount`` and ``--tmpfs``: each returns (kind, source, target, read only, options)."""

from __future__ import annotations

from casemate.cli.suggest import did_you_mean
from casemate.cli.usage import ValueProblem

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    MountValue = tuple[str, str, str, bool, list[str]]

VOLUME_WORDS = (
    "ro",
    "rw",
    "z",
    "Z",
    "U",
    "idmap",
    "nocopy",
    "shared",
    "rshared",
    "slave",
    "rslave",
    "private",
    "rprivate",
    "consistent",
    "cached",
    "delegated",
    "noexec",
    "exec",
    "nosuid",
    "nodev",
    "bind",
    "rbind",
)
# words that ask for nothing here: Docker Desktop's consistency hints, and the default
IDLE_WORDS = ("rw", "consistent", "cached", "delegated")
MOUNT_KINDS = ("bind", "volume", "tmpfs")
MOUNT_KEYS = (
    "type",
    "source",
    "src",
    "target",
    "dst",
    "destination",
    "readonly",
    "ro",
    "bind-propagation",
    "bind-nonrecursive",
    "bind-recursive",
    "volume-nocopy",
    "volume-subpath",
    "tmpfs-size",
    "tmpfs-mode",
    "consistency",
)
VOLUME_NAME = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-"


def volume(text: str) -> MountValue:
    """Read ``-v``: [source:]target[:options]; a source that is not a path is the name of a volume."""
    parts = text.split(":")
    if len(parts) > 3 or not all(parts):  # noqa: PLR2004 - source:target:options
        raise ValueProblem(
            "its form is [source:]target[:options]", "write for example $PWD:/work or data:/var/lib/app:ro"
        )
    if len(parts) == 1:
        return "volume", "", _target(parts[0]), False, []
    source, target = parts[0], _target(parts[1])
    words = parts[2].split(",") if len(parts) == 3 else []  # noqa: PLR2004
    for word in words:
        if word not in VOLUME_WORDS:
            raise ValueProblem(f'there is no option "{word}" for a volume', did_you_mean(word, VOLUME_WORDS))
    if "ro" in words and "rw" in words:
        raise ValueProblem("it is both ro and rw")
    options = [word for word in words if word not in (*IDLE_WORDS, "ro")]
    kind = "bind" if _is_path(source) else "volume"
    return kind, _source(source, kind), target, "ro" in words, options


def tmpfs(text: str) -> MountValue:
    """A file system in memory, from its path and options; the options are those of tmpfs."""
    target, _, rest = text.partition(":")
    words = [word for word in rest.split(",") if word]
    return "tmpfs", "", _target(target), "ro" in words, [word for word in words if word not in ("ro", "rw")]


def mount(text: str) -> MountValue:
    """Read ``type=bind,source=/a,target=/b,readonly`` (comma separated, values may be quoted as in CSV)."""
    fields: dict[str, str] = {}
    for field in _csv(text):
        key, equals, value = field.partition("=")
        key = key.strip().lower()
        if key not in MOUNT_KEYS:
            raise ValueProblem(
                f'there is no key "{key}"',
                did_you_mean(key, MOUNT_KEYS, otherwise="keys: type, source, target, readonly"),
            )
        if not equals and key not in ("readonly", "ro", "bind-nonrecursive", "volume-nocopy"):
            raise ValueProblem(f"{key} has no value", f"write {key}=...")
        fields[
            {"src": "source", "dst": "target", "destination": "target", "ro": "readonly"}.get(key, key)
        ] = value if equals else "true"
    kind = fields.pop("type", "volume")
    if kind not in MOUNT_KINDS:
        raise ValueProblem(
            f'there is no type of mount "{kind}"',
            did_you_mean(kind, MOUNT_KINDS, otherwise="types: bind, volume, tmpfs"),
        )
    if "target" not in fields:
        raise ValueProblem("the target is missing", "write target=/path/in/the/container")
    target = _target(fields.pop("target"))
    source = fields.pop("source", "")
    if kind == "bind" and not source:
        raise ValueProblem("a bind mount needs a source", "write source=/path/on/the/host")
    if kind == "tmpfs" and source:
        raise ValueProblem("a tmpfs has no source", "leave source away")
    read_only = _boolean("readonly", fields.pop("readonly", "false"))
    return (
        kind,
        _source(source, kind) if source else "",
        target,
        read_only,
        list(_mount_options(kind, fields)),
    )


def _mount_options(kind: str, fields: dict[str, str]) -> Iterator[str]:
    for key, value in fields.items():
        if key == "consistency":
            continue
        owner = key.partition("-")[0]
        if owner != kind:
            raise ValueProblem(f"{key} is for mounts of type {owner}, this one is {kind}")
        word = _option_word(key, value)
        if word:
            yield word


def _option_word(key: str, value: str) -> str:
    """Return the word that ``-v`` would use for a key of ``--mount``; empty when it asks for the default."""
    if key == "bind-propagation":
        return value
    if key == "bind-nonrecursive":
        return "bind" if _boolean(key, value) else ""
    if key == "bind-recursive":
        return "bind" if value == "disabled" else ""
    if key == "volume-nocopy":
        return "nocopy" if _boolean(key, value) else ""
    if key == "volume-subpath":
        return f"subpath={value}"
    return f"{key.removeprefix('tmpfs-')}={value}"


def _is_path(source: str) -> bool:
    return source[:1] in ("/", "~") or source in (".", "..") or source[:2] == "./" or source[:3] == "../"


def _source(source: str, kind: str) -> str:
    """Return an absolute path for a bind mount, or a checked volume name."""
    if kind == "bind":
        if not _is_path(source):
            raise ValueProblem(
                "the source of a bind mount is a path", f"write ./{source} or an absolute path"
            )
        import os  # a bind mount is the only value that looks at paths

        return os.path.abspath(os.path.expanduser(source))
    if source[0] in "_.-" or source.strip(VOLUME_NAME):
        raise ValueProblem(
            f'"{source}" is neither a path nor a name of a volume', f"for a directory write ./{source}"
        )
    return source


def _target(target: str) -> str:
    if target[:1] != "/":
        raise ValueProblem(f'the path in the container, "{target}", is not absolute', f"write /{target}")
    if target.rstrip("/") == "":
        raise ValueProblem("nothing can be mounted over the container's /", "use --rootfs to run a directory")
    if ".." in target.split("/"):
        raise ValueProblem("the path in the container contains ..", "write the path out")
    return target


def _boolean(key: str, text: str) -> bool:
    from casemate.cli.args import boolean  # the parser imports this room

    try:
        return boolean(text)
    except ValueProblem as problem:
        raise ValueProblem(f'{key}="{text}": {problem.why}', problem.fix) from None


def _csv(text: str) -> Iterator[str]:
    """Yield comma separated fields; a field may be in double quotes, a doubled quote is a quote.

    Source: RFC 4180.
    """
    field, quoted, i = "", False, 0
    while i < len(text):
        char = text[i]
        if quoted and char == '"' and text[i + 1 : i + 2] == '"':
            field, i = field + '"', i + 1
        elif char == '"' and (quoted or not field):
            quoted = not quoted
        elif char == "," and not quoted:
            yield field
            field = ""
        else:
            field += char
        i += 1
    if quoted:
        raise ValueProblem("a quote is not closed")
    if not field:
        raise ValueProblem("a field is empty", "write type=bind,source=/a,target=/b")
    yield field
