"""The power fails at any moment, and the disk keeps what was synced: so does the store keep what it acknowledged.

The store is the shipped one, with its own settings, in a process of its own; `tests.disk` says what of its files is
left. What holds with `synchronous=FULL` must not hold with less, or these tests would see nothing.
"""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from recorder.schema import REVISION
from recorder.store import describe_store
from tests import program
from tests.disk import BARE, MARK, ORDERED, Disk, Operation, environment, operations, ram
from tests.needs import CI, examples
from tests.older import REVISIONS, make_older
from tests.power import NAME, Acknowledged, Wrong, checked

Figures = Callable[[str, object], None]


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A folder in memory."""
    with TemporaryDirectory(dir=ram(tmp_path), prefix="recorder-power-") as name:
        yield Path(name)


@dataclass
class Work:
    """What a process did to a folder: what lay there before, each operation, and all that was acknowledged."""

    before: Path
    root: Path
    done: list[Operation]
    basis: Callable[[], Acknowledged]
    whole: Acknowledged


def work(kind: str, seed: str, folder: Path, library: Path, before: Path | None = None) -> Work:
    """Let a process do its work in a folder that holds what is in `before`; see `tests.power`."""
    root, log, kept = folder / "disk", folder / "log", folder / "before"
    if before is None:
        root.mkdir()
    else:
        shutil.copytree(before, root)
    shutil.copytree(root, kept)
    program.run("power", kind, str(root / NAME), seed, env=environment(library, root, log), timeout=300)

    def basis() -> Acknowledged:
        return Acknowledged() if before is None else Acknowledged.of(before / NAME)

    found = Work(kept, root, list(operations(log, root)), basis, basis())
    for operation in found.done:
        found.whole.hear(operation)
    return found


@dataclass
class Outcome:
    """What came of power failures at so many points."""

    points: int = 0
    acknowledged: int = 0
    lost_at: int = 0
    worst: int = 0
    wrong: list[str] = field(default_factory=list)


def fail(
    done: Work, folder: Path, points: int, seed: str, *, rules: tuple[str, ...] = (ORDERED, BARE), deaf: bool = False
) -> Outcome:
    """Let the power fail at so many points, by each rule in turn, and look at what is left."""
    rng = random.Random(seed)
    outcome = Outcome()
    disks = [Disk(done.before, done.root, rule, deaf=deaf) for rule in rules]
    promised = done.basis()
    into, at = folder / "left", 0
    # A promise is hardest to keep at the moment it is given.
    told = [number for number, operation in enumerate(done.done) if operation.what == MARK]
    chosen = rng.choices(range(len(done.done)), k=points - points // 3) + rng.choices(told, k=points // 3)
    for number, point in enumerate(sorted(chosen)):
        for operation in done.done[at : point + 1]:
            promised.hear(operation)
            for disk in disks:
                disk.do(operation)
        at = point + 1
        into.mkdir()
        disks[number % len(disks)].crash(into, rng)
        outcome.points += 1
        try:
            checked(into, promised, done.whole)
        except Wrong as wrong:
            outcome.lost_at += 1
            outcome.worst = max(outcome.worst, wrong.lost)
            outcome.wrong.append(
                f"after operation {point} of {len(done.done)}, {disks[number % len(disks)].rule}: {wrong}"
            )
        shutil.rmtree(into)
    outcome.acknowledged = promised.events
    return outcome


def add_up(outcomes: list[Outcome], record_property: Figures) -> None:
    """Show what came of it, and that nothing was lost."""
    figures = {
        "points": sum(one.points for one in outcomes),
        "events acknowledged": sum(one.acknowledged for one in outcomes),
        "points with a loss": sum(one.lost_at for one in outcomes),
        "worst": max(one.worst for one in outcomes),
    }
    record_property("figures", figures)
    wrong = [text for one in outcomes for text in one.wrong]
    assert not wrong, wrong[:5]


def test_nothing_acknowledged_is_lost(folder: Path, disk_shim: Path, record_property: Figures) -> None:
    """Writers, readings, tags, the log, a recovery, closing and opening: after every point the store is whole.

    Not so on a disk that ignores syncs: the same work is lost there.
    """
    outcomes = []
    for number in range(examples(1, 6)):
        place = folder / str(number)
        place.mkdir()
        done = work("live", f"live{number}", place, disk_shim)
        assert done.whole.events > 1000
        outcomes.append(fail(done, place, examples(60 if CI else 30, 300), f"points{number}"))
        # At some of the points the file is so damaged that nothing can be counted.
        deaf = fail(done, place, 10, "deaf", deaf=True)
        assert deaf.lost_at > 5
        assert deaf.worst > 0
        shutil.rmtree(place)
    add_up(outcomes, record_property)


def test_a_sync_that_failed_promises_nothing(folder: Path, disk_shim: Path, record_property: Figures) -> None:
    """Syncs fail now and then, once or for a while, and what they were to write never comes to the disk: what is
    acknowledged later does not rest on it.

    By the rule of real file systems: SQLite does not heed a folder's sync that fails, and where a file's own sync does
    not bring its name along, a new WAL could be lost after that.
    """
    outcomes = []
    for number in range(examples(1, 6)):
        place = folder / str(number)
        place.mkdir()
        done = work("failing", f"failing{number}", place, disk_shim)
        assert sum(operation.failed for operation in done.done) > 5
        outcomes.append(fail(done, place, examples(16 if CI else 8, 200), f"points{number}", rules=(ORDERED,)))
        shutil.rmtree(place)
    add_up(outcomes, record_property)


@pytest.mark.parametrize("kind", [pytest.param("hasty", marks=pytest.mark.nightly), "careless"])
def test_what_is_not_synced_is_lost(kind: str, folder: Path, disk_shim: Path, record_property: Figures) -> None:
    """These tests see losses where there are some: with synchronous=NORMAL, and in a store that believes what it can
    read after a sync has failed.
    """
    done = work(kind, "lost", folder, disk_shim)
    outcome = fail(done, folder, examples(6, 100), "lost")
    record_property("figures", {"points": outcome.points, "with a loss": outcome.lost_at, "worst": outcome.worst})
    assert outcome.lost_at > outcome.points // 4
    assert outcome.worst > 0


@pytest.mark.parametrize(
    "revision", [REVISIONS[0], *(pytest.param(later, marks=pytest.mark.nightly) for later in REVISIONS[1:])]
)
def test_an_upgrade_is_done_or_not_begun(
    revision: str, folder: Path, disk_shim: Path, record_property: Figures
) -> None:
    """Whenever the power fails while an older store is upgraded: old or new, all of its rows, and a backup in time."""
    older = folder / "older"
    older.mkdir()
    make_older(older / NAME, revision)
    done = work("upgrade", revision, folder, disk_shim, before=older)
    assert describe_store(folder / "disk" / NAME).revision == REVISION
    add_up([fail(done, folder, examples(10 if CI else 5, 120), revision)], record_property)


def test_what_is_erased_stays_erased(folder: Path, disk_shim: Path, record_property: Figures) -> None:
    """Once an erasure is acknowledged, no file holds the text, whatever a power failure brings back; before, a
    recording is whole or erased; and nothing else is touched.
    """
    done = work("erase", "erase", folder, disk_shim)
    assert len(done.whole.erased) == 3
    add_up([fail(done, folder, examples(12 if CI else 6, 300), "erase")], record_property)
