"""The store in DuckDB: every fact, one moment, the same from SQLite and PostgreSQL, and nothing reached from there."""

from __future__ import annotations

import contextlib
import gc
import itertools
import json
import os
import random
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import typing
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final
from uuid import UUID

import duckdb
import pytest
from openai.types.beta.threads.run_create_params import RunCreateParamsStreaming
from sqlalchemy import Boolean, LargeBinary

from recorder import queries, schema
from recorder.errors import NotAStore, NotFound, SchemaMismatch, StoreError, UsageError
from recorder.recording import Recording, uuid7
from recorder.store import Store
from tests.needs import ROOT, need
from tests.postgres import Postgres
from tests.rows import STARTED, made_reading, opened, recorded
from tests.test_queries_snapshot import Life

#: A value for each parameter of a run, of every kind that JSON has and some that hurt.
VALUES: Final[dict[str, Any]] = {
    "assistant_id": "asst_1",
    "additional_instructions": 'Say "no" to \\ and \u00e9\u4e2d\U0001f600, \t and \x1b[31m',
    "additional_messages": [{"role": "user", "content": "it's"}],
    "include": ["step_details.tool_calls[*].file_search.results[*].content"],
    "instructions": "",
    "max_completion_tokens": 512,
    "max_prompt_tokens": 10**30,
    "metadata": {"user": "u-1", "$.x": None, 'a"b': "c"},
    "model": "gpt-4o",
    "parallel_tool_calls": False,
    "reasoning_effort": "low",
    "response_format": {"type": "json_schema", "json_schema": {"name": "s", "schema": {"a": [1, None, True]}}},
    "stream": True,
    "temperature": 0.1,
    "tool_choice": "auto",
    "tools": [],
    "top_p": 1e-7,
    "truncation_strategy": {"type": "last_messages", "last_messages": 7},
}
#: Of what DuckDB has, the tables that SQL is meant to see.
OURS: Final = "NOT internal AND database_name IN (current_database(), 'temp') AND schema_name = 'main'"
NAMES: Final = sorted(typing.get_type_hints(RunCreateParamsStreaming))


def ask(url: str, sql: str, **options: bool) -> list[tuple[Any, ...]]:
    """The rows that one question to the store gives."""
    with contextlib.closing(queries.connect(url, **options)) as connection:
        return connection.execute(sql).fetchall()


def fill(store: Store, recordings: list[Recording]) -> None:
    """A handful of recordings, with readings that set all of a column's kinds, or none of them."""
    for number, recording in enumerate(recordings):
        recorded(store, recording_id=recording.recording_id, started_at=recording.started_at, tags={"app": "shop"})
        full = number % 2 == 0
        fields: dict[str, Any] = {
            "status": "completed",
            "complete": full,
            "metadata": {"user": "\u00e9"} if full else None,
            "model": "gpt-4o" if full else None,
            "input_tokens": 2**62 if full else None,
            "flags": ("no_end_marker",) if full else (),
            "facts": {"steps": [1]} if full else {},
            "parameters": VALUES if full else None,
            "text": "what it said" if full else None,
            "action": "create",
        }
        store.put_readings([made_reading(recording, **fields)])


def some(count: int) -> list[Recording]:
    return [opened(started_at=STARTED + number, weight=1.5) for number in range(count)]


# -- the parameters ----------------------------------------------------------------------------------------------------


def test_the_values_below_are_those_of_the_sdk() -> None:
    assert sorted(VALUES) == NAMES


def test_each_parameter_of_a_run_is_selected_by_its_name(url: str) -> None:
    """A row that sets each, one that sets none, one that nulls each: its JSON, NULL, 'null'."""
    rows = [VALUES, {}, dict.fromkeys(VALUES)]
    with Store.open(url, create=True) as store:
        for parameters in rows:
            store.put_readings([made_reading(recorded(store), parameters=parameters)])
    with contextlib.closing(queries.connect(url)) as connection:
        for name in NAMES:
            select = f'SELECT "{name}" FROM run_params ORDER BY recording_id'
            (set_,), (absent,), (null,) = connection.execute(select).fetchall()
            assert json.loads(set_) == VALUES[name], name
            assert absent is None, name
            assert null == "null", name
        every = f"SELECT {', '.join(NAMES)} FROM run_params ORDER BY recording_id"
        found = connection.execute(every).fetchall()
    assert [[cell is None or json.loads(cell) for cell in row] for row in found] == [
        [VALUES[name] for name in NAMES],
        [True] * len(NAMES),
        [None] * len(NAMES),
    ]


