"""Where two requests differ, field by field, and which recording is nearest to a request that none answers."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Final, NamedTuple

from ..recording import Recording, Request
from ..redact import REDACTED, clean_url, mask
from .keys import tree
from .rules import DEFAULT, SIMPLE, Rule
from .tree import Array, Blob, Members, Node, Secret, flat, is_secret, leaves

__all__ = ["Difference", "differences", "nearest", "shared", "shortened"]

_SHOWN: Final = 80
_BEFORE: Final = 20  # characters shown before the first that differs
_DEEPEST: Final = 64  # below that, parts are compared as a whole


@dataclass(frozen=True, slots=True)
class Difference:
    """One place where two requests differ. The two sides are short texts to read, without credentials.

    `path` reads like an ignore path (`body.messages[2].content`, `query.limit`, `method`). None: not there.
    """

    path: str
    wanted: str | None
    stored: str | None

    def __str__(self) -> str:
        sides = ["absent" if side is None else side for side in (self.wanted, self.stored)]
        return f"{self.path}: wanted {sides[0]}, stored {sides[1]}"


class _Gap(NamedTuple):
    """A difference before it is made readable."""

    path: tuple[bytes | int, ...]
    wanted: Node | None
    stored: Node | None


def differences(wanted: Request, stored: Request, rule: Rule = DEFAULT, *, whole: bool = False) -> list[Difference]:
    """Where two requests differ in what counts, field by field. `whole`: the sides' texts are not shortened.

    Of two lists of different length the common beginning and end are left out first, so an inserted message is one
    difference. An index then counts in the list that holds the item.
    """
    return [_readable(gap, whole=whole) for gap in _gaps(tree(wanted, rule), tree(stored, rule))]


def _gaps(wanted: Node, stored: Node) -> Iterator[_Gap]:
    rest = [_Gap((), wanted, stored)]
    while rest:
        gap = rest.pop()
        inner = _inner(gap)
        if inner is not None:
            rest += reversed(inner)
        elif gap.wanted is None or gap.stored is None or flat(gap.wanted) != flat(gap.stored):
            yield gap


def _inner(gap: _Gap) -> list[_Gap] | None:
    """The pairs of parts to compare instead of this pair, or None where there are none."""
    path, wanted, stored = gap
    if len(path) > _DEEPEST:
        return None
    if isinstance(wanted, Members) and isinstance(stored, Members):
        ours, theirs = _numbered(wanted), _numbered(stored)
        return [_Gap((*path, name), ours.get((name, n)), theirs.get((name, n))) for name, n in {**ours, **theirs}]
    if isinstance(wanted, Array) and isinstance(stored, Array):
        return [_Gap((*path, place), ours, theirs) for place, ours, theirs in _aligned(wanted, stored)]
    return None


def _numbered(members: Members) -> dict[tuple[bytes, int], Node]:
    """Members by name and by how many of that name came before."""
    seen: dict[bytes, int] = {}
    numbered = {}
    for name, value in members:
        seen[name] = seen.get(name, -1) + 1
        numbered[name, seen[name]] = value
    return numbered


def _aligned(wanted: Array, stored: Array) -> Iterator[tuple[int, Node | None, Node | None]]:
    """Items to compare with each other, with their index."""
    start, end = 0, 0
    if len(wanted) != len(stored):
        ours, theirs = list(map(flat, wanted)), list(map(flat, stored))
        shorter = min(len(ours), len(theirs))
        while start < shorter and ours[start] == theirs[start]:
            start += 1
        while end < shorter - start and ours[-1 - end] == theirs[-1 - end]:
            end += 1
    for place in range(start, max(len(wanted), len(stored)) - end):
        yield (
            place,
            wanted[place] if place < len(wanted) - end else None,
            stored[place] if place < len(stored) - end else None,
        )


def nearest(
    wanted: Request, candidates: Iterable[Recording], rule: Rule = DEFAULT
) -> tuple[Recording, list[Difference]] | None:
    """The candidate that differs least, with the differences; the first of equals. None without candidates.

    One with the same method and path goes before all others; then the number of differences counts, then how much
    text they hold. A candidate whose key was made by another rule has that as its last difference, `rule`: its key
    may differ for that alone.
    """
    ours = tree(wanted, rule)
    best: tuple[_Score, Recording, list[_Gap]] | None = None
    for candidate in candidates:
        theirs = tree(candidate.request, rule)
        elsewhere = ours[:2] != theirs[:2]
        most = None
        if best is not None:
            if elsewhere > best[0].elsewhere:
                continue
            # One more than the best has is enough to know that this is worse.
            most = best[0].number + 1 if elsewhere == best[0].elsewhere else None
        gaps = list(islice(_gaps(ours, theirs), most))
        score = _Score(elsewhere, len(gaps), sum(map(_weight, gaps)))
        if best is None or score < best[0]:
            best = score, candidate, gaps
    if best is None:
        return None
    found = [_readable(gap) for gap in best[2]]
    stored_rule = best[1].match_rule
    if stored_rule is not None and stored_rule != rule.to_text():
        found.append(Difference("rule", shortened(rule.to_text()), shortened(stored_rule)))
    return best[1], found


class _Score(NamedTuple):
    """How far a recording is from a request; the smaller the nearer."""

    elsewhere: bool  # another method or path
    number: int
    weight: int


def _weight(gap: _Gap) -> int:
    """How many bytes of a difference are not in the common beginning or end of its sides."""
    ours, theirs = (b"" if side is None else flat(side) for side in (gap.wanted, gap.stored))
    start = shared(ours, theirs)
    ours, theirs = ours[start:], theirs[start:]
    return max(len(ours), len(theirs)) - shared(ours[::-1], theirs[::-1])


def shared(ours: bytes | str, theirs: bytes | str) -> int:
    """The length of the common beginning: a binary search, because slices compare fast."""
    low, high = 0, min(len(ours), len(theirs))
    while low < high:
        middle = (low + high + 1) // 2
        if ours[low:middle] == theirs[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low


def _readable(gap: _Gap, *, whole: bool = False) -> Difference:
    """The difference as texts, short ones unless `whole`: no credential, nothing that a terminal would obey."""
    most = None if whole else _SHOWN
    path = _show_path(gap.path)
    hidden = any(isinstance(step, bytes) and is_secret(step) for step in gap.path)
    if hidden or gap.wanted is None or gap.stored is None:
        ours, theirs = (
            None if side is None else REDACTED if hidden else shortened(_show(side), most=most)
            for side in (gap.wanted, gap.stored)
        )
        return Difference(path, ours, theirs)
    shown, other = _show(gap.wanted), _show(gap.stored)
    if isinstance(gap.wanted, Blob) and isinstance(gap.stored, Blob) and shown == other:
        other += f", different from offset {shared(gap.wanted, gap.stored):,}"
    start = shared(shown, other)
    return Difference(path, shortened(shown, start, most), shortened(other, start, most))


def _show_path(path: Iterable[bytes | int]) -> str:
    """The path as a rule's ignore path would be written."""
    shown = ""
    for step in path:
        name = "" if isinstance(step, int) else json.loads(step)
        if isinstance(step, int):
            shown += f"[{step}]"
        elif re.fullmatch(SIMPLE, name) and name.isprintable():
            shown += f".{name}"
        else:
            shown += f"[{step.decode('ascii')}]"
    return mask(shown.removeprefix("."))


