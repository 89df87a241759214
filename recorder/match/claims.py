"""Ordered repeats: identical requests are answered in recorded order, each session on its own."""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence, Set
from typing import Literal, NamedTuple, TypeAlias
from uuid import UUID

from ..errors import UsageError

__all__ = ["Claims", "Repeat", "Turn", "turn"]

Repeat: TypeAlias = Literal["error", "last", "cycle"]

# One for all: held for microseconds, and so there is one lock to renew in a forked child.
_lock = threading.Lock()


def _renew_lock() -> None:
    # A thread that does not exist in the child may have held it.
    global _lock
    _lock = threading.Lock()


if hasattr(os, "register_at_fork"):  # pragma: no branch (Windows has no fork)
    os.register_at_fork(after_in_child=_renew_lock)


class Turn(NamedTuple):
    """Whose turn it is. `fresh`: it was not claimed before, or is claimed all over again (`over`)."""

    recording_id: UUID | None
    fresh: bool = False
    over: bool = False


def turn(claimed: Set[UUID], candidates: Sequence[UUID], repeat: Repeat) -> Turn:
    """Which of `candidates` (in recorded order) answers when those in `claimed` have; see `Claims.claim`."""
    if repeat not in {"error", "last", "cycle"}:
        raise UsageError(f"repeat {repeat!r} is none of error, last, cycle")
    free = next((candidate for candidate in candidates if candidate not in claimed), None)
    if free is not None:
        return Turn(free, fresh=True)
    if not candidates or repeat == "error":
        return Turn(None)
    return Turn(candidates[0], fresh=True, over=True) if repeat == "cycle" else Turn(candidates[-1])


class Claims:
    """Which recordings a session has been answered with, so that identical requests are answered in recorded order.

    It lives in memory only and may be used by many threads. Make one for each session.
    """

    def __init__(self) -> None:
        self._claimed: dict[bytes, set[UUID]] = {}

    def claim(self, match_key: bytes, candidates: Sequence[UUID], repeat: Repeat = "error") -> UUID | None:
        """The first of `candidates` (in recorded order) that this key was not yet answered with; it is then claimed.

        When all are: with `error` None, with `last` the last candidate again, with `cycle` all over again from the
        first. None without candidates. Raises UsageError for another word.
        """
        with _lock:
            claimed = self._claimed.setdefault(match_key, set())
            whose = turn(claimed, candidates, repeat)
            if whose.over:
                claimed.difference_update(candidates)
            if whose.fresh and whose.recording_id is not None:
                claimed.add(whose.recording_id)
            return whose.recording_id

    def next(self, match_key: bytes, candidates: Sequence[UUID], repeat: Repeat = "error") -> UUID | None:
        """What `claim` would give, without claiming it."""
        with _lock:
            return turn(self._claimed.get(match_key, set()), candidates, repeat).recording_id

    def reset(self) -> None:
        """Forgets all claims: the session starts again."""
        with _lock:
            self._claimed.clear()
