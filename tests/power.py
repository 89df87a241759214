"""A store that is written while the power may fail at any moment, and what must be in it afterwards.

Run as a program under the shim of `tests.disk` (`python -m tests.power WORK PATH SEED`) it does one kind of work to the
store and tells the log what the product acknowledged, at the moment it did. `checked` opens what a power failure left
and holds it against that.
"""

from __future__ import annotations

import contextlib
import errno
import pickle
import random
import sqlite3
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final
from uuid import UUID

from recorder import reader, retention
from recorder.errors import RecorderError
from recorder.recording import Event, Head, Recording, Request, Transport
from recorder.retention import Reached
from recorder.schema import REVISION
from recorder.store import Append, Store, check_store, describe_store, migrate_store, sqlite, surely
from recorder.verify import verify
from recorder.writer import Options, Tap, Writer, recover
from tests.disk import MARK, SYNC, Operation, loaded
from tests.kept import put
from tests.tape import post, recorded

HEAD = Head(200, "OK", "HTTP/1.1", (("Content-Type", "text/event-stream"),))
NAME = "tape.db"
#: A folder in memory may be small.
OPTIONS = Options(min_free=0)

_EVENTS: Final = (
    "SELECT recording_id, position, kind, elapsed_us, type, data, raw, size, cuts FROM events ORDER BY 1, 2"
)
_OPEN: Final = (
    "SELECT count(*) FROM recordings WHERE recording_id NOT IN (SELECT recording_id FROM endings WHERE recording_id IS "
    "NOT NULL)"
)
_READ: Final = "SELECT recording_id FROM readings WHERE reader_version > 0"
_TAGS: Final = "SELECT recording_id, name FROM tags"


# -- what is done, under the shim --------------------------------------------------------------------------------------


def tell(*what: Any) -> None:
    """Write down that this was acknowledged."""
    data = pickle.dumps(what)
    loaded().disk_mark(data, len(data))


class Told(Store):
    """A store that tells what it acknowledged."""

    def append(self, batch: Sequence[Append]) -> None:
        super().append(batch)
        tell("rows", [(append.recording_id, list(append.rows)) for append in batch])

    def put_readings(self, given: Any) -> None:
        super().put_readings(given)
        tell("read", [stored.recording_id for stored in given])

    def tag(self, recording_id: UUID, name: str, value: str | None) -> None:
        super().tag(recording_id, name, value)
        tell("tag", recording_id, name)

    def log_sealed(self) -> int:
        count = super().log_sealed()
        tell("leaves", sum(1 for _ in self.leaves()))
        return count


def work_live(path: Path, seed: str, *, parts: int = 3, steps: int = 30) -> None:
    """Two writers at once, each of several streams; what they close, what they leave, and what comes after a run.

    In the last part the WAL is copied into the database, and starts over, much more often than it usually is.
    """
    rng = random.Random(seed)
    for part in range(parts):
        if part == 2:
            sqlite.CHECKPOINT_PAGES //= 10
        writers = [Writer(lambda: Told.open(path, create=True), OPTIONS) for _ in range(2)]
        taps = [_tap(writer, rng) for writer in writers for _ in range(2)]
        for _ in range(steps):
            _stream(rng, writers, taps)
        writers[0].close()
        with Told.open(path) as store:
            _afterwards(store)
        writers[1].close()


def work_short(path: Path, seed: str) -> None:
    """A little of it."""
    work_live(path, seed, parts=1)


def work_hasty(path: Path, seed: str) -> None:
    """The same with a store that does not wait until its rows are on the disk."""
    sqlite._PRAGMAS = ("synchronous=NORMAL", *sqlite._PRAGMAS[1:])  # type: ignore[misc]
    assert "synchronous=FULL" not in sqlite._PRAGMAS
    work_live(path, seed, parts=1)


