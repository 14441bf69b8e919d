"""Plans: the flat list of system calls that ``enter`` executes, its encoding and its description.

A plan is built by the compiler modules, encoded once and sent through a memfd together with the descriptors
it names. Slots: a received descriptor has the number that ``slot_of`` returned, a descriptor that an
operation opens has one from ``new_slot``. Both are plain integers; local ones are renumbered behind the
received ones when the plan is encoded.
"""

from __future__ import annotations

import os
import struct

from casemate.errors import Internal
from casemate.runtime.ops import OPERATIONS, PROGRAMS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    Argument = int | str | bytes | Sequence[str] | None

MAGIC = b"CMPL"
VERSION = 1
HEADER = struct.Struct("<4s9I8IQiI10i2I2Q")  # struct plan_header in src/enter/plan.h
OPERATION = struct.Struct("<HHI6Q")
_PACKINGS = [struct.Struct(f"<H6x{count}Q{48 - 8 * count}x") for count in range(7)]
LOCAL_SLOT = 1 << 16  # first number of slots that are opened by the plan itself
MAX_SLOTS = 2048

LEAVE = 0  # the parent exits after the child's REPORT 1
WAIT = 1  # the parent stays until the child has ended
KEEP = 2  # a detached pair of keepers stays until the child has ended

_U64 = (1 << 64) - 1
_LAST_DIGIT = 9
_SHOWN_BYTES = 80


class Operation:
    """One operation with the words an error about it uses."""

    __slots__ = ("args", "hint", "meaning", "name")

    def __init__(self, name: str, args: tuple[Argument, ...], *, meaning: str, hint: str) -> None:
        self.name = name
        self.args = args
        self.meaning = meaning
        self.hint = hint


class Keeper:
    """What the parent does after the child has started; every descriptor is a slot of the plan, -1 for none.

    ``log_max_bytes`` 0 never rotates. ``exit_argv`` runs last, with PATH as its only variable. ``durable``
    fsyncs the exit record.
    """

    __slots__ = (
        "client_err",
        "client_out",
        "durable",
        "err_r",
        "exit_argv",
        "exit_dir",
        "listen",
        "lock",
        "log_dir",
        "log_files",
        "log_max_bytes",
        "mode",
        "out_r",
        "pidfile",
        "stdin_w",
    )

    log_dir: int
    SLOTS = (
        "lock",
        "pidfile",
        "exit_dir",
        "log_dir",
        "listen",
        "out_r",
        "err_r",
        "client_out",
        "client_err",
        "stdin_w",
    )

    def __init__(
        self,
        mode: int = WAIT,
        *,
        log_max_bytes: int = 0,
        log_files: int = 1,
        exit_argv: Sequence[str] = (),
        durable: bool = True,
        **slots: int,
    ) -> None:
        self.mode = mode
        self.log_max_bytes = log_max_bytes
        self.log_files = log_files
        self.exit_argv = list(exit_argv)
        self.durable = durable
        for name in self.SLOTS:
            setattr(self, name, slots.pop(name, -1))
        if slots:
            raise TypeError(f"no such keeper slot: {', '.join(sorted(slots))}")

    def slots(self) -> list[tuple[str, int]]:
        """Name and slot of every descriptor, in the order of the plan header."""
        return [(name, getattr(self, name)) for name in self.SLOTS]


