"""`recorder sql`: one's own question to the store, answered by DuckDB."""

from __future__ import annotations

import re
import sys
from typing import TYPE_CHECKING, Final

import click

from recorder.recording import storable

from .answers import PRINTERS, Printed, complaints, exactly, interruptibly, named, pages
from .logs import facts
from .options import url_of_store

if TYPE_CHECKING:
    import duckdb

__all__ = ["sql"]

_NAMES_MONEY: Final = re.compile(r"\b(costs|prices)\b", re.IGNORECASE)


@click.command(short_help="Your own SQL over the store's facts, in DuckDB.")
@click.argument("statement", metavar="SQL")
@click.option("--events", is_flag=True, help="Have the table events too (without payloads).")
@click.option("--content", is_flag=True, help="Have readings.text too: what the model wrote.")
@click.option("--format", "format_", type=click.Choice(["table", "json", "csv"]), default="table", show_default=True)
@click.option("--json", "json_", is_flag=True, help="One JSON object a line: the same as --format json.")
@click.pass_context
def sql(context: click.Context, statement: str, *, events: bool, content: bool, format_: str, json_: bool) -> None:
    """Ask the store in DuckDB's SQL; - reads it from stdin. The store itself cannot be changed this way.

    Tables: runs, steps, calls, run_tags, run_params (each parameter that a request set, as JSON text), costs (a row a
    run) and prices, readings, recordings, endings, tags.
    "show tables" and "describe runs" tell more. Times are started_at (microseconds) and started (TIMESTAMP), in UTC.
    """
    text = sys.stdin.buffer.read().decode(errors="replace") if statement == "-" else storable(statement)
    with facts(context, events=events, content=content) as connection, complaints():
        if _NAMES_MONEY.search(text):
            _install_prices(context, connection)
        PRINTERS["json" if json_ else format_](interruptibly(connection, lambda: _ask(connection, text)))


def _install_prices(context: click.Context, connection: duckdb.DuckDBPyConnection) -> None:
    """Make the tables `costs` and `prices`, which take a moment, and which few statements name."""
    from recorder import config, queries
    from recorder.queries import pricing

    pricing.install(connection, config.load().prices, queries.folder_of(url_of_store(context)), whole=True)


# -- asking ------------------------------------------------------------------------------------------------------------


def _ask(connection: duckdb.DuckDBPyConnection, text: str) -> Printed:
    """Run the statements; the answer is the last one's. Raises UsageError where there is none, and duckdb.Error."""
    from recorder.errors import UsageError

    statements = connection.extract_statements(text)
    if not statements:
        raise UsageError('there is no SQL; try "select * from runs limit 10"')
    for statement in statements[:-1]:
        connection.execute(statement)
    last = statements[-1]
    if _is_select(last):
        select = last.query.strip().rstrip(";")
        described = connection.execute(f"DESCRIBE {select}").fetchall()
        columns = named((name, kind) for name, kind, *_ in described)
        connection.execute(exactly(select, columns))
    else:
        connection.execute(last)
        columns = named((name, str(kind)) for name, kind, *_ in connection.description or ())
    return Printed(columns, pages(connection))


def _is_select(statement: duckdb.Statement) -> bool:
    import duckdb

    try:
        return statement.type == duckdb.StatementType.SELECT
    except ValueError:  # a kind that DuckDB has no name for in Python: UPDATE EXTENSIONS
        return False
