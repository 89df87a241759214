"""Recordings made without a network: a request and the bytes of an answer, through the real capture, to rows."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from recorder.capture import Capture
from recorder.dialects import by_name, recognise
from recorder.recording import Event, Head, HeaderList, Reading, Recording, Request, Transport, uuid7

__all__ = ["EVENT_STREAM", "JSON", "post", "read", "recorded", "request"]

EVENT_STREAM: HeaderList = (("content-type", "text/event-stream; charset=utf-8"),)
JSON: HeaderList = (("content-type", "application/json"),)

ORIGIN = "https://api.openai.com"


def request(method: str, url: str, body: bytes | None = b"") -> Request:
    """A request; a path alone gets the origin of OpenAI's API before it."""
    whole = url if "://" in url else ORIGIN + url
    return Request(method=method, url=whole, body=body, body_size=len(body or b""))


def post(url: str, **body: Any) -> Request:
    """A POST of JSON."""
    return request("POST", url, json.dumps(body).encode())


def recorded(
    asked: Request,
    answer: bytes | None,
    *,
    status: int = 200,
    headers: HeaderList = EVENT_STREAM,
    dialect: str | None = None,
    chunk: int = 64,
    step_us: int = 1000,
    ending: str = Transport.EOF,
    **fields: Any,
) -> tuple[Recording, list[Event]]:
    """The recording of one exchange and its rows; `answer` None: no response came.

    Chunks of `chunk` bytes arrive every `step_us`, the headers after one step.
    """
    name = dialect or recognise(asked).name
    parameters: Mapping[str, Any] = by_name(name).parameters(asked)
    given: dict[str, Any] = {
        "recording_id": uuid7(),
        "started_at": 0,
        "writer": uuid7(),
        "origin": ORIGIN,
        "parameters": parameters,
    } | fields
    capture = Capture(Recording(dialect=name, request=asked, **given))
    if answer is not None:
        capture.head(Head(status, headers=headers), step_us)
        for number, start in enumerate(range(0, len(answer), chunk), 2):
            capture.data(answer[start : start + chunk], number * step_us)
    capture.end(ending, (len(answer or b"") // chunk + 3) * step_us)
    rows = capture.take()
    return replace(capture.recording, ending=capture.ending), [Event(*row[1:]) for row in (capture.kept or rows)]


def read(asked: Request, answer: bytes | None, **how: Any) -> Reading:
    """What the request's dialect makes of that exchange."""
    recording, events = recorded(asked, answer, **how)
    return by_name(recording.dialect).read(recording, events)
