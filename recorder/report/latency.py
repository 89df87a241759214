"""The part of the page that tells how long runs took."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import date
from typing import Any

from . import charts
from .cells import named, number, time
from .charts import Range, Series
from .gathering import Facts, label
from .markup import Markup
from .pieces import figure, fold, section, subsection, table
from .wording import BLANK, span

__all__ = ["latency"]

Row = Mapping[str, Any]


def latency(facts: Facts) -> Markup:
    rows = list(facts.parts["latency"])
    if not rows:
        return section("latency", "Latency", "No run that is over was timed.")
    drawn = [
        Range(
            label(row["slice"]),
            [
                ("faint", row["p50_us"], f"half: {span(row['p50_us'])}"),
                ("middle", row["p90_us"], f"90 %: {span(row['p90_us'])}"),
                ("accent", row["p99_us"], f"99 %: {span(row['p99_us'])}"),
            ],
            span(row["p50_us"]),
        )
        for group in facts.groups
        for row in facts.part("latency", group)
        if row["measure"] == "end"
    ]
    return section(
        "latency",
        "Latency",
        "From the request to the event, as the recorder saw it. Quantiles: so many of the runs took at most so long.",
        subsection(
            "Until the end, day by day",
            f"Half, 90{BLANK}% and 99{BLANK}% of the runs of each day (UTC), on a logarithmic scale.",
            figure(_days(facts, "end")),
        ),
        subsection(
            "Until the end, by group",
            f"Dots: half, 90{BLANK}%, 99{BLANK}% of the runs, on a logarithmic scale. The figure is the median.",
            figure(charts.ranges("Time until the end", "One row for each group.", drawn, span, log=True)),
        ),
        fold("As a table", _table(facts.heading, rows)),
    )


def _table(heading: str, rows: Iterable[Row]) -> Markup:
    return table(
        "Times",
        named(heading, "Until", "#Runs", "#Half", f"#90{BLANK}%", f"#99{BLANK}%", "#Longest"),
        (
            (
                label(row["slice"]),
                str(row["measure"]).replace("_", " "),
                number(row["runs"]),
                time(row["p50_us"]),
                time(row["p90_us"]),
                time(row["p99_us"]),
                time(row["max_us"]),
            )
            for row in rows
        ),
    )


def _days(facts: Facts, measure: str) -> Markup:
    told = {date.fromisoformat(row["slice"]): row for row in facts.days if row["measure"] == measure}
    days = sorted(told)
    series = [
        Series(f"{name}{BLANK}%", colour, [told[day][column] for day in days])
        for name, colour, column in (("50", "faint", "p50_us"), ("90", "middle", "p90_us"), ("99", "accent", "p99_us"))
    ]
    return charts.lines(
        "Time until the end", "Half, 90 % and 99 % of the runs of each day took at most so long.", days, series, span
    )
