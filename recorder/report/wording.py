"""Figures in words: with their units, with a dash where nothing is known, never with more digits than they deserve."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Final, TypeAlias

__all__ = [
    "BLANK",
    "UNKNOWN",
    "count",
    "day",
    "moment",
    "outcome",
    "percent",
    "several",
    "share",
    "span",
    "tokens",
    "usd",
]

UNKNOWN: Final = "\u2013"
#: Between a figure and its unit, where no line may end.
BLANK: Final = "\u00a0"

Number: TypeAlias = int | float | Decimal


def count(value: Number | None) -> str:
    """1,234"""
    return UNKNOWN if value is None else f"{round(value):,}"


def several(number: int, noun: str) -> str:
    """1 run, 1,234 runs"""
    return f"{count(number)}{BLANK}{noun}{'' if number == 1 else 's'}"


def tokens(value: Number | None) -> str:
    """1,234 tokens; 1.66 M tokens."""
    if value is None:
        return UNKNOWN
    for least, unit in ((1_000_000_000, "G"), (1_000_000, "M")):
        if abs(float(value)) >= least:
            return f"{float(value) / least:,.2f}{BLANK}{unit}{BLANK}tokens"
    return f"{round(value):,}{BLANK}token{'' if round(value) == 1 else 's'}"


def share(value: float | None, digits: int = 1) -> str:
    """46.4 %; what is above nothing never reads 0.0 %, what is below all never 100.0 %."""
    if value is None:
        return UNKNOWN
    least = 10.0**-digits
    hundredths = value * 100
    if 0 < hundredths < least / 2:
        return f"<{BLANK}{least:.{digits}f}{BLANK}%"
    if 100 - least / 2 <= hundredths < 100:
        return f">{BLANK}{100 - least:.{digits}f}{BLANK}%"
    return f"{hundredths:.{digits}f}{BLANK}%"


def percent(value: float) -> str:
    """95 %: a mark, which is exact."""
    return f"{value * 100:.0f}{BLANK}%"


def usd(value: Decimal | float | None) -> str:
    """$1,235; $4.10; $0.0042, without more digits than anybody asks for."""
    if value is None:
        return UNKNOWN
    size = abs(float(value))  # as the page's script has it: both show the same last digit
    sign = "\u2212" if value < 0 else ""
    if size == 0:
        return "$0"
    if size >= 1000:
        return f"{sign}${size:,.0f}"
    if size >= 0.0995:
        return f"{sign}${size:.2f}"
    return f"{sign}${size:.4f}" if size >= 0.00005 else f"<{BLANK}$0.0001"


def span(micros: Number | None) -> str:
    """850 µs, 12.3 ms, 4.21 s, 3 min 20 s."""
    if micros is None:
        return UNKNOWN
    value = float(micros)
    if value < 1000:
        return f"{value:.0f}{BLANK}µs"
    if value < 1_000_000:
        return f"{value / 1000:.1f}".removesuffix(".0") + f"{BLANK}ms"
    if value < 120_000_000:
        return f"{value / 1_000_000:.2f}".rstrip("0").rstrip(".") + f"{BLANK}s"
    if value < 7_200_000_000:
        return f"{value // 60_000_000:.0f}{BLANK}min{BLANK}{value // 1_000_000 % 60:.0f}{BLANK}s"
    return f"{value // 3_600_000_000:.0f}{BLANK}h{BLANK}{value // 60_000_000 % 60:.0f}{BLANK}min"


def moment(micros: int | None) -> str:
    """2026-11-23 12:30 UTC"""
    if micros is None:
        return UNKNOWN
    return f"{datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=micros):%Y-%m-%d %H:%M} UTC"


def day(value: date) -> str:
    """23 Nov"""
    return f"{value.day}{BLANK}{value:%b}"


_OUTCOMES: Final = {
    "completed": "completed",
    "tool_wait": "called a tool",
    "paused": "paused",
    "truncated_output": "cut at the output cap",
    "truncated_prompt": "cut at the prompt cap",
    "context_overflow": "context window full",
    "content_filter": "filtered",
    "refusal": "refused",
    "cancelled": "cancelled",
    "expired": "expired",
    "failed": "failed",
    "other_incomplete": "incomplete",
    "http_error": "HTTP error",
    "unreachable": "unreachable",
    "client_abort": "client left",
    "upstream_cut": "connection broke",
    "no_terminal": "ended unannounced",
    "in_progress": "in progress",
    "unknown": "unknown",
}


def outcome(word: str) -> str:
    """How a run ended, for people; a word that is new here is shown as it is."""
    return _OUTCOMES.get(word, word)
