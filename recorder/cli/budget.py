"""`recorder budget`: the limits that the configuration sets, checked; for CI, which goes by the exit code."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from .answers import complaints
from .logs import Log, connected, log, price_folder
from .options import as_json, parse_time
from .output import count, json_line, safe, span, table

if TYPE_CHECKING:
    from decimal import Decimal

    from recorder.queries import Scope
    from recorder.queries.limits import Budget, Limit, Verdict

__all__ = ["budget"]


@click.command(short_help="Check the limits that the configuration sets; for CI.")
@log
@as_json
@click.pass_context
def budget(context: click.Context, *, source: Log | None, json_: bool) -> int:
    """Hold the runs against the limits of [budget] in recorder.toml, a line for each: ok, broken or unknown.

    Exit code 1 where a limit is broken, or where it is not known whether it is kept (too few runs, no price), unless
    the configuration says that unknown is ok.
    """
    from recorder import config
    from recorder.queries import ask, find, limits

    budgets = [(each, _scope(each)) for each in limits.parse(config.load().budget)]
    timed = next((scope for _, scope in budgets if scope.since is not None), budgets[0][1])
    verdicts: list[Verdict] = []
    with connected(context, source, timed) as connection, complaints():
        folder = price_folder(context, source)
        for each, scope in budgets:
            verdicts += limits.judge(each, ask(connection, find("budget_figures"), scope, price_folder=folder))
    if json_:
        for verdict in verdicts:
            json_line(_as_json(verdict))
    else:
        _tell(verdicts)
    return 1 if any(verdict.fails for verdict in verdicts) else 0


def _scope(budget: Budget) -> Scope:
    from recorder.errors import UsageError
    from recorder.queries import Scope

    try:
        since = None if budget.since is None else parse_time(budget.since)
    except (ValueError, OverflowError):
        raise UsageError("budget.since is wrong: write ISO 8601 (2026-03-01T12:00) or an age (7d)") from None
    return Scope(since=since, by=budget.by, where=budget.where)


def _as_json(verdict: Verdict) -> dict[str, object]:
    return {
        "limit": verdict.limit.name,
        "by": verdict.by,
        "slice": verdict.slice,
        "figure": _number(verdict.figure),
        "max": _number(verdict.limit.most),
        "runs": verdict.runs,
        "verdict": verdict.kept,
        "why": verdict.why,
        "fails": verdict.fails,
    }


def _number(value: Decimal | None) -> int | float | None:
    if value is None:
        return None
    return int(value) if value == value.to_integral_value() else float(value)


def _tell(verdicts: list[Verdict]) -> None:
    rows = [
        [
            verdict.kept.upper() if verdict.fails else verdict.kept,
            verdict.limit.name,
            "all" if verdict.by is None else "(none)" if verdict.slice is None else str(verdict.slice),
            _shown(verdict.limit, verdict.figure),
            _shown(verdict.limit, verdict.limit.most),
            count(verdict.runs),
            verdict.why or "",
        ]
        for verdict in verdicts
    ]
    table(["VERDICT", "LIMIT", "OF", "FIGURE", "MAX", "RUNS", "WHY"], rows, right=["FIGURE", "MAX", "RUNS"])
    failed = sum(verdict.fails for verdict in verdicts)
    if failed:
        click.echo(safe(f"recorder: {failed} of {len(verdicts)} limits are broken, or not known to be kept"), err=True)


def _shown(limit: Limit, value: Decimal | None) -> str:
    if value is None:
        return "-"
    match limit.figure.kind:
        case "share":
            return f"{value:.2%}"
        case "usd":
            return f"${value:,.4f}"
        case "us":
            return span(round(value))
        case _:
            return count(round(value))