def test_parameters_can_be_compared_and_looked_into(url: str) -> None:
    with Store.open(url, create=True) as store:
        store.put_readings([made_reading(recorded(store), parameters=VALUES)])
        store.put_readings([made_reading(recorded(store), parameters={"tool_choice": "none", "temperature": 1})])
    conditions = (
        "tool_choice = '\"auto\"'",
        "tool_choice ->> '$' = 'auto'",
        "temperature::DOUBLE < 0.5",
        "truncation_strategy ->> 'type' = 'last_messages'",
        "max_prompt_tokens = '1000000000000000000000000000000'",
    )
    counts = ", ".join(f"count(*) FILTER ({condition})" for condition in conditions)
    assert ask(url, f"SELECT {counts} FROM run_params") == [(1,) * len(conditions)]


def test_run_params_has_the_columns_and_rows_of_the_stores_own_view(sqlite_url: str) -> None:
    with Store.open(sqlite_url, create=True) as store:
        fill(store, some(4))
    path = sqlite_url.removeprefix("sqlite:///")
    with contextlib.closing(sqlite3.connect(path)) as connection:
        there = connection.execute("SELECT * FROM run_params ORDER BY recording_id")
        names = [column[0] for column in there.description]
        theirs = [[_value(cell) for cell in row[4:]] for row in there]
    with contextlib.closing(queries.connect(sqlite_url)) as ours:
        rows = ours.execute("SELECT * FROM run_params ORDER BY recording_id")
        assert [column[0] for column in rows.description or ()] == names
        assert [[_value(cell) for cell in row[4:]] for row in rows.fetchall()] == theirs
    assert len(theirs) == 2


def _value(text: str | None) -> object:
    """What JSON text means, whatever its spelling; absent is not null."""
    return "absent" if text is None else (json.loads(text),)


# -- what is carried over ----------------------------------------------------------------------------------------------


def test_both_databases_give_the_same_rows_and_types(sqlite_url: str, new_schema: Callable[[], str]) -> None:
    recordings, found = some(6), []
    for url in (sqlite_url, new_schema()):
        with Store.open(url, create=True) as store:
            fill(store, recordings)
            store.tag(recordings[0].recording_id, "note", None)
        with contextlib.closing(queries.connect(url, events=True, content=True)) as connection:
            tables = connection.execute("SHOW TABLES").fetchall()
            types = [connection.execute(f"DESCRIBE {name}").fetchall() for (name,) in tables]
            rows = [
                connection.execute(f"SELECT * EXCLUDE (set_at) FROM {name} ORDER BY ALL").fetchall()
                if name == "tags"
                else connection.execute(f"SELECT * FROM {name} ORDER BY ALL").fetchall()
                for (name,) in tables
            ]
        found.append((tables, types, rows))
    assert found[0] == found[1]
    names = [name for (name,) in found[0][0]]
    counts = dict(zip(names, map(len, found[0][2]), strict=True))
    facts = {"recordings": 6, "readings": 6, "endings": 6, "tags": 7, "events": 24}
    expected = {**facts, "runs": 6, "run_params": 3, "run_tags": 6, "steps": 3, "calls": 0}
    assert {name: counts[name] for name in expected} == expected


def test_an_empty_store_gives_the_same_columns_as_a_full_one(url: str) -> None:
    """Types come from the schema, never from what happens to be in the first rows."""
    describe = f"SELECT table_name, column_name, data_type FROM duckdb_columns() WHERE {OURS} ORDER BY ALL"
    with Store.open(url, create=True) as store:
        empty = ask(url, describe, events=True)
        assert ask(url, "SELECT count(*) FROM runs") == [(0,)]
        fill(store, some(1))
    assert ask(url, describe, events=True) == empty
    kinds = {(table, column): kind for table, column, kind in empty}
    assert kinds["readings", "recording_id"] == kinds["runs", "run_id"] == "UUID"
    assert kinds["readings", "complete"] == kinds["runs", "complete"] == "BOOLEAN"
    assert kinds["readings", "input_tokens"] == kinds["runs", "events"] == "BIGINT"
    assert kinds["runs", "started"] == kinds["recordings", "started"] == "TIMESTAMP"
    assert set(kinds.values()) == {"UUID", "BIGINT", "INTEGER", "BOOLEAN", "DOUBLE", "VARCHAR", "TIMESTAMP", "DATE"}


