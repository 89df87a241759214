"""`recorder analyze`: the questions of analytics/, answered for the runs that are meant.

What a table says of a run stands on stdout; who was left out, and why, on stderr, so that no figure is read for more
than it is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from .answers import PRINTERS, Column, Printed, complaints, interruptibly, named, parquet
from .logs import Log, connected, log, price_folder
from .options import as_json, pairs, parse_time, scope
from .output import count, safe, several, span, table, timestamp

if TYPE_CHECKING:
    import duckdb

    from recorder.queries import Answer, Question, Scope

__all__ = ["analyze", "foot"]

#: How a figure is shown to people, by the end of its column's name.
_ENDS: Final = ("_share", "_us", "_usd", "_tokens")

#: Rows of each answer where several are given at once.
_GLANCE: Final = 15


@click.command(short_help="Questions about budgets, truncation, cost and latency.")
@click.argument("question", required=False)
@click.option("--list", "list_", is_flag=True, help="Name the questions there are.")
@scope
@log
@click.option(
    "--set", "given", multiple=True, callback=pairs, metavar="NAME=VALUE", help="Set what the question takes."
)
@click.option(
    "--cap", "caps", multiple=True, type=click.IntRange(1), help="A cap to try, where the question tries some."
)
@click.option("--invoice", type=click.Path(path_type=Path), help="The CSV file that a question compares with.")
@click.option(
    "--invoice-column", multiple=True, callback=pairs, metavar="NAME=COLUMN", help="What a column is called there."
)
@click.option(
    "--format", "format_", type=click.Choice(["table", "json", "csv", "parquet"]), default="table", show_default=True
)
@as_json
@click.option("--chart", is_flag=True, help="Draw the answer too.")
@click.option("-o", "--output", type=click.Path(path_type=Path), help="The file that --format parquet writes.")
@click.pass_context
def analyze(
    context: click.Context,
    question: str | None,
    *,
    list_: bool,
    asked_for: Scope,
    source: Log | None,
    given: Mapping[str, str],
    caps: Sequence[int],
    invoice: Path | None,
    invoice_column: Mapping[str, str],
    format_: str,
    json_: bool,
    chart: bool,
    output: Path | None,
) -> None:
    """Answer QUESTION: an id (B1), a name (cap_use), or a file of your own (./mine.sql).

    Without QUESTION, the first ones to look at. Unknown is never counted as 0: what a question had to leave out is said
    on stderr. With --from, of a log that was never recorded here.
    """
    from recorder.queries import find, questions

    if list_:
        _list(questions(), as_json=json_ or format_ == "json")
        return
    form = "json" if json_ else format_
    if (form == "parquet") != (output is not None):
        raise click.UsageError("--format parquet and --output FILE go together")
    wanted = [find(question)] if question else [one for one in questions() if one.is_default]
    if question is None and form != "table":
        raise click.UsageError("name a QUESTION where the answer is not a table for people")
    options = {
        "given": given,
        "candidates": caps,
        "invoice": invoice,
        "invoice_columns": invoice_column,
    }
    events = any("events" in one.uses for one in wanted)
    with connected(context, source, asked_for, events=events) as connection, complaints():
        if any("costs" in one.uses for one in wanted):
            options["price_folder"] = price_folder(context, source)
        for place, one in enumerate(wanted):
            answer = interruptibly(connection, partial(_ask, connection, one, asked_for, options))
            if form == "table":
                most = None if question else _GLANCE
                _tell(answer, chart=chart, first=place == 0, sliced=asked_for.by is not None, most=most)
            elif output is not None:
                parquet(_printed(answer), output)
            else:
                PRINTERS[form](_printed(answer))
            foot(answer)


def _ask(
    connection: duckdb.DuckDBPyConnection, question: Question, asked_for: Scope, options: dict[str, Any]
) -> Answer:
    from recorder.queries import ask

    given = {name: _moment(name, text) if name in question.moments else text for name, text in options["given"].items()}
    return ask(connection, question, asked_for, **{**options, "given": given})


def _moment(name: str, text: str) -> int:
    try:
        return parse_time(text)
    except (ValueError, OverflowError):
        raise click.BadParameter(
            f"{name} is a moment; write ISO 8601 (2026-03-01T12:00) or an age (7d)", param_hint="--set"
        ) from None


def _list(known: Sequence[Question], *, as_json: bool) -> None:
    if as_json:
        from .output import json_line

        for one in known:
            json_line(
                {
                    "id": one.id,
                    "name": one.name,
                    "question": one.title,
                    "text": one.text,
                    "takes": {given.name: given.default for given in one.given},
                }
            )
        return
    table(["ID", "NAME", "QUESTION"], [[one.id, one.name, one.title] for one in known])


# -- telling -----------------------------------------------------------------------------------------------------------


def _tell(answer: Answer, *, chart: bool, first: bool, sliced: bool, most: int | None) -> None:
    """The answer for people, at `most` so many rows; `sliced` where the runs were told apart."""
    if not first:
        click.echo()
    click.secho(f"{answer.question.id}  {answer.question.title}", bold=True)
    if not answer.rows:
        click.echo("  nothing to say: no run of those meant can answer this")
        return
    if chart:
        from .charts import draw

        draw(answer)
    columns = _columns(answer)
    told = [place for place, column in enumerate(columns) if sliced or column.name != "slice"]
    titles = _titles([columns[place].name for place in told])
    table(
        titles,
        [[_shown(columns[place].name, row[place]) for place in told] for row in answer.rows[:most]],
        right=[title for title, place in zip(titles, told, strict=True) if columns[place].is_number],
    )
    if most and len(answer) > most:
        click.echo(f"… {several(len(answer) - most, 'row')} more: recorder analyze {answer.question.id}")


def foot(answer: Answer) -> None:
    """Who was asked, and who could not be."""
    said = [f"{answer.question.id}: {several(answer.asked, 'run')} of {count(answer.selected)}"]
    if answer.selected > answer.among:
        said.append(f"{count(answer.selected - answer.among)} are none that it is about")
    if abs(answer.stands_for - answer.asked) > 0.5:
        said.append(f"which stand for {round(answer.stands_for):,} (sampled)")
    said += [f"left out {several(left.runs, 'run')}: {left.why}" for left in answer.left_out]
    if answer.price_list:
        said.append(f"prices: {answer.price_list}")
    said += [f"{name} = {value}" for name, value in answer.given.items()]
    click.echo(safe("; ".join(said)), err=True)


def _columns(answer: Answer) -> list[Column]:
    return named(zip(answer.columns, answer.types, strict=True))


def _printed(answer: Answer) -> Printed:
    return Printed(_columns(answer), iter(answer.rows))


def _titles(names: Sequence[str]) -> list[str]:
    """The columns' names as people read them: without the unit, unless that is what tells two of them apart."""
    short = [_short(name) for name in names]
    return [
        safe((name if short.count(brief) > 1 else brief).replace("_", " "))
        for name, brief in zip(names, short, strict=True)
    ]


def _short(name: str) -> str:
    end = next((end for end in _ENDS if name.endswith(end) and name != end.lstrip("_")), "")
    return name.removesuffix(end)


def _shown(name: str, value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, datetime):  # UTC
        return f"{value:%Y-%m-%d %H:%M:%S}Z"
    return _figure(name, value) if isinstance(value, (Decimal, int, float)) else str(value)


def _figure(name: str, value: Decimal | int | float) -> str:
    if name.endswith("_usd"):
        return f"${value:,.4f}"
    if name.endswith("_at") and isinstance(value, int):
        return f"{str(timestamp(value))[:19]}Z".replace("T", " ")
    if name.endswith("_share") and isinstance(value, (int, float)):
        return f"{value:.1%}"
    if name.endswith("_us") and isinstance(value, (int, float)):
        return span(round(value))
    if isinstance(value, float):
        return f"{value:,.4g}" if abs(value) < 1000 else f"{value:,.0f}"
    return str(value) if isinstance(value, Decimal) else count(value)
