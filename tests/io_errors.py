"""Each operation on the store's files fails once, or from then on for a while: what the product makes of it.

Run as a program under the shim of `tests.disk` (`python -m tests.io_errors FOLDER SEED TAKE SCENE ...`). A scene sets
a store up, does one thing while operation N fails, and once more where it was refused. Then the store is opened,
recovered, verified and compared with what was acknowledged. TAKE is how many pairs of N and kind of fault are taken;
0 takes each N once, and many with the other kinds.
Prints a JSON line of figures for each scene, or fails with what was wrong.
"""

from __future__ import annotations

import collections
import contextlib
import errno
import faulthandler
import json
import logging
import random
import shutil
import sys
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, NamedTuple

import httpx

import recorder
from recorder import reader, retention
from recorder.errors import RecorderError, StoreError
from recorder.recording import Event, Recording, Request, Transport
from recorder.schema import REVISION
from recorder.store import Append, Store, describe_store, migrate_store, sqlite
from recorder.verify import verify
from recorder.writer import Options, Writer, recover
from tests.disk import OPERATIONS, loaded
from tests.kept import put
from tests.loopback import LAST_CHUNK, Loopback, Step, chunk, stream_head
from tests.older import make_older
from tests.power import HEAD, NAME, Acknowledged, checked, said
from tests.tape import post, recorded

#: Seconds after which an operation that has not come back hangs.
PATIENCE: Final = 60.0
#: How many tries there are at most with other kinds of fault than the first.
MOST: Final = 300


class Fault(NamedTuple):
    """What fails, how many times in a row, and with what."""

    operations: Sequence[str]
    times: int
    error: int


FAULTS: Final = (
    Fault(tuple(OPERATIONS), 1, errno.EIO),
    Fault(tuple(OPERATIONS), 1 << 30, errno.EIO),
    Fault(("create", "write", "mkdir", "sync"), 1, errno.ENOSPC),
    Fault(("create", "write", "mkdir"), 1 << 30, errno.ENOSPC),
    Fault(("sync",), 2, errno.EIO),
)
NOTHING: Final = Fault((), 0, 0)

#: A scene sets up, gives what is to be done while something fails, is told whether that was refused, and notes what
#: must be there in the end.
Play = Generator[Callable[[], Any], bool, None]


class Parts:
    """A recording in parts, and what of it the store has acknowledged."""

    def __init__(self, promised: Acknowledged) -> None:
        self.whole, self.events = recorded(post("/v1/chat/completions", model="m"), b"data: {}\n\n" * 40, chunk=30)
        self.promised = promised

    def append(self, store: Store, start: int, stop: int | None = None) -> None:
        """Its events from `start` up to, and without, `stop`; with the beginning at 0, and the ending at the end."""
        recording_id = self.whole.recording_id
        rows = [(recording_id.bytes, *event) for event in self.events[start:stop]]
        begun: Recording | None = replace(self.whole, ending=None) if start == 0 else None
        store.append([Append(recording_id, begun, rows, self.whole.ending if stop is None else None)])
        self.promised.rows.setdefault(recording_id, {}).update((row[1], Event(*row[1:])) for row in rows)


def twice(act: Callable[[], Any]) -> Play:
    """To be done, and again where it was refused."""
    refused = yield act
    if refused:
        act()


def scene_create(path: Path, promised: Acknowledged) -> Play:
    """A store is made."""
    yield from twice(lambda: Store.open(path, create=True).close())


def scene_append(path: Path, promised: Acknowledged) -> Play:
    """A recording begins, goes on, and ends."""
    part, other = Parts(promised), Parts(promised)
    with Store.open(path, create=True) as store:
        other.append(store, 0)
        yield from twice(lambda: part.append(store, 0, 10))
        part.append(store, 10)


def scene_end(path: Path, promised: Acknowledged) -> Play:
    """Events and an ending come to what is there."""
    part = Parts(promised)
    with Store.open(path, create=True) as store:
        part.append(store, 0, 10)
        yield from twice(lambda: part.append(store, 10))


def scene_checkpoint(path: Path, promised: Acknowledged) -> Play:
    """The WAL is copied into the database with each append."""
    part = Parts(promised)
    with pages(1), Store.open(path, create=True) as store:
        part.append(store, 0, 20)
        yield from twice(lambda: part.append(store, 20, 30))
        part.append(store, 30)


def scene_close(path: Path, promised: Acknowledged) -> Play:
    """The last connection closes, whatever happens."""
    part = Parts(promised)
    store = Store.open(path, create=True)
    part.append(store, 0)
    refused = yield store.close
    assert not refused


