"""What a reader should know first, in sentences: each with its figures, what is at stake, and where to look.

It words what was answered and works out nothing of its own but sums and differences of answers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from decimal import Decimal
from typing import Any, Final, NamedTuple

from .gathering import Facts, Group
from .wording import BLANK, count, several, share, span, tokens, usd

__all__ = ["Finding", "findings", "worded"]

Row = Mapping[str, Any]

#: A share of runs below which a group's cuts are not worth a sentence, and the least number of them.
_LEAST_SHARE: Final = 0.005
_LEAST_RUNS: Final = 3
#: How much larger than what 99 % need a cap is called wide.
_WIDE: Final = 3.0


class Finding(NamedTuple):
    """A sentence, what follows from it, and how much is at stake: money where it has a price, and runs.

    `section` is the part of the page that shows it, `list_` the list of its runs.
    """

    sentence: str
    advice: str
    usd: Decimal | None
    runs: int
    section: str
    list_: str | None = None


def findings(facts: Facts) -> list[Finding]:
    """All that is to be said, the most money at stake first; what has no price follows, the most runs first."""
    if facts.total is None:
        return []
    found = [
        *(finding for group in facts.groups for finding in _of_cuts(facts, group)),
        *_of_lists(facts),
        *_of_prices(facts),
        *(finding for group in facts.groups for finding in _of_caps(facts, group)),
    ]
    return sorted(found, key=lambda one: (one.usd is None or one.usd == 0, -(one.usd or Decimal(0)), -one.runs))


# -- runs that were cut ------------------------------------------------------------------------------------------------


def _of_cuts(facts: Facts, group: Group) -> Iterator[Finding]:
    """The cap that cut the most runs of a group."""
    cuts = [row for row in facts.part("cuts", group) if row["cut_runs"]]
    runs, had = sum(row["cut_runs"] for row in cuts), sum(row["runs"] for row in facts.part("cuts", group))
    if runs < _LEAST_RUNS or runs / had < _LEAST_SHARE:
        return
    worst = max(cuts, key=lambda row: row["cut_runs"])
    money = [row["cut_usd"] for row in cuts if row["cut_usd"] is not None]
    paid = sum(money, Decimal(0)) if money else None
    weighted = sum(row["cut_weighted"] for row in cuts) / sum(row["weighted"] for row in facts.part("cuts", group))
    sentence = (
        f"{share(weighted)} of {group.label}'s runs with an output cap were cut by it: {count(runs)} of {count(had)}"
        f"{'' if paid is None else f', for which {usd(paid)} was paid'}."
    )
    if len(cuts) > 1:
        sentence += f" A cap of {count(worst['cap_tokens'])} cut the most, {share(worst['cut_share'])} of its runs."
    yield Finding(sentence, _cure(facts, group, worst["cap_tokens"]), paid, runs, "adviser", f"cut-{group.colour}")


def _cure(facts: Facts, group: Group, cap: int) -> str:
    """What another cap would have done, or why nobody can say."""
    told = next(iter(facts.part_of_advice(0.99, group)), None)
    if told is None:
        return ""
    if told["advice_tokens"] is None:
        is_hidden = str(told["why"]).startswith("the tail is censored")
        hint = " Let some runs go without a cap to find out." if is_hidden else ""
        return f"No cap can be advised for 99{BLANK}% yet: {worded(told['why'])}.{hint}"
    advised, avoided = told["advice_tokens"], _avoided(facts, group, cap, told["advice_tokens"])
    if advised <= cap:
        return f"99{BLANK}% need at most {tokens(advised)}; what still reaches {count(cap)} are the longest."
    part = "" if avoided is None else f", {_about(avoided)} of those cut at {count(cap)} among them"
    more = next((row["added_usd"] for row in facts.part("cap_what_if", group) if row["cap_tokens"] == advised), None)
    price = f", for about {usd(more)} more" if more else ""
    return f"A cap of {tokens(advised)} would let an estimated 99{BLANK}% come to their end{part}{price}."


def _avoided(facts: Facts, group: Group, cap: int, other: int) -> float | None:
    """Of the runs that are cut at one cap, the share that would end within the other: Kaplan and Meier's estimate."""
    expected = {row["cap_tokens"]: row["expected_share"] for row in facts.part("cap_what_if", group)}
    here, there = expected.get(cap), expected.get(other)
    return None if not here or there is None else 1 - there / here


def _about(part: float) -> str:
    return "nearly all" if part >= 0.995 else f"about {share(part, 0)}"


# -- runs that brought nothing -----------------------------------------------------------------------------------------


def _of_lists(facts: Facts) -> Iterator[Finding]:
    lists: dict[str, Row] = {row["list"]: row for row in facts.whole["runs"] if row["list"] != "cut"}
    for name, word in _LISTS.items():
        if name in lists:
            yield word(facts, lists[name])


def _of_blanks(facts: Facts, blank: Row) -> Finding:
    formats = [row for row in facts.whole["whitespace_runaway"] if row["runaway_runs"]]
    written = sum(row["runaway_output_tokens"] or 0 for row in formats)
    cost = next((row["cost_usd"] for row in facts.whole["waste"] if row["spent_on"] == "whitespace"), None)
    onset = next((row["onset_us"] for row in formats if row["onset_us"] is not None), None)
    began = "" if onset is None else f", {'usually ' if blank['runs'] > 1 else ''}from {span(onset)} on"
    paid = "" if cost is None else f"; the whitespace alone cost {usd(cost)}"
    return Finding(
        f"{several(blank['runs'], 'run')} wrote whitespace without end{began}: {tokens(written)} of output{paid}.",
        "No cap is enough for these. Say JSON in the instructions, use a schema, or stop a stream that writes blanks.",
        blank["list_usd"],
        blank["runs"],
        "whitespace",
        "whitespace",
    )


