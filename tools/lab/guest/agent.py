"""Runs in the guest, started by systemd: runs each selection, puts its junit file on the results disk, switches off.

Standard library only. What the tests say goes to a port of the host's; the console stays the kernel's and systemd's.
"""

from __future__ import annotations

import json
import os
import pwd
import shutil
import subprocess
import sys
import tarfile
import time
import traceback
from typing import Any

CHECKOUT = "/src"
VENV = os.path.join(CHECKOUT, ".venv")
PYTHON = os.path.join(VENV, "bin", "python")
WHEELS = "/opt/lab/wheels"
RESULTS = "/var/lib/lab/results"
PORTS = "/sys/class/virtio-ports"
RESULTS_DISK = "/dev/vdc"
USER = "lab"
UID = pwd.getpwnam(USER).pw_uid
TIMED_OUT = 124  # timeout(1)'s


def port(name: str) -> int:
    """The descriptor of the virtio port ``name``; it appears when its driver has been loaded."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        for entry in os.listdir(PORTS) if os.path.isdir(PORTS) else ():
            with open(f"{PORTS}/{entry}/name", encoding="ascii") as file:
                if file.read().strip() == name:
                    return os.open(f"/dev/{entry}", os.O_WRONLY | os.O_CLOEXEC)
        time.sleep(0.1)
    sys.exit(f"lab: no virtio port {name}")


def prepare() -> None:
    """Make the virtual environment that the checkout's tests expect, and compile what they import."""
    subprocess.run(["/usr/bin/python3", "-m", "venv", "--without-pip", VENV], check=True)
    packages = f"{VENV}/lib/python{sys.version_info.major}.{sys.version_info.minor}/site-packages"
    os.rmdir(packages)
    os.symlink(WHEELS, packages)
    with open(f"{packages}/lab.pth", "w", encoding="utf-8") as file:
        file.write(f"{CHECKOUT}/src\n")
    for name in ("casemate", "casemate-oci"):
        os.close(os.open(f"{VENV}/bin/{name}", os.O_CREAT | os.O_WRONLY, 0o755))
    sys.path.insert(0, f"{CHECKOUT}/tools")
    import dev

    dev.write_start_scripts()
    # Whoever cannot write there is warned, and a warning is an error.
    os.makedirs(f"{CHECKOUT}/.hypothesis/examples")
    subprocess.run(["chmod", "-R", "1777", f"{CHECKOUT}/.hypothesis"], check=True)
    subprocess.run([PYTHON, "-m", "compileall", "-q", f"{CHECKOUT}/src", f"{CHECKOUT}/tests"], check=True)


def as_user(argv: list[str]) -> list[str]:
    """``argv`` as the ordinary user, with nothing in its environment but where its systemd listens."""
    own = ["setpriv", f"--reuid={UID}", f"--regid={UID}", "--init-groups", "--inh-caps=-all"]
    runtime = f"XDG_RUNTIME_DIR=/run/user/{UID}"
    return [*own, "env", "-i", runtime, f"HOME=/home/{USER}", f"USER={USER}", "PATH=/usr/bin:/bin", *argv]


def as_service(argv: list[str], unit: str, environment: dict[str, str]) -> list[str]:
    """``argv`` as a service of the ordinary user's own systemd, with the control group delegated to it."""
    run = ["systemd-run", "--user", "--pipe", "--wait", "--collect", "--quiet", f"--unit={unit}"]
    run += ["-p", "Delegate=yes", f"--working-directory={CHECKOUT}"]
    return as_user([*run, *(f"--setenv={name}={value}" for name, value in environment.items()), *argv])


def run_selection(selection: dict[str, Any], output: int) -> int:
    """Run one selection of tests; pytest's exit status, or that of ``timeout``."""
    name, is_user = selection["name"], selection["user"] == "user"
    home = f"/home/{USER}" if is_user else "/root"
    argv = [PYTHON, "-m", "pytest", "-v", "-p", "no:cacheprovider", f"--basetemp={home}/t", "--color=no"]
    argv += [
        "--durations=15",
        "--durations-min=5",
        f"--junitxml={home}/{name}.xml",
        "-o",
        f"junit_suite_name={name}",
    ]
    argv += [*selection["options"], *selection["arguments"]]
    environment = {
        "CASEMATE_LANE": "strict",
        "CASEMATE_LAB": "1",
        "LANG": "C.UTF-8",
        # The port is no terminal, and pytest would keep its lines back.
        "PYTHONUNBUFFERED": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    unit = f"lab-{name}.service"
    argv = as_service(argv, unit, environment) if is_user else argv
    argv = ["timeout", "--kill-after=10", str(selection["deadline_s"]), *argv]
    environment = {**os.environ, **environment, "HOME": home}
    status = subprocess.call(
        argv, cwd=CHECKOUT, env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=output
    )
    if is_user and status == TIMED_OUT:
        subprocess.call(as_user(["systemctl", "--user", "kill", "--signal=KILL", unit]))
    if os.path.exists(f"{home}/{name}.xml"):
        shutil.copy(f"{home}/{name}.xml", RESULTS)
    return status


def save() -> None:
    """Put what there is of results onto the results disk, so that a later hang does not lose it."""
    with tarfile.open(RESULTS_DISK, "w|") as tar:
        tar.add(RESULTS, "results")
    os.sync()


def work(job: dict[str, Any], output: int) -> None:
    """Prepare, then run the job's selections."""

    def say(text: str) -> None:
        os.write(output, f"lab: {text}\n".encode())

    say(f"ready, Linux {os.uname().release}, {time.clock_gettime(time.CLOCK_BOOTTIME):.0f} s after its start")
    os.makedirs(RESULTS)
    prepare()
    say(f"prepared, {time.clock_gettime(time.CLOCK_BOOTTIME):.0f} s after its start")
    results = {}
    for selection in job["selections"]:
        say(f"selection {selection['name']}")
        started = time.monotonic()
        status = run_selection(selection, output)
        seconds = round(time.monotonic() - started, 1)
        results[selection["name"]] = {"status": status, "seconds": seconds}
        with open(f"{RESULTS}/status.json", "w", encoding="utf-8") as file:
            json.dump(results, file)
        save()
        say(f"selection {selection['name']} ended with {status} in {seconds} s")
    say("ended")


def main() -> None:
    """Run the job that came with the checkout and switch off; without selections the machine stays, for a person."""
    with open(f"{CHECKOUT}/.lab/job.json", encoding="utf-8") as file:
        job = json.load(file)
    output = port("casemate.lab")
    try:
        work(job, output)
    except Exception:  # noqa: BLE001 - whatever it is, the host shall read it and not wait
        os.write(output, traceback.format_exc().encode())
    if job["selections"]:
        os.sync()
        subprocess.call(["systemctl", "poweroff", "--force", "--force"])


if __name__ == "__main__":
    main()
