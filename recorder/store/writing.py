"""How facts go in: inside one transaction, idempotent, and refused where something different is already there.

An append that stores fewer rows than it sent reads those back in the same transaction. The same again is fine (the
writer did not hear that it was stored); anything else is a Conflict, which rolls everything back.
"""

from __future__ import annotations

import hashlib
import time
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import chain
from typing import Any, Final
from uuid import UUID

from sqlalchemy import BindParameter, Connection, bindparam, select

from recorder.errors import Conflict
from recorder.recording import Kind, Recording, Row, StoredReading
from recorder.schema import endings, erasures, events, readings, recordings
from recorder.store.backend import Backend
from recorder.store.placing import Family, families, settle
from recorder.store.rows import (
    clean_rows,
    ending_columns,
    erasure_columns,
    reading_columns,
    recording_columns,
    tag_columns,
    to_recording,
)
from recorder.store.statements import Statements, recording_rows, statements
from recorder.store.values import Append

__all__ = ["ERASING", "Writing"]

#: Whose turn it is to erase: who takes content away has it alone, who adds to what has ended shares it. So a hold is
#: seen or comes after, what is taken away does not come back, and nobody tags what is gone.
ERASING: Final = 0x657261

#: Recordings that are begun in one statement: their columns take ten times the memory that their streams do.
_AT_ONCE = 32

# Made once: to put them together takes longer than to ask.
_IDS: Final[BindParameter[Any]] = bindparam("ids", expanding=True)
_ERASED_AND_READ: Final = (
    select(readings.c.recording_id)
    .join(erasures, erasures.c.recording_id == readings.c.recording_id)
    .where(readings.c.recording_id.in_(_IDS), readings.c.reader_version > 0)
)
_ERASED_BEFORE: Final = (
    select(erasures.c.recording_id, erasures.c.reason)
    .where(erasures.c.recording_id.in_(_IDS))
    .order_by(erasures.c.erased_at.desc())
)

_OTHER_WRITER = "another writer closed it, or wrote it; nothing of this append was stored"


