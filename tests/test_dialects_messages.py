"""Anthropic's Messages: every stop reason, both shapes of an answer, usage that grows, every contradiction; and what
the real SDK makes of the same bytes.

The golden streams in streams/ were written by the project; their readings were reviewed by hand.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic_core import from_json

from recorder.dialects.base import parse
from recorder.dialects.messages import Messages
from recorder.recording import Event, HeaderList, Reading, Recording, Request, Status, StopReason
from tests import golden
from tests.damage import damaged
from tests.needs import CORPUS
from tests.tape import JSON, post, read, recorded, request

NAMES = golden.names("messages")
BODY: dict[str, Any] = {"model": "claude-x", "max_tokens": 100, "messages": [{"role": "user", "content": "hi"}]}
ASK = post("/v1/messages", **BODY, stream=True)

_DIALECT = Messages()


def frames(*values: dict[str, Any]) -> bytes:
    """The events, each named as its payload says."""
    return b"".join(f"event: {value['type']}\ndata: {json.dumps(value)}\n\n".encode() for value in values)


def start(usage: dict[str, Any] | None = None, **fields: Any) -> dict[str, Any]:
    message = {"id": "msg_1", "type": "message", "role": "assistant", "model": "claude-x", "content": []}
    return {"type": "message_start", "message": {**message, "stop_reason": None, "usage": usage or {}, **fields}}


def block(index: int, **content: Any) -> dict[str, Any]:
    return {"type": "content_block_start", "index": index, "content_block": content}


def piece(index: int, kind: str, text: Any) -> dict[str, Any]:
    field = {"text_delta": "text", "thinking_delta": "thinking", "input_json_delta": "partial_json"}.get(kind, "x")
    return {"type": "content_block_delta", "index": index, "delta": {"type": kind, field: text}}


def ended(index: int) -> dict[str, Any]:
    return {"type": "content_block_stop", "index": index}


def stopped(reason: str | None = "end_turn", usage: dict[str, Any] | None = None, **fields: Any) -> dict[str, Any]:
    delta = {"stop_reason": reason, "stop_sequence": None, **fields}
    return {"type": "message_delta", "delta": delta, "usage": usage or {"output_tokens": 5}}


STOP = {"type": "message_stop"}
TEXT = (block(0, type="text", text=""), piece(0, "text_delta", "Aye"), piece(0, "text_delta", "."), ended(0))


def told(*values: dict[str, Any], asked: Request = ASK, **how: Any) -> Reading:
    return read(asked, frames(*values), **how)


# -- golden streams ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_golden_streams(name: str) -> None:
    assert golden.as_json(golden.stream_reading(name)) == golden.sidecar(name)["reading"]


@pytest.mark.parametrize("name", [name for name in NAMES if "document" in golden.sidecar(name)])
def test_the_same_answer_as_json_reads_alike(name: str) -> None:
    assert golden.document_differences(name) == {}


def test_every_stop_reason_that_the_sdk_knows_is_in_a_golden_stream() -> None:
    types = pytest.importorskip("anthropic.types.beta", reason="anthropic's client is not installed")
    seen = {golden.sidecar(name)["reading"].get("stop_reason_raw") for name in NAMES}
    assert set(get_args(types.BetaStopReason)) <= seen


def test_every_event_and_delta_that_the_sdk_knows_is_read() -> None:
    """None of them is counted as unknown."""
    for path in comparable():
        assert "unknown_events" not in read(ASK, path.read_bytes()).facts


# -- the outcome ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reason", "status", "neutral"),
    [
        ("end_turn", Status.COMPLETED, StopReason.STOP),
        ("stop_sequence", Status.COMPLETED, StopReason.STOP),
        ("tool_use", Status.REQUIRES_ACTION, StopReason.TOOL_CALL),
        ("max_tokens", Status.INCOMPLETE, StopReason.OUTPUT_LIMIT),
        ("model_context_window_exceeded", Status.INCOMPLETE, StopReason.INPUT_LIMIT),
        ("refusal", Status.INCOMPLETE, StopReason.REFUSAL),
        ("pause_turn", Status.INCOMPLETE, StopReason.PAUSED),
        ("compaction", Status.INCOMPLETE, StopReason.PAUSED),
        ("dreaming", Status.UNKNOWN, None),
        (None, Status.IN_PROGRESS, None),
    ],
)
def test_stop_reasons(reason: str | None, status: str, neutral: str | None) -> None:
    reading = told(start(), *TEXT, stopped(reason), STOP)
    assert (reading.status, reading.stop_reason, reading.stop_reason_raw) == (status, neutral, reason)
    assert reading.complete is (reason is not None)
    assert ("no_terminal_event" in reading.flags) is (reason is None)


def test_a_request_for_a_compaction_alone_is_completed_by_it() -> None:
    asked = post("/v1/messages", **BODY, compaction={"type": "auto"}, stream=True)
    assert told(start(), *TEXT, stopped("compaction"), STOP, asked=asked).status == Status.COMPLETED


def test_without_its_last_event_a_stream_is_not_complete() -> None:
    reading = told(start(), *TEXT, stopped())
    assert (reading.status, reading.complete, reading.flags) == (Status.COMPLETED, False, ("no_end_marker",))


@pytest.mark.parametrize("data", ['{"type":"error","error":{"type":"api_error","message":"m"}}', "overloaded", ""])
def test_an_error_event_fails_the_run_whatever_it_says(data: str) -> None:
    body = frames(start({"input_tokens": 3}), *TEXT) + f"event: error\ndata: {data}\n\n".encode()
    reading = read(ASK, body)
    if not data:  # an EventSource still dispatches it
        assert "malformed_json" in reading.flags
    assert (reading.status, reading.stop_reason, reading.complete) == (Status.FAILED, StopReason.ERROR, True)
    assert reading.stop_reason_raw == ("api_error" if data.startswith("{") else None)
    assert "no_end_marker" not in reading.flags
    assert (reading.input_tokens, reading.usage_quality) == (3, "partial")


def test_an_error_after_the_stop_reason_contradicts_it() -> None:
    error = {"type": "error", "error": {"type": "api_error", "message": "m"}, "request_id": "req_7"}
    reading = told(start(), *TEXT, stopped(), error)
    assert (reading.status, reading.request_id) == (Status.FAILED, "req_7")
    assert reading.facts["disagreements"] == ["two_endings"]


def test_a_name_that_the_payload_does_not_repeat_counts() -> None:
    """Servers of this protocol send a ping or an end without any payload to speak of; gateways add their own end."""
    stream = frames(start(), stopped()) + b"event: ping\ndata: {}\n\nevent: message_stop\ndata: {}\n\n"
    reading = read(ASK, stream + b"event: data\ndata: [DONE]\n\n")
    assert (reading.status, reading.complete) == (Status.COMPLETED, True)
    assert (reading.flags, reading.facts.get("unknown_events")) == ((), None)


def test_pings_and_unknown_events_change_nothing() -> None:
    plain = told(start(), *TEXT, stopped(), STOP)
    more = told(
        {"type": "ping"},
        start(),
        *TEXT[:2],
        {"type": "weather"},
        piece(0, "scent_delta", "x"),
        *TEXT[2:],
        stopped(),
        STOP,
    )
    assert more.facts["unknown_events"] == {"weather": 1, "content_block_delta scent_delta": 1}
    for name in ("status", "text", "flags", "complete", "output_tokens"):
        assert getattr(more, name) == getattr(plain, name)


@pytest.mark.parametrize(
    ("values", "what"),
    [
        ((*TEXT, stopped(), STOP), "no_message_start"),
        ((start(), *TEXT[1:], stopped(), STOP), "block_not_started"),
        ((start(), ended(3), *TEXT, stopped(), STOP), "block_not_started"),
        ((start(), TEXT[0], *TEXT, stopped(), STOP), "block_started_twice"),
        ((start(), *TEXT[:-1], stopped(), STOP), "block_not_ended"),
        ((start(), *TEXT, stopped("tool_use"), STOP), "tool_use"),
        ((start(), block(0, type="tool_use", name="t", input={}), ended(0), stopped(), STOP), "tool_use"),
        ((start(), *TEXT, stopped("stop_sequence"), STOP), "stop_sequence"),
        ((start(), *TEXT, stopped(stop_sequence="END"), STOP), "stop_sequence"),
        ((start(), *TEXT, stopped(stop_details={"type": "refusal"}), STOP), "stop_details"),
        ((start(), *TEXT, stopped("max_tokens"), stopped("end_turn"), STOP), "two_endings"),
        ((start(), start(id="msg_2"), *TEXT, stopped(), STOP), "two_messages"),
    ],
)
def test_contradictions_are_flagged_with_what_they_are(values: tuple[dict[str, Any], ...], what: str) -> None:
    reading = told(*values)
    assert "disagreement" in reading.flags
    assert reading.facts["disagreements"] == [what]


def test_a_consistent_stream_has_no_contradiction() -> None:
    calls = (block(1, type="tool_use", id="toolu_1", name="t", input={}), ended(1))
    for values in (
        (start(), *TEXT, stopped(), STOP),
        (start(), start(), *TEXT, stopped(), stopped(), STOP),
        (start(), *TEXT, *calls, stopped("tool_use"), STOP),
        (start(), *TEXT[:-1], stopped("max_tokens"), STOP),
        (start(), *TEXT, stopped("stop_sequence", stop_sequence=""), STOP),
    ):
        assert told(*values).flags == ()


def test_of_two_messages_in_one_stream_the_last_one_stands() -> None:
    first = (start({"input_tokens": 1, "cache_read_input_tokens": 9}), *TEXT, stopped("max_tokens"), STOP)
    reading = told(*first, start({"input_tokens": 7}, id="msg_2"), *TEXT, stopped("end_turn"), STOP)
    assert (reading.provider_run_id, reading.status, reading.input_tokens) == ("msg_2", Status.COMPLETED, 7)
    assert (reading.text, reading.facts["messages"]) == ("Aye.Aye.", 2)


# -- usage ------------------------------------------------------------------------------------------------------------

BUCKETS = ("input_tokens", "uncached_tokens", "cached_tokens", "cache_write_tokens", "cache_write_5m_tokens",
           "cache_write_1h_tokens", "output_tokens", "visible_tokens", "reasoning_tokens")  # fmt: skip
WROTE = {"input_tokens": 4, "cache_read_input_tokens": 10, "cache_creation_input_tokens": 6}


def lives(five: int | None, hour: int | None) -> dict[str, Any]:
    return {"cache_creation": {"ephemeral_5m_input_tokens": five, "ephemeral_1h_input_tokens": hour}}


@pytest.mark.parametrize(
    ("first", "last", "buckets", "flags"),
    [
        # Older models report no cache: what was not cached is what the wire calls input.
        ({"input_tokens": 4}, {"output_tokens": 5}, (4, 4, None, None, None, None, 5, None, None), ()),
        ({**WROTE, **lives(2, 4)}, {"output_tokens": 5}, (20, 4, 10, None, 2, 4, 5, None, None), ()),
        ({**WROTE, **lives(6, None)}, {"output_tokens": 5}, (20, 4, 10, None, 6, None, 5, None, None), ()),
        # No breakdown: the default life.
        (WROTE, {"output_tokens": 5}, (20, 4, 10, None, 6, None, 5, None, None), ()),
        # A breakdown that is older than the total is outdated; one that came with it contradicts it.
        (
            {"input_tokens": 4, "cache_creation_input_tokens": 0, **lives(0, 0)},
            {**WROTE, "output_tokens": 5},
            (20, 4, 10, None, 6, None, 5, None, None),
            (),
        ),
        ({**WROTE, **lives(1, 1)}, {"output_tokens": 5}, (20, 4, 10, 6, None, None, 5, None, None), ("usage_sum",)),
        # The last figure that is not null counts; nothing is added.
        (WROTE, {"input_tokens": 9, "cache_read_input_tokens": None, "output_tokens": 5},
         (25, 9, 10, None, 6, None, 5, None, None), ()),
        ({"input_tokens": 4}, {"output_tokens": 5, "output_tokens_details": {"thinking_tokens": 3}},
         (4, 4, None, None, None, None, 5, 2, 3), ()),
        ({"input_tokens": 4}, {"output_tokens": 5, "output_tokens_details": {"thinking_tokens": 6}},
         (4, 4, None, None, None, None, 5, None, 6), ("usage_sum",)),
        # Nothing but preliminary output: unknown.
        ({"input_tokens": 4, "output_tokens": 1}, {"server_tool_use": {}}, (4, 4, *(None,) * 7), ()),
        ({"input_tokens": "4", "output_tokens": True}, {"output_tokens": 5.5}, (None,) * 9, ()),
    ],
)  # fmt: skip
def test_usage(
    first: dict[str, Any], last: dict[str, Any], buckets: tuple[int | None, ...], flags: tuple[str, ...]
) -> None:
    reading = told(start(first), *TEXT, stopped(usage=last), STOP)
    assert tuple(getattr(reading, name) for name in BUCKETS) == buckets
    assert reading.flags == flags
    assert reading.usage_quality == (
        "missing" if buckets[0] is None else "partial" if buckets[6] is None else "reported"
    )


@pytest.mark.parametrize(("ttl", "kept"), [("1h", True), ("5m", True), ("5m", False)])
def test_a_write_without_a_stated_life_is_five_minutes_unless_an_hour_may_have_been_asked_for(
    ttl: str, kept: bool
) -> None:
    asked = post("/v1/messages", **BODY, cache_control={"type": "ephemeral", "ttl": ttl})
    reading = told(start(WROTE), *TEXT, stopped(), STOP, asked=asked if kept else replace(asked, body=None))
    known = kept and ttl == "5m"
    assert (reading.cache_write_5m_tokens, reading.cache_write_tokens) == ((6, None) if known else (None, 6))


def test_output_of_several_message_deltas_is_never_summed() -> None:
    counts = (stopped(None, {"output_tokens": count}) for count in (10, 20))
    reading = told(start({"input_tokens": 1, "output_tokens": 3}), *TEXT, *counts, stopped(usage={"output_tokens": 30}))
    assert reading.output_tokens == 30
    cut = told(start({"input_tokens": 1, "output_tokens": 3}), *TEXT, stopped(None, {"output_tokens": 10}))
    assert (cut.output_tokens, cut.usage_quality) == (10, "partial")


def test_the_output_of_message_start_is_kept_as_evidence_alone() -> None:
    reading = told(start({"input_tokens": 1, "output_tokens": 3}), *TEXT)
    assert (reading.output_tokens, reading.total_tokens, reading.usage_quality) == (None, None, "partial")
    assert reading.facts["evidence"]["usage"] == {"value": {"input_tokens": 1, "output_tokens": 3}, "position": 1}


def test_the_cap_is_compared_with_all_of_the_output() -> None:
    assert told(start(), *TEXT, stopped(usage={"output_tokens": 100}), STOP).flags == ("output_cap_reached",)
    assert told(start(), *TEXT, stopped("max_tokens", {"output_tokens": 99}), STOP).flags == ()


# -- text, thinking, calls --------------------------------------------------------------------------------------------


def test_the_first_token_may_be_a_thought_or_an_argument_and_the_first_visible_one_is_text() -> None:
    def at(reading: Reading, number: int | None) -> int | None:
        """When the event with that number came."""
        return None if number is None else events[number].elapsed_us

    silent = piece(0, "text_delta", "")
    for values, first, visible in (
        ((start(), TEXT[0], silent, *TEXT[1:]), 3, 3),
        ((start(), block(0, type="thinking", thinking=""), piece(0, "thinking_delta", "hm"), *TEXT), 2, 4),
        ((start(), block(0, type="tool_use", name="t"), piece(0, "input_json_delta", "{"), *TEXT), 2, 4),
        ((start(), block(0, type="text", text="whole"), ended(0)), 1, 1),
        ((start(), block(0, type="thinking", thinking=""), piece(0, "signature_delta", "c2ln")), None, None),
    ):
        recording, rows = recorded(ASK, frames(*values))
        events = [event for event in rows if event.kind == "sse"]
        reading = _DIALECT.read(recording, rows)
        assert (reading.ttft_us, reading.ttft_visible_us) == (at(reading, first), at(reading, visible))


def test_everything_spelled_out_is_told_apart() -> None:
    values = (
        start(),
        block(0, type="thinking", thinking=""),
        piece(0, "thinking_delta", "hm "),
        piece(0, "thinking_delta", "yes"),
        ended(0),
        block(1, type="text", text=""),
        piece(1, "text_delta", "Aye."),
        ended(1),
        block(2, type="server_tool_use", id="srvtoolu_1", name="web_search", input={}),
        piece(2, "input_json_delta", '{"query":'),
        piece(2, "input_json_delta", '"a"}'),
        ended(2),
        block(3, type="mcp_tool_use", id="mcptoolu_1", name="echo", input={"a": 1}),
        ended(3),
        block(4, type="tool_use", id="toolu_1", name="tide", input={}),
        piece(4, "input_json_delta", '{"port":"Ki'),
    )
    reading = told(*values, stopped("max_tokens"))
    said = [(spoken.kind, spoken.name, spoken.text, spoken.ended) for spoken in reading.spoken]
    assert said == [
        ("reasoning", None, "hm yes", True),
        ("text", None, "Aye.", True),
        ("arguments", "web_search", '{"query":"a"}', True),
        ("arguments", "tide", '{"port":"Ki', False),
        ("arguments", "echo", '{"a":1}', True),
    ]
    assert [list(spoken.offsets) for spoken in reading.spoken] == [[0, 3], [0], [0, 9], [0], [0]]
    assert [list(spoken.positions) for spoken in reading.spoken] == [[3, 4], [7], [10, 11], [16], [13]]
    assert reading.flags == ("no_end_marker", "tool_call_open")
    assert reading.facts["steps"] == [
        {"type": "thinking", "position": 2},
        {"type": "text", "position": 6},
        {"type": "server_tool_use", "name": "web_search", "position": 9},
        {"type": "mcp_tool_use", "name": "echo", "position": 13},
        {"type": "tool_use", "name": "tide", "position": 15},
    ]
    calls = reading.facts["content"]["tool_calls"]
    assert [(call["id"], call["arguments"]) for call in calls] == [
        ("srvtoolu_1", '{"query":"a"}'),
        ("mcptoolu_1", '{"a":1}'),
        ("toolu_1", '{"port":"Ki'),
    ]


def test_a_call_without_arguments_says_none() -> None:
    reading = told(
        start(), block(0, type="tool_use", id="toolu_1", name="now", input={}), ended(0), stopped("tool_use")
    )
    assert reading.spoken == ()
    assert reading.facts["content"]["tool_calls"] == [{"id": "toolu_1", "type": "tool_use", "name": "now"}]


def test_no_text_is_not_an_empty_text() -> None:
    assert told(start(), stopped(), STOP).text is None
    assert told(start(), block(0, type="text", text=""), ended(0), stopped(), STOP).text == ""


def test_at_most_256_blocks_become_steps() -> None:
    many = [value for index in range(300) for value in (block(index, type="text", text=""), ended(index))]
    assert len(told(start(), *many, stopped(), STOP).facts["steps"]) == 256


# -- what was asked ---------------------------------------------------------------------------------------------------


def with_headers(asked: Request, headers: HeaderList) -> Request:
    return replace(asked, headers=headers)


def test_the_whole_parameter_set_is_kept_as_sent() -> None:
    body = {**BODY, "stream": True, "temperature": None, "thinking": {"type": "adaptive"}, "tomorrow": [1]}
    asked = post("/v1/messages?beta=true", **body)
    assert _DIALECT.asked(asked) == {**body, "beta": "true"}
    assert read(asked, b"").parameters == {**body, "beta": "true"}
    assert _DIALECT.contents <= {"messages", "system", "tools", "mcp_servers"}


@pytest.mark.parametrize("body", [None, b"", b"[1]", b'{"messages"'])
def test_without_an_object_nothing_was_asked(body: bytes | None) -> None:
    asked = request("POST", "/v1/messages", body)
    assert _DIALECT.asked(asked) == {}
    assert _DIALECT.read(*recorded(asked, b"", dialect="messages")).parameters is None


def test_elsewhere_the_model_stands_in_the_path() -> None:
    body = {"anthropic_version": "vertex-2023-10-16", "max_tokens": 9, "messages": []}
    vertex = post("/v1/projects/p/locations/l/publishers/anthropic/models/claude-x@20250101:streamRawPredict", **body)
    assert _DIALECT.asked(vertex) == {**body, "model": "claude-x@20250101"}
    reading = told(start(model="claude-x-20250101"), *TEXT, stopped(), STOP, asked=vertex)
    assert (reading.dialect, reading.model, reading.flags) == ("messages", "claude-x-20250101", ())
    assert "no_terminal_event" in read(vertex, b"").flags


def test_the_api_version_and_the_betas_are_kept() -> None:
    asked = with_headers(ASK, (("anthropic-version", "2023-06-01"), ("Anthropic-Beta", "a"), ("anthropic-beta", "b")))
    assert told(start(), asked=asked).facts["api"] == {"version": "2023-06-01", "beta": "a, b"}
    assert "api" not in told(start()).facts


def test_a_thread_links_to_the_response_before() -> None:
    asked = post("/v1/messages", **BODY, thread={"type": "continue", "previous_message_id": "msg_0"})
    assert told(start(), asked=asked).previous_response_id == "msg_0"


@pytest.mark.parametrize(
    ("fields", "name"),
    [
        ({}, None),
        ({"output_config": {"effort": "low"}}, None),
        ({"output_config": {"format": {"type": "json_schema", "schema": {}}}}, "json_schema"),
        ({"output_format": {"type": "json_schema", "schema": {}}}, "json_schema"),
        ({"output_config": {"format": {"type": "grammar"}}}, "grammar"),
    ],
)
def test_response_format(fields: dict[str, Any], name: str | None) -> None:
    assert told(start(), asked=post("/v1/messages", **BODY, **fields)).response_format == name


@pytest.mark.parametrize(
    ("management", "strategy"),
    [
        (None, None),
        ({"edits": []}, None),
        ({"edits": "all"}, None),
        ({"edits": [{"type": "clear_thinking_20251015"}, {"keep": 1}, {"type": "compact_20260112"}]},
         "clear_thinking_20251015,compact_20260112"),
    ],
)  # fmt: skip
def test_context_edits_are_the_truncation_strategy(management: Any, strategy: str | None) -> None:
    asked = post("/v1/messages", **BODY, context_management=management)
    assert _DIALECT.parameters(asked).get("truncation_strategy") == strategy
    assert told(start(), asked=asked).truncation_strategy == strategy


@pytest.mark.parametrize(
    ("fields", "outside"),
    [
        ({"temperature": 1, "top_p": 0, "top_k": 0, "max_tokens": 0}, []),
        ({"temperature": 1.01}, ["temperature"]),
        ({"temperature": -0.1, "top_p": 1.5, "top_k": -1}, ["temperature", "top_k", "top_p"]),
        ({"max_tokens": -1}, ["max_tokens"]),
        ({"max_tokens": 2000, "thinking": {"type": "enabled", "budget_tokens": 1024}}, []),
        ({"max_tokens": 2000, "thinking": {"type": "enabled", "budget_tokens": 1023}}, ["thinking.budget_tokens"]),
        ({"max_tokens": 2000, "thinking": {"type": "enabled", "budget_tokens": 2000}}, ["thinking.budget_tokens"]),
        ({"temperature": None, "top_p": "high", "thinking": None}, []),
    ],
)
def test_limits_are_told_and_refuse_nothing(fields: dict[str, Any], outside: list[str]) -> None:
    reading = told(start(), *TEXT, stopped(), STOP, asked=post("/v1/messages", **{**BODY, **fields}))
    assert [limit["parameter"] for limit in reading.facts.get("limits", [])] == outside
    assert ("outside_limits" in reading.flags) is bool(outside)


def test_interleaved_thinking_may_take_more_than_max_tokens() -> None:
    asked = post("/v1/messages", **BODY, thinking={"type": "enabled", "budget_tokens": 5000})
    beta = (("anthropic-beta", "interleaved-thinking-2025-05-14"),)
    assert "limits" in told(start(), asked=asked).facts
    assert "limits" not in told(start(), asked=with_headers(asked, beta)).facts


@pytest.mark.parametrize(
    ("asked", "served", "same"),
    [
        ("claude-x", "claude-x", True),
        ("claude-3-7-sonnet-latest", "claude-3-7-sonnet-20250219", True),
        ("claude-sonnet-4-0", "claude-sonnet-4-20250514", True),
        ("claude-sonnet-4-5", "claude-sonnet-4-5-20250929", True),
        ("claude-sonnet-4-5-20250929", "claude-sonnet-4-5", True),
        ("us.anthropic.claude-sonnet-4-5-20250929-v1:0", "claude-sonnet-4-5-20250929", True),
        ("anthropic/claude-sonnet-4-5", "claude-sonnet-4-5-20250929", True),
        ("claude-sonnet-4-5@20250929", "claude-sonnet-4-5-20250929", True),
        ("us-gov.anthropic.claude-sonnet-4-5-20250929-v1:0", "claude-sonnet-4-5-20250929", True),
        ("arn:aws:bedrock:r:1:inference-profile/eu.anthropic.claude-sonnet-4-6", "claude-sonnet-4-6", True),
        ("anthropic/claude-sonnet-4.6", "anthropic/claude-4.6-sonnet-20260217", True),
        ("anthropic/claude-sonnet-4.6", "anthropic/claude-4.5-sonnet-20250929", False),
        ("claude-sonnet-4-5-20250929", "claude-sonnet-4-5-20251101", False),
        ("claude-sonnet-4", "claude-sonnet-4-5-20250929", False),
        ("claude-3-5-haiku", "claude-5-3-haiku", False),
        ("anthropic/claude-4.6-sonnet-20260217", "claude-sonnet-4-6-20260217", True),
        ("claude-opus-4-8", "claude-sonnet-4-6", False),
    ],
)
def test_an_alias_is_no_difference_and_another_model_is(asked: str, served: str, same: bool) -> None:
    reading = told(start(model=served), *TEXT, stopped(), STOP, asked=post("/v1/messages", **{**BODY, "model": asked}))
    assert reading.model == served
    assert reading.facts.get("echo_differs") == (None if same else {"model": [asked, served]})
    assert reading.flags == (() if same else ("echo_differs",))


@pytest.mark.parametrize(
    ("name", "wanted", "given", "same"),
    [
        ("speed", "fast", "standard", False),
        ("speed", "fast", "fast", True),
        ("inference_geo", "us", "global", False),
        ("service_tier", "auto", "standard", True),
        ("service_tier", "auto", "priority", True),
        ("service_tier", "standard_only", "standard", True),
        ("service_tier", "standard_only", "priority", False),
    ],
)
def test_what_the_usage_echoes_is_compared_with_what_was_asked(name: str, wanted: str, given: str, same: bool) -> None:
    asked = post("/v1/messages", **BODY, **{name: wanted})
    reading = told(start({"input_tokens": 1, name: given}), *TEXT, stopped(), STOP, asked=asked)
    assert reading.facts.get("echo_differs") == (None if same else {name: [wanted, given]})
    assert reading.service_tier == (given if name == "service_tier" else None)


def test_content_can_be_left_out_in_one_piece() -> None:
    """Nothing of what the model or the provider said in words stands anywhere else."""
    secret = "quince"
    values = (
        start(),
        block(0, type="text", text=secret),
        ended(0),
        block(1, type="tool_use", id="toolu_1", name="t", input={"a": secret}),
        ended(1),
        stopped("refusal", stop_details={"type": "refusal", "explanation": secret, "fallback_credit_token": secret}),
        {"type": "error", "error": {"type": "api_error", "message": secret}},
    )
    facts = dict(told(*values).facts)
    assert secret in json.dumps(facts.pop("content"))
    assert secret not in json.dumps(facts)


# -- whatever comes ---------------------------------------------------------------------------------------------------


def streams() -> list[tuple[str, Recording, list[Event]]]:
    """The project's golden streams as recordings."""
    return [(name, *recorded(ASK, (golden.STREAMS / f"{name}.sse").read_bytes())) for name in NAMES]


