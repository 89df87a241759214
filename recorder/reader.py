"""An ended recording -> its dialect -> a Reading in the store. Runs anywhere but on the writer's thread.

A reading is a projection: it can be made again at any time from the recording alone, so nothing here is precious and
everything may be repeated. This module adds to what a dialect says only what holds for every protocol: times, the
request id, the group, and which run the recording belongs to. It refuses to know any protocol, and it never lets a
dialect's mistake out: such a recording gets a reading that says nothing but `reader_error`.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Final
from uuid import UUID

from recorder.decode import decode_body
from recorder.dialects import RAW, by_name, recognise
from recorder.errors import NotFound
from recorder.recording import Event, Head, Kind, Reading, Recording, Row, StoredReading
from recorder.store import Store

__all__ = ["VERSION", "interpret", "read", "read_due", "read_rows", "rebuild"]

logger = logging.getLogger("recorder")

#: Which reader made a reading; raised when a dialect or this module reads the same bytes otherwise.
VERSION: Final = 1

#: Response headers that name the exchange for the provider's support.
_REQUEST_IDS: Final = ("x-request-id", "request-id", "apim-request-id", "x-ms-request-id")

_SSE: Final = Kind.SSE.value
_WIRE: Final = Kind.WIRE.value

#: How many readings go into one transaction.
_BATCH: Final = 64


# -- one recording ----------------------------------------------------------------------------------------------------


def interpret(recording: Recording, events: Iterable[Event]) -> Reading:
    """What the recording means. Pure but for a warning in the log where a dialect fails.

    `events` are all its rows in order, as stored. Errors of whoever gives the events pass through.
    """
    dialect = by_name(recording.dialect)
    if dialect is RAW:  # recorded before this dialect was known
        dialect = recognise(recording.request)
    passing = _Passing()
    try:
        reading = dialect.read(recording, passing.through(events))
    except Exception as error:
        if passing.source_failed:
            raise
        logger.warning(
            "the dialect %s could not read recording %s (%s); its reading says reader_error",
            dialect.name,
            recording.recording_id,
            type(error).__name__,
        )
        failed = {"reader_error": type(error).__name__, "dialect": dialect.name}
        reading = Reading(dialect=RAW.name, flags=("reader_error",), facts=failed)
    if "payload_missing" in {*reading.flags, *passing.flags}:
        reading = _without_payloads(recording, reading)
    return _completed(recording, reading, passing)


def read(store: Store, recording_id: UUID) -> Reading:
    """Makes the recording's reading and stores it. Raises NotFound, and StoreError where the store fails.

    A continuation whose opener is not read yet has what is due before it read first.
    """
    recording = store.recording(recording_id)
    reading = interpret(recording, store.events(recording_id))
    if _continues(reading) and _opener(store, recording, reading) is None:
        _read_all(store, [due for due in store.unread() if due < recording_id])
    run_id = _opener(store, recording, reading) or recording_id
    store.put_readings([_stored(recording_id, run_id, reading)])
    return reading


def read_rows(store: Store, recording: Recording, rows: Sequence[Row]) -> Reading:
    """As `read`, for a recording whose payloads are not in the store: `rows` still has them, in memory."""
    reading = interpret(recording, (Event(*row[1:]) for row in rows))
    run_id = _opener(store, recording, reading) or recording.recording_id
    store.put_readings([_stored(recording.recording_id, run_id, reading)])
    return reading


# -- many recordings --------------------------------------------------------------------------------------------------


def read_due(store: Store, limit: int = 1000) -> int:
    """Reads up to `limit` recordings whose reading is due, the oldest first. Returns how many readings were stored.

    0 means that nothing is left to do now: a continuation waits while its run's opener may still be open.
    """
    due = store.unread(limit)
    done = _read_all(store, due)
    # Those that wait stand first, being the oldest: they must not hide the others.
    return done if done or len(due) < limit else read_due(store, limit * 2)


def rebuild(store: Store, recording_ids: Iterable[UUID], progress: Callable[[UUID], None] | None = None) -> int:
    """Makes the readings of these recordings again, the oldest first; returns how many were replaced.

    A recording whose payloads are gone keeps the reading it has. Stopping half-way leaves a store that is whole;
    `progress` hears of each recording that is done.
    """
    return _read_all(store, sorted(recording_ids), keep_blind=True, progress=progress)


def _read_all(
    store: Store,
    recording_ids: Sequence[UUID],
    *,
    keep_blind: bool = False,
    progress: Callable[[UUID], None] | None = None,
) -> int:
    batch: list[StoredReading] = []
    done = 0
    for recording_id in recording_ids:
        try:
            recording = store.recording(recording_id)
        except NotFound:
            continue  # pruned meanwhile
        reading = interpret(recording, store.events(recording_id))
        if len(batch) >= _BATCH or (batch and _continues(reading)):
            store.put_readings(batch)  # a continuation finds its opener by what is stored
            batch = []
        run_id = _run_id(store, recording, reading)
        if run_id is not None and not (keep_blind and "payload_missing" in reading.flags):
            batch.append(_stored(recording_id, run_id, reading))
            done += 1
        if progress is not None:
            progress(recording_id)
    store.put_readings(batch)
    return done


def _stored(recording_id: UUID, run_id: UUID, reading: Reading) -> StoredReading:
    return StoredReading(
        recording_id=recording_id,
        run_id=run_id,
        reader_version=VERSION,
        read_at=time.time_ns() // 1000,
        reading=reading,
    )


# -- which run --------------------------------------------------------------------------------------------------------


def _continues(reading: Reading) -> bool:
    return not reading.opens_run and reading.provider_run_id is not None


def _opener(store: Store, recording: Recording, reading: Reading) -> UUID | None:
    """For a continuation the newest earlier opener of the same dialect, origin and provider's id, if one was read."""
    if reading.opens_run or reading.provider_run_id is None:
        return None
    return store.opener(reading.dialect, recording.origin, reading.provider_run_id, recording.recording_id)


