"""Answers of DuckDB's as commands print them: a table for people, JSON lines, CSV, Parquet.

DuckDB itself makes text of what Python has no exact value for (intervals, nanoseconds, infinite dates, lists). What
arrives here are numbers, booleans and texts, and nothing that a terminal or a spreadsheet would obey leaves.
"""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import closing, contextmanager
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeVar

import click

from .output import json_line, safe, table

if TYPE_CHECKING:
    import duckdb

__all__ = ["PRINTERS", "Column", "Printed", "complaints", "exactly", "interruptibly", "named", "pages", "parquet"]

#: Rows that a table for people shows at most; the other formats have no end.
_MOST: Final = 1000
#: Rows that are taken from DuckDB at once.
_PAGE: Final = 1000

#: Seconds that a statement has to end after Ctrl-C.
_PATIENCE: Final = 1.0

_T = TypeVar("_T")

#: A spreadsheet takes a cell that begins so for a formula (OWASP, "CSV Injection").
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")

#: DuckDB's types that Python has an exact value for, without what stands in brackets behind them.
_INTEGERS: Final = ("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT")
_NUMBERS: Final = frozenset({*_INTEGERS, *(f"U{name}" for name in _INTEGERS), "DECIMAL", "FLOAT", "DOUBLE"})
_EXACT: Final = _NUMBERS | {"BOOLEAN", "VARCHAR", "JSON", "UUID"}
_TIMES: Final = frozenset({"TIMESTAMP", "TIMESTAMP WITH TIME ZONE"})
_NESTED: Final = ("STRUCT(", "MAP(", "UNION(")


class Column(NamedTuple):
    """A column of the answer: its name, no other's, and its type as DuckDB names it."""

    name: str
    type: str

    @property
    def is_nested(self) -> bool:
        return self.type.endswith("]") or self.type.startswith(_NESTED)

    @property
    def is_number(self) -> bool:
        return _plain(self.type) in _NUMBERS


class Printed(NamedTuple):
    """The columns, and the rows as they come."""

    columns: list[Column]
    rows: Iterator[Sequence[Any]]


# -- values out of DuckDB ----------------------------------------------------------------------------------------------


def named(described: Iterable[tuple[str, str]]) -> list[Column]:
    """Columns with names of their own: of two `a` the second is `a_2`."""
    columns: list[Column] = []
    taken: set[str] = set()
    for name, kind in described:
        own, number = name, 1
        while own in taken:
            number += 1
            own = f"{name}_{number}"
        taken.add(own)
        columns.append(Column(own, kind.upper()))
    return columns


def exactly(select: str, columns: Sequence[Column]) -> str:
    """The select, with text in place of the values that Python cannot hold exactly."""
    if all(_plain(column.type) in _EXACT and not column.is_nested for column in columns):
        return select
    names = [f"c{place}" for place in range(len(columns))]
    given = [_as_text(name, column) for name, column in zip(names, columns, strict=True)]
    return f"SELECT {', '.join(given)} FROM (\n{select}\n) AS answer({', '.join(names)})"  # noqa: S608 (the user's own)


def _as_text(name: str, column: Column) -> str:
    if column.is_nested:
        return f"CAST(to_json({name}) AS VARCHAR)"
    if column.type in _TIMES:  # ISO 8601, as everywhere; the session's zone is UTC
        exact = f"strftime({name}, '%Y-%m-%dT%H:%M:%S.%fZ')"
        return f"CASE WHEN isfinite({name}) THEN {exact} ELSE CAST({name} AS VARCHAR) END"
    return name if _plain(column.type) in _EXACT else f"CAST({name} AS VARCHAR)"


def _plain(kind: str) -> str:
    return kind.partition("(")[0]


def pages(connection: duckdb.DuckDBPyConnection) -> Iterator[Sequence[Any]]:
    while page := connection.fetchmany(_PAGE):
        yield from page


_TEMPORARY: Final = "create temp table NAME as select ..."


def interruptibly(connection: duckdb.DuckDBPyConnection, act: Callable[[], _T]) -> _T:
    """What `act` gives, which works on that connection. Ctrl-C ends it: DuckDB does not hear it in every statement."""
    with ThreadPoolExecutor(1) as thread:
        doing = thread.submit(act)
        try:
            return doing.result()
        except KeyboardInterrupt:
            connection.interrupt()
            wait([doing], timeout=_PATIENCE)
            if not doing.done():
                os._exit(130)  # nothing is half-written: whatever is asked here only reads
            raise


