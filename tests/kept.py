"""Recordings of golden streams in a real store, each with its reading."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

from recorder import reader
from recorder.recording import Event, Kind, Recording
from recorder.store import Append, Store
from tests.golden import STREAMS, tape
from tests.tape import recorded

__all__ = ["GOLDEN", "bare", "clear", "keep", "put", "without_payloads"]

GOLDEN = sorted(path.stem for path in STREAMS.glob("*.sse"))


def put(store: Store, recording: Recording, events: list[Event]) -> Recording:
    """Into the store, ended or not; with its reading, if ended."""
    rows = [(recording.recording_id.bytes, *event) for event in events]
    store.append([Append(recording.recording_id, recording, rows, recording.ending)])
    if recording.ending is not None:
        reader.read(store, recording.recording_id)
    return recording


def keep(store: Store, asked: Any, answer: bytes | None, **how: Any) -> Recording:
    """As `put`, of a request and its answer; see `tests.tape.recorded`."""
    return put(store, *recorded(asked, answer, **how))


def clear(path: Path) -> None:
    """Take a SQLite store away, and all that lies beside it: log, locks, facts for questions, backups."""
    for each in path.parent.glob(f"{path.name}*"):
        shutil.rmtree(each, ignore_errors=True) if each.is_dir() else each.unlink()


def bare(events: list[Event]) -> list[Event]:
    """The rows without the payloads of the stream."""
    return [event if event.kind in (Kind.HEAD, Kind.END) else event._replace(data=None, raw=None) for event in events]


def without_payloads(store: Store, name: str) -> Recording:
    """A golden stream in the store, recorded with content=facts and not read while its payloads were there."""
    recording, events = tape(name)
    return put(store, replace(recording, content="facts"), bare(events))
