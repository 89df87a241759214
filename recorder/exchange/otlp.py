"""Runs as OpenTelemetry spans: what a tracing backend should know of them, in OTLP's JSON form, and no more.

A span for each run, with the sums, and below it one for each HTTP exchange; never one for a chunk, nor an event. Names
are those of the semantic conventions for generative AI
(https://github.com/open-telemetry/semantic-conventions-genai, docs/gen-ai/gen-ai-spans.md and openai.md, 2026-11) and
for HTTP; what they have no name for stands under `recorder.`. JSON as OTLP has it
(https://opentelemetry.io/docs/specs/otlp/#json-protobuf-encoding): ids in hexadecimal, 64-bit integers as text.

Where a `traceparent` was recorded the run's span is a child of the caller's; else the run's id is the trace's. Ids
follow from the recordings' ids, so that the same run gives the same spans. Texts that were asked or answered are told
only where that is wanted; of a URL only its path is told otherwise.

Pure: values in, text out. What is unknown is left out.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit
from uuid import UUID

from ..recording import Reading, Recording, Run, Status, Transport, storable
from .spoken import finish_reason, input_messages, instructions, output_messages

__all__ = ["Part", "Traced", "to_otlp"]

#: Spans of one request, about; the next ones stand in the next line.
MOST_SPANS: Final = 1000

_CLIENT: Final = 3  # SpanKind
_ERROR: Final = 2  # StatusCode

_TRACEPARENT: Final = re.compile(r"[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})")

#: What a dialect's requests are called, and whose form it is where the host does not say.
_OPERATIONS: Final = {
    "assistants": ("invoke_agent", "openai"),
    "chat": ("chat", "openai"),
    "responses": ("chat", "openai"),
    "messages": ("chat", "anthropic"),
    "gemini": ("generate_content", "gcp.gemini"),
}
_API: Final = {"chat": "chat_completions", "responses": "responses"}

#: Hosts, or how they end, and what the conventions call who is there.
_PROVIDERS: Final = (
    (".openai.azure.com", "azure.ai.openai"),
    (".openai.azure.us", "azure.ai.openai"),
    (".services.ai.azure.com", "azure.ai.inference"),
    (".models.ai.azure.com", "azure.ai.inference"),
    (".openai.com", "openai"),
    (".anthropic.com", "anthropic"),
    ("generativelanguage.googleapis.com", "gcp.gemini"),
    ("aiplatform.googleapis.com", "gcp.vertex_ai"),
    (".amazonaws.com", "aws.bedrock"),
    (".groq.com", "groq"),
    (".mistral.ai", "mistral_ai"),
    (".deepseek.com", "deepseek"),
    (".x.ai", "x_ai"),
    (".perplexity.ai", "perplexity"),
    (".cohere.com", "cohere"),
    (".moonshot.ai", "moonshot_ai"),
    (".moonshot.cn", "moonshot_ai"),
)

#: Numbers of the request's parameters, and their attributes.
_ASKED: Final = {
    "temperature": "gen_ai.request.temperature",
    "top_p": "gen_ai.request.top_p",
    "top_k": "gen_ai.request.top_k",
    "frequency_penalty": "gen_ai.request.frequency_penalty",
    "presence_penalty": "gen_ai.request.presence_penalty",
}
_OUTPUT: Final = {"json_object": "json", "json_schema": "json", "json": "json", "text": "text"}


class Part(NamedTuple):
    """A recording of a run, which has ended, and its reading; None where there is none yet."""

    recording: Recording
    reading: Reading | None


class Traced(NamedTuple):
    """A run with its parts in order; `standing` is the reading that stands for it."""

    run: Run
    parts: Sequence[Part]
    standing: Reading | None


def to_otlp(runs: Iterable[Traced], version: str, *, content: bool = False) -> Iterator[str]:
    """Requests to export these runs (ExportTraceServiceRequest), one a line. `version` is recorder's.

    `content` tells what was asked and answered as well.
    """
    held: dict[str, list[dict[str, Any]]] = {}
    count = 0
    for traced in runs:
        spans = _spans(traced, content=content)
        held.setdefault(_service(traced), []).extend(spans)
        count += len(spans)
        if count >= MOST_SPANS:
            yield _request(held, version)
            held, count = {}, 0
    if held:
        yield _request(held, version)


def _request(held: Mapping[str, Sequence[Mapping[str, Any]]], version: str) -> str:
    scope = {"name": "recorder", "version": version}
    told = [
        {
            "resource": {"attributes": _attributes({"service.name": name})},
            "scopeSpans": [{"scope": scope, "spans": spans}],
        }
        for name, spans in held.items()
    ]
    return json.dumps({"resourceSpans": told}, separators=(",", ":"), allow_nan=False) + "\n"


def _service(traced: Traced) -> str:
    tags = traced.run.tags
    return tags.get("service.name") or tags.get("app") or "unknown_service"


# -- spans -------------------------------------------------------------------------------------------------------------


def _spans(traced: Traced, *, content: bool) -> list[dict[str, Any]]:
    run, parts, standing = traced
    first, asked = parts[0].recording, parts[0].reading or standing
    parent = _TRACEPARENT.fullmatch(first.trace or "")
    trace_id = parent[1] if parent else first.recording_id.hex
    span_id = _span_id("run", run.run_id)
    told = {
        **_of_run(run, first, standing),
        **_asked(run, first, asked, content=content),
        **_recorder(run, standing),
        **_said(run, parts[0], standing, content=content),
    }
    over = max(each.recording.started_at + _lasts(each.recording) for each in parts)
    whole = _span(trace_id, span_id, _name(run, first, asked), (first.started_at, over), told)
    if parent:
        whole |= {"parentSpanId": parent[2], "flags": int(parent[3], 16)}
    return [whole, *(_exchange(trace_id, span_id, each, content=content) for each in parts)]


def _span(trace_id: str, span_id: str, name: str, times: tuple[int, int], told: Mapping[str, Any]) -> dict[str, Any]:
    """`times` in microseconds UTC. A span whose attributes name an error has its status."""
    span = {
        "traceId": trace_id,
        "spanId": span_id,
        "name": name,
        "kind": _CLIENT,
        "startTimeUnixNano": str(max(times[0], 0) * 1000),
        "endTimeUnixNano": str(max(times[1], times[0], 0) * 1000),
        "attributes": _attributes(told),
    }
    if "error.type" in told:
        span["status"] = {"code": _ERROR, "message": str(told["error.type"])}
    return span


def _span_id(what: str, name: UUID) -> str:
    return hashlib.sha256(what.encode() + name.bytes).hexdigest()[:16]


def _lasts(recording: Recording) -> int:
    return 0 if recording.ending is None else recording.ending.elapsed_us


def _exchange(trace_id: str, run_span: str, part: Part, *, content: bool) -> dict[str, Any]:
    """The span of one exchange. Where another trace called for it than for the run, it has a link to that."""
    recording, reading = part
    request, ending = recording.request, recording.ending
    scheme, address, port, path = _address(recording)
    told: dict[str, Any] = {
        "http.request.method": request.method,
        "url.scheme": scheme,
        "url.path": path,
        "server.address": address,
        "server.port": port,
        "http.request.body.size": request.body_size,
        "recorder.recording.id": str(recording.recording_id),
        "recorder.action": None if reading is None else reading.action,
    }
    if content and request.url:
        told["url.full"] = request.url
    if ending is not None:
        told |= {
            "http.response.status_code": ending.http_status,
            "http.response.body.size": ending.wire_bytes,
            "recorder.ending": ending.ending,
            "recorder.captured": ending.captured,
            "recorder.events": ending.events,
        }
    told["error.type"] = _transport_error(recording, reading)
    times = (recording.started_at, recording.started_at + _lasts(recording))
    span = _span(trace_id, _span_id("exchange", recording.recording_id), request.method, times, _known(told))
    span["parentSpanId"] = run_span
    caller = _TRACEPARENT.fullmatch(recording.trace or "")
    if caller and caller[1] != trace_id:
        span["links"] = [{"traceId": caller[1], "spanId": caller[2], "flags": int(caller[3], 16)}]
    return span


def _transport_error(recording: Recording, reading: Reading | None) -> str | None:
    """The class of what went wrong with an exchange, None where nothing did: HTTP's status, or how it broke."""
    ending = recording.ending
    if ending is None:
        return None
    if ending.http_status is not None and ending.http_status >= 400:
        return str(ending.http_status)
    whole = reading is not None and reading.complete
    left = ending.ending == Transport.CLIENT_CLOSED and whole is not False  # SDKs leave at the end marker
    return None if ending.ending == Transport.EOF or left or whole else ending.ending


