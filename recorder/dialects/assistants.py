"""The Assistants protocol (API reference "Runs"): OpenAI, Azure, azure-ai-agents, DashScope.

One provider run is one to many exchanges: the POST that creates it, a `submit_tool_outputs` for each round of tool
calls, polls, a cancel. Each is read alone here; which of them make up a run is not this module's business. What is
said to a thread outside a run (a message added) is no run, and linked by its `thread_id`.

How a run ended is said in up to five places: the event's name, the run's status, its `incomplete_details`, the
message's status, and the usage beside the caps. Recorded streams prove that they contradict each other (an event
`thread.run.completed`, status `incomplete`, reason `max_prompt_tokens`, while the completion cap was the one reached).
So the rules are: good news counts only where nothing denies it; a stated reason stands unless the usage refutes it;
every raw value is kept with the position it came from; and a contradiction is flagged as `disagreement`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from recorder.dialects.assistants_asked import CAPS, CONTENTS, asked, broken_limits, echo, format_of, hot, strategy
from recorder.dialects.assistants_routes import OPENERS, Route, route
from recorder.dialects.assistants_run import COUNTS, IN_PROGRESS, Told, finality
from recorder.dialects.assistants_said import Said
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
    reason_of_error,
    string,
    without_absent,
)
from recorder.dialects.usage import fills, tokens
from recorder.recording import Event, Reading, Recording, Request, Status, StopReason, UsageQuality

__all__ = ["Assistants", "Route", "route"]

_MESSAGE_DELTA: Final = "thread.message.delta"


class Assistants:
    """See the module."""

    name: Final = "assistants"
    contents: Final = CONTENTS

    def recognises(self, request: Request) -> bool:
        """Every endpoint of runs, and of the threads and messages that they work on; not those of assistants."""
        return route(request) is not None

    def parameters(self, request: Request) -> dict[str, Any]:
        """As `Dialect.parameters`. DashScope's `max_tokens` counts as the completion cap."""
        return hot(route(request), body_of(request))

    def asked(self, request: Request) -> dict[str, Any]:
        """As `Dialect.asked`."""
        return asked(request)

    def read(self, recording: Recording, events: Iterable[Event]) -> Reading:
        """As `Dialect.read`. A stream and the JSON of the same Run give the same status, reason, usage and caps."""
        where = route(recording.request) or Route("create")
        told = Told()
        answer = Answer(events)
        message_delta = told.messages.delta
        for position, elapsed_us, name, data in answer.frames():
            try:
                if name == _MESSAGE_DELTA:
                    message_delta(position, elapsed_us, parse(data))  # what a stream is full of
                elif name == "done" or data.startswith(b"[DONE]"):
                    told.marker = position
                elif not told.event(position, elapsed_us, name, parse(data)):
                    answer.unheard(name)
            except ODD:
                answer.broken(position)
                if name == "error":
                    told.error(position, {})
        if not where.is_run:
            return _linked(recording.request, where, answer)
        if not answer.streamed:
            try:
                told.document(answer)
            except ODD:
                answer.broken(answer.body_position or 0)
        return _reading(recording.request, where, told, answer)


# -- exchanges that are no run ----------------------------------------------------------------------------------------


def _linked(request: Request, where: Route, answer: Answer) -> Reading:
    """What is said to a thread, or asked of it, outside a run."""
    value = answer.json()
    error, message = error_told(error_of(value), answer.body_position)
    kind = dig(value, "object")
    parameters = asked(request)
    listed = dig(value, "data")
    facts = without_absent(
        evidence={"error": error} if error else None,
        messages=[_message_of(value)] if kind == "thread.message" and not error else None,
        listed=len(listed) if isinstance(listed, list) else None,
        limits=broken_limits(parameters) or None,
        content={"error_message": message} if message else None,
        **answer.facts(),
    )
    answer.flags |= flags_of(facts)
    return Reading(
        dialect=Assistants.name,
        action=where.action,
        is_run=False,
        complete=value is not None or answer.refused,
        thread_id=string(where.thread_id)
        or string(dig(value, "thread_id"))
        or (string(dig(value, "id")) if kind == "thread" else None),
        parameters=None if request.body is None else parameters,
        metadata=mapping(_either(dig(value, "metadata"), parameters.get("metadata"))),
        flags=answer.judge(asked=False, terminal=True, marker=True),
        facts=facts,
    )


