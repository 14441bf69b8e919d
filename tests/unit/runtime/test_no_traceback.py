"""Whatever stands in config.json: the answer is a plan or an error in words, never a traceback."""

from __future__ import annotations

import copy
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from casemate.core.snapshots import RootFs
from casemate.errors import CasemateError, Internal
from casemate.runtime import container
from casemate.runtime.cli.spec import default_spec
from casemate.runtime.compile import validate
from casemate.runtime.request import ContainerRequest
from casemate.runtime.schema.document import without_nulls

if TYPE_CHECKING:
    from collections.abc import Iterator

WORDS = [
    *(
        "",
        "/",
        "/x",
        "/proc",
        "/dev",
        "/dev/null",
        "..",
        "../..",
        "a",
        "a=b",
        "=",
        "x" * 300,
        "é",
        "\n",
        "%d",
    ),
    *("bind", "rbind", "ro", "rro", "idmap", "ridmap", "tmpcopyup", "remount", "shared", "size=1", "mode=x"),
    *("tmpfs", "proc", "sysfs", "devpts", "mqueue", "cgroup", "none", "overlay", "c", "b", "p", "u", "rwm"),
    *(
        "CAP_KILL",
        "CAP_NO",
        "RLIMIT_CPU",
        "0-3,7",
        "0",
        "1",
        "-1",
        "pid",
        "user",
        "network",
        "time",
        "cgroup",
    ),
    *("/proc/self/ns/net", "/proc/1/ns/pid", "SCMP_ACT_ALLOW", "SCMP_ACT_NOTIFY", "SCMP_ARCH_X86", "read"),
    *("MPOL_BIND", "LINUX32", "SCHED_FIFO", "IOPRIO_CLASS_RT", "net.ipv4.ip_forward", "kernel.msgmax"),
]
LEAVES = st.one_of(
    st.none(),
    st.booleans(),
    st.sampled_from(
        [0, 1, -1, 5, 1000, 65536, (1 << 31) - 1, 1 << 31, (1 << 32) - 1, 1 << 32, (1 << 63) - 1]
    ),
    st.integers(),
    st.sampled_from(WORDS),
    st.text(max_size=4),
)
JUNK = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.sampled_from(WORDS), inner, max_size=3)
    ),
    max_leaves=4,
)


def full_spec() -> dict[str, Any]:
    """A config that this host could start, with most fields of the specification in it."""
    spec = copy.deepcopy(default_spec(rootless=os.geteuid() != 0))  # it shares the default profile's lists
    spec["process"].update(
        terminal=False,
        user={"uid": 0, "gid": 0, "umask": 18, "additionalGids": []},
        oomScoreAdj=500,
        scheduler={"policy": "SCHED_BATCH", "nice": 5, "priority": 0, "flags": []},
        ioPriority={"class": "IOPRIO_CLASS_BE", "priority": 3},
        execCPUAffinity={"initial": "0", "final": "0"},
        consoleSize={"height": 1, "width": 1},
    )
    spec.update(
        domainname="d", annotations={"a": "b"}, hooks={"prestart": [{"path": "/bin/true", "timeout": 1}]}
    )
    spec["linux"].update(
        sysctl={"net.ipv4.ip_forward": "1"},
        devices=[{"path": "/dev/fuse", "type": "c", "major": 10, "minor": 229, "fileMode": 438, "uid": 0}],
        rootfsPropagation="slave",
        cgroupsPath="/a",
        memoryPolicy={"mode": "MPOL_LOCAL", "nodes": "", "flags": []},
        personality={"domain": "LINUX", "flags": []},
    )
    spec["mounts"].append(
        {"destination": "/srv", "source": "/tmp", "type": "bind", "options": ["rbind", "ro"]}
    )
    return spec


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every place of a document; of long lists only the first entries."""
    items = (
        value.items() if isinstance(value, dict) else enumerate(value[:4]) if isinstance(value, list) else ()
    )
    for key, item in items:
        if path[-2:] != ("seccomp", "syscalls"):
            yield (*path, key)
            yield from places(item, (*path, key))


PLACES = list(places(full_spec()))


def put(spec: dict[str, Any], path: tuple[Any, ...], value: Any) -> None:
    holder: Any = spec
    for key in path[:-1]:
        try:
            holder = holder[key]
        except (KeyError, IndexError, TypeError):
            return
    last = path[-1]
    fits = isinstance(holder, list) and isinstance(last, int) and last < len(holder)
    if isinstance(holder, dict) or fits:
        holder[last] = value


@settings(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.tuples(st.sampled_from(PLACES), JUNK), min_size=1, max_size=3))
def test_a_changed_config_gives_a_plan_or_an_error_in_words(
    changes: list[tuple[tuple[Any, ...], Any]],
) -> None:
    spec = full_spec()
    for path, value in changes:
        put(spec, path, value)
    spec = without_nulls(spec)
    with tempfile.TemporaryDirectory() as rootfs:
        try:
            validate.check(spec)
            plan = container.plan_container(
                ContainerRequest("c", spec, RootFs("bind", [rootfs]), bundle_dir=str(Path(rootfs).parent))
            )
            plan.encode()
            plan.close()
        except (CasemateError, OSError) as error:
            assert not isinstance(error, Internal), error  # noqa: PT017 - what is caught is the subject


def test_unchanged_it_gives_a_plan(tmp_path: Path) -> None:
    spec = full_spec()
    validate.check(spec)
    plan = container.plan_container(ContainerRequest("c", spec, RootFs("bind", [str(tmp_path)])))
    assert "SCHEDULER" in "\n".join(plan.describe())
    plan.close()