def _of_retries(_facts: Facts, again: Row) -> Finding:
    paid = "" if again["list_usd"] is None else f": {usd(again['list_usd'])} was paid for the first try"
    return Finding(
        f"{several(again['runs'], 'run')} brought nothing usable and the same was asked again within"
        f" 10{BLANK}minutes{paid}.",
        "What makes the first try fail is above; a retry with the same cap usually fails as well.",
        again["list_usd"],
        again["runs"],
        "waste",
        "again",
    )


def _of_starvation(facts: Facts, starved: Row) -> Finding:
    used = sum(row["starved_output_tokens"] or 0 for row in facts.whole["reasoning_starvation"])
    return Finding(
        f"{several(starved['runs'], 'run')} spent the whole output on reasoning and were cut before they said"
        f" anything{f': {tokens(used)}' if used else ''}.",
        "Raise the cap or lower the reasoning effort; the cap counts reasoning too.",
        starved["list_usd"],
        starved["runs"],
        "truncation",
        "starved",
    )


def _of_damage(facts: Facts, damaged: Row) -> Finding:
    rows = [row for row in facts.whole["json_damage"] if row["damage"] != "valid"]
    asked = facts.whole["json_damage"].asked
    broken, cut = sum(row["runs"] for row in rows), sum(row["runs"] for row in rows if row["cut"])
    if not broken:
        sentence = f"{several(damaged['runs'], 'run')} called a tool with arguments that are no JSON."
    else:
        sentence = (
            f"{share(sum(row['runs_share'] for row in rows))} of the JSON answers are not valid: {count(broken)} of"
            f" {count(asked)}, {'all' if cut == broken else count(cut)} of them because they were cut off."
        )
    return Finding(sentence, "", damaged["list_usd"], damaged["runs"], "json", "damaged")


def _of_broken(_facts: Facts, broken: Row) -> Finding:
    unknown = broken["unpriced_runs"]
    return Finding(
        f"{several(broken['runs'], 'stream')} ended before the answer did: the client left or the connection broke.",
        f"Of {count(unknown)} of them nobody knows what they cost, because usage comes at a stream's end."
        if unknown
        else "",
        broken["list_usd"],
        broken["runs"],
        "outcomes",
        "broken",
    )


def _of_failures(_facts: Facts, failed: Row) -> Finding:
    return Finding(
        f"{several(failed['runs'], 'run')} failed or {'was' if failed['runs'] == 1 else 'were'} refused by the"
        " provider.",
        "",
        failed["list_usd"],
        failed["runs"],
        "outcomes",
        "failed",
    )


_LISTS: Final[Mapping[str, Callable[[Facts, Row], Finding]]] = {
    "whitespace": _of_blanks,
    "again": _of_retries,
    "starved": _of_starvation,
    "damaged": _of_damage,
    "broken": _of_broken,
    "failed": _of_failures,
}


# -- what is not known, and what is too wide ---------------------------------------------------------------------------


def _of_prices(facts: Facts) -> Iterator[Finding]:
    rows = [row for row in facts.whole["unpriced"] if row["unpriced"] != "failed_request"]
    for row in sorted(rows, key=lambda row: -row["runs"])[:2]:
        of = " ".join(
            filter(None, (f"of {row['model']}" if row["model"] else "", f"at {row['origin']}" if row["origin"] else ""))
        )
        yield Finding(
            f"{several(row['runs'], 'run')} {of} {'has' if row['runs'] == 1 else 'have'} no price and"
            f" {'is' if row['runs'] == 1 else 'are'} in no sum of money.",
            _sentence(row["what_helps"]),
            None,
            row["runs"],
            "cost",
            "unpriced",
        )


def _of_caps(facts: Facts, group: Group) -> Iterator[Finding]:
    """Caps that are far above what is needed, and runs without any."""
    told = next(iter(facts.part_of_advice(0.99, group)), None)
    if told is not None and told["advice_tokens"] and told["last_cap_tokens"]:
        times = told["last_cap_tokens"] / told["advice_tokens"]
        if times >= _WIDE:
            yield Finding(
                f"{group.label}'s cap of {count(told['last_cap_tokens'])} is {times:.1f} times what"
                f" 99{BLANK}% of its runs need.",
                f"{tokens(told['advice_tokens'])} would do, and would stop a runaway earlier.",
                None,
                told["runs"],
                "adviser",
            )
    none = next((row for row in facts.part("no_cap", group) if row["cap"] == "none"), None)
    if none is not None and none["max_output_tokens"]:
        yield Finding(
            f"{share(none['runs_share'])} of {group.label}'s runs have no cap at all; the longest wrote"
            f" {tokens(none['max_output_tokens'])}.",
            "",
            None,
            none["runs"],
            "adviser",
        )


def worded(why: str | None) -> str:
    """A reason as part of a sentence."""
    return (why or "nobody knows why").rstrip(".")


def _sentence(text: str | None) -> str:
    return f"{text[0].upper()}{text[1:]}." if text else ""
