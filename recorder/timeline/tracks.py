"""The tracks of a run's timeline: one for each recording, with a mark for each of its rows.

Times are microseconds since the recording's own request; `Track.starts_us` is when that was, since the run began.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final, NamedTuple
from uuid import UUID

from recorder import reader
from recorder.reader.brought import Brought, What, brought, place_of
from recorder.recording import Event, Head, Kind, Reading, Recording, Run
from recorder.store import Store

__all__ = ["Attempt", "Gap", "Mark", "Timeline", "Track", "timeline", "track"]

#: What goes before a run as a try of the same request lies within so many microseconds of it: SDKs retry within
#: seconds, and wait at most a minute where the server says so.
_NEAR_US: Final = 600_000_000
#: Tries that are looked at.
_MOST_ATTEMPTS: Final = 32

#: How often a client says it has tried before: the header of OpenAI's and Anthropic's SDKs.
_RETRIES: Final = "x-stainless-retry-count"

_SSE: Final = Kind.SSE.value
_WIRE: Final = Kind.WIRE.value
_BODY: Final = Kind.BODY.value


class Mark(NamedTuple):
    """One row of a recording on its timeline.

    `offset` is where its bytes begin in the body: as the network delivered it, or for what was found inside a content
    coding, in the decoded stream. None for what is no part of the body.
    """

    position: int
    what: What
    name: str
    elapsed_us: int
    offset: int | None
    size: int


class Gap(NamedTuple):
    """A time without an event of the stream: until the event at `position` (None: until the ending)."""

    position: int | None
    from_us: int
    length_us: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Track:
    """One recording of a run.

    `reading` is the stored one, or one made now; `told` are its rows with what each of them brought. `waited_us`: how
    long after the end of the track before it its request was made; None for the first. `infos` and `head` with the
    times at which they came. `stalls` are the gaps that count as such, `longest` is the longest of all. `encoded`: the
    body came with a content coding, so the offsets of its events are those in the decoded stream.
    """

    recording: Recording
    reading: Reading
    told: Brought
    marks: Sequence[Mark]
    starts_us: int
    waited_us: int | None
    infos: Sequence[tuple[int, Head]]
    head: tuple[int, Head] | None
    stalls: Sequence[Gap]
    longest: Gap | None
    encoded: bool

    @property
    def events(self) -> Sequence[Event]:
        """Its rows."""
        return self.told.events

    @property
    def answered(self) -> tuple[int, int] | None:
        """When the answer's head came, and its status: as the ending has them where the head is not there any more."""
        if self.head is not None:
            return self.head[0], self.head[1].status
        ending = self.recording.ending
        if ending is None or ending.http_status is None:
            return None
        return ending.head_us or 0, ending.http_status

    @property
    def lasts_us(self) -> int:
        """Until its ending; of one that is still being made until its last row."""
        if self.recording.ending is not None:
            return self.recording.ending.elapsed_us
        return self.events[-1].elapsed_us if self.events else 0

    @property
    def network(self) -> tuple[str, ...]:
        """The kinds of rows that hold the body as the network delivered it."""
        return (_WIRE,) if self.encoded else (_SSE, _BODY)

    @property
    def body_size(self) -> int:
        """Bytes of the body as the network delivered it, as far as it is recorded."""
        kinds = self.network
        return sum(event.size for event in self.events if event.kind in kinds)


class Attempt(NamedTuple):
    """Another recording of the same request near this one. `before_us` is how much earlier it began (below 0: later).

    `same_call`: the client's own library made both for one call; else it is only the same request.
    """

    recording: Recording
    before_us: int
    same_call: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeline:
    """A run: its tracks in order, without second recordings of the same exchange, whose number is `duplicates`.

    `attempts` are the tries of the first request around it. `retry` is which retry the client said it was; None where
    it said nothing.
    """

    run: Run
    tracks: Sequence[Track]
    attempts: Sequence[Attempt]
    retry: int | None
    duplicates: int = 0

    @property
    def lasts_us(self) -> int:
        """From the first request to the last ending."""
        return max(each.starts_us + each.lasts_us for each in self.tracks)


