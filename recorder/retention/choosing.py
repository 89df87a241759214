"""Which recordings may go: whole runs, of which none is open, on hold, or younger than asked for; the oldest first."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final
from uuid import UUID

from recorder.store import RunFilter, Store
from recorder.store.erasing import Member

__all__ = ["Left", "Wanted", "chosen"]

#: Recordings, or runs, that are looked at together.
PAGE: Final = 500


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is to go. `until`: what began before that time (microseconds UTC); None: all. `since`: what began then or
    later, where there is no filter.

    `whole`: everything of it; else its content alone. `size`: only until the store takes so many bytes (whole).
    `only`: only runs that this filter leaves, and its recordings that are part of no run.
    """

    until: int | None = None
    whole: bool = False
    size: int | None = None
    only: RunFilter | None = None
    since: int | None = None


@dataclass(slots=True)
class Left:
    """How many runs were passed over, and why."""

    open: int = 0
    held: int = 0


def chosen(store: Store, wanted: Wanted, left: Left) -> Iterator[list[Member]]:
    """The recordings of each run that may go, the latest of a run first: its opener, which others hang on, goes last.

    The oldest runs come first, but the newest where there is a filter.
    """
    seen: set[UUID] = set()
    for page in _by_filter(store, wanted) if wanted.only is not None else _by_age(store, wanted):
        run_ids = [run_id for run_id in dict.fromkeys(page) if run_id not in seen]
        seen.update(run_ids)
        kin: dict[UUID, list[Member]] = {run_id: [] for run_id in run_ids}
        for member in store.kin(run_ids):
            kin[member.run_id].append(member)
        for run_id in run_ids:
            latest_first = sorted(kin[run_id], key=lambda each: each.started_at, reverse=True)
            members = sorted(latest_first, key=lambda each: each.recording_id == run_id)
            if members and _may_go(members, wanted, left):
                yield [each for each in members if wanted.whole or not each.erased]


def _may_go(members: Sequence[Member], wanted: Wanted, left: Left) -> bool:
    if not wanted.whole and all(each.erased for each in members):
        return False
    if wanted.until is not None and any(each.started_at >= wanted.until for each in members):
        return False
    if any(each.held for each in members):
        left.held += 1
        return False
    if any(each.open for each in members):
        left.open += 1
        return False
    return True


def _by_age(store: Store, wanted: Wanted) -> Iterator[list[UUID]]:
    """The runs of the oldest recordings, page by page."""
    after = None if wanted.since is None else (wanted.since, UUID(int=0))
    while page := store.old(wanted.until, after, limit=PAGE, content=not wanted.whole):
        yield [each.run_id for each in page]
        after = page[-1].started_at, page[-1].recording_id


def _by_filter(store: Store, wanted: Wanted) -> Iterator[list[UUID]]:
    """The runs that the filter leaves, the newest first, page by page; and those recordings that belong to no run.

    A page goes back to the time at which the one before stopped; of one moment all are taken.
    """
    assert wanted.only is not None
    ends = [each for each in (wanted.only.until, wanted.until) if each is not None]
    for list_of in (_runs, _others):
        until, size = min(ends) if ends else None, PAGE
        seen: set[UUID] = set()
        while True:
            page = list_of(store, replace(wanted.only, until=until, limit=size))
            fresh = [run_id for run_id, _, counts in page if counts and run_id not in seen]
            if fresh:
                yield fresh
            if len(page) < size:
                break
            seen.update(fresh)
            moment = page[-1][1] + 1
            until, size = (until, size * 2) if moment == until else (moment, PAGE)


#: A run's id, when its latest recording began (by which lists go), and whether it counts.
_Row = tuple[UUID, int, bool]


def _runs(store: Store, asked: RunFilter) -> list[_Row]:
    found = store.runs(asked)
    latest: dict[UUID, int] = {}
    for each in store.kin([run.run_id for run in found]):
        latest[each.run_id] = max(latest.get(each.run_id, 0), each.started_at)
    return [(run.run_id, latest.get(run.run_id, run.started_at), True) for run in found]


def _others(store: Store, asked: RunFilter) -> list[_Row]:
    """Recordings that are part of no run."""
    return [
        (each.run.run_id, each.recording.started_at, each.reading is not None and not each.reading.reading.is_run)
        for each in store.recordings(asked)
    ]
