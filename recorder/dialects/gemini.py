"""Google's Gemini, on the Gemini API and on Vertex AI (API reference "GenerateContentResponse").

`streamGenerateContent` answers with partial responses: as server-sent events (`alt=sse`), else as one JSON array that
grows. There is no end marker but the array's bracket; a candidate ends with its `finishReason`. Every response repeats
the usage so far, so the last one counts. Counts of zero are left out, as in all JSON made from protocol buffers.
Exchanges never merge: each is a run of its own.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import unquote

from pydantic_core import from_json

from recorder.dialects import usage
from recorder.dialects.asked import Limit, outside
from recorder.dialects.base import (
    ODD,
    WEIGHT,
    Answer,
    Texts,
    body_of,
    dig,
    digest,
    error_of,
    error_told,
    flags_of,
    integer,
    is_token,
    parse,
    path_of,
    query_of,
    string,
    without_absent,
)
from recorder.dialects.models import same_model
from recorder.recording import Event, Reading, Recording, Request, Spoken, Status, StopReason, storable

__all__ = ["Gemini"]

_PATH: Final = re.compile(
    r"/(?P<kind>[^/]+)/(?P<model>[^/]+?)(?::|%3[Aa])(?P<method>streamGenerateContent|generateContent)$"
)

#: What Google takes in a query and is nobody's to see (API reference "Standard query parameters").
_CREDENTIALS: Final = frozenset({"key", "access_token", "oauth_token"})

_FILTERED: Final = (Status.INCOMPLETE, StopReason.CONTENT_FILTER)
_BROKEN: Final = (Status.FAILED, StopReason.ERROR)
_UNHEARD: Final = (Status.UNKNOWN, None)

#: finishReason -> (status, stop reason). Of what ends without a neutral reason the raw one tells more.
_FINISH: Final[Mapping[str, tuple[Status, StopReason | None]]] = {
    "STOP": (Status.COMPLETED, StopReason.STOP),
    "MAX_TOKENS": (Status.INCOMPLETE, StopReason.OUTPUT_LIMIT),
    "SAFETY": _FILTERED,
    "RECITATION": _FILTERED,
    "BLOCKLIST": _FILTERED,
    "PROHIBITED_CONTENT": _FILTERED,
    "SPII": _FILTERED,
    "MODEL_ARMOR": _FILTERED,
    "IMAGE_SAFETY": _FILTERED,
    "IMAGE_PROHIBITED_CONTENT": _FILTERED,
    "IMAGE_RECITATION": _FILTERED,
    "LANGUAGE": (Status.INCOMPLETE, None),
    "OTHER": (Status.INCOMPLETE, None),
    "IMAGE_OTHER": (Status.INCOMPLETE, None),
    "NO_IMAGE": (Status.INCOMPLETE, None),
    "MALFORMED_FUNCTION_CALL": _BROKEN,
    "MALFORMED_RESPONSE": _BROKEN,
    "UNEXPECTED_TOOL_CALL": _BROKEN,
    "TOO_MANY_TOOL_CALLS": _BROKEN,
    "MISSING_THOUGHT_SIGNATURE": _BROKEN,
}

#: With `enum-encoding=int` names are numbers; both APIs number these alike.
_NUMBERED: Final = {1: "STOP", 2: "MAX_TOKENS", 3: "SAFETY", 4: "RECITATION", 5: "OTHER"}

#: API reference "GenerationConfig".
_LIMITS: Final = {
    "candidateCount": Limit(1, 8),
    "logprobs": Limit(0, 20),
    "maxOutputTokens": Limit(low=1),
    "stopSequences": Limit(high=5, of="list"),
    "temperature": Limit(0, 2),
    "topP": Limit(0, 1),
}

_COUNTS: Final = ("promptTokenCount", "candidatesTokenCount", "thoughtsTokenCount", "totalTokenCount")

#: As many parts become steps, as many calls are kept.
_MOST: Final = 256


class Gemini:
    """See the module."""

    name: Final = "gemini"
    contents: Final = frozenset({"contents", "systemInstruction", "system_instruction", "tools"})

    def recognises(self, request: Request) -> bool:
        """`POST …:generateContent` and `…:streamGenerateContent` with contents."""
        fits = request.method.upper() == "POST" and _PATH.search(path_of(request)) is not None
        return fits and (request.body is None or b'"contents"' in request.body)

    def parameters(self, request: Request) -> dict[str, Any]:
        """As `Dialect.parameters`. The model and whether to stream stand in the path."""
        return _hot(request, body_of(request))

    def asked(self, request: Request) -> dict[str, Any]:
        """As `Dialect.asked`; with the model that stands in the path, without a key that stands in the query."""
        body, route = body_of(request), _PATH.search(path_of(request))
        if not body or route is None:
            return {}
        query = {name: value for name, value in query_of(request).items() if name not in _CREDENTIALS}
        return {"model": _model_in(route), **query, **body}

    def read(self, recording: Recording, events: Iterable[Event]) -> Reading:
        """As `Dialect.read`."""
        told = _Told()
        answer = Answer(events)
        for position, elapsed_us, _, data in answer.frames():
            if data.startswith(b"[DONE]"):  # gateways end every stream so
                continue
            try:
                told.response(position, elapsed_us, parse(data))
            except ODD:
                answer.broken(position)
        if not answer.streamed:
            position = answer.body_position or 0
            try:
                for value in _documents(answer):
                    told.response(position, None, value)
            except ODD:
                answer.broken(position)
        if answer.refused and told.error is None:
            told.error = ({}, answer.body_position or 0)
        return _reading(recording.request, self.asked(recording.request), told, answer)


# -- the request ------------------------------------------------------------------------------------------------------


def _model_in(route: re.Match[str]) -> str | None:
    return string(unquote(route["model"]))


def _config(body: dict[str, Any]) -> dict[str, Any]:
    """The generation config; the APIs take its names in either spelling."""
    config = body.get("generationConfig", body.get("generation_config"))
    if not isinstance(config, dict):
        return {}
    return {re.sub(r"_([a-z])", lambda found: found[1].upper(), name): value for name, value in config.items()}


def _hot(request: Request, body: dict[str, Any]) -> dict[str, Any]:
    route = _PATH.search(path_of(request))
    return without_absent(
        model=_model_in(route) if route else None,
        max_completion_tokens=integer(_config(body).get("maxOutputTokens")),
        stream=route["method"] == "streamGenerateContent" if route else None,
    )


def _format(config: dict[str, Any]) -> str | None:
    """The neutral name of the format that was asked for; another media type as it is."""
    kind = string(config.get("responseMimeType"))
    if kind == "application/json":
        schema = config.get("responseSchema") or config.get("responseJsonSchema")
        return "json_schema" if schema else "json_object"
    return "text" if kind == "text/plain" else kind


def _instructions(body: dict[str, Any]) -> str | None:
    parts = dig(body.get("systemInstruction", body.get("system_instruction")), "parts")
    if isinstance(parts, dict):
        parts = [parts]
    if not isinstance(parts, list):
        return None
    return string("".join(text for part in parts if isinstance(text := dig(part, "text"), str)))


# -- the answer -------------------------------------------------------------------------------------------------------


def _documents(answer: Answer) -> list[Any]:
    """The responses of a JSON answer: one, or those of an array; of an array that was cut those that came whole."""
    value = answer.json()
    if value is not None:
        return value if isinstance(value, list) else [value]
    if not answer.body.lstrip().startswith(b"["):
        return []
    answer.flags.add("no_end_marker")
    try:
        return list(parse(answer.body.rstrip().removesuffix(b",") + b"]"))
    except ValueError:
        return list(from_json(answer.body, allow_partial=True))[:-1]


@dataclass(slots=True)
class _Call:
    """A function call: its arguments as JSON text, or by path where they come in pieces (`partialArgs`)."""

    candidate: int
    name: str | None
    id: str | None
    position: int
    elapsed_us: int | None
    arguments: str | None = None
    pieces: dict[str, Any] = field(default_factory=dict)
    ended: bool = True

    def text(self) -> str | None:
        """The arguments; None where there are none, or where pieces of nested ones are all there is."""
        if self.arguments is None and self.pieces and all(re.fullmatch(r"\$\.\w+", path) for path in self.pieces):
            return _compact({path[2:]: value for path, value in self.pieces.items()})
        return self.arguments


class _Told:
    """What one exchange has said so far. `error` and the finish reasons with the positions that they came from."""

    def __init__(self) -> None:
        self.about: dict[str, str] = {}
        self.usage: dict[str, Any] = {}
        self.usage_position = 0
        self.finishes: dict[int, dict[str, Any]] = {}
        self.candidates: set[int] = set()
        self.block: dict[str, Any] | None = None
        self.block_message: str | None = None
        self.error: tuple[dict[str, str], int] | None = None
        self.texts = Texts()
        self.calls: list[_Call] = []
        self.steps: list[dict[str, Any]] = []
        self.last_step: dict[int, str] = {}
        self.changed = False
        self.first_us: int | None = None
        self.first_text_us: int | None = None

    def response(self, position: int, elapsed_us: int | None, value: dict[str, Any]) -> None:
        """Takes a response, whole or partial, or an error. Raises one of `ODD` for a shape that is none."""
        error = error_of(value)
        if error is not None:
            code = string(dig(value, "error", "status"))
            self.error = ({**error, **without_absent(status=code)}, position)
            return
        for name in ("responseId", "modelVersion"):
            told = value.get(name)
            if told and isinstance(told, str):
                self.about[name] = told
        spent = value.get("usageMetadata")
        if isinstance(spent, dict):
            # One without any count (Vertex, until the end) only adds what it says beside them.
            self.usage = spent if any(name in spent for name in _COUNTS) else {**self.usage, **spent}
            self.usage_position = position
        self._blocked(position, value.get("promptFeedback"))
        for candidate in value.get("candidates") or ():
            index = integer(candidate.get("index")) or 0
            self.candidates.add(index)
            for part in dig(candidate, "content", "parts") or ():
                self._part(index, position, elapsed_us, part)
            self._finished(index, position, candidate)

    def _blocked(self, position: int, feedback: object) -> None:
        reason = string(dig(feedback, "blockReason"))
        if reason is not None:
            self.block = {"value": reason, "position": position}
            self.block_message = string(dig(feedback, "blockReasonMessage"))

    def _finished(self, index: int, position: int, candidate: dict[str, Any]) -> None:
        told = candidate.get("finishReason")
        number = integer(told)
        raw = string(told) if number is None else _NUMBERED.get(number, str(number))
        if raw is None:
            return
        if index in self.finishes and self.finishes[index]["value"] != raw:
            self.changed = True
        ratings = candidate.get("safetyRatings")
        blocked = [
            category
            for rating in (ratings if isinstance(ratings, list) else ())
            if dig(rating, "blocked") is True and (category := string(dig(rating, "category")))
        ]
        self.finishes[index] = without_absent(
            value=raw, position=position, message=string(candidate.get("finishMessage")), blocked=blocked or None
        )

    def _part(self, index: int, position: int, elapsed_us: int | None, part: dict[str, Any]) -> None:
        """One part of a candidate's content. Text and thoughts go on over parts, anything else comes whole."""
        text = part.get("text")
        if text is not None:
            kind = "reasoning" if part.get("thought") is True else "text"
            if is_token(text):
                self._step(position, index, "thought" if kind == "reasoning" else "text", goes_on=True)
                self.texts.add((index, kind), text, position, elapsed_us)
                self._first(elapsed_us, visible=kind == "text")
            return
        call = part.get("functionCall")
        if isinstance(call, dict):
            self._call(index, position, elapsed_us, call)
            return
        other = next((name for name in part if not name.startswith("thought")), None)
        if other is not None:
            self._step(position, index, storable(other))

    def _call(self, index: int, position: int, elapsed_us: int | None, told: dict[str, Any]) -> None:
        """A function call. One without a name goes on with the call before it, or only ends it."""
        name = string(told.get("name"))
        if name is not None:
            self._step(position, index, "functionCall", name=name)
            call = _Call(index, name, string(told.get("id")), position, elapsed_us)
            if len(self.calls) < _MOST:
                self.calls.append(call)
            self._first(elapsed_us, visible=False)
        else:
            before = [call for call in self.calls if call.candidate == index]
            if not before:
                return
            call = before[-1]
        if isinstance(told.get("args"), dict):
            call.arguments = _compact(told["args"])
        for piece in told.get("partialArgs") or ():
            path = storable(piece["jsonPath"])
            value = next((piece[name] for name in piece if name.endswith("Value")), None)
            goes_on = isinstance(value, str) and isinstance(call.pieces.get(path), str)
            call.pieces[path] = call.pieces[path] + value if goes_on else value
        call.ended = told.get("willContinue") is not True

    def _first(self, elapsed_us: int | None, *, visible: bool) -> None:
        if self.first_us is None:
            self.first_us = elapsed_us
        if visible and self.first_text_us is None:
            self.first_text_us = elapsed_us

    def _step(self, position: int, index: int, kind: str, *, name: str | None = None, goes_on: bool = False) -> None:
        step = without_absent(type=kind, name=name, candidate=index or None, position=position)
        same = goes_on and self.last_step.get(index) == kind
        self.last_step[index] = kind
        if not same and len(self.steps) < _MOST:
            self.steps.append(step)

    # -- what comes out -----------------------------------------------------------------------------------------------

    def ended(self) -> bool:
        """Every candidate finished, or the prompt was blocked."""
        return (bool(self.candidates) and self.candidates <= self.finishes.keys()) or self.block is not None

    def outcome(self, answer: Answer) -> tuple[str, str | None, str | None]:
        """Status, stop reason, and the raw value that they rest on."""
        if self.error is not None:
            error, _ = self.error
            return Status.FAILED, StopReason.ERROR, error.get("status") or error.get("code")
        if not self.ended():
            said = self.candidates or self.about
            return Status.IN_PROGRESS if said and not answer.refused else Status.UNKNOWN, None, None
        if not self.finishes and self.block is not None:
            return *_FILTERED, self.block["value"]
        calling = {call.candidate for call in self.calls}
        return max((self._outcome(index, calling) for index in sorted(self.finishes)), key=lambda told: WEIGHT[told[0]])

    def _outcome(self, index: int, calling: set[int]) -> tuple[Status, StopReason | None, str]:
        raw: str = self.finishes[index]["value"]
        if raw == "STOP" and index in calling:
            return Status.REQUIRES_ACTION, StopReason.TOOL_CALL, raw
        return *_FINISH.get(raw, _UNHEARD), raw

    def text(self) -> str | None:
        """What the first candidate said, without its thoughts."""
        first = min(self.candidates, default=0)
        return next((text for key, text in self.texts.cleaned() if key == (first, "text")), None)

    def spoken(self) -> Iterator[Spoken]:
        """Text and thoughts of every candidate, then the arguments of the calls."""
        for key in dict(self.texts.items()):
            yield self.texts.spoken(key, key[1], ended=key[0] in self.finishes)
        for call in self.calls:
            text = call.text()
            if text:
                times = () if call.elapsed_us is None else (call.elapsed_us,)
                yield Spoken(
                    kind="arguments",
                    text=text,
                    name=call.name,
                    ended=call.ended,
                    offsets=(0,),
                    positions=(call.position,),
                    times=times,
                )


