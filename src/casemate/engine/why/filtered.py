"""A call that the seccomp filter refused: which options would let it pass.

Not a table: every capability and relaxation is tried on the profile, and those that make it allow this very call, with these
arguments, are named.
"""

from __future__ import annotations

from casemate.engine.spec.relaxations import RELAXATIONS
from casemate.engine.why.calls import MOUNTING, capability_for
from casemate.engine.why.finding import Finding
from casemate.engine.why.prices import HOST_ONLY, SECCOMP_OFF, USERNS_HOST, price_of
from casemate.runtime.default_profile import default_seccomp

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import Any

    from casemate.engine.why.scene import Scene

_FAMILIES = {
    3: "AX25", 16: "NETLINK", 17: "PACKET", 29: "CAN", 31: "BLUETOOTH", 38: "ALG", 40: "VSOCK", 44: "XDP",
}  # fmt: skip
_CLONE_NEW = 0x7E020000
_OWN_NAMESPACE = frozenset(("clone", "clone3", "setns", "unshare"))
_MASK = (1 << 64) - 1
_USUAL = frozenset(
    ("clone3", "rseq", "set_mempolicy", "get_mempolicy", "mbind", "io_uring_setup", "statmount")
)
"""Calls that C libraries and runtimes try first, and do without."""


def because_of_filter(entry: dict[str, Any], scene: Scene, *, said: str, error: str) -> Finding:
    """The finding for a call whose answer was the filter's."""
    call = entry["call"]
    arguments = [int(argument) for argument in entry["args"]]
    who = "the system call filter"
    if scene.wall.seccomp_file:
        what = f"{who} of {scene.wall.seccomp_file} answers {error} to {said}"
        allow = [("--security-opt seccomp=FILE", f"what you add to the profile: allow {call}")]
    else:
        what = f"{who} answers {error} to {said}{_reason(call, arguments)}"
        allow = list(ways_through(scene, call, arguments))
    needed = capability_for(call, entry["args"], ())
    if not allow and not (needed in HOST_ONLY and scene.is_rootless):
        allow = [("--security-opt seccomp=unconfined", SECCOMP_OFF)]
    elif not allow:
        what += f"; behind it the kernel asks for {needed} of the host's own root, which an ordinary user's container never has"
    return Finding("seccomp", what, allow, usual=call in _USUAL)


def ways_through(scene: Scene, call: str, arguments: Sequence[int]) -> Iterator[tuple[str, str]]:
    """The options that let this call pass the default profile and the kernel's own checks behind it, the narrower first."""
    have, relaxed = tuple(scene.wall.capabilities), tuple(scene.wall.relax)
    if _allows(default_seccomp(have, relaxed), call, arguments):
        return  # the profile of this version lets it pass
    needed = capability_for(call, [str(argument) for argument in arguments], ())
    for name, row in RELAXATIONS.items():
        if name == "nested" and needed and call not in _OWN_NAMESPACE:
            continue  # it lets the call pass, and the kernel refuses it: the program has no namespace of its own
        for relaxation in _spelled(name, call, arguments):
            if _allows(default_seccomp(have, (*relaxed, relaxation)), call, arguments):
                yield f"--relax {relaxation}", row.gives_away
    candidates = _candidates(call)
    for capability in [needed] if needed in candidates else candidates:
        widened = default_seccomp((*have, capability), relaxed)
        if capability not in have and _allows(widened, call, arguments):
            way = with_company(scene, call, capability)
            if way is not None:
                yield way


def with_company(scene: Scene, call: str, capability: str) -> tuple[str, str] | None:
    """Adding a capability, with what else the kernel asks for before it counts; None when nothing makes it count here."""
    options = [f"--cap-add {capability.removeprefix('CAP_')}"]
    gives = [price_of(capability)]
    if scene.wall.landlock and (call in MOUNTING or call in ("mknod", "mknodat")):
        options.append("--relax landlock")
        gives.append(RELAXATIONS["landlock"].gives_away)
    if capability in HOST_ONLY and scene.wall.own_user_namespace:
        if scene.is_rootless:
            return None
        options.append("--userns host")
        gives.append(USERNS_HOST)
    return " ".join(options), "; ".join(gives)


def _spelled(name: str, call: str, arguments: Sequence[int]) -> list[str]:
    if name != "family":
        return [name]
    family = _FAMILIES.get(arguments[0]) if call in ("socket", "socketpair") else None
    return [f"family={family.lower()}"] if family else []


def _candidates(call: str) -> list[str]:
    from casemate.runtime.default_syscalls import GRANTED_BY

    found = [capability for capability, calls in GRANTED_BY.items() if call in calls]
    if call in ("mknod", "mknodat"):
        found.append("CAP_MKNOD")
    if call in ("clone", "clone3"):
        found.append("CAP_SYS_ADMIN")
    return sorted(set(found), key=lambda name: (name == "CAP_SYS_ADMIN", name))


def _allows(profile: dict[str, Any], call: str, arguments: Sequence[int]) -> bool:
    """Whether an OCI profile has a rule that allows this call. Our own profile has no two rules that contradict each other."""
    return any(
        rule["action"] == "SCMP_ACT_ALLOW"
        and call in rule["names"]
        and all(_holds(condition, arguments) for condition in rule.get("args") or ())
        for rule in profile["syscalls"]
    )


def _holds(condition: dict[str, Any], arguments: Sequence[int]) -> bool:
    value = arguments[condition["index"]] & _MASK
    if condition["op"] == "SCMP_CMP_MASKED_EQ":
        return bool(value & condition["value"] == condition["valueTwo"])
    if condition["op"] == "SCMP_CMP_EQ":
        return bool(value == condition["value"] & _MASK)
    return False


def _reason(call: str, arguments: Sequence[int]) -> str:
    """What about the arguments it is, where only some are refused."""
    if call in ("socket", "socketpair"):
        name = _FAMILIES.get(arguments[0], str(arguments[0]))
        return f": sockets of the family {name} are not made"
    if call == "clone" and arguments[0] & _CLONE_NEW:
        return ": no namespaces are made inside"
    if call in ("mknod", "mknodat"):
        return ": no device nodes are made inside"
    if call == "ioctl":
        return ": nothing is pushed into the terminal"
    return ""
