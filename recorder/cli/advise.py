"""`recorder advise`: which cap lets enough of the runs come to their end, for each assistant, model or whatever.

The figures are those of the questions B5 and B6; here they become one row each, and a sentence for people.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import click

from .analyze import foot
from .answers import PRINTERS, Column, Printed, complaints
from .logs import Log, connected, log, price_folder
from .options import as_json, scope
from .output import count, safe, several, table

if TYPE_CHECKING:
    import duckdb

    from recorder.queries import Answer, Scope

__all__ = ["advise"]

Row = Mapping[str, Any]

#: What is taken from B5 and from B6, and DuckDB's types.
_FROM_ADVICE: Final = {
    "slice": "VARCHAR",
    "cap_kind": "VARCHAR",
    "runs": "BIGINT",
    "ended_runs": "BIGINT",
    "censored_runs": "BIGINT",
    "last_cap_tokens": "BIGINT",
    "low_cap_tokens": "BIGINT",
    "high_cap_tokens": "BIGINT",
    "uncapped_share": "DOUBLE",
    "target_share": "DOUBLE",
    "advice_tokens": "BIGINT",
    "low_tokens": "BIGINT",
    "high_tokens": "BIGINT",
    "naive_tokens": "BIGINT",
    "cut_share": "DOUBLE",
    "expected_now_share": "DOUBLE",
    "expected_then_share": "DOUBLE",
    "known_share": "DOUBLE",
    "known_tokens": "BIGINT",
    "runaway_runs": "BIGINT",
    "starved_runs": "BIGINT",
    "unknown_runs": "BIGINT",
}
_FROM_TRIAL: Final = {
    "harmed_runs": "BIGINT",
    "avoided_runs": "BIGINT",
    "saved_tokens": "DOUBLE",
    "added_tokens": "DOUBLE",
    "saved_usd": "DECIMAL(38,9)",
    "added_usd": "DECIMAL(38,9)",
    "unpriced_runs": "BIGINT",
}
_LAST: Final = {"why": "VARCHAR", "advice": "VARCHAR"}

#: Each piece of advice is tried on each slice; of more than so many no savings are said.
_MOST: Final = 1000


@click.command(short_help="Which token cap is enough, for each assistant or model.")
@click.option(
    "--target",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    default=0.99,
    show_default=True,
    help="The share of the runs that is to come to its end by itself.",
)
@click.option("--kind", type=click.Choice(["output", "prompt"]), default="output", show_default=True, help="Which cap.")
@scope
@log
@click.option("--format", "format_", type=click.Choice(["table", "json", "csv"]), default="table", show_default=True)
@as_json
@click.pass_context
def advise(
    context: click.Context,
    *,
    target: float,
    kind: str,
    asked_for: Scope,
    source: Log | None,
    format_: str,
    json_: bool,
) -> None:
    """Advise a cap on tokens, with its band, and what it would change.

    Runs that were cut tell only that they needed more; they count as that (Kaplan and Meier), so the advice is not too
    low, as a percentile of what was used is. Where too little is known, there is none, and why.

    Without --by, runs of a store are told apart by their group: the assistant, prompt, tag `app` or instructions.
    """
    if asked_for.by is None and source is None:
        asked_for = dataclasses.replace(asked_for, by="group")
    with connected(context, source, asked_for) as connection, complaints():
        answer, trials = _asked(context, connection, asked_for, source, {"target": target, "kind": kind})
    rows = [_row(row, trials.get((row["slice"], row["advice_tokens"]))) for row in answer]
    if json_ or format_ != "table":
        columns = [Column(name, type_) for name, type_ in {**_FROM_ADVICE, **_FROM_TRIAL, **_LAST}.items()]
        PRINTERS["json" if json_ else format_](Printed(columns, iter([list(row.values()) for row in rows])))
    else:
        _tell(rows)
    foot(answer)


def _asked(
    context: click.Context,
    connection: duckdb.DuckDBPyConnection,
    asked_for: Scope,
    source: Log | None,
    given: Mapping[str, Any],
) -> tuple[Answer, dict[tuple[Any, int], Row]]:
    """The advice, and what comes of each piece of it, by slice and cap."""
    from recorder.queries import ask, find

    answer = ask(connection, find("cap_advice"), asked_for, given=given)
    caps = sorted({row["advice_tokens"] for row in answer if row["advice_tokens"]})
    if not caps:
        return answer, {}
    if len(answer) > _MOST:
        click.echo(f"more than {_MOST:,} rows: what the caps would save is left out", err=True)
        return answer, {}
    trials = ask(
        connection,
        find("cap_what_if"),
        asked_for,
        given={"kind": given["kind"]},
        candidates=caps,
        price_folder=price_folder(context, source),
    )
    return answer, {(row["slice"], row["cap_tokens"]): row for row in trials}


def _row(advice: Row, trial: Row | None) -> dict[str, Any]:
    row = {name: advice[name] for name in _FROM_ADVICE}
    row |= {name: None if trial is None else trial[name] for name in _FROM_TRIAL}
    return {**row, "why": advice["why"], "advice": " ".join(_sentences(row, advice["why"]))}


# -- in words ----------------------------------------------------------------------------------------------------------


def _sentences(row: Row, why: str | None) -> Iterator[str]:
    if row["advice_tokens"] is None:
        yield f"No advice: {why}."
        if row["ended_runs"] and row["known_share"] < row["target_share"] and row["cut_share"]:
            yield "Give some of the runs a higher cap, or none: only these can tell."
    else:
        yield _change(row)
        if row["high_tokens"] is None and why:
            yield f"{why[0].upper()}{why[1:]}."
        yield from _money(row)
    if row["runaway_runs"]:
        yield f"{several(row['runaway_runs'], 'run')} ran away (blanks or repetitions): no cap is enough for these."
    if row["starved_runs"]:
        yield f"In {several(row['starved_runs'], 'run')} reasoning took all of the output, and no answer was left."


def _change(row: Row) -> str:
    cap, advised = row["last_cap_tokens"], row["advice_tokens"]
    then = f"{_percent(row['expected_then_share'])} of the runs would be cut"
    if cap is None:
        which = "No cap is set" if row["low_cap_tokens"] is None else f"The caps are {_caps(row)}"
        return f"{which}: {count(advised)} tokens would be enough, {then}."
    now = row["expected_now_share"]
    instead = "" if now is None else f" instead of {_percent(now)}"
    if row["low_tokens"] <= cap <= (row["high_tokens"] or cap):
        return f"The cap of {count(cap)} is about right: {count(advised)} is advised."
    word = "Raise" if advised > cap else "Lower"
    return f"{word} the cap from {count(cap)} to {count(advised)}: {then}{instead}."


def _money(row: Row) -> Iterator[str]:
    saved, added = row["saved_usd"], row["added_usd"]
    if saved:
        yield f"It saves ${saved:,.2f} at most."
    if added:
        yield f"Answers that are not cut any more cost about ${added:,.2f}."
    if saved is None and row["saved_tokens"]:
        yield f"It saves {count(round(row['saved_tokens']))} tokens at most, which have no price here."


def _percent(share: float | None) -> str:
    if share is None:
        return "?"
    return f"{share:.1%}" if share >= 0.0005 or share == 0 else "under 0.1%"


def _tell(rows: Sequence[Row]) -> None:
    if not rows:
        click.echo("nothing to say: no run of those meant tells how many tokens it needed")
        return
    titles = ["", "RUNS", "CAP", "ADVICE", "95% BAND", "PLAIN", "CUT NOW", "CUT THEN"]
    right = titles[1:4] + titles[5:]
    table(titles, [_cells(row) for row in rows], right=right)
    click.echo()
    for row in rows:
        click.echo(safe(f"{_name(row)}: {row['advice']}"))


def _cells(row: Row) -> list[str]:
    return [
        _name(row),
        count(row["runs"]),
        _caps(row),
        count(row["advice_tokens"]),
        _band(row),
        count(row["naive_tokens"]),
        "-" if row["cut_share"] is None else f"{row['cut_share']:.1%}",
        "-" if row["expected_then_share"] is None else f"{row['expected_then_share']:.1%}",
    ]


def _name(row: Row) -> str:
    return "(none)" if row["slice"] is None else str(row["slice"])


def _caps(row: Row) -> str:
    low, high = row["low_cap_tokens"], row["high_cap_tokens"]
    if low is None:
        return "none"
    caps = count(low) if low == high else f"{count(low)}-{count(high)}"
    return f"{caps} or none" if row["uncapped_share"] else caps


def _band(row: Row) -> str:
    if row["low_tokens"] is None:
        return "-"
    return f"{count(row['low_tokens'])} to {'?' if row['high_tokens'] is None else count(row['high_tokens'])}"
