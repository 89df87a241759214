"""The thread that tells of answers that run away while they stream: the user's callback, or a line in the log.

The callback is somebody else's code: it may be slow, hang or raise, and neither a client nor the writer notices. It
begins with the first notice.
"""

from __future__ import annotations

import contextlib
import inspect
import logging
import queue
import threading
from collections.abc import Callable
from typing import Final

from recorder.detect import Notice
from recorder.errors import UsageError

__all__ = ["Notices"]

logger = logging.getLogger("recorder")

#: Notices that wait for a slow callback; more than that are dropped and counted.
WAITING: Final = 256
#: Seconds that a close waits for the callback at most.
LAST_WORDS: Final = 1.0


class Notices:
    """Hands notices to `callback`, one after the other, on a thread of its own; without one they are logged.

    `dropped` counts those that found too many waiting. Raises UsageError for what cannot be called, or only awaited.
    """

    def __init__(self, callback: Callable[[Notice], object] | None = None) -> None:
        self._callback: Callable[[Notice], object] = _log if callback is None else callback
        _check(self._callback)
        self.after_fork()

    def after_fork(self) -> None:
        """Begin anew, with nothing to tell and no thread: at first, and in a forked child."""
        self._queue: queue.Queue[Notice | None] = queue.Queue(WAITING)
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._stopping = False
        self._failed = False
        self.dropped = 0

    def add(self, notices: list[Notice]) -> None:
        """Tell of these. Returns at once."""
        for notice in notices:
            try:
                self._queue.put_nowait(notice)
            except queue.Full:
                self._drop()
        with self._lock:
            if self._thread is None and not self._stopping:
                self._thread = threading.Thread(target=self._run, name="recorder-notices", daemon=True)
                self._thread.start()

    def close(self, timeout: float | None) -> bool:
        """Tell what is still to be told, then stop. False when `timeout`, or LAST_WORDS seconds, were not enough."""
        self._stopping = True
        with self._lock:
            thread = self._thread
        if thread is None or thread is threading.current_thread():
            return True
        with contextlib.suppress(queue.Full):
            self._queue.put_nowait(None)
        thread.join(LAST_WORDS if timeout is None else min(timeout, LAST_WORDS))
        return not thread.is_alive()

    def _drop(self) -> None:
        self.dropped += 1
        if self.dropped == 1:
            logger.warning("on_notice does not keep up: notices are dropped (the flags of the readings have them all)")

    # -- the thread ----------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        while not (self._stopping and self._queue.empty()):
            notice = self._queue.get()
            if notice is not None:
                self._tell(notice)

    def _tell(self, notice: Notice) -> None:
        try:
            self._callback(notice)
        except Exception:  # the user's code; whatever it raises is told once
            if not self._failed:
                logger.exception("on_notice failed; recording goes on, and further failures are not logged")
            self._failed = True


def _check(callback: object) -> None:
    if not callable(callback) or inspect.iscoroutinefunction(callback):
        raise UsageError(
            "option 'on_notice' is wrong: it must be a plain function that takes a Notice; an asynchronous one can be"
            " reached with loop.call_soon_threadsafe"
        )


def _log(notice: Notice) -> None:
    logger.warning("%s; it is still streaming", notice)
