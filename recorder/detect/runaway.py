"""Texts that stopped saying anything: whitespace without end, and the same words over and over.

JSON modes may make a model write whitespace until its token limit; a model that lost its way repeats itself until then.
Here a text that is over is looked through in one pass; `live` looks for the same, by the same limits, while a stream
runs. The module refuses to know protocols and why a text ended.
"""

from __future__ import annotations

import re
import zlib
from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Final, NamedTuple

from recorder.recording import Spoken

__all__ = [
    "ENOUGH",
    "JSON_BLANKS",
    "PIECES",
    "STEP",
    "TEXT_BLANKS",
    "TYPED",
    "WINDOW",
    "Repetition",
    "Whitespace",
    "is_loop",
    "repetition",
    "whitespace",
]

#: Characters of whitespace in a row that are a runaway outside the strings of a JSON text, and at the end of any text.
JSON_BLANKS: Final = 64
#: The same inside any other text, where tables and drawings have long rows of blanks.
TEXT_BLANKS: Final = 256
#: So many pieces of a stream in a row that hold nothing but whitespace are one, however short they are.
PIECES: Final = 20
#: Except in a stream that sends every character alone: known after so many, none of them in a wider piece.
TYPED: Final = 20
#: A line of JSON text may be indented by so many characters for each open bracket.
_INDENT: Final = 8

#: Characters that are compressed together, and from one such look to the next.
WINDOW: Final = 2048
STEP: Final = 1024
#: A window that shrinks below this share of itself repeats itself.
_RATIO: Final = 0.1
#: A repetition that does not go on to the end counts from this length on: tables of zeros are shorter.
ENOUGH: Final = 8192


# -- whitespace -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Whitespace:
    """The first whitespace runaway of a text, and what all of them add up to.

    `at` is the character where it begins, `chars` its length, `pieces` how many pieces of the stream held nothing else
    (about as many tokens); `position` and `elapsed_us` are those of the event that began it, None where there was no
    stream. `runs` and `all_chars` count every runaway of the text.
    """

    at: int
    chars: int
    pieces: int
    position: int | None
    elapsed_us: int | None
    to_end: bool
    runs: int
    all_chars: int


class _Run(NamedTuple):
    """A row of whitespace."""

    start: int
    end: int
    pieces: int


_ROW: Final = re.compile(rf"\s{{{PIECES},}}")
#: What opens and closes in a JSON text; a backslash takes the next character with it.
_MARK: Final = re.compile(r'\\.|["\[\]{}]', re.DOTALL)
_INDENTATION: Final = re.compile(r"\r?\n[ \t]*+")


def whitespace(spoken: Spoken, *, json: bool) -> Whitespace | None:
    """The whitespace runaways of a text, None where there is none. `json` says that it is meant to be JSON.

    A runaway is a row of whitespace of 64 characters outside the strings of a JSON text or at the end of any text, of
    256 elsewhere, or of 20 whitespace-only pieces. The indentation of a line of JSON is none, nor are the pieces of a
    stream that sends every character alone.
    """
    found = list(_suspects(spoken))
    if not found:
        return None
    first, runs, chars = None, 0, 0
    for run, in_json, depth in _placed(spoken.text, found) if json else ((run, False, 0) for run in found):
        if _is_runaway(spoken, run, in_json=in_json, depth=depth):
            first = first or run
            runs += 1
            chars += run.end - run.start
    if first is None:
        return None
    position, elapsed_us = _when(spoken, first.start)
    return Whitespace(
        at=first.start,
        chars=first.end - first.start,
        pieces=first.pieces,
        position=position,
        elapsed_us=elapsed_us,
        to_end=first.end == len(spoken.text),
        runs=runs,
        all_chars=chars,
    )


def _suspects(spoken: Spoken) -> Iterator[_Run]:
    """Rows of whitespace that are long, or came in many pieces."""
    typed_until: int | None = None
    for match in _ROW.finditer(spoken.text):
        start, end = match.span()
        pieces = _pieces(spoken, start, end)
        if pieces >= PIECES and pieces == end - start and start >= TYPED:
            if typed_until is None:
                typed_until = _typed_until(spoken)
            if start <= typed_until:
                pieces = 0
        if pieces >= PIECES or end - start >= JSON_BLANKS:
            yield _Run(start, end, pieces)


def _pieces(spoken: Spoken, start: int, end: int) -> int:
    """How many pieces lie between two characters; those without any text do not count."""
    offsets = spoken.offsets
    first, behind = bisect_left(offsets, start), bisect_left(offsets, end)
    if behind - first < PIECES:
        return behind - first
    ends = [*offsets[first + 1 : behind + 1]]
    if behind == len(offsets):
        ends.append(len(spoken.text))
    return sum(begun < ended <= end for begun, ended in zip(offsets[first:behind], ends, strict=True))


def _typed_until(spoken: Spoken) -> int:
    """The character up to which no piece with more than whitespace was longer than two characters."""
    for begun, ended in pairwise(spoken.offsets):
        if ended - begun > 2 and not spoken.text[begun:ended].isspace():
            return begun
    return len(spoken.text)