def test_a_value_that_comes_after_thousands_of_nulls_is_carried(sqlite_url: str) -> None:
    """SQLite's driver tells a column's type from the first rows, so a typed one leads them."""
    with Store.open(sqlite_url, create=True) as store:
        first, last = recorded(store), recorded(store)
        nulls = [made_reading(opened(recording_id=uuid7())) for _ in range(2)]
        store.put_readings([made_reading(first), *nulls])
        store.put_readings([made_reading(last, model="gpt-4o", complete=True, input_tokens=7)])
    path = sqlite_url.removeprefix("sqlite:///")
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        # so many rows take long through the store
        connection.execute("CREATE TEMP TABLE one AS SELECT * FROM readings WHERE model IS NULL LIMIT 1")
        connection.execute("DELETE FROM readings WHERE model IS NULL")
        numbers = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 40000)"
        connection.execute(f"CREATE TEMP TABLE many AS {numbers} SELECT one.* FROM one, n")
        connection.execute("UPDATE many SET recording_id = randomblob(15) || x'00'")
        connection.execute("CREATE TEMP TABLE tail AS SELECT * FROM readings")
        connection.execute("DELETE FROM readings")
        connection.execute("INSERT INTO readings SELECT * FROM many")
        connection.execute("INSERT INTO readings SELECT * FROM tail")
    answer = "SELECT count(*), max(model), bool_or(complete), sum(input_tokens) FROM readings"
    assert ask(sqlite_url, answer) == [(40_001, "gpt-4o", True, 7)]


def test_no_payload_is_carried(url: str) -> None:
    with Store.open(url, create=True) as store:
        fill(store, some(1))
    with contextlib.closing(queries.connect(url, events=True)) as connection:
        columns = connection.execute(f"SELECT table_name, column_name FROM duckdb_columns() WHERE {OURS}")
        there = set(columns.fetchall())
    payloads = {("recordings", "body"), ("recordings", "headers"), ("events", "data"), ("events", "raw")}
    assert there.isdisjoint(payloads | {("recordings", "salt"), ("readings", "text")})
    carried = {
        (table.name, column.name)
        for table in (schema.recordings, schema.readings, schema.endings, schema.tags, schema.events)
        for column in table.columns
        if not isinstance(column.type, LargeBinary)
    }
    assert carried - there == {
        ("recordings", "headers"),
        ("recordings", "match_rule"),
        ("recordings", "suffix"),
        ("readings", "text"),
        ("readings", "changed_at"),
    }


def test_the_text_comes_when_it_is_asked_for(url: str) -> None:
    with Store.open(url, create=True) as store:
        fill(store, some(2))
    assert ask(url, "SELECT text FROM readings ORDER BY 1", content=True) == [("what it said",), (None,)]
    with pytest.raises(duckdb.BinderException):
        ask(url, "SELECT text FROM readings")


def test_runs_are_those_of_the_stores_own_view(sqlite_url: str) -> None:
    """Every column of every run, in the same order: with continuations, polls, duplicates, and what is no run."""
    with Store.open(sqlite_url, create=True) as store:
        fill(store, some(40))
    path = sqlite_url.removeprefix("sqlite:///")
    flags = {column.name for column in schema.readings.columns if isinstance(column.type, Boolean)}
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
        readings = connection.execute("SELECT recording_id FROM readings ORDER BY recording_id").fetchall()
        ids = [recording_id for (recording_id,) in readings]
        for number, recording_id in enumerate(ids):
            # four readings a run, of which the last stands for it, unless a poll of the next does
            values = {
                "run_id": ids[number - number % 4],
                "superseded": number % 4 != 3,
                "is_run": None if number % 5 else number % 10 != 5,
                "duplicate": None if number % 3 else number % 2 == 0,
                "action": [None, "create", "retrieve", "submit_tool_outputs"][number * 7 % 4],
                "waited_us": None if number % 7 else number,
                "duration_us": None if number % 6 == 0 else 1000 + number,
                "longest_gap_us": None if number < 9 else number * 13 % 11,
                "stalls": None if number < 9 else number % 3,
                "model": f"model-{number}" if number % 2 else None,
                "parameters": json.dumps({"n": number}) if number % 3 else None,
            }
            places = ", ".join(f"{name} = ?" for name in values)
            connection.execute(f"UPDATE readings SET {places} WHERE recording_id = ?", [*values.values(), recording_id])
        rows = connection.execute("SELECT * FROM runs ORDER BY run_id")
        names = [column[0] for column in rows.description]
        theirs = [[_same(name, cell, flags) for name, cell in zip(names, row, strict=True)] for row in rows]
    with contextlib.closing(queries.connect(sqlite_url)) as ours:
        found = ours.execute("SELECT * FROM runs ORDER BY run_id")
        assert [column[0] for column in found.description or ()][: len(names)] == names
        assert [list(row[: len(names)]) for row in found.fetchall()] == theirs
    assert len(theirs) == 8
    for name in ("recordings", "duplicates", "waited_us", "streamed_us", "longest_gap_us", "stalls", "model"):
        assert len({row[names.index(name)] for row in theirs}) > 1, f"{name} differs between the runs"


