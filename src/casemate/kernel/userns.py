"""User namespaces: which ids are mapped to which, and how the maps are written.

A map is written directly where the kernel allows it (a privileged writer, or one line that maps the writer
itself), else by the set-user-id helpers newuidmap and newgidmap, which check /etc/subuid and /etc/subgid.
Source: user_namespaces(7), newuidmap(1), subuid(5).
"""

from __future__ import annotations

import errno
import os

from casemate.kernel.libc import KernelError
from casemate.kernel.process import find_helper, run_helper

MAX_IDS = 0xFFFFFFFF  # 4294967295 itself is (uid_t)-1, "no id", and can never be mapped
MAX_LINES = 340  # since Linux 4.15


class IdRange:
    """``count`` ids from ``inside`` on appear to the outside as those from ``outside`` on."""

    __slots__ = ("count", "inside", "outside")

    def __init__(self, inside: int, outside: int, count: int) -> None:
        if inside < 0 or outside < 0 or count < 1 or max(inside, outside) + count > MAX_IDS:
            raise ValueError(f"id range {inside} {outside} {count} does not fit into 0..{MAX_IDS - 1}")
        self.inside = inside
        self.outside = outside
        self.count = count

    def line(self) -> str:
        """The line as uid_map and gid_map want it, without a newline."""
        return f"{self.inside} {self.outside} {self.count}"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, IdRange) and self.line() == other.line()

    def __hash__(self) -> int:
        return hash((self.inside, self.outside, self.count))

    def __repr__(self) -> str:
        return f"IdRange({self.inside}, {self.outside}, {self.count})"


class IdMap:
    """The maps of one user namespace.

    Raises: ValueError when ranges of one map overlap on either side, or there are too many.
    """

    __slots__ = ("gids", "uids")

    def __init__(
        self, uids: list[IdRange] | tuple[IdRange, ...], gids: list[IdRange] | tuple[IdRange, ...]
    ) -> None:
        self.uids = tuple(uids)
        self.gids = tuple(gids)
        for ranges in (self.uids, self.gids):
            if not 1 <= len(ranges) <= MAX_LINES:
                raise ValueError(f"an id map has 1 to {MAX_LINES} ranges, not {len(ranges)}")
            _refuse_overlap([(r.inside, r.count) for r in ranges])
            _refuse_overlap([(r.outside, r.count) for r in ranges])

    def uid_text(self) -> bytes:
        """What is written to /proc/PID/uid_map."""
        return "".join(f"{r.line()}\n" for r in self.uids).encode()

    def gid_text(self) -> bytes:
        """What is written to /proc/PID/gid_map."""
        return "".join(f"{r.line()}\n" for r in self.gids).encode()

    def host_uid(self, uid: int) -> int | None:
        """What a uid inside is outside; None when it is not mapped."""
        return _translate(self.uids, uid)

    def host_gid(self, gid: int) -> int | None:
        """What a gid inside is outside; None when it is not mapped."""
        return _translate(self.gids, gid)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, IdMap) and (self.uids, self.gids) == (other.uids, other.gids)

    def __hash__(self) -> int:
        return hash((self.uids, self.gids))

    def __repr__(self) -> str:
        return f"IdMap({list(self.uids)}, {list(self.gids)})"


def _refuse_overlap(spans: list[tuple[int, int]]) -> None:
    end = -1
    for first, count in sorted(spans):
        if first < end:
            raise ValueError(f"id ranges overlap at {first}")
        end = first + count


def _translate(ranges: tuple[IdRange, ...], inside: int) -> int | None:
    for r in ranges:
        if r.inside <= inside < r.inside + r.count:
            return r.outside + inside - r.inside
    return None


def parse_subids(text: str, owners: tuple[str, ...]) -> list[tuple[int, int]]:
    """(first id, count) of the lines of /etc/subuid or /etc/subgid that belong to one of the owners.

    Malformed lines and lines that overlap an earlier one are passed over, as newuidmap itself would refuse
    them.
    Source: subuid(5).
    """
    found: list[tuple[int, int]] = []
    for line in text.splitlines():
        fields = line.strip().split(":")
        if len(fields) != 3 or fields[0] not in owners:  # noqa: PLR2004 - name:first:count
            continue
        if not (_is_number(fields[1]) and _is_number(fields[2])):
            continue
        first, count = int(fields[1]), int(fields[2])
        if count < 1 or first + count > MAX_IDS or any(first < f + c and f < first + count for f, c in found):
            continue
        found.append((first, count))
    return found


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= len(str(MAX_IDS))


def own_subid_ranges() -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
    """The subordinate uids and gids of the current user as lists of (first id, count).

    Both files are keyed by user name or uid; the gid file too (subgid(5)). Ranges known only to an NSS
    module are not seen here.
    """
    uid = os.geteuid()
    owners = [str(uid)]
    try:
        import pwd

        owners.append(pwd.getpwuid(uid).pw_name)
    except (ImportError, KeyError):
        pass
    return _read_subids("/etc/subuid", tuple(owners)), _read_subids("/etc/subgid", tuple(owners))


