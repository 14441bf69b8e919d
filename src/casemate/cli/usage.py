"""What is wrong with a command line."""

from __future__ import annotations

from casemate.errors import Invalid

TYPE_CHECKING = False
if TYPE_CHECKING:
    from casemate.cli.table import Option, Verb


class UsageError(Invalid):
    """The command line cannot be understood.

    125 for flags and values, 1 for verbs and numbers of operands, as docker does.
    """

    code = "E-USAGE"

    def __init__(
        self, doing: str, why: str, *, hint: str = "", exit_code: int = 125, usage: str = ""
    ) -> None:
        super().__init__(doing, why=why, hint=hint)
        self.exit_code = exit_code
        self.usage = usage


class ValueProblem(Exception):  # not a failure yet: the parser adds which option it belongs to
    """A text is not a value of its kind: ``why``, and ``fix``, an example that would be right."""

    def __init__(self, why: str, fix: str = "") -> None:
        super().__init__(why)
        self.why = why
        self.fix = fix


def bad_value(verb: Verb, option: Option, text: str, problem: ValueProblem) -> UsageError:
    """Return the error for an option's value that its reader refused."""
    hint = problem.fix or f"casemate {verb.name} --help shows what --{option.name} takes"
    return UsageError(f'use "{text}" for {option.label}', problem.why, hint=hint)


def refused(option: Option, why: str, fix: str) -> UsageError:
    """Return the error for one of docker's options that casemate does not have."""
    error = UsageError(f"use {option.label}", why, hint=fix)
    error.code = "E-UNSUPPORTED"
    return error


def wrong_count(verb: Verb, path: str) -> UsageError:
    """Return the error for too few or too many operands, in docker's words."""
    return UsageError(
        "read the command line",
        f"'casemate {path}' {requirement(verb.least, verb.most)}",
        hint=f"usage: casemate {verb.usage}",
        exit_code=1,
        usage=path,
    )


def requirement(least: int, most: int | None) -> str:
    """Return how many operands are needed: ``requires at least 1 argument``."""
    if most is None:
        return f"requires at least {plural(least)}"
    if most == 0:
        return "accepts no arguments"
    if least == most:
        return f"requires {plural(least)}"
    return (
        f"requires at most {plural(most)}"
        if not least
        else f"requires at least {least} and at most {plural(most)}"
    )


def plural(count: int) -> str:
    """Return ``1 argument``, ``2 arguments``."""
    return f"{count} argument" + ("" if count == 1 else "s")
