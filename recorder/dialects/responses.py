"""Responses (API reference "Responses"): OpenAI, Azure, and servers that speak the same.

A stream ends with an event that carries the whole Response: completed, incomplete, failed or cancelled. There is no
end marker after it (some servers add one). Asking for tools leaves the status `completed`; only the output's items
tell. GET and cancel of a stored response continue its run; GET with `stream=true` goes on with a stream that broke
off, behind the event numbered `starting_after`.

Three modules: what was asked and what the signals amount to (this one), what was stated (`responses_stream`), what
was said (`responses_output`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

from recorder.dialects.asked import Limit, changes, outside
from recorder.dialects.base import (
    ODD,
    REASON_OF_STATUS,
    Answer,
    body_of,
    dig,
    digest,
    error_of,
    error_told,
    flags_of,
    integer,
    mapping,
    parse,
    path_of,
    query_of,
    query_pairs,
    reason_of_error,
    string,
    without_absent,
)
from recorder.dialects.models import is_deployment, same_model
from recorder.dialects.responses_stream import FINAL, Told
from recorder.dialects.usage import fills, tokens
from recorder.recording import Event, Reading, Recording, Request, Status, StopReason

__all__ = ["Responses"]

_PATH: Final = re.compile(r"/responses(?:/([^/]+)(?:/(cancel))?)?$")
_KEYS: Final = (b'"input"', b'"model"', b'"prompt"', b'"previous_response_id"', b'"conversation"')

#: Words that stand where a response's id would.
_NO_IDS: Final = frozenset({"compact", "input_tokens"})

#: `incomplete_details.reason`. `max_messages` has no neutral word; a steered response is followed by its successor.
_REASON: Final[Mapping[str, StopReason]] = {
    "max_output_tokens": StopReason.OUTPUT_LIMIT,
    "content_filter": StopReason.CONTENT_FILTER,
    "steered": StopReason.PAUSED,
}

#: API reference; metadata has its own rule.
_LIMITS: Final[Mapping[str, Limit]] = {
    "max_output_tokens": Limit(low=16),
    "temperature": Limit(0, 2),
    "top_p": Limit(0, 1),
    "top_logprobs": Limit(0, 20),
    "safety_identifier": Limit(high=128, of="text"),
}

_CONTENTS: Final = frozenset({"input", "instructions", "prompt", "tools"})

#: Parameters that a Response repeats.
_ECHOED: Final = (
    *("background", "conversation", "instructions", "max_output_tokens", "max_tool_calls", "metadata", "model"),
    *("parallel_tool_calls", "previous_response_id", "prompt", "prompt_cache_key", "prompt_cache_retention"),
    *("reasoning", "safety_identifier", "service_tier", "store", "temperature", "text", "tool_choice", "tools"),
    *("top_logprobs", "top_p", "truncation", "user"),
)

#: Of those, what is worth telling where the request left it open: the others are content, or have a column.
_OPEN: Final = frozenset(_ECHOED) - {
    *("conversation", "max_output_tokens", "metadata", "model", "previous_response_id", "service_tier", "truncation"),
    *_CONTENTS,
}

#: As many texts are named that differ from their pieces.
_MOST: Final = 16

#: `fast` is served as `priority` (API reference); `auto` leaves it to the project.
_TIERS: Final[Mapping[str, str]] = {"fast": "priority"}


class Responses:
    """See the module."""

    name: Final = "responses"
    contents: Final = _CONTENTS

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
        return _hot(request, body_of(request))

    def asked(self, request: Request) -> dict[str, Any]:
        """As `Dialect.asked`; a query's `include[]` is `include`, its flags and numbers are JSON's."""
        return {**_queried(request), **body_of(request)}

    def read(self, recording: Recording, events: Iterable[Event]) -> Reading:
        """As `Dialect.read`."""
        request = recording.request
        asked = self.asked(request)
        answer = Answer(events)
        told = Told(answer, integer(asked.get("starting_after")))
        for position, elapsed_us, name, data in answer.frames():
            if data.startswith(b"[DONE]"):
                continue
            try:
                told.take(position, elapsed_us, name, parse(data))
            except ODD:
                answer.broken(position)
        if not answer.streamed or (answer.refused and told.status is None):
            try:
                told.document()
            except ODD:
                answer.broken(answer.body_position or 0)
        return _Outcome(request, asked, told, answer).reading()


# -- the request ------------------------------------------------------------------------------------------------------


def _hot(request: Request, body: Mapping[str, Any]) -> dict[str, Any]:
    stream = {"true": True, "false": False}.get(query_of(request).get("stream", ""), body.get("stream"))
    return without_absent(
        model=string(body.get("model")),
        max_completion_tokens=integer(body.get("max_output_tokens")),
        truncation_strategy=string(body.get("truncation")),
        stream=stream if isinstance(stream, bool) else None,
    )


def _queried(request: Request) -> dict[str, Any]:
    """The parameters in the URL. A name in brackets, or one that comes more than once, is a list."""
    told: dict[str, Any] = {}
    lists: dict[str, list[str]] = {}
    for name, value in query_pairs(request):
        plain = name.removesuffix("[]")
        lists.setdefault(plain, []).append(value)
        told[plain] = lists[plain] if name != plain or len(lists[plain]) > 1 else _typed(plain, value)
    return told


def _typed(name: str, value: str) -> bool | int | str:
    """A flag or a number of the API reference, as JSON would have it; a text where it is none."""
    if name in ("stream", "include_obfuscation"):
        return {"true": True, "false": False}.get(value, value)
    if name == "starting_after" and value.isascii() and value.isdigit() and len(value) < 20:
        return int(value)
    return value


def _action(request: Request, asked: Mapping[str, Any]) -> tuple[str, str | None]:
    """What the request does, and the response that it names."""
    found = _PATH.search(path_of(request))
    response_id = string(found[1]) if found else None
    if found is None or response_id is None:
        return "create", None
    if found[2] is not None:
        return "cancel", response_id
    return ("resume" if asked.get("stream") is True else "retrieve"), response_id


def _id_of(conversation: object) -> str | None:
    """A conversation is named by its id, or by an object that has it."""
    return string(conversation) or string(dig(conversation, "id"))


# -- what was stated, weighed -----------------------------------------------------------------------------------------


class _Outcome:
    """The request and all that was told, for one reading."""

    def __init__(self, request: Request, asked: Mapping[str, Any], told: Told, answer: Answer) -> None:
        self.asked = asked
        self.deployed = is_deployment(request)
        self.unknown_body = request.body is None and request.method.upper() == "POST"
        self.hot = _hot(request, asked)
        self.told = told
        self.answer = answer
        self.response = told.response
        self.action, self.response_id = _action(request, asked)
        self.streamed_end = told.closed or told.error is not None
        final = told.closed if answer.streamed else told.status in FINAL
        told.output.settle(
            self.response.get("output") if final or not answer.streamed else None,
            told.position,
            completed=told.status == Status.COMPLETED,
        )
        self.error = told.error or error_of(self.response) or {}
        self.refusals = told.output.refusals()
        self.text = told.output.text()
        self.waiting = told.output.unanswered()
        self.usage = self.response.get("usage")
        self.cap = integer(self.response.get("max_output_tokens"))
        if self.cap is None:
            self.cap = self.hot.get("max_completion_tokens")
        self.figures, self.flags = tokens(
            input=integer(dig(self.usage, "input_tokens")),
            output=integer(dig(self.usage, "output_tokens")),
            total=integer(dig(self.usage, "total_tokens")),
            cached=integer(dig(self.usage, "input_tokens_details", "cached_tokens")),
            written=integer(dig(self.usage, "input_tokens_details", "cache_write_tokens")),
            reasoning=integer(dig(self.usage, "output_tokens_details", "reasoning_tokens")),
            final=final,
        )
        self.at_cap = fills(self.figures.get("output_tokens"), self.cap)
        self.contradictions = [] if asked.get("starting_after") else told.output.contradictions()

    def status(self) -> str:
        """What became of it, by all signals: the worse one counts, and good news only where nothing denies it."""
        told = self.told
        said = told.status or Status.UNKNOWN
        if told.error is not None:
            if self.response_id and self.answer.refused:
                return Status.UNKNOWN  # the request failed: the response did not, or not for that
            if said in FINAL and said != Status.FAILED:
                told.disagree("two_endings")
            return Status.FAILED
        if said != Status.COMPLETED:
            return said
        if self.error:
            told.disagree("error")
            return Status.FAILED
        if self._raw_reason() is not None:
            told.disagree("details")
            return Status.INCOMPLETE
        if told.output.cut():
            told.disagree("item")
            return Status.INCOMPLETE
        return Status.REQUIRES_ACTION if self.waiting else Status.COMPLETED

    def reason(self, status: str) -> tuple[str | None, str | None]:
        """Why it stopped: neutral, and as it was said."""
        if status == Status.INCOMPLETE:
            raw = self._raw_reason()
            if raw is None and self.at_cap:
                return StopReason.OUTPUT_LIMIT, None
            return _REASON.get(raw or ""), raw
        if status == Status.FAILED:
            return reason_of_error(self.error), self.error.get("code") or self.error.get("type")
        if status == Status.COMPLETED and self.refusals and not self.text:
            return StopReason.REFUSAL, None
        return REASON_OF_STATUS.get(status), None

    def _raw_reason(self) -> str | None:
        return string(dig(self.response, "incomplete_details", "reason"))

    def reading(self) -> Reading:
        """All of it."""
        told, response, asked, answer = self.told, self.response, self.asked, self.answer
        status = self.status()
        reason, raw = self.reason(status)
        spoken = told.output.spoken()
        if self.contradictions:
            told.disagree("text")
        facts = self._facts(status)
        answer.flags |= self.flags | flags_of(
            facts,
            sequence_gap=told.gaps,
            output_cap_reached=self.at_cap,
            text_differs=self.contradictions,
            tool_call_open=any(not one.ended for one in spoken if one.kind in ("arguments", "input")),
        )
        return Reading(
            **self._identity(),
            status=status,
            stop_reason=reason,
            stop_reason_raw=raw,
            complete=self.streamed_end if answer.streamed else told.whole,
            model=string(response.get("model")) or self.hot.get("model"),
            service_tier=string(response.get("service_tier")),
            parameters=None if self.unknown_body else asked,
            max_completion_tokens=self.cap,
            truncation_strategy=string(response.get("truncation")) or self.hot.get("truncation_strategy"),
            response_format=string(dig(response, "text", "format", "type"))
            or string(dig(asked, "text", "format", "type")),
            **self.figures,
            ttft_us=told.output.first_us,
            ttft_visible_us=told.output.visible_us,
            text=self.text,
            metadata=mapping(response.get("metadata", asked.get("metadata"))),
            flags=answer.judge(asked=self.hot.get("stream") is True, terminal=self.streamed_end, marker=True),
            facts=facts,
            spoken=spoken,
        )

    def _identity(self) -> dict[str, Any]:
        """The fields of the reading that say which response it is, and after which."""
        response, asked = self.response, self.asked
        return {
            "dialect": Responses.name,
            "action": self.action,
            "provider_run_id": string(response.get("id")) or self.response_id,
            "opens_run": self.response_id is None,
            "continues": self.response_id,
            "previous_response_id": string(response.get("previous_response_id"))
            or string(asked.get("previous_response_id")),
            "thread_id": _id_of(response.get("conversation")) or _id_of(asked.get("conversation")),
        }

    # -- facts --------------------------------------------------------------------------------------------------------

    def _compared(self) -> dict[str, Any]:
        """What lies outside the limits, and what came back otherwise than it was asked for."""
        wanted, told = _comparable(self.asked, self.response, final=self.told.status in FINAL)
        if self.deployed:
            told.pop("model", None)
        beyond, differs = changes(wanted, told, told, _CONTENTS)
        echoed = {name: said for name, value in beyond.items() if (said := _said(value)) not in _NOTHING}
        return {"limits": outside(self.asked, _LIMITS), "echoed": echoed, "echo_differs": differs}

    def _facts(self, status: str) -> dict[str, Any]:
        """What has no column. All that is content stands under `content`, so that it can be left out in one piece."""
        told, response = self.told, self.response
        error, message = self._error_told()
        instructions = string(response.get("instructions")) or string(self.asked.get("instructions"))
        content = without_absent(
            tool_calls=told.output.calls() or None,
            refusals=[text for text, _ in self.refusals] or None,
            error_message=message,
        )
        facts = {
            **self._compared(),
            "text_differs": [list(key) for key in self.contradictions[:_MOST]],
            "evidence": self._evidence(status, error),
            "disagreements": told.disagreements,
            "steps": told.output.steps(),
            "sequence_gaps": told.gaps,
            "last_sequence_number": None if self.streamed_end else told.last_number,
            "prompt_id": string(dig(response, "prompt", "id")) or string(dig(self.asked, "prompt", "id")),
            "instructions_hash": digest(instructions),
            "content": content,
        }
        return {name: value for name, value in facts.items() if value not in _NOTHING} | self.answer.facts()

    def _error_told(self) -> tuple[dict[str, Any] | None, str | None]:
        """An error of the exchange, else the Response's own, as `error_told`."""
        if self.told.error is not None:
            return error_told(self.error, self.told.error_position)
        return error_told(self.error or None, self.told.position)

    def _evidence(self, status: str, error: dict[str, Any] | None) -> dict[str, Any]:
        """Raw values by what they speak of, each with the position that it came from."""
        told, at = self.told, self.told.position
        found: dict[str, Any] = {}
        event = told.event.removeprefix("response.") if told.event else None
        value = string(self.response.get("status"))
        if event or value:
            found["status"] = without_absent(event=event, value=value, position=at)
        if reason := self._raw_reason():
            found["reason"] = {"value": reason, "position": at}
        if isinstance(self.usage, dict):
            found["usage"] = {"value": self.usage, "position": at}
        if error is not None:
            found["error"] = error
        if self.refusals and self.refusals[0][1] is not None:
            found["refusal"] = {"position": self.refusals[0][1]}
        if status == Status.REQUIRES_ACTION:
            found["required_action"] = {"calls": self.waiting, "position": at}
        return found


