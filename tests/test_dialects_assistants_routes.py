"""Exchanges with a thread of the Assistants protocol, outside its runs. (Which requests are of it: test_dialects.)"""

from __future__ import annotations

import json
from typing import Any

import pytest

from recorder.dialects.assistants_routes import route
from recorder.recording import Request, Status
from tests.payloads import run
from tests.tape import JSON, post, read, request

USER = {
    "id": "msg_1",
    "object": "thread.message",
    "thread_id": "thread_9",
    "role": "user",
    "content": [{"type": "text", "text": {"value": "hi", "annotations": []}}],
    "metadata": {"a": "b"},
}


@pytest.mark.parametrize(
    ("asked", "answer", "action", "thread_id"),
    [
        (post("/v1/threads", messages=[]), {"id": "thread_9", "object": "thread"}, "create_thread", "thread_9"),
        (request("GET", "/v1/threads/thread_9"), {"id": "thread_9", "object": "thread"}, "retrieve_thread", "thread_9"),
        (
            post("/v1/threads/thread_9", metadata={}),
            {"id": "thread_9", "object": "thread"},
            "modify_thread",
            "thread_9",
        ),
        (request("DELETE", "/v1/threads/thread_9"), {"id": "thread_9", "deleted": True}, "delete_thread", "thread_9"),
        (post("/v1/threads/thread_9/messages", role="user", content="hi"), USER, "add_message", "thread_9"),
        (
            request("GET", "/v1/threads/thread_9/messages"),
            {"object": "list", "data": [USER]},
            "list_messages",
            "thread_9",
        ),
        (request("GET", "/v1/threads/thread_9/messages/msg_1"), USER, "retrieve_message", "thread_9"),
        (post("/v1/threads/thread_9/messages/msg_1", metadata={}), USER, "modify_message", "thread_9"),
        (request("DELETE", "/v1/threads/thread_9/messages/msg_1"), {"id": "msg_1"}, "delete_message", "thread_9"),
        (
            request("GET", "/v1/threads/thread_9/runs"),
            {"object": "list", "data": [run("failed")]},
            "list_runs",
            "thread_9",
        ),
        (request("GET", "https://x/api/projects/p/threads?api-version=v1"), {"object": "list"}, "list_threads", None),
    ],
)
def test_what_is_said_to_a_thread_is_no_run_but_linked_to_it(
    asked: Request, answer: dict[str, Any], action: str, thread_id: str | None
) -> None:
    reading = read(asked, json.dumps(answer).encode(), headers=JSON)
    assert (reading.dialect, reading.action, reading.is_run) == ("assistants", action, False)
    assert (reading.thread_id, reading.provider_run_id, reading.text, reading.spoken) == (thread_id, None, None, ())
    assert (reading.status, reading.complete, reading.flags) == (Status.UNKNOWN, True, ())
    assert reading.facts.get("listed") == (len(answer["data"]) if "data" in answer else None)


def test_a_message_added_keeps_its_ids_its_parameters_and_their_limits() -> None:
    asked = post("/v1/threads/thread_9/messages", role="user", content="hi", metadata={"k" * 65: "v"})
    reading = read(asked, json.dumps(USER).encode(), headers=JSON)
    assert reading.facts["messages"] == [{"id": "msg_1", "role": "user"}]
    assert (reading.metadata, dict(reading.parameters or {})["content"]) == ({"a": "b"}, "hi")
    assert reading.flags == ("outside_limits",)
    refused = read(asked, b'{"error":{"message":"no","code":"bad"}}', status=404, headers=JSON)
    assert (refused.status, refused.flags) == (Status.UNKNOWN, ("http_error", "outside_limits"))
    assert refused.facts["evidence"]["error"] == {"code": "bad", "position": 1}
    assert refused.facts["content"] == {"error_message": "no"}
    silent = read(asked, None, ending="connect_error")
    assert (silent.thread_id, silent.complete, silent.is_run) == ("thread_9", False, False)


def test_a_thread_is_ours_by_its_id_or_by_a_header_that_says_so() -> None:
    plain = request("GET", "/threads/8e0a2b34-8f5e-4f4e-9d5b-0c7b1d3a5f10/messages")
    named = Request(method="GET", url=plain.url, headers=(("OpenAI-Beta", "assistants=v2"),))
    assert route(plain) is None
    assert route(named) is not None
