"""One recording against its digests: its events in one pass, never all of them in memory, and what is wrong, in words.

The payload digest covers unframed bytes, so each payload is also held against its event's size, and a payload may be
absent only where a recorder would have left it out; then the bytes can be cut into events in one way only.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import groupby
from operator import add, itemgetter
from typing import Any, Final, NamedTuple
from uuid import UUID

from recorder.digest import EventDigest, leaf_of, payload_of, seal_of
from recorder.recording import Captured, Ending, Event, Kind, Recording, Row
from recorder.store.rows import indexable
from recorder.store.scanning import Scanned, Unreadable

from .rows import Wrong, ending_of, left_over, recording_of

__all__ = ["Checked", "Problem", "Verdict", "check"]

_SSE: Final = Kind.SSE.value
_WIRE: Final = Kind.WIRE.value
_END: Final = Kind.END.value
_OF_BODY: Final = frozenset({_SSE, _WIRE, Kind.BODY.value})
#: Where in a recording events of each kind stand; those of one stage come in any order.
_STAGES: Final = {Kind.INFO.value: 0, Kind.HEAD.value: 1, _SSE: 2, _WIRE: 2, Kind.BODY.value: 2, _END: 3}
#: Of which kinds there is at most one.
_SINGLE: Final = frozenset({Kind.HEAD.value, _END})
#: What columns of bytes hold.
_HELD: Final = frozenset({bytes, type(None)})
#: What a frame ends with.
_BREAK: Final = b"\n\n"
_COLUMNS: Final = len(Event._fields)
#: From this many server-sent events in a row on they are taken as columns.
_MANY: Final = 8

#: What values of wrong types raise on their way into a digest.
_UNFIT: Final = (TypeError, ValueError, KeyError, AttributeError, OverflowError, struct.error)


class Verdict(StrEnum):
    """What became of a recording's integrity."""

    INTACT = "intact"
    ERASED = "erased"  # its content is gone on purpose; facts and seal hold
    UNFINISHED = "unfinished"  # it is being recorded, or its writer died: nothing is sealed yet
    ALTERED = "altered"  # something is not what was sealed, or was taken away
    LOST = "lost"  # it was there, and is not


class Problem(NamedTuple):
    """One thing that is wrong. `code` is for programs; `position` is the event's, where it is about one."""

    code: str
    text: str
    position: int | None = None


@dataclass(frozen=True, slots=True)
class Checked:
    """What verification found of one recording.

    `complete`: whether capture saw the whole exchange (None: not known yet); `missing` says what not. `events` and
    `size` are what was read: rows, and bytes of payload. `seal` is what a checkpoint covers, None where there is none.
    """

    recording_id: UUID | None
    verdict: Verdict
    problems: tuple[Problem, ...] = ()
    complete: bool | None = None
    missing: tuple[str, ...] = ()
    events: int = 0
    size: int = 0
    seal: bytes | None = None

    def to_json(self) -> dict[str, Any]:
        """As JSON has it."""
        return {
            "recording_id": None if self.recording_id is None else str(self.recording_id),
            "verdict": str(self.verdict),
            "problems": [problem._asdict() for problem in self.problems],
            "complete": self.complete,
            "missing": list(self.missing),
            "events": self.events,
            "seal": None if self.seal is None else self.seal.hex(),
        }


def check(stored: Scanned) -> Checked:
    """Read a recording's events and hold everything that is stored of it against its digests."""
    problems: list[Problem] = []
    if stored.recording_id is None:
        return Checked(None, Verdict.ALTERED, (Problem("key", "a recording's id is none: it was changed"),))
    erased = bool(stored.erasures)
    recording = _recording(stored, problems, erased=erased)
    ending = _ending(stored, problems)
    walk = _Walk(recording, erased=erased)
    try:
        for page in stored.pages():
            walk.take(page)
    except Unreadable:
        problems.append(Problem("unreadable", "its events cannot be read from here on", walk.next))
    problems += walk.problems()
    if ending is not None:
        problems += _against_ending(walk, ending)
        if recording is not None:
            problems += _against_digests(walk, recording, ending, problems, erased=erased)
    elif stored.ending is None and (walk.ended or not stored.leased):
        problems.append(_unsealed(walk))
    if stored.leaf is not None:
        problems += _against_log(stored, ending)
    if erased:
        problems += _still_there(stored, walk)
    elif recording is not None:
        problems += _against_tags(stored, recording)
    missing = _missing(ending, stored.flags)
    return Checked(
        stored.recording_id,
        _verdict(stored, problems),
        tuple(problems),
        complete=None if ending is None else not missing,
        missing=missing,
        events=walk.count,
        size=walk.size,
        seal=None if ending is None else ending.seal,
    )


