"""Is a text JSON, and if not, what is wrong with it: cut off in the middle of what, broken, or never begun.

A scanner of RFC 8259 and nothing beyond it (no NaN, no comments, no byte order mark). It builds no values, never
recurses and keeps one byte for each open bracket, so that neither size nor depth of a text can hurt. It refuses to know
where the text came from.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

__all__ = ["JsonVerdict", "json_reading"]


class JsonVerdict(NamedTuple):
    """What `json_reading` found. `damage` is None for a valid text, otherwise one of

    cut off, so that more of the same text could have made it whole:
    - `in_string`: inside a string, which may be a key;
    - `in_number`: in or right behind a number inside an array or object: nobody knows whether digits are missing;
    - `in_literal`: inside `true`, `false` or `null`;
    - `after_comma`, `after_colon`, `after_key`: where a value, a key or a colon is due;
    - `unclosed`: only closing brackets are missing, `depth` of them;

    not to be mended by more text:
    - `garbage_after`: a whole value, and then something else;
    - `malformed`: it began as an array, object or string and breaks the grammar;
    - `not_json`: no JSON began. Prose is that, and a Markdown fence round JSON: a parser refuses both;
    - `empty`: nothing at all, or only whitespace.

    `depth` counts the brackets that are open where the reading stopped, None where nothing began. `at` is the character
    where the damage is: the start of the token that was cut, the first character that does not fit, or the end.
    """

    valid: bool
    damage: str | None = None
    depth: int | None = None
    at: int | None = None


# What may come next.
_VALUE, _FIRST_VALUE, _FIRST_KEY, _KEY, _COLON, _MORE = range(6)

_BLANKS: Final = re.compile(r"[ \t\n\r]*+")
# A stretch of a string's inside. Bounded, because the engine remembers each round of a repetition. (No group here is
# repeated possessively: before 3.11.5 Python's engine gets that wrong, gh-106052.)
_STRETCH: Final = r'[^"\\\x00-\x1f]*+(?:\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4})[^"\\\x00-\x1f]*+){0,100}'
_INSIDE: Final = re.compile(_STRETCH)
_ESCAPE_BEGUN: Final = re.compile(r"\\(?:u[0-9a-fA-F]{0,3})?\Z")
_DIGITS: Final = r"-?+(?:0|[1-9][0-9]*+)(?:\.[0-9]++)?(?:[eE][+-]?+[0-9]++)?"
_NUMBER: Final = re.compile(_DIGITS)
_NUMBER_BEGUN: Final = re.compile(r"-?+(?:(?:0|[1-9][0-9]*+)(?:\.|(?:\.[0-9]++)?[eE][+-]?+)?)?\Z")
_LITERALS: Final = {"t": "true", "f": "false", "n": "null"}
# Members without brackets, each up to the comma behind it: most of most texts, many at once.
_SCALAR: Final = rf'(?:"{_STRETCH}"|true|false|null|{_DIGITS})[ \t\n\r]*+,[ \t\n\r]*+'
_VALUES: Final = re.compile(rf"(?:{_SCALAR}){{1,100}}")
_MEMBERS: Final = re.compile(rf'(?:"{_STRETCH}"[ \t\n\r]*+:[ \t\n\r]*+{_SCALAR}){{1,100}}')

_OPENING: Final = re.compile(r"\[*+")

_ARRAY: Final = ord("[")
_OBJECT: Final = ord("{")


def json_reading(text: str) -> JsonVerdict:
    """Whether the text is one JSON value (RFC 8259) with nothing but whitespace round it, and if not, why. Linear."""
    return _Scanner(text).read()


class _Stopped(Exception):
    """The text is not valid."""

    def __init__(self, damage: str, at: int) -> None:
        self.damage = damage
        self.at = at


class _Scanner:
    __slots__ = ("at", "end", "open", "text")

    def __init__(self, text: str) -> None:
        self.text = text
        self.end = len(text)
        self.at = 0
        #: The open brackets, the innermost last.
        self.open = bytearray()

    def read(self) -> JsonVerdict:
        self._skip_blanks()
        if self.at == self.end:
            return JsonVerdict(False, "empty", None, 0)
        start = self.at
        try:
            self._value_and_more()
            self._skip_blanks()
            if self.at < self.end:
                return JsonVerdict(False, "garbage_after", 0, self.at)
        except _Stopped as stopped:
            if stopped.damage == "malformed" and self.text[start] not in '[{"':
                return JsonVerdict(False, "not_json", None, start)
            return JsonVerdict(False, stopped.damage, len(self.open), stopped.at)
        return JsonVerdict(True, None, 0, None)

    def _skip_blanks(self) -> None:
        # `match` at a position always finds something: the pattern may be empty.
        self.at = _BLANKS.match(self.text, self.at).end()  # type: ignore[union-attr]

    def _value_and_more(self) -> None:
        """One value with everything inside it, token by token."""
        due = self._value()
        while self.open:
            self._skip_blanks()
            due = self._many(due)
            if self.at == self.end:
                raise _Stopped(self._missing(due), self.end)
            due = self._next(due, self.text[self.at])

    def _many(self, due: int) -> int:
        """Take members that are scalars while a comma follows; what may come then."""
        if due in (_FIRST_KEY, _KEY):
            members, then = _MEMBERS.match(self.text, self.at), _KEY
        elif due in (_FIRST_VALUE, _VALUE) and self.open[-1] == _ARRAY and not self.text.startswith("[", self.at):
            members, then = _VALUES.match(self.text, self.at), _VALUE
        else:
            return due
        if members is None:
            return due
        self.at = members.end()
        return then

    def _missing(self, due: int) -> str:
        """What a text lacks that ends where `due` should come."""
        if due in (_FIRST_VALUE, _FIRST_KEY, _MORE):
            return "unclosed"
        if due == _COLON:
            return "after_key"
        return "after_colon" if due == _VALUE and self.open[-1] == _OBJECT else "after_comma"

    def _next(self, due: int, first: str) -> int:
        """Take the token that begins with `first`; what may come then."""
        if due == _VALUE or (due == _FIRST_VALUE and first != "]"):
            return self._value()
        if due == _KEY or (due == _FIRST_KEY and first != "}"):
            if first != '"':
                raise _Stopped("malformed", self.at)
            self._string()
            return _COLON
        if due == _COLON:
            return self._one(":", first, _VALUE)
        closing = "]" if self.open[-1] == _ARRAY else "}"
        if first == closing:
            self.at += 1
            self.open.pop()
            return _MORE
        return self._one(",", first, _VALUE if closing == "]" else _KEY)

    def _one(self, expected: str, found: str, due: int) -> int:
        if found != expected:
            raise _Stopped("malformed", self.at)
        self.at += 1
        return due

    def _value(self) -> int:
        """Take a scalar, or the opening bracket of what is none; what may come then."""
        first = self.text[self.at]
        if first == '"':
            self._string()
        elif first == "[":
            start, self.at = self.at, _OPENING.match(self.text, self.at).end()  # type: ignore[union-attr]
            self.open += b"[" * (self.at - start)
            return _FIRST_VALUE
        elif first == "{":
            self.open.append(_OBJECT)
            self.at += 1
            return _FIRST_KEY
        elif first in _LITERALS:
            self._literal(_LITERALS[first])
        else:
            self._number()
        return _MORE

    def _string(self) -> None:
        text, start = self.text, self.at
        at = start + 1
        while (end := _INSIDE.match(text, at).end()) > at:  # type: ignore[union-attr]
            at = end
        if at == self.end or _ESCAPE_BEGUN.match(text, at):
            raise _Stopped("in_string", start)
        if text[at] != '"':
            raise _Stopped("malformed", at)
        self.at = at + 1

    def _literal(self, literal: str) -> None:
        text, start = self.text, self.at
        if text.startswith(literal, start):
            self.at += len(literal)
        elif self.end - start < len(literal) and literal.startswith(text[start:]):
            raise _Stopped("in_literal", start)
        else:
            raise _Stopped("malformed", start)

    def _number(self) -> None:
        start = self.at
        number = _NUMBER.match(self.text, start)
        end = start if number is None else number.end()
        if end == self.end and self.open:
            raise _Stopped("in_number", start)
        if end < self.end:
            if self.text[start] in "-0123456789" and _NUMBER_BEGUN.match(self.text, start):
                raise _Stopped("in_number", start)
            if end == start:
                raise _Stopped("malformed", start)
        self.at = end
