"""Puts readings in their places: reads their kin, asks `kinship` where each belongs, writes down what is different.

It works inside the transaction that stored the readings, which keeps out others that touch the same kin. What a
reading takes from its run's opener (its model, its thread) is inherited here too, and given back when it turns out to
belong elsewhere. It refuses to know what makes kin kin.
"""

from __future__ import annotations

import json
import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple
from uuid import UUID

from sqlalchemy import ColumnElement, Connection, Row, Select, false, func, or_, select, update

from recorder.recording import ASIDE, Status
from recorder.schema import readings
from recorder.store.kinship import Kin, Place, places
from recorder.store.rows import finality
from recorder.store.statements import id_parameter, in_parts

__all__ = ["INHERITED", "MOST", "Family", "families", "settle"]

#: What a continuation's reading takes from its run's opener where it does not say so itself.
INHERITED: Final = ("model", "service_tier", "assistant_id", "thread_id", "group", "metadata")

#: Kin up to this number are looked at together. Beyond it (servers for tests give every answer the same id) only those
#: that come next, and as many before them as tell which run is going on.
MOST: Final = 1000
_BEFORE: Final = 64

_r: Final = readings.c
_KIN: Final[Select[Any]] = select(
    _r.recording_id,
    _r.run_id,
    _r.dialect,
    _r.provider_run_id,
    _r.origin,
    _r.action,
    _r.is_run,
    _r.opens_run,
    _r.finality,
    _r.status,
    _r.started_at,
    _r.duration_us,
    _r.duplicate,
    _r.superseded,
    _r.waited_us,
)
_LEGACIES: Final = select(_r.recording_id, _r.inherited, *(_r[name] for name in INHERITED))
_FAMILIES: Final = select(_r.recording_id, _r.dialect, _r.provider_run_id)
#: Of a long run, the readings that say something about the places of others: not those many polls that say nothing new.
_TELLING: Final = or_(
    _r.superseded == false(),
    _r.recording_id == _r.run_id,
    _r.action.is_(None),
    _r.action.not_in(ASIDE),
    _r.status == Status.REQUIRES_ACTION.value,
)
_UPDATE: Final = update(readings).where(_r.recording_id == id_parameter("recording"))


class Family(NamedTuple):
    """What kin have in common."""

    dialect: str
    provider_run_id: str


def families(connection: Connection, recording_ids: Sequence[UUID]) -> dict[UUID, Family]:
    """The families that these recordings' stored readings belong to; those without one are missing."""
    return {
        row.recording_id: Family(row.dialect, row.provider_run_id)
        for ids in in_parts(recording_ids)
        for row in connection.execute(_FAMILIES.where(_r.recording_id.in_(ids)))
        if row.provider_run_id is not None
    }


def settle(connection: Connection, touched: Mapping[Family, Collection[UUID]]) -> None:
    """Put all of these families in their places, after the readings `touched` of each were replaced or left it."""
    for part in in_parts(list(touched)):
        together = _together(connection, part)
        changes = _Changes()
        for family in part:
            alone = together or _together(connection, [family])
            if alone is None:
                _settle_many(connection, family, touched[family])
            elif not _alone(kin := alone[family]):
                changes.find(kin, touched[family])
        changes.write(connection)


def _alone(kin: Sequence[Row[Any]]) -> bool:
    """Whether there is nobody to be put in relation to, and the reading is where such a one belongs."""
    return not kin or (
        len(kin) == 1
        and kin[0].run_id == kin[0].recording_id
        and not (kin[0].duplicate or kin[0].superseded)
        and kin[0].waited_us is None
    )


# -- who is kin --------------------------------------------------------------------------------------------------------


def _together(connection: Connection, wanted: Sequence[Family]) -> dict[Family, list[Row[Any]]] | None:
    """All kin of these families, with one look; None where they are too many for that."""
    # Few have the same provider's id. Asked for more, the database may go through all of one dialect instead.
    named = _r.provider_run_id.in_({family.provider_run_id for family in wanted})
    # An index answers this alone; the readings themselves take many times as long.
    counted = select(func.count()).select_from(select(_r.provider_run_id).where(named).limit(MOST + 1).subquery())
    if connection.execute(counted).scalar_one() > MOST:
        return None
    kin: dict[Family, list[Row[Any]]] = {family: [] for family in wanted}
    for row in connection.execute(_KIN.where(named)):
        kin.get(Family(row.dialect, row.provider_run_id), []).append(row)
    return kin


