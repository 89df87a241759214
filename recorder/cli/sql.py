"""`recorder sql`: one's own question to the store, answered by DuckDB.

DuckDB itself makes text of what Python has no exact value for (intervals, nanoseconds, infinite dates, lists). What
arrives here are numbers, booleans and texts, and nothing that a terminal or a spreadsheet would obey leaves.
"""

from __future__ import annotations

import json
import math
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from decimal import Decimal
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import click

from recorder.recording import storable

from .options import open_store
from .output import json_line, safe, table

if TYPE_CHECKING:
    import duckdb

__all__ = ["sql"]

#: Rows that a table for people shows at most; the other formats have no end.
_MOST: Final = 1000
#: Rows that are taken from DuckDB at once.
_PAGE: Final = 1000

#: A spreadsheet takes a cell that begins so for a formula (OWASP, "CSV Injection").
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")

#: DuckDB's types that Python has an exact value for, without what stands in brackets behind them.
_INTEGERS: Final = ("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT")
_NUMBERS: Final = frozenset({*_INTEGERS, *(f"U{name}" for name in _INTEGERS), "DECIMAL", "FLOAT", "DOUBLE"})
_EXACT: Final = _NUMBERS | {"BOOLEAN", "VARCHAR", "JSON", "UUID"}
_TIMES: Final = frozenset({"TIMESTAMP", "TIMESTAMP WITH TIME ZONE"})
_NESTED: Final = ("STRUCT(", "MAP(", "UNION(")


class _Column(NamedTuple):
    """A column of the answer: its name, no other's, and its type as DuckDB names it."""

    name: str
    type: str

    @property
    def is_nested(self) -> bool:
        return self.type.endswith("]") or self.type.startswith(_NESTED)

    @property
    def is_number(self) -> bool:
        return _plain(self.type) in _NUMBERS


class _Answer(NamedTuple):
    """The columns, and the rows as they come."""

    columns: list[_Column]
    rows: Iterator[Sequence[Any]]


@click.command(short_help="Your own SQL over the store's facts, in DuckDB.")
@click.argument("statement", metavar="SQL")
@click.option("--events", is_flag=True, help="Have the table events too (without payloads).")
@click.option("--content", is_flag=True, help="Have readings.text too: what the model wrote.")
@click.option("--format", "format_", type=click.Choice(["table", "json", "csv"]), default="table", show_default=True)
@click.option("--json", "json_", is_flag=True, help="One JSON object a line: the same as --format json.")
@click.pass_context
def sql(context: click.Context, statement: str, *, events: bool, content: bool, format_: str, json_: bool) -> None:
    """Ask the store in DuckDB's SQL; - reads it from stdin. The store itself cannot be changed this way.

    Tables: runs, run_params (each parameter that a request set, as JSON text), readings, recordings, endings, tags.
    "show tables" and "describe runs" tell more. Times are started_at (microseconds) and started (TIMESTAMP), in UTC.
    """
    text = sys.stdin.buffer.read().decode(errors="replace") if statement == "-" else storable(statement)
    with _connected(context, events=events, content=content) as connection, _complaints():
        _PRINTERS["json" if json_ else format_](_ask(connection, text))


@contextmanager
def _connected(context: click.Context, *, events: bool, content: bool) -> Iterator[duckdb.DuckDBPyConnection]:
    from recorder import config, queries

    with open_store(context):  # which makes readings that are due
        named = context.obj["store"] if context.obj["store"] is not None else config.load().store
        connection = queries.connect(config.store_url(named, create=False), events=events, content=content)
    try:
        yield connection
    finally:
        connection.close()


# -- asking ------------------------------------------------------------------------------------------------------------


def _ask(connection: duckdb.DuckDBPyConnection, text: str) -> _Answer:
    """Run the statements; the answer is the last one's. Raises UsageError where there is none, and duckdb.Error."""
    import duckdb

    from recorder.errors import UsageError

    statements = connection.extract_statements(text)
    if not statements:
        raise UsageError('there is no SQL; try "select * from runs limit 10"')
    for statement in statements[:-1]:
        connection.execute(statement)
    last = statements[-1]
    if last.type == duckdb.StatementType.SELECT:
        select = last.query.strip().rstrip(";")
        described = connection.execute(f"DESCRIBE {select}").fetchall()
        columns = _distinct((name, kind) for name, kind, *_ in described)
        connection.execute(_exactly(select, columns))
    else:
        connection.execute(last)
        columns = _distinct((name, str(kind)) for name, kind, *_ in connection.description or ())
    return _Answer(columns, _rows(connection))


