"""Readers of option values: a text in, a plain value out.

Or a ValueProblem that says what is wrong and what would be right.

``READERS`` maps the ``kind`` of an option to its reader.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]  # the C module has no stub

from casemate.cli.mount_values import mount, tmpfs, volume
from casemate.cli.suggest import did_you_mean
from casemate.cli.usage import ValueProblem

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

DIGITS = "0123456789"
BINARY_UNITS = {"": 0, "b": 0, "k": 1, "m": 2, "g": 3, "t": 4, "p": 5}
INT64_MAX = 2**63 - 1
FIRST_REALTIME, LAST_SIGNAL = 34, 64  # signal(7), glibc's SIGRTMIN

# setrlimit(2); the names of docker's --ulimit
ULIMITS = (
    "core",
    "cpu",
    "data",
    "fsize",
    "locks",
    "memlock",
    "msgqueue",
    "nice",
    "nofile",
    "nproc",
    "rss",
    "rtprio",
    "rttime",
    "sigpending",
    "stack",
)


def is_number(text: str) -> bool:
    """Return whether a text is ASCII digits and short enough to be a number of anything here."""
    return bool(text) and len(text) < 20 and not text.strip(DIGITS)  # noqa: PLR2004 - INT64_MAX has 19


def integer(text: str) -> int:
    """Return a whole number that fits 64 bits."""
    digits = text[1:] if text[:1] in ("-", "+") else text
    if not digits or digits.strip(DIGITS):
        raise ValueProblem("it is not a whole number", "write digits, for example 10")
    if len(digits) > len(str(INT64_MAX)) or not -INT64_MAX - 1 <= int(text) <= INT64_MAX:
        raise ValueProblem("it does not fit 64 bits")
    return int(text)


def natural(text: str) -> int:
    """Return a whole number that is not negative."""
    value = integer(text)
    if value < 0:
        raise ValueProblem("it is negative", "write 0 or more")
    return value


def decimal(text: str, *, example: str) -> float:
    """Return a decimal number such as ``1.5`` (no exponent, no sign)."""
    whole, _, fraction = text.partition(".")
    if not (whole or fraction) or (whole + fraction).strip(DIGITS) or text.count(".") > 1:
        raise ValueProblem("it is not a number", f"write for example {example}")
    return float(text)


def size_bytes(text: str) -> int:
    """Return a size in bytes; units are powers of 1024.

    Source: docker's units.RAMInBytes (``64m``, ``1.5g``, ``512kb``, ``1GiB``).
    """
    lowered = text.strip().lower()
    number = lowered.rstrip("kmgtpib ")
    unit = lowered[len(number) :].strip()
    if not number or number.strip(DIGITS + ".") or number.count(".") > 1 or number == ".":
        raise ValueProblem("it is not a size", "write a number and a unit: 512m, 1.5g, 1073741824")
    short = unit[:1]
    if short not in BINARY_UNITS or unit not in ("", "b", short, short + "b", short + "ib"):
        raise ValueProblem(f"{unit} is not a unit of size", "units are b, k, m, g, t and p")
    value = int(float(number) * 1024 ** BINARY_UNITS[short])
    if value > INT64_MAX:
        raise ValueProblem("it does not fit 64 bits")
    return value


def memory_swap_bytes(text: str) -> int:
    """Return memory plus swap in bytes, or -1 for no limit."""
    return -1 if text == "-1" else size_bytes(text)


def cpus(text: str) -> float:
    """Return a number of processors, down to a billionth. Source: docker's opts.ParseCPUs."""
    value = decimal(text, example="1.5")
    if "." in text and len(text.partition(".")[2].rstrip("0")) > 9:  # noqa: PLR2004 - nano cpus
        raise ValueProblem("it is more precise than a billionth of a processor")
    return value


def cpu_list(text: str) -> str:
    """Return a list of processors as typed, checked. Source: cpuset(7), "List format"."""
    for part in text.split(","):
        low, dash, high = part.partition("-")
        good = is_number(low) and (is_number(high) if dash else True)
        if not good or (dash and int(high) < int(low)):
            raise ValueProblem(f'"{part}" is not a range of processors', "write for example 0-3 or 0,2")
    return text


