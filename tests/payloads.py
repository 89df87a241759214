"""Small streams of three protocols, written for the tests: what a provider would send, as frames of bytes.

Shapes follow the OpenAI API reference. Nothing here knows HTTP or recorder.
"""

from __future__ import annotations

import json
from typing import Any

THREAD, RUN, ASSISTANT = "thread_torture", "run_torture", "asst_torture"
CREATED = 1_700_000_000
DONE = b"data: [DONE]\n\n"
ASSISTANTS_DONE = b"event: done\ndata: [DONE]\n\n"
USAGE = {"prompt_tokens": 20, "completion_tokens": 5, "total_tokens": 25}


def compact(value: object) -> str:
    """JSON without spaces, non-ASCII as it is."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def frame(data: object, event: str | None = None) -> bytes:
    """One canonical server-sent event; `data` is sent as it is when it is a string, else as JSON."""
    text = data if isinstance(data, str) else compact(data)
    return (f"event: {event}\n" if event else "").encode() + f"data: {text}\n\n".encode()


def run(status: str, **fields: Any) -> dict[str, Any]:
    """A Run object of the Assistants API."""
    return {
        "id": RUN,
        "object": "thread.run",
        "created_at": CREATED,
        "assistant_id": ASSISTANT,
        "thread_id": THREAD,
        "status": status,
        "started_at": None if status == "queued" else CREATED + 1,
        "expires_at": CREATED + 600,
        "cancelled_at": None,
        "failed_at": None,
        "completed_at": CREATED + 2 if status == "completed" else None,
        "required_action": None,
        "last_error": None,
        "incomplete_details": None,
        "model": "gpt-4o",
        "instructions": "Be brief.",
        "tools": [],
        "tool_choice": "auto",
        "parallel_tool_calls": True,
        "response_format": "auto",
        "truncation_strategy": {"type": "auto", "last_messages": None},
        "temperature": 1.0,
        "top_p": 1.0,
        "max_prompt_tokens": 1024,
        "max_completion_tokens": 256,
        "metadata": {},
        "usage": USAGE if status in {"completed", "incomplete"} else None,
        **fields,
    }


def run_event(status: str, **fields: Any) -> bytes:
    """`thread.run.<status>` with its Run; `created` carries status queued, as the provider sends it."""
    return frame(run("queued" if status == "created" else status, **fields), f"thread.run.{status}")


def message_delta(text: str) -> bytes:
    """One `thread.message.delta`."""
    content = [{"index": 0, "type": "text", "text": {"value": text, "annotations": []}}]
    delta = {"id": "msg_torture", "object": "thread.message.delta", "delta": {"content": content}}
    return frame(delta, "thread.message.delta")


def chat_chunk(delta: dict[str, Any] | None, finish: str | None = None, **fields: Any) -> bytes:
    """One chat completion chunk; `delta` None means a chunk without choices."""
    choices = [] if delta is None else [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}]
    return frame(
        {
            "id": "chatcmpl-torture",
            "object": "chat.completion.chunk",
            "created": CREATED,
            "model": "gpt-4o",
            "choices": choices,
            **fields,
        }
    )


def response(status: str, **fields: Any) -> dict[str, Any]:
    """A Response object of the Responses API."""
    usage = {
        "input_tokens": 20,
        "input_tokens_details": {"cached_tokens": 0},
        "output_tokens": 5,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": 25,
    }
    return {
        "id": "resp_torture",
        "object": "response",
        "created_at": CREATED,
        "status": status,
        "error": None,
        "incomplete_details": None,
        "instructions": None,
        "max_output_tokens": 256,
        "model": "gpt-4o",
        "output": [],
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": [],
        "truncation": "disabled",
        "metadata": {},
        "usage": usage if status in {"completed", "incomplete"} else None,
        **fields,
    }


def response_event(kind: str, number: int, **fields: Any) -> bytes:
    """One Responses event `response.<kind>` with its sequence number."""
    return frame({"type": f"response.{kind}", "sequence_number": number, **fields}, f"response.{kind}")


def text_delta(text: str, number: int) -> bytes:
    """One `response.output_text.delta`."""
    place = {"item_id": "msg_torture", "output_index": 0, "content_index": 0}
    return response_event("output_text.delta", number, **place, delta=text, logprobs=[])


ASSISTANTS = (
    run_event("created"),
    run_event("queued"),
    run_event("in_progress"),
    message_delta("Hello"),
    message_delta(" world"),
    run_event("completed"),
    ASSISTANTS_DONE,
)
CHAT = (
    chat_chunk({"role": "assistant", "content": ""}),
    chat_chunk({"content": "Hello"}),
    chat_chunk({"content": " world"}),
    chat_chunk({}, "stop"),
    chat_chunk(None, usage=USAGE),
    DONE,
)
RESPONSES = (
    response_event("created", 0, response=response("in_progress")),
    response_event("in_progress", 1, response=response("in_progress")),
    text_delta("Hello", 2),
    text_delta(" world", 3),
    response_event("completed", 4, response=response("completed")),
)
TOOL_CALL = {
    "type": "submit_tool_outputs",
    "submit_tool_outputs": {
        "tool_calls": [
            {"id": "call_torture", "type": "function", "function": {"name": "weather", "arguments": '{"city":"Bern"}'}}
        ]
    },
}
REQUIRES_ACTION = (
    run_event("created"),
    run_event("queued"),
    run_event("in_progress"),
    run_event("requires_action", required_action=TOOL_CALL),
    ASSISTANTS_DONE,
)
AFTER_TOOLS = (
    run_event("queued"),
    run_event("in_progress"),
    message_delta("Sunny"),
    run_event("completed"),
    ASSISTANTS_DONE,
)


def completion(text: str) -> dict[str, Any]:
    """A chat completion that is not a stream."""
    message = {"role": "assistant", "content": text, "refusal": None}
    return {
        "id": "chatcmpl-torture",
        "object": "chat.completion",
        "created": CREATED,
        "model": "gpt-4o",
        "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}],
        "usage": USAGE,
    }


def error_body(message: str, kind: str = "invalid_request_error", code: str | None = None) -> dict[str, Any]:
    """The provider's error object."""
    return {"error": {"message": message, "type": kind, "param": None, "code": code}}
