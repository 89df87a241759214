"""Responses (API reference "Responses"): OpenAI, Azure, and servers that speak the same.

A stream ends with an event that carries the whole Response: completed, incomplete, failed or cancelled. There is no
end marker after it. Asking for tools leaves the status `completed`; only the output's items tell.
GET and cancel of a stored response continue its run.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

from recorder.dialects.base import (
    ODD,
    REASON_OF_STATUS,
    Answer,
    Texts,
    body_of,
    dig,
    digest,
    error_of,
    integer,
    parse,
    path_of,
    query_of,
    string,
    without_absent,
)
from recorder.recording import Event, Reading, Recording, Request, Status, StopReason, storable

__all__ = ["Responses"]

_PATH: Final = re.compile(r"/responses(?:/([^/]+)(?:/(cancel))?)?$")
_KEYS: Final = (b'"input"', b'"model"', b'"prompt"', b'"previous_response_id"')

#: Words that stand where a response's id would.
_NO_IDS: Final = frozenset({"compact", "input_tokens"})

_STATUS: Final[Mapping[str, Status]] = {
    "queued": Status.IN_PROGRESS,
    "in_progress": Status.IN_PROGRESS,
    "completed": Status.COMPLETED,
    "incomplete": Status.INCOMPLETE,
    "failed": Status.FAILED,
    "cancelled": Status.CANCELLED,
}

#: Events that end a stream, and the status that each announces.
_LAST: Final[Mapping[str, str]] = {
    "response.completed": "completed",
    "response.incomplete": "incomplete",
    "response.failed": "failed",
    "response.cancelled": "cancelled",
}

_REASON: Final[Mapping[str, StopReason]] = {
    "max_output_tokens": StopReason.OUTPUT_LIMIT,
    "content_filter": StopReason.CONTENT_FILTER,
}

#: Output items that the client has to answer.
_CLIENT_CALLS: Final = frozenset(
    {"apply_patch_call", "computer_call", "custom_tool_call", "function_call", "local_shell_call", "shell_call"}
)

_TEXT_DELTA: Final = "response.output_text.delta"


class Responses:
    """See the module."""

    name: Final = "responses"

    def recognises(self, request: Request) -> bool:
        """Create, retrieve and cancel of one response."""
        found = _PATH.search(path_of(request))
        if found is None or found[1] in _NO_IDS:
            return False
        method = request.method.upper()
        if found[1] is None:
            return method == "POST" and (request.body is None or any(key in request.body for key in _KEYS))
        return method == ("GET" if found[2] is None else "POST")

    def parameters(self, request: Request) -> dict[str, Any]:
        """As `Dialect.parameters`; `truncation` is the truncation strategy."""
        return _parameters(request, body_of(request))

    def read(self, recording: Recording, events: Iterable[Event]) -> Reading:
        """As `Dialect.read`."""
        state = _Response()
        answer = Answer(events)
        for position, elapsed_us, name, data in answer.frames():
            if data.startswith(b"[DONE]"):
                continue
            try:
                state.event(position, elapsed_us, name, parse(data))
            except ODD:
                answer.broken(position)
        if not answer.streamed:
            try:
                state.document(answer)
            except ODD:
                answer.broken(answer.body_position or 0)
        return state.reading(recording.request, answer)


def _parameters(request: Request, body: dict[str, Any]) -> dict[str, Any]:
    stream = {"true": True, "false": False}.get(query_of(request).get("stream", ""), body.get("stream"))
    return without_absent(
        model=string(body.get("model")),
        max_completion_tokens=integer(body.get("max_output_tokens")),
        truncation_strategy=string(body.get("truncation")),
        stream=stream if isinstance(stream, bool) else None,
    )


class _Response:
    """What one exchange has said so far."""

    def __init__(self) -> None:
        self.response: dict[str, Any] = {}
        self.position: int | None = None
        self.last: str | None = None
        self.error: dict[str, str] | None = None
        self.error_position: int | None = None
        self.texts = Texts()
        self.first_us: int | None = None
        self.whole = False
        self.disagrees = False

    def event(self, position: int, elapsed_us: int, name: str, value: dict[str, Any]) -> None:
        """Takes any event; its type is in the payload too, where a server left the name out."""
        kind = value.get("type", name) if name == "message" else name
        if kind == _TEXT_DELTA:
            piece = value["delta"]
            if piece and isinstance(piece, str):
                self.texts.add((value.get("output_index"), value.get("content_index")), piece)
                if self.first_us is None:
                    self.first_us = elapsed_us
        elif self.first_us is None and kind.endswith(".delta"):
            self.first_us = elapsed_us
        elif kind == "error" or (error_of(value) is not None and not kind.startswith("response.")):
            self.error, self.error_position = error_of(value) or {}, position
        elif isinstance(value.get("response"), dict):
            self._statement(position, kind, value["response"])

    def document(self, answer: Answer) -> None:
        """A JSON answer: a Response, or an error."""
        value = answer.json()
        self.whole = value is not None or answer.refused
        if dig(value, "object") == "response":
            self._statement(answer.body_position or 0, None, value)
        elif error_of(value) is not None or answer.refused:
            self.error, self.error_position = error_of(value) or {}, answer.body_position

    def _statement(self, position: int, kind: str | None, response: dict[str, Any]) -> None:
        last = _LAST.get(kind or "")
        if self.last is not None and last is None:
            return  # a stream that says how it ended does not begin again
        self.response, self.position, self.last = response, position, last
        if last is not None and string(response.get("status")) not in (None, last):
            self.disagrees = True

    def _status(self) -> str:
        """The status that is said; `completed` only where the event's name does not deny it."""
        said = _STATUS.get(string(self.response.get("status")) or self.last or "", Status.UNKNOWN)
        if self.last is not None and said in (Status.COMPLETED, Status.UNKNOWN):
            said = _STATUS[self.last]
        elif said == Status.COMPLETED and not self.whole:
            said = Status.UNKNOWN
        if said == Status.COMPLETED and any(dig(item, "type") in _CLIENT_CALLS for item in self._output()):
            return Status.REQUIRES_ACTION
        return said

    def _output(self) -> list[Any]:
        output = self.response.get("output")
        return output if isinstance(output, list) else []

    def _text(self) -> str | None:
        parts = [
            text
            for item in self._output()
            if dig(item, "type") == "message" and isinstance(item.get("content"), list)
            for part in item["content"]
            if isinstance(text := dig(part, "text"), str)
        ]
        return storable("".join(parts)) if parts else self.texts.joined()

    def reading(self, request: Request, answer: Answer) -> Reading:
        """All of it, weighed."""
        body, found = body_of(request), _PATH.search(path_of(request))
        asked = _parameters(request, body)
        response_id = string(found[1]) if found else None
        status, error = self._status(), self.error or error_of(self.response) or {}
        if self.error is not None and status in (Status.UNKNOWN, Status.IN_PROGRESS):
            status = Status.UNKNOWN if response_id and answer.refused else Status.FAILED
        reason, raw = REASON_OF_STATUS.get(status), None
        if status == Status.INCOMPLETE:
            raw = string(dig(self.response, "incomplete_details", "reason"))
            reason = _REASON.get(raw or "")
        elif status == Status.FAILED:
            raw = error.get("code") or error.get("type")
        usage = self.response.get("usage")
        terminal = self.last is not None or self.error is not None
        flags = answer.judge(asked=asked.get("stream") is True, terminal=terminal, marker=True)
        cap = integer(self.response.get("max_output_tokens"))
        metadata = self.response.get("metadata", body.get("metadata"))
        return Reading(
            dialect=Responses.name,
            status=status,
            stop_reason=reason,
            stop_reason_raw=raw,
            complete=terminal if answer.streamed else self.whole,
            provider_run_id=string(self.response.get("id")) or response_id,
            opens_run=response_id is None,
            continues=response_id,
            model=string(self.response.get("model")) or asked.get("model"),
            service_tier=string(self.response.get("service_tier")),
            max_completion_tokens=asked.get("max_completion_tokens") if cap is None else cap,
            truncation_strategy=string(self.response.get("truncation")) or asked.get("truncation_strategy"),
            input_tokens=integer(dig(usage, "input_tokens")),
            output_tokens=integer(dig(usage, "output_tokens")),
            cached_tokens=integer(dig(usage, "input_tokens_details", "cached_tokens")),
            reasoning_tokens=integer(dig(usage, "output_tokens_details", "reasoning_tokens")),
            total_tokens=integer(dig(usage, "total_tokens")),
            ttft_us=self.first_us,
            text=self._text(),
            metadata=metadata if isinstance(metadata, dict) else None,
            flags=tuple(sorted({*flags, "disagreement"})) if self.disagrees else flags,
            facts=self._facts(body, error, answer),
        )

    def _facts(self, body: dict[str, Any], error: dict[str, str], answer: Answer) -> dict[str, Any]:
        error = dict(error)
        message = error.pop("message", None)
        at = self.position
        instructions = string(self.response.get("instructions")) or string(body.get("instructions"))
        usage = self.response.get("usage")
        return without_absent(
            evidence=without_absent(
                status=without_absent(event=self.last, value=string(self.response.get("status")), position=at) or None,
                usage={"value": usage, "position": at} if isinstance(usage, dict) else None,
                error=without_absent(**error, position=self.error_position) or None,
            ),
            prompt_id=string(dig(self.response, "prompt", "id")) or string(dig(body, "prompt", "id")),
            previous_response_id=string(body.get("previous_response_id")),
            instructions_hash=digest(instructions) if instructions else None,
            content={"error_message": message} if message else None,
            **answer.facts(),
        )