def _placed(text: str, runs: list[_Run]) -> Iterator[tuple[_Run, bool, int]]:
    """Each row of whitespace of a JSON text, with whether it is outside of strings, and in how many brackets."""
    marks = _MARK.finditer(text, 0, runs[-1].start)
    mark = next(marks, None)
    in_string, depth = False, 0
    for run in runs:
        while mark is not None and mark.start() < run.start:
            character = mark[0]
            if character == '"':
                in_string = not in_string
            elif not in_string and character in "[{":
                depth += 1
            elif not in_string and character in "]}":
                depth -= 1
            mark = next(marks, None)
        yield run, not in_string, depth


def _is_runaway(spoken: Spoken, run: _Run, *, in_json: bool, depth: int) -> bool:
    chars = run.end - run.start
    if run.pieces >= PIECES:
        return True
    if run.end == len(spoken.text):
        return chars >= JSON_BLANKS
    if in_json and _INDENTATION.fullmatch(spoken.text, run.start, run.end):
        return chars > max(JSON_BLANKS, _INDENT * depth + 2)
    return chars >= (JSON_BLANKS if in_json else TEXT_BLANKS)


# -- repetition -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Repetition:
    """A text that repeats itself: from the character `at` on, for `chars` characters (where it goes on, roughly).

    `period` is the length of what is repeated, in characters; None where it changes a little each time. `position` and
    `elapsed_us` are those of the event that began it, None where there was no stream.
    """

    at: int
    chars: int
    period: int | None
    position: int | None
    elapsed_us: int | None
    to_end: bool


#: Where in a window is looked whether it has been said before: bytes, counted from the end.
_PROBES: Final = (12, 268, 524, 780)
_PROBE: Final = 12
_MOST: Final = int(WINDOW * _RATIO)


def is_loop(window: bytes) -> bool:
    """Whether these bytes (about WINDOW of them) say one short thing over and over, other than whitespace.

    Prose and code are told apart by a few looks; only what passes these is compressed.
    """
    said = 0
    for back in _PROBES:
        at = len(window) - back
        said += 0 <= window.find(window[at : at + _PROBE]) < at
    if said < 2:
        return False
    if len(zlib.compress(window, 1, -12)) >= _RATIO * len(window):
        return False
    return len(b"".join(window.split())) * 8 > len(window)


def repetition(spoken: Spoken) -> Repetition | None:
    """A repetition that goes on to the end of the text (whitespace behind it aside) or for at least ENOUGH characters.

    The last 2,048 characters, or as many anywhere else, shrink below a tenth when compressed.
    """
    text = spoken.text
    end = len(text.rstrip())
    if end < WINDOW:
        return None
    if _loops(text, end - WINDOW):
        return _found(spoken, _leftmost(text, end - WINDOW, 0), end, to_end=True)
    done = 0
    for at in range(0, end - WINDOW, ENOUGH // 2):
        if at < done or not _loops(text, at):
            continue
        first = _leftmost(text, at, done)
        while at + STEP + WINDOW <= end and _loops(text, at + STEP):
            at += STEP  # noqa: PLW2901 (the loop goes on behind what was seen here)
        done = at + WINDOW
        if done - first >= ENOUGH:
            return _found(spoken, first, done, to_end=False)
    return None


def _loops(text: str, at: int) -> bool:
    return is_loop(text[at : at + WINDOW].encode("utf-8", "surrogatepass"))


def _leftmost(text: str, at: int, least: int) -> int:
    """The first of the windows before `at` that loop, one after the other."""
    while at - STEP >= least and _loops(text, at - STEP):
        at -= STEP
    return at


def _found(spoken: Spoken, first: int, end: int, *, to_end: bool) -> Repetition:
    text = spoken.text
    middle = (first + end - WINDOW) // 2
    period = _period(text[middle : middle + WINDOW])
    at = first
    if period is not None:
        at = _begins(text, first + WINDOW - period, period)
        if at > first + WINDOW - 2 * period:  # the text changed in between: it is known to the window only
            at = first
    position, elapsed_us = _when(spoken, at)
    return Repetition(at=at, chars=end - at, period=period, position=position, elapsed_us=elapsed_us, to_end=to_end)


def _period(window: str) -> int | None:
    """The shortest length after which the window repeats itself exactly."""
    again = window.rfind(window[-32:], 0, len(window) - 1)
    period = len(window) - 32 - again
    return period if again >= 0 and window[period:] == window[:-period] else None


def _begins(text: str, at: int, period: int) -> int:
    """How far back from `at` each character is the one that comes `period` later."""
    while at > 0:
        start = max(0, at - WINDOW)
        if text[start:at] != text[start + period : at + period]:
            while text[at - 1] == text[at - 1 + period]:
                at -= 1
            return at
        at = start
    return 0


# -- both -------------------------------------------------------------------------------------------------------------


def _when(spoken: Spoken, at: int) -> tuple[int | None, int | None]:
    """Position and time of the event that brought the character `at`."""
    piece = bisect_right(spoken.offsets, at) - 1
    if piece < 0:
        return None, None
    return (
        spoken.positions[piece] if piece < len(spoken.positions) else None,
        spoken.times[piece] if piece < len(spoken.times) else None,
    )
