"""The writer: what taps hand over is durable in order, outages and floods are marked, forks and exits lose nothing."""

from __future__ import annotations

import functools
import gc
import logging
import os
import signal
import sqlite3
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from uuid import UUID

import pytest

from recorder import match
from recorder.capture import Capture, seal_interrupted
from recorder.errors import Conflict, StoreUnavailable
from recorder.match import Rule
from recorder.recording import Captured, Event, Head, Recording, Request, Transport, uuid7
from recorder.store import Append, Store
from recorder.writer import Ended, Options, Tap, Writer, recover
from recorder.writer.thread import MANY
from tests.crash import check_digests
from tests.needs import ROOT

STREAM = Head(200, "OK", "HTTP/1.1", (("Content-Type", "text/event-stream"), ("Set-Cookie", "s=1")))
#: Seconds that any wait may last before the test is called broken: no measure of speed.
LIMIT = 30.0
REQUEST = Request(
    "POST", "http://model.test/v1/chat/completions", (("Authorization", "Bearer x"),), b'{"model":"m","messages":[]}'
)


@pytest.fixture
def writer(sqlite_url: str) -> Iterator[Writer]:
    """A writer of a new SQLite store."""
    made = Writer(lambda: Store.open(sqlite_url, create=True))
    yield made
    assert made.close(LIMIT)


def _only(url: str) -> Recording:
    store = Store.open(url)
    try:
        (recording,) = store.find(match.key(REQUEST))
        return recording
    finally:
        store.close()


def test_an_exchange_is_stored_as_it_happened(writer: Writer, sqlite_url: str) -> None:
    """Head, events, ending and digests are there; credentials are not; flush means durable."""
    tap = writer.start(REQUEST, tags={"app": "t"}, session="s", trace="00-a-b-01")
    tap.info(Head(103, "Early Hints"))
    tap.head(STREAM)
    tap.data(b"data: 1\n\ndata: 2")
    tap.data(b"\n\n")
    tap.end(Transport.EOF)
    assert writer.flush(LIMIT)
    assert tap.durable == 4
    recording = _only(sqlite_url)
    assert recording.recording_id == tap.recording_id
    assert (recording.dialect, recording.origin) == ("chat", "http://model.test")
    assert (dict(recording.tags), recording.session, recording.trace) == ({"app": "t"}, "s", "00-a-b-01")
    assert recording.parameters["model"] == "m"
    assert ("Authorization", "[redacted]") in recording.request.headers
    assert recording.ending is not None
    assert (recording.ending.ending, recording.ending.captured, recording.ending.http_status) == ("eof", "full", 200)
    store = Store.open(sqlite_url)
    events = list(store.events(tap.recording_id))
    store.close()
    assert [event.kind for event in events] == ["info", "head", "sse", "sse", "end"]
    assert [event.data for event in events if event.kind == "sse"] == [b"1", b"2"]
    assert b"[redacted]" in (events[1].data or b"")


def test_only_the_first_end_counts(writer: Writer, sqlite_url: str) -> None:
    """A client that closes after EOF does not turn the ending into client_closed."""
    tap = writer.start(REQUEST)
    tap.end(Transport.EOF)
    tap.end(Transport.CLIENT_CLOSED)
    tap.data(b"late")
    assert writer.flush(LIMIT)
    ending = _only(sqlite_url).ending
    assert ending is not None
    assert (ending.ending, ending.wire_bytes) == ("eof", 0)


def test_a_request_that_was_not_answered_has_an_ending_without_a_head(writer: Writer, sqlite_url: str) -> None:
    """A refused connection is a recording too, with the exception in its end."""
    tap = writer.start(REQUEST)
    detail = {"exception": [{"type": "httpx.ConnectError", "message": "refused", "errno": 111}]}
    tap.end(Transport.CONNECT_ERROR, detail=detail)
    assert writer.flush(LIMIT)
    ending = _only(sqlite_url).ending
    assert ending is not None
    assert (ending.ending, ending.events, ending.http_status) == ("connect_error", 0, None)


