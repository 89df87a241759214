"""How events go into a SQLite store and come out of it: past SQLAlchemy, in as few calls of SQLite as it takes.

It refuses to know files, locks and transactions.
"""

from __future__ import annotations

import functools
import sqlite3
from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Any, Final
from uuid import UUID

from sqlalchemy.dialects.sqlite import dialect as sqlite_dialect

from recorder import schema
from recorder.recording import Event, Row
from recorder.store.statements import event_page, insert_missing

__all__ = ["insert", "select", "stream"]

_DIALECT: Final = sqlite_dialect()
_INSERT_EVENT: Final = str(insert_missing(schema.events, "sqlite").compile(dialect=_DIALECT))

#: Rows in one INSERT: a fifth to a third faster than row by row, and other threads run while SQLite takes them.
_AT_ONCE: Final = 32

#: Rows that are read together, and a position before any.
_AT_A_TIME: Final = 256
_FIRST: Final = -(1 << 62)


@functools.cache
def _insert_events(rows: int) -> str:
    """The INSERT of so many events."""
    start, end = _INSERT_EVENT.index("(?"), _INSERT_EVENT.index("?)") + 2
    return _INSERT_EVENT[:start] + ", ".join([_INSERT_EVENT[start:end]] * rows) + _INSERT_EVENT[end:]


@functools.cache
def _page(kinds: int) -> str:
    return str(event_page(kinds).compile(dialect=_DIALECT))


#: All events of a recording as their rows have them, and behind whether the row has that id, too: the index, which has
#: columns of its own that might say otherwise, is asked for places alone.
_STREAM: Final = (
    "SELECT own.position, own.kind, own.elapsed_us, own.type, own.data, own.raw, own.size, own.cuts,"
    " own.recording_id IS events.recording_id "
    "FROM events JOIN events AS own ON own.rowid = events.rowid "
    "WHERE events.recording_id = ? AND events.position >= ? ORDER BY events.position"
)


def insert(driver: sqlite3.Connection, rows: Sequence[Row]) -> int:
    """Insert rows whose positions are free; the number inserted."""
    inserted = 0
    for start in range(0, len(rows), _AT_ONCE):
        batch = rows[start : start + _AT_ONCE]
        inserted += driver.execute(_insert_events(len(batch)), list(chain.from_iterable(batch))).rowcount
    return inserted


def select(
    driver: sqlite3.Connection, recording_id: UUID, start: int, kinds: Sequence[str], size: int
) -> tuple[list[Event], bool]:
    """As `Backend.select_events`."""
    cursor = driver.execute(_page(len(kinds)), (recording_id.bytes, start, *map(str, kinds)))
    found: list[Event] = []
    while batch := cursor.fetchmany(_AT_A_TIME):
        found += map(Event._make, batch)
        size -= sum(event[6] for event in batch)
        if size < 0:
            return found, True
    return found, False


def stream(driver: sqlite3.Connection, recording_id: UUID) -> Iterator[Sequence[tuple[Any, ...]]]:
    """As `Backend.stream_events`."""
    cursor = driver.execute(_STREAM, (recording_id.bytes, _FIRST))
    while batch := cursor.fetchmany(_AT_A_TIME):
        yield batch
        if len(batch) < _AT_A_TIME:
            return
