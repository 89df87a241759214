"""All checks in order. What goes wrong in one is a finding of it, and the others go on."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Final

from recorder.errors import RecorderError
from recorder.store import path_of
from recorder.store.health import Health, examined

from . import here, inside, place, running, server
from .findings import Finding, fault, note

__all__ = ["examine"]

_SQLITE: Final = "sqlite:///"
_Checks = Callable[[], Iterable[Finding]]


def examine(url: str | None, *, floor: int | None = None, commands: Iterable[str] = ()) -> Iterator[Finding]:
    """Every check of this installation, its settings, and the store at this URL, which may be missing or broken.

    `floor`: bytes of free space below which recording stops, where it is not the default. `commands`: variables that
    commands read. Raises nothing for what is wrong with a store.
    """
    yield from here.installation()
    yield from here.settings(commands)
    if url is None:
        return
    path = path_of(url)
    if path is None and url.startswith(_SQLITE):
        yield note("store", "in memory: it goes with its process", "name a file to keep what is recorded")
        return
    if path is None:
        yield from _database(url)
        return
    yield from _files(path, floor)
    yield from _database(url, path)


def _files(path: Path, floor: int | None) -> Iterator[Finding]:
    """What can be seen from outside of a file."""
    if path.is_symlink():
        yield place.link(path)
        path = Path(os.path.realpath(path))
    if _is_folder(path.parent):
        yield from _safely("file system", lambda: place.file_system(path.parent))
        yield from _safely("disk", lambda: place.room(path, floor))
    if _is_there(path):
        yield from _safely("permissions", lambda: place.files(path))
        yield from _safely("writers", lambda: _processes(path))


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:
        return False


def _is_there(path: Path) -> bool:
    try:
        path.lstat()
    except OSError:
        return False
    return True


def _processes(path: Path) -> Iterator[Finding]:
    opened = running.open_files(path)
    yield from running.writers(path, opened or {})
    yield running.wal(path, opened)
    if opened is not None:
        yield from running.copies(opened)


def _database(url: str, path: Path | None = None) -> Iterator[Finding]:
    try:
        with examined(url) as health:
            state, mark = health.state()
            yield from _safely("schema", lambda: inside.whose(health, state, mark))
            usable = inside.is_usable(state, mark)
            if path is not None:
                yield from _safely("pages", lambda: _file(health, path, is_ours=usable))
            else:
                yield from _safely("server", lambda: server.server(health))
            if usable:
                yield from _looks(health)
    except RecorderError as error:
        # A message says what is wrong, and then what to do.
        text, _, advice = str(error).partition("; ")
        yield fault("store", text, advice or "until it can be opened, nothing is recorded and nothing can be read")


def _file(health: Health, path: Path, *, is_ours: bool) -> Iterator[Finding]:
    """What SQLite says of its file. In a folder that takes no files it reads without a journal, and tells of none."""
    has = path.stat().st_size
    tells_journal = is_ours and os.access(path.parent, os.W_OK)
    yield from inside.pages(health.file(has), has, tells_journal=tells_journal)


def _looks(health: Health) -> Iterator[Finding]:
    if health.kind == "postgresql":
        yield from _safely("rights", lambda: server.rights(health))
    yield from _safely("recordings", lambda: inside.contents(health))
    yield from _safely("clock", lambda: inside.clock(health))


def _safely(check: str, made: _Checks) -> Iterator[Finding]:
    """The findings; where the check cannot be made, that is one."""
    try:
        yield from made()
    except (RecorderError, OSError, sqlite3.Error) as error:
        what = error.strerror or type(error).__name__ if isinstance(error, OSError) else str(error)
        yield fault(check, f"cannot be looked at: {what}", "see to the rights on the store's files, and to the disk")
