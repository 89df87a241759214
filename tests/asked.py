"""Runs made up for the questions: each question's folder entry says runs and the answers that these must give.

`tests/analytics/NAME.json` holds for analytics/NAME.sql:

    runs    a list; each run is an object of reading's fields (`recorder.recording.Reading`) and besides `started`
            (seconds after the first moment), `weight`, `tags`, `origin`, `http_status`, `ending` (null: still open),
            `captured`, `duration_us`, `bytes`, `content`, `events` (a list of [elapsed_us, type, size], or how many),
            `match` (a text: requests of the same one match; each is its own otherwise),
            `times` (write the run down so many times) and `then` (a list of readings that continue the run)
    asks    a list; each has `rows` (the answer's rows, in order) and may have `by`, `where`, `since`, `until`,
            `given`, `candidates`, `left_out` (pairs of column and runs)

Floats are compared to nine digits. All runs of all questions lie in one store; a tag tells whose they are.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, Final
from uuid import UUID, uuid4

from recorder.recording import Kind, Reading, Recording, Row, StoredReading
from recorder.store import Append, Store
from tests.rows import STARTED, an_end, opened

FOLDER: Final = Path(__file__).parent / "analytics"

#: What of a run's object is no field of its reading.
_OURS: Final = frozenset(
    {"started", "weight", "tags", "origin", "http_status", "ending", "captured", "duration_us", "bytes", "content"}
    | {"events", "match", "times", "then"}
)
_SECOND: Final = 1_000_000


def load(name: str) -> dict[str, Any]:
    """What is said of one question."""
    told: dict[str, Any] = json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))
    return told


def fill(store: Store, name: str, runs: Sequence[Mapping[str, Any]]) -> None:
    """Write the runs of a question down."""
    for run in runs:
        for _ in range(run.get("times", 1)):
            opener = _write(store, name, run, None)
            for part in run.get("then", ()):
                _write(store, name, {"dialect": run.get("dialect", "assistants"), **part}, opener)


def _write(store: Store, name: str, told: Mapping[str, Any], opener: Recording | None) -> Recording:
    started = STARTED + round(told.get("started", 0) * _SECOND)
    recording = opened(
        started_at=started,
        dialect=told.get("dialect", "assistants"),
        origin=told.get("origin", opener.origin if opener else "https://api.openai.com"),
        weight=told.get("weight", 1.0),
        tags={"set": name, **told.get("tags", {})},
        content=told.get("content", "full"),
        match_key=hashlib.sha256(str(told.get("match", uuid4())).encode()).digest(),
    )
    store.append([_append(recording, told)])
    fields = {key: value for key, value in told.items() if key not in _OURS}
    fields["flags"] = tuple(fields.get("flags", ()))
    facts = dict(fields.pop("facts", {}))
    if "http_status" in told:
        facts["http_status"] = told["http_status"]
    reading = Reading(**{"dialect": recording.dialect, "opens_run": opener is None, **fields, "facts": facts})
    store.put_readings(
        [
            StoredReading(
                recording_id=recording.recording_id,
                run_id=opener.recording_id if opener else recording.recording_id,
                reader_version=1,
                read_at=started,
                reading=reading,
            )
        ]
    )
    return recording


def _append(recording: Recording, told: Mapping[str, Any]) -> Append:
    rows = list(_rows(recording, told.get("events", 0)))
    ending = told.get("ending", "eof")
    if ending is None:
        return Append(recording.recording_id, recording, rows)
    row, ended = an_end(recording, len(rows), ending)
    elapsed = told.get("duration_us", rows[-1][3] if rows else 0)
    row = (*row[:3], elapsed, *row[4:])
    ended = dataclasses.replace(
        ended,
        elapsed_us=elapsed,
        captured=told.get("captured", "full"),
        http_status=told.get("http_status", 200),
        wire_bytes=told.get("bytes", sum(event[7] for event in rows)),
    )
    return Append(recording.recording_id, recording, [*rows, row], ended)


def _rows(recording: Recording, events: Any) -> Iterator[Row]:
    listed = [[at * 1000, "thread.message.delta", 60] for at in range(events)] if isinstance(events, int) else events
    for position, (elapsed, kind, size) in enumerate(listed):
        yield (recording.recording_id.bytes, position, str(Kind.SSE), elapsed, kind, b"{}", None, size, None)


def belonging(name: str) -> str:
    """The condition that only the runs of a question meet."""
    return f"run_id IN (SELECT run_id FROM run_tags WHERE name = 'set' AND value = '{name}')"


def as_json(value: Any) -> Any:
    """A value of an answer as the files spell it."""
    if isinstance(value, float):
        return value if not math.isfinite(value) else float(f"{value:.9g}")
    if isinstance(value, Decimal):
        return f"{value:f}"
    if isinstance(value, UUID):
        return "an id"  # made anew each time
    if isinstance(value, (date, datetime)):
        return str(value)
    return value


__all__ = ["FOLDER", "as_json", "belonging", "fill", "load"]
