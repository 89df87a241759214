"""How fast a stored stream comes out again, what it holds in memory, and how late it is when played at a pace.

A stream of 10,000 events is recorded once, one event a chunk. Then take turns: bare httpx that reads the same stream
from a socket, the same client answered by a replay, and what a replay is made of: a Player in each kind of chunks, the
store's events alone, and SQLite alone reading the same columns of the same rows.
"""

from __future__ import annotations

import contextlib
import itertools
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median
from typing import Final, NamedTuple

import httpx

from recorder.capture import Capture
from recorder.recording import Head, Recording, Request, Transport, uuid7
from recorder.replay import Pacer, Player
from recorder.store import Append, Store
from recorder.transport import bind
from recorder.writer.opening import Opening, Options, opened
from tests.benchmarks.figures import bar, heading, ms, note, percentile, table, taking_turns
from tests.benchmarks.upstream import REQUEST, events, serving

EVENTS: Final = 10_000
ROUNDS: Final = 7
CHUNKINGS: Final = ("recorded", "event", "joined", "size:65536", "size:100", "seed:1")
URL: Final = "http://127.0.0.1/v1/threads/thread_abc123/runs"
HEAD: Final = Head(200, "OK", "HTTP/1.1", (("Content-Type", "text/event-stream"), ("x-request-id", "req_1")))
#: How long the streams are whose memory is measured.
LENGTHS: Final = (10_000, 100_000, 1_000_000)
#: Events of the stream that is played at its pace, and microseconds between two of them.
PACED: Final = (1000, 4000)

_SELECT: Final = (
    "SELECT position, kind, elapsed_us, type, data, raw, size, cuts "
    "FROM events WHERE recording_id = ? ORDER BY position"
)


class Took(NamedTuple):
    """Seconds, on the clock and of this process's CPU."""

    wall: float
    cpu: float


def timed(work: Callable[[], object]) -> Took:
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return Took(time.perf_counter() - wall, time.process_time() - cpu)


