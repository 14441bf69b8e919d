"""The cache of compiled filters: quick, bounded, and believed only when nobody else could have written it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from casemate.runtime import seccomp
from casemate.runtime.default_profile import default_seccomp
from casemate.runtime.seccomp import compile_profile

SRC = Path(__file__).parents[3] / "src"
LOOSE = {"defaultAction": "SCMP_ACT_ALLOW"}
SECOND_TIME = f"""
import sys; sys.path.insert(0, {str(SRC)!r})
from casemate.runtime.default_profile import default_seccomp
from casemate.runtime.seccomp import compile_profile
compile_profile(default_seccomp(), cache_dir=sys.argv[1])
print("_ctypes" in sys.modules, "casemate.runtime.seccomp_compile" in sys.modules)
"""


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "seccomp"


def numbered(number: int) -> dict:
    rule = {"names": ["ptrace"], "action": "SCMP_ACT_ERRNO", "errnoRet": number}
    return LOOSE | {"syscalls": [rule]}


def test_the_second_start_loads_neither_libseccomp_nor_ctypes(cache: Path) -> None:
    command = [sys.executable, "-I", "-S", "-c", SECOND_TIME, str(cache)]
    first, second = (
        subprocess.run(command, capture_output=True, text=True, check=True).stdout for _ in range(2)
    )
    assert (first, second) == ("True True\n", "False False\n")


def test_what_comes_from_the_cache_is_what_was_compiled_notes_and_all(cache: Path) -> None:
    profile = LOOSE | {"syscalls": [{"names": ["time_travel", "ptrace"], "action": "SCMP_ACT_ERRNO"}]}
    first, second = (compile_profile(profile, cache_dir=str(cache)) for _ in range(2))
    assert (first.program, first.flags, first.notes) == (second.program, second.flags, second.notes)
    assert first.notes
    assert first.program == compile_profile(profile, cache_dir=None).program


def test_flags_and_the_listener_are_no_part_of_the_content(cache: Path) -> None:
    profile = numbered(1)
    compile_profile(profile, cache_dir=str(cache))
    logged = compile_profile(profile | {"flags": ["SECCOMP_FILTER_FLAG_LOG"]}, cache_dir=str(cache))
    assert logged.flags == 2
    assert len(list(cache.iterdir())) == 1


def damage_program(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[20] ^= 1
    path.write_bytes(data)


def cut_off(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def let_others_write(path: Path) -> None:
    path.write_bytes(FOREIGN)
    path.chmod(0o666)


def let_others_write_beside(path: Path) -> None:
    path.write_bytes(FOREIGN)
    path.parent.chmod(0o777)


def make_a_link(path: Path) -> None:
    other = path.parent.parent / "elsewhere"
    other.write_bytes(FOREIGN)
    path.unlink()
    path.symlink_to(other)


def make_a_fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


FOREIGN = b""


@pytest.mark.parametrize(
    "harm",
    [damage_program, cut_off, let_others_write, let_others_write_beside, make_a_link, make_a_fifo],
    ids=lambda harm: harm.__name__,
)
def test_what_others_could_have_written_is_not_believed(
    harm: object, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The planted file is a whole and valid one that allows everything: only its place gives it away."""
    compile_profile(LOOSE, cache_dir=str(tmp_path / "planted"))
    (planted,) = (tmp_path / "planted").iterdir()
    monkeypatch.setattr(f"{__name__}.FOREIGN", planted.read_bytes())
    profile = default_seccomp()
    sealed = compile_profile(profile, cache_dir=str(cache)).program
    (cached,) = cache.iterdir()
    harm(cached)  # type: ignore[operator]
    assert compile_profile(profile, cache_dir=str(cache)).program == sealed


@pytest.mark.needs_root
def test_a_file_of_another_user_is_not_believed(cache: Path) -> None:
    sealed = compile_profile(numbered(1), cache_dir=str(cache)).program
    (cached,) = cache.iterdir()
    compile_profile(LOOSE, cache_dir=str(cache))
    (loose,) = set(cache.iterdir()) - {cached}
    cached.write_bytes(loose.read_bytes())
    os.chown(cached, 65534, 65534)
    assert compile_profile(numbered(1), cache_dir=str(cache)).program == sealed


def test_another_libseccomp_makes_the_program_anew(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compile_profile(numbered(1), cache_dir=str(cache))
    (cached,) = cache.iterdir()
    before = cached.stat().st_ino
    compile_profile(numbered(1), cache_dir=str(cache))
    assert cached.stat().st_ino == before
    from casemate.runtime import libseccomp

    path, _, _ = libseccomp.library_file().partition("\n")
    stale = f"{path}\n1 1"
    monkeypatch.setattr(libseccomp, "library_file", lambda: stale)
    cached.unlink()
    compile_profile(numbered(1), cache_dir=str(cache))
    before = cached.stat().st_ino
    monkeypatch.undo()
    compile_profile(numbered(1), cache_dir=str(cache))
    assert cached.stat().st_ino != before


def test_the_cache_is_bounded(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(seccomp, "MAX_CACHED", 3)
    for number in range(1, 7):
        compile_profile(numbered(number), cache_dir=str(cache))
    assert len(list(cache.iterdir())) == 3


def test_a_cache_that_cannot_be_made_changes_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for place in (tmp_path / "file", tmp_path / "file/below"):
        assert compile_profile(LOOSE, cache_dir=str(place)).program