class Writing:
    """The appending side of one store. Remembers how far each open recording is stored, to save looking it up."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        #: recording id -> the position after the last one that this object has stored.
        self._next: dict[UUID, int] = {}
        self._epoch = backend.epoch

    @property
    def _do(self) -> Statements:
        """Made when somebody writes, not for each who only reads: that took most of the time to open a store."""
        return statements(self._backend.name)

    def append(self, batch: Sequence[Append]) -> None:
        """Store the batch in one transaction. Raises Conflict, StoreUnavailable; then nothing of it was stored."""
        opened = [append.recording for append in batch if append.recording]
        # Who records draws a new id; what comes with its end may have been here before.
        whole = {append.recording_id for append in batch if append.ending}
        rows = clean_rows([*chain.from_iterable(append.rows for append in batch)])
        try:
            with self._backend.write() as connection:
                for start in range(0, len(opened), _AT_ONCE):
                    self._open(connection, opened[start : start + _AT_ONCE], whole)
                self._check_continuity(connection, batch)
                if rows and self._backend.insert_events(connection, rows) < len(rows):
                    _compare_events(connection, rows)
                self._end(connection, [append for append in batch if append.ending])
        except BaseException:
            for append in batch:
                self._next.pop(append.recording_id, None)
            raise
        for append in batch:
            if append.ending:
                self._next.pop(append.recording_id, None)
            elif append.rows:
                self._next[append.recording_id] = append.rows[-1][1] + 1
            elif append.recording:
                self._next.setdefault(append.recording_id, 0)

    def _open(self, connection: Connection, opened: list[Recording], whole: Collection[UUID]) -> None:
        columns = [recording_columns(recording) for recording in opened]
        known = connection.execute(self._do.recording, columns).rowcount < len(columns)
        if known:
            # From here on nobody takes them away; what somebody just took is put in again, and refused.
            self._backend.share_turn(connection, ERASING)
            connection.execute(self._do.recording, columns)
        # Now, as to put in what somebody is taking away waits for him.
        _refuse_erased(connection, [each for each in opened if known or each.recording_id in whole])
        if known:
            _compare_recordings(connection, columns)
        tags = [row for recording in opened for row in tag_columns(recording)]
        if tags:
            connection.execute(self._do.tag, tags)
        erased = [row for recording in opened for row in erasure_columns(recording)]
        if erased:
            connection.execute(self._do.erasure, erased)
        self._backend.wrote(sum(len(recording.request.body or b"") for recording in opened) // 256)
        expires_at = self._backend.lease_until(connection)
        connection.execute(self._do.reading_due, _due(recording.recording_id for recording in opened))
        connection.execute(
            self._do.lease,
            [
                {"recording_id": recording.recording_id, "writer": recording.writer, "expires_at": expires_at}
                for recording in opened
            ],
        )

    def _end(self, connection: Connection, ended: list[Append]) -> None:
        columns = [ending_columns(append.recording_id, append.ending) for append in ended if append.ending]
        if not columns:
            return
        if connection.execute(self._do.ending, columns).rowcount < len(columns):
            _compare_endings(connection, columns)
        ids = [{"recording": append.recording_id} for append in ended]
        connection.execute(self._do.no_lease, ids)
        # Of what comes a second time the reading stays: where the content went there is nothing to make one of.
        connection.execute(self._do.no_open_reading, ids)
        connection.execute(self._do.reading_due, _due(append.recording_id for append in ended))

    def _check_continuity(self, connection: Connection, batch: Sequence[Append]) -> None:
        """See that each recording's rows go on where its stored ones stop.

        Where this object stored the rows before, that is known; an `end` put there by somebody else then has the
        position that this append wants, and the insert finds out. Else the row before the first is looked up.
        """
        if self._epoch != self._backend.epoch:
            self._epoch = self._backend.epoch
            self._next.clear()
        for append in batch:
            if not append.rows:
                continue
            first, last = append.rows[0][1], append.rows[-1][1]
            if last - first + 1 != len(append.rows):
                raise ValueError(f"the rows of recording {append.recording_id} are not consecutive")
            if self._next.get(append.recording_id) != first:
                self._look_before(connection, append, first)

    def _look_before(self, connection: Connection, append: Append, first: int) -> None:
        recording_id = append.recording_id
        if first == 0:
            known = (
                append.recording
                or connection.execute(
                    select(recordings.c.recording_id).where(recordings.c.recording_id == recording_id)
                ).first()
            )
            if not known:
                raise Conflict(f"recording {recording_id} has no beginning in this store; nothing was stored")
            return
        kind = connection.execute(
            select(events.c.kind).where(events.c.recording_id == recording_id, events.c.position == first - 1)
        ).scalar()
        if kind is None:
            raise Conflict(
                f"recording {recording_id} has nothing at position {first - 1} in this store, so what follows does "
                "not fit; nothing was stored"
            )
        if kind == Kind.END:
            raise Conflict(f"recording {recording_id} ended at position {first - 1}: {_OTHER_WRITER}")

    # -- readings and tags ---------------------------------------------------------------------------------------------

    def put_readings(self, given: Sequence[StoredReading]) -> None:
        """Replace the readings of these recordings, and put them and their kin in their places."""
        now = time.time_ns() // 1000
        latest = {stored.recording_id: {**reading_columns(stored), "changed_at": now} for stored in given}
        if not latest:
            return
        # In one order everywhere: who waits for somebody's row holds none that this one waits for.
        ids = sorted(latest)
        with self._backend.write() as connection:
            self._backend.share_turn(connection, ERASING)
            # Who moves one of them meanwhile would leave it in a family that is not looked up here, nor settled.
            self._backend.take_turns(connection, sorted(_turn(str(recording_id)) for recording_id in ids))
            touched: defaultdict[Family, set[UUID]] = defaultdict(set)
            for recording_id, family in families(connection, ids).items():
                touched[family].add(recording_id)
            for recording_id, columns in latest.items():
                if columns["provider_run_id"] is not None:
                    touched[Family(columns["dialect"], columns["provider_run_id"])].add(recording_id)
            self._backend.take_turns(connection, sorted(_turn(*family) for family in touched))
            # What was erased has its reading; one that was made of what was there before must not bring it back.
            gone = _erased(connection, ids)
            ids = [each for each in ids if each not in gone]
            if not ids:
                return
            connection.execute(self._do.no_reading, [{"recording": recording_id} for recording_id in ids])
            connection.exec_driver_sql(self._do.reading, [self._in_order(latest[recording_id]) for recording_id in ids])
            settle(connection, touched)

    def _in_order(self, columns: dict[str, Any]) -> tuple[Any, ...]:
        """A reading as the driver takes it."""
        if self._backend.name == "sqlite":
            columns = {**columns, "recording_id": columns["recording_id"].bytes}
        return tuple(columns[name] for name in self._do.reading_order)

    def tag(self, recording_id: UUID, name: str, value: str | None) -> bool:
        """Add the tag; False where there is no such recording."""
        wanted = {"recording_id": recording_id, "name": name, "value": value}
        known = select(recordings.c.recording_id).where(recordings.c.recording_id == recording_id)
        while True:
            with self._backend.write() as connection:
                self._backend.share_turn(connection, ERASING)
                if connection.execute(known).first() is None:
                    return False
                now = time.time_ns() // 1000
                # Another process may tag in the same microsecond; then this one goes after it.
                if connection.execute(self._do.tag_now, {**wanted, "now": now}).rowcount:
                    connection.execute(self._do.changed, {"recording": recording_id, "now": now})
                    return True


def _erased(connection: Connection, recording_ids: Sequence[UUID]) -> set[UUID]:
    """Those of these that were erased and have been read."""
    return set(connection.execute(_ERASED_AND_READ, {"ids": recording_ids}).scalars())


def _due(recording_ids: Iterable[UUID]) -> list[dict[str, Any]]:
    now = time.time_ns() // 1000
    return [{"recording": recording_id, "read_at": now} for recording_id in recording_ids]


def _turn(*words: str) -> int:
    """A number that stands for a recording, or for a family: 64 bits, signed."""
    name = "\0".join(words).encode("utf-8")
    return int.from_bytes(hashlib.blake2b(name, digest_size=8).digest(), signed=True)


def _refuse_erased(connection: Connection, opened: Sequence[Recording]) -> None:
    """What was erased here, or taken away whole, does not come back with its content: from an older export, say."""
    ids = [recording.recording_id for recording in opened if not recording.erasures]
    row = connection.execute(_ERASED_BEFORE, {"ids": ids}).first() if ids else None
    if row is not None:
        raise Conflict(
            f"the content of recording {row.recording_id} was erased in this store ({row.reason}) and does not come"
            " back; to import it as another recording, take `id` and `digests` out of its lines; nothing of this append"
            " was stored"
        )


# -- is what is there the same? ----------------------------------------------------------------------------------------


def _compare_recordings(connection: Connection, sent: list[dict[str, Any]]) -> None:
    no_ending: Mapping[str, Any] = {"ending_ending": None}
    wanted = {columns["recording_id"]: to_recording({**columns, **no_ending}) for columns in sent}
    for row in connection.execute(recording_rows(recordings.c.recording_id.in_(wanted))).mappings():
        stored = to_recording({**row, **no_ending})
        if stored != wanted[stored.recording_id]:
            raise Conflict(f"recording {stored.recording_id} is already stored with another request: {_OTHER_WRITER}")


def _compare_endings(connection: Connection, sent: list[dict[str, Any]]) -> None:
    wanted = {columns["recording_id"]: columns for columns in sent}
    for row in connection.execute(select(endings).where(endings.c.recording_id.in_(wanted))).mappings():
        if dict(row) != wanted[row["recording_id"]]:
            raise Conflict(f"recording {row['recording_id']} has ended otherwise: {_OTHER_WRITER}")


def _compare_events(connection: Connection, sent: Sequence[Row]) -> None:
    columns = [column for column in events.c if column.name != "recording_id"]
    recording_ids = dict.fromkeys(row[0] for row in sent)
    for recording_id in recording_ids:
        wanted = {row[1]: row[1:] for row in sent if row[0] == recording_id}
        stored = select(*columns).where(
            events.c.recording_id == UUID(bytes=recording_id), events.c.position.between(min(wanted), max(wanted))
        )
        for row in connection.execute(stored):
            if tuple(row) != wanted[row.position]:
                raise Conflict(
                    f"position {row.position} of recording {UUID(bytes=recording_id)} holds something else: "
                    f"{_OTHER_WRITER}"
                )