def _read_subids(path: str, owners: tuple[str, ...]) -> list[tuple[int, int]]:
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            return parse_subids(file.read(1 << 20), owners)
    except OSError:
        return []


def map_from_subids(
    own_uid: int, own_gid: int, uids: list[tuple[int, int]], gids: list[tuple[int, int]]
) -> IdMap:
    """0 -> the user, 1.. -> the subordinate ids range after range; the user alone when either is empty."""
    alone = IdMap([IdRange(0, own_uid, 1)], [IdRange(0, own_gid, 1)])
    if not uids or not gids:
        return alone
    return IdMap(_stack(own_uid, uids), _stack(own_gid, gids))


def _stack(own: int, ranges: list[tuple[int, int]]) -> list[IdRange]:
    stacked = [IdRange(0, own, 1)]
    inside = 1
    for first, count in ranges[: MAX_LINES - 1]:
        if first <= own < first + count or inside + count > MAX_IDS:
            continue
        stacked.append(IdRange(inside, first, count))
        inside += count
    return stacked


def rootless_map() -> IdMap:
    """The map of the current user's containers: root inside is the user, the rest its subordinate ids.

    A single id when the user has no subordinate ids or the helpers are not installed.
    """
    uids, gids = own_subid_ranges()
    if not (find_helper("newuidmap") and find_helper("newgidmap")):
        uids = gids = []
    return map_from_subids(os.geteuid(), os.getegid(), uids, gids)


def write_maps(pid: int, id_map: IdMap) -> None:
    """Give the user namespace of ``pid`` its maps: directly if the kernel lets us, else by the helpers.

    ``pid`` must be a process that waits for this, a child or one whose pidfd the caller holds. Its /proc
    directory is opened once: should it end meanwhile, writing and the read-back at the end fail instead of
    meeting another process.
    Raises: KernelError; EPERM when neither way is allowed (the helper's words are the note), ESRCH when it
    ended.
    """
    try:
        proc_fd = os.open(f"/proc/{pid}", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        raise KernelError(errno.ESRCH, "open", f"/proc/{pid}") from None
    try:
        if not _write_directly(proc_fd, id_map):
            _write_by_helper("newuidmap", pid, id_map.uids)
            _write_by_helper("newgidmap", pid, id_map.gids)
        _verify(proc_fd, pid, id_map)
    finally:
        os.close(proc_fd)


def _write_directly(proc_fd: int, id_map: IdMap) -> bool:
    """Whether the kernel took the maps; nothing is changed when it did not take the first."""
    single = len(id_map.uids) == len(id_map.gids) == id_map.uids[0].count == id_map.gids[0].count == 1
    if os.geteuid() != 0 and not single:
        return False
    if not _write(proc_fd, "uid_map", id_map.uid_text()):
        return False
    if not _write(proc_fd, "gid_map", id_map.gid_text()):
        # Without CAP_SETGID a gid map is accepted only when setgroups is denied first, for good:
        # user_namespaces(7).
        denied = _write(proc_fd, "setgroups", b"deny")
        if not (denied and _write(proc_fd, "gid_map", id_map.gid_text())):
            raise KernelError(errno.EPERM, "write", "gid_map")
    return True


def _write(dir_fd: int, name: str, data: bytes) -> bool:
    """False when the kernel forbids it (EPERM, EACCES).

    Raises: KernelError for anything else.
    """
    try:
        fd = os.open(name, os.O_WRONLY | os.O_CLOEXEC, dir_fd=dir_fd)
        try:
            os.write(fd, data)
        finally:
            os.close(fd)
    except PermissionError:
        return False
    except OSError as error:
        raise KernelError(error.errno or errno.EIO, "write", name) from None
    return True


def _write_by_helper(name: str, pid: int, ranges: tuple[IdRange, ...]) -> None:
    program = find_helper(name)
    if program is None:
        raise KernelError(errno.EPERM, name, "not installed (Debian: uidmap)")
    numbers = [str(n) for r in ranges for n in (r.inside, r.outside, r.count)]
    code, said = run_helper(program, [name, str(pid), *numbers])
    if code != 0:
        error = KernelError(errno.EPERM, name, pid)
        error.add_note(said)
        raise error


def _verify(proc_fd: int, pid: int, id_map: IdMap) -> None:
    """Read the maps back from the process that was opened: what is there is what was asked for."""
    for name, ranges in (("uid_map", id_map.uids), ("gid_map", id_map.gids)):
        path = f"/proc/{pid}/{name}"
        try:
            fd = os.open(name, os.O_RDONLY | os.O_CLOEXEC, dir_fd=proc_fd)
            try:
                text = os.read(fd, 65536).decode()
            finally:
                os.close(fd)
        except OSError:
            raise KernelError(errno.ESRCH, "read", path) from None
        found = sorted(" ".join(line.split()) for line in text.splitlines())
        if found != sorted(r.line() for r in ranges):
            raise KernelError(errno.ESRCH if not found else errno.EEXIST, "read", path)
