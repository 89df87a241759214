"""What one exchange of the Assistants protocol has said about its run: events and objects in, facts out.

Collects and keeps positions; where two statements contradict each other it says so and keeps the one that a rule
prefers. It draws no conclusions: what the run came to is `assistants.py`'s to say.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from recorder.dialects.base import Answer, Texts, dig, error_of, is_token, string, without_absent
from recorder.recording import Status, storable

__all__ = ["IN_PROGRESS", "Told", "finality"]

_STATUS: Final[Mapping[str, Status]] = {
    "queued": Status.IN_PROGRESS,
    "in_progress": Status.IN_PROGRESS,
    "cancelling": Status.IN_PROGRESS,
    "requires_action": Status.REQUIRES_ACTION,
    "completed": Status.COMPLETED,
    "incomplete": Status.INCOMPLETE,
    "failed": Status.FAILED,
    "cancelled": Status.CANCELLED,
    "expired": Status.EXPIRED,
}

#: `thread.run.<name>`; `created` is no status of its own.
_EVENT_STATUS: Final[Mapping[str, Status]] = {**_STATUS, "created": Status.IN_PROGRESS}

#: How final a status is. A less final one never replaces a more final one: it only contradicts it.
_FINALITY: Final[Mapping[str, int]] = {Status.UNKNOWN: 0, Status.IN_PROGRESS: 1, Status.REQUIRES_ACTION: 2}
_FINAL: Final = 3
IN_PROGRESS: Final = _FINALITY[Status.IN_PROGRESS]

_STEP_DELTA: Final = "thread.run.step.delta"
_RUN_EVENT: Final = "thread.run."

#: Statements, messages, steps and calls kept; a run has a handful of each, a hostile stream any number.
_MOST: Final = 256


def finality(status: str) -> int:
    """0 unknown, 1 in progress, 2 waiting for tool outputs, 3 over."""
    return _FINALITY.get(status, _FINAL)


class Told:
    """Fed with a stream's events, or with a JSON answer.

    run: the Run object that counts. status: neutral. usage: the last that a Run carried.
    evidence: raw values by what they speak of, each with the position it came from.
    failed: an error ended the exchange. whole: a JSON answer was read to its end. marker: the end marker's position.
    ids: as steps and messages name them, for a stream that holds no Run.
    """

    def __init__(self) -> None:
        self.run: dict[str, Any] = {}
        self.status: str = Status.UNKNOWN
        self.usage: dict[str, Any] | None = None
        self.evidence: dict[str, dict[str, Any]] = {}
        self.statements: list[tuple[int, str | None, str | None]] = []
        self.disagreements: list[str] = []
        self.failed = False
        self.whole = False
        self.marker: int | None = None
        self.ids: dict[str, str] = {}
        self.messages: dict[str, dict[str, Any]] = {}
        self.steps: dict[str, dict[str, Any]] = {}
        self.first_text_us: int | None = None
        self.first_token_us: int | None = None
        self._drafts = Texts()
        self._calls: dict[tuple[str, int], dict[str, Any]] = {}
        self._arguments = Texts()

    def disagree(self, what: str) -> None:
        """Two signals contradict each other."""
        if what not in self.disagreements:
            self.disagreements.append(what)

    # -- what comes in ------------------------------------------------------------------------------------------------

    def event(self, position: int, elapsed_us: int, name: str, value: Any) -> bool:
        """Takes any event but the hot one; False where neither its name nor its payload is known.

        The payload's `object` says what it is, the name what happened to it: a DashScope stream was recorded with a
        Run under the name `unknown`.
        """
        if name == _STEP_DELTA:
            self._step_delta(elapsed_us, value)
            return True
        error = error_of(value) if name in ("error", "message") else None
        if error is not None or name == "error":
            self._error(position, error or {})
            return True
        kind = dig(value, "object")
        if kind == "thread.run" or (kind is None and name.startswith(_RUN_EVENT) and ".step." not in name):
            self._statement(position, name, value)
        elif kind == "thread.run.step" or (kind is None and name.startswith("thread.run.step.")):
            self._step(position, value)
        elif kind == "thread.message" or (kind is None and name.startswith("thread.message.")):
            self._message(position, value)
        elif kind == "thread" or name == "thread.created":
            self._name("thread_id", value["id"])
        else:
            return False
        return name.startswith("thread.") or name == "message"

    def message_delta(self, elapsed_us: int, value: Any) -> None:
        """A piece of a message's text, or of a refusal."""
        message_id = value["id"]
        for part in value["delta"].get("content") or ():
            text = part.get("text")
            piece = text.get("value") if text else part.get("refusal")
            if piece and isinstance(piece, str):
                self._drafts.add((message_id, part.get("index"), "text" if text else "refusal"), piece)
                if self.first_text_us is None:
                    self.first_text_us = elapsed_us
                    if self.first_token_us is None:
                        self.first_token_us = elapsed_us

    def document(self, answer: Answer) -> None:
        """A JSON answer: a Run, its steps, one step, or an error."""
        value, position = answer.json(), answer.body_position or 0
        self.whole = value is not None or answer.refused
        error, kind = error_of(value), dig(value, "object")
        if error is not None or answer.refused:
            self._error(position, error or {})
        elif kind == "thread.run" or (kind is None and string(dig(value, "status"))):
            self._statement(position, None, value)
        elif kind == "thread.run.step":
            self._step(position, value)
        elif kind == "list":
            for step in value["data"]:
                if dig(step, "object") == "thread.run.step":
                    self._step(position, step)

    # -- runs and errors ----------------------------------------------------------------------------------------------

    def _error(self, position: int, error: dict[str, str]) -> None:
        self.failed = True
        self.evidence["error"] = {**error, "position": position}
        self._state(Status.FAILED)
        self.evidence["status"] = {"event": "error", "position": position}

    def _statement(self, position: int, name: str | None, value: dict[str, Any]) -> None:
        """A Run object, under an event's name or (None) as the whole answer."""
        event = name.removeprefix(_RUN_EVENT) if name and name.startswith(_RUN_EVENT) else None
        status = string(value.get("status"))
        if len(self.statements) < _MOST and (not self.statements or self.statements[-1][1:] != (event, status)):
            self.statements.append((position, event, status))
        if self._state(self._weigh(event, status)):
            self.run = value
            self.evidence["status"] = without_absent(event=event, value=status, position=position)
        elif not self.run:
            self.run = value
        usage = value.get("usage")
        if isinstance(usage, dict):
            self.usage = usage
            self.evidence["usage"] = {"value": usage, "position": position}
        reason = string(dig(value, "incomplete_details", "reason"))
        if reason is not None:
            self.evidence["reason"] = {"value": reason, "position": position}
        last_error = value.get("last_error")
        if isinstance(last_error, dict):
            self.evidence["error"] = {**(error_of({"error": last_error}) or {}), "position": position}
        action = dig(value, "required_action", "submit_tool_outputs", "tool_calls")
        if isinstance(action, list):
            self._wanted(position, action)

    def _weigh(self, event: str | None, status: str | None) -> str:
        """What a statement says. The object's status counts, but never `completed` against the event's name."""
        said = _STATUS.get(status, Status.UNKNOWN) if status is not None else None
        if event is None or event not in _EVENT_STATUS:
            return said or Status.UNKNOWN
        named = _EVENT_STATUS[event]
        if said is None or said in (Status.UNKNOWN, named):
            return named
        self.disagree("event_status")
        return named if said == Status.COMPLETED else said

    def _state(self, status: str) -> bool:
        """Moves to a status unless one that is more final was stated before; True where it moved."""
        if finality(status) < finality(self.status):
            if status != Status.UNKNOWN:  # a status that nobody knows yet contradicts nothing
                self.disagree("order")
            return False
        if finality(self.status) == _FINAL and status != self.status:
            self.disagree("two_endings")
        self.status = status
        return True

    def _name(self, what: str, value: object) -> None:
        name = string(value)
        if name is not None:
            self.ids.setdefault(what, name)

    def _names(self, value: dict[str, Any]) -> None:
        for what in ("run_id", "thread_id", "assistant_id"):
            self._name(what, value.get(what))

    # -- messages, steps, tool calls ----------------------------------------------------------------------------------

    def _message(self, position: int, value: dict[str, Any]) -> None:
        """A Message object. Once it has ended, its content is the truth and the pieces are the draft."""
        if value.get("role", "assistant") != "assistant" or len(self.messages) >= _MOST:
            return
        self._names(value)
        status = string(value.get("status"))
        message = self.messages.setdefault(str(value["id"]), {})
        message.update(without_absent(status=status, position=position))
        reason = string(dig(value, "incomplete_details", "reason"))
        if reason is not None:
            message["reason"] = reason
        if status in ("completed", "incomplete") and isinstance(value.get("content"), list):
            message["texts"] = [_text_of(part) for part in value["content"]]

    def _step(self, position: int, value: dict[str, Any]) -> None:
        step_id = str(value["id"])
        if step_id not in self.steps and len(self.steps) >= _MOST:
            return
        self._names(value)
        step = self.steps.setdefault(step_id, {"id": storable(step_id)})
        usage, error = value.get("usage"), error_of({"error": value.get("last_error")}) or {}
        step.update(
            without_absent(
                type=string(value.get("type")),
                status=string(value.get("status")),
                usage=usage if isinstance(usage, dict) else None,
                error=error.get("code") or error.get("type"),
                position=position,
            )
        )
        calls = dig(value, "step_details", "tool_calls")
        for index, call in enumerate(calls if isinstance(calls, list) else ()):
            self._call(step_id, index, call, whole=True)

    def _step_delta(self, elapsed_us: int, value: dict[str, Any]) -> None:
        calls = dig(value, "delta", "step_details", "tool_calls")
        for call in calls if isinstance(calls, list) else ():
            self._call(str(value["id"]), call.get("index", 0), call, whole=False)
            if self.first_token_us is None and is_token(_arguments(call)):
                self.first_token_us = elapsed_us

    def _call(self, step_id: str, index: int, call: dict[str, Any], *, whole: bool) -> None:
        key = (step_id, index)
        if key not in self._calls and len(self._calls) >= _MOST:
            return
        told = self._calls.setdefault(key, {})
        kind = string(call.get("type")) or told.get("type")
        told.update(without_absent(id=string(call.get("id")), type=kind, name=string(dig(call, "function", "name"))))
        arguments = _arguments(call)
        if whole and isinstance(arguments, str):
            told["arguments"] = storable(arguments)
        elif is_token(arguments):
            self._arguments.add(key, arguments)

    def _wanted(self, position: int, calls: list[Any]) -> None:
        """The calls that a Run in `requires_action` waits for: they replace what the steps said of the same ids."""
        known = {told["id"]: key for key, told in self._calls.items() if "id" in told}
        for index, call in enumerate(calls[:_MOST]):
            step_id, place = known.get(dig(call, "id"), ("required_action", index))
            self._call(step_id, place, call, whole=True)
        self.evidence["required_action"] = {"calls": len(calls), "position": position}

    # -- what comes out -----------------------------------------------------------------------------------------------

    def text(self) -> str | None:
        """The assistant's messages in order, an empty line between two; the draft where a message did not end."""
        drafts: dict[str, list[str]] = {}
        for (message_id, _, kind), text in self._drafts.items():
            if kind == "text":  # a refusal is no answer
                drafts.setdefault(str(message_id), []).append(text)
        texts = []
        for message_id in dict.fromkeys([*self.messages, *drafts]):
            final = self.messages.get(message_id, {}).get("texts")
            draft = "".join(drafts[message_id]) if message_id in drafts else None
            whole = "".join(text for text in final if text) if final is not None else None
            if whole is not None and draft is not None and whole != draft:
                self.disagree("text")
            told = draft if whole is None else whole
            if told is not None:
                texts.append(told)
        return storable("\n\n".join(texts)) if texts else None

    def refusals(self) -> list[str]:
        """What the model said instead of an answer."""
        return [storable(text) for (_, _, kind), text in self._drafts.items() if kind == "refusal"]

    def tool_calls(self) -> list[dict[str, Any]]:
        """id, type, name and arguments of each call, as far as they were said; the pieces where no whole came."""
        pieces = {key: storable(text) for key, text in self._arguments.items()}
        return [{**({"arguments": pieces[key]} if key in pieces else {}), **call} for key, call in self._calls.items()]


def _text_of(part: Any) -> str | None:
    """The text of a content block; None where it is an image or something yet unknown."""
    value = dig(part, "text", "value")
    return value if isinstance(value, str) else None


def _arguments(call: Any) -> Any:
    """What a tool is called with: a function's arguments, or the code interpreter's program."""
    function = dig(call, "function", "arguments")
    return dig(call, "code_interpreter", "input") if function is None else function
