"""`recorder blast`: how far an incident reaches: which runs share a run's fault, what they have in common, and when.

The figures are those of the questions F6, F9, F10 and F11, told together, for a run and the time around it.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import click

from .answers import complaints, interruptibly
from .options import age_option, as_json, open_store, require_sight, time_option, url_of_store
from .output import count, json_line, moment, safe, several, span, table, timestamp

if TYPE_CHECKING:
    import duckdb

    from recorder.queries import Answer, Scope
    from recorder.recording import Run

__all__ = ["blast"]

Row = Mapping[str, Any]

_SECOND: Final = 1_000_000
#: How long the window is, and the time before it, unless it is said; seconds.
_WINDOW: Final = 7200
_BEFORE: Final = 86400

#: Rows that people are shown of each kind of feature; and rows that are asked for.
_SHOWN: Final = 15
_MOST: Final = 1000

#: What a word of the answer means to people.
_SAYS: Final = {"more": "more often", "less": "less often", "unclear": "no clear difference", "few": "too few to say"}


class _Window(NamedTuple):
    """The window, and where the time before it begins; microseconds UTC."""

    before: int
    since: int
    until: int


@click.command(short_help="How far an incident reaches: which runs share it, and what they have in common.")
@click.argument("run", metavar="[RUN]", required=False)
@click.option("--feature", metavar="NAME[=VALUE]", help="What to look for instead of RUN's fault: model, region=FRA, …")
@click.option("--list", "list_", is_flag=True, help="Name what can be looked for, with what RUN has of it.")
@age_option("--window", "How long the window around RUN is. Default: 2h, half of it after.")
@time_option("--since", "Where the window begins instead: ISO 8601, or an age.")
@time_option("--until", "Where the window ends instead.")
@age_option("--before", "How much time before the window it is compared with. Default: 1d.")
@click.option("--where", help="An SQL condition on runs: only these count, such as \"model = 'gpt-4o'\".")
@click.option(
    "--limit", type=click.IntRange(1), default=20, show_default=True, help="At most so many runs in the list."
)
@click.option("--chart", is_flag=True, help="Draw when it happened.")
@as_json
@click.pass_context
def blast(
    context: click.Context,
    run: str | None,
    *,
    feature: str | None,
    list_: bool,
    window: int | None,
    since: int | None,
    until: int | None,
    before: int | None,
    where: str | None,
    limit: int,
    chart: bool,
    json_: bool,
) -> None:
    """Find the runs that share the fault of RUN, and what goes with it.

    The fault is RUN's error, HTTP status, flag or outcome, or what --feature names; a NAME alone stands for what RUN
    has of it. The runs of a window around RUN that have it are compared with those that have not, feature by feature
    (model, fingerprint, assistant, instructions, region, request id, caps, tags, …), and the window with the time
    before it. Ratios come with the interval in which they lie at 95 %. What goes together need not be the cause, and
    of twenty features one may stand out by chance.
    """
    from recorder.queries import Scope, ask, find

    name, mark, value = (feature or "").partition("=")
    if run is None and not (name and mark):
        raise click.UsageError("name a RUN, or what to look for: --feature NAME=VALUE")
    with _connected(context, run, feature) as (connection, anchor), complaints():
        span_of = _window(anchor, window, since, until, before)
        scope = Scope(since=span_of.before, until=span_of.until, where=where)
        own = {"run": None if anchor is None else str(anchor.run_id)}
        if list_:
            _features(ask(connection, find("run_features"), scope, given=own), json_=json_)
            return
        given = own | {"feature": name or None, "value": value if mark else None, "at": span_of.since}
        found = partial(ask, connection, scope=scope)
        answer = interruptibly(connection, lambda: found(find("blast_radius"), given=given | {"at_most": _MOST}))
        if not answer.rows:
            raise _nothing(connection, scope, anchor, feature)
        runs = found(find("fault_runs"), given=given | {"at_most": limit}, again=True)
        times = found(find("fault_times"), given=given, again=True)
    if json_:
        _lines(answer, runs, times, anchor, span_of)
    else:
        _tell(answer, runs, times, anchor, span_of, chart=chart)


@contextmanager
def _connected(
    context: click.Context, run: str | None, feature: str | None
) -> Iterator[tuple[duckdb.DuckDBPyConnection, Run | None]]:
    """A connection to the facts, and the run that is named."""
    from recorder import queries

    with open_store(context) as store:
        require_sight(store, feature)
        anchor = None if run is None else store.run(store.resolve(run))
        connection = queries.connect(url_of_store(context))
    with closing(connection):
        yield connection, anchor


def _window(
    anchor: Run | None, window: int | None, since: int | None, until: int | None, before: int | None
) -> _Window:
    """The window around the run, or where there is none, up to now; and the time before it."""
    if window is not None and since is not None and until is not None:
        raise click.UsageError("--since and --until say what the window is: leave --window out")
    long = (window or _WINDOW) * _SECOND
    if until is None and since is not None:
        until = since + long if window is not None else _now()
    elif until is None:
        until = _now() if anchor is None else anchor.started_at + long // 2
    since = until - long if since is None else since
    if since >= until:
        raise click.UsageError("the window ends before it begins: --since must be earlier than --until")
    if anchor is not None and not since <= anchor.started_at < until:
        raise click.UsageError(f"RUN began at {moment(anchor.started_at)}, outside of the window: give another one")
    return _Window(since - (before or _BEFORE) * _SECOND, since, until)


def _now() -> int:
    """The end of a window that has this microsecond in it."""
    return time.time_ns() // 1000 + 1


def _nothing(connection: duckdb.DuckDBPyConnection, scope: Scope, anchor: Run | None, feature: str | None) -> Exception:
    """Why there is nothing to say."""
    from recorder.errors import NotFound
    from recorder.queries import ask, find

    if anchor is None:
        return NotFound(f"no run has {safe(feature or '')} in this window; give another with --since and --until")
    known = ask(connection, find("run_features"), scope, given={"run": str(anchor.run_id)})
    if not known.rows:
        return NotFound("RUN is none of the runs that --where leaves: give another condition")
    names = ", ".join(dict.fromkeys(row["feature"] for row in known))
    if feature is not None:
        return click.UsageError(safe(f"RUN has no {feature!r}, or no run of the window has; it has {names}"))
    return click.UsageError(safe(f"nothing went wrong with RUN: say what to look for with --feature, one of {names}"))


def _features(known: Answer, *, json_: bool) -> None:
    if json_:
        for row in known:
            json_line(_plain(row))
        return
    table(
        ["FEATURE", "VALUE", "KIND", ""],
        [[row["feature"], row["value"], row["kind"], "its fault" if row["names_fault"] else ""] for row in known],
    )


# -- for scripts -------------------------------------------------------------------------------------------------------


def _lines(answer: Answer, runs: Answer, times: Answer, anchor: Run | None, window: _Window) -> None:
    """One object for the fault, each feature, each span of time, each run."""
    for row in answer:
        told = _plain(row)
        if row["kind"] == "fault":
            edges = {name: timestamp(at) for name, at in window._asdict().items()}
            own = {"run_id": None if anchor is None else str(anchor.run_id)}
            json_line({"about": "fault", **own, **edges, **told})
        else:
            json_line({"about": "feature", **told})
    for about, found in (("time", times), ("run", runs)):
        for row in found:
            told = _plain(row)
            if "run_id" in told:
                told["run_id"] = str(told["run_id"])
            json_line({"about": about, **told, "started_at": timestamp(row["started_at"])})


def _plain(row: Row) -> dict[str, Any]:
    """The row without its slice: there is one."""
    return {name: value for name, value in row.items() if name != "slice"}


# -- for people --------------------------------------------------------------------------------------------------------


def _tell(answer: Answer, runs: Answer, times: Answer, anchor: Run | None, window: _Window, *, chart: bool) -> None:
    rows = list(answer)
    fault = rows[0]
    whose = "" if anchor is None else f", as in run {anchor.run_id}"
    click.secho(safe(f"{fault['feature']}={fault['value']}{whose}"), bold=True)
    for line in _reach(fault, window):
        click.echo(line)
    if chart:
        from .charts import draw

        click.echo()
        at = times.columns.index("started_at")
        draw(replace(times, rows=[(*row[:at], moment(row[at]), *row[at + 1 :]) for row in times.rows]))
    whose = "what the newest of them has" if anchor is None else "what RUN has"
    _told("What goes with it", [row for row in rows if row["kind"] == "circumstance"], whose)
    _told("How it shows", [row for row in rows if row["kind"] == "symptom"], whose)
    _runs(list(runs), fault["fault_runs"])


def _reach(fault: Row, window: _Window) -> Iterator[str]:
    interval = f", at 95 % {_percent(fault['low_share'])} to {_percent(fault['high_share'])}"
    now = _of(fault["window_runs"], fault["window_all"], fault["window_share"], " runs")
    yield f"{moment(window.since)} to {moment(window.until)}: {now}{interval}"
    before = (
        _of(fault["before_runs"], fault["before_all"], fault["before_share"], " runs")
        if fault["before_all"]
        else "no runs"
    )
    yield f"{moment(window.before)} up to then: {before}; {_change(fault)}"
    if (
        fault["window_share"] is not None
        and abs(fault["window_share"] - fault["window_runs"] / fault["window_all"]) > 1e-6
    ):
        yield "(of runs that were sampled: in a share each stands for those that were left out)"


def _change(fault: Row) -> str:
    """What the window says against the time before it."""
    if fault["change_verdict"] == "few":
        return "too few to say whether it is more often now"
    if fault["change_verdict"] == "unclear":
        return "no clear difference"
    return f"now {_times(fault['change'], fault['low_change'])} as often{_interval(fault, 'change')}"


def _told(title: str, rows: list[Row], whose: str) -> None:
    """A table of features: what says something, and what is the run's own; not what all runs of the window have."""
    shown = [
        row
        for row in rows
        if row["verdict"] in ("more", "less") or (row["shared"] and (row["fault_share"], row["rest_share"]) != (1, 1))
    ]
    if not shown:
        return
    click.echo()
    click.secho(title, bold=True)
    titles = ["FEATURE", "VALUE", "WITH IT", "WITHOUT", "TIMES", "95 %", "WHICH IS", "BEFORE"]
    table(
        titles,
        [
            [
                ("* " if row["shared"] else "  ") + row["feature"],
                row["value"],
                _of(row["fault_runs"], row["fault_all"], row["fault_share"]),
                _of(row["rest_runs"], row["rest_all"], row["rest_share"]),
                _times(row["ratio"], row["low_ratio"]),
                _interval(row, "ratio").strip(" ()"),
                _SAYS[row["verdict"]],
                _of(row["before_runs"], row["before_all"], row["before_share"]),
            ]
            for row in shown[:_SHOWN]
        ],
        right=("WITH IT", "WITHOUT", "TIMES", "BEFORE"),
        spare=("BEFORE", "95 %"),
    )
    more = len(rows) - len(shown[:_SHOWN])
    click.echo(f"(* is {whose}" + (f"; {count(more)} more with --json, of which most say nothing)" if more else ")"))


