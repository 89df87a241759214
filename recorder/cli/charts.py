"""Answers as pictures for a terminal: bars, distributions, lines over time, tables of shades.

A picture shows what the rows say and nothing else; it is drawn from the columns that the question's file names. What a
terminal or its encoding cannot show is drawn in ASCII.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from decimal import Decimal
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import click

from .output import safe, timestamp

if TYPE_CHECKING:
    from recorder.queries import Answer
    from recorder.queries.questions import Chart

__all__ = ["draw"]

_WIDTH: Final = 40
#: Bars, and rows or columns of the other pictures, at most; the table below shows all.
_MOST: Final = 30
_LABEL: Final = 28
#: Tables of shades at most.
_TABLES: Final = 8
#: Moments of a line at most: with the labels they fit into 80 columns.
_MOMENTS: Final = 48


class _Ink(NamedTuple):
    """What is drawn with: a full cell, its eighths, a point, a range's line, and shades from nothing to all."""

    full: str
    parts: str
    point: str
    line: str
    steps: str
    shades: str


_UNICODE: Final = _Ink("█", "▏▎▍▌▋▊▉", "●", "─", "▁▂▃▄▅▆▇█", " ░▒▓█")
_ASCII: Final = _Ink("#", "", "o", "-", "._-=+*%#", " .:*#")

Row = Mapping[str, Any]


def draw(answer: Answer) -> None:
    """The picture of an answer on stdout, where its question has one and there is something to draw."""
    chart = answer.chart
    painter = _PAINTERS.get(chart.kind) if chart else None
    if chart is None or painter is None:
        return
    rows = list(answer)
    lines = [line for part, columns in _parted(rows, chart) for line in painter(part, columns, _ink())]
    for line in lines:
        click.echo(f"  {safe(line)}")
    if lines:
        click.echo()


def _parted(rows: Sequence[Row], chart: Chart) -> Iterator[tuple[Sequence[Row], Sequence[str]]]:
    """What is drawn, and from which columns. Where runs were told apart and the picture's columns do not say so, slices
    become labels, or a table of shades for each: drawn over one another they would show the last one's figures.
    """
    slices = list(dict.fromkeys(row["slice"] for row in rows if "slice" in row))
    if len(slices) < 2 or "slice" in chart.columns:
        yield rows, chart.columns
    elif chart.kind in {"line", "area", "survival"}:
        yield rows, (*chart.columns, "slice")
    elif chart.kind in {"heatmap", "matrix"}:
        for one in slices[:_TABLES]:
            yield [row for row in rows if row["slice"] == one], (*chart.columns, "slice")
    else:
        yield rows, ("slice", *chart.columns)


