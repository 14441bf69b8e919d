"""The log file that callers (conmon, containerd-shim, dockerd) read to learn why something failed: text or JSON, as runc's."""

from __future__ import annotations

import os
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from casemate.runtime.cli.main import Settings


def line(settings: Settings, level: str, message: str) -> str:
    """Return one line of the log in the format that was asked for."""
    from casemate.oci.quick_json import dumps

    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    if settings.log_format == "json":
        return dumps({"level": level, "msg": message, "time": now})
    return f'time="{now}" level={level} msg={dumps(message)}'


def write_line(settings: Settings, level: str, message: str) -> None:
    """Append one line to the file of --log, if there is one; a log that cannot be written changes nothing."""
    if not settings.log:
        return
    try:
        fd = os.open(
            settings.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644
        )
    except OSError:
        return
    try:
        os.write(fd, line(settings, level, message).encode() + b"\n")
    finally:
        os.close(fd)
