"""What goes wrong with a store while a real client is being recorded: the client's stream is not touched.

What was acknowledged is kept, a gap is marked with its reason, one warning says what is wrong, recording goes on when
the fault has passed, and the application never sees an exception. The command line says it in one line, with code 4.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import httpx
import pytest

import recorder
from recorder.handle import Handle
from recorder.store import Store
from tests.loopback import LAST_CHUNK, Loopback, Request, Step, chunk, stream_head
from tests.needs import ROOT
from tests.postgres import Postgres

EVENTS = [b"data: %06d %s\n\n" % (number, b"x" * 2000) for number in range(600)]
HALF = len(EVENTS) // 2
WHOLE = b"".join(EVENTS)
#: What waits in memory at most, in bytes: less than half of a stream.
QUEUE = 300_000


@contextlib.contextmanager
def small_disk(folder: Path, size: str = "3m") -> Iterator[Path]:
    """A file system of that size, mounted while the block runs; the test is skipped where it may not be mounted."""
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)], check=False, capture_output=True
    )
    if done.returncode:
        pytest.skip("no right to mount a small file system here")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(disk: Path) -> Path:
    """Use up what is left of a small disk; gives the file to remove."""
    ballast = disk / "ballast"
    with ballast.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(b"\0" * 4096)
    return ballast


def full(path: Path, disk: Path) -> Path:
    """Use up what is left of the disk on which a store is written to; gives the file to remove."""
    with Store.open(path) as store:
        # Or the WAL would have room within itself where it has just started over.
        assert store.tidy() is None
    return fill(disk)


def client_of(handle: Handle) -> httpx.Client:
    return handle.instrument(httpx.Client(timeout=60))


def keep_pace(handle: Handle) -> None:
    """Wait until all is durable, or until the store fails."""
    while not handle.flush(0.2) and handle.stats.failing is None:
        pass


def exchange(handle: Handle, client: httpx.Client, *, at_half: Callable[[], object] | None = None) -> None:
    """One stream from end to end, with a fault in its middle; the client gets exactly what was sent.

    While all is well it is no faster than the client and the store. The fault comes when the client has all that was
    sent before it, so that nothing of that is still on its way to the store by chance.
    """
    got = bytearray()

    def answer(_: Request) -> Iterator[Step]:
        yield stream_head()
        sent = 0
        for number, event in enumerate(EVENTS):
            if number == HALF and at_half is not None:
                while len(got) < sent:
                    yield 0.001
                at_half()
            elif number % 20 == 1 and (number < HALF or at_half is None) and handle.stats.failing is None:
                while len(got) < sent:
                    yield 0.001
                keep_pace(handle)
            yield chunk(event)
            sent += len(event)
        yield LAST_CHUNK

    with Loopback([answer]) as server, client.stream("POST", server.url, json={}) as response:
        for piece in response.iter_raw():
            got += piece
    assert got == WHOLE


def what_fails(handle: Handle) -> str:
    """Why the store takes nothing, once the thread that writes has met it."""
    deadline = time.monotonic() + 30
    while handle.stats.failing is None and time.monotonic() < deadline:
        time.sleep(0.01)
    return str(handle.stats.failing)


def endings(where: str | Path) -> list[tuple[str, str, str | None, bool]]:
    """How each recording ended: the ending, whether captured whole, why not, and whether its events are a prefix."""
    found = []
    with Store.open(where) as store:
        for listed in reversed(store.recordings()):
            recording = store.recording(listed.recording.recording_id)
            events = [event.data for event in store.events(recording.recording_id, kinds=["sse"])]
            prefix = events == [event[6:-2] for event in EVENTS[: len(events)]] and len(events) > 0
            assert recording.ending is not None
            assert (len(events) == len(EVENTS)) == (recording.ending.captured == "full")
            reason = recording.ending.detail.get("reason")
            found.append((recording.ending.ending, recording.ending.captured, reason, prefix))
    return found


FULL = ("eof", "full", None, True)
#: Warnings beside the writer's: of the thread that makes readings, and the sum when a handle closes.
OTHERS = ("recorder cannot make readings", "recorder closes")
CUT = ("eof", "truncated", "the queue was full: the store did not keep up", True)


def warnings_of(caplog: pytest.LogCaptureFixture) -> list[logging.LogRecord]:
    """What the writer warned of; its end and the thread that makes readings may each have a word of their own."""
    records = [record for record in caplog.records if record.name == "recorder" and record.levelno >= logging.WARNING]
    return [record for record in records if not record.getMessage().startswith(OTHERS)]


def warned(caplog: pytest.LogCaptureFixture, *says: str) -> None:
    """That these were the warnings, and nothing was worse."""
    records = warnings_of(caplog)
    assert [record.levelno for record in records] == [logging.WARNING] * len(says), caplog.text
    for record, said in zip(records, says, strict=True):
        assert said in record.getMessage()


def command_line(where: str | Path, *arguments: str) -> str:
    """What a command says that fails for the store's sake: one line, with exit code 4."""
    done = subprocess.run(
        [sys.executable, "-m", "recorder", "--store", str(where), *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (4, "", 1), done.stderr
    return done.stderr


# -- disks -------------------------------------------------------------------------------------------------------------


def test_a_full_disk(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The stream that met it is cut and marked; the one before is whole, and so is the one after space came back."""
    with small_disk(tmp_path, "32m") as disk:
        path = disk / "tape.db"
        with recorder.open(path, queue_bytes=QUEUE, min_free=0) as handle, client_of(handle) as client:
            exchange(handle, client)
            assert handle.flush(30)
            ballast: list[Path] = []
            exchange(handle, client, at_half=lambda: ballast.append(full(path, disk)))
            assert "the disk is full" in what_fails(handle)
            assert not handle.flush(0.2)
            ballast[0].unlink()
            assert handle.flush(30)
            exchange(handle, client)
            assert handle.flush(30)
        assert endings(path) == [FULL, CUT, FULL]
        with contextlib.closing(sqlite3.connect(path)) as connection:
            assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    warned(caplog, "the disk is full", "writes again")


def test_a_full_disk_on_the_command_line(tmp_path: Path) -> None:
    """No store can be made there, and the message says why."""
    with small_disk(tmp_path) as disk:
        (disk / "tape.db").touch(0o600)
        fill(disk)
        assert "No space left" in (said := command_line(disk / "tape.db", "db", "upgrade")) or "disk is full" in said


def test_a_read_only_disk(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """It can be read; recording warns once, marks the gap, and goes on when the disk can be written again."""
    with small_disk(tmp_path, "8m") as disk:
        path = disk / "tape.db"
        with recorder.open(path, min_free=0) as handle, client_of(handle) as client:
            exchange(handle, client)
            assert handle.flush(30)
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
        assert "writable" in command_line(disk / "new.db", "demo")
        listed = [sys.executable, "-m", "recorder", "--store", str(path), "runs", "--json"]
        assert subprocess.run(listed, cwd=ROOT, capture_output=True, check=True).stdout.count(b"\n") == 1
        with recorder.open(path, queue_bytes=QUEUE, min_free=0) as handle, client_of(handle) as client:
            exchange(handle, client)
            what_fails(handle)
            assert not handle.flush(0.2)
            subprocess.run(["mount", "-o", "remount,rw", str(disk)], check=True)
            assert handle.flush(30)
        assert endings(path) == [FULL, CUT]
    warned(caplog, "recorder cannot write", "writes again")


_LIMITED = """
import logging, resource, signal, sys
sys.path.insert(0, sys.argv[2])
from pathlib import Path
import recorder
from recorder.store import sqlite
from tests.test_faults import QUEUE, client_of, exchange, what_fails
logging.basicConfig(level=logging.WARNING, format="%(message)s")
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
path = Path(sys.argv[1])
sqlite.CHECKPOINT_PAGES = 1 << 30  # a WAL that starts over is written from its beginning, below any limit

def limit(size):
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))

with recorder.open(path, queue_bytes=QUEUE) as handle, client_of(handle) as client:
    exchange(handle, client)
    assert handle.flush(30)
    # Writes beyond this fail with EFBIG, which SQLite calls an I/O error.
    exchange(handle, client, at_half=lambda: limit(path.with_name("tape.db-wal").stat().st_size // 2))
    what_fails(handle)
    assert not handle.flush(0.2)
    limit(resource.RLIM_INFINITY)
    assert handle.flush(30)
    exchange(handle, client)
    assert handle.flush(30)
"""


def test_an_io_error(tmp_path: Path) -> None:
    """Writes that fail half-way: what was acknowledged stays, the gap is marked, the next stream is whole."""
    path = tmp_path / "tape.db"
    done = subprocess.run(
        [sys.executable, "-c", _LIMITED, str(path), str(ROOT)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 0, done.stderr
    first, second = [line for line in done.stderr.splitlines() if not line.startswith(OTHERS)]
    assert "I/O error" in first
    assert "writes again" in second
    assert endings(path) == [FULL, CUT, FULL]


# -- files -------------------------------------------------------------------------------------------------------------


def _remove(handle: Handle, path: Path) -> None:
    assert handle.flush(30)
    for one in path.parent.glob("tape.db*"):
        if one.is_file():
            one.unlink()


def test_a_store_that_is_removed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The client goes on; recording begins anew at the old place, and says once what it could not finish."""
    path = tmp_path / "tape.db"
    with recorder.open(path) as handle, client_of(handle) as client:
        exchange(handle, client, at_half=partial(_remove, handle, path))
        exchange(handle, client)
        assert handle.flush(30)
    assert endings(path)[-1] == FULL
    assert [record.levelno for record in warnings_of(caplog)] in ([logging.WARNING], [logging.WARNING] * 2)


@pytest.mark.parametrize("what", ["not a database", "another application's", "a newer recorder's", "a folder"])
def test_a_file_that_is_no_store(what: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """One warning in an application, one line on the command line, and the file is left as it was."""
    path = tmp_path / "tape.db"
    _make(path, what)
    before = path.read_bytes() if path.is_file() else None
    said = command_line(path, "runs")
    with recorder.open(path) as handle, client_of(handle) as client:
        exchange(handle, client)
        exchange(handle, client)
        assert what_fails(handle) in said
        assert not handle.flush(0.3)
        handle.close(0.1)
    assert (path.read_bytes() if path.is_file() else None) == before
    warned(caplog, "recorder cannot write")


def _make(path: Path, what: str) -> None:
    if what == "a folder":
        path.mkdir()
    elif what == "not a database":
        path.write_bytes(b"nothing of the kind\n" * 1000)
    else:
        if what == "a newer recorder's":
            Store.open(path, create=True).close()
        with contextlib.closing(sqlite3.connect(path)) as connection:
            if what == "a newer recorder's":
                connection.execute("UPDATE recorder_version SET version_num = '99.0'")
            else:
                connection.execute("CREATE TABLE theirs (a)")
            connection.commit()


# -- servers -----------------------------------------------------------------------------------------------------------


def _kill(handle: Handle, server: Postgres) -> None:
    assert handle.flush(30)
    server.kill()


@pytest.mark.parametrize("how", ["short", "long"])
def test_a_postgresql_server_that_is_killed(how: str, caplog: pytest.LogCaptureFixture, postgres: Postgres) -> None:
    """A short outage loses nothing at all; in a long one the stream does not fit into memory, and the gap is marked."""
    with Postgres() as server:
        url = server.url()
        subprocess.run([sys.executable, "-m", "recorder", "--store", url, "db", "upgrade"], cwd=ROOT, check=True)
        queue = 64 << 20 if how == "short" else QUEUE
        with recorder.open(url, queue_bytes=queue) as handle, client_of(handle) as client:
            exchange(handle, client)
            assert handle.flush(30)
            exchange(handle, client, at_half=partial(_kill, handle, server))
            what_fails(handle)
            assert not handle.flush(0.2)
            if how == "short":
                assert "PostgreSQL" in command_line(url, "runs") or "cannot be reached" in command_line(url, "runs")
            server.start()
            assert handle.flush(30)
            exchange(handle, client)
            assert handle.flush(30)
        assert endings(url) == [FULL, FULL if how == "short" else CUT, FULL]
    warned(caplog, "recorder cannot write", "writes again")


def test_threads_of_an_application_never_see_the_fault(tmp_path: Path) -> None:
    """Many clients at once over a store that cannot be written: each gets its stream."""
    path = tmp_path / "tape.db"
    path.write_bytes(b"no database" * 1000)
    failures: list[BaseException] = []

    def one(client: httpx.Client) -> None:
        try:
            exchange(handle, client)
        except BaseException as error:
            failures.append(error)

    with recorder.open(path, queue_bytes=QUEUE) as handle, client_of(handle) as client:
        threads = [threading.Thread(target=one, args=[client]) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert what_fails(handle) != "None"
        handle.close(0.1)
    assert failures == []
