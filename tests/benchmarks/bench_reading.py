"""What reading a recording costs: per event, beside `json.loads` of every event; for a stream of a million; and whether
others notice.

Streams of each protocol are read by `reader.interpret`, from memory, and by `reader.read`, from a store and into it;
times are the best of some rounds, CPU of this process. A stream of a million events is read in one pass in a process of
its own, whose peak memory is set against that of a tenth of it; its text apart. Then other streams are recorded at an
even pace while such a reading runs in the same process, and their lag is set against that without it.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from statistics import median
from typing import Final, NamedTuple
from uuid import UUID

from recorder import reader
from recorder.reader.core import gently
from recorder.recording import Event, Recording, Row, Transport
from recorder.store import Append, Store
from recorder.writer import Writer
from tests.benchmarks.bench_lag import ASKED as LAG_REQUEST
from tests.benchmarks.bench_lag import HEAD, Pace, Watched, put, waits
from tests.benchmarks.figures import bar, heading, percentile, ratio, table, taking_turns
from tests.needs import CORPUS, ROOT
from tests.tape import post, recorded

ROUNDS: Final = 7
MANY: Final = 1_000_000
LAG: Final = Pace(10, 200, 4)

#: What each folder of streams was asked with.
ASKED: Final = {
    "assistants": post("/v1/threads/thread_1/runs", assistant_id="asst_1", stream=True),
    "responses": post("/v1/responses", model="gpt-4o", input="hi", stream=True),
    "chat": post("/v1/chat/completions", model="gpt-4o", messages=[{"role": "user", "content": "hi"}], stream=True),
    "anthropic": post("/v1/messages", model="claude", max_tokens=4096, messages=[], stream=True),
}

_DELTA: Final = (
    b'{"id":"msg_1","object":"thread.message.delta","delta":{"content":[{"index":0,"type":"text",'
    b'"text":{"value":" word%d","annotations":[]}}]}}'
)
_LAST: Final = (
    b'{"id":"run_1","object":"thread.run","status":"completed","usage":{"prompt_tokens":1,"completion_tokens":2,'
    b'"total_tokens":3}}'
)


class Tape(NamedTuple):
    """One recorded stream."""

    recording: Recording
    events: list[Event]


def tapes() -> dict[str, list[Tape]]:
    """The published streams; where they are absent, the project's own of the Assistants protocol."""
    if CORPUS.is_dir():
        paths = {name: sorted((CORPUS / name).glob("*.sse")) for name in ASKED}
    else:
        paths = {"assistants": sorted((ROOT / "tests" / "streams").glob("assistants-*.sse"))}
    return {name: [Tape(*recorded(ASKED[name], path.read_bytes())) for path in found] for name, found in paths.items()}


def best(action: Callable[[], object]) -> float:
    """Seconds of CPU that the fastest of some rounds takes."""
    times = []
    for _ in range(ROUNDS):
        begun = time.process_time_ns()
        action()
        times.append(time.process_time_ns() - begun)
    return min(times) / 1e9


def loads(tape: Tape) -> None:
    for event in tape.events:
        if event.kind == "sse" and event.data:
            with contextlib.suppress(ValueError):
                json.loads(event.data)


def per_event() -> None:
    heading("Microseconds of CPU an event: the reading from memory, json.loads of every event, the reading in a store")
    rows = []
    total: dict[str, float] = {"read": 0, "loads": 0, "store": 0, "events": 0}
    with tempfile.TemporaryDirectory() as folder, Store.open(Path(folder) / "recorder.db", create=True) as store:
        for name, played in tapes().items():
            count = sum(len(tape.events) for tape in played)
            read = sum(best(partial(reader.interpret, *tape)) for tape in played)
            parsed = sum(best(partial(loads, tape)) for tape in played)
            for tape in played:
                keep(store, tape)
            stored = best(partial(reader.rebuild, store, [tape.recording.recording_id for tape in played]))
            rows.append(
                (name, count, 1e6 * read / count, 1e6 * parsed / count, ratio(read / parsed), 1e6 * stored / count)
            )
            for what, value in (("read", read), ("loads", parsed), ("store", stored), ("events", count)):
                total[what] += value
    events = total["events"]
    rows.append(
        (
            "all",
            int(events),
            1e6 * total["read"] / events,
            1e6 * total["loads"] / events,
            ratio(total["read"] / total["loads"]),
            1e6 * total["store"] / events,
        )
    )
    table(("", "events", "reading", "json.loads", "ratio", "with the store"), rows)
    bar("reading: an event on average, beside json.loads of all", 1e6 * total["read"] / events, most=6, unit=" us")


