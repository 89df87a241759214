"""The thread that makes checkpoints while a program records: every so often, or after so many seals, and at the end.

They go to a file, or to the log "recorder.checkpoints" where somebody listens to it. It begins with the first recording
that ends; the writer's thread only counts. What fails is told once and tried again: the next line covers what this one
would have.
"""

from __future__ import annotations

import errno
import logging
import os
import threading
from collections.abc import Callable, Sized
from pathlib import Path
from typing import Final

from recorder import config
from recorder.errors import RecorderError
from recorder.store import Store
from recorder.verify.emitting import Emitter, keep

__all__ = ["Checkpoints"]

logger = logging.getLogger("recorder")
log = logging.getLogger("recorder.checkpoints")

#: A checkpoint is due after so many recordings were sealed, however short the time.
SEALS: Final = 1000
#: Seconds until the next attempt after one that failed.
_RETRY: Final = 30.0


class Checkpoints:
    """Makes checkpoints as the settings say, and whenever `SEALS` recordings have ended.

    `open_store` opens the store. Without `checkpoint_file` each line goes to `tell`, or to the log. Raises NotFound,
    UsageError where `checkpoint_key` is no key.
    """

    def __init__(
        self,
        open_store: Callable[[], Store],
        settings: config.Settings,
        tell: Callable[[str], object] | None = None,
    ) -> None:
        self._open_store = open_store
        self._every = 0.0 if settings.disabled else settings.checkpoint_every
        self._file = _path(settings.checkpoint_file)
        self._tell = tell
        self._emitter = Emitter(_path(settings.checkpoint_key))
        self._failed = False
        self.after_fork()
        if self._every > 0:
            self._look_ahead()

    def after_fork(self) -> None:
        """Begin anew, with no thread: at first, and in a forked child."""
        self._lock = threading.Lock()
        self._due = threading.Event()
        self._thread: threading.Thread | None = None
        self._stopping = False
        self._sealed = 0
        self._emitter.restart()

    def add(self, ended: Sized) -> None:
        """So many recordings were sealed. Returns at once."""
        if not self._wanted():
            return
        self._sealed += len(ended)
        if self._sealed >= SEALS:
            self._due.set()
        with self._lock:
            if self._thread is None and not self._stopping:
                self._thread = threading.Thread(target=self._run, name="recorder-checkpoints", daemon=True)
                self._thread.start()

    def close(self, timeout: float | None) -> bool:
        """Make one of what was sealed since the last, then stop. False where there was not enough time."""
        with self._lock:
            self._stopping = True
            thread = self._thread
        self._due.set()
        if thread is None:
            return True
        thread.join(timeout)
        return not thread.is_alive()

    def _wanted(self) -> bool:
        if self._every <= 0:
            return False
        return self._file is not None or self._tell is not None or log.isEnabledFor(logging.INFO)

    # -- the thread ----------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        last = False
        while not last:
            self._due.wait(min(self._every, _RETRY) if self._failed else self._every)
            self._due.clear()
            last = self._stopping
            if self._sealed or self._failed:
                self._emit()

    def _emit(self) -> None:
        """One line, if there is news. A store is open for no longer than that."""
        self._sealed = 0
        try:
            with self._open_store() as store:
                made = self._emitter.next(store, gentle=not self._stopping)
            if made is not None:
                self._put(made.text())
            self._failed = False
            return
        except (RecorderError, OSError) as error:
            if not self._failed:
                self._complain(error)
        except Exception:
            if not self._failed:
                logger.exception("recorder failed to make a checkpoint; recording goes on")
        self._failed = True
        self._emitter.again()

    def _put(self, line: str) -> None:
        if self._file is not None:
            keep(self._file, line)
        elif self._tell is not None:
            self._tell(line)
        else:
            log.info("%s", line)

    def _look_ahead(self) -> None:
        """Say at the start what else would be told of in ten minutes, or never: that the file cannot be written."""
        if self._file is None:
            return
        place = self._file if self._file.exists() else self._file.parent
        number = None
        if self._file.is_dir():
            number = errno.EISDIR
        elif not os.access(place, os.W_OK):
            number = errno.EACCES if place.exists() else errno.ENOENT
        if number is not None:
            self._complain(OSError(number, os.strerror(number)))
            self._failed = True

    def _complain(self, error: RecorderError | OSError) -> None:
        what: object = error
        if isinstance(error, OSError):
            what = f"{error.strerror or type(error).__name__}: {self._file}"
        logger.warning("recorder cannot keep checkpoints now: %s; recording goes on, and it tries again", what)


def _path(name: str | None) -> Path | None:
    """The file of that name, wherever the process goes later."""
    return None if name is None else Path(name).expanduser().absolute()