# -- asked and echoed -------------------------------------------------------------------------------------------------


def _comparable(
    asked: Mapping[str, Any], echoed: Mapping[str, Any], *, final: bool
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Both sides so that a difference between them is one: servers fill in what an object left open, name the
    snapshot of a model, and decide on the tier last."""
    told = {name: echoed[name] for name in _ECHOED if name in echoed}
    wanted = {name: asked[name] for name in told if asked.get(name) is not None}
    told = {name: value for name, value in told.items() if name in wanted or (value is not None and name in _OPEN)}
    for name, value in wanted.items():
        told[name] = _within(value, told[name])
    model, served = wanted.get("model"), told.get("model")
    if isinstance(model, str) and isinstance(served, str) and same_model(model, served):
        told["model"] = model
    tier = wanted.get("service_tier")
    if tier is not None and (tier == "auto" or not final):
        told.pop("service_tier", None)
    elif isinstance(tier, str):
        wanted["service_tier"] = _TIERS.get(tier, tier)
    if "conversation" in wanted:
        wanted["conversation"], told["conversation"] = (_id_of(side.get("conversation")) for side in (wanted, told))
    if isinstance(wanted.get("tools"), list) and isinstance(told.get("tools"), list):
        wanted["tools"], told["tools"] = _tool_names(asked["tools"]), _tool_names(echoed["tools"])
    return wanted, told


def _within(asked: Any, echoed: Any) -> Any:
    """The echo without what it adds to an object: the members that were not asked for, or left open as `auto`."""
    if isinstance(asked, dict) and isinstance(echoed, dict):
        return {
            name: value if value == "auto" else _within(value, echoed[name])
            for name, value in asked.items()
            if name in echoed
        }
    return echoed


_NOTHING: Final[tuple[Any, ...]] = (None, [], {})


def _said(value: Any) -> Any:
    """An object without the members that say nothing; the format of the text has a column where it is all there is."""
    if not isinstance(value, dict):
        return value
    rest = {name: _said(member) for name, member in value.items() if member is not None}
    form = rest.get("format")
    if isinstance(form, dict) and form.keys() == {"type"}:
        del rest["format"]
    return rest


def _tool_names(tools: list[Any]) -> list[str]:
    """Tools by type and name: servers reorder them, complete their schemas and take secrets out."""
    return sorted(f"{dig(tool, 'type')} {dig(tool, 'name') or dig(tool, 'server_label') or ''}" for tool in tools)
