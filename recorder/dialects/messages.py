"""Anthropic's Messages (API reference "Messages").

message_start, then content blocks, then message_delta with the stop reason, then message_stop, which is the end.
Input usage comes at the start, output usage is cumulative; a later figure replaces an earlier one and is never added.
`input_tokens` on the wire leaves out what the cache gave or took, so the neutral figure is the sum of the three.
Exchanges never merge: each is a run of its own.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

from recorder.dialects.base import (
    ODD,
    Answer,
    Texts,
    body_of,
    dig,
    digest,
    error_of,
    integer,
    parse,
    path_of,
    string,
    without_absent,
)
from recorder.recording import Event, Reading, Recording, Request, Status, StopReason, storable

__all__ = ["Messages"]

_PATH: Final = re.compile(r"(?<!/threads)/messages$")
_THREAD: Final = re.compile(r"/threads/[^/]+/messages$")

#: stop_reason -> (status, stop reason)
_STOP: Final[Mapping[str, tuple[Status, StopReason]]] = {
    "end_turn": (Status.COMPLETED, StopReason.STOP),
    "stop_sequence": (Status.COMPLETED, StopReason.STOP),
    "tool_use": (Status.REQUIRES_ACTION, StopReason.TOOL_CALL),
    "max_tokens": (Status.INCOMPLETE, StopReason.OUTPUT_LIMIT),
    "model_context_window_exceeded": (Status.INCOMPLETE, StopReason.INPUT_LIMIT),
    "refusal": (Status.INCOMPLETE, StopReason.REFUSAL),
    "pause_turn": (Status.INCOMPLETE, StopReason.PAUSED),
}


class Messages:
    """See the module."""

    name: Final = "messages"

    def recognises(self, request: Request) -> bool:
        """`POST …/messages` with messages; not the messages of a thread."""
        path = path_of(request)
        fits = request.method.upper() == "POST" and _PATH.search(path) is not None and _THREAD.search(path) is None
        return fits and (request.body is None or b'"messages"' in request.body)

    def parameters(self, request: Request) -> dict[str, Any]:
        """As `Dialect.parameters`."""
        return _parameters(body_of(request))

    def read(self, recording: Recording, events: Iterable[Event]) -> Reading:
        """As `Dialect.read`."""
        state = _Message()
        answer = Answer(events)
        for position, elapsed_us, _, data in answer.frames():
            try:
                state.event(position, elapsed_us, parse(data))
            except ODD:
                answer.broken(position)
        if not answer.streamed:
            try:
                state.document(answer)
            except ODD:
                answer.broken(answer.body_position or 0)
        return state.reading(body_of(recording.request), answer)


def _parameters(body: dict[str, Any]) -> dict[str, Any]:
    stream = body.get("stream")
    return without_absent(
        model=string(body.get("model")),
        max_completion_tokens=integer(body.get("max_tokens")),
        stream=stream if isinstance(stream, bool) else None,
    )


def _instructions(body: dict[str, Any]) -> str | None:
    """The system prompt: a text, or blocks of text."""
    system = body.get("system")
    if isinstance(system, list):
        return string("".join(text for block in system if isinstance(text := dig(block, "text"), str)))
    return string(system)


class _Message:
    """What one exchange has said so far."""

    def __init__(self) -> None:
        self.message: dict[str, Any] = {}
        self.usage: dict[str, Any] = {}
        self.stop: tuple[str, int] | None = None  # raw reason, position
        self.texts = Texts()
        self.error: dict[str, str] | None = None
        self.error_position: int | None = None
        self.marker: int | None = None
        self.first_us: int | None = None
        self.whole = False

    def event(self, position: int, elapsed_us: int, value: dict[str, Any]) -> None:
        """Takes any event: the payload repeats its name in `type`."""
        kind = value.get("type")
        if kind == "content_block_delta":
            text = value["delta"].get("text")
            if text and isinstance(text, str):
                self.texts.add(value.get("index"), text)
            if self.first_us is None:
                self.first_us = elapsed_us
        elif kind == "message_start":
            self.message = value["message"]
            self._spend(self.message.get("usage"))
        elif kind == "content_block_start":
            text = dig(value, "content_block", "text")
            if text and isinstance(text, str):
                self.texts.add(value.get("index"), text)
        elif kind == "message_delta":
            self._spend(value.get("usage"))
            self._stopped(position, dig(value, "delta", "stop_reason"))
        elif kind == "message_stop":
            self.marker = position
        elif kind == "error" or error_of(value) is not None:
            self.error, self.error_position = error_of(value) or {}, position

    def document(self, answer: Answer) -> None:
        """A JSON answer: a Message, or an error."""
        value, position = answer.json(), answer.body_position or 0
        self.whole = value is not None or answer.refused
        if dig(value, "type") == "message":
            self.message = value
            self._spend(value.get("usage"))
            self._stopped(position, value.get("stop_reason"))
            for index, block in enumerate(value.get("content") or ()):
                if dig(block, "type") == "text" and isinstance(block.get("text"), str):
                    self.texts.add(index, block["text"])
        elif error_of(value) is not None or answer.refused:
            self.error, self.error_position = error_of(value) or {}, position

    def _spend(self, usage: object) -> None:
        if isinstance(usage, dict):
            self.usage.update({name: value for name, value in usage.items() if value is not None})

    def _stopped(self, position: int, reason: object) -> None:
        raw = string(reason)
        if raw is not None:
            self.stop = (raw, position)

    def _input(self) -> int | None:
        """All the input tokens, read from and written to the cache included."""
        plain = integer(self.usage.get("input_tokens"))
        if plain is None:
            return None
        cached = (self.usage.get("cache_read_input_tokens"), self.usage.get("cache_creation_input_tokens"))
        return plain + sum(integer(count) or 0 for count in cached)

    def reading(self, body: dict[str, Any], answer: Answer) -> Reading:
        """All of it, weighed."""
        asked = _parameters(body)
        ended = self.stop is not None and (self.marker is not None or self.whole)
        status, reason = Status.IN_PROGRESS if self.message else Status.UNKNOWN, None
        raw = self.stop[0] if self.stop else None
        if self.error is not None:
            status, reason = Status.FAILED, StopReason.ERROR
            raw = self.error.get("type") or self.error.get("code")
        elif self.stop is not None:
            status, reason = _STOP.get(self.stop[0], (Status.UNKNOWN, None))
        terminal = ended or self.error is not None
        flags = answer.judge(
            asked=asked.get("stream") is True,
            terminal=self.stop is not None or self.error is not None,
            marker=self.marker is not None or self.error is not None,
        )
        spent, output = self._input(), integer(self.usage.get("output_tokens"))
        return Reading(
            dialect=Messages.name,
            status=status,
            stop_reason=reason,
            stop_reason_raw=raw,
            complete=terminal,
            provider_run_id=string(self.message.get("id")),
            model=string(self.message.get("model")) or asked.get("model"),
            service_tier=string(self.usage.get("service_tier")),
            max_completion_tokens=asked.get("max_completion_tokens"),
            input_tokens=spent,
            output_tokens=output,
            cached_tokens=integer(self.usage.get("cache_read_input_tokens")),
            reasoning_tokens=integer(dig(self.usage, "output_tokens_details", "thinking_tokens")),
            total_tokens=None if spent is None or output is None else spent + output,
            ttft_us=self.first_us,
            text=self.texts.joined(),
            metadata=metadata if isinstance(metadata := body.get("metadata"), dict) else None,
            flags=flags,
            facts=self._facts(body, answer),
        )

    def _facts(self, body: dict[str, Any], answer: Answer) -> dict[str, Any]:
        error = dict(self.error or {})
        message = error.pop("message", None)
        instructions = _instructions(body)
        return without_absent(
            evidence=without_absent(
                stop={"value": self.stop[0], "position": self.stop[1]} if self.stop else None,
                usage={"value": self.usage} if self.usage else None,
                error={**error, "position": self.error_position} if self.error is not None else None,
                end_marker={"position": self.marker} if self.marker is not None else None,
            ),
            stop_sequence=storable(sequence)
            if isinstance(sequence := self.message.get("stop_sequence"), str)
            else None,
            instructions_hash=digest(instructions) if instructions else None,
            content={"error_message": message} if message else None,
            **answer.facts(),
        )
