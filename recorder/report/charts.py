"""The pictures of a report. Each is a function from values to a drawing; what it says is also in a table beside it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import date
from typing import Final, NamedTuple

from . import wording
from .drawing import (
    Frame,
    Scale,
    days_axis,
    line,
    linear,
    logarithmic,
    path,
    picture,
    round_up,
    steps,
    text,
    x_axis,
    y_axis,
)
from .markup import Markup, element, fragment

__all__ = [
    "Band",
    "Bar",
    "Curve",
    "Range",
    "Series",
    "areas",
    "bars",
    "columns",
    "completion",
    "lines",
    "ranges",
    "used",
]

#: The widths that a chart across the page is drawn in; the style sheet shows the one that fits.
_WIDE, _NARROW = 900.0, 400.0


class Series(NamedTuple):
    """A name, the class of its colour, and its values; unknown ones are None."""

    name: str
    colour: str
    values: Sequence[float | None]


class Band(NamedTuple):
    """A point of an estimated curve: so large a share at so many tokens, known between low and high."""

    tokens: float
    share: float
    low: float | None
    high: float | None


class Curve(NamedTuple):
    """An estimated curve, with the marks on it: what they are called, the share, and the tokens where known.

    `cap` is the one there is, `tried` the one that is tried.
    """

    points: Sequence[Band]
    marks: Sequence[tuple[str, float, float | None]]
    cap: float | None
    low: float
    high: float
    tried: float


class Bar(NamedTuple):
    """A row of parts, each a colour's class, a value and what it is; and what stands beside it."""

    name: str
    parts: Sequence[tuple[str, float, str]]
    words: str


class Range(NamedTuple):
    """A row of values on one scale, low to high, with the classes of their dots; and what stands beside it."""

    name: str
    values: Sequence[tuple[str, float, str]]
    words: str


def _both(draw: Callable[[float], Markup]) -> Markup:
    """Drawn for a wide page and for a narrow one."""
    return fragment(element("div", draw(_WIDE), class_="wide"), element("div", draw(_NARROW), class_="narrow"))


def areas(title: str, description: str, days: Sequence[date], series: Sequence[Series]) -> Markup:
    """Shares of each day, stacked up to one."""

    def draw(width: float) -> Markup:
        frame = Frame(width, 260, left=46)
        across, up = _across(frame, days), linear(frame, 1.0)
        bottoms = [0.0] * len(days)
        shapes = []
        for each in series:
            tops = [below + (value or 0.0) for below, value in zip(bottoms, each.values, strict=True)]
            there = [(across(place), up(top)) for place, top in enumerate(tops)]
            back = [(across(place), up(bottom)) for place, bottom in enumerate(bottoms)]
            if len(days) == 1:  # one day is as wide as the picture
                left, right = frame.ends
                there, back = [(left, there[0][1]), (right, there[0][1])], [(left, back[0][1]), (right, back[0][1])]
            shapes.append(_area(there, back, each))
            bottoms = tops
        return picture(
            frame,
            title,
            description,
            shapes,
            y_axis(frame, up, wording.percent),
            days_axis(frame, days, across, wording.day),
            _tips(frame, across, days, series, wording.share),
        )

    return _both(draw)


def _tips(
    frame: Frame,
    at: Callable[[int], float],
    days: Sequence[date],
    series: Sequence[Series],
    words: Callable[[float], str],
) -> list[Markup]:
    """What a pointer is told over each day."""
    tips = []
    for place, day in enumerate(days):
        said = [f"{each.name}: {words(value)}" for each in series if (value := each.values[place])]
        before = at(place - 1) if place else frame.ends[0] * 2 - at(place)
        after = at(place + 1) if place + 1 < len(days) else frame.ends[1] * 2 - at(place)
        left, right = max((before + at(place)) / 2, frame.ends[0]), min((after + at(place)) / 2, frame.ends[1])
        title = element("title", "\n".join([day.isoformat(), *said]))
        tips.append(
            element(
                "rect",
                title,
                x=float(left),
                y=float(frame.top),
                width=max(right - left, 1.0),
                height=float(frame.floor - frame.top),
                class_="tip",
            )
        )
    return tips


def _area(there: list[tuple[float, float]], back: list[tuple[float, float]], each: Series) -> Markup:
    return path([*there, *reversed(back)], f"area {each.colour}", closed=True, title=each.name)


