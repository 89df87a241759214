"""The rules of the schema, and that both databases hold to "append-only" by themselves."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from sqlalchemy import BigInteger, Boolean, Double, Integer, LargeBinary, Table, Text, UniqueConstraint, select
from sqlalchemy.exc import DBAPIError
from sqlalchemy.schema import CreateTable

from recorder import schema
from recorder.schema import Id, erasures
from recorder.store import Append, Store
from tests.rows import STARTED, made_reading, opened, recorded, rows_of

TABLES = list(schema.metadata.tables.values())


@pytest.fixture(params=["sqlite", "postgresql"])
def store(request: pytest.FixtureRequest) -> Iterator[Store]:
    """A store of each kind with something in each table."""
    url = request.getfixturevalue("sqlite_url" if request.param == "sqlite" else "postgres_database")
    with Store.open(url, create=True) as made:
        recording = recorded(made, tags={"a": "b"})
        made.put_readings([made_reading(recording)])
        begun = opened()
        made.append([Append(begun.recording_id, begun, rows_of(begun, 0, 2))])
        with made._backend.write() as connection:
            connection.execute(
                erasures.insert().values(recording_id=begun.writer, erased_at=1, erased_by="me", reason="test")
            )
        yield made


def run(store: Store, statement: str) -> None:
    """One statement in a transaction of its own, past everything that the store checks."""
    with store._backend.engine.begin() as connection:
        connection.exec_driver_sql(statement)


def count(store: Store, table: str) -> int:
    with store._backend.read() as connection:
        return int(connection.exec_driver_sql(f"SELECT count(*) FROM {table}").scalar_one())


# -- rules -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)
class TestRules:
    def test_every_key_starts_with_the_recording(self, table: Table) -> None:
        """So that the tables can be sharded by it."""
        assert next(iter(table.primary_key.columns)).name == "recording_id"
        assert isinstance(table.c.recording_id.type, Id)

    def test_nothing_is_unique_without_the_recording(self, table: Table) -> None:
        unique = [one for one in table.constraints if isinstance(one, UniqueConstraint)]
        unique += [one for one in table.indexes if one.unique]  # type: ignore[misc]
        assert all("recording_id" in one.columns for one in unique)
        assert not any(column.unique for column in table.c)

    def test_everything_is_named(self, table: Table) -> None:
        names = [one.name for one in table.constraints] + [one.name for one in table.indexes]
        assert all(name and str(name).startswith(table.name) for name in names)

    def test_nothing_counts_by_itself_or_points_elsewhere(self, table: Table) -> None:
        assert table.foreign_keys == set()
        assert not any(column.server_default or column.default or column.identity for column in table.c)
        for name in ("sqlite", "postgresql"):
            text = str(CreateTable(table).compile(dialect=dialect(name)))
            assert not any(word in text.upper() for word in ("SERIAL", "IDENTITY", "AUTOINCREMENT", "REFERENCES"))

    def test_columns_are_of_the_few_types_that_both_databases_share(self, table: Table) -> None:
        """Times are integers, payloads bytes: never a timestamp, never JSONB, never a text of limited length."""
        types = (Id, BigInteger, Integer, Boolean, Double, LargeBinary, Text)
        assert all(isinstance(column.type, types) for column in table.c)

    def test_times_are_64_bits(self, table: Table) -> None:
        times = [column for column in table.c if column.name.endswith(("_at", "_us"))]
        assert all(isinstance(column.type, BigInteger) for column in times)


def dialect(name: str):  # type: ignore[no-untyped-def]
    from sqlalchemy.dialects import registry

    return registry.load(name)()


def test_payload_columns_hold_bytes() -> None:
    assert isinstance(schema.recordings.c.body.type, LargeBinary)
    assert all(isinstance(schema.events.c[name].type, LargeBinary) for name in ("data", "raw", "cuts"))


# -- append-only -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("table", schema.FACT_TABLES)
class TestFacts:
    def test_are_not_updated(self, store: Store, table: str) -> None:
        """Not even to the same."""
        with pytest.raises(DBAPIError, match="append-only"):
            run(store, f"UPDATE {table} SET recording_id = recording_id")

    def test_are_not_deleted(self, store: Store, table: str) -> None:
        before = count(store, table)
        assert before
        with pytest.raises(DBAPIError, match="append-only"):
            run(store, f"DELETE FROM {table}")
        assert count(store, table) == before

    def test_are_not_replaced_or_truncated(self, store: Store, table: str) -> None:
        before = count(store, table)
        if store._backend.name == "sqlite":
            statement = f"INSERT OR REPLACE INTO {table} SELECT * FROM {table}"
        else:
            statement = f"TRUNCATE {table} CASCADE"
        with pytest.raises(DBAPIError, match="append-only"):
            run(store, statement)
        assert count(store, table) == before


@pytest.mark.parametrize("table", [name for name in schema.FACT_TABLES if name != "erasures"])
def test_facts_are_deleted_once_their_erasure_is_on_record(store: Store, table: str) -> None:
    """Of that recording only; the record of the erasure itself stays for ever."""
    facts = schema.metadata.tables[table]
    with store._backend.read() as connection:
        recording_id = connection.execute(select(facts.c.recording_id)).scalars().first()
    with store._backend.engine.begin() as connection:
        connection.execute(
            erasures.insert().values(recording_id=recording_id, erased_at=STARTED, erased_by="me", reason="asked")
        )
        connection.execute(facts.delete().where(facts.c.recording_id == recording_id))
    with store._backend.read() as connection:
        left = connection.execute(select(facts.c.recording_id)).scalars().all()
    assert recording_id not in left
    with pytest.raises(DBAPIError, match="append-only"):
        run(store, "DELETE FROM erasures")


@pytest.mark.parametrize("table", ["readings", "leases"])
def test_what_is_derived_may_change(store: Store, table: str) -> None:
    run(store, f"UPDATE {table} SET recording_id = recording_id")
    run(store, f"DELETE FROM {table}")
    assert count(store, table) == 0
