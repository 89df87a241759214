"""Spans of runs: what OpenTelemetry's own definition of the message takes, under the names of the conventions."""

from __future__ import annotations

import base64
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from google.protobuf import json_format  # type: ignore[import-untyped, unused-ignore]
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as pb2

from recorder import exchange
from recorder.exchange import otlp, spoken
from recorder.recording import Transport
from recorder.store import Store
from tests.kept import keep, put
from tests.payloads import ASSISTANTS_DONE, run_event
from tests.taped import chat, said
from tests.test_timeline import CREATE, SECOND, SUBMIT

TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def requests(store: Store, ids: Any, **how: Any) -> list[dict[str, Any]]:
    running: list[UUID] = []
    return [json.loads(line) for line in exchange.to_otlp(exchange.traced(store, ids, running), "1.2.3", **how)]


def spans(store: Store, ids: Any, **how: Any) -> list[dict[str, Any]]:
    return [
        span
        for request in requests(store, ids, **how)
        for resource in request["resourceSpans"]
        for scope in resource["scopeSpans"]
        for span in scope["spans"]
    ]


def told(span: dict[str, Any]) -> dict[str, Any]:
    """Its attributes as values."""

    def plain(value: dict[str, Any]) -> Any:
        ((kind, inner),) = value.items()
        if kind == "arrayValue":
            return [plain(each) for each in inner["values"]]
        return int(inner) if kind == "intValue" else inner

    return {each["key"]: plain(each["value"]) for each in span["attributes"]}


def of(golden: tuple[Store, dict[str, UUID]], name: str, **how: Any) -> dict[str, Any]:
    store, ids = golden
    return told(spans(store, [ids[name]], **how)[0])


def test_every_run_is_what_the_protocol_defines(golden: tuple[Store, dict[str, UUID]]) -> None:
    """Parsed by the message's own definition, in which nothing unknown may stand; ids have their lengths; times rise;
    and each exchange lies below its run."""
    store, ids = golden
    count = 0
    for request in requests(store, ids.values(), content=True):
        text = json.dumps(request)
        for name in ("traceId", "spanId", "parentSpanId"):  # OTLP's JSON has these in hexadecimal, protobuf's in base64
            text = re.sub(
                rf'"{name}": "([0-9a-f]+)"',
                lambda found, name=name: f'"{name}": "{base64.b64encode(bytes.fromhex(found[1])).decode()}"',  # type: ignore[misc]
                text,
            )
        parsed = json_format.Parse(text, pb2.ExportTraceServiceRequest())
        for resource in parsed.resource_spans:
            found = [span for scope in resource.scope_spans for span in scope.spans]
            runs = {span.span_id for span in found if not span.parent_span_id}
            for span in found:
                assert (len(span.trace_id), len(span.span_id), span.kind) == (16, 8, 3)
                assert any(span.trace_id)
                assert 0 <= span.start_time_unix_nano <= span.end_time_unix_nano
                assert not span.events
                assert span.parent_span_id in runs or not span.parent_span_id
                assert len({each.key for each in span.attributes}) == len(span.attributes)
                count += 1
    assert count > 2 * 100


def test_a_run_says_what_the_conventions_ask(golden: tuple[Store, dict[str, UUID]]) -> None:
    """Names of attributes as they are in the registry, totals that hold their parts, seconds and tokens."""
    store, ids = golden
    chat_run = spans(store, [ids["chat-stop"]])[0]
    assert chat_run["name"] == "chat gpt-4o-mini"
    assert told(chat_run) | {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "gpt-4o-mini",
        "gen_ai.request.max_tokens": 128,
        "gen_ai.request.temperature": 0.2,
        "gen_ai.request.stream": True,
        "gen_ai.response.finish_reasons": ["stop"],
        "gen_ai.response.time_to_first_chunk": 0.007,
        "gen_ai.usage.input_tokens": 1420,
        "gen_ai.usage.output_tokens": 7,
        "gen_ai.usage.cache_read.input_tokens": 1280,
        "openai.api.type": "chat_completions",
        "openai.response.system_fingerprint": "fp_560af6e559",
        "server.address": "api.openai.com",
        "server.port": 443,
        "recorder.status": "completed",
    } == told(chat_run)
    assert "status" not in chat_run
    run = of(golden, "assistants-completed")
    assert (run["gen_ai.operation.name"], run["recorder.max_prompt_tokens"], run["gen_ai.request.max_tokens"]) == (
        "invoke_agent",
        4096,
        1024,
    )
    assert run["gen_ai.agent.id"].startswith("asst_")
    assert run["gen_ai.conversation.id"].startswith("thread_")
    assert "openai.api.type" not in run  # the conventions have no word for this one
    written = of(golden, "responses-completed")
    assert written["gen_ai.usage.cache_creation.input_tokens"] == 128
    assert written["openai.request.service_tier"] == "auto"
    assert of(golden, "messages-end-turn")["gen_ai.provider.name"] == "anthropic"
    assert of(golden, "gemini-stop")["gen_ai.operation.name"] == "generate_content"