def scene_open(path: Path, promised: Acknowledged) -> Play:
    """A store is opened that a process left as it died, and is written."""
    part = Parts(promised)
    with Store.open(path, create=True) as store:
        part.append(store, 0, 10)
        left = path.with_name("left")
        left.mkdir()
        for name in ("", "-wal"):
            shutil.copyfile(f"{path}{name}", left / f"{NAME}{name}")
    for name in ("", "-wal"):
        shutil.move(left / f"{NAME}{name}", f"{path}{name}")
    left.rmdir()

    def go_on() -> None:
        with Store.open(path) as store:
            part.append(store, 10)

    yield from twice(go_on)


def scene_recover(path: Path, promised: Acknowledged) -> Play:
    """What a dead writer left open is closed."""
    parts = [Parts(promised) for _ in range(2)]
    with Store.open(path, create=True) as store:
        for part in parts:
            part.append(store, 0, 10)
        yield from twice(lambda: recover(store))


def scene_look(path: Path, promised: Acknowledged) -> Play:
    """A store is read."""
    part = Parts(promised)
    with Store.open(path, create=True) as store:
        part.append(store, 0)
    with Store.open(path, readonly=True) as store:

        def look() -> None:
            assert list(store.events(part.whole.recording_id)) == part.events
            if verify(store, lambda _: None).found:
                raise StoreError("a recording cannot be read, says verify; which is true")

        yield from twice(look)


def scene_derive(path: Path, promised: Acknowledged) -> Play:
    """A reading, a tag, and leaves of the tree."""
    part = Parts(promised)
    recording_id = part.whole.recording_id
    with Store.open(path, create=True) as store:
        part.append(store, 0)

        def derive() -> None:
            reader.read(store, recording_id)
            promised.read.add(recording_id)
            store.tag(recording_id, "a", "b")
            promised.tags.add((recording_id, "a"))
            store.log_sealed()
            promised.leaves = 1

        yield from twice(derive)


def scene_upgrade(path: Path, promised: Acknowledged) -> Play:
    """An older store is brought to the present schema."""
    model = path.parent.with_name("older.db")
    if not model.exists():
        make_older(model, "1.0")
    shutil.copyfile(model, path)
    vars(promised).update(vars(Acknowledged.of(path)))
    yield from twice(lambda: migrate_store(path))
    promised.migrated = True


def scene_erase(path: Path, promised: Acknowledged) -> Play:
    """Content is erased; what cannot be done is said, and done the next time."""
    texts = [f"canary-{number}-" + "x" * 40 for number in range(2)]
    unfinished: list[str] = []
    with Store.open(path, create=True) as store:
        kept = [(recording, events) for recording, events in map(said, texts)]
        for recording, events in kept:
            put(store, recording, events)
            promised.rows[recording.recording_id] = {event.position: event for event in events}
        wanted = kept[0][0].recording_id
        promised.erasing[wanted] = texts[0]

        def act() -> None:
            done = retention.erase(store, [retention.Reached(wanted, "asked", None)], by="a", reason="b")
            unfinished[:] = [*done.missed, *done.found]

        refused = yield act
        if refused or unfinished:
            act()
        assert not unfinished
        promised.erased[wanted] = texts[0]


def scene_live(path: Path, promised: Acknowledged) -> Play:
    """A client's stream is recorded: nothing is raised, and what was to be stored comes once the fault has passed."""
    Store.open(path, create=True).close()
    writer = Writer(lambda: Store.open(path), Options(min_free=0))
    request = Request("POST", "http://model.test/v1/chat/completions", body=b"{}")
    taps = [writer.start(request) for _ in range(2)]

    def stream(taps: Any = taps) -> None:
        for tap in taps:
            tap.head(HEAD)
            for _ in range(5):
                tap.data(b"data: {}\n\n")
        writer.flush(0.15)

    refused = yield stream
    assert not refused
    stream([])
    for tap in taps:
        tap.data(b"data: [DONE]\n\n")
        tap.end(Transport.EOF)
    assert writer.flush()
    assert writer.stats.gaps == 0
    writer.close()
    with Store.open(path) as store:
        for tap in taps:
            events = list(store.events(tap.recording_id))
            assert [event.data for event in events if event.kind == "sse"] == [b"{}"] * 5 + [b"[DONE]"]
            promised.rows[tap.recording_id] = {event.position: event for event in events}


SENT: Final = [b'data: {"n":%d}\n\n' % number for number in range(20)]