def ulimit(text: str) -> tuple[str, int, int]:
    """Return (name, soft, hard); -1 is no limit. ``name=soft[:hard]``."""
    name, equals, limits = text.partition("=")
    if not equals:
        raise ValueProblem("its form is name=soft[:hard]", "write for example nofile=1024:4096")
    if name not in ULIMITS:
        raise ValueProblem(
            f"there is no limit called {name}",
            did_you_mean(name, ULIMITS, otherwise=f"known: {', '.join(ULIMITS)}"),
        )
    soft_text, colon, hard_text = limits.partition(":")
    soft = -1 if soft_text == "unlimited" else integer(soft_text)
    hard = soft if not colon else (-1 if hard_text == "unlimited" else integer(hard_text))
    if min(soft, hard) < -1:
        raise ValueProblem("a limit is a number, or -1 for none")
    if hard != -1 and (soft > hard or soft == -1):
        raise ValueProblem(f"the soft limit ({soft}) is above the hard limit ({hard})")
    return name, soft, hard


def environment(text: str) -> str:
    """Return ``K=V``, or ``K`` to be taken from casemate's own environment."""
    name = text.partition("=")[0]
    if not name:
        raise ValueProblem("the variable has no name", "write NAME=value, or NAME to pass your own")
    return text


def key_value(text: str) -> tuple[str, str]:
    """Return (key, value) of ``key=value``; the value may be missing, the key not."""
    key, _, value = text.partition("=")
    if not key:
        raise ValueProblem("the key is missing", "write key=value")
    return key, value


def sysctl(text: str) -> tuple[str, str]:
    """Return (name, value) of a kernel parameter."""
    name, equals, value = text.partition("=")
    if not name or not equals:
        raise ValueProblem(
            "its form is name=value", "write for example net.ipv4.ip_unprivileged_port_start=0"
        )
    return name, value


def extra_host(text: str) -> str:
    """Return ``name:address`` (docker also takes ``name=address``)."""
    name, separator, address = text.partition("=") if "=" in text else text.partition(":")
    if not name or not separator or not address:
        raise ValueProblem("its form is name:address", "write for example db:10.0.0.5")
    address = address[1:-1] if address[:1] == "[" and address[-1:] == "]" else address
    if address != "host-gateway":
        ip_address(address)
    return f"{name}:{address}"


def ip_address(text: str) -> str:
    """Return an IPv4 or IPv6 address as typed, checked."""
    import _socket  # only few commands name an address

    family = _socket.AF_INET6 if ":" in text else _socket.AF_INET
    try:
        _socket.inet_pton(family, text)
    except (OSError, ValueError):
        raise ValueProblem(f"{text} is not an IP address") from None
    return text


def device(text: str) -> tuple[str, str, str]:
    """Return (host path, container path, permissions). ``host[:container[:rwm]]``."""
    parts = text.split(":")
    host, permissions = parts[0], "rwm"
    inside = host
    if len(parts) == 2 and parts[1].strip("rwm") == "":  # noqa: PLR2004 - host:permissions
        permissions = parts[1]
    elif len(parts) > 1:
        inside = parts[1]
        permissions = parts[2] if len(parts) > 2 else permissions  # noqa: PLR2004 - host:container:permissions
    if len(parts) > 3 or not permissions or permissions.strip("rwm"):  # noqa: PLR2004
        raise ValueProblem("its form is host[:container[:rwm]]", "write for example /dev/fuse:/dev/fuse:rw")
    if host[:1] != "/" or inside[:1] != "/":
        raise ValueProblem("a device is an absolute path", "write for example /dev/fuse")
    return host, inside, permissions


def choice(*words: str) -> Callable[[str], str]:
    """Return a reader that accepts only ``words``."""

    def read(text: str) -> str:
        if text not in words:
            raise ValueProblem(f"it must be one of {', '.join(words)}", did_you_mean(text, words))
        return text

    return read


def network(text: str) -> str:
    """Return the network's name: ``none`` or ``host`` for now."""
    if text in ("none", "host"):
        return text
    if not text:
        raise ValueProblem("no name of a network is given", "write --network none or --network host")
    raise ValueProblem(
        "this version has no bridge, custom or shared networks yet",
        "--network none (loopback only, the default) or --network host (the host's own network)",
    )


def restart_policy(text: str) -> str:
    """Return a restart policy; only ``no`` does not need a supervisor."""
    if text in ("no", ""):
        return "no"
    raise ValueProblem(
        "this version starts no container again by itself",
        "leave --restart away, and let systemd run `casemate run` with Restart=always",
    )


def security_option(text: str) -> str:
    """Return a security option in docker's form ``key=value`` (old ``key:value``) or a bare word."""
    key, separator, value = text.partition("=") if "=" in text else text.partition(":")
    known = (
        "no-new-privileges",
        "seccomp",
        "apparmor",
        "label",
        "systempaths",
        "mask",
        "unmask",
        "proc-opts",
    )
    if key not in known:
        raise ValueProblem(f"there is no security option {key}", did_you_mean(key, known))
    return f"{key}={value}" if separator else key


