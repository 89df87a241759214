"""Two sequences aligned, and two texts word by word. The same whichever of the two comes first. Pure."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Hashable, Iterator, Sequence
from difflib import SequenceMatcher
from typing import Final, NamedTuple, TypeVar

__all__ = ["Op", "Words", "aligned", "word_diff"]

#: A word with what follows it up to the next one; blanks before the first word are a word of their own.
_WORD: Final = re.compile(r"\s*\S+|\s+")
_LINE: Final = re.compile(r"[^\n]*\n|[^\n]+")

#: Pairs of items up to which sequences are compared item by item.
_MANY: Final = 1_000_000
#: Items in a row that hardly stand twice in a text.
_ROW: Final = 8

Item = TypeVar("Item", bound=Hashable)


class Op(NamedTuple):
    """`same`, or what stands there on either side: before[start:end] against after[other:other_end]."""

    same: bool
    start: int
    end: int
    other: int
    other_end: int


class Words(NamedTuple):
    """A piece of two texts: the same, or before and after."""

    same: bool
    before: str
    after: str


def aligned(before: Sequence[Item], after: Sequence[Item]) -> list[Op]:
    """Which parts of two sequences are the same, in order; together they are all of both."""
    if tuple(map(_sortable, before)) > tuple(map(_sortable, after)):
        return [Op(same, j, k, i, end) for same, i, end, j, k in _ops(after, before)]
    return list(_ops(before, after))


def _sortable(item: Hashable) -> str:
    return item if isinstance(item, str) else repr(item)


def _ops(before: Sequence[Item], after: Sequence[Item]) -> Iterator[Op]:
    """Beginning and end that both share are the same; what is between them is aligned."""
    start, end = 0, 0
    least = min(len(before), len(after))
    while start < least and before[start] == after[start]:
        start += 1
    while end < least - start and before[-1 - end] == after[-1 - end]:
        end += 1
    if start:
        yield Op(True, 0, start, 0, start)
    inner, other = before[start : len(before) - end], after[start : len(after) - end]
    for op in _inner(inner, other):
        yield Op(op.same, op.start + start, op.end + start, op.other + start, op.other_end + start)
    if end:
        yield Op(True, len(before) - end, len(before), len(after) - end, len(after))


def _inner(before: Sequence[Item], after: Sequence[Item]) -> Iterator[Op]:
    """By difflib, which takes up to the square of the items; so long sequences are first cut where both hold the same
    few items in a row, and hold them once.
    """
    if len(before) * len(after) <= _MANY:
        yield from _matched(before, after, 0, 0, loose=False)
        return
    cuts = [*(_anchors(before, after, _ROW) or _anchors(before, after, 1)), (len(before), len(after))]
    start = other = 0
    for end, other_end in cuts:
        ours, theirs = before[start:end], after[other:other_end]
        yield from _matched(ours, theirs, start, other, loose=len(ours) * len(theirs) > _MANY)
        start, other = end, other_end


def _matched(before: Sequence[Item], after: Sequence[Item], start: int, other: int, *, loose: bool) -> Iterator[Op]:
    """`loose`: items that occur all the time start no match."""
    for tag, i, j, k, m in SequenceMatcher(None, before, after, autojunk=loose).get_opcodes():
        yield Op(tag == "equal", i + start, j + start, k + other, m + other)


def _anchors(before: Sequence[Item], after: Sequence[Item], length: int) -> list[tuple[int, int]]:
    """Where so many items in a row stand once in both, as many of these places as are in one order."""
    ours, theirs = _once(before, length), _once(after, length)
    pairs = [(place, theirs[row]) for row, place in ours.items() if row in theirs]
    ends: list[int] = []  # of the best row of each length, its last place in `after`
    chosen: list[int] = []
    before_it: list[int | None] = []
    for number, (_, other) in enumerate(pairs):
        size = bisect_left(ends, other)
        before_it.append(chosen[size - 1] if size else None)
        if size == len(ends):
            ends.append(other)
            chosen.append(number)
        else:
            ends[size], chosen[size] = other, number
    found = []
    last = chosen[-1] if chosen else None
    while last is not None:
        found.append(pairs[last])
        last = before_it[last]
    return found[::-1]


def _once(items: Sequence[Item], length: int) -> dict[tuple[Item, ...], int]:
    """The rows of that length that stand there once, with their places, in order."""
    places: dict[tuple[Item, ...], int] = {}
    again: set[tuple[Item, ...]] = set()
    for place in range(len(items) - length + 1):
        row = tuple(items[place : place + length])
        if row in places:
            again.add(row)
        places[row] = place
    return {row: place for row, place in places.items() if row not in again}


def word_diff(before: str, after: str) -> list[Words]:
    """The two texts in pieces that are the same or differ; joined, either side is its text again.

    Lines are aligned first, and words within the lines that differ.
    """
    if before == after:
        return [Words(True, before, after)] if before else []
    found: list[Words] = []
    ours, theirs = _LINE.findall(before), _LINE.findall(after)
    for op in aligned(ours, theirs):
        old, new = "".join(ours[op.start : op.end]), "".join(theirs[op.other : op.other_end])
        found += [Words(True, old, new)] if op.same else _within(old, new)
    return list(_merged(found))


def _within(before: str, after: str) -> Iterator[Words]:
    ours, theirs = _WORD.findall(before), _WORD.findall(after)
    for op in aligned(ours, theirs):
        yield Words(op.same, "".join(ours[op.start : op.end]), "".join(theirs[op.other : op.other_end]))


def _merged(pieces: Sequence[Words]) -> Iterator[Words]:
    """Neighbours of one kind together."""
    held: Words | None = None
    for piece in pieces:
        if held is not None and held.same == piece.same:
            held = Words(held.same, held.before + piece.before, held.after + piece.after)
            continue
        if held is not None:
            yield held
        held = piece
    if held is not None:
        yield held