def answer(_: Any) -> Iterator[Step]:
    """An upstream's stream."""
    yield stream_head()
    for event in SENT:
        yield chunk(event)
    yield LAST_CHUNK


def scene_client(path: Path, promised: Acknowledged) -> Play:
    """A real client is recorded: it gets every byte, at once, and so does the store once the fault has passed."""
    Store.open(path, create=True).close()
    with recorder.open(path, min_free=0) as handle, httpx.Client(timeout=30) as client:
        handle.instrument(client)

        def exchange() -> None:
            with Loopback([answer]) as server, client.stream("POST", server.url, json={}) as response:
                assert b"".join(response.iter_raw()) == b"".join(SENT)
            handle.flush(0.15)

        refused = yield exchange
        assert not refused
        exchange()
        assert handle.flush(20)
        assert handle.stats.gaps == 0
    with Store.open(path) as store:
        recording_ids = store.recording_ids()
        assert len(recording_ids) == 2
        for recording_id in recording_ids:
            events = list(store.events(recording_id))
            assert [event.data for event in events if event.kind == "sse"] == [event[6:-2] for event in SENT]
            promised.rows[recording_id] = {event.position: event for event in events}


@contextlib.contextmanager
def pages(number: int) -> Iterator[None]:
    """Let a checkpoint be due after so many pages."""
    before, sqlite.CHECKPOINT_PAGES = sqlite.CHECKPOINT_PAGES, number
    try:
        yield
    finally:
        sqlite.CHECKPOINT_PAGES = before


SCENES: Final = {
    name.removeprefix("scene_"): scene for name, scene in list(globals().items()) if name.startswith("scene_")
}


class Result(NamedTuple):
    """How one try went: how many operations failed, how many there were of each kind, and the error's name."""

    hits: int
    counts: Mapping[str, int]
    refused: str | None


def once(folder: Path, scene: Callable[[Path, Acknowledged], Play], at: int, fault: Fault) -> Result:
    """Play the scene while the operation after `at` others fails."""
    path = folder / NAME
    promised = Acknowledged()
    play = scene(path, promised)
    act = next(play)
    disk = loaded()
    refused: RecorderError | None = None
    faulthandler.dump_traceback_later(PATIENCE, exit=True)
    disk.disk_fail(sum(1 << OPERATIONS[name] for name in fault.operations), at, fault.times, fault.error)
    try:
        act()
    except RecorderError as error:
        refused = error
    finally:
        counts = {name: disk.disk_count(number) for name, number in OPERATIONS.items()}
        result = Result(disk.disk_hits(), counts, None if refused is None else type(refused).__name__)
        disk.disk_fail(0, 0, 0, 0)
    if refused is not None:
        assert "\n" not in str(refused), "more than one line"
        assert ";" in str(refused), f"not what to do: {refused}"
    assert result.hits or not refused, "refused for no reason"
    if promised.revision is not None:
        assert describe_store(path).revision in (promised.revision, REVISION), "neither the old schema nor the new"
    with contextlib.suppress(StopIteration):
        play.send(refused is not None)
    checked(folder, promised, promised)
    faulthandler.cancel_dump_traceback_later()
    return result


def main(folder: Path, name: str, seed: str, take: int) -> dict[str, Any]:
    """Play a scene again and again, each time with another fault; the figures."""
    logging.disable(logging.CRITICAL)
    random_ = random.Random(seed)
    whole = _once(folder, name, 0, NOTHING).counts
    each = [(at, FAULTS[0]) for at in range(sum(whole.values()))]
    rest = [(at, fault) for fault in FAULTS[1:] for at in range(sum(whole[each] for each in fault.operations))]
    if take:
        tried = random_.sample(each + rest, min(take, len(each + rest)))
    else:
        tried = each + random_.sample(rest, min(MOST, len(rest)))
    hits, refused = 0, collections.Counter[str]()
    for at, fault in tried:
        result = _once(folder, name, at, fault)
        hits += result.hits
        refused[result.refused or "no"] += 1
    return {"scene": name, "tries": len(tried), "operations failed": hits, "refused": refused}


def _once(folder: Path, name: str, at: int, fault: Fault) -> Result:
    place = folder / "play"
    place.mkdir()
    try:
        return once(place, SCENES[name], at, fault)
    except Exception as error:
        raise AssertionError(f"scene {name}, fault {fault}, operation {at}: {error!r}") from error
    finally:
        shutil.rmtree(place)


if __name__ == "__main__":
    for wanted in sys.argv[4:]:
        print(json.dumps(main(Path(sys.argv[1]), wanted, sys.argv[2], int(sys.argv[3]))), flush=True)  # noqa: T201
