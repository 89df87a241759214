"""Cells and columns of the page's tables: figures in words, sorted by what they are."""

from __future__ import annotations

from decimal import Decimal

from .pieces import Cell, Column
from .wording import count, share, span, usd

__all__ = ["money", "named", "number", "part", "time"]


def number(value: float | Decimal | None) -> Cell:
    return Cell(count(value), None if value is None else float(value))


def money(value: Decimal | None) -> Cell:
    return Cell(usd(value), None if value is None else float(value))


def part(value: float | None) -> Cell:
    return Cell(share(value), value)


def time(value: int | None) -> Cell:
    return Cell(span(value), value)


def named(*titles: str) -> list[Column]:
    """Columns: the first `titles` in lower case hold text, those that begin with # hold figures."""
    return [Column(title.lstrip("#"), title.startswith("#")) for title in titles]
