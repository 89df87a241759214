"""All that a report says, asked of the store's facts: each figure is a question's answer, and kept as that.

It refuses to draw and to word anything. Groups that are not drawn by themselves are in every total.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from recorder.queries import Answer, Question, Scope, ask, find
from recorder.queries.questions import read

if TYPE_CHECKING:
    import duckdb

__all__ = ["CAPS", "TARGETS", "Facts", "Group", "gather", "label"]

Row = Mapping[str, Any]

#: Groups that are drawn by themselves at most, those with the most runs.
GROUPS: Final = 8
#: The shares of runs that a cap is advised for.
TARGETS: Final = (0.95, 0.99)
#: Caps that are tried at most; the slider stops at each of them.
CAPS: Final = 240


class Group(NamedTuple):
    """What is told apart: its name (None where runs have none), and the class of its colour."""

    name: str | None
    colour: str

    @property
    def label(self) -> str:
        return label(self.name)


def label(name: str | None) -> str:
    """A group's name as people read it."""
    return "(none)" if name is None else name if name.strip() else f"“{name}”"


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """The answers: by name for the whole (`whole`), and told apart (`parts`), where they are asked so.

    `other_groups` are not drawn by themselves, nor are their `other_runs`. `advice` is by target.
    """

    scope: Scope
    by: str
    groups: Sequence[Group]
    other_groups: int
    other_runs: int
    whole: Mapping[str, Answer]
    parts: Mapping[str, Answer]
    advice: Mapping[float, Answer]
    days: Answer

    @property
    def total(self) -> Row | None:
        """The runs that are meant, all together; None where there are none."""
        return next(iter(self.whole["slices"]), None)

    @property
    def price_list(self) -> str | None:
        return self.whole["spend"].price_list

    @property
    def answers(self) -> Sequence[Answer]:
        """Each question once, as it was asked of all."""
        return [answer for name, answer in self.whole.items() if not _is_own(name)]

    @property
    def heading(self) -> str:
        """What stands over a column of groups."""
        return self.by if ":" in self.by else self.by.capitalize()

    def part(self, name: str, group: Group) -> list[Row]:
        """The rows of one group."""
        return [row for row in self.parts[name] if row["slice"] == group.name]

    def part_of_advice(self, target: float, group: Group) -> list[Row]:
        """The advice for one group, one row or none."""
        return [row for row in self.advice[target] if row["slice"] == group.name]


#: Asked of all the runs, and of each group.
_WHOLE: Final = (
    "slices",
    "outcomes",
    "spend_by_day",
    "cap_use",
    "cap_advice",
    "waste",
    "json_damage",
    "whitespace_runaway",
    "reasoning_starvation",
    "spend",
    "cost_per_usable_answer",
    "cache_effect",
    "unpriced",
    "latency",
)
_PARTS: Final = (
    "outcomes",
    "spend_by_day",
    "cap_use",
    "cap_shares",
    "cap_hits",
    "cuts",
    "waste",
    "whitespace_runaway",
    "reasoning_starvation",
    "no_cap",
    "spend",
    "cost_per_usable_answer",
    "cache_effect",
    "latency",
)

#: How often something is asked.
_QUESTIONS: Final = (
    len(_WHOLE) + len(_PARTS) + len(TARGETS) + len(("slices", "runs", "runs", "curve", "what if", "days"))
)


def gather(
    connection: duckdb.DuckDBPyConnection,
    scope: Scope,
    *,
    most: int = 20,
    price_folder: Path | None = None,
    progress: Callable[[float], None] = lambda _part: None,
) -> Facts:
    """Ask everything; at most so many runs in each list of runs. `progress` is told which part of it is done;
    `price_folder` is where looked-up prices are kept.

    Raises what `recorder.queries.ask` raises.
    """
    done = 0

    def asked(name: str, of: Scope, candidates: Sequence[int] = (), **given: Any) -> Answer:
        nonlocal done
        answer = ask(connection, _question(name), of, given=given, candidates=candidates, price_folder=price_folder)
        done += 1
        progress(done / _QUESTIONS)
        return answer

    whole = {name: asked(name, replace(scope, by=None)) for name in _WHOLE}
    by = scope.by or _usual(connection)
    told = list(asked("slices", replace(scope, by=by)))
    groups = [Group(row["slice"], f"c{place}") for place, row in enumerate(told[:GROUPS])]
    drawn = replace(scope, by=by, where=_among(scope.where, groups) if len(told) > GROUPS else scope.where)
    whole["runs"] = asked("runs", replace(scope, by=by), most=most, most_cut=0)
    parts = {name: asked(name, drawn) for name in _PARTS}
    parts["runs"] = asked("runs", drawn, most=0, most_cut=most)
    advice = {target: asked("cap_advice", drawn, target=target) for target in TARGETS}
    parts["need_curve"] = asked("need_curve", drawn)
    parts["cap_what_if"] = asked("cap_what_if", drawn, _caps(parts["cuts"], advice))
    return Facts(
        scope=scope,
        by=by,
        groups=groups,
        other_groups=len(told) - len(groups),
        other_runs=sum(row["runs"] for row in told[GROUPS:]),
        whole=whole,
        parts=parts,
        advice=advice,
        days=asked("latency", replace(scope, by="day")),
    )


@cache
def _question(name: str) -> Question:
    return read(_own(name)) if _is_own(name) else find(name)


def _is_own(name: str) -> bool:
    """Whether the report's own file asks it: what no question tells, or tells too closely to draw."""
    return _own(name).is_file()


def _own(name: str) -> Path:
    return Path(__file__).with_name(f"{name}.sql")


def _usual(connection: duckdb.DuckDBPyConnection) -> str:
    """What runs are told apart by where nobody says: their group, where any has one, else the model."""
    return "group" if connection.execute('SELECT 1 FROM runs WHERE "group" IS NOT NULL LIMIT 1').fetchall() else "model"


def _among(where: str | None, groups: Sequence[Group]) -> str:
    """The condition, and that a run is in one of the groups."""
    names = ", ".join("'" + group.name.replace("'", "''") + "'" for group in groups if group.name is not None)
    nameless = any(group.name is None for group in groups)
    either = [f"slice IN ({names})" if names else "", "slice IS NULL" if nameless else ""]
    among = f"({' OR '.join(filter(None, either))})"
    return f"({where}\n) AND {among}" if where else among


def _caps(cuts: Answer, advice: Mapping[float, Answer]) -> list[int]:
    """The caps to try: those that runs had, those that are advised, and round ones between and around them."""
    told = [row[name] for answer in advice.values() for row in answer for name in ("advice_tokens", "known_tokens")]
    had = sorted({row["cap_tokens"] for row in cuts if row["cap_tokens"] > 0})
    known = {*had[:: math.ceil(len(had) / 40) or 1], *(tokens for tokens in told if tokens)}
    if not known:
        return []
    low, high = max(16, min(known) // 4), max(known) * 2
    return sorted(known | set(_round_numbers(low, high, CAPS - len(known))))


def _round_numbers(low: int, high: int, most: int) -> list[int]:
    """At most so many numbers of two leading digits, or of powers of two, about evenly spread by ratio."""
    wanted = max(most, 2)
    ratio = (high / low) ** (1 / (wanted - 1))
    found = set()
    for place in range(wanted):
        exact = low * ratio**place
        digit = 10 ** max(0, math.floor(math.log10(exact)) - 1)
        found.add(round(exact / digit) * digit)
    return [number for number in sorted(found) if low <= number <= high]