def columns(
    title: str, description: str, days: Sequence[date], series: Sequence[Series], words: Callable[[float], str]
) -> Markup:
    """Amounts of each day, stacked."""
    totals = [sum(each.values[place] or 0.0 for each in series) for place in range(len(days))]

    def draw(width: float) -> Markup:
        frame = Frame(width, 240, left=58)
        left, right = frame.ends
        slot = (right - left) / max(len(days), 1)
        up = linear(frame, round_up(max(totals, default=1.0) or 1.0))
        bottoms = [0.0] * len(days)
        shapes: list[Markup] = []
        for each in series:
            rectangles = []
            for place, value in enumerate(each.values):
                if value:
                    bottom, top = up(bottoms[place]), up(bottoms[place] + value)
                    wide = min(max(slot * 0.8, 0.6), 64.0)
                    x = left + slot * (place + 0.5) - wide / 2
                    rectangles.append(f"M{x:.1f} {bottom:.1f}V{top:.1f}h{wide:.1f}V{bottom:.1f}z")
                    bottoms[place] += value
            shapes.append(
                element("path", element("title", each.name), d="".join(rectangles), class_=f"area {each.colour}")
            )
        return picture(
            frame,
            title,
            description,
            y_axis(frame, up, words),
            shapes,
            days_axis(frame, days, lambda place: left + slot * (place + 0.5), wording.day),
            _tips(frame, lambda place: left + slot * (place + 0.5), days, series, wording.usd),
        )

    return _both(draw)


def lines(
    title: str, description: str, days: Sequence[date], series: Sequence[Series], words: Callable[[float], str]
) -> Markup:
    """Values of each day on a logarithmic scale, a line each with its name at its end."""
    known = [value for each in series for value in each.values if value]
    if not known:
        return fragment()

    def draw(width: float) -> Markup:
        frame = Frame(width, 240, left=74, right=48)
        across, up = _across(frame, days), logarithmic(frame, min(known) * 0.85, max(known) * 1.15)
        shapes: list[Markup] = []
        ends: list[tuple[float, float, str]] = []
        for each in series:
            run: list[tuple[float, float]] = []
            for place, value in enumerate([*each.values, None]):
                if value is not None:
                    run.append((across(place), up(value)))
                elif run:
                    shapes.append(
                        _dot(*run[0], each.colour, each.name)
                        if len(run) == 1
                        else path(run, f"line {each.colour}", title=each.name)
                    )
                    run = []
            last = next((place for place in range(len(days) - 1, -1, -1) if each.values[place] is not None), None)
            if last is not None:
                ends.append((up(each.values[last] or 0.0), across(last), each.name))
        shapes += [text(x + 7, y + 4, name, "tick") for y, x, name in _apart(ends)]
        return picture(
            frame,
            title,
            description,
            y_axis(frame, up, words, most=6),
            shapes,
            days_axis(frame, days, across, wording.day),
            _tips(frame, across, days, series, words),
        )

    return _both(draw)


def _apart(ends: list[tuple[float, float, str]]) -> list[tuple[float, float, str]]:
    """Labels so far from each other that each can be read, the lowest one at its place."""
    placed: list[tuple[float, float, str]] = []
    for y, x, name in sorted(ends, reverse=True):
        placed.append((min(y, placed[-1][0] - 13) if placed else y, x, name))
    return placed


def used(title: str, description: str, points: Sequence[tuple[float, float]], colour: str) -> Markup:
    """The distribution of the used share of a cap, as steps, with a line where the cap is."""
    frame = Frame(250, 150, left=38, right=10, top=10, bottom=24)
    across = Scale(0.0, 1.25, *frame.ends)
    up = linear(frame, 1.0)
    corners = steps([(0.0, 0.0), *points, (1.25, 1.0)])
    return picture(
        frame,
        title,
        description,
        y_axis(frame, up, wording.percent, most=3),
        x_axis(frame, across, wording.percent, most=4),
        line(across(1.0), frame.top, across(1.0), frame.floor, "mark"),
        path([(across(x), up(y)) for x, y in corners], f"line {colour}"),
        class_="small",
    )


def completion(title: str, description: str, curve: Curve, *, key: str) -> Markup:
    """The share of runs that come to their end within a cap, with its band; a marker that the page's script moves."""

    def draw(width: float) -> Markup:
        frame = Frame(width, 270, left=46, right=14, top=16, bottom=42)
        across = Scale(curve.low, curve.high, *frame.ends, log=True)
        up = linear(frame, 1.0)
        line_points = steps([(across(each.tokens), up(each.share)) for each in curve.points])
        band = _banded(curve.points, across, up)
        cap = curve.cap
        return picture(
            frame,
            title,
            description,
            path(band, "band", closed=True) if band else None,
            y_axis(frame, up, wording.percent),
            x_axis(frame, across, wording.count, most=8 if width > _NARROW else 5),
            text(sum(frame.ends) / 2, frame.height - 4, "output cap, tokens (logarithmic)", "tick", "middle"),
            _marked(curve, frame, across, up),
            None if cap is None else line(across(cap), frame.top, across(cap), frame.floor, "mark"),
            None if cap is None else text(across(cap), frame.top - 4, "cap now", "tick", "middle"),
            path(line_points, "line accent"),
            element(
                "line",
                x1=across(curve.tried),
                x2=across(curve.tried),
                y1=frame.top,
                y2=frame.floor,
                class_="marker",
                data_marker=key,
                data_start=f"{frame.ends[0]:g}",
                data_end=f"{frame.ends[1]:g}",
                data_low=f"{curve.low:g}",
                data_high=f"{curve.high:g}",
            ),
        )

    return _both(draw)


