"""An ended recording -> its dialect -> a Reading in the store. Runs anywhere but on the writer's thread."""

from __future__ import annotations

from recorder.reader.bare import without_content, without_texts
from recorder.reader.core import (
    VERSION,
    interpret,
    read,
    read_due,
    read_due_all,
    read_rows,
    rebuild,
    rebuild_stale,
)

__all__ = [
    "VERSION",
    "interpret",
    "read",
    "read_due",
    "read_due_all",
    "read_rows",
    "rebuild",
    "rebuild_stale",
    "without_content",
    "without_texts",
]
