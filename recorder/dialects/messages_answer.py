"""What the answer of one Messages exchange has said so far: event by event, or as one JSON document.

It collects and notes where signals contradict each other. What they amount to is for `messages` to say.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from recorder.dialects.base import (
    Answer,
    Texts,
    dig,
    error_of,
    error_told,
    integer,
    is_token,
    string,
    without_absent,
)
from recorder.recording import Spoken, storable

__all__ = ["Told"]

#: Type of a delta -> the field that has its piece of text.
_PIECES: Final = {"text_delta": "text", "thinking_delta": "thinking", "input_json_delta": "partial_json"}

#: Deltas that say nothing of their own: sources, a seal over the thinking, the summary that replaces a context.
_SILENT: Final = frozenset({"citations_delta", "signature_delta", "compaction_delta"})

#: Field of a piece -> what it spells out.
_KINDS: Final = {"text": "text", "thinking": "reasoning", "partial_json": "arguments"}

#: Content blocks that call a tool, the client's or the server's.
_CALLS: Final = frozenset({"tool_use", "server_tool_use", "mcp_tool_use"})

#: Reasons that leave no block half said.
_ROUND: Final = frozenset({"end_turn", "stop_sequence", "tool_use"})

#: As many content blocks become steps.
_MOST: Final = 256

#: A content block: which message of the stream (there should be one), and its index.
_Place = tuple[int, Any]


@dataclass(slots=True)
class _Block:
    """A content block that has begun. `given` is the input that came with its beginning, if it had any."""

    type: str | None
    name: str | None
    id: str | None
    position: int
    elapsed_us: int | None
    given: dict[str, Any] | None = None
    ended: bool = False


class Told:
    """What one exchange has said so far.

    stop, error: what ended it. marker: the position of message_stop. whole: a JSON answer, complete by itself.
    usage: the figures, each the last that was not null. output: those of the output that are not preliminary.
    lives: the cache writes by life; lives_with_total: they came together with the total that stands.
    served: the model that another one handed over to. disagreements: which signals contradict each other.
    """

    def __init__(self) -> None:
        self.message: dict[str, Any] = {}
        self.usage: dict[str, Any] = {}
        self.output: int | None = None
        self.lives: Any = None
        self.lives_with_total = False
        self.stop: tuple[str, int] | None = None
        self.error: dict[str, str] | None = None
        self.marker: int | None = None
        self.whole = False
        self.served: str | None = None
        self.request_id: str | None = None
        self.first_us: int | None = None
        self.first_text_us: int | None = None
        self.disagreements: list[str] = []
        self._usage_position = 0
        self._error_position = 0
        self._stop_sequence: str | None = None
        self._stop_details: dict[str, Any] | None = None
        self._extra: dict[str, Any] = {}  # container, applied edits: the last that was said
        self._waiting = True  # for the first text
        self._number = 0
        self._blocks: dict[_Place, _Block] = {}
        self._steps: list[dict[str, Any]] = []
        self._texts = Texts()
        self._said: dict[tuple[int, Any, str], str] = {}

    # -- taking it in -------------------------------------------------------------------------------------------------

    def event(self, position: int, elapsed_us: int, name: str, value: dict[str, Any], answer: Answer) -> None:
        """Takes any event: the payload repeats its name in `type`, and that counts. Raises one of `ODD` for a shape
        that is none."""
        kind = value.get("type") or name
        if kind == "content_block_delta":
            delta = value["delta"]
            field = _PIECES.get(delta["type"])
            if field is not None:
                text = delta[field]
                if text:
                    # Most events come through here; `+` raises where it is no text.
                    self._texts.add((self._number, value["index"], field), text + "", position, elapsed_us)
                    if self._waiting:
                        self._first(field, elapsed_us)
            elif delta["type"] not in _SILENT:
                answer.unheard(f"content_block_delta {delta['type']}")
        elif kind == "content_block_start":
            self._begin((self._number, value.get("index")), position, elapsed_us, value["content_block"])
        elif kind == "content_block_stop":
            block = self._blocks.get((self._number, value.get("index")))
            if block is None:
                self.disagree("block_not_started")
            else:
                block.ended = True
        elif kind == "message_start":
            self._start(position, elapsed_us, value["message"])
        elif kind == "message_delta":
            self._spend(position, value.get("usage"), preliminary=False)
            self._stopped(position, value["delta"])
            self._more(position, value["delta"])
            self._more(position, value)
        elif kind == "message_stop":
            self.marker = position
        elif kind == "error" or error_of(value) is not None:
            self.request_id = string(value.get("request_id"))
            self.fail(position, error_of(value) or {})
        elif kind != "ping":
            answer.unheard(storable(str(kind)))

    def document(self, position: int, value: Any) -> None:
        """Takes a JSON answer: a Message, or an error. Raises as `event`."""
        self.whole = value is not None
        if dig(value, "type") == "message":
            self._start(position, None, value)
        elif error_of(value) is not None:
            self.request_id = string(dig(value, "request_id"))
            self.fail(position, error_of(value) or {})

    def fail(self, position: int, error: dict[str, str]) -> None:
        """An error ended it."""
        if self.stop is not None:
            self.disagree("two_endings")
        self.error, self._error_position = error, position

    def disagree(self, what: str) -> None:
        """Notes a contradiction, once."""
        if what not in self.disagreements:
            self.disagreements.append(what)

    def _start(self, position: int, elapsed_us: int | None, message: dict[str, Any]) -> None:
        """A Message object: the beginning of a stream, or all of an answer. Of several messages the last one stands."""
        if not isinstance(message, dict):
            raise TypeError
        if self.message and message.get("id") != self.message.get("id"):
            self.disagree("two_messages")
            self._number += 1
            self.usage, self.output, self.lives, self.stop, self.marker = {}, None, None, None, None
            self._stop_sequence = self._stop_details = None
        self.message = message
        self._spend(position, message.get("usage"), preliminary=string(message.get("stop_reason")) is None)
        for index, block in enumerate(message.get("content") or ()):
            self._begin((self._number, index), position, elapsed_us, block)
            self._blocks[self._number, index].ended = True  # it comes whole
        self._stopped(position, message)
        self._more(position, message)

    def _begin(self, place: _Place, position: int, elapsed_us: int | None, block: dict[str, Any]) -> None:
        """A content block begins; one that comes whole brings its text or its input along."""
        kind, name = string(block.get("type")), string(block.get("name"))
        if place in self._blocks:
            self.disagree("block_started_twice")
        given = block.get("input")
        self._blocks[place] = _Block(
            kind, name, string(block.get("id")), position, elapsed_us, given if isinstance(given, dict) else None
        )
        if len(self._steps) < _MOST:
            error = string(dig(block.get("content"), "error_code"))
            self._steps.append(without_absent(type=kind, name=name, error=error, position=position))
        for field in ("text", "thinking"):
            if is_token(block.get(field)):
                self._texts.add((*place, field), block[field], position, elapsed_us)
                self._first(field, elapsed_us)
        if kind == "fallback":
            self.served = string(dig(block, "to", "model")) or self.served

    def _first(self, field: str, elapsed_us: int | None) -> None:
        if self.first_us is None:
            self.first_us = elapsed_us
        if self._waiting and field == "text":
            self.first_text_us, self._waiting = elapsed_us, False

    def _spend(self, position: int, usage: object, *, preliminary: bool) -> None:
        """Takes figures over; null says nothing. The preliminary output of a message that begins does not count."""
        if not isinstance(usage, dict):
            return
        told = {name: value for name, value in usage.items() if value is not None}
        self.usage.update(told)
        self._usage_position = position
        if "output_tokens" in told and not preliminary:
            self.output = integer(told["output_tokens"])
        if "cache_creation" in told:
            self.lives, self.lives_with_total = told["cache_creation"], "cache_creation_input_tokens" in told
        elif "cache_creation_input_tokens" in told:
            self.lives_with_total = False

    def _stopped(self, position: int, said: dict[str, Any]) -> None:
        raw = string(said.get("stop_reason"))
        if raw is None:
            return
        if (self.stop is not None and self.stop[0] != raw) or self.error is not None:
            self.disagree("two_endings")
        self.stop = (raw, position)
        sequence, details = said.get("stop_sequence"), said.get("stop_details")
        self._stop_sequence = sequence if isinstance(sequence, str) else None
        self._stop_details = details if isinstance(details, dict) else None

    def _more(self, position: int, said: dict[str, Any]) -> None:
        """The container that code ran in, and what was cut from the context."""
        container, edits = said.get("container"), dig(said.get("context_management"), "applied_edits")
        if isinstance(container, dict):
            told = without_absent(id=string(container.get("id")), expires_at=string(container.get("expires_at")))
            self._extra["container"] = {"value": told, "position": position}
        if isinstance(edits, list):
            self._extra["applied_edits"] = {"value": edits[:_MOST], "position": position}

    # -- what comes out -----------------------------------------------------------------------------------------------

    def close(self) -> None:
        """Nothing more comes: looks for contradictions that only the end shows. Before anything below is asked."""
        self._input_given()
        self._said = dict(self._texts.items())
        if not self.message and (self._blocks or self.stop is not None or self.marker is not None):
            self.disagree("no_message_start")
        if any(key[:2] not in self._blocks for key in self._said):
            self.disagree("block_not_started")
        if self.stop is None:
            return
        raw = self.stop[0]
        if raw in _ROUND and not all(block.ended for block in self._current()):
            self.disagree("block_not_ended")
        if (raw == "tool_use") != any(block.type == "tool_use" for block in self._current()) and raw in _ROUND:
            self.disagree("tool_use")
        if (raw == "stop_sequence") != (self._stop_sequence is not None):
            self.disagree("stop_sequence")
        if self._stop_details is not None and self._stop_details.get("type", raw) != raw:
            self.disagree("stop_details")

    def open_call(self) -> bool:
        """Whether the arguments of a call did not end."""
        return any(block.type in _CALLS and not block.ended for block in self._blocks.values())

    def text(self) -> str | None:
        """All text blocks, one after the other; None where there is none."""
        texts = [text for (_, _, field), text in self._said.items() if field == "text"]
        began = texts or any(block.type == "text" for block in self._blocks.values())
        return storable("".join(texts)) if began else None

    def spoken(self) -> tuple[Spoken, ...]:
        """Text, thinking, and the arguments of calls, in the order in which they began to be said."""
        return tuple(self._spoken())

    def facts(self) -> dict[str, Any]:
        """What has no column. All that is content stands under `content`, so that it can be left out in one piece."""
        error, message = error_told(self.error, self._error_position)
        details = self._stop_details or {}
        told = {name: string(details.get(name)) for name in ("type", "category", "recommended_model")}
        evidence = without_absent(
            stop=without_absent(value=self.stop[0], position=self.stop[1], details=without_absent(**told) or None)
            if self.stop
            else None,
            usage={"value": self.usage, "position": self._usage_position} if self.usage else None,
            error=error,
            **self._extra,
            end_marker={"position": self.marker} if self.marker is not None else None,
        )
        content = without_absent(
            tool_calls=self._tool_calls() or None,
            error_message=message,
            stop_explanation=string(details.get("explanation")),
        )
        return without_absent(
            evidence=evidence or None,
            disagreements=self.disagreements or None,
            steps=self._steps or None,
            stop_sequence=storable(self._stop_sequence) if self._stop_sequence is not None else None,
            messages=self._number + 1 if self._number else None,
            content=content or None,
        )

    def _current(self) -> Iterator[_Block]:
        """The blocks of the message that stands."""
        return (block for (number, _), block in self._blocks.items() if number == self._number)

    def _input_given(self) -> None:
        """Input that came with the beginning of its block and in no piece counts as one."""
        given = [(place, block) for place, block in self._blocks.items() if block.given]
        said = {key for key, _ in self._texts.items()} if given else set()
        for place, block in given:
            if (*place, "partial_json") not in said:
                text = json.dumps(block.given, ensure_ascii=False, separators=(",", ":"))
                self._texts.add((*place, "partial_json"), text, block.position, block.elapsed_us)

    def _spoken(self) -> Iterator[Spoken]:
        for key in self._said:
            block = self._blocks.get(key[:2])
            name = block.name if block and key[2] == "partial_json" else None
            yield self._texts.spoken(key, _KINDS[key[2]], name=name, ended=block is not None and block.ended)

    def _tool_calls(self) -> list[dict[str, Any]]:
        """id, type, name and arguments of each call, as far as they were said."""
        calls = [(place, block) for place, block in self._blocks.items() if block.type in _CALLS]
        if not calls:
            return []
        arguments = {key[:2]: storable(text) for key, text in self._said.items() if key[2] == "partial_json"}
        return [
            without_absent(id=block.id, type=block.type, name=block.name, arguments=arguments.get(place))
            for place, block in calls
        ][:_MOST]
