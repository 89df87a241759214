"""What a Response says: its output items, and the texts in them, from pieces, from ends, and from the whole.

A stream tells each text up to four times: in pieces (`...delta`), when it ends (`...done`), with its item
(`response.output_item.done`), and in the Response that ends the stream. The later word counts, and a contradiction is
told. Knows neither statuses of the Response nor anything of the request.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from recorder.dialects.base import Texts, dig, is_token, string, without_absent
from recorder.recording import Spoken, storable

__all__ = ["DELTAS", "DONES", "PARTS", "UNLISTED", "Key", "Output"]

#: Whose text: which sort of it, the index of the output item, the index within the item.
Key = tuple[str, Any, Any]

#: Events that bring a piece of a text: its sort, and the field that tells it from others in the same item, if any.
DELTAS: Final[Mapping[str, tuple[str, str]]] = {
    "response.output_text.delta": ("text", "content_index"),
    "response.refusal.delta": ("refusal", "content_index"),
    "response.reasoning_text.delta": ("reasoning", "content_index"),
    "response.reasoning_summary_text.delta": ("summary", "summary_index"),
    "response.function_call_arguments.delta": ("arguments", ""),
    "response.mcp_call_arguments.delta": ("arguments", ""),
    "response.code_interpreter_call_code.delta": ("code", ""),
    "response.custom_tool_call_input.delta": ("input", ""),
    "response.shell_call_command.delta": ("command", "command_index"),
    "response.audio.transcript.delta": ("transcript", ""),
}

#: The same of an event that is sent but in no API reference.
UNLISTED: Final[Mapping[str, tuple[str, str]]] = {"response.apply_patch_call_operation_diff.delta": ("diff", "")}

#: Events that end a text, and the field that has all of it.
DONES: Final[Mapping[str, tuple[str, str, str]]] = {
    "response.output_text.done": ("text", "content_index", "text"),
    "response.refusal.done": ("refusal", "content_index", "refusal"),
    "response.reasoning_text.done": ("reasoning", "content_index", "text"),
    "response.reasoning_summary_text.done": ("summary", "summary_index", "text"),
    "response.function_call_arguments.done": ("arguments", "", "arguments"),
    "response.mcp_call_arguments.done": ("arguments", "", "arguments"),
    "response.code_interpreter_call_code.done": ("code", "", "code"),
    "response.custom_tool_call_input.done": ("input", "", "input"),
    "response.shell_call_command.done": ("command", "command_index", "command"),
    "response.apply_patch_call_operation_diff.done": ("diff", "", "diff"),
    "response.audio.transcript.done": ("transcript", "", "text"),
}

#: Events that end a part of an item, and the list that the part is in.
PARTS: Final[Mapping[str, str]] = {
    "response.content_part.done": "content",
    "response.reasoning_summary_part.done": "summary",
}

#: What a text is to whoever looks through it. `arguments` is JSON; `input` is whatever a tool takes: code, a command.
_KINDS: Final[Mapping[str, str]] = {
    "text": "text",
    "transcript": "text",
    "refusal": "refusal",
    "reasoning": "reasoning",
    "summary": "reasoning",
    "arguments": "arguments",
    "code": "input",
    "input": "input",
    "command": "input",
    "diff": "input",
}
_VISIBLE: Final = frozenset({"text", "refusal", "transcript"})

#: Where an item that is no message keeps its one text: the sort, and the path to it.
_FIELDS: Final[Mapping[str, tuple[str, tuple[str, ...]]]] = {
    "function_call": ("arguments", ("arguments",)),
    "mcp_call": ("arguments", ("arguments",)),
    "mcp_approval_request": ("arguments", ("arguments",)),
    "custom_tool_call": ("input", ("input",)),
    "code_interpreter_call": ("code", ("code",)),
    "program": ("code", ("code",)),
    "apply_patch_call": ("diff", ("operation", "diff")),
}

#: Calls that the client has to answer, and the items that are answers to them, by `call_id`.
_ANSWERS: Final[Mapping[str, str]] = {
    "function_call": "function_call_output",
    "custom_tool_call": "custom_tool_call_output",
    "computer_call": "computer_call_output",
    "local_shell_call": "local_shell_call_output",
    "shell_call": "shell_call_output",
    "apply_patch_call": "apply_patch_call_output",
    "tool_search_call": "tool_search_output",
}

_CALLS: Final = {*_ANSWERS, *_FIELDS} - {"program"}

#: Items that the model writes itself, so that one which is incomplete means that the answer was cut.
_WRITTEN: Final = frozenset({"message", "function_call", "custom_tool_call"})

#: Items, calls and refusals kept; a response has a handful of each, a hostile stream any number.
_MOST: Final = 256


class Output:
    """The output so far. `texts` takes the pieces, each under its `Key`.

    `first_us` is the time of the first token of any sort, `visible_us` of the first that the user sees.
    """

    __slots__ = (
        *("_completed", "_drafts", "_ends", "_finals", "_finished", "_items", "_known", "_places", "texts"),
        *("_told", "_whole", "_whole_at", "first_us", "visible_us"),
    )

    def __init__(self) -> None:
        self.texts = Texts()
        self._ends: dict[Key, tuple[str | None, int]] = {}
        self._items: dict[Any, dict[str, Any]] = {}
        self._places: dict[Any, int] = {}
        self._finished: set[Any] = set()
        self._whole: list[Any] = []
        self._whole_at = 0
        self._completed = False
        self._known: list[tuple[Any, str, dict[str, Any]]] = []
        self._drafts: dict[Key, str] = {}
        self._finals: dict[Key, str] = {}
        self._told: dict[Key, str] = {}
        self.first_us: int | None = None
        self.visible_us: int | None = None

    # -- as it comes --------------------------------------------------------------------------------------------------

    def token(self, sort: str | None, elapsed_us: int) -> None:
        """Something of the answer came; `sort` None: sound, or another thing that is no text."""
        if self.first_us is None:
            self.first_us = elapsed_us
        if sort in _VISIBLE and self.visible_us is None:
            self.visible_us = elapsed_us

    def end(self, key: Key, text: object, position: int, elapsed_us: int) -> None:
        """A text ended, and this is all of it; an end may leave out the text."""
        self._ends[key] = (text if isinstance(text, str) else None, position)
        if self.visible_us is None and is_token(text):
            self.token(key[0], elapsed_us)

    def part(self, among: Key, part: Any, position: int, elapsed_us: int) -> None:
        """A part of an item ended: one of its `content` or of its `summary`, whichever `among` names."""
        for sort, text in _of_part(part, among[0]):
            self.end((sort, *among[1:]), text, position, elapsed_us)

    def item(self, index: Any, item: object, position: int, elapsed_us: int, *, done: bool) -> None:
        """An output item began or is done."""
        if not isinstance(item, dict) or (index not in self._items and len(self._items) >= _MOST):
            return
        if done:
            self._finished.add(index)
        elif index in self._finished:
            return  # what is done does not begin again
        self._places.setdefault(index, position)
        self._items[index] = item
        if self.visible_us is None:
            for sort, _, text in _texts_of(item):
                if is_token(text):
                    self.token(sort, elapsed_us)

    def settle(self, output: object, position: int, *, completed: bool) -> None:
        """No more comes. `output` is how the Response has it that ended the stream, or that is the answer: an empty
        one says nothing, as where a server leaves it out. `completed`: the Response says that it is."""
        if isinstance(output, list) and output:
            self._whole, self._whole_at, self._completed = output, position, completed
        told = enumerate(self._whole) if self._whole else self._items.items()
        self._known = [(index, _type(item), item) for index, item in told if isinstance(item, dict)]
        self._drafts = dict(self.texts.items())
        self._finals = self._told_whole()
        self._told = self._told_last()

    # -- what it comes to, once it is settled -------------------------------------------------------------------------

    def steps(self) -> list[dict[str, Any]]:
        """The items in brief: type, status, name, and the position of the event that began each."""
        return [
            without_absent(
                type=storable(kind) or None,
                status=string(item.get("status")),
                name=_name(item),
                position=self._places.get(index),
            )
            for index, kind, item in self._known[:_MOST]
        ]

    def cut(self) -> bool:
        """Whether an item that the model writes itself says that it is incomplete."""
        return any(kind in _WRITTEN and item.get("status") == "incomplete" for _, kind, item in self._known)

    def unanswered(self) -> int:
        """How many calls wait for the client: its tools' outputs, or its approval."""
        calls = [(kind, item) for _, kind, item in self._known if kind in _ANSWERS or kind == "mcp_approval_request"]
        if not calls:
            return 0
        answers = {(kind, string(item.get("call_id"))) for _, kind, item in self._known}
        approved = {string(item.get("approval_request_id")) for _, _, item in self._known}
        waiting = 0
        for kind, item in calls:
            if kind == "mcp_approval_request":
                waiting += string(item.get("id")) not in approved
            elif kind != "tool_search_call" or item.get("execution") == "client":
                waiting += (_ANSWERS[kind], string(item.get("call_id"))) not in answers
        return waiting

    def calls(self) -> list[dict[str, Any]]:
        """The tool calls: id, type, name, and the arguments where they are text."""
        found: dict[Any, dict[str, Any]] = {
            index: without_absent(
                id=string(item.get("call_id")) or string(item.get("id")),
                type=kind,
                name=string(item.get("name")),
            )
            for index, kind, item in self._known
            if kind in _CALLS
        }
        for (sort, index, _), text in self._told.items():
            if index in found and _KINDS[sort] in ("arguments", "input"):
                before = found[index].get("arguments")
                found[index]["arguments"] = storable(text) if before is None else f"{before}\n{storable(text)}"
        return list(found.values())[:_MOST]

    def text(self) -> str | None:
        """What the user reads: the texts of all messages, one after the other; None where none ever began."""
        texts = [text for (sort, _, _), text in self._told.items() if sort == "text"]
        texts = texts or [text for (sort, _, _), text in self._told.items() if sort == "transcript"]
        return storable("".join(texts)) if texts else None

    def refusals(self) -> list[tuple[str, int | None]]:
        """What was said instead of an answer, each with the position of the event that began it."""
        return [
            (storable(text), self._places.get(index))
            for (sort, index, _), text in self._told.items()
            if sort == "refusal" and text
        ][:_MOST]

    def contradictions(self) -> list[Key]:
        """The texts whose pieces do not come to what was said to be all of them."""
        finals, drafts = self._finals, self._drafts
        found = [key for key, draft in drafts.items() if key in finals and finals[key] != draft]
        if self._whole:
            for sort in ("text", "refusal"):
                missing = [key for key in drafts if key[0] == sort and key not in finals]
                joined = "".join(text for key, text in drafts.items() if key[0] == sort)
                if missing and joined != "".join(text for key, text in finals.items() if key[0] == sort):
                    found += missing
        return found

    def spoken(self) -> tuple[Spoken, ...]:
        """Every text, with its pieces where they come to it; else in one piece, as it was told last."""
        items = {index: item for index, _, item in self._known}
        found = []
        for key, text in self._told.items():
            sort, index, _ = key
            item = items.get(index, {})
            kind, ended = _KINDS[sort], self._ended(key, item)
            name = (_name(item) or string(item.get("type"))) if kind in ("arguments", "input") else None
            if self._drafts.get(key) == text:
                found.append(self.texts.spoken(key, kind, name=name, ended=ended))
            elif text:
                _, position = self._ends.get(key, ("", self._whole_at))
                found.append(Spoken(kind=kind, text=text, name=name, ended=ended, offsets=(0,), positions=(position,)))
        return tuple(found)

    def _ended(self, key: Key, item: Mapping[str, Any]) -> bool:
        """An item that is incomplete sends the events of an end all the same."""
        status = item.get("status")
        if status == "incomplete":
            return False
        if key in self._ends or key[1] in self._finished:
            return True
        return bool(self._whole) and (self._completed or status in (None, "completed", "failed"))

    def _told_whole(self) -> dict[Key, str]:
        """Each text that was told as a whole, as it was told last."""
        finals = {} if self._whole else {key: text for key, (text, _) in self._ends.items() if text is not None}
        for index, _, item in self._known:
            if self._whole or index in self._finished:
                for sort, place, text in _texts_of(item):
                    finals[sort, index, place] = text
        return finals

    def _told_last(self) -> dict[Key, str]:
        """Each text as it was told last, in the order of the output; sorts that the end leaves out are as they came."""
        finals, drafts = self._finals, self._drafts
        sorts = {sort for (sort, _, _), text in finals.items() if text} if self._whole else set()
        told = {key: text for key, text in drafts.items() if key[0] not in sorts} | finals
        return dict(sorted(told.items(), key=lambda entry: (_order(entry[0][1]), _order(entry[0][2]))))


