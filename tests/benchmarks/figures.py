"""What the benchmarks share: tables of plain text, bars that figures are held against, and runs that take turns.

A bar is printed as one line that `python -m tests.benchmarks` repeats in its summary. It is a ratio of two figures
from one run, or a wait that a person notices; never a figure that says how fast the machine is.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Mapping, Sequence
from statistics import median
from typing import Final, TypeVar

__all__ = ["BAR", "bar", "heading", "ms", "note", "percentile", "ratio", "table", "taking_turns"]

#: How the line of a bar begins.
BAR: Final = "bar: "

_Name = TypeVar("_Name")
_Result = TypeVar("_Result")


def heading(text: str) -> None:
    """A blank line, and what the following table shows."""
    print(f"\n{text}", flush=True)


def note(text: str) -> None:
    """A line of words."""
    print(text, flush=True)


def table(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Rows under their columns: the first to the left, the others to the right; None is a dash."""
    lines = [[str(column) for column in columns], *([_cell(value) for value in row] for row in rows)]
    widths = [max(len(line[at]) for line in lines) for at in range(len(columns))]
    for first, *rest in lines:
        cells = [cell.rjust(width) for cell, width in zip(rest, widths[1:], strict=True)]
        print("  ".join([first.ljust(widths[0]), *cells]).rstrip(), flush=True)


def _cell(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        digits = 0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 2
        return f"{value:,.{digits}f}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def ratio(value: float) -> str:
    """As a table shows a ratio."""
    return f"{value:.3f}x"


def ms(seconds: float) -> float:
    """Seconds in milliseconds."""
    return seconds * 1e3


def bar(name: str, measured: float, *, most: float | None = None, least: float | None = None, unit: str = "x") -> None:
    """One line: a figure against what is asked of it, at most or at least so much."""
    kept = (most is None or measured <= most) and (least is None or measured >= least)
    asked = f"at most {most:g}{unit}" if least is None else f"at least {least:g}{unit}"
    print(f"{BAR}{name} | {measured:.3g}{unit} | {asked} | {'ok' if kept else 'MISSED'}", flush=True)


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that `share` of the values (0..1) do not exceed."""
    return sorted(values)[min(int(share * len(values)), len(values) - 1)]


def taking_turns(
    rounds: int, contestants: Mapping[_Name, Callable[[], _Result]], *, warm: int = 1
) -> dict[_Name, list[_Result]]:
    """Each contestant's results of so many rounds; all run in each, the first of one being the last of the next.

    What the machine does beside hits all of them alike that way. The first `warm` rounds are not counted.
    """
    results: dict[_Name, list[_Result]] = {name: [] for name in contestants}
    order = list(contestants)
    for turn in range(warm + rounds):
        for name in order if turn % 2 else reversed(order):
            gc.collect()
            result = contestants[name]()
            if turn >= warm:
                results[name].append(result)
    return results


def medians(results: Mapping[_Name, Sequence[float]]) -> dict[_Name, float]:
    """The median for each name."""
    return {name: median(values) for name, values in results.items()}
