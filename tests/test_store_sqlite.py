"""What is SQLite's own: files and their rights, locks, checkpoints, failures, many processes, forks."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import sqlite3
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event

from recorder import schema
from recorder.errors import Conflict, NotAStore, NotFound, RecorderError, SchemaMismatch, StoreUnavailable
from recorder.recording import uuid7
from recorder.store import Append, Store, backend, check_store, describe_store, migrate_store, sqlite
from recorder.store.locks import FairLock, Hold, is_free, try_lock
from tests.needs import ROOT, examples
from tests.rows import an_end, opened, positions, recorded, rows_of


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where a store may be made."""
    return tmp_path / "recorder.db"


@pytest.fixture
def store(path: Path) -> Iterator[Store]:
    """A new store."""
    with Store.open(path, create=True) as made:
        yield made


def start(script: str, *arguments: object) -> subprocess.Popen[str]:
    """A Python of its own running the script; it is told of by its standard input and output."""
    return subprocess.Popen(
        [sys.executable, "-c", script, *map(str, arguments)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def tell(process: subprocess.Popen[str], line: str) -> None:
    """Write a line to the process's standard input."""
    assert process.stdin is not None
    process.stdin.write(line + "\n")
    process.stdin.flush()


def one_line(error: pytest.ExceptionInfo[RecorderError]) -> str:
    """The message, which is one line that says what to do next."""
    text = str(error.value)
    assert "\n" not in text
    assert ";" in text, "what is wrong; what to do"
    return text


# -- files -------------------------------------------------------------------------------------------------------------


class TestFiles:
    def test_every_file_is_for_its_owner_alone(self, store: Store, path: Path) -> None:
        """Whatever the umask says."""
        store.claim_writer(uuid7())
        recorded(store)
        modes = {
            found.relative_to(path.parent).as_posix(): stat.S_IMODE(found.stat().st_mode)
            for found in path.parent.rglob("*")
        }
        assert {"recorder.db", "recorder.db-wal", "recorder.db-shm", "recorder.db.lock"} <= modes.keys()
        assert {mode for name, mode in modes.items() if name != "recorder.db.writers"} == {0o600}
        assert modes["recorder.db.writers"] == 0o700

    def test_the_settings_are_those_that_keep_rows_safe(self, store: Store) -> None:
        wanted = {
            "journal_mode": "wal",
            "synchronous": 2,
            "foreign_keys": 1,
            "recursive_triggers": 1,
            "secure_delete": 1,
            "trusted_schema": 0,
            "cell_size_check": 1,
            "mmap_size": 0,
            "wal_autocheckpoint": 0,
            "busy_timeout": sqlite.BUSY_MS,
            "application_id": schema.APPLICATION_ID,
            "user_version": stamp(schema.REVISION),
        }
        with store._backend.write() as connection:
            found = {name: connection.exec_driver_sql(f"PRAGMA {name}").scalar() for name in wanted}
        assert found == wanted

    @pytest.mark.parametrize("name", ["with space.db", "ünï.db", "per%20cent.db", "a?mode=memory.db", "a#b.db"])
    def test_any_file_name_will_do(self, tmp_path: Path, name: str) -> None:
        for url in (tmp_path / name, f"sqlite:///{tmp_path / name}"):
            with Store.open(url, create=True) as store:
                recorded(store)
                assert store.url == f"sqlite:///{tmp_path / name}"
        with Store.open(tmp_path / name, readonly=True) as store:
            assert len(store.recordings()) == 2
        assert (tmp_path / name).is_file()

    def test_a_relative_path_stays_what_it_was_when_the_process_moves(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        with Store.open("sqlite:///x.db", create=True) as store:
            monkeypatch.chdir("/")
            store._backend.disconnect()
            recorded(store)
        assert (tmp_path / "x.db").stat().st_size > 0
        with Store.open(str(tmp_path / "x.db")) as store:
            assert len(store.recordings()) == 1

    def test_an_empty_file_becomes_a_store_only_when_asked(self, path: Path) -> None:
        """As a process leaves one that died between making the file and making the schema."""
        path.touch()
        with pytest.raises(NotAStore, match="empty"):
            Store.open(path)
        with pytest.raises(NotAStore, match="empty"):
            Store.open(path, readonly=True)
        Store.open(path, create=True).close()
        Store.open(path).close()

    def test_closing_leaves_one_file_of_data(self, path: Path) -> None:
        with Store.open(path, create=True) as store:
            recorded(store)
        assert not path.with_name("recorder.db-wal").exists()

    def test_a_store_for_reading_makes_no_file(self, path: Path) -> None:
        with Store.open(path, create=True) as store:
            recorded(store)
        for left in (path.with_name("recorder.db.lock"), *path.with_name("recorder.db.writers").iterdir()):
            left.unlink()
        path.with_name("recorder.db.writers").rmdir()
        with Store.open(path, readonly=True) as store:
            assert len(store.recordings()) == 1
            assert not store.writer_alive(uuid7())
            assert store.dead_recordings() == []
        assert {found.name for found in path.parent.iterdir()} <= {"recorder.db", "recorder.db-wal", "recorder.db-shm"}


# -- what may be wrong with a file -------------------------------------------------------------------------------------


class TestBadFiles:
    def test_no_file(self, path: Path) -> None:
        with pytest.raises(NotFound, match=str(path)) as error:
            Store.open(path)
        one_line(error)
        assert not path.exists()

    def test_a_folder(self, tmp_path: Path) -> None:
        with pytest.raises(NotAStore, match="not a file") as error:
            Store.open(tmp_path, create=True)
        one_line(error)

    def test_no_folder(self, tmp_path: Path) -> None:
        with pytest.raises(StoreUnavailable, match="no folder") as error:
            Store.open(tmp_path / "none" / "x.db", create=True)
        one_line(error)
        with pytest.raises(NotFound):
            Store.open(tmp_path / "none" / "x.db")

    def test_a_file_in_the_place_of_a_folder(self, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        with pytest.raises(NotFound, match="a file") as error:
            Store.open(tmp_path / "file" / "x.db", create=True)
        one_line(error)

    @pytest.mark.parametrize("readonly", [True, False])
    def test_not_a_database(self, path: Path, readonly: bool) -> None:
        path.write_bytes(b"The quick brown fox. " * 400)
        with pytest.raises(NotAStore, match="not a SQLite database") as error:
            Store.open(path, create=True, readonly=readonly)
        one_line(error)
        assert path.read_bytes() == b"The quick brown fox. " * 400
        assert list(path.parent.iterdir()) == [path]

    @pytest.mark.parametrize("readonly", [True, False])
    def test_another_applications_database(self, path: Path, readonly: bool) -> None:
        with contextlib.closing(sqlite3.connect(path)) as other:
            other.execute("CREATE TABLE theirs (x)")
        before = path.read_bytes()
        with pytest.raises(NotAStore, match="another application") as error:
            Store.open(path, create=True, readonly=readonly)
        one_line(error)
        assert path.read_bytes() == before
        assert list(path.parent.iterdir()) == [path]

    def test_a_damaged_database(self, path: Path) -> None:
        with Store.open(path, create=True) as store:
            for _ in range(50):
                recorded(store)
        data = bytearray(path.read_bytes())
        data[4096:] = b"\xff" * (len(data) - 4096)
        path.write_bytes(data)
        with pytest.raises(RecorderError, match="damaged") as error, Store.open(path) as store:
            store.runs()
        one_line(error)

    def test_a_text_that_is_none_is_not_quoted(self, path: Path) -> None:
        """SQLite's own message does: it would carry what was recorded into logs."""
        recording = opened()
        with Store.open(path, create=True) as store:
            store.append([Append(recording.recording_id, recording)])
        with contextlib.closing(sqlite3.connect(path)) as connection:
            connection.execute("DROP TRIGGER recordings_no_update")
            connection.execute("UPDATE recordings SET url = CAST(x'736563726574ff' AS TEXT)")
            connection.commit()
        with pytest.raises(RecorderError, match="no UTF-8") as error, Store.open(path) as store:
            store.recording(recording.recording_id)
        assert "secret" not in one_line(error)

    def test_a_schema_that_is_no_text_is_not_quoted(self, path: Path) -> None:
        """SQLite's message does that, and can then not be read itself."""
        Store.open(path, create=True).close()
        data = path.read_bytes()
        assert data.count(b"CREATE TABLE erasures") == 1
        path.write_bytes(data.replace(b"CREATE TABLE erasures", b"CREATE \xff\xff\xff\xff\xff erasures"))
        with pytest.raises(RecorderError, match="no UTF-8") as error:
            Store.open(path)
        one_line(error)

    def test_a_file_system_without_shared_memory(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """SQLite's access to files that cannot be locked has none."""
        connect = sqlite3.connect
        monkeypatch.setattr(sqlite3, "connect", lambda name, **how: connect(f"{name}&vfs=unix-none", **how))
        with pytest.raises(StoreUnavailable, match="no shared memory") as error:
            Store.open(path, create=True)
        one_line(error)

    def test_a_recording_whose_key_is_no_id_is_shown_to_who_trusts_nothing(self, path: Path) -> None:
        """With its row, and no events: none can be told to be its own."""
        with Store.open(path, create=True) as store:
            recording = recorded(store)
        with contextlib.closing(sqlite3.connect(path)) as connection:
            connection.execute("DROP TRIGGER recordings_no_update")
            connection.execute("UPDATE recordings SET recording_id = x'00'")
            connection.commit()
        with Store.open(path, readonly=True) as store:
            (found,) = store.scan()
            assert (found.recording_id, found.row["url"]) == (None, recording.request.url)
            assert (list(found.pages()), found.ending) == ([], None)
            assert "events" in store.orphans()[recording.recording_id]

    @pytest.mark.parametrize(("revision", "message"), [("2.0", "newer"), ("0.9", "older"), ("x", "not a recorder")])
    def test_another_schema(self, path: Path, revision: str, message: str) -> None:
        """A newer major and an unknown one are refused; an older one too, where upgrading is not wanted."""
        Store.open(path, create=True).close()
        set_revision(path, revision)
        for options in ({"readonly": True}, {"upgrade": False}):
            with pytest.raises((SchemaMismatch, NotAStore), match=message) as error:
                Store.open(path, **options)
            one_line(error)
        assert describe_store(path).revision == revision

    def test_a_newer_minor_is_used_as_it_is(self, path: Path) -> None:
        Store.open(path, create=True).close()
        set_revision(path, "1.7")
        with Store.open(path) as store:
            recorded(store)
        assert describe_store(path).revision == "1.7"
        assert migrate_store(path) == ("1.7", "1.7")

    def test_a_lock_of_another_program(self, store: Store, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(sqlite, "_PRAGMAS", (*sqlite._PRAGMAS, "busy_timeout=50"))
        store._backend.disconnect()
        script = (
            "import sqlite3, sys; c = sqlite3.connect(sys.argv[1], isolation_level=None);"
            "c.execute('BEGIN IMMEDIATE'); print('locked', flush=True); input()"
        )
        with start(script, path) as other:
            assert other.stdout is not None
            assert other.stdout.readline() == "locked\n"
            with pytest.raises(StoreUnavailable, match="locked by another program") as error:
                recorded(store)
            one_line(error)
            other.communicate("\n")
        recorded(store)

    def test_writers_that_never_let_go(self, store: Store, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(sqlite, "WRITE_WAIT", 0.05)
        other = FairLock(path.with_name("recorder.db.lock"), path.with_name("recorder.db.writers") / "turn")
        assert other.acquire(1)
        with pytest.raises(StoreUnavailable, match="kept writing") as error:
            recorded(store)
        one_line(error)
        other.release()
        other.close()
        recorded(store)


def set_revision(path: Path, revision: str) -> None:
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("UPDATE recorder_version SET version_num = ?", (revision,))


AS_NOBODY = """
import os, sys
from recorder.store import Store
from recorder.errors import RecorderError
Store.open("sqlite:///:memory:").close()  # all is imported now: the other user may not be able to read Python's files
if os.geteuid() == 0:
    os.setgid(65534)
    os.setuid(65534)
try:
    with Store.open(sys.argv[1], create="create" in sys.argv, readonly="readonly" in sys.argv) as store:
        print(len(store.recordings()))
except RecorderError as error:
    print(type(error).__name__, error)
"""


class TestRights:
    """Seen by a user who may not write; root may do everything, so it becomes another user first."""

    @pytest.fixture
    def folder(self) -> Iterator[Path]:
        """A folder that other users can reach, unlike pytest's."""
        import tempfile

        with tempfile.TemporaryDirectory(prefix="recorder-rights-") as name:
            found = Path(name)
            found.chmod(0o755)
            yield found
            found.chmod(0o755)

    def ask(self, path: Path, *options: str) -> str:
        done = subprocess.run(
            [sys.executable, "-c", AS_NOBODY, str(path), *options],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
        return done.stdout.strip()

    def readable(self, folder: Path) -> Path:
        with Store.open(folder / "x.db", create=True) as store:
            recorded(store)
        for found in folder.rglob("*"):
            found.chmod(0o555 if found.is_dir() else 0o444)
        folder.chmod(0o555)
        return folder / "x.db"

    def test_a_closed_store_in_a_read_only_folder_can_be_read(self, folder: Path) -> None:
        assert self.ask(self.readable(folder), "readonly") == "1"

    def test_a_store_in_a_read_only_folder_cannot_be_written(self, folder: Path) -> None:
        answer = self.ask(self.readable(folder))
        assert answer.startswith("StoreUnavailable")
        assert "writable" in answer

    def test_a_read_only_folder_gets_no_store(self, folder: Path) -> None:
        folder.chmod(0o555)
        answer = self.ask(folder / "x.db", "create")
        assert answer.startswith("StoreUnavailable")
        assert "writable" in answer

    def test_an_unreadable_store_says_so(self, folder: Path) -> None:
        path = self.readable(folder)
        path.chmod(0)
        answer = self.ask(path, "readonly")
        assert answer.startswith("StoreUnavailable")
        assert "not readable" in answer

    def test_a_wal_that_cannot_be_read_is_not_passed_over(self, folder: Path) -> None:
        """Rows that are only in the WAL must not silently be missing."""
        with Store.open(folder / "x.db", create=True) as store:
            recorded(store)
            recorded(store)
            copy = folder / "copy"
            copy.mkdir()
            for name in ("x.db", "x.db-wal"):
                (copy / name).write_bytes((folder / name).read_bytes())
        for found in copy.iterdir():
            found.chmod(0o444)
        copy.chmod(0o555)
        answer = self.ask(copy / "x.db", "readonly")
        copy.chmod(0o755)
        assert answer == "2" or answer.startswith("StoreUnavailable")


# -- failures while writing --------------------------------------------------------------------------------------------


class Limit:
    """Makes a store's disk full at a number of pages, as a full disk would."""

    def __init__(self, store: Store) -> None:
        self.pages = 1 << 30
        self.connections = 0
        event.listen(store._backend.engine, "connect", self._connected)
        store._backend.disconnect()

    def _connected(self, connection: sqlite3.Connection, _: object) -> None:
        self.connections += 1
        connection.execute(f"PRAGMA max_page_count={self.pages}")


class Faults:
    """Lets one of the statements to come fail with an I/O error, before or after it was executed."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.left = -1
        self.after = False
        self.statement = ""
        faults = self

        class Cursor(sqlite3.Cursor):
            def execute(self, sql: str, parameters: Any = (), /) -> Any:
                return faults.around(sql, lambda: sqlite3.Cursor.execute(self, sql, parameters))

            def executemany(self, sql: str, parameters: Any, /) -> Any:
                return faults.around(sql, lambda: sqlite3.Cursor.executemany(self, sql, parameters))

        class Connection(sqlite3.Connection):
            def cursor(self, factory: Any = Cursor, /) -> Any:
                return super().cursor(factory)

            def execute(self, sql: str, parameters: Any = (), /) -> Any:
                return self.cursor().execute(sql, parameters)

            def executemany(self, sql: str, parameters: Any, /) -> Any:
                return self.cursor().executemany(sql, parameters)

            def commit(self) -> None:
                if self.in_transaction:
                    faults.around("COMMIT", lambda: sqlite3.Connection.commit(self))

        connect = sqlite3.connect
        monkeypatch.setattr(sqlite3, "connect", lambda *args, **options: connect(*args, factory=Connection, **options))

    def arm(self, at: int, *, after: bool) -> None:
        """The statement after `at` others is to fail."""
        self.left, self.after = at, after

    def around(self, sql: str, call: Callable[[], Any]) -> Any:
        if sql.startswith("PRAGMA"):
            return call()
        self.left -= 1
        fails = self.left == -1
        if fails and not self.after:
            self._fail(sql)
        given = call()
        if fails:
            self._fail(sql)
        return given

    def _fail(self, sql: str) -> None:
        self.statement = sql
        error = sqlite3.OperationalError("disk I/O error")
        error.sqlite_errorcode = sqlite3.SQLITE_IOERR
        raise error


class TestFailures:
    def test_a_full_disk_loses_nothing_that_was_acknowledged(self, store: Store) -> None:
        """The append fails whole, reading goes on, and the same append succeeds once there is room."""
        limit = Limit(store)
        recording = recorded(store)
        begun = opened()
        store.append([Append(begun.recording_id, begun, rows_of(begun, 0, 10))])
        limit.pages = 1
        store._backend.disconnect()
        rows = rows_of(begun, 10, 50, data=b"x" * 100_000)
        with pytest.raises(StoreUnavailable, match="disk is full") as error:
            store.append([Append(begun.recording_id, None, rows)])
        one_line(error)
        assert positions(store, begun) == list(range(10))
        assert store.recording(recording.recording_id) == recording
        limit.pages = 1 << 30
        store._backend.disconnect()
        store.append([Append(begun.recording_id, None, rows)])
        assert positions(store, begun) == list(range(50))

    @pytest.mark.parametrize(
        ("number", "said"),
        [
            (errno.ENOSPC, "the disk is full; make room"),
            (errno.EDQUOT, "the disk is full; make room"),
            (errno.EIO, "an I/O error; look at the disk"),
            (errno.EACCES, r"Permission denied \(x.db.lock\); make the folder and the files writable"),
        ],
    )
    def test_what_the_operating_system_refuses_is_told_with_what_to_do(self, number: int, said: str) -> None:
        with Store.open("sqlite:///:memory:", create=True) as memory, pytest.raises(StoreUnavailable, match=said):
            with memory._backend.write():
                raise OSError(number, os.strerror(number), "x.db.lock")

    def test_a_connection_that_failed_is_not_used_again(self, store: Store) -> None:
        """After an error nobody knows what the operating system kept of it; PostgreSQL learned that the hard way."""
        limit = Limit(store)
        recorded(store)
        before = limit.connections
        with pytest.raises(StoreUnavailable), store._backend.write():
            raise OSError(5, "Input/output error", "recorder.db")
        recorded(store)
        assert limit.connections > before

    @pytest.mark.parametrize("after", [False, True])
    @pytest.mark.parametrize("at", range(12))
    def test_an_io_error_at_any_statement_stores_all_or_nothing(
        self, path: Path, monkeypatch: pytest.MonkeyPatch, at: int, after: bool
    ) -> None:
        """Before or after it took effect (at the commit that is a real difference): sent again it is stored once."""
        faults = Faults(monkeypatch)
        with Store.open(path, create=True) as store:
            begun = opened(tags={"a": "b"})
            row, ended = an_end(begun, 3)
            append = Append(begun.recording_id, begun, [*rows_of(begun, 0, 3), row], ended)
            faults.arm(at, after=after)
            with pytest.raises(StoreUnavailable, match="an I/O error"):
                store.append([append])
            assert (faults.statement == "COMMIT") == (at == 11)
            committed = after and faults.statement == "COMMIT"
            assert positions(store, begun) == ([0, 1, 2, 3] if committed else [])
            assert len(store.unread()) == committed
            store.append([append])
            assert store.recording(begun.recording_id).ending == ended
            assert positions(store, begun) == [0, 1, 2, 3]
            assert store.unread() == [begun.recording_id]
            assert store.runs()[0].tags == {"a": "b"}

    def test_a_store_that_was_deleted_is_made_again_for_new_recordings(self, store: Store, path: Path) -> None:
        """What is under way lacks its beginning there; the writer stays alive in the eyes of others."""
        writer = uuid7()
        store.claim_writer(writer)
        begun = opened(writer=writer)
        store.append([Append(begun.recording_id, begun, rows_of(begun, 0, 3))])
        for found in sorted(path.parent.rglob("*"), reverse=True):
            found.rmdir() if found.is_dir() else found.unlink()
        with pytest.raises(Conflict, match="in this store"):
            store.append([Append(begun.recording_id, None, rows_of(begun, 3, 5))])
        recording = recorded(store, writer=writer)
        with Store.open(path) as other:
            assert other.recording(recording.recording_id) == recording
            assert other.writer_alive(writer)

    def test_a_store_that_was_deleted_alone_is_made_again_beside_its_locks(self, store: Store, path: Path) -> None:
        """The writer's lock file is still where others look for it."""
        writer = uuid7()
        store.claim_writer(writer)
        lock = path.with_name("recorder.db.writers") / f"{writer}.lock"
        before = lock.stat().st_ino
        for name in ("recorder.db", "recorder.db-wal", "recorder.db-shm"):
            path.with_name(name).unlink(missing_ok=True)
        recording = recorded(store, writer=writer)
        with Store.open(path) as other:
            assert other.recording_ids() == [recording.recording_id]
            assert other.writer_alive(writer)
        assert lock.stat().st_ino == before

    def test_a_file_that_is_put_in_the_place_of_an_open_one_is_not_mixed_with_it(
        self, store: Store, path: Path
    ) -> None:
        """A copy that somebody puts back meanwhile: SQLite would apply the log of the file before it to it."""
        recorded(store)
        with Store.open(path.with_name("other.db"), create=True) as other:
            wanted = {recorded(other).recording_id for _ in range(2)}
        path.with_name("other.db").replace(path)
        for use in (lambda: recorded(store), store.recordings):
            with pytest.raises(StoreUnavailable, match="move the files that end in -wal and -shm away"):
                use()
        store.close()
        for name in ("recorder.db-wal", "recorder.db-shm"):
            path.with_name(name).unlink()
        with Store.open(path) as again:
            assert {each.recording.recording_id for each in again.recordings()} == wanted

    def test_a_file_that_is_put_in_the_place_of_one_whose_log_went_too_is_gone_on_with(
        self, store: Store, path: Path
    ) -> None:
        """Nothing is left of the one before that could be applied to it."""
        recorded(store)
        with Store.open(path.with_name("other.db"), create=True) as other:
            wanted = recorded(other).recording_id
        for name in ("recorder.db-wal", "recorder.db-shm"):
            path.with_name(name).unlink()
        path.with_name("other.db").replace(path)
        assert store.recording_ids() == [wanted]
        after = recorded(store).recording_id
        store.close()
        assert check_store(path) == []
        with Store.open(path, readonly=True) as again:
            assert set(again.recording_ids()) == {wanted, after}

    def test_a_reader_is_waited_for_where_older_pages_have_to_go(self, store: Store, path: Path) -> None:
        recorded(store)
        reader = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM recordings").fetchone()
        recorded(store)
        leaving = threading.Timer(1.5, reader.execute, ("ROLLBACK",))
        leaving.start()
        assert store.tidy() is None
        leaving.join()
        reader.close()
        assert path.with_name("recorder.db-wal").stat().st_size == 0

    def test_who_tidied_up_waits_for_others_as_before(self, store: Store) -> None:
        recorded(store)
        assert store.tidy() is None
        with store._backend.write() as connection:
            assert connection.exec_driver_sql("PRAGMA busy_timeout").scalar() == sqlite.BUSY_MS

    def test_a_writer_that_was_released_leaves_no_sign_behind(self, store: Store, path: Path) -> None:
        """Else the folder would fill with a file for each writer that there was."""
        recorded(store)

        def files() -> set[Path]:
            return {each for each in path.parent.rglob("*") if each.is_file()}

        before, writers = files(), [uuid7(), uuid7()]
        for writer in writers:
            store.claim_writer(writer)
        assert len(files() - before) == 2
        store.release_writer(writers[0])
        assert len(files() - before) == 1
        store.close()
        assert not files() - before

    def test_a_removal_of_much_is_followed_by_a_checkpoint(self, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
        """What goes is in the log of pages like what comes; it would grow till much is written."""
        recording = recorded(store, events=1000)
        assert store.tidy() is None
        monkeypatch.setattr(sqlite, "CHECKPOINT_PAGES", 50)
        made: list[str] = []

        def note(*given: Any) -> None:
            made.append(given[2])

        event.listen(store._backend.engine, "before_cursor_execute", note)
        recorded(store)
        assert not any("wal_checkpoint" in statement for statement in made)
        assert store.remove([recording.recording_id], "Vera", "asked to") == [recording.recording_id]
        assert any("wal_checkpoint" in statement for statement in made)

    def test_a_checkpoint_closes_no_connection(self, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
        """Only a failed one does; opening another takes longer than an append."""
        monkeypatch.setattr(sqlite, "CHECKPOINT_PAGES", 1)
        recorded(store)
        limit = Limit(store)
        for _ in range(3):
            recorded(store)
        assert limit.connections == 1

    def test_an_append_of_nothing_changes_nothing(self, store: Store) -> None:
        recording = recorded(store)
        before = positions(store, recording)
        store.append([Append(recording.recording_id)])
        assert positions(store, recording) == before
        assert store.recording(recording.recording_id) == recording

    def test_a_store_in_memory_outlives_a_failure(self) -> None:
        """Its one connection is the store; a file's are closed then."""
        with Store.open("sqlite:///:memory:", create=True) as memory:
            before = recorded(memory)
            with pytest.raises(StoreUnavailable), memory._backend.write():
                raise OSError(5, "Input/output error")
            recorded(memory)
            assert memory.recording(before.recording_id) == before

    def test_a_store_in_memory_has_nothing_to_tidy(self) -> None:
        with Store.open("sqlite:///:memory:", create=True) as memory:
            recording = recorded(memory)
            assert memory.tidy() is None
            assert positions(memory, recording)

    def test_a_store_that_was_deleted_is_not_made_again_unasked(self, path: Path) -> None:
        Store.open(path, create=True).close()
        with Store.open(path) as store:
            path.unlink()
            with pytest.raises(NotFound):
                recorded(store)
            assert not path.exists()

    def test_the_wal_stays_small(self, store: Store, path: Path) -> None:
        """Though it is never checkpointed by SQLite itself."""
        recording = opened()
        store.append([Append(recording.recording_id, recording)])
        for at in range(0, 40_000, 100):
            store.append([Append(recording.recording_id, None, rows_of(recording, at, at + 100, data=b"x" * 500))])
        assert path.stat().st_size > 16 << 20
        assert path.with_name("recorder.db-wal").stat().st_size < 12 << 20

    def test_an_idle_reader_only_delays_the_checkpoint(self, store: Store, path: Path) -> None:
        with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as reader:
            reader.execute("BEGIN")
            reader.execute("SELECT count(*) FROM events").fetchone()
            recording = opened()
            store.append([Append(recording.recording_id, recording, rows_of(recording, 0, 9000, data=b"x" * 1000))])
            for at in range(9000, 9200, 2):
                store.append([Append(recording.recording_id, None, rows_of(recording, at, at + 2))])
            assert path.stat().st_size < 1 << 20
        for at in range(9200, 9600, 2):
            store.append([Append(recording.recording_id, None, rows_of(recording, at, at + 2))])
        assert path.stat().st_size > 9 << 20


# -- many processes ----------------------------------------------------------------------------------------------------

WRITE = """
import random, sys, time
from recorder.store import Append, Store
from tests.rows import opened, rows_of
path, number, begin, seconds, pause = sys.argv[1], int(sys.argv[2]), *map(float, sys.argv[3:])
rng = random.Random(number)
store = Store.open(path, create=True)
recording = opened()
store.append([Append(recording.recording_id, recording)])
print("ready", flush=True)
begin = float(input())
time.sleep(max(0.0, begin - time.time()))
stored = 0
while time.time() < begin + seconds:
    store.append([Append(recording.recording_id, None, rows_of(recording, stored, stored + 20, data=b"x" * 150))])
    stored += 20
    due = begin + pause * (stored / 20 + rng.uniform(-0.4, 0.4))
    time.sleep(max(0.0, due - time.time()))
print(recording.recording_id, stored, flush=True)
"""


def shares(path: Path, seconds: float, pause: float) -> list[int]:
    """Rows that each of eight processes stored; each row is checked to be there."""
    with contextlib.ExitStack() as stack:
        writers = [stack.enter_context(start(WRITE, path, number, 0, seconds, pause)) for number in range(8)]
        for writer in writers:
            assert writer.stdout is not None
            assert writer.stdout.readline() == "ready\n"
        begin = time.time() + 0.2
        for writer in writers:
            tell(writer, str(begin))
        lines = [writer.communicate()[0].split() for writer in writers]
        assert [writer.returncode for writer in writers] == [0] * 8
    from uuid import UUID

    with Store.open(path, readonly=True) as store:
        for name, stored in lines:
            assert [found.position for found in store.events(UUID(name))] == list(range(int(stored)))
    return [int(stored) for _, stored in lines]


class TestManyProcesses:
    """What test_fairness asks of writers, asked of bare stores."""

    @pytest.mark.nightly
    def test_eight_writers_at_a_realistic_pace_get_the_same(
        self, path: Path, record_property: Callable[[str, Any], None]
    ) -> None:
        """A batch every 20 to 50 ms each; no error, no row lost."""
        Store.open(path, create=True).close()
        # Whatever else keeps the machine busy hits some processes more than others; a lock that is not fair, always.
        rounds: list[float] = []
        while len(rounds) < 3 and max(rounds, default=0) < 0.9:
            found = shares(path, seconds=2, pause=0.035)
            rounds.append(min(found) / max(found))
        record_property("share", f"{max(rounds):.2f}")
        assert max(rounds) >= 0.9
        assert min(rounds) >= 0.2

    @pytest.mark.nightly
    def test_eight_writers_as_fast_as_they_can_all_get_something(
        self, path: Path, record_property: Callable[[str, Any], None]
    ) -> None:
        Store.open(path, create=True).close()
        found = shares(path, seconds=2.5, pause=0)
        record_property("share", f"{min(found) / max(found):.2f} of {sum(found)} rows")
        assert min(found) >= 0.2 * max(found)

    @pytest.mark.timeout(300)  # a busy machine takes many times as long as an idle one to start them
    def test_eight_processes_may_make_the_store_at_once(self, path: Path) -> None:
        script = (
            "import sys; from recorder.store import Store; from tests.rows import recorded; print('r', flush=True);"
            "input(); s = Store.open(sys.argv[1], create=True); recorded(s); s.close()"
        )
        with contextlib.ExitStack() as stack:
            makers = [stack.enter_context(start(script, path)) for _ in range(8)]
            for maker in makers:
                assert maker.stdout is not None
                maker.stdout.readline()
            for maker in makers:
                tell(maker, "")
            assert [maker.wait(100) for maker in makers] == [0] * 8
        with Store.open(path, readonly=True) as store:
            assert len(store.recordings()) == 8
        assert check_store(path) == []

    def test_a_killed_writer_is_dead_and_what_it_acknowledged_is_there(self, path: Path) -> None:
        script = WRITE.replace(
            "store.append([Append(recording.recording_id, recording)])",
            ("store.claim_writer(recording.writer); store.append([Append(recording.recording_id, recording)])"),
        ).replace("    stored += 20\n", "    stored += 20\n    print(stored, flush=True)\n")
        for _ in range(examples(3, 100)):
            with Store.open(path, create=True) as store:
                known = {lease.recording_id for lease in store.open_recordings()}
                with start(script, path, 1, 0, 60, 0) as writer:
                    assert writer.stdout is not None
                    assert writer.stdout.readline() == "ready\n"
                    (lease,) = (one for one in store.open_recordings() if one.recording_id not in known)
                    assert store.writer_alive(lease.writer)
                    assert lease.recording_id not in store.dead_recordings()
                    tell(writer, str(time.time()))
                    for _ in range(20):
                        acknowledged = int(writer.stdout.readline())
                    writer.send_signal(signal.SIGKILL)
                    acknowledged = int((writer.stdout.read().rpartition("\n")[0] or str(acknowledged)).split()[-1])
                assert not store.writer_alive(lease.writer)
                assert lease.recording_id in store.dead_recordings()
                stored = [found.position for found in store.events(lease.recording_id)]
                assert len(stored) in (acknowledged, acknowledged + 20)
                assert stored == list(range(len(stored)))
        assert list(path.with_name("recorder.db.writers").glob("*.lock")) == []


# -- locks -------------------------------------------------------------------------------------------------------------


class TestLocks:
    def test_a_hold_lasts_until_it_is_given_up(self, tmp_path: Path) -> None:
        hold = Hold(tmp_path / "x.lock")
        assert not is_free(hold.path, clear=True)
        hold.release()
        assert is_free(hold.path, clear=True)
        assert not hold.path.exists()

    def test_looking_at_a_left_lock_file_removes_it(self, tmp_path: Path) -> None:
        path = tmp_path / "x.lock"
        path.touch()
        assert is_free(path, clear=False)
        assert path.exists()
        assert is_free(path, clear=True)
        assert not path.exists()

    def test_a_hold_is_made_once_nobody_else_looks(self, tmp_path: Path) -> None:
        """Whoever looks whether it is free has it locked for a moment, and may remove it."""
        path = tmp_path / "x.lock"
        path.touch()
        looking = os.open(path, os.O_RDWR)
        assert try_lock(looking)
        made: list[Hold] = []
        making = threading.Thread(target=lambda: made.append(Hold(path)))
        making.start()
        making.join(0.05)
        assert made == []
        path.unlink()
        os.close(looking)
        making.join(30)
        assert made[0].is_in_place()
        made[0].release()

    def test_a_hold_is_never_taken_for_dead_while_it_is_made(self, tmp_path: Path) -> None:
        """Others look, and remove what they find free, all the while."""
        done = threading.Event()

        def look() -> None:
            while not done.is_set():
                for found in tmp_path.iterdir():
                    is_free(found, clear=True)

        looking = threading.Thread(target=look)
        looking.start()
        for number in range(300):
            hold = Hold(tmp_path / f"{number}.lock")
            assert hold.is_in_place()
            assert not is_free(hold.path, clear=True)
            hold.release()
        done.set()
        looking.join()

    def test_a_lock_is_held_by_one_and_waited_for_up_to_a_deadline(self, tmp_path: Path) -> None:
        one, two = (FairLock(tmp_path / "lock", tmp_path / "turn") for _ in range(2))
        assert one.acquire(1)
        assert not two.acquire(0.02)
        one.release()
        assert two.acquire(1)
        two.close()
        assert one.acquire(1)
        one.close()

    def test_who_does_not_get_the_turn_in_time_gives_up(self, tmp_path: Path) -> None:
        """Somebody waits in front; then it is as free as before."""
        lock = FairLock(tmp_path / "lock", tmp_path / "turn")
        descriptor = os.open(tmp_path / "turn", os.O_RDWR)
        assert try_lock(descriptor)
        assert not lock.acquire(0.02)
        os.close(descriptor)
        assert lock.acquire(1)
        lock.close()

    def test_a_lock_that_cannot_be_made_leaves_no_file_open(self, tmp_path: Path) -> None:
        for lock, turn in (("lock", "missing/turn"), ("missing/lock", "turn")):
            with pytest.raises(FileNotFoundError):
                FairLock(tmp_path / lock, tmp_path / turn)
        assert (tmp_path / "lock").exists()
        assert tmp_path / "lock" not in opened_files()

    def test_what_cannot_be_opened_counts_as_held(self, tmp_path: Path) -> None:
        """Whoever cannot look does not take another's life for over."""
        (tmp_path / "x.lock").mkdir()
        assert not is_free(tmp_path / "x.lock", clear=True)
        assert (tmp_path / "x.lock").is_dir()


def opened_files() -> list[Path]:
    """What this process has open; nothing where the system does not tell."""
    found = []
    for each in Path("/proc/self/fd").glob("*"):
        with contextlib.suppress(FileNotFoundError):  # the listing's own
            found.append(each.readlink())
    return found


# -- forks -------------------------------------------------------------------------------------------------------------

FORK_WHILE_BUSY = """
import os, sys, threading
from recorder.errors import StoreUnavailable
from recorder.store import Store, backend
from tests.rows import recorded
backend.QUIET_WAIT = 0.05
store = Store.open(sys.argv[1], create=True)
recorded(store)
busy, done = threading.Event(), threading.Event()
def work():
    with store._backend.write():
        busy.set()
        done.wait()
thread = threading.Thread(target=work)
thread.start()
busy.wait()
child = os.fork()
if child == 0:
    try:
        recorded(store)
    except StoreUnavailable as error:
        print(error, flush=True)
        os._exit(0)
    os._exit(1)
assert os.waitpid(child, 0)[1] == 0
done.set()
thread.join()
recorded(store)
print(len(store.recordings()))
"""


class TestForks:
    def test_a_fork_while_the_store_is_busy_leaves_the_child_without_it(self, path: Path) -> None:
        """The parent could not close its connections, so the child must not touch the file."""
        with start(FORK_WHILE_BUSY, path) as forking:
            output = forking.communicate(timeout=100)[0].splitlines()
        assert forking.returncode == 0
        assert "forked while its parent was busy" in output[0]
        assert output[1] == "2"

    @pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")  # threads of other tests may still be ending
    def test_after_a_fork_each_side_has_a_store_in_memory_of_its_own(self) -> None:
        """The parent's writer is not the child's."""
        writer = uuid7()
        with Store.open("sqlite:///:memory:", create=True) as memory:
            memory.claim_writer(writer)
            recorded(memory)
            child = os.fork()
            if child == 0:
                code = 1
                with contextlib.suppress(BaseException):
                    recorded(memory)
                    code = 10 * memory.writer_alive(writer) + len(memory.recordings())
                os._exit(code)
            assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 2
            assert memory.writer_alive(writer)
            assert len(memory.recordings()) == 1

    def test_no_connection_is_open_while_a_process_forks(self, store: Store, path: Path) -> None:
        recorded(store)
        assert path.with_name("recorder.db-wal").exists()
        backend._before_fork()
        assert not path.with_name("recorder.db-wal").exists()
        backend._after_fork_in_parent()
        recorded(store)
        assert len(store.recordings()) == 2

    def test_a_user_inside_is_waited_for_and_those_outside_wait(self) -> None:
        gate = backend.Gate()
        order = []

        def use() -> None:
            with gate:
                order.append("in")

        with gate:
            assert not gate.shut(0.01)
            user = threading.Thread(target=use)
            user.start()
            gate.open()
            user.join()
        assert gate.shut(1)
        user = threading.Thread(target=use)
        user.start()
        order.append("shut")
        gate.open()
        user.join()
        assert order == ["in", "shut", "in"]

    def test_who_was_inside_before_waits_like_any_other(self) -> None:
        gate = backend.Gate()
        order = []
        left, shut = threading.Event(), threading.Event()

        def use() -> None:
            with gate, gate:
                pass
            left.set()
            assert shut.wait(30)
            with gate:
                order.append("in again")

        user = threading.Thread(target=use)
        user.start()
        assert left.wait(30)
        assert gate.shut(30)
        shut.set()
        user.join(0.05)  # time enough to go in, did it not have to wait
        order.append("opened")
        gate.open()
        user.join()
        assert order == ["opened", "in again"]

    def test_who_shuts_goes_on_as_soon_as_the_last_has_left(self) -> None:
        gate = backend.Gate()
        said = []
        shutting = threading.Thread(target=lambda: said.append(gate.shut(1000)))
        with gate:
            shutting.start()
            while not gate._shut:
                time.sleep(0.001)
        shutting.join(30)
        assert said == [True]


# -- migrating ---------------------------------------------------------------------------------------------------------


def test_an_older_store_is_upgraded_after_a_backup(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first to open it does so; the rows stay, and the backup is the store as it was."""
    with Store.open(path, create=True) as store:
        recording = recorded(store)
    before = schema.REVISION
    newer_code(tmp_path, monkeypatch)
    with pytest.raises(SchemaMismatch, match="recorder db upgrade"):
        Store.open(path, upgrade=False)
    with pytest.raises(SchemaMismatch, match="recorder db upgrade"):
        Store.open(path, readonly=True)
    with Store.open(path) as store:
        assert store.recording(recording.recording_id) == recording
        with store._backend.read() as connection:
            connection.exec_driver_sql("SELECT added FROM erasures")
            assert connection.exec_driver_sql("PRAGMA user_version").scalar() == stamp(schema.REVISION)
    backup = path.with_name(f"recorder.db.backup-{before}")
    assert stat.S_IMODE(backup.stat().st_mode) == 0o600
    monkeypatch.undo()
    with Store.open(backup, readonly=True) as store:
        assert store.recording(recording.recording_id) == recording


def test_an_upgrade_keeps_the_backup_of_an_earlier_try(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is of before the first try; what a later one would copy may be half of something."""
    with Store.open(path, create=True):
        pass
    backup = path.with_name(f"recorder.db.backup-{schema.REVISION}")
    backup.write_bytes(b"earlier")
    newer_code(tmp_path, monkeypatch)
    Store.open(path).close()
    assert backup.read_bytes() == b"earlier"


def test_an_upgrade_that_fails_leaves_the_store_as_it_was(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Store.open(path, create=True) as store:
        recording = recorded(store)
    newer_code(tmp_path, monkeypatch, "op.execute('SELECT * FROM nowhere')")
    with pytest.raises(RecorderError, match="nowhere"):
        Store.open(path)
    monkeypatch.undo()
    with Store.open(path) as store:
        assert store.recording(recording.recording_id) == recording
    assert check_store(path) == []


def newer_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, more: str = "pass") -> None:
    """Pretend that the code has the next minor revision, which adds a column and then does `more`."""
    import shutil

    from recorder import resources

    folder = tmp_path / "migrations"
    shutil.copytree(resources.folder("migrations"), folder)
    major, minor = schema.REVISION.split(".")
    revision = f"{major}.{int(minor) + 1}"
    (folder / "versions" / "9999_more.py").write_text(
        "import sqlalchemy as sa\nfrom alembic import op\n"
        f"revision, down_revision = {revision!r}, {schema.REVISION!r}\n"
        "def upgrade():\n    op.add_column('erasures', sa.Column('added', sa.Text()))\n"
        f"    {more}\n"
    )
    monkeypatch.setattr(resources, "folder", lambda name: folder)
    monkeypatch.setattr(schema, "REVISION", revision)


def stamp(revision: str) -> int:
    """A revision as SQLite's `user_version` holds it."""
    major, minor = map(int, revision.split("."))
    return major * 1000 + minor
