"""The limits that a budget sets: read from the configuration, and held against the figures of question B14.

    [budget]                        # in recorder.toml; [tool.recorder.budget] in pyproject.toml
    max_truncated_share = 0.02      # any of `LIMITS`
    max_usd_per_day = 50
    max_unpriced_share = 0.01
    since = "7d"                    # all runs without it
    by = "assistant"                # each of them must keep to it; all runs together without it
    where = "origin like '%openai%'"
    least_runs = 100                # fewer tell nothing: the verdict is unknown
    unknown = "broken"              # what that counts as: broken (the default) or ok

    [[budget.also]]                 # more limits; what is not said is as above
    by = "model"
    max_p99_output_tokens = 4000

It refuses to ask anything itself, and never takes unknown for kept: too few runs, and money of which too much has no
price (more than `max_unpriced_share`, 0 without it), are verdicts of their own.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from decimal import Decimal
from difflib import get_close_matches
from types import MappingProxyType
from typing import Any, Final, Literal, NamedTuple

from recorder.errors import UsageError

__all__ = ["LIMITS", "Budget", "Kept", "Limit", "Verdict", "judge", "parse"]

Kept = Literal["ok", "broken", "unknown"]


class _Figure(NamedTuple):
    """Where a limit finds its figure in B14, on how many runs it rests, how many these must be, and what it is."""

    column: str
    basis: str
    least: int
    kind: Literal["share", "usd", "tokens", "us"]


LIMITS: Final[Mapping[str, _Figure]] = MappingProxyType(
    {
        "max_truncated_share": _Figure("truncated_share", "over_runs", 20, "share"),
        "max_unusable_share": _Figure("unusable_share", "judged_runs", 20, "share"),
        "max_broken_share": _Figure("broken_share", "over_runs", 20, "share"),
        "max_unpriced_share": _Figure("unpriced_share", "payable_runs", 1, "share"),
        "max_usd": _Figure("total_usd", "priced_runs", 1, "usd"),
        "max_usd_per_day": _Figure("top_day_usd", "priced_runs", 1, "usd"),
        "max_usd_per_run": _Figure("mean_usd", "priced_runs", 20, "usd"),
        "max_p99_output_tokens": _Figure("p99_output_tokens", "output_runs", 100, "tokens"),
        "max_p99_input_tokens": _Figure("p99_input_tokens", "input_runs", 100, "tokens"),
        "max_p95_ttft_us": _Figure("p95_ttft_us", "ttft_runs", 20, "us"),
    }
)
_TEXTS: Final = ("since", "by", "where")
_OTHERS: Final = ("least_runs", "unknown")


class Limit(NamedTuple):
    """One limit: its name, and the most that the figure may be."""

    name: str
    most: Decimal

    @property
    def figure(self) -> _Figure:
        return LIMITS[self.name]


class Budget(NamedTuple):
    """Limits for the same runs. `since` is as it was written: a time or an age."""

    limits: tuple[Limit, ...]
    since: str | None
    by: str | None
    where: str | None
    least_runs: int | None
    unknown_is_broken: bool


class Verdict(NamedTuple):
    """What became of a limit for one slice: the figure, the runs that it is made from, and why it is not known."""

    limit: Limit
    by: str | None
    slice: str | None
    figure: Decimal | None
    runs: int
    kept: Kept
    why: str | None
    fails: bool


def parse(table: Mapping[str, Any]) -> tuple[Budget, ...]:
    """The budgets of the configuration's table. Raises UsageError that names the place, never the value."""
    also = table.get("also", [])
    if not isinstance(also, list) or not all(isinstance(each, Mapping) for each in also):
        raise UsageError("budget.also is wrong: write each further budget below a line [[budget.also]]")
    base = {name: value for name, value in table.items() if name != "also"}
    common = {name: value for name, value in base.items() if name not in LIMITS}
    budgets = [_budget(base, "budget")]
    budgets += [_budget({**common, **each}, f"budget.also[{place}]") for place, each in enumerate(also)]
    found = tuple(budget for budget in budgets if budget.limits)
    if not found:
        raise UsageError(
            "no limit is set: write some below [budget] in recorder.toml, or [tool.recorder.budget] in pyproject.toml, "
            "such as max_truncated_share = 0.02"
        )
    return found


def _budget(table: Mapping[str, Any], where: str) -> Budget:
    known = [*LIMITS, *_TEXTS, *_OTHERS]
    for name in table:
        if name not in known:
            near = get_close_matches(name, known, n=1, cutoff=0.0)[0]
            raise UsageError(f"{where}.{name} is unknown: did you mean {near}?")
    texts = {name: table.get(name) for name in _TEXTS}
    for name, text in texts.items():
        if text is not None and (not isinstance(text, str) or not text.strip()):
            raise UsageError(f"{where}.{name} is wrong: it must be a text")
    least = table.get("least_runs")
    if least is not None and (isinstance(least, bool) or not isinstance(least, int) or least < 1):
        raise UsageError(f"{where}.least_runs is wrong: it must be a whole number above 0")
    unknown = table.get("unknown", "broken")
    if unknown not in ("broken", "ok"):
        raise UsageError(f'{where}.unknown is wrong: it must be "broken" or "ok"')
    limits = tuple(Limit(name, _most(name, table[name], where)) for name in LIMITS if name in table)
    return Budget(limits, texts["since"], texts["by"], texts["where"], least, unknown == "broken")


def _most(name: str, value: Any, where: str) -> Decimal:
    share = LIMITS[name].kind == "share"
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        most = Decimal(str(value))
        if most.is_finite() and most >= 0 and (most <= 1 or not share):
            return most
    raise UsageError(
        f"{where}.{name} is wrong: it must be a number {'from 0 to 1' if share else 'that is not below 0'}"
    )


def judge(budget: Budget, rows: Iterable[Mapping[str, Any]]) -> Iterator[Verdict]:
    """The verdicts on the rows of B14. Where there is no row, each limit is unknown."""
    found = list(rows)
    for limit in budget.limits:
        for row in found:
            yield _verdict(budget, limit, row)
        if not found:
            yield Verdict(
                limit, budget.by, None, None, 0, "unknown", "there are no such runs", budget.unknown_is_broken
            )


def _verdict(budget: Budget, limit: Limit, row: Mapping[str, Any]) -> Verdict:
    value, runs = row[limit.figure.column], row[limit.figure.basis]
    figure = None if value is None else Decimal(str(value))
    least = budget.least_runs if budget.least_runs is not None else limit.figure.least
    kept: Kept = "ok"
    why = None
    if figure is None or runs < least:
        kept, why = "unknown", f"too few runs tell it: {runs:,}, and {least:,} is the least"
    elif figure > limit.most:
        kept = "broken"
    elif limit.figure.kind == "usd" and _unpriced(budget, row):
        kept, why = "unknown", f"{row['unpriced_runs']:,} of {row['payable_runs']:,} runs have no price"
    fails = kept == "broken" or (kept == "unknown" and budget.unknown_is_broken)
    return Verdict(limit, budget.by, row["slice"], figure, runs, kept, why, fails)


def _unpriced(budget: Budget, row: Mapping[str, Any]) -> bool:
    """Whether more runs have no price than may."""
    allowed = next((limit.most for limit in budget.limits if limit.name == "max_unpriced_share"), Decimal(0))
    share = row["unpriced_share"]
    return share is not None and Decimal(str(share)) > allowed
