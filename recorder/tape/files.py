"""Tapes as files: read whole before a test begins, written whole after it has passed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

from recorder import exchange
from recorder.errors import UsageError
from recorder.tape.deck import Track
from recorder.tape.options import is_telemetry

if TYPE_CHECKING:
    from collections.abc import Iterable

    from recorder.store import Store

__all__ = ["OPENED", "load", "note", "save", "taken"]

#: The files that tapes of this process were read from or written to: those that nobody uses any more can be told.
OPENED: Final[list[str]] = []

#: Bytes from which on a file's payloads are taken without looking whether each is JSON: that takes half of the time.
_LARGE: Final = 1 << 20


def note(path: Path) -> None:
    """A tape is read from this file, or will be written to it."""
    OPENED.append(str(path.resolve()))


def load(path: Path) -> list[Track]:
    """The recordings of a file. Raises UsageError where it is none, or damaged."""
    try:
        return [Track(*entry) for entry in exchange.read(path, strict=path.stat().st_size < _LARGE)]
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}; make it readable") from None


def taken(store: Store) -> list[Track]:
    """The recordings of a store in the order in which they were made, but for what SDKs tell of themselves."""
    from recorder.store import RunFilter

    listed = store.recordings(RunFilter(limit=1 << 20))
    names = sorted(one.recording.recording_id for one in listed if not is_telemetry(one.recording.request.url))
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
