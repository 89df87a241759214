"""One exchange of the Responses protocol as it comes in: its events, or the JSON that came instead.

Gathers what was stated, with positions; what that amounts to is weighed afterwards. Knows nothing of the request but
where a resumed stream begins.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from recorder.dialects.base import Answer, dig, error_of, integer, is_token, string
from recorder.dialects.responses_output import DELTAS, DONES, PARTS, UNLISTED, Output
from recorder.recording import Status

__all__ = ["ENDINGS", "EVENTS", "FINAL", "STATUSES", "Told"]

#: `Response.status` (API reference) in neutral words.
STATUSES: Final[Mapping[str, Status]] = {
    "queued": Status.IN_PROGRESS,
    "in_progress": Status.IN_PROGRESS,
    "completed": Status.COMPLETED,
    "incomplete": Status.INCOMPLETE,
    "failed": Status.FAILED,
    "cancelled": Status.CANCELLED,
}

#: What each event of a Response's life announces.
_ANNOUNCED: Final[Mapping[str, Status]] = {
    "response.created": Status.IN_PROGRESS,
    "response.queued": Status.IN_PROGRESS,
    "response.in_progress": Status.IN_PROGRESS,
    "response.completed": Status.COMPLETED,
    "response.incomplete": Status.INCOMPLETE,
    "response.failed": Status.FAILED,
    "response.cancelled": Status.CANCELLED,
}

FINAL: Final = frozenset({Status.COMPLETED, Status.INCOMPLETE, Status.FAILED, Status.CANCELLED})

#: Events that end a stream. `response.cancelled` is in no API reference; a status of that name is.
ENDINGS: Final = frozenset(name for name, status in _ANNOUNCED.items() if status in FINAL)

#: Of two statements that contradict each other the worse counts: good news bears no denial.
_RANK: Final[Mapping[Status, int]] = {
    Status.COMPLETED: 0,
    Status.IN_PROGRESS: 1,
    Status.INCOMPLETE: 2,
    Status.CANCELLED: 3,
    Status.FAILED: 4,
}

#: Every event that the API reference names (`openai.types.responses.ResponseStreamEvent`), and `keepalive`, which
#: OpenAI's servers send too.
EVENTS: Final = frozenset(
    {
        "error", "keepalive", "response.audio.delta", "response.audio.done", "response.audio.transcript.delta",
        "response.audio.transcript.done", "response.code_interpreter_call.completed",
        "response.code_interpreter_call.in_progress", "response.code_interpreter_call.interpreting",
        "response.code_interpreter_call_code.delta", "response.code_interpreter_call_code.done",
        "response.compaction.compacting", "response.completed", "response.content_part.added",
        "response.content_part.done", "response.created", "response.custom_tool_call_input.delta",
        "response.custom_tool_call_input.done", "response.failed", "response.file_search_call.completed",
        "response.file_search_call.in_progress", "response.file_search_call.searching",
        "response.function_call_arguments.delta", "response.function_call_arguments.done",
        "response.image_generation_call.completed", "response.image_generation_call.generating",
        "response.image_generation_call.in_progress", "response.image_generation_call.partial_image",
        "response.in_progress", "response.incomplete", "response.mcp_call.completed", "response.mcp_call.failed",
        "response.mcp_call.in_progress", "response.mcp_call_arguments.delta", "response.mcp_call_arguments.done",
        "response.mcp_list_tools.completed", "response.mcp_list_tools.failed", "response.mcp_list_tools.in_progress",
        "response.output_item.added", "response.output_item.done", "response.output_text.annotation.added",
        "response.output_text.delta", "response.output_text.done", "response.queued",
        "response.reasoning_summary_part.added", "response.reasoning_summary_part.done",
        "response.reasoning_summary_text.delta", "response.reasoning_summary_text.done",
        "response.reasoning_text.delta", "response.reasoning_text.done", "response.refusal.delta",
        "response.refusal.done", "response.shell_call_command.added", "response.shell_call_command.delta",
        "response.shell_call_command.done", "response.shell_call_output_content.delta",
        "response.shell_call_output_content.done", "response.web_search_call.completed",
        "response.web_search_call.in_progress", "response.web_search_call.searching",
    }
)  # fmt: skip

#: Irregular sequence numbers that are kept.
_MOST_GAPS: Final = 16


class Told:
    """What was stated so far.

    response, position, event: the Response told last, where, and by which event (None: a JSON answer).
    status: what those come to; None where nobody said one that is known. closed: its event ends a stream.
    error: of an `error` event or an error answer; {} where it says nothing.
    whole: a JSON answer came. gaps: [position, number expected, number found].
    """

    def __init__(self, answer: Answer, starting_after: int | None) -> None:
        self.response: dict[str, Any] = {}
        self.position = 0
        self.event: str | None = None
        self.status: Status | None = None
        self.closed = False
        self.error: dict[str, str] | None = None
        self.error_position: int | None = None
        self.output = Output()
        self._texts = self.output.texts
        self.whole = False
        self.disagreements: list[str] = []
        self.gaps: list[list[int]] = []
        self._next = 0
        self._answer = answer
        # Numbers begin at 0, on some servers at 1, and after a resumption behind the last one that was had.
        self._first_number = max(1, (starting_after or 0) + 1)

    def disagree(self, what: str) -> None:
        """Two signals contradict each other."""
        if what not in self.disagreements:
            self.disagreements.append(what)

    @property
    def last_number(self) -> int | None:
        """The sequence number that came last; None where none came."""
        return self._next - 1 if self._next else None

    # -- a stream -----------------------------------------------------------------------------------------------------

    def take(self, position: int, elapsed_us: int, name: str, value: dict[str, Any]) -> None:
        """Any event. Its type is in the payload too, which counts where the event's own name is none of these."""
        number = value.get("sequence_number")
        if number == self._next:
            self._next += 1
        elif number is not None:
            self._irregular(position, number)
        place = DELTAS.get(name)
        if place is None:
            self._named(position, elapsed_us, name, value)
        else:
            self._piece(place, value, position, elapsed_us)

    def _piece(self, place: tuple[str, str], value: dict[str, Any], position: int, elapsed_us: int) -> None:
        piece = value["delta"]
        if piece and isinstance(piece, str):
            sort, field = place
            self._texts.add((sort, value.get("output_index"), value.get(field)), piece, position, elapsed_us)
            if self.output.visible_us is None:
                self.output.token(sort, elapsed_us)

    def _named(self, position: int, elapsed_us: int, name: str, value: dict[str, Any]) -> None:
        """An event whose own name says nothing, or that it is no piece of a text."""
        name = self._kind(name, value)
        place = DELTAS.get(name) or UNLISTED.get(name)
        if place is not None:
            self._piece(place, value, position, elapsed_us)
        else:
            self._other(position, elapsed_us, name, value)
        if name not in EVENTS:
            self._answer.unheard(name)

    def _kind(self, name: str, value: dict[str, Any]) -> str:
        told = value.get("type")
        if not isinstance(told, str) or told == name:
            return name
        if name in EVENTS:
            if told in EVENTS:
                self.disagree("event_type")
            return name
        return told if name == "message" or told in EVENTS else name

    def _irregular(self, position: int, number: object) -> None:
        """A number that is not the next: regular only where it is the first and nothing is missing before it."""
        found = integer(number)
        if found is None:
            return
        first = self._next == 0 and not self.gaps
        expected = self._first_number if first else self._next
        if (found > expected or not first) and len(self.gaps) < _MOST_GAPS:
            self.gaps.append([position, expected, found])
        self._next = found + 1

    def _other(self, position: int, elapsed_us: int, name: str, value: dict[str, Any]) -> None:
        """Any event but a piece of a text."""
        index = value.get("output_index")
        if name in DONES:
            sort, field, whole = DONES[name]
            self.output.end((sort, index, value.get(field)), value.get(whole), position, elapsed_us)
        elif name in ("response.output_item.added", "response.output_item.done"):
            self.output.item(index, value.get("item"), position, elapsed_us, done=name.endswith("done"))
        elif name in PARTS:
            among = PARTS[name]
            place = value.get("summary_index" if among == "summary" else "content_index")
            self.output.part((among, index, place), value.get("part"), position, elapsed_us)
        elif (name in _ANNOUNCED or name not in EVENTS) and isinstance(value.get("response"), dict):
            self._stated(position, name, value["response"])
        elif name == "error" or (name not in EVENTS and _is_error(name, value)):
            self.error, self.error_position = error_of(value) or {}, position
            if self.error.get("type") == "error":
                del self.error["type"]  # a flat one: that is the type of the event
        elif name.endswith(".delta") and is_token(value.get("delta")):
            self.output.token(None, elapsed_us)

    def _stated(self, position: int, event: str | None, response: dict[str, Any]) -> None:
        announced = _ANNOUNCED.get(event or "")
        stated = STATUSES.get(string(response.get("status")) or "")
        said = [status for status in (announced, stated) if status is not None]
        status = max(said, key=_RANK.__getitem__, default=None)
        if announced is not None and stated is not None and announced != stated:
            self.disagree("event_status")
        ends = event in ENDINGS or (announced is None and stated in FINAL)
        if self.closed:
            if not ends:
                if status is not None:
                    self.disagree("order")
                return  # a stream that says how it ended does not begin again
            if status != self.status:
                self.disagree("two_endings")
                if _rank(status) < _rank(self.status):
                    return
        if status is None and self.status is not None:
            return  # a word that nobody knows yet takes nothing back
        self.response, self.position, self.event, self.status = response, position, event, status
        self.closed = event is not None and ends

    # -- a JSON answer ------------------------------------------------------------------------------------------------

    def document(self) -> None:
        """A Response, or an error."""
        value = self._answer.json()
        self.whole = value is not None or self._answer.refused
        if dig(value, "object") == "response" or isinstance(dig(value, "output"), list):
            self._stated(self._answer.body_position or 0, None, value)
        elif error_of(value) is not None or self._answer.refused:
            self.error, self.error_position = error_of(value) or {}, self._answer.body_position


def _is_error(name: str, value: dict[str, Any]) -> bool:
    return error_of(value) is not None and (name == "response.error" or not name.startswith("response."))


def _rank(status: Status | None) -> int:
    return -1 if status is None else _RANK[status]