GOLDEN = streams()


def said_reasons(events: list[Event]) -> set[str]:
    """The stop reasons that these rows state."""
    payloads = (parse(event.data) for event in events if event.kind == "sse" and event.data)
    found = ((value.get("delta") or value.get("message") or {}).get("stop_reason") for value in payloads)
    return {reason for reason in found if reason}


@given(st.data())
def test_events_removed_doubled_moved_or_cut_never_make_a_stream_complete(data: st.DataObject) -> None:
    _, recording, whole = data.draw(st.sampled_from(GOLDEN))
    events = damaged(data, whole)
    reading = _DIALECT.read(recording, events)
    if reading.status == Status.COMPLETED:
        assert said_reasons(events) & {"end_turn", "stop_sequence"}
    if reading.complete:
        assert any(event.type in {"message_stop", "error"} for event in events)
    golden.as_json(reading)  # all of it is JSON


@pytest.mark.parametrize("told_so", GOLDEN, ids=lambda told_so: told_so[0])
def test_a_missing_event_that_ends_something_is_flagged(told_so: tuple[str, Recording, list[Event]]) -> None:
    """Each of the golden streams that ends, without its stop reason, without its end, and without both."""
    name, recording, events = told_so
    whole = _DIALECT.read(recording, events)
    for missing, flags in (
        ({"message_delta"}, {"no_terminal_event"}),
        ({"message_stop"}, {"no_end_marker"}),
        ({"message_delta", "message_stop"}, {"no_terminal_event", "no_end_marker"}),
        ({"message_start"}, {"disagreement"}),
        ({"content_block_start"}, {"disagreement"}),
    ):
        if whole.complete and whole.stop_reason != StopReason.ERROR:
            left = [event for event in events if event.type not in missing]
            assert flags <= set(_DIALECT.read(recording, left).flags), (name, missing)


