"""A report: one self-contained HTML page that says where tokens, money and time went, and which caps would do.

It asks nothing of the network, neither when it is made nor when it is read: style, script, drawings and figures are in
it, and its policy (CSP) forbids everything else, scripts and styles other than its own included. It refuses to reckon
anything that no question answers.

    gathering  the questions asked          findings   the answers in sentences
    fleet      how runs end, use of caps, truncation
    cost       what was spent               latency    how long runs took
    adviser    caps: the curve, the advice, the slider
    listing    the runs to look at          pieces     tables, figures, sections
    charts     the pictures                 drawing    scales, axes, shapes
    markup     elements, escaped            wording    figures in words
    cells      figures in tables
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Final

from recorder import __version__, queries
from recorder.queries import Scope
from recorder.store import Store

from . import fleet
from .adviser import adviser, slider_data
from .cost import cost
from .findings import Finding, findings
from .gathering import Facts, gather
from .latency import latency
from .listing import lists, rests_on
from .markup import Child, Markup, data_block, element, fragment, head
from .pieces import note, tile
from .wording import count, moment, several, share, span, usd

__all__ = ["Made", "make"]

#: Findings that stand at the top; the others are behind them, to be opened.
_FIRST: Final = 8

_PARTS: Final = (
    ("findings", "Findings"),
    ("outcomes", "Endings"),
    ("use", "Use of caps"),
    ("adviser", "Cap adviser"),
    ("truncation", "Truncation"),
    ("cost", "Cost"),
    ("latency", "Latency"),
    ("runs", "Runs"),
    ("basis", "Basis"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """A report: the page's text, how many runs it is about, and its findings."""

    page: str
    runs: int
    findings: tuple[Finding, ...]


def make(
    url: str | os.PathLike[str],
    scope: Scope,
    *,
    made_at: int,
    title: str | None = None,
    most: int = 20,
    progress: Callable[[float], None] = lambda _part: None,
) -> Made:
    """The report on the runs of the store at `url` that are meant, made at `made_at` (microseconds UTC).

    Told apart by their group where `scope` names nothing, or by model where no run has a group; at most `most` runs in
    each list. `progress` is told which part of the work is done, up to 1.

    Raises what `recorder.queries.connect` and `recorder.queries.ask` raise.
    """
    with closing(queries.connect(url)) as connection:
        facts = gather(connection, scope, most=most, price_folder=queries.folder_of(url), progress=progress)
    with Store.open(url, readonly=True) as store:
        shown = store.url  # without a password
    return _made(facts, title, shown, made_at)


def _made(facts: Facts, title: str | None, store: str, made_at: int) -> Made:
    found = findings(facts)
    runs = 0 if facts.total is None else facts.total["runs"]
    title = title or f"Report on {several(runs, 'run')}"
    style, script = _file("page.css"), _file("page.js")
    page = element(
        "html",
        head(title, style, script),
        element(
            "body",
            element("a", "Skip to the findings", href="#findings", class_="skip"),
            _header(facts, title, store, made_at),
            _navigation(),
            element("main", *_body(facts, found)),
            element("footer", f"Made by recorder {__version__} from {store} at {moment(made_at)}."),
            data_block(slider_data(facts), id_="figures"),
            Markup(f"<script>{script}</script>"),
        ),
        lang="en",
    )
    return Made(page=f"<!doctype html>\n{page}\n", runs=runs, findings=tuple(found))


def _file(name: str) -> str:
    return Path(__file__).with_name(name).read_text(encoding="utf-8")


def _navigation() -> Markup:
    return element(
        "nav",
        element("ul", (element("li", element("a", name, href=f"#{id_}")) for id_, name in _PARTS)),
        aria_label="Parts",
    )


def _header(facts: Facts, title: str, store: str, made_at: int) -> Markup:
    total = facts.total
    window = "no runs" if total is None else f"{moment(total['first_at'])} to {moment(total['last_at'])}"
    said: list[tuple[str, Child]] = [
        ("Store", store),
        ("Runs began", window),
        ("Told apart by", f"{facts.by}, {_groups(facts)}"),
        ("Prices", facts.price_list or "none"),
        ("Made", moment(made_at)),
    ]
    if facts.scope.since is not None or facts.scope.until is not None:
        said.insert(
            2, ("Asked for", f"{_bound(facts.scope.since, 'the first')} to {_bound(facts.scope.until, 'the last')}")
        )
    if facts.scope.where:
        said.insert(2, ("Only runs with", element("code", facts.scope.where)))
    return element(
        "header",
        element("h1", title),
        element(
            "dl", (element("div", element("dt", name), element("dd", words)) for name, words in said), class_="about"
        ),
        element(
            "noscript", note("Without scripts everything is here but the slider of the cap adviser and the sorting.")
        ),
    )


