"""`process` and `user`, field by field: what config.json says is what the program finds, with run and with exec."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from ocibundle import Runtime, made_runtime
from terminal import on_terminal

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [
    pytest.mark.system,
    pytest.mark.needs_root,
    pytest.mark.skipif(not shutil.which("busybox"), reason="needs busybox-static"),
]


@pytest.fixture(params=["root", "rootless"])
def oci(request: pytest.FixtureRequest) -> Iterator[Runtime]:
    with made_runtime(rootless=request.param == "rootless") as runtime:
        yield runtime


@pytest.fixture
def root_oci() -> Iterator[Runtime]:
    with made_runtime(rootless=False) as runtime:
        yield runtime


def seen(oci: Runtime, script: str, **process: Any) -> str:
    """Run a script with some fields of `process` set, once as the first program and once by exec; both must see the same."""
    oci.spec["process"].update(process)
    first = oci.run("sh", "-c", script)
    assert first.returncode == 0, first.stderr
    oci.args("sleep", "100")
    assert oci("run", "--detach", "c").returncode == 0
    about = {**oci.spec["process"], "args": ["sh", "-c", script]}
    (oci.base / "process.json").write_text(json.dumps(about))
    second = oci("exec", "--process", str(oci.base / "process.json"), "c")
    assert second.returncode == 0, second.stderr
    assert second.stdout == first.stdout
    oci("delete", "--force", "c")
    return first.stdout


def test_every_limit_is_what_the_program_has(oci: Runtime) -> None:
    wanted = {
        "RLIMIT_CPU": ("Max cpu time", 1000),
        "RLIMIT_FSIZE": ("Max file size", 1 << 30),
        "RLIMIT_DATA": ("Max data size", 1 << 31),
        "RLIMIT_STACK": ("Max stack size", 1 << 22),
        "RLIMIT_CORE": ("Max core file size", 0),
        "RLIMIT_RSS": ("Max resident set", 1 << 31),
        "RLIMIT_NPROC": ("Max processes", 500),
        "RLIMIT_NOFILE": ("Max open files", 64),
        "RLIMIT_MEMLOCK": ("Max locked memory", 4096),
        "RLIMIT_AS": ("Max address space", 1 << 32),
        "RLIMIT_LOCKS": ("Max file locks", 10),
        "RLIMIT_SIGPENDING": ("Max pending signals", 11),
        "RLIMIT_MSGQUEUE": ("Max msgqueue size", 12),
        "RLIMIT_NICE": ("Max nice priority", 0),
        "RLIMIT_RTPRIO": ("Max realtime priority", 0),
        "RLIMIT_RTTIME": ("Max realtime timeout", 13),
    }
    limits = [{"type": name, "soft": value, "hard": value} for name, (_, value) in wanted.items()]
    found = seen(oci, "cat /proc/self/limits", rlimits=limits)
    for title, value in wanted.values():
        line = next(line for line in found.splitlines() if line.startswith(title))
        assert line[len(title) :].split()[:2] == [str(value)] * 2, line


def test_the_soft_limit_may_be_below_the_hard_one(oci: Runtime) -> None:
    limits = [{"type": "RLIMIT_NOFILE", "soft": 50, "hard": 60}]
    assert seen(oci, "ulimit -Sn; ulimit -Hn", rlimits=limits).split() == ["50", "60"]


def test_each_capability_set_is_its_own(root_oci: Runtime) -> None:
    sets = {
        "bounding": ["CAP_CHOWN", "CAP_KILL", "CAP_SETUID"],
        "permitted": ["CAP_CHOWN", "CAP_KILL"],
        "effective": ["CAP_CHOWN"],
        "inheritable": ["CAP_KILL"],
        "ambient": ["CAP_KILL"],
    }
    about = seen(root_oci, "grep ^Cap /proc/self/status", user={"uid": 1000, "gid": 1000}, capabilities=sets)
    found = {line.split(":")[0]: int(line.split()[1], 16) for line in about.splitlines()}
    chown, kill, setuid = 1 << 0, 1 << 5, 1 << 7
    assert found["CapBnd"] == chown | kill | setuid
    assert found["CapInh"] == kill
    assert found["CapAmb"] == kill, "what an ordinary user keeps over exec"
    assert found["CapPrm"] == found["CapEff"] == kill


def test_an_unknown_capability_is_noted_and_the_rest_is_given(root_oci: Runtime) -> None:
    names = ["CAP_KILL", "CAP_FROM_THE_FUTURE"]
    root_oci.spec["process"]["capabilities"] = dict.fromkeys(("bounding", "effective", "permitted"), names)
    log = root_oci.base / "log"
    root_oci.args("grep", "^CapEff", "/proc/self/status")
    found = root_oci("--log", str(log), "run", "c")
    assert int(found.stdout.split()[1], 16) == 1 << 5
    assert "CAP_FROM_THE_FUTURE" in log.read_text()


@pytest.mark.parametrize("value", [True, False])
def test_no_new_privileges_is_as_asked(oci: Runtime, value: bool) -> None:  # noqa: FBT001 - the field's own two values
    found = seen(oci, "grep ^NoNewPrivs /proc/self/status", noNewPrivileges=value)
    assert found.split() == ["NoNewPrivs:", str(int(value))]


def test_oom_score_adj_is_as_asked_and_untouched_without(oci: Runtime) -> None:
    ours = Path("/proc/self/oom_score_adj").read_text()
    assert seen(oci, "cat /proc/self/oom_score_adj", oomScoreAdj=700) == "700\n"
    del oci.spec["process"]["oomScoreAdj"]
    assert seen(oci, "cat /proc/self/oom_score_adj") == ours


def test_umask_is_as_asked(oci: Runtime) -> None:
    (oci.rootfs / "tmp").chmod(0o1777)
    script = "umask; rm -f /tmp/new; touch /tmp/new; stat -c %a /tmp/new"
    user = dict(oci.spec["process"]["user"])
    assert seen(oci, script, user={**user, "umask": 0o77}).split() == ["0077", "600"]
    assert seen(oci, script, user={**user, "umask": 0}).split() == ["0000", "666"]


def test_user_group_and_additional_groups_are_as_asked(root_oci: Runtime) -> None:
    user = {"uid": 12, "gid": 34, "additionalGids": [56, 78, 4294967294]}
    found = seen(root_oci, "id -u; id -g; grep ^Groups /proc/self/status", user=user)
    assert found.split() == ["12", "34", "Groups:", "56", "78", "4294967294"]


def test_groups_that_a_namespace_with_one_id_cannot_have_are_refused_by_name() -> None:
    with made_runtime(rootless=True) as oci:
        oci.spec["process"]["user"]["additionalGids"] = [0]
        found = oci.run("id")
        assert found.returncode == 1
        assert "process.user.additionalGids" in found.stderr


@pytest.mark.parametrize(
    ("field", "module", "where"),
    [
        ("apparmorProfile", "AppArmor", "/sys/kernel/security/apparmor"),
        ("selinuxLabel", "SELinux", "/sys/fs/selinux"),
    ],
)
def test_labels_of_absent_security_modules_are_refused_by_name(
    oci: Runtime, field: str, module: str, where: str
) -> None:
    if os.path.isdir(where):
        return  # this host has it: what it does there is another test's
    oci.spec["process"][field] = "some_label"
    found = oci.run("true")
    assert f"apply process.{field} some_label: {module} is not active on this host" in found.stderr
    assert "does not exist" in oci("state", "c").stderr
    oci.spec["process"].pop(field)
    oci.args("sleep", "100")
    assert oci("run", "--detach", "c").returncode == 0
    process = oci.base / "process.json"
    process.write_text(json.dumps({**oci.spec["process"], "args": ["true"], field: "some_label"}))
    assert "is not active on this host" in oci("exec", "--process", str(process), "c").stderr


def test_host_and_domain_name_are_the_containers_own(oci: Runtime) -> None:
    oci.spec.update(hostname="in-here", domainname="example.test")
    ours = os.uname().nodename, Path("/proc/sys/kernel/domainname").read_text()
    found = oci.run("cat", "/proc/sys/kernel/hostname", "/proc/sys/kernel/domainname")
    assert found.stdout.split() == ["in-here", "example.test"], found.stderr
    assert (os.uname().nodename, Path("/proc/sys/kernel/domainname").read_text()) == ours


def test_the_terminal_has_the_size_that_was_asked_for(root_oci: Runtime) -> None:
    root_oci.spec["process"].update(terminal=True, consoleSize={"height": 33, "width": 101})
    root_oci.args("busybox", "stty", "size")
    root_oci.save()
    code, text = on_terminal(root_oci.command("run", "c"), cwd=root_oci.bundle)
    assert (code, text.split()) == (0, ["33", "101"])


def test_working_directory_environment_and_arguments_arrive_as_they_are(oci: Runtime) -> None:
    (oci.rootfs / "tmp").chmod(0o1777)
    found = seen(
        oci,
        'pwd; env | grep -c "^A="; echo "$A"; echo "[$EMPTY]"',
        cwd="/tmp",
        env=["PATH=/bin", "A=first", "A=last = one", "EMPTY="],
    )
    assert found == "/tmp\n1\nlast = one\n[]\n"
    found_words = oci.run("sh", "-c", 'for word; do echo "<$word>"; done', "name", "", "a b", "é\n*")
    assert found_words.stdout == "<>\n<a b>\n<é\n*>\n"