def timeline(store: Store, recording_id: UUID) -> Timeline:
    """The timeline of the run that this recording opened or belongs to. Raises NotFound.

    A second recording of an exchange is left out, unless it is the one that was asked for.
    """
    run = store.run(recording_id)
    found = [(store.recording(each), _stored(store, each)) for each in store.members(run.run_id)]
    kept = [
        (recording, stored)
        for recording, stored in found
        if recording.recording_id == recording_id or stored is None or "duplicate" not in stored.flags
    ] or found
    began = min(recording.started_at for recording, _ in kept)
    tracks: list[Track] = []
    over: int | None = None
    for recording, stored in kept:
        starts = recording.started_at - began
        made = track(recording, store.events(recording.recording_id), stored, starts_us=starts, over_us=over)
        tracks.append(made)
        over = max(over or 0, starts + made.lasts_us)
    first = kept[0][0]
    return Timeline(
        run=run,
        tracks=tracks,
        attempts=tuple(_attempts(store, first, {recording.recording_id for recording, _ in found})),
        retry=_retry(first),
        duplicates=len(found) - len(kept),
    )


def track(
    recording: Recording,
    events: Iterator[Event] | Sequence[Event],
    stored: Reading | None = None,
    *,
    starts_us: int = 0,
    over_us: int | None = None,
) -> Track:
    """The track of one recording. `stored`: its reading, where one was made; `over_us`: when the one before ended."""
    told = brought(recording, events)
    reading = stored if stored is not None else reader.interpret(recording, told.events)
    marks = list(_marks(told))
    heads = list(_heads(told.events))
    over = recording.ending.elapsed_us if recording.ending is not None else None
    waited = None if told.passing.last_us is None or over is None else over - told.passing.last_us
    return Track(
        recording=recording,
        reading=reading,
        told=told,
        marks=marks,
        starts_us=starts_us,
        waited_us=None if over_us is None else starts_us - over_us,
        infos=tuple((at, head) for at, kind, head in heads if kind == Kind.INFO),
        head=next(((at, head) for at, kind, head in heads if kind == Kind.HEAD), None),
        stalls=tuple(_stalls(told, None if reading.complete else waited)),
        longest=_longest(told.events),
        encoded=any(event.kind == _WIRE for event in told.events),
    )


def _stored(store: Store, recording_id: UUID) -> Reading | None:
    found = store.reading(recording_id)
    return None if found is None else found.reading


def _heads(events: Sequence[Event]) -> Iterator[tuple[int, str, Head]]:
    """When which heads came. One that was altered so that it is none any more is left out; verification finds it."""
    for event in events:
        if event.kind not in (Kind.INFO, Kind.HEAD):
            return
        with suppress(ValueError, TypeError, LookupError):
            yield event.elapsed_us, event.kind, Head.from_json(event.data or b"")


def _marks(told: Brought) -> Iterator[Mark]:
    """A mark for each row. The rows of a coded body and what was found in it have offsets of their own."""
    network = plain = 0
    for row, what, name in zip(told.events, told.whats, told.names, strict=True):
        kind, offset = row.kind, None
        if kind in (_SSE, _BODY):
            offset, plain = plain, plain + row.size
        elif kind == _WIRE:
            offset, network = network, network + row.size
        yield Mark(row.position, what, name, row.elapsed_us, offset, row.size)


def _stalls(told: Brought, waited_us: int | None) -> Iterator[Gap]:
    """The gaps that are stalls, by the same rule as the reading's."""
    for position, length in told.passing.stalls(waited_us=waited_us):
        place = None if position is None else place_of(told.events, position)
        if place is None:
            yield Gap(None, told.passing.last_us or 0, length)
        else:
            yield Gap(position, told.events[place].elapsed_us - length, length)


def _longest(events: Sequence[Event]) -> Gap | None:
    """The longest time between two events of the stream, the first of equals."""
    found: Gap | None = None
    last: int | None = None
    longest = -1
    for event in events:
        if event.kind == _SSE:
            if last is not None and event.elapsed_us - last > longest:
                longest = event.elapsed_us - last
                found = Gap(event.position, last, longest)
            last = event.elapsed_us
    return found


def _attempts(store: Store, recording: Recording, own: set[UUID]) -> Iterator[Attempt]:
    """Recordings of the same request near this one, in order, without those of the run itself."""
    if recording.match_key is None:
        return
    near = store.alike(recording.match_key, recording.started_at, within=_NEAR_US, limit=_MOST_ATTEMPTS)
    for each in near:
        if each.recording_id not in own and each.origin == recording.origin:
            same = recording.call is not None and each.call == recording.call
            yield Attempt(each, recording.started_at - each.started_at, same)


def _retry(recording: Recording) -> int | None:
    """Which retry the client says the request is."""
    for name, value in recording.request.headers:
        if name.lower() == _RETRIES and value.isascii() and value.isdigit() and len(value) <= 4:
            return int(value)
    return None
