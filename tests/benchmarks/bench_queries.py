"""What the facts in DuckDB cost and bring: the first copy, a refresh, questions beside SQLite's own answers, memory.

`python -m tests.benchmarks.bench_queries` makes a store from a seed, with 100 events to a recording. BENCH_SIZE in the
environment sets the number of recordings (100000 gives 10 million events, 3 GB on disk while it runs).
"""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from statistics import median
from typing import Any, Final

from recorder.queries import connect
from recorder.queries.snapshot import Snapshot
from recorder.store import Store
from tests.benchmarks.bench_store import build
from tests.benchmarks.figures import bar, heading, ms, note, table
from tests.rows import made_reading, recorded

SIZE: Final = int(os.environ.get("BENCH_SIZE", "10000"))
EVENTS: Final = 100
ROUNDS: Final = 5

#: Of each recording a head, deltas some 20 to 60 ms apart (here and there a stall), and an end.
_FILL: Final = f"""
WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < {EVENTS - 1})
INSERT INTO events
SELECT recording_id, i, CASE WHEN i = 0 THEN 'head' WHEN i = {EVENTS - 1} THEN 'end' ELSE 'sse' END,
    i * 40000 + (i * 7919 + r.rowid * 104729) % 20000 + CASE WHEN i > 50 AND r.rowid % 97 = 0 THEN 2000000 ELSE 0 END,
    CASE WHEN i IN (0, {EVENTS - 1}) THEN NULL WHEN i = 1 THEN 'thread.run.created' ELSE 'thread.message.delta' END,
    CAST('{{"id":"msg_abc","object":"x","delta":{{"content":[{{"type":"text","text":{{"value":" word' || i
        || '"}}}}]}}}}' AS BLOB), NULL, 150 + i % 30, NULL
FROM recordings r CROSS JOIN n
"""
_FACTS: Final = """
UPDATE readings SET changed_at = read_at, events = 100, facts = '{"steps":[{"id":"step_1","type":"message_creation",
"status":"completed","usage":{"prompt_tokens":900,"completion_tokens":150,"total_tokens":1050}}]}',
max_completion_tokens = CASE rowid % 3 WHEN 0 THEN 256 WHEN 1 THEN 512 END
"""

_STORED: Final = "readings WHERE NOT superseded AND is_run"
#: Each question in DuckDB's words and in SQLite's own, over the table that answers it fastest there.
RUNS: Final = {
    "tokens by model": (
        "SELECT model, count(*), sum(input_tokens), sum(output_tokens) FROM runs GROUP BY 1 ORDER BY 1",
        f"SELECT model, count(*), sum(input_tokens), sum(output_tokens) FROM {_STORED} GROUP BY 1 ORDER BY 1",
    ),
    "stop reason by cap": (
        "SELECT max_completion_tokens, stop_reason, count(*), avg(output_tokens) FROM runs GROUP BY 1, 2",
        f"SELECT max_completion_tokens, stop_reason, count(*), avg(output_tokens) FROM {_STORED} GROUP BY 1, 2",
    ),
}
_GAPS: Final = """
SELECT count(*), max(gap), sum(CASE WHEN gap > 1000000 THEN 1 ELSE 0 END) FROM (
    SELECT elapsed_us - lag(elapsed_us) OVER (PARTITION BY recording_id ORDER BY position) AS gap
    FROM events WHERE kind = 'sse'
) AS gaps WHERE gap IS NOT NULL
"""
_TYPES: Final = "SELECT type, kind, count(*), sum(size) FROM events GROUP BY 1, 2 ORDER BY 3 DESC, 1, 2"
OF_EVENTS: Final = {"gaps and stalls": (_GAPS, _GAPS), "events and bytes by type": (_TYPES, _TYPES)}


def make(path: Path) -> None:
    """The store."""
    build(path, SIZE)
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        for pragma in ("synchronous=OFF", "cache_size=-1000000", "wal_autocheckpoint=100000"):
            connection.execute(f"PRAGMA {pragma}")
        connection.execute("BEGIN")
        connection.execute(_FACTS)
        connection.execute(_FILL)
        connection.execute("COMMIT")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        connection.execute("ANALYZE")


def timed(call: Callable[[], Any], rounds: int) -> tuple[float, Any]:
    """The fewest seconds of a call, after one to warm up, and what it gave: what else runs here only adds to them."""
    given = call()
    times = []
    for _ in range(rounds):
        begun = time.perf_counter()
        given = call()
        times.append(time.perf_counter() - begun)
    return min(times), given


