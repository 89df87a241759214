"""What is PostgreSQL's own: servers that are down, full, strange or killed; leases by its clock; bulk loading."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import select

from recorder import schema
from recorder.errors import (
    Conflict,
    NotAStore,
    NotFound,
    RecorderError,
    SchemaMismatch,
    StoreError,
    StoreUnavailable,
    UsageError,
)
from recorder.recording import uuid7
from recorder.schema import leases
from recorder.store import Append, Store, check_store, describe_store, migrate_store, postgresql
from tests.faulted import child
from tests.needs import examples, need
from tests.postgres import Postgres, binaries
from tests.rows import opened, positions, recorded, rows_of


@pytest.fixture
def url(postgres_database: str) -> str:
    return postgres_database


@pytest.fixture
def store(url: str) -> Iterator[Store]:
    with Store.open(url, create=True) as made:
        yield made


@pytest.fixture(scope="module")
def own() -> Iterator[Postgres]:
    """A server that these tests may stop and kill. The user `locked` needs a password there."""
    need("postgres", binaries() is not None, "no PostgreSQL server in /usr/lib/postgresql")
    server = Postgres()
    rules = server.data / "pg_hba.conf"
    rules.write_text("host all locked 127.0.0.1/32 scram-sha-256\n" + rules.read_text())
    with server:
        server.execute("CREATE ROLE locked LOGIN PASSWORD 'right-secret'")
        yield server


def one_line(error: pytest.ExceptionInfo[RecorderError]) -> str:
    """The message, which is one line that says what to do next and holds no password."""
    text = str(error.value)
    assert "\n" not in text
    assert "secret" not in text
    assert ";" in text, "what is wrong; what to do"
    return text


# -- connecting --------------------------------------------------------------------------------------------------------


class TestConnecting:
    def test_no_server(self) -> None:
        with pytest.raises(StoreUnavailable, match="cannot be reached") as error:
            Store.open("postgresql://me:secret@127.0.0.1:1/none", create=True)
        one_line(error)

    def test_no_driver(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """recorder's base does without it."""
        monkeypatch.setitem(sys.modules, "psycopg", None)
        with pytest.raises(UsageError, match=r"pip install 'run-recorder\[postgres\]'") as error:
            Store.open("postgresql://me:secret@127.0.0.1:1/none", create=True)
        one_line(error)

    def test_a_wrong_password(self, own: Postgres) -> None:
        where = f"127.0.0.1:{own.port}/postgres"
        with pytest.raises(StoreUnavailable, match="password authentication failed") as error:
            Store.open(f"postgresql://locked:wrong-secret@{where}")
        one_line(error)
        with pytest.raises(NotFound):
            Store.open(f"postgresql://locked:right-secret@{where}")

    @pytest.mark.parametrize(
        "url",
        [
            "postgresql://me:secret@{where}",
            "postgres://me:secret@{where}",
            "postgresql://me@{where}?password=secret",
            "postgresql://me:secret@{where}?sslpassword=secret&application_name=x",
        ],
    )
    def test_the_url_as_shown_holds_no_password(self, postgres: Postgres, url: str) -> None:
        name = postgres.create_database()
        with contextlib.suppress(Exception):
            postgres.execute("CREATE ROLE me LOGIN SUPERUSER")
        with Store.open(url.format(where=f"127.0.0.1:{postgres.port}/{name}"), create=True) as store:
            assert "secret" not in store.url
            assert store.url.startswith(f"postgresql://me{':***' if 'me:' in url else ''}@127.0.0.1:")
            recorded(store)
        postgres.drop_database(name)

    def test_a_socket_will_do(self, postgres: Postgres) -> None:
        name = postgres.create_database()
        with Store.open(postgres.socket_url(name), create=True) as store:
            recorded(store)
        postgres.drop_database(name)

    def test_no_such_database(self, postgres: Postgres) -> None:
        with pytest.raises(StoreUnavailable, match="does not exist") as error:
            Store.open(postgres.url("nowhere"))
        one_line(error)

    def test_an_unreadable_url(self) -> None:
        with pytest.raises(RecorderError, match="USER@HOST") as error:
            Store.open("postgresql://host:port:secret/")
        one_line(error)

    def test_another_applications_database(self, postgres: Postgres, url: str) -> None:
        postgres.execute("CREATE TABLE theirs (x int)", url.rpartition("/")[2])
        for options in ({}, {"create": True}, {"readonly": True}):
            with pytest.raises(NotAStore, match="not a recorder store") as error:
                Store.open(url, **options)
            one_line(error)

    def test_a_database_that_is_not_unicode(self, postgres: Postgres) -> None:
        postgres.execute("CREATE DATABASE latin ENCODING 'LATIN1' TEMPLATE template0")
        with pytest.raises(StoreError, match="UTF8") as error:
            Store.open(postgres.url("latin"), create=True)
        one_line(error)
        postgres.drop_database("latin")

    def test_a_database_that_takes_no_writes(self, postgres: Postgres, url: str) -> None:
        Store.open(url, create=True).close()
        name = url.rpartition("/")[2]
        postgres.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
        with Store.open(url) as store:
            with pytest.raises(StoreUnavailable, match="takes no writes") as error:
                recorded(store)
            one_line(error)
            assert store.recordings() == []

    def test_a_user_who_may_only_read(self, own: Postgres) -> None:
        name = own.create_database()
        with Store.open(own.url(name), create=True) as store:
            recorded(store)
        own.execute("GRANT SELECT ON ALL TABLES IN SCHEMA public TO locked", name)
        with Store.open(f"postgresql://locked:right-secret@127.0.0.1:{own.port}/{name}") as store:
            assert len(store.recordings()) == 1
            with pytest.raises(StoreUnavailable, match="does not allow") as error:
                recorded(store)
            one_line(error)
        own.drop_database(name)

    def test_a_commit_is_durable_where_the_server_would_not_wait(self, postgres: Postgres, url: str) -> None:
        Store.open(url, create=True).close()
        postgres.execute(f"ALTER DATABASE {url.rpartition('/')[2]} SET synchronous_commit = off")
        with Store.open(url) as store, store._backend.write() as connection:
            assert connection.exec_driver_sql("SHOW synchronous_commit").scalar() == "on"


