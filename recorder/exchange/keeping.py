"""What of a recording file stays as it was when the same was recorded again.

A provider gives its answers new ids, dates and paddings each time, and the network other times and cuts. None of that
is news to whoever reads the change of a file. So:

- Where every request is answered as before (but for such things), the file stays byte for byte.
- Where a recording's request and answer are as before, its lines stay.
- Where an answer has other events of the same kinds in the same order, each changed event gets its new payload and
  stands in the old one's place and time: a changed word changes one line.
- Anything else is taken as it was recorded now.

Pure: entries in, entries out. The bytes of a changed answer are always those that were recorded now.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict, deque
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Final, NamedTuple

from .. import match
from ..digest import payload_of
from ..errors import UsageError
from ..match.normal import pattern_of
from ..recording import Event, Head, Kind, Recording
from .lines import Entry, ended

__all__ = ["Merged", "merged", "same_answer"]

#: Response headers that are part of what was answered; the others tell of the exchange (dates, limits, ids, caches).
_TELLING: Final = frozenset({"content-encoding", "content-type", "location", "retry-after", "x-should-retry"})

#: Members of JSON that are made anew for each answer: ids, times, padding, what machine it was.
_ANEW: Final = re.compile(
    r'"(?P<id>(?:[A-Za-z_]*_)?id|responseId|item_id)": ?"[^"\\]*"'
    r'|"(?:created|[a-z_]+_at|createTime)": ?(?:[0-9.]+|"[^"\\]*")'
    r'|"[a-z_]+_time": ?[0-9.e-]+'
    r'|"(?:obfuscation|system_fingerprint|signature|thoughtSignature|encrypted_content|p)": ?"[^"\\]*"'
)
_VALUE: Final = re.compile(r': ?"([^"\\]*)"\Z')


class Merged(NamedTuple):
    """What a file should hold now. `kept` counts the recordings whose lines stay as they were."""

    entries: list[Entry]
    kept: int


class _Pair(NamedTuple):
    """A recording as it was, and as it was recorded now; None where there is no such."""

    old: Entry | None
    new: Entry


def merged(before: Sequence[Entry], fresh: Sequence[Entry]) -> Merged | None:
    """What the file with the recordings `before` should hold after `fresh` were recorded; None: what it holds."""
    fresh = [ended(entry) for entry in fresh]
    pairs = _paired(before, fresh, loose=True)
    if pairs is not None and _answers(pair.old for pair in pairs if pair.old) == _answers(pair.new for pair in pairs):
        return None
    pairs = _paired(before, fresh, loose=False) or _as_far_as_possible(before, fresh)
    taken: list[Entry] = []
    kept = 0
    for old, new in pairs:
        if old is None:
            taken.append(new)
        elif same_answer(old, new):
            taken.append(old)
            kept += 1
        else:
            taken.append(_in_place(old, new))
    return Merged(taken, kept)


def same_answer(old: Entry, new: Entry) -> bool:
    """Whether two recordings tell the same answer: but for ids, dates, paddings, times and cuts."""
    return _answers([old]) == _answers([new])


# -- which belongs to which --------------------------------------------------------------------------------------------


def _key(recording: Recording, *, loose: bool) -> bytes:
    """By which a request is found again: its key, or one in which ids and dates count by their places."""
    if not loose and recording.match_key is not None:
        return recording.match_key
    rule = match.DEFAULT
    if recording.match_rule is not None:
        try:
            rule = match.Rule.from_text(recording.match_rule)
        except UsageError:
            rule = match.DEFAULT
    if loose:
        rule = match.Rule(rule.ignore, rule.headers, (*rule.normalise, "ids", "dates"))
    return match.key(recording.request, rule)


def _paired(before: Sequence[Entry], fresh: Sequence[Entry], *, loose: bool) -> list[_Pair] | None:
    """Each recording of before with its successor, in the order of before; None where there are more or fewer now."""
    if len(before) != len(fresh):
        return None
    waiting: defaultdict[bytes, deque[Entry]] = defaultdict(deque)
    for entry in fresh:
        waiting[_key(entry.recording, loose=loose)].append(entry)
    pairs = []
    for entry in before:
        found = waiting[_key(entry.recording, loose=loose)]
        if not found:
            return None
        pairs.append(_Pair(entry, found.popleft()))
    return pairs


def _as_far_as_possible(before: Sequence[Entry], fresh: Sequence[Entry]) -> list[_Pair]:
    """Each recording of now with its predecessor, if it has one, in the order of now."""
    waiting: defaultdict[bytes, deque[Entry]] = defaultdict(deque)
    for entry in before:
        waiting[_key(entry.recording, loose=False)].append(entry)
    pairs = []
    for entry in fresh:
        found = waiting[_key(entry.recording, loose=False)]
        pairs.append(_Pair(found.popleft() if found else None, entry))
    return pairs


# -- what was answered -------------------------------------------------------------------------------------------------


def _answers(entries: Iterable[Entry]) -> list[object]:
    """What these answers tell, without what is made anew for each; the same id has the same number in all of them."""
    numbers: dict[str, int] = {}
    told: list[object] = []
    for recording, events in entries:
        ending = recording.ending
        told.append(None if ending is None else (ending.ending, ending.captured))
        streamed = any(event.kind == Kind.SSE for event in events)
        for event in events:
            if event.kind == Kind.HEAD:
                told.append(_head(event, numbers))
            elif event.kind in (Kind.SSE, Kind.BODY) or (event.kind == Kind.WIRE and not streamed):
                told.append((event.kind, event.type, _lasting(payload_of((b"", *event)), numbers)))
    return told


def _head(event: Event, numbers: dict[str, int]) -> object:
    if event.data is None:
        return None
    head = Head.from_json(event.data)
    telling = [
        (name.lower(), _lasting(value.encode("latin-1", "replace"), numbers))
        for name, value in head.headers
        if name.lower() in _TELLING
    ]
    return head.status, sorted(telling)


def _lasting(payload: bytes, numbers: dict[str, int]) -> str:
    """The payload with ids by their numbers, and without dates and paddings."""

    def number(text: str) -> str:
        return f"<{numbers.setdefault(text, len(numbers))}>"

    def member(found: re.Match[str]) -> str:
        name = found[0].partition(":")[0]
        value = _VALUE.search(found[0])
        return f"{name}:{number(value[1]) if found['id'] and value and value[1] else '<>'}"

    text = _ANEW.sub(member, payload.decode("utf-8", "surrogateescape"))
    text = pattern_of("ids").sub(lambda found: number(found[0]), text)
    return pattern_of("dates").sub("<date>", text)


# -- in the old one's place --------------------------------------------------------------------------------------------


def _in_place(old: Entry, new: Entry) -> Entry:
    """What was recorded now, at the old one's place and, where the events are alike, with its times and cuts."""
    recording = replace(
        new.recording,
        request=old.recording.request,
        started_at=old.recording.started_at,
        tags=old.recording.tags,
        match_key=old.recording.match_key,
        match_rule=old.recording.match_rule,
        parameters=old.recording.parameters,
        origin=old.recording.origin,
        dialect=old.recording.dialect,
    )
    events = _with_times(old.events, new.events)
    if events is None:
        return Entry(recording, new.events)
    ending = new.recording.ending
    assert ending is not None
    heads = [event.elapsed_us for event in events if event.kind == Kind.HEAD]
    ending = replace(
        ending,
        elapsed_us=events[-1].elapsed_us,
        head_us=heads[0] if heads else None,
        detail=json.loads(events[-1].data or b"{}"),
    )
    return Entry(replace(recording, ending=ending), events)


def _with_times(old: Sequence[Event], new: Sequence[Event]) -> list[Event] | None:
    """The new events at the times of the old ones; None where they are not of the same kinds in the same order."""
    if [(event.kind, event.type) for event in old] != [(event.kind, event.type) for event in new]:
        return None
    made: list[Event] = []
    for was, now in zip(old, new, strict=True):
        if _is_same(was, now):
            made.append(was)
        elif was.cuts or now.cuts or (was.cuts is None) != (now.cuts is None):
            return None  # where chunks ended in it says nothing about bytes that are others now
        else:
            made.append(now._replace(elapsed_us=was.elapsed_us))
    return made


def _is_same(was: Event, now: Event) -> bool:
    if was.kind == Kind.HEAD:
        return _head(was, {}) == _head(now, {})
    return (was.data, was.raw) == (now.data, now.raw)
