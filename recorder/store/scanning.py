"""All that the store holds of each recording, in the order they were made: for verification, which trusts no column.

Values come as the driver gives them: what somebody wrote past the store may be of any type. Recordings are read in
groups, each in a transaction of its own, so that a recording, its ending and its erasure belong together, and none is
held for long; a recording's events are read page by page.
"""

from __future__ import annotations

import sqlite3
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, NamedTuple
from uuid import UUID

from sqlalchemy import ColumnElement, Connection, Select, Table, bindparam, func, literal_column, select
from sqlalchemy.exc import DBAPIError
from sqlalchemy.types import NullType

from recorder.errors import StoreUnavailable
from recorder.recording import Erasure
from recorder.schema import endings, erasures, events, leases, logged, readings, recordings, tags
from recorder.store.backend import Backend
from recorder.store.refusals import require_onward

__all__ = [
    "EVERYTHING",
    "Erasure",
    "Note",
    "Scanned",
    "Scope",
    "Unreadable",
    "orphans",
    "require_content",
    "scan",
    "sees_facts_alone",
]

#: Recordings, and bytes of their requests, that are read in one transaction.
GROUP: Final = 200
GROUP_BYTES: Final = 8 << 20
#: Tables of a few rows for each recording, which SQLite checks in no time.
_LOOKED_UP: Final = (recordings, endings, tags, erasures, logged, readings, leases)
_COUNTS: Final = ("SELECT count(*) FROM events", "SELECT count(*) FROM events NOT INDEXED")


class Unreadable(Exception):
    """Events that cannot be read: a column holds what none can, or the file is damaged."""


class Note(NamedTuple):
    """A tag as it lies in the store."""

    name: str
    set_at: int
    value: str | None


@dataclass(frozen=True, slots=True)
class Scanned:
    """What the store holds of one recording. `pages` reads its events while no other recording was asked for: the
    columns of `Event`, and behind them whether the row has the id that its index says, where that might not be so.

    `recording_id` is None where the row's key is no id. `row` and `ending` are columns by name; `ending` is None where
    there is none. `leaf` is the log's, None where it is not logged. `flags` are its reading's.
    """

    recording_id: UUID | None
    row: Mapping[str, Any]
    ending: Mapping[str, Any] | None
    leased: bool
    leaf: Any
    erasures: Sequence[Erasure]
    tags: Sequence[Note]
    flags: Any
    pages: Callable[[], Iterator[Sequence[tuple[Any, ...]]]]


@dataclass(frozen=True, slots=True)
class Scope:
    """Which recordings: those of these ids (all where it is None) that started at `since` or later."""

    ids: Sequence[UUID] | None = None
    since: int | None = None


EVERYTHING: Final = Scope()


def _raw(table: Table, name: str) -> ColumnElement[Any]:
    """A column whose values are taken as they are."""
    return literal_column(f'{table.name}."{name}"')


def _columns(table: Table, *names: str) -> list[ColumnElement[Any]]:
    return [_raw(table, name).label(name) for name in names or table.c.keys()]


_KEY: Final = _raw(recordings, "recording_id")
_AFTER: Final = bindparam("after", type_=NullType())
_FIRST: Final = bindparam("first", type_=NullType())
_LAST: Final = bindparam("last", type_=NullType())


def _between(table: Table, *names: str) -> Select[Any]:
    key = _raw(table, "recording_id")
    columns = _columns(table, *names) if names else _columns(table)
    return select(key.label("key"), *columns).select_from(table).where(key >= _FIRST, key <= _LAST).order_by(key)


_RECORDINGS: Final = _between(recordings)
_ENDINGS: Final = _between(endings)
_LEASES: Final = _between(leases, "writer")
_LOGGED: Final = _between(logged, "leaf")
_ERASURES: Final = _between(erasures, "erased_at", "erased_by", "reason")
_TAGS: Final = _between(tags, "name", "set_at", "value")
_READINGS: Final = _between(readings, "flags")


def scan(backend: Backend, scope: Scope) -> Iterator[Scanned]:
    """What the store holds of each recording in the scope, in the order of the ids.

    Raises StoreUnavailable for a user who sees facts alone: content that is withheld would seem to have been taken.
    """
    require_content(backend)
    if scope.ids is not None:
        for recording_id in sorted(scope.ids):
            with backend.read() as connection:
                key: Any = recording_id if backend.name == "postgresql" else recording_id.bytes
                yield from _group(backend, connection, key, key)
        return
    after: Any = None
    while True:
        with backend.read() as connection:
            found = _next_keys(connection, after, scope.since)
            if not found:
                return
            require_onward(backend.display, found[-1], after)
            spans = [(found[0], found[-1])] if scope.since is None else [(key, key) for key in found]
            for first, last in spans:
                yield from _group(backend, connection, first, last)
        after = found[-1]


def require_content(backend: Backend) -> None:
    """Raise StoreUnavailable for a user who sees facts alone."""
    if sees_facts_alone(backend):
        raise StoreUnavailable(f"{backend.display} shows this user facts alone; ask as a member of recorder_reader")


