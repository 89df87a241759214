"""What verifying a store costs: events and bytes per second, in short and in long streams, and beside reading them.

A store is filled with streams of one length, as providers send them; then verified through the store's own path, in
one process. Times are the best of some rounds, CPU of this process, so that who else uses the machine counts less. The
bar is a speed, because it was promised as one; beside it stands what reading the same events alone costs.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from recorder.recording import Request
from recorder.store import Append, Store
from recorder.verify import Checked, Summary, make, verify
from tests.benchmarks.figures import bar, heading, note, ratio, table
from tests.needs import CORPUS
from tests.payloads import message_delta, run_event
from tests.verified import made

ROUNDS: Final = 3
#: Events in all, and in each stream.
EVENTS: Final = 200_000
LENGTHS: Final = (50, 500, 5000)
ASKED: Final = 400_000

REQUEST: Final = Request(
    "POST",
    "https://api.openai.com/v1/threads/thread_1/runs",
    (("content-type", "application/json"),),
    b'{"assistant_id":"asst_1","model":"gpt-4o","stream":true,"max_completion_tokens":256}',
    84,
)


def fill(store: Store, answers: list[bytes], times: int) -> None:
    """Put each answer into the store so many times."""
    for _ in range(times):
        batch = []
        for answer in answers:
            frames = max(1, answer.count(b"\n\n"))
            capture, rows = made(REQUEST, answer, chunk=max(1, len(answer) // frames))
            batch.append(Append(capture.recording.recording_id, capture.recording, rows, capture.ending))
        store.append(batch)


def best(action: Callable[[], object]) -> float:
    """Seconds of CPU that the fastest of some rounds takes."""
    times = []
    for _ in range(ROUNDS):
        begun = time.process_time_ns()
        action()
        times.append(time.process_time_ns() - begun)
    return min(times) / 1e9


def read_only(store: Store) -> None:
    """Read all events, and do nothing with them."""
    for stored in store.scan():
        for _ in stored.pages():
            pass


def measure(name: str, answers: list[bytes], times: int) -> tuple[list[object], float]:
    """A row of the table, and the events per second."""
    with tempfile.TemporaryDirectory() as folder, Store.open(Path(folder) / "recorder.db", create=True) as store:
        fill(store, answers, times)
        faults: list[Checked] = []

        def check() -> Summary:
            return verify(store, lambda each: faults.append(each) if each.problems else None)

        summary = check()
        taken, reading = best(check), best(lambda: read_only(store))
        assert not faults
        begun = time.process_time()
        make(store)
        logged = time.process_time() - begun
    speed = summary.events / taken
    row: list[object] = [name, summary.recordings, summary.events, summary.bytes / summary.events, speed]
    return [*row, summary.bytes / taken / 1e6, ratio(taken / reading), 1e6 * logged / summary.recordings], speed


def streams(length: int) -> list[bytes]:
    """Streams of so many events, some long enough to fill a round."""
    words = [message_delta(f" word{number}") for number in range(length - 2)]
    return [b"".join([run_event("created"), *words, run_event("completed")])] * max(1, 20_000 // length)


def main() -> None:
    """All figures."""
    heading("Verifying a store (CPU of one process)")
    columns = ("streams", "recordings", "events", "B/event", "events/s", "MB/s", "of reading", "us/checkpointed")
    rows, speeds = [], {}
    for length in LENGTHS:
        answers = streams(length)
        row, speeds[length] = measure(f"{length} events", answers, max(1, EVENTS // (length * len(answers))))
        rows.append(row)
    published = [path.read_bytes() for path in sorted(CORPUS.rglob("*.sse"))]
    if published:
        rows.append(measure("published", published, 3)[0])
    table(columns, rows)
    note("Published streams have 50 events on the average; each recording costs about as much as 100 events.")
    bar("verify, streams of 500 events", speeds[500] / 1000, least=ASKED / 1000, unit="k events/s")


if __name__ == "__main__":
    main()