def test_ended_recordings_are_told_once_they_are_durable(sqlite_url: str) -> None:
    """`on_ended` gets the sealed recording, and the payloads where the store has none."""
    told: list[Ended] = []
    writer = Writer(lambda: Store.open(sqlite_url, create=True), on_ended=told.extend)
    for content in ("full", "facts", "none"):
        tap = writer.start(REQUEST, content=content)
        tap.head(STREAM)
        tap.data(b"data: secret\n\n")
        tap.end(Transport.EOF)
    assert writer.flush(LIMIT)
    assert writer.close(LIMIT)
    told.sort(key=lambda ended: ended.recording.recording_id)
    assert [ended.recording.content for ended in told] == ["full", "facts", "none"]
    assert [ended.rows is not None for ended in told] == [False, True, False]
    assert told[1].rows is not None
    assert b"secret" in [row[5] for row in told[1].rows]
    assert told[1].recording.request.body is None
    assert told[1].recording.parameters["model"] == "m"
    assert told[2].recording.parameters == {}
    store = Store.open(sqlite_url)
    kept = [[event.data for event in store.events(ended.recording.recording_id)][1] for ended in told]
    store.close()
    assert kept == [b"secret", None, None]


def test_a_body_above_the_limit_is_kept_as_length_and_digest(sqlite_url: str) -> None:
    """It is forwarded all the same; the recording says what it was, and cannot be replayed."""
    writer = Writer(lambda: Store.open(sqlite_url, create=True), Options(body_limit=10))
    tap = writer.start(Request("POST", "http://model.test/", (), b"x" * 11))
    tap.end(Transport.EOF)
    assert writer.close(LIMIT)
    store = Store.open(sqlite_url)
    request = store.recording(tap.recording_id).request
    store.close()
    assert (request.body, request.body_size) == (None, 11)
    assert request.body_sha256 is not None


def test_a_body_above_the_limit_does_not_crowd_out_the_answer(sqlite_url: str) -> None:
    """It is larger than the whole queue, and the answer is recorded all the same."""
    writer = Writer(lambda: Store.open(sqlite_url, create=True), Options(body_limit=1000, queue_bytes=20_000))
    tap = writer.start(Request("POST", "http://model.test/", (), b"x" * 50_000))
    tap.head(STREAM)
    tap.data(b"data: 1\n\n")
    tap.end(Transport.EOF)
    assert writer.close(LIMIT)
    store = Store.open(sqlite_url)
    recording = store.recording(tap.recording_id)
    store.close()
    assert recording.ending is not None
    assert (recording.ending.captured, recording.ending.wire_bytes) == ("full", 9)
    assert recording.request.body_size == 50_000
    assert (writer.stats.gaps, writer.stats.held_bytes) == (0, 0)


def test_the_match_rule_is_stored_with_the_key(sqlite_url: str) -> None:
    """Replay can tell under which rule a recording was keyed."""
    rule = Rule(ignore=("body.metadata",))
    writer = Writer(lambda: Store.open(sqlite_url, create=True), Options(rule=rule))
    tap = writer.start(REQUEST)
    tap.end(Transport.EOF)
    assert writer.close(LIMIT)
    store = Store.open(sqlite_url)
    assert store.recording(tap.recording_id).match_rule == rule.to_text()
    store.close()


def test_closing_ends_what_is_open_as_interrupted(sqlite_url: str) -> None:
    """Streams that outlive the recorder are marked, not left open."""
    writer = Writer(lambda: Store.open(sqlite_url, create=True))
    tap = writer.start(REQUEST)
    tap.head(STREAM)
    tap.data(b"data: 1\n\ndata: unfinished")
    assert writer.close(LIMIT)
    tap.data(b"after")
    tap.end(Transport.EOF)
    ending = _only(sqlite_url).ending
    assert ending is not None
    assert (ending.ending, ending.captured, ending.wire_bytes) == ("interrupted", "truncated", 25)
    assert writer.stats.gaps == 1
    assert writer.start(REQUEST).durable == -1