# -- attributes --------------------------------------------------------------------------------------------------------


def _name(run: Run, first: Recording, reading: Reading | None) -> str:
    operation = _OPERATIONS.get(run.dialect, (first.request.method, ""))[0]
    model = _model(first, reading) or run.model
    return f"{operation} {model}" if model else operation


def _model(first: Recording, reading: Reading | None) -> str | None:
    """The model that was asked for, where one was."""
    asked = first.parameters.get("model")
    if asked is None and reading is not None and reading.parameters is not None:
        asked = reading.parameters.get("model")
    return asked if isinstance(asked, str) else None


def _of_run(run: Run, first: Recording, standing: Reading | None) -> dict[str, Any]:
    """What the conventions have for an answer as a whole."""
    _, address, port, _ = _address(first)
    told: dict[str, Any] = {
        "server.address": address,
        "server.port": port,
        "error.type": _run_error(run, first, standing),
    }
    if run.dialect not in _OPERATIONS:
        return _known(told)
    operation, form = _OPERATIONS[run.dialect]
    provider = _provider(address) or form
    told |= {
        "gen_ai.operation.name": operation,
        "gen_ai.provider.name": provider,
        "gen_ai.agent.id": run.assistant_id,
        "gen_ai.conversation.id": run.thread_id,
        "gen_ai.response.id": run.provider_run_id,
        "gen_ai.response.model": run.model,
        "gen_ai.response.finish_reasons": [reason] if (reason := finish_reason(run)) else None,
        "gen_ai.usage.input_tokens": run.input_tokens,
        "gen_ai.usage.output_tokens": run.output_tokens,
        "gen_ai.usage.cache_read.input_tokens": run.cached_tokens,
        "gen_ai.usage.reasoning.output_tokens": run.reasoning_tokens,
    }
    if standing is not None:
        written = (standing.cache_write_tokens, standing.cache_write_5m_tokens, standing.cache_write_1h_tokens)
        known = [each for each in written if each is not None]
        told["gen_ai.usage.cache_creation.input_tokens"] = sum(known) if known else None
    if provider == "openai":
        told |= {"openai.api.type": _API.get(run.dialect), "openai.response.service_tier": run.service_tier}
        told["openai.response.system_fingerprint"] = (
            None if standing is None else standing.facts.get("system_fingerprint")
        )
    return _known(told)


