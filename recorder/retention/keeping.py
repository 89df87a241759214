"""Keeps a store within what the settings allow, beside the writer, on a thread of its own.

Nothing is deleted, and there is no thread, unless a setting says so. A failure is told of once and tried again; it
never reaches the writer.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from recorder.config import Settings, ages
from recorder.errors import RecorderError
from recorder.retention.choosing import Left, Wanted
from recorder.retention.pruning import prune, who
from recorder.store import Store
from recorder.writer import Ended

__all__ = ["Keeper", "Rules"]

logger = logging.getLogger("recorder")

#: Seconds between two looks.
EVERY: Final = 60.0
#: Facts that are kept for questions hold what went. They are removed at most so often, in seconds: who asks then waits.
FORGET_EVERY: Final = 3600.0
#: Content that went is passed over; so often all of it is looked at again, because old recordings may be imported.
_ROUNDS: Final = 60
#: With a size to be kept, a look is due when so much of it was recorded. Pruning begins at the first share of the size
#: and goes down to the second: what is open, indexes and the log of the database come on top.
_DUE: Final = 1 / 32
_BEGIN, _DOWN_TO = 0.9, 0.8
_SECOND: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class Rules:
    """After how many seconds content goes, and everything; how many bytes the store may take. None: never, any."""

    content: int | None = None
    whole: int | None = None
    size: int | None = None

    @classmethod
    def of(cls, settings: Settings) -> Rules:
        """Those of the settings `keep` and `max_size`."""
        return cls(*((None, None) if settings.keep is None else ages(settings.keep)), settings.max_size)


class Keeper:
    """Prunes by these rules while recordings are made. `open_store` opens a store of its own; `forget` removes what is
    kept elsewhere of the facts of a store with this URL.
    """

    def __init__(
        self,
        open_store: Callable[[], Store],
        rules: Rules,
        *,
        every: float = EVERY,
        forget: Callable[[str], object] = lambda _: None,
    ) -> None:
        self._open_store = open_store
        self.rules = rules
        self._every = every
        self._forget = forget
        self.after_fork()

    def after_fork(self) -> None:
        """Begin anew, with no thread: at first, and in a forked child."""
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._wake = threading.Event()
        self._stopping = False
        self._until = 0.0
        self._noted = 0
        self._failing = False
        self._rounds = 0
        self._since: int | None = None
        self._has_pruned = False
        self._forgot = -math.inf

    def add(self, ended: Sequence[Ended]) -> None:
        """These recordings are durable. Returns at once."""
        if self.rules == Rules():
            return
        with self._lock:
            for each in ended:
                ending = each.recording.ending
                self._noted += each.recording.request.body_size + (ending.wire_bytes if ending else 0)
            due = self.rules.size is not None and self._noted > self.rules.size * _DUE
            if self._thread is None and not self._stopping:
                self._thread = threading.Thread(target=self._run, name="recorder-keeper", daemon=True)
                self._thread.start()
        if due:
            self._wake.set()

    def close(self, timeout: float | None) -> bool:
        """See to the size once more, for so many seconds, and stop. False where there was not enough time."""
        with self._lock:
            self._stopping = True
            self._until = time.monotonic() + (3600.0 if timeout is None else timeout / 2)
            thread = self._thread
        self._wake.set()
        if thread is not None:
            thread.join(timeout)
        return thread is None or not thread.is_alive()

    # -- the thread ----------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        store: Store | None = None
        try:
            last = False
            while not last:
                last = self._stopping
                try:
                    if store is None:
                        store = self._open_store()
                    self.look(store)
                    self._failing = False
                except RecorderError as error:
                    if not self._failing:
                        logger.warning("recorder cannot prune now: %s; it tries again", error)
                    self._failing = True
                except Exception:
                    logger.exception("recorder failed to prune; nothing more is pruned until restart")
                    return
                if not self._stopping:
                    self._wake.wait(self._every)
                self._wake.clear()
        finally:
            if store is not None:
                store.close()

    def look(self, store: Store) -> None:
        """Take away what the rules say."""
        with self._lock:
            self._noted = 0
        if not self._stopping:
            self._see_to_ages(store)
        if self.rules.size is not None and store.size() > self.rules.size * _BEGIN:
            wanted = Wanted(whole=True, size=int(self.rules.size * _DOWN_TO))
            self._prune(store, wanted, "max_size: the oldest of what did not fit")
        if self._has_pruned and (self._stopping or time.monotonic() - self._forgot >= FORGET_EVERY):
            self._forget(store.url)
            self._has_pruned, self._forgot = False, time.monotonic()

    def _see_to_ages(self, store: Store) -> None:
        now = time.time_ns() // 1000
        if self.rules.whole is not None:
            self._prune(
                store,
                Wanted(until=now - self.rules.whole * _SECOND, whole=True),
                f"keep: older than {self.rules.whole // 60} min",
            )
        if self.rules.content is not None:
            until = now - self.rules.content * _SECOND
            self._rounds = (self._rounds + 1) % _ROUNDS
            wanted = Wanted(until=until, since=self._since if self._rounds else None)
            left = self._prune(store, wanted, f"keep: content older than {self.rules.content // 60} min")
            self._since = None if left.open or left.held or self._stopping else until

    def _is_over(self) -> bool:
        return self._stopping and time.monotonic() > self._until

    def _prune(self, store: Store, wanted: Wanted, reason: str) -> Left:
        pruned = prune(store, wanted, by=who(), reason=reason, stop=self._is_over, hurry=self.rules.size)
        if pruned.recordings:
            self._has_pruned = True
            logger.info("recorder pruned %d recordings, %d bytes of them", pruned.recordings, pruned.bytes)
        return pruned.left