_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    *("type", "index", "delta", "content_block", "message", "usage", "content", "text", "stop_reason"),
                    *("stop_details", "container", "context_management", "input", "name", "output_tokens", "error"),
                    *("cache_creation", "partial_json", "thinking", "id", "to", "applied_edits"),
                ]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=14,
)


@given(
    st.lists(
        st.builds(
            lambda kind, value, deeper: {**(value if isinstance(value, dict) else {}), "type": kind, **deeper},
            st.sampled_from(
                [
                    *("message_start", "content_block_start", "content_block_delta", "content_block_stop"),
                    *("message_delta", "message_stop", "error", "ping"),
                ]
            ),
            _VALUES,
            st.dictionaries(
                st.sampled_from(["delta", "message", "content_block", "index", "usage"]), _VALUES, max_size=3
            ),
        ),
        max_size=6,
    )
)
def test_payloads_of_any_shape_are_read(values: list[dict[str, Any]]) -> None:
    reading = told(*values)
    assert reading.status in set(Status)
    golden.as_json(reading)
    for value in values:
        golden.as_json(read(ASK, json.dumps({**value, "type": "message"}).encode(), headers=JSON))


# -- against the SDK --------------------------------------------------------------------------------------------------

SEVERAL = "the file holds several answers one after the other; the SDK adds their blocks to the first message"
PRELIMINARY = "cut: the SDK shows the output of message_start, which is preliminary"