def _compact(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


# -- what it amounts to -----------------------------------------------------------------------------------------------


def _reading(request: Request, parameters: dict[str, Any], told: _Told, answer: Answer) -> Reading:
    """All that was said, weighed."""
    body = body_of(request)
    asked, config = _hot(request, body), _config(body)
    status, reason, raw = told.outcome(answer)
    terminal = told.ended() or told.error is not None
    tokens, odd = _tokens(told, final=told.ended())
    cap, served = asked.get("max_completion_tokens"), string(told.about.get("modelVersion"))
    facts = {**_facts(told, _instructions(body)), **_compared(request, asked, config, served), **answer.facts()}
    answer.flags |= odd | flags_of(
        facts,
        # Of an array as of events: the path asks for a stream, whatever its form.
        no_terminal_event=asked.get("stream") is True and answer.ok and not terminal,
        # The cap is each candidate's, the count is of all.
        output_cap_reached=usage.fills(tokens.get("output_tokens"), cap) and len(told.candidates) < 2,
        tool_call_open=any(not call.ended for call in told.calls),
    )
    return Reading(
        dialect=Gemini.name,
        action="create",
        status=status,
        stop_reason=reason,
        stop_reason_raw=raw,
        # Older models give a reason with every response: where one was cut, more was to come.
        complete=terminal and answer.flags.isdisjoint({"no_end_marker", "unterminated_tail"}),
        provider_run_id=string(told.about.get("responseId")),
        model=served or asked.get("model"),
        service_tier=string(told.usage.get("serviceTier")) or string(told.usage.get("trafficType")),
        parameters=parameters or None,
        max_completion_tokens=cap,
        response_format=_format(config),
        **tokens,
        ttft_us=told.first_us,
        ttft_visible_us=told.first_text_us,
        text=told.text(),
        flags=answer.judge(asked=_as_events(request, asked), terminal=terminal, marker=True),
        facts=facts,
        spoken=tuple(told.spoken()),
    )


def _as_events(request: Request, asked: Mapping[str, Any]) -> bool:
    """Whether the answer was to be an event stream, rather than an array that grows."""
    query = query_of(request)
    return asked.get("stream") is True and "sse" in (query.get("alt"), query.get("$alt"))


def _compared(
    request: Request, asked: Mapping[str, Any], config: Mapping[str, Any], served: str | None
) -> dict[str, Any]:
    """The facts of what was asked for outside the limits (`limits`), and of another model served (`echo_differs`)."""
    limits = [{**found, "parameter": f"generationConfig.{found['parameter']}"} for found in outside(config, _LIMITS)]
    route, model = _PATH.search(path_of(request)), asked.get("model")
    named = route is not None and route["kind"] == "models"
    differs = named and model is not None and served is not None and not _serves(model, served)
    return without_absent(limits=limits or None, echo_differs={"model": [model, served]} if differs else None)


def _tokens(told: _Told, *, final: bool) -> tuple[dict[str, Any], set[str]]:
    """The token fields, and the flags that go with them. Results of tools that were fed in again are input."""
    prompt, candidates, thoughts, total = (integer(told.usage.get(name)) for name in _COUNTS)
    spent = None if prompt is None else prompt + (integer(told.usage.get("toolUsePromptTokenCount")) or 0)
    output = None if candidates is None else candidates + (thoughts or 0)
    said = (candidates or 0) + (thoughts or 0)
    if final and spent is not None and total == spent + said:
        # Nothing is left for the counts that were left out: they are zero.
        output, thoughts = said, thoughts or 0
    return usage.tokens(
        input=spent,
        output=output,
        total=total,
        cached=integer(told.usage.get("cachedContentTokenCount")),
        reasoning=thoughts if output is not None else None,
        final=final,
    )


def _serves(asked: str, served: str) -> bool:
    """Whether the served model is the one asked for; `gemini-flash-latest` may be of any version."""
    return asked.endswith("-latest") or same_model(asked, served)


def _facts(told: _Told, instructions: str | None) -> dict[str, Any]:
    """What has no column. All that is content stands under `content`, so that it can be left out in one piece."""
    error, message = error_told(*(told.error or (None, None)))
    evidence = without_absent(
        finish={str(index): finish for index, finish in told.finishes.items()} or None,
        block=told.block,
        usage={"value": told.usage, "position": told.usage_position} if told.usage else None,
        error=error,
    )
    content = without_absent(
        tool_calls=[
            without_absent(id=call.id, type="functionCall", name=call.name, arguments=_stored(call.text()))
            for call in told.calls
        ]
        or None,
        error_message=message,
        block_message=told.block_message,
    )
    return without_absent(
        evidence=evidence or None,
        disagreements=["two_endings"] if told.changed else None,
        choices=len(told.candidates) if len(told.candidates) > 1 else None,
        steps=told.steps or None,
        instructions_hash=digest(instructions),
        content=content or None,
    )


def _stored(text: str | None) -> str | None:
    return None if text is None else storable(text)