def test_a_budget_that_ran_out_is_no_error_and_a_failure_is_one(golden: tuple[Store, dict[str, UUID]]) -> None:
    store, ids = golden
    cut = spans(store, [ids["chat-length"]])[0]
    assert told(cut)["gen_ai.response.finish_reasons"] == ["length"]
    assert "status" not in cut
    failed = spans(store, [ids["assistants-failed"]])[0]
    assert failed["status"] == {"code": 2, "message": "rate_limit_exceeded"}
    assert told(failed)["error.type"] == "rate_limit_exceeded"


@pytest.mark.parametrize(
    ("how", "why"),
    [
        ({"ending": Transport.RESET}, "reset"),
        ({"status": 429, "headers": (("content-type", "application/json"),)}, "429"),
        ({"ending": Transport.CLIENT_CLOSED}, None),
        ({}, None),
    ],
)
def test_an_exchange_that_broke_says_how(tmp_path: Path, how: dict[str, Any], why: str | None) -> None:
    """HTTP's status, or what the transport said; a client that leaves at the end marker did what clients do."""
    last = b'data: {"id":"chatcmpl-1","object":"chat.completion.chunk","choices":[{"delta":{},"finish_reason":"stop"}]}'
    frames = said("a")[:1] + ([] if how.get("ending") == Transport.RESET else [last + b"\n\n", *said()])
    entry = chat("hi", [b'{"error":{"code":"x"}}'] if "status" in how else frames, **how)
    with Store.open(tmp_path / "a.db", create=True) as store:
        put(store, entry.recording, list(entry.events))
        run, call = spans(store, [entry.recording.recording_id])
    assert told(run).get("error.type") == ("x" if "status" in how else why)  # the provider's own code, where it has one
    assert told(call).get("error.type") == why
    assert ("status" in run, "status" in call) == (why is not None, why is not None)


def test_the_trace_that_was_recorded_is_the_parent(tmp_path: Path) -> None:
    """The run lies below the span that called; without one it begins a trace of its own, the same each time."""
    with Store.open(tmp_path / "a.db", create=True) as store:
        for trace in (TRACE, None):
            entry = chat("hi", said("a"), trace=trace, session="s", tags={"app": "desk", "k": "v"})
            put(store, entry.recording, list(entry.events))
            ids = [entry.recording.recording_id]
            run, call = spans(store, ids)
            assert (run, call) == tuple(spans(store, ids))
            assert call["parentSpanId"] == run["spanId"]
            assert call["traceId"] == run["traceId"] == (TRACE[3:35] if trace else ids[0].hex)
            assert run.get("parentSpanId") == (TRACE[36:52] if trace else None)
            assert (told(run)["session.id"], told(run)["recorder.tag.k"]) == ("s", "v")
            (resource,) = requests(store, ids)[0]["resourceSpans"]
            assert resource["resource"]["attributes"] == [{"key": "service.name", "value": {"stringValue": "desk"}}]


def test_a_run_of_several_parts_is_one_span_with_several_below(tmp_path: Path) -> None:
    """What was asked is the first part's, what came of it the last one's, and the wait between them is told."""
    with Store.open(tmp_path / "a.db", create=True) as store:
        first = keep(store, CREATE, run_event("requires_action") + ASSISTANTS_DONE)
        keep(store, SUBMIT, run_event("completed") + ASSISTANTS_DONE, started_at=5 * SECOND)
        found = spans(store, [first.recording_id])
        whole, *below = found
    assert len(below) == 2
    assert {each["parentSpanId"] for each in below} == {whole["spanId"]}
    assert [told(each)["recorder.action"] for each in below] == ["create", "submit_tool_outputs"]
    assert whole["endTimeUnixNano"] == below[1]["endTimeUnixNano"]
    assert told(whole)["gen_ai.agent.id"] == "asst_torture"
    assert told(whole)["gen_ai.response.finish_reasons"] == ["stop"]
    assert told(whole)["recorder.tool_wait"] > 0