class Plan:
    """Operations in four programs, the descriptors they use, and what happens after.

    before: by the parent, before the child exists. beside: by the parent while the child waits. inside: by
    the child. after: by the keeper when the child has ended or could not be started; errors are ignored
    there.
    """

    __slots__ = (
        "_labels",
        "_local",
        "_owned",
        "cgroup_slot",
        "clone_flags",
        "fds",
        "keeper",
        "programs",
        "title",
    )

    def __init__(self, *, clone_flags: int = 0, title: str = "casemate") -> None:
        self.clone_flags = clone_flags
        self.cgroup_slot = -1  # CLONE_INTO_CGROUP (cgroup v2) when a slot is given
        self.keeper = Keeper()
        self.title = title  # argv[0] of enter, as ps shows it
        self.programs: dict[str, list[Operation]] = {name: [] for name in PROGRAMS}
        self.fds: list[int] = []
        self._labels: list[str] = []
        self._owned: list[int] = []
        self._local = 0

    def slot_of(self, fd: int, *, owned: bool, label: str = "") -> int:
        """Slot that will hold a duplicate of ``fd``. ``owned``: the plan closes ``fd`` in ``close``."""
        if fd in self.fds:
            return self.fds.index(fd)
        self.fds.append(fd)
        self._labels.append(label)
        if owned:
            self._owned.append(fd)
        return len(self.fds) - 1

    def new_slot(self) -> int:
        """Slot for a descriptor that an operation of the plan opens."""
        self._local += 1
        return LOCAL_SLOT + self._local - 1

    def add(self, program: str, name: str, *args: Argument, meaning: str = "", hint: str = "") -> None:
        """Append an operation.

        ``meaning`` is a verb phrase, quoted when it fails: "mount the volume data at /data".
        """
        kinds, where = OPERATIONS[name][1], OPERATIONS[name][3]
        if len(args) != len(kinds):
            raise TypeError(f"{name} takes {len(kinds)} arguments ({OPERATIONS[name][2]}), not {len(args)}")
        if ("P" if program == "before" else program[0].upper()) not in where:
            raise TypeError(f"{name} cannot stand in {program}")
        self.programs[program].append(Operation(name, args, meaning=meaning, hint=hint))

    def operation(self, program: int, index: int) -> Operation | None:
        """The operation that a report of ``enter`` names, or None."""
        if program >= len(PROGRAMS) or index >= len(self.programs[PROGRAMS[program]]):
            return None
        return self.programs[PROGRAMS[program]][index]

    def close(self) -> None:
        """Close the descriptors that the plan owns."""
        while self._owned:
            os.close(self._owned.pop())

    def encode(self) -> bytes:
        """The plan in the form that ``enter`` reads. Raises Internal when it is too big or malformed."""
        return _Encoder(self).encode()

    def describe(self) -> list[str]:
        """The plan as text, one line an operation; stable, for --dry-run and golden tests."""
        lines = [f"clone  {' '.join(_clone_names(self.clone_flags)) or 'no new namespace'}"]
        for program in PROGRAMS:
            lines += [_describe_operation(self, program, op) for op in self.programs[program]]
        return lines + _describe_keeper(self)

    def slot_text(self, slot: int) -> str:
        """How ``describe`` names a slot: ``-``, ``$3`` for a local one, ``<label>`` for a received one."""
        if slot < 0:
            return "-"
        if slot >= LOCAL_SLOT:
            return f"${slot - LOCAL_SLOT}"
        return f"<{self._labels[slot] or f'fd {slot}'}>"

    def slot_number(self, slot: int) -> int:
        """The number of a slot in the encoded plan."""
        return slot if slot < LOCAL_SLOT else slot - LOCAL_SLOT + len(self.fds)

    @property
    def n_slots(self) -> int:
        """Received and local slots together."""
        return len(self.fds) + self._local


class _Encoder:
    """One encoding: the pool grows while operations are packed; equal items are stored once."""

    __slots__ = ("known", "plan", "pool", "shift", "texts")

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.pool = bytearray(b"\0")
        self.known: dict[bytes, int] = {}
        self.texts: dict[str, int] = {}
        self.shift = len(plan.fds) - LOCAL_SLOT

    def encode(self) -> bytes:
        """Header, operations, pool."""
        plan, keeper = self.plan, self.plan.keeper
        if plan.n_slots > MAX_SLOTS:
            raise Internal("encode plan", why=f"{plan.n_slots} descriptors, at most {MAX_SLOTS} are possible")
        packed: list[bytes] = []
        spans: list[int] = []
        for program in PROGRAMS:
            operations = plan.programs[program]
            spans += (len(packed), len(operations))
            packed += [self.operation(op) for op in operations]
        exit_argv = self.item("v", keeper.exit_argv) if keeper.exit_argv else 0
        pool_offset = HEADER.size + len(packed) * OPERATION.size
        header = HEADER.pack(
            MAGIC,
            VERSION,
            pool_offset + len(self.pool),
            HEADER.size,
            len(packed),
            pool_offset,
            len(self.pool),
            len(plan.fds),
            plan.n_slots,
            0,
            *spans,
            plan.clone_flags,
            plan.slot_number(plan.cgroup_slot),
            keeper.mode,
            *[plan.slot_number(slot) for _, slot in keeper.slots()],
            keeper.log_files,
            1 if keeper.durable else 0,
            keeper.log_max_bytes,
            exit_argv,
        )
        return b"".join((header, *packed, self.pool))

    def operation(self, op: Operation) -> bytes:
        """Pack one operation."""
        number, kinds = OPERATIONS[op.name][:2]
        words = []
        # A plan has some 200 operations and 650 arguments, most of them numbers: this loop is the cost of encoding.
        for kind, arg in zip(kinds, op.args, strict=True):
            if kind not in "fgoi":
                words.append(self.item(kind, arg))
            elif not isinstance(arg, int):
                raise Internal("encode plan", why=f"{arg!r} is not a number")
            elif arg >= LOCAL_SLOT and kind != "i":
                words.append(arg + self.shift)
            else:
                words.append(arg & _U64)
        return _PACKINGS[len(words)].pack(number, *words)

    def item(self, kind: str, arg: Argument) -> int:
        """The place of an argument's bytes in the pool: offset and length in 32 bits each."""
        if isinstance(arg, str):
            if kind not in "stnc":
                raise Internal("encode plan", why=f"{arg!r} does not fit kind {kind}")
            place = self.texts.get(arg)
            if place is None:
                place = self.texts[arg] = self.place(_text_bytes(arg))
            return place
        if arg is None and kind in "tc":
            return 0
        return self.place(_item_bytes(kind, arg))

    def place(self, data: bytes) -> int:
        """Where ``data`` is in the pool; it is put there when it is new."""
        offset = self.known.get(data)
        if offset is None:
            self.pool += bytes(-len(self.pool) % 8)  # arrays of u32 and sock_filter want alignment
            offset = self.known[data] = len(self.pool)
            self.pool += data
        return offset << 32 | len(data)