class _Outage:
    """Opens the real store, or refuses while `down`."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.down = threading.Event()
        self.asked = threading.Event()

    def __call__(self) -> Store:
        self.asked.set()
        if self.down.is_set():
            raise StoreUnavailable("the store is down; start it")
        return Store.open(self.url, create=True)


def test_an_outage_at_the_start_loses_nothing_that_fits(sqlite_url: str, caplog: pytest.LogCaptureFixture) -> None:
    """One warning while the store is down; everything is stored when it comes up."""
    outage = _Outage(sqlite_url)
    outage.down.set()
    writer = Writer(outage)
    with caplog.at_level(logging.WARNING, "recorder"):
        tap = writer.start(REQUEST)
        tap.head(STREAM)
        tap.data(b"data: 1\n\n")
        tap.end(Transport.EOF)
        assert not writer.flush(0.3)
        _eventually(lambda: writer.stats.failing is not None)
        outage.down.clear()
        assert writer.flush(LIMIT)
    assert writer.close(LIMIT)
    ending = _only(sqlite_url).ending
    assert ending is not None
    assert ending.captured == Captured.FULL
    assert [record.levelname for record in caplog.records] == ["WARNING", "WARNING"]
    assert "cannot write" in caplog.messages[0]
    assert "writes again" in caplog.messages[1]


def test_a_full_queue_cuts_recordings_short_and_says_so(sqlite_url: str) -> None:
    """While the store is down the queue fills; what did not fit is a marked gap at the end, never in the middle."""
    outage = _Outage(sqlite_url)
    outage.down.set()
    writer = Writer(outage, Options(queue_bytes=20_000))
    first = writer.start(REQUEST)
    assert outage.asked.wait(LIMIT)
    first.head(STREAM)
    for number in range(3000):
        first.data(b"data: %08d\n\n" % number)
    first.end(Transport.EOF)
    late = writer.start(Request("POST", REQUEST.url, (), b"y" * 30_000))
    late.head(STREAM)
    late.data(b"data: lost\n\n")
    late.end(Transport.EOF)
    outage.down.clear()
    assert writer.flush(LIMIT)
    store = Store.open(sqlite_url)
    events = list(store.events(first.recording_id))
    cut, bare = store.recording(first.recording_id), store.recording(late.recording_id)
    store.close()
    numbers = [int(event.data or b"") for event in events if event.kind == "sse"]
    assert numbers == list(range(len(numbers)))
    assert 0 < len(numbers) < 3000
    assert cut.ending is not None
    assert bare.ending is not None
    assert (cut.ending.captured, bare.ending.captured) == ("truncated", "truncated")
    assert "queue was full" in cut.ending.detail["reason"]
    assert bare.request.body is None
    assert bare.request.body_size == 30_000
    assert writer.stats.gaps == 2
    assert writer.stats.held_bytes == 0
    assert writer.close(LIMIT)


def test_a_fenced_writer_gives_its_recording_up_and_keeps_the_others(sqlite_url: str) -> None:
    """Recovery closed one recording; its writer, awake again, cannot write behind the end; others go on."""
    writer = Writer(lambda: Store.open(sqlite_url, create=True))
    fenced, other = writer.start(REQUEST), writer.start(REQUEST)
    for tap in (fenced, other):
        tap.head(STREAM)
        tap.data(b"data: 1\n\n")
    assert writer.flush(LIMIT)
    rival = Store.open(sqlite_url)
    row, ending = seal_interrupted(rival.recording(fenced.recording_id), rival.events(fenced.recording_id))
    rival.append([Append(recording_id=fenced.recording_id, rows=[row], ending=ending)])
    for tap in (fenced, other):
        tap.data(b"data: 2\n\n")
        tap.end(Transport.EOF)
    assert writer.flush(LIMIT)
    assert [event.kind for event in rival.events(fenced.recording_id)] == ["head", "sse", "end"]
    assert [event.kind for event in rival.events(other.recording_id)] == ["head", "sse", "sse", "end"]
    assert writer.stats.gaps == 1
    rival.close()
    assert writer.close(LIMIT)


def test_recovery_leaves_living_writers_alone(writer: Writer, sqlite_url: str) -> None:
    """A second process that opens the store does not close what the first is still recording."""
    tap = writer.start(REQUEST)
    tap.head(STREAM)
    assert writer.flush(LIMIT)
    store = Store.open(sqlite_url)
    assert recover(store) == []
    assert store.recording(tap.recording_id).ending is None
    store.close()


def test_recovery_closes_what_a_dead_writer_left_and_only_once(sqlite_url: str) -> None:
    """Every recoverer makes the same end; a late duplicate is no conflict."""
    script = f"""
        import os
        from recorder.store import Store
        from recorder.writer import Writer
        from recorder.recording import Head, Request
        writer = Writer(lambda: Store.open({sqlite_url!r}, create=True))
        tap = writer.start(Request("POST", "http://model.test/"))
        tap.head(Head(200, "OK", "HTTP/1.1", (("Content-Type", "text/event-stream"),)))
        tap.data(b"data: 1" + bytes([10, 10]))
        assert writer.flush(60)
        print(tap.recording_id, flush=True)
        os._exit(1)
    """
    done = _python(script)
    recording_id = UUID(done.stdout.strip())
    store = Store.open(sqlite_url)
    assert recover(store) == [recording_id]
    assert recover(store) == []
    first = list(store.events(recording_id))
    row, ending = seal_interrupted(store.recording(recording_id), first[:-1])
    store.append([Append(recording_id=recording_id, rows=[row], ending=ending)])
    assert list(store.events(recording_id)) == first
    stored = store.recording(recording_id).ending
    store.close()
    assert stored is not None
    assert (stored.ending, stored.events, stored.seal) == ("interrupted", 2, ending.seal)


def test_recovery_does_not_count_what_its_writer_goes_on_with(sqlite_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A writer that was taken for dead appends between recovery's look and its end: there is no end yet."""
    writer = Writer(lambda: Store.open(sqlite_url, create=True))
    tap = writer.start(REQUEST)
    tap.head(STREAM)
    assert writer.flush(LIMIT)
    with Store.open(sqlite_url) as store:
        monkeypatch.setattr(store, "dead_recordings", lambda: [tap.recording_id])
        look = store.events

        def look_and_lose(recording_id: UUID) -> list[Event]:
            seen = list(look(recording_id))
            tap.data(b"data: 1\n\n")
            assert writer.flush(LIMIT)
            return seen

        monkeypatch.setattr(store, "events", look_and_lose)
        assert recover(store) == []
        assert store.recording(tap.recording_id).ending is None
    tap.end(Transport.EOF)
    assert writer.close(LIMIT)


