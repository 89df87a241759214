"""Eight processes that write one SQLite file: none is told that it is busy, none waits for ever, no row is lost."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from recorder.store import Store
from tests.needs import ROOT, examples

WRITERS = 8

# Each writer has the same load: a batch every 20 to 50 ms, or the next one as soon as the last is durable.
PROGRAM = """
import json, random, sys, time
from recorder.recording import Head, Request
from recorder.store import Store
from recorder.writer import Writer

url, pace, seconds = sys.argv[1], sys.argv[2], float(sys.argv[3])
writer = Writer(lambda: Store.open(url))
tap = writer.start(Request("POST", "http://model.test/"))
tap.head(Head(200, "OK", "HTTP/1.1", (("Content-Type", "text/event-stream"),)))
assert writer.flush(60)
pause = random.Random(1)
event = b"event: delta\\ndata: " + b"x" * 200 + b"\\n\\n"
print(flush=True)
input()  # all are ready
begin = due = time.monotonic()
sent = 0
while time.monotonic() < begin + seconds:
    for _ in range(32):
        tap.data(event)
        sent += 1
    if pace == "paced":
        due += pause.uniform(0.02, 0.05)
        time.sleep(max(0, due - time.monotonic()))
    else:
        assert writer.flush(60)
durable = tap.durable
tap.end("eof")
assert writer.close(60)
print(json.dumps([str(tap.recording_id), sent, durable, writer.stats.gaps, writer.stats.failing]))
"""


@pytest.mark.timeout(600)
@pytest.mark.parametrize(("pace", "least"), [("paced", 0.9), ("saturated", 0.2)])
def test_eight_writers_share_a_file(
    pace: str, least: float, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    """The one that got least has at least that share of the one that got most; every row that was sent is stored."""
    # Whatever else keeps the machine busy hits some processes more than others, for a few seconds: the longer they
    # write, the less it weighs. A lock that is not fair gives the same shares for ever.
    rounds: list[float] = []
    while len(rounds) < 4 and max(rounds, default=0) < least:
        shares = shares_of(pace, tmp_path / f"tape{len(rounds)}.db", examples(2, 20) * 2 ** len(rounds))
        rounds.append(min(shares) / max(shares))
    record_property(f"{pace} min/max", round(max(rounds), 2))
    record_property(f"{pace} rows", sum(shares))
    assert max(rounds) >= least


def shares_of(pace: str, path: Path, seconds: int) -> list[int]:
    """How many rows each of the writers had made durable when the time was up. All that were sent are stored."""
    Store.open(path, create=True).close()
    command = [sys.executable, "-c", PROGRAM, str(path), pace, str(seconds)]
    pipe = subprocess.PIPE
    processes = [
        subprocess.Popen(command, cwd=ROOT, text=True, stdin=pipe, stdout=pipe, stderr=pipe) for _ in range(WRITERS)
    ]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    told = [process.communicate(timeout=seconds + 100) for process in processes]
    assert [error for _, error in told] == [""] * WRITERS
    results: list[list[Any]] = [json.loads(output) for output, _ in told]
    assert [result[3:] for result in results] == [[0, None]] * WRITERS
    with Store.open(path) as store:
        for listed, sent, *_ in results:
            recording = store.recording(store.resolve(listed))
            assert recording.ending is not None
            assert (recording.ending.ending, recording.ending.captured) == ("eof", "full")
            assert recording.ending.events == sent + 1
    return [result[2] for result in results]
