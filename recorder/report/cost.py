"""The part of the page that tells what was spent: what has no price first, which is in no sum."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Final

from . import charts
from .cells import money, named, number, part
from .charts import Bar, Range, Series
from .gathering import Facts, label
from .markup import Markup, fragment
from .pieces import figure, fold, legend, note, section, subsection, table
from .wording import UNKNOWN, share, usd

__all__ = ["cost"]

Row = Mapping[str, Any]

_MONEY: Final = (
    ("m-input", "input", "uncached_usd"),
    ("m-read", "read from cache", "cache_read_usd"),
    ("m-write", "written to cache", "cache_write_usd"),
    ("m-output", "output", "output_usd"),
    ("m-other", "by request or time", "other_usd"),
)


def cost(facts: Facts) -> Markup:
    lead = (
        f"At the prices of the day of each run, by {facts.price_list}. Fees for tools are not in it."
        if facts.price_list
        else "There is no price list."
    )
    return section(
        "cost", "Cost", lead, _unpriced(facts), _by_day(facts), _by_kind(facts), _per_answer(facts), _cache(facts)
    )


def _unpriced(facts: Facts) -> Markup:
    rows = list(facts.whole["unpriced"])
    if not rows:
        return note("Every run has a price.")
    return subsection(
        "Without a price",
        "These runs are in no sum of money. Nothing is guessed, and nothing is taken for free.",
        table(
            "Runs without a price",
            named("Reason", "Host", "Model", "#Runs", "#Input tokens", "#Output tokens", "What helps"),
            (
                (
                    str(row["unpriced"]).replace("_", " "),
                    row["origin"] or UNKNOWN,
                    row["model"] or UNKNOWN,
                    number(row["runs"]),
                    number(row["input_tokens"]),
                    number(row["output_tokens"]),
                    row["what_helps"] or UNKNOWN,
                )
                for row in rows
            ),
        ),
        id_="unpriced",
    )


def _by_day(facts: Facts) -> Markup:
    totals = {row["day"]: row["spent_usd"] for row in facts.whole["spend_by_day"]}
    if not any(totals.values()):
        return fragment()
    days = sorted(totals)
    series, drawn = [], dict.fromkeys(days, Decimal(0))
    for group in facts.groups:
        spent = {row["day"]: row["spent_usd"] for row in facts.part("spend_by_day", group)}
        if any(spent.values()):
            series.append(Series(group.label, group.colour, [_float(spent.get(day)) for day in days]))
            for day, value in spent.items():
                drawn[day] += value or 0
    rest = [float((totals[day] or 0) - drawn[day]) for day in days]
    if facts.other_groups and any(value > 0 for value in rest):
        series.append(Series("all others", "cx", rest))
    return subsection(
        "Spent on each day",
        "By the day (UTC) on which a run began.",
        figure(
            charts.columns("Spent on each day", "Stacked by group, in US dollars.", days, series, _axis_usd),
            None,
            legend((each.colour, each.name) for each in series),
        ),
        fold("As a table", _day_table(facts)),
        id_="days",
    )


def _day_table(facts: Facts) -> Markup:
    return table(
        "Spent on each day",
        named("Day", "#Spent", "#So far", "#Runs", "#Without a price"),
        (
            (
                row["day"].isoformat(),
                money(row["spent_usd"]),
                money(row["so_far_usd"]),
                number(row["runs"]),
                number(row["unpriced_runs"]),
            )
            for row in facts.whole["spend_by_day"]
        ),
    )


def _by_kind(facts: Facts) -> Markup:
    rows = []
    for row in facts.parts["spend"]:
        if row["spent_usd"]:
            parts = [
                (colour, float(row[column]), f"{name}: {usd(row[column])}")
                for colour, name, column in _MONEY
                if row[column]
            ]
            rows.append(Bar(label(row["slice"]), parts, f"{usd(row['spent_usd'])} ({share(row['spent_share'])})"))
    if not rows:
        return subsection("What the money went into", None, _kind_table(facts), id_="spend")
    return subsection(
        "What the money went into",
        None,
        figure(
            charts.bars("What the money went into", "One bar for each group, in US dollars.", rows),
            None,
            legend(
                (colour, name) for colour, name, column in _MONEY if any(row[column] for row in facts.parts["spend"])
            ),
        ),
        fold("As a table", _kind_table(facts)),
        id_="spend",
    )


def _kind_table(facts: Facts) -> Markup:
    columns = named(
        facts.heading,
        "#Runs",
        "#Without a price",
        "#Spent",
        "#Input",
        "#Cache read",
        "#Cache write",
        "#Output",
        "#of which reasoning",
        "#A run",
    )
    return table(
        "What was spent, and on what",
        columns,
        (
            (
                label(row["slice"]),
                number(row["runs"]),
                number(row["unpriced_runs"]),
                money(row["spent_usd"]),
                money(row["uncached_usd"]),
                money(row["cache_read_usd"]),
                money(row["cache_write_usd"]),
                money(row["output_usd"]),
                money(row["reasoning_usd"]),
                money(row["per_run_usd"]),
            )
            for row in facts.parts["spend"]
        ),
    )


def _per_answer(facts: Facts) -> Markup:
    told = [row for row in facts.parts["cost_per_usable_answer"] if row["per_usable_usd"]]
    if not told:
        return fragment()
    rows = [
        Range(
            label(row["slice"]),
            [
                ("faint", float(row["per_run_usd"]), f"a run: {usd(row['per_run_usd'])}"),
                ("accent", float(row["per_usable_usd"]), f"a usable answer: {usd(row['per_usable_usd'])}"),
            ],
            f"{usd(row['per_usable_usd'])} ({float(row['per_usable_usd'] / row['per_run_usd']):.2f}\u00d7)",
        )
        for row in told
    ]
    return subsection(
        "What a usable answer costs",
        "The small dot is the cost of a run, the large one that of an answer that can be used: cut, failed and damaged"
        " runs are paid for too.",
        figure(
            charts.ranges(
                "Cost of a run and of a usable answer", "In US dollars, logarithmic.", rows, _axis_usd, log=True
            )
        ),
        id_="usable",
    )


def _cache(facts: Facts) -> Markup:
    rows = list(facts.parts["cache_effect"])
    if not rows:
        return fragment()
    return subsection(
        "What caching saves",
        "Saved is what the cached input would have cost more without the cache; premium is what writing to it cost"
        " more.",
        table(
            "What caching saves",
            named(facts.heading, "#Runs", "#Input tokens", "#From the cache", "#Saved", "#Premium", "#Net"),
            (
                (
                    label(row["slice"]),
                    number(row["runs"]),
                    number(row["input_tokens"]),
                    part(row["cached_share"]),
                    money(row["saved_usd"]),
                    money(row["premium_usd"]),
                    money(row["net_usd"]),
                )
                for row in rows
            ),
        ),
        id_="cache",
    )


def _float(value: Decimal | None) -> float | None:
    return None if value is None else float(value)


def _axis_usd(value: float) -> str:
    if value == 0:
        return "$0"
    if value >= 10:
        return f"${value:,.0f}"
    return f"${value:.2f}" if value >= 0.01 and round(value, 2) == round(value, 6) else f"${value:.6f}".rstrip("0")