def record(store: Store, count: int, gap_us: int = 1000, head: Head = HEAD) -> Recording:
    """So many events, each a chunk of its own, put into the store as a writer would."""
    request = Request("POST", URL, (("content-type", "application/json"),), b'{"events":%d}' % count)
    opening = Opening(request, time.time_ns() // 1000, "full", 1.0, None, None, None, {})
    recording = opened(opening, uuid7(), uuid7(), Options())
    capture = Capture(recording)
    capture.head(head, gap_us)
    stored = None
    for number, event in enumerate(events(count), 2):
        capture.data(event, number * gap_us)
        if not number % 10_000:
            store.append([Append(recording.recording_id, None if stored else recording, capture.take())])
            stored = recording
    capture.end(Transport.EOF, (count + 2) * gap_us)
    store.append([Append(recording.recording_id, None if stored else recording, capture.take(), capture.ending)])
    return store.recording(recording.recording_id)


def read(client: httpx.Client, url: str, body: bytes) -> None:
    """One streamed exchange, read as it comes."""
    with client.stream("POST", url, content=body, headers={"content-type": "application/json"}) as response:
        for _ in response.iter_raw():
            pass


def play(store: Store, recording: Recording, chunks: str) -> None:
    for _ in Player(store, chunks=chunks).play(recording).chunks():
        pass


def rates(store: Store, path: Path) -> None:
    """Events a second, everything in one run."""
    recording = record(store, EVENTS)
    alone = sqlite3.connect(path)
    answered = bind(httpx).ReplayTransport(Player(store, repeat="cycle"))
    with (
        contextlib.closing(alone),
        serving() as upstream,
        httpx.Client(trust_env=False) as bare,
        httpx.Client(transport=answered) as replayed,
    ):
        ways: dict[str, Callable[[], object]] = {
            "bare httpx from a socket": partial(read, bare, f"{upstream}?events={EVENTS}", REQUEST),
            "httpx from a replay": partial(read, replayed, URL, recording.request.body or b""),
            **{f"Player, {chunks}": partial(play, store, recording, chunks) for chunks in CHUNKINGS},
            "Store.events": lambda: sum(1 for _ in store.events(recording.recording_id)),
            "SQLite alone": lambda: alone.execute(_SELECT, (recording.recording_id.bytes,)).fetchall(),
        }
        results = taking_turns(ROUNDS, {name: partial(timed, way) for name, way in ways.items()})
    wall = {name: median(took.wall for took in taken) for name, taken in results.items()}
    cpu = {name: median(took.cpu for took in taken) for name, taken in results.items()}
    direct, floor = wall["bare httpx from a socket"], wall["SQLite alone"]
    heading(f"A stream of {EVENTS:,} events, one a chunk, as fast as it goes (medians)")
    table(
        ("", "kev/s", "CPU us/event", "of direct", "of SQLite alone"),
        [
            (
                name,
                EVENTS / wall[name] / 1e3,
                cpu[name] / EVENTS * 1e6,
                f"{direct / wall[name]:.2f}x",
                f"{floor / wall[name]:.2f}x",
            )
            for name in ways
        ],
    )
    bar(
        "replay: events a second through httpx, against the stream from a socket",
        direct / wall["httpx from a replay"],
        least=1,
    )
    bar("replay: the same by a Player alone, in recorded chunks", direct / wall["Player, recorded"], least=1)


def lateness(store: Store) -> None:
    """How late chunks are at the recorded pace, and whether the last hundred are later than the first."""
    count, gap_us = PACED
    recording = record(store, count, gap_us)
    playback = Player(store, pace="recorded").play(recording)
    pacer: Pacer = playback.pacer()
    late = []
    for due_us, _ in playback.chunks():
        pacer.wait(due_us)
        late.append(-pacer.left(due_us))
    drift = median(late[-100:]) - median(late[:100])
    heading(f"Late at the recorded pace, {count:,} chunks, one each {gap_us / 1000:g} ms")
    table(
        ("", "p50", "p99", "drift"),
        [("ms", ms(percentile(late, 0.5)), ms(percentile(late, 0.99)), ms(drift))],
    )
    bar("replay: lateness at the recorded pace, p50", ms(percentile(late, 0.5)), most=5, unit=" ms")


# Not getrusage: a process begins with the peak of the one that started it.
_PEAK: Final = """
import re, sys
from pathlib import Path
from uuid import UUID
from recorder.replay import Player
from recorder.store import Store

def peak():
    return int(re.search(r"VmHWM:\\s*(\\d+)", Path("/proc/self/status").read_text())[1])

with Store.open(sys.argv[1], readonly=True) as store:
    recording = store.recording(UUID(sys.argv[2]))
    before = peak()
    for _ in Player(store, chunks=sys.argv[3]).play(recording).chunks():
        pass
    print(peak() - before)
"""


def memory(store: Store, path: Path) -> None:
    """What a playback adds to a process at its peak, by the length of the stream."""
    if not Path("/proc/self/status").exists():
        note("\nno /proc here: memory is not measured")
        return
    recordings = {length: record(store, length) for length in LENGTHS}
    grown: dict[tuple[str, int], float] = {}
    for chunks, length in itertools.product(("recorded", "size:65536"), LENGTHS):
        command = [sys.executable, "-c", _PEAK, str(path), str(recordings[length].recording_id), chunks]
        ran = subprocess.run(command, check=True, capture_output=True, text=True)
        grown[chunks, length] = int(ran.stdout) / 1024
    heading("MiB that playing adds to a process at its peak")
    rows = [(chunks, *(grown[chunks, length] for length in LENGTHS)) for chunks in ("recorded", "size:65536")]
    table(("events", *(f"{length:,}" for length in LENGTHS)), rows)
    note("bounded by two pages of the store's events")


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "recorder.db"
        with Store.open(path, create=True) as store:
            rates(store, path)
            lateness(store)
            memory(store, path)


if __name__ == "__main__":
    main()