def _of(some: int, whole: int, share: float | None, noun: str = "") -> str:
    """Runs as they were counted, and their share, in which a sampled run stands for those that were left out."""
    return f"{count(some)} of {count(whole)}{noun}" + ("" if share is None else f" ({_percent(share)})")


def _percent(share: float | None) -> str:
    return "?" if share is None else f"{100 * share:.1f} %"


def _times(ratio: float | None, low: float | None) -> str:
    """How many times as often; where the other side has none, at least how many times."""
    if ratio is not None:
        return f"{ratio:.3g}x"
    return "-" if not low else f">{low:.2g}x"


def _interval(row: Row, name: str) -> str:
    low, high = row[f"low_{name}"], row[f"high_{name}"]
    if low is None:
        return ""
    return f" ({low:.2g}x to {'any' if high is None else f'{high:.2g}x'})"


def _runs(runs: list[Row], every: int) -> None:
    click.echo()
    click.secho("Runs", bold=True)
    table(
        ["RUN", "STARTED", "PROTOCOL", "MODEL", "OUTCOME", "ENDING", "EVENTS", "TOOK", "ALIKE"],
        [
            [
                ("* " if row["anchor"] else "  ") + str(row["run_id"])[-12:],
                moment(row["started_at"]),
                row["dialect"],
                row["model"] or "-",
                row["outcome"],
                row["ending"] or "open",
                count(row["events"]),
                span(row["duration_us"]),
                count(row["features"]),
            ]
            for row in runs
        ],
        right=("EVENTS", "TOOK", "ALIKE"),
        spare=("PROTOCOL", "ALIKE", "EVENTS", "ENDING"),
    )
    if every > len(runs):
        click.echo(f"({several(every - len(runs), 'run')} more: --limit {every} has all)")
