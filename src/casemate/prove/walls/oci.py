"""Any runtime with the OCI command line (ours, runc, crun), given bundles whose config.json states our default profile."""

from __future__ import annotations

import copy
import json
import os
import shutil
from typing import TYPE_CHECKING

from casemate.errors import NotFound
from casemate.prove import command, payload
from casemate.runtime import default_profile
from casemate.runtime.cli.spec import default_spec

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from casemate.prove.place import Place
    from casemate.prove.walls.wall import Container

OURS = "casemate-oci"


def runtime_argv(word: str) -> list[str]:
    """The command of a runtime that is named or given by path. Raises: NotFound."""
    if word == OURS:
        return command.ours("casemate_oci")
    path = os.path.abspath(word) if "/" in word else shutil.which(word, path=command.SEARCH)
    if path is None or not os.access(path, os.X_OK) or os.path.isdir(path):
        raise NotFound(
            "find runtime", word, "it is not an executable program", hint=f"apt-get install {word}"
        )
    # crun without privilege insists on a control group that an ordinary user seldom has
    extra = ["--cgroup-manager=disabled"] if os.path.basename(path) == "crun" and os.geteuid() else []
    return [path, *extra]


class OciLanguage:
    """The words of an OCI runtime."""

    is_oci = True

    def __init__(self, place: Place, runtime: str) -> None:
        self.name = runtime
        self._place = place
        # one level deeper than needed: a runtime that takes ".." for a name meets nothing of worth there
        self.state = f"{place.path}/wall/state"
        os.makedirs(self.state, 0o700)
        self._argv = [*runtime_argv(runtime), "--root", self.state]
        self._base = payload.base_files()
        self._program = f"{place.path}/busybox"  # one file for all bundles
        payload.write_tree(place.path, {"bin/busybox": self._base.pop("bin/busybox")})
        os.rename(f"{place.path}/bin/busybox", self._program)
        self._rootless = os.geteuid() != 0

    def start_argv(self, container: Container, name: str, argv: Sequence[str], *, detach: bool) -> list[str]:
        """``RUNTIME run``; writes the bundle first."""
        bundle = self._place.directory("bundle", 0o755)
        payload.write_tree(f"{bundle}/rootfs", {**self._base, **container.files})
        os.link(self._program, f"{bundle}/rootfs/bin/busybox")
        with open(f"{bundle}/config.json", "w", encoding="utf-8") as file:
            json.dump(self._config(container, argv), file)
        return [*self._argv, "run", *(["--detach"] if detach else []), "--bundle", bundle, name]

    def exec_argv(self, name: str, argv: Sequence[str], *, user: str) -> list[str]:
        """``RUNTIME exec``."""
        return [*self._argv, "exec", *(["--user", user] if user else []), name, *argv]

    def remove_argv(self, name: str) -> list[str]:
        """``RUNTIME delete --force``."""
        return [*self._argv, "delete", "--force", name]

    def pid_of(self, name: str) -> int:
        """As ``RUNTIME state`` says."""
        answer = command.run([*self._argv, "state", name], cwd=self._place.path)
        return int(json.loads(answer.out)["pid"])

    def leftovers(self) -> list[str]:
        """Directories of containers below the state root."""
        return [entry.name for entry in os.scandir(self.state) if entry.is_dir() and entry.name[0] != "."]

    def undo(self) -> dict[str, list[str]]:
        """Containers by id."""
        return {
            "list": [*self._argv, "list", "-q"],
            "remove": [*self._argv, "delete", "--force"],
            "last": [],
        }

    def _config(self, container: Container, argv: Sequence[str]) -> dict[str, Any]:
        spec = copy.deepcopy(default_spec(rootless=self._rootless))
        uid, _, gid = container.user.partition(":")
        spec["root"]["readonly"] = False
        spec["hostname"] = "prove"
        spec["annotations"] = dict(container.annotations)
        spec["process"] |= {
            "terminal": False,
            "args": list(argv),
            "cwd": container.cwd,
            "user": {"uid": int(uid), "gid": int(gid or uid), "additionalGids": list(container.groups)},
            "capabilities": default_profile.default_capabilities(int(uid)),
            "env": ["PATH=/bin", *(f"{key}={value}" for key, value in container.env.items())],
        }
        spec["linux"]["sysctl"] = dict(container.sysctls)
        spec["mounts"] += [
            {"destination": target, "type": "bind", "source": source, "options": ["rbind", "nosuid", "nodev"]}
            for source, target in container.mounts
        ]
        spec["mounts"] += [
            {"destination": target, "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "nodev"]}
            for target in container.tmpfs
        ]
        return spec
