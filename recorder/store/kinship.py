"""Which run each reading belongs to, and which of a run's readings stands for it. Pure; no I/O.

The kin of a reading are the readings of the same dialect that name the same provider's run. Of such a set `places`
says everything at once, whatever the order in which they came: so readings may be stored in any order, and each
that comes later puts the others right. It refuses to know where kin are kept and what their status means.

A run is opened by one exchange (a create) and goes on in others (tool outputs, polls, a cancel). One exchange may have
been recorded twice, by the client and by a proxy that it went through: at two origins, the later start within the time
of the earlier. Then both belong to the run of the first, and the second is its duplicate.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Final, NamedTuple
from uuid import UUID

from recorder.recording import ASIDE

__all__ = ["FINAL", "NEAREST", "OPEN", "Kin", "Place", "places"]

#: How much a status settles: the run is over; it goes on. 0 stands for: nothing is known.
FINAL: Final = 3
OPEN: Final = 1

_SUBMIT: Final = "submit_tool_outputs"

#: Microseconds by which two clocks, and the two ends of a connection, may differ.
_SLACK: Final = 50_000
#: How many of the exchanges before one are looked at for that of which it is a duplicate.
NEAREST: Final = 16


class Kin(NamedTuple):
    """What matters of a reading: what it is, when it was (microseconds UTC), and where it stands until now.

    `action` is None where it is not known; such a reading is nobody's duplicate. `waits` says that by this reading
    the run waits for tool outputs. `ended_at` is None where no end is known.
    """

    recording_id: UUID
    origin: str
    action: str | None
    opens_run: bool
    finality: int
    waits: bool
    started_at: int
    ended_at: int | None
    run_id: UUID
    duplicate: bool


class Place(NamedTuple):
    """Where a reading belongs. `waited_us` is the time that the run waited for the tool outputs that this one gave."""

    run_id: UUID
    duplicate: bool
    superseded: bool
    waited_us: int | None


def places(kin: Iterable[Kin], settled: Collection[UUID] = ()) -> dict[UUID, Place]:
    """The place of each reading, of readings of one dialect and one provider's run id.

    Those that are `settled` keep the run they have; they are there for the others, where there are too many to have
    all. The order in which they are given does not matter: earlier and later go by the ids.
    """
    ordered = sorted(kin)
    originals = _originals(ordered, settled)
    copies = {one.recording_id for one in ordered if one.recording_id in settled and one.duplicate} | originals.keys()
    runs = _runs(ordered, originals, settled)
    members: defaultdict[UUID, list[Kin]] = defaultdict(list)
    for one in ordered:
        members[runs[one.recording_id]].append(one)
    found: dict[UUID, Place] = {}
    for run_id, exchanges in members.items():
        standing = _standing(exchanges, copies)
        waited = _waited([one for one in exchanges if one.recording_id not in copies])
        for one in exchanges:
            key = one.recording_id
            found[key] = Place(run_id, key in copies, key != standing, waited.get(key))
    return found


def _originals(ordered: Sequence[Kin], settled: Collection[UUID]) -> dict[UUID, UUID]:
    """Each duplicate, and the recording of which it is one: of those that fit, the one that started nearest to it.

    An original has at most one duplicate at each other origin.
    """
    found: dict[UUID, UUID] = {}
    before: defaultdict[tuple[str, bool], deque[Kin]] = defaultdict(lambda: deque(maxlen=NEAREST))
    taken: set[tuple[UUID, str]] = set()
    for one in ordered:
        if one.action is None or (one.recording_id in settled and one.duplicate):
            continue
        alike = before[one.action, one.opens_run]
        fitting: list[Kin] = []
        if one.recording_id not in settled:
            fitting = [
                other
                for other in alike
                if other.origin != one.origin and (other.recording_id, one.origin) not in taken and _within(one, other)
            ]
        if not fitting:
            alike.append(one)
            continue
        original = min(reversed(fitting), key=lambda other: abs(one.started_at - other.started_at))
        found[one.recording_id] = original.recording_id
        taken.add((original.recording_id, one.origin))
    return found


def _within(one: Kin, other: Kin) -> bool:
    """Whether the one took place while the other did."""
    return (
        one.ended_at is not None
        and other.ended_at is not None
        and other.started_at - _SLACK <= one.started_at
        and one.ended_at <= other.ended_at + _SLACK
    )


def _runs(ordered: Sequence[Kin], originals: Mapping[UUID, UUID], settled: Collection[UUID]) -> dict[UUID, UUID]:
    """The run of each: an opener's own or its original's; a continuation's is that of the newest earlier opener.

    The first continuation at an origin that has no opener stands in for one, until there is one.
    """
    openers = {one.recording_id for one in ordered if one.opens_run}
    copied_at: defaultdict[UUID, list[str]] = defaultdict(list)
    for one in ordered:
        if one.recording_id in originals:
            copied_at[originals[one.recording_id]].append(one.origin)
    runs: dict[UUID, UUID] = {}
    current: dict[str, UUID] = {}
    for one in ordered:
        key = one.recording_id
        if key in settled:
            runs[key] = one.run_id
        elif key in originals:
            runs[key] = runs[originals[key]]
        elif one.opens_run:
            runs[key] = key
        else:
            # The same exchange, recorded at another origin, may be known to go on with an opener there.
            leads = [current[origin] for origin in (one.origin, *copied_at[key]) if origin in current]
            runs[key] = next((lead for lead in leads if lead in openers), leads[0] if leads else key)
        if one.opens_run or current.get(one.origin) not in openers:
            current[one.origin] = runs[key]
    return runs


def _standing(exchanges: Sequence[Kin], copies: Collection[UUID]) -> UUID:
    """The one that stands for the run: the one that saw its end, else the one that knows most of how far it came."""
    return max(exchanges, key=lambda one: _rank(one, one.recording_id in copies)).recording_id


def _rank(one: Kin, copy: bool) -> tuple[int, bool, bool, int, int]:
    """A status that settles more comes first; of equal ones no duplicate; then time.

    Of those that say how the run ended the first to end stands, for it saw that end and later ones repeat it; of
    others the last.
    """
    sign = -1 if one.finality == FINAL else 1
    ended = one.ended_at is not None
    return one.finality, not copy, ended, sign * (one.ended_at or 0), sign * one.recording_id.int


def _waited(exchanges: Sequence[Kin]) -> dict[UUID, int]:
    """How long the run waited for each of its tool outputs: since it was first said to wait.

    Where nobody said so, since the end of the stream before. Unknown where that is.
    """
    waited: dict[UUID, int] = {}
    since: int | None = None
    said = False
    for one in exchanges:
        if one.action == _SUBMIT and since is not None:
            waited[one.recording_id] = max(0, one.started_at - since)
        if one.action not in ASIDE:
            since, said = one.ended_at, one.waits
        elif one.waits and not said:
            since, said = one.ended_at, True
    return waited