def asking(path: Path, kind: str, questions: dict[str, tuple[str, str]], rounds: int) -> tuple[float, float]:
    """The slowest answer of DuckDB's in seconds, and how many times as long SQLite takes at least."""
    rows, slowest, least = [], 0.0, float("inf")
    with (
        closing(connect(path, events=kind == "event", refresh=False)) as duck,
        closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as lite,
    ):
        lite.execute("PRAGMA cache_size=-1000000")
        for name, (ours, theirs) in questions.items():
            quick, found = timed(lambda ours=ours: duck.execute(ours).fetchall(), rounds)  # type: ignore[misc]
            slow, there = timed(lambda theirs=theirs: lite.execute(theirs).fetchall(), 1)  # type: ignore[misc]
            if kind == "event" and sorted(map(str, found)) != sorted(map(str, there)):
                raise AssertionError(f"{name}: {found} in DuckDB, {there} in SQLite")
            rows.append((name, ms(quick), ms(slow), slow / quick))
            slowest, least = max(slowest, quick), min(least, slow / quick)
    heading(f"{kind} questions, ms")
    table(["question", "DuckDB", "SQLite", "times"], rows)
    return slowest, least


def grow(store: Store, recordings: int) -> None:
    """That many recordings more, each with 100 events and a reading."""
    for _ in range(recordings):
        made = recorded(store, events=EVENTS - 1, started_at=time.time_ns() // 1000)
        store.put_readings([made_reading(made, status="completed", model="gpt-4o", input_tokens=7, is_run=True)])


#: Each in a process of its own: a process is said to have had what the one had that started it.
_MAKER: Final = """
import json, sys, time
from pathlib import Path
from tests.benchmarks.bench_queries import make
begun = time.perf_counter()
make(Path(sys.argv[1]))
print(json.dumps([time.perf_counter() - begun, 0]))
"""
_COPIER: Final = """
import json, resource, sys, time
from recorder.queries.snapshot import Snapshot
snapshot = Snapshot(url=sys.argv[1], shown=f"sqlite:///{sys.argv[1]}")
begun = time.perf_counter()
facts = snapshot.refresh(events=False)["seconds"]
start = time.perf_counter() - begun - facts
events = snapshot.refresh(events=True)["seconds"]
print(json.dumps([start, facts, events, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss]))
"""
_ASKER: Final = """
import json, resource, sys
from recorder.queries import connect
from tests.benchmarks.bench_queries import OF_EVENTS, RUNS
connection = connect(sys.argv[1], events=True, refresh=False)
for ours, _ in (*RUNS.values(), *OF_EVENTS.values()):
    connection.execute(ours).fetchall()
print(json.dumps([resource.getrusage(resource.RUSAGE_SELF).ru_maxrss]))
"""


def alone(script: str, path: Path) -> list[float]:
    """What a process prints of itself; the last figure is the most that was resident, in MiB."""
    command = [sys.executable, "-c", script, str(path)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    *figures, resident = json.loads(done.stdout)
    return [*figures, resident * (1 if sys.platform == "darwin" else 1024) / 2**20]


def main() -> None:
    folder = Path(tempfile.mkdtemp(prefix="recorder-bench-"))
    try:
        path = folder / "recorder.db"
        taken, _ = alone(_MAKER, path)
        events = SIZE * EVENTS
        note(f"{SIZE:,} recordings, {events:,} events, {path.stat().st_size / 2**20:,.0f} MiB, made in {taken:.0f} s")
        measure(path, events)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def measure(path: Path, events: int) -> None:
    with Store.open(path, readonly=True) as store:
        snapshot = Snapshot(url=str(path), shown=store.url)
    start, facts, first, copying = alone(_COPIER, path)
    kept = sum(part.stat().st_size for part in snapshot.place.iterdir()) / 2**20
    heading("the first copy")
    note(f"facts {facts:.2f} s, events {first:.2f} s, the process's start {start:.2f} s; {kept:,.0f} MiB are kept")
    *_, asking_ = alone(_ASKER, path)
    note(f"memory: {copying:.0f} MiB while copying, {asking_:.0f} MiB while asking")
    run_slowest, run_least = asking(path, "run", RUNS, ROUNDS)
    _, event_least = asking(path, "event", OF_EVENTS, 3)
    refreshes: dict[bool, list[float]] = {True: [], False: []}
    with Store.open(path) as store:
        for _ in range(ROUNDS):
            for with_events in (True, False):
                grow(store, 10)
                refreshes[with_events].append(snapshot.refresh(events=with_events)["seconds"])
    heading("a refresh of 1,000 new events, ms (median)")
    note(f"with events {ms(median(refreshes[True])):.0f}, facts alone {ms(median(refreshes[False])):.0f}")
    after_slowest, _ = asking(path, "run", RUNS, ROUNDS)
    bar("first copy from SQLite", events / (facts + first) / 1e6, least=0.7, unit=" M events/s")
    bar("slowest run question", ms(max(run_slowest, after_slowest)), most=10, unit=" ms")
    if SIZE >= 100_000:  # of a few thousand SQLite needs no longer than DuckDB needs for its plan
        bar("run questions beside SQLite", run_least, least=6)
    bar("event questions beside SQLite", event_least, least=5)
    bar("refresh of 1,000 new events", ms(median(refreshes[True])), most=50, unit=" ms")
    bar("peak memory", max(copying, asking_) / 1024, most=1, unit=" GiB")


if __name__ == "__main__":
    main()
