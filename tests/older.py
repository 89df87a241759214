"""Stores as earlier versions of recorder have left them: their schema, and what it can hold of recordings of today."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Connection, MetaData, create_engine, insert, select
from sqlalchemy.pool import NullPool

from recorder import migrate, schema
from recorder.store import Store
from tests.golden import tape
from tests.kept import put

__all__ = ["REVISIONS", "make_older"]

#: The released revisions before the present one.
REVISIONS: Final = ("1.0", "1.1", "1.2")
_TABLES: Final = ("recordings", "events", "endings", "readings", "tags")
_STREAMS: Final = ("assistants-completed", "assistants-code-interpreter")


def make_older(url: str | Path, revision: str) -> None:
    """Make at the URL or path of an empty database a store of that revision, with some recordings, read and tagged."""
    with contextlib.ExitStack() as stack:
        target = stack.enter_context(_begun(url))
        migrate.upgrade(target, target=revision)
        _copy(_today(), target)
        if target.dialect.name == "sqlite":
            major, minor = map(int, revision.split("."))
            target.exec_driver_sql(f"PRAGMA application_id={schema.APPLICATION_ID}")
            target.exec_driver_sql(f"PRAGMA user_version={major * 1000 + minor}")
        target.commit()


@contextlib.contextmanager
def _begun(url: str | Path) -> Iterator[Connection]:
    if isinstance(url, str) and url.startswith("postgresql"):
        engine = create_engine(url.replace("postgresql://", "postgresql+psycopg://"), poolclass=NullPool)
    else:
        path = Path(str(url).removeprefix("sqlite:///"))
        with contextlib.closing(sqlite3.connect(path)) as connection:
            connection.execute("PRAGMA journal_mode=WAL")
        engine = create_engine(
            "sqlite://", creator=lambda: sqlite3.connect(path, isolation_level=None), poolclass=NullPool
        )
    with engine.connect() as connection:
        connection.begin()
        if engine.dialect.name == "sqlite":
            connection.exec_driver_sql("BEGIN IMMEDIATE")
        yield connection


def _today() -> dict[str, list[dict[str, Any]]]:
    """The rows of a store of today, by table."""
    with Store.open("sqlite:///:memory:", create=True) as store:
        for number in range(3):
            for name in _STREAMS:
                recording = put(store, *tape(name))
                store.tag(recording.recording_id, "older", str(number))
        with store._backend.read() as connection:
            return {
                name: [dict(row) for row in connection.execute(select(schema.metadata.tables[name])).mappings()]
                for name in _TABLES
            }


def _copy(rows: dict[str, list[dict[str, Any]]], target: Connection) -> None:
    there = MetaData()
    there.reflect(target, only=_TABLES)
    for name, found in rows.items():
        table = schema.metadata.tables[name]
        left_out = set(table.c.keys()) - set(there.tables[name].c.keys())
        kept = [{key: value for key, value in row.items() if key not in left_out} for row in found]
        target.execute(insert(table), kept)
