"""The processes that have a SQLite store open, the locks that they hold, and the WAL that waits for them.

A process is told by its id and the name of its program, never by its arguments, which may hold secrets.
"""

from __future__ import annotations

import os
import re
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Final

from recorder.config import size_text
from recorder.store import locks

from . import walindex
from .findings import Finding, fault, note, ok, warning
from .place import beside

__all__ = ["copies", "libraries", "open_files", "wal", "writers"]

#: A WAL above this is copied into the database as writers go; if it stays, something holds it.
LARGE_WAL: Final = 64 << 20
#: Between two looks at who reads: whoever reads short is gone by then.
_PAUSE: Final = 0.5
#: A write transaction takes milliseconds.
_HELD: Final = 1.0

_LIBRARY: Final = re.compile(r"[^/]*sqlite[^/]*\.(?:so|dylib|node|duckdb_extension)(?:\.[0-9.]+)?$", re.IGNORECASE)
#: Python's module has no SQLite of its own where a libsqlite3 is loaded.
_BINDING: Final = "_sqlite3"
_SYSTEM: Final = "libsqlite3"


def open_files(path: Path) -> dict[str, set[int]] | None:
    """Which processes have which of the store's files open, as far as this user may see; None where none may."""
    proc = Path("/proc")
    if not (proc / "self" / "fd").is_dir():
        return None
    prefix = os.path.realpath(path)
    found: defaultdict[str, set[int]] = defaultdict(set)
    for folder in proc.iterdir():
        if not folder.name.isdigit():
            continue
        try:
            entries = [*(folder / "fd").iterdir()]
        except OSError:  # another user's, or gone
            continue
        for entry in entries:
            try:
                target = str(entry.readlink())
            except OSError:
                continue
            if target.startswith(prefix):
                found[target.removeprefix(prefix)].add(int(folder.name))
    return dict(found)


def _named(pids: Iterable[int | None]) -> str:
    """Processes as people know them."""
    told = []
    for pid in sorted({pid for pid in pids if pid is not None}):
        try:
            name = Path(f"/proc/{pid}/comm").read_text(encoding="utf-8", errors="replace").strip()
        except OSError:
            name = "?"
        told.append(f"{pid} ({name})")
    return ", ".join(told) or "a process that cannot be seen from here"


# -- locks -------------------------------------------------------------------------------------------------------------


def writers(path: Path, opened: Mapping[str, set[int]]) -> Iterator[Finding]:
    """Who records into the store, who holds its lock, and lock files that the dead have left."""
    lock, folder = beside(path, ".lock"), beside(path, ".writers")
    wrong = [each for each in (lock, folder) if each.exists() and each.is_dir() is (each == lock)]
    if wrong:
        for each in wrong:
            what = "a folder" if each == lock else "no folder"
            yield fault("lock", f"{each} is {what}: nothing can be recorded", "move it away: recorder makes its own")
        return
    signs = sorted(folder.glob("*.lock"))
    free = [each for each in signs if locks.is_free(each, clear=False)]
    living = [each for each in signs if each not in free]
    by = _named(pid for each in living for pid in opened.get(f".writers/{each.name}", ()))
    yield ok("writers", f"{len(living)} recording now: {by}" if living else "nobody is recording now")
    if free:
        yield note(
            "writers",
            f"{len(free)} lock file{'s' * (len(free) > 1)} of writers that died",
            "nothing: the next program that records closes what they left open, and removes them",
        )
    if not _becomes_free(lock):
        holders = _named(opened.get(".lock", ()))
        yield warning(
            "lock",
            f"the write lock was held for more than {_HELD:.0f} s; the file is open in {holders}",
            "see whether one of them is stopped (SIGSTOP, a debugger); all other writers wait for it",
        )


def _becomes_free(lock: Path) -> bool:
    until = time.monotonic() + _HELD
    while not locks.is_free(lock, clear=False):
        if time.monotonic() > until:
            return False
        time.sleep(0.01)
    return True


# -- the WAL -----------------------------------------------------------------------------------------------------------


def wal(
    path: Path,
    opened: Mapping[str, set[int]] | None,
    *,
    large: int = LARGE_WAL,
    look: Callable[[Path], walindex.WalIndex | None] = walindex.look,
) -> Finding:
    """How large the WAL is, and who keeps it from being copied into the database."""
    try:
        has = beside(path, "-wal").stat().st_size
    except FileNotFoundError:
        return ok("wal", "empty")
    if has <= large:
        return ok("wal", size_text(has))
    said = f"{size_text(has)}: it should be copied into the database every few MiB"
    readers = _long_readers(beside(path, "-shm"), look)
    if readers is None:
        users = _named((opened or {}).get("", ()))
        advice = f"a program that reads for long may hold it; the store is open in {users}"
        return warning("wal", said, advice)
    if readers:
        return warning("wal", f"{said}; held by a read in {_named(readers)}", "end that read, or the program")
    return warning(
        "wal", f"{said}; nobody holds it now", "it shrinks when the last program that has the store open ends"
    )


def _long_readers(shm: Path, look: Callable[[Path], walindex.WalIndex | None]) -> set[int | None] | None:
    """The processes that read now and still read a moment later, before the end of the WAL; None: not known."""
    first = look(shm)
    if first is None:
        return None
    time.sleep(_PAUSE)
    second = look(shm)
    if second is None:
        return None
    stayed = set(first.readers) & set(second.readers)
    return {reader.pid for reader in stayed if reader.mark < second.pages}


# -- SQLite libraries --------------------------------------------------------------------------------------------------


def copies(opened: Mapping[str, set[int]]) -> Iterator[Finding]:
    """Processes that have the store open and more than one SQLite library loaded."""
    found = False
    for pid in sorted(opened.get("", set()) | {os.getpid()}):
        try:
            told = Path(f"/proc/{pid}/maps").read_text(encoding="utf-8", errors="replace")
        except OSError:
            continue
        several = libraries(told)
        if len(several) > 1:
            found = True
            yield warning(
                "sqlite copies",
                f"process {_named([pid])} has loaded {len(several)} SQLite libraries: {', '.join(several)}",
                "let one of them alone open the store's file: closing it in the other drops the first one's locks "
                "(sqlite.org/howtocorrupt.html, 2.2)",
            )
    if not found:
        yield ok("sqlite copies", "one SQLite library in each process that has the store open")


def libraries(maps: str) -> list[str]:
    """The files with a SQLite of their own among those that a process has mapped (the text of /proc/PID/maps)."""
    files = {line.split(None, 5)[5] for line in maps.splitlines() if line.count("/") and len(line.split(None, 5)) == 6}
    found = sorted(file for file in files if _LIBRARY.search(file))
    if any(Path(file).name.startswith(_SYSTEM) for file in found):
        found = [file for file in found if not Path(file).name.startswith(_BINDING)]
    return found
