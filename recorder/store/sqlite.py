"""The store in one SQLite file: how it is opened, locked, kept small and kept safe.

Beside `NAME` lie SQLite's `NAME-wal` and `NAME-shm`, and two of ours: `NAME.lock`, held for each write transaction,
checkpoint and last close, and `NAME.writers/`, where each living writer holds a lock file of its own. The database
file is opened through SQLite alone and never looked into: closing any other descriptor of it would drop SQLite's locks.

Settings and their reasons: WAL with synchronous=FULL loses nothing that was acknowledged when the power fails (with
NORMAL it does). The lock file keeps writers in turn and keeps clear of a fault in SQLite before 3.51.3, where several
connections that write and checkpoint a WAL may lose committed rows (sqlite.org/wal.html). Checkpoints come by a count
of pages written, because the WAL's size does not shrink when it starts over.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import stat
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from itertools import starmap
from pathlib import Path
from typing import Any, Final
from uuid import UUID

from sqlalchemy import Connection, Engine, create_engine
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import QueuePool, StaticPool

from recorder import migrate, schema
from recorder.errors import NotAStore, NotFound, RecorderError, SchemaMismatch, StoreUnavailable
from recorder.recording import Event, Row
from recorder.store import locks, sqlite_events, surely
from recorder.store.backend import Backend
from recorder.store.refusals import failure
from recorder.store.statements import OPEN_LEASES
from recorder.store.values import Lease

__all__ = ["SQLite"]

#: Seconds to wait for other writers, and for a lock that somebody holds in SQLite itself.
WRITE_WAIT = 30.0
CLOSE_WAIT = 1.0
BUSY_MS = 10_000
#: Pages in the WAL after which it is copied into the database.
CHECKPOINT_PAGES = 1000

_PRAGMAS: Final = (
    "synchronous=FULL",
    "foreign_keys=ON",
    "recursive_triggers=ON",  # so that INSERT OR REPLACE meets the triggers that refuse a DELETE
    "secure_delete=ON",  # what is erased is overwritten
    "trusted_schema=OFF",
    "cell_size_check=ON",
    "mmap_size=0",
    "wal_autocheckpoint=0",
    "journal_size_limit=67108864",
    f"busy_timeout={BUSY_MS}",
    *(("fullfsync=ON", "checkpoint_fullfsync=ON") if sys.platform == "darwin" else ()),
)


class SQLite(Backend):
    """A store in a SQLite file, or in memory where `path` is None (for tests: one process, one connection)."""

    name = "sqlite"

    def __init__(self, path: Path | None, *, create: bool, readonly: bool, upgrade: bool, as_is: bool = False) -> None:
        """Open the file, whatever its schema where `as_is`.

        Raises NotFound, NotAStore, SchemaMismatch, StoreUnavailable.
        """
        super().__init__()
        self.path = path
        self.readonly = readonly
        self.display = "sqlite:///:memory:" if path is None else f"sqlite:///{path}"
        self._create = (create or path is None) and not readonly
        self._upgrade = upgrade and not readonly
        self._as_is = as_is
        self._immutable = False
        self._identity: tuple[int, int] | None = None
        self._lock: locks.FairLock | None = None
        #: Whoever holds it may write, open, or close what is idle.
        self._writing = threading.RLock()
        self._holds: dict[UUID, locks.Hold | None] = {}
        self._pages = 0
        #: Whether some of the WAL may not be on the disk: see `surely`. A WAL that is found may be so from before.
        self._doubtful = False
        self._inherited = False
        #: Which file the WAL of the open file is, once there is one.
        self._log: tuple[int, int] | None = None
        self._engine = self._new_engine()
        try:
            with self.gate, self._writing, self._failures():
                self._prepare()
        except BaseException:
            self.close()
            raise

    @property
    def engine(self) -> Engine:
        return self._engine

    # -- transactions --------------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def read(self) -> Iterator[Connection]:
        with self.gate, self._alone(), self._failures():
            self.usable()
            if self._displaced():
                with self._writing:
                    self._return()
            with self._engine.connect() as connection:
                connection.exec_driver_sql("BEGIN")
                yield connection

    @contextlib.contextmanager
    def write(self) -> Iterator[Connection]:
        if self.readonly:
            raise StoreUnavailable(f"{self.display} is open for reading only")
        with self.gate, self._writing, self._failures():
            self.usable()
            self._return()
            with self._locked(WRITE_WAIT):
                with self._engine.connect() as connection:
                    connection.exec_driver_sql("BEGIN IMMEDIATE")
                    yield connection
                    connection.commit()
                    self._pages += 8
                self._log = self._log or self._log_there()
                done = self._checkpoint_if_due()
            if not done:
                self._drop()

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """In memory there is one connection: one user at a time."""
        with self._writing if self.path is None else contextlib.nullcontext():
            yield

    @contextlib.contextmanager
    def _locked(self, wait: float) -> Iterator[None]:
        """Hold the lock between processes; wait so many seconds for it."""
        if self.path is None:
            yield
            return
        if self._lock is None:
            self._lock = locks.FairLock(self._beside(".lock"), self._writers() / "turn")
        if not self._lock.acquire(wait):
            raise StoreUnavailable(f"{self.display} is locked: others kept writing for {wait:.0f} s; try again")
        try:
            yield
        finally:
            self._lock.release()

    @contextlib.contextmanager
    def _failures(self) -> Iterator[None]:
        """Turn what SQLite and the file system report into our errors; trust no connection after a failure."""
        try:
            yield
        except RecorderError:
            raise
        except UnicodeDecodeError as error:  # SQLite quotes its schema where that is damaged
            self._drop()
            raise failure(self.display, sqlite3.DatabaseError("Could not decode")) from error
        except (DBAPIError, sqlite3.Error, OSError) as error:
            cause = error.orig if isinstance(error, DBAPIError) else error
            if getattr(cause, "sqlite_errorcode", 0) & 0xFF in (sqlite3.SQLITE_IOERR, sqlite3.SQLITE_FULL):
                self._doubtful = True
            self._drop()
            raise failure(self.display, cause) from cause

    def take_turns(self, connection: Connection, turns: Sequence[int]) -> None:
        """Nothing to do: who writes, writes alone."""

    def share_turn(self, connection: Connection, turn: int) -> None:
        """Nothing to do here either."""

    # -- events --------------------------------------------------------------------------------------------------------

    def insert_events(self, connection: Connection, rows: Sequence[Row]) -> int:
        inserted = sqlite_events.insert(_driver(connection), rows)
        self._pages += max(len(rows) // 16, sum(row[7] for row in rows) >> 12) + 1
        return inserted

    def select_events(
        self, connection: Connection, recording_id: UUID, start: int, kinds: Sequence[str], size: int
    ) -> tuple[list[Event], bool]:
        return sqlite_events.select(_driver(connection), recording_id, start, kinds, size)

    def stream_events(self, connection: Connection, recording_id: UUID) -> Iterator[Sequence[tuple[Any, ...]]]:
        return sqlite_events.stream(_driver(connection), recording_id)

    @contextlib.contextmanager
    def any_text(self, connection: Connection) -> Iterator[None]:
        driver = _driver(connection)
        driver.text_factory = lambda data: data.decode("utf-8", "surrogateescape")
        try:
            yield
        finally:
            driver.text_factory = str

    # -- who is alive --------------------------------------------------------------------------------------------------

    def claim(self, writer: UUID) -> None:
        if self.readonly:
            raise StoreUnavailable(f"{self.display} is open for reading only")
        with self.gate, self._failures():
            self.usable()
            self._holds[writer] = None if self.path is None else locks.Hold(self._sign(writer))

    def renew(self, writer: UUID) -> None:
        """Nothing to do: the kernel knows."""

    def release(self, writer: UUID) -> None:
        hold = self._holds.pop(writer, None)
        if hold is not None:
            hold.release()

    def alive(self, writer: UUID) -> bool:
        if self.path is None:
            return writer in self._holds
        return not locks.is_free(self._sign(writer), clear=not self.readonly)

    def dead(self) -> list[Lease]:
        with self.read() as connection:
            leases = list(starmap(Lease, connection.execute(OPEN_LEASES)))
        alive = {writer: self.alive(writer) for writer in {lease.writer for lease in leases}}
        if self.path is not None and not self.readonly:
            for left in self._writers().glob("*.lock"):
                locks.is_free(left, clear=True)
        return [lease for lease in leases if not alive[lease.writer]]

    def lease_until(self, connection: Connection) -> int:
        return 0

    # -- opening -------------------------------------------------------------------------------------------------------

    def _new_engine(self) -> Engine:
        if self.path is None:
            return create_engine("sqlite://", creator=self._connect, poolclass=StaticPool, hide_parameters=True)
        return create_engine(
            "sqlite://",
            creator=self._connect,
            poolclass=QueuePool,
            pool_size=4,
            max_overflow=-1,
            hide_parameters=True,
        )

    def _connect(self) -> sqlite3.Connection:
        if self.path is None:
            target = "file::memory:"
        else:
            mode = "ro" if self.readonly else "rw"
            target = f"{self.path.as_uri()}?mode={mode}{'&immutable=1' if self._immutable else ''}"
        connection = sqlite3.connect(
            target, uri=True, isolation_level=None, check_same_thread=False, cached_statements=256
        )
        try:
            for pragma in _PRAGMAS:
                connection.execute(f"PRAGMA {pragma}")
        except BaseException:
            connection.close()
            raise
        return connection

    def _prepare(self) -> None:
        """Find or make the file, and bring it to a schema that this code can use."""
        if self.path is not None:
            self._find(self.path)
        # Nothing of ours is put beside a file that turns out not to be ours.
        found = self._look()
        if self._as_is or self.readonly:
            return
        if self.path is not None:
            self._claim_again()
        if found.empty or migrate.require(found, self.display):
            self._make_sure()
            with self._locked(WRITE_WAIT):
                found = self._look()
                if found.empty:
                    self._found()
                elif migrate.require(found, self.display):
                    self._migrate(str(found.revision))

    def _find(self, path: Path) -> None:
        try:
            status = path.stat()
        except FileNotFoundError:
            if not self._create:
                raise NotFound(f"no store at {path}; record something into it first, or name another one") from None
            status = self._make_file(path)
        except NotADirectoryError:
            raise NotFound(f"no store at {path}: a part of that path is a file; name another one") from None
        if not stat.S_ISREG(status.st_mode):
            raise NotAStore(f"{path} is not a file; name the store's file in it")
        self._identity = status.st_dev, status.st_ino
        self._log = None
        self._inherited = self._beside("-wal").exists()

    def _claim_again(self) -> None:
        """See that the lock files are where others look for them; they may have been deleted with the store."""
        self._writers().mkdir(mode=0o700, exist_ok=True)
        for writer, hold in list(self._holds.items()):
            if hold is not None and not hold.is_in_place():
                hold.close()
                self._holds[writer] = locks.Hold(self._sign(writer))

    def _make_file(self, path: Path) -> os.stat_result:
        if not path.parent.is_dir():
            raise StoreUnavailable(f"cannot make {path}: there is no folder {path.parent}; make it first")
        # SQLite would make it readable for everybody; -wal and -shm take their mode from it.
        with contextlib.suppress(FileExistsError):
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
        return path.stat()

    def _look(self) -> migrate.State:
        """What the database is. Raises NotAStore for another application's file."""
        try:
            return self._looked()
        except DBAPIError as error:
            # Without the right to make a -shm file a WAL cannot be read. Where there is no WAL, nothing is in it.
            if not self.readonly or self._immutable or self._beside("-wal").exists():
                raise
            code = getattr(error.orig, "sqlite_errorcode", 0) & 0xFF
            if code not in (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY):
                raise
        self._immutable = True
        self._engine.dispose()
        return self._looked()

    def _looked(self) -> migrate.State:
        with self._engine.connect() as connection:
            found = migrate.state(connection)
            mark = connection.exec_driver_sql("PRAGMA application_id").scalar()
        if self._as_is:
            return found
        if found.empty:
            if not self._create:
                raise NotAStore(f"{self.display} is empty; record something into it first, or name another one")
        elif mark != schema.APPLICATION_ID:
            raise NotAStore(f"{self.display} belongs to another application; name another file")
        elif self.readonly and migrate.require(found, self.display):
            raise self._too_old(str(found.revision))
        return found

    def _found(self) -> None:
        """Make the schema in an empty file."""
        with self._engine.connect() as connection:
            if self.path is not None:
                mode = connection.exec_driver_sql("PRAGMA journal_mode=WAL").scalar()
                if mode != "wal":
                    raise StoreUnavailable(
                        f"{self.display}: this file system allows no shared memory, which SQLite's WAL needs; "
                        "put the store on a local disk"
                    )
            connection.exec_driver_sql("BEGIN IMMEDIATE")
            migrate.create(connection)
            self._stamp(connection)
            connection.commit()

    def _migrate(self, revision: str) -> None:
        if not self._upgrade:
            raise self._too_old(revision)
        self._back_up(self._beside(f".backup-{revision}"))
        with self._engine.connect() as connection:
            connection.exec_driver_sql("BEGIN IMMEDIATE")
            migrate.upgrade(connection)
            self._stamp(connection)
            connection.commit()

    def _stamp(self, connection: Connection) -> None:
        major, minor = map(int, schema.REVISION.split("."))
        connection.exec_driver_sql(f"PRAGMA application_id={schema.APPLICATION_ID}")
        connection.exec_driver_sql(f"PRAGMA user_version={major * 1000 + minor}")

    def _too_old(self, revision: str) -> SchemaMismatch:
        return SchemaMismatch(
            f"{self.display} has schema {revision}, older than {schema.REVISION}; run `recorder db upgrade`"
        )

    def _back_up(self, path: Path) -> None:
        """Copy the store to `path` through SQLite, unless an earlier try did so already."""
        if path.exists():
            return
        partial = path.with_name(path.name + ".partial")
        partial.unlink(missing_ok=True)
        os.close(os.open(partial, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
        with self._engine.connect() as connection, contextlib.closing(sqlite3.connect(partial)) as copy:
            _driver(connection).backup(copy)
        partial.rename(path)

    def _displaced(self) -> bool:
        """Whether the file is not any more the one that was opened: moved, deleted, or replaced."""
        if self.path is None:
            return False
        try:
            status = self.path.stat()
        except FileNotFoundError:
            return True
        return (status.st_dev, status.st_ino) != self._identity

    def _return(self) -> None:
        """Leave a file that was moved or deleted, which nobody would find again, and begin at the old place."""
        if self._displaced():
            if self._log is not None and self._log == self._log_there():
                raise StoreUnavailable(
                    f"another file was put in the place of {self.display} while it was in use, and the log of the one "
                    "before still lies beside it, which SQLite would apply to it: end all programs that use the store, "
                    "move the files that end in -wal and -shm away, and start them again"
                )
            self._drop()
            self._prepare()
            self.epoch += 1
        self._make_sure()

    def _log_there(self) -> tuple[int, int] | None:
        """Which file lies there as the WAL of a store that is there; None where there is none."""
        if self.path is None or not self.path.exists():
            return None
        try:
            status = self._beside("-wal").stat()
        except FileNotFoundError:
            return None
        return status.st_dev, status.st_ino

    def _make_sure(self) -> None:
        """See that what is in the WAL is on the disk, before anything is built on it."""
        if self.path is not None and not self.readonly and (self._doubtful or self._inherited):
            with self._locked(WRITE_WAIT):
                self._write_again()

    def _write_again(self) -> None:
        with self._engine.connect() as connection:
            # Whoever is no recorder may write to the WAL without our lock, but not without SQLite's.
            connection.exec_driver_sql("BEGIN IMMEDIATE")
            surely.write_again(self._beside("-wal"))
        self._doubtful = self._inherited = False

    # -- closing and tidying -------------------------------------------------------------------------------------------

    def _checkpoint_if_due(self) -> bool:
        """Copy the WAL into the database, if it is time; False where that failed (a full disk, say).

        What was committed is durable all the same, and whoever committed it must not be told otherwise.
        """
        if self._pages < CHECKPOINT_PAGES or self.path is None:
            return True
        try:
            with self._engine.connect() as connection:
                _, pages_in_wal, copied = connection.exec_driver_sql("PRAGMA wal_checkpoint(PASSIVE)").one()
        except DBAPIError:
            return False
        # What a reader still needs stays; the next try is due when as much again has come in.
        self._pages = 0 if pages_in_wal == copied else min(pages_in_wal - copied, CHECKPOINT_PAGES // 2)
        return True

    # -- room ----------------------------------------------------------------------------------------------------------

    def wrote(self, rows: int) -> None:
        self._pages += rows // 16

    def size(self) -> int:
        with self.read() as connection:
            pages, free, size = (
                connection.exec_driver_sql(f"PRAGMA {name}").scalar_one()
                for name in ("page_count", "freelist_count", "page_size")
            )
        return int((pages - free) * size)

    def tidy(self) -> str | None:
        """What is deleted is overwritten (`secure_delete`); but the WAL keeps older pages until it is emptied."""
        if self.path is None:
            return None
        deadline = time.monotonic() + WRITE_WAIT
        while True:
            with self.gate, self._writing, self._failures():
                self.usable()
                self._return()
                with self._locked(WRITE_WAIT), self._engine.connect() as connection:
                    connection.exec_driver_sql("PRAGMA busy_timeout=1000")
                    busy, *_ = connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)").one()
                    connection.exec_driver_sql(f"PRAGMA busy_timeout={BUSY_MS}")
                    if not busy:
                        surely.settle(self._beside("-wal"))  # SQLite leaves the new length of it to chance
            if not busy:
                self._pages = 0
                return None
            if time.monotonic() > deadline:
                return f"{self._beside('-wal')} still holds older pages: a program reads from the store; try again"
            time.sleep(0.05)

    def rewrite(self) -> None:
        with self.gate, self._writing, self._failures():
            self.usable()
            self._return()
            with self._locked(WRITE_WAIT), self._engine.connect() as connection:
                connection.exec_driver_sql("VACUUM")
                self._pages = CHECKPOINT_PAGES

    def disconnect(self) -> None:
        if self.path is not None or self.closed:
            self._drop()

    def _drop(self) -> None:
        """Close the connections that nobody uses. In memory there is one, and it is the store."""
        if self.path is None:
            if self.closed:
                self._engine.dispose()
            return
        with self._writing, contextlib.ExitStack() as stack:
            if not self.readonly and self._writers().is_dir():
                # The last connection that closes copies the WAL into the database: a checkpoint like any other.
                with contextlib.suppress(StoreUnavailable, OSError):
                    stack.enter_context(self._locked(CLOSE_WAIT))
                if self._doubtful:
                    with contextlib.suppress(Exception):  # the next to write tries again
                        self._write_again()
            with contextlib.suppress(Exception):  # what cannot be closed in order is left to the operating system
                self._engine.dispose()
            stack.close()
            if self._lock is not None:
                self._lock.close()
                self._lock = None

    def close(self) -> None:
        super().close()
        for writer in list(self._holds):
            self.release(writer)

    def after_fork_in_child(self) -> None:
        super().after_fork_in_child()
        self._writing = threading.RLock()
        for hold in self._holds.values():
            if hold is not None:
                hold.close()
        self._holds.clear()
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def _beside(self, ending: str) -> Path:
        assert self.path is not None
        return self.path.with_name(self.path.name + ending)

    def _writers(self) -> Path:
        return self._beside(".writers")

    def _sign(self, writer: UUID) -> Path:
        return self._writers() / f"{writer}.lock"


def _driver(connection: Connection) -> sqlite3.Connection:
    driver = connection.connection.driver_connection
    assert isinstance(driver, sqlite3.Connection)
    return driver