def work_failing(path: Path, seed: str, *, parts: int = 4, times: Sequence[int] = (0, 1, 1, 2, 3, 5)) -> None:
    """The same on a disk whose syncs fail again and again, each time for a while."""
    rng = random.Random(seed)
    Told.open(path, create=True).close()
    for _ in range(parts):
        writer = Writer(lambda: Told.open(path), OPTIONS)
        taps = [_tap(writer, rng) for _ in range(3)]
        for _ in range(12):
            loaded().disk_fail(1 << SYNC, rng.choice([0, 0, 0, 1, 2]), rng.choice(times), errno.EIO)
            _stream(rng, [writer], taps)
        loaded().disk_fail(0, 0, 0, 0)
        writer.close()


def work_careless(path: Path, seed: str) -> None:
    """The same with a store that goes on with what it can read after a sync has failed."""
    surely.write_again = lambda path: None
    work_failing(path, seed, parts=1, times=(2,))


def _tap(writer: Writer, rng: random.Random) -> Tap:
    body = b'{"model":"m","stream":true,"messages":[%b]}' % (
        b'"' + rng.randbytes(rng.choice([2, 4000])).hex().encode() + b'"'
    )
    tap = writer.start(Request("POST", "http://model.test/v1/chat/completions", body=body), tags={"part": "1"})
    tap.head(HEAD)
    return tap


def _stream(rng: random.Random, writers: Sequence[Writer], taps: list[Tap]) -> None:
    """Some chunks come; now and then a stream ends and another begins; then all is durable."""
    for number in range(len(taps)):
        for _ in range(rng.choice([0, 1, 3, 12])):
            taps[number].data(b'data: {"choices":[{"delta":{"content":"%b"}}]}\n\n' % (b"x" * rng.choice([3, 40, 900])))
        if rng.random() < 0.05:
            taps[number].data(b"data: [DONE]\n\n")
            taps[number].end(Transport.EOF)
            taps[number] = _tap(writers[number % len(writers)], rng)
    for writer in writers:
        writer.flush()


def _afterwards(store: Store) -> None:
    """Readings, a tag, leaves of the tree, and the recovery of a writer that is not alive."""
    for recording_id in store.unread():
        reader.read(store, recording_id)
        store.tag(recording_id, "seen", "yes")
    store.log_sealed()
    left, events = recorded(post("/v1/chat/completions", model="m"), b"data: {}\n\n" * 20)
    begun = replace(left, ending=None)
    store.append([Append(left.recording_id, begun, [(left.recording_id.bytes, *event) for event in events[:9]])])
    recover(store)


def work_upgrade(path: Path, seed: str) -> None:
    """An older store is brought to the present schema, and written on."""
    migrate_store(path)
    tell("migrated")
    with Told.open(path) as store:
        _afterwards(store)


def work_erase(path: Path, seed: str) -> None:
    """Content is erased, and recordings are pruned, in a store that has a backup beside it."""
    with Told.open(path, create=True) as store:
        canaries = [f"canary-{seed}-{number}-" + "x" * 40 for number in range(5)]
        ids = [put(store, *said(canary)).recording_id for canary in canaries]
        with store._backend.read() as connection:
            driver = connection.connection.driver_connection
            with contextlib.closing(sqlite3.connect(f"{path}.backup-1.2")) as copy:
                driver.backup(copy)  # type: ignore[union-attr]
        for numbers in ((0, 1), (2,)):
            wanted = {ids[number]: canaries[number] for number in numbers}
            tell("erasing", wanted)
            done = retention.erase(store, [Reached(one, "asked", None) for one in wanted], by="a", reason="b")
            assert (sorted(done.done), done.found, done.missed) == (sorted(wanted), [], [])
            tell("erased", wanted)
        tell("removing", ids[3])
        store.remove([ids[3]], "a", "b")
        tell("removed", ids[3])


def said(text: str) -> tuple[Recording, list[Event]]:
    """A recording that has this text in its request and in its answer."""
    answer = b'data: {"choices":[{"delta":{"content":"%b"}}]}\n\ndata: [DONE]\n\n' % text.encode()
    return recorded(post("/v1/chat/completions", model="m", messages=[text]), answer, chunk=20)


