"""What one exchange of the Assistants protocol has said about its run: events and objects in, facts out.

Collects and keeps positions; where two statements contradict each other it says so and keeps the one that a rule
prefers. It draws no conclusions: what the run came to is `assistants.py`'s to say.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from recorder.dialects.assistants_said import Calls, Messages
from recorder.dialects.base import Answer, dig, error_of, integer, string, without_absent
from recorder.recording import Status, storable

__all__ = ["COUNTS", "IN_PROGRESS", "Told", "finality"]

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

#: A Run in one of these has nothing to say yet about how it went.
_UNDER_WAY: Final = frozenset({"queued", "in_progress", "cancelling"})

#: How final a status is. A less final one never replaces a more final one: it only contradicts it.
_FINALITY: Final[Mapping[str, int]] = {Status.UNKNOWN: 0, Status.IN_PROGRESS: 1, Status.REQUIRES_ACTION: 2}
_FINAL: Final = 3
IN_PROGRESS: Final = _FINALITY[Status.IN_PROGRESS]

_STEP_DELTA: Final = "thread.run.step.delta"
_RUN_EVENT: Final = "thread.run."

#: What is counted of a run and of each of its steps.
COUNTS: Final = ("prompt_tokens", "completion_tokens", "total_tokens")

#: How steps and messages name what they belong to.
_IDS: Final = ("run_id", "thread_id", "assistant_id")

#: Statements and steps kept; a run has a handful of each, a hostile stream any number.
_MOST: Final = 256


def finality(status: str) -> int:
    """0 unknown, 1 in progress, 2 waiting for tool outputs, 3 over."""
    return _FINALITY.get(status, _FINAL)


class Told:
    """Fed with a stream's events, or with a JSON answer.

    run: the Run object that counts. status: neutral. usage: the last that a Run carried, `usage_final` whether that
    Run was over. evidence: raw values by what they speak of, each with the position it came from. statements: what
    each Run said that did not merely repeat the one before it.
    failed: an error ended the exchange. whole: a JSON answer was read to its end. marker: the end marker's position.
    ids: as steps and messages name them, for a stream that holds no Run.
    """

    def __init__(self) -> None:
        self.run: dict[str, Any] = {}
        self.status: str = Status.UNKNOWN
        self.usage: dict[str, Any] | None = None
        self.usage_final = False
        self.evidence: dict[str, dict[str, Any]] = {}
        self.statements: list[tuple[int, str | None, str | None]] = []
        self.disagreements: list[str] = []
        self.failed = False
        self.whole = False
        self.marker: int | None = None
        self.ids: dict[str, str] = {}
        self.in_progress_us: int | None = None
        self.steps: dict[str, dict[str, Any]] = {}
        self.messages = Messages()
        self.calls = Calls()

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
            self.calls.delta(position, elapsed_us, value)
            return True
        error = error_of(value) if name in ("error", "message") else None
        if error is not None or name == "error":
            self.error(position, error or {})
            return True
        kind = value.get("object") if isinstance(value, dict) else None
        if kind == "thread.run" or (kind is None and name.startswith(_RUN_EVENT) and ".step." not in name):
            self._statement(position, elapsed_us, name, value)
        elif kind == "thread.run.step" or (kind is None and name.startswith("thread.run.step.")):
            self._step(position, elapsed_us, value)
        elif kind == "thread.message" or (kind is None and name.startswith("thread.message.")):
            if value.get("role", "assistant") == "assistant":
                self._names(value)
                self.messages.whole(position, elapsed_us, value)
        elif kind == "thread" or name == "thread.created":
            self._name("thread_id", value["id"])
        else:
            return False
        return name.startswith("thread.") or name == "message"

    def document(self, answer: Answer) -> None:
        """A JSON answer: a Run, its steps, one step, or an error."""
        value, position = answer.json(), answer.body_position or 0
        self.whole = value is not None or answer.refused
        error, kind = error_of(value), dig(value, "object")
        if error is not None or answer.refused:
            self.error(position, error or {})
        elif kind == "thread.run" or (kind is None and string(dig(value, "status"))):
            self._statement(position, None, None, value)
        elif kind == "thread.run.step":
            self._step(position, None, value)
        elif kind == "list":
            for step in value["data"]:
                if dig(step, "object") == "thread.run.step":
                    self._step(position, None, step)

    def error(self, position: int, error: Mapping[str, str]) -> None:
        """The server ended the exchange with an error, whatever that looks like."""
        self.failed = True
        self.evidence["error"] = {**error, "position": position}
        self._state(Status.FAILED)
        self.evidence["status"] = {"event": "error", "position": position}

    # -- runs ---------------------------------------------------------------------------------------------------------

    def _statement(self, position: int, elapsed_us: int | None, name: str | None, value: dict[str, Any]) -> None:
        """A Run object, under an event's name or (None) as the whole answer."""
        event = name.removeprefix(_RUN_EVENT) if name and name.startswith(_RUN_EVENT) else None
        status = string(value.get("status"))
        if len(self.statements) < _MOST and (not self.statements or self.statements[-1][1:] != (event, status)):
            self.statements.append((position, event, status))
        if self.in_progress_us is None and status == "in_progress":
            self.in_progress_us = elapsed_us
        weighed = self._weigh(event, status)
        if self._state(weighed):
            self.run = value
            self.evidence["status"] = without_absent(event=event, value=status, position=position)
        elif not self.run:
            self.run = value
        if finality(weighed) > IN_PROGRESS or status not in _UNDER_WAY:
            self._details(position, value, final=finality(weighed) == _FINAL)

    def _details(self, position: int, value: dict[str, Any], *, final: bool) -> None:
        """What only a Run that has stopped has to say."""
        usage = value.get("usage")
        if isinstance(usage, dict) and (final or not self.usage_final):
            self.usage, self.usage_final = usage, final
            self.evidence["usage"] = {"value": usage, "position": position}
        reason = string(dig(value, "incomplete_details", "reason"))
        if reason is not None:
            self.evidence["reason"] = {"value": reason, "position": position}
        last_error = value.get("last_error")
        if isinstance(last_error, dict):
            self.evidence["error"] = {**(error_of({"error": last_error}) or {}), "position": position}
        required = value.get("required_action")
        calls = dig(required, str(dig(required, "type")), "tool_calls")
        if isinstance(calls, list):
            self.calls.wanted(calls)
            self.evidence["required_action"] = {"calls": len(calls), "position": position}

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
        if len(self.ids) == len(_IDS):
            return
        for what in _IDS:
            self._name(what, value.get(what))

    def odd_statements(self) -> list[tuple[int, str | None, str | None]] | None:
        """All statements, where one of them is worth a look: words that nobody knows, or that contradict each other."""
        contradict = not {"event_status", "order", "two_endings"}.isdisjoint(self.disagreements)
        unheard = any(
            (event is not None and event not in _EVENT_STATUS) or (status is not None and status not in _STATUS)
            for _, event, status in self.statements
        )
        return self.statements if contradict or unheard else None

    # -- steps --------------------------------------------------------------------------------------------------------

    def _step(self, position: int, elapsed_us: int | None, value: dict[str, Any]) -> None:
        step_id = str(value["id"])
        if step_id not in self.steps and len(self.steps) >= _MOST:
            return
        self._names(value)
        known = step_id in self.steps
        step = self.steps.setdefault(step_id, {"id": storable(step_id)})
        usage, last_error = value.get("usage"), value.get("last_error")
        error = (error_of({"error": last_error}) or {}) if last_error else {}
        status = string(value.get("status"))
        step.update(
            without_absent(
                type=string(value.get("type")),
                status=status,
                usage=usage if isinstance(usage, dict) else None,
                error=error.get("code") or error.get("type"),
                position=position,
            )
        )
        calls = dig(value, "step_details", "tool_calls")
        earlier = elapsed_us is not None and not known and status == "completed"
        for index, call in enumerate(calls if isinstance(calls, list) else ()):
            self.calls.whole(step_id, index, call, ended=status == "completed", earlier=earlier)

    def step_usage(self) -> dict[str, int]:
        """The sum of what the steps seen here used, for each count that all of those with a usage state."""
        usages = [step["usage"] for step in self.steps.values() if "usage" in step]
        counts = {name: [integer(usage.get(name)) for usage in usages] for name in COUNTS}
        return {
            name: sum(count for count in found if count is not None)
            for name, found in counts.items()
            if found and None not in found
        }

    def from_its_creation(self) -> bool:
        """Whether the run was created in this stream."""
        return bool(self.statements) and self.statements[0][1] == "created"

    def open_step(self) -> bool:
        """Whether a step that was seen to begin was not seen to end."""
        return any(step.get("status") in ("in_progress", "queued") for step in self.steps.values())
