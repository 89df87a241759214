"""That migrations, the short cut for new stores, and the code's own idea of the schema are one and the same."""

from __future__ import annotations

import ast
import contextlib
import re
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, create_engine, text
from sqlalchemy.engine.reflection import Inspector
from sqlalchemy.pool import NullPool

from recorder import migrate, resources, schema
from recorder.errors import NotAStore, SchemaMismatch
from recorder.migrate import State

VERSIONS = sorted((resources.folder("migrations") / "versions").glob("*.py"))


@pytest.fixture(params=["sqlite", "postgresql"])
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Engine:
    """An empty database of each kind."""
    if request.param == "sqlite":
        path = tmp_path / "x.db"
        return create_engine(
            "sqlite://", creator=lambda: sqlite3.connect(path, isolation_level=None), poolclass=NullPool
        )
    url: str = request.getfixturevalue("postgres_database")
    return create_engine(url.replace("postgresql://", "postgresql+psycopg://"), poolclass=NullPool)


@contextlib.contextmanager
def begun(engine: Engine) -> Iterator[Connection]:
    """In a transaction, as `migrate` wants it; rolled back."""
    with engine.connect() as made:
        made.begin()
        if engine.dialect.name == "sqlite":
            made.exec_driver_sql("BEGIN IMMEDIATE")
        yield made


@pytest.fixture
def connection(engine: Engine) -> Iterator[Connection]:
    """The same for a whole test."""
    with begun(engine) as made:
        yield made


def described(connection: Connection) -> dict[str, list[tuple[Any, ...]]]:
    """Everything that the database says about its schema."""
    if connection.dialect.name == "sqlite":
        rows = connection.exec_driver_sql("SELECT type, name, tbl_name, sql FROM sqlite_master ORDER BY type, name")
        return {"objects": [(*row[:3], normal(row[3])) for row in rows]}
    queries = {
        "columns": "SELECT table_name, column_name, ordinal_position, data_type, is_nullable, column_default, "
        "collation_name FROM information_schema.columns WHERE table_schema = 'public' ORDER BY 1, 3",
        "constraints": "SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid) FROM pg_constraint "
        "WHERE connamespace = 'public'::regnamespace ORDER BY 1, 2",
        "indexes": "SELECT tablename, indexname, indexdef FROM pg_indexes WHERE schemaname = 'public' ORDER BY 1, 2",
        "views": "SELECT viewname, definition FROM pg_views WHERE schemaname = 'public' ORDER BY 1",
        "triggers": "SELECT tgrelid::regclass::text, tgname, pg_get_triggerdef(oid) FROM pg_trigger "
        "WHERE NOT tgisinternal ORDER BY 1, 2",
        "statistics": "SELECT pg_get_statisticsobjdef(oid) FROM pg_statistic_ext ORDER BY 1",
        "functions": "SELECT proname, prosrc FROM pg_proc WHERE pronamespace = 'public'::regnamespace ORDER BY 1",
    }
    return {
        name: [tuple(map(normal, row)) for row in connection.execute(text(query))] for name, query in queries.items()
    }


def normal(value: Any) -> Any:
    """The same text whatever the white space and the quotes of names."""
    return (
        re.sub(r"\s+", " ", value.replace('"', "")).replace("( ", "(").replace(" )", ")")
        if isinstance(value, str)
        else value
    )


@pytest.mark.parametrize("make", [migrate.upgrade, migrate.create])
def test_a_new_schema_is_what_the_code_writes_to(connection: Connection, make: Callable[[Connection], None]) -> None:
    make(connection)
    assert migrate.state(connection) == State(empty=False, revision=schema.REVISION)
    assert migrate.check(connection) == []


def test_migrations_and_the_short_cut_give_the_same(engine: Engine) -> None:
    """Tables with their columns in the same order, constraints, indexes, views, triggers, functions: all of it."""
    found = []
    for make in (migrate.upgrade, migrate.create):
        with begun(engine) as connection:
            make(connection)
            found.append(described(connection))
    by_migrations, at_once = found
    assert by_migrations == at_once
    assert sum(map(len, at_once.values())) > 40


def test_a_migration_is_part_of_the_callers_transaction(engine: Engine) -> None:
    """So a process that is killed in the middle leaves the old schema."""
    with begun(engine) as connection:
        migrate.upgrade(connection)
        assert not migrate.state(connection).empty
    with engine.connect() as connection:
        assert migrate.state(connection) == State(empty=True, revision=None)


def test_upgrading_what_is_up_to_date_changes_nothing(connection: Connection) -> None:
    migrate.create(connection)
    before = described(connection)
    migrate.upgrade(connection)
    assert described(connection) == before


def test_a_revision_that_no_recorder_made_cannot_be_upgraded(connection: Connection) -> None:
    migrate.create(connection)
    connection.exec_driver_sql(f"UPDATE {migrate.VERSION_TABLE} SET version_num = '0.1'")
    with pytest.raises(SchemaMismatch, match="no recorder made; restore it"):
        migrate.upgrade(connection)