def sees_facts_alone(backend: Backend) -> bool:
    """Whether views stand for the tables (`recorder.store.roles`): content is missing in them, whatever there is."""
    if backend.name != "postgresql":
        return False
    with backend.read() as connection:
        kind = connection.exec_driver_sql("SELECT relkind FROM pg_class WHERE oid = 'recordings'::regclass").scalar()
    return bool(kind == "v")


def _next_keys(connection: Connection, after: Any, since: int | None) -> list[Any]:
    """The keys of the next recordings, as many as are read together."""
    page = select(_KEY.label("key"), func.length(recordings.c.body).label("size")).select_from(recordings)
    if after is not None:
        page = page.where(_KEY > _AFTER)
    if since is not None:
        page = page.where(recordings.c.started_at >= since)
    given = {} if after is None else {"after": after}
    keys: list[Any] = []
    size = 0
    for row in connection.execute(page.order_by(_KEY).limit(GROUP), given):
        size += row.size or 0
        if keys and size > GROUP_BYTES:
            break
        keys.append(row.key)
    return keys


def _group(backend: Backend, connection: Connection, first: Any, last: Any) -> list[Scanned]:
    try:
        return _gathered(backend, connection, first, last)
    except DBAPIError as error:
        if not isinstance(error.orig, sqlite3.OperationalError):
            raise
    # A text that is no UTF-8: it comes out with its odd bytes marked, and so differs from what was sealed.
    with backend.any_text(connection):
        return _gathered(backend, connection, first, last)


def _gathered(backend: Backend, connection: Connection, first: Any, last: Any) -> list[Scanned]:
    span = {"first": first, "last": last}
    ended = {row["key"]: dict(row) for row in connection.execute(_ENDINGS, span).mappings()}
    leased = {row.key for row in connection.execute(_LEASES, span)}
    leaf = {row.key: row.leaf for row in connection.execute(_LOGGED, span)}
    read = {row.key: row.flags for row in connection.execute(_READINGS, span)}
    erased: defaultdict[Any, list[Erasure]] = defaultdict(list)
    for key, *columns in connection.execute(_ERASURES, span):
        erased[key].append(Erasure(*columns))
    noted: defaultdict[Any, list[Note]] = defaultdict(list)
    for key, *columns in connection.execute(_TAGS, span):
        noted[key].append(Note(*columns))
    found = []
    for row in connection.execute(_RECORDINGS, span).mappings():
        key = row["key"]
        recording_id = as_id(key)
        stored = Scanned(
            recording_id=recording_id,
            row=dict(row),
            ending=ended.get(key),
            leased=key in leased,
            leaf=leaf.get(key),
            erasures=erased.get(key, ()),
            tags=noted.get(key, ()),
            flags=read.get(key),
            pages=partial(_pages, backend, connection, recording_id),
        )
        found.append(stored)
    return found


def _pages(backend: Backend, connection: Connection, recording_id: UUID | None) -> Iterator[Sequence[tuple[Any, ...]]]:
    if recording_id is None:
        return
    try:
        yield from backend.stream_events(connection, recording_id)
    except (TypeError, sqlite3.DatabaseError) as error:
        raise Unreadable from error


def as_id(key: Any) -> UUID | None:
    """The id that a key is; None where it is none."""
    if isinstance(key, UUID):
        return key
    return UUID(bytes=key) if isinstance(key, bytes) and len(key) == 16 else None


def damage(backend: Backend) -> list[str]:
    """Where indexes and their tables differ in SQLite, in its words (of PostgreSQL nothing): who reads a table must
    come upon the same as who finds its rows by an index.

    Of events only how many there are is compared: `scan` holds each that the index leads to against its own row.
    """
    if backend.name != "sqlite":
        return []
    with backend.read() as connection:
        said = [text for table in _LOOKED_UP for text in _said(connection, table.name)]
        indexed, there = (connection.exec_driver_sql(statement).scalar_one() for statement in _COUNTS)
    return said + [f"{there:,} rows in table events, and {indexed:,} in its index"] * (indexed != there)


def _said(connection: Connection, table: str) -> Iterator[str]:
    rows = connection.exec_driver_sql(f"PRAGMA integrity_check({table})").scalars()
    return (text for text in map(str, rows) if text != "ok")


def orphans(backend: Backend) -> dict[UUID | None, set[str]]:
    """The recordings that are not there, but something of them is: their ids, and in which tables. None: no id at all.

    What was pruned whole has left its erasure only, and is among them.
    """
    found: defaultdict[UUID | None, set[str]] = defaultdict(set)
    with backend.read() as connection:
        for table in (events, endings, tags, erasures, leases, readings, logged):
            key = _raw(table, "recording_id")
            keys = select(key.label("key")).select_from(table).distinct().subquery()
            known = select(literal_column("1")).select_from(recordings).where(keys.c.key == _KEY).exists()
            for row in connection.execute(select(keys.c.key).where(~known)):
                found[as_id(row.key)].add(table.name)
    return dict(found)