def _verdict(stored: Scanned, problems: Sequence[Problem]) -> Verdict:
    if problems:
        return Verdict.ALTERED
    if stored.ending is None:
        return Verdict.UNFINISHED
    return Verdict.ERASED if stored.erasures else Verdict.INTACT


def _recording(stored: Scanned, problems: list[Problem], *, erased: bool) -> Recording | None:
    try:
        return recording_of(stored.row, erased=erased)
    except Wrong as wrong:
        problems.append(Problem("request", str(wrong)))
        return None


def _ending(stored: Scanned, problems: list[Problem]) -> Ending | None:
    if stored.ending is None:
        return None
    try:
        return ending_of(stored.ending)
    except Wrong as wrong:
        problems.append(Problem("ending", str(wrong)))
        return None


def _missing(ending: Ending | None, flags: Any) -> tuple[str, ...]:
    """What capture did not see."""
    found = []
    if ending is not None and ending.captured == Captured.TRUNCATED:
        found.append(
            "its writer died before it ended"
            if ending.ending == "interrupted"
            else "capture stopped before the exchange did"
        )
    if isinstance(flags, str) and '"sequence_gap"' in flags:
        found.append("the provider's own numbering of its events has gaps")
    return tuple(found)


# -- what is held against what -----------------------------------------------------------------------------------------


def _unsealed(walk: _Walk) -> Problem:
    if walk.ended:
        return Problem("seal_gone", "it has an end, and the row that seals it is gone")
    return Problem("cut_off", f"its end and its seal were taken away: {walk.count:,} events are left, nobody writes it")


def _against_ending(walk: _Walk, ending: Ending) -> list[Problem]:
    """How many events there are, and what the `end` event says."""
    before = walk.count - walk.ended
    if not walk.ended and walk.next <= ending.events:
        text = f"it was shortened: it had {ending.events:,} events and an end, of which {walk.count:,} are left"
        return [Problem("cut_off", text, walk.next)]
    if not walk.ended:
        return [Problem("end_gone", "its end event is gone", walk.next)]
    if walk.next - 1 != ending.events and before != ending.events:
        return [Problem("count", f"it had {ending.events:,} events before its end, and has {before:,}")]
    told = walk.told
    if told is None:
        return []
    if (told.get("ending"), told.get("captured")) != (ending.ending, ending.captured):
        return [Problem("ending", "its ending and its end event say different things", walk.next - 1)]
    return []


def _against_digests(
    walk: _Walk, recording: Recording, ending: Ending, known: Sequence[Problem], *, erased: bool
) -> list[Problem]:
    """The digests again. What is known to be missing is not told a second time as a digest that does not fit."""
    stored = ending.facts_digest or b"", ending.payload_digest or b"", ending.seal or b""
    sealed = seal_of(stored[0], stored[1]) == stored[2]
    made = walk.finish(recording, ending)
    if made is None or known:
        return [] if known else [Problem("facts", "its events hold what no recorder writes")]
    facts, payload, _ = made
    if erased:
        payload = stored[1]
    if seal_of(facts, payload) == stored[2] and (facts, payload) != stored[:2]:
        return [Problem("digests", "its digests were replaced; what they are of is what was sealed")]
    problems = []
    if facts != stored[0]:
        text = "its facts are not what was sealed: a time, a length, a kind, a count, a parameter or a name"
        problems.append(Problem("facts", text))
    if payload != stored[1]:
        problems.append(Problem("content", "its content is not what was sealed: what was sent, or what was received"))
    if not problems and not sealed:
        problems.append(Problem("seal", "its seal was replaced; what it is of is what its digests say"))
    return problems


