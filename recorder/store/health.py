"""What a store says of itself when it is looked at from outside, whatever state it is in: for the doctor.

Every look is one short read; nothing is written, nothing is waited for long, and no recording is read. What a value
means, and what to do about it, is for others to say.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from typing import Final, NamedTuple
from uuid import UUID

from sqlalchemy import Connection, func, select

from recorder import migrate, schema
from recorder.schema import leases, readings, recordings
from recorder.store.backend import Backend
from recorder.store.core import backend_for
from recorder.store.roles import RIGHTS, WRITER
from recorder.store.scanning import sees_facts_alone

__all__ = ["Clock", "Contents", "File", "Health", "OpenWriter", "Rights", "Server", "examined"]

#: Recordings, the newest, whose times are held against their ids.
_NEWEST: Final = 1000
#: Bytes of a SQLite file that are checked through.
CHECKED: Final = 256 << 20


class OpenWriter(NamedTuple):
    """A writer with recordings that have no ending: whether it shows that it is alive, and when the oldest began."""

    writer: UUID
    alive: bool
    recordings: int
    oldest: int | None


class Contents(NamedTuple):
    """How many recordings there are; how many readings are due, and how many an older reader made; who is writing."""

    recordings: int
    due: int
    stale: int
    open: tuple[OpenWriter, ...]


class Clock(NamedTuple):
    """Recordings from later than now, and how far ahead the last is; the largest step back among the newest; and how
    far the database's clock is ahead of ours, where it has one of its own. Microseconds.
    """

    future: int
    ahead_us: int
    back_us: int
    server_us: int | None


class File(NamedTuple):
    """What SQLite tells of a file: its journal, its pages and the free ones of them, and what its check says."""

    journal: str
    page_size: int
    pages: int
    free: int
    damage: tuple[str, ...] | None


class Rights(NamedTuple):
    """As whom PostgreSQL sees us, and what that user lacks to record, and to read: `INSERT on events`."""

    user: str
    superuser: bool
    owner: bool
    missing_to_write: tuple[str, ...]
    missing_to_read: tuple[str, ...]
    #: What would let it change facts: `UPDATE on events`.
    too_much: tuple[str, ...]
    roles: tuple[str, ...]


class Server(NamedTuple):
    """What a PostgreSQL server tells of itself and of the store's database. Sizes in bytes, times in seconds."""

    version: str
    number: int
    settings: dict[str, str]
    standby: bool
    encrypted: bool | None
    local: bool
    size: int
    connections: int
    idle_in_transaction: float
    #: Of each table: rows, rows that are dead, and seconds since it was last vacuumed (None: never).
    tables: dict[str, tuple[int, int, float | None]]


