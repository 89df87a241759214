"""Evidence out of a store: what lies before the record, then the record as `recorder export` writes it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Final
from uuid import UUID

from recorder import exchange
from recorder.errors import NotFound, StoreError
from recorder.store import Store
from recorder.store.scanning import Scope
from recorder.verify import Checked, Checkpoint, check, make
from recorder.verify.checkpoints import moment
from recorder.verify.proofs import Leaves

from .preamble import Growth, Inclusion, head_line, written

__all__ = ["lines_of"]

#: Checkpoints in a file at most: the newest of those that were kept.
_MOST: Final = 1000
_HASH: Final = 32


class _Log:
    """The store's log: its leaves, and which of them are of the recordings that are asked for."""

    def __init__(self, store: Store, chosen: Sequence[UUID]) -> None:
        wanted = set(chosen)
        self.index: dict[UUID, int] = {}
        self.store = "-"
        leaves: list[bytes] = []
        for place, (recording_id, leaf) in enumerate(store.leaves()):
            if recording_id in wanted and recording_id is not None:
                self.index[recording_id] = place
            if not place:
                self.store = str(recording_id)
            # What is no leaf gives a root that no checkpoint has.
            leaves.append(leaf if isinstance(leaf, bytes) and len(leaf) == _HASH else bytes(_HASH))
        self.leaves = Leaves(leaves)

    def holds(self, line: Checkpoint) -> bool:
        """Whether a checkpoint is of this log."""
        return line.count <= self.leaves.count and self.leaves.root(line.count) == line.root

    def covers(self, line: Checkpoint) -> bool:
        """Whether all that is asked for lies under a checkpoint."""
        return all(place < line.count for place in self.index.values())


def lines_of(
    store: Store,
    chosen: Sequence[UUID],
    *,
    by: str,
    kept: Sequence[Checkpoint] = (),
    key: Path | None = None,
    tell: Callable[[Checked], None] | None = None,
    now: datetime | None = None,
) -> Iterator[bytes]:
    """The lines of an evidence file of these recordings, which must have ended.

    `kept`: checkpoints that were kept elsewhere; those of another store are left out. Where they do not cover all of
    the recordings (or there are none) one is made, signed with `key` where that is given. `tell` is given what
    verification finds of each. `by`: the program that makes it.

    Raises NotFound, UsageError; StoreUnavailable where a checkpoint is to be made and the store cannot be written;
    StoreError where a recording is damaged, or the log does not fit a checkpoint.
    """
    log, lines = _checkpoints(store, chosen, kept, key)
    yield head_line(moment(now), by)
    for line in lines:
        yield written(line)
    for earlier, later in pairwise(lines):
        path = tuple(log.leaves.growth(earlier.count, later.count))
        yield written(Growth(earlier.count, later.count, path))
    for recording_id in chosen:
        yield from _proofs(log, lines, recording_id)
    yield from _transcript(store, chosen, tell)
    yield from exchange.lines_of(exchange.entries(store, chosen), identity=True)


def _checkpoints(
    store: Store, chosen: Sequence[UUID], kept: Sequence[Checkpoint], key: Path | None
) -> tuple[_Log, list[Checkpoint]]:
    """The log, and the checkpoints of the file: of rising sizes, the newest over all of the recordings."""
    log = _Log(store, chosen)
    known: dict[int, Checkpoint] = {}
    for line in sorted(kept, key=lambda line: (line.count, line.time)):
        if line.store == log.store and line.count:
            known.setdefault(line.count, line)
    lines = [known[count] for count in sorted(known)][-_MOST:]
    if not lines or len(log.index) < len(set(chosen)) or not log.covers(lines[-1]):
        made = make(store, key)
        log = _Log(store, chosen)
        lines = [line for line in lines if line.count < made.count] + [made]
    for line in lines:
        if not log.holds(line):
            raise StoreError(
                f"the store's log does not fit the checkpoint of {line.time}: `recorder verify --against FILE` says"
                " what was done to it; nothing was written"
            )
    return log, lines


def _proofs(log: _Log, lines: Sequence[Checkpoint], recording_id: UUID) -> Iterator[bytes]:
    """That a recording lies under the first checkpoint that covers it, and under the newest."""
    place = log.index.get(recording_id)
    if place is None:
        raise NotFound(f"recording {recording_id} is not sealed; export it once it has ended")
    covering = [line.count for line in lines if line.count > place]
    for count in dict.fromkeys((covering[0], covering[-1])):
        yield written(Inclusion(recording_id, place, count, tuple(log.leaves.path(place, count))))


def _transcript(store: Store, chosen: Sequence[UUID], tell: Callable[[Checked], None] | None) -> Iterator[bytes]:
    """What verification says of the recordings now."""
    for stored in store.scan(Scope(ids=chosen)):
        checked = check(stored)
        yield written(checked)
        if tell is not None:
            tell(checked)
