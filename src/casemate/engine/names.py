"""Names and ids of containers."""

from __future__ import annotations

import os

from casemate.errors import Invalid

MIN_NAME, MAX_NAME = 2, 128
_ADJECTIVES = """
    able amber bold brave brisk calm clear clever coral crisp eager early easy fair fine firm fond
    free fresh gentle glad golden grand green happy hardy honest humble ivory jolly keen kind light
    lively loyal lucid lucky mellow merry mild modest neat nimble noble open patient placid plain
    polite proud quick quiet rapid ready rosy sage serene sharp silent silver simple sleek smart
    smooth snug solid steady still stout sunny sure swift tidy tranquil true trusty upbeat vivid
    warm wise witty young zesty
"""
_SURNAMES = """
    abel agnesi ampere archimedes babbage banach bell bohr bolt boole borg brahe cantor carson
    cauchy cerf church clarke codd cori curie darwin dijkstra dirac easley edison engelbart erdos
    euclid euler faraday fermat feynman franklin galileo galois gauss germain goldberg goodall
    hamilton hawking hertz hilbert hodgkin hopper hypatia jang kepler khorana kilby knuth kowalevski
    lamport leakey leavitt lederman liskov lovelace lumiere maxwell mayer mccarthy mcclintock
    meitner mendel mirzakhani morse napier newton nobel noether pascal pasteur payne perlman planck
    ramanujan ritchie rubin sammet shannon stallman swartz tesla thompson torvalds turing villani
    volta wiles wilson wozniak wright yonath
"""


def new_id() -> str:
    """64 random hex digits, never all decimal in the short form (it would read as a number)."""
    while True:
        text = os.urandom(32).hex()
        if not text[:12].isdigit():
            return text


def generate_name(attempt: int = 0) -> str:
    """``adjective_surname``; later attempts carry a digit, so that a free name is found at last."""
    seed = int.from_bytes(os.urandom(4), "little")
    adjectives, surnames = _ADJECTIVES.split(), _SURNAMES.split()
    name = f"{adjectives[seed % len(adjectives)]}_{surnames[seed // len(adjectives) % len(surnames)]}"
    return name if attempt == 0 else f"{name}{seed % 10**attempt}"


def check_name(name: str) -> str:
    """``name`` without a leading slash, when it may name a container: ``[a-zA-Z0-9][a-zA-Z0-9_.-]+``.

    Raises: Invalid. (The names become no paths, but people paste them into paths.)
    """
    plain = name.removeprefix("/")
    body = plain.replace("_", "a").replace(".", "a").replace("-", "a")
    if (
        len(plain) < MIN_NAME
        or len(plain) > MAX_NAME
        or not body.isalnum()
        or not body.isascii()
        or not plain[0].isalnum()
    ):
        raise Invalid(
            "name container",
            repr(name[:MAX_NAME]),
            "only [a-zA-Z0-9][a-zA-Z0-9_.-]+ is allowed, up to 128 characters",
        )
    return plain
