"""What a Capture costs per event: cutting, rows, cuts and digests, beside cutting alone and beside storing those rows.

One Assistants stream in chunks of one event, 1 KB and 16 KB. Rows are taken a thousand at a time (a busy writer), and
after every chunk (a quiet one). The way into SQLite is `executemany` of the same rows, a thousand a transaction.
"""

from __future__ import annotations

import contextlib
import hashlib
import sqlite3
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from statistics import median
from typing import Final

from recorder.capture import Capture
from recorder.digest import EventDigest
from recorder.recording import Head, Recording, Request, Row, uuid7
from recorder.sse import Tokenizer
from recorder.store import Store
from tests.benchmarks.bench_sse import ASSISTANTS, of_size
from tests.benchmarks.figures import bar, heading, table, taking_turns

ROUNDS: Final = 15
EVENTS: Final = ASSISTANTS * 5
BATCH: Final = 1000
HEAD: Final = Head(200, "OK", headers=(("Content-Type", "text/event-stream"),))
INSERT: Final = "INSERT INTO events VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"

Chunks = Sequence[bytes]


def begun() -> Capture:
    capture = Capture(
        Recording(
            recording_id=uuid7(),
            started_at=time.time_ns() // 1000,
            writer=uuid7(),
            dialect="assistants",
            origin="http://127.0.0.1",
            request=Request("POST", "http://127.0.0.1/v1/threads/runs"),
            salt=bytes(16),
        )
    )
    capture.head(HEAD, 1000)
    return capture


def captured(chunks: Chunks, every: int) -> Iterator[list[Row]]:
    """The rows, taken after every so many chunks."""
    capture = begun()
    data = capture.data
    for number, chunk in enumerate(chunks, 1):
        data(chunk, 1000 + number * 50)
        if number % every == 0:
            yield capture.take()
    capture.end("eof", 1000 + len(chunks) * 50)
    yield capture.take()


def captured_and_dropped(chunks: Chunks, every: int) -> None:
    """As a writer does it: rows that are stored are gone."""
    for _ in captured(chunks, every):
        pass


def cut(chunks: Chunks) -> None:
    feed = Tokenizer().feed
    for chunk in chunks:
        feed(chunk)


def hashed(chunks: Chunks) -> None:
    """SHA-256 of the bytes alone: the floor of a digest."""
    update = hashlib.sha256().update
    for chunk in chunks:
        update(chunk)


def facts(rows: Sequence[Row]) -> None:
    """The digest of the facts alone."""
    digest = EventDigest(begun().recording)
    for at in range(0, len(rows), BATCH):
        digest.rows(rows[at : at + BATCH])


def timed(work: Callable[[], object]) -> Callable[[], float]:
    """Nanoseconds of CPU per event."""

    def go() -> float:
        start = time.thread_time_ns()
        work()
        return (time.thread_time_ns() - start) / len(EVENTS)

    return go


def storing(rows: Sequence[Row], folder: Path) -> Callable[[], float]:
    """The rows into a store that is there and empty when the clock starts, through the driver alone."""

    def go() -> float:
        path = folder / f"{uuid7()}.db"
        Store.open(path, create=True).close()
        with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
            connection.execute("PRAGMA synchronous = FULL")

            def work() -> None:
                for at in range(0, len(rows), BATCH):
                    connection.execute("BEGIN IMMEDIATE")
                    connection.executemany(INSERT, rows[at : at + BATCH])
                    connection.execute("COMMIT")

            took = timed(work)()
        path.unlink()
        return took

    return go


def measure(chunks: Chunks, folder: Path) -> dict[str, float]:
    """Median nanoseconds per event of each way."""
    rows = [row for taken in captured(chunks, BATCH) for row in taken]
    per_batch = max(1, BATCH * len(chunks) // len(EVENTS))
    ways = {
        "Tokenizer": timed(lambda: cut(chunks)),
        "SHA-256 of the bytes": timed(lambda: hashed(chunks)),
        "digest of the facts": timed(lambda: facts(rows)),
        "Capture": timed(lambda: captured_and_dropped(chunks, per_batch)),
        "Capture, rows taken after every chunk": timed(lambda: captured_and_dropped(chunks, 1)),
        "executemany of the rows": storing(rows, folder),
    }
    return {name: median(results) for name, results in taking_turns(ROUNDS, ways).items()}


def main() -> None:
    stream = b"".join(EVENTS)
    chunkings: dict[str, Chunks] = {
        "1 event": EVENTS,
        "1 KB": of_size(stream, 1 << 10),
        "16 KB": of_size(stream, 1 << 14),
    }
    with tempfile.TemporaryDirectory() as name:
        results = {size: measure(chunks, Path(name)) for size, chunks in chunkings.items()}
    heading(f"ns of CPU per event of {len(EVENTS[0])} B, by chunk")
    table(("", *results), [(way, *(results[size][way] for size in results)) for way in results["1 event"]])
    for size, most in (("1 event", 2.5), ("16 KB", 2.5)):
        figures = results[size]
        bar(
            f"capture: rows and digests beside cutting alone, {size} a chunk",
            figures["Capture"] / figures["Tokenizer"],
            most=most,
        )
    worst = max(figures["Capture"] / figures["executemany of the rows"] for figures in results.values())
    bar("capture: beside executemany of its rows (the worst chunk size)", worst, most=1)


if __name__ == "__main__":
    main()
