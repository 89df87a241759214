"""What a chat completion has said so far: chunks of a stream or one whole document, piece by piece.

Only collects; what it amounts to is weighed in `chat`. Knows the shapes of the wire, OpenAI's and those in which other
servers depart from it, and refuses to know requests.
"""

from __future__ import annotations

import json
from typing import Any, Final

from recorder.dialects.base import Texts, error_of, integer, string, without_absent
from recorder.recording import Spoken

__all__ = ["Call", "Choice", "Key", "Told"]

#: What may stand beside the content. Of what the model thought the name differs by server: DeepSeek and most others,
#: OpenRouter and Groq, GitHub; then OpenRouter's parts.
_REASONING: Final = ("reasoning_content", "reasoning", "reasoning_text", "reasoning_details")
_BESIDE: Final = frozenset({*_REASONING, "audio", "function_call", "refusal", "tool_calls"})

#: Where a part that stands in a list has its text: OpenRouter's `reasoning_details`, Mistral's and Databricks' content.
_PART_TEXT: Final = ("text", "summary", "thinking", "refusal")

#: How deep parts lie in parts: a list, a part, its list, a part of that; and room to spare.
_DEEPEST: Final = 6

#: Of what comes from strangers as many are noted.
_MOST: Final = 256

#: (choice, what): the name of a text; a tool call's has its number too.
Key = tuple[int, str] | tuple[int, str, int]

#: What a choice can say -> the kind of text that it is; what is heard is a text too.
_KINDS: Final = {"reasoning": "reasoning", "text": "text", "transcript": "text", "refusal": "refusal"}


class Call:
    """One tool call of a choice: `key` names its arguments among the texts, `position` is where it began."""

    __slots__ = ("id", "key", "name", "position", "type")

    def __init__(self, key: Key, kind: str, position: int) -> None:
        self.key, self.type, self.position = key, kind, position
        self.id: str | None = None
        self.name: str | None = None


class Choice:
    """One of the answers. `finish` is its finish reason, `finish_position` the event that first said so, `native` the
    word of the model's own server where a gateway tells it too."""

    __slots__ = ("calls", "current", "finish", "finish_position", "index", "native", "refused", "text_key")

    def __init__(self, index: int) -> None:
        self.index = index
        self.text_key = (index, "text")
        self.finish: str | None = None
        self.finish_position = 0
        self.native: str | None = None
        self.refused = False
        self.calls: list[Call] = []
        self.current: dict[int, Call] = {}  # the call that is being spelled out, by its index on the wire