# -- schema ------------------------------------------------------------------------------------------------------------


class TestSchema:
    def test_an_older_store_is_upgraded_only_on_command(self, postgres: Postgres, url: str) -> None:
        Store.open(url, create=True).close()
        postgres.execute("UPDATE recorder_version SET version_num = '0.9'", url.rpartition("/")[2])
        for options in ({}, {"create": True}, {"readonly": True}):
            with pytest.raises(SchemaMismatch, match="run `recorder db upgrade`") as error:
                Store.open(url, **options)
            one_line(error)
        assert describe_store(url) == (False, "0.9")

    def test_a_newer_store_is_refused(self, postgres: Postgres, url: str) -> None:
        Store.open(url, create=True).close()
        postgres.execute("UPDATE recorder_version SET version_num = '2.0'", url.rpartition("/")[2])
        for ask in (lambda: Store.open(url), lambda: migrate_store(url)):
            with pytest.raises(SchemaMismatch, match="install a newer") as error:
                ask()
            one_line(error)

    def test_an_empty_database_becomes_a_store_by_upgrading(self, url: str) -> None:
        assert describe_store(url) == (True, None)
        assert migrate_store(url) == (None, schema.REVISION)
        assert check_store(url) == []

    def test_upgrading_runs_the_missing_migrations(
        self, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from tests.test_store_sqlite import newer_code

        with Store.open(url, create=True) as store:
            recording = recorded(store)
        before = schema.REVISION
        newer_code(tmp_path, monkeypatch)
        with pytest.raises(SchemaMismatch):
            Store.open(url)
        assert migrate_store(url) == (before, schema.REVISION)
        with Store.open(url) as store:
            assert store.recording(recording.recording_id) == recording

    def test_several_may_make_the_store_at_once(self, url: str) -> None:
        failures: list[BaseException] = []

        def make() -> None:
            try:
                with Store.open(url, create=True) as store:
                    recorded(store)
            except BaseException as error:
                failures.append(error)

        threads = [threading.Thread(target=make) for _ in range(5)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert failures == []
        with Store.open(url) as store:
            assert len(store.recordings()) == 5
        assert check_store(url) == []


# -- failures ----------------------------------------------------------------------------------------------------------


def test_a_killed_server_loses_nothing_that_was_acknowledged(own: Postgres) -> None:
    """Appends fail while it is away; the same again is stored once when it is back."""
    name = own.create_database()
    with Store.open(own.url(name), create=True) as store:
        for _ in range(examples(2, 20)):
            recording = opened()
            store.append([Append(recording.recording_id, recording, rows_of(recording, 0, 50))])
            own.kill()
            missing = [Append(recording.recording_id, recording, rows_of(recording, 0, 60))]
            with pytest.raises(StoreUnavailable) as error:
                store.append(missing)
            one_line(error)
            with pytest.raises(StoreUnavailable):
                store.recordings()
            own.start()
            store.append(missing)
            assert positions(store, recording) == list(range(60))
    own.drop_database(name)


def test_a_server_that_ends_our_session_is_returned_to(postgres: Postgres, store: Store) -> None:
    recorded(store)
    postgres.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()")
    with pytest.raises(StoreUnavailable, match=r"not reachable any more|cannot be reached"):
        recorded(store)
    recorded(store)
    assert len(store.recordings()) == 2


def test_a_refused_row_is_not_quoted(store: Store) -> None:
    """PostgreSQL's details hold the row that it refused; our messages and tracebacks do not."""
    import traceback

    recording = opened()
    row = list(rows_of(recording, 0, 1, data=b"secret payload")[0])
    row[3] = None
    with pytest.raises(StoreError) as error:
        store.append([Append(recording.recording_id, recording, [tuple(row)])])  # type: ignore[list-item]
    assert "23502" in one_line(error)
    shown = "".join(traceback.format_exception(error.value))
    assert "secret payload" not in shown
    assert b"secret payload".hex() not in shown


def test_what_the_driver_refuses_is_told_without_its_text(store: Store) -> None:
    """It never came to the server, so there is no SQLSTATE."""
    with pytest.raises(StoreError, match="DataError; look at the log of the server") as error:
        with store._backend.read() as connection:
            connection.exec_driver_sql("SELECT %s::text", ("secret\0",))
    one_line(error)


@pytest.mark.parametrize("state", ["22P02", "22001", "23505"])
def test_what_a_server_says_of_a_value_is_not_told(store: Store, state: str) -> None:
    """Of data and of constraints it quotes what was to be stored; of all else its words help."""
    with pytest.raises(StoreError, match=f"refuses with SQLSTATE {state}: ") as error:
        with store._backend.read() as connection:
            connection.exec_driver_sql(f"DO $$ BEGIN RAISE 'secret' USING ERRCODE = '{state}'; END $$")
    assert "secret" not in one_line(error)
    with pytest.raises(StoreError, match="SQLSTATE 0A000: it cannot do this; look at the log"):
        with store._backend.read() as connection:
            connection.exec_driver_sql("DO $$ BEGIN RAISE 'it cannot do this' USING ERRCODE = '0A000'; END $$")


def test_what_a_server_refuses_is_told_with_what_to_do(store: Store) -> None:
    for state, told in (
        ("08006", "is not reachable any more; start it again"),
        ("57P01", "is not reachable any more; start it again"),
        ("53100", "cannot grow: the server's disk is full; make room"),
        ("53300", "raise the server's limits"),
        ("54000", "raise the server's limits"),
        ("40P01", "another transaction was in the way; try again"),
        ("55P03", "another transaction was in the way; try again"),
        ("57014", "another transaction was in the way; try again"),
        ("25006", "name the primary server"),
        ("28P01", "does not let this user in; correct the URL"),
        ("42501", "does not allow this to this user; grant it, see `recorder db roles`"),
        ("58030", "look at the server's log"),
        ("XX001", "look at the server's log"),
    ):
        with pytest.raises(StoreUnavailable) as error:
            with store._backend.read() as connection:
                connection.exec_driver_sql(f"DO $$ BEGIN RAISE 'secret' USING ERRCODE = '{state}'; END $$")
        assert one_line(error).endswith(f" {told} (SQLSTATE {state})")


# -- bulk loading ------------------------------------------------------------------------------------------------------


def test_a_conflict_while_copying_leaves_the_connection_usable(store: Store) -> None:
    """The temporary table is made in the transaction that is rolled back, and again in the next."""
    recording = opened()
    many = rows_of(recording, 0, 2 * postgresql.COPY_FROM)
    for start in (0, 1):
        with pytest.raises(Conflict):
            store.append([Append(recording.recording_id, None, many[start:])])
    store.append([Append(recording.recording_id, recording, many)])
    with pytest.raises(Conflict):
        store.append([Append(recording.recording_id, None, rows_of(recording, 0, len(many), data=b"other"))])
    store.append([Append(recording.recording_id, None, rows_of(recording, len(many), 2 * len(many)))])
    assert positions(store, recording) == list(range(2 * len(many)))


@pytest.mark.parametrize("count", [10, 2 * postgresql.COPY_FROM])
def test_columns_of_nothing_but_none_are_taken(store: Store, count: int) -> None:
    recording = opened()
    rows = [(recording.recording_id.bytes, at, "wire", 0, None, None, None, 0, None) for at in range(count)]
    store.append([Append(recording.recording_id, recording, rows)])
    assert [tuple(found) for found in store.events(recording.recording_id)] == [row[1:] for row in rows]


# -- leases ------------------------------------------------------------------------------------------------------------


def test_a_lease_runs_out_and_can_be_renewed(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the server's clock: a writer that stopped for long comes back to life, unless it was recovered."""
    writer = uuid7()
    recording = opened(writer=writer)
    store.append([Append(recording.recording_id, recording)])
    assert store.writer_alive(writer)
    with store._backend.read() as connection:
        (until,) = connection.execute(select(leases.c.expires_at)).scalars()
        now = connection.execute(select(postgresql._NOW)).scalar_one()
    assert 0 < until - now <= postgresql.LEASE_SECONDS * 1_000_000
    assert postgresql.LEASE_SECONDS == 15, "docs/faults.md says how long"
    with store._backend.write() as connection:
        connection.exec_driver_sql("UPDATE leases SET expires_at = 1")
    assert not store.writer_alive(writer)
    assert store.dead_recordings() == [recording.recording_id]
    store.renew(writer)
    assert store.writer_alive(writer)
    assert store.dead_recordings() == []


def test_a_forked_child_leaves_the_parents_session_alone(store: Store) -> None:
    """Also when it ends as Python processes end, with every object collected."""
    recorded(store)

    def act() -> None:
        recorded(store)
        store.close()

    assert os.waitpid(child(act), 0)[1] == 0
    recorded(store)
    assert len(store.recordings()) == 3