def relaxations(text: str) -> list[str]:
    """Return the words of ``--relax a,b``, each a known relaxation."""
    from casemate.engine.spec.relaxations import RELAXATIONS, families, words

    known, found = words(), [word.strip().lower() for word in text.split(",")]
    for word in found:
        if word in known:
            continue
        name = word.partition("=")[0]
        if name in RELAXATIONS and RELAXATIONS[name].takes:
            raise ValueProblem(f"{word} names no family", f"write family= and one of {' '.join(families())}")
        otherwise = "casemate relax lists them"
        meant = did_you_mean(word, [*known, *RELAXATIONS], otherwise=otherwise)
        raise ValueProblem(f"there is no relaxation {word}", meant if word != "help" else otherwise)
    return found


def signal_number(text: str) -> int:
    """Return a signal's number; takes ``KILL``, ``SIGKILL``, ``9``, ``RTMIN+3``, ``RTMAX-1``."""
    if is_number(text):
        if not 0 < int(text) <= LAST_SIGNAL:
            raise ValueProblem(f"a signal is a number from 1 to {LAST_SIGNAL}")
        return int(text)
    name = text.upper().removeprefix("SIG")
    number = getattr(_signal, f"SIG{name}", None)
    if isinstance(number, int) and name[:1] != "_":
        return number
    for edge, first, sign in (("RTMIN+", FIRST_REALTIME, 1), ("RTMAX-", LAST_SIGNAL, -1)):
        offset = name.removeprefix(edge)
        if offset != name and is_number(offset) and int(offset) <= LAST_SIGNAL - FIRST_REALTIME:
            return first + sign * int(offset)
    names = [known[3:] for known in dir(_signal) if known.startswith("SIG") and known[3:4] != "_"]
    raise ValueProblem(
        f"there is no signal {text}", did_you_mean(name, names, otherwise="for example TERM, KILL, 9")
    )


def signal_name(text: str) -> str:
    """Return a signal as typed, checked."""
    signal_number(text)
    return text


def seconds(text: str) -> int:
    """Return a time in seconds; -1 is no limit."""
    value = integer(text)
    if value < -1:
        raise ValueProblem("it is a number of seconds, or -1 to wait for ever")
    return value


def tail(text: str) -> int | None:
    """Return a number of lines, None for all."""
    return None if text == "all" else integer(text)


def moment(text: str) -> int:
    """Return a point in time, in ns since the epoch."""
    from casemate.cli.moments import parse_moment  # only logs asks for times

    return parse_moment(text)


def pair_filter(text: str) -> tuple[str, str]:
    """Return (key, value) of ``--filter key=value``."""
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise ValueProblem("its form is key=value", "write for example name=web")
    return key.strip().lower(), value.strip()


def detach_keys(text: str) -> bytes:
    """Return the bytes of a detach sequence: ``ctrl-p,ctrl-q``, ``a``, ``ctrl-[``; empty turns detaching off.

    Source: docker's term.ToBytes.
    """
    sequence = bytearray()
    for key in text.split(",") if text else ():
        if len(key) == 1 and key.isascii():
            sequence += key.encode()
            continue
        letter = key[5:].lower()
        if key[:5] != "ctrl-" or len(letter) != 1 or letter not in "@abcdefghijklmnopqrstuvwxyz[\\]^_":
            raise ValueProblem(f'"{key}" is not a key', "write letters or ctrl-<letter>: ctrl-p,ctrl-q")
        sequence.append(ord(letter) & 0x1F)
    return bytes(sequence)


READERS: dict[str, Callable[[str], Any]] = {
    "integer": integer,
    "natural": natural,
    "bytes": size_bytes,
    "memory-swap": memory_swap_bytes,
    "cpus": cpus,
    "cpu-list": cpu_list,
    "ulimit": ulimit,
    "env": environment,
    "key-value": key_value,
    "sysctl": sysctl,
    "extra-host": extra_host,
    "ip": ip_address,
    "device": device,
    "pull": choice("missing", "always", "never"),
    "tier": choice("container"),
    "userns": choice("auto", "host", "keep-id"),
    "log-driver": choice("json-file", "local", "none"),
    "network": network,
    "restart": restart_policy,
    "security-opt": security_option,
    "relax": relaxations,
    "signal": signal_name,
    "seconds": seconds,
    "tail": tail,
    "moment": moment,
    "filter": pair_filter,
    "detach-keys": detach_keys,
    "volume": volume,
    "mount": mount,
    "tmpfs": tmpfs,
    "stream": choice("stdin", "stdout", "stderr", "STDIN", "STDOUT", "STDERR"),
    "object": choice("container", "image"),
    "shell": choice("bash", "zsh", "fish"),
}
