"""Recordings for the tests of files: with all that makes one valid, so that a store takes them and a seal holds."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from recorder import match
from recorder.capture import Capture
from recorder.dialects import recognise
from recorder.exchange import Entry
from recorder.recording import Event, Head, HeaderList, Recording, Request, Transport, uuid7
from tests.rows import STARTED
from tests.tape import EVENT_STREAM, ORIGIN

__all__ = ["chat", "said", "taped"]

Chunks = Sequence[tuple[int, bytes]]


def taped(
    asked: Request,
    chunks: Chunks | None,
    *,
    status: int = 200,
    headers: HeaderList = EVENT_STREAM,
    ending: str = Transport.EOF,
    detail: dict[str, Any] | None = None,
    **fields: Any,
) -> Entry:
    """The recording of an exchange whose chunks arrived at these times; None: no response came."""
    dialect = recognise(asked)
    rule = match.Rule.from_text(fields.get("match_rule", match.DEFAULT.to_text()))
    known: dict[str, Any] = {
        "recording_id": uuid7(),
        "started_at": STARTED,
        "writer": uuid7(),
        "dialect": dialect.name,
        "origin": ORIGIN,
        "request": asked,
        "salt": b"salt" * 4,
        "match_key": None if asked.body is None else match.key(asked, rule),
        "match_rule": rule.to_text(),
        "parameters": {} if asked.body is None else dict(dialect.parameters(asked)),
    }
    recording = Recording(**(known | fields))
    capture = Capture(recording)
    now = 0
    if chunks is not None:
        capture.head(Head(status, "OK", headers=headers), 900)
        for now, chunk in chunks:
            capture.data(chunk, now)
    capture.end(ending, now + 1000, detail=detail)
    return Entry(replace(recording, ending=capture.ending), [Event(*row[1:]) for row in capture.take()])


def said(*words: str, name: str = "chatcmpl-1") -> list[bytes]:
    """A chat stream: an event for each word, and the end marker."""
    told = [
        {"id": name, "object": "chat.completion.chunk", "choices": [{"delta": {"content": word}}]} for word in words
    ]
    return [*(b"data: %b\n\n" % json.dumps(each).encode() for each in told), b"data: [DONE]\n\n"]


def chat(prompt: str, frames: Iterable[bytes], *, step_us: int = 1000, **how: Any) -> Entry:
    """A chat call and its stream, one chunk an event."""
    body = json.dumps({"model": "gpt-4o", "messages": [{"role": "user", "content": prompt}], "stream": True}).encode()
    asked = Request("POST", f"{ORIGIN}/v1/chat/completions", (("content-type", "application/json"),), body, len(body))
    return taped(asked, [(1000 + number * step_us, frame) for number, frame in enumerate(frames)], **how)
