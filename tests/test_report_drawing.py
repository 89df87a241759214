"""Scales and lines: each value at its place, ticks that are round, and nothing drawn that is not there."""

from __future__ import annotations

import math
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recorder.report.drawing import Frame, Scale, linear, path, picture, steps

SIZES = st.floats(0.001, 1e9)


@given(SIZES, st.floats(1.01, 1e6), st.booleans(), st.integers(2, 12))
def test_ticks_are_on_the_scale_and_not_too_many(low: float, ratio: float, log: bool, most: int) -> None:
    scale = Scale(low, low * ratio, 0, 100, log=log)
    ticks = scale.ticks(most)
    assert len(ticks) <= most * 2
    assert ticks == sorted(set(ticks))
    assert all(low * 0.998 <= tick <= low * ratio * 1.002 for tick in ticks)


@given(SIZES, st.floats(1.01, 1e6), st.booleans(), st.lists(st.floats(0, 1), min_size=2))
def test_a_scale_rises_and_stays_within_its_ends(low: float, ratio: float, log: bool, parts: list[float]) -> None:
    scale = Scale(low, low * ratio, 10, 110, log=log)
    places = [scale(low + part * (low * ratio - low)) for part in sorted(parts)]
    assert places == sorted(places)
    assert scale(low) == pytest.approx(10)
    assert scale(low * ratio) == pytest.approx(110)
    assert scale(low * ratio * 2) == 110
    assert scale(-1) == 10


def test_equal_ratios_are_equal_steps_where_it_is_logarithmic() -> None:
    scale = Scale(10, 1000, 0, 100, log=True)
    assert scale(100) == pytest.approx(50)
    assert scale.ticks(9) == [10, 20, 50, 100, 200, 500, 1000]


def test_up_is_up() -> None:
    frame = Frame(100, 100, top=10, bottom=20)
    scale = linear(frame, 1.0)
    assert (scale(0), scale(1)) == (80, 10)
    assert math.isfinite(linear(frame, 0.0)(0.0))


def test_steps_stay_until_the_next_point() -> None:
    assert steps([(0, 0), (2, 1), (3, 4)]) == [(0, 0), (2, 0), (2, 1), (3, 1), (3, 4)]
    assert steps([]) == []


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 3)), min_size=1))
def test_a_line_drops_no_corner(points: list[tuple[int, int]]) -> None:
    """A point is left out only where the height is the same before and behind it, and where it lies between them."""
    rising = [(float(x), float(y)) for x, y in sorted(points, key=lambda point: point[0])]
    drawn = [(float(x), float(y)) for x, y in re.findall(r"[ML](\S+) (\S+?)(?=L|\")", path(rising, "line"))]
    assert drawn[0] == rising[0]
    assert drawn[-1] == rising[-1]
    for x, y in rising:
        left = [at for at in drawn if at[0] <= x][-1]
        assert (x, y) in drawn or left[1] == y or any(at[0] == x for at in drawn)


def test_a_picture_has_words_for_who_cannot_see_it() -> None:
    drawn = picture(Frame(10, 20), "a < b", "what it shows")
    assert drawn.startswith('<svg class="chart" viewBox="0 0 10 20" role="img"')
    assert "<title>a &lt; b</title><desc>what it shows</desc>" in drawn