#: Where the SDK has something else, or nothing, and why.
NOT_FOR_THE_SDK = {
    "anthropic-024": SEVERAL,
    "anthropic-029": SEVERAL,
    "messages-error": "an error event ends its stream with an exception",
}
PRELIMINARY_IN_THE_SDK = {"messages-cut": PRELIMINARY, "messages-no-stop-reason": PRELIMINARY}


def comparable() -> list[Path]:
    """The project's own streams and the published ones."""
    return [*sorted(golden.STREAMS.glob("messages-*.sse")), *sorted((CORPUS / "anthropic").glob("*.sse"))]


def name_of(path: Path) -> str:
    return path.stem if path.parent == golden.STREAMS else path.stem[: len("anthropic-000")]


def asking(anthropic: Any, httpx2: Any, body: bytes) -> Iterator[Any]:
    """A client that is answered with these bytes, and closed afterwards."""

    def answer(_: Any) -> Any:
        return httpx2.Response(200, headers={"content-type": "text/event-stream"}, content=body)

    with (
        httpx2.Client(transport=httpx2.MockTransport(answer)) as http,
        anthropic.Anthropic(api_key="none", http_client=http, max_retries=0) as client,
    ):
        yield client


@pytest.mark.parametrize("api", ["messages", "beta.messages"])
@pytest.mark.parametrize("path", comparable(), ids=name_of)
def test_text_calls_and_usage_are_what_the_sdk_accumulates(path: Path, api: str) -> None:
    anthropic = pytest.importorskip("anthropic", reason="anthropic's client is not installed")
    httpx2 = pytest.importorskip("httpx2", reason="httpx2 is not installed")
    body, name = path.read_bytes(), name_of(path)
    for client in asking(anthropic, httpx2, body):
        endpoint = client.beta.messages if api.startswith("beta") else client.messages
        with endpoint.stream(**BODY) as stream:
            if name in NOT_FOR_THE_SDK:
                if name == "messages-error":
                    with pytest.raises(anthropic.APIStatusError):
                        stream.get_final_message()
                else:
                    assert stream.get_final_message().id != read(ASK, body).provider_run_id
                return
            final = stream.get_final_message()
    reading = read(ASK, body)
    assert reading.provider_run_id == final.id
    assert reading.stop_reason_raw == final.stop_reason
    if api == "beta.messages" or name != "messages-fallback":  # only the beta knows that block
        assert reading.model == final.model
    assert (reading.text or "") == "".join(each.text for each in final.content if each.type == "text")
    thoughts = "".join(each.thinking for each in final.content if each.type == "thinking")
    assert "".join(spoken.text for spoken in reading.spoken if spoken.kind == "reasoning") == thoughts
    assert_usage(reading, final.usage, preliminary=name in PRELIMINARY_IN_THE_SDK)
    kinds = {"tool_use", "server_tool_use", *({"mcp_tool_use"} if api == "beta.messages" else ())}
    calls = [(each.id, each.name, each.input) for each in final.content if each.type in kinds]
    ours = dict(reading.facts.get("content", {})).get("tool_calls", [])
    assert calls == [
        (call["id"], call["name"], from_json(call.get("arguments") or "{}", allow_partial=True))
        for call in ours
        if call["type"] in kinds
    ]
    assert [step["type"] for step in reading.facts.get("steps", [])] == [each.type for each in final.content]


