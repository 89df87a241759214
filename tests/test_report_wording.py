"""Figures in words: units, and a dash where nothing is known."""

from __future__ import annotations

from datetime import date
from decimal import Decimal

import pytest

from recorder.report.wording import count, day, moment, outcome, share, span, tokens, usd

B = "\u00a0"


@pytest.mark.parametrize("words", [count, tokens, share, usd, span, moment])
def test_unknown_is_a_dash_and_never_nothing(words: object) -> None:
    assert words(None) == "\u2013"  # type: ignore[operator]


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (0.0, f"0.0{B}%"),
        (1.0, f"100.0{B}%"),
        (0.4641, f"46.4{B}%"),
        (0.00001, f"<{B}0.1{B}%"),
        (0.99999, f">{B}99.9{B}%"),
        (0.0005, f"0.1{B}%"),
    ],
)
def test_a_share_is_never_rounded_to_none_or_all(value: float, said: str) -> None:
    assert share(value) == said


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (Decimal("0E-9"), "$0"),
        (Decimal("4.1"), "$4.10"),
        (Decimal("0.8906"), "$0.89"),
        (Decimal("0.0042"), "$0.0042"),
        (Decimal("0.00000001"), f"<{B}$0.0001"),
        (Decimal("1234.5"), "$1,234"),
        (Decimal("-2.5"), "\u2212$2.50"),
    ],
)
def test_money_has_the_digits_that_somebody_asks_for(value: Decimal, said: str) -> None:
    assert usd(value) == said


@pytest.mark.parametrize(
    ("micros", "said"),
    [
        (0, f"0{B}µs"),
        (850, f"850{B}µs"),
        (12_300, f"12.3{B}ms"),
        (400_000, f"400{B}ms"),
        (4_210_000, f"4.21{B}s"),
        (200_000_000, f"3{B}min{B}20{B}s"),
        (7_500_000_000, f"2{B}h{B}5{B}min"),
    ],
)
def test_a_time_has_its_unit(micros: int, said: str) -> None:
    assert span(micros) == said


def test_tokens_are_counted() -> None:
    assert tokens(1) == f"1{B}token"
    assert tokens(1634) == f"1,634{B}tokens"
    assert tokens(Decimal(2_664_986)) == f"2.66{B}M{B}tokens"
    assert count(Decimal(1234)) == "1,234"


def test_days_and_moments_are_utc() -> None:
    assert day(date(2026, 11, 3)) == f"3{B}Nov"
    assert moment(1_795_435_200_000_000) == "2026-11-23 12:00 UTC"


def test_an_outcome_that_is_new_is_shown_as_it_is() -> None:
    assert outcome("truncated_output") == "cut at the output cap"
    assert outcome("a_new_one") == "a_new_one"
