"""Whether there is still room on the disk: below a floor nothing more is recorded, so that the program beside goes on.

And whether the store has grown so large that somebody should hear of it. It knows a file and numbers of bytes, and
refuses to know why.
"""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from typing import Final

from recorder.config import least_free
from recorder.store import path_of

__all__ = ["FULL_DISK", "Floor"]

#: What the end of a recording says that was cut short for it.
FULL_DISK: Final = "the disk is nearly full: less is free than min_free"

#: Seconds for which an answer holds.
_HOLDS: Final = 0.25
#: How much more than the floor has to be free before recording goes on.
_ABOVE: Final = 1.05


class Floor:
    """`least`: bytes that are to stay free (None: see `recorder.config.least_free`; 0: any)."""

    __slots__ = ("_file", "_least", "_looked", "low", "size")

    def __init__(self, least: int | None) -> None:
        self._least = least
        self._file: Path | None = None
        self._looked = 0.0
        #: Whether less is free than should be, as far as is known.
        self.low = False
        #: Bytes that the store's file had when that was looked at.
        self.size = 0

    def under(self, url: str) -> None:
        """The disk is the one that holds this store, if it is a file."""
        self._file = path_of(url)

    def look(self) -> bool:
        """Look whether there is room, unless that was just done. True where the answer is another than before."""
        now = time.monotonic()
        if self._file is None or now - self._looked < _HOLDS:
            return False
        self._looked = now
        try:
            usage = shutil.disk_usage(self._file.parent)
            self.size = self._file.stat().st_size
        except OSError:  # it is not there, or not to be had: the store says so better
            return False
        least = least_free(self._least, usage.total)
        before, self.low = self.low, usage.free < (least * _ABOVE if self.low else least)
        return self.low != before