def _same(name: str, cell: Any, flags: set[str]) -> Any:
    """SQLite's value as DuckDB has it."""
    if isinstance(cell, bytes):
        return UUID(bytes=cell)
    return bool(cell) if name in flags and cell is not None else cell


def test_times_are_microseconds_and_timestamps_of_utc(url: str) -> None:
    with Store.open(url, create=True) as store:
        fill(store, some(1))
    assert ask(url, "SELECT started_at, started::VARCHAR FROM runs") == [(STARTED, "2026-09-21 14:13:20")]
    assert ask(url, "SELECT epoch_us(started) = started_at FROM recordings") == [(True,)]


# -- where it is read from ---------------------------------------------------------------------------------------------


def test_any_name_of_a_file_will_do(tmp_path: Path) -> None:
    path = tmp_path / "a b?c#d%20'\u00e9.db"
    with Store.open(path, create=True) as store:
        recorded(store)
    assert ask(str(path), "SELECT count(*) FROM recordings") == [(1,)]
    assert [each.name for each in tmp_path.glob("a b*.db")] == [path.name]


def test_a_closed_store_in_a_read_only_folder_is_read(tmp_path: Path) -> None:
    """Where no -shm file can be made, a WAL cannot be read; but there is none."""
    folder = tmp_path / "still"
    folder.mkdir()
    with Store.open(folder / "recorder.db", create=True) as store:
        recorded(store)
    folder.chmod(0o555)
    script = (
        "import sys; from tests.test_queries import ask; print(ask(sys.argv[1], 'SELECT count(*) FROM recordings'))"
    )
    command = [sys.executable, "-c", script, str(folder / "recorder.db")]
    if os.geteuid() == 0:  # root may write anywhere, unless it gives that up
        need("setpriv", shutil.which("setpriv") is not None, "no setpriv, with which root gives up its rights")
        rights = "-dac_override,-dac_read_search"
        command = ["setpriv", f"--bounding-set={rights}", f"--inh-caps={rights}", *command]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    folder.chmod(0o755)
    assert done.stdout == "[(1,)]\n", done.stderr
    assert not list(folder.glob("*-shm"))


def test_this_process_never_opens_the_file_through_another_library(sqlite_url: str) -> None:
    """Else the first of the two to close it would drop the locks of both."""
    with Store.open(sqlite_url, create=True) as store:
        recorded(store)
        ask(sqlite_url, "SELECT 1")
        assert [name for name in sys.modules if name.startswith("adbc_driver_sqlite")] == []
        maps = Path("/proc/self/maps")
        if maps.exists():
            assert "adbc_driver_sqlite" not in maps.read_text()


_WRITER: Final = """
import itertools
import sys
from recorder.store import Store
from tests.rows import made_reading, recorded
with Store.open(sys.argv[1]) as store:
    print("ready", flush=True)
    for number in itertools.count(1):
        store.put_readings([made_reading(recorded(store))])
        print(number, flush=True)
"""


