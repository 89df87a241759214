"""Ordered repeats: identical requests are answered in recorded order, each session on its own."""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from typing import Literal, TypeAlias
from uuid import UUID

from ..errors import UsageError

__all__ = ["Claims", "Repeat"]

Repeat: TypeAlias = Literal["error", "last", "cycle"]

# One for all: held for microseconds, and so there is one lock to renew in a forked child.
_lock = threading.Lock()


def _renew_lock() -> None:
    # A thread that does not exist in the child may have held it.
    global _lock
    _lock = threading.Lock()


if hasattr(os, "register_at_fork"):  # pragma: no branch
    os.register_at_fork(after_in_child=_renew_lock)


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
        if repeat not in {"error", "last", "cycle"}:
            raise UsageError(f"repeat {repeat!r} is none of error, last, cycle")
        with _lock:
            claimed = self._claimed.setdefault(match_key, set())
            free = next((candidate for candidate in candidates if candidate not in claimed), None)
            if free is None and repeat == "cycle":
                claimed.difference_update(candidates)
                free = next(iter(candidates), None)
            if free is not None:
                claimed.add(free)
                return free
            return candidates[-1] if candidates and repeat == "last" else None

    def reset(self) -> None:
        """Forgets all claims: the session starts again."""
        with _lock:
            self._claimed.clear()