def _message_of(value: Any) -> dict[str, Any]:
    return without_absent(**{name: string(value.get(name)) for name in ("id", "role", "status", "run_id")})


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

_Caps = Mapping[str, int | None]


def _reading(request: Request, where: Route, told: Told, answer: Answer) -> Reading:
    """All that was said, weighed."""
    parameters, run = asked(request), told.run
    sent = hot(where, parameters)
    caps = {cap: _either(integer(run.get(cap)), sent.get(cap)) for cap in CAPS}
    reached = [cap for cap, count in CAPS.items() if fills(integer(dig(told.usage, count)), caps[cap])]
    status = _status(told, continues=where.run_id is not None, refused=answer.refused)
    reason, raw = _reason(told, status, caps, reached)
    usage, odd = _usage(told)
    said = told.messages.told()
    differs = answer.streamed and said.differ
    _compare(told, status, answer, text=differs)
    terminal = told.failed or finality(told.status) > IN_PROGRESS
    facts = _facts(where, parameters, told, said, answer)
    answer.flags |= odd | flags_of(
        facts,
        input_cap_reached="max_prompt_tokens" in reached,
        output_cap_reached="max_completion_tokens" in reached,
        step_usage_sum=_steps_contradict(told, answer.flags),
        text_differs=differs,
        tool_call_open=answer.streamed and told.calls.open(),
    )
    marked = told.marker is not None or told.failed
    firsts = [first for first in (told.messages.first_us, told.calls.first_us) if first is not None]
    return Reading(
        **_identity(where, told, sent),
        **_worked_with(run, parameters, sent),
        **caps,
        **usage,
        status=status,
        stop_reason=reason,
        stop_reason_raw=raw,
        complete=terminal if answer.streamed else told.whole,
        parameters=None if request.body is None else parameters,
        ttft_us=min(firsts, default=None),
        ttft_visible_us=told.messages.first_us,
        text=said.text,
        flags=answer.judge(asked=sent.get("stream") is True, terminal=terminal, marker=marked),
        facts=facts,
        spoken=(*said.spoken, *told.calls.spoken()),
    )


