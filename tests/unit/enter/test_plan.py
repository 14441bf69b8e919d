"""Plans: encoding, slots, description, and what is refused before anything runs."""

from __future__ import annotations

import os

import pytest

from casemate.errors import Denied, Exhausted, Internal, NotExecutable, NotFound, ProgramNotFound, Unsupported
from casemate.runtime.exitrecord import parse_exit_record, status_of
from casemate.runtime.launch import failure
from casemate.runtime.plan import HEADER, KEEP, OPERATION, Keeper, Operation, Plan


def small_plan() -> Plan:
    plan = Plan(clone_flags=0x20020000)
    root = plan.slot_of(10, owned=False, label="root")
    mount = plan.new_slot()
    plan.add("before", "OPEN_TREE", mount, root, None, 1, meaning="copy the mount")
    plan.add("inside", "MKDIR", root, "proc", 0o755)
    plan.add("inside", "MOUNT_SETATTR", mount, 0, 1, 0, 0, -1)
    plan.add("inside", "WRITE", root, b"\x00" * 100, 0)
    plan.add("inside", "EXEC", ["/bin/sh", "-c", "true"], [], meaning="run /bin/sh")
    return plan


def operation_at(data: bytes, index: int) -> tuple[int, ...]:
    return OPERATION.unpack_from(data, HEADER.size + index * OPERATION.size)


def pooled(data: bytes, argument: int) -> bytes:
    pool = HEADER.unpack_from(data)[5]
    start = pool + (argument >> 32)
    return data[start : start + (argument & 0xFFFFFFFF)]


def test_the_header_describes_the_plan() -> None:
    plan = small_plan()
    data = plan.encode()
    magic, version, size, op_offset, op_count, pool_offset, pool_size, n_fds, n_slots, reserved, *rest = (
        HEADER.unpack_from(data)
    )
    assert (magic, version, reserved) == (b"CMPL", 1, 0)
    assert (size, op_offset, op_count) == (len(data), HEADER.size, 5)
    assert pool_offset + pool_size == len(data)
    assert (n_fds, n_slots) == (1, 2)
    assert rest[:8] == [0, 1, 1, 0, 1, 4, 5, 0], "first and count of before, beside, inside, after"
    assert rest[8] == 0x20020000


def test_arguments_point_into_the_pool() -> None:
    data = small_plan().encode()
    assert operation_at(data, 0)[3:7] == (1, 0, 0, 1), "the local slot follows the received one; no path is 0"
    assert pooled(data, operation_at(data, 1)[4]) == b"proc\0"
    assert operation_at(data, 2)[8] == (1 << 64) - 1
    assert pooled(data, operation_at(data, 4)[3]) == b"/bin/sh\0-c\0true\0"
    assert operation_at(data, 4)[4] & 0xFFFFFFFF == 0


def test_equal_items_are_stored_once_and_aligned() -> None:
    plan = Plan()
    for _ in range(100):
        plan.add("inside", "HOSTNAME", "a name")
        plan.add("inside", "GROUPS", b"\1\0\0\0")
    data = plan.encode()
    assert len(data) < HEADER.size + 200 * OPERATION.size + 40
    assert (operation_at(data, 1)[3] >> 32) % 8 == 0


def test_names_that_are_not_text_survive() -> None:
    plan = Plan()
    plan.add("inside", "HOSTNAME", os.fsdecode(b"\xff\xfe"))
    data = plan.encode()
    assert pooled(data, operation_at(data, 0)[3]) == b"\xff\xfe\0"


@pytest.mark.parametrize(
    ("program", "name", "args"),
    [
        ("inside", "MKDIR", (0, "x")),
        ("before", "EXEC", (["x"], [])),
        ("after", "ASK", (1,)),
        ("inside", "COLLECT", (0, "x")),
    ],
)
def test_wrong_operations_are_refused_when_they_are_added(
    program: str, name: str, args: tuple[int, ...]
) -> None:
    with pytest.raises(TypeError):
        Plan().add(program, name, *args)


@pytest.mark.parametrize("text", ["a\0b", b"bytes", None, 5])
def test_wrong_strings_are_refused_when_the_plan_is_encoded(text: object) -> None:
    plan = Plan()
    plan.add("inside", "HOSTNAME", text)  # type: ignore[arg-type]
    with pytest.raises(Internal):
        plan.encode()


def test_too_many_descriptors_are_refused() -> None:
    plan = Plan()
    for _ in range(2049):
        plan.new_slot()
    with pytest.raises(Internal, match="2049 descriptors"):
        plan.encode()


def test_the_description_is_stable_and_complete() -> None:
    plan = small_plan()
    plan.keeper = Keeper(
        KEEP, log_dir=plan.slot_of(99, owned=False, label="log"), log_max_bytes=5, exit_argv=["/bin/x"]
    )
    plan.fds[0] = 47  # numbers of descriptors do not show
    assert plan.describe() == [
        "clone  mnt pid",
        "before OPEN_TREE       out=$0 dir=<root> path=- flags=1  # copy the mount",
        "inside MKDIR           dir=<root> name='proc' mode=0o755",
        "inside MOUNT_SETATTR   mount=$0 at_flags=0 set=1 clear=0 propagation=0 userns=-",
        "inside WRITE           fd=<root> data=[100 bytes, crc 9988c6ca] flags=0",
        "inside EXEC            argv=['/bin/sh', '-c', 'true'] env=[]  # run /bin/sh",
        "keeper keep log_dir=<log> log_max_bytes=5 log_files=1 exit_argv=['/bin/x']",
    ]


def test_owned_descriptors_are_closed_once() -> None:
    reader, writer = os.pipe()
    plan = Plan()
    assert plan.slot_of(reader, owned=True) == 0
    assert plan.slot_of(reader, owned=True) == 0, "the same descriptor has one slot"
    plan.slot_of(writer, owned=False)
    plan.close()
    plan.close()
    os.close(writer)
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(reader)


@pytest.mark.parametrize(
    ("name", "number", "category"),
    [
        ("EXEC", 2, ProgramNotFound),
        ("FIND_EXEC", 20, ProgramNotFound),
        ("EXEC", 8, NotExecutable),
        ("EXEC", 13, NotExecutable),
        ("EXEC", 21, NotExecutable),
        ("FSMOUNT", 1, Denied),
        ("OPENAT2", 2, NotFound),
        ("MKDIR", 28, Exhausted),
        ("FSOPEN", 19, Unsupported),
        ("FSOPEN", 9999, Internal),
    ],
)
def test_errno_and_operation_give_the_category(name: str, number: int, category: type[Exception]) -> None:
    operation = Operation(name, (["/bin/x"],), meaning="do it", hint="try this")
    error = failure(operation, number, 0)
    assert type(error) is category
    assert error.doing == "do it"
    assert error.hint == "try this"


def test_exit_records_are_read_strictly() -> None:
    line = b"exit code=0 signal=9 core=1 time_ns=5 dropped=7 lost=1 later=3\n"
    record = parse_exit_record(line + b"== a b 3\nx\ny\n== cut 100\nabc")
    assert (record.exit_code, record.core_dumped, record.lost, record.dropped_bytes) == (137, True, True, 7)
    assert record.collected == {"a b": b"x\ny"}
    for bad in (b"", b"exit\n", b"exit code=x\n", line.replace(b"exit", b"exec"), b"\xff\n"):
        with pytest.raises(Exception, match="exit record"):
            parse_exit_record(bad)


def test_wait_statuses_become_exit_codes() -> None:
    assert [status_of(status) for status in (0, 7 << 8, 9, 11 | 0x80)] == [0, 7, 137, 139]
