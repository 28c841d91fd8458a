"""Patterns as classic Swarm had them in constraints and affinities: a word, a glob (`web*`), or `/regex/`.

A regular expression is found anywhere in a value, as with Python's `search`; `^` and `$` bind it to the ends.  The
leader evaluates them, so those that could keep it busy for long are refused: a repeated group, a reference back, or
more than three repetitions.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, field

_MAX_LENGTH = 256
_MAX_REPETITIONS = 3
_LITERALS = re.compile(r"\\.|\[\^?\]?[^\]]*\]")  # what is escaped or in a class repeats nothing by itself
_GROUP_REPEATED = re.compile(r"\)[*+{]")


class PatternError(ValueError):
    """A pattern that cannot be used; the message is a sentence for people."""


@dataclass(frozen=True, slots=True)
class Pattern:
    """What values are compared with. Equal when written alike."""

    text: str
    matches: Callable[[str], bool] = field(compare=False, repr=False)


def parse_pattern(text: str) -> Pattern:
    """The pattern that `text` says. Raises PatternError."""
    if len(text) > _MAX_LENGTH:
        raise PatternError(f"A pattern may be {_MAX_LENGTH} characters long at most.")
    if len(text) > 1 and text.startswith("/") and text.endswith("/"):
        return Pattern(text, _expression(text[1:-1]))
    if "*" in text:
        return Pattern(text, _glob(text))
    return Pattern(text, text.__eq__)


def _expression(text: str) -> Callable[[str], bool]:
    bare = _LITERALS.sub("", text)
    if sum(bare.count(sign) for sign in "*+{") > _MAX_REPETITIONS or _GROUP_REPEATED.search(bare):
        raise PatternError(
            f"the regular expression {text!r} repeats too much: at most {_MAX_REPETITIONS} repetitions are allowed, "
            "and none of a group."
        )
    if re.search(r"\\[1-9]|\(\?P=", text):
        raise PatternError(f"the regular expression {text!r} refers back to a group, which is not allowed.")
    try:
        compiled = re.compile(text)
    except (re.error, RecursionError, OverflowError) as error:
        raise PatternError(f"{text!r} is no regular expression: {error}.") from error
    return lambda value: compiled.search(value) is not None


def _glob(text: str) -> Callable[[str], bool]:
    """Only `*` is special. Each piece is looked for after the one before it: linear, whatever the pattern."""
    first, *pieces = text.split("*")
    last = pieces.pop()

    def matches(value: str) -> bool:
        at, end = len(first), len(value) - len(last)
        if at > end or not value.startswith(first) or not value.endswith(last):
            return False
        for piece in pieces:
            found = value.find(piece, at, end)
            if found < 0:
                return False
            at = found + len(piece)
        return True

    return matches
