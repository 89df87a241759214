"""Ended recordings become readings, one or many, once or again.

A reading is a projection: it can be made again at any time from the recording alone, so nothing here is precious and
everything may be repeated. This package adds to what a dialect says only what holds for every protocol: times, gaps,
findings, the request id, the group. Which run a recording belongs to is decided by the store when the reading is put.
It refuses to know any protocol, and it never lets a dialect's mistake out: such a recording gets a reading that says
nothing but `reader_error`.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final
from uuid import UUID

from recorder.dialects import RAW, Dialect, by_name, recognise
from recorder.errors import NotFound
from recorder.reader.completing import completed, without_payloads
from recorder.reader.passing import Passing
from recorder.recording import Event, Reading, Recording, Row, StoredReading
from recorder.store import Store

__all__ = [
    "VERSION",
    "gently",
    "interpret",
    "read",
    "read_due",
    "read_due_all",
    "read_rows",
    "rebuild",
    "rebuild_stale",
]

logger = logging.getLogger("recorder")

#: Which reader made a reading; raised when a dialect or this package reads the same bytes otherwise.
VERSION: Final = 3

#: How many readings go into one transaction.
_BATCH: Final = 64

#: A gentle reader pauses so long after so many events: whoever waits for the interpreter then gets it.
_PAUSE: Final = 0.00005
_PAUSE_EVERY: Final = 64


# -- one recording ----------------------------------------------------------------------------------------------------


def dialect_of(recording: Recording) -> Dialect:
    """The dialect that reads it: the one it was recorded under, or one that was not known then."""
    dialect = by_name(recording.dialect)
    return recognise(recording.request) if dialect is RAW else dialect


def interpret(recording: Recording, events: Iterable[Event]) -> Reading:
    """What the recording means. Pure but for a warning in the log where a dialect fails.

    `events` are all its rows in order, as stored. Errors of whoever gives the events pass through.
    """
    dialect = dialect_of(recording)
    passing = Passing()
    try:
        reading = dialect.read(recording, passing.through(events))
        if "payload_missing" in {*reading.flags, *passing.flags}:
            reading = without_payloads(recording, reading)
        return completed(recording, dialect, reading, passing)
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
        return Reading(dialect=dialect.name, flags=("reader_error",), facts=failed)


def read(store: Store, recording_id: UUID) -> Reading:
    """Makes the recording's reading and stores it. Raises NotFound, and StoreError where the store fails."""
    recording = store.recording(recording_id)
    reading = interpret(recording, store.events(recording_id))
    store.put_readings([_stored(recording_id, reading)])
    return reading


def read_rows(store: Store, recording: Recording, rows: Sequence[Row]) -> Reading:
    """As `read`, for a recording whose payloads are not in the store: `rows` still has them, in memory."""
    reading = interpret(recording, (Event(*row[1:]) for row in rows))
    store.put_readings([_stored(recording.recording_id, reading)])
    return reading


# -- many recordings --------------------------------------------------------------------------------------------------


def read_due(store: Store, limit: int = 1000, *, gentle: bool = False) -> int:
    """Reads up to `limit` recordings whose reading is due, the oldest first. Returns how many readings were stored.

    `gentle` leaves the interpreter to other threads now and then, so that a long stream delays nobody.
    """
    return _read_all(store, store.unread(limit), gentle=gentle)


def rebuild(store: Store, recording_ids: Iterable[UUID], progress: Callable[[UUID], None] | None = None) -> int:
    """Makes the readings of these recordings again, the oldest first; returns how many were replaced.

    A recording whose payloads are gone keeps the reading it has. Stopping half-way leaves a store that is whole;
    `progress` hears of each recording that is done.
    """
    return _read_all(store, sorted(recording_ids), keep_blind=True, progress=progress)


def read_due_all(store: Store) -> int:
    """Reads every recording whose reading is due; returns how many."""
    done = 0
    while made := read_due(store):
        done += made
    return done


def rebuild_stale(
    store: Store,
    progress: Callable[[UUID], None] | None = None,
    *,
    version: int = VERSION,
    batch: int = _BATCH,
) -> int:
    """Makes again every reading that a reader before `version` made, the oldest first; returns how many.

    Stopped at any point and started again, it goes on where it was: what is done is no longer stale. `batch` readings
    go into one transaction.
    """
    done, after = 0, None
    while stale := store.stale(version, limit=batch, after=after):
        done += rebuild(store, stale, progress)
        after = stale[-1]
    return done


def _read_all(
    store: Store,
    recording_ids: Sequence[UUID],
    *,
    keep_blind: bool = False,
    gentle: bool = False,
    progress: Callable[[UUID], None] | None = None,
) -> int:
    done = 0
    for start in range(0, len(recording_ids), _BATCH):
        batch = list(recording_ids[start : start + _BATCH])
        made = [stored for recording_id in batch if (stored := _made(store, recording_id, keep_blind, gentle))]
        store.put_readings(made)
        done += len(made)
        if progress is not None:
            for recording_id in batch:
                progress(recording_id)
    return done


def _made(store: Store, recording_id: UUID, keep_blind: bool, gentle: bool) -> StoredReading | None:
    """The recording's reading; None where it was pruned meanwhile, or has nothing to be read from."""
    try:
        recording = store.recording(recording_id)
    except NotFound:
        return None
    events = store.events(recording_id)
    reading = interpret(recording, gently(events) if gentle else events)
    return None if keep_blind and "payload_missing" in reading.flags else _stored(recording_id, reading)


def gently(events: Iterable[Event]) -> Iterator[Event]:
    """The events, with pauses in which other threads get the interpreter: it is handed over only when let go."""
    for number, event in enumerate(events, 1):
        if number % _PAUSE_EVERY == 0:
            time.sleep(_PAUSE)
        yield event


def _stored(recording_id: UUID, reading: Reading) -> StoredReading:
    return StoredReading(
        recording_id=recording_id,
        run_id=recording_id,
        reader_version=VERSION,
        read_at=time.time_ns() // 1000,
        reading=reading,
    )
