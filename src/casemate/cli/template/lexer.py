"""Template text into tokens. Source: Go text/template/parse/lex.go."""

from __future__ import annotations

from casemate.cli.template.problem import TemplateError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

SPACE = " \t\r\n"
DIGITS = "0123456789"
NUMBER = "0123456789abcdefABCDEFxXoOpP._"
ESCAPES = {
    "n": "\n",
    "t": "\t",
    "r": "\r",
    "\\": "\\",
    '"': '"',
    "'": "'",
    "a": "\a",
    "b": "\b",
    "f": "\f",
    "v": "\v",
}
HEX_LENGTHS = {"x": 2, "u": 4, "U": 8}
KEYWORDS = ("if", "else", "end", "range", "with", "break", "continue", "define", "template", "block", "nil")


class Token:
    """A piece of a template: ``kind`` is text, open, close, field, variable, word, keyword, literal.

    Space, end or one of ``( ) | , = := .``.
    """

    __slots__ = ("kind", "position", "text", "value")

    def __init__(self, kind: str, text: str, position: int, value: object = None) -> None:
        self.kind = kind
        self.text = text
        self.position = position
        self.value = value


def tokens(source: str) -> Iterator[Token]:
    """Yield the tokens of a template; ``open`` and ``close`` are the delimiters. Raises: TemplateError."""
    at = 0
    trim_next = False
    while at < len(source):
        begin = source.find("{{", at)
        text = source[at:] if begin < 0 else source[at:begin]
        if trim_next:
            text = text.lstrip(SPACE)
        if begin < 0:
            yield Token("text", text, at)
            break
        inside = begin + 2
        if source[inside : inside + 1] == "-" and source[inside + 1 : inside + 2] in (*SPACE,):
            text, inside = text.rstrip(SPACE), inside + 2
        if text:
            yield Token("text", text, at)
        if source[inside : inside + 2] == "/*":
            at, trim_next = _after_comment(source, inside)
            continue
        yield Token("open", "{{", begin)
        at = inside
        while True:
            token = _next(source, at)
            at = token.position + len(token.text)
            if token.kind == "close":
                yield token
                break
            yield token
        trim_next = token.text[0] != "}"
    yield Token("end", "", len(source))


def line_of(source: str, position: int) -> int:
    """Return the line number, from 1."""
    return source.count("\n", 0, position) + 1


def _fail(source: str, position: int, why: str) -> TemplateError:
    return TemplateError(f":{line_of(source, position)}: {why}")


def _after_comment(source: str, inside: int) -> tuple[int, bool]:
    end = source.find("*/", inside)
    if end < 0:
        raise _fail(source, inside, "unclosed comment")
    rest = source[end + 2 :]
    if rest.startswith("}}"):
        return end + 4, False
    if rest[:1] in (*SPACE,) and rest[1:4] == "-}}":
        return end + 6, True
    raise _fail(source, inside, "comment ends before closing delimiter")


def _next(source: str, at: int) -> Token:
    char = source[at : at + 1]
    if not char:
        raise _fail(source, at, "unclosed action")
    if source.startswith("}}", at):
        return Token("close", "}}", at)
    if char in SPACE:
        end = at
        while source[end : end + 1] in (*SPACE,):
            end += 1
        if source.startswith("-}}", end):
            return Token("close", source[at : end + 3], at)
        return Token("space", source[at:end], at)
    if char in "()|,":
        return Token(char, char, at)
    if char == ":" and source[at + 1 : at + 2] == "=":
        return Token(":=", ":=", at)
    if char == "=":
        return Token("=", "=", at)
    return _value(source, at, char)


def _value(source: str, at: int, char: str) -> Token:
    if char in "\"'`":
        return _quoted(source, at, char)
    following = source[at + 1 : at + 2]
    if char in DIGITS or (char in "+-." and following and following in DIGITS):
        return _number(source, at)
    if char in ".$":
        return _dotted(source, at, char)
    if char.isalpha() or char == "_":
        word = _word(source, at)
        _check_terminator(source, at + len(word))
        if word in ("true", "false"):
            return Token("literal", word, at, word == "true")
        return Token("keyword" if word in KEYWORDS else "word", word, at)
    if char.isprintable() and char.isascii():
        return Token("char", char, at)
    raise _fail(source, at, f"unrecognized character in action: {_shown(char)}")


def _dotted(source: str, at: int, char: str) -> Token:
    word = _word(source, at + 1)
    text = char + word
    if char == "$":
        _check_terminator(source, at + len(text))
        return Token("variable", text, at)
    if not word:
        return Token(".", ".", at)
    _check_terminator(source, at + len(text))
    return Token("field", text, at)


def _word(source: str, at: int) -> str:
    end = at
    while end < len(source) and (source[end].isalnum() or source[end] == "_"):
        end += 1
    return source[at:end]


def _check_terminator(source: str, at: int) -> None:
    char = source[at : at + 1]
    if char and char not in " \t\r\n.,|:()=" and not source.startswith("}}", at):
        raise _fail(source, at, f"bad character {_shown(char)}")


def _shown(char: str) -> str:
    return f"U+{ord(char):04X} '{char}'"


def _number(source: str, at: int) -> Token:
    end = at + 1
    while end < len(source) and (
        source[end] in NUMBER or (source[end] in "+-" and source[end - 1] in "eEpP")
    ):
        end += 1
    text = source[at:end]
    try:
        return Token("literal", text, at, _number_value(text))
    except ValueError:
        raise _fail(source, at, f'bad number syntax: "{text}"') from None


def _number_value(text: str) -> int | float:
    plain = text.lstrip("+-")
    if len(plain) > 1 and plain[0] == "0" and plain.strip(DIGITS) == "":
        return int(text, 8)
    try:
        return int(text, 0)
    except ValueError:
        return float(text)


def _quoted(source: str, at: int, quote: str) -> Token:
    value, i = "", at + 1
    while True:
        char = source[i : i + 1]
        if not char or (char == "\n" and quote != "`"):
            kind = {'"': "quoted string", "'": "character constant", "`": "raw quoted string"}[quote]
            raise _fail(source, at, f"unterminated {kind}")
        if char == quote:
            break
        if char == "\\" and quote != "`":
            char, length = _escape(source, i)
            i += length
        else:
            i += 1
        value += char
    text = source[at : i + 1]
    if quote != "'":
        return Token("literal", text, at, value)
    if len(value) != 1:
        raise _fail(source, at, f"malformed character constant: {text}")
    return Token("literal", text, at, ord(value))


def _escape(source: str, at: int) -> tuple[str, int]:
    """Return the character of an escape sequence and the sequence's length."""
    letter = source[at + 1 : at + 2]
    if letter in ESCAPES and letter:
        return ESCAPES[letter], 2
    length = HEX_LENGTHS.get(letter, 0)
    base, digits = (16, source[at + 2 : at + 2 + length]) if length else (8, source[at + 1 : at + 4])
    try:
        return chr(int(digits, base)), 2 + length if length else 4
    except (ValueError, OverflowError):
        raise _fail(source, at, "invalid syntax") from None
