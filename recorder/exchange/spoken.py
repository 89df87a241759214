"""What was asked and answered, in the form in which OpenTelemetry has messages: roles, and parts of a type.

Shapes: docs/gen-ai/gen-ai-input-messages.json and gen-ai-output-messages.json of the semantic conventions for
generative AI. A part that has no form there keeps its type and nothing else. Each function gives JSON text, None where
there is nothing to tell. Pure.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from ..recording import Reading, Run, StopReason

__all__ = ["finish_reason", "input_messages", "instructions", "output_messages"]

#: What the conventions call the end of an answer.
_FINISHED: Final[Mapping[str | None, str]] = {
    StopReason.STOP: "stop",
    StopReason.OUTPUT_LIMIT: "length",
    StopReason.INPUT_LIMIT: "length",
    StopReason.CONTENT_FILTER: "content_filter",
    StopReason.REFUSAL: "content_filter",
    StopReason.TOOL_CALL: "tool_call",
}


def finish_reason(run: Run) -> str | None:
    """The provider's own word for why it stopped; where it has none, that of the conventions."""
    return run.stop_reason_raw or _FINISHED.get(run.stop_reason)


def instructions(asked: Mapping[str, Any]) -> str | None:
    """What was said to the model apart from the conversation: `instructions`, `system`."""
    given = asked.get("instructions", asked.get("system"))
    return _text(list(_parts(given)))


def input_messages(asked: Mapping[str, Any]) -> str | None:
    """The conversation that was sent: `messages`, `input`, `contents`, a new thread's or an added message."""
    thread = asked.get("thread")
    given = asked.get("messages") or asked.get("input") or asked.get("contents") or asked.get("additional_messages")
    if given is None and isinstance(thread, Mapping):
        given = thread.get("messages")
    if isinstance(given, str):
        given = [{"role": "user", "content": given}]
    return _text([_message(each) for each in given if isinstance(each, Mapping)] if isinstance(given, list) else [])


def output_messages(reading: Reading) -> str | None:
    """The answer as far as it came: its text, and the tools that it called."""
    content = reading.facts.get("content")
    calls = content.get("tool_calls") if isinstance(content, Mapping) else None
    parts: list[dict[str, Any]] = [{"type": "text", "content": reading.text}] if reading.text else []
    for call in calls if isinstance(calls, list) else ():
        if isinstance(call, Mapping) and not call.get("earlier"):
            told = {"id": call.get("id"), "name": call.get("name"), "arguments": call.get("arguments")}
            parts.append({"type": "tool_call", **{name: value for name, value in told.items() if value is not None}})
    if not parts:
        return None
    reason = _FINISHED.get(reading.stop_reason) or reading.stop_reason_raw or "unknown"
    return _text([{"role": "assistant", "parts": parts, "finish_reason": reason}])


def _message(told: Mapping[str, Any]) -> dict[str, Any]:
    role, kind = told.get("role"), told.get("type")
    if role == "tool" or kind == "function_call_output":
        result = told.get("content", told.get("output"))
        name = told.get("tool_call_id") or told.get("call_id")
        return {"role": "tool", "parts": [{"type": "tool_call_response", "id": name, "response": result}]}
    if role is None and isinstance(kind, str) and kind != "message":
        return _item(kind, told)
    parts = [*_parts(told.get("content", told.get("parts"))), *_calls(told.get("tool_calls"))]
    return {"role": role if isinstance(role, str) else "user", "parts": parts}


def _item(kind: str, told: Mapping[str, Any]) -> dict[str, Any]:
    """What is no message in the `input` of a response: what an earlier answer had beside text, and what came of it."""
    if kind == "function_call":
        return {"role": "assistant", "parts": [_call(told.get("call_id"), told)]}
    return {"role": "tool" if kind.endswith("_output") else "assistant", "parts": [{"type": kind}]}


def _calls(given: Any) -> Iterator[dict[str, Any]]:
    for each in given if isinstance(given, list) else ():
        function = each.get("function") if isinstance(each, Mapping) else None
        if isinstance(function, Mapping):
            yield _call(each.get("id"), function)


def _call(name: Any, function: Mapping[str, Any]) -> dict[str, Any]:
    return {"type": "tool_call", "id": name, "name": function.get("name"), "arguments": function.get("arguments")}


def _parts(given: Any) -> Iterator[dict[str, Any]]:
    if isinstance(given, Mapping) and "parts" in given:  # Gemini's system instruction
        given = given["parts"]
    several: Iterable[Any] = given if isinstance(given, list) else [given]
    for each in several:
        if isinstance(each, str):
            yield {"type": "text", "content": each}
        elif isinstance(each, Mapping):
            text = each.get("text", each.get("content"))
            if isinstance(text, str):
                yield {"type": "text", "content": text}
            else:
                yield {"type": str(each.get("type") or "unknown")}


def _text(value: list[dict[str, Any]]) -> str | None:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")) if value else None
