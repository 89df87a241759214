"""Takes recordings away in small batches, so that whoever writes beside it never waits long."""

from __future__ import annotations

import getpass
import math
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final
from uuid import UUID

from recorder import reader
from recorder.errors import NotFound
from recorder.recording import StoredReading
from recorder.retention.choosing import Left, Wanted, chosen
from recorder.store import Store
from recorder.store.erasing import Extent, Member, Wipe

__all__ = ["PRUNING", "Pruned", "bare_reading", "prune", "who"]

#: What the reasons of erasures begin with that nobody asked for by name.
PRUNING: Final = ("keep:", "max_size:", "prune:")

#: A transaction takes so many recordings, or so many of their events, and never less than one recording.
MOST: Final = 500
MOST_EVENTS: Final = 5_000
#: Seconds of rest after a transaction: as long as it took, up to this.
REST: Final = 0.25
#: Towards a size a transaction takes half of what is too much, as recorded, and never less than so many bytes.
_STEP: Final = 1 << 16


@dataclass(slots=True)
class Pruned:
    """What went, or would go: recordings, their events, and their bytes as they went over the wire.

    `left` says what was passed over. `size` is what the store takes now, where a size was asked for.
    """

    recordings: int = 0
    runs: int = 0
    events: int = 0
    bytes: int = 0
    size: int | None = None
    left: Left = field(default_factory=Left)


def prune(
    store: Store,
    wanted: Wanted,
    *,
    by: str,
    reason: str,
    dry: bool = False,
    stop: Callable[[], bool] = lambda: False,
    hurry: int | None = None,
    progress: Callable[[Pruned], None] = lambda _: None,
) -> Pruned:
    """Take away what is wanted, and rest between two transactions; `dry`: only count it.

    Killed at any moment it leaves every recording whole, or gone, and the next call goes on. `stop` is asked between
    two transactions; no rest is taken while the store is above `hurry` bytes. Raises StoreUnavailable.
    """
    pruned = Pruned()
    if wanted.size is not None:
        pruned.size = store.size()
        if pruned.size <= wanted.size:
            return pruned
    for batch in _batches(store, wanted, pruned):
        began = time.monotonic()
        extents = store.extents([each.recording_id for each in batch])
        gone = [each.recording_id for each in batch] if dry else _take(store, batch, wanted, by, reason)
        _count(pruned, batch, gone, extents)
        progress(pruned)
        if wanted.size is not None:
            size = pruned.size = _size(store, pruned, dry=dry)
            if size <= wanted.size:
                break
        if stop():
            break
        if not dry and (hurry is None or (pruned.size or 0) <= hurry):
            time.sleep(min(time.monotonic() - began, REST))
    return pruned


def _size(store: Store, pruned: Pruned, *, dry: bool) -> int:
    """What the store takes now; dry, what it would about take."""
    return max(store.size() - pruned.bytes, 0) if dry else store.size()


def _count(pruned: Pruned, batch: list[Member], gone: list[UUID], extents: dict[UUID, Extent]) -> None:
    pruned.recordings += len(gone)
    pruned.runs += len({each.run_id for each in batch if each.recording_id in set(gone)})
    for recording_id in gone:
        extent = extents.get(recording_id, Extent(0, 0))
        pruned.events += extent.events
        pruned.bytes += extent.size


def _batches(store: Store, wanted: Wanted, pruned: Pruned) -> Iterator[list[Member]]:
    """What one transaction takes each. Towards a size the steps grow small, so that no more goes than has to."""
    batch: list[Member] = []
    events = size = 0
    for members in chosen(store, wanted, pruned.left):
        extents = store.extents([each.recording_id for each in members])
        for each in members:
            extent = extents.get(each.recording_id, Extent(0, 0))
            full = len(batch) >= MOST or events + extent.events > MOST_EVENTS
            if batch and (full or size > _most_bytes(wanted, pruned)):
                yield batch
                batch, events, size = [], 0, 0
            batch.append(each)
            events += extent.events
            size += extent.size
    if batch:
        yield batch


def _most_bytes(wanted: Wanted, pruned: Pruned) -> float:
    """What a transaction takes."""
    if wanted.size is None or pruned.size is None:
        return math.inf
    return max(_STEP, (pruned.size - wanted.size) // 2)


def _take(store: Store, batch: list[Member], wanted: Wanted, by: str, reason: str) -> list[UUID]:
    if wanted.whole:
        return store.remove([each.recording_id for each in batch], by, reason)
    wipes = [Wipe(each.recording_id, bare_reading(store, each.recording_id), labels=False) for each in batch]
    return store.wipe(wipes, by, reason)


def bare_reading(store: Store, recording_id: UUID) -> StoredReading | None:
    """The recording's reading without content; made first, where nobody has read it yet."""
    stored = store.reading(recording_id)
    if stored is None:
        with suppress(NotFound):
            reader.read(store, recording_id)
        stored = store.reading(recording_id)
    return None if stored is None else _replaced(stored)


def _replaced(stored: StoredReading) -> StoredReading:
    return StoredReading(
        recording_id=stored.recording_id,
        run_id=stored.run_id,
        reader_version=stored.reader_version,
        read_at=stored.read_at,
        reading=reader.without_content(stored.reading),
    )


def who() -> str:
    """Who is at work: the login's name, as far as the system knows it."""
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):
        return "unknown"
