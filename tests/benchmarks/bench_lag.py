"""How long an event waits until it is durable, at a pace, and what that costs.

Streams at an even pace put their events into a writer from one thread, as clients of the same process do; the wait of
each event is counted from its arrival until the transaction that holds it returned, with synchronous=FULL. The
process's CPU is shown without what putting the events at that pace costs by itself.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final, NamedTuple
from uuid import UUID

from recorder.cli.record_deck import COMMITS
from recorder.recording import Head, Request, Transport, uuid7
from recorder.store import Append, Store
from recorder.writer import NullTap, Options, Tap, Writer
from tests.benchmarks.figures import bar, heading, percentile, table
from tests.benchmarks.upstream import REQUEST, events

ASKED: Final = Request("POST", "http://127.0.0.1/v1/threads/thread_abc123/runs", body=REQUEST, body_size=len(REQUEST))
HEAD: Final = Head(200, "OK", "HTTP/1.1", (("Content-Type", "text/event-stream"), ("x-request-id", "req_1")))


class Pace(NamedTuple):
    """Streams at the same time, events a second of each, and for how many seconds."""

    streams: int
    rate: int
    seconds: float
    options: Options = Options()
    #: Whether another process asks questions of the store all the while.
    asked: bool = False

    @property
    def name(self) -> str:
        how = ("" if self.options == Options() else ", as the proxy writes") + (", analysed" if self.asked else "")
        return f"{self.streams * self.rate:,} ev/s ({self.streams} x {self.rate}){how}"


_PROXY: Final = Options(pace=COMMITS[0], pace_of_many=COMMITS[1])
PACES: Final = (
    Pace(20, 500, 3),
    Pace(20, 50, 3),
    Pace(5, 20, 3),
    Pace(1, 20, 3),
    Pace(50, 50, 3, _PROXY),
    Pace(1, 200, 3, _PROXY),
    Pace(20, 250, 6),
    Pace(20, 250, 6, asked=True),
)
#: The two that are told apart by somebody who analyses.
ALONE, ANALYSED = PACES[-2:]
#: The pace that the bar is about.
ASKED_OF: Final = PACES[0]
ROUNDS: Final = 3


class Watched(Store):
    """A store that notes when each append returned."""

    log: list[tuple[int, Sequence[Append]]]

    def append(self, batch: Sequence[Append]) -> None:
        super().append(batch)
        self.log.append((time.monotonic_ns(), batch))


def put(taps: list[Tap], pace: Pace) -> float:
    """Put the events at their pace; the seconds of CPU that this thread took."""
    parts = events(int(pace.rate * pace.seconds))
    cpu = time.thread_time()
    begun = time.perf_counter()
    gap = 1 / (pace.rate * pace.streams)
    number = 0
    for part in parts:
        for tap in taps:
            left = begun + number * gap - time.perf_counter()
            if left > 0.0002:
                time.sleep(left)
            tap.data(part)
            number += 1
    return time.thread_time() - cpu


class Outcome(NamedTuple):
    """Milliseconds of each event's wait; commits; CPU seconds of process and of the bare putting; events."""

    waits: list[float]
    commits: int
    cpu: float
    idle_cpu: float


#: Asks, over and over: of the runs, and of the events.
_ASKING: Final = """
import sys
from recorder import queries
while True:
    queries.query(sys.argv[1], "cap_use")
    queries.query(sys.argv[1], "stream_gaps")
"""


@contextmanager
def asking(path: Path, *, really: bool) -> Iterator[None]:
    """Another process asks questions of the store; it must not have failed."""
    if not really:
        yield
        return
    asker = subprocess.Popen([sys.executable, "-c", _ASKING, str(path)])
    try:
        yield
        if asker.poll() is not None:
            raise RuntimeError(f"who asked ended with {asker.returncode}")
    finally:
        asker.kill()
        asker.wait()


def measure(pace: Pace, folder: Path) -> Outcome:
    path = folder / f"{uuid7()}.db"
    log: list[tuple[int, Sequence[Append]]] = []

    def opened() -> Store:
        store = Watched.open(path, create=True)
        store.log = log
        return store

    writer = Writer(opened, pace.options)
    taps = [writer.start(ASKED) for _ in range(pace.streams)]
    for tap in taps:
        tap.head(HEAD)
    assert writer.flush()
    idle_cpu = put([NullTap()] * pace.streams, pace._replace(seconds=pace.seconds / 3)) * 3
    log.clear()
    cpu = time.process_time()
    with asking(path, really=pace.asked):
        put(taps, pace)
        assert writer.flush()
    cpu = time.process_time() - cpu
    appends = list(log)
    for tap in taps:
        tap.end(Transport.EOF)
    writer.close()
    assert sum(len(append.rows) for _, batch in appends for append in batch) == pace.streams * len(
        events(int(pace.rate * pace.seconds))
    ), "events were lost"
    return Outcome(waits(appends, {tap.recording_id: tap.started for tap in taps}), len(appends), cpu, idle_cpu)


def waits(appends: list[tuple[int, Sequence[Append]]], started: dict[UUID, int]) -> list[float]:
    """Milliseconds from each row's arrival until its transaction returned."""
    return [
        (durable - started[append.recording_id]) / 1e6 - row[3] / 1e3
        for durable, batch in appends
        for append in batch
        for row in append.rows
    ]


def main() -> None:
    heading(f"Milliseconds from an event's arrival until it is durable; the median of {ROUNDS} rounds each")
    rows = []
    late: dict[Pace, float] = {}
    with tempfile.TemporaryDirectory() as name:
        for pace in PACES:
            outcomes = sorted(
                (measure(pace, Path(name)) for _ in range(ROUNDS)), key=lambda o: percentile(o.waits, 0.99)
            )
            outcome = outcomes[ROUNDS // 2]
            count = len(outcome.waits)
            p99 = percentile(outcome.waits, 0.99)
            late[pace] = p99
            cpu = outcome.cpu - outcome.idle_cpu
            rows.append(
                (
                    pace.name,
                    percentile(outcome.waits, 0.5),
                    p99,
                    max(outcome.waits),
                    count / outcome.commits,
                    1e6 * cpu / count,
                    f"{cpu / pace.seconds:.1%}",
                )
            )
    table(("", "50 %", "99 %", "longest", "events a commit", "CPU us an event", "of a core"), rows)
    bar("writer: 99 % of events durable within, at 10,000 events a second", late[ASKED_OF], most=30, unit=" ms")
    bar("writer: that, at 5,000, while another process analyses", late[ANALYSED] / late[ALONE], most=1.25)


if __name__ == "__main__":
    main()
