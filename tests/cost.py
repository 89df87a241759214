"""How much work something is, in a measure that no busy machine changes."""

from __future__ import annotations

import gc
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

    gc.disable()  # what is left of other tests would be put away here
    sys.settrace(trace)
    try:
        work()
    finally:
        sys.settrace(None)
        gc.enable()
    return count
