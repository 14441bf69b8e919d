"""Everything the cases need, started once: private stores of each engine with the same image in them."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from contextlib import ExitStack
from typing import TYPE_CHECKING

from bench import peers
from bench.images import archive, busybox_archive, debian_layers
from bench.rounds import CommandError, timed

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType
    from typing import Self

REGISTRY_PORT = 5017
PEAK = """
import resource, subprocess, sys
status = subprocess.call(sys.argv[1:], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
print(status, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024)
"""


class Stage:
    """The engines that could be started (``engines``: name -> command line), and why others could not."""

    def __init__(self, work: str, wanted: list[str]) -> None:
        self.work = work
        self.wanted = wanted
        self.engines: dict[str, list[str]] = {}
        self.missing: dict[str, str] = {}
        self._undo = ExitStack()
        self._reference = ""

    def __enter__(self) -> Self:
        os.makedirs(self.work, exist_ok=True)
        self._undo.enter_context(peers.no_new_groups())
        self._undo.callback(peers.remove_tree, self.work)
        ours = [
            peers.casemate(),
            "--root",
            f"{self.work}/casemate",
            "--run-root",
            f"{self.work}/casemate-run",
        ]
        self._start("casemate", lambda: ours)
        self._start("podman", lambda: peers.podman(f"{self.work}/podman"))
        self._start("docker", lambda: self._undo.enter_context(peers.dockerd(f"{self.work}/docker")))
        image = busybox_archive(self.work)
        for argv in self.engines.values():
            subprocess.run([*argv, "load", "-q", "-i", image], check=True, capture_output=True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._undo.close()

    def _start(self, name: str, start: Callable[[], list[str]]) -> None:
        if name not in self.wanted:
            return
        try:
            self.engines[name] = start()
        except (RuntimeError, OSError) as error:
            self.missing[name] = str(error)

    def debian_reference(self) -> str:
        """Push the Debian image to a registry of our own, once; return its reference."""
        if self._reference:
            return self._reference
        host = self._undo.enter_context(peers.registry(f"{self.work}/registry", REGISTRY_PORT))
        name = f"{host}/bench/debian:latest"
        path = archive(self.work, name, debian_layers(self.work))
        push = [peers.find("skopeo") or "skopeo", "copy", "-q", "--dest-tls-verify=false"]
        subprocess.run([*push, f"docker-archive:{path}", f"docker://{name}"], check=True)
        self._reference = name
        return name

    def pull_command(self, engine: str, reference: str, store: str) -> list[str]:
        """Return the command that pulls into the new store ``store`` (docker's store is its daemon's)."""
        if engine == "casemate":
            return [
                peers.casemate(),
                "--root",
                f"{store}/root",
                "--run-root",
                f"{store}/run",
                "pull",
                "-q",
                reference,
            ]
        if engine == "podman":
            return [*peers.podman(store), "pull", "-q", "--tls-verify=false", reference]
        message = f"no pull command for {engine}"
        raise CommandError(message)

    def pull_into_new_store(self, engine: str, reference: str, number: int) -> float:
        """Time one pull in milliseconds."""
        store = os.path.join(self.work, f"pull-{engine}-{number}")
        if engine == "docker":
            with peers.dockerd(store) as client:
                return timed([*client, "pull", "-q", reference])
        return timed(self.pull_command(engine, reference, store))

    def peak_of_pull(self, engine: str, reference: str) -> float:
        """Return the largest resident set in MiB of any process of one pull."""
        store = os.path.join(self.work, f"peak-{engine}")
        argv = [sys.executable, "-c", PEAK, *self.pull_command(engine, reference, store)]
        answer = subprocess.run(argv, capture_output=True, text=True, check=True)
        status, peak = answer.stdout.split()
        if status != "0":
            message = f"{engine} pull exited with {status}"
            raise CommandError(message)
        return float(peak)


def lift_limits() -> None:
    """Allow as many descriptors as the hard limit permits: daemons need them."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
