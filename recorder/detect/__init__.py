"""Answers that went wrong inside: whitespace or words without end, JSON that is cut, reasoning that ate the budget.

findings   examine: an answer that is over, from its Reading
jsontext   what a text lacks to be JSON
runaway    whitespace and repetition in a text, and the limits of both
live       the same two while a stream runs, from the bytes of its events

Nothing here does I/O, and no finding holds any of the text.
"""

from __future__ import annotations

from .findings import Findings, examine
from .jsontext import JsonVerdict, json_reading
from .live import LiveDetector, Notice, asks_for_json

__all__ = ["Findings", "JsonVerdict", "LiveDetector", "Notice", "asks_for_json", "examine", "json_reading"]
