"""How fast events become durable, cut, digested and committed with synchronous=FULL, beside SQLite alone.

The floor is `sqlite3.executemany` of the very same rows into the same tables under the same settings, a thousand rows a
transaction, without a parser, a digest or a check. Beside it: Capture and Store on one thread, and the whole way
through a Writer, its clients' side included. All take turns.
"""

from __future__ import annotations

import contextlib
import sqlite3
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from statistics import median
from typing import Final, NamedTuple

from recorder.capture import Capture
from recorder.recording import Head, Request, Row, Transport, uuid7
from recorder.store import Append, Store, sqlite
from recorder.writer import Options, Tap, Writer
from recorder.writer.opening import Opening, opened
from tests.benchmarks.figures import bar, heading, table, taking_turns
from tests.benchmarks.upstream import REQUEST, events

ASKED: Final = Request("POST", "http://127.0.0.1/v1/threads/thread_abc123/runs", body=REQUEST, body_size=len(REQUEST))
HEAD: Final = Head(200, "OK", "HTTP/1.1", (("Content-Type", "text/event-stream"), ("x-request-id", "req_1")))
#: Rows in a transaction of the floor, and of Capture and Store on one thread.
BATCH: Final = 1000
#: Seconds that the writer may take.
PATIENCE: Final = 120
#: Room for all of a load: how a full queue is dealt with is not measured here.
OPTIONS: Final = Options(queue_bytes=1 << 30)

_INSERT: Final = "INSERT INTO events VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"


class Load(NamedTuple):
    """Streams of so many events, `at_once` of them at the same time, in chunks of so many bytes (None: of an event)."""

    name: str
    at_once: int
    after_another: int
    events: int
    chunk: int | None

    def arrivals(self) -> Iterator[tuple[int, bytes | None]]:
        """(number of the stream, chunk) in order of arrival; None for the end of one."""
        chunks = events(self.events)
        if self.chunk is not None:
            body = b"".join(chunks)
            chunks = [body[at : at + self.chunk] for at in range(0, len(body), self.chunk)]
        for first in range(0, self.after_another * self.at_once, self.at_once):
            for chunk in (*chunks, None):
                for number in range(first, first + self.at_once):
                    yield number, chunk


LOADS: Final = (
    Load("50 at once, 1 event a chunk", 50, 1, 1000, None),
    Load("50 at once, 16 KB chunks", 50, 1, 1000, 16384),
    Load("one by one, 1 event a chunk", 1, 5, 10_000, None),
    Load("one by one, 16 KB chunks", 1, 5, 10_000, 16384),
)


def capture() -> Capture:
    opening = Opening(ASKED, time.time_ns() // 1000, "full", 1.0, None, None, None, {})
    begun = Capture(opened(opening, uuid7(), uuid7(), OPTIONS))
    begun.head(HEAD, 1000)
    return begun


def batches(load: Load) -> Iterator[list[Append]]:
    """What Captures make of the load, in groups of about BATCH rows."""
    live: dict[int, Capture] = {}
    stored: set[int] = set()
    touched: dict[int, Capture] = {}
    waiting = 0

    def group() -> list[Append]:
        appends = []
        for number, made in touched.items():
            recording = None if number in stored else made.recording
            appends.append(Append(made.recording.recording_id, recording, made.take(), made.ending))
            stored.add(number)
        touched.clear()
        return appends

    per_chunk = 1 if load.chunk is None else load.chunk // 160
    for elapsed_us, (number, chunk) in enumerate(load.arrivals(), 2000):
        made = touched[number] = live.get(number) or live.setdefault(number, capture())
        if chunk is None:
            made.end(Transport.EOF, elapsed_us)
        else:
            made.data(chunk, elapsed_us)
        waiting += per_chunk
        if waiting >= BATCH:
            yield group()
            waiting = 0
    yield group()


def one_thread(load: Load, path: Path) -> int:
    """Capture and Store, and nothing beside."""
    rows = 0
    with Store.open(path) as store:
        for batch in batches(load):
            store.append(batch)
            rows += sum(len(append.rows) for append in batch)
    return rows


def through_writer(load: Load, path: Path) -> int:
    """All of it, as fast as a writer takes it."""
    writer = Writer(lambda: Store.open(path), OPTIONS)
    taps: dict[int, Tap] = {}
    for number, chunk in load.arrivals():
        tap = taps.get(number)
        if tap is None:
            tap = taps[number] = writer.start(ASKED)
            tap.head(HEAD)
        if chunk is None:
            tap.end(Transport.EOF)
        else:
            tap.data(chunk)
    assert writer.flush(PATIENCE), "the writer did not keep up"
    rows = writer.stats.rows
    writer.close(PATIENCE)
    return rows


def floor(rows: list[Row], path: Path) -> int:
    """The rows alone, through the driver alone."""
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
        for pragma in sqlite._PRAGMAS:
            connection.execute(f"PRAGMA {pragma}")
        pages = 0
        for start in range(0, len(rows), BATCH):
            batch = rows[start : start + BATCH]
            connection.execute("BEGIN IMMEDIATE")
            connection.executemany(_INSERT, batch)
            connection.execute("COMMIT")
            pages += len(batch) // 16 + 9
            if pages >= sqlite.CHECKPOINT_PAGES:
                connection.execute("PRAGMA wal_checkpoint(PASSIVE)")
                pages = 0
    return len(rows)


class Took(NamedTuple):
    """Seconds for each row, on the clock and of this process's CPU."""

    wall: float
    cpu: float


def timed(work: Callable[[Path], int], folder: Path) -> Callable[[], Took]:
    """The work on a store of its own, that is there and empty when the clock starts."""

    def go() -> Took:
        path = folder / f"{uuid7()}.db"
        Store.open(path, create=True).close()
        wall, cpu = time.perf_counter(), time.process_time()
        rows = work(path)
        took = Took((time.perf_counter() - wall) / rows, (time.process_time() - cpu) / rows)
        path.unlink()
        return took

    return go


def main() -> None:
    heading("Thousand events per second until durable (CPU us per event), medians")
    table_rows = []
    worst = float("inf")
    with tempfile.TemporaryDirectory() as name:
        for load in LOADS:
            rows = [row for batch in batches(load) for append in batch for row in append.rows]
            ways: dict[str, Callable[[Path], int]] = {
                "floor": partial(floor, rows),
                "one thread": partial(one_thread, load),
                "writer": partial(through_writer, load),
            }
            results = taking_turns(5, {way: timed(work, Path(name)) for way, work in ways.items()})
            cells: list[str] = []
            wall = {way: median(took.wall for took in taken) for way, taken in results.items()}
            for way, taken in results.items():
                cpu = median(took.cpu for took in taken)
                share = "" if way == "floor" else f" {wall['floor'] / wall[way]:.2f}x"
                cells.append(f"{1e-3 / wall[way]:.0f} ({cpu * 1e6:.1f}){share}")
            worst = min(worst, wall["floor"] / wall["writer"])
            table_rows.append((load.name, *cells))
    table(("", "executemany", "Capture + Store", "Writer"), table_rows)
    bar(
        "store: events made durable through a writer against executemany of the same rows (the worst load)",
        worst,
        least=0.6,
    )


if __name__ == "__main__":
    main()
