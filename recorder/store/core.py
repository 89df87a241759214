"""Store: what the rest of the code holds. Each method is one thing that can be asked of a store."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self
from uuid import UUID

from sqlalchemy import Connection, false, func, select

from recorder.errors import NotFound, UsageError
from recorder.recording import Event, Kind, Recording, Run, StoredReading
from recorder.schema import events, readings, recordings
from recorder.store import erasing, finding, links, lists, log, reaching, scanning
from recorder.store.backend import Backend
from recorder.store.postgresql import PostgreSQL
from recorder.store.refusals import require_onward
from recorder.store.rows import indexable, to_reading, to_recording
from recorder.store.sqlite import SQLite
from recorder.store.statements import OPEN_LEASES, id_parameter, recording_rows
from recorder.store.values import Append, Lease, Linked, Listed, RunFilter
from recorder.store.writing import Writing

__all__ = ["Store", "backend_for"]

#: A filter that leaves everything.
EVERY = RunFilter()
#: Built once: SQLAlchemy takes longer to put such statements together than a database to answer them.
_RECORDING: Final = recording_rows(recordings.c.recording_id == id_parameter("recording"))
_RECORDING_IDS: Final = select(recordings.c.recording_id).order_by(recordings.c.recording_id)
_READING: Final = select(readings).where(
    readings.c.recording_id == id_parameter("recording"), readings.c.reader_version > 0
)
_EVENT_TYPES: Final = (
    select(events.c.type, func.count().label("number"))
    .where(events.c.recording_id == id_parameter("recording"), events.c.kind == Kind.SSE.value)
    .group_by(events.c.type)
    .order_by(func.min(events.c.position))
)
_RUN_OF: Final = select(readings.c.run_id).where(readings.c.recording_id == id_parameter("recording"))

#: Bytes of payload that are read in one go.
_PAGE_BYTES = 256 << 10


class Store:
    """An open store. Any thread may use it; after a fork parent and child may both go on using theirs."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._writing = Writing(backend)

    @classmethod
    def open(
        cls, url: str | os.PathLike[str], *, create: bool = False, readonly: bool = False, upgrade: bool = True
    ) -> Self:
        """Open the store at a URL or path.

        `sqlite:///relative/path`, `sqlite:////absolute/path`, `sqlite:///:memory:`, `postgresql://…`, or a path.
        `create` makes a store where there is nothing yet. `readonly` never makes, migrates or writes anything.
        `upgrade` brings an older SQLite store to the present schema, after a backup.

        Raises UsageError (unknown kind of URL), NotFound, NotAStore, SchemaMismatch, StoreUnavailable.
        """
        return cls(backend_for(url, create=create, readonly=readonly, upgrade=upgrade))

    @property
    def url(self) -> str:
        """Where the store is, as it may be shown and logged: without a password."""
        return self._backend.display

    @property
    def readonly(self) -> bool:
        """Whether it was opened for reading only."""
        return self._backend.readonly

    def close(self) -> None:
        """Close all connections and give up claims. Closing twice is closing once."""
        self._backend.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # -- writing -------------------------------------------------------------------------------------------------------

    def append(self, batch: Sequence[Append]) -> None:
        """Store what the recordings of the batch add, in one transaction; durable on return.

        The same append again is stored once. Raises Conflict where a position holds something else, or a recording
        has ended or lacks what comes before; StoreUnavailable where the store cannot be written. Then nothing of
        the batch was stored, and the next call starts on fresh connections. (Where the failure came with the commit
        itself, it may have been stored: append it again.)
        """
        self._writing.append(batch)

    def put_readings(self, given: Sequence[StoredReading]) -> None:
        """Replace the readings of these recordings, in one transaction. Recordings that are gone are left out.

        The store itself finds the run of each by the readings that name the same provider's run (`kinship`), whatever
        `run_id` says, and puts those right that came before; so readings may be stored in any order.
        """
        self._writing.put_readings(given)

    def tag(self, recording_id: UUID, name: str, value: str | None) -> None:
        """Set a tag, or take it off with None; what was set before stays in the record. Raises NotFound."""
        if not self._writing.tag(recording_id, indexable(name), None if value is None else indexable(value)):
            raise self._unknown(recording_id)

    # -- who is alive --------------------------------------------------------------------------------------------------

    def claim_writer(self, writer: UUID) -> None:
        """Show from now on that this writer is alive: until `release_writer`, `close`, or the process's death."""
        self._backend.claim(writer)

    def renew(self, writer: UUID) -> None:
        """Show again that this writer is alive. PostgreSQL needs this every few seconds; SQLite does nothing."""
        self._backend.renew(writer)

    def release_writer(self, writer: UUID) -> None:
        """Stop showing that this writer is alive; what it left open is then closed by recovery."""
        self._backend.release(writer)

    def writer_alive(self, writer: UUID) -> bool:
        """Whether this writer shows that it is alive, in whichever process it is."""
        return self._backend.alive(writer)

    def open_recordings(self) -> list[Lease]:
        """The recordings that have no ending, and their writers."""
        with self._backend.read() as connection:
            return [Lease(*row) for row in connection.execute(OPEN_LEASES)]

    def dead_recordings(self) -> list[UUID]:
        """The recordings that have no ending and never will, because their writers are dead."""
        return [lease.recording_id for lease in self._backend.dead()]

    # -- reading -------------------------------------------------------------------------------------------------------

    def recording(self, recording_id: UUID) -> Recording:
        """The recording, with its ending if it has one, and why its content is missing if it is. Raises NotFound."""
        with self._backend.read() as connection:
            row = connection.execute(_RECORDING, {"recording": recording_id}).mappings().first()
        if row is None:
            raise self._unknown(recording_id)
        (found,) = self._explained([to_recording(row)])
        return found

    def events(self, recording_id: UUID, *, start: int = 0, kinds: Sequence[str] | None = None) -> Iterator[Event]:
        """The recording's events in order, from position `start`, of these kinds; none where it is unknown.

        Read page by page, each in a transaction of its own, so that a slow consumer holds nothing open.
        """
        more = kinds is None or len(kinds) > 0
        while more:
            with self._backend.read() as connection:
                page, more = self._backend.select_events(connection, recording_id, start, kinds or (), _PAGE_BYTES)
            if page:
                require_onward(self._backend.display, page[-1].position, start - 1)
                start = page[-1].position + 1
            yield from page

    def event_types(self, recording_id: UUID) -> dict[str | None, int]:
        """How many server-sent events of each type the recording has, by their first; no payload is read."""
        with self._backend.read() as connection:
            found = connection.execute(_EVENT_TYPES, {"recording": recording_id})
            return {row.type: row.number for row in found}

    def find(self, match_key: bytes) -> list[Recording]:
        """The recordings of requests with this key, in the order they were made, with their endings."""
        with self._backend.read() as connection:
            found = connection.execute(recording_rows(recordings.c.match_key == match_key)).mappings().all()
        return [to_recording(row) for row in found]

    def alike(self, match_key: bytes, at: int, *, within: int, limit: int = 50) -> list[Recording]:
        """The recordings of requests with this key that began within so many microseconds of the time `at`, in the
        order they began: up to `limit` before it, the nearest of them, and as many after it.
        """
        with self._backend.read() as connection:
            return finding.alike(connection, match_key, at, within, limit)

    def recording_ids(self) -> list[UUID]:
        """All recordings there are, in the order they were made."""
        with self._backend.read() as connection:
            return list(connection.execute(_RECORDING_IDS).scalars())

    def unread(self, limit: int = 1000) -> list[UUID]:
        """Recordings that have ended and whose reading is due, the oldest first."""
        due = (
            select(readings.c.recording_id)
            .where(readings.c.reader_version == 0, readings.c.ending.is_not(None))
            .order_by(readings.c.recording_id)
            .limit(limit)
        )
        with self._backend.read() as connection:
            return list(connection.execute(due).scalars())

    def stale(self, version: int, *, limit: int = 1000, after: UUID | None = None) -> list[UUID]:
        """Recordings whose readings a reader before this version made, in the order they were made.

        Up to `limit` of those after the recording `after`.
        """
        r = readings.c
        found: list[UUID] = []
        with self._backend.read() as connection:
            for older in self._versions(connection, version):
                made = select(r.recording_id).where(r.reader_version == older)
                page = made if after is None else made.where(r.recording_id > after)
                found += connection.execute(page.order_by(r.recording_id).limit(limit)).scalars()
        return sorted(found)[:limit]

    def count_stale(self, version: int) -> int:
        """How many readings a reader before this version made."""
        r = readings.c
        made = select(func.count()).select_from(readings).where(r.reader_version > 0, r.reader_version < version)
        with self._backend.read() as connection:
            return int(connection.execute(made).scalar_one())

    @staticmethod
    def _versions(connection: Connection, before: int) -> Iterator[int]:
        """The reader versions before this one of which there are readings, one look into the index for each."""
        r = readings.c
        version: int | None = 0
        while True:
            found = select(func.min(r.reader_version)).where(r.reader_version > version, r.reader_version < before)
            version = connection.execute(found).scalar()
            if version is None:
                return
            yield version

    def candidates(self, method: str, path: str, limit: int = 50) -> list[Recording]:
        """Recordings to compare a request with that none answers: of the newest 1,000 those of the same path and
        method first, then of the same path, of the same method, and others; the newest first among equals.

        `path` is without query, as in `/v1/threads/runs`.
        """
        with self._backend.read() as connection:
            return finding.candidates(connection, method, path, limit)

    def reading(self, recording_id: UUID) -> StoredReading | None:
        """What a reader made of the recording; None where none has read it yet."""
        with self._backend.read() as connection:
            row = connection.execute(_READING, {"recording": recording_id}).mappings().first()
        return None if row is None else to_reading(row)

    def scan(self, scope: scanning.Scope = scanning.EVERYTHING) -> Iterator[scanning.Scanned]:
        """All that the store holds of each recording in the scope, unchecked, in the order of the ids."""
        return scanning.scan(self._backend, scope)

    def orphans(self) -> dict[UUID | None, set[str]]:
        """The recordings that are not there, but something of them is: their ids, and in which tables."""
        return scanning.orphans(self._backend)

    def damage(self) -> list[str]:
        """What SQLite finds wrong with its file, in its words; nothing of PostgreSQL, which has tools of its own."""
        return scanning.damage(self._backend)

    def log_sealed(self) -> int:
        """Append every recording that was sealed and is not in the log yet; how many there were."""
        return log.log_sealed(self._backend)

    def leaves(self) -> Iterator[tuple[UUID | None, Any]]:
        """The log from its beginning: each recording's id (None where it is none) and its leaf, unchecked."""
        return log.leaves(self._backend)

    def logged_after(self, after: log.Logged | None, limit: int) -> list[log.Logged]:
        """The next leaves of the log, those behind this one; the first where it is None."""
        return log.logged_after(self._backend, after, limit)

    # -- erasure -------------------------------------------------------------------------------------------------------

    def wipe(self, wipes: Sequence[erasing.Wipe], by: str, reason: str) -> list[UUID]:
        """Take the content of these recordings, and leave the facts; the ids of those that it was taken of.

        Those that are open or on hold are left alone. One transaction. Raises StoreUnavailable.
        """
        return erasing.wipe(self._backend, wipes, by, reason)

    def remove(self, recording_ids: Sequence[UUID], by: str, reason: str) -> list[UUID]:
        """Take all of these recordings away but the erasures; as `wipe`."""
        return erasing.remove(self._backend, recording_ids, by, reason)

    def erasures(self, recording_ids: Collection[UUID]) -> dict[UUID, tuple[scanning.Erasure, ...]]:
        """When these recordings were erased, by whom and why, of each the first erasure first; of others nothing."""
        return erasing.erased(self._backend, recording_ids)

    def require_content(self) -> None:
        """Raise StoreUnavailable where this user sees facts alone (`recorder.store.roles`)."""
        scanning.require_content(self._backend)

    def erased_ids(self) -> list[UUID]:
        """All recordings that were erased, or taken away whole."""
        return erasing.erased_ids(self._backend)

    def old(
        self, until: int | None, after: tuple[int, UUID] | None = None, *, limit: int = 500, content: bool = False
    ) -> list[erasing.Started]:
        """The recordings that began before `until`, the oldest first, behind the place (time, id) `after`.

        Those that were erased are left out where only `content` is to go.
        """
        return erasing.old(self._backend, until, after, limit, content=content)

    def kin(self, run_ids: Sequence[UUID]) -> list[erasing.Member]:
        """All recordings of these runs, with what decides whether they may go."""
        return erasing.members(self._backend, run_ids)

    def extents(self, recording_ids: Sequence[UUID]) -> dict[UUID, erasing.Extent]:
        """How much these recordings are."""
        return erasing.extents(self._backend, recording_ids)

    def reach(self, recording_ids: Sequence[UUID]) -> Iterator[tuple[UUID, str, UUID]]:
        """What hangs together with each of these recordings: (it, by which link, the other)."""
        return reaching.reach(self._backend, recording_ids)

    def named(
        self, *, tags: Sequence[tuple[str, str]] = (), threads: Sequence[str] = (), traces: Sequence[str] = ()
    ) -> dict[UUID, str]:
        """The recordings that ever had one of these tags, or are of these threads or traces; and which it was.

        Raises StoreUnavailable as `runs`.
        """
        if tags or traces:
            self.require_content()
        return reaching.named(self._backend, tags, threads, traces)

    def size(self) -> int:
        """Bytes that what is stored takes, without what is free to be used again.

        On PostgreSQL an estimate of the rows that are there and their payloads.
        """
        return self._backend.size()

    def size_without(self, size: int, gone: Iterable[erasing.Extent]) -> int:
        """What `size` says now that these recordings are gone since it said `size`; on PostgreSQL nothing is counted
        for it, and what came in meanwhile is left out.
        """
        return self._backend.size_without(size, sum(each.room for each in gone))

    def tidy(self) -> str | None:
        """Have nothing of what was deleted stay where the database can put it away; why not all was done, or None."""
        return self._backend.tidy()

    def rewrite(self) -> None:
        """Write the whole store anew, without what was deleted. Writers wait. Raises StoreUnavailable."""
        self._backend.rewrite()

    def live_values(self) -> Iterator[bytes]:
        """Every payload and text that the store holds, as bytes: what a search of its files may find rightly."""
        return reaching.live_values(self._backend)

    # -- lists ---------------------------------------------------------------------------------------------------------

    def runs(self, wanted: RunFilter = EVERY) -> list[Run]:
        """The runs that the filter leaves, newest first (by the start of their latest recording).

        Raises StoreUnavailable where it looks at content that is kept from this user: nothing would seem to fit.
        """
        self._require(wanted)
        with self._backend.read() as connection:
            return lists.list_runs(connection, wanted)

    def recordings(self, wanted: RunFilter = EVERY) -> list[Listed]:
        """The recordings that the filter leaves, newest first; each filter looks at the recording alone.

        Raises as `runs`.
        """
        self._require(wanted)
        with self._backend.read() as connection:
            found = lists.list_recordings(connection, wanted)
        told = self._explained([each.recording for each in found])
        return [replace(each, recording=recording) for each, recording in zip(found, told, strict=True)]

    def run(self, recording_id: UUID) -> Run:
        """The run that this recording opened or belongs to; itself alone where it is part of none. Raises NotFound."""
        with self._backend.read() as connection:
            run_id = connection.execute(_RUN_OF, {"recording": recording_id}).scalar()
            found = lists.runs_by_id(connection, [run_id]) if run_id else {}
            found = found or lists.readings_as_runs(connection, [recording_id])
        if not run_id or not found:
            raise self._unknown(recording_id)
        return found[run_id]

    def linked(self, run: Run) -> Linked:
        """The runs that name this one or are named by it, and what else there is in its thread."""
        with self._backend.read() as connection:
            return links.linked(connection, run)

    def standing(self, run_id: UUID) -> UUID | None:
        """The recording whose reading stands for the run; None where there is no such run."""
        r = readings.c
        found = select(r.recording_id).where(r.run_id == run_id, r.superseded == false(), r.is_run.is_not(false()))
        with self._backend.read() as connection:
            return connection.execute(found).scalars().first()

    def run_of(self, recording_id: UUID) -> UUID:
        """The id of the run that this recording opened or belongs to. Raises NotFound."""
        with self._backend.read() as connection:
            run_id: UUID | None = connection.execute(_RUN_OF, {"recording": recording_id}).scalar()
        if run_id is None:
            raise self._unknown(recording_id)
        return run_id

    def members(self, run_id: UUID) -> list[UUID]:
        """The recordings of a run in the order they were made; none where there is no such run."""
        r = readings.c
        found = select(r.recording_id).where(r.run_id == run_id).order_by(r.recording_id)
        with self._backend.read() as connection:
            return list(connection.execute(found).scalars())

    def resolve(self, text: str) -> UUID:
        """The recording or run that goes by this name: an id, the end of one, a provider's run or request id,
        `@last` (the newest run), `@-2` (the one before).

        A provider's run id gives the run, a request id the recording. Raises NotFound, and UsageError where the
        name is ambiguous.
        """
        with self._backend.read() as connection:
            return finding.resolve(connection, text, self.url)

    def _require(self, wanted: RunFilter) -> None:
        if wanted.tags or wanted.metadata or wanted.trace is not None or wanted.grep is not None:
            self.require_content()

    def _explained(self, found: Sequence[Recording]) -> Sequence[Recording]:
        """The recordings; those whose content is not there, which alone have no URL, with why."""
        gone = [each.recording_id for each in found if not each.request.url]
        if not gone:
            return found
        erasures = self.erasures(gone)
        hidden = set(gone) - set(erasures) if scanning.sees_facts_alone(self._backend) else set()
        return [
            replace(each, erasures=erasures.get(each.recording_id, ()), withheld=each.recording_id in hidden)
            for each in found
        ]

    def _unknown(self, recording_id: UUID) -> NotFound:
        return NotFound(f"no recording {recording_id} in {self.url}")


def backend_for(
    url: str | os.PathLike[str],
    *,
    create: bool = False,
    readonly: bool = False,
    upgrade: bool = False,
    migrate: bool = False,
    as_is: bool = False,
) -> SQLite | PostgreSQL:
    """The database behind a URL or path, opened; whatever its schema where `as_is`.

    `upgrade` is for an older SQLite store, `migrate` for any. Raises UsageError where the URL is of neither kind.
    """
    text = os.fspath(url)
    scheme, mark, rest = text.partition("://")
    if mark and scheme in ("postgresql", "postgres"):
        return PostgreSQL("postgresql://" + rest, create=create, readonly=readonly, upgrade=migrate, as_is=as_is)
    if mark and scheme != "sqlite":
        raise UsageError(f"unknown kind of store {scheme}://; use sqlite:///PATH, postgresql://… or a path")
    if mark and (not rest.startswith("/") or rest == "/"):
        raise UsageError("a SQLite URL is sqlite:///relative/path or sqlite:////absolute/path")
    name = rest[1:] if mark else text
    path = None if mark and name == ":memory:" else Path(os.path.realpath(name))
    return SQLite(path, create=create, readonly=readonly, upgrade=upgrade or migrate, as_is=as_is)
