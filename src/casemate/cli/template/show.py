"""How values look: Go's ``%v`` and ``printf``."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence


class Missing:
    """No value at all: a key that a map does not have."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "<no value>"


MISSING = Missing()

WIDEST_FIELD = 10_000
"""Largest width or precision that printf honours, so that no template can ask for gigabytes."""


def show(value: object) -> str:
    """Return a value as ``%v`` prints it: ``map[a:1]``, ``[a b]``, ``true``, ``<nil>``."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if value is None:
        return "<nil>"
    if isinstance(value, float):
        return _number(value)
    if isinstance(value, dict):
        return "map[" + " ".join(f"{show(key)}:{show(value[key])}" for key in sorted(value)) + "]"
    if isinstance(value, (list, tuple)):
        return "[" + " ".join(show(item) for item in value) + "]"
    return str(value)


def _number(value: float) -> str:
    """Return a float as Go's ``%v`` does.

    The shortest digits, with an exponent below 1e-4 and from 1e6 on.
    """
    mantissa, _, power = repr(abs(value)).partition("e")
    whole, _, fraction = mantissa.partition(".")
    if not mantissa[0].isdigit():
        return {"inf": "+Inf" if value > 0 else "-Inf"}.get(mantissa, "NaN")
    digits = (whole + fraction).lstrip("0").rstrip("0") or "0"
    leading = len(whole) - 1 if whole.strip("0") else -1 - (len(fraction) - len(fraction.lstrip("0")))
    exponent = leading + int(power or 0) if digits != "0" else 0
    if -4 <= exponent < 6:  # noqa: PLR2004 - strconv.FormatFloat(v, 'g', -1, 64)
        return repr(value).removesuffix(".0")
    sign = "-" if value < 0 else ""
    tail = f".{digits[1:]}" if len(digits) > 1 else ""
    return f"{sign}{digits[0]}{tail}e{'-' if exponent < 0 else '+'}{abs(exponent):02d}"


def type_name(value: object) -> str:
    """Return Go's name of a value's type, as its messages use it."""
    if isinstance(value, bool):
        return "bool"
    names = {str: "string", int: "int", float: "float64", list: "[]interface {}"}
    if isinstance(value, dict):
        return "map[string]interface {}"
    return names.get(type(value), "<nil>" if value is None else type(value).__name__)


def quoted(text: str) -> str:
    """Return a string as ``%q`` prints it."""
    import json  # few templates quote

    return json.dumps(text, ensure_ascii=False)


def printf(layout: str, values: Sequence[object]) -> str:
    """Return ``fmt.Sprintf(layout, values...)`` for the verbs v s q d x X o b c t f e g T and ``%%``."""
    done, rest, used = [], layout, 0
    while rest:
        text, percent, rest = rest.partition("%")
        done.append(text)
        if not percent:
            break
        flags, width, precision, rest = _layout(rest)
        if not rest:
            done.append("%!(NOVERB)")
            break
        verb, rest = rest[0], rest[1:]
        if verb == "%":
            done.append("%")
        elif used >= len(values):
            done.append(f"%!{verb}(MISSING)")
        else:
            done.append(_padded(_one(verb, values[used], precision, flags), flags, width, verb))
            used += 1
    if used < len(values):
        extra = ", ".join(f"{type_name(value)}={show(value)}" for value in values[used:])
        done.append(f"%!(EXTRA {extra})")
    return "".join(done)


def _layout(rest: str) -> tuple[str, int, int | None, str]:
    """Return flags, width, precision and what follows them."""
    body = rest.lstrip("+-# 0")
    flags, rest = rest[: len(rest) - len(body)], body
    body = rest.lstrip("0123456789")
    width, rest = int(rest[: len(rest) - len(body)] or 0), body
    precision: int | None = None
    if rest[:1] == ".":
        body = rest[1:].lstrip("0123456789")
        precision, rest = int(rest[1 : len(rest) - len(body)] or 0), body
    return flags, min(width, WIDEST_FIELD), None if precision is None else min(precision, WIDEST_FIELD), rest


def _padded(text: str, flags: str, width: int, verb: str) -> str:
    if "-" in flags:
        return text.ljust(width)
    if "0" in flags and verb in "dfegxXob":
        return text.zfill(width)
    return text.rjust(width)


def _one(verb: str, value: object, precision: int | None, flags: str) -> str:  # noqa: C901, PLR0912 - one line a verb
    if verb == "v":
        return show(value)
    if verb == "T":
        return type_name(value)
    if isinstance(value, (list, tuple)):
        return "[" + " ".join(_one(verb, item, precision, flags) for item in value) + "]"
    if isinstance(value, bool):
        if verb == "t":
            return show(value)
    elif isinstance(value, str):
        if verb == "s":
            return value[:precision]
        if verb == "q":
            return quoted(value)
        if verb in "xX":
            return (
                format(int.from_bytes(value.encode(), "big"), verb).zfill(2 * len(value.encode()))
                if value
                else ""
            )
    elif isinstance(value, int):
        sign = "+" if "+" in flags else ""
        if verb in "dxXob":
            return format(value, f"{sign}{verb}")
        if verb == "c":
            return chr(value)
        if verb == "q":
            return f"'{chr(value)}'"
    elif isinstance(value, float) and verb in "feg":
        default = 6 if verb != "g" else None
        digits = precision if precision is not None else default
        return _number(value) if digits is None else format(value, f".{digits}{verb}")
    return f"%!{verb}({type_name(value)}={show(value)})" if value is not None else f"%!{verb}(<nil>)"
