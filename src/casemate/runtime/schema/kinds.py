"""The words of which the schema is made: a rule is a tuple, its first item the kind, the rest what the kind needs.

    (TEXT,)                              a string without NUL that can be a file name or an argument
    (PATH,)                              the same, absolute
    (TESTED, test)                       the same; ``test(text)`` returns what it must be, "" when it is
    (FLAG,)                              true or false
    (NUMBER, least, most)                a whole number
    (CHOICE, words)                      one of these strings
    (LIST, rule, least, together)        a list of at least so many entries
    (MAP, rule, key_test, together)      an object whose names are data
    (OBJECT, fields, required, together) an object; other fields than these are accepted, as the specification says

``together(value)`` is None, or returns what is wrong between the parts of a value whose parts are right, each as the path below
the value and a sentence. A null is the same as an absent field, as for programs whose JSON reader does not tell them apart.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    Rule = tuple[Any, ...]
    Fields = Mapping[str, Rule]
    Together = Callable[[Any], list[tuple[str, str]]]

TEXT, PATH, TESTED, FLAG, NUMBER, CHOICE, LIST, MAP, OBJECT = range(9)

ANY_TEXT = (TEXT,)
ABSOLUTE = (PATH,)
BOOLEAN = (FLAG,)
TEXTS = (LIST, ANY_TEXT, 0, None)
ABSOLUTES = (LIST, ABSOLUTE, 0, None)
ANY_OBJECT: Rule = (OBJECT, {}, (), None)

UINT16 = (NUMBER, 0, 0xFFFF)
UINT32 = (NUMBER, 0, 0xFFFF_FFFF)
UINT64 = (NUMBER, 0, 0xFFFF_FFFF_FFFF_FFFF)
INT32 = (NUMBER, -0x8000_0000, 0x7FFF_FFFF)
INT64 = (NUMBER, -0x8000_0000_0000_0000, 0x7FFF_FFFF_FFFF_FFFF)
AN_ID = (NUMBER, 0, 0xFFFF_FFFE)  # 4294967295 is (uid_t)-1, "no id"


def is_plain(text: str) -> bool:
    """Whether the kernel can be given this string: no NUL, and every character can be encoded."""
    if text.isascii():
        return "\0" not in text
    return "\0" not in text and not any("\ud800" <= character <= "\udfff" for character in text)