class Told:
    """What one exchange has said. `part` of a choice is "delta" in a stream and "message" in a document."""

    def __init__(self, part: str) -> None:
        self.part = part
        self.about: dict[str, str] = {}
        self.choices: dict[int, Choice] = {}
        self.texts = Texts()
        self.usage: dict[str, Any] = {}
        self.usage_position = 0
        self.usage_apart = False  # it came in a chunk of its own, which is the last
        self.error: dict[str, str] | None = None
        self.error_position: int | None = None
        self.marker: int | None = None
        self.closed = False  # by [DONE]: what comes after it no client reads
        self.after_end = 0
        self.first_us: int | None = None
        self.first_visible_us: int | None = None
        self.last_piece = -1
        self.disagreements: list[str] = []
        self.filtered: list[dict[str, Any]] = []
        self._id: Any = self  # no chunk's

    # -- one event ----------------------------------------------------------------------------------------------------

    def chunk(self, position: int, elapsed_us: int | None, value: Any) -> None:
        """A chunk, or the document. Raises one of `ODD` for what is none."""
        if value.get("id") != self._id:
            self._introduced(value, position)
        if value.get("error"):
            self.fail(error_of(value), position)
        usage = value.get("usage")
        choices = value.get("choices")
        if usage:
            self._counted(usage, position, apart=not choices)
        if not choices:
            self._without_choices(position, value)
            return
        for number, told in enumerate(choices):
            index = told.get("index", number)
            choice = self.choices.get(index) or self._choice(index, number)
            said = told.get(self.part)
            if said:
                content = said.get("content")
                if content:
                    if content.__class__ is str:  # what a stream is full of
                        self.texts.add(choice.text_key, content, position, elapsed_us)
                        self.last_piece = position
                        if self.first_visible_us is None:
                            self._visible(elapsed_us)
                    else:
                        self._parts(choice, content, position, elapsed_us)
                if not _BESIDE.isdisjoint(said):
                    self._beside_content(choice, said, position, elapsed_us)
            elif "text" in told:  # of a completion, not a chat
                self._say(choice, "text", told["text"], position, elapsed_us)
            if told.get("finish_reason"):
                self._finished(choice, told, position, value)
            if "content_filter_results" in told:
                self._filter(told["content_filter_results"], "completion", position)
            if told.get("error"):
                self.fail(error_of(told), position)

    def fail(self, error: dict[str, str] | None, position: int | None = None) -> None:
        """An error, and the event that told it; `error` None where it turned out to be none. The first one stands."""
        if error is not None and self.error is None:
            self.error, self.error_position = error, position

    def disagree(self, what: str) -> None:
        """Two signals contradict each other."""
        if what not in self.disagreements:
            self.disagreements.append(what)

    # -- what it says of itself ---------------------------------------------------------------------------------------

    def _introduced(self, value: Any, position: int) -> None:
        """A chunk with another id than the one before: the first ones of Azure have none."""
        self._id = value.get("id")
        for name in ("id", "model"):
            told = string(value.get(name))
            if told is not None:
                self.about.setdefault(name, told)
        self._settled(value, position)

    def _settled(self, value: Any, position: int) -> None:
        """What may come late or change: the last word counts."""
        for name in ("service_tier", "system_fingerprint", "provider"):
            told = string(value.get(name))
            if told is not None:
                self.about[name] = told
        groq = value.get("x_groq")
        if groq and not value.get("usage") and not self.usage and isinstance(groq.get("usage"), dict):
            self._counted(groq["usage"], position, apart=True)

    def _counted(self, usage: Any, position: int, *, apart: bool) -> None:
        if isinstance(usage, dict):
            self.usage, self.usage_position, self.usage_apart = usage, position, apart

    def _without_choices(self, position: int, value: Any) -> None:
        """The chunk with the usage, Azure's first chunk, an error, or something else altogether, such as a ping."""
        self._settled(value, position)
        self.fail(error_of(value), position)
        if value.get("object") == "error":  # vLLM and Mistral; `message` may be an object
            self.fail(without_absent(code=string(value.get("code")), type=string(value.get("type"))), position)
        for prompt in value.get("prompt_filter_results") or ():
            self._filter(prompt.get("content_filter_results"), "prompt", position)

    def _filter(self, results: Any, where: str, position: int) -> None:
        """Azure's verdicts by category; kept where one hit."""
        if not results:
            return
        for category, result in results.items():
            hit = result.get("filtered") is True or result.get("detected") is True
            if hit and len(self.filtered) < _MOST:
                blocked = True if result.get("filtered") is True else None
                told = without_absent(severity=string(result.get("severity")), blocked=blocked)
                self.filtered.append({"where": where, "category": str(category), **told, "position": position})

    # -- a choice -----------------------------------------------------------------------------------------------------

    def _choice(self, index: Any, number: int) -> Choice:
        counted = integer(index)
        key = number if counted is None else counted
        return self.choices.setdefault(key, Choice(key))

    def _finished(self, choice: Choice, told: Any, position: int, value: Any) -> None:
        finish = string(told["finish_reason"])
        self._settled(value, position)
        if finish is None or finish == "null":  # DashScope: not yet
            return
        if finish != choice.finish:
            if choice.finish is not None:
                self.disagree("two_endings")
            choice.finish, choice.finish_position = finish, position
        if value.get("object") == "chat.completion.done":  # Perplexity: its last chunk, no [DONE]
            self.marker = position
        native = string(told.get("native_finish_reason"))
        choice.native = native if native != finish else None
        usage = told.get("usage")
        if isinstance(usage, dict) and not value.get("usage"):  # Moonshot
            self._counted(usage, position, apart=False)

    def _parts(self, choice: Choice, content: Any, position: int, elapsed_us: int | None) -> None:
        """Content in parts: Mistral, Databricks."""
        for part in content:
            kind = part.get("type")
            what = "reasoning" if kind in ("thinking", "reasoning") else "refusal" if kind == "refusal" else "text"
            self._say(choice, what, _text_of(part), position, elapsed_us)

    def _beside_content(self, choice: Choice, said: Any, position: int, elapsed_us: int | None) -> None:
        """What stands beside the text: thoughts, a refusal, tool calls, audio."""
        if said.get("refusal"):
            self._say(choice, "refusal", said["refusal"], position, elapsed_us)
        for name in _REASONING:
            thought = said.get(name)
            if thought:
                text = thought if isinstance(thought, str) else _text_of(thought)
                self._say(choice, "reasoning", text, position, elapsed_us)
                break  # some servers say the same twice, under two names
        if said.get("tool_calls"):
            for number, piece in enumerate(said["tool_calls"]):
                self._called(choice, piece, number, position, elapsed_us)
        if said.get("function_call"):
            piece = {"index": -1, "type": "function_call", "function": said["function_call"]}
            self._called(choice, piece, 0, position, elapsed_us)
        audio = said.get("audio")
        if audio:
            self._say(choice, "transcript", audio.get("transcript"), position, elapsed_us)
            if audio.get("data"):
                self.last_piece = position
                self._visible(elapsed_us)

    def _say(self, choice: Choice, what: str, text: Any, position: int, elapsed_us: int | None) -> None:
        if not text or not isinstance(text, str):
            return
        self.texts.add((choice.index, what), text, position, elapsed_us)
        self.last_piece = position
        if what == "reasoning":
            self._token(elapsed_us)
            return
        choice.refused = choice.refused or what == "refusal"
        self._visible(elapsed_us)

    def _token(self, elapsed_us: int | None) -> None:
        if self.first_us is None:
            self.first_us = elapsed_us

    def _visible(self, elapsed_us: int | None) -> None:
        if self.first_visible_us is None:
            self.first_visible_us = elapsed_us
            self._token(elapsed_us)

    # -- tool calls ---------------------------------------------------------------------------------------------------

    def _called(self, choice: Choice, piece: Any, number: int, position: int, elapsed_us: int | None) -> None:
        """A piece of a tool call: the function's (`function`), or a custom tool's (`custom`), whose input is free."""
        function = piece.get("function")
        call = choice.current.get(piece.get("index"))
        if call is not None and function and not function.get("name"):  # what most pieces are: more of the arguments
            arguments = function.get("arguments")
            if arguments and isinstance(arguments, str):
                self.texts.add(call.key, arguments, position, elapsed_us)
                self.last_piece = position
            return
        custom = piece.get("custom")
        body = custom or function or {}
        name = string(body.get("name"))
        call = self._call(choice, piece, name, number, position)
        call.name = call.name or name
        call.id = call.id or string(piece.get("id"))
        arguments = body.get("input") if custom else body.get("arguments")
        if isinstance(arguments, dict):  # as an object rather than as its text: some servers' documents
            arguments = json.dumps(arguments)
        if arguments and isinstance(arguments, str):
            self.texts.add(call.key, arguments, position, elapsed_us)
        self.last_piece = position
        self._token(elapsed_us)

    def _call(self, choice: Choice, piece: Any, name: str | None, number: int, position: int) -> Call:
        """The call that a piece belongs to; a new one where nothing like it was begun.

        Servers that give every call the index 0, or none at all, tell them apart by a name with another id, or with
        none where the call before has its name already.
        """
        index = integer(piece.get("index"))
        lane = number if index is None else index
        call = choice.current.get(lane)
        if call is not None and name is not None:
            told = string(piece.get("id"))
            another = told != call.id if told is not None and call.id is not None else index is None and told is None
            if another and call.name is not None:
                call = None
        if call is None:
            kind = string(piece.get("type")) or ("custom" if "custom" in piece else "function")
            call = Call((choice.index, "call", len(choice.calls)), kind, position)
            choice.calls.append(call)
            choice.current[lane] = call
        return call

    # -- all of it ----------------------------------------------------------------------------------------------------

    def spoken(self) -> dict[Key, Spoken]:
        """Every text by its key, and the arguments of every call, also of one that has none; in order of appearance."""
        told: list[tuple[int, Key, Spoken]] = []
        for choice in self.choices.values():
            ended = choice.finish is not None
            for what, kind in _KINDS.items():
                one = self.texts.spoken((choice.index, what), kind, ended=ended)
                if one.text:
                    told.append((one.positions[0], (choice.index, what), one))
            for call in choice.calls:
                kind = "input" if call.type == "custom" else "arguments"
                one = self.texts.spoken(call.key, kind, name=call.name, ended=ended)
                told.append((call.position, call.key, one))
        return {key: one for _, key, one in sorted(told, key=lambda each: each[0])}

    def steps(self) -> list[dict[str, Any]]:
        """The tool calls, in order of appearance."""
        calls = [(call, choice.index) for choice in self.choices.values() for call in choice.calls]
        return [
            without_absent(type=call.type, name=call.name, choice=index or None, position=call.position)
            for call, index in sorted(calls, key=lambda pair: pair[0].position)[:_MOST]
        ]


def _text_of(part: Any, depth: int = 0) -> str:
    """The text of a part, or of a list of parts; parts may lie in parts."""
    if isinstance(part, str):
        return part
    if depth > _DEEPEST:
        return ""
    if isinstance(part, list):
        return "".join(_text_of(each, depth + 1) for each in part)
    if not isinstance(part, dict):
        return ""
    return next((_text_of(part[name], depth + 1) for name in _PART_TEXT if part.get(name)), "")
