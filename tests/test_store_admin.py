"""A store that an older recorder made, and older recorders that go on writing into a newer store."""

from __future__ import annotations

import contextlib
import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from click.testing import CliRunner
from sqlalchemy import Connection, bindparam, create_engine, text

from recorder import migrate, schema
from recorder.cli import program
from recorder.errors import SchemaMismatch
from recorder.recording import uuid7
from recorder.schema import Id
from recorder.store import RunFilter, Store, check_store, describe_store, migrate_store
from tests.rows import STARTED, WRITER, made_reading, recorded

# -- what 1.0 writes ---------------------------------------------------------------------------------------------------

RECORDING = """
INSERT INTO recordings (recording_id, started_at, writer, dialect, origin, content, weight, method, url, headers, body,
    body_size, salt, match_key, match_rule, model, suffix)
VALUES (:recording_id, :started_at, :writer, 'assistants', 'https://api.example.com', 'full', 1.0, 'POST', '/v1', '[]',
    NULL, 0, NULL, NULL, '{}', 'gpt', :suffix)
"""
ENDING = """
INSERT INTO endings (recording_id, ending, captured, elapsed_us, events, wire_bytes, http_status, head_us,
    facts_digest, payload_digest, seal)
VALUES (:recording_id, 'eof', 'full', 3000, 3, 90, 200, 5, :digest, :digest, :digest)
"""
#: Of a recording that has ended, its reading being due.
DUE = """
INSERT INTO readings (recording_id, run_id, reader_version, read_at, superseded, started_at, dialect, origin, weight,
    http_status, ending, captured, events, bytes, duration_us, status, model)
SELECT recordings.recording_id, recordings.recording_id, 0, :read_at, (1 = 0), recordings.started_at,
    recordings.dialect, recordings.origin, recordings.weight, endings.http_status, endings.ending, endings.captured,
    endings.events, endings.wire_bytes, endings.elapsed_us, 'unknown', recordings.model
FROM recordings LEFT OUTER JOIN endings ON endings.recording_id = recordings.recording_id
WHERE recordings.recording_id = :recording_id ON CONFLICT DO NOTHING
"""
READING = """
INSERT INTO readings (recording_id, run_id, reader_version, read_at, superseded, started_at, dialect, origin, weight,
    http_status, ending, captured, events, bytes, duration_us, status, stop_reason, stop_reason_raw, complete,
    provider_run_id, request_id, model, service_tier, assistant_id, thread_id, "group", max_prompt_tokens,
    max_completion_tokens, truncation_strategy, input_tokens, output_tokens, cached_tokens, reasoning_tokens,
    total_tokens, ttft_us, text, metadata, flags, facts)
SELECT recordings.recording_id, :run_id, 1, :read_at,
    EXISTS (SELECT * FROM readings AS newer
            WHERE newer.run_id = :run_id AND newer.recording_id > recordings.recording_id),
    recordings.started_at, 'assistants', recordings.origin, recordings.weight, endings.http_status, endings.ending,
    endings.captured, endings.events, endings.wire_bytes, endings.elapsed_us, :status, NULL, NULL, NULL, 'run_1', NULL,
    coalesce(NULL, opener.model), NULL, NULL, NULL, NULL, 9, NULL, NULL, 7, 5, NULL, NULL, 12, 4, 'said', :metadata,
    :flags, NULL
FROM recordings LEFT OUTER JOIN endings ON endings.recording_id = recordings.recording_id
    LEFT OUTER JOIN readings AS opener ON opener.recording_id = :run_id
WHERE recordings.recording_id = :recording_id ON CONFLICT DO NOTHING
"""
SUPERSEDE = """
UPDATE readings SET superseded = (1 = 1) WHERE readings.recording_id =
    (SELECT r.recording_id FROM readings AS r WHERE r.run_id = :run_id AND r.recording_id < :recording_id
     ORDER BY r.recording_id DESC LIMIT 1)
"""


def do(connection: Connection, statement: str, **values: Any) -> None:
    ids = [bindparam(name, type_=Id()) for name, value in values.items() if isinstance(value, UUID)]
    connection.execute(text(statement).bindparams(*ids), values)


def write_as_1_0(connection: Connection, status: str | None, run_id: UUID | None = None) -> UUID:
    """A recording that has ended, and its reading: due where there is no status."""
    key = uuid7()
    do(connection, RECORDING, recording_id=key, started_at=STARTED, writer=WRITER, suffix=key.hex[-12:][::-1])
    do(connection, ENDING, recording_id=key, digest=bytes(32))
    do(connection, DUE, recording_id=key, read_at=STARTED)
    if status is not None:
        run_id = run_id or key
        do(connection, "DELETE FROM readings WHERE recording_id = :recording_id", recording_id=key)
        metadata, flags = json.dumps({"user": "häuser"}), json.dumps(["no_end_marker"])
        reading = {"read_at": STARTED, "status": status, "metadata": metadata, "flags": flags}
        do(connection, READING, recording_id=key, run_id=run_id, **reading)
        if run_id != key:
            do(connection, SUPERSEDE, recording_id=key, run_id=run_id)
    return key


# -- upgrading ---------------------------------------------------------------------------------------------------------


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest) -> str:
    """The URL of an empty database of each kind."""
    found: str = request.getfixturevalue("sqlite_url" if request.param == "sqlite" else "postgres_database")
    return found


@contextlib.contextmanager
def connected(url: str) -> Iterator[Connection]:
    """A connection past the store, in a transaction that is committed."""
    if url.startswith("sqlite"):
        path = url.removeprefix("sqlite:///")
        engine = create_engine("sqlite://", creator=lambda: sqlite3.connect(path, isolation_level=None))
    else:
        engine = create_engine(url.replace("postgresql://", "postgresql+psycopg://"))
    with engine.connect() as connection:
        connection.begin()
        if url.startswith("sqlite"):
            connection.exec_driver_sql("BEGIN IMMEDIATE")
        yield connection
        connection.commit()
    engine.dispose()


