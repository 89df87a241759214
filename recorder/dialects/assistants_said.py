"""What was said in an exchange of the Assistants protocol: messages and tool calls, from their pieces and as wholes.

A stream gives a text in pieces and then whole, in the object that ends it. The whole is the truth, the pieces are how
it came about; where they are not the same, a piece was lost or doubled, and that is told.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final, NamedTuple

from recorder.dialects.base import Texts, dig, string, without_absent
from recorder.recording import Spoken, storable

__all__ = ["Calls", "Messages", "Said"]

#: Messages and calls kept; a run has a handful of each, a hostile stream any number.
_MOST: Final = 256

#: The parts of a message that are words, by what they are called in it.
_TEXT: Final = "text"
_REFUSAL: Final = "refusal"
_KINDS: Final = (_TEXT, _REFUSAL)

#: Tools whose arguments are JSON. The code interpreter's input is a program.
_TAKE_JSON: Final = frozenset({"function", "mcp"})


#: Message, index in its content, kind.
_Part = tuple[Any, Any, str]


class Said(NamedTuple):
    """What the assistant's messages come to.

    `text`: the messages in order, an empty line between two; the draft where a message did not end. `refusals`: what
    the model said instead of an answer. `differ`: a message that ended says something else than its pieces did.
    """

    text: str | None
    refusals: list[str]
    differ: bool
    spoken: tuple[Spoken, ...]


_NOTHING: Final = Said(None, [], False, ())


class Messages:
    """The assistant's messages, in order of appearance."""

    __slots__ = ("_drafts", "_kept", "_wholes", "first_us")

    def __init__(self) -> None:
        self._kept: dict[str, dict[str, Any]] = {}
        self._drafts = Texts()
        self._wholes: dict[str, tuple[int, int | None, list[tuple[str, str]]]] = {}
        self.first_us: int | None = None

    def delta(self, position: int, elapsed_us: int, value: Any) -> None:
        """A piece of a message's text, or of a refusal."""
        message_id = value["id"]
        for part in value["delta"].get("content") or ():
            text = part.get("text")
            piece = text.get("value") if text else part.get("refusal")
            if piece and isinstance(piece, str):
                key = (message_id, part.get("index"), _TEXT if text else _REFUSAL)
                self._drafts.add(key, piece, position, elapsed_us)
                if self.first_us is None:
                    self.first_us = elapsed_us

    def whole(self, position: int, elapsed_us: int | None, value: dict[str, Any]) -> None:
        """A Message object. Once it has ended, its content is the truth and the pieces are the draft."""
        message_id = str(value["id"])
        if message_id not in self._kept and len(self._kept) >= _MOST:
            return
        status = string(value.get("status"))
        message = self._kept.setdefault(message_id, {"id": storable(message_id)})
        reason = string(dig(value, "incomplete_details", "reason"))
        message.update(without_absent(status=status, reason=reason, position=position))
        content = value.get("content")
        if status in ("completed", "incomplete") and isinstance(content, list):
            parts = [(kind, text) for kind, text in map(_words_of, content) if text is not None]
            self._wholes[message_id] = (position, elapsed_us, parts)
            if self.first_us is None and any(text for _, text in parts):
                self.first_us = elapsed_us

    def unfinished(self) -> list[dict[str, Any]]:
        """id, status, reason and position of each that was not seen to complete."""
        return [message for message in self._kept.values() if message.get("status") != "completed"]

    def incomplete(self) -> bool:
        """Whether one of them did not end as it should have."""
        return any(message.get("status") == "incomplete" for message in self._kept.values())

    def open(self) -> bool:
        """Whether one that was seen to begin was not seen to end."""
        return any(message.get("status") == "in_progress" for message in self._kept.values())

    def reason(self) -> str | None:
        """The first reason that a message gave for being incomplete."""
        return next((message["reason"] for message in self._kept.values() if "reason" in message), None)

    def told(self) -> Said:
        """All messages, put together once: call it when nothing more comes."""
        if not self._kept and self.first_us is None:
            return _NOTHING
        drafts: dict[str, dict[_Part, str]] = {name: {} for name in self._kept}
        for key, piece in self._drafts.items():
            drafts.setdefault(str(key[0]), {})[key] = piece
        texts: list[str] = []
        refusals: list[str] = []
        spoken: list[Spoken] = []
        differ = False
        for name, pieces in drafts.items():
            draft = [(key[2], pieces[key]) for key in sorted(pieces, key=_place)]
            whole = self._wholes.get(name)
            parts = draft if whole is None else whole[2]
            differ = differ or (whole is not None and any(_join(parts, kind) != _join(draft, kind) for kind in _KINDS))
            texts += [text] if (text := _join(parts, _TEXT)) is not None else []
            refusals += [text] if (text := _join(parts, _REFUSAL)) is not None else []
            spoken += self._spoken(name, pieces)
        whole_text = storable("\n\n".join(texts)) if texts else None
        return Said(whole_text, [*map(storable, refusals)], differ, tuple(spoken))

    def _spoken(self, name: str, pieces: dict[_Part, str]) -> Iterator[Spoken]:
        """Each part of a message: as it came, or where that is not how it ended, in one piece."""
        ended = self._kept.get(name, {}).get("status") == "completed"
        if name not in self._wholes:
            yield from (self._drafts.spoken(key, key[2], ended=ended) for key in pieces)
            return
        position, elapsed_us, parts = self._wholes[name]
        for index, (kind, text) in enumerate(parts):
            key = (name, index, kind)
            if pieces.get(key) == text:
                yield self._drafts.spoken(key, kind, ended=ended)
            elif text:
                times = () if elapsed_us is None else (elapsed_us,)
                yield Spoken(kind=kind, text=text, ended=ended, offsets=(0,), positions=(position,), times=times)