def test_a_store_is_read_while_another_process_writes_to_it(url: str) -> None:
    """Neither waits for the other; each copy is of one moment, and later ones hold no less."""
    Store.open(url, create=True).close()
    command = [sys.executable, "-c", _WRITER, url]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        try:
            assert writer.stdout.readline() == "ready\n"
            counts: list[tuple[int]] = []
            for _ in range(4):
                while counts and int(writer.stdout.readline()) <= counts[-1][0]:
                    pass  # however slow the writer is, there is something new to be copied
                with contextlib.closing(queries.connect(url)) as connection:
                    lost = "SELECT count(*) FROM readings ANTI JOIN endings USING (recording_id)"
                    assert connection.execute(lost).fetchall() == [(0,)]
                    counts += connection.execute("SELECT count(*) FROM endings").fetchall()
            assert writer.poll() is None, "it wrote until it was stopped"
        finally:
            writer.kill()
    assert counts == sorted(counts)
    assert counts[0] < counts[-1]


def test_a_store_that_this_process_writes_to_is_read(url: str) -> None:
    with Store.open(url, create=True) as store:
        for number in range(1, 4):
            recorded(store)
            assert ask(url, "SELECT count(*) FROM recordings") == [(number,)]


def test_several_connections_may_be_open_at_once(url: str) -> None:
    with Store.open(url, create=True) as store, contextlib.ExitStack() as stack:
        for number in range(1, 4):
            recorded(store)
            stack.enter_context(contextlib.closing(queries.connect(url)))
            assert ask(url, "SELECT count(*) FROM recordings") == [(number,)]


# -- what user's SQL cannot do -----------------------------------------------------------------------------------------

secret: Final = "a variable of Python's"


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, duckdb.DuckDBPyConnection]]:
    """A folder with a store and a file in it, and a connection to the store."""
    folder = tmp_path_factory.mktemp("asked")
    (folder / "in.csv").write_text("a\n1\n", encoding="utf-8")
    Store.open(folder / "recorder.db", create=True).close()
    with contextlib.closing(queries.connect(folder / "recorder.db")) as connection:
        yield folder, connection


@pytest.mark.parametrize(
    "sql",
    [
        "COPY runs TO '{folder}/out.csv'",
        "EXPORT DATABASE '{folder}/out'",
        "ATTACH '{folder}/out.duckdb'",
        "SELECT * FROM read_csv('{folder}/in.csv')",
        "SELECT * FROM read_text('{folder}/in.csv')",
        "SELECT * FROM '{folder}/in.csv'",
        "SELECT * FROM glob('{folder}/*')",
        "SELECT * FROM sqlite_scan('{folder}/recorder.db', 'readings')",
        "INSTALL httpfs",
        "LOAD httpfs",
        "LOAD '{folder}/in.csv'",
        "SELECT * FROM 'https://127.0.0.1:9/x.parquet'",
        "SET enable_external_access = true",
        "SET lock_configuration = false",
        "SET GLOBAL threads = 64",
        "SET memory_limit = '64GB'",
        "RESET enable_external_access",
        "PRAGMA threads = 64",
        "CREATE PERSISTENT SECRET s (TYPE http, BEARER_TOKEN 'x')",
        "CREATE TABLE mine AS SELECT 1",
        "DELETE FROM readings",
        "DROP TABLE readings",
        "SELECT * FROM secret",
        "SELECT getenv('HOME')",
    ],
)
def test_sql_reaches_nothing_but_the_tables(asked: tuple[Path, duckdb.DuckDBPyConnection], sql: str) -> None:
    folder, connection = asked
    before = sorted(folder.iterdir())
    with pytest.raises(duckdb.Error):
        connection.execute(sql.format(folder=folder))
    assert sorted(folder.iterdir()) == before
    assert connection.execute("SELECT count(*) FROM readings").fetchall() == [(0,)]


def test_temporary_tables_can_be_made(asked: tuple[Path, duckdb.DuckDBPyConnection]) -> None:
    _, connection = asked
    connection.execute("CREATE TEMP TABLE mine AS SELECT range AS i FROM range(10)")
    assert connection.execute("SELECT sum(i) FROM mine").fetchall() == [(45,)]


# -- what is left, and what goes wrong ---------------------------------------------------------------------------------


