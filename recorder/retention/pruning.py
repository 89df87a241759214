"""Takes recordings away in small batches, so that whoever writes beside it never waits long."""

from __future__ import annotations

import getpass
import math
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from itertools import chain, islice
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
#: Towards a size a transaction takes about half of what is too much, and never less than so many bytes.
_STEP: Final = 1 << 16

_Measured = tuple[Member, Extent]


@dataclass(slots=True)
class Pruned:
    """What went, or would go: recordings, their events, and their bytes as they went over the wire.

    `left` says what was passed over. `size` is what the store takes now, where a size was asked for. `latest` is the
    run that something was taken of last.
    """

    recordings: int = 0
    runs: int = 0
    events: int = 0
    bytes: int = 0
    size: int | None = None
    left: Left = field(default_factory=Left)
    latest: UUID | None = None


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
        ids = [each.recording_id for each, _ in batch]
        taken = set(ids if dry else _take(store, ids, wanted, by, reason))
        gone = [(each, extent) for each, extent in batch if each.recording_id in taken]
        _count(pruned, gone)
        progress(pruned)
        if wanted.size is not None and pruned.size is not None:
            pruned.size = _size(store, pruned.size, wanted.size, [extent for _, extent in gone], dry=dry)
            if pruned.size <= wanted.size:
                break
        if stop():
            break
        if not dry and (hurry is None or (pruned.size or 0) <= hurry):
            time.sleep(min(time.monotonic() - began, REST))
    return pruned


def _size(store: Store, size: int, wanted: int, gone: list[Extent], *, dry: bool) -> int:
    """What the store takes now; dry, what it would about take. That it is enough is not said by reckoning."""
    if dry:
        return max(size - sum(each.room for each in gone), 0)
    left = store.size_without(size, gone)
    return left if left > wanted else store.size()


def _count(pruned: Pruned, gone: list[_Measured]) -> None:
    for each, extent in gone:
        pruned.recordings += 1
        pruned.runs += each.run_id != pruned.latest  # what is of one run comes together
        pruned.latest = each.run_id
        pruned.events += extent.events
        pruned.bytes += extent.size


def _batches(store: Store, wanted: Wanted, pruned: Pruned) -> Iterator[list[_Measured]]:
    """What one transaction takes each. Towards a size the steps grow small, so that no more goes than has to."""
    batch: list[_Measured] = []
    events = room = 0
    for each, extent in _measured(store, chosen(store, wanted, pruned.left)):
        full = len(batch) >= MOST or events + extent.events > MOST_EVENTS
        if batch and (full or room > _most_room(wanted, pruned)):
            yield batch
            batch, events, room = [], 0, 0
        batch.append((each, extent))
        events += extent.events
        room += extent.room
    if batch:
        yield batch


def _measured(store: Store, runs: Iterable[list[Member]]) -> Iterator[_Measured]:
    """The recordings of these runs and how much each is, looked up for many at once."""
    members = chain.from_iterable(runs)
    while part := list(islice(members, MOST)):
        extents = store.extents([each.recording_id for each in part])
        yield from ((each, extents[each.recording_id]) for each in part if each.recording_id in extents)


def _most_room(wanted: Wanted, pruned: Pruned) -> float:
    """What a transaction takes."""
    if wanted.size is None or pruned.size is None:
        return math.inf
    return max(_STEP, (pruned.size - wanted.size) // 2)


def _take(store: Store, recording_ids: list[UUID], wanted: Wanted, by: str, reason: str) -> list[UUID]:
    if wanted.whole:
        return store.remove(recording_ids, by, reason)
    wipes = [Wipe(each, bare_reading(store, each), labels=False) for each in recording_ids]
    return store.wipe(wipes, by, reason)


def bare_reading(store: Store, recording_id: UUID) -> StoredReading | None:
    """The recording's reading without content; made first, where nobody has read it yet."""
    stored = store.reading(recording_id)
    if stored is None:
        with suppress(NotFound):
            reader.read(store, recording_id)
        stored = store.reading(recording_id)
    return None if stored is None else replace(stored, reading=reader.without_content(stored.reading))


def who() -> str:
    """Who is at work: the login's name, as far as the system knows it."""
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):
        return "unknown"
