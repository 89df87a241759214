"""Which facts of a store DuckDB gets, and the statements that carry them over. It runs none of them.

The columns are those of `recorder.schema`, so that a new one is carried from the day it is there. Two things are left
behind: payloads (bodies, headers, events' data, digests: nothing that is bytes), and, unless it is asked for, the text
that the model wrote. `runs` and `run_params`, which the store has as views, are made again on DuckDB's side, by
analytics/_runs.sql and here: whichever database the store is in, they are the same, and faster.

SQLite does not tell a column's type; its driver goes by the first rows. So each select is led by a typed row, the
prototype, which is dropped on arrival.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from sqlalchemy import BigInteger, Boolean, Column, Double, Integer, LargeBinary, Table, Text

from recorder import resources, schema

__all__ = ["BACKENDS", "Carried", "carried", "made"]

#: How a recording id, bytes there, is said in text: the only thing that the two databases say differently.
BACKENDS: Final[Mapping[str, str]] = MappingProxyType(
    {"sqlite": 'lower(hex("{}"))', "postgresql": 'CAST("{}" AS TEXT)'}
)

#: SQLAlchemy's type -> the prototype's value (which both databases understand), and DuckDB's type.
_TYPES: Final = (
    (schema.Id, "CAST('' AS TEXT)", "UUID"),
    (BigInteger, "CAST(0 AS BIGINT)", "BIGINT"),
    (Integer, "CAST(0 AS INTEGER)", "INTEGER"),
    (Boolean, "CAST(0 AS BOOLEAN)", "BOOLEAN"),
    (Double, "CAST(0 AS DOUBLE PRECISION)", "DOUBLE"),
    (Text, "CAST('' AS TEXT)", "VARCHAR"),
)

#: Microseconds are exact and compare well; a TIMESTAMP (UTC) is what DuckDB's functions of time take.
_STARTED: Final = "make_timestamp(started_at) AS started"

#: Never carried, though they are no bytes: a client's headers, and what only the store's own look-ups need.
_LEFT: Final = frozenset({("recordings", "headers"), ("recordings", "match_rule"), ("recordings", "suffix")})
#: Carried only with the content.
_CONTENT: Final = frozenset({("readings", "text")})


class Carried(NamedTuple):
    """A table, the select that the store's database runs, and DuckDB's over the rows `incoming` that it gave."""

    name: str
    there: str
    here: str


def carried(backend: str, *, events: bool, content: bool) -> list[Carried]:
    """The tables to carry over from `backend` ("sqlite" or "postgresql"); `events` without their payloads."""
    tables = [schema.recordings, schema.readings, schema.endings, schema.tags]
    if events:
        tables.append(schema.events)
    return [_carried(table, BACKENDS[backend], content=content) for table in tables]


def made() -> list[str]:
    """The statements that make `runs` and `run_params` of what was carried over."""
    runs = (resources.folder("analytics") / "_runs.sql").read_text(encoding="utf-8")
    # A table, not a view: the sums over a run's recordings are made once, and not with each question.
    return [f"CREATE TABLE runs AS SELECT *, {_STARTED} FROM (\n{runs})", _run_params()]  # noqa: S608


def _carried(table: Table, identity: str, *, content: bool) -> Carried:
    prototype, there, here = ["1 AS prototype"], ["0"], []
    for column in _columns(table, content=content):
        name = column.name
        value, kind = _type(column)
        is_id = isinstance(column.type, schema.Id)
        prototype.append(f'{value} AS "{name}"')
        there.append(identity.format(name) if is_id else f'"{name}"')
        # hex(NULL) is '' on SQLite
        here.append(f"""CAST({f"nullif({name}, '')" if is_id else f'"{name}"'} AS {kind}) AS "{name}\"""")
    if "started_at" in table.c:
        here.append(_STARTED)
    return Carried(
        table.name,
        f'SELECT {", ".join(prototype)} UNION ALL SELECT {", ".join(there)} FROM "{table.name}"',  # noqa: S608
        f"SELECT {', '.join(here)} FROM incoming WHERE prototype = 0",  # noqa: S608
    )


def _columns(table: Table, *, content: bool) -> Iterator[Column[Any]]:
    for column in table.columns:
        key = (table.name, column.name)
        if isinstance(column.type, LargeBinary) or key in _LEFT or (key in _CONTENT and not content):
            continue
        yield column


def _type(column: Column[Any]) -> tuple[str, str]:
    for kind, value, ours in _TYPES:
        if isinstance(column.type, kind):
            return value, ours
    raise TypeError(f"no DuckDB type is known for {column.table.name}.{column.name}: {column.type!r}")


def _run_params() -> str:
    """The view of the asked parameters, with the columns and rows of the store's own: JSON text of each value, SQL NULL
    where the parameter is absent, 'null' where it is null. DuckDB spells the JSON without blanks and escapes.

    VARCHAR, not DuckDB's JSON type: that one would take the right side of `tool_choice = '"auto"'` for JSON as well.
    """
    each = [f"""CAST(json_extract(parameters, '$."{name}"') AS VARCHAR) AS "{name}\"""" for name in schema.PARAMETERS]
    return (
        f"CREATE VIEW run_params AS SELECT recording_id, run_id, dialect, action, {', '.join(each)} "  # noqa: S608
        "FROM readings WHERE parameters IS NOT NULL"
    )