def test_a_part_that_another_trace_called_for_links_to_it(tmp_path: Path) -> None:
    """The run is one trace; who called for a part of it elsewhere is not forgotten."""
    entry = chat("hi", said("a"), trace=TRACE)
    other = replace(entry.recording, trace=TRACE.replace("0af7", "1111"))
    reading = None
    with Store.open(tmp_path / "a.db", create=True) as store:
        put(store, entry.recording, list(entry.events))
        run = store.run(entry.recording.recording_id)
    parts = [otlp.Part(entry.recording, reading), otlp.Part(other, reading)]
    (line,) = exchange.to_otlp([otlp.Traced(run, parts, None)], "1")
    found = json.loads(line)["resourceSpans"][0]["scopeSpans"][0]["spans"]
    assert "links" not in found[1]
    assert found[2]["links"] == [{"traceId": "1111" + TRACE[7:35], "spanId": TRACE[36:52], "flags": 1}]


def test_texts_are_told_only_where_that_is_wanted(golden: tuple[Store, dict[str, UUID]]) -> None:
    """By default no word of what was asked or answered, no query, no message of an error."""
    store, ids = golden
    words = ("How many ships", "Be brief", "Tell me of the harbour", "Upstream provider", "Rate limit reached")
    quiet = json.dumps(requests(store, ids.values()), ensure_ascii=False)
    assert not [word for word in words if word in quiet]
    loud = of(golden, "chat-stop", content=True)
    assert json.loads(loud["gen_ai.input.messages"])[1] == {
        "role": "user",
        "parts": [{"type": "text", "content": "How many ships can sail today?"}],
    }
    (answer,) = json.loads(loud["gen_ai.output.messages"])
    assert (answer["role"], answer["finish_reason"], answer["parts"][0]["type"]) == ("assistant", "stop", "text")
    assert json.loads(of(golden, "responses-completed", content=True)["gen_ai.system_instructions"]) == [
        {"type": "text", "content": "Answer briefly."}
    ]


def test_what_a_loop_of_tools_sends_again_is_told_as_whose_it_was() -> None:
    """The items of `input` in the Responses API: a call is the assistant's and no empty message of the user's."""
    asked = {
        "input": [
            {"role": "user", "content": "Weather?"},
            {"type": "reasoning", "id": "rs_1", "summary": []},
            {"type": "function_call", "call_id": "call_1", "name": "weather", "arguments": "{}"},
            {"type": "function_call_output", "call_id": "call_1", "output": "rain"},
            {"type": "computer_call_output", "call_id": "call_2", "output": {"type": "computer_screenshot"}},
            {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "Rain."}]},
        ]
    }
    assert json.loads(spoken.input_messages(asked) or "") == [
        {"role": "user", "parts": [{"type": "text", "content": "Weather?"}]},
        {"role": "assistant", "parts": [{"type": "reasoning"}]},
        {"role": "assistant", "parts": [{"type": "tool_call", "id": "call_1", "name": "weather", "arguments": "{}"}]},
        {"role": "tool", "parts": [{"type": "tool_call_response", "id": "call_1", "response": "rain"}]},
        {"role": "tool", "parts": [{"type": "computer_call_output"}]},
        {"role": "assistant", "parts": [{"type": "text", "content": "Rain."}]},
    ]


def test_many_runs_are_several_requests(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """None of which is too large for a collector; and what still goes on is left out and told."""
    monkeypatch.setattr(otlp, "MOST_SPANS", 4)
    entries = [chat(str(number), said("a")) for number in range(5)]
    running: list[UUID] = []
    with Store.open(tmp_path / "a.db", create=True) as store:
        for entry in entries:
            put(store, entry.recording, list(entry.events))
        open_one = chat("open", said("a"))
        put(store, replace(open_one.recording, ending=None), list(open_one.events[:2]))
        ids = store.recording_ids()
        lines = list(exchange.to_otlp(exchange.traced(store, ids, running), "1"))
    assert [line.count('"kind":3') for line in lines] == [4, 4, 2]
    assert running == [open_one.recording.recording_id]


def test_values_that_json_cannot_say_are_text() -> None:
    """Numbers beyond 64 bits, infinities, half characters."""
    assert otlp._value(1 << 70) == {"stringValue": str(1 << 70)}
    assert otlp._value(float("inf")) == {"stringValue": "inf"}
    assert otlp._value("\ud800") == {"stringValue": "\ufffd"}
    assert otlp._value(True) == {"boolValue": True}
