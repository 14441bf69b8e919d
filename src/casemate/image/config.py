"""Image configs: untrusted data with a strict schema.

Nothing in an image config acts on the host. An environment entry without a value is refused, since other
engines have filled it from their own environment (CVE-2026-57231); labels are text and nothing reads them as
instructions (CVE-2026-53488); volume paths are absolute, without ``..``, and resolved inside the container's
root by whoever uses them (CVE-2022-23648). SECURITY C18.
Source: OCI image-spec, "Image Configuration".
"""

from __future__ import annotations

from casemate.errors import Exhausted, Invalid, Unsupported
from casemate.image.descriptor import text_map
from casemate.image.user import parse_user
from casemate.oci.digest import require_digest
from casemate.oci.image_spec import ROOTFS_TYPE_LAYERS
from casemate.oci.platform import Platform
from casemate.oci.quoting import quoted
from casemate.oci.strict_json import loads_object, refuse_case_twins

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

MAX_ENTRIES = 4096
"""Most entries of any list or map in a config."""
MAX_LAYERS = 512

_TOP_KEYS = ("architecture", "author", "config", "created", "history", "os", "rootfs", "variant")
_RUN_KEYS = (
    "Cmd",
    "Entrypoint",
    "Env",
    "ExposedPorts",
    "Healthcheck",
    "Labels",
    "OnBuild",
    "Shell",
    "StopSignal",
    "User",
    "Volumes",
    "WorkingDir",
)
_PROTOCOLS = ("tcp", "udp", "sctp")
_MAX_PORT = 65535
_MAX_SIGNAL_NAME = 16
_SIGNAL = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+-")
_HEALTH_DURATIONS = ("Interval", "Timeout", "StartPeriod", "StartInterval", "Retries")


class ImageConfig:
    """What an image says about running it.

    ``env`` is a list of ``KEY=value``; ``entrypoint`` and ``cmd`` are None when absent; ``exposed_ports`` are
    ``80/tcp``; ``volumes`` absolute container paths; ``healthcheck`` docker's object (durations in ns) or
    None; ``raw`` the whole document for ``inspect``, which nothing else may read.
    """

    __slots__ = (
        "architecture",
        "author",
        "cmd",
        "created",
        "diff_ids",
        "entrypoint",
        "env",
        "exposed_ports",
        "healthcheck",
        "history",
        "labels",
        "on_build",
        "os",
        "raw",
        "shell",
        "stop_signal",
        "user",
        "variant",
        "volumes",
        "working_dir",
    )

    def __init__(self, document: dict[str, Any], *, what: str = "image config") -> None:
        refuse_case_twins(document, _TOP_KEYS, what=what)
        run = document.get("config")
        run = {} if run is None else run
        if not isinstance(run, dict):
            raise Invalid("read", what, "config is not an object")
        refuse_case_twins(run, _RUN_KEYS, what=what)
        self.raw = document
        self.architecture = _text(document, "architecture", what)
        self.os = _text(document, "os", what)
        self.variant = _text(document, "variant", what)
        if not self.architecture or not self.os:
            raise Invalid("read", what, "architecture or os is missing")
        self.author = _text(document, "author", what)
        self.created = _text(document, "created", what)
        self.diff_ids = _diff_ids(document.get("rootfs"), what)
        self.history = _history(document.get("history"), what)
        self._read_process(run, what)
        self._read_surroundings(run, what)

    @classmethod
    def parse(cls, data: bytes, *, what: str = "image config") -> ImageConfig:
        """Return the config that ``data`` states. Raises: Invalid, Exhausted, Unsupported."""
        return cls(loads_object(data, what=what), what=what)

    @property
    def platform(self) -> Platform:
        """The platform that the image was made for."""
        return Platform(self.os, self.architecture, self.variant)

    def _read_process(self, run: dict[str, Any], what: str) -> None:
        self.env = [_env_entry(entry, what) for entry in _texts(run, "Env", what) or ()]
        self.entrypoint = _texts(run, "Entrypoint", what, single=True)
        self.cmd = _texts(run, "Cmd", what, single=True)
        self.shell = _texts(run, "Shell", what)
        self.on_build = _texts(run, "OnBuild", what) or []
        self.user = _text(run, "User", what)
        parse_user(self.user)
        self.working_dir = _working_dir(_text(run, "WorkingDir", what), what)
        self.stop_signal = _stop_signal(_text(run, "StopSignal", what), what)
        self.healthcheck = _healthcheck(run.get("Healthcheck"), what)

    def _read_surroundings(self, run: dict[str, Any], what: str) -> None:
        self.exposed_ports = [_port(port, what) for port in _keys(run, "ExposedPorts", what)]
        self.volumes = [container_path(path, what=what) for path in _keys(run, "Volumes", what)]
        self.labels = text_map(run.get("Labels"), what=what, key="Labels")
        _check_count(self.labels, "Labels", what)
        for key, value in self.labels.items():
            _no_nul(key, "Labels", what)
            _no_nul(value, "Labels", what)


