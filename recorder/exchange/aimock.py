"""Fixtures of aimock (llmock): what a test wrote down, or what its recorder kept of an answer: text and tool calls.

A fixture has neither request nor bytes: it says which messages it answers, and a mock makes up the rest each time. So
the recording that comes of one is made as a mock would make it (an OpenAI chat completion stream), and says so: its
`bytes`, its `request`, its `head` are unknown. It answers a request of exactly that model and that one message; for
others record anew. Shapes: aimock's documentation, "Fixtures".

Pure: values in, exchanges out.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, Final

from .building import Foreign, Unfit, as_json_bytes

__all__ = ["is_aimock", "of_aimock"]

_URL: Final = "https://api.openai.com/v1/chat/completions"
_UNKNOWN: Final = frozenset({"bytes", "head", "headers", "request"})


def is_aimock(value: Any) -> bool:
    """Whether a parsed file looks like fixtures."""
    return isinstance(value, Mapping) and isinstance(value.get("fixtures"), list)


def of_aimock(value: Mapping[str, Any]) -> Iterator[Foreign]:
    """The exchanges that fixtures stand for, in their order. Raises Unfit for what is no chat answer."""
    for number, fixture in enumerate(value["fixtures"], 1):
        try:
            yield _exchange(number, fixture)
        except (KeyError, TypeError, AttributeError) as error:
            raise Unfit(f"fixture {number} has not the form of one ({type(error).__name__})") from None


def _exchange(number: int, fixture: Mapping[str, Any]) -> Foreign:
    asked, answer = fixture.get("match") or {}, fixture.get("response")
    message = asked.get("userMessage")
    if not isinstance(message, str) or not isinstance(answer, Mapping):
        raise Unfit(
            f"fixture {number} is no chat answer to a user's message, so there is nothing to make of it; record it anew"
        )
    model = asked["model"] if isinstance(asked.get("model"), str) else None
    request: dict[str, Any] = {"messages": [{"role": "user", "content": message}], "stream": True}
    if model:
        request = {"model": model, **request}
    status = 200
    if isinstance(answer.get("error"), Mapping):
        status = answer["status"] if isinstance(answer.get("status"), int) else 500
        body, kind = as_json_bytes({"error": answer["error"]}), "application/json"
    else:
        body, kind = _stream(number, answer, model), "text/event-stream"
    return Foreign(
        method="POST",
        url=_URL,
        request_headers=(("content-type", "application/json"),),
        request_body=as_json_bytes(request),
        status=status,
        headers=(("content-type", kind),),
        body=body,
        unknown=_UNKNOWN,
    )


def _stream(number: int, answer: Mapping[str, Any], model: str | None) -> bytes:
    deltas: list[dict[str, Any]] = []
    calls = 0
    for kind, block in _blocks(number, answer):
        if kind == "text":
            deltas.append({"content": block})
        elif kind == "reasoning":
            deltas.append({"reasoning_content": block})
        else:
            name, arguments = block.get("name"), block.get("arguments", "")
            text = arguments if isinstance(arguments, str) else json.dumps(arguments)
            call = {"index": calls, "id": str(block.get("id") or f"call_{calls}"), "type": "function"}
            deltas.append({"tool_calls": [{**call, "function": {"name": str(name), "arguments": text}}]})
            calls += 1
    reason = answer.get("finishReason") or ("tool_calls" if calls else "stop")
    head: dict[str, Any] = {
        "id": f"chatcmpl-aimock-{number}",
        "object": "chat.completion.chunk",
        "created": 0,
        "model": model or "aimock",
    }
    chunks: list[dict[str, Any]] = [
        {"index": 0, "delta": {"role": "assistant", **delta}, "finish_reason": None} for delta in deltas
    ]
    chunks.append({"index": 0, "delta": {}, "finish_reason": reason})
    frames = [b"data: %b\n\n" % as_json_bytes({**head, "choices": [chunk]}) for chunk in chunks]
    return b"".join(frames) + b"data: [DONE]\n\n"


def _blocks(number: int, answer: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """What was said, in order: ("text" or "reasoning", text) or ("call", the call)."""
    said = False
    if isinstance(answer.get("reasoning"), str):
        yield "reasoning", answer["reasoning"]
    for block in answer.get("blocks") or ():
        said = True
        if block.get("type") == "text":
            yield "text", str(block.get("text", ""))
        elif block.get("type") == "toolCall":
            yield "call", block
        else:
            raise Unfit(f"fixture {number} holds a block of a kind that recorder does not know")
    if isinstance(answer.get("content"), str):
        said = True
        yield "text", answer["content"]
    for call in answer.get("toolCalls") or ():
        said = True
        yield "call", call
    if not said:
        raise Unfit(f"fixture {number} answers with neither text nor tool calls: record it anew")
