"""The log file that callers (conmon, containerd-shim, dockerd) read to learn why something failed: text or JSON, as runc's."""

from __future__ import annotations

import os
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from casemate.runtime.cli.main import Settings


def write_error(settings: Settings, message: str) -> None:
    """Append an error; a log that cannot be written changes nothing."""
    write_line(settings, "error", message)


def write_line(settings: Settings, level: str, message: str) -> None:
    """Append one line to the file of --log, if there is one."""
    if not settings.log:
        return
    from casemate.oci.quick_json import dumps

    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    if settings.log_format == "json":
        line = dumps({"level": level, "msg": message, "time": now})
    else:
        line = f'time="{now}" level={level} msg={dumps(message)}'
    try:
        fd = os.open(
            settings.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644
        )
    except OSError:
        return
    try:
        os.write(fd, line.encode() + b"\n")
    finally:
        os.close(fd)