def _bound(micros: int | None, otherwise: str) -> str:
    return otherwise if micros is None else moment(micros)


def _groups(facts: Facts) -> str:
    shown = f"{count(len(facts.groups))} group{'' if len(facts.groups) == 1 else 's'}"
    if not facts.other_groups:
        return shown
    rest = f"{count(facts.other_groups)} more, with {count(facts.other_runs)} runs, are in the totals alone"
    return f"{shown} with the most runs; {rest}"


def _body(facts: Facts, found: list[Finding]) -> Iterator[Markup]:
    if facts.total is None:
        yield element(
            "section",
            element("h2", "No runs"),
            note("The store holds no run that this report is about. Record some, or widen the time or the condition."),
            id="findings",
        )
        return
    yield _tiles(facts)
    yield _findings(found)
    yield fleet.outcomes(facts)
    yield fleet.use_of_caps(facts)
    yield adviser(facts)
    yield fleet.truncation(facts)
    yield cost(facts)
    yield latency(facts)
    yield lists(facts)
    yield rests_on(facts)


def _tiles(facts: Facts) -> Markup:
    total = facts.total or {}
    spend = next(iter(facts.whole["spend"]), {})
    end = next((row for row in facts.whole["latency"] if row["measure"] == "end"), {})
    waste = {row["spent_on"]: row for row in facts.whole["waste"]}
    useless = [row for word, row in waste.items() if word != "usable"]
    paid = [row["cost_usd"] for row in useless if row["cost_usd"] is not None]
    shares = [row["tokens_share"] for row in useless if row["tokens_share"] is not None]
    are_known = any(row["tokens"] for row in waste.values())
    unpriced = spend.get("unpriced_runs") or 0
    weighted, open_runs = total["weighted"], total["runs"] - total["over_runs"]
    return element(
        "dl",
        tile(
            "Runs",
            count(total["runs"]),
            (f"{count(open_runs)} not over yet" if open_runs else "all are over")
            + (f"; they stand for {count(weighted)} (sampled)" if abs(weighted - total["runs"]) > 0.5 else ""),
        ),
        tile("Cut by a token limit", share(total["cut_share"]), several(total["cut_runs"], "run")),
        tile("Brought what was asked for", share(total["usable_share"]), "of those where that is known"),
        tile(
            "Spent",
            usd(spend.get("spent_usd")),
            f"without {several(unpriced, 'run')} that have no price" if unpriced else "every run has a price",
        ),
        tile(
            "Spent without a usable result",
            usd(sum(paid, Decimal(0)) if paid or not useless else None),
            f"{share(sum(shares, 0.0))} of the tokens" if are_known else "no run stated its tokens",
        ),
        tile("Time until the end", span(end.get("p50_us")), f"half the runs; 99 %: {span(end.get('p99_us'))}"),
        class_="tiles",
    )


def _findings(found: list[Finding]) -> Markup:
    if not found:
        return element("section", element("h2", "Findings"), note("Nothing stands out."), id="findings")
    rest = found[_FIRST:]
    return element(
        "section",
        element("h2", "Findings"),
        element("p", "By the money at stake; what has no price comes after, by the number of runs.", class_="lead"),
        element("ol", map(_finding, found[:_FIRST]), class_="findings"),
        element(
            "details",
            element("summary", f"{count(len(rest))} more"),
            element("ol", map(_finding, rest), class_="findings", start=str(_FIRST + 1)),
        )
        if rest
        else None,
        id="findings",
    )


def _finding(found: Finding) -> Markup:
    stake = usd(found.usd) if found.usd else several(found.runs, "run")
    return element(
        "li",
        element("span", stake, class_="stake"),
        element(
            "div",
            element("p", found.sentence),
            element("p", found.advice, class_="note") if found.advice else None,
            element(
                "p",
                element("a", "The figures", href=f"#{found.section}"),
                fragment(" ", element("a", "The runs", href=f"#runs-{found.list_}")) if found.list_ else None,
                class_="links",
            ),
        ),
    )