def _run_error(run: Run, first: Recording, standing: Reading | None) -> str | None:
    """A run that failed, expired, was refused by the server or broke off; a budget's end is no error."""
    if run.status in (Status.FAILED, Status.EXPIRED):
        error = standing.facts.get("evidence", {}).get("error", {}) if standing is not None else {}
        code = error.get("code") if isinstance(error, Mapping) else None
        return str(code or run.stop_reason_raw or _transport_error(first, standing) or run.status)
    return _transport_error(first, standing)


def _asked(run: Run, first: Recording, reading: Reading | None, *, content: bool) -> dict[str, Any]:
    """What the conventions have for a request."""
    asked = dict((reading.parameters if reading is not None else None) or {})
    told: dict[str, Any] = {
        "gen_ai.request.model": _model(first, reading),
        "gen_ai.request.max_tokens": run.max_completion_tokens,
        "gen_ai.request.stream": asked["stream"] if isinstance(asked.get("stream"), bool) else None,
        "gen_ai.request.seed": asked["seed"] if type(asked.get("seed")) is int else None,
        "gen_ai.request.choice.count": asked["n"] if type(asked.get("n")) is int and asked["n"] != 1 else None,
        "gen_ai.output.type": _OUTPUT.get(str(reading.response_format)) if reading is not None else None,
    }
    for name, attribute in _ASKED.items():
        value = asked.get(name)
        if isinstance(value, int | float) and not isinstance(value, bool):
            told[attribute] = float(value)
    if told["gen_ai.request.stream"] and reading is not None:
        times = reading.facts.get("times")
        told["gen_ai.response.time_to_first_chunk"] = _seconds(dict(times or {}).get("first_event_us"))
    stop = asked.get("stop", asked.get("stop_sequences"))
    if content and stop:
        told["gen_ai.request.stop_sequences"] = [str(each) for each in (stop if isinstance(stop, list) else [stop])]
    if isinstance(asked.get("service_tier"), str) and _provider(_address(first)[1]) == "openai":
        told["openai.request.service_tier"] = asked["service_tier"]
    return _known(told)


