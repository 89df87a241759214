"""The cap adviser: for each group the estimated curve, the advice, and what another cap would have done.

The slider stops at caps for which the question was asked, so that it shows answers and works nothing out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from typing import Any, Final

from . import charts
from .charts import Band, Curve
from .findings import worded
from .gathering import TARGETS, Facts, Group
from .markup import Child, Markup, element, fragment
from .pieces import Cell, Column, figure, fold, legend, note, section, strong, table
from .wording import BLANK, UNKNOWN, count, percent, share, tokens, usd

__all__ = ["adviser", "slider_data"]

Row = Mapping[str, Any]

#: A change of the curve that is too small to be seen: less than a pixel.
_SEEN: Final = 0.002

#: What the slider shows, by heading: the column of the answer, its kind (as the script words it), the words, and their
#: meaning.
_SHOWN: Final = (
    (
        "Cut",
        (
            ("expected_share", "share", "estimated", "Kaplan and Meier's estimate, as far as the curve is known"),
            ("certain_share", "share", "for certain", "they used more than this cap, or were cut there"),
            ("at_most_share", "share", "at most", "with those that something else ended before this cap"),
        ),
    ),
    (
        "Compared with today",
        (
            ("expected_avoided_share", "share", "cut, would end, estimated", "of all runs: cut by a lower cap"),
            ("harmed_runs", "count", "runs ended, would be cut", "they needed more than this cap"),
        ),
    ),
    (
        "Saved at most",
        (
            ("saved_tokens", "count", "tokens", "what was written beyond this cap, by runaways too"),
            ("saved_usd", "usd", "where priced", "of the runs that have a price"),
        ),
    ),
    (
        "More, estimated",
        (
            ("added_tokens", "count", "tokens", "what the runs that are no longer cut would go on to write"),
            ("added_usd", "usd", "where priced", "of the runs that have a price"),
        ),
    ),
    (
        "Wasted at least",
        (
            ("wasted_tokens", "count", "tokens", "what the runs that are cut for certain would have written"),
            ("wasted_usd", "usd", "where priced", "of the same runs, with their prompts"),
        ),
    ),
)
_FIGURES: Final = tuple((heading, *figure_) for heading, figures in _SHOWN for figure_ in figures)
_WORDS: Final[Mapping[str, Callable[[Any], str]]] = {"share": share, "count": count, "usd": usd}


def adviser(facts: Facts) -> Markup:
    panels = [_panel(facts, group) for group in facts.groups]
    if not any(panels):
        return section(
            "adviser", "Cap adviser", "No run that is over stated its output tokens, so that nothing can be advised."
        )
    return section(
        "adviser",
        "Cap adviser",
        "A run that was cut tells only that it needed more. The curves take that into account (Kaplan and Meier); a"
        " plain percentile of the same runs does not, and advises too little. Where the cuts leave too little to see,"
        " there is no advice.",
        _overview(facts),
        panels,
        note(
            "The estimate assumes that caps were not chosen by how much each single run would need. Runaways count in"
            " tokens and money alone: no cap is enough for them. A run that was cut and asked again counts once. For"
            " prompt caps: recorder analyze B5 --set kind=prompt."
        ),
    )


def _overview(facts: Facts) -> Markup:
    rows: list[Sequence[Cell | Child]] = []
    for group in facts.groups:
        told = {target: next(iter(facts.part_of_advice(target, group)), None) for target in TARGETS}
        best = told[TARGETS[-1]]
        if best is not None:
            rows.append(
                (
                    element("a", group.label, href=f"#{_id(group)}"),
                    Cell(_cap_now(best), best["last_cap_tokens"]),
                    *(_advised(told[target]) for target in TARGETS),
                    Cell(_band(best), best["low_tokens"]),
                    Cell(share(best["cut_share"]), best["cut_share"]),
                    Cell(count(best["runs"]), best["runs"]),
                    Cell(count(best["naive_tokens"]), best["naive_tokens"]),
                )
            )
    columns = [
        Column(facts.heading),
        Column("Cap now", True, "of the latest run, where it had one"),
        *(Column(f"Cap for {percent(target)}", True) for target in TARGETS),
        Column(f"95{BLANK}% band", True, f"in which the cap for {TARGETS[-1] * 100:.0f} % lies"),
        Column("Cut", True, "of the runs that count"),
        Column("Runs", True),
        Column("Plain percentile", True, f"of what was used: {TARGETS[-1] * 100:.0f} %, cuts ignored"),
    ]
    return table("Advice in tokens of output", columns, rows)


def _cap_now(row: Row) -> str:
    return UNKNOWN if row["last_cap_tokens"] is None else count(row["last_cap_tokens"])


def _advised(row: Row | None) -> Cell:
    if row is None or row["advice_tokens"] is None:
        return Cell("not estimable")
    return Cell(strong(count(row["advice_tokens"])), row["advice_tokens"])


def _band(row: Row) -> str:
    if row["low_tokens"] is None:
        return UNKNOWN
    return f"{count(row['low_tokens'])} to {'unknown' if row['high_tokens'] is None else count(row['high_tokens'])}"


# -- one group ---------------------------------------------------------------------------------------------------------


def _id(group: Group) -> str:
    return f"adviser-{group.colour}"


def _panel(facts: Facts, group: Group) -> Markup:
    told = {target: next(iter(facts.part_of_advice(target, group)), None) for target in TARGETS}
    points, tried = facts.part("need_curve", group), _tried(facts, group)
    best = told[TARGETS[-1]]
    if best is None:
        return fragment()
    said = element("p", [fragment(" ", element("span", words)) for words in _advice(told)], class_="advice")
    if not _is_drawn(points, tried):
        return element("article", element("h3", group.label), said, id=_id(group), class_="adviser")
    start = _start(tried, best)
    curve = Curve(
        _thinned(points),
        [(f"{target * 100:.0f} %", target, row["advice_tokens"] if row else None) for target, row in told.items()],
        best["last_cap_tokens"],
        tried[0]["cap_tokens"],
        tried[-1]["cap_tokens"],
        tried[start]["cap_tokens"],
    )
    title = f"Runs of {group.label} that come to their end within a cap"
    says = f"Estimated share by output cap, with its 95 % band. {' '.join(_advice(told))}"
    return element(
        "article",
        element("h3", group.label),
        said,
        figure(
            charts.completion(title, says, curve, key=group.colour),
            "Line: the estimated share of runs that come to their end. Shade: its 95 % band. Dashed: 95 % and 99 %."
            " Dotted: the cap now.",
        ),
        _slider(group, tried, start),
        fold("As a table", _candidates(tried, best)),
        id=_id(group),
        class_="adviser",
    )


def _is_drawn(points: Sequence[Row], tried: Sequence[Row]) -> bool:
    """Whether there is a curve and not just a point, and a cap to try besides."""
    return len(points) > 1 and len(tried) > 1


def _advice(told: Mapping[float, Row | None]) -> list[str]:
    said = []
    for target, row in told.items():
        if row is None:
            continue
        if row["advice_tokens"] is None:
            said.append(f"For {percent(target)}: not estimable; {worded(row['why'])}.")
        else:
            band = f" (95{BLANK}% band {_band(row)})" if row["low_tokens"] is not None else ""
            said.append(f"For {percent(target)} a cap of {tokens(row['advice_tokens'])}{band}.")
    return said


def _thinned(points: Sequence[Row]) -> list[Band]:
    """The points at which the curve or its band has moved so far that it can be seen, and the last one."""
    kept: list[Band] = []
    for place, row in enumerate(points):
        low, high = row["low_share"], row["high_share"]
        band = Band(
            row["tokens"],
            1 - row["survival_share"],
            None if high is None else 1 - high,
            None if low is None else 1 - low,
        )
        if not kept or band.share - kept[-1].share >= _SEEN or place == len(points) - 1:
            kept.append(band)
    return kept


def _tried(facts: Facts, group: Group) -> list[Row]:
    """The caps worth a stop: from where nearly all are cut, to a little beyond where none is."""
    rows = facts.part("cap_what_if", group)
    least = max(
        (row["last_cap_tokens"] or 0 for target in TARGETS for row in facts.part_of_advice(target, group)), default=0
    )
    nearly_all = [
        place for place, row in enumerate(rows) if row["certain_share"] is not None and row["certain_share"] > 0.99
    ]
    none = [place for place, row in enumerate(rows) if row["certain_runs"] == 0 and row["cap_tokens"] >= least]
    return rows[nearly_all[-1] if nearly_all else 0 : none[0] + 6 if none else None]


def _start(rows: Sequence[Row], advice: Row) -> int:
    """Where the slider stands at first: at the cap that is advised, else the one there is, else in the middle."""
    caps = [row["cap_tokens"] for row in rows]
    wanted = [advice["advice_tokens"], advice["last_cap_tokens"]]
    return next((caps.index(cap) for cap in wanted if cap in caps), len(caps) // 2)


def _slider(group: Group, rows: Sequence[Row], start: int) -> Markup:
    key, row = group.colour, rows[start]
    return element(
        "div",
        element(
            "label", "Try a cap: ", element("output", tokens(row["cap_tokens"]), id=f"cap-{key}"), for_=f"slider-{key}"
        ),
        element(
            "input",
            type="range",
            id=f"slider-{key}",
            min="0",
            max=str(len(rows) - 1),
            value=str(start),
            step="1",
            data_key=key,
            aria_valuetext=tokens(row["cap_tokens"]),
        ),
        element(
            "svg",
            _shares(row),
            class_="shares",
            viewBox="0 0 1000 12",
            preserveAspectRatio="none",
            aria_hidden="true",
            data_shares=key,
        ),
        legend(
            (
                ("o-cut", "cut for certain"),
                ("unknown", "unknown: something else ended them first"),
                ("o-done", "come to their end"),
            )
        ),
        element("div", (_figures(key, row, heading, figures) for heading, figures in _SHOWN), class_="figures"),
        class_="what-if",
    )


def _figures(key: str, row: Row, heading: str, figures: Sequence[tuple[str, str, str, str]]) -> Markup:
    return element(
        "div",
        element("h4", heading),
        element(
            "dl",
            (
                element(
                    "div",
                    element("dt", words, title=meaning),
                    element("dd", _WORDS[kind](row[column]), data_figure=f"{key}-{column}"),
                )
                for column, kind, words, meaning in figures
            ),
        ),
    )


def _shares(row: Row) -> Child:
    certain = 1000 * (row["certain_share"] or 0.0)
    most = 1000 * (row["at_most_share"] or 0.0)
    return (
        element("rect", x="0", y="0", width="1000", height="12", class_="area o-done"),
        element("rect", x="0", y="0", width=float(most), height="12", class_="area unknown", data_part="most"),
        element("rect", x="0", y="0", width=float(certain), height="12", class_="area o-cut", data_part="certain"),
    )


def _candidates(rows: Sequence[Row], best: Row) -> Markup:
    """Some of the caps: those that runs had, those advised, and round ones."""
    every = max(1, len(rows) // 12)
    chosen = [
        row
        for place, row in enumerate(rows)
        if place % every == 0 or row["cap_tokens"] in {best["advice_tokens"], best["last_cap_tokens"]}
    ]
    columns = [
        Column("Cap", True),
        *(Column(f"{heading}: {words}", True, meaning) for heading, _, _, words, meaning in _FIGURES),
    ]
    return table(
        "Caps that were tried",
        columns,
        (
            (
                Cell(count(row["cap_tokens"]), row["cap_tokens"]),
                *(
                    Cell(_WORDS[kind](row[column]), None if row[column] is None else float(row[column]))
                    for _, column, kind, _, _ in _FIGURES
                ),
            )
            for row in chosen
        ),
    )


def slider_data(facts: Facts) -> dict[str, Any]:
    """What the page's script looks up: by group, a list for each figure with one value for each stop of the slider."""
    kinds = {column: kind for _, column, kind, _, _ in _FIGURES}
    groups = {
        group.colour: {
            "cap_tokens": [row["cap_tokens"] for row in rows],
            **{column: [_plain(row[column]) for row in rows] for column in kinds},
        }
        for group in facts.groups
        if _is_drawn(facts.part("need_curve", group), rows := _tried(facts, group))
    }
    return {"kinds": kinds, "groups": groups}


def _plain(value: float | Decimal | None) -> float | int | None:
    """A number for JSON, with the digits that are shown and some more."""
    if value is None or isinstance(value, int):
        return value
    rounded = float(f"{value:.12g}")
    return int(rounded) if rounded.is_integer() else rounded
