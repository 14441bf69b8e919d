"""Id maps: well-formed or refused, parsed as newuidmap parses them, written once and read back."""

from __future__ import annotations

import errno
import os
import signal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from casemate.kernel.const.sched import CLONE_NEWUSER
from casemate.kernel.libc import KernelError
from casemate.kernel.namespaces import unshare
from casemate.kernel.userns import IdMap, IdRange, map_from_subids, parse_subids, rootless_map, write_maps


def test_a_range_prints_as_the_kernel_reads_it() -> None:
    assert IdRange(0, 100000, 65536).line() == "0 100000 65536"


@pytest.mark.parametrize(
    "numbers",
    [
        (-1, 0, 1),
        (0, -1, 1),
        (0, 0, 0),
        (0, 0, -5),
        (0, 4294967295, 1),
        (4294967295, 0, 1),
        (1, 0, 4294967295),
    ],
)
def test_a_range_outside_the_ids_is_refused(numbers: tuple[int, int, int]) -> None:
    with pytest.raises(ValueError, match="does not fit"):
        IdRange(*numbers)


def test_overlapping_ranges_are_refused_on_either_side() -> None:
    apart = [IdRange(0, 0, 1)]
    with pytest.raises(ValueError, match="overlap"):
        IdMap([IdRange(0, 1000, 10), IdRange(5, 2000, 10)], apart)
    with pytest.raises(ValueError, match="overlap"):
        IdMap(apart, [IdRange(0, 1000, 10), IdRange(10, 1009, 10)])
    with pytest.raises(ValueError, match="1 to 340"):
        IdMap([], apart)


def test_ids_are_translated() -> None:
    id_map = IdMap([IdRange(0, 1000, 1), IdRange(1, 100000, 65535)], [IdRange(0, 0, 1)])
    assert (id_map.host_uid(0), id_map.host_uid(1), id_map.host_uid(65535)) == (1000, 100000, 165534)
    assert id_map.host_uid(65536) is None
    assert id_map.host_gid(1) is None


def test_subid_lines_of_name_and_uid_count_and_others_do_not() -> None:
    text = "alice:100000:65536\nbob:200000:65536\n1000:300000:10\n# alice:1:1\n"
    assert parse_subids(text, ("alice", "1000")) == [(100000, 65536), (300000, 10)]


@pytest.mark.parametrize(
    "line",
    [
        "alice",
        "alice:1",
        "alice:1:2:3",
        "alice:x:1",
        "alice:1:0",
        "alice:-1:5",
        "alice:0x10:5",
        "alice:4294967295:1",
        "alice:1:99999999999",
        "alice: 1:5",
        "alice:\u0661:5",
        ":1:5",
    ],
)
def test_malformed_subid_lines_are_passed_over(line: str) -> None:
    assert parse_subids(f"{line}\nalice:100000:1\n", ("alice",)) == [(100000, 1)]


@given(st.text())
def test_no_text_breaks_the_subid_parser(text: str) -> None:
    for first, count in parse_subids(text, ("alice", "")):
        assert 0 <= first < first + count <= 0xFFFFFFFF


def test_overlapping_subid_lines_count_once() -> None:
    assert parse_subids("a:1000:100\na:1050:100\na:1100:5\n", ("a",)) == [(1000, 100), (1100, 5)]


def test_the_rootless_map_stacks_ranges_above_the_user() -> None:
    id_map = map_from_subids(1000, 1001, [(100000, 100), (200000, 50)], [(300000, 10)])
    assert id_map.uid_text() == b"0 1000 1\n1 100000 100\n101 200000 50\n"
    assert id_map.gid_text() == b"0 1001 1\n1 300000 10\n"


def test_without_subordinate_ids_the_user_is_alone() -> None:
    assert map_from_subids(7, 8, [], [(1, 1)]) == IdMap([IdRange(0, 7, 1)], [IdRange(0, 8, 1)])
    assert rootless_map().host_uid(0) == os.geteuid()


def test_a_range_that_holds_the_user_itself_is_left_out() -> None:
    assert (
        map_from_subids(1000, 1000, [(900, 200), (2000, 5)], [(2000, 5)]).uid_text()
        == b"0 1000 1\n1 2000 5\n"
    )


def in_new_userns() -> tuple[int, int]:
    """A child in a new, unmapped user namespace, and the pipe whose closing ends it."""
    ready_reader, ready_writer = os.pipe()
    hold_reader, hold_writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.close(hold_writer)
            unshare(CLONE_NEWUSER)
            os.write(ready_writer, b"1")
            os.read(hold_reader, 1)
        finally:
            os._exit(0)
    os.close(ready_writer)
    os.close(hold_reader)
    assert os.read(ready_reader, 1) == b"1"
    os.close(ready_reader)
    return pid, hold_writer


def test_maps_are_written_and_read_back() -> None:
    pid, hold = in_new_userns()
    try:
        write_maps(pid, IdMap([IdRange(0, os.geteuid(), 1)], [IdRange(0, os.getegid(), 1)]))
        with open(f"/proc/{pid}/uid_map", encoding="ascii") as file:
            assert file.read().split() == ["0", str(os.geteuid()), "1"]
        with pytest.raises(KernelError):  # a second time is refused by the kernel
            write_maps(pid, IdMap([IdRange(0, os.geteuid(), 1)], [IdRange(0, os.getegid(), 1)]))
    finally:
        os.close(hold)
        os.waitpid(pid, 0)


def test_maps_of_a_process_that_ended_are_an_error() -> None:
    pid, hold = in_new_userns()
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    os.close(hold)
    with pytest.raises(KernelError) as caught:
        write_maps(pid, IdMap([IdRange(0, 0, 1)], [IdRange(0, 0, 1)]))
    assert caught.value.errno == errno.ESRCH
