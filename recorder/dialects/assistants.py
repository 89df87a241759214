"""The Assistants protocol (API reference "Runs"): OpenAI, Azure, azure-ai-agents, DashScope.

One provider run is one to many exchanges: the POST that creates it, a `submit_tool_outputs` for each round of tool
calls, polls, a cancel. Each is read alone here; which of them make up a run is not this module's business.

How a run ended is said in up to five places: the event's name, the run's status, its `incomplete_details`, the
message's status, and the usage beside the caps. Recorded streams prove that they contradict each other (an event
`thread.run.completed`, status `incomplete`, reason `max_prompt_tokens`, while the completion cap was the one reached).
So the rules are: good news counts only where nothing denies it; a stated reason stands unless the usage refutes it;
every raw value is kept with the position it came from; and a contradiction is flagged as `disagreement`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final, NamedTuple

from recorder.dialects.assistants_run import IN_PROGRESS, Told, finality
from recorder.dialects.base import (
    ODD,
    REASON_OF_STATUS,
    Answer,
    body_of,
    dig,
    digest,
    integer,
    parse,
    path_of,
    string,
    without_absent,
)
from recorder.recording import Event, Reading, Recording, Request, Status, StopReason, storable

__all__ = ["Assistants", "Route", "route"]

# -- the endpoints ----------------------------------------------------------------------------------------------------


class Route(NamedTuple):
    """Which endpoint of a run a request goes to, and the ids in its path."""

    action: str
    thread_id: str | None = None
    run_id: str | None = None


_CREATE_BOTH: Final = re.compile(r"/threads/runs$")
_RUN: Final = re.compile(r"/threads/([^/]+)/runs(?:/([^/]+)(?:/(submit_tool_outputs|cancel|steps)(?:/([^/]+))?)?)?$")

_OF_ONE_RUN: Final = {
    ("GET", None): "retrieve",
    ("POST", None): "modify",
    ("POST", "submit_tool_outputs"): "submit_tool_outputs",
    ("POST", "cancel"): "cancel",
    ("GET", "steps"): "steps",
}

#: LangGraph's servers have runs below threads too: these words stand where a run's id would.
_NO_RUN_IDS: Final = frozenset({"batch", "crons", "stream", "wait"})

#: And these keys tell its request to create a run from one of this protocol.
_FOREIGN_KEYS: Final = frozenset({"command", "config", "input", "stream_mode"})


def route(request: Request) -> Route | None:
    """The endpoint, by method and the end of the path; None where the request belongs to no run of this protocol.

    Creating and modifying a run also need a body that fits, unless it was not kept.
    """
    path = path_of(request)
    method = request.method.upper()
    if method == "POST" and _CREATE_BOTH.search(path):
        return Route("create_thread_and_run") if _creates(request) else None
    found = _RUN.search(path)
    if found is None or found[1] == "runs":
        return None
    thread_id, run_id, action, item = found.groups()
    if run_id is None:
        return Route("create", thread_id) if method == "POST" and _creates(request) else None
    name = _OF_ONE_RUN.get((method, action))
    if name is None or run_id in _NO_RUN_IDS or (item is not None and name != "steps"):
        return None
    return Route("step" if item else name, thread_id, run_id)


def _creates(request: Request) -> bool:
    if request.body is None:
        return True
    body = body_of(request)
    return ("assistant_id" in body or "agent_id" in body) and _FOREIGN_KEYS.isdisjoint(body)


# -- the dialect ------------------------------------------------------------------------------------------------------

_MESSAGE_DELTA: Final = "thread.message.delta"


class Assistants:
    """See the module."""

    name: Final = "assistants"

    def recognises(self, request: Request) -> bool:
        """Every endpoint that belongs to one run; not those of threads, messages and assistants."""
        return route(request) is not None

    def parameters(self, request: Request) -> dict[str, Any]:
        """As `Dialect.parameters`. DashScope's `max_tokens` counts as the completion cap."""
        return _parameters(route(request), body_of(request))

    def read(self, recording: Recording, events: Iterable[Event]) -> Reading:
        """As `Dialect.read`. A stream and the JSON of the same Run give the same status, reason, usage and caps."""
        told = Told()
        answer = Answer(events)
        for position, elapsed_us, name, data in answer.frames():
            try:
                if name == _MESSAGE_DELTA:
                    told.message_delta(elapsed_us, parse(data))  # what a stream is full of
                elif name == "done" or data.startswith(b"[DONE]"):
                    told.marker = position
                elif not told.event(position, elapsed_us, name, parse(data)):
                    answer.unheard(name)
            except ODD:
                answer.broken(position)
        if not answer.streamed:
            try:
                told.document(answer)
            except ODD:
                answer.broken(answer.body_position or 0)
        return _reading(recording.request, told, answer)