def _python(script: str, **environment: str) -> subprocess.CompletedProcess[str]:
    # Python 3.12 and later warn of any fork beside a thread; that it goes well is what is tested here.
    quiet = "ignore:This process:DeprecationWarning"
    return subprocess.run(
        [sys.executable, "-W", quiet, "-c", textwrap.dedent(script)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=110,
        env={**os.environ, **environment},
    )


# What is tested is that nothing is lost at the ends and forks, not in how many seconds a busy machine is done with it.
_BURST = """
    import os, signal, sys, time
    import recorder.writer.exits, recorder.writer.thread
    recorder.writer.exits.DRAIN = recorder.writer.thread.DRAIN = 60.0
    from recorder.store import Store
    from recorder.writer import Writer
    from recorder.recording import Head, Request
    def burst(url):
        writer = Writer(lambda: Store.open(url, create=True))
        tap = writer.start(Request("POST", "http://model.test/"))
        tap.head(Head(200, "OK", "HTTP/1.1", (("Content-Type", "text/event-stream"),)))
        for number in range(20_000):
            tap.data(b"data: %d" % number + bytes([10, 10]))
        return writer, tap
"""


def _stored_events(url: str) -> int:
    path = url.removeprefix("sqlite:///")
    with sqlite3.connect(path) as connection:
        count: int = connection.execute("SELECT count(*) FROM events WHERE kind = 'sse'").fetchone()[0]
    connection.close()
    return count


@pytest.mark.parametrize(
    "leave",
    [
        "writer, tap = burst(URL); tap.end('eof')",
        "writer, tap = burst(URL); os.kill(os.getpid(), signal.SIGTERM); time.sleep(30)",
        "writer, tap = burst(URL); raise SystemExit(3)",
        "import multiprocessing as m; p = m.get_context('fork').Process(target=burst, args=[URL]); p.start(); p.join()",
    ],
    ids=["end of the interpreter", "SIGTERM", "SystemExit", "end of a multiprocessing child"],
)
def test_a_burst_is_drained_when_the_process_ends(leave: str, sqlite_url: str) -> None:
    """However the process ends short of a kill, what was queued is stored."""
    done = _python(textwrap.dedent(_BURST) + f"\nURL = {sqlite_url!r}\n{leave}\n")
    assert done.stderr == ""
    assert _stored_events(sqlite_url) == 20_000


def test_sigterm_still_kills(sqlite_url: str) -> None:
    """Draining does not swallow the signal."""
    done = _python(
        textwrap.dedent(_BURST) + f"\nburst({sqlite_url!r}); os.kill(os.getpid(), signal.SIGTERM); time.sleep(30)\n"
    )
    assert done.returncode == -signal.SIGTERM


def test_a_forked_child_is_a_writer_of_its_own(sqlite_url: str) -> None:
    """Parent and child record on after a fork, in the middle of streams, and both stores are whole."""
    script = textwrap.dedent(_BURST) + textwrap.dedent(
        f"""
        writer, tap = burst({sqlite_url!r})
        parent = writer.writer_id
        child = os.fork()
        if child == 0:
            assert writer.writer_id != parent
            tap.data(b"data: not mine" + bytes([10, 10]))
            mine = writer.start(Request("POST", "http://model.test/child"))
            mine.end("eof")
            os._exit(0 if writer.flush(60) and writer.close(60) else 1)
        tap.data(b"data: last" + bytes([10, 10]))
        tap.end("eof")
        assert writer.flush(60)
        assert os.waitpid(child, 0)[1] == 0
        print(writer.stats.gaps)
        """
    )
    done = _python(script)
    assert done.stderr == ""
    assert done.stdout.strip() == "0"
    store = Store.open(sqlite_url)
    assert recover(store) == []
    store.close()
    assert _stored_events(sqlite_url) == 20_001
    with sqlite3.connect(sqlite_url.removeprefix("sqlite:///")) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert connection.execute("SELECT count(DISTINCT writer) FROM recordings").fetchone() == (2,)
    connection.close()


def test_a_capture_that_fails_ends_its_recording_only(
    writer: Writer, sqlite_url: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """An error inside capture (out of memory, say) marks that recording truncated; the client and others go on."""
    whole = Capture.data

    def fail(self: Capture, chunk: bytes, elapsed_us: int) -> None:
        if b"poison" in chunk:
            raise MemoryError
        whole(self, chunk, elapsed_us)

    monkeypatch.setattr(Capture, "data", fail)
    bad, good = writer.start(REQUEST), writer.start(REQUEST)
    for tap in (bad, good):
        tap.head(STREAM)
        tap.data(b"data: 1\n\n")
    bad.data(b"data: poison\n\n")
    for tap in (bad, good):
        tap.data(b"data: 2\n\n")
        tap.end(Transport.EOF)
    assert writer.flush(LIMIT)
    store = Store.open(sqlite_url)
    endings = [store.recording(tap.recording_id).ending for tap in (bad, good)]
    store.close()
    assert [(e.ending, e.captured) for e in endings if e] == [("interrupted", "truncated"), ("eof", "full")]
    assert endings[0] is not None
    assert endings[0].detail["reason"] == "capture failed: MemoryError"
    assert "marked truncated" in caplog.text


def test_taps_never_wait_for_a_stuck_store(sqlite_url: str) -> None:
    """With the database locked by somebody else, a thousand chunks are handed over all the same."""
    Store.open(sqlite_url, create=True).close()
    path = Path(sqlite_url.removeprefix("sqlite:///"))
    blocker = sqlite3.connect(path, timeout=LIMIT, isolation_level=None)
    writer = Writer(lambda: Store.open(sqlite_url))
    tap = writer.start(REQUEST)
    tap.head(STREAM)
    assert writer.flush(LIMIT)
    blocker.execute("BEGIN IMMEDIATE")
    for number in range(1000):
        tap.data(b"data: %d\n\n" % number)
    tap.end(Transport.EOF)
    assert not writer.flush(0.2)
    blocker.execute("ROLLBACK")
    blocker.close()
    assert writer.flush(LIMIT)
    assert writer.close(LIMIT)
    assert _stored_events(sqlite_url) == 1000


def test_unknown_positions_conflict(sqlite_url: str) -> None:
    """The fence itself: rows behind an end are refused by the store."""
    writer = Writer(lambda: Store.open(sqlite_url, create=True))
    tap = writer.start(REQUEST)
    tap.end(Transport.EOF)
    assert writer.close(LIMIT)
    store = Store.open(sqlite_url)
    row = (tap.recording_id.bytes, 0, "sse", 1, None, b"late", None, 12, None)
    with pytest.raises(Conflict):
        store.append([Append(recording_id=tap.recording_id, rows=[row])])
    store.close()


def test_ids_of_recordings_sort_in_the_order_they_were_started(writer: Writer) -> None:
    """Repeats are answered in recorded order by sorting ids."""
    ids = [writer.start(REQUEST).recording_id for _ in range(100)]
    assert ids == sorted(ids)
    assert uuid7() > ids[-1]
    assert time.time() * 1000 - (ids[0].int >> 80) < 60_000


HOURS = 3600.0


def test_few_recordings_are_committed_at_their_pace(sqlite_url: str) -> None:
    """What was put becomes durable by itself, whatever the pace of many is."""
    writer = Writer(lambda: Store.open(sqlite_url, create=True), Options(pace=0.001, pace_of_many=HOURS))
    tap = writer.start(REQUEST)
    tap.head(STREAM)
    for position in range(1, 4):
        tap.data(b"data: 1\n\n")
        _eventually(functools.partial(_is_durable, tap, position))
    assert writer.close(LIMIT)


def test_many_recordings_are_committed_at_a_pace_of_their_own(sqlite_url: str) -> None:
    """So many that they count as many no longer wait for the pace of few; a flush and a close never wait for any."""
    writer = Writer(lambda: Store.open(sqlite_url, create=True), Options(pace=HOURS, pace_of_many=0.001))
    taps = [writer.start(REQUEST) for _ in range(MANY + 1)]
    for tap in taps:
        tap.head(STREAM)
    assert writer.flush(LIMIT)
    for tap in taps:
        tap.data(b"data: 1\n\n")
    _eventually(lambda: all(tap.durable == 1 for tap in taps))
    for tap in taps[1:]:
        tap.end(Transport.EOF)
    assert writer.flush(LIMIT)
    taps[0].data(b"data: 2\n\n")
    assert writer.close(LIMIT)
    with Store.open(sqlite_url) as store:
        assert [event.data for event in store.events(taps[0].recording_id, kinds=["sse"])] == [b"1", b"2"]


def test_a_request_body_is_let_go_of_once_it_is_stored(sqlite_url: str) -> None:
    """A stream that goes on for long holds no prompt in memory; the store has it."""
    told: list[Ended] = []
    writer = Writer(lambda: Store.open(sqlite_url, create=True), on_ended=told.extend)
    body = b'{"model":"m","messages":[{"role":"user","content":"let go of me"}]}'
    tap = writer.start(replace(REQUEST, body=body))
    tap.head(STREAM)
    assert writer.flush(LIMIT)
    # A flush is over a moment before the writer lets go of what it has just stored.
    _eventually(lambda: not any(isinstance(thing, Request) and thing.body == body for thing in gc.get_objects()))
    tap.end(Transport.EOF)
    assert writer.close(LIMIT)
    assert [ended.recording.request.body for ended in told] == [None]
    with Store.open(sqlite_url) as store:
        assert store.recording(tap.recording_id).request.body == body
        check_digests(store, tap.recording_id, list(store.events(tap.recording_id)))


def _is_durable(tap: Tap, position: int) -> bool:
    return tap.durable == position


def _eventually(holds: Callable[[], bool]) -> None:
    until = time.monotonic() + LIMIT
    while not holds():
        assert time.monotonic() < until, "it never came to be"
        time.sleep(0.001)
