"""The thread that makes readings of ended recordings, so that neither a client nor the writer waits for it.

It begins with the first recording that ends, and also reads what other processes left unread. A store that fails is
tried again; what was not read when the process ends is read by the next one.
"""

from __future__ import annotations

import contextlib
import logging
import queue
import threading
from collections.abc import Callable
from typing import Final

from recorder import reader
from recorder.errors import RecorderError
from recorder.store import Store
from recorder.writer import Ended

__all__ = ["Readings"]

logger = logging.getLogger("recorder")

#: Seconds until the next attempt while the store fails.
_RETRY: Final = 1.0

#: How many recordings are read between two looks at the queue.
_BATCH: Final = 500

_Item = list[Ended] | threading.Event | None


class Readings:
    """Makes readings in the background. `open_store` opens the store that they come from and go to."""

    def __init__(self, open_store: Callable[[], Store]) -> None:
        self._open_store = open_store
        self.after_fork()

    def after_fork(self) -> None:
        """Begin anew, with nothing to do and no thread: at first, and in a forked child."""
        self._queue: queue.SimpleQueue[_Item] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._store: Store | None = None
        self._unread: list[Ended] = []
        self._barriers: list[threading.Event] = []
        self._stopping = False
        self._over = False
        self._unfinished = False
        self._failing = False
        self._more = False

    def add(self, ended: list[Ended]) -> None:
        """These recordings are durable. Returns at once."""
        self._queue.put(ended)
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="recorder-reader", daemon=True)
                self._thread.start()
            elif self._over:
                self._unfinished = True  # by who comes next

    def flush(self, timeout: float | None) -> bool:
        """Wait until everything added so far has its reading. False when `timeout` seconds were not enough.

        Once the thread has ended there is nothing to wait for; False where it could not read everything.
        """
        barrier = threading.Event()
        with self._lock:
            if self._thread is None:
                return True
            if self._over:
                return not self._unfinished
            self._queue.put(barrier)
        return barrier.wait(timeout) and not self._unfinished

    def close(self, timeout: float | None) -> bool:
        """Read what was added, then stop. False when there was not enough time."""
        with self._lock:
            thread = self._thread
        if thread is None or not thread.is_alive():
            return True
        self._queue.put(None)
        thread.join(timeout)
        return not thread.is_alive()

    # -- the thread ----------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            while not self._cycle():
                pass
        finally:
            self._release()
            if self._store is not None:
                self._store.close()

    def _release(self) -> None:
        """Nobody waits for a thread that has ended."""
        late: list[_Item] = []
        with self._lock:
            with contextlib.suppress(queue.Empty):
                while True:
                    late.append(self._queue.get_nowait())
            self._over = True
            self._unfinished = self._failing or any(isinstance(item, list) for item in late)
        for item in late:
            self._take(item)
        for barrier in self._barriers:
            barrier.set()

    def _cycle(self) -> bool:
        """Take what is queued and read for a while. True when the thread is to stop."""
        self._collect()
        self._more = not self._read()
        if not self._more:
            for barrier in self._barriers:
                barrier.set()
            self._barriers = []
        return self._stopping and (self._failing or not self._more)

    def _collect(self) -> None:
        """Take what is queued; wait for something where there is nothing else to do."""
        wait = _RETRY if self._failing else 0 if self._more else None
        try:
            self._take(self._queue.get(timeout=wait) if wait != 0 else self._queue.get_nowait())
            while True:
                self._take(self._queue.get_nowait())
        except queue.Empty:
            pass

    def _take(self, item: _Item) -> None:
        if item is None:
            self._stopping = True
        elif isinstance(item, threading.Event):
            self._barriers.append(item)
        else:
            # Those whose payloads are in the store are found there.
            self._unread += [ended for ended in item if ended.rows is not None]

    def _read(self) -> bool:
        """Make readings for a while. True when nothing is left to do."""
        try:
            if self._store is None:
                self._store = self._open_store()
            while self._unread:
                ended = self._unread[0]
                reader.read_rows(self._store, ended.recording, ended.rows or ())
                del self._unread[0]
            left = reader.read_due(self._store, _BATCH, gentle=True)
        except RecorderError as error:
            if not self._failing:
                logger.warning("recorder cannot make readings now: %s; it tries again", error)
            self._failing = True
            return False
        except Exception:
            logger.exception("recorder failed to make readings; the recordings are whole, and stay unread")
            self._unread = []
            self._failing = False
            return True
        self._failing = False
        return left < _BATCH
