"""Limits: what a budget may say, and that nothing unknown is ever taken for kept."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from recorder.errors import UsageError
from recorder.queries.limits import LIMITS, judge, parse
from recorder.queries.questions import find

FIGURES: dict[str, Any] = {
    "slice": "a",
    "runs": 200,
    "over_runs": 200,
    "truncated_share": 0.02,
    "broken_share": 0.0,
    "judged_runs": 200,
    "unusable_share": 0.1,
    "payable_runs": 200,
    "unpriced_runs": 0,
    "unpriced_share": 0.0,
    "priced_runs": 200,
    "total_usd": Decimal("10.50"),
    "top_day_usd": Decimal(6),
    "mean_usd": Decimal("0.0525"),
    "output_runs": 200,
    "p99_output_tokens": 900,
    "input_runs": 200,
    "p99_input_tokens": 5000,
    "ttft_runs": 200,
    "p95_ttft_us": 400_000,
}


def kept(table: dict[str, Any], **changes: Any) -> list[tuple[str, bool]]:
    (budget,) = parse(table)
    return [(verdict.kept, verdict.fails) for verdict in judge(budget, [{**FIGURES, **changes}])]


@pytest.mark.parametrize("name", LIMITS)
def test_a_limit_is_broken_above_it_and_kept_at_it(name: str) -> None:
    figure = FIGURES[LIMITS[name].column]
    assert kept({name: float(figure)}) == [("ok", False)]
    if figure:
        assert kept({name: float(figure) * 0.99}) == [("broken", True)]


@pytest.mark.parametrize("name", LIMITS)
def test_too_few_runs_are_unknown_and_that_fails_unless_it_is_said_to_be_ok(name: str) -> None:
    basis = LIMITS[name].basis
    few = {basis: LIMITS[name].least - 1}
    most = 1 if LIMITS[name].kind == "share" else 10**9
    assert kept({name: most}, **few) == [("unknown", True)]
    assert kept({name: most, "unknown": "ok"}, **few) == [("unknown", False)]
    assert kept({name: most, "least_runs": 500}) == [("unknown", True)]
    assert kept({name: most}, **{LIMITS[name].column: None}) == [("unknown", True)]


def test_money_of_which_part_has_no_price_is_unknown_but_broken_where_the_rest_is_too_much() -> None:
    part = {"unpriced_runs": 10, "unpriced_share": 0.05}
    assert kept({"max_usd": 20}, **part) == [("unknown", True)]
    assert kept({"max_usd": 5}, **part) == [("broken", True)]
    assert kept({"max_usd": 20, "max_unpriced_share": 0.1}, **part) == [("ok", False), ("ok", False)]
    assert kept({"max_usd": 20, "max_unpriced_share": 0.01}, **part) == [("broken", True), ("unknown", True)]


def test_no_runs_at_all_are_unknown() -> None:
    (budget,) = parse({"max_usd": 5, "max_truncated_share": 0.5, "by": "model"})
    verdicts = list(judge(budget, []))
    assert [(verdict.kept, verdict.fails, verdict.runs) for verdict in verdicts] == [("unknown", True, 0)] * 2


def test_further_budgets_take_over_what_they_do_not_say() -> None:
    also = [{"max_usd": 5, "by": "model"}, {"max_usd": 6, "since": "1d", "least_runs": 3}]
    first, second, third = parse({"max_broken_share": 0.5, "since": "7d", "unknown": "ok", "also": also})
    assert [budget.since for budget in (first, second, third)] == ["7d", "7d", "1d"]
    assert [budget.by for budget in (first, second, third)] == [None, "model", None]
    assert [[limit.name for limit in budget.limits] for budget in (second, third)] == [["max_usd"]] * 2
    assert third.least_runs == 3
    assert not third.unknown_is_broken
    assert [len(parse({"also": also})), len(parse({"max_usd": 1}))] == [2, 1]


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ({}, "no limit is set"),
        ({"since": "7d"}, "no limit is set"),
        ({"max_usd_per_dya": 5}, "budget.max_usd_per_dya is unknown: did you mean max_usd_per_day"),
        ({"max_usd": "5"}, "budget.max_usd is wrong: it must be a number that is not below 0"),
        ({"max_usd": True}, "budget.max_usd is wrong"),
        ({"max_usd": float("nan")}, "budget.max_usd is wrong"),
        ({"max_truncated_share": 2}, "budget.max_truncated_share is wrong: it must be a number from 0 to 1"),
        ({"max_usd": 1, "since": 7}, "budget.since is wrong"),
        ({"max_usd": 1, "least_runs": 0}, "budget.least_runs is wrong"),
        ({"max_usd": 1, "unknown": "maybe"}, "budget.unknown is wrong"),
        ({"max_usd": 1, "also": {"max_usd": 2}}, "budget.also is wrong"),
        ({"max_usd": 1, "also": [{"max_usd": -2}]}, r"budget.also\[0\].max_usd is wrong"),
    ],
)
def test_what_a_budget_cannot_say_is_told_by_its_place(table: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        parse(table)


def test_each_limit_looks_at_figures_that_there_are() -> None:
    sql = find("budget_figures").sql
    for limit in LIMITS.values():
        assert f"{limit.column}" in sql
        assert f"{limit.basis}" in sql
