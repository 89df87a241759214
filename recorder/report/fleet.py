"""The parts of the page that look at all the runs: how they end, how much of their caps they use, truncation."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from typing import Any, Final

from . import charts, wording
from .cells import money, named, number, part, time
from .charts import Bar, Range, Series
from .gathering import Facts, label
from .markup import Markup, element, fragment
from .pieces import figure, fold, legend, note, section, strong, subsection, table
from .wording import BLANK, count, percent, several, share, tokens

__all__ = ["outcomes", "truncation", "use_of_caps"]

Row = Mapping[str, Any]

#: How runs end, in classes that a picture can hold: the class of the colour, the words, the outcomes.
_ENDS: Final = (
    ("o-cut", "cut at the output cap", ("truncated_output",)),
    ("o-prompt", "cut at the prompt cap or the context window", ("truncated_prompt", "context_overflow")),
    ("o-filtered", "filtered or refused", ("content_filter", "refusal")),
    ("o-broken", "client left or stream broke", ("client_abort", "upstream_cut", "no_terminal")),
    (
        "o-failed",
        "failed, cancelled, expired",
        ("failed", "http_error", "unreachable", "cancelled", "expired", "other_incomplete"),
    ),
    ("o-done", "came to their end", ("completed", "tool_wait", "paused")),
)

#: What tokens were spent on (T4): the class of the colour and the words.
_SPENT: Final = {
    "usable": ("o-done", "usable answers"),
    "retried": ("w-retried", "asked again"),
    "truncated_useless": ("o-cut", "cut, nothing usable"),
    "truncated_partial": ("o-prompt", "cut, a part was shown"),
    "whitespace": ("w-blank", "whitespace"),
    "damaged": ("o-filtered", "damaged JSON"),
    "aborted": ("o-broken", "client left or stream broke"),
    "other": ("o-failed", "failed, filtered, refused"),
}

# -- how runs end ------------------------------------------------------------------------------------------------------


def outcomes(facts: Facts) -> Markup:
    rows = list(facts.whole["outcomes"])
    if not rows:
        return section("outcomes", "How runs end", "No run is over yet.")
    days = sorted({row["day"] for row in rows})
    shares: dict[tuple[date, str], float] = defaultdict(float)
    for row in rows:
        shares[row["day"], row["outcome"]] += row["outcome_share"]
    series = [
        Series(name, colour, [sum(shares[day, outcome] for outcome in of) for day in days])
        for colour, name, of in _ENDS
        if any(shares[day, outcome] for day in days for outcome in of)
    ]
    drawing = charts.areas(
        "How the runs of each day ended", f"Stacked shares of the runs that are over, {len(days)} days.", days, series
    )
    return section(
        "outcomes",
        "How runs end",
        "The share of the runs of each day (UTC) that ended in each way, of those that are over.",
        figure(drawing, None, legend((each.colour, each.name) for each in series)),
        fold("As a table", _outcome_table(rows)),
    )


def _outcome_table(rows: Sequence[Row]) -> Markup:
    totals: dict[str, int] = defaultdict(int)
    for row in rows:
        totals[row["outcome"]] += row["runs"]
    whole = sum(totals.values())
    return table(
        "Runs by outcome, over all days",
        named("Outcome", "#Runs", "#Share of runs"),
        (
            (wording.outcome(name), number(runs), part(runs / whole))
            for name, runs in sorted(totals.items(), key=lambda pair: -pair[1])
        ),
    )


# -- how much of the caps is used --------------------------------------------------------------------------------------


def use_of_caps(facts: Facts) -> Markup:
    kinds = sorted({row["cap_kind"] for row in facts.parts["cap_use"]})
    if not kinds:
        return section("use", "How much of each cap is used", "No run that is over had a cap and stated its tokens.")
    return section(
        "use",
        "How much of each cap is used",
        fragment(
            "Each curve is a distribution: how many of the runs used at most so much of their cap. A leap at the line",
            f" at 100{BLANK}% is runs that were cut, or ended just there.",
        ),
        [_uses(facts, kind) for kind in kinds],
        fold("As a table", _use_table(facts)),
    )


def _uses(facts: Facts, kind: str) -> Markup:
    shown = []
    for group in facts.groups:
        points = [
            (row["used_share"], row["up_to_share"])
            for row in facts.part("cap_shares", group)
            if row["cap_kind"] == kind
        ]
        told = next((row for row in facts.part("cap_use", group) if row["cap_kind"] == kind), None)
        if points and told:
            title = f"Used share of the {kind} cap, {group.label}"
            says = f"Half used at most {share(told['p50_share'])}, {share(told['at_cap_share'])} used all of it."
            shown.append(
                figure(
                    charts.used(title, says, points, group.colour),
                    fragment(
                        strong(group.label),
                        f" {share(told['at_cap_share'])} at the cap, {several(told['runs'], 'run')}",
                    ),
                )
            )
    return subsection(
        f"{kind.capitalize()} cap",
        None,
        _grid(shown),
        note("Exact at each two-hundredth of the cap (0.5", BLANK, "%)."),
    )


def _use_table(facts: Facts) -> Markup:
    return table(
        "Used share of the cap: quantiles",
        named(
            facts.heading,
            "Cap",
            "#Runs",
            "#Half at most",
            f"#90{BLANK}% at most",
            f"#99{BLANK}% at most",
            "#At the cap",
        ),
        (
            (
                label(row["slice"]),
                row["cap_kind"],
                number(row["runs"]),
                part(row["p50_share"]),
                part(row["p90_share"]),
                part(row["p99_share"]),
                part(row["at_cap_share"]),
            )
            for row in facts.parts["cap_use"]
        ),
    )


# -- truncation --------------------------------------------------------------------------------------------------------


def truncation(facts: Facts) -> Markup:
    return section(
        "truncation",
        "Truncation",
        "Which caps cut runs, and what became of the tokens.",
        _hits(facts),
        _waste(facts),
        _json(facts),
        _blanks(facts),
        _starved(facts),
    )


def _hits(facts: Facts) -> Markup:
    rows = [row for row in facts.parts["cap_hits"] if row["runs"] >= 5]
    rows = sorted(rows, key=lambda row: -row["runs"])[:24]
    rows.sort(key=lambda row: (str(row["slice"]), row["cap_kind"], row["cap_tokens"]))
    if not rows:
        return fragment()
    drawn = [
        Range(
            f"{label(row['slice'])}, {row['cap_kind']} {count(row['cap_tokens'])}",
            [
                ("faint", row["low_share"], f"at least {share(row['low_share'])}"),
                ("accent", row["hit_share"], f"{share(row['hit_share'])} of {several(row['runs'], 'run')}"),
                ("faint", row["high_share"], f"at most {share(row['high_share'])}"),
            ],
            f"{share(row['hit_share'])} of {count(row['runs'])}",
        )
        for row in rows
    ]
    return subsection(
        "How often each cap is hit",
        "The share of runs that used all of their cap or were stopped by it; the small dots are the"
        f" 95{BLANK}% interval (Wilson).",
        figure(
            charts.ranges("Share of runs at their cap", "One row for each group and cap.", drawn, percent, high=1.0)
        ),
        _hit_table(facts),
        id_="hits",
    )


def _hit_table(facts: Facts) -> Markup:
    return fold(
        "As a table",
        table(
            "How often each cap is hit",
            named(facts.heading, "Cap", "#Tokens", "#Runs", "#Hits", "#Share", "#At least", "#At most"),
            (
                (
                    label(row["slice"]),
                    row["cap_kind"],
                    number(row["cap_tokens"]),
                    number(row["runs"]),
                    number(row["hits"]),
                    part(row["hit_share"]),
                    part(row["low_share"]),
                    part(row["high_share"]),
                )
                for row in facts.parts["cap_hits"]
            ),
        ),
    )


def _waste(facts: Facts) -> Markup:
    rows = []
    for group in facts.groups:
        told = [row for row in facts.part("waste", group) if row["tokens"]]
        if told:
            useful = next((row["tokens_share"] for row in told if row["spent_on"] == "usable"), 0.0)
            parts = [
                (
                    _spent(row)[0],
                    float(row["tokens"]),
                    f"{_spent(row)[1]}: {tokens(row['tokens'])}, {share(row['tokens_share'])}",
                )
                for row in told
            ]
            rows.append(Bar(group.label, parts, f"{share(1 - useful)} not usable"))
    if not rows:
        return fragment()
    seen = {row["spent_on"] for row in facts.parts["waste"] if row["tokens"]}
    return subsection(
        "What the tokens were spent on",
        "All tokens, prompt and output, of the runs that are over, by what they brought.",
        figure(
            charts.bars("What the tokens were spent on", "Shares of each group's tokens.", rows, of_all=True),
            None,
            legend(pair for word, pair in _SPENT.items() if word in seen),
        ),
        fold("As a table", _waste_table(facts)),
        id_="waste",
    )


def _waste_table(facts: Facts) -> Markup:
    return table(
        "What tokens and money were spent on",
        named(
            facts.heading,
            "Spent on",
            "#Runs",
            "#Tokens",
            "#Share of tokens",
            "#Cost",
            "#Share of cost",
            "#Runs with unknown tokens",
        ),
        (
            (
                label(row["slice"]),
                _spent(row)[1],
                number(row["runs"]),
                number(row["tokens"]),
                part(row["tokens_share"]),
                money(row["cost_usd"]),
                part(row["cost_share"]),
                number(row["unknown_runs"]),
            )
            for row in facts.parts["waste"]
        ),
    )


def _spent(row: Row) -> tuple[str, str]:
    return _SPENT.get(row["spent_on"], ("m-other", row["spent_on"]))


def _json(facts: Facts) -> Markup:
    rows = list(facts.whole["json_damage"])
    if not rows:
        return fragment()
    places = any(row["at_chars"] is not None for row in rows)
    return subsection(
        "Damaged JSON",
        "Of the runs that were asked for JSON and whose answer was looked at: what is wrong, and how they ended.",
        table(
            "Damage of JSON answers",
            named(
                "Damage",
                "Ended",
                "#Runs",
                "#Share",
                "#At least",
                "#At most",
                *(["#Open brackets", "#At character"] if places else []),
            ),
            (
                (
                    row["damage"].replace("_", " "),
                    wording.outcome(row["outcome"]),
                    number(row["runs"]),
                    part(row["runs_share"]),
                    part(row["low_share"]),
                    part(row["high_share"]),
                    *([number(row["open_brackets"]), number(row["at_chars"])] if places else []),
                )
                for row in rows
            ),
        ),
        id_="json",
    )


def _blanks(facts: Facts) -> Markup:
    rows = [row for row in facts.parts["whitespace_runaway"] if row["runaway_runs"] or row["not_told_runs"]]
    if not rows:
        return subsection("Whitespace without end", "No run wrote whitespace without end.", id_="whitespace")
    untold = any(row["not_told_runs"] for row in rows)
    return subsection(
        "Whitespace without end",
        "Models in JSON mode may write blanks and line breaks until their limit. No cap is enough for these runs.",
        table(
            "Runs that wrote whitespace without end",
            named(
                facts.heading,
                "Format",
                "#Runs",
                "#Ran away",
                "#Share",
                "#Cut",
                "#From character",
                "#From time",
                "#Their output tokens",
                *(["#Not told of JSON"] if untold else []),
            ),
            (
                (
                    label(row["slice"]),
                    row["format"],
                    number(row["runs"]),
                    number(row["runaway_runs"]),
                    part(row["runaway_share"]),
                    part(row["cut_share"]),
                    number(row["onset_chars"]),
                    time(row["onset_us"]),
                    number(row["runaway_output_tokens"]),
                    *([number(row["not_told_runs"])] if untold else []),
                )
                for row in rows
            ),
        ),
        id_="whitespace",
    )


def _starved(facts: Facts) -> Markup:
    rows = [row for row in facts.parts["reasoning_starvation"] if row["starved_runs"] or row["p99_reasoning_tokens"]]
    if not rows:
        return fragment()
    return subsection(
        "Reasoning that takes all of the output",
        "A cap counts reasoning. A run that is cut before it says anything is paid for and shows nothing.",
        table(
            "Runs whose reasoning took the whole output",
            named(
                facts.heading,
                "#Runs",
                "#Cut",
                "#Starved",
                "#Share",
                "#At least",
                "#At most",
                "#Output tokens of these",
            ),
            (
                (
                    label(row["slice"]),
                    number(row["runs"]),
                    number(row["cut_runs"]),
                    number(row["starved_runs"]),
                    part(row["starved_share"]),
                    part(row["low_share"]),
                    part(row["high_share"]),
                    number(row["starved_output_tokens"]),
                )
                for row in rows
            ),
        ),
        id_="starved",
    )


def _grid(children: Iterable[Markup]) -> Markup:
    return element("div", children, class_="panels")
