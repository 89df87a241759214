"""The fault table of docs/faults.md: each row is one test here, in which the fault really happens in its smallest form.

The page names for each row the test that goes deeper: more rounds, more kinds, both databases.
"""

from __future__ import annotations

import asyncio
import base64
import gzip
import json
import logging
import os
import random
import re
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import replace
from html import unescape
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final
from uuid import UUID

import httpx
import pytest

import recorder
from recorder import exchange as exchange_files
from recorder import reader, recording
from recorder.capture import Capture
from recorder.cli import answers, main
from recorder.doctor import examine, here, place, running
from recorder.errors import RecorderError, SchemaMismatch, StoreError, UsageError
from recorder.recording import Head, Request, Transport, uuid7
from recorder.schema import REVISION
from recorder.store import Append, Store, check_store, describe_store, locks, migrate_store, sqlite
from recorder.wire import Gate, Limits
from recorder.writer import Writer, recover
from tests import (
    crash,
    disk,
    erased,
    faulted,
    golden,
    killed,
    test_exchange_hostile,
    test_faults,
    test_retention_erasing,
    test_secrets,
    test_store,
    test_torture,
    test_verify,
    torture,
)
from tests.command import invoke
from tests.faulted import STREAM, Kept, ask, kept, say
from tests.hostile import REFUSED, Hostile
from tests.kept import clear, keep
from tests.loopback import LAST_CHUNK, Act, Loopback, chunk, head, stream_head, stream_script
from tests.looped import Looped
from tests.needs import CORPUS, ROOT, each, examples, need_corpus
from tests.older import REVISIONS, make_older
from tests.proxied import Proxied
from tests.tape import EVENT_STREAM, post, recorded
from tests.taped import chat, said
from tests.test_faults import CUT, FULL, client_of, endings, exchange
from tests.verified import look
from tests.wired import Echo, Wired, talk

PAGE: Final = ROOT / "docs" / "faults.md"
ROWS: Final = 50

#: A stream with which a client is content, in the form of Chat Completions.
TEXT: Final = b'data: {"choices":[{"index":0,"delta":{"content":"%d"},"finish_reason":null}]}\n\n'
BODY: Final = b"".join(TEXT % number for number in range(20)) + b"data: [DONE]\n\n"
ASKED: Final = Request("POST", "http://model.test/v1/chat/completions", body=b"{}", body_size=2)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where a SQLite store may be made."""
    return tmp_path / "recorder.db"


@pytest.fixture
def memory(tmp_path: Path) -> Iterator[Path]:
    """A folder in memory, where syncing is free."""
    with TemporaryDirectory(dir=disk.ram(tmp_path), prefix="recorder-fault-") as name:
        yield Path(name)


def appended(store: Store, body: bytes = BODY, **how: Any) -> UUID:
    """A whole exchange in the store."""
    recording, events = recorded(post("/v1/chat/completions", model="m", messages=[]), body, **how)
    rows = [(recording.recording_id.bytes, *event) for event in events]
    store.append([Append(recording.recording_id, recording, rows, recording.ending)])
    return recording.recording_id


def tortured(folder: Path, name: str) -> list[Kept]:
    """A scenario of the wire with the openai client: directly, recorded, and replayed it sees the same."""
    scenario = torture.named(name)
    folder = folder / name
    folder.mkdir()
    test_torture.test_recording_and_replay_change_nothing(scenario, scenario.modes[0], folder)
    return kept(folder / "recorder.db")


def streamed(folder: Path, *names: str) -> dict[str, list[Kept]]:
    """Scenarios of the wire with the openai client while it is recorded: it sees what is expected of each."""
    requests = {}
    with recorder.open(folder / "streamed.db") as handle:
        for number, name in enumerate(names):
            scenario = torture.named(name)
            mode = scenario.modes[number % len(scenario.modes)]
            outcome = torture.direct(scenario, mode, instrument=handle.instrument)
            assert test_torture.facts(outcome) == scenario.expect, name
            assert outcome.noticed is (True if scenario.abandons and scenario.server == "http1" else None), name
            requests[name] = outcome.requests
    found = iter(kept(folder / "streamed.db"))
    return {name: [next(found) for _ in range(count)] for name, count in requests.items()}


# -- the store ---------------------------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")  # Python 3.12 and later: a fork beside a thread
def test_fault_01_kill_9_in_mid_batch(url: str) -> None:
    """Nothing acknowledged is lost, each recording is a whole prefix, and recovery ends it as interrupted."""
    figures = crash.main(url, 1, "row1")
    assert figures["kills"] == 1
    assert figures["acknowledged"] > 0


def test_fault_02_power_loss(disk_shim: Path, memory: Path) -> None:
    """Whatever of the unsynced sectors is left: everything acknowledged is there, and the store verifies."""
    from tests import test_power

    done = test_power.work("short", "row2", memory, disk_shim)
    outcome = test_power.fail(done, memory, examples(4, 200), "row2")
    assert (outcome.points, outcome.wrong) == (examples(4, 200), [])
    assert outcome.acknowledged > 0


@pytest.fixture(scope="module")
def failed(disk_shim: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """What came of three ways in which a disk failed, in one process under the shim."""
    with TemporaryDirectory(dir=disk.ram(tmp_path_factory.getbasetemp()), prefix="recorder-fault-") as name:
        yield {"folder": name, **faulted.failing_disks(disk_shim, Path(name))}


def test_fault_03_an_io_error_at_any_operation(failed: dict[str, Any]) -> None:
    """A typed error or none; then the store opens again, holds what it acknowledged, and takes the rest."""
    tries, hits, refused = failed["operations"]
    assert hits >= tries >= refused > 0


def test_fault_04_a_full_disk(failed: dict[str, Any]) -> None:
    """The client's stream is whole, what was acknowledged stays, the gap is marked once there is space again."""
    hits, said = failed["full"]
    assert hits > 0
    assert "the disk is full" in said or "the disk, which may be full" in said
    assert endings(Path(failed["folder"], "full", "x.db")) == [CUT, FULL]


def test_fault_05_a_sync_that_fails(failed: dict[str, Any]) -> None:
    """An append whose sync fails, once or twice, is not acknowledged; sent again, it is there once."""
    tries, hits, refused = failed["syncs"]
    assert hits >= tries >= refused > 0


