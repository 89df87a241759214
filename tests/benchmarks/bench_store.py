"""What appending costs beside raw sqlite3, what a batch of readings costs beside the rows alone; and what lists,
filters and finding by an id take at a million recordings.

`python -m tests.benchmarks.bench_store [PATH]` makes a store of a million recordings from a seed, at PATH if one is
given (and uses it again the next time), and prints milliseconds: the median of some rounds, warm. BENCH_SIZE in the
environment sets another number of recordings. Each filter is measured with a frequent value, a rare one, and one that
never occurs.
"""

from __future__ import annotations

import json
import os
import random
import sqlite3
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, Final
from uuid import UUID

from recorder.recording import Ending, Reading, Recording, Request, StoredReading, uuid7
from recorder.recording import Row as EventRow
from recorder.schema import endings, readings, recordings, tags
from recorder.store import Append, RunFilter, Store
from recorder.store.rows import suffix
from tests.benchmarks.figures import bar, heading, medians, note, table, taking_turns

SIZE: Final = int(os.environ.get("BENCH_SIZE", "1000000"))
ROUNDS: Final = 7
BAR_MS: Final = 50.0

START: Final = 1_780_000_000_000_000
STEP: Final = 2_000_000
ORIGIN: Final = "https://api.example.com"
MODELS: Final = ("gpt-4o", "gpt-4o-mini", "gpt-5", "gpt-5-mini", "claude-sonnet-4", "claude-haiku-4", "o3")
WORDS: Final = ("the", "model", "answers", "with", "some", "words", "about", "tokens", "and", "caps", "in", "order")

Row = dict[str, Any]