def _settle_many(connection: Connection, family: Family, touched: Collection[UUID]) -> None:
    """The same for a family that is too large to be looked at whole: from each that was touched onwards.

    Those before keep their runs. Of a run that is met its telling readings are met too, so that one stands for it; all
    of them where it is not known which one stood for it.
    """
    fresh = frozenset(touched)
    left = sorted(fresh)
    while left:
        first = left[0]
        before = _named(family, _r.recording_id < first).order_by(_r.recording_id.desc()).limit(_BEFORE)
        after = _named(family, _r.recording_id >= first).order_by(_r.recording_id).limit(MOST)
        coming = _of(family, connection.execute(after))
        near = [*_of(family, connection.execute(before)), *coming]
        last = coming[-1].recording_id if coming else first
        kin = {row.recording_id: row for row in near}
        run_ids = {row.run_id for row in near}
        kin.update(_members(connection, run_ids, _TELLING))
        stood_for = {key for key in kin if kin[key].is_run is not False and not (kin[key].superseded or key in fresh)}
        kin.update(_members(connection, run_ids - {kin[key].run_id for key in stood_for}))
        settled = frozenset(key for key in kin if not first <= key <= last)
        changes = _Changes()
        changes.find(list(kin.values()), left, settled)
        changes.write(connection)
        left = [key for key in left if key > last]


def _members(
    connection: Connection, run_ids: Collection[UUID], *conditions: ColumnElement[bool]
) -> Iterator[tuple[UUID, Row[Any]]]:
    """The readings in these runs, by their ids."""
    for part in in_parts(list(run_ids)):
        for row in connection.execute(_KIN.where(_r.run_id.in_(part), *conditions)):
            yield row.recording_id, row


def _named(family: Family, *conditions: ColumnElement[bool]) -> Select[Any]:
    return _KIN.where(_r.provider_run_id == family.provider_run_id, *conditions)


def _of(family: Family, rows: Iterable[Row[Any]]) -> list[Row[Any]]:
    return [row for row in rows if row.dialect == family.dialect]


def _kin(row: Row[Any]) -> Kin:
    """What an older writer did not say is told from what it did."""
    return Kin(
        recording_id=row.recording_id,
        origin=row.origin,
        action=row.action,
        opens_run=row.run_id == row.recording_id if row.opens_run is None else row.opens_run,
        finality=finality(row.status) if row.finality is None else row.finality,
        waits=row.status == Status.REQUIRES_ACTION,
        started_at=row.started_at,
        ended_at=None if row.duration_us is None else row.started_at + row.duration_us,
        run_id=row.run_id,
        duplicate=bool(row.duplicate),
    )


# -- what is different -------------------------------------------------------------------------------------------------


class _Changes:
    """The readings of any number of families that are to be in other places than they are."""

    def __init__(self) -> None:
        self._moved: dict[UUID, Place] = {}
        self._heirs: dict[UUID, Place] = {}

    def find(self, rows: Sequence[Row[Any]], touched: Collection[UUID], settled: Collection[UUID] = ()) -> None:
        """Look for them among the kin of one family."""
        stood = {row.recording_id: row for row in rows if row.is_run is not False}
        fresh = frozenset(touched)
        for key, place in places(map(_kin, stood.values()), settled).items():
            row = stood[key]
            if place.run_id != row.run_id or (place.run_id != key and (key in fresh or place.run_id in fresh)):
                self._heirs[key] = place
            elif place != (row.run_id, bool(row.duplicate), row.superseded, row.waited_us):
                self._moved[key] = place

    def write(self, connection: Connection) -> None:
        """Write down where they belong, and what those that changed runs inherit there."""
        if self._moved:
            connection.execute(_UPDATE, [_placed(key, place) for key, place in self._moved.items()])
        if self._heirs:
            legacies = self._legacies(connection)
            connection.execute(_UPDATE, [_placed(key, place) | legacies[key] for key, place in self._heirs.items()])

    def _legacies(self, connection: Connection) -> dict[UUID, dict[str, str | None]]:
        """What each heir's reading now says of what can be inherited: its own where it says so, else its opener's."""
        wanted = {*self._heirs, *(place.run_id for place in self._heirs.values())}
        own = {
            row.recording_id: _own(row)
            for ids in in_parts(list(wanted))
            for row in connection.execute(_LEGACIES.where(_r.recording_id.in_(ids)))
        }
        given: dict[UUID, dict[str, str | None]] = {}
        for key, place in self._heirs.items():
            opener = own.get(place.run_id, {}) if place.run_id != key else {}
            taken = [name for name, value in own[key].items() if value is None and opener.get(name) is not None]
            inherited = json.dumps(taken, separators=(",", ":")) if taken else None
            given[key] = {**own[key], **{name: opener[name] for name in taken}, "inherited": inherited}
        return given


def _placed(key: UUID, place: Place) -> dict[str, Any]:
    return {"recording": key, **place._asdict(), "changed_at": time.time_ns() // 1000}


def _own(row: Row[Any]) -> dict[str, str | None]:
    """What a reading itself says of what can be inherited."""
    taken = json.loads(row.inherited) if row.inherited else ()
    return {name: None if name in taken else row._mapping[name] for name in INHERITED}
