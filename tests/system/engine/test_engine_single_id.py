"""An ordinary user without subordinate ids: one id, and everything that one id allows."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.system, pytest.mark.needs_root, pytest.mark.slow]

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
NOBODY = 65534
MANY_IDS = "named_user or numeric_user or outside_the_range"
SUITES = ("tests/system/engine/test_engine_run.py", "tests/system/engine/test_engine_life.py")
ASIDE = "mount --bind /dev/null /etc/subuid && mount --bind /dev/null /etc/subgid"


@pytest.fixture
def home() -> Iterator[str]:
    """A directory that belongs to the user nobody."""
    directory = tempfile.mkdtemp(prefix="casemate-single-")
    os.chown(directory, NOBODY, NOBODY)
    yield directory
    shutil.rmtree(directory)


def as_nobody(home: str, *argv: str) -> subprocess.CompletedProcess[str]:
    """Run as nobody, whom /etc/subuid does not know."""
    script = f'{ASIDE} && exec setpriv --reuid={NOBODY} --regid={NOBODY} --clear-groups -- "$@"'
    env = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": home, "TMPDIR": home, "XDG_RUNTIME_DIR": home}
    return subprocess.run(
        ["unshare", "-m", "sh", "-c", script, "sh", *argv],
        cwd=TOP,
        env=env,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


def casemate(home: str, *words: str) -> subprocess.CompletedProcess[str]:
    program = f"import sys; sys.path.insert(0, {TOP + '/src'!r}); from casemate.cli.main import main; sys.exit(main())"
    return as_nobody(home, sys.executable, "-B", "-c", program, *words)


def test_the_suites_of_run_and_life_hold_with_one_id(home: str) -> None:
    argv = (sys.executable, "-B", "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--basetemp={home}/t")
    done = as_nobody(home, *argv, "-m", "not needs_root", "-k", f"not ({MANY_IDS})", *SUITES)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]


def test_another_user_than_root_is_refused_and_says_what_to_do(home: str) -> None:
    assert casemate(home, "image", "bootstrap", "busybox").returncode == 0
    assert (
        casemate(home, "run", "--rm", "busybox", "sh", "-c", "id -u; wc -l </proc/self/uid_map").stdout
        == "0\n1\n"
    )
    done = casemate(home, "run", "--rm", "-u", "1000", "busybox", "true")
    assert done.returncode == 125
    assert "outside" in done.stderr
    assert "/etc/subuid" in done.stderr


def test_keep_id_is_the_user_itself(home: str) -> None:
    assert casemate(home, "image", "bootstrap", "busybox").returncode == 0
    done = casemate(home, "run", "--rm", "--userns", "keep-id", "busybox", "id", "-u")
    assert (done.stdout, done.returncode) == (f"{NOBODY}\n", 0), done.stderr