def test_what_differs_is_named(connection: Connection) -> None:
    migrate.create(connection)
    for statement in (
        "DROP INDEX readings_due",
        "DROP VIEW runs",
        "ALTER TABLE erasures ADD COLUMN more TEXT",
        "CREATE TABLE theirs (x INTEGER)",
    ):
        connection.exec_driver_sql(statement)
    differences = "\n".join(migrate.check(connection))
    for name in ("readings_due", "missing: runs", "more", "theirs"):
        assert name in differences


@pytest.mark.parametrize("make", ["nothing", "others", "two versions", "alembic of others"])
def test_what_a_database_is(connection: Connection, make: str) -> None:
    """Empty; or not ours, also where it has a version table that cannot be one of ours."""
    statements = {
        "nothing": [],
        "others": ["CREATE TABLE theirs (x INTEGER)"],
        "two versions": [
            f"CREATE TABLE {migrate.VERSION_TABLE} (version_num TEXT)",
            f"INSERT INTO {migrate.VERSION_TABLE} VALUES ('1.0'), ('1.1')",
        ],
        "alembic of others": [
            "CREATE TABLE alembic_version (version_num TEXT)",
            "INSERT INTO alembic_version VALUES ('1.0')",
        ],
    }
    for statement in statements[make]:
        connection.exec_driver_sql(statement)
    found = migrate.state(connection)
    assert found == State(empty=make == "nothing", revision=None)
    with pytest.raises(NotAStore, match="there is not a recorder store"):
        migrate.require(found, "there")


@pytest.mark.parametrize("look", ["get_table_names", "get_view_names"])
def test_a_database_that_becomes_a_store_while_it_is_looked_at_is_nothing_else(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, look: str
) -> None:
    """Another process makes the store right after the tables, or the views, of the empty database were read."""
    real = getattr(Inspector, look)
    made: list[str] = []

    def then_made(inspector: Inspector, *how: Any, **options: Any) -> list[str]:
        seen: list[str] = real(inspector, *how, **options)
        if not made:
            made.append(look)
            with begun(engine) as other:
                migrate.create(other)
                other.commit()
        return seen

    monkeypatch.setattr(Inspector, look, then_made)
    with engine.connect() as connection:
        found = migrate.state(connection)
    assert made
    assert found == State(empty=False, revision=schema.REVISION)


@pytest.mark.parametrize(
    ("code", "store", "upgrade"),
    [("1.0", "1.0", False), ("1.0", "1.3", False), ("1.3", "1.0", True), ("2.0", "1.9", True), ("1.10", "1.9", True)],
)
def test_which_revisions_are_used_as_they_are(
    monkeypatch: pytest.MonkeyPatch, code: str, store: str, upgrade: bool
) -> None:
    """A newer minor only added something; an older one is upgraded first."""
    monkeypatch.setattr(schema, "REVISION", code)
    assert migrate.require(State(empty=False, revision=store), "there") is upgrade


@pytest.mark.parametrize("revision", ["2.0", "10.0"])
def test_a_newer_major_is_refused(revision: str) -> None:
    with pytest.raises(SchemaMismatch, match="install a newer run-recorder"):
        migrate.require(State(empty=False, revision=revision), "there")


@pytest.mark.parametrize("revision", ["", "1", "1.0.0", "head", "1.x", "ae1027a6acf"])
def test_a_revision_that_is_not_ours_is_refused(revision: str) -> None:
    with pytest.raises(NotAStore):
        migrate.require(State(empty=False, revision=revision), "there")


# -- the migrations themselves -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", VERSIONS, ids=lambda path: path.stem)
def test_a_migration_imports_nothing_of_ours(path: Path) -> None:
    """It must do the same in years, when the code has moved on."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    names = [alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names]
    names += [node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    assert {name.partition(".")[0] for name in names} <= {
        "__future__",
        "alembic",
        "collections",
        "sqlalchemy",
        "typing",
    }


def test_migrations_follow_one_another_to_the_revision_of_the_code() -> None:
    """Numbered files, one line of descent, "major.minor" each, and the last one is what the code writes."""
    revisions, before = [], None
    for number, path in enumerate(VERSIONS, start=1):
        assert re.fullmatch(rf"{number:04d}_[a-z0-9_]+", path.stem)
        values: dict[str, Any] = {}
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.Assign | ast.AnnAssign) and isinstance(node.value, ast.Constant):
                target = node.targets[0] if isinstance(node, ast.Assign) else node.target
                values[ast.unparse(target)] = node.value.value
        assert values["down_revision"] == before
        before = values["revision"]
        assert re.fullmatch(r"\d+\.\d+", before)
        revisions.append(tuple(map(int, before.split("."))))
    assert revisions == sorted(set(revisions))
    assert before == schema.REVISION
