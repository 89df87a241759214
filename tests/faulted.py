"""What the rows of the fault table share: what a store holds afterwards, and processes that break.

Run as a program under the shim of `tests.disk` (`python -m tests.faulted FOLDER`) it lets a disk fail in three ways,
and prints one JSON line of what came of it, or fails with what was wrong.
"""

from __future__ import annotations

import contextlib
import errno
import json
import logging
import mmap
import os
import select
import signal
import sqlite3
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, Final, NamedTuple
from uuid import UUID

import psycopg
from sqlalchemy import Engine, event

from recorder import reader
from recorder.recording import Event, Head, Reading, Recording, Request, Transport
from recorder.replay import Player
from recorder.store import Append, RunFilter, Store, locks
from recorder.writer import Writer, exits, thread
from tests import disk, program
from tests.rows import opened, rows_of

__all__ = [
    "STREAM",
    "Kept",
    "ask",
    "child",
    "drained",
    "eight_writers",
    "failing_disks",
    "forked",
    "kept",
    "killed_at",
    "replayed",
    "say",
    "statements",
    "stopped",
]

STREAM: Final = Head(200, "OK", "HTTP/1.1", (("Content-Type", "text/event-stream"),))
_ASKED: Final = Request("POST", "http://model.test/v1/chat/completions", body=b"{}", body_size=2)


class Kept(NamedTuple):
    """A recording as a store has it, with its rows and what was made of them."""

    recording: Recording
    events: list[Event]
    reading: Reading

    @property
    def ended(self) -> tuple[str, str]:
        """How it ended, and whether it was captured whole."""
        assert self.recording.ending is not None
        return self.recording.ending.ending, self.recording.ending.captured

    @property
    def data(self) -> list[bytes | None]:
        """The payloads of its server-sent events."""
        return [event.data for event in self.events if event.kind == "sse"]


def kept(where: str | Path) -> list[Kept]:
    """All recordings of a store, oldest first, each of them read now."""
    found = []
    with Store.open(where) as store:
        for listed in reversed(store.recordings(RunFilter(limit=1000))):
            recording_id = listed.recording.recording_id
            reading = reader.read(store, recording_id)
            found.append(Kept(store.recording(recording_id), list(store.events(recording_id)), reading))
    return found


# -- past the store ----------------------------------------------------------------------------------------------------


def ask(url: str, statement: str) -> list[Any]:
    """What a database says, past the store."""
    if url.startswith("postgresql"):
        with psycopg.connect(url) as connection:
            rows = connection.execute(statement.encode()).fetchall()
            return [tuple(bytes(cell) if isinstance(cell, memoryview) else cell for cell in row) for row in rows]
    with contextlib.closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as connection:
        return connection.execute(statement).fetchall()


def say(url: str, statement: str) -> None:
    """Change something in a database, past the store."""
    if url.startswith("postgresql"):
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute(statement.encode())
    else:
        path = url.removeprefix("sqlite:///")
        with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
            connection.execute(statement)


# -- other processes ---------------------------------------------------------------------------------------------------


def child(act: Callable[[], Any]) -> int:
    """Begin to do it in a fork of this process, which ends with it; its process id."""
    with warnings.catch_warnings():
        # Python 3.12 and later warn of any fork beside a thread; the child goes its own way here.
        warnings.simplefilter("ignore", DeprecationWarning)
        pid = os.fork()
    if pid == 0:
        code = 1
        try:
            act()
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    return pid


def forked(act: Callable[[], Any]) -> Any:
    """Do it in a fork of this process; what it gives, by way of JSON."""
    read, write = os.pipe()
    pid = child(lambda: os.write(write, json.dumps(act()).encode()))
    os.close(write)
    with os.fdopen(read, "rb") as told:
        said = told.read()
    _, status = os.waitpid(pid, 0)
    assert status == 0, "the child failed: see its standard error"
    return json.loads(said)


# -- under the shim of `tests.disk` ------------------------------------------------------------------------------------