class Maker:
    """Makes recordings in order of time, a share of them continuations of runs made shortly before."""

    def __init__(self, size: int) -> None:
        self._rng = random.Random(20260801)
        self._size = size
        self._waiting: list[Row] = []

    def rows(self) -> Iterator[tuple[Row, Row, Row, list[Row]]]:
        """(recording, ending, reading, tags) of each recording; a superseded reading is marked as such later."""
        for number in range(self._size):
            yield self._one(number)

    def _one(self, number: int) -> tuple[Row, Row, Row, list[Row]]:
        rng = self._rng
        started_at = START + number * STEP
        recording_id = _id(started_at // 1000, rng)
        opener = self._waiting.pop(0) if len(self._waiting) > 20 else None
        oddity = number % (self._size // 4) if number > self._size // 20 else -1
        status, stop = "completed", "stop"
        draw = rng.random()
        if opener is None and draw < 0.3:
            status, stop = "requires_action", "tool_call"
        elif draw > 0.97:
            status, stop = "failed", "error"
        elif draw > 0.93:
            status, stop = "incomplete", "output_limit"
        if oddity == 1:
            status, stop = "expired", "expired"
        ending = "client_closed" if rng.random() < 0.8 else "eof"
        if rng.random() < 0.01:
            ending = "reset"
        if oddity == 2:
            ending = "timeout"
        model = "rare-model" if oddity == 3 else MODELS[min(int(rng.expovariate(0.8)), len(MODELS) - 1)]
        dialect = "gemini" if oddity == 4 else ("assistants" if opener or rng.random() < 0.7 else "chat")
        text = " ".join(rng.choices(WORDS, k=20)) + (" needle" if oddity == 5 else "")
        run_id = opener["recording_id"] if opener else recording_id
        reading: Row = {
            "recording_id": recording_id,
            "run_id": run_id,
            "reader_version": 1,
            "read_at": started_at,
            "superseded": 0,
            "started_at": started_at,
            "dialect": dialect,
            "origin": ORIGIN,
            "weight": 1.0,
            "http_status": 200,
            "ending": ending,
            "captured": "full",
            "events": 60,
            "bytes": 18_000,
            "duration_us": 4_000_000,
            "status": status,
            "stop_reason": stop,
            "complete": 1,
            "provider_run_id": opener["provider_run_id"] if opener else f"run_{number:012d}",
            "request_id": f"req_{number:032x}",
            "model": model,
            "assistant_id": "asst_rare" if oddity == 6 else f"asst_{int(rng.expovariate(0.05))}",
            "thread_id": opener["thread_id"] if opener else f"thread_{rng.randrange(self._size // 3)}",
            "input_tokens": 900,
            "output_tokens": 150,
            "total_tokens": 1050,
            "ttft_us": 400_000,
            "text": text,
            "metadata": json.dumps({"user": "rare" if oddity == 7 else f"u{rng.randrange(100)}"}),
            "action": "submit_tool_outputs" if opener else "create",
            "is_run": 1,
            "opens_run": 0 if opener else 1,
            "duplicate": 0,
            "finality": 1 if status == "requires_action" else 3,
            "parameters": json.dumps({"model": model, "stream": True, "max_completion_tokens": 256, "top_p": 1}),
            "head_us": 300_000,
        }
        if number % 20 == 7 and not opener and status == "completed":
            # A message added to a thread: part of no run.
            reading |= {"is_run": 0, "superseded": 1, "action": "message", "provider_run_id": None}
        if status == "requires_action" and rng.random() < 0.99999 - 8 / self._size:
            self._waiting.append(reading)
            reading["superseded"] = 1
        recording: Row = {
            "recording_id": recording_id,
            "started_at": started_at,
            "writer": bytes(16),
            "dialect": dialect,
            "origin": ORIGIN,
            "content": "full",
            "weight": 1.0,
            "method": "POST",
            "url": f"{ORIGIN}/v1/threads/{reading['thread_id']}/runs",
            "headers": '[["content-type","application/json"]]',
            "body": (text * 4).encode(),
            "body_size": len(text) * 4,
            "salt": bytes(16),
            "match_key": rng.randbytes(32),
            "match_rule": "",
            "trace": f"trace-{number // 3}" if number % 10 < 3 else None,
            "model": model,
            "stream": 1,
            "suffix": suffix(recording_id.hex()),
        }
        ended: Row = {
            "recording_id": recording_id,
            "ending": ending,
            "captured": "full",
            "elapsed_us": 4_000_000,
            "events": 60,
            "wire_bytes": 18_000,
            "http_status": 200,
            "head_us": 300_000,
            "facts_digest": bytes(32),
            "payload_digest": bytes(32),
            "seal": bytes(32),
        }
        named = {"app": "shop" if rng.random() < 0.9 else "search", "old": "yes" if number < self._size // 10 else "no"}
        if oddity == 8:
            named["incident"] = "42"
        noted = [
            {"recording_id": recording_id, "name": name, "set_at": started_at, "value": value}
            for name, value in named.items()
        ]
        return recording, ended, reading, noted


def _id(milliseconds: int, rng: random.Random) -> bytes:
    """A UUIDv7 of that time."""
    return UUID(int=milliseconds << 80 | 7 << 76 | rng.getrandbits(12) << 64 | 2 << 62 | rng.getrandbits(62)).bytes


def build(path: Path, size: int) -> None:
    """Make the store and fill its tables, past everything that makes a store safe."""
    Store.open(path, create=True).close()
    connection = sqlite3.connect(path, isolation_level=None)
    for pragma in ("synchronous=OFF", "secure_delete=OFF", "cache_size=-1000000", "wal_autocheckpoint=100000"):
        connection.execute(f"PRAGMA {pragma}")
    made = Maker(size).rows()
    while group := list(islice(made, 20_000)):
        connection.execute("BEGIN")
        for into, rows in (
            (recordings, [one[0] for one in group]),
            (endings, [one[1] for one in group]),
            (readings, [one[2] for one in group]),
            (tags, [row for one in group for row in one[3]]),
        ):
            names = [column.name for column in into.c]
            values = ", ".join("?" for _ in names)
            connection.executemany(
                f"INSERT INTO {into.name} VALUES ({values})", [tuple(row.get(name) for name in names) for row in rows]
            )
        connection.execute("COMMIT")
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()


def filters(size: int) -> Iterator[tuple[str, RunFilter]]:
    """What is measured: each filter with a frequent value, a rare one, and one that does not occur."""
    yield "no filter", RunFilter()
    end = START + size * STEP
    yield "since, recent", RunFilter(since=end - 1000 * STEP)
    yield "until, long ago", RunFilter(until=START + size // 50 * STEP)
    yield "since and until, none", RunFilter(since=end + STEP, until=end + 2 * STEP)
    for name, values in {
        "status": ("completed", "requires_action", "expired", "cancelled"),
        "stop_reason": ("stop", "tool_call", "expired", "paused"),
        "ending": ("client_closed", "reset", "timeout", "connect_error"),
        "model": ("gpt-4o", "rare-model", "none"),
        "dialect": ("assistants", "gemini", "messages"),
        "assistant_id": ("asst_0", "asst_rare", "asst_none"),
        "thread_id": ("thread_1", "thread_none"),
        "request_id": (f"req_{size // 2:032x}", "req_none"),
        "trace": (f"trace-{size // 6 // 10 * 10}", "none"),
    }.items():
        for value in values:
            yield f"{name} {value[-16:]}", RunFilter(**{name: value})  # type: ignore[arg-type]
    for name, value in (("app", "shop"), ("app", "search"), ("old", "yes"), ("incident", "42"), ("app", "none")):
        yield f"tag {name}={value}", RunFilter(tags={name: value})


def others() -> Iterator[tuple[str, RunFilter]]:
    """Filters together, of which one index answers one; and those that no index answers. No bar, only figures."""
    yield "status and model", RunFilter(status="failed", model="o3")
    yield "model and tag", RunFilter(model="gpt-4o", tags={"app": "shop"})
    for value in ("u1", "rare", "none"):
        yield f"metadata user={value}", RunFilter(metadata={"user": value})
    for text in ("tokens", "needle", "nowhere"):
        yield f"grep {text}", RunFilter(grep=text)


def median_ms(call: Callable[[], Any], rounds: int = ROUNDS) -> tuple[float, Any]:
    """The median time of a call in milliseconds, after one to warm up, and what it gave."""
    given = call()
    times = []
    for _ in range(rounds):
        begun = time.perf_counter()
        given = call()
        times.append((time.perf_counter() - begun) * 1000)
    return statistics.median(times), given


def listing(store: Store, size: int) -> None:
    """How long each list takes."""
    heading("a list of 50, ms")
    rows: list[tuple[str, int, float, int, float]] = []
    for name, wanted in filters(size):
        run_ms, runs = median_ms(partial(store.runs, wanted))
        recording_ms, found = median_ms(partial(store.recordings, wanted))
        rows.append((name, len(runs), run_ms, len(found), recording_ms))
    table(["filter", "runs", "ms", "recordings", "ms"], rows)
    slowest = max(rows, key=lambda row: max(row[2], row[4]))
    bar(f"slowest list ({slowest[0]})", max(slowest[2], slowest[4]), most=BAR_MS, unit=" ms")
    heading("two filters together, and filters that no index answers, ms (no bar)")
    table(["filter", "runs", "ms"], [(name, *_once(partial(store.runs, wanted))) for name, wanted in others()])


def _once(call: Callable[[], list[Any]]) -> tuple[int, float]:
    taken, found = median_ms(call, rounds=1)
    return len(found), taken


def finding(store: Store, size: int) -> None:
    """How long it takes to find a recording by whatever it is known by."""
    some = store.recordings(RunFilter(until=START + size // 2 * STEP, limit=1))[0]
    key, run_name = str(some.recording.recording_id), str(some.run.provider_run_id)
    match_key = some.recording.match_key
    assert match_key is not None
    calls: dict[str, Callable[[], Any]] = {
        "id": partial(store.resolve, key),
        "12 digits of an id": partial(store.resolve, key[-12:]),
        "7 digits of an id": partial(store.resolve, key[-7:]),
        "provider's run id": partial(store.resolve, run_name),
        "request id": partial(store.resolve, f"req_{size // 3:032x}"),
        "@last": partial(store.resolve, "@last"),
        "@-20": partial(store.resolve, "@-20"),
        "match key": partial(store.find, match_key),
        "what is linked to a run": partial(store.linked, store.run(some.recording.recording_id)),
        "what stands for a run": partial(store.standing, store.run_of(some.recording.recording_id)),
        "a page of stale readings": partial(store.stale, 2, limit=64),
        "a late page of stale readings": partial(store.stale, 2, limit=64, after=some.recording.recording_id),
        "no stale reading": partial(store.stale, 1, limit=64),
        "resembling a request": partial(store.candidates, "POST", "/v1/none"),
        "what is unread": store.unread,
        "what is open": store.open_recordings,
    }
    rows = [(name, median_ms(call)[0]) for name, call in calls.items()]
    heading("found by, ms")
    table(["name", "ms"], rows)
    slowest = max(rows, key=lambda row: row[1])
    bar(f"slowest find ({slowest[0]})", slowest[1], most=BAR_MS, unit=" ms")


# -- appending ---------------------------------------------------------------------------------------------------------

#: Recordings that grow at the same time, and events in one commit.
LIVE: Final = 50
COMMIT: Final = 1000
EVENTS: Final = 50_000


def event_rows(made: list[Recording]) -> list[EventRow]:
    """Rows of all the recordings, as they come in: a few of each, in turn."""
    data = b'{"id":"msg_abc","object":"thread.message.delta","delta":{"content":[{"type":"text","text":" hello"}]}}'
    per_commit = COMMIT // LIVE
    return [
        (one.recording_id.bytes, at, "sse", at * 1000, "thread.message.delta", data, None, len(data) + 40, None)
        for start in range(0, EVENTS // LIVE, per_commit)
        for one in made
        for at in range(start, start + per_commit)
    ]


def raw(folder: Path) -> float:
    """Seconds of `executemany` by hand with the same durability, into the same schema."""
    path = folder / f"{uuid7()}.db"
    with Store.open(path, create=True) as store:
        made = [_opened() for _ in range(LIVE)]
        store.append([Append(one.recording_id, one) for one in made])
    rows = event_rows(made)
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA synchronous=FULL")
    begun = time.perf_counter()
    for start in range(0, len(rows), COMMIT):
        connection.execute("BEGIN IMMEDIATE")
        connection.executemany("INSERT INTO events VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", rows[start : start + COMMIT])
        connection.execute("COMMIT")
    taken = time.perf_counter() - begun
    connection.close()
    return taken


def stored(folder: Path) -> float:
    """Seconds of the same through `Store.append`, one Append for each recording in each commit."""
    with Store.open(folder / f"{uuid7()}.db", create=True) as store:
        made = [_opened() for _ in range(LIVE)]
        store.append([Append(one.recording_id, one) for one in made])
        rows, per_commit = event_rows(made), COMMIT // LIVE
        ids = {one.recording_id.bytes: one.recording_id for one in made}
        batches = [
            [
                Append(ids[rows[at][0]], None, rows[at : at + per_commit])
                for at in range(start, start + COMMIT, per_commit)
            ]
            for start in range(0, len(rows), COMMIT)
        ]
        begun = time.perf_counter()
        for batch in batches:
            store.append(batch)
        return time.perf_counter() - begun


def _opened() -> Recording:
    return Recording(
        recording_id=uuid7(),
        started_at=START,
        writer=UUID(int=0),
        dialect="assistants",
        origin=ORIGIN,
        request=Request("POST", f"{ORIGIN}/v1/threads/runs", (), b"{}", 2),
        salt=bytes(16),
    )


def appending(folder: Path) -> None:
    """Append against what sqlite3 can do at best with the same rows and the same durability."""
    contestants = {"raw executemany": partial(raw, folder), "Store.append": partial(stored, folder)}
    taken = medians(taking_turns(ROUNDS, contestants))
    heading(f"{LIVE} recordings growing, {COMMIT} events a commit, synchronous=FULL")
    table(["by", "k events/s"], [(name, EVENTS / seconds / 1000) for name, seconds in taken.items()])
    bar("Store.append to raw sqlite3", taken["raw executemany"] / taken["Store.append"], least=0.9)


# -- readings ----------------------------------------------------------------------------------------------------------

#: Readings in one transaction, as the reader puts them.
BATCH: Final = 64


def reading_batches(folder: Path, *, of_one_id: bool, batches: int = 40) -> tuple[Store, list[list[StoredReading]]]:
    """A store with recordings that have ended, and their readings: runs of two, or each of the same provider's id."""
    store = Store.open(folder / f"{uuid7()}.db", create=True)
    given = []
    for batch in range(batches):
        made = [_opened() for _ in range(BATCH)]
        store.append([Append(one.recording_id, one, [_end_row(one)], _ENDED) for one in made])
        given.append([_read(one, at, "run" if of_one_id else f"run_{batch}_{at // 2}") for at, one in enumerate(made)])
    return store, given


_ENDED: Final = Ending(
    ending="eof",
    captured="full",
    elapsed_us=4_000_000,
    events=0,
    wire_bytes=0,
    facts_digest=bytes(32),
    payload_digest=bytes(32),
    seal=bytes(32),
)


def _end_row(recording: Recording) -> EventRow:
    return (recording.recording_id.bytes, 0, "end", 0, None, b"{}", None, 2, b"")


def _read(recording: Recording, at: int, name: str) -> StoredReading:
    reading = Reading(
        dialect="assistants",
        action="submit_tool_outputs" if at % 2 else "create",
        status="completed" if at % 2 else "requires_action",
        opens_run=not at % 2,
        provider_run_id=name,
        model=None if at % 2 else "gpt-4o",
        parameters={"model": "gpt-4o", "stream": True, "temperature": 1.0},
        metadata=None if at % 2 else {"user": "u1"},
        text=" ".join(WORDS),
        facts={"times": {"headers_us": 1, "first_event_us": 2}},
    )
    key = recording.recording_id
    return StoredReading(recording_id=key, run_id=key, reader_version=1, read_at=START, reading=reading)


def putting(folder: Path) -> None:
    """What a batch of readings takes, put in its places; at the end beside the beginning where all have one id."""
    rows = []
    for name, of_one_id in (("runs of two", False), ("one id for all", True)):
        store, batches = reading_batches(folder, of_one_id=of_one_id)
        times = []
        for batch in batches:
            begun = time.perf_counter()
            store.put_readings(batch)
            times.append((time.perf_counter() - begun) * 1000)
        store.close()
        rows.append((name, statistics.median(times[:10]), statistics.median(times[-10:])))
    heading(f"{BATCH} readings in one transaction, ms")
    table(["of", "first", "last"], rows)


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="recorder-bench-") as name:
        folder = Path(name)
        appending(folder)
        putting(folder)
        path = Path(sys.argv[1]) if len(sys.argv) > 1 else folder / "million.db"
        if not path.exists():
            begun = time.perf_counter()
            build(path, SIZE)
            note(f"\n{SIZE:,} recordings made in {time.perf_counter() - begun:.0f} s: {path.stat().st_size >> 20} MiB")
        with Store.open(path, readonly=True) as store:
            listing(store, SIZE)
            finding(store, SIZE)


if __name__ == "__main__":
    main()