WORK = {name.removeprefix("work_"): work for name, work in list(globals().items()) if name.startswith("work_")}


# -- what must be there afterwards -------------------------------------------------------------------------------------


@dataclass
class Acknowledged:
    """What a store has promised so far: rows by recording and position, readings, tags, leaves."""

    rows: dict[UUID, dict[int, Event]] = field(default_factory=dict)
    read: set[UUID] = field(default_factory=set)
    tags: set[tuple[UUID, str]] = field(default_factory=set)
    leaves: int = 0
    #: What is being erased, and its text; what was; and recordings that are being taken away, and were.
    erasing: dict[UUID, str] = field(default_factory=dict)
    erased: dict[UUID, str] = field(default_factory=dict)
    removing: set[UUID] = field(default_factory=set)
    removed: set[UUID] = field(default_factory=set)
    #: The schema of before, where there was one; and whether it was told that it is the present one now.
    revision: str | None = None
    migrated: bool = False

    @classmethod
    def of(cls, path: Path) -> Acknowledged:
        """What is in a store, as if it had been acknowledged."""
        with contextlib.closing(sqlite3.connect(path)) as connection:
            found = cls(
                read={UUID(bytes=row[0]) for row in connection.execute(_READ)},
                tags={(UUID(bytes=key), name) for key, name in connection.execute(_TAGS)},
                revision=connection.execute("SELECT version_num FROM recorder_version").fetchone()[0],
            )
            for key, *event in connection.execute(_EVENTS):
                found.rows.setdefault(UUID(bytes=key), {})[event[0]] = Event(*event)
        return found

    def hear(self, operation: Operation) -> None:
        """Take in what a mark says."""
        if operation.what != MARK:
            return
        what, *about = pickle.loads(operation.data)
        if what == "rows":
            for recording_id, rows in about[0]:
                stored = self.rows.setdefault(recording_id, {})
                stored.update((row[1], Event(*row[1:])) for row in rows)
        elif what == "read":
            self.read.update(about[0])
        elif what == "tag":
            self.tags.add((about[0], about[1]))
        elif what == "leaves":
            self.leaves = max(self.leaves, about[0])
        elif what in ("erasing", "erased"):
            getattr(self, what).update(about[0])
        elif what in ("removing", "removed"):
            getattr(self, what).add(about[0])
        elif what == "migrated":
            self.migrated = True

    @property
    def events(self) -> int:
        return sum(map(len, self.rows.values()))


class Wrong(AssertionError):
    """The store is not what it must be; `lost` counts the acknowledged facts that are not in it."""

    def __init__(self, text: str, lost: int = 0) -> None:
        super().__init__(text)
        self.lost = lost


def checked(folder: Path, promised: Acknowledged, whole: Acknowledged) -> None:
    """Open what is in the folder with the product, recover, and see that everything is as it must be.

    `whole` is all that was sent in the end: what was under way when the power failed is a part of that, or absent.
    Raises Wrong.
    """
    path = folder / NAME
    said: list[str] = []
    _gone(folder, promised)
    try:
        if promised.revision is not None:
            _old_or_new(path, promised)
        with Store.open(path, create=True) as store:
            recover(store)
            summary = verify(store, lambda one: said.extend(f"{one.recording_id}: {each}" for each in one.problems))
        with Store.open(path) as store:
            if recover(store):
                raise Wrong("a second recovery found something to do")
    except RecorderError as error:
        raise Wrong(f"{type(error).__name__}: {error}") from error
    with contextlib.closing(sqlite3.connect(path)) as connection:
        for pragma in ("integrity_check", "foreign_key_check"):
            found = connection.execute(f"PRAGMA {pragma}").fetchall()
            if found not in ([("ok",)], []):
                raise Wrong(f"{pragma}: {found}")
        _hold(connection, promised, whole)
    if summary.found:
        raise Wrong(f"verify finds {summary.found} faults: {said[:3]} {summary.problems[:3]}")


