"""Pictures in a terminal: they say what the rows say, in whatever the terminal can show."""

from __future__ import annotations

import contextlib
import io
from typing import Any

import pytest

from recorder.cli.charts import draw
from recorder.queries import Answer, Question
from recorder.queries.questions import Chart


def drawn(kind: str, columns: list[str], rows: list[tuple[Any, ...]], encoding: str = "utf-8") -> list[str]:
    chart = Chart(kind, tuple(columns))
    question = Question("X1", "x", "Why?", "", None, (), frozenset(), (), chart, is_default=False, sql="")
    answer = Answer(
        question=question,
        columns=tuple(columns),
        types=("VARCHAR",) * len(columns),
        rows=rows,
        selected=1,
        among=1,
        asked=1,
        stands_for=1.0,
        given={},
    )
    raw = io.BytesIO()
    with contextlib.redirect_stdout(io.TextIOWrapper(raw, encoding=encoding)) as out:
        draw(answer)
        out.flush()
    return raw.getvalue().decode(encoding).splitlines()


def test_bars_are_as_long_as_their_figures() -> None:
    full, half, none, scale, _ = drawn("bars", ["slice", "rate_share"], [("a", 1.0), ("b", 0.5), ("c", 0.0)])
    assert full.count("█") == 40
    assert half.count("█") == 20
    assert none.split() == ["c"]
    assert scale.split() == ["0", "100%"]


def test_a_bar_shows_the_range_it_is_known_within() -> None:
    (line, *_) = drawn("bars", ["slice", "rate_share", "low_share", "high_share"], [("a", 0.5, 0.25, 1.0)])
    assert line.count("█") == 20
    assert line.count("─") == 21


def test_a_share_is_drawn_against_the_whole_and_other_figures_against_the_highest() -> None:
    assert drawn("bars", ["slice", "rate_share"], [("a", 0.1)])[0].count("█") == 4
    assert drawn("bars", ["slice", "runs"], [("a", 3), ("b", 6)])[0].count("█") == 20


def test_quantiles_are_points_on_a_line() -> None:
    (line, *_) = drawn("ecdf", ["slice", "p50_us", "p99_us"], [("a", 500_000, 1_000_000)])
    assert line.count("●") == 2
    assert line.count("─") == 19


def test_series_over_time_have_a_step_for_each_moment_and_gaps_where_nothing_is_known() -> None:
    rows = [("2026-01-01", 1.0, "x"), ("2026-01-02", None, "x"), ("2026-01-03", 0.1, "x"), ("2026-01-01", 0.5, "y")]
    first, second, scale, _ = drawn("line", ["day", "rate_share", "outcome"], rows)
    assert first.split("x")[1].strip() == "█ ▁"
    assert second.split("y")[1].strip() == "▅"
    assert "2026-01-01 to 2026-01-03, up to 100%" in scale


def test_a_table_of_shades_is_darkest_where_the_most_is() -> None:
    _, first, second, _, _ = drawn("heatmap", ["hour", "size", "p50_us"], [(1, "s", 10), (2, "s", 5), (1, "l", 1)])
    assert "██████" in first
    assert "██████" not in second
    assert second.rstrip().endswith("-")


@pytest.mark.parametrize("kind", ["bars", "ecdf", "line", "heatmap"])
def test_what_the_encoding_cannot_show_is_drawn_in_ascii(kind: str) -> None:
    lines = drawn(kind, ["day", "rate_share", "high_share"], [("a", 0.5, 1.0), ("b", 1.0, 1.0)], encoding="ascii")
    assert lines


@pytest.mark.parametrize("kind", ["bars", "ecdf", "line", "heatmap", "table", "nonsense"])
@pytest.mark.parametrize("rows", [[], [("a", None, None)], [("a", 0, 0)], [(None, 0.0, 0.0)]])
def test_nothing_to_draw_is_no_error(kind: str, rows: list[tuple[Any, ...]]) -> None:
    drawn(kind, ["day", "rate_share", "high_share"], rows)


def test_a_stranger_s_text_is_inert_and_cut() -> None:
    lines = drawn("bars", ["slice", "runs"], [("\x1b[31m" + "x" * 100, 1)])
    assert "\x1b" not in lines[0]
    assert "…" in lines[0]


def test_only_what_is_called_a_range_is_drawn_as_one() -> None:
    """Parts of a sum behind the figure are none."""
    (line, *_) = drawn("bars", ["slice", "spent_usd", "input_usd", "output_usd"], [("a", 4.0, 1.0, 3.0)])
    assert line.count("█") == 40
    assert "─" not in line


def test_a_figure_below_nothing_is_drawn_as_such() -> None:
    gain, loss, *_ = drawn("bars", ["slice", "net_usd"], [("a", 5), ("b", -10)])
    assert (gain.count("█"), "-█" in gain) == (20, False)
    assert (loss.count("█"), "-█" in loss) == (40, True)


def test_slices_are_not_drawn_over_one_another() -> None:
    rows = [("x", 1, 0.25), ("y", 1, 1.0)]
    columns = ("slice", "day", "rate_share")
    question = Question(
        "X1", "x", "?", "", None, (), frozenset(), (), Chart("line", ("day", "rate_share")), is_default=False, sql=""
    )
    answer = Answer(
        question=question, columns=columns, types=("VARCHAR",) * 3, rows=rows, selected=2, among=2, asked=2,
        stands_for=2.0, given={},
    )  # fmt: skip
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        draw(answer)
    first, second, *_ = out.getvalue().splitlines()
    assert first.split()[0] == "x"
    assert second.split()[0] == "y"


def test_the_whole_of_a_long_line_is_drawn_and_fits() -> None:
    rows = [(at, 1.0 if at < 500 else 0.0) for at in range(1000)]
    line, axis, *_ = drawn("line", ["tokens", "rate_share"], rows)
    assert len(line) <= 80
    assert line.count("█") == line.count("▁") == 24
    assert "0 to 999" in axis


def test_moments_on_an_axis_are_said_as_such() -> None:
    rows = [(1_790_000_000_000_000, 0.5), (1_790_000_060_000_000, 1.0)]
    _, axis, *_ = drawn("line", ["started_at", "rate_share"], rows)
    assert axis.split(", ")[0].strip() == "2026-09-21 14:13Z to 2026-09-21 14:14Z"