@pytest.fixture
def spare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder in which temporary ones are made."""
    folder = tmp_path / "spare"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


def test_nothing_is_left_behind(url: str, spare: Path) -> None:
    with Store.open(url, create=True) as store:
        fill(store, some(3))
    connection = queries.connect(url)
    (folder,) = spare.iterdir()
    assert folder.stat().st_mode & 0o777 == 0o700
    assert list(folder.glob("*.duckdb")) == [], "the copy has no name any more"
    assert connection.execute("SELECT count(*) FROM runs").fetchall() == [(3,)]
    connection.close()
    del connection
    gc.collect()
    assert list(spare.iterdir()) == []


def test_a_copy_that_fails_says_so_and_leaves_nothing(
    sqlite_url: str, spare: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Store.open(sqlite_url, create=True).close()
    with contextlib.closing(sqlite3.connect(sqlite_url.removeprefix("sqlite:///"))) as connection:
        connection.execute("DROP VIEW runs")
        connection.execute("ALTER TABLE endings RENAME TO gone")
    with pytest.raises(StoreError, match=r"cannot be copied into DuckDB: .*no such table.*endings"):
        queries.connect(sqlite_url)
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(StoreError, match="the copying process ended with 1: it said nothing"):
        queries.connect(sqlite_url)
    assert list(spare.iterdir()) == []


def test_a_refusal_by_the_server_holds_no_password(postgres: Postgres, new_schema: Callable[[], str]) -> None:
    """A user who may look at the schema's name and nothing else."""
    url = new_schema()
    Store.open(url, create=True).close()
    called = url.rpartition("D")[2]
    database = url.partition("?")[0].rpartition("/")[2]
    for statement in (
        "CREATE ROLE onlooker LOGIN PASSWORD 'hunter2'",
        f"GRANT USAGE ON SCHEMA {called} TO onlooker",
        f"GRANT SELECT ON {called}.recorder_version, {called}.recordings, {called}.erasures TO onlooker",
    ):
        postgres.execute(statement, database)
    with pytest.raises(StoreError, match="permission denied for table readings") as caught:
        queries.connect(url.replace("postgres@", "onlooker:hunter2@"))
    assert "hunter2" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_is_missing_is_said(sqlite_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(NotFound):
        queries.connect(sqlite_url)
    with pytest.raises(NotAStore, match="is empty"):
        queries.connect("sqlite:///:memory:")
    Store.open(sqlite_url, create=True).close()
    monkeypatch.setitem(sys.modules, "adbc_driver_sqlite", None)
    with pytest.raises(UsageError, match="pip install 'run-recorder'"):
        queries.connect(sqlite_url)


def test_an_older_store_is_left_as_it_is(sqlite_url: str) -> None:
    Store.open(sqlite_url, create=True).close()
    with contextlib.closing(sqlite3.connect(sqlite_url.removeprefix("sqlite:///"))) as connection, connection:
        connection.execute("UPDATE recorder_version SET version_num = '1.0'")
    with pytest.raises(SchemaMismatch, match="recorder db upgrade"):
        queries.connect(sqlite_url)


# -- Parquet -----------------------------------------------------------------------------------------------------------


def test_what_is_exported_is_what_is_asked(url: str, tmp_path: Path) -> None:
    with Store.open(url, create=True) as store:
        life = Life(store, random.Random(3))
        for _ in range(30):
            life.step()
    written = queries.export(url, tmp_path / "out", events=True, more={"models": "SELECT DISTINCT model FROM readings"})
    assert {path.name for path in (tmp_path / "out").iterdir()} == {f"{name}.parquet" for name in written}
    with contextlib.closing(queries.connect(url, events=True)) as ours, contextlib.closing(duckdb.connect()) as theirs:
        for name, rows in itertools.islice(written.items(), len(written) - 1):
            file = tmp_path / "out" / f"{name}.parquet"
            there = theirs.execute(f"SELECT * FROM '{file}' ORDER BY ALL").fetchall()
            here = ours.execute(f'SELECT * FROM "{name}"').fetchall()
            assert len(there) == rows
            assert there == sorted(
                (tuple(str(cell) if type(cell).__name__ == "UUID" else cell for cell in row) for row in here), key=order
            ), name
    assert written["runs"] > 0


def order(row: tuple[Any, ...]) -> list[tuple[bool, Any]]:
    return [(cell is None, cell) for cell in row]


def test_an_export_to_where_nothing_can_be_written_says_so(sqlite_url: str, tmp_path: Path) -> None:
    Store.open(sqlite_url, create=True).close()
    (tmp_path / "out").write_text("a file")
    with pytest.raises(StoreError, match="cannot be written"):
        queries.export(sqlite_url, tmp_path / "out")
