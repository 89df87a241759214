"""What charts are drawn with: scales, ticks, axes, shapes. It knows nothing of runs.

A drawing has a size of its own and grows with the page; colours are classes that the page's style sheet fills in, so
that light, dark and paper are one drawing.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from itertools import pairwise
from typing import Final

from .markup import Child, Markup, element

__all__ = [
    "Frame",
    "Scale",
    "days_axis",
    "line",
    "linear",
    "logarithmic",
    "path",
    "picture",
    "round_up",
    "steps",
    "text",
    "x_axis",
    "y_axis",
]

Point = tuple[float, float]

#: Where the ticks of a linear axis may be, in each power of ten.
_NICE: Final = (1.0, 2.0, 2.5, 5.0, 10.0)
_DECADE: Final = (1, 2, 5)


@dataclass(frozen=True, slots=True)
class Scale:
    """From values between `low` and `high` to places between `start` and `end`; `log` where it is logarithmic."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def __call__(self, value: float) -> float:
        low, high, at = (
            (math.log(each) for each in (self.low, self.high, max(value, 1e-9)))
            if self.log
            else (self.low, self.high, value)
        )
        part = (at - low) / (high - low) if high > low else 0.5
        return self.start + min(max(part, 0.0), 1.0) * (self.end - self.start)

    def ticks(self, most: int) -> list[float]:
        """At most about so many round values on it, those of the ends included where they are round."""
        if self.log:
            return _log_ticks(self.low, self.high, most)
        step = _step(self.high - self.low, most)
        first = math.ceil(self.low / step - 1e-9)
        return [step * number for number in range(first, math.floor(self.high / step + 1e-9) + 1)]


def _step(length: float, most: int) -> float:
    rough = length / max(most - 1, 1) or 1.0
    power = 10.0 ** math.floor(math.log10(rough))
    return next(nice * power for nice in _NICE if nice * power >= rough * 0.999)


def round_up(value: float, most: int = 5) -> float:
    """The first round value at or above it: where a scale from 0 with so many ticks may end."""
    step = _step(value, most)
    return step * math.ceil(value / step - 1e-9)


def _log_ticks(low: float, high: float, most: int) -> list[float]:
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    every = [float(digit) * 10.0**power for power in powers for digit in _DECADE]
    inside = [value for value in every if low * 0.999 <= value <= high * 1.001]
    tens = [value for value in inside if math.log10(value) % 1 < 1e-9]
    chosen = inside if len(inside) <= most or len(tens) < 2 else tens
    return chosen[:: math.ceil(len(chosen) / most) or 1]


@dataclass(frozen=True, slots=True)
class Frame:
    """The size of a drawing, and the room around what is drawn."""

    width: float
    height: float
    left: float = 48
    right: float = 12
    top: float = 12
    bottom: float = 28

    @property
    def ends(self) -> tuple[float, float]:
        """Left and right of what is drawn."""
        return self.left, self.width - self.right

    @property
    def floor(self) -> float:
        return self.height - self.bottom


def linear(frame: Frame, high: float) -> Scale:
    """A vertical scale from 0, upwards."""
    return Scale(0.0, high if high > 0 else 1.0, frame.floor, frame.top)


def logarithmic(frame: Frame, low: float, high: float) -> Scale:
    """A vertical scale, upwards, with equal steps for equal ratios."""
    return Scale(low, high if high > low else low * 10, frame.floor, frame.top, log=True)


def picture(frame: Frame, title: str, description: str, *children: Child, class_: str = "") -> Markup:
    """The whole drawing, with what somebody hears who cannot see it."""
    return element(
        "svg",
        element("title", title),
        element("desc", description),
        *children,
        class_=f"chart {class_}".strip(),
        viewBox=f"0 0 {frame.width:g} {frame.height:g}",
        role="img",
        preserveAspectRatio="xMidYMid meet",
    )


def text(x: float, y: float, words: str, class_: str = "", anchor: str = "start") -> Markup:
    return element(
        "text", words, x=float(x), y=float(y), class_=class_ or None, text_anchor=None if anchor == "start" else anchor
    )


def line(x1: float, y1: float, x2: float, y2: float, class_: str) -> Markup:
    return element("line", x1=float(x1), y1=float(y1), x2=float(x2), y2=float(y2), class_=class_)


def path(points: Iterable[Point], class_: str, *, closed: bool = False, title: str | None = None) -> Markup:
    """A line through the points, without those that change nothing."""
    kept: list[Point] = []
    for point in points:
        x, y = round(point[0], 1), round(point[1], 1)
        if len(kept) > 1 and kept[-1][1] == kept[-2][1] == y:
            kept.pop()
        if not kept or kept[-1] != (x, y):
            kept.append((x, y))
    drawn = "".join(f"{'L' if place else 'M'}{x:g} {y:g}" for place, (x, y) in enumerate(kept))
    return element("path", element("title", title) if title else None, d=drawn + ("Z" if closed else ""), class_=class_)


def steps(points: Sequence[Point]) -> list[Point]:
    """The corners of a line that stays where it is until the next point: what a distribution is."""
    corners = list(points[:1])
    for (_, before), (x, y) in pairwise(points):
        corners += [(x, before), (x, y)]
    return corners


def y_axis(frame: Frame, scale: Scale, words: Callable[[float], str], *, most: int = 5) -> Iterable[Markup]:
    """Grid lines with their values at the left."""
    left, right = frame.ends
    for value in scale.ticks(most):
        yield line(left, scale(value), right, scale(value), "grid")
        yield text(left - 7, scale(value) + 4, words(value), "tick", "end")


def x_axis(frame: Frame, scale: Scale, words: Callable[[float], str], *, most: int = 6) -> Iterable[Markup]:
    """A line at the foot, with values below it."""
    yield line(*_foot(frame), "axis")
    for value in scale.ticks(most):
        yield line(scale(value), frame.floor, scale(value), frame.floor + 4, "axis")
        yield text(scale(value), frame.floor + 18, words(value), "tick", "middle")


def days_axis(
    frame: Frame, days: Sequence[date], at: Callable[[int], float], words: Callable[[date], str]
) -> Iterable[Markup]:
    """A line at the foot, with so many of the days below it as there is room for."""
    yield line(*_foot(frame), "axis")
    every = max(1, math.ceil(len(days) / max(2, int(frame.width / 110))))
    for place in range(0, len(days), every):
        yield line(at(place), frame.floor, at(place), frame.floor + 4, "axis")
        yield text(at(place), frame.floor + 18, words(days[place]), "tick", "middle")


def _foot(frame: Frame) -> tuple[float, float, float, float]:
    left, right = frame.ends
    return left, frame.floor, right, frame.floor
