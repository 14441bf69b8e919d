"""What the plans of the runtime take for granted about the kernel, shown with ``enter`` itself, as root."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from casemate.errors import Invalid
from casemate.runtime.launch import launch
from casemate.runtime.ops import FSCONFIG_FD_PATH, NO_SLOT
from casemate.runtime.plan import LEAVE, WAIT, Keeper, Plan

pytestmark = [
    pytest.mark.system,
    pytest.mark.needs_root,
    pytest.mark.skipif(not os.path.exists("/bin/busybox"), reason="needs busybox-static"),
]

NAMESPACES = 0x80 | 0x00020000 | 0x02000000 | 0x04000000 | 0x08000000 | 0x10000000 | 0x20000000 | 0x40000000
STORE, BASE, COUNT = 0x40000000, 0x40010000, 65536
O_PATH, O_DIRECTORY = 0o10000000, 0o200000
SET_FLAG, SET_STRING, SET_FD, CREATE = 0, 1, 5, 6
OPEN_TREE_CLONE, ATTR_IDMAP, ATTR_RDONLY, MS_SLAVE, AT_RECURSIVE = 1, 0x100000, 1, 1 << 19, 0x8000
NOSUID_NODEV_NOEXEC = 0xE
LEAVE_OOM = 1001

FRESH: list[tuple[str, str, list[tuple[str, str | None]]]] = [
    ("proc", "proc", []),
    ("sysfs", "sys", []),
    ("tmpfs", "dev", [("mode", "755")]),
    ("mqueue", "dev/mqueue", []),
    ("devpts", "dev/pts", [("newinstance", None), ("ptmxmode", "0666"), ("mode", "0620")]),
    ("tmpfs", "dev/shm", [("size", "1m")]),
]


@pytest.fixture
def layers(tmp_path: Path) -> Path:
    for name in ("upper", "work", "top/etc", "bottom/etc", "bottom/bin"):
        (tmp_path / name).mkdir(parents=True)
    for name in ("proc", "sys", "dev"):
        (tmp_path / "bottom" / name).mkdir()
    shutil.copy("/bin/busybox", tmp_path / "bottom/bin/sh")
    (tmp_path / "bottom/etc/file").write_text("bottom")
    (tmp_path / "top/etc/other").write_text("top")
    for root in ("top", "bottom"):
        for directory, _, files in os.walk(tmp_path / root):
            for path in (directory, *(os.path.join(directory, file) for file in files)):
                os.chown(path, STORE, STORE)
    for name in ("upper", "work"):
        os.chown(tmp_path / name, BASE, BASE)
    return tmp_path


def add_overlay(plan: Plan, layers: Path, program: str, *, by_descriptor: bool) -> int:
    """Stack the idmapped layers; the slot of the detached mount."""
    userns, context, root = plan.new_slot(), plan.new_slot(), plan.new_slot()
    ids = f"{STORE} {BASE} {COUNT}\n".encode()
    plan.add("before", "USERNS", userns, ids, ids, meaning="make the map of the layers")
    parts = []
    for key, name in (
        ("lowerdir+", "top"),
        ("lowerdir+", "bottom"),
        ("upperdir", "upper"),
        ("workdir", "work"),
    ):
        slot = plan.slot_of(os.open(layers / name, O_PATH | O_DIRECTORY), owned=True, label=name)
        if key == "lowerdir+":
            copy = plan.new_slot()
            plan.add("before", "OPEN_TREE", copy, slot, None, OPEN_TREE_CLONE)
            plan.add("before", "MOUNT_SETATTR", copy, 0, ATTR_IDMAP | ATTR_RDONLY, 0, 0, userns)
            slot = copy
        parts.append((key, slot))
    plan.add(program, "FSOPEN", context, "overlay")
    for key, slot in parts:
        plan.add(program, "FSCONFIG", context, SET_FD if by_descriptor else FSCONFIG_FD_PATH, key, None, slot)
    plan.add(program, "FSCONFIG", context, SET_FLAG, "userxattr", None, NO_SLOT)
    plan.add(program, "FSCONFIG", context, CREATE, None, None, NO_SLOT, meaning="stack the layers")
    plan.add(program, "FSMOUNT", root, context, 0)
    return root


def add_container(plan: Plan, root: int) -> None:
    """Everything between a detached root and its program."""
    ids = f"0 {BASE} {COUNT}\n".encode()
    place, top = plan.new_slot(), plan.new_slot()
    plan.add("beside", "MAP_IDS", ids, ids, 0, LEAVE_OOM)
    plan.add("inside", "GID", 0)
    plan.add("inside", "UID", 0)
    plan.add("inside", "OPENAT2", top, NO_SLOT, "/", O_PATH | O_DIRECTORY, 0, 0)
    plan.add("inside", "MOUNT_SETATTR", top, AT_RECURSIVE, 0, 0, MS_SLAVE, NO_SLOT)
    plan.add("inside", "OPENAT2", place, NO_SLOT, "/tmp", O_PATH | O_DIRECTORY, 0, 0)
    plan.add("inside", "MOVE_MOUNT", root, place, meaning="mount the root that the host made")
    for kind, path, options in FRESH:
        context, mount, target = plan.new_slot(), plan.new_slot(), plan.new_slot()
        plan.add("inside", "FSOPEN", context, kind)
        for key, value in options:
            plan.add("inside", "FSCONFIG", context, SET_STRING if value else SET_FLAG, key, value, NO_SLOT)
        plan.add("inside", "FSCONFIG", context, CREATE, None, None, NO_SLOT, meaning=f"make a {kind}")
        plan.add("inside", "FSMOUNT", mount, context, NOSUID_NODEV_NOEXEC)
        plan.add("inside", "TARGET", target, root, path, 1, 0o755)
        plan.add("inside", "MOVE_MOUNT", mount, target, meaning=f"mount {path}")
    plan.add("inside", "PIVOT_ROOT", root, meaning="enter the root")
    plan.add("inside", "LOOPBACK_UP")
    plan.add("inside", "CHDIR", "/")


@pytest.mark.parametrize("by_descriptor", [True, False], ids=["by descriptor", "by path"])
def test_a_root_of_idmapped_layers_is_made_detached_and_entered(layers: Path, *, by_descriptor: bool) -> None:
    mounts = Path("/proc/self/mountinfo").read_text()
    plan = Plan(clone_flags=NAMESPACES)
    plan.keeper = Keeper(WAIT)
    reader, writer = os.pipe()
    plan.add("inside", "STDIO", plan.slot_of(writer, owned=True), 1)
    add_container(plan, add_overlay(plan, layers, "before", by_descriptor=by_descriptor))
    script = "echo $$; cat /etc/file /etc/other; echo; echo new > /etc/made; ls -ln /etc; "
    script += "cut -d' ' -f5 /proc/self/mountinfo"
    plan.add("inside", "EXEC", ["/bin/sh", "-c", script], ["PATH=/bin"])
    with launch(plan) as launched:
        plan.close()
        status = launched.wait_exit(20)
    with open(reader, encoding="utf-8") as file:
        lines = file.read().splitlines()
    if "applet not found" in " ".join(lines) or status >> 8 == 127:
        pytest.skip("this busybox runs no applets from its shell")
    assert status == 0
    assert lines[:2] == ["1", "bottomtop"]
    assert all(line.split()[2:4] == ["0", "0"] for line in lines if line.endswith(("file", "other", "made")))
    assert lines[-7:] == ["/", "/proc", "/sys", "/dev", "/dev/mqueue", "/dev/pts", "/dev/shm"]
    made = os.stat(layers / "upper/etc/made")
    assert (made.st_uid, made.st_gid) == (BASE, BASE), "upper holds the container's own ids"
    assert Path("/proc/self/mountinfo").read_text() == mounts, "no mount of ours was ever on the host"


def test_idmapped_layers_cannot_be_stacked_inside_the_user_namespace(layers: Path) -> None:
    plan = Plan(clone_flags=NAMESPACES)
    root = add_overlay(plan, layers, "inside", by_descriptor=True)
    add_container(plan, root)
    plan.add("inside", "EXEC", ["/bin/true"], [])
    with pytest.raises(Invalid, match="stack the layers"):
        launch(plan)
    plan.close()


def test_a_plan_that_leaves_needs_no_keeper(layers: Path) -> None:
    plan = Plan(clone_flags=NAMESPACES)
    plan.keeper = Keeper(LEAVE)
    add_container(plan, add_overlay(plan, layers, "before", by_descriptor=True))
    plan.add("inside", "REPORT", 1)
    plan.add("inside", "EXEC", ["/bin/sh", "-c", "exit 0"], [])
    with launch(plan) as launched:
        assert launched.reports == [1]
    plan.close()
