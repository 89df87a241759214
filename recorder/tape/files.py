"""Tapes as files: read whole before a test begins, written whole after it has passed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

from recorder import exchange
from recorder.errors import UsageError
from recorder.exchange.reading import parsed
from recorder.recording import Event
from recorder.tape.deck import Track

if TYPE_CHECKING:
    from collections.abc import Iterable
    from uuid import UUID

    from recorder.store import Store

__all__ = ["load", "save", "taken"]


#: Bytes from which on a file's payloads are taken without looking whether each is JSON: that takes half of the time.
_LARGE: Final = 1 << 20


def load(path: Path) -> list[Track]:
    """The recordings of a file. Raises UsageError where it is none, or damaged."""
    try:
        found = parsed(path, strict=path.stat().st_size < _LARGE)
        return [Track(recording, [Event._make(row[1:]) for row in rows]) for recording, rows in found]
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}; make it readable") from None


def taken(store: Store, known: Iterable[UUID] = ()) -> list[Track]:
    """The recordings of a store in the order in which they were made, but for those that are `known`."""
    from recorder.store import RunFilter

    listed = store.recordings(RunFilter(limit=1 << 20))
    names = sorted({one.recording.recording_id for one in listed} - set(known))
    return [Track(store.recording(name), list(store.events(name))) for name in names]


def save(path: Path, tracks: Iterable[Track], *, keep: bool) -> bool:
    """Write the file; whether it is another than before.

    `keep`: lines of what was recorded again with the same answer stay as they are. Raises UsageError where it cannot be
    written.
    """
    try:
        return exchange.write(path, [exchange.Entry(*track) for track in tracks], keep=keep).changed
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror}; make its folder writable") from None