def _marked(curve: Curve, frame: Frame, across: Scale, up: Scale) -> list[Markup]:
    """The marks of a curve: a line to each, and down from it where its tokens are known."""
    marks: list[Markup] = []
    for name, share, tokens in curve.marks:
        marks.append(line(frame.left, up(share), across(tokens) if tokens else frame.ends[1], up(share), "target"))
        if tokens:
            marks.append(line(across(tokens), up(share), across(tokens), frame.floor, "target"))
            marks.append(_dot(across(tokens), up(share), "accent", f"{name}: {wording.tokens(tokens)}"))
    return marks


def _banded(points: Sequence[Band], across: Scale, up: Scale) -> list[tuple[float, float]]:
    """The outline of the band, as far as both of its ends are known."""
    known = [each for each in points if each.low is not None and each.high is not None]
    if not known:
        return []
    end = next((each.tokens for each in points if each.tokens > known[-1].tokens), known[-1].tokens)
    lower = [*((across(each.tokens), up(each.low or 0.0)) for each in known), (across(end), up(known[-1].low or 0.0))]
    upper = [*((across(each.tokens), up(each.high or 0.0)) for each in known), (across(end), up(known[-1].high or 0.0))]
    return [*steps(upper), *reversed(steps(lower))]


_ROW: Final = 30.0


def bars(title: str, description: str, rows: Sequence[Bar], *, of_all: bool = False) -> Markup:
    """Parts side by side, a row each; as shares of each row with `of_all`, else on one scale."""
    most = max((sum(value for _, value, _ in row.parts) for row in rows), default=0.0)

    def draw(width: float) -> Markup:
        name_room = 244.0 if width > _NARROW else 0.0
        row_height = _ROW if name_room else _ROW + 18
        frame = Frame(
            width, row_height * len(rows) + 6, left=name_room, right=150.0 if name_room else 118.0, top=4, bottom=2
        )
        left, right = frame.ends
        shapes: list[Markup] = []
        for number, row in enumerate(rows):
            y = frame.top + row_height * number + (0 if name_room else 18)
            shapes.append(_named(row.name, y + (17 if name_room else -4), wide=bool(name_room)))
            whole = sum(value for _, value, _ in row.parts) if of_all else most
            x = left
            for colour, value, words in row.parts:
                wide = (right - left) * value / whole if whole else 0.0
                if wide >= 0.05:
                    shapes.append(
                        element(
                            "rect",
                            element("title", words),
                            x=float(x),
                            y=y + 4,
                            width=max(wide - 0.8, 0.5),
                            height=18.0,
                            class_=f"area {colour}",
                        )
                    )
                x += wide
            shapes.append(text((right if of_all else x) + 8, y + 17, row.words, "tick"))
        return picture(frame, title, description, shapes)

    return _both(draw)


def ranges(
    title: str,
    description: str,
    rows: Sequence[Range],
    words: Callable[[float], str],
    *,
    log: bool = False,
    high: float | None = None,
) -> Markup:
    """Dots on one scale, joined by a line, a row each."""
    values = [value for row in rows for _, value, _ in row.values if value > 0 or not log]
    if not values:
        return fragment()

    def draw(width: float) -> Markup:
        name_room = 244.0 if width > _NARROW else 0.0
        row_height = 28.0 if name_room else 44.0
        frame = Frame(width, row_height * len(rows) + 36, left=name_room or 8.0, right=118.0, top=6, bottom=26)
        low, top = (min(values) * 0.9, max(values) * 1.1) if log else (0.0, high or max(values) * 1.02)
        across = Scale(low, top, *frame.ends, log=log)
        shapes: list[Markup] = []
        for number, row in enumerate(rows):
            y = frame.top + row_height * number + (14 if name_room else 32)
            shapes.append(_named(row.name, y + (4 if name_room else -12), wide=bool(name_room)))
            known = [(colour, across(value), said) for colour, value, said in row.values if value > 0 or not log]
            if known:
                shapes.append(line(known[0][1], y, known[-1][1], y, "range"))
            shapes += [_dot(x, y, colour, said) for colour, x, said in known]
            shapes.append(text(frame.ends[1] + 12, y + 4, row.words, "tick"))
        ticks = x_axis(frame, across, words, most=6 if name_room else 4)
        return picture(frame, title, description, ticks, shapes)

    return _both(draw)


def _dot(x: float, y: float, colour: str, title: str) -> Markup:
    return element("circle", element("title", title), cx=float(x), cy=float(y), r=4.5, class_=f"dot {colour}")


def _across(frame: Frame, days: Sequence[date]) -> Callable[[int], float]:
    """The place of the day of that number: days lie as far apart as they are."""
    left, right = frame.ends
    if len(days) < 2:
        return lambda _place: (left + right) / 2
    first, length = days[0].toordinal(), days[-1].toordinal() - days[0].toordinal()
    return lambda place: left + (right - left) * (days[place].toordinal() - first) / length


def _named(name: str, y: float, *, wide: bool) -> Markup:
    """A row's name: at its left where the page is wide, else above it."""
    return text(0, y, _short(name, 30 if wide else 48), "label")


def _short(name: str, most: int) -> str:
    return name if len(name) <= most else f"{name[: most - 1]}…"
