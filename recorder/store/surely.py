"""Brings to the disk what a failed sync may have left in memory alone. Refuses to know SQL and locks.

When a sync fails, Linux marks what it could not write as clean, reports it once, and goes on showing it to whoever
reads: the next sync succeeds and writes nothing of it (LWN, "PostgreSQL's fsync() surprise", 2018). SQLite reads its
WAL like any file. After such a failure a connection that opens it anew takes for committed what is not on the disk; all
that is then written behind it is lost with it when the power fails. Only writing the same bytes again helps.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Final

__all__ = ["settle", "write_again"]

_PIECE: Final = 1 << 20


def write_again(path: Path) -> None:
    """Write a file's bytes over themselves and wait until they are on the disk; nothing where there is no file.

    Nobody may write to it meanwhile, which is for the caller to see to; readers notice nothing. Raises OSError.
    """
    try:
        descriptor = os.open(path, os.O_RDWR)
    except FileNotFoundError:
        return
    try:
        at = 0
        while piece := os.pread(descriptor, _PIECE, at):
            at += os.pwrite(descriptor, piece, at)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def settle(path: Path) -> None:
    """Wait until what was done to a file, or to the names in a folder, is on the disk; nothing where there is none.

    Windows knows no syncing of folders. Raises OSError.
    """
    if sys.platform == "win32" and path.is_dir():
        return
    try:
        descriptor = os.open(path, os.O_RDWR if path.is_file() else os.O_RDONLY)
    except FileNotFoundError:
        return
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