def container_path(path: str, *, what: str) -> str:
    """Return an absolute path inside a container, shortened.

    Raises: Invalid for ``..``, NUL, relative, root.
    """
    parts = path.split("/")
    if not path.startswith("/") or ".." in parts or "\0" in path:
        raise Invalid("read", what, f"{quoted(path)} is not an absolute path without '..'")
    clean = "/" + "/".join(part for part in parts if part not in {"", "."})
    if clean == "/":
        raise Invalid("read", what, "a volume cannot replace the root directory")
    return clean


def _text(found: dict[str, Any], key: str, what: str) -> str:
    value = found.get(key)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise Invalid("read", what, f"{key} is not a string")
    return _no_nul(value, key, what)


def _texts(found: dict[str, Any], key: str, what: str, *, single: bool = False) -> list[str] | None:
    value = found.get(key)
    if value is None:
        return None
    if single and isinstance(value, str):  # docker before 1.10 wrote one string
        value = [value]
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise Invalid("read", what, f"{key} is not a list of strings")
    _check_count(value, key, what)
    return [_no_nul(item, key, what) for item in value]


def _keys(found: dict[str, Any], key: str, what: str) -> list[str]:
    value = found.get(key)
    if value is None:
        return []
    if not isinstance(value, dict) or not all(
        isinstance(item, (dict, type(None))) for item in value.values()
    ):
        raise Invalid("read", what, f"{key} is not an object of empty objects")
    _check_count(value, key, what)
    return [_no_nul(item, key, what) for item in value]


def _no_nul(text: str, key: str, what: str) -> str:
    if "\0" in text:
        raise Invalid("read", what, f"{key} holds a NUL character")
    return text


def _check_count(found: dict[str, Any] | list[Any], key: str, what: str) -> None:
    if len(found) > MAX_ENTRIES:
        raise Exhausted("read", what, f"{key} has {len(found)} entries, the limit is {MAX_ENTRIES}")


def _env_entry(entry: str, what: str) -> str:
    name, equals, _ = entry.partition("=")
    if not equals:
        raise Invalid("read", what, f"Env entry {quoted(entry)} has no value")
    if not name or "*" in name or not _is_printable(name):
        raise Invalid("read", what, f"Env entry {quoted(entry)} has no usable name")
    return entry


def _is_printable(text: str) -> bool:
    return all(" " <= char != "\x7f" for char in text)


def _port(text: str, what: str) -> str:
    ports, _, protocol = text.partition("/")
    first, dash, last = ports.partition("-")
    numbers = (first, last) if dash else (first,)
    if (protocol or "tcp") not in _PROTOCOLS or not all(_is_port(number) for number in numbers):
        raise Invalid("read", what, f"exposed port {quoted(text)} is not of the form 80/tcp")
    return f"{ports}/{protocol or 'tcp'}"


def _is_port(text: str) -> bool:
    short = 0 < len(text) <= len(str(_MAX_PORT))
    return short and text.isascii() and text.isdigit() and 0 < int(text) <= _MAX_PORT


def _working_dir(path: str, what: str) -> str:
    if path in {"", "/"}:
        return path
    return container_path(path if path.startswith("/") else "/" + path, what=what)


def _stop_signal(text: str, what: str) -> str:
    if len(text) > _MAX_SIGNAL_NAME or not _SIGNAL.issuperset(text):
        raise Invalid("read", what, f"stop signal {quoted(text)} is not the name or number of a signal")
    return text.upper()


def _healthcheck(found: Any, what: str) -> dict[str, Any] | None:
    if found is None:
        return None
    if not isinstance(found, dict):
        raise Invalid("read", what, "Healthcheck is not an object")
    check: dict[str, Any] = {}
    test = _texts(found, "Test", what)
    if test is not None:
        check["Test"] = test
    for key in _HEALTH_DURATIONS:
        value = found.get(key)
        if value is None:
            continue
        if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 1 << 63:
            raise Invalid("read", what, f"{key} of Healthcheck is {quoted(value)}")
        check[key] = value
    return check


def _diff_ids(rootfs: Any, what: str) -> list[str]:
    if not isinstance(rootfs, dict) or not isinstance(rootfs.get("diff_ids"), (list, type(None))):
        raise Invalid("read", what, "rootfs is missing or holds no list of diff_ids")
    refuse_case_twins(rootfs, ("type", "diff_ids"), what=what)
    if rootfs.get("type") != ROOTFS_TYPE_LAYERS:
        raise Unsupported("read", what, f"rootfs type {quoted(rootfs.get('type'))} is not layers")
    diff_ids: Iterable[Any] = rootfs.get("diff_ids") or ()
    found = [require_digest(diff_id, what=f"a layer in {what}") for diff_id in diff_ids]
    if len(found) > MAX_LAYERS:
        raise Exhausted("read", what, f"{len(found)} layers are over the limit of {MAX_LAYERS}")
    return found


def _history(found: Any, what: str) -> list[dict[str, Any]]:
    if found is None:
        return []
    if not isinstance(found, list):
        raise Invalid("read", what, "history is not a list")
    _check_count(found, "history", what)
    steps: list[dict[str, Any]] = []
    for step in found:
        if not isinstance(step, dict):
            raise Invalid("read", what, "a step of history is not an object")
        kept: dict[str, Any] = {
            key: _text(step, key, what)
            for key in ("created", "created_by", "author", "comment")
            if key in step
        }
        kept["empty_layer"] = step.get("empty_layer") is True
        steps.append(kept)
    return steps
