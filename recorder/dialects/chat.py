"""Chat Completions (API reference "Chat"): OpenAI, Azure, and the many servers that speak the same.

A stream is data-only: chunks, then `data: [DONE]`. Each choice says why it stopped in `finish_reason`; usage comes in
a last chunk without choices when the client asked for it, from some servers in every chunk (the last one counts).
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
from recorder.recording import Event, Reading, Recording, Request, Status, StopReason

__all__ = ["Chat"]

_PATH: Final = re.compile(r"/chat/completions$")

#: finish_reason -> (status, stop reason)
_FINISH: Final[Mapping[str, tuple[Status, StopReason]]] = {
    "stop": (Status.COMPLETED, StopReason.STOP),
    "length": (Status.INCOMPLETE, StopReason.OUTPUT_LIMIT),
    "content_filter": (Status.INCOMPLETE, StopReason.CONTENT_FILTER),
    "tool_calls": (Status.REQUIRES_ACTION, StopReason.TOOL_CALL),
    "function_call": (Status.REQUIRES_ACTION, StopReason.TOOL_CALL),
}

#: Of several choices the one with the most to tell stands for all.
_WEIGHT: Final = {Status.COMPLETED: 0, Status.REQUIRES_ACTION: 1, Status.UNKNOWN: 2, Status.INCOMPLETE: 3}

_UNHEARD: Final = (Status.UNKNOWN, None)


class Chat:
    """See the module."""

    name: Final = "chat"

    def recognises(self, request: Request) -> bool:
        """`POST …/chat/completions` with messages."""
        fits = request.method.upper() == "POST" and _PATH.search(path_of(request)) is not None
        return fits and (request.body is None or b'"messages"' in request.body)

    def parameters(self, request: Request) -> dict[str, Any]:
        """As `Dialect.parameters`. The older `max_tokens` counts where `max_completion_tokens` is absent."""
        return _parameters(body_of(request))

    def read(self, recording: Recording, events: Iterable[Event]) -> Reading:
        """As `Dialect.read`."""
        state = _Completion()
        answer = Answer(events)
        for position, elapsed_us, name, data in answer.frames():
            if data.startswith(b"[DONE]"):
                state.marker = position
                continue
            try:
                state.chunk(position, elapsed_us, name, parse(data), "delta")
            except ODD:
                answer.broken(position)
        if not answer.streamed:
            try:
                state.chunk(answer.body_position or 0, None, "message", answer.json(), "message")
            except ODD:
                answer.broken(answer.body_position or 0)
            if answer.refused:
                state.error = state.error or {}
        return state.reading(body_of(recording.request), answer)


def _parameters(body: dict[str, Any]) -> dict[str, Any]:
    stream, cap = body.get("stream"), integer(body.get("max_completion_tokens"))
    return without_absent(
        model=string(body.get("model")),
        max_completion_tokens=integer(body.get("max_tokens")) if cap is None else cap,
        stream=stream if isinstance(stream, bool) else None,
    )


def _instructions(body: dict[str, Any]) -> str | None:
    """The leading system or developer message, where it is plain text."""
    messages = body.get("messages")
    first = messages[0] if isinstance(messages, list) and messages else None
    return string(dig(first, "content")) if dig(first, "role") in ("system", "developer") else None


class _Completion:
    """What one exchange has said so far."""

    def __init__(self) -> None:
        self.about: dict[str, str] = {}
        self.usage: dict[str, Any] | None = None
        self.finishes: dict[int, tuple[str, int]] = {}  # choice -> finish reason, position
        self.choices: set[int] = set()
        self.texts = Texts()
        self.error: dict[str, str] | None = None
        self.error_position: int | None = None
        self.marker: int | None = None
        self.first_us: int | None = None

    def chunk(self, position: int, elapsed_us: int | None, name: str, value: Any, part: str) -> None:
        """A chunk of a stream (`part` is "delta") or a whole completion ("message")."""
        error = error_of(value)
        if error is not None or name == "error":
            self.error, self.error_position = error or {}, position
        if not isinstance(value, dict):
            return
        for key in ("id", "model", "service_tier", "system_fingerprint"):
            told = value.get(key)
            if told and isinstance(told, str):
                self.about[key] = told
        usage = value.get("usage")
        if isinstance(usage, dict):
            self.usage = usage
        for choice in value.get("choices") or ():
            index = integer(choice.get("index")) or 0
            self.choices.add(index)
            told = choice.get(part)
            if told:
                self._piece(index, elapsed_us, told)
            finish = string(choice.get("finish_reason"))
            if finish is not None:
                self.finishes[index] = (finish, position)

    def _piece(self, index: int, elapsed_us: int | None, told: dict[str, Any]) -> None:
        text = told.get("content")
        if text and isinstance(text, str):
            self.texts.add(index, text)
        if self.first_us is None and (text or told.get("tool_calls") or told.get("function_call")):
            self.first_us = elapsed_us

    def reading(self, body: dict[str, Any], answer: Answer) -> Reading:
        """All of it, weighed."""
        asked = _parameters(body)
        ended = bool(self.choices) and self.choices <= self.finishes.keys()
        finish = max(self.finishes.values(), key=lambda told: _WEIGHT[_FINISH.get(told[0], _UNHEARD)[0]], default=None)
        status, reason = _FINISH.get(finish[0], _UNHEARD) if finish and ended else (Status.UNKNOWN, None)
        raw = finish[0] if finish else None
        if self.error is not None:
            status, reason = Status.FAILED, StopReason.ERROR
            raw = self.error.get("code") or self.error.get("type")
        elif not ended and answer.streamed and self.about:
            status, reason = Status.IN_PROGRESS, None
        usage = self.usage or {}
        terminal = ended or self.error is not None
        flags = answer.judge(
            asked=asked.get("stream") is True,
            terminal=terminal,
            marker=self.marker is not None or self.error is not None,
        )
        instructions = _instructions(body)
        metadata = body.get("metadata")
        return Reading(
            dialect=Chat.name,
            status=status,
            stop_reason=reason,
            stop_reason_raw=raw,
            complete=terminal,
            provider_run_id=string(self.about.get("id")),
            model=string(self.about.get("model")) or asked.get("model"),
            service_tier=string(self.about.get("service_tier")),
            max_completion_tokens=asked.get("max_completion_tokens"),
            input_tokens=integer(usage.get("prompt_tokens")),
            output_tokens=integer(usage.get("completion_tokens")),
            cached_tokens=integer(dig(usage, "prompt_tokens_details", "cached_tokens")),
            reasoning_tokens=integer(dig(usage, "completion_tokens_details", "reasoning_tokens")),
            total_tokens=integer(usage.get("total_tokens")),
            ttft_us=self.first_us,
            text=next((text for index, text in self.texts.cleaned() if index == min(self.choices)), None),
            metadata=metadata if isinstance(metadata, dict) else None,
            flags=flags,
            facts=self._facts(instructions, answer),
        )

    def _facts(self, instructions: str | None, answer: Answer) -> dict[str, Any]:
        error = dict(self.error or {})
        message = error.pop("message", None)
        finishes = {str(index): {"value": told, "position": at} for index, (told, at) in self.finishes.items()}
        return without_absent(
            evidence=without_absent(
                finish=finishes or None,
                usage={"value": self.usage} if self.usage else None,
                error={**error, "position": self.error_position} if self.error is not None else None,
                end_marker={"position": self.marker} if self.marker is not None else None,
            ),
            choices=len(self.choices) if len(self.choices) > 1 else None,
            system_fingerprint=string(self.about.get("system_fingerprint")),
            instructions_hash=digest(instructions) if instructions else None,
            content={"error_message": message} if message else None,
            **answer.facts(),
        )