def failing_disks(library: Path, folder: Path) -> dict[str, Any]:
    """What came of an append, a stream and a sync on a disk that fails, in one process under the shim."""
    found: dict[str, Any]
    (found,) = program.run("faulted", str(folder), env=disk.environment(library, folder), timeout=120)
    return found


def full_disk(path: Path) -> Any:
    """No space is left from the middle of a stream on, until it has ended."""
    import recorder
    from tests.test_faults import QUEUE, client_of, exchange, what_fails

    mask = sum(1 << disk.OPERATIONS[name] for name in ("create", "write", "mkdir"))
    shim = disk.loaded()
    with recorder.open(path, queue_bytes=QUEUE, min_free=0) as handle, client_of(handle) as client:
        exchange(handle, client, at_half=lambda: shim.disk_fail(mask, 0, 1 << 30, errno.ENOSPC))
        said = what_fails(handle)
        assert not handle.flush(0.2)
        hits = shim.disk_hits()
        shim.disk_fail(0, 0, 0, 0)
        assert handle.flush(30)
        exchange(handle, client)
        assert handle.flush(30)
    return [hits, said]


def operations(path: Path) -> list[int]:
    """An append, one of whose operations fails, at several places and in several ways."""
    from tests.io_errors import FAULTS

    return _failing("append", [(at, fault) for at in (0, 4) for fault in FAULTS[:3]], path)


def failing_syncs(path: Path) -> list[int]:
    """An append whose syncs fail, once or twice, at each place."""
    from tests.io_errors import Fault

    faults = [(at, Fault(("sync",), times, errno.EIO)) for times in (1, 2) for at in range(2)]
    return _failing("append", faults, path)


def _failing(scene: str, faults: list[tuple[int, Any]], path: Path) -> list[int]:
    """In how many of these something failed, how many operations that were, and how often the store refused."""
    from tests import io_errors

    logging.disable(logging.CRITICAL)
    results = []
    for number, (at, fault) in enumerate(faults):
        place = path.with_name(str(number))
        place.mkdir()
        results.append(io_errors.once(place, io_errors.SCENES[scene], at, fault))
    logging.disable(logging.NOTSET)
    failed = [each for each in results if each.hits]
    return [len(failed), sum(each.hits for each in failed), sum(each.refused is not None for each in failed)]


# -- many processes, killed ones, suspended ones -----------------------------------------------------------------------


def eight_writers(path: Path) -> Any:
    """Eight processes that append to one store at a pace: what each stored, and which share each won of the races for
    the lock that it took part in.
    """
    Store.open(path, create=True).close()
    done = memoryview(mmap.mmap(-1, 64)).cast("Q")
    begin, told, pids = os.pipe(), os.pipe(), list[int]()
    for number in range(8):
        pids.append(child(partial(_writer, path, done, number, begin, told[1])))
    os.close(begin[1])
    statuses = [os.waitpid(pid, 0)[1] for pid in pids]
    assert statuses == [0] * 8
    said = [json.loads(line) for line in os.read(told[0], 1 << 16).splitlines()]
    return [[each[:2] for each in said], [each[-1] for each in said]]


def _lost(done: memoryview) -> list[int]:
    """From now on, how many races for a lock this process loses, which is a fork: it asks in vain again, and others had
    their turn since it asked before.

    How far each comes in some time would say as much of the machine: a process that is left waiting does not ask.
    """
    lost, seen, try_lock = [0], [-1], locks.try_lock

    def asked(descriptor: int) -> bool:
        got, now = try_lock(descriptor), sum(done)
        lost[0] += not got and seen[0] not in (-1, now)
        seen[0] = -1 if got else now
        return got

    locks.try_lock = asked
    return lost