def assert_usage(reading: Reading, usage: Any, *, preliminary: bool) -> None:
    assert reading.uncached_tokens == usage.input_tokens
    assert reading.cached_tokens == usage.cache_read_input_tokens
    assert reading.input_tokens == sum(
        count or 0 for count in (usage.input_tokens, usage.cache_read_input_tokens, usage.cache_creation_input_tokens)
    )
    assert reading.output_tokens == (None if preliminary else usage.output_tokens)
    details = usage.output_tokens_details
    assert reading.reasoning_tokens == (details and details.thinking_tokens)


@pytest.mark.parametrize("path", comparable(), ids=name_of)
def test_the_plain_stream_of_the_sdk_has_the_same_text_and_last_usage(path: Path) -> None:
    anthropic = pytest.importorskip("anthropic", reason="anthropic's client is not installed")
    httpx2 = pytest.importorskip("httpx2", reason="httpx2 is not installed")
    body = path.read_bytes()
    texts, output, reason = [], None, None
    for client in asking(anthropic, httpx2, body):
        try:
            for event in client.messages.create(**BODY, stream=True):
                if event.type == "content_block_delta" and event.delta.type == "text_delta":
                    texts.append(event.delta.text)
                elif event.type == "message_delta":
                    output = event.usage.output_tokens
                    reason = event.delta.stop_reason or reason
        except anthropic.APIStatusError:
            assert name_of(path) == "messages-error"
    reading = read(ASK, body)
    assert (reading.text or "") == "".join(texts)
    assert reading.output_tokens == output
    if reading.status != Status.FAILED:
        assert reading.stop_reason_raw == reason


def test_every_exception_from_the_comparison_is_one() -> None:
    """A name that no stream has any more must leave the lists."""
    names = {name_of(path) for path in comparable()}
    listed = {*NOT_FOR_THE_SDK, *PRELIMINARY_IN_THE_SDK}
    assert {name for name in listed if name.startswith("messages") or (CORPUS / "anthropic").is_dir()} <= names