def _against_log(stored: Scanned, ending: Ending | None) -> list[Problem]:
    """A recording is logged once it is sealed, and its seal never changes."""
    assert stored.recording_id is not None
    if stored.ending is None:
        return [Problem("seal_gone", "it was sealed when a checkpoint was made, and is not any more")]
    if ending is None or ending.seal is None or leaf_of(stored.recording_id, ending.seal) == stored.leaf:
        return []
    return [Problem("sealed_anew", "its seal is not the one that was logged: sealed anew, or the log was changed")]


def _still_there(stored: Scanned, walk: _Walk) -> list[Problem]:
    left: list[str] = left_over(stored.row)
    if walk.payload_at is not None:
        left.append(f"the content of event {walk.payload_at}")
    if not left:
        return []
    return [Problem("content_left", f"an erasure is on record, and content is there: {', '.join(left)}")]


def _against_tags(stored: Scanned, recording: Recording) -> list[Problem]:
    """The tags that it began with are sealed, and stand once more in table `tags`."""
    wanted = {indexable(name): indexable(value) for name, value in recording.tags.items()}
    found = {note.name: note.value for note in stored.tags if note.set_at == recording.started_at}
    if found == wanted:
        return []
    return [Problem("tags", "its tags at the start are not those that were sealed")]


# -- events ------------------------------------------------------------------------------------------------------------


