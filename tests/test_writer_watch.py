"""Looking for runaways on the writer's thread: what is noticed is told, and what fails there ends the looking alone."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from recorder.capture import Capture
from recorder.detect import LiveDetector, Notice
from recorder.recording import Captured, Head, Row, uuid7
from recorder.store import Store
from recorder.writer import Writer
from recorder.writer.watch import Watch
from tests.payloads import frame
from tests.tape import post, recorded

BLANKS = [frame({"choices": [{"delta": {"content": text}}]}) for text in ['{"a":', *[" \n"] * 30]]
HEAD = Head(200, headers=(("content-type", "text/event-stream"),))
ASKED = post("/v1/chat/completions", response_format={"type": "json_object"})


def record(path: Path, tell: object) -> Store:
    """One runaway stream into a store."""
    writer = Writer(lambda: Store.open(path, create=True), on_notice=tell)  # type: ignore[arg-type]
    tap = writer.start(ASKED)
    tap.head(HEAD)
    for chunk in BLANKS:
        tap.data(chunk)
    tap.end("eof")
    assert writer.close(20)
    return Store.open(path)


def test_a_writer_tells_what_it_notices(tmp_path: Path) -> None:
    told: list[Notice] = []
    with record(tmp_path / "store.db", told.extend) as store:
        (listed,) = store.recordings()
    assert [(notice.kind, notice.recording_id) for notice in told] == [
        ("whitespace_runaway", listed.recording.recording_id)
    ]


@pytest.mark.parametrize("broken", ["detector", "listener"])
def test_a_failure_ends_the_looking_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, broken: str
) -> None:
    def fail(*_: object) -> None:
        raise ValueError("sekret")

    if broken == "detector":
        monkeypatch.setattr(LiveDetector, "rows", fail)
    with record(tmp_path / "store.db", fail) as store:
        (listed,) = store.recordings()
        assert listed.recording.ending is not None
        assert listed.recording.ending.captured == Captured.FULL
        assert listed.recording.ending.events == 1 + len(BLANKS)
    (record_,) = [found for found in caplog.records if found.levelno >= logging.WARNING]
    assert record_.getMessage() == (
        "recorder no longer looks for runaways in one recording (ValueError); it is recorded all the same"
    )


def test_after_a_failure_nobody_looks_any_more(caplog: pytest.LogCaptureFixture) -> None:
    calls: list[object] = []
    watch = Watch(uuid7(), None, calls.append)
    bad: list[Row] = [(b"",)]  # type: ignore[list-item]
    watch(bad)
    watch(bad)
    assert len(caplog.records) == 1
    assert calls == []


def test_a_capture_shows_its_rows_with_payloads_once_and_in_order() -> None:
    seen: list[Row] = []
    recording, _ = recorded(ASKED, b"", content="none")
    capture = Capture(recording, seen.extend)
    capture.head(HEAD, 1)
    for number, chunk in enumerate(BLANKS):
        capture.data(chunk, number)
        if number % 3 == 0:
            capture.take()
    capture.end("eof", 99)
    taken = capture.take()
    assert [row[1] for row in seen] == list(range(len(BLANKS) + 2))
    assert all(row[5] for row in seen)
    assert not any(row[5] for row in taken if row[2] == "sse"), "what is stored has none"