def _old_or_new(path: Path, promised: Acknowledged) -> None:
    """The schema is the one of before or the present one, whole; before it changes there is a copy to go back to."""
    found = describe_store(path).revision
    if found not in (promised.revision, REVISION) or (promised.migrated and found != REVISION):
        raise Wrong(f"the schema is {found}")
    if found != REVISION:
        return
    if wrong := check_store(path):
        raise Wrong(f"the schema is not whole: {wrong}")
    backup = path.with_name(f"{path.name}.backup-{promised.revision}")
    if not backup.exists():
        raise Wrong("there is no backup of the store as it was")
    copy = Acknowledged.of(backup)
    if (copy.revision, copy.tags) != (promised.revision, {tag for tag in promised.tags if tag[1] == "older"}):
        raise Wrong("the backup is not the store as it was")


def _gone(folder: Path, promised: Acknowledged) -> None:
    """No file holds what was erased, before anybody has opened one."""
    for path in folder.rglob("*"):
        content = path.read_bytes() if path.is_file() else b""
        if any(text.encode() in content for text in promised.erased.values()):
            raise Wrong(f"{path.name} holds what was erased")


def _hold(connection: sqlite3.Connection, promised: Acknowledged, whole: Acknowledged) -> None:
    """What was acknowledged is there, and nothing that was not sent; past the store, because it is so much faster."""
    stored: dict[UUID, list[Event]] = {}
    for key, *event in connection.execute(_EVENTS):
        stored.setdefault(UUID(bytes=key), []).append(Event(*event))
    erased = {UUID(bytes=row[0]) for row in connection.execute("SELECT recording_id FROM erasures")}
    there = {UUID(bytes=row[0]) for row in connection.execute("SELECT recording_id FROM recordings")}
    removed = erased - there
    _taken_away(erased, removed, promised)
    wanted = {
        recording_id: {position: _bare(event) if recording_id in erased else event for position, event in rows.items()}
        for recording_id, rows in whole.rows.items()
    }
    for recording_id, events in stored.items():
        _fits(recording_id, events, wanted.get(recording_id, {}))
    if connection.execute(_OPEN).fetchone() != (0,):
        raise Wrong("a recording has no ending after recovery")
    lost = 0
    for recording_id, rows in promised.rows.items():
        events = stored.get(recording_id, [])
        if recording_id not in removed:
            lost += sum(at >= len(events) or events[at] != wanted[recording_id][at] for at in rows)
    read = {UUID(bytes=row[0]) for row in connection.execute(_READ)}
    tags = {(UUID(bytes=key), name) for key, name in connection.execute(_TAGS)}
    lost += len(promised.read - read - removed)
    lost += len(promised.tags - tags)
    lost += max(0, promised.leaves - connection.execute("SELECT count(*) FROM logged").fetchone()[0])
    if lost:
        raise Wrong(f"{lost} acknowledged facts are lost", lost)


def _taken_away(erased: set[UUID], removed: set[UUID], promised: Acknowledged) -> None:
    """What was to go went, if that was acknowledged; nothing else did."""
    if promised.erased.keys() - erased or promised.removed - removed:
        raise Wrong("an erasure is lost", len(promised.erased.keys() - erased) + len(promised.removed - removed))
    if erased - promised.erasing.keys() - promised.removing or removed - promised.removing:
        raise Wrong("something was erased that nobody asked for")


def _bare(event: Event) -> Event:
    return event._replace(data=None, raw=None)


def _fits(recording_id: UUID, events: Sequence[Event], sent: dict[int, Event]) -> None:
    """No gap, and nothing that was not sent, but for the `end` of a recovery."""
    if [event.position for event in events] != list(range(len(events))):
        raise Wrong(f"{recording_id} has a gap: {[event.position for event in events]}")
    for event in events:
        if event != sent.get(event.position) and not (event.position == len(events) - 1 and event.kind == "end"):
            raise Wrong(f"{recording_id} holds at {event.position} what nobody sent")


if __name__ == "__main__":
    WORK[sys.argv[1]](Path(sys.argv[2]), sys.argv[3])
