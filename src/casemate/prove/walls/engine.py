"""Our own engine, as a user meets it: ``casemate run`` with its default profile, and a store of its own."""

from __future__ import annotations

import hashlib
import os
from typing import TYPE_CHECKING

from casemate.errors import Unavailable
from casemate.oci.platform import host_platform
from casemate.prove import command, payload

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from casemate.prove.payload import Content
    from casemate.prove.place import Place
    from casemate.prove.walls.wall import Container


class EngineLanguage:
    """The words of the ``casemate`` command."""

    is_oci = False

    def __init__(self, place: Place) -> None:
        self.name = "casemate"
        self._place = place
        self.state = f"{place.path}/run"
        self._argv = [*command.ours("casemate"), "--root", f"{place.path}/root", "--run-root", self.state]
        self._base = payload.layer(payload.base_files())
        self._images: dict[str, str] = {}

    def start_argv(self, container: Container, name: str, argv: Sequence[str], *, detach: bool) -> list[str]:
        """``casemate run``; loads the image first when its files are new. Raises: Unavailable."""
        words = [
            *self._argv,
            "run",
            "-d" if detach else "--rm",
            "--name",
            name,
            "-h",
            "prove",
            "--network",
            "none",
        ]
        words += [f"-v={source}:{target}" for source, target in container.mounts]
        words += [f"--tmpfs={target}" for target in container.tmpfs]
        words += [f"-e={key}={value}" for key, value in container.env.items()]
        words += [f"--sysctl={key}={value}" for key, value in container.sysctls.items()]
        words += [f"--annotation={key}={value}" for key, value in container.annotations.items()]
        words += [f"--group-add={group}" for group in container.groups]
        words += [f"--user={container.user}", f"--workdir={container.cwd}", self._image(container.files)]
        return [*words, *argv]

    def exec_argv(self, name: str, argv: Sequence[str], *, user: str) -> list[str]:
        """``casemate exec``."""
        return [*self._argv, "exec", *([f"--user={user}"] if user else []), name, *argv]

    def remove_argv(self, name: str) -> list[str]:
        """``casemate rm -f``."""
        return [*self._argv, "rm", "-f", "-v", "--", name]

    def pid_of(self, name: str) -> int:
        """As ``casemate inspect`` says."""
        line = [*self._argv, "inspect", "-f", "{{.State.Pid}}", name]
        return int(command.run(line, cwd=self._place.path).out)

    def leftovers(self) -> list[str]:
        """Names of containers in the store."""
        return command.run([*self._argv, "ps", "-aq"], cwd=self._place.path).out.split()

    def undo(self) -> dict[str, list[str]]:
        """Containers by name, then images with their layers."""
        return {
            "list": [*self._argv, "ps", "-aq"],
            "remove": [*self._argv, "rm", "-f", "-v"],
            "last": [*self._argv, "system", "prune", "-a", "-f"],
        }

    def _image(self, files: Mapping[str, Content]) -> str:
        """Name of the image with these files over the harmless ones."""
        layers = [self._base, payload.layer(files)] if files else [self._base]
        key = hashlib.sha256(layers[-1]).hexdigest()[:16]
        if key not in self._images:
            name = f"prove-{key}:latest"
            path = os.path.join(self._place.path, f"{key}.tar")
            payload.write_archive(path, layers, name=name, platform=host_platform())
            answer = command.run([*self._argv, "load", "-q", "-i", path], cwd=self._place.path)
            os.unlink(path)
            if answer.code != 0:
                raise Unavailable("load", "the image of a check", answer.last_words)
            self._images[key] = name
        return self._images[key]
