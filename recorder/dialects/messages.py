"""Anthropic's Messages (API reference "Messages"), also as Vertex and Bedrock pass it on.

message_start, then content blocks, then message_delta with the stop reason, then message_stop, which is the end.
Input usage comes at the start, output usage is cumulative; a later figure replaces an earlier one and is never added.
`input_tokens` on the wire leaves out what the cache gave or took, so the neutral figure is the sum of the three; the
`output_tokens` of message_start are preliminary and never the neutral figure.
Exchanges never merge: each is a run of its own.

Here is what is asked and what the answer amounts to; what the answer says, piece by piece, is in `messages_answer`.
Bedrock's binary event streams are no Messages stream: `raw` has them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, Final
from urllib.parse import unquote

from recorder.dialects import usage
from recorder.dialects.asked import Limit, changes, outside
from recorder.dialects.base import (
    ODD,
    Answer,
    body_of,
    dig,
    digest,
    flags_of,
    integer,
    mapping,
    parse,
    path_of,
    query_of,
    string,
    without_absent,
)
from recorder.dialects.messages_answer import Told
from recorder.dialects.models import same_model
from recorder.recording import Event, Reading, Recording, Request, Status, StopReason

__all__ = ["Messages"]

_PATH: Final = re.compile(r"(?<!/threads)/messages$")
_THREAD: Final = re.compile(r"/threads/[^/]+/messages$")

#: Where the body has no model and the path has (Vertex AI `rawPredict`, Amazon Bedrock `InvokeModel`).
_ELSEWHERE: Final = re.compile(
    r"/anthropic/models/(?!count-tokens:)(?P<vertex>[^/:]+):(?P<method>streamRawPredict|rawPredict)$"
    r"|/model/(?P<bedrock>[^/]+)/invoke$"
)

#: stop_reason -> (status, stop reason)
_STOP: Final = {
    "end_turn": (Status.COMPLETED, StopReason.STOP),
    "stop_sequence": (Status.COMPLETED, StopReason.STOP),
    "tool_use": (Status.REQUIRES_ACTION, StopReason.TOOL_CALL),
    "max_tokens": (Status.INCOMPLETE, StopReason.OUTPUT_LIMIT),
    "model_context_window_exceeded": (Status.INCOMPLETE, StopReason.INPUT_LIMIT),
    "refusal": (Status.INCOMPLETE, StopReason.REFUSAL),
    "pause_turn": (Status.INCOMPLETE, StopReason.PAUSED),
    "compaction": (Status.INCOMPLETE, StopReason.PAUSED),
}

_BUDGET: Final = "thinking.budget_tokens"

#: API reference "Create a Message". `max_tokens` 0 fills the prompt cache and generates nothing.
_LIMITS: Final = {
    "max_tokens": Limit(low=0),
    "messages": Limit(high=100_000, of="list"),
    "temperature": Limit(0, 1),
    "top_k": Limit(low=0),
    "top_p": Limit(0, 1),
    _BUDGET: Limit(low=1024),
}

#: With it a budget is for all of a turn's thinking, and may exceed max_tokens ("Interleaved thinking").
_INTERLEAVED: Final = "interleaved-thinking"

#: What the usage echoes under the name of the parameter.
_ECHOED: Final = ("speed", "inference_geo")

#: What Bedrock puts around a model's name, a region and the vendor before it and a version after it; and the end of
#: an alias (`claude-x-0`).
_AROUND: Final = re.compile(r"^(?:.*/)?(?:[a-z-]+\.)?anthropic\.|-v\d+(?::\d+)?$|-0$", re.IGNORECASE)

#: The parts of a model's version: gateways put a dot between them, and the whole in another place of the name.
_PARTS: Final = re.compile(r"(?<!\d)(\d)-(\d)(?!\d)")


class Messages:
    """See the module."""

    name: Final = "messages"
    contents: Final = frozenset({"messages", "system", "tools", "mcp_servers"})

    def recognises(self, request: Request) -> bool:
        """`POST …/messages` with messages, not those of a thread; or a path of Vertex or Bedrock with such a body."""
        if request.method.upper() != "POST":
            return False
        path, body = path_of(request), request.body
        if _PATH.search(path) is not None and _THREAD.search(path) is None:
            return body is None or b'"messages"' in body
        if _ELSEWHERE.search(path) is None:
            return False
        return "anthropic" in path if body is None else b'"anthropic_version"' in body and b'"messages"' in body

    def parameters(self, request: Request) -> dict[str, Any]:
        """As `Dialect.parameters`. The truncation strategy is the types of the context edits, between commas."""
        return _hot(request, body_of(request))

    def asked(self, request: Request) -> dict[str, Any]:
        """As `Dialect.asked`; with the model that stands in the path where the body has none."""
        return _asked(request, body_of(request))

    def read(self, recording: Recording, events: Iterable[Event]) -> Reading:
        """As `Dialect.read`."""
        told = Told()
        answer = Answer(events)
        for position, elapsed_us, name, data in answer.frames():
            if data.startswith(b"[DONE]"):  # gateways end every stream so
                continue
            try:
                told.event(position, elapsed_us, name, parse(data), answer)
            except ODD:
                answer.broken(position)
                if name == "error":
                    told.fail(position, {})
        if not answer.streamed:
            position = answer.body_position or 0
            try:
                told.document(position, answer.json())
            except ODD:
                answer.broken(position)
        if answer.refused and told.error is None:
            told.fail(answer.body_position or 0, {})
        told.close()
        return _reading(recording.request, told, answer)


# -- the request ------------------------------------------------------------------------------------------------------


def _hot(request: Request, body: dict[str, Any]) -> dict[str, Any]:
    stream = body.get("stream")
    elsewhere = _ELSEWHERE.search(path_of(request))
    if elsewhere is not None and elsewhere["method"] == "streamRawPredict":
        stream = True
    return without_absent(
        model=string(body.get("model")) or _model_in(elsewhere),
        max_completion_tokens=integer(body.get("max_tokens")),
        truncation_strategy=_edits(body),
        stream=stream if isinstance(stream, bool) else None,
    )


def _model_in(elsewhere: re.Match[str] | None) -> str | None:
    return string(unquote(elsewhere["vertex"] or elsewhere["bedrock"])) if elsewhere else None


def _asked(request: Request, body: dict[str, Any]) -> dict[str, Any]:
    if not body:
        return {}
    model = _model_in(_ELSEWHERE.search(path_of(request)))
    return {**without_absent(model=model), **query_of(request), **body}


def _edits(body: dict[str, Any]) -> str | None:
    """The types of the context edits that were asked for, in order."""
    edits = dig(body, "context_management", "edits")
    if not isinstance(edits, list):
        return None
    return ",".join(kind for edit in edits if (kind := string(dig(edit, "type")))) or None


def _instructions(body: dict[str, Any]) -> str | None:
    """The system prompt: a text, or blocks of text."""
    system = body.get("system")
    if isinstance(system, list):
        return string("".join(text for block in system if isinstance(text := dig(block, "text"), str)))
    return string(system)


def _format(body: dict[str, Any]) -> str | None:
    """The type of the output format; `output_format` is its older place."""
    return string(dig(body, "output_config", "format", "type")) or string(dig(body, "output_format", "type"))


def _header(request: Request, name: str) -> str | None:
    """The values of that header, where it was kept."""
    return ", ".join(value for header, value in request.headers if header.lower() == name) or None


def _outside(request: Request, body: dict[str, Any]) -> list[dict[str, Any]]:
    """The parameters outside their limits; thinking takes part of `max_tokens`, but for interleaved thinking."""
    budget, most = integer(dig(body, "thinking", "budget_tokens")), integer(body.get("max_tokens"))
    # Its metadata is another than what `outside` has a rule for.
    found = outside({name: value for name, value in body.items() if name != "metadata"} | {_BUDGET: budget}, _LIMITS)
    betas = f"{_header(request, 'anthropic-beta')} {body.get('anthropic_beta')}"
    if budget is not None and most is not None and budget >= most and _INTERLEAVED not in betas:
        found.append({"parameter": _BUDGET, "limit": f"below max_tokens, {most}", "size": budget})
    return found


# -- what it amounts to -----------------------------------------------------------------------------------------------


def _reading(request: Request, told: Told, answer: Answer) -> Reading:
    """All that was said, weighed."""
    body = body_of(request)
    asked = _hot(request, body)
    status, reason, raw = _outcome(told, body)
    terminal = told.stop is not None or told.error is not None
    ended = told.marker is not None or told.whole or told.error is not None
    tokens, odd = _tokens(request, told)
    cap, served = asked.get("max_completion_tokens"), told.served or string(told.message.get("model"))
    facts = {**_of_request(request, body), **told.facts(), **answer.facts()}
    facts |= without_absent(echo_differs=_differs(body, asked.get("model"), served, told) or None)
    answer.flags |= odd | flags_of(
        facts,
        output_cap_reached=usage.fills(tokens.get("output_tokens"), cap),
        tool_call_open=told.open_call(),
    )
    return Reading(
        dialect=Messages.name,
        action="create",
        status=status,
        stop_reason=reason,
        stop_reason_raw=raw,
        complete=terminal and ended,
        provider_run_id=string(told.message.get("id")),
        request_id=told.request_id,
        previous_response_id=string(dig(body, "thread", "previous_message_id")),
        model=served or asked.get("model"),
        service_tier=string(told.usage.get("service_tier")),
        parameters=_asked(request, body) or None,
        max_completion_tokens=cap,
        truncation_strategy=asked.get("truncation_strategy"),
        response_format=_format(body),
        **tokens,
        ttft_us=told.first_us,
        ttft_visible_us=told.first_text_us,
        text=told.text(),
        metadata=mapping(body.get("metadata")),
        flags=answer.judge(asked=asked.get("stream") is True, terminal=terminal, marker=ended),
        facts=facts,
        spoken=told.spoken(),
    )


def _of_request(request: Request, body: dict[str, Any]) -> dict[str, Any]:
    """The facts that the request tells."""
    api = without_absent(version=_header(request, "anthropic-version"), beta=_header(request, "anthropic-beta"))
    return without_absent(
        api=api or None, limits=_outside(request, body) or None, instructions_hash=digest(_instructions(body))
    )


def _outcome(told: Told, body: dict[str, Any]) -> tuple[str, str | None, str | None]:
    """Status, stop reason, and the raw value that they rest on."""
    if told.error is not None:
        return Status.FAILED, StopReason.ERROR, told.error.get("type") or told.error.get("code")
    if told.stop is None:
        return Status.IN_PROGRESS if told.message else Status.UNKNOWN, None, None
    raw = told.stop[0]
    if raw == "compaction" and body.get("compaction") is not None:
        return Status.COMPLETED, StopReason.STOP, raw  # the summary was all that was asked for
    return *_STOP.get(raw, (Status.UNKNOWN, None)), raw


def _tokens(request: Request, told: Told) -> tuple[dict[str, Any], set[str]]:
    """The token fields, and the flags that go with them."""
    plain = integer(told.usage.get("input_tokens"))
    cached = integer(told.usage.get("cache_read_input_tokens"))
    written = integer(told.usage.get("cache_creation_input_tokens"))
    spent = None if plain is None else plain + (cached or 0) + (written or 0)
    lives, flags = _lives(request, told, written)
    output = told.output
    fields, odd = usage.tokens(
        input=spent,
        output=output,
        total=None if spent is None or output is None else spent + output,
        cached=cached,
        uncached=plain,
        reasoning=None if output is None else integer(dig(told.usage, "output_tokens_details", "thinking_tokens")),
        final=told.stop is not None and output is not None,
        **lives,
    )
    return fields, flags | odd


def _lives(request: Request, told: Told, written: int | None) -> tuple[dict[str, int | None], set[str]]:
    """What was written to the cache, by the life it was given.

    A breakdown counts where it adds up to the total that stands; one that came before that total may be outdated.
    Without one it is 5 minutes, the default of `cache_control`, unless the request asked for an hour somewhere or was
    not kept.
    """
    parts = {
        "written_5m": integer(dig(told.lives, "ephemeral_5m_input_tokens")),
        "written_1h": integer(dig(told.lives, "ephemeral_1h_input_tokens")),
    }
    broken_down = any(part is not None for part in parts.values())
    if broken_down and (written is None or sum(part or 0 for part in parts.values()) == written):
        return parts, set()
    if broken_down and told.lives_with_total:
        return {"written": written}, {"usage_sum"}
    if written is None:
        return {}, set()
    default = not written or (request.body is not None and b'"1h"' not in request.body)
    return {"written_5m" if default else "written": written}, set()


def _differs(body: dict[str, Any], model: str | None, served: str | None, told: Told) -> dict[str, list[Any]]:
    """Parameters that the answer shows to have been taken otherwise: [asked, echoed]."""
    _, differs = changes(body, told.usage, _ECHOED)
    if model is not None and served is not None and not same_model(_plain(model), _plain(served)):
        differs["model"] = [model, served]
    tiers = body.get("service_tier"), told.usage.get("service_tier")
    if tiers == ("standard_only", "priority"):
        differs["service_tier"] = list(tiers)
    return differs


def _plain(model: str) -> str:
    """The model's name as Anthropic would write it, but for a dot in its version."""
    return _PARTS.sub(r"\1.\2", _AROUND.sub("", model))