def _item_bytes(kind: str, arg: Argument) -> bytes:
    """The bytes of a pooled argument that is not one string; those of a vector end with NUL and stand back to back."""
    if isinstance(arg, (bytes, bytearray)) and kind in "bc":
        return bytes(arg)
    if isinstance(arg, (list, tuple)) and kind == "v":
        return b"".join(_text_bytes(text) for text in arg)
    raise Internal("encode plan", why=f"{arg!r} does not fit kind {kind}")


def _text_bytes(text: str) -> bytes:
    data = os.fsencode(text)
    if b"\0" in data:
        raise Internal("encode plan", why=f"NUL inside {text!r}")
    return data + b"\0"


_CLONE_NAMES = (
    (0x00000080, "time"),
    (0x00020000, "mnt"),
    (0x02000000, "cgroup"),
    (0x04000000, "uts"),
    (0x08000000, "ipc"),
    (0x10000000, "user"),
    (0x20000000, "pid"),
    (0x40000000, "net"),
)


def _clone_names(flags: int) -> list[str]:
    return [name for bit, name in _CLONE_NAMES if flags & bit]


def _describe_operation(plan: Plan, program: str, op: Operation) -> str:
    _, kinds, names, _ = OPERATIONS[op.name]
    parts = [
        f"{name}={_describe_argument(plan, kind, arg, name)}"
        for kind, name, arg in zip(kinds, names.split(), op.args, strict=True)
    ]
    line = f"{program:<6} {op.name:<15} {' '.join(parts)}".rstrip()
    return f"{line}  # {op.meaning}" if op.meaning else line


def _describe_argument(plan: Plan, kind: str, arg: Argument, name: str) -> str:
    if isinstance(arg, int):
        if kind in "fgo":
            return plan.slot_text(arg)
        return f"{arg:#o}" if name == "mode" else hex(arg) if arg > _LAST_DIGIT else str(arg)
    if arg is None:
        return "-"
    if isinstance(arg, (bytes, bytearray)):
        text = bytes(arg)
        return (
            repr(text)[1:] if len(text) <= _SHOWN_BYTES else f"[{len(text)} bytes, crc {_checksum(text):08x}]"
        )
    return repr(arg) if isinstance(arg, str) else repr(list(arg))


def _checksum(data: bytes) -> int:
    from binascii import crc32

    return crc32(data)


def _describe_keeper(plan: Plan) -> list[str]:
    keeper = plan.keeper
    parts = [f"{name}={plan.slot_text(slot)}" for name, slot in keeper.slots() if slot >= 0]
    if keeper.log_dir >= 0:
        parts.append(f"log_max_bytes={keeper.log_max_bytes} log_files={keeper.log_files}")
    if keeper.exit_argv:
        parts.append(f"exit_argv={keeper.exit_argv!r}")
    return [f"keeper {('leave', 'wait', 'keep')[keeper.mode]} {' '.join(parts)}".rstrip()]