def keep(store: Store, tape: Tape) -> None:
    recording, rows = tape.recording, _rows(tape.recording, tape.events)
    store.append([Append(recording.recording_id, recording, rows, recording.ending)])


def _rows(recording: Recording, events: list[Event]) -> list[Row]:
    return [(recording.recording_id.bytes, *event) for event in events]


# -- a long stream -----------------------------------------------------------------------------------------------------


def long_stream(count: int) -> tuple[Recording, Iterator[Event]]:
    """A recording of so many deltas, made while it is read, so that only the reading's memory counts."""
    recording, events = recorded(ASKED["assistants"], b"event: thread.run.completed\ndata: %s\n\n" % _LAST)

    def stream() -> Iterator[Event]:
        yield events[0]
        for at in range(1, count):
            yield Event(at, "sse", at * 100, "thread.message.delta", _DELTA % (at % 10), None, 150)
        yield events[1]._replace(position=count, elapsed_us=count * 100)

    return recording, stream()


def memory(count: int) -> None:
    """In a process of its own: prints peak kilobytes before and after the reading, and the length of the text."""
    import resource

    reader.interpret(*long_stream(1000))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    begun = time.process_time()
    reading = reader.interpret(*long_stream(count))
    took = time.process_time() - begun
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(json.dumps([before, after, reading.text_chars, took, reading.status]))


def long_streams() -> None:
    heading("One stream in one pass, in a process of its own")
    rows = []
    for count in (MANY // 10, MANY):
        command = [sys.executable, "-c", f"from tests.benchmarks.bench_reading import memory; memory({count})"]
        before, after, chars, took, status = json.loads(subprocess.check_output(command, cwd=ROOT))
        rows.append((f"{count:,} events", took, 1e6 * took / count, (after - before) / 1024, chars / 1e6, status))
    table(("", "seconds", "us an event", "MiB more at its peak", "text, MB", "status"), rows)


# -- and others meanwhile ----------------------------------------------------------------------------------------------


def lag(path: Path, long_id: UUID | None) -> float:
    """Milliseconds, 99 %: how long the events of ten streams wait; the long one is read all the while where given."""
    log: list[tuple[int, Sequence[Append]]] = []

    def opened() -> Store:
        store = Watched.open(path)
        store.log = log
        return store

    writer = Writer(opened)
    taps = [writer.start(LAG_REQUEST) for _ in range(LAG.streams)]
    for tap in taps:
        tap.head(HEAD)
    writer.flush()
    log.clear()
    stop = threading.Event()
    thread = threading.Thread(target=read_until, args=(stop, path, long_id))
    thread.start()
    put(taps, LAG)
    stop.set()
    thread.join()
    writer.flush()
    found = waits(list(log), {tap.recording_id: tap.started for tap in taps})
    for tap in taps:
        tap.end(Transport.EOF)
    writer.close()
    return percentile(found, 0.99)


def read_until(stop: threading.Event, path: Path, long_id: UUID | None) -> None:
    """Read the long recording again and again, as the thread does that makes readings while others are recorded."""
    if long_id is None:
        return
    with Store.open(path) as store:
        recording = store.recording(long_id)
        while not stop.is_set():
            reader.interpret(recording, itertools.takewhile(lambda _: not stop.is_set(), gently(store.events(long_id))))


def lags() -> None:
    heading(f"Milliseconds until events of other streams are durable, 99 %, at {LAG.name}; median of {ROUNDS} rounds")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "recorder.db"
        recording, events = long_stream(MANY // 5)
        with Store.open(path, create=True) as store:
            keep(store, Tape(recording, list(events)))
        found = taking_turns(
            ROUNDS, {"alone": lambda: lag(path, None), "beside a reading": lambda: lag(path, recording.recording_id)}
        )
    alone, beside = (median(found[name]) for name in ("alone", "beside a reading"))
    table(("", "99 %"), [("alone", alone), ("beside a reading", beside)])
    bar("reading: durable lag of other streams beside a long one", beside / alone, most=1.25)


def main() -> None:
    per_event()
    long_streams()
    lags()


if __name__ == "__main__":
    main()