def _parameters(where: Route | None, body: dict[str, Any]) -> dict[str, Any]:
    stream = body.get("stream")
    completion = integer(body.get("max_completion_tokens"))
    return without_absent(
        model=string(body.get("model")),
        assistant_id=string(body.get("assistant_id")) or string(body.get("agent_id")),
        thread_id=string(where.thread_id) if where else None,
        max_prompt_tokens=integer(body.get("max_prompt_tokens")),
        max_completion_tokens=integer(body.get("max_tokens")) if completion is None else completion,
        truncation_strategy=_strategy(body.get("truncation_strategy")),
        stream=stream if isinstance(stream, bool) else None,
    )


def _strategy(value: object) -> str | None:
    """A truncation strategy as the column holds it: its type, or `last_messages:N`."""
    kind = string(dig(value, "type"))
    count = integer(dig(value, "last_messages"))
    return f"{kind}:{count}" if kind == "last_messages" and count is not None else kind


# -- the verdict ------------------------------------------------------------------------------------------------------

_REASON: Final[Mapping[str, StopReason]] = {
    "max_completion_tokens": StopReason.OUTPUT_LIMIT,
    "max_tokens": StopReason.OUTPUT_LIMIT,
    "max_prompt_tokens": StopReason.INPUT_LIMIT,
    "content_filter": StopReason.CONTENT_FILTER,
    "run_cancelled": StopReason.CANCELLED,
    "run_expired": StopReason.EXPIRED,
    "run_failed": StopReason.ERROR,
}

#: Cap -> the usage that fills it.
_FILLS: Final = {"max_prompt_tokens": "prompt_tokens", "max_completion_tokens": "completion_tokens"}

_Caps = Mapping[str, int | None]


def _reading(request: Request, told: Told, answer: Answer) -> Reading:
    """All that was said, weighed."""
    where, body = route(request) or Route("create"), body_of(request)
    asked, run = _parameters(where, body), told.run
    caps = {cap: _first(integer(run.get(cap)), asked.get(cap)) for cap in _FILLS}
    used = {cap: integer(dig(told.usage, count)) for cap, count in _FILLS.items()}
    reached = [cap for cap in _FILLS if _fills(used[cap], caps[cap])]
    status = _status(told, continues=where.run_id is not None, refused=answer.refused)
    reason, raw = _reason(told, status, caps, reached)
    text = told.text()  # may disagree too, so before the facts
    facts = _facts(where, asked, told, answer)
    terminal = told.failed or finality(told.status) > IN_PROGRESS
    ended = told.marker is not None or told.failed
    flags = answer.judge(asked=asked.get("stream") is True, terminal=terminal, marker=ended)
    found = {
        "disagreement": told.disagreements,
        "echo_differs": "echo_differs" in facts,
        "input_cap_reached": "max_prompt_tokens" in reached,
        "output_cap_reached": "max_completion_tokens" in reached,
    }
    metadata = run.get("metadata", body.get("metadata"))
    return Reading(
        dialect=Assistants.name,
        status=status,
        stop_reason=reason,
        stop_reason_raw=raw,
        complete=terminal if answer.streamed else told.whole,
        provider_run_id=string(run.get("id")) or string(where.run_id) or told.ids.get("run_id"),
        opens_run=where.run_id is None,
        continues=string(where.run_id),
        model=string(run.get("model")) or asked.get("model"),
        assistant_id=string(run.get("assistant_id")) or told.ids.get("assistant_id") or asked.get("assistant_id"),
        thread_id=string(run.get("thread_id")) or told.ids.get("thread_id") or asked.get("thread_id"),
        max_prompt_tokens=caps["max_prompt_tokens"],
        max_completion_tokens=caps["max_completion_tokens"],
        truncation_strategy=_strategy(run.get("truncation_strategy")) or asked.get("truncation_strategy"),
        input_tokens=used["max_prompt_tokens"],
        output_tokens=used["max_completion_tokens"],
        cached_tokens=_detail(told.usage, "cached_tokens", "prompt_token_details", "prompt_tokens_details"),
        reasoning_tokens=_detail(
            told.usage, "reasoning_tokens", "completion_tokens_details", "completion_token_details"
        ),
        total_tokens=integer(dig(told.usage, "total_tokens")),
        ttft_us=told.first_token_us,
        text=text,
        metadata=metadata if isinstance(metadata, dict) else None,
        flags=tuple(sorted({*flags, *(flag for flag, is_so in found.items() if is_so)})),
        facts=facts,
    )


