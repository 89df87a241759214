"""What a check comes to: a value, no I/O."""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple

__all__ = ["Finding", "Level", "fault", "note", "ok", "warning"]


class Level(StrEnum):
    """ok: as it should be. note: good to know. warning: it will hurt some day. fault: recording or reading suffers."""

    OK = "ok"
    NOTE = "note"
    WARNING = "warning"
    FAULT = "fault"


class Finding(NamedTuple):
    """One line: what was looked at, how it is, what is so, and what to do about it (None: nothing)."""

    check: str
    level: Level
    text: str
    advice: str | None = None


def ok(check: str, text: str) -> Finding:
    """As it should be."""
    return Finding(check, Level.OK, text)


def note(check: str, text: str, advice: str | None = None) -> Finding:
    """Good to know."""
    return Finding(check, Level.NOTE, text, advice)


def warning(check: str, text: str, advice: str) -> Finding:
    """It will hurt some day."""
    return Finding(check, Level.WARNING, text, advice)


def fault(check: str, text: str, advice: str) -> Finding:
    """Recording or reading suffers now."""
    return Finding(check, Level.FAULT, text, advice)