def _ink() -> _Ink:
    try:
        "█●─▁░".encode(sys.stdout.encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return _ASCII
    return _UNICODE


# -- one line for each row ---------------------------------------------------------------------------------------------


def _bars(rows: Sequence[Row], columns: Sequence[str], ink: _Ink) -> Iterable[str]:
    """Columns: labels, then one that is drawn as a bar, and two for the range that it is known within, if any."""
    labels, value, low, high = _parts(rows, columns)
    known = [row for row in rows if row[value] is not None][:_MOST]
    top = _top(
        max(
            (abs(float(row[name])) for row in known for name in (value, high) if name and row[name] is not None),
            default=0,
        ),
        value,
    )
    for row in known:
        length = abs(float(row[value])) / top * _WIDTH
        bar = ink.full * int(length) + (ink.parts[int(length % 1 * 8) - 1] if ink.parts and length % 1 >= 0.125 else "")
        if low and high and row[low] is not None and row[high] is not None:
            bar = _ranged(bar, float(row[low]) / top * _WIDTH, float(row[high]) / top * _WIDTH, ink)
        yield f"{_label(row, labels):{_LABEL}} {'-' if float(row[value]) < 0 else ''}{bar}"
    yield from _scale(top, value)


def _parts(rows: Sequence[Row], columns: Sequence[str]) -> tuple[Sequence[str], str, str | None, str | None]:
    """The columns that are labels, the value's, and those of its range."""
    kinds = [all(isinstance(row[name], (int, float, Decimal, type(None))) for row in rows) for name in columns]
    first = next((place for place, number in enumerate(kinds) if number and place), len(columns) - 1)
    rest = list(columns[first:])
    # What stands behind is a range only where it is called one; what is no figure tells the bars apart.
    low = next((name for name in rest[1:] if name.startswith("low")), None)
    high = next((name for name in rest[1:] if name.startswith("high")), None)
    labels = [*columns[:first], *(name for name, number in zip(rest, kinds[first:], strict=True) if not number)]
    return labels, rest[0], *((low, high) if low and high else (None, None))


def _ranged(bar: str, low: float, high: float, ink: _Ink) -> str:
    cells = list(bar.ljust(int(high) + 1))
    for place in range(int(low), int(high) + 1):
        if cells[place] in (" ", ink.line):
            cells[place] = ink.line
    return "".join(cells)


def _spread(rows: Sequence[Row], columns: Sequence[str], ink: _Ink) -> Iterable[str]:
    """Columns: labels, then figures that rise, such as quantiles: a point at each, and a line through them."""
    labels, first, *_ = _parts(rows, columns)
    figures = columns[list(columns).index(first) :]
    known = [row for row in rows if any(row[name] is not None for name in figures)][:_MOST]
    top = _top(max((float(row[name]) for row in known for name in figures if row[name] is not None), default=0), first)
    for row in known:
        places = [round(float(row[name]) / top * _WIDTH) for name in figures if row[name] is not None]
        cells = [" "] * (_WIDTH + 1)
        cells[min(places) : max(places) + 1] = ink.line * (max(places) - min(places) + 1)
        for place in places:
            cells[place] = ink.point
        yield f"{_label(row, labels):{_LABEL}} {''.join(cells).rstrip()}"
    yield from _scale(top, first)


# -- over time, or over another axis -----------------------------------------------------------------------------------


def _lines(rows: Sequence[Row], columns: Sequence[str], ink: _Ink) -> Iterable[str]:
    """Columns: the axis, the value, and labels that tell series apart: a row of steps for each series."""
    axis, value, *labels = columns
    places = _thinned(sorted({row[axis] for row in rows if row[axis] is not None}))
    top = max((float(row[value]) for row in rows if row[value] is not None), default=0)
    if not places or top <= 0:
        return
    series: dict[str, dict[Any, Any]] = {}
    for row in rows:
        series.setdefault(_label(row, labels), {})[row[axis]] = row[value]
    for label, known in list(series.items())[:_MOST]:
        drawn = "".join(_step(known.get(place), top, ink) for place in places)
        yield f"{label:{_LABEL}} {drawn}"
    yield f"{'':{_LABEL}} {_brief(places[0], axis)} to {_brief(places[-1], axis)}, up to {_figure(top, value)}"


def _thinned(places: Sequence[Any]) -> Sequence[Any]:
    """So many of them, from the first to the last, as there is room for."""
    if len(places) <= _MOMENTS:
        return places
    return [places[round(at * (len(places) - 1) / (_MOMENTS - 1))] for at in range(_MOMENTS)]


def _step(value: Any, top: float, ink: _Ink) -> str:
    if value is None:
        return " "
    return ink.steps[min(int(float(value) / top * len(ink.steps)), len(ink.steps) - 1)]


def _shades(rows: Sequence[Row], columns: Sequence[str], ink: _Ink) -> Iterable[str]:
    """Columns: across, down, the value: a table of shades."""
    across, down, value, *parts = columns
    if parts and rows:
        yield f"{_label(rows[0], parts)}:"
    heads = [str(head) for head in _in_order({row[across] for row in rows})][:_MOST]
    top = max((float(row[value]) for row in rows if row[value] is not None), default=0)
    if top <= 0:
        return
    known = {(str(row[across]), str(row[down])): row[value] for row in rows}
    wide = max(2, min(6, _MOMENTS // max(1, len(heads)) - 1))
    yield f"{'':{_LABEL}} {' '.join(f'{head[:wide]:>{wide}}' for head in heads)}"
    for label in list(dict.fromkeys(str(row[down]) for row in rows))[:_MOST]:
        cells = [known.get((head, label)) for head in heads]
        drawn = " ".join("-".rjust(wide) if cell is None else _shade(float(cell) / top, ink) * wide for cell in cells)
        yield f"{label[:_LABEL]:{_LABEL}} {drawn}"
    yield f"{'':{_LABEL}} darkest: {_figure(top, value)}"


def _in_order(values: Iterable[Any]) -> Sequence[Any]:
    """Numbers by their size, others as texts, unknown last."""
    return sorted(values, key=lambda value: (value is None, isinstance(value, str), value if value is not None else 0))


def _shade(share: float, ink: _Ink) -> str:
    return ink.shades[min(int(share * len(ink.shades)), len(ink.shades) - 1)]


# -- words -------------------------------------------------------------------------------------------------------------


def _top(highest: float, name: str) -> float:
    """What the whole width stands for: shares up to 1 are drawn against 1."""
    return 1.0 if name.endswith("_share") and 0 < highest <= 1 else highest or 1.0


def _label(row: Row, names: Iterable[str]) -> str:
    said = " · ".join("-" if row[name] is None else str(row[name]) for name in names)
    return said if len(said) <= _LABEL else f"{said[: _LABEL - 1]}…"


def _scale(top: float, name: str) -> Iterable[str]:
    yield f"{'':{_LABEL}} 0{_figure(top, name):>{_WIDTH - 1}}"


def _figure(value: float, name: str) -> str:
    if name.endswith("_share"):
        return f"{value:.0%}"
    if name.endswith("_us"):
        return f"{value / 1_000_000:,.3g} s"
    return f"${value:,.4g}" if name.endswith("_usd") else f"{value:,.4g}"


def _brief(value: Any, name: str) -> str:
    if name.endswith("_at") and isinstance(value, int):
        return f"{str(timestamp(value))[:16]}Z".replace("T", " ")
    return str(value)[:16]


_PAINTERS: Final[Mapping[str, Callable[[Sequence[Row], Sequence[str], _Ink], Iterable[str]]]] = MappingProxyType(
    {
        "bars": _bars,
        "ecdf": _spread,
        "dumbbell": _spread,
        "line": _lines,
        "area": _lines,
        "survival": _lines,
        "heatmap": _shades,
        "matrix": _shades,
    }
)
