"""The runs to look at, each with what to type, and what the figures rest on: who was asked, and who was left out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from .cells import money, number
from .gathering import Facts, Group, label
from .markup import Markup
from .pieces import Cell, Column, code, fold, section, table
from .wording import UNKNOWN, count, moment, outcome, span, usd

__all__ = ["lists", "rests_on"]

Row = Mapping[str, Any]

_LISTS: Final = {
    "dearest": "The dearest",
    "longest": "The longest",
    "whitespace": "Wrote whitespace without end",
    "starved": "Reasoning took the whole output",
    "damaged": "Damaged JSON or arguments",
    "again": "Brought nothing usable, asked again",
    "broken": "The client left or the stream broke",
    "failed": "Failed or refused",
    "unpriced": "Without a price",
}

#: Lists that every run is on: only their order matters.
_OF_ALL: Final = frozenset({"dearest", "longest"})

_COLUMNS: Final = (
    Column("Show it"),
    Column("Began (UTC)"),
    Column("Group"),
    Column("Model"),
    Column("Ended"),
    Column("Cap", True),
    Column("Output", True, "tokens"),
    Column("Time", True),
    Column("Cost", True),
)


def lists(facts: Facts) -> Markup:
    """The first runs of each list."""
    told: dict[str, list[Row]] = {}
    for row in facts.whole["runs"]:
        told.setdefault(row["list"], []).append(row)
    return section(
        "runs",
        "Runs to look at",
        "The first of each list, the dearest first. Type the command to see a run whole.",
        [_list(name, title, told[name]) for name, title in _LISTS.items() if name in told],
        [_cut(facts, group) for group in facts.groups],
    )


def _cut(facts: Facts, group: Group) -> Markup | None:
    rows = [row for row in facts.part("runs", group) if row["list"] == "cut"]
    return _list(f"cut-{group.colour}", f"{group.label}: cut by a token limit", rows) if rows else None


def _list(name: str, title: str, rows: Sequence[Row]) -> Markup:
    first = rows[0]
    paid = "" if first["list_usd"] is None or name in _OF_ALL else f", {usd(first['list_usd'])} together"
    return fold(
        f"{title}: {count(len(rows))} of {count(first['runs'])}{paid}",
        table(title, _COLUMNS, map(_run, rows), class_="runs"),
        id_=f"runs-{name}",
    )


def _run(row: Row) -> Sequence[Any]:
    return (
        code(f"recorder show {row['run_id']}"),
        Cell(moment(row["started_at"]).removesuffix(" UTC"), row["started_at"]),
        label(row["slice"]),
        row["model"] or UNKNOWN,
        outcome(row["outcome"]),
        number(row["cap_tokens"]),
        number(row["output_tokens"]),
        Cell(span(row["duration_us"]), row["duration_us"]),
        money(row["cost_usd"]),
    )


def rests_on(facts: Facts) -> Markup:
    """Each question, of how many runs it was asked, and who could not answer it."""
    return section(
        "basis",
        "What the figures rest on",
        "Each figure is the answer to a question that the command answers too. A run that lacks what a question"
        " needs is left out of it and counted here; unknown is never taken for 0.",
        table(
            "Questions, and the runs that answered them",
            [
                Column("Command"),
                Column("Question"),
                Column("Runs", True),
                Column("About", True),
                Column("Answered", True),
                Column("Left out"),
            ],
            (
                (
                    code(f"recorder analyze {answer.question.id}"),
                    answer.question.title,
                    number(answer.selected),
                    number(answer.among),
                    number(answer.asked),
                    "; ".join(f"{count(left.runs)}: {left.why}" for left in answer.left_out) or UNKNOWN,
                )
                for answer in facts.answers
            ),
            class_="basis",
        ),
    )