def test_fault_06_out_of_memory_in_capture(
    path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The stream goes on; that recording is marked truncated with the reason, the next one is whole."""
    whole = Capture.data

    def fail(self: Capture, data: bytes, elapsed_us: int) -> None:
        if test_faults.EVENTS[test_faults.HALF] in data and "poison" not in spent:
            spent.append("poison")
            raise MemoryError
        whole(self, data, elapsed_us)

    spent: list[str] = []
    monkeypatch.setattr(Capture, "data", fail)
    with recorder.open(path) as handle, client_of(handle) as client:
        exchange(handle, client)
        exchange(handle, client)
        assert handle.flush(30)
    found = endings(path)
    assert found == [("interrupted", "truncated", "capture failed: MemoryError", True), FULL]
    assert "marked truncated" in caplog.text


def test_fault_07_many_writers(memory: Path) -> None:
    """Eight processes at once: none is told that the store is busy, no row is lost, none is left behind."""
    told, shares = faulted.eight_writers(memory / "x.db")
    assert [len(each) for each in told] == [2] * 8, told
    with Store.open(memory / "x.db", readonly=True) as store:
        for recording_id, count in told:
            positions = [event.position for event in store.events(UUID(recording_id))]
            assert positions == list(range(count))
    assert min(shares) >= 0.2 * max(shares) > 0, shares


def test_fault_08_the_same_append_twice(url: str) -> None:
    """Once more at once, and all of it again from another process's store: one copy, no error."""
    recording, events = recorded(post("/v1/chat/completions", model="m", messages=[]), BODY)
    key = recording.recording_id
    rows = [(key.bytes, *event) for event in events]
    begun = replace(recording, ending=None)
    batches = [
        Append(key, begun, rows[:5]),
        Append(key, None, rows[5:12]),
        Append(key, None, rows[12:], recording.ending),
    ]
    with Store.open(url, create=True) as store, Store.open(url) as other:
        for batch in batches:
            store.append([batch])
            store.append([batch])
        for batch in batches:
            other.append([batch])
        assert list(store.events(key)) == events
        assert store.recording(key).ending == recording.ending
        assert len(store.recordings()) == 1


def test_fault_09_two_writers_of_one_recording(url: str) -> None:
    """The rows of one are stored whole; the other is told of the conflict, and nothing of its rows is there."""
    test_store.TestAppend().test_one_of_racing_writers_wins(url)


_READING: Final = """
import sqlite3, sys
reader = sqlite3.connect(sys.argv[1], isolation_level=None)
reader.execute("BEGIN"); reader.execute("SELECT count(*) FROM events").fetchone()
print("reads", flush=True); sys.stdin.readline()
"""


def test_fault_10_an_idle_reader(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It delays the WAL's way into the database, and no writer; `doctor` names it; later the WAL is used anew."""
    monkeypatch.setattr(sqlite, "CHECKPOINT_PAGES", 50)
    wal = path.with_name("recorder.db-wal")
    with Store.open(path, create=True) as store:
        appended(store)
        store.tidy()
        command = [sys.executable, "-c", _READING, str(path)]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as reader:
            assert reader.stdout is not None
            assert reader.stdout.readline() == "reads\n"
            before = path.stat().st_size
            for _ in range(10):
                appended(store, BODY * 20)
            assert path.stat().st_size == before
            grown = wal.stat().st_size
            told = running.wal(path, running.open_files(path), large=grown // 2)
            assert (told.level, str(reader.pid) in told.text) == ("warning", True)
            reader.communicate("\n")
        appended(store, BODY * 20)
        assert path.stat().st_size > before
        grown = wal.stat().st_size
        for _ in range(5):
            appended(store, BODY * 20)
        assert wal.stat().st_size == grown


def test_fault_11_an_old_sqlite(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`doctor` says which version it is and what to use; the lock that keeps clear of SQLite's bug is always on."""
    assert {text: here.sqlite_version(text).level.value for text in ("3.20.0", "3.50.4", "3.50.7", "3.51.3")} == {
        "3.20.0": "fault",
        "3.50.4": "note",
        "3.50.7": "ok",
        "3.51.3": "ok",
    }
    old = here.sqlite_version("3.50.4")
    assert "WAL-reset bug" in old.text
    assert "3.51.3" in (old.advice or "")
    taken = []
    acquire = locks.FairLock.acquire

    def noted(self: locks.FairLock, wait: float) -> bool:
        taken.append(wait)
        return acquire(self, wait)

    monkeypatch.setattr(locks.FairLock, "acquire", noted)
    with Store.open(path, create=True) as store:
        taken.clear()
        appended(store)
    assert taken


_BARGE: Final = """
import sqlite3, sys
other = sqlite3.connect(sys.argv[1], isolation_level=None, timeout=0)
try:
    other.execute("BEGIN IMMEDIATE")
except sqlite3.OperationalError as error:
    print(error)
"""


def test_fault_12_a_second_sqlite_library(path: Path) -> None:
    """None opens the store in a process that has it open: that would drop its locks, and let others write into it."""
    drivers = re.compile(r"^\s*(?:import|from) (?:adbc_driver\w*|apsw|pysqlite3)", re.MULTILINE)
    found = {file for file in (ROOT / "recorder").rglob("*.py") if drivers.search(file.read_text(encoding="utf-8"))}
    assert {file.parent.name for file in found} == {"copying"}, "that is a process of its own"
    for file in (ROOT / "analytics").glob("*.sql"):
        assert not re.search(r"sqlite_scan|\battach\b|\bload\b", file.read_text(encoding="utf-8"), re.IGNORECASE), file
    with Store.open(path, create=True) as store:
        appended(store)
        with store._backend.write() as connection:
            connection.exec_driver_sql("DELETE FROM leases")
            told = list(examine(f"sqlite:///{path}"))  # it looks at the file, its WAL and its locks
            assert {each.check for each in told} >= {"wal", "sqlite copies"}
            command = [sys.executable, "-S", "-c", _BARGE, str(path)]
            assert subprocess.check_output(command, text=True) == "database is locked\n"


def test_fault_13_a_clock_that_jumps(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A day back, a year ahead: order follows positions and ids, times within a recording never run backwards."""
    jumps = [0]
    now = time.time_ns
    monkeypatch.setattr(recording, "_CLOCK", recording._Clock())  # or later tests' ids would be a year ahead
    monkeypatch.setattr(time, "time_ns", lambda: now() + jumps[0] * 86_400_000_000_000)
    writer = Writer(lambda: Store.open(path, create=True))
    started = []
    for jump in (0, -1, 365, 0, -400):
        jumps[0] = jump
        tap = writer.start(ASKED)
        tap.head(STREAM)
        for number in range(5):
            jumps[0] = jump + (number % 2)
            tap.data(TEXT % number)
        tap.end(Transport.EOF)
        started.append(tap.recording_id)
    assert writer.close(30)
    assert started == sorted(started)
    with Store.open(path, readonly=True) as store:
        for recording_id in started:
            events = list(store.events(recording_id))
            assert [event.data for event in events if event.kind == "sse"] == [
                (TEXT % number)[6:-2] for number in range(5)
            ]
            times = [event.elapsed_us for event in events]
            assert times == sorted(times)
            assert 0 <= times[0] <= times[-1] < 60_000_000


def test_fault_14_a_fork_after_opening(sqlite_url: str) -> None:
    """Parent and child both go on, each as a writer of its own, and neither loses a row."""
    writer = Writer(lambda: Store.open(sqlite_url, create=True))

    def write(number: int) -> None:
        tap = writer.start(ASKED)
        tap.head(STREAM)
        tap.data(TEXT % number)
        tap.end(Transport.EOF)
        assert writer.flush(30)

    def in_child() -> None:
        write(2)
        assert writer.close(30)

    write(1)
    pid = faulted.child(in_child)
    write(3)
    assert os.waitpid(pid, 0)[1] == 0
    write(4)
    assert writer.close(30)
    found = kept(sqlite_url)
    assert sorted(one.data for one in found) == [[(TEXT % number)[6:-2]] for number in range(1, 5)]
    assert {one.ended for one in found} == {("eof", "full")}
    assert len({one.recording.writer for one in found}) == 2


def test_fault_15_sigterm(sqlite_url: str) -> None:
    """The process ends by the signal, and what was waiting is stored before; what was open is marked interrupted."""
    status = faulted.drained(sqlite_url)
    assert os.WTERMSIG(status) == signal.SIGTERM
    with Store.open(sqlite_url) as store:
        recover(store)
    (found,) = kept(sqlite_url)
    assert found.ended == ("interrupted", "truncated")
    assert found.data == [b"%d" % number for number in range(3000)]


def test_fault_16_an_event_loop_beside_a_slow_store(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stream and the rest of the loop go from start to end while one append stands still; all is stored later."""
    stuck, turned, go_on = threading.Event(), threading.Event(), threading.Event()
    append = Store.append

    def slow(self: Store, batch: Any) -> None:
        stuck.set()
        assert go_on.wait(60)
        append(self, batch)

    def answer(_: Any) -> Iterator[Any]:
        yield stream_head()
        yield chunk(BODY[:500])
        assert stuck.wait(30)
        assert turned.wait(30)
        yield chunk(BODY[500:]) + LAST_CHUNK

    async def stream(server: Loopback) -> bytes:
        async def others() -> None:
            while not stuck.is_set():
                await asyncio.sleep(0.005)
            for _ in range(5):
                await asyncio.sleep(0.005)
            turned.set()

        beside = asyncio.create_task(others())
        async with handle.instrument(httpx.AsyncClient(timeout=60)) as client:
            body = (await client.post(server.url, json={})).content
        await beside
        return body

    monkeypatch.setattr(Store, "append", slow)
    with recorder.open(path) as handle, Loopback([answer]) as server:
        body = asyncio.run(stream(server))
        assert (body, turned.is_set(), handle.stats.rows) == (BODY, True, 0)
        go_on.set()
        assert handle.flush(30)
    assert [one.ended for one in kept(path)] == [("eof", "full")]


# -- the wire ----------------------------------------------------------------------------------------------------------


def test_fault_17_a_client_that_leaves_early(tmp_path: Path) -> None:
    """By closing, by being cancelled, and through the proxy: the upstream is let go at once, the record says so."""
    found = streamed(tmp_path, "client-leaves-by-close", "client-leaves-by-cancel", "client-leaves-mid-event")
    assert [[one.ended for one in recordings] for recordings in found.values()] == [[("client_closed", "full")]] * 3
    with (
        Loopback([[stream_head(), chunk(BODY[:100]), Act.HOLD]]) as server,
        Proxied(tmp_path / "p.db", server.url) as proxy,
    ):
        with httpx.stream("POST", proxy.url + "/v1/x", json={}, timeout=60) as response:
            next(response.iter_raw())
        assert server.wait_gone(30)
        while proxy.service._open:
            time.sleep(0.01)
        proxy.flush()
    assert [one.ended[0] for one in kept(tmp_path / "p.db")] == ["client_closed"]


def test_fault_18_an_upstream_that_breaks_off(tmp_path: Path) -> None:
    """A reset, a missing end, a broken chunk, a short body: the exception and its cause are those without recorder."""
    names = ("reset-mid-event", "chunked-early-fin", "bad-chunk-size", "content-length-longer-than-body")
    found = {**streamed(tmp_path, *names[1:]), names[0]: tortured(tmp_path, names[0])}
    assert {name: each[0].ended[0] for name, each in found.items()} == {
        "reset-mid-event": "reset",
        "chunked-early-fin": "protocol_error",
        "bad-chunk-size": "protocol_error",
        "content-length-longer-than-body": "protocol_error",
    }
    assert [each[0].reading.complete for each in found.values()] == [False] * 4


def pass_time(server: Looped, monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    """So much time goes by on the event loop of a server that has a plain one: all that is due until then is done."""
    real = server.loop.time
    monkeypatch.setattr(server.loop, "time", lambda: real() + seconds)
    server.call(lambda: None)


def test_fault_19_a_stall(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The client's own timeout ends it, as without recorder; the proxy waits as long as the client does."""
    (found,) = tortured(tmp_path, "stall-mid-event")
    assert found.ended == ("timeout", "full")

    def silent(_: Any) -> Iterator[Any]:
        yield stream_head() + chunk(BODY[:100])
        assert begun.wait(30)
        pass_time(proxy, monkeypatch, 86_400)
        yield chunk(BODY[100:]) + LAST_CHUNK

    begun, got = threading.Event(), bytearray()
    with Loopback([silent]) as server, Proxied(tmp_path / "p.db", server.url, plain_loop=True) as proxy:
        with httpx.stream("POST", proxy.url + "/v1/x", json={}, timeout=60) as response:
            for piece in response.iter_raw():
                got += piece
                begun.set()
        assert got == BODY
        proxy.flush()
    assert [one.ended for one in kept(tmp_path / "p.db")] == [("eof", "full")]


def test_fault_20_content_codings(tmp_path: Path) -> None:
    """Cut, damaged, lying, and a bomb of 1000:1: the bytes of the wire are kept, decoding is capped and says so."""
    found = streamed(tmp_path, "gzip-truncated-clean-end", "gzip-wrong-checksum", "gzip-announced-body-plain")
    assert all("wire" in {event.kind for event in each[0].events} for each in found.values())
    assert "undecoded" in found["gzip-announced-body-plain"][0].reading.flags
    bomb = gzip.compress(b"data: " + b"\0" * (64 << 20) + b"\n\n")
    recording, events = recorded(ASKED, bomb, headers=(*EVENT_STREAM, ("content-encoding", "gzip")), chunk=1000)
    assert recording.ending is not None
    assert recording.ending.detail["undecoded"] == "decoded size is over 100 times the encoded size"
    assert b"".join(event.data or b"" for event in events if event.kind == "wire") == bomb
    assert sum(event.size for event in events if event.kind != "wire") < 32 << 20


def test_fault_21_odd_event_streams() -> None:
    """Each published vector, one byte at a time and whole: the events are those of the standard, no byte is lost."""
    from tests import test_sse

    need_corpus()
    vectors = json.loads((CORPUS / "sse_vectors.json").read_bytes())["vectors"]
    assert f" {len(vectors)} published vectors" in PAGE.read_text(encoding="utf-8")
    for vector in vectors:
        stream = base64.b64decode(vector["input_base64"])
        expected = test_sse.expect(stream)
        told = [(*message[:2], message.id or "", message.retry) for message in expected.messages]
        assert told == [(each["event"], each["data"], each["id"], each["retry"]) for each in vector["expected"]]
        for size in (1, 2, 3, len(stream) or 1):
            test_sse.check(stream, test_sse.of_size(stream, size), expected)


def test_fault_22_any_chunking() -> None:
    """However a stream is cut, its events are the same."""
    from tests import test_sse

    source = random.Random(22)
    for _ in range(examples(400, 100_000)):
        stream = b"".join(source.choices(test_sse.TOKENS, k=source.randrange(12)))
        test_sse.check(stream, test_sse.random_chunking(stream, source), test_sse.expect(stream))


def test_fault_23_a_huge_line_and_very_many_events(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each byte is looked at a few times at most, and what is held does not grow with the stream."""
    from tests import test_sse

    test_sse.test_each_byte_is_looked_at_a_few_times_whatever_the_chunks("one line", 16384, monkeypatch)
    monkeypatch.undo()
    line = b"data: " + b"x" * (10 << 20) + b"\n\n"
    events, number = TEXT % 1 * 100, examples(50, 10_000)
    recording, _ = recorded(post("/v1/chat/completions", model="m", messages=[]), b"")
    capture = Capture(replace(recording, ending=None, recording_id=uuid7()))
    capture.head(STREAM, 0)
    tracemalloc.start()
    stored = 0
    for piece in (*test_sse.of_size(line, 65_536), *[events] * number):
        capture.data(piece, 1)
        stored += sum(row[7] for row in capture.take() if row[2] != "head")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert stored == len(line) + len(events) * number
    assert peak < 64 << 20


#: Payloads that JSON allows, or nearly: what databases and parsers choke on.
BAD_VALUES: Final = (
    rb'{"a":"\ud800"}',
    rb'{"a":"\u0000"}',
    b'{"a":1,"a":2}',
    b'{"a":1e400,"b":-1e400}',
    b'{"a":NaN,"b":Infinity}',
    b'{"a":%s}' % (b"9" * 5000),
    b"[" * 100_000 + b"]" * 100_000,
    b'{"choices":null,"usage":{"prompt_tokens":%s}}' % (b"9" * 40),
    b'{"choices":[{"index":-1e99,"delta":{"content":7}}],"model":{"x":[]}}',
    b'{"id":"\xff\xfe","model":"\xc3"}',
    b"{",
    b'"',
    b"null",
)


def test_fault_24_bad_json_values(url: str) -> None:
    """They are stored as they came, also in the request; the reading is made, and says what it could not read."""
    stream = b"".join(b"data: %b\n\n" % value for value in BAD_VALUES)
    with Store.open(url, create=True) as store:
        for value in BAD_VALUES:
            asked = Request("POST", "https://api.openai.com/v1/chat/completions", body=value, body_size=len(value))
            recording, events = recorded(asked, stream, dialect="chat")
            rows = [(recording.recording_id.bytes, *event) for event in events]
            store.append([Append(recording.recording_id, recording, rows, recording.ending)])
            stored = store.recording(recording.recording_id)
            assert stored.request.body == value
            assert [event.data for event in store.events(recording.recording_id, kinds=["sse"])] == list(BAD_VALUES)
        found = [reader.read(store, listed.recording.recording_id) for listed in store.recordings()]
        assert all("malformed_json" in each.flags and each.complete is False for each in found)
        assert store.unread() == []


def test_fault_25_retries(tmp_path: Path) -> None:
    """429, 500 and a reset, each tried again: the attempts are recordings of one call, replayed in their order."""
    found = streamed(tmp_path, "500-then-ok", "reset-before-head-then-ok")
    found["429-then-ok"] = tortured(tmp_path, "429-then-ok")
    for attempts in found.values():
        assert len(attempts) == 2
        assert len({one.recording.call for one in attempts}) == 1
        assert attempts[0].recording.call is not None
    statuses = {name: [one.recording.ending.http_status for one in each] for name, each in found.items()}  # type: ignore[union-attr]
    assert statuses == {
        "429-then-ok": [429, 200],
        "500-then-ok": [500, 200],
        "reset-before-head-then-ok": [None, 200],
    }


def test_fault_26_redirects_informational_answers_204_and_http_2(tmp_path: Path) -> None:
    """Each is a recording of its own, with the rows of what came and no more."""
    found = streamed(tmp_path, "307-relative", "no-content", "http2-complete")
    told = {name: [[event.kind for event in one.events] for one in each] for name, each in found.items()}
    assert [kinds[0] for kinds in told["307-relative"]] == ["head", "head"]
    assert told["no-content"] == [["head", "end"]]
    (over_h2,) = found["http2-complete"]
    assert Head.from_json(over_h2.events[0].data or b"").http_version == "HTTP/2"
    hints = head("103 Early Hints", "Link: </a>; rel=preload") + head("200 OK", "Content-Length: 2") + b"{}"
    with Loopback([[hints]]) as server, Proxied(tmp_path / "p.db", server.url) as proxy:
        assert httpx.get(proxy.url + "/v1/x", timeout=60).content == b"{}"
        proxy.flush()
    (hinted,) = kept(tmp_path / "p.db")
    assert [event.kind for event in hinted.events] == ["info", "head", "body", "end"]


def test_fault_27_error_events(tmp_path: Path) -> None:
    """Nested and flat, on all protocols: the transport broke nothing, the protocol failed, and the reading says so."""
    found = streamed(tmp_path, "error-event-nested", "error-event-flat")
    assert {each[0].ended[1] for each in found.values()} == {"full"}
    assert found["error-event-nested"][0].reading.status == "failed"
    for name in golden.STREAMS.glob("*-error-*.sse"):
        assert golden.stream_reading(name.stem).status == "failed", name.stem


def test_fault_28_a_budget_that_ends_a_run(tmp_path: Path) -> None:
    """Incomplete with the reason, never failed."""
    found = streamed(tmp_path, "run-incomplete", "responses-incomplete", "chat-length")
    assert {each[0].reading.status for each in found.values()} == {"incomplete"}
    assert {each[0].reading.stop_reason for each in found.values()} <= {"output_limit", "input_limit"}
    for name in ("assistants-incomplete-input", "messages-max-tokens", "gemini-max-tokens"):
        reading = golden.stream_reading(name)
        assert (reading.status, reading.complete) == ("incomplete", True)


#: Wires that the SDK reads to their end without an error, though something is missing, and what the reading says.
SILENT: Final = {
    "no-final-blank-line": {"unterminated_tail", "no_terminal_event"},
    "no-done": {"no_end_marker"},
    "cut-mid-event-clean-end": {"unterminated_tail", "no_end_marker"},
    "eof-delimited-cut-mid-event": {"unterminated_tail", "no_terminal_event", "no_end_marker"},
    "content-length-shorter-than-body": {"unterminated_tail", "no_end_marker"},
    "gzip-truncated-clean-end": {"no_terminal_event", "no_end_marker"},
    "gzip-empty-body": {"no_terminal_event", "no_end_marker"},
    "empty-chunked-answer": {"no_terminal_event", "no_end_marker"},
    "empty-answer": {"no_terminal_event"},
}


def test_fault_29_a_silent_truncation(tmp_path: Path) -> None:
    """The SDK sees no error in any of the nine; the reading says what each misses, and nothing of a whole one."""
    assert all(torture.named(name).expect.error is None for name in SILENT)
    found = streamed(tmp_path, *SILENT, "lf")
    missing = {"unterminated_tail", "no_terminal_event", "no_end_marker"}
    assert {name: missing & set(each[0].reading.flags) for name, each in found.items()} == {**SILENT, "lf": set()}
    for name, flags in SILENT.items():
        assert (found[name][0].reading.complete is False) == ("no_terminal_event" in flags)


def test_fault_30_a_slow_client(tmp_path: Path) -> None:
    """What it does not take is not taken from the upstream either; what lies between them is bounded."""
    #: What kernels hold between the two is theirs to choose, and may be tens of MiB: so there is always more to come.
    most, sent, enough = 512 << 20, [0], threading.Event()
    piece = chunk(b"x" * (1 << 18))

    def answer(_: Any) -> Iterator[Any]:
        yield stream_head()
        while not enough.is_set() and sent[0] < most:
            yield piece
            sent[0] += len(piece)
        yield LAST_CHUNK

    with Loopback([answer]) as server, Proxied(tmp_path / "p.db", server.url) as proxy:
        with socket.socket() as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
            client.connect(proxy.address)
            client.sendall(b"GET /v1/x HTTP/1.1\r\nHost: localhost\r\n\r\n")
            while not sent[0]:
                time.sleep(0.01)
            (forward,) = proxy.service._open
            assert forward._link is not None
            upstream = forward._link._transport
            assert upstream is not None
            before = -1
            while (before != sent[0] or proxy.call(upstream.is_reading)) and sent[0] < most:
                before = sent[0]
                time.sleep(0.2)
            assert sent[0] < most
            assert proxy.call(forward._exchange.connection._transport.get_write_buffer_size) < 2 << 20
            enough.set()
            got, tail = 0, b""
            while not tail.endswith(LAST_CHUNK):
                data = client.recv(1 << 20)
                assert data, "the stream ended early"
                got, tail = got + len(data), (tail + data)[-100:]
            assert got > sent[0]


# -- outages -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("when", [0, 10, 20], ids=["start", "middle", "end"])
def test_fault_31_a_store_that_is_down(path: Path, when: int) -> None:
    """The stream is whole and nothing is raised; what fits into memory is stored later. A strict handle refuses."""
    missing = path.with_name("missing")
    missing.write_bytes(b"")
    with pytest.raises(RecorderError):
        recorder.open(missing / "x.db", strict=True)
    events = [event + b"\n\n" for event in BODY.split(b"\n\n")[:-1]]
    Store.open(path, create=True).close()
    # It waits for the lock as long as it takes: the thread that writes may have it just then.
    with closing(sqlite3.connect(path, 60, isolation_level=None, check_same_thread=False)) as blocker:

        def answer(_: Any) -> Iterator[Any]:
            yield stream_head()
            for number, event in enumerate(events):
                if number == when:
                    blocker.execute("BEGIN IMMEDIATE")
                yield chunk(event)
            yield LAST_CHUNK

        with recorder.open(path) as handle, client_of(handle) as client, Loopback([answer]) as server:
            assert client.post(server.url, json={}).content == BODY
            assert not handle.flush(0.1)
            blocker.execute("ROLLBACK")
            assert handle.flush(30)
    assert [(one.ended, len(one.data)) for one in kept(path)] == [(("eof", "full"), len(events))]


def test_fault_32_a_full_queue(path: Path) -> None:
    """What does not fit is cut off at a place that is marked and counted; nothing is missing before it."""
    Store.open(path, create=True).close()
    # It waits for the lock as long as it takes: the thread that writes may have it just then.
    with closing(sqlite3.connect(path, 60, isolation_level=None, check_same_thread=False)) as blocker:
        with recorder.open(path, queue_bytes=test_faults.QUEUE) as handle, client_of(handle) as client:
            exchange(handle, client, at_half=lambda: blocker.execute("BEGIN IMMEDIATE"))
            blocker.execute("ROLLBACK")
            assert handle.flush(30)
            assert handle.stats.gaps == 1
    assert endings(path) == [CUT]


def test_fault_33_a_killed_migration(memory: Path) -> None:
    """Killed before any of its steps: the old schema or the new one, all rows, and the next start goes on."""
    figures = killed.main(str(memory / "x.db"), "row33", examples(3, 50), REVISIONS[:1])
    assert figures["kills"] >= 3
    assert figures["steps"][REVISIONS[0]] > 20
    assert figures["old"] > 0


def test_fault_34_a_newer_schema(url: str) -> None:
    """It is refused with what to do, for reading too, and nothing is written into it; a client streams on."""
    with Store.open(url, create=True) as store:
        appended(store)
    say(url, "UPDATE recorder_version SET version_num = '2.0'")
    before = url_bytes(url)
    for options in ({}, {"readonly": True}):
        with pytest.raises(SchemaMismatch, match=r"newer.*; "):
            Store.open(url, **options)
    with recorder.open(url) as handle, client_of(handle) as client:
        exchange(handle, client)
        assert not handle.flush(0.1)
        handle.close(0.1)
    assert url_bytes(url) == before
    assert ask(url, "SELECT count(*) FROM recordings") == [(1,)]


def test_fault_35_an_upgrade_with_data(url: str) -> None:
    """Every row and every digest is what it was; and a program that knows a schema a little older writes on."""
    make_older(url, "1.0")
    told = "SELECT recording_id, position, kind, elapsed_us, type, data, raw, size, cuts FROM events ORDER BY 1, 2"
    sealed = "SELECT recording_id, facts_digest, payload_digest, seal FROM endings ORDER BY 1"
    before = ask(url, told), ask(url, sealed)
    assert before[0]
    assert migrate_store(url) == ("1.0", REVISION)
    assert (ask(url, told), ask(url, sealed), check_store(url)) == (*before, [])
    say(url, "UPDATE recorder_version SET version_num = '1.99'")
    with Store.open(url) as store:
        assert look(store).codes == set()
        appended(store)
    assert describe_store(url).revision == "1.99"


def url_bytes(url: str) -> bytes:
    """The file of a SQLite store; nothing of PostgreSQL's."""
    return b"" if url.startswith("postgresql") else Path(url.removeprefix("sqlite:///")).read_bytes()


# -- whether the record holds ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> test_verify.Held:
    return test_verify.Held(tmp_path_factory.mktemp("held") / "recorder.db")


@pytest.fixture
def held(pristine: test_verify.Held, path: Path) -> Callable[[], test_verify.Held]:
    """Gives copies of a store with recordings of every shape, one after the other at the same place, to be attacked."""

    def copy() -> test_verify.Held:
        copied = object.__new__(test_verify.Held)
        copied.__dict__.update(vars(pristine))
        clear(path)
        copied.path = Path(shutil.copy(pristine.path, path))
        return copied

    return copy


Held = Callable[[], test_verify.Held]


def test_fault_36_a_flipped_bit(held: Held) -> None:
    """Found, refused as damaged, or in bytes that hold nothing that is sealed."""
    one = held()
    Store.open(one.path).close()
    whole, left_out = one.path.read_bytes(), one.ids["open"].bytes
    before = test_verify.rows(one.path, left_out)
    source, outcomes = random.Random(36), []
    for at in (5, whole.index(b'"choices"'), *source.choices(range(len(whole)), k=examples(15, 1000))):
        flipped = bytearray(whole)
        flipped[at] ^= 1 << source.randrange(8)
        clear(one.path)
        one.path.write_bytes(flipped)
        try:
            outcomes.append("found" if one.codes(one.line) else "nothing")
        except StoreError:
            outcomes.append("refused")
        assert outcomes[-1] != "nothing" or test_verify.rows(one.path, left_out) == before, at
    assert outcomes[:2] == ["refused", "found"]


def test_fault_37_rows_that_were_changed(held: Held, monkeypatch: pytest.MonkeyPatch) -> None:
    """Edited, deleted, added, reordered, swapped; a tail cut, a recording taken away, a store rolled back."""
    monkeypatch.setattr(test_verify, "EDITS", examples(20, 1000))
    untouched = held()
    assert untouched.codes(untouched.line) == set()
    for attack in (
        test_verify.test_every_single_edit_is_found,
        test_verify.test_a_gap_is_found_with_its_place,
        test_verify.test_two_events_that_changed_places_are_found,
        test_verify.test_events_behind_the_end_are_found,
        test_verify.test_a_tail_that_was_cut_with_its_seal_is_found,
        test_verify.test_a_recording_that_was_taken_away_with_its_log_is_found_by_a_checkpoint,
        test_verify.test_a_store_that_was_rolled_back_is_found_by_a_checkpoint,
    ):
        attack(held())


def test_fault_38_a_forged_middle(held: Held) -> None:
    """Also with digests made anew, and also by somebody who knows the log: a checkpoint that was kept says so."""
    test_verify.test_a_forged_middle_is_found(held())
    test_verify.test_a_forgery_with_fresh_digests_is_found_by_the_log(held())
    test_verify.test_a_forgery_that_knows_the_log_too_is_found_by_a_checkpoint(held())


def test_fault_39_erased_text(url: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Over fifty canaries in every place of a request and an answer: none in any table, file or log."""
    caplog.set_level(logging.DEBUG)
    with Store.open(url, create=True) as store:
        filled = erased.fill(store)
        assert len(erased.in_database(url, filled.canaries)) > 50
        done = test_retention_erasing.erase(store)
        assert (set(done.done), done.found, done.missed) == (set(filled.customers), [], [])
        assert look(store).codes == set()
    assert erased.in_database(url, filled.canaries) == set()
    assert erased.in_files(tmp_path, filled.canaries) == {}
    assert [each for each in filled.canaries if each in caplog.text] == []


def test_fault_40_a_kill_inside_an_erasure(memory: Path) -> None:
    """Killed before any of its statements: every recording is whole or erased; called again, it goes on to the end."""
    path, template = memory / "x.db", memory / "template.db"
    with Store.open(template, create=True) as store:
        filled = erased.fill(store)

    def erase() -> None:
        with Store.open(path) as store:
            test_retention_erasing.erase(store)

    shutil.copy(template, path)
    # In a process of its own: what else goes on in this one would be counted too.
    count = faulted.forked(lambda: faulted.statements(erase))
    verdicts = set()
    for at in random.Random(40).sample(range(1, count + 1), examples(3, 50)):
        clear(path)
        shutil.copy(template, path)
        faulted.killed_at(erase, at)
        with Store.open(path) as store:
            looked = look(store)
        assert looked.codes == set()
        verdicts |= {one.verdict for one in looked.checked}
        erase()
        with Store.open(path) as store:
            assert set(store.erasures(filled.customers)) == set(filled.customers)
        assert {name for name in erased.in_files(memory, filled.canaries) if "x.db" in name} == set()
    assert verdicts == {"erased", "intact"}


# -- what others would like --------------------------------------------------------------------------------------------


def test_fault_41_a_malicious_import(tmp_path: Path, path: Path) -> None:
    """Archives that climb, links, bombs, pickles, YAML that runs, header lines in headers, bad sequences: refused."""
    exchange_files.write(tmp_path / "good.jsonl", [chat("hello", said("a"))], identity=True)
    with Store.open(path, create=True) as store:
        corpus = list(test_exchange_hostile.corpus((tmp_path / "good.jsonl").read_bytes()))
        for name, content, why in each(3, corpus):
            (tmp_path / name).write_bytes(content)
            with pytest.raises(UsageError, match=why):
                exchange_files.import_file(store, tmp_path / name)
        assert len(corpus) > 30
        assert store.recordings() == []


#: What somebody would like a terminal, a browser or a spreadsheet to do.
HOSTILE: Final = ("\x1b]0;owned\x07\x1b[2J\u202e", "</script><script>alert(1)</script>", "=cmd()|'/C calc'!A1")


def test_fault_42_hostile_model_output(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Escape sequences, markup and formulas are shown as text: on the terminal, in a page, in CSV."""
    delta = json.dumps({"choices": [{"index": 0, "delta": {"content": "".join(HOSTILE)}, "finish_reason": "stop"}]})
    asked = post("/v1/chat/completions", model=HOSTILE[0] + HOSTILE[1], messages=[], stream=True)
    with Store.open(path, create=True) as store:
        keep(store, asked, f"data: {delta}\n\ndata: [DONE]\n\n".encode(), tags={"t": HOSTILE[1]})
    inert = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e]")
    for words in (["runs"], ["recordings"], ["show", "@last"], ["show", "@last", "--timeline"]):
        done = invoke(*words, store=path)
        assert done.exit_code == 0, done.stderr
        assert not inert.search(done.stdout)
    done = invoke("export", "@last", "--format", "html", "--output", str(path.with_name("page.html")), store=path)
    assert done.exit_code == 0, done.stderr
    page = unescape(path.with_name("page.html").read_text(encoding="utf-8"))
    assert not inert.search(page)
    assert "<script" not in path.with_name("page.html").read_text(encoding="utf-8")
    assert "default-src 'none'" in page
    answers.PRINTERS["csv"](answers.Printed([answers.Column("a", "VARCHAR")], iter([[HOSTILE[2]], ["-1"], ["@x"]])))
    assert all(line.startswith(("'", "\"'")) for line in capsys.readouterr().out.splitlines()[1:])


def hostile(*prefixes: str, every: int) -> list[Hostile]:
    """One in so many of the hostile requests whose names begin so."""
    return [case for case in REFUSED if case.name.startswith(prefixes)][::every]


def test_fault_43_a_request_for_another_host(tmp_path: Path) -> None:
    """Absolute targets, dots, foreign hosts: refused, nobody is asked. A redirect is handed on and not followed."""
    metadata = "http://169.254.169.254/latest/meta-data"
    moved = [head("302 Found", f"Location: {metadata}", "Content-Length: 0")]
    with Loopback([moved]) as server, Proxied(tmp_path / "p.db", server.url) as proxy:
        cases = hostile("target", "host", "rebinding", "origin", "connect", every=4)
        assert len(cases) > 25
        for case in cases:
            data = case.data.replace(b"HOST", b"%s:%d" % (proxy.address[0].encode(), proxy.address[1]))
            replies, closed = talk(proxy.address, data)
            assert ([reply.status in case.statuses for reply in replies], closed) == ([True], True), case.name
        assert server.connections == []
        answer = httpx.get(proxy.url + "/v1/x", timeout=60)
        assert (answer.status_code, answer.headers["location"]) == (302, metadata)
        assert len(server.requests) == 1


def test_fault_44_request_smuggling() -> None:
    """Two lengths, both framings, odd chunks, folded and broken header lines: one 400, and the connection ends."""
    echo = Echo()
    with Wired(echo, gate=Gate()) as server:
        cases = hostile("framing", "chunk", "two-different", "bare", "header-line", every=3)
        assert len(cases) > 35
        for case in cases:
            data = case.data.replace(b"HOST", b"%s:%d" % (server.address[0].encode(), server.address[1]))
            replies, closed = talk(server.address, data)
            assert ([reply.status in case.statuses for reply in replies], closed) == ([True], True), case.name
    assert echo.seen == []


def test_fault_45_secrets(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Credentials in URL, headers and bodies, also cut by a chunk's edge: in no file of the store and no log line."""
    caplog.set_level(logging.DEBUG, "recorder")
    made = random.Random(45)
    secrets = [
        "".join(made.choices("ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnpqrstuvwxyz23456789", k=40)) for _ in range(9)
    ]
    told = f'data: {{"a":"sk-proj-{secrets[0]}","b":"{secrets[1]}"}}\n\n'.encode()
    script = [stream_head(f"Set-Cookie: sid={secrets[2]}"), chunk(told[:30]), chunk(told[30:]), LAST_CHUNK]
    headers = {"Authorization": f"Bearer {secrets[3]}", "x-api-key": secrets[4], "Cookie": f"a={secrets[5]}"}
    body = {"messages": [{"content": f"the key is sk-ant-api03-{secrets[6]}, the word is {secrets[7]}"}]}
    with recorder.open(path) as handle, client_of(handle) as client, Loopback([script]) as server:
        answer = client.post(f"{server.url}/v1/x?api_key={secrets[8]}", headers=headers, json=body)
        assert answer.content == told
        assert handle.flush(30)
    contents = test_secrets.files(path.parent) | {"values": repr(kept(path)).encode(), "log": caplog.text.encode()}
    seen = {number for number, each in enumerate(secrets) if any(each.encode() in data for data in contents.values())}
    assert seen == {1, 7}, "what is no credential is kept, and what is one is not"


def test_fault_46_slow_and_idle_connections(monkeypatch: pytest.MonkeyPatch) -> None:
    """Heads that trickle, that never end, that have too many lines, and idle connections: others are served."""
    with Wired(Echo(), limits=Limits(head_seconds=60.0, connections=80), plain_loop=True) as server:
        good = b"GET /v1/x HTTP/1.1\r\nHost: %s:%d\r\n" % (server.address[0].encode(), server.address[1])
        with ExitStack() as stack:
            # The idle ones first: they are the oldest, and go where there is no room. One that had bytes on their way
            # when it had to go would see a reset, or an end, as the two threads happen to run.
            idle = [stack.enter_context(socket.create_connection(server.address, 30)) for _ in range(60)]
            slow = [stack.enter_context(socket.create_connection(server.address, 30)) for _ in range(60)]
            for sock in slow:
                sock.sendall(b"GET /v1/x HTTP/1.1\r\nX-Slow: 1")
            for flood in (b"A: b\r\n" * 101, b"A: " + b"b" * (65 << 10) + b"\r\n"):
                assert [reply.status for reply in talk(server.address, good + flood + b"\r\n")[0]] == [431]
            for _ in range(5):
                assert talk(server.address, good + b"Connection: close\r\n\r\n")[0][0].status == 200
            # What the slow ones said has been read; and not before all this the minute is over that they have for it.
            while server.call(lambda: sum(bool(each._buffer) for each in server.server._connections)) < 60:
                time.sleep(0.01)
            pass_time(server, monkeypatch, 61)
            assert {sock.recv(1000)[:12] for sock in slow} == {b"HTTP/1.1 408"}
            assert {sock.recv(1000) for sock in idle} == {b""}


# -- anywhere, any time ------------------------------------------------------------------------------------------------


_REPLAYED: Final = """
import json, pathlib, sys
from tests.faulted import replayed
print(json.dumps(replayed(pathlib.Path(sys.argv[1]))))
"""


def test_fault_47_replay_anywhere(path: Path, tmp_path: Path) -> None:
    """Twice, at the same time, from a copy elsewhere, in a process with another hash seed: the same bytes and times."""
    with Store.open(path, create=True) as store:
        for number in range(4):
            asked = post("/v1/chat/completions", model="m", messages=[number % 3], b={"x": 1, "a": 2})
            keep(store, asked, TEXT % number + BODY, chunk=50 + number)
    first = faulted.replayed(path)
    assert len(set(first)) == 4
    parallel: list[list[str]] = []
    threads = [threading.Thread(target=lambda: parallel.append(faulted.replayed(path))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert parallel == [first] * 3
    elsewhere = tmp_path / "else where"
    elsewhere.mkdir()
    told = subprocess.check_output(
        [sys.executable, "-c", _REPLAYED, shutil.copy(path, elsewhere)],
        cwd=ROOT,
        env={"PYTHONHASHSEED": "4242", "TZ": "Asia/Tokyo", "PATH": os.environ["PATH"]},
    )
    assert json.loads(told) == first


def test_fault_48_a_folder_that_is_no_place_for_a_store() -> None:
    """A read-only folder is refused with what to do, and can be read; `doctor` knows file systems that cannot lock."""
    with TemporaryDirectory(prefix="recorder-rights-") as name:
        folder = Path(name)
        with Store.open(folder / "x.db", create=True) as store:
            appended(store)
        for each in (*folder.rglob("*"), folder):
            each.chmod(0o555 if each.is_dir() else 0o444)

        def try_it() -> list[Any]:
            if os.geteuid() == 0:
                os.setgid(65534)
                os.setuid(65534)
            with pytest.raises(StoreError, match="writable"):
                Store.open(folder / "x.db")
            with pytest.raises(StoreError, match="writable"):
                Store.open(folder / "new.db", create=True)
            with Store.open(folder / "x.db", readonly=True) as store:
                return [len(store.recordings())]

        try:
            assert faulted.forked(try_it) == [1]
        finally:
            folder.chmod(0o755)
    told = {kind: place.judge(place.Mount("/x", kind, False)) for kind in ("nfs4", "overlay", "ext4")}
    assert {kind: each.level.value for kind, each in told.items()} == {"nfs4": "fault", "overlay": "note", "ext4": "ok"}
    assert "local disk" in (told["nfs4"].advice or "")
    assert place.judge(place.Mount("/x", "ext4", True)).level.value == "fault"


def test_fault_49_a_suspended_writer(url: str) -> None:
    """On SQLite it is alive as long as its process, and goes on. On PostgreSQL, once its lease has run out and others
    have ended its recording, it is fenced: nothing comes behind the end.
    """
    lease = url.startswith("postgresql")
    with faulted.stopped(url) as (recording_id, pid, go_on):
        os.kill(pid, signal.SIGSTOP)
        assert os.WIFSTOPPED(os.waitpid(pid, os.WUNTRACED)[1])
        crash.expire_leases(url)
        with Store.open(url) as store:
            assert recover(store) == ([recording_id] if lease else [])
        os.kill(pid, signal.SIGCONT)
        assert go_on() == int(lease)
        assert go_on() == int(lease)
    (found,) = kept(url)
    assert found.ended == (("interrupted", "truncated") if lease else ("eof", "full"))
    assert found.data == [b"0", b"1", b"2"][: 1 if lease else 3]


def test_fault_50_two_proxies(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """On one port the second says so and ends; on one store both record."""
    with (
        Loopback([stream_script(BODY)], repeat_last=True) as server,
        Proxied(path, server.url) as one,
        Proxied(path, server.url) as other,
    ):
        with pytest.raises(SystemExit) as ended:
            main(["--store", str(path), "record", "--upstream", server.url, "--port", str(one.address[1])])
        for proxy in (one, other, one):
            assert httpx.post(proxy.url + "/v1/x", json={}, timeout=60).content == BODY
        one.flush()
        other.flush()
    assert ended.value.code == 2
    assert "cannot be listened on" in capsys.readouterr().err
    found = kept(path)
    assert [each.ended for each in found] == [("eof", "full")] * 3
    assert len({each.recording.writer for each in found}) == 2


# -- the page ----------------------------------------------------------------------------------------------------------


def test_the_page_lists_these_tests_and_no_others() -> None:
    """Fifty rows in order, each with its one test of that number, and with deeper tests that exist."""
    told = PAGE.read_text(encoding="utf-8")
    assert f"({len(REFUSED)} hostile requests" in told
    rows = re.findall(r"^\| (\d+) \| (.+?) \| (.+?) \| (.+?) \|$", told, re.MULTILINE)
    assert [int(number) for number, *_ in rows] == list(range(1, ROWS + 1))
    tests = sorted(name for name in globals() if name.startswith("test_fault_"))
    named = [re.findall(r"`([^`]+)`", tests_) for *_, tests_ in rows]
    assert [names[0] for names in named] == tests
    assert [int(name.split("_")[2]) for name in tests] == list(range(1, ROWS + 1))
    for deeper in (one for names in named for one in names[1:]):
        file, _, name = deeper.partition("::")
        text = (ROOT / "tests" / file).read_text(encoding="utf-8")
        assert not name or f"def {name}(" in text, deeper
