"""Small answers of the Responses protocol for the tests: a stream of a few events, a document, their parts."""

from __future__ import annotations

import json
from typing import Any

from recorder.recording import Reading, Request
from recorder.sse import payload
from tests.payloads import response, response_event
from tests.tape import JSON, post, read, recorded

__all__ = ["CREATE", "PLAIN", "begun", "call", "document", "ended", "payloads", "said", "stream"]

CREATE = post("/v1/responses", model="gpt-4o", input="hi", stream=True)
PLAIN = post("/v1/responses", model="gpt-4o", input="hi")


def stream(*events: bytes, asked: Request = CREATE) -> Reading:
    return read(asked, b"".join(events))


def document(status: str, asked: Request = PLAIN, **fields: Any) -> Reading:
    return read(asked, json.dumps(response(status, **fields)).encode(), headers=JSON)


def ended(status: str = "completed", number: int = 1, **fields: Any) -> bytes:
    return response_event(status, number, response=response(status, **fields))


def begun(number: int = 0) -> bytes:
    return response_event("created", number, response=response("in_progress"))


def said(text: str, status: str = "completed") -> dict[str, Any]:
    part = {"type": "output_text", "text": text, "annotations": []}
    return {"id": "msg_torture", "type": "message", "role": "assistant", "status": status, "content": [part]}


def call(kind: str, **fields: Any) -> dict[str, Any]:
    return {"id": f"item_{kind}", "type": kind, "call_id": "call_1", "status": "completed", **fields}


def payloads(body: bytes) -> list[dict[str, Any]]:
    """What an EventSource would have dispatched, but for an end marker."""
    _, events = recorded(CREATE, body)
    told = [payload(event.type, event.data, event.raw) for event in events if event.kind == "sse"]
    return [json.loads(data) for data in told if data and not data.startswith(b"[DONE]")]