def _recorder(run: Run, standing: Reading | None) -> dict[str, Any]:
    """What only recorder knows."""
    told: dict[str, Any] = {
        "recorder.run.id": str(run.run_id),
        "recorder.dialect": run.dialect,
        "recorder.status": run.status,
        "recorder.stop_reason": run.stop_reason,
        "recorder.complete": run.complete,
        "recorder.ending": run.ending,
        "recorder.exchanges": run.recordings,
        "recorder.events": run.events,
        "recorder.bytes": run.bytes,
        "recorder.max_prompt_tokens": run.max_prompt_tokens,
        "recorder.truncation_strategy": run.truncation_strategy,
        "recorder.time_to_first_token": _seconds(run.ttft_us),
        "recorder.tool_wait": _seconds(run.waited_us),
        "recorder.flags": list(run.flags) or None,
    }
    if standing is not None:
        told |= {
            "recorder.usage_quality": standing.usage_quality,
            "recorder.longest_gap": _seconds(standing.longest_gap_us),
            "recorder.stalls": standing.stalls,
            "recorder.json_valid": standing.json_valid,
        }
    return _known(told)


def _said(run: Run, opener: Part, standing: Reading | None, *, content: bool) -> dict[str, Any]:
    """Whose call it was; and, where that is wanted, what was asked and answered."""
    told: dict[str, Any] = {"session.id": opener.recording.session}
    told |= {f"recorder.tag.{name}": value for name, value in run.tags.items()}
    if content and opener.reading is not None:
        asked = opener.reading.parameters or {}
        told |= {"gen_ai.system_instructions": instructions(asked), "gen_ai.input.messages": input_messages(asked)}
    if content and standing is not None:
        told["gen_ai.output.messages"] = output_messages(standing)
    return _known(told)


def _seconds(micros: Any) -> float | None:
    return micros / 1_000_000 if isinstance(micros, int) else None


def _known(told: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in told.items() if value is not None}


def _address(recording: Recording) -> tuple[str | None, str | None, int | None, str | None]:
    """Scheme, host, port and path; of a request whose URL was erased what its origin says."""
    try:
        found = urlsplit(recording.request.url or recording.origin)
        host, port = found.hostname, found.port
    except ValueError:
        return None, None, None, None
    usual = {"https": 443, "http": 80}.get(found.scheme)
    return found.scheme or None, host, (port or usual) if host else None, found.path if recording.request.url else None


def _provider(host: str | None) -> str | None:
    return next((name for end, name in _PROVIDERS if host is not None and f".{host}".endswith(end)), None)


def _attributes(told: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [{"key": name, "value": _value(value)} for name, value in told.items()]


def _value(value: Any) -> dict[str, Any]:
    if isinstance(value, bool):
        return {"boolValue": value}
    if isinstance(value, int):
        return {"intValue": str(value)} if -(1 << 63) <= value < 1 << 63 else {"stringValue": str(value)}
    if isinstance(value, float):
        return {"doubleValue": value} if math.isfinite(value) else {"stringValue": str(value)}
    if isinstance(value, list):
        return {"arrayValue": {"values": [_value(each) for each in value]}}
    return {"stringValue": storable(str(value))}
