"""Where the values of a JSON text stand in its bytes, and which of them a path names. The text is only ever looked at.

What is no JSON, or stops being any, ends the list; nothing raises for what a stranger sent.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple, TypeAlias

from ..errors import UsageError

__all__ = ["ANY", "EACH", "Leaf", "Step", "Unescaped", "leaves", "names", "parse_steps"]

#: Members and indexes from the root to a value.
Path: TypeAlias = tuple[str | int, ...]

#: Deeper than anything that is sent; below it nothing is looked at.
_DEEPEST: Final = 200


class Leaf(NamedTuple):
    """A value that holds no others: its path, and its bytes; of a string those within the quotation marks."""

    path: Path
    start: int
    end: int
    is_text: bool


_TOKEN: Final = re.compile(rb'[ \t\r\n]*(?:([{}\[\]:,])|(")|([^ \t\r\n{}\[\]:,"]+))')
_QUOTE: Final = 0x22
_BACKSLASH: Final = 0x5C


def _string_end(data: bytes, start: int) -> int:
    """Where the quotation mark stands that ends the string; -1 where none does."""
    at = start
    while (quote := data.find(b'"', at)) >= 0:
        before = quote - 1
        while before >= start and data[before] == _BACKSLASH:
            before -= 1
        if (quote - before) % 2:
            return quote
        at = quote + 1
    return -1


def leaves(data: bytes, start: int = 0) -> Iterator[Leaf]:
    """The values of the JSON text that begins at `start`, as far as it is one. A string that is cut off is a leaf."""
    path: list[str | int] = []
    objects: list[bool] = []  # of the open containers: whether it is an object
    name: str | None = None  # of the member whose value comes next
    at = start
    while token := _TOKEN.match(data, at):
        at = token.end()
        mark = token[1]
        if mark is None:
            if token[2]:
                begin, end = at, _string_end(data, at)
                cut, end = end < 0, len(data) if end < 0 else end
                at = end + 1
                if objects and objects[-1] and name is None:
                    name = _name(data[begin:end])
                    continue
            else:
                begin, end, cut = token.start(3), at, False
            yield Leaf((*path, name) if name is not None else tuple(path), begin, end, token[2] is not None)
            name = None
            if cut or not objects:
                return
        elif mark in b"{[":
            if len(objects) >= _DEEPEST:
                return
            if name is not None:
                path.append(name)
                name = None
            elif objects and objects[-1]:
                return
            objects.append(mark == b"{")
            if mark == b"[":
                path.append(0)
        elif mark in b"}]":
            if not _left(mark, path, objects):
                return
        elif mark == b"," and objects and not objects[-1]:
            last = path[-1]
            assert isinstance(last, int)
            path[-1] = last + 1


def _left(mark: bytes, path: list[str | int], objects: list[bool]) -> bool:
    """Leave the innermost container; False where the mark ends none, or nothing is left to be in."""
    if not objects or objects.pop() != (mark == b"}"):
        return False
    if mark == b"]":
        path.pop()
    if objects and objects[-1]:
        path.pop()
    return bool(objects)


def _name(raw: bytes) -> str:
    try:
        name: str = json.loads(b'"' + raw + b'"') if b"\\" in raw else raw.decode()
    except ValueError:
        name = raw.decode("latin-1")
    return name


# -- paths -----------------------------------------------------------------------------------------------------------


class _Wild(NamedTuple):
    text: str


#: `[*]`: every item or member. `**`: any number of steps.
EACH: Final = _Wild("[*]")
ANY: Final = _Wild("**")

Step: TypeAlias = str | int | _Wild

_STEP: Final = re.compile(
    r"""\.(?:(?P<any>\*\*)|(?P<name>[^\s.\[\]"*]+))|\[(?:(?P<index>[0-9]{1,9})|(?P<each>\*)|(?P<quoted>"(?:[^"\\]|\\.)*"))\]"""
)


def parse_steps(path: str, start: int) -> tuple[Step, ...]:
    """The steps of a path behind its root, which ends at `start`. Raises UsageError where it has another form."""
    steps: list[Step] = []
    at = start
    while at < len(path):
        step = _STEP.match(path, at)
        if step is None:
            raise UsageError(
                f"redact path {path!r} is wrong at character {at + 1}: write .name,"
                ' ["any name"], [0], [*] (each item) or .** (at any depth), as in body.messages[*].name'
            )
        if step["any"]:
            steps.append(ANY)
        elif step["each"]:
            steps.append(EACH)
        elif step["index"]:
            steps.append(int(step["index"]))
        else:
            steps.append(step["name"] or str(json.loads(step["quoted"])))
        at = step.end()
    if not steps or steps[-1] is ANY:
        raise UsageError(f"redact path {path!r} names nothing: end it with a name, as in body.metadata.email")
    return tuple(steps)


def names(steps: Sequence[Step], path: Path) -> bool:
    """Whether the path leads to, or into, what the steps name."""
    reached = {0}  # how many steps the path so far may have taken
    for part in path:
        reached = {further for taken in reached for further in _further(steps, taken, part)}
        if len(steps) in reached:
            return True
    return False


def _further(steps: Sequence[Step], taken: int, part: str | int) -> Iterator[int]:
    step = steps[taken]
    if step is ANY:
        yield taken
        yield from _further(steps, taken + 1, part)
    elif step is EACH or step == part:
        yield taken + 1


# -- the characters of a string --------------------------------------------------------------------------------------

_PART: Final = re.compile(rb"\\u([0-9a-fA-F]{4})|\\(.)|([^\\]+)|\\", re.DOTALL)
_ESCAPES: Final = {b"n": "\n", b"r": "\r", b"t": "\t", b"b": "\b", b"f": "\f"}


class Unescaped:
    """The text that a string's bytes spell, and where each of its characters stands in them."""

    __slots__ = ("_places", "text")

    def __init__(self, raw: bytes, *, is_json: bool = True) -> None:
        self._places: list[int] | None = None
        if raw.isascii() and not (is_json and b"\\" in raw):
            self.text = raw.decode("ascii")
            return
        characters: list[str] = []
        places: list[int] = []
        for part in _PART.finditer(raw) if is_json else [re.match(b"(?s)()()(.*)", raw)]:
            assert part is not None
            self._add(part, characters, places)
        places.append(len(raw))
        self.text, self._places = "".join(characters), places

    def _add(self, part: re.Match[bytes], characters: list[str], places: list[int]) -> None:
        start = part.start()
        if part[3]:
            for character in part[3].decode("utf-8", "surrogateescape"):
                characters.append(character)
                places.append(start)
                start += len(character.encode("utf-8", "surrogateescape"))
            return
        if part[1]:
            code = chr(int(part[1], 16))
            if "\udc00" <= code <= "\udfff" and characters and "\ud800" <= characters[-1] <= "\udbff":
                pair = (characters[-1] + code).encode("utf-16", "surrogatepass").decode("utf-16")
                characters[-1] = pair
                return
            characters.append(code)
        else:
            characters.append(_ESCAPES.get(part[2], part[2].decode("latin-1")) if part[2] else "\\")
        places.append(start)

    def place(self, start: int, end: int) -> tuple[int, int]:
        """From where to where in the bytes these characters stand."""
        return (start, end) if self._places is None else (self._places[start], self._places[end])