def _place(key: _Part) -> int:
    """Where in its message a part belongs."""
    return key[1] if isinstance(key[1], int) else 0


def _join(parts: list[tuple[str, str]], kind: str) -> str | None:
    """The words of that kind; None where there are none."""
    return "".join(text for what, text in parts if what == kind) or None


def _words_of(part: Any) -> tuple[str, str | None]:
    """The kind and the words of a content block; None where it is an image or something yet unknown."""
    refusal = dig(part, "refusal")
    value = dig(part, "text", "value") if refusal is None else refusal
    return (_TEXT if refusal is None else _REFUSAL), (value if isinstance(value, str) else None)


class Calls:
    """The tool calls of all steps, in order of appearance."""

    __slots__ = ("_ended", "_kept", "_pieces", "_streamed", "first_us")

    def __init__(self) -> None:
        self._kept: dict[tuple[str, Any], dict[str, Any]] = {}
        self._pieces = Texts()
        self._streamed: set[tuple[str, Any]] = set()
        self._ended: set[tuple[str, Any]] = set()
        self.first_us: int | None = None

    def delta(self, position: int, elapsed_us: int, value: Any) -> None:
        """A piece of a step's tool calls."""
        details = value["delta"].get("step_details") or {}
        for call in details.get("tool_calls") or ():
            key = (str(value["id"]), call.get("index", 0))
            if (key not in self._kept or "id" in call) and not self._note(key, call):
                continue
            piece = _arguments(call)
            if isinstance(piece, str):
                self._streamed.add(key)
                if piece:
                    self._pieces.add(key, piece, position, elapsed_us)
                    if self.first_us is None:
                        self.first_us = elapsed_us

    def whole(self, step_id: str, index: Any, call: dict[str, Any], *, ended: bool, earlier: bool = False) -> None:
        """A call as a step object has it, which may still be under way.

        `earlier`: the step was made in an earlier stream, and only comes to its end in this one.
        """
        key = (step_id, index)
        if not self._note(key, call):
            return
        arguments = _arguments(call)
        if isinstance(arguments, str) and (arguments or ended):
            self._kept[key]["arguments"] = arguments
        if ended:
            self._ended.add(key)
        if earlier:
            self._kept[key]["earlier"] = True

    def wanted(self, calls: list[Any]) -> None:
        """The calls whose outputs a Run waits for: they replace what the steps said of the same ids."""
        known = {told["id"]: key for key, told in self._kept.items() if "id" in told}
        nameless = [key for key, told in self._kept.items() if "id" not in told]
        for index, call in enumerate(calls[:_MOST]):
            key: tuple[str, Any] = known.get(dig(call, "id")) or (
                nameless.pop(0) if nameless else ("required_action", index)
            )
            self.whole(*key, call, ended=True)

    def facts(self) -> list[dict[str, Any]]:
        """id, type, name and arguments of each, as far as they were said; the pieces where no whole came.

        `earlier` is true of those that were made in an earlier stream.
        """
        pieces = dict(self._pieces.items())
        told = [{**({"arguments": pieces[key]} if key in pieces else {}), **call} for key, call in self._kept.items()]
        return [{**call, "arguments": storable(call["arguments"])} if "arguments" in call else call for call in told]

    def differ(self) -> bool:
        """Whether the arguments of a call are something else than their pieces."""
        pieces = dict(self._pieces.items())
        return any(
            "arguments" in self._kept[key] and self._kept[key]["arguments"] != pieces.get(key, "")
            for key in self._streamed & self._ended
        )

    def open(self) -> bool:
        """Whether pieces of a call's arguments came, and not their end."""
        return not self._streamed <= self._ended

    def spoken(self) -> Iterator[Spoken]:
        """What each tool is called with, as it came or in one piece: JSON `arguments`, or any other `input`.

        Without the calls of earlier streams, which were spoken there.
        """
        pieces = dict(self._pieces.items())
        for key, call in self._kept.items():
            if "earlier" in call:
                continue
            whole, name, ended = call.get("arguments"), call.get("name") or call.get("type"), key in self._ended
            kind = "arguments" if call.get("type", "function") in _TAKE_JSON else "input"
            if key in pieces and whole in (None, pieces[key]):
                yield self._pieces.spoken(key, kind, name=name, ended=ended)
            elif whole:
                yield Spoken(kind=kind, text=whole, name=name, ended=ended, offsets=(0,))

    def _note(self, key: tuple[str, Any], call: dict[str, Any]) -> bool:
        """Who is called; False for one call too many."""
        if key not in self._kept:
            if len(self._kept) >= _MOST:
                return False
            self._kept[key] = {}
        name = string(dig(call, "function", "name")) or string(call.get("name"))
        self._kept[key].update(without_absent(id=string(call.get("id")), type=string(call.get("type")), name=name))
        return True


def _arguments(call: Any) -> Any:
    """What a tool is called with: a function's arguments, the code interpreter's program, or what else Azure's tools
    take (`arguments` beside the type for MCP, `input` below it for others)."""
    function = call.get("function")
    if isinstance(function, dict):
        return function.get("arguments")
    beside = call.get("arguments")
    return dig(call, str(call.get("type")), "input") if beside is None else beside
