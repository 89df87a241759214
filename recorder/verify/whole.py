"""A whole store: each recording in turn, then what is there of recordings that are not, then its checkpoints."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from recorder.store import Store
from recorder.store.scanning import EVERYTHING, Scope

from .checkpoints import Checkpoint, Grown, roots
from .recordings import Checked, Problem, Verdict, check

__all__ = ["Summary", "verify"]

#: What is left of a recording that was removed on purpose.
_PRUNED = frozenset({"erasures", "logged"})


@dataclass(slots=True)
class Summary:
    """What was looked at, and how it went.

    `verdicts` counts recordings, `incomplete` those that capture saw only in part, `pruned` those that were removed on
    purpose, `later` the sealed ones that came after the newest checkpoint that was given. `problems` are the store's
    as a whole; `checkpoints` says of each line that was given whether it holds.
    """

    recordings: int = 0
    events: int = 0
    bytes: int = 0
    verdicts: dict[str, int] = field(default_factory=dict)
    incomplete: int = 0
    pruned: int = 0
    later: int = 0
    seconds: float = 0.0
    problems: list[Problem] = field(default_factory=list)
    checkpoints: list[tuple[Checkpoint, bool]] = field(default_factory=list)

    @property
    def found(self) -> int:
        """How many faults there are: recordings, and what is wrong with the store as a whole."""
        return self.verdicts.get(Verdict.ALTERED, 0) + self.verdicts.get(Verdict.LOST, 0) + len(self.problems)

    def add(self, checked: Checked) -> None:
        """Count a recording that was looked at."""
        self.recordings += checked.verdict != Verdict.LOST
        self.events += checked.events
        self.bytes += checked.size
        self.verdicts[checked.verdict] = self.verdicts.get(checked.verdict, 0) + 1
        self.incomplete += checked.complete is False

    def to_json(self) -> dict[str, Any]:
        """As JSON has it."""
        return {
            "recordings": self.recordings,
            "events": self.events,
            "bytes": self.bytes,
            "verdicts": {str(name): number for name, number in sorted(self.verdicts.items())},
            "incomplete": self.incomplete,
            "pruned": self.pruned,
            "later": self.later,
            "seconds": round(self.seconds, 6),
            "problems": [problem._asdict() for problem in self.problems],
            "checkpoints": [
                {"time": line.time, "count": line.count, "holds": holds, "key": line.key, "signature": line.trusted}
                for line, holds in self.checkpoints
            ],
            "found": self.found,
        }


def verify(
    store: Store, tell: Callable[[Checked], None], scope: Scope = EVERYTHING, lines: Sequence[Checkpoint] = ()
) -> Summary:
    """Hold every recording in the scope against its digests; `tell` is given each as soon as it was looked at.

    Where the scope is everything, what is left of recordings that are gone is looked for too, and damage of the
    database's file; and the store's log is held against the checkpoints.
    """
    summary, begun = Summary(), time.monotonic()
    if lines:
        _against(summary, store, lines)
    for stored in store.scan(scope):
        checked = check(stored)
        summary.add(checked)
        summary.later += checked.seal is not None and stored.leaf is None
        tell(checked)
    if scope == EVERYTHING:
        for text in store.damage():
            said = f"the database's file was damaged, or changed past SQLite: {text}; restore it from a copy"
            summary.problems.append(Problem("damaged", said))
        for recording_id, tables in sorted(store.orphans().items(), key=lambda item: str(item[0])):
            if tables <= _PRUNED and "erasures" in tables:
                summary.pruned += 1
                continue
            problem = Problem("lost", f"it is gone, and something of it is left: {', '.join(sorted(tables))}")
            lost = Checked(recording_id, Verdict.LOST, (problem,))
            summary.add(lost)
            tell(lost)
    summary.seconds = time.monotonic() - begun
    return summary


def _against(summary: Summary, store: Store, lines: Sequence[Checkpoint]) -> None:
    """Hold the store's log against the checkpoints: the smallest first, so that what still holds is known."""
    ordered = sorted(lines, key=lambda line: (line.count, line.time))
    grown = list(roots(store.leaves(), {line.count for line in ordered}))
    at, size = {each.count: each for each in grown}, grown[-1].count
    summary.checkpoints = [(line, _holds(line, at.get(line.count))) for line in ordered]
    summary.later = max(0, size - ordered[-1].count)
    broken = [line for line, holds in summary.checkpoints if not holds]
    if not broken:
        return
    if any(line.count and size and line.store != grown[-1].store for line in broken):
        text = (
            "the log begins with another recording than a checkpoint says: the first was taken away, the store was "
            "written anew, or the checkpoint is of another store"
        )
        summary.problems.append(Problem("beginning", text))
        return
    kept = [line for line, holds in summary.checkpoints if holds]
    rewritten = [line for line in broken if line.count <= size]
    if rewritten:
        first = rewritten[0]
        known = f"the first {kept[-1].count:,} are ({kept[-1].time}), so it lies behind these" if kept else "none hold"
        text = (
            f"the {first.count:,} recordings logged by {first.time} are not those that its checkpoint covers: some "
            f"were altered, taken away or put in another order, and the log with them; {known}"
        )
        summary.problems.append(Problem("rewritten", text))
    newest = broken[-1]
    if newest.count > size:
        text = (
            f"the checkpoint of {newest.time} covers {newest.count:,} recordings, and the log has {size:,}: the store "
            "was rolled back to an older state, or recordings were taken away, and the log with them"
        )
        summary.problems.append(Problem("rolled_back", text))


def _holds(line: Checkpoint, grown: Grown | None) -> bool:
    return grown is not None and (grown.root, grown.store) == (line.root, line.store)
