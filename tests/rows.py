"""Recordings, rows and endings made up for the store's tests: valid, small, and different from one another."""

from __future__ import annotations

import dataclasses
import json
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from uuid import UUID

from recorder.recording import Ending, Kind, Reading, Recording, Request, Row, StoredReading, uuid7
from recorder.store import Append, Store

if TYPE_CHECKING:
    import pytest
    from sqlalchemy import Connection

__all__ = ["STARTED", "WRITER", "an_end", "made_reading", "meanwhile", "opened", "positions", "recorded", "rows_of"]

WRITER = UUID("00000000-0000-7000-8000-00000000000a")
STARTED = 1_790_000_000_000_000


def opened(**changes: Any) -> Recording:
    """A recording that has begun; `changes` replace its fields."""
    recording = Recording(
        recording_id=uuid7(),
        started_at=STARTED,
        writer=WRITER,
        dialect="assistants",
        origin="https://api.example.com",
        request=Request(
            "POST", "https://api.example.com/v1/threads/runs", (("content-type", "application/json"),), b"{}", 2
        ),
        salt=b"salt" * 4,
        match_key=b"k" * 32,
        match_rule="{}",
    )
    return dataclasses.replace(recording, **changes)


def rows_of(recording: Recording, start: int, stop: int, *, data: bytes = b"{}", kind: str = Kind.SSE) -> list[Row]:
    """Event rows at the positions from `start` up to, and without, `stop`."""
    key = recording.recording_id.bytes
    return [
        (key, at, str(kind), at * 1000, "thread.message.delta", data + b"%d" % at, None, len(data) + 30, None)
        for at in range(start, stop)
    ]


def an_end(recording: Recording, position: int, ending: str = "eof", **changes: Any) -> tuple[Row, Ending]:
    """The `end` row at that position, and the ending that goes with it."""
    told = {"ending": ending, "captured": "full"}
    payload = json.dumps(told).encode()
    ended = Ending(
        ending=ending,
        captured="full",
        elapsed_us=position * 1000,
        events=position,
        wire_bytes=position * 30,
        http_status=200,
        head_us=5,
        facts_digest=b"f" * 32,
        payload_digest=b"p" * 32,
        seal=b"s" * 32,
        detail=told,
    )
    row: Row = (
        recording.recording_id.bytes,
        position,
        str(Kind.END),
        position * 1000,
        None,
        payload,
        None,
        len(payload),
        b"",
    )
    return row, dataclasses.replace(ended, **changes)


def recorded(store: Store, *, events: int = 3, ending: str = "eof", **changes: Any) -> Recording:
    """A whole recording, stored; with its ending."""
    recording = opened(**changes)
    row, ended = an_end(recording, events, ending)
    store.append([Append(recording.recording_id, recording, [*rows_of(recording, 0, events), row], ended)])
    return dataclasses.replace(recording, ending=ended)


def made_reading(recording: Recording, run_id: UUID | None = None, **fields: Any) -> StoredReading:
    """A reading of the recording, which opens a run unless `run_id` names another.

    The store finds that run by itself, if `provider_run_id` is that of its opener.
    """
    return StoredReading(
        recording_id=recording.recording_id,
        run_id=run_id or recording.recording_id,
        reader_version=1,
        read_at=STARTED,
        reading=Reading(**{"dialect": recording.dialect, "opens_run": run_id is None, **fields}),
    )


def positions(store: Store, recording: Recording) -> Sequence[int]:
    """The positions that are stored."""
    return [event.position for event in store.events(recording.recording_id)]


def meanwhile(
    monkeypatch: pytest.MonkeyPatch, store: Store, first: Callable[[], object], second: Callable[[], object]
) -> bool:
    """Runs `second` when `first` has written to the store and not committed; whether it had to wait for that."""
    written, done = threading.Event(), threading.Event()
    waited: list[bool] = []
    write = store._backend.write

    @contextmanager
    def write_slowly() -> Iterator[Connection]:
        with write() as connection:
            yield connection
            if not written.is_set():
                written.set()
                waited.append(not done.wait(0.4))  # time enough for the other, did it not have to wait

    def other() -> None:
        assert written.wait(30)
        second()
        done.set()

    monkeypatch.setattr(store._backend, "write", write_slowly)
    thread = threading.Thread(target=other)
    thread.start()
    first()
    thread.join()
    assert done.is_set()
    return waited[0]