class _Walk:
    """One pass over a recording's events, page by page.

    count: events seen. next: the position after the last. ended: the last is an `end`. told: what that says.
    size: bytes of payload. payload_at: where there is a payload that an erasure should have taken: the first one.
    """

    def __init__(self, recording: Recording | None, *, erased: bool) -> None:
        self.count = self.next = self.size = 0
        self.ended = False
        self.told: dict[str, Any] | None = None
        self.payload_at: int | None = None
        self._erased = erased
        # Whether events of a body have no payload; and whether none of any kind has.
        self._bare = erased or (recording is not None and recording.content != "full")
        self._stage = -1
        self._withheld_from: int | None = None
        self._found: dict[str, Problem] = {}
        self._fit = recording is not None
        self._digest = None if recording is None else EventDigest(recording)

    def take(self, page: Sequence[tuple[Any, ...]]) -> None:
        """The next events, as `Scanned.pages` gives them."""
        for kind, run in groupby(page, key=itemgetter(1)):
            events = list(run)
            if kind == _SSE and len(events) >= _MANY and self._as_columns(events):
                continue
            for event in events:
                if event[_COLUMNS:] not in ((), (1,)):
                    self._say("moved", "an event lies where its index has one of another recording", event[0])
                self._one(Event._make(event[:_COLUMNS]))

    def problems(self) -> list[Problem]:
        """What is wrong with the events by themselves, the first of each kind."""
        if self._withheld_from is not None and not _says_withheld(self.told):
            self._say_gone(self._withheld_from)
        return list(self._found.values())

    def finish(self, recording: Recording, ending: Ending) -> tuple[bytes, bytes, bytes] | None:
        """The digests; None where what is stored has none."""
        if self._digest is None or not self._fit:
            return None
        try:
            return self._digest.finish(recording, ending)
        except _UNFIT:
            return None

    def _say(self, code: str, text: str, position: int) -> None:
        self._found.setdefault(code, Problem(code, text, position))

    def _say_gone(self, position: int) -> None:
        self._say("content_gone", "content is gone, and no erasure is on record", position)

    def _as_columns(self, events: Sequence[tuple[Any, ...]]) -> bool:
        """Take server-sent events that are as nearly all are; False, with nothing taken, where one is not."""
        positions, _, elapsed, types, datas, raws, sizes, cuts, *own = zip(*events, strict=True)
        count = len(positions)
        if own and own[0].count(1) != count:
            return False
        if self._stage > 2 or raws.count(None) != count or positions != tuple(range(self.next, self.next + count)):
            return False
        if not _HELD.issuperset(map(type, cuts)):
            return False
        absent = datas.count(None)
        if absent != (count if self._bare else 0):
            return False
        try:
            payload = b""
            if not absent:
                starts = {name: _start(name) for name in set(types)}
                # Each with the end of the one before, which is as long as its own: so lengths need no reckoning.
                frames = list(map(add, map(starts.__getitem__, types), datas))
                if list(map(len, frames)) != list(sizes):
                    return False
                payload = b"".join(frames)[len(_BREAK) :] + _BREAK
            if self._digest is not None and self._fit:
                self._digest.frames(positions, elapsed, types, sizes, cuts)
                self._digest.payload(payload)
        except _UNFIT:
            return False
        self.count += count
        self.next += count
        self.size += len(payload)
        self._stage = 2
        return True

    def _one(self, event: Event) -> None:
        """Take any event."""
        position: Any = event.position
        kind = event.kind
        if not isinstance(position, int) or position != self.next:
            self._misplaced(position)
        self._in_order(kind, position)
        self.count += 1
        self.next = position + 1 if isinstance(position, int) else self.next
        payload = self._payload(event)
        if payload is None:
            self._unfit(position)
            return
        if payload:
            self.size += len(payload)
            self.payload_at = position if self.payload_at is None else self.payload_at
        if kind == _END and payload and not self._erased:
            self.told = _told(payload)
        if self._digest is None or not self._fit:
            return
        row: Row = (b"", *event)
        try:
            self._digest.rows([row])
            self._digest.payload(payload)
        except _UNFIT:
            self._unfit(position)

    def _unfit(self, position: int) -> None:
        self._fit = False
        self._say("event", "an event holds a value of another type than recorder writes", position)

    def _misplaced(self, position: Any) -> None:
        if not isinstance(position, int) or position < self.next:
            self._say("position", "an event stands at a position that no event has", self.next)
        elif position == self.next + 1:
            self._say("gap", f"event {self.next} is gone", self.next)
        else:
            self._say("gap", f"the events {self.next} to {position - 1} are gone", self.next)

    def _in_order(self, kind: str, position: int) -> None:
        stage = _STAGES.get(kind)
        if stage is None:
            self._say("kind", "an event is of no kind that recorder knows", position)
            return
        if self.ended:
            self._say("behind_end", "there are events behind its end", position)
        elif stage < self._stage or (stage == self._stage and kind in _SINGLE):
            self._say("order", f"a `{kind}` event stands where none can", position)
        self._stage = max(stage, self._stage)
        self.ended = kind == _END

    def _payload(self, event: Event) -> bytes | None:
        """The event's payload as it is digested, held against its size; None where it is none."""
        position, kind, _, type_, data, raw, _, cut = event
        size: Any = event.size
        if not _HELD.issuperset(map(type, (data, raw, cut))) or not isinstance(size, int):
            return None
        if raw is not None and data is not None:
            self._say("frame", "an event has two payloads", position)
        if type_ is not None and (kind != _SSE or not isinstance(type_, str)):
            self._say("type", "an event has a name that it cannot have", position)
        if data is None and not raw:
            self._absent(event)
            return b""
        if self._bare and (self._erased or kind in _OF_BODY):
            if not self._erased:
                self._say("content_put", "an event has content, and was recorded without any", position)
        elif self._withheld_from is not None and kind == _WIRE:
            self._say("content_put", "an event has content that was withheld", position)
        try:
            payload = payload_of((b"", *event))
        except _UNFIT:
            return None
        if len(payload) != size:
            self._say("size", f"an event has {len(payload):,} bytes, and had {size:,}", position)
        return payload

    def _absent(self, event: Event) -> None:
        """See that an event may be without payload."""
        if self._erased or (event.raw is None and self._bare and event.kind in _OF_BODY):
            return
        if event.raw is None and event.kind == _WIRE:
            self._withheld_from = event.position if self._withheld_from is None else self._withheld_from
        else:
            self._say_gone(event.position)


def _start(name: str | None) -> bytes:
    """What a canonical frame begins with, behind the end of another."""
    return _BREAK + (b"data: " if name is None else b"event: %b\ndata: " % name.encode())


def _told(payload: bytes) -> dict[str, Any]:
    """What an `end` event says; nothing where it cannot be read."""
    try:
        told = json.loads(payload)
    except (ValueError, RecursionError):
        return {}
    return told if isinstance(told, dict) else {}


def _says_withheld(told: dict[str, Any] | None) -> bool:
    redacted = (told or {}).get("redacted")
    return isinstance(redacted, dict) and redacted.get("wire") == "withheld"