def _writer(path: Path, done: memoryview, number: int, begin: tuple[int, int], told: int) -> None:
    os.close(begin[1])
    recording, lost = opened(), _lost(done)
    with Store.open(path) as store:
        store.append([Append(recording.recording_id, recording)])
        os.read(begin[0], 1)
        lost[0] = 0
        for at in range(0, 300, 10):
            time.sleep(0.01)
            store.append([Append(recording.recording_id, None, rows_of(recording, at, at + 10, data=b"x" * 150))])
            done[number] += 1
    os.write(told, json.dumps([str(recording.recording_id), 300, 30 / (30 + lost[0])]).encode() + b"\n")


_SENT: Final = ("before_cursor_execute", "commit")


def statements(act: Callable[[], Any], *, kill_at: int = 0) -> int:
    """Do it, and count what is sent to the database: statements and commits. Before the one of that number this process
    is killed.
    """
    count = 0

    def before(*_: Any) -> None:
        nonlocal count
        count += 1
        if count == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)

    for what in _SENT:
        event.listen(Engine, what, before)
    try:
        act()
    finally:
        for what in _SENT:
            event.remove(Engine, what, before)
    return count


def killed_at(act: Callable[[], Any], at: int) -> None:
    """Do it in a fork of this process, which is killed before the statement or commit of that number."""
    _, status = os.waitpid(child(lambda: statements(act, kill_at=at)), 0)
    assert os.WIFSIGNALED(status), "it ended before it was killed"
    assert os.WTERMSIG(status) == signal.SIGKILL


def drained(url: str) -> int:
    """A writer that is told to end by SIGTERM, with 3,000 events that nobody waited for; how its process ended."""

    def write() -> None:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)  # whatever a test before this one left there
        exits.DRAIN = 60.0
        writer = Writer(lambda: Store.open(url, create=True))
        tap = writer.start(_ASKED)
        tap.head(STREAM)
        for number in range(3000):
            tap.data(b"data: %d\n\n" % number)
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(60)

    return os.waitpid(child(write), 0)[1]


@contextlib.contextmanager
def stopped(url: str) -> Iterator[tuple[UUID, int, Callable[[], int]]]:
    """A writer in a process of its own with an open recording: its id, the process, and what lets it write one event
    more, the third and last of which ends it; that gives how many gaps the writer has.
    """
    asked, told = os.pipe(), os.pipe()

    def write() -> None:
        # Suspended while it renews its lease, it would keep others from ending that.
        thread.RENEWAL = 3600.0
        writer = Writer(lambda: Store.open(url, create=True))
        tap = writer.start(_ASKED)
        tap.head(STREAM)
        for number in range(3):
            os.read(asked[0], 1)
            tap.data(b"data: %d\n\n" % number)
            if number == 2:
                tap.end(Transport.EOF)
            writer.flush(60)
            os.write(told[1], json.dumps([str(tap.recording_id), writer.stats.gaps]).encode())
        writer.close()

    def go_on() -> int:
        os.write(asked[1], b".")
        assert select.select([told[0]], [], [], 60)[0], "it does not go on"
        name, gaps = json.loads(os.read(told[0], 1000))
        recording_id[:] = [UUID(name)]
        return int(gaps)

    recording_id: list[UUID] = []
    pid = child(write)
    try:
        go_on()
        yield recording_id[0], pid, go_on
        assert os.waitpid(pid, 0)[1] == 0
    except BaseException:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        raise
    finally:
        for each in (*asked, *told):
            os.close(each)


def replayed(path: Path) -> list[str]:
    """What a store answers to each of its own requests, with the chunks and their times."""
    found = []
    with Store.open(path, readonly=True) as store:
        player = Player(store)
        for listed in reversed(store.recordings()):
            asked = store.recording(listed.recording.recording_id).request
            playback = player.play(player.find(asked))
            found.append(repr((playback.head, playback.finish, list(playback.chunks()))))
    return found


def _place(name: str) -> Path:
    place = Path(sys.argv[1]) / name
    place.mkdir()
    return place / "x.db"


if __name__ == "__main__":
    told = {
        "operations": operations(_place("operations")),
        "syncs": failing_syncs(_place("syncs")),
        "full": full_disk(_place("full")),
    }
    print(json.dumps(told))  # noqa: T201