def _texts_of(item: Mapping[str, Any]) -> Iterator[tuple[str, Any, str]]:
    """(sort, place in the item, text) of each text that an item holds."""
    kind = _type(item)
    if kind in ("message", "reasoning"):
        for among in ("summary", "content"):
            parts = item.get(among)
            for place, part in enumerate(parts if isinstance(parts, list) else ()):
                for sort, text in _of_part(part, among):
                    yield sort, place, text
    elif kind == "shell_call":
        commands = dig(item, "action", "commands")
        for place, command in enumerate(commands if isinstance(commands, list) else ()):
            if isinstance(command, str):
                yield "command", place, command
    elif kind in _FIELDS:
        sort, path = _FIELDS[kind]
        text = dig(item, *path)
        if isinstance(text, str):
            yield sort, None, text


def _of_part(part: Any, among: str) -> Iterator[tuple[str, str]]:
    kind, text = dig(part, "type"), dig(part, "text")
    if kind == "refusal":
        refusal = dig(part, "refusal")
        if isinstance(refusal, str):
            yield "refusal", refusal
    elif isinstance(text, str):
        if among == "summary":
            yield "summary", text
        else:
            yield "reasoning" if kind == "reasoning_text" else "text", text


def _type(item: Mapping[str, Any]) -> str:
    kind = item.get("type")
    return kind if isinstance(kind, str) else ""


def _name(item: Mapping[str, Any]) -> str | None:
    return string(item.get("name")) or string(item.get("server_label"))


def _order(index: object) -> tuple[bool, int]:
    return (True, index) if isinstance(index, int) else (False, 0)
