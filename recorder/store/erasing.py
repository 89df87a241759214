"""How content, or all of a recording, leaves the store: the one exception to append-only, each recording in one
transaction with the `erasures` row that says who did it, when and why.

`wipe` takes the content and leaves the facts: rows without payload, the digests, the reading as it is given. `remove`
takes everything but the erasure and the leaf that checkpoints stand on. Neither touches a recording that is still open
or on hold. It refuses to know which recordings, and what of a reading is content.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Collection, Iterator, Sequence
from typing import Any, Final, NamedTuple
from uuid import UUID

from sqlalchemy import (
    Connection,
    LargeBinary,
    Table,
    and_,
    case,
    delete,
    exists,
    func,
    insert,
    literal,
    null,
    or_,
    select,
    update,
)

from recorder.recording import StoredReading, storable
from recorder.schema import CONTENT, endings, erasures, events, leases, readings, recordings, tags
from recorder.store.backend import Backend
from recorder.store.rows import reading_columns
from recorder.store.scanning import Erasure
from recorder.store.statements import EXTENTS, id_parameter, in_parts
from recorder.store.writing import ERASING

__all__ = [
    "HOLD",
    "Extent",
    "Member",
    "Wipe",
    "erased",
    "erased_ids",
    "extents",
    "members",
    "old",
    "remove",
    "wipe",
]

#: Whatever its value, a tag of this name on any recording of a run keeps the run as it is.
HOLD: Final = "hold"

#: The columns of `readings` that may hold content; of these, what others of the run may have inherited.
_READ: Final = ("text", "parameters", "facts", "metadata", "group", "stop_reason_raw", "json_damage", "flags")
_LEGACIES: Final = ("metadata", "group")

_r: Final = readings.c
_BY_ID: Final = id_parameter("recording")


class Wipe(NamedTuple):
    """A recording whose content goes. `reading` is what is left of its reading, None where there is none.

    With `labels` its tags go too, and what others inherited from it.
    """

    recording_id: UUID
    reading: StoredReading | None
    labels: bool


class Member(NamedTuple):
    """A recording of a run, and what decides whether it may go."""

    recording_id: UUID
    run_id: UUID
    started_at: int
    open: bool
    held: bool
    erased: bool
    tagged: bool


class Started(NamedTuple):
    """When a recording began, and the run it belongs to."""

    started_at: int
    recording_id: UUID
    run_id: UUID


class Extent(NamedTuple):
    """How much a recording is: its events, the bytes of its request and its answer as they went over the wire, and
    about how many bytes it takes in the store.
    """

    events: int
    size: int
    room: int


# -- the deeds ---------------------------------------------------------------------------------------------------------


def wipe(backend: Backend, wipes: Sequence[Wipe], by: str, reason: str) -> list[UUID]:
    """Take the content of these recordings, in one transaction; the ids of those that it was taken of.

    The others are open, on hold, or gone. Raises StoreUnavailable; then nothing was changed.
    """
    with backend.write() as connection:
        backend.take_turns(connection, [ERASING])
        free = _free(connection, [each.recording_id for each in wipes])
        # Another process may have taken the content meanwhile.
        done = [each for each in wipes if (kin := free.get(each.recording_id)) and (each.labels or not kin.erased)]
        now = _recorded(connection, [each.recording_id for each in done], by, reason)
        for each in done:
            _wipe_one(backend, connection, each, now)
    return [each.recording_id for each in done]


def remove(backend: Backend, recording_ids: Sequence[UUID], by: str, reason: str) -> list[UUID]:
    """Take away all of these recordings, in one transaction; the ids of those that were taken.

    What stays is the erasure, and the leaf where it was logged. Raises StoreUnavailable; then nothing was changed.
    """
    with backend.write() as connection:
        backend.take_turns(connection, [ERASING])
        free = _free(connection, recording_ids)
        done = [each for each in recording_ids if each in free]
        _recorded(connection, done, by, reason)
        given = [{"recording": each} for each in done]
        count = 0
        for table in (events, tags, endings, recordings, leases, readings):
            if given:
                gone = connection.execute(delete(table).where(table.c.recording_id == _BY_ID), given)
                count += max(gone.rowcount, 0)
        backend.wrote(count)
    return done


def _recorded(connection: Connection, recording_ids: Sequence[UUID], by: str, reason: str) -> int:
    """Append the erasures, without which the triggers let nothing go. The time they say, later than any before."""
    now = time.time_ns() // 1000
    for part in in_parts(recording_ids):
        latest = select(func.max(erasures.c.erased_at)).where(erasures.c.recording_id.in_(part))
        now = max(now, (connection.execute(latest).scalar() or 0) + 1)
    told = {"erased_at": now, "erased_by": storable(by), "reason": storable(reason)}
    rows = [{"recording_id": each, **told} for each in recording_ids]
    if rows:
        connection.execute(insert(erasures), rows)
    return now


def _wipe_one(backend: Backend, connection: Connection, each: Wipe, now: int) -> None:
    given = {"recording": each.recording_id}
    backend.wrote(connection.execute(_bare(backend.name, events), given).rowcount)
    connection.execute(_bare(backend.name, recordings), given)
    told: dict[str, Any] = {"changed_at": now}
    if each.reading is not None:
        columns = reading_columns(each.reading)
        told |= {name: columns[name] for name in _READ}
    connection.execute(update(readings).where(_r.recording_id == each.recording_id).values(told))
    if each.labels:
        connection.execute(delete(tags).where(tags.c.recording_id == _BY_ID), given)
        _disinherit(connection, each, now)


def _disinherit(connection: Connection, each: Wipe, now: int) -> None:
    """Take from the others of the run what they had from this one."""
    left = {} if each.reading is None else reading_columns(each.reading)
    for name in _LEGACIES:
        if left.get(name) is None:
            heirs = (
                _r.run_id == each.recording_id,
                _r.recording_id != each.recording_id,
                _r.inherited.contains(f'"{name}"', autoescape=True),
            )
            connection.execute(update(readings).where(*heirs).values({name: None, "changed_at": now}))


@functools.cache
def _bare(database: str, table: Table) -> Any:
    """The statement that puts rows without payload into the place of those of one recording.

    Facts are never updated: on SQLite the row is replaced (which meets the triggers, as `recursive_triggers` is on), on
    PostgreSQL it goes and comes in one statement.
    """
    mine = table.c.recording_id == _BY_ID
    source: Any = table if database == "sqlite" else delete(table).where(mine).returning(*table.c).cte("gone")
    gone: dict[str, Any] = dict.fromkeys(CONTENT, null())
    if table is events:
        frame = case((source.c.raw.is_not(None), literal(b"", LargeBinary)))  # there was one; else NULL
        gone = {"data": null(), "raw": frame}
    names = list(table.c.keys())
    bare = select(*(gone.get(name, source.c[name]) for name in names))
    if database == "sqlite":
        return insert(table).prefix_with("OR REPLACE").from_select(names, bare.where(mine))
    return insert(table).from_select(names, bare).add_cte(source)


def _free(connection: Connection, recording_ids: Sequence[UUID]) -> dict[UUID, Member]:
    """Those of these that are there, have ended, and are not on hold."""
    run_ids = {
        row.run_id
        for part in in_parts(recording_ids)
        for row in connection.execute(select(_r.run_id).where(_r.recording_id.in_(part)))
    }
    kin = {each.recording_id: each for each in _members(connection, sorted(run_ids))}
    held = {each.run_id for each in kin.values() if each.held}
    return {
        each: kin[each] for each in recording_ids if each in kin and not kin[each].open and kin[each].run_id not in held
    }


# -- which -------------------------------------------------------------------------------------------------------------


def old(
    backend: Backend, until: int | None, after: tuple[int, UUID] | None, limit: int, *, content: bool
) -> list[Started]:
    """The next recordings that began before `until`, the oldest first, from the place `after` on; those that were
    erased are left out where `content` is all that is to go.
    """
    chosen = [] if until is None else [_r.started_at < until]
    if after is not None:
        at, recording_id = after
        chosen.append(or_(_r.started_at > at, and_(_r.started_at == at, _r.recording_id > recording_id)))
        chosen.append(_r.started_at >= at)
    if content:
        chosen.append(~_ERASED)
    page = select(_r.started_at, _r.recording_id, _r.run_id).where(*chosen).limit(limit)
    with backend.read() as connection:
        return [Started(*row) for row in connection.execute(page.order_by(_r.started_at, _r.recording_id))]


def members(backend: Backend, run_ids: Sequence[UUID]) -> list[Member]:
    """All recordings of these runs."""
    with backend.read() as connection:
        return list(_members(connection, run_ids))


def _members(connection: Connection, run_ids: Sequence[UUID]) -> Iterator[Member]:
    for part in in_parts(run_ids):
        yield from map(_member, connection.execute(_MEMBER.where(_r.run_id.in_(part))))


def _member(row: Any) -> Member:
    states = bool(row.open), row.held is not None, bool(row.erased), bool(row.tagged)
    return Member(row.recording_id, row.run_id, row.started_at, *states)


def extents(backend: Backend, recording_ids: Sequence[UUID]) -> dict[UUID, Extent]:
    """How much each of these is."""
    found: dict[UUID, Extent] = {}
    with backend.read() as connection:
        for part in in_parts(recording_ids):
            for recording_id, *extent in connection.execute(EXTENTS.where(recordings.c.recording_id.in_(part))):
                found[recording_id] = Extent(*extent)
    return found


def erased(backend: Backend, recording_ids: Collection[UUID]) -> dict[UUID, tuple[Erasure, ...]]:
    """The erasures of these recordings, of each the oldest first; those without any are missing."""
    found: dict[UUID, tuple[Erasure, ...]] = {}
    e = erasures.c
    with backend.read() as connection:
        for part in in_parts(list(recording_ids)):
            rows = select(e.recording_id, e.erased_at, e.erased_by, e.reason).where(e.recording_id.in_(part))
            for recording_id, *columns in connection.execute(rows.order_by(e.erased_at)):
                found[recording_id] = (*found.get(recording_id, ()), Erasure(*columns))
    return found


def erased_ids(backend: Backend) -> list[UUID]:
    """All recordings that were erased, or taken away."""
    with backend.read() as connection:
        return list(connection.execute(select(erasures.c.recording_id).distinct()).scalars())


_ERASED: Final = exists().where(erasures.c.recording_id == _r.recording_id)
_newer: Final = tags.alias("newer")
#: What the tag says now; NULL where there is none, or it was taken off.
_HELD: Final = (
    select(tags.c.value)
    .where(
        tags.c.recording_id == _r.recording_id,
        tags.c.name == HOLD,
        ~exists().where(
            _newer.c.recording_id == tags.c.recording_id, _newer.c.name == HOLD, _newer.c.set_at > tags.c.set_at
        ),
    )
    .scalar_subquery()
)
_MEMBER: Final = select(
    _r.recording_id,
    _r.run_id,
    _r.started_at,
    _r.ending.is_(None).label("open"),
    _HELD.label("held"),
    _ERASED.label("erased"),
    exists().where(tags.c.recording_id == _r.recording_id).label("tagged"),
)
