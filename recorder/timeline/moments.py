"""What the client had at a moment of a run: at a time, after an event, after so many bytes of a body, at the end.

Exactly that: an event counts once its last byte had arrived, a byte once its chunk had. What the events meant by then
is what the dialect makes of these rows and no others.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Final
from uuid import UUID

from recorder import cuts, sse
from recorder.decode import Decoder
from recorder.errors import NotFound, StoreError, UsageError
from recorder.reader.brought import ToolCall, said_so_far, tool_calls, withheld
from recorder.recording import Event, Kind, Reading
from recorder.timeline.tracks import Timeline, Track

__all__ = ["At", "Moment", "State", "bytes_until", "is_decoded", "moment_of", "parse_at"]

_SSE: Final = Kind.SSE.value
_WIRE: Final = Kind.WIRE.value
_BODY: Final = Kind.BODY.value

_PLACE: Final = re.compile(r"(event|byte):(?:([0-9]{1,6}):)?([0-9]{1,15})")
_TIME: Final = re.compile(r"([0-9]{1,12}(?:\.[0-9]{1,6})?)\s*(us|ms|s|m|min|h)?")
_UNITS: Final = {"us": 1, "ms": 1_000, "s": 1_000_000, "m": 60_000_000, "min": 60_000_000, "h": 3_600_000_000}


@dataclass(frozen=True, slots=True)
class At:
    """A moment as it is asked for. `unit` is time (microseconds since the run began), event (a position), byte (a
    number of bytes of a body) or end. `part` counts the recordings of a run from 1; None: the only one there is.
    """

    unit: str
    value: int = 0
    part: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """What the client had of one recording.

    `number` counts the run's recordings from 1, `elapsed_us` is since this one's request. `position` is the last row
    that was whole, None where there was none; `events` counts those of the stream among them. `size` bytes of the body
    had arrived, of which `unfinished` belong to an event that was not whole; None where a content coding hides that.
    `over`: the ending was among the rows.

    `reading` is what these rows say, and `calls` the tools that were called, with their arguments so far. `withheld`
    says why nothing can be known of texts and states, None where it can; then `reading` may be the one that was stored
    when the recording was made.
    """

    number: int
    recording_id: UUID
    elapsed_us: int
    position: int | None
    events: int
    size: int
    unfinished: int | None
    over: bool
    http_status: int | None
    reading: Reading | None
    calls: Sequence[ToolCall]
    reasoning: str
    withheld: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """What the client had: of each recording that had begun by then, the last of which is the one asked about.

    `at_us` is since the run began.
    """

    at_us: int
    states: Sequence[State]

    @property
    def state(self) -> State:
        """The one that was asked about."""
        return self.states[-1]


def parse_at(text: str) -> At:
    """The moment that a text names: `3.2s`, `3200ms`, `event:120`, `byte:4096`, `end`.

    `event:2:120` is event 120 of the run's second recording. Raises UsageError.
    """
    text = text.strip()
    if text == "end":
        return At("end")
    place = _PLACE.fullmatch(text)
    if place:
        part = None if place[2] is None else int(place[2])
        if part == 0:
            raise UsageError(f"--at {text}: a run's recordings are counted from 1")
        return At(place[1], int(place[3]), part)
    time = _TIME.fullmatch(text)
    if time:
        return At("time", int(Decimal(time[1]) * _UNITS[time[2] or "s"]))
    raise UsageError(f"--at {text!r} is no moment: write 3.2s, 850ms, event:120, byte:4096, end, or event:PART:120")


def moment_of(line: Timeline, at: At, recording_id: UUID | None = None) -> Moment:
    """What the client had then. `recording_id`: the recording that is meant where `at` names none.

    Raises UsageError where there is no such moment.
    """
    tracks = line.tracks
    if at.unit == "end":
        at = At("time", line.lasts_us)
    if at.unit == "time":
        number = max((place for place, one in enumerate(tracks) if one.starts_us <= at.value), default=0)
        last, moment = _at_time(tracks[number], number + 1, at.value - tracks[number].starts_us), at.value
    else:
        number = _part(line, at, recording_id)
        find = _at_event if at.unit == "event" else _at_byte
        last = find(tracks[number], number + 1, at.value)
        moment = tracks[number].starts_us + last.elapsed_us
    earlier = [_at_time(one, place, moment - one.starts_us) for place, one in enumerate(tracks[:number], 1)]
    return Moment(at_us=moment, states=(*earlier, last))


def _part(line: Timeline, at: At, recording_id: UUID | None) -> int:
    tracks = line.tracks
    if at.part is not None:
        if at.part > len(tracks):
            raise UsageError(f"the run has {len(tracks)} recordings: there is no {at.part}")
        return at.part - 1
    if len(tracks) == 1:
        return 0
    named = [place for place, one in enumerate(tracks) if one.recording.recording_id == recording_id]
    if named and recording_id != line.run.run_id:
        return named[0]
    raise UsageError(f"the run has {len(tracks)} recordings: say which one is meant, as in {at.unit}:1:{at.value}")


# -- three ways to say when --------------------------------------------------------------------------------------------


def _at_time(track: Track, number: int, at_us: int) -> State:
    rows = [row for row in track.events if row.elapsed_us <= at_us]
    size = max((end for end, arrived in _arrivals(track) if arrived <= at_us), default=0)
    return _state(track, number, rows, size, at_us)


def _at_event(track: Track, number: int, position: int) -> State:
    rows = [row for row in track.events if row.position <= position]
    if not rows or rows[-1].position != position:
        last = track.events[-1].position if track.events else None
        there = "it has none" if last is None else f"it has 0 to {last}"
        raise UsageError(f"recording {track.recording.recording_id} has no event {position}: {there}")
    size = sum(row.size for row in rows if row.kind in track.network)
    return _state(track, number, rows, size, rows[-1].elapsed_us)


def _at_byte(track: Track, number: int, size: int) -> State:
    whole = track.body_size
    if size > whole:
        raise UsageError(f"the body of recording {track.recording.recording_id} has {whole} bytes, not {size}")
    at_us = next((arrived for end, arrived in _arrivals(track) if end >= size), 0) if size else _head_us(track)
    rows, have = [], 0
    for row in track.events:
        if row.kind == Kind.END or (row.kind in track.network and have + row.size > size):
            break
        have += row.size if row.kind in track.network else 0
        rows.append(row)
    if track.encoded and have < size:
        rows += _inside(track, rows, size)
    return _state(track, number, rows, size, at_us)


def _head_us(track: Track) -> int:
    return track.answered[0] if track.answered is not None else 0


def _inside(track: Track, rows: Sequence[Event], size: int) -> Sequence[Event]:
    """The events that were whole inside a piece of a coded body of which only the beginning had arrived."""
    encoding = track.head[1].content_encoding if track.head is not None else None
    pieces = [row.data for row in track.events if row.kind == _WIRE]
    if encoding is None or any(piece is None for piece in pieces):
        return ()
    tokenizer = sse.Tokenizer()
    plain = Decoder(encoding).feed(b"".join(piece for piece in pieces if piece is not None)[:size])
    whole = sum(isinstance(item, sse.Frame) for item in tokenizer.feed(plain))
    known = sum(row.kind == _SSE for row in rows)
    found = [row for row in track.events if row.kind == _SSE]
    return found[known:whole]


# -- what there was ----------------------------------------------------------------------------------------------------


def _state(track: Track, number: int, rows: Sequence[Event], size: int, at_us: int) -> State:
    over = bool(rows) and rows[-1].kind == Kind.END
    reading, passing = said_so_far(track.recording, rows)
    why = withheld(track.recording, reading, passing)
    known: Reading | None = reading
    if why is not None:
        known = track.reading if over and "payload_missing" not in track.reading.flags else None
    end = sum(row.size for row in rows if row.kind in (_SSE, _BODY))
    head_us, status = track.answered or (0, None)
    return State(
        number=number,
        recording_id=track.recording.recording_id,
        elapsed_us=at_us,
        position=rows[-1].position if rows else None,
        events=passing.count,
        size=size,
        unfinished=None if track.encoded else size - end,
        over=over,
        http_status=status if head_us <= at_us else None,
        reading=known,
        calls=tool_calls(reading) if why is None else (),
        reasoning="".join(one.text for one in reading.spoken if one.kind == "reasoning") if why is None else "",
        withheld=why,
    )


def _arrivals(track: Track) -> Iterator[tuple[int, int]]:
    """(bytes of the body that were there, when) for each chunk. Bytes behind the last one count with their row."""
    at = last = now = 0
    kinds = track.network
    for row in track.events:
        if row.kind not in kinds:
            continue
        at += row.size
        now = row.elapsed_us
        if row.cuts is None:
            last = at
            yield at, now
        elif row.cuts:
            for offset, arrived in _cuts(track, row):
                last = at - row.size + offset
                yield last, arrived
    if last < at:
        yield at, now


def _cuts(track: Track, row: Event) -> list[cuts.Cut]:
    try:
        return cuts.unpack(row.cuts, row.size, row.elapsed_us)
    except ValueError as error:
        raise StoreError(f"recording {track.recording.recording_id} is damaged: {error}") from error


def bytes_until(track: Track, state: State) -> Iterator[bytes]:
    """The body's bytes that had arrived, as the network delivered them.

    Of a coded body whose undecoded bytes are withheld, the decoded bytes of the events that were whole. Raises NotFound
    where the payloads are not in the store.
    """
    if track.recording.content != "full":
        raise _no_payloads(track, state)
    kinds, left = track.network, state.size
    if is_decoded(track):
        kinds = (_SSE, _BODY)
        left = sum(row.size for row in track.events if row.kind in kinds and row.position <= (state.position or 0))
    for row in track.events:
        if left <= 0:
            return
        if row.kind not in kinds or not row.size:
            continue
        if row.data is None and row.raw is None:
            raise _no_payloads(track, state)
        piece = sse.wire(row.type, row.data, row.raw) if row.kind == _SSE else row.data or row.raw or b""
        yield piece[:left]
        left -= len(piece)


def is_decoded(track: Track) -> bool:
    """Whether only the decoded bytes of a coded body are there, because the others hold what is withheld."""
    ending = track.recording.ending
    return track.encoded and ending is not None and ending.wire_withheld


def _no_payloads(track: Track, state: State) -> NotFound:
    return NotFound(
        f"recording {track.recording.recording_id} has no payloads: {state.withheld or 'they are not in the store'};"
        " leave --raw out to see what is known"
    )
