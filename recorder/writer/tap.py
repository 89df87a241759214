"""The client's end of a recording that is being made: what crosses from the client's thread to the writer's.

A Tap notes the time, puts one item where the writer takes it, and returns. It refuses to know the writer, the store
and what becomes of the item.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Mapping
from typing import Any
from uuid import UUID

from ..recording import Captured, Head

__all__ = ["DATA", "END", "FULL", "HEAD", "HEAD_COST", "INFO", "START", "Item", "NullTap", "Room", "Tap"]

START, INFO, HEAD, DATA, END = range(5)

#: (what happened, monotonic nanoseconds, what with)
Item = tuple[int, int, Any]

#: What a head counts for in the queue, in bytes.
HEAD_COST = 1024
#: Bytes of room that a tap takes ahead, so that not every chunk has to ask for it.
AHEAD = 4096

FULL = "the queue was full: the store did not keep up"


class Room:
    """The bytes that may wait between the clients and the store."""

    __slots__ = ("held", "limit", "lock")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.held = 0
        # Re-entrant: the garbage collector may run a tap's user in the middle of another's call.
        self.lock = threading.RLock()

    def take(self, size: int, beyond: int = 0) -> bool:
        """Take room for so many bytes, up to `beyond` bytes above the limit. False where there is not so much."""
        with self.lock:
            if self.held + size > self.limit + beyond:
                return False
            self.held += size
            return True


class Tap:
    """The client's side of one recording that is being made. No call blocks or raises.

    Any thread may use it, one at a time, as an HTTP exchange does. The first `end` wins.
    """

    __slots__ = (
        "__weakref__",
        "_clock",
        "_closed",
        "_credit",
        "_cut",
        "_room",
        "durable",
        "items",
        "recording_id",
        "started",
        "taken",
    )

    def __init__(self, recording_id: UUID, room: Room, started: int) -> None:
        self.recording_id = recording_id
        self.started = started
        #: The last position of this recording that is in the store for certain; -1 where none is.
        self.durable = -1
        #: What the writer has not looked at yet.
        self.items: deque[Item] = deque()
        #: Bytes of room that this tap has taken so far, and what of it is not used yet.
        self.taken = 0
        self._credit = 0
        self._room = room
        self._clock = time.monotonic_ns
        self._closed = False
        self._cut: str | None = None

    def start(self, opening: Any, size: int, beyond: int = 0) -> bool:
        """The exchange begins; False where there is no room for that."""
        if not self._room.take(size, beyond):
            return False
        self.taken = size
        self.items.append((START, self.started, opening))
        return True

    def info(self, head: Head) -> None:
        """A 1xx answer arrived."""
        self._put(INFO, head, HEAD_COST)

    def head(self, head: Head) -> None:
        """The response's status line and headers arrived."""
        self._put(HEAD, head, HEAD_COST)

    def data(self, chunk: bytes) -> None:
        """A chunk of the response's body arrived, as the network delivered it."""
        # What a client pays for each chunk: hence no lock, no call, and no waking of the writer, which looks by itself.
        self._credit -= len(chunk)
        if self._credit >= 0 or self._extend():
            self.items.append((DATA, self._clock(), chunk))

    def end(self, ending: str, *, captured: str = Captured.FULL, detail: Mapping[str, Any] | None = None) -> None:
        """The exchange is over."""
        if self._closed:
            return
        self._closed = True
        self._credit = -1
        told = dict(detail or {})
        if self._cut is not None:
            captured = Captured.TRUNCATED
            told["reason"] = self._cut
        self.items.append((END, self._clock(), (str(ending), str(captured), told)))

    def _put(self, what: int, value: Any, size: int) -> None:
        self._credit -= size
        if self._credit >= 0 or self._extend():
            self.items.append((what, self._clock(), value))

    def _extend(self) -> bool:
        """Take more room. False when there is none, or when nothing more is taken of this recording."""
        if self._is_closed() or self._cut is not None:
            self._credit = -1
            return False
        missing = -self._credit
        with self._room.lock:
            # Once more, now that the writer cannot be settling: what is taken after that would never be given back.
            if self._is_closed():
                return False
            for size in (missing + AHEAD, missing):
                if self._room.take(size):
                    self.taken += size
                    self._credit += size
                    return True
        self.cut(FULL)
        return False

    def _is_closed(self) -> bool:
        """Another thread may have closed it."""
        return self._closed

    def cut(self, reason: str) -> None:
        """From here on the record lacks what comes; the end will say so."""
        self._cut = reason
        self._credit = -1

    def abandon(self) -> None:
        """Nothing more of this recording is taken (a forked child is not its writer)."""
        self._closed = True


class NullTap(Tap):
    """Takes everything and keeps nothing: recording is off, or this call is not in the sample."""

    __slots__ = ()

    def __init__(self) -> None:
        super().__init__(UUID(int=0), _NOWHERE, 0)
        self._closed = True


_NOWHERE = Room(0)