def _status(told: Told, *, continues: bool, refused: bool) -> str:
    """The status that was stated, but `completed` only where neither the Run's details nor a message deny it."""
    if continues and refused:
        return Status.UNKNOWN  # the exchange failed; about the run it says nothing
    if told.status != Status.COMPLETED:
        return told.status
    denials = {
        "incomplete_details": dig(told.run, "incomplete_details") is not None,
        "message": any(message.get("status") == "incomplete" for message in told.messages.values()),
    }
    for what, denied in denials.items():
        if denied:
            told.disagree(what)
    return Status.INCOMPLETE if any(denials.values()) else Status.COMPLETED


def _reason(told: Told, status: str, caps: _Caps, reached: list[str]) -> tuple[str | None, str | None]:
    """The neutral reason and the raw one."""
    message = _first(*(message.get("reason") for message in told.messages.values()))
    if status == Status.INCOMPLETE:
        raw = _first(dig(told.evidence, "reason", "value"), message)
        return _limit(told, raw, caps, reached), raw
    if status == Status.FAILED:
        raw = _first(dig(told.evidence, "error", "code"), dig(told.evidence, "error", "type"))
        return StopReason.CONTENT_FILTER if raw == "content_filter" else StopReason.ERROR, raw
    return REASON_OF_STATUS.get(status), message if status in (Status.CANCELLED, Status.EXPIRED) else None


def _limit(told: Told, raw: str | None, caps: _Caps, reached: list[str]) -> str | None:
    """Which limit cut the run: the one stated, unless the usage shows that it was the other.

    Caps are "best effort", so usage may end short of the one that cut the run; only the other cap, reached, refutes.
    """
    if len(reached) == 1 and (raw is None or (caps.get(raw) is not None and raw != reached[0])):
        if raw is not None:
            told.disagree("usage")
        return _REASON[reached[0]]
    return _REASON.get(raw or "")


def _fills(used: int | None, cap: int | None) -> bool:
    return used is not None and cap is not None and used >= cap


def _first(*values: Any) -> Any:
    """The first that is known."""
    return next((value for value in values if value is not None), None)


def _detail(usage: dict[str, Any] | None, name: str, *places: str) -> int | None:
    """A count of the usage's details. The wire says `prompt_token_details`; the chat spelling is read as well."""
    count: int | None = _first(*(integer(dig(usage, place, name)) for place in places))
    return count


# -- the facts --------------------------------------------------------------------------------------------------------


def _facts(where: Route, asked: dict[str, Any], told: Told, answer: Answer) -> dict[str, Any]:
    """What has no column. All that is content stands under `content`, so that it can be left out in one piece."""
    evidence = dict(told.evidence)
    message = None
    if "error" in evidence:
        evidence["error"] = dict(evidence["error"])
        message = evidence["error"].pop("message", None)
    if told.marker is not None:
        evidence["end_marker"] = {"position": told.marker}
    instructions = string(told.run.get("instructions"))
    content = without_absent(
        tool_calls=told.tool_calls() or None, refusals=told.refusals() or None, error_message=message
    )
    messages = [
        {"id": storable(name), **{key: value for key, value in said.items() if key != "texts"}}
        for name, said in told.messages.items()
    ]
    return without_absent(
        action=where.action,
        evidence=evidence or None,
        statements=told.statements or None,
        disagreements=told.disagreements or None,
        messages=messages or None,
        steps=list(told.steps.values()) or None,
        echo_differs=_echo(asked, told.run) or None,
        instructions_hash=digest(instructions) if instructions else None,
        first_text_us=told.first_text_us,
        first_token_us=told.first_token_us,
        content=content or None,
        **answer.facts(),
    )


def _echo(asked: dict[str, Any], run: dict[str, Any]) -> dict[str, list[Any]]:
    """Parameters that came back as something else than was asked: [asked, echoed]."""
    echoed = {
        "model": string(run.get("model")),
        **{cap: integer(run.get(cap)) for cap in _FILLS},
        "truncation_strategy": _strategy(run.get("truncation_strategy")),
    }
    return {
        name: [asked[name], value]
        for name, value in echoed.items()
        if name in run and name in asked and value != asked[name]
    }
