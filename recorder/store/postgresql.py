"""The store in a PostgreSQL database: bulk loading, and writers that are alive by the server's clock.

The schema is found by the connection's search path; nothing else in the database is touched. Commits are durable
(`synchronous_commit` is turned on where a server has it off). A writer is alive as long as its leases have not run
out, by the server's clock, so that clients' clocks do not matter.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator, Sequence
from itertools import starmap
from typing import TYPE_CHECKING, Any, Final, cast
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    Connection,
    Engine,
    bindparam,
    create_engine,
    event,
    exists,
    extract,
    func,
    literal,
    select,
    update,
)
from sqlalchemy import cast as sql_cast
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, SQLAlchemyError

from recorder import migrate, schema
from recorder.errors import NotFound, SchemaMismatch, StoreError, StoreUnavailable, UsageError
from recorder.recording import Event, Row
from recorder.schema import leases
from recorder.store.backend import Backend
from recorder.store.statements import COUNTED, OPEN_LEASES, event_page
from recorder.store.values import Lease

if TYPE_CHECKING:
    import psycopg

__all__ = ["PostgreSQL", "connect", "failures"]

#: Seconds that a lease lasts; a writer renews it three times in that.
LEASE_SECONDS: Final = 15
#: Above this many rows COPY into a temporary table is faster than arrays.
COPY_FROM: Final = 1000
#: Events looked at for one page.
_PAGE_EVENTS: Final = 4096
#: A number that no other program uses for an advisory lock: "recorder" in ASCII.
_MIGRATION_LOCK: Final = 0x7265636F72646572

#: What libpq is told unless the URL says otherwise: to notice within seconds that the network or the server is gone.
_CONNECT: Final = {
    "connect_timeout": "5",
    "keepalives_idle": "5",
    "keepalives_interval": "2",
    "keepalives_count": "3",
    "tcp_user_timeout": "10000",
    "application_name": "recorder",
    "client_encoding": "utf8",
}
_SETTINGS: Final = (
    "SELECT set_config('lock_timeout', '30s', false), "
    "set_config('synchronous_commit', CASE current_setting('synchronous_commit') WHEN 'off' THEN 'on' "
    "ELSE current_setting('synchronous_commit') END, false)"
)
_READ_ONLY: Final = "SET default_transaction_read_only = on"

_TYPES: Final = {
    "recording_id": "uuid",
    "position": "int4",
    "kind": "text",
    "elapsed_us": "int8",
    "type": "text",
    "data": "bytea",
    "raw": "bytea",
    "size": "int8",
    "cuts": "bytea",
}
_NAMES: Final = ", ".join(_TYPES)
_INSERT_ARRAYS: Final = (
    f"INSERT INTO events ({_NAMES}) SELECT * FROM unnest({', '.join(f'%b::{kind}[]' for kind in _TYPES.values())}) "  # noqa: S608
    "ON CONFLICT DO NOTHING"
)
_MAKE_INCOMING: Final = (
    f"CREATE TEMPORARY TABLE IF NOT EXISTS recorder_incoming ({', '.join(map(' '.join, _TYPES.items()))}) "
    "ON COMMIT DELETE ROWS"
)
_COPY_INCOMING: Final = f"COPY recorder_incoming ({_NAMES}) FROM STDIN (FORMAT BINARY)"
_INSERT_INCOMING: Final = f"INSERT INTO events ({_NAMES}) SELECT {_NAMES} FROM recorder_incoming ON CONFLICT DO NOTHING"  # noqa: S608

#: Tables of which VACUUM takes what was erased.
_WITH_CONTENT: Final = ("events", "recordings", "readings", "tags")
#: Whether this user may: as their owner, or (since 17) by the right to maintain them.
_OWNED: Final = (
    "SELECT bool_and(pg_has_role(relowner, 'USAGE') OR "
    "CASE WHEN current_setting('server_version_num')::int >= 170000 THEN has_table_privilege(oid, 'MAINTAIN') "
    "ELSE false END) FROM pg_class WHERE oid = ANY(%s::text[]::regclass[])"
)

_TAKE_TURNS: Final = "SELECT pg_advisory_xact_lock(turn) FROM unnest(%s::bigint[]) AS turn"
_SHARE_TURN: Final = "SELECT pg_advisory_xact_lock_shared(%s::bigint)"

_NOW: Final = sql_cast(extract("epoch", func.clock_timestamp()) * 1_000_000, BigInteger)
_LEASED_UNTIL: Final = _NOW + LEASE_SECONDS * 1_000_000


class PostgreSQL(Backend):
    """A store in a PostgreSQL database."""

    name = "postgresql"

    def __init__(self, url: str, *, create: bool, readonly: bool, upgrade: bool = False, as_is: bool = False) -> None:
        """Connect; migrate an older schema where `upgrade`, take any where `as_is`.

        Raises UsageError, NotFound, NotAStore, SchemaMismatch, StoreUnavailable.
        """
        super().__init__()
        self.readonly = readonly
        self._engine, self.display = connect(url, readonly=readonly)
        self._claimed: set[UUID] = set()
        try:
            if not as_is:
                self._prepare(create=create and not readonly, upgrade=upgrade and not readonly)
        except BaseException:
            self.close()
            raise

    @property
    def engine(self) -> Engine:
        return self._engine

    def _prepare(self, *, create: bool, upgrade: bool) -> None:
        with failures(self.display), self._engine.connect() as connection:
            found = migrate.state(connection)
        if found.empty:
            if not create:
                raise NotFound(f"no store in {self.display}; record something into it first, or name another one")
            self._migrate()
        elif migrate.require(found, self.display):
            if not upgrade:
                raise SchemaMismatch(
                    f"{self.display} has schema {found.revision}, older than {schema.REVISION}; "
                    "run `recorder db upgrade`"
                )
            self._migrate()

    def _migrate(self) -> None:
        """Bring the database to the present schema, one process at a time."""
        with failures(self.display), self._engine.connect() as connection:
            encoding = connection.exec_driver_sql("SHOW server_encoding").scalar_one()
            if encoding != "UTF8":
                raise StoreError(f"{self.display} has the encoding {encoding}; make a database with ENCODING 'UTF8'")
            connection.execute(select(func.pg_advisory_xact_lock(literal(_MIGRATION_LOCK, BigInteger))))
            found = migrate.state(connection)
            if found.empty:
                migrate.create(connection)
            elif migrate.require(found, self.display):
                migrate.upgrade(connection)
            connection.commit()

    # -- transactions --------------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def read(self) -> Iterator[Connection]:
        with self.gate, failures(self.display):
            self.usable()
            with self._engine.connect() as connection:
                connection.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
                connection.begin()
                yield connection

    @contextlib.contextmanager
    def write(self) -> Iterator[Connection]:
        if self.readonly:
            raise StoreUnavailable(f"{self.display} is open for reading only")
        with self.gate, failures(self.display):
            self.usable()
            with self._engine.connect() as connection:
                # Rows go in past SQLAlchemy, which commits only a transaction that it knows of.
                connection.begin()
                try:
                    yield connection
                    connection.commit()
                except BaseException:
                    if not connection.closed and not connection.invalidated:
                        connection.info.pop(_MAKE_INCOMING, None)
                    raise

    def disconnect(self) -> None:
        self._engine.dispose()

    def close(self) -> None:
        if not self.closed:
            for writer in list(self._claimed):
                with contextlib.suppress(StoreError):  # the leases run out by themselves
                    self.release(writer)
        super().close()

    def after_fork_in_child(self) -> None:
        super().after_fork_in_child()
        self._claimed.clear()

    def take_turns(self, connection: Connection, turns: Sequence[int]) -> None:
        # In one order everywhere, so that nobody waits in a circle. A statement that begins after this one sees what
        # those before have committed.
        if turns:
            with _driver(connection).cursor() as cursor:
                cursor.execute(_TAKE_TURNS, [list(turns)])

    def share_turn(self, connection: Connection, turn: int) -> None:
        with _driver(connection).cursor() as cursor:
            cursor.execute(_SHARE_TURN, [turn])

    # -- room ----------------------------------------------------------------------------------------------------------

    def size(self) -> int:
        """Of the rows and their payloads as they were recorded. (The tables hold dead rows, and room for new ones.)"""
        with self.read() as connection:
            return int(connection.execute(COUNTED).scalar_one())

    def size_without(self, size: int, room: int) -> int:
        """Without counting all that is left again; what came in meanwhile is left out."""
        return max(size - room, 0)

    def tidy(self) -> str | None:
        return self._vacuum("")

    def rewrite(self) -> None:
        told = self._vacuum("(FULL) ")
        if told is not None:
            raise StoreUnavailable(told)

    def _vacuum(self, how: str) -> str | None:
        """Vacuum the tables that content was in. Only their owner may; to others the server says no more than a notice.

        Why it was not done, or None.
        """
        with self.gate, failures(self.display):
            self.usable()
            with self._engine.connect() as connection:
                connection.execution_options(isolation_level="AUTOCOMMIT")
                if not connection.exec_driver_sql(_OWNED, ([*_WITH_CONTENT],)).scalar_one():
                    may = "only the owner of the tables may VACUUM them"
                    return f"{self.display}: {may}; have the owner do so, or grant MAINTAIN"
                for name in _WITH_CONTENT:
                    connection.exec_driver_sql(f"VACUUM {how}{name}")
        return None

    # -- events --------------------------------------------------------------------------------------------------------

    def insert_events(self, connection: Connection, rows: Sequence[Row]) -> int:
        ids = {key: UUID(bytes=key) for key in {row[0] for row in rows}}
        with _driver(connection).cursor() as cursor:
            if len(rows) < COPY_FROM:
                columns = [list(column) for column in zip(*rows, strict=True)]
                cursor.execute(_INSERT_ARRAYS, [[ids[key] for key in columns[0]], *columns[1:]])
                return cursor.rowcount
            if _MAKE_INCOMING not in connection.info:
                cursor.execute(_MAKE_INCOMING)
                connection.info[_MAKE_INCOMING] = True
            with cursor.copy(_COPY_INCOMING) as copy:
                copy.set_types(list(_TYPES.values()))
                for row in rows:
                    copy.write_row((ids[row[0]], *row[1:]))
            cursor.execute(_INSERT_INCOMING)
            return cursor.rowcount

    def select_events(
        self, connection: Connection, recording_id: UUID, start: int, kinds: Sequence[str], size: int
    ) -> tuple[list[Event], bool]:
        wanted = [str(kind) for kind in kinds]
        statement, sizes = _page(len(wanted))
        with _driver(connection).cursor(binary=True) as cursor:
            cursor.execute(sizes, [recording_id, start, *wanted, _PAGE_EVENTS])
            last, count = start - 1, 0
            for position, length in cursor:
                if size < 0:
                    break
                last, size, count = position, size - length, count + 1
            more = size < 0 or count == _PAGE_EVENTS
            cursor.execute(statement, [recording_id, start, *wanted, last])
            return list(map(Event._make, cursor)), more

    # -- who is alive --------------------------------------------------------------------------------------------------

    def claim(self, writer: UUID) -> None:
        if self.readonly:
            raise StoreUnavailable(f"{self.display} is open for reading only")
        self._claimed.add(writer)

    def renew(self, writer: UUID) -> None:
        self._expire(writer, _LEASED_UNTIL)

    def release(self, writer: UUID) -> None:
        self._claimed.discard(writer)
        self._expire(writer, 0)

    def _expire(self, writer: UUID, at: Any) -> None:
        with self.write() as connection:
            connection.execute(update(leases).where(leases.c.writer == writer).values(expires_at=at))

    def alive(self, writer: UUID) -> bool:
        leased = select(exists().where(leases.c.writer == writer, leases.c.expires_at > _NOW))
        with self.read() as connection:
            return writer in self._claimed or bool(connection.execute(leased).scalar())

    def dead(self) -> list[Lease]:
        with self.read() as connection:
            return list(starmap(Lease, connection.execute(OPEN_LEASES.where(leases.c.expires_at <= _NOW))))

    def lease_until(self, connection: Connection) -> int:
        return int(connection.execute(select(_LEASED_UNTIL)).scalar_one())


# -- connections -------------------------------------------------------------------------------------------------------


def connect(url: str, *, readonly: bool) -> tuple[Engine, str]:
    """An engine for the URL, which has not connected yet, and the URL as it may be shown."""
    try:
        import psycopg as _  # noqa: F401
    except ImportError:
        raise UsageError("PostgreSQL needs psycopg; run `pip install 'run-recorder[postgres]'`") from None
    try:
        given = make_url(url)
    except (ArgumentError, ValueError):
        raise UsageError("the store's URL cannot be read; write postgresql://USER@HOST:PORT/DATABASE") from None
    missing = {name: value for name, value in _CONNECT.items() if name not in given.query}
    engine = create_engine(
        given.set(drivername="postgresql+psycopg").update_query_dict(missing),
        hide_parameters=True,
        pool_size=4,
        max_overflow=-1,
        pool_use_lifo=True,
        use_native_hstore=False,
    )

    @event.listens_for(engine, "connect")
    def _settle(connection: psycopg.Connection[Any], _: object) -> None:
        connection.execute(_SETTINGS)
        if readonly:
            connection.execute(_READ_ONLY)
        connection.commit()

    secrets = [name for name in given.query if "password" in name]
    shown = given.set(drivername="postgresql").difference_update_query(secrets)
    return engine, shown.render_as_string(hide_password=True)


@contextlib.contextmanager
def failures(display: str) -> Iterator[None]:
    """Turn what the driver reports into our errors.

    Its own errors do not go along: PostgreSQL's details quote the rows that it refused.
    """
    import psycopg

    try:
        yield
    except (SQLAlchemyError, psycopg.Error) as error:
        cause = error.orig if isinstance(error, DBAPIError) else error
        raise _failure(display, cause) from None


def _failure(where: str, cause: BaseException | None) -> StoreError:
    import psycopg

    state = getattr(cause, "sqlstate", None)
    if state is None:
        if isinstance(cause, psycopg.OperationalError):
            # "connection failed: ... FATAL: password authentication failed for user ...": never the password.
            about = " ".join(str(cause).split())
            return StoreUnavailable(f"{where} cannot be reached: {about}; start it, or correct the URL")
        return StoreError(f"{where}: {type(cause).__name__}; look at the log of the server")
    for beginnings, text in _FAILURES:
        if state.startswith(beginnings):
            return StoreUnavailable(f"{where} {text} (SQLSTATE {state})")
    # Messages of data and constraint errors may quote values.
    quotes = state.startswith(("22", "23"))
    primary = cause.diag.message_primary if isinstance(cause, psycopg.Error) and not quotes else None
    return StoreError(
        f"{where}: PostgreSQL refuses with SQLSTATE {state}: {primary or type(cause).__name__}; "
        "look at the log of the server"
    )


#: What the beginnings of SQLSTATEs mean for the user (PostgreSQL's manual, appendix A).
_FAILURES: Final = (
    (("08", "57P"), "is not reachable any more; start it again"),
    (("53100",), "cannot grow: the server's disk is full; make room"),
    (("53", "54"), "has no room for this: too many connections or too little memory; raise the server's limits"),
    (("40", "55P03", "57014"), "is busy: another transaction was in the way; try again"),
    (("25006",), "takes no writes: it is a standby, or set to read only; name the primary server"),
    (("28",), "does not let this user in; correct the URL"),
    (("42501",), "does not allow this to this user; grant it, see `recorder db roles`"),
    (("58", "XX"), "has an internal or I/O error; look at the server's log"),
)


def _driver(connection: Connection) -> psycopg.Connection[Any]:
    return cast("psycopg.Connection[Any]", connection.connection.driver_connection)


@functools.cache
def _page(kinds: int) -> tuple[str, str]:
    """Two statements: the events between two positions; the positions and sizes of so many from a position on."""
    from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg

    page = event_page(kinds)
    events = schema.events.c
    until = page.where(events.position <= bindparam("last"))
    sizes = page.with_only_columns(events.position, events.size).limit(bindparam("limit"))
    dialect = PGDialect_psycopg(paramstyle="format")  # type: ignore[no-untyped-call]
    return str(until.compile(dialect=dialect)), str(sizes.compile(dialect=dialect))
