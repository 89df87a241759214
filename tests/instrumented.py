"""A handle over a store of its own, and what it recorded: for the tests of everything that records inside a client.

Tests import it as well as they load it, so pytest cannot rewrite its assertions: PYTEST_DONT_REWRITE.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

import recorder
from recorder.handle import Handle
from recorder.recording import Ending, Head, Recording
from recorder.replay.chunks import RECORDED, blocks, cut
from recorder.store import Store

__all__ = ["chunks", "ending", "head_of", "recordings"]


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store that is made once and copied for each test."""
    path = tmp_path_factory.mktemp("empty") / "store.db"
    Store.open(path, create=True).close()
    return path


@pytest.fixture
def handle(tmp_path: Path, empty_store: Path) -> Iterator[Handle]:
    with recorder.open(shutil.copy(empty_store, tmp_path), strict=True) as made:
        yield made
        made.flush(60)  # closing takes no longer than a program's end may; a busy machine does


def recordings(handle: Handle) -> list[Recording]:
    """All recordings, oldest first, with their bodies and endings."""
    assert handle.flush(60)
    return [handle.recording(listed.recording.recording_id) for listed in reversed(handle.recordings())]


def ending(recording: Recording) -> Ending:
    assert recording.ending is not None
    return recording.ending


def head_of(handle: Handle, recording: Recording) -> Head:
    data = next(event.data for event in handle.events(recording.recording_id) if event.kind == "head")
    assert data is not None
    return Head.from_json(data)


def chunks(handle: Handle, recording: Recording) -> list[bytes]:
    """The body as the record says that the network delivered it."""
    events = [event for event in handle.events(recording.recording_id) if event.kind not in ("info", "head")]
    if any(event.kind == "wire" for event in events):
        events = [event for event in events if event.kind == "wire"]
    return [piece for _, piece in cut(blocks(events), RECORDED)]
