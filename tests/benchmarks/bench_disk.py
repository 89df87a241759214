"""How many bytes a store takes for each byte that was on the wire, on published streams, protocol by protocol.

Wire bytes are those of the whole exchange: request line, headers and body, status line, headers and body, each as sent,
without TLS and without chunk framing. A store counts with all its tables and indexes, readings included, after a
checkpoint and less what an empty one takes. Each event arrives in a chunk of its own, at a model's pace; ten exchanges
go on at a time, and each is committed every few events.

Few recordings leave the last page of each index nearly empty, so each stream is recorded several times.
"""

from __future__ import annotations

import contextlib
import random
import sqlite3
import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Final

from recorder import reader
from recorder.capture import Capture
from recorder.recording import Transport, uuid7
from recorder.store import Append, Store
from recorder.writer import Options
from recorder.writer.opening import Opening, opened
from tests.benchmarks.exchanges import Exchange, exchange
from tests.benchmarks.figures import bar, heading, note, table
from tests.loopback import corpus

TIMES: Final = 10
AT_ONCE: Final = 10
#: Events of one exchange between two commits.
EVERY: Final = 12
#: Microseconds until the head, from there to the first event, and from one event to the next on average.
HEAD_US, FIRST_US, GAP_US = 410_000, 210_000, 24_000


def appends(made: Exchange, clock: random.Random) -> Iterator[Append]:
    """The exchange as a writer appends it, group by group."""
    opening = Opening(
        made.request, 1_763_874_764_000_000 + clock.randrange(10**12), "full", 1.0, None, None, uuid7(), {}
    )
    recording = opened(opening, uuid7(), _WRITER, Options())
    capture = Capture(recording)
    capture.head(made.head, now := HEAD_US + clock.randrange(100_000))
    yield Append(recording.recording_id, recording, capture.take())
    now += FIRST_US
    arrived = iter(made.chunks)
    while group := list(islice(arrived, EVERY)):
        for chunk in group:
            now += clock.randrange(2 * GAP_US)
            capture.data(chunk, now)
        if rows := capture.take():
            yield Append(recording.recording_id, None, rows)
    capture.end(Transport.EOF, now + 500)
    yield Append(recording.recording_id, None, capture.take(), capture.ending)


_WRITER: Final = uuid7()


def record(path: Path, exchanges: Sequence[Exchange]) -> None:
    """Record them all, and read them."""
    clock = random.Random(1)
    waiting = iter([made for _ in range(TIMES) for made in exchanges])
    with Store.open(path, create=True) as store:
        store.claim_writer(_WRITER)
        live = [appends(made, clock) for made in islice(waiting, AT_ONCE)]
        while live:
            batch = []
            for at, one in reversed(list(enumerate(live))):
                append = next(one, None)
                if append is not None:
                    batch.append(append)
                elif (following := next(waiting, None)) is not None:
                    live[at] = appends(following, clock)
                else:
                    del live[at]
            store.append(batch)
        while reader.read_due(store):
            pass


def size(path: Path) -> tuple[int, Counter[str]]:
    """The bytes of a store, and of each table and index (nothing, where SQLite was built without dbstat)."""
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        try:
            parts = Counter(dict(connection.execute("SELECT name, sum(pgsize) FROM dbstat GROUP BY name").fetchall()))
        except sqlite3.OperationalError:
            parts = Counter()
    return path.stat().st_size, parts


def main() -> None:
    by_protocol = defaultdict(list)
    for stream in corpus():
        by_protocol[stream.protocol].append(exchange(stream))
    if not by_protocol:
        note("no published streams in ../shared/corpus: nothing to measure")
        return
    rows, costs = [], {}
    ratios = {}
    with tempfile.TemporaryDirectory() as name:
        empty = Path(name) / "empty.db"
        Store.open(empty, create=True).close()
        bare, bare_parts = size(empty)
        for protocol, exchanges in by_protocol.items():
            path = Path(name) / f"{protocol}.db"
            record(path, exchanges)
            taken, parts = size(path)
            taken -= bare
            wire, body = (
                TIMES * sum(getattr(made, field) for made in exchanges) for field in ("wire_bytes", "body_bytes")
            )
            count = TIMES * len(exchanges)
            ratios[protocol] = taken / wire
            costs[protocol] = {part: (parts[part] - bare_parts[part]) / wire for part in parts}
            rows.append(
                (
                    protocol,
                    count,
                    wire // count,
                    body // count,
                    taken // count,
                    f"{taken / wire:.2f}x",
                    f"{taken / body:.2f}x",
                )
            )
    heading("Bytes for each recording, on the wire and in the store")
    table(("", "recordings", "wire", "response body", "store", "of the wire", "of response bodies"), rows)
    heading("What takes them, as a share of the wire bytes")
    names = sorted(next(iter(costs.values())), key=lambda part: -max(cost[part] for cost in costs.values()))
    shown = [part for part in names if max(cost[part] for cost in costs.values()) >= 0.0005]
    table(("", *costs), [(part, *(f"{cost[part]:.3f}" for cost in costs.values())) for part in shown])
    for protocol, share in ratios.items():
        bar(f"disk: bytes of the store for a byte on the wire, {protocol}", share, most=1.3)


if __name__ == "__main__":
    main()
