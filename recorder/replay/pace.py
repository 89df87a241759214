"""Pace: how fast a recording is played, and when something is due. Knows no recordings, only microseconds."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Awaitable, Callable
from typing import Final

from ..errors import UsageError

__all__ = ["INSTANT", "SILENCE", "Pacer", "parse_pace"]

#: The speed at which everything is due at once.
INSTANT: Final = math.inf

#: Seconds that a client is left in silence where a recording's client left: time to leave again.
SILENCE: Final = 5.0

_PACES: Final = {"instant": INSTANT, "recorded": 1.0}
_FACTOR: Final = re.compile(r"x([0-9]{1,9}(?:\.[0-9]{0,9})?|\.[0-9]{1,9})")


def parse_pace(pace: str | float) -> float:
    """How many times faster than recorded: 1.0 for "recorded", infinity for "instant", N for "xN" or a number.

    Raises UsageError for anything else.
    """
    if isinstance(pace, str):
        factor = _FACTOR.fullmatch(pace)
        speed = float(factor[1]) if factor else _PACES.get(pace, 0.0)
    else:
        # Only the word stands for it: a number that ran over is a mistake.
        speed = 0.0 if isinstance(pace, bool) or pace == INSTANT else float(pace)
    if not speed > 0:
        raise UsageError(f"pace {pace!r} is none: say instant, recorded, or xN with N above 0, as in x2 or x0.5")
    return speed


class Pacer:
    """When something is due, on this process's clock.

    Deadlines are absolute, counted from `start` (seconds of `time.perf_counter`; now, if not given), so lateness never
    adds up and the time to the first token is kept.
    """

    __slots__ = ("speed", "start")

    def __init__(self, speed: float, start: float | None = None) -> None:
        self.speed = speed
        self.start = time.perf_counter() if start is None else start

    def left(self, due_us: int) -> float:
        """Seconds until what happened `due_us` microseconds after the request is due again; not above 0 once it is."""
        if self.speed == INSTANT:
            return 0.0
        return self.start + due_us / (1e6 * self.speed) - time.perf_counter()

    def wait(self, due_us: int) -> None:
        """Sleep until then; not at all where that is past."""
        if self.speed != INSTANT:
            while (left := self.left(due_us)) > 0:
                time.sleep(left)

    async def until(self, due_us: int, sleep: Callable[[float], Awaitable[object]]) -> None:
        """The same for an event loop, whose own `sleep` may wake a little too early."""
        while (left := self.left(due_us)) > 0:
            await sleep(left)
