"""Locks between processes, held on files. The only code that knows how a platform locks a file.

Locks are of the `flock` kind: the kernel frees them when the last descriptor of the opened file closes, so also when
the process dies. They have nothing to do with SQLite's own locks, and must never be taken on the database file.
"""

from __future__ import annotations

import contextlib
import os
import random
import sys
import time
from pathlib import Path

__all__ = ["FairLock", "Hold", "is_at", "is_free", "try_lock", "unlock"]

if sys.platform == "win32":
    import msvcrt

    def try_lock(descriptor: int) -> bool:
        """Take the lock if nobody else holds it."""
        try:
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True

    def unlock(descriptor: int) -> None:
        """Give the lock back."""
        os.lseek(descriptor, 0, os.SEEK_SET)
        msvcrt.locking(descriptor, msvcrt.LK_UNLCK, 1)

else:
    import fcntl

    def try_lock(descriptor: int) -> bool:
        """Take the lock if nobody else holds it."""
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def unlock(descriptor: int) -> None:
        """Give the lock back."""
        fcntl.flock(descriptor, fcntl.LOCK_UN)


#: Seconds between two tries: of the one that is next, and of those behind it.
_NEXT = 0.0002
_BEHIND = (0.0005, 0.005)


def _open(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT, 0o600)


class FairLock:
    """A lock between processes that a busy holder cannot keep to itself.

    `flock` has no queue: whoever releases and asks again at once wins against all who sleep between tries. So there
    are two locks. Only the holder of the second, the turn, waits for the first; a holder that wants to go on has to
    get the turn again, and meanwhile the one that waited goes first.
    """

    __slots__ = ("_lock", "_turn")

    def __init__(self, path: Path, turn: Path) -> None:
        self._lock = _open(path)
        try:
            self._turn = _open(turn)
        except OSError:
            os.close(self._lock)
            raise

    def acquire(self, timeout: float) -> bool:
        """Take the lock within `timeout` seconds; False where that was not enough."""
        deadline = time.monotonic() + timeout
        if not _poll(self._turn, _BEHIND, deadline):
            return False
        try:
            return _poll(self._lock, (_NEXT, _NEXT), deadline)
        finally:
            unlock(self._turn)

    def release(self) -> None:
        """Give the lock back."""
        unlock(self._lock)

    def close(self) -> None:
        """Close both files, which also gives up a lock that is held. In a forked child the parent's lock stays."""
        os.close(self._lock)
        os.close(self._turn)


def _poll(descriptor: int, pause: tuple[float, float], deadline: float) -> bool:
    while not try_lock(descriptor):
        if time.monotonic() >= deadline:
            return False
        time.sleep(random.uniform(*pause))  # noqa: S311
    return True


class Hold:
    """A lock file that is held for as long as this object is not closed: the sign of life of its owner."""

    __slots__ = ("_descriptor", "path")

    def __init__(self, path: Path) -> None:
        """Make the file and lock it. Raises OSError where the folder does not allow it."""
        self.path = path
        while True:
            descriptor = _open(path)
            # Somebody may look whether the lock is free, and remove the file, between the two calls.
            if try_lock(descriptor) and is_at(descriptor, path):
                break
            os.close(descriptor)
            time.sleep(_NEXT)
        self._descriptor = descriptor

    def is_in_place(self) -> bool:
        """Whether others still find the file where they look for it."""
        return is_at(self._descriptor, self.path)

    def release(self) -> None:
        """Remove the file and give up the lock."""
        with contextlib.suppress(OSError):
            self.path.unlink()
        os.close(self._descriptor)

    def close(self) -> None:
        """Close the descriptor only; in a forked child the parent's lock and file stay."""
        os.close(self._descriptor)


def is_free(path: Path, *, clear: bool) -> bool:
    """Whether for certain nobody holds the lock file: it is missing, or was left by a process that died.

    With `clear` a file that was left is removed. One that this user may not open counts as held.
    """
    try:
        descriptor = os.open(path, os.O_RDWR)
    except FileNotFoundError:
        return True
    except OSError:
        return False
    try:
        if not try_lock(descriptor):
            return False
        if clear and is_at(descriptor, path):
            with contextlib.suppress(OSError):
                path.unlink()
        return True
    finally:
        os.close(descriptor)


def is_at(descriptor: int, path: Path) -> bool:
    """Whether the opened file is still the one at this path."""
    try:
        there = path.stat()
    except OSError:
        return False
    return os.path.samestat(os.fstat(descriptor), there)