@contextmanager
def complaints() -> Iterator[None]:
    """Turn what DuckDB says against a statement, when it is read or while it runs, into one line of UsageError."""
    import duckdb

    from recorder.errors import UsageError

    try:
        yield
    except duckdb.InterruptException:
        raise KeyboardInterrupt from None
    except RuntimeError as error:  # so DuckDB 2 says that Ctrl-C was pressed
        if "interrupted" not in str(error).lower():
            raise
        raise KeyboardInterrupt from None
    except duckdb.PermissionException:
        raise UsageError("SQL here reads the store's tables alone: no file, no network, no setting") from None
    except duckdb.Error as error:
        # What follows is the place in the statement, or a list of functions.
        said = re.split(r"\n\s*(?:LINE \d|Candidate functions)", str(error), maxsplit=1)[0]
        if re.search(r"base table|is not an table", said):  # the tables are views, of which DuckDB says no more
            raise UsageError(
                f"the store's tables are read-only; a table of your own is temporary: {_TEMPORARY}"
            ) from None
        known = isinstance(error, (duckdb.CatalogException, duckdb.BinderException))
        hint = ' ("show tables" and "describe runs" say what there is)' if known else ""
        raise UsageError(safe(" ".join(said.split())) + hint) from None


# -- printing ----------------------------------------------------------------------------------------------------------


def _print_table(answer: Printed) -> None:
    rows: list[list[str]] = []
    for row in answer.rows:
        if len(rows) == _MOST:
            click.echo(f"recorder: the first {_MOST:,} rows; --json and --format csv give all of them", err=True)
            break
        rows.append(["-" if value is None else _text(value) for value in row])
    if answer.columns:
        titles = {column.name: safe(column.name) for column in answer.columns}
        table(list(titles.values()), rows, right=[titles[each.name] for each in answer.columns if each.is_number])


def _print_json(answer: Printed) -> None:
    for row in answer.rows:
        json_line({column.name: _value(column, value) for column, value in zip(answer.columns, row, strict=True)})


def _print_csv(answer: Printed) -> None:
    """RFC 4180, but with line feeds alone. Unknown is nothing, an empty text is two quotes."""
    if answer.columns:
        click.echo(",".join(_cell(column.name) for column in answer.columns))
    for row in answer.rows:
        click.echo(",".join("" if value is None else _cell(value) for value in row))


def parquet(answer: Printed, path: Path) -> None:
    """Write the answer to a Parquet file, through a DuckDB of its own. Raises duckdb.Error where that fails."""
    import duckdb

    columns = ", ".join(f'"{column.name.replace(chr(34), chr(34) * 2)}" {column.type}' for column in answer.columns)
    with closing(duckdb.connect()) as connection:
        connection.execute(f"CREATE TABLE answer ({columns})")
        places = ", ".join("?" * len(answer.columns))
        for row in answer.rows:
            connection.execute(f"INSERT INTO answer VALUES ({places})", list(row))  # noqa: S608
        connection.execute("COPY answer TO ? (FORMAT parquet)", [str(path)])


PRINTERS: Mapping[str, Callable[[Printed], None]] = MappingProxyType(
    {"table": _print_table, "json": _print_json, "csv": _print_csv}
)


def _text(value: Any) -> str:
    if isinstance(value, datetime):  # UTC, as everywhere
        return f"{value.isoformat(timespec='microseconds')}Z"
    return str(value).lower() if isinstance(value, bool) else str(value)


def _cell(value: Any) -> str:
    text = _text(value)
    if not isinstance(value, str):
        return text
    text = safe(f"'{text}" if text.startswith(_FORMULA) else text, lines=True)
    return f'"{text.replace(chr(34), chr(34) * 2)}"' if not text or any(mark in text for mark in '",\n') else text


def _value(column: Column, value: Any) -> Any:
    """The value for JSON: a number where JSON's reader will see the same number, else text."""
    if isinstance(value, Decimal):
        number = int(value) if value == value.to_integral_value() else float(value)
        return number if Decimal(repr(number)) == value else str(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if value is None or isinstance(value, (bool, int)):
        return value
    if column.is_nested:
        try:
            return json.loads(value, parse_constant=str)
        except ValueError:
            return value
    return _text(value)