def _identity(where: Route, told: Told, sent: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of the reading that say which run it is, of what: the Run's word first, then steps' and messages'."""
    run, run_id = told.run, string(where.run_id)
    return {
        "dialect": Assistants.name,
        "action": where.action,
        "provider_run_id": string(run.get("id")) or run_id or told.ids.get("run_id"),
        "opens_run": where.run_id is None,
        "continues": run_id,
        "assistant_id": string(run.get("assistant_id")) or told.ids.get("assistant_id") or sent.get("assistant_id"),
        "thread_id": string(run.get("thread_id")) or told.ids.get("thread_id") or sent.get("thread_id"),
    }


def _worked_with(run: Mapping[str, Any], parameters: Mapping[str, Any], sent: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of the reading that say what the run worked with: the Run's word first, then the request's."""
    return {
        "model": string(run.get("model")) or sent.get("model"),
        "truncation_strategy": strategy(run.get("truncation_strategy")) or sent.get("truncation_strategy"),
        "response_format": format_of(run.get("response_format"), parameters.get("response_format")),
        "metadata": mapping(run.get("metadata", parameters.get("metadata"))),
    }


def _status(told: Told, *, continues: bool, refused: bool) -> str:
    """The status that was stated, but `completed` only where neither the Run's details nor a message deny it."""
    if continues and refused:
        return Status.UNKNOWN  # the exchange failed; about the run it says nothing
    if told.status != Status.COMPLETED:
        return told.status
    denials = {
        "incomplete_details": dig(told.run, "incomplete_details") is not None,
        "message": told.messages.incomplete(),
    }
    for what, denied in denials.items():
        if denied:
            told.disagree(what)
    return Status.INCOMPLETE if any(denials.values()) else Status.COMPLETED


def _reason(told: Told, status: str, caps: _Caps, reached: list[str]) -> tuple[str | None, str | None]:
    """The neutral reason and the raw one."""
    message = told.messages.reason()
    if status == Status.INCOMPLETE:
        raw = _either(dig(told.evidence, "reason", "value"), message)
        return _limit(told, raw, caps, reached), raw
    if status == Status.FAILED:
        error = told.evidence.get("error", {})
        return reason_of_error(error), error.get("code") or error.get("type")
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


def _either(one: Any, other: Any) -> Any:
    """The first that is known."""
    return other if one is None else one


def _compare(told: Told, status: str, answer: Answer, *, text: bool) -> None:
    """Notes where what came in pieces is not what was declared complete, and what completed without its parts."""
    if text:
        told.disagree("text")
    if answer.streamed and told.calls.differ():
        told.disagree("arguments")
    if status == Status.COMPLETED and told.messages.open():
        told.disagree("open_message")
    if status == Status.COMPLETED and told.open_step():
        told.disagree("open_step")


# -- usage ------------------------------------------------------------------------------------------------------------


def _usage(told: Told) -> tuple[dict[str, Any], set[str]]:
    """The token fields. Figures of steps alone leave a run's unknown, but say that there are some."""
    told_of = told.usage
    fields, flags = tokens(
        input=integer(dig(told_of, "prompt_tokens")),
        output=integer(dig(told_of, "completion_tokens")),
        total=integer(dig(told_of, "total_tokens")),
        cached=_detail(told_of, "cached_tokens", "prompt_token_details", "prompt_tokens_details"),
        reasoning=_detail(told_of, "reasoning_tokens", "completion_tokens_details", "completion_token_details"),
        final=told.usage_final,
    )
    if fields["usage_quality"] == UsageQuality.MISSING and told.step_usage():
        fields["usage_quality"] = UsageQuality.PARTIAL.value
    return fields, flags


def _detail(usage: dict[str, Any] | None, name: str, *places: str) -> int | None:
    """A count of the usage's details. The wire says `prompt_token_details`; the chat spelling is read as well."""
    return next((count for count in (integer(dig(usage, place, name)) for place in places) if count is not None), None)


def _steps_contradict(told: Told, flags: set[str]) -> bool:
    """Whether the steps' usage adds up to something else than the run's.

    Steps that were not seen here may make up for what is missing: those of earlier exchanges of the run, of events
    that were lost, and steps whose own usage is not known. Too much is always a contradiction.
    """
    if not told.usage_final or told.usage is None:
        return False
    lost = not flags.isdisjoint({"payload_missing", "oversize_frame", "malformed_json"})
    all_seen = told.from_its_creation() and not lost and all("usage" in step for step in told.steps.values())
    for name, summed in told.step_usage().items():
        whole = integer(told.usage.get(name))
        if whole is not None and (summed > whole or (all_seen and summed < whole)):
            return True
    return False


# -- the facts --------------------------------------------------------------------------------------------------------


def _facts(where: Route, parameters: dict[str, Any], told: Told, said: Said, answer: Answer) -> dict[str, Any]:
    """What has no column. All that is content stands under `content`, so that it can be left out in one piece."""
    error, message = error_told(told.evidence.get("error"), None)
    evidence = told.evidence | without_absent(
        error=error, end_marker={"position": told.marker} if told.marker is not None else None
    )
    content = without_absent(
        tool_calls=told.calls.facts() or None, refusals=said.refusals or None, error_message=message
    )
    steps = told.step_usage() if told.usage is None else {}
    return without_absent(
        evidence=evidence or None,
        statements=told.odd_statements(),
        disagreements=told.disagreements or None,
        messages=told.messages.unfinished() or None,
        steps=[_briefly(step) for step in told.steps.values()] or None,
        step_usage={name: steps[name] for name in COUNTS if name in steps} or None,
        limits=broken_limits(parameters) or None,
        instructions_hash=digest(string(told.run.get("instructions"))),
        in_progress_us=told.in_progress_us,
        content=content or None,
        **(echo(parameters, told.run) if where.action in OPENERS else {}),
        **answer.facts(),
    )


def _briefly(step: dict[str, Any]) -> dict[str, Any]:
    """A step without what its usage says only by way of zeros; the event at its position has all."""
    if "usage" not in step:
        return step
    told = {name: count for name, count in step["usage"].items() if not isinstance(count, dict) or any(count.values())}
    return {**step, "usage": told}
