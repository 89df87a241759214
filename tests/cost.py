"""How much work something is, in a measure that no busy machine changes."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

__all__ = ["cost"]


def cost(work: Callable[[], object]) -> int:
    """Traced Python lines and calls of the work."""
    count = 0

    def trace(*_: object) -> Any:
        nonlocal count
        count += 1
        return trace

    sys.settrace(trace)
    try:
        work()
    finally:
        sys.settrace(None)
    return count
