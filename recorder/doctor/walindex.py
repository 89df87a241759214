"""How far the readers of a SQLite WAL are, and who they are: read from `NAME-shm` by a process of its own.

SQLite's locks belong to the process, and closing any descriptor of the file drops them all. So whoever may have the
store open must not open this file; it starts this one as a program, which loads nothing but the standard library, takes
no lock, and changes nothing. The layout is that of sqlite.org/walformat.html, section 2 ("The WAL-Index Format").
"""

from __future__ import annotations

import contextlib
import json
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any, Final, NamedTuple

__all__ = ["Reader", "WalIndex", "look"]

#: Where in the file: pages in the WAL; pages that were copied into the database; the readers' marks; the locks.
_PAGES_AT: Final = 16
_COPIED_AT: Final = 96
_MARKS_AT: Final = 100
_READERS: Final = 5
_FIRST_READER_LOCK: Final = 123
_WRITER_LOCK: Final = 120
#: What there is of it at least.
_SIZE: Final = 136
#: `struct flock` of Linux on 64 bits: type, whence, start, length, process.
_FLOCK: Final = "@hhqqi0q"
_SECONDS: Final = 10.0


class Reader(NamedTuple):
    """Somebody who reads: up to this page of the WAL; the process, where it can be told."""

    mark: int
    pid: int | None


class WalIndex(NamedTuple):
    """Pages in the WAL, how many of them are in the database already, who reads, and who writes at this moment."""

    pages: int
    copied: int
    readers: tuple[Reader, ...]
    writer: int | None


def look(path: Path) -> WalIndex | None:
    """What the file says; None where there is none, or where this system does not tell."""
    if not sys.platform.startswith("linux") or sys.maxsize < 1 << 32 or not path.exists():
        return None
    with contextlib.suppress(OSError, subprocess.SubprocessError, ValueError, KeyError, TypeError):
        done = subprocess.run(  # noqa: S603 (our own program)
            [sys.executable, "-I", "-S", __file__, str(path)], capture_output=True, check=False, timeout=_SECONDS
        )
        told: dict[str, Any] = json.loads(done.stdout)
        readers = tuple(Reader(*each) for each in told["readers"])
        return WalIndex(told["pages"], told["copied"], readers, told["writer"])
    return None


def _told(path: str) -> dict[str, Any]:
    """What the file says, as JSON can hold it."""
    with Path(path).open("rb", buffering=0) as file:
        data = file.read(_SIZE)
        (pages,) = struct.unpack_from("=I", data, _PAGES_AT)
        (copied,) = struct.unpack_from("=I", data, _COPIED_AT)
        marks = struct.unpack_from(f"={_READERS}I", data, _MARKS_AT)
        held = [_holder(file.fileno(), _FIRST_READER_LOCK + number) for number in range(_READERS)]
        writer = _holder(file.fileno(), _WRITER_LOCK)
    readers = [(mark, pid or None) for mark, pid in zip(marks, held, strict=True) if pid is not None]
    return {"pages": pages, "copied": copied, "readers": readers, "writer": writer}


def _holder(descriptor: int, byte: int) -> int | None:
    """Who holds a lock on this byte, by fcntl(2) F_GETLK; None where nobody does."""
    import fcntl

    asked = struct.pack(_FLOCK, fcntl.F_WRLCK, 0, byte, 1, 0)
    kind, _, _, _, pid = struct.unpack(_FLOCK, fcntl.fcntl(descriptor, fcntl.F_GETLK, asked))
    return None if kind == fcntl.F_UNLCK else pid


if __name__ == "__main__":
    sys.stdout.write(json.dumps(_told(sys.argv[1])))