def _distinct(described: Iterable[tuple[str, str]]) -> list[_Column]:
    """Columns with names of their own: of two `a` the second is `a_2`."""
    columns: list[_Column] = []
    taken: set[str] = set()
    for name, kind in described:
        own, number = name, 1
        while own in taken:
            number += 1
            own = f"{name}_{number}"
        taken.add(own)
        columns.append(_Column(own, kind.upper()))
    return columns


def _exactly(select: str, columns: Sequence[_Column]) -> str:
    """The select, with text in place of the values that Python cannot hold exactly."""
    if all(_plain(column.type) in _EXACT and not column.is_nested for column in columns):
        return select
    names = [f"c{place}" for place in range(len(columns))]
    given = [_as_text(name, column) for name, column in zip(names, columns, strict=True)]
    return f"SELECT {', '.join(given)} FROM (\n{select}\n) AS answer({', '.join(names)})"  # noqa: S608 (the user's own)


def _as_text(name: str, column: _Column) -> str:
    if column.is_nested:
        return f"CAST(to_json({name}) AS VARCHAR)"
    if column.type in _TIMES:  # ISO 8601, as everywhere; the session's zone is UTC
        exact = f"strftime({name}, '%Y-%m-%dT%H:%M:%S.%fZ')"
        return f"CASE WHEN isfinite({name}) THEN {exact} ELSE CAST({name} AS VARCHAR) END"
    return name if _plain(column.type) in _EXACT else f"CAST({name} AS VARCHAR)"


def _plain(kind: str) -> str:
    return kind.partition("(")[0]


def _rows(connection: duckdb.DuckDBPyConnection) -> Iterator[Sequence[Any]]:
    while page := connection.fetchmany(_PAGE):
        yield from page


@contextmanager
def _complaints() -> Iterator[None]:
    """Turn what DuckDB says against a statement, when it is read or while it runs, into one line of UsageError."""
    import duckdb

    from recorder.errors import UsageError

    try:
        yield
    except duckdb.InterruptException:
        raise KeyboardInterrupt from None
    except duckdb.PermissionException:
        raise UsageError("SQL here reads the store's tables alone: no file, no network, no setting") from None
    except duckdb.Error as error:
        # What follows is the place in the statement, or a list of functions.
        said = re.split(r"\n\s*(?:LINE \d|Candidate functions)", str(error), maxsplit=1)[0]
        known = isinstance(error, (duckdb.CatalogException, duckdb.BinderException))
        hint = ' ("show tables" and "describe runs" say what there is)' if known else ""
        raise UsageError(safe(" ".join(said.split())) + hint) from None


# -- printing ----------------------------------------------------------------------------------------------------------


def _print_table(answer: _Answer) -> None:
    rows: list[list[str]] = []
    for row in answer.rows:
        if len(rows) == _MOST:
            click.echo(f"recorder: the first {_MOST:,} rows; --json and --format csv give all of them", err=True)
            break
        rows.append(["-" if value is None else _text(value) for value in row])
    if answer.columns:
        titles = {column.name: safe(column.name) for column in answer.columns}
        table(list(titles.values()), rows, right=[titles[each.name] for each in answer.columns if each.is_number])


def _print_json(answer: _Answer) -> None:
    for row in answer.rows:
        json_line({column.name: _value(column, value) for column, value in zip(answer.columns, row, strict=True)})


def _print_csv(answer: _Answer) -> None:
    """RFC 4180, but with line feeds alone. Unknown is nothing, an empty text is two quotes."""
    if answer.columns:
        click.echo(",".join(_cell(column.name) for column in answer.columns))
    for row in answer.rows:
        click.echo(",".join("" if value is None else _cell(value) for value in row))


_PRINTERS: Mapping[str, Callable[[_Answer], None]] = MappingProxyType(
    {"table": _print_table, "json": _print_json, "csv": _print_csv}
)


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _cell(value: Any) -> str:
    text = _text(value)
    if not isinstance(value, str):
        return text
    text = safe(f"'{text}" if text.startswith(_FORMULA) else text, lines=True)
    return f'"{text.replace(chr(34), chr(34) * 2)}"' if not text or any(mark in text for mark in '",\n') else text


def _value(column: _Column, value: Any) -> Any:
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
    return str(value)
