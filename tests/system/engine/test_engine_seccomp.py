"""The user's own seccomp profile in the engine: an agent gives verdicts to attached, detached and exec'd programs."""

from __future__ import annotations

import errno
import json
import os
from typing import TYPE_CHECKING, Any

import pytest
from seccompagent import Agent

from casemate.engine.options import ContainerOptions
from casemate.errors import Invalid, NotFound

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from casemate.engine.engine import Engine

pytestmark = [
    pytest.mark.system,
    pytest.mark.skipif(os.uname().machine != "x86_64", reason="numbers of x86-64"),
]


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[Agent]:
    made = Agent(tmp_path / "agent", lambda *_: (0, errno.EPROTO, 0))
    yield made
    made.close()
    assert made.faults == []


@pytest.fixture
def profile(tmp_path: Path) -> str:
    """Allows everything; an agent is asked about new directories."""
    path = tmp_path / "profile.json"
    rules = [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_NOTIFY"}]
    listener = {"listenerPath": str(tmp_path / "agent"), "listenerMetadata": "of the engine"}
    path.write_text(json.dumps({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": rules, **listener}))
    return f"seccomp={path}"


def test_an_agent_is_asked_by_run_and_by_exec(  # noqa: PLR0917 - fixtures
    agent: Agent, profile: str, engine: Engine, run: Callable[..., Any], execute: Callable[..., Any]
) -> None:
    found = run("mkdir", "/tmp/x", security_opt=[profile])
    assert (found.code, "Protocol error" in found.err) == (1, True), found.err
    box = engine.containers.create("busybox", ContainerOptions(argv=["sleep", "100"], security_opt=[profile]))
    box.start()
    found = execute(box, "mkdir", "/tmp/x")
    assert "Protocol error" in found.err
    box.remove(force=True)
    first, second, third = agent.messages  # which come when the connection was closed: no keeper holds it
    assert {one["metadata"] for one in agent.messages} == {"of the engine"}
    assert first["state"]["id"] != second["state"]["id"] == third["state"]["id"]
    assert third["pid"] != third["state"]["pid"] == second["pid"]


def test_an_absent_agent_is_said_so_and_a_missing_path_is_refused(
    engine: Engine, tmp_path: Path, run: Callable[..., Any]
) -> None:
    path = tmp_path / "profile.json"
    rules = [{"names": ["mkdir"], "action": "SCMP_ACT_NOTIFY"}]
    text = {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": rules}
    path.write_text(json.dumps(text | {"listenerPath": str(tmp_path / "nobody")}))
    with pytest.raises(NotFound, match="seccomp agent"):
        run("true", security_opt=[f"seccomp={path}"])
    path.write_text(json.dumps(text))
    with pytest.raises(Invalid, match="listenerPath"):
        run("true", security_opt=[f"seccomp={path}"])
    assert engine.containers.list(all=True) == []