@pytest.fixture
def made(url: str) -> dict[str, UUID]:
    """What is in the store, which is at 1.0: a run of two, one that two readers raced for, one that is due."""
    if url.startswith("sqlite"):
        with contextlib.closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as file:
            file.execute("PRAGMA journal_mode=WAL")
            file.execute(f"PRAGMA application_id={schema.APPLICATION_ID}")
    with connected(url) as connection:
        migrate.upgrade(connection, target="1.0")
        found = {"opener": write_as_1_0(connection, "requires_action")}
        found["submitted"] = write_as_1_0(connection, "completed", found["opener"])
        found["raced"] = write_as_1_0(connection, "requires_action")
        found["racing"] = write_as_1_0(connection, "failed", found["raced"])
        do(connection, "UPDATE readings SET superseded = (1 = 0) WHERE recording_id = :it", it=found["raced"])
        found["due"] = write_as_1_0(connection, None)
    return found


def upgraded(url: str) -> Store:
    if url.startswith("postgresql"):
        assert migrate_store(url) == ("1.0", schema.REVISION)
    return Store.open(url)


def test_postgresql_is_upgraded_on_command_and_sqlite_by_itself(url: str, made: dict[str, UUID]) -> None:
    """SQLite leaves a copy of the store as it was."""
    assert describe_store(url) == (False, "1.0")
    with pytest.raises(SchemaMismatch, match="recorder db upgrade"):
        Store.open(url, upgrade=False)
    upgraded(url).close()
    assert describe_store(url) == (False, schema.REVISION)
    assert check_store(url) == []
    if url.startswith("sqlite"):
        copy = Path(url.removeprefix("sqlite:///") + ".backup-1.0")
        assert describe_store(copy) == (False, "1.0")
        with contextlib.closing(sqlite3.connect(copy)) as file:
            assert file.execute("SELECT count(*) FROM readings").fetchone() == (len(made),)


def test_a_reading_command_upgrades_a_sqlite_store_and_asks_for_postgresql(url: str, made: dict[str, UUID]) -> None:
    """A person who has installed a newer recorder just goes on looking."""
    looked = CliRunner().invoke(program, ["--store", url, "runs", "--json"])
    if url.startswith("sqlite"):
        assert looked.exit_code == 0, looked.output
        assert describe_store(url) == (False, schema.REVISION)
    else:
        assert isinstance(looked.exception, SchemaMismatch)
        assert describe_store(url) == (False, "1.0")


def test_what_1_0_wrote_is_listed_as_it_was(url: str, made: dict[str, UUID]) -> None:
    """Each run once, though a mark was missing; with all that was known of it."""
    with upgraded(url) as store:
        assert [(run.run_id, run.status, run.recordings) for run in store.runs()] == [
            (made["due"], "unknown", 1),
            (made["raced"], "failed", 2),
            (made["opener"], "completed", 2),
        ]
        run = store.run(made["submitted"])
        assert (run.input_tokens, run.events, run.ttft_us, run.flags) == (7, 6, 4, ("no_end_marker",))
        assert (run.metadata, run.duration_us) == ({"user": "häuser"}, 3000)
        assert [one.run_id for one in store.runs(RunFilter(metadata={"user": "häuser"}, status="failed"))] == [
            made["raced"]
        ]
        assert store.runs(RunFilter(status="requires_action")) == []
        old = store.reading(made["submitted"])
        assert old is not None
        assert (old.run_id, old.reading.opens_run, old.reading.is_run) == (made["opener"], False, True)
        assert (old.reading.action, old.reading.parameters, old.reading.uncached_tokens) == (None, None, None)
        assert store.unread() == [made["due"]]
        assert store.stale(2) == [made[name] for name in ("opener", "submitted", "raced", "racing")]


def test_a_run_of_1_0_goes_on(url: str, made: dict[str, UUID]) -> None:
    """What is read now joins what was read then; what is read again stays where it was."""
    with upgraded(url) as store:
        polled = recorded(store)
        store.put_readings([made_reading(polled, made["raced"], status="failed", action="retrieve", **RUN)])
        assert store.members(made["raced"]) == [made["raced"], made["racing"], polled.recording_id]
        assert [run.run_id for run in store.runs()] == [made["due"], made["raced"], made["opener"]]
        again = store.recording(made["submitted"])
        store.put_readings([made_reading(again, made["opener"], status="completed", **RUN)])
        assert store.members(made["opener"]) == [made["opener"], made["submitted"]]
        assert [run.status for run in store.runs()] == ["unknown", "failed", "completed"]


RUN: dict[str, Any] = {"provider_run_id": "run_1"}


def test_1_0_goes_on_writing_into_a_newer_store(url: str) -> None:
    """Its statements name their columns; its rows are listed beside ours, each run once."""
    with Store.open(url, create=True) as store:
        ours = recorded(store)
        store.put_readings([made_reading(ours, status="requires_action", model="gpt", **RUN)])
        with connected(url) as connection:
            theirs = write_as_1_0(connection, "completed", ours.recording_id)
            alone = write_as_1_0(connection, "failed")
            due = write_as_1_0(connection, None)
        assert [(run.run_id, run.status, run.recordings) for run in store.runs()] == [
            (due, "unknown", 1),
            (alone, "failed", 1),
            (ours.recording_id, "completed", 2),
        ]
        assert store.members(ours.recording_id) == [ours.recording_id, theirs]
        assert store.unread() == [due]
        assert store.stale(2) == [ours.recording_id, theirs, alone]
