"""Checkpoints made again and again of one store, each from what the log has gained; and the file that they are kept in.

A tree over all leaves is kept in memory, for a logarithm of them, so that the hundredth checkpoint of a store with a
million recordings reads the few leaves that are new. Refuses to know when one is due.
"""

from __future__ import annotations

import contextlib
import os
import time
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Final

from recorder.errors import StoreUnavailable
from recorder.store import Store
from recorder.store.locks import try_lock, unlock
from recorder.store.log import Logged

from .checkpoints import Checkpoint, Tree, moment
from .keys import name_of, private

__all__ = ["Emitter", "keep", "make"]

#: Leaves that are read in one go, and the pause after each such page where others are to have the interpreter.
_PAGE: Final = 1000
_PAUSE: Final = 0.002
#: Seconds that `keep` waits for others who write to the same file.
_PATIENCE: Final = 5.0


class Emitter:
    """Makes one checkpoint after the other of one store. `key`: a file with an Ed25519 private key.

    Raises NotFound, UsageError for what is no key.
    """

    def __init__(self, key: Path | None = None) -> None:
        self._signer = None if key is None else private(key)
        self.restart()

    def restart(self) -> None:
        """Know nothing of the store, and have told nothing of it."""
        self.again()
        self._tree = Tree()
        self._store = "-"
        self._last: Logged | None = None
        self._before: Logged | None = None

    def again(self) -> None:
        """Have told nothing yet: the last checkpoint was lost on its way."""
        self._told = -1

    def next(self, store: Store, *, gentle: bool = False, now: datetime | None = None) -> Checkpoint | None:
        """Log what was sealed since, and give a checkpoint of all; None where that is what the last one was of.

        `gentle` leaves the interpreter to other threads now and then. Raises StoreUnavailable.
        """
        store.log_sealed()
        self._grow(store, gentle=gentle)
        if self._tree.count == self._told:
            return None
        made = Checkpoint(self._store, moment(now), self._tree.count, self._tree.root())
        self._told = made.count
        if self._signer is None:
            return made
        signature = self._signer.sign(made.unsigned().encode("ascii"))
        return replace(made, key=name_of(self._signer.public_key()), signature=signature)

    def _grow(self, store: Store, *, gentle: bool) -> None:
        """Take in the leaves that are new. A log that does not go on where it was left is read anew: another store."""
        found = store.logged_after(self._before, _PAGE)
        if self._last is not None and found[:1] != [self._last]:
            self.restart()
            found = store.logged_after(None, _PAGE)
        elif self._last is not None:
            del found[0]
        while found:
            for each in found:
                if not self._tree.count:
                    self._store = str(each.recording_id)
                self._tree.add(each.leaf)
                self._before, self._last = self._last, each
            if gentle:
                time.sleep(_PAUSE)
            found = store.logged_after(self._last, _PAGE)


def make(store: Store, key: Path | None = None, *, now: datetime | None = None) -> Checkpoint:
    """Log what was sealed since the last checkpoint, and give the line for all of it.

    `key` names a file with an Ed25519 private key. Raises UsageError, NotFound, StoreUnavailable.
    """
    made = Emitter(key).next(store, now=now)
    assert made is not None  # the first one is news even of an empty store
    return made


def keep(path: Path, line: str) -> None:
    """Append a line to a file (made for its owner alone), whole or not at all, durable on return; several may at once.

    Raises OSError, and StoreUnavailable where others hold the file for seconds.
    """
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        until = time.monotonic() + _PATIENCE
        while not try_lock(descriptor):
            if time.monotonic() > until:
                raise StoreUnavailable(f"{path} is locked by another program; let it go, or name another file")
            time.sleep(0.01)
        try:
            _append(descriptor, f"{_break(path)}{line}\n".encode("ascii"))
        finally:
            unlock(descriptor)
    finally:
        os.close(descriptor)


def _break(path: Path) -> str:
    """What a line begins with: a new line, where the one before it was cut off by a crash."""
    with contextlib.suppress(OSError):  # it may be for writing alone
        if path.is_file() and path.stat().st_size:
            with path.open("rb") as file:
                file.seek(-1, os.SEEK_END)
                return "" if file.read(1) == b"\n" else "\n"
    return ""


def _append(descriptor: int, data: bytes) -> None:
    before = os.fstat(descriptor).st_size
    try:
        while data:  # where the disk is full a part is written, and the rest raises what that is called here
            data = data[os.write(descriptor, data) :]
        os.fsync(descriptor)
    except OSError:
        os.ftruncate(descriptor, before)
        raise