def _run_id(store: Store, recording: Recording, reading: Reading) -> UUID | None:
    """The run: the opener's, or its own where it has none. None: its opener may still be on its way."""
    opener = _opener(store, recording, reading)
    if opener is None and _continues(reading) and _may_come(store, recording, reading):
        return None
    return opener or recording.recording_id


def _may_come(store: Store, recording: Recording, reading: Reading) -> bool:
    """Whether a recording that is still open may turn out to have opened this run: a stream does not say its run's id
    before it is read, and a cancel or a poll ends sooner."""
    for lease in store.open_recordings():
        if lease.recording_id >= recording.recording_id:
            continue
        try:
            other = store.recording(lease.recording_id)
        except NotFound:
            continue
        thread_id = other.parameters.get("thread_id")
        same = other.dialect == reading.dialect and other.origin == recording.origin
        if same and other.ending is None and thread_id in (None, reading.thread_id):
            return True
    return False


# -- what holds for every protocol ------------------------------------------------------------------------------------


class _Passing:
    """Looks at the events on their way to the dialect: times and headers; takes content codings off."""

    def __init__(self) -> None:
        self.source_failed = False
        self.head: Head | None = None
        self.flags: set[str] = set()
        self.headers_us: int | None = None
        self.first_us: int | None = None
        self.last_us: int | None = None
        self.longest_gap_us: int | None = None
        self.count = 0

    def through(self, events: Iterable[Event]) -> Iterator[Event]:
        """The events without `wire`; after them the decoded body of an encoded answer that is no event stream."""
        undecoded: list[Event] = []
        body = False
        for event in self._source(events):
            kind = event.kind
            if kind == _SSE:
                self._tick(event.elapsed_us)
            elif kind == _WIRE:
                if not self.count:
                    undecoded.append(event)
                continue
            elif kind == Kind.HEAD and event.data is not None:
                self.head, self.headers_us = Head.from_json(event.data), event.elapsed_us
            elif kind == Kind.BODY:
                body = True
            if self.count and undecoded:
                undecoded = []  # a stream: its events are here, decoded
            yield event
        if undecoded and not self.count and not body:
            yield from self._decoded(undecoded)

    def _source(self, events: Iterable[Event]) -> Iterator[Event]:
        """The events; notes whose fault it is when they cannot be had."""
        try:
            yield from events
        except Exception:
            self.source_failed = True
            raise

    def _tick(self, elapsed_us: int) -> None:
        self.count += 1
        if self.last_us is None:
            self.first_us = elapsed_us
        else:
            self.longest_gap_us = max(self.longest_gap_us or 0, elapsed_us - self.last_us)
        self.last_us = elapsed_us

    def _decoded(self, wire: list[Event]) -> Iterator[Event]:
        pieces = [event.data for event in wire]
        if None in pieces:
            self.flags.add("payload_missing")
            return
        encoding = self.head.content_encoding if self.head else None
        body = decode_body(encoding, b"".join(piece for piece in pieces if piece is not None))
        if body is None:
            self.flags.add("undecoded")
        else:
            yield wire[0]._replace(kind=Kind.BODY.value, data=body, elapsed_us=wire[-1].elapsed_us)

    def times(self) -> dict[str, int]:
        """In microseconds since the request; what did not happen is absent."""
        told = {
            "headers_us": self.headers_us,
            "first_event_us": self.first_us,
            "last_event_us": self.last_us,
            "longest_gap_us": self.longest_gap_us,
            "events": self.count or None,
        }
        return {name: value for name, value in told.items() if value is not None}


def _completed(recording: Recording, reading: Reading, passing: _Passing) -> Reading:
    """The dialect's reading with what holds for every protocol. Where content is not to be kept, without any."""
    facts = dict(reading.facts)
    text = reading.text
    if recording.content != "full":
        facts.pop("content", None)
        text = None
    if times := passing.times():
        facts["times"] = times
    return replace(
        reading,
        text=text,
        facts=facts,
        request_id=_request_id(passing.head) or reading.request_id,
        group=_group(recording, reading),
        flags=tuple(sorted({*reading.flags, *passing.flags})),
    )


def _request_id(head: Head | None) -> str | None:
    found = (head.get(name) for name in _REQUEST_IDS) if head else ()
    return next((value for value in found if value), None)


def _group(recording: Recording, reading: Reading) -> str | None:
    """What runs of the same kind have in common: assistant, else prompt, else the tag `app`, else instructions."""
    told: str | None = reading.assistant_id or reading.facts.get("prompt_id") or recording.tags.get("app")
    instructions = reading.facts.get("instructions_hash")
    return told if told or not instructions else f"instructions:{instructions}"


def _without_payloads(recording: Recording, reading: Reading) -> Reading:
    """All that can be said without payloads: what was asked, and what the transport saw. Nothing is guessed."""
    hot = recording.parameters
    return Reading(
        dialect=reading.dialect,
        opens_run=reading.opens_run,
        continues=reading.continues,
        provider_run_id=reading.continues,
        model=hot.get("model"),
        assistant_id=hot.get("assistant_id"),
        thread_id=hot.get("thread_id"),
        max_prompt_tokens=hot.get("max_prompt_tokens"),
        max_completion_tokens=hot.get("max_completion_tokens"),
        truncation_strategy=hot.get("truncation_strategy"),
        flags=("payload_missing",),
    )
