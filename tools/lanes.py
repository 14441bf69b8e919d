"""Run the test lanes one after the other: unit, system as root, system as an ordinary user, a little of each in the lab.

Run by root, the rootless lane gets an ordinary user that exists only in a private mount namespace (copies
of /etc/passwd, /etc/subuid, ... with one line more): nothing on the machine changes. Run by an ordinary
user, the root lane is named as left out.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
UNPRIVILEGED = ["tests/unit", "tests/architecture", "tests/conformance", "tests/fuzz"]
SYSTEM = ["tests/system"]
USER, UID = "casemate-lane", 61234
SUBIDS = "1342177280:65536"  # outside the pool that root's containers use

PREPARE = r"""
set -eu
work=$1; checkout=$2; shift 2
mount --make-rprivate /
for file in passwd group subuid subgid; do
    touch "$work/$file"
    [ ! -e "/etc/$file" ] || cp "/etc/$file" "$work/$file"
done
echo "$USER_NAME:x:$USER_ID:$USER_ID::$work/home:/bin/sh" >> "$work/passwd"
echo "$USER_NAME:x:$USER_ID:" >> "$work/group"
echo "$USER_NAME:$SUB_IDS" >> "$work/subuid"
echo "$USER_NAME:$SUB_IDS" >> "$work/subgid"
for file in passwd group subuid subgid; do
    [ -e "/etc/$file" ] || continue
    chmod 644 "$work/$file"; mount --bind "$work/$file" "/etc/$file"
done
# The checkout may lie below a directory that only root may enter: show just the checkout there.
blocked=""; path=$checkout
while [ "$path" != / ]; do
    path=$(dirname "$path")
    [ $(( 0$(stat -c %a "$path") & 1 )) -eq 1 ] || blocked=$path
done
if [ -n "$blocked" ]; then
    mkdir "$work/checkout"; mount --bind "$checkout" "$work/checkout"
    mount -t tmpfs -o mode=755 none "$blocked"
    mkdir -p "$checkout"; mount --move "$work/checkout" "$checkout"
fi
cd "$checkout"
exec setpriv --reuid "$USER_ID" --regid "$USER_ID" --clear-groups --inh-caps=-all --bounding-set=+all "$@"
"""


def pytest(*arguments: str) -> list[str]:
    """Return the command line of one pytest run."""
    return [sys.executable, "-m", "pytest", "-q", "--durations=8", "--durations-min=5", *arguments]


def lane(name: str, argv: list[str], environment: dict[str, str] | None = None) -> bool:
    """Run one lane and tell whether it passed."""
    print(f"\n== lane {name}: {' '.join(argv[-4:])}", flush=True)
    started = time.monotonic()
    # In a lane a skipped test is a failure (tests/conftest.py): what cannot hold in it says so by its marker.
    status = subprocess.call(argv, cwd=ROOT, env={**(environment or os.environ), "CASEMATE_LANE": "strict"})
    verdict = "passed" if status == 0 else f"FAILED ({status})"
    print(f"== lane {name}: {verdict} in {time.monotonic() - started:.0f} s", flush=True)
    return status == 0


def rootless_lane() -> bool:
    """Run the system tests as an ordinary user with a subordinate id range of its own."""
    work = tempfile.mkdtemp(prefix="casemate-rootless-")
    os.chmod(work, 0o755)  # noqa: S103 - the ordinary user must reach its home below it
    try:
        home, runtime = os.path.join(work, "home"), os.path.join(work, "run")
        for directory in (home, runtime):
            os.mkdir(directory, 0o700)
            os.chown(directory, UID, UID)
        environment = {
            "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
            "LANG": "C.UTF-8",
            "HOME": home,
            "USER": USER,
            "XDG_RUNTIME_DIR": runtime,
            "PYTHONDONTWRITEBYTECODE": "1",
            "USER_NAME": USER,
            "USER_ID": str(UID),
            "SUB_IDS": SUBIDS,
        }
        if "CI" in os.environ:
            environment["CI"] = os.environ["CI"]
        tests = pytest("-p", "no:cacheprovider", "--basetemp", os.path.join(home, "t"), *SYSTEM, "tests/unit")
        tests += ["-m", "rootless or (system and not needs_root)"]
        argv = ["unshare", "--mount", "sh", "-c", PREPARE, "prepare", work, ROOT, *tests]
        return lane("system-rootless", argv, environment)
    finally:
        subprocess.call(["rm", "-rf", work])


def lab_lane() -> bool:
    """Run the lab's short selection: systemd, one hierarchy of control groups, AppArmor (docs/lab.md)."""
    if os.uname().machine != "x86_64":
        print("== lane lab: not run, its guest is x86-64")
        return True
    return lane("lab", [sys.executable, "-m", "tools.lab", "short"])


def main() -> int:
    """Run all lanes that this user can run; return 0 when all passed."""
    is_root = os.geteuid() == 0
    results = [lane("unit", pytest(*UNPRIVILEGED, "-m", "not rootless" if is_root else "not needs_root"))]
    if is_root:
        results.append(lane("system-root", pytest(*SYSTEM, "-m", "not rootless")))
        if shutil.which("setpriv") is None:
            print("setpriv is missing: install util-linux", file=sys.stderr)
            return 1
        results.append(rootless_lane())
    else:
        results.append(lane("system-rootless", pytest(*SYSTEM, "-m", "not needs_root")))
        print("== lane system-root: not run, it needs root (run ./dev test as root for it)")
    results.append(lab_lane())
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main())