class Health:
    """An opened store, whatever its schema. Each method is one look."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    @property
    def kind(self) -> str:
        """sqlite or postgresql."""
        return self._backend.name

    def state(self) -> tuple[migrate.State, int | None]:
        """What the database is, and whose it says that it is (SQLite's application id; None elsewhere)."""
        with self._backend.read() as connection:
            mark = connection.exec_driver_sql("PRAGMA application_id").scalar() if self.kind == "sqlite" else None
            return migrate.state(connection), mark

    def sees_facts_alone(self) -> bool:
        """Whether what stands for the tables are the views of an analyst (`recorder.store.roles`)."""
        return sees_facts_alone(self._backend)

    def differences(self) -> list[str]:
        """How the tables differ from what this code writes to."""
        with self._backend.read() as connection:
            return migrate.check(connection)

    def contents(self, reader_version: int) -> Contents:
        """What is there, and what is going on."""
        r = readings.c
        with self._backend.read() as connection:
            total = connection.execute(select(func.count()).select_from(recordings)).scalar_one()
            due = select(func.count()).select_from(readings).where(r.reader_version == 0, r.ending.is_not(None))
            older = (
                select(func.count())
                .select_from(readings)
                .where(r.reader_version > 0, r.reader_version < reader_version)
            )
            counts = [connection.execute(each).scalar_one() for each in (due, older)]
            writing = connection.execute(
                select(leases.c.writer, func.count(), func.min(recordings.c.started_at))
                .join_from(leases, recordings, recordings.c.recording_id == leases.c.recording_id)
                .group_by(leases.c.writer)
            ).all()
        found = [OpenWriter(writer, self._backend.alive(writer), number, oldest) for writer, number, oldest in writing]
        return Contents(total, counts[0], counts[1], tuple(sorted(found)))

    def clock(self) -> Clock:
        """Whether times can be as they are. (An id is never older than those that its process made before it.)"""
        now = time.time_ns() // 1000
        started = recordings.c.started_at
        with self._backend.read() as connection:
            newest = connection.execute(
                select(recordings.c.recording_id, started).order_by(recordings.c.recording_id.desc()).limit(_NEWEST)
            ).all()
            later = select(func.count(), func.max(readings.c.started_at)).where(readings.c.started_at > now)
            future, last = connection.execute(later).one()
            server = _server_clock(connection) if self.kind == "postgresql" else None
        back = max((_id_time(recording_id) - at for recording_id, at in newest), default=0)
        return Clock(future, (last or now) - now, max(back, 0), server)

    # -- SQLite --------------------------------------------------------------------------------------------------------

    def file(self, size: int) -> File:
        """What SQLite tells of its file, of `size` bytes; a large one is not checked (`damage` is None then)."""
        with self._backend.read() as connection:
            journal, page_size, pages, free = (
                connection.exec_driver_sql(f"PRAGMA {name}").scalar_one()
                for name in ("journal_mode", "page_size", "page_count", "freelist_count")
            )
            said: tuple[str, ...] | None = None
            if size <= CHECKED:
                rows = connection.exec_driver_sql("PRAGMA quick_check(5)").scalars()
                said = tuple(text for text in map(str, rows) if text != "ok")
        return File(journal, page_size, pages, free, said)

    # -- PostgreSQL ----------------------------------------------------------------------------------------------------

    def rights(self) -> Rights:
        """As whom PostgreSQL sees us."""
        with self._backend.read() as connection:
            who = connection.exec_driver_sql(_WHO).one()
            roles = connection.exec_driver_sql(_ROLES).scalars().all()
            return Rights(
                user=who.user,
                superuser=who.superuser,
                owner=who.owner,
                missing_to_write=_lacking(connection, TO_WRITE),
                missing_to_read=_lacking(connection, [("SELECT", table) for table in schema.metadata.tables]),
                too_much=_held(connection, [("UPDATE", table) for table in schema.FACT_TABLES]),
                roles=tuple(roles),
            )

    def server(self) -> Server:
        """What the server tells of itself."""
        with self._backend.read() as connection:
            one = connection.exec_driver_sql(_SERVER).one()
            settings = {row.name: row.setting for row in connection.exec_driver_sql(_SETTINGS)}
            tables = {row.relname: (row.live, row.dead, row.since) for row in connection.exec_driver_sql(_TABLES)}
        return Server(
            version=one.version.split()[0],
            number=int(one.number),
            settings=settings,
            standby=one.standby,
            encrypted=one.encrypted,
            local=one.local,
            size=one.size,
            connections=one.connections,
            idle_in_transaction=float(one.idle or 0),
            tables=tables,
        )


#: What a program that records does, by table.
TO_WRITE: Final = [(right, table) for right, tables in RIGHTS[WRITER].items() for table in tables]

_WHO: Final = """
SELECT current_user AS "user", rolsuper AS superuser,
    pg_has_role(current_user, (SELECT relowner FROM pg_class WHERE oid = 'recordings'::regclass), 'USAGE') AS owner
FROM pg_roles WHERE rolname = current_user"""
_ROLES: Final = """
SELECT rolname FROM pg_roles
WHERE rolname LIKE 'recorder\\_%%' AND pg_has_role(current_user, oid, 'MEMBER') ORDER BY rolname"""
_SERVER: Final = """
SELECT current_setting('server_version') AS version, current_setting('server_version_num') AS number,
    pg_is_in_recovery() AS standby,
    (SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()) AS encrypted,
    coalesce(inet_server_addr() << inet '127.0.0.0/8' OR inet_server_addr() = inet '::1', true) AS local,
    pg_database_size(current_database()) AS size,
    (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend') AS connections,
    (SELECT max(extract(epoch FROM clock_timestamp() - state_change)) FROM pg_stat_activity
        WHERE datname = current_database() AND state LIKE 'idle in transaction%%') AS idle"""
_SETTINGS: Final = """
SELECT name, coalesce(reset_val, setting) AS setting FROM pg_settings
WHERE name IN ('synchronous_commit', 'fsync', 'full_page_writes', 'max_connections', 'server_encoding', 'autovacuum')"""
_TABLES: Final = """
SELECT relname, n_live_tup AS live, n_dead_tup AS dead,
    extract(epoch FROM clock_timestamp() - greatest(last_vacuum, last_autovacuum))::double precision AS since
FROM pg_stat_user_tables WHERE schemaname = current_schema()"""


def _lacking(connection: Connection, wanted: list[tuple[str, str]]) -> tuple[str, ...]:
    return tuple(f"{right} on {table}" for right, table in wanted if not _has(connection, right, table))


def _held(connection: Connection, feared: list[tuple[str, str]]) -> tuple[str, ...]:
    return tuple(f"{right} on {table}" for right, table in feared if _has(connection, right, table))


def _has(connection: Connection, right: str, table: str) -> bool:
    return bool(connection.execute(select(func.has_table_privilege(table, right))).scalar())


def _server_clock(connection: Connection) -> int:
    """How far the server's clock is ahead, by a look that takes as long there as back."""
    before = time.time_ns()
    there = connection.exec_driver_sql("SELECT extract(epoch FROM clock_timestamp()) * 1000000").scalar_one()
    return int(there) - (before + time.time_ns()) // 2000


def _id_time(recording_id: UUID) -> int:
    """The time that a UUIDv7 says, in microseconds (RFC 9562, section 5.7)."""
    return (recording_id.int >> 80) * 1000


@contextlib.contextmanager
def examined(url: str | os.PathLike[str]) -> Iterator[Health]:
    """The store at this URL or path, for looks. Raises UsageError, NotFound, NotAStore, StoreUnavailable."""
    with contextlib.closing(backend_for(url, readonly=True, as_is=True)) as backend:
        yield Health(backend)
