"""What a writer's thread has in hand: live recordings, the group that one commit takes, what came of it, and counts.

Values that the thread fills. They refuse to know the queue, the clock and the store.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field

from ..capture import Capture
from ..recording import Recording, Row
from ..store import Append
from .tap import Tap

__all__ = ["GROUP_BYTES", "GROUP_ITEMS", "Ended", "Group", "Live", "Stats"]

#: A group is committed at the latest when it holds this many bytes or items.
GROUP_BYTES = 4 << 20
GROUP_ITEMS = 20_000


@dataclass(frozen=True, slots=True)
class Ended:
    """A recording whose `end` is durable, its request without the body.

    `rows` are its rows with payloads where the store does not have them.
    """

    recording: Recording
    rows: Sequence[Row] | None


@dataclass(slots=True)
class Stats:
    """What a writer did so far. `gaps` counts recordings that were cut short or not recorded at all."""

    recordings: int = 0
    rows: int = 0
    commits: int = 0
    gaps: int = 0
    held_bytes: int = 0
    lag_us: int = 0
    failing: str | None = None


@dataclass(slots=True)
class Live:
    """A recording on the writer's thread."""

    tap: Tap
    capture: Capture
    stored: bool = False
    touched: bool = False
    #: Bytes of the room its tap has taken that were given back, or will be with the group under way.
    returned: int = 0


@dataclass(slots=True)
class Group:
    """What one commit takes: the recordings touched, the barriers to release, the bytes to give back."""

    appends: list[Append] = field(default_factory=list)
    lives: list[Live] = field(default_factory=list)
    barriers: list[threading.Event] = field(default_factory=list)
    items: int = 0
    size: int = 0
    oldest: int | None = None
    stop: bool = False

    @property
    def full(self) -> bool:
        return self.size >= GROUP_BYTES or self.items >= GROUP_ITEMS

    def touch(self, live: Live) -> None:
        """This recording adds something."""
        if not live.touched:
            live.touched = True
            self.lives.append(live)

    def take(self, live: Live, first: int, items: int, size: int) -> None:
        """So many items of this recording, the first of them of that time, and their bytes."""
        self.touch(live)
        if self.oldest is None or first < self.oldest:
            self.oldest = first
        self.items += items
        self.size += size
        live.returned += size