def _show(node: Node) -> str:
    """A part of a request as one text, without credentials."""
    if isinstance(node, Blob):
        return _show_blob(node)
    if isinstance(node, list):
        return mask("".join(map(_show_leaf, leaves(node, hide=True))))
    return _show_leaf(node)


def _show_leaf(leaf: bytes) -> str:
    if isinstance(leaf, Blob):
        return _show_blob(leaf)
    if leaf.startswith(b'"'):
        return json.dumps(mask(json.loads(leaf)), ensure_ascii=False)
    return leaf.decode("ascii")


def _show_blob(blob: Blob) -> str:
    """A short text as it is, anything else as its length."""
    if isinstance(blob, Secret):
        return REDACTED
    text = blob.decode("utf-8", "replace")
    if len(text) > _SHOWN or not text.isprintable() or "\ufffd" in text:
        return f"{len(blob):,} bytes"
    return json.dumps(mask(clean_url("?" + text)[1:]), ensure_ascii=False)  # it may be a form


def shortened(text: str, start: int = 0, most: int | None = _SHOWN, before: int = _BEFORE) -> str:
    """At most so many characters of a text, from a little before `start`; all of it where `most` is None.

    What is no printable character is escaped.
    """
    most = len(text) if most is None else most
    begin = max(0, start - before) if len(text) > most else 0
    piece = text[begin : begin + most]
    safe = "".join(char if char.isprintable() else char.encode("unicode_escape").decode("ascii") for char in piece)
    return "…" * (begin > 0) + safe + "…" * (begin + most < len(text))
