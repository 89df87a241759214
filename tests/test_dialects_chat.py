"""Chat Completions: every finish reason, every shape of an error and of usage, both forms of an answer; and what the
real SDK makes of the same bytes.

The streams in streams/ were written by the project; their sidecars say how each must be read (see golden.py).
"""

from __future__ import annotations

import contextlib
import itertools
import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recorder.dialects import by_name, recognise
from recorder.recording import Event, HeaderList, Reading, Recording, Request, Status, StopReason, UsageQuality
from recorder.sse import payload
from tests.golden import STREAMS, as_json, document_differences, names, sidecar, stream_reading
from tests.needs import CORPUS
from tests.tape import EVENT_STREAM, JSON, post, read, recorded, request

CHAT = by_name("chat")
GOLDEN = names("chat")
PATH = "/v1/chat/completions"
ASKED = post(PATH, model="gpt-4o", messages=[{"role": "user", "content": "hi"}], stream=True)
ABOUT = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "gpt-4o-2024-08-06"}


def sse(*chunks: dict[str, Any] | str, done: bool = True) -> bytes:
    """A stream of these payloads, with `[DONE]` unless told otherwise; a text that has a colon is a whole frame."""
    frames = [
        chunk if isinstance(chunk, str) and ":" in chunk else f"data: {json.dumps(chunk)}\n\n" for chunk in chunks
    ]
    return "".join([*frames, "data: [DONE]\n\n" if done else ""]).encode()


def chunk(
    delta: dict[str, Any] | None = None, finish: str | None = None, index: int = 0, **more: Any
) -> dict[str, Any]:
    """A chunk of one choice."""
    return {**ABOUT, "choices": [{"index": index, "delta": delta or {}, "finish_reason": finish}], **more}


def said(text: str) -> dict[str, Any]:
    return chunk({"content": text})


def called(name: str | None, arguments: str, **piece: Any) -> dict[str, Any]:
    """A chunk with a piece of a tool call."""
    function = {"arguments": arguments} | ({"name": name} if name else {})
    return chunk({"tool_calls": [{**piece, "function": function}]})


def asking(**body: Any) -> Request:
    return post(PATH, **{"model": "gpt-4o", "messages": [], "stream": True, **body})


def stop(*chunks: dict[str, Any] | str, asked: Request = ASKED, **more: Any) -> Reading:
    """The reading of a stream that says these and then ends by itself."""
    return read(asked, sse(*chunks, chunk(finish="stop", **more)))


def calls_of(reading: Reading) -> list[tuple[str | None, str]]:
    return [(spoken.name, spoken.text) for spoken in reading.spoken if spoken.kind == "arguments"]


def texts_of(reading: Reading, kind: str) -> list[str]:
    return [spoken.text for spoken in reading.spoken if spoken.kind == kind]


# -- golden streams ---------------------------------------------------------------------------------------------------

# Reviewed by hand: status, stop reason, raw reason; input, output, cached, reasoning tokens and their quality; flags.
REVIEWED: dict[str, tuple[str, str | None, str | None, tuple[int | None, ...], str, set[str]]] = {
    "stop": ("completed", "stop", "stop", (1420, 7, 1280, 0), "reported", set()),
    "length": ("incomplete", "output_limit", "length", (29, 8, 0, 0), "reported", {"output_cap_reached"}),
    "content-filter": ("incomplete", "content_filter", "content_filter", (None,) * 4, "missing", set()),
    "tool-calls": ("requires_action", "tool_call", "tool_calls", (112, 46, 0, 0), "reported", set()),
    "function-call": ("requires_action", "tool_call", "function_call", (None,) * 4, "missing", set()),
    "forced-call": ("completed", "stop", "stop", (71, 6, 0, 0), "reported", set()),
    "stop-with-calls": ("completed", "stop", "stop", (None,) * 4, "missing", {"disagreement"}),
    "call-cut": (
        *("incomplete", "output_limit", "length", (71, 5, 0, 0), "reported"),
        {"output_cap_reached", "tool_call_open"},
    ),
    "azure": ("completed", "stop", "stop", (27, 4, 0, 0), "reported", set()),
    "two-choices": ("incomplete", "output_limit", "length", (11, 7, 0, 0), "reported", set()),
    "usage-in-each-chunk": ("completed", "stop", "stop", (9, 6, None, None), "reported", set()),
    "no-usage": ("completed", "stop", "stop", (None,) * 4, "missing", set()),
    "error-object": ("failed", "error", "server_error", (None,) * 4, "missing", set()),
    "error-event": ("failed", "error", "rate_limit_exceeded", (None,) * 4, "missing", set()),
    "error-openrouter": ("failed", "error", "502", (None,) * 4, "missing", set()),
    "openrouter": ("completed", "stop", "stop", (2310, 21, 2000, 12), "reported", set()),
    "refusal": ("completed", "refusal", "stop", (58, 10, 0, 0), "reported", set()),
    "reasoning": ("completed", "stop", "stop", (144, 15, 128, 11), "reported", set()),
    "reasoning-beside": ("completed", "stop", "stop", (19, 204, 6, 200), "reported", {"output_cap_reached"}),
    "no-resource": ("failed", "error", "insufficient_system_resource", (12, 2, 0, None), "reported", set()),
    "json-cut": ("incomplete", "output_limit", "length", (24, 12, 0, 0), "reported", {"output_cap_reached"}),
    "whitespace": ("incomplete", "output_limit", "length", (16, 64, 0, 0), "reported", {"output_cap_reached"}),
    "no-done": ("completed", "stop", "stop", (None,) * 4, "missing", {"no_end_marker"}),
    "cut": (
        *("in_progress", None, None, (11, 4, None, None), "partial"),
        {"no_end_marker", "no_terminal_event"},
    ),
    "unknown-finish": ("unknown", None, "repetition", (None,) * 4, "missing", set()),
    "parts": ("incomplete", "input_limit", "model_length", (40948, 12, None, None), "reported", set()),
    "groq": ("completed", "stop", "stop", (78, 14, 64, 9), "reported", {"echo_differs"}),
    "pings": ("completed", "stop", "stop", (None,) * 4, "missing", set()),
    "audio": ("completed", "stop", "stop", (12, 14, 0, 0), "reported", set()),
    "other-model": ("completed", "stop", "stop", (None,) * 4, "missing", {"echo_differs", "outside_limits"}),
}


def test_every_golden_stream_was_reviewed() -> None:
    assert [name.removeprefix("chat-") for name in GOLDEN] == sorted(REVIEWED)


@pytest.mark.parametrize("name", sorted(REVIEWED))
def test_golden_streams_read_as_reviewed(name: str) -> None:
    reading = stream_reading(f"chat-{name}")
    figures = (reading.input_tokens, reading.output_tokens, reading.cached_tokens, reading.reasoning_tokens)
    assert (
        *(reading.status, reading.stop_reason, reading.stop_reason_raw),
        *(figures, reading.usage_quality, set(reading.flags)),
    ) == REVIEWED[name]
    assert as_json(reading) == sidecar(f"chat-{name}")["reading"]


@pytest.mark.parametrize("name", GOLDEN)
def test_the_json_form_reads_like_the_stream(name: str) -> None:
    """Status, reasons, usage, text; a stream that was cut has no such form."""
    if name == "chat-cut":
        assert "document" not in sidecar(name)
    else:
        assert document_differences(name) == {}


@pytest.mark.parametrize("name", GOLDEN)
def test_the_json_form_says_the_same_texts(name: str) -> None:
    """Also those beside the text: refusals, thoughts, the arguments of calls."""
    told = sidecar(name)
    if "choices" not in told.get("document", {}):
        return
    body = json.dumps(told["document_request"]["body"]).encode()
    whole = read(request("POST", told["request"]["url"], body), json.dumps(told["document"]).encode(), headers=JSON)

    def spoken(reading: Reading) -> list[tuple[str, str | None, str, bool]]:
        return sorted((one.kind, one.name or "", one.text, one.ended) for one in reading.spoken)

    assert spoken(whole) == spoken(stream_reading(name))
    assert all(not one.times and len(one.positions) <= 1 for one in whole.spoken)
    assert (whole.ttft_us, whole.ttft_visible_us) == (None, None)


def test_pieces_are_known_with_their_places() -> None:
    reasoning, text = stream_reading("chat-reasoning").spoken
    assert (reasoning.kind, reasoning.text, reasoning.ended) == (
        "reasoning",
        "17 times 20 is 340, plus 51 is 391.",
        True,
    )
    assert list(reasoning.offsets)[:4] == [0, 2, 8, 11]
    assert list(reasoning.positions) == [*range(2, 12)]
    assert len(reasoning.times) == len(reasoning.positions) == len(reasoning.offsets)
    assert (text.kind, text.text) == ("text", "391 crates.")


# -- why it stopped ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("finish", "status", "reason"),
    [
        ("stop", Status.COMPLETED, StopReason.STOP),
        ("eos", Status.COMPLETED, StopReason.STOP),
        ("eos_token", Status.COMPLETED, StopReason.STOP),
        ("stop_sequence", Status.COMPLETED, StopReason.STOP),
        ("end_turn", Status.COMPLETED, StopReason.STOP),
        ("STOP", Status.COMPLETED, StopReason.STOP),
        ("length", Status.INCOMPLETE, StopReason.OUTPUT_LIMIT),
        ("max_tokens", Status.INCOMPLETE, StopReason.OUTPUT_LIMIT),
        ("model_length", Status.INCOMPLETE, StopReason.INPUT_LIMIT),
        ("model_context_window_exceeded", Status.INCOMPLETE, StopReason.INPUT_LIMIT),
        ("content_filter", Status.INCOMPLETE, StopReason.CONTENT_FILTER),
        ("content_filter: RECITATION", Status.INCOMPLETE, StopReason.CONTENT_FILTER),
        ("sensitive", Status.INCOMPLETE, StopReason.CONTENT_FILTER),
        ("refusal", Status.INCOMPLETE, StopReason.REFUSAL),
        ("error", Status.FAILED, StopReason.ERROR),
        ("network_error", Status.FAILED, StopReason.ERROR),
        ("insufficient_system_resource", Status.FAILED, StopReason.ERROR),
        ("abort", Status.CANCELLED, StopReason.CANCELLED),
        ("function_call_filter: MALFORMED_FUNCTION_CALL", Status.UNKNOWN, None),
        ("tired", Status.UNKNOWN, None),
    ],
)
def test_finish_reasons_are_kept_raw_and_told_in_neutral_words(
    finish: str, status: Status, reason: StopReason | None
) -> None:
    """One that nobody documents ends the stream all the same; nothing is made of it."""
    reading = read(ASKED, sse(said("Hello"), chunk(finish=finish)))
    assert (reading.status, reading.stop_reason, reading.stop_reason_raw) == (status, reason, finish)
    assert reading.complete is True
    assert reading.flags == ()
    assert reading.facts["evidence"]["finish"] == {"value": finish, "position": 2}


@pytest.mark.parametrize("finish", ["tool_calls", "function_call", "tool_use"])
def test_a_call_announced_but_not_made_is_a_contradiction(finish: str) -> None:
    """As when the event with the call was lost."""
    reading = read(ASKED, sse(said("Hello"), chunk(finish=finish)))
    assert (reading.status, reading.stop_reason) == (Status.REQUIRES_ACTION, StopReason.TOOL_CALL)
    assert reading.flags == ("disagreement",)
    assert reading.facts["disagreements"] == ["no_tool_call"]


@pytest.mark.parametrize(
    ("body", "flags"),
    [
        ({}, ("disagreement",)),
        ({"tool_choice": "auto"}, ("disagreement",)),
        ({"tool_choice": "required"}, ()),
        ({"tool_choice": {"type": "function", "function": {"name": "get_tide"}}}, ()),
        ({"function_call": {"name": "get_tide"}}, ()),
    ],
)
def test_a_call_beside_stop_is_a_contradiction_unless_the_request_forced_it(
    body: dict[str, Any], flags: tuple[str, ...]
) -> None:
    """The finish reason decides; that of a forced call is documented to be `stop`."""
    reading = stop(called("get_tide", "{}", index=0, id="call_1"), asked=asking(**body))
    assert (reading.status, reading.stop_reason, reading.stop_reason_raw) == ("completed", "stop", "stop")
    assert reading.flags == flags
    assert reading.facts.get("disagreements") == (["tool_calls"] if flags else None)


def test_a_refusal_is_a_whole_answer_that_declines() -> None:
    """OpenAI says `stop` and means it: the status stays completed, the reason is the refusal."""
    reading = stop(chunk({"refusal": "I cannot"}), chunk({"refusal": " do that."}))
    assert (reading.status, reading.stop_reason, reading.stop_reason_raw) == ("completed", "refusal", "stop")
    assert texts_of(reading, "refusal") == ["I cannot do that."]
    assert reading.text is None
    assert reading.ttft_visible_us == reading.ttft_us is not None


def test_of_several_choices_the_one_with_the_most_to_tell_stands_for_all() -> None:
    order = ["stop", "tool_calls", "tired", "length", "abort", "error"]
    for lesser, greater in itertools.pairwise(order):
        for pair in ((lesser, greater), (greater, lesser)):
            reading = read(
                asking(n=2),
                sse(*(chunk({"content": "x"}, index=i) for i in (0, 1)), *(chunk({}, pair[i], i) for i in (0, 1))),
            )
            assert reading.stop_reason_raw == greater
            assert {name: told["value"] for name, told in reading.facts["choices"].items()} == {
                "0": pair[0],
                "1": pair[1],
            }


def test_choices_that_were_asked_for_may_be_missing_only_where_the_end_is_known() -> None:
    """A server that knows no `n` gives one; a stream that was cut may have more to come."""
    body = sse(said("Hello"), chunk(finish="stop"), done=False)
    assert read(asking(n=2), body).complete is False
    assert read(asking(n=2), body).status == Status.IN_PROGRESS
    whole = read(asking(n=2), body + b"data: [DONE]\n\n")
    assert (whole.complete, whole.status, whole.flags) == (True, Status.COMPLETED, ("echo_differs",))
    assert whole.facts["echo_differs"] == {"n": [2, 1]}
    assert read(asking(n=None), body).complete is True


def test_a_choice_that_did_not_end_leaves_the_answer_open() -> None:
    reading = read(asking(n=2), sse(chunk({"content": "a"}), chunk({"content": "b"}, index=1), chunk({}, "stop", 1)))
    assert (reading.status, reading.complete) == (Status.IN_PROGRESS, False)
    assert reading.flags == ("no_terminal_event",)
    assert reading.facts["choices"] == {"0": {}, "1": {"value": "stop", "position": 3}}
    assert [spoken.ended for spoken in reading.spoken] == [False, True]


def test_two_endings_of_one_choice_contradict_each_other() -> None:
    """The last one counts, as in the SDKs; said twice it is but one."""
    reading = read(ASKED, sse(said("Hello"), chunk(finish="stop"), chunk(finish="length")))
    assert (reading.stop_reason_raw, reading.facts["disagreements"]) == ("length", ["two_endings"])
    again = read(ASKED, sse(said("Hello"), chunk(finish="stop"), chunk(finish="stop")))
    assert (again.flags, again.facts["evidence"]["finish"]["position"]) == ((), 2)


@pytest.mark.parametrize("finish", ["", "null", None, 7, ["stop"]])
def test_what_is_no_finish_reason_ends_nothing(finish: Any) -> None:
    """DashScope says "null" until it is over."""
    reading = read(ASKED, sse(said("Hello"), chunk(finish=finish)))
    assert (reading.status, reading.complete, reading.stop_reason_raw) == (Status.IN_PROGRESS, False, None)
    assert "no_terminal_event" in reading.flags


# -- errors -----------------------------------------------------------------------------------------------------------

ERRORS: dict[str, tuple[dict[str, Any] | str, str | None, str | None]] = {
    # how it comes: (frame, raw reason, message)
    "object": ({"error": {"code": "c", "type": "t", "message": "m"}}, "c", "m"),
    "without a code": ({"error": {"code": None, "type": "t", "message": "m"}}, "t", "m"),
    "event": ('event: error\ndata: {"error":{"message":"m","type":"t"}}\n\n', "t", "m"),
    "flat event": ('event: error\ndata: {"message":"m","code":"c"}\n\n', "c", "m"),
    "text": ("event: error\ndata: upstream timeout\n\n", None, "upstream timeout"),
    "text as JSON": ('event: error\ndata: "upstream timeout"\n\n', None, "upstream timeout"),
    "beside a choice": (chunk({"content": ""}, "error", error={"code": 502, "message": "m"}), "502", "m"),
    "in a choice": (
        {**ABOUT, "choices": [{"index": 0, "delta": {}, "finish_reason": "error", "error": {"code": 502}}]},
        *("502", None),
    ),
    "vLLM": ({"object": "error", "message": "m", "type": "BadRequestError", "code": 400}, "400", "m"),
    "Mistral": ({"object": "error", "message": {"detail": []}, "type": "invalid_request_error"}, None, None),
}


@pytest.mark.parametrize("how", ERRORS)
@pytest.mark.parametrize("done", [True, False])
def test_an_error_in_the_stream_fails_it_however_it_is_told(how: str, done: bool) -> None:
    """Nobody sends [DONE] after one, but some do."""
    frame, raw, message = ERRORS[how]
    reading = read(ASKED, sse(said("The harbour"), frame, done=done))
    assert (reading.status, reading.stop_reason, reading.complete) == (Status.FAILED, StopReason.ERROR, True)
    assert reading.stop_reason_raw == (raw or ("invalid_request_error" if how == "Mistral" else None))
    assert reading.facts["evidence"]["error"]["position"] == 2
    assert reading.facts.get("content", {}).get("error_message") == message
    assert reading.text == "The harbour"
    assert "no_terminal_event" not in reading.flags
    assert "no_end_marker" not in reading.flags


def test_an_error_after_the_answer_ended_contradicts_it() -> None:
    reading = read(ASKED, sse(said("Hello"), chunk(finish="stop"), {"error": {"code": "c"}}))
    assert (reading.status, reading.flags) == (Status.FAILED, ("disagreement",))
    assert reading.facts["disagreements"] == ["two_endings"]


def test_an_error_that_is_null_is_none() -> None:
    assert stop(chunk({"content": "Hello"}, error=None)).status == Status.COMPLETED


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (
            {
                "message": "The response was filtered due to the prompt triggering Azure OpenAI's content management "
                "policy.",
                "type": None,
                "param": "prompt",
                "code": "content_filter",
                "status": 400,
                "innererror": {
                    "code": "ResponsibleAIPolicyViolation",
                    "content_filter_result": {"violence": {"filtered": True, "severity": "high"}},
                },
            },
            "content_filter",
        ),
        ({"message": "too long", "type": "invalid_request_error", "code": "context_length_exceeded"}, "input_limit"),
        ({"message": "too long", "type": "exceed_context_size_error", "code": 400, "n_ctx": 4096}, "input_limit"),
        ({"message": "no", "type": "invalid_request_error", "code": "invalid_api_key"}, "error"),
    ],
)
def test_a_refused_request_says_why_where_it_can(error: dict[str, Any], reason: str) -> None:
    reading = read(ASKED, json.dumps({"error": error}).encode(), status=400, headers=JSON)
    assert (reading.status, reading.stop_reason) == (Status.FAILED, reason)
    assert reading.stop_reason_raw == str(error["code"])
    assert reading.flags == ("http_error",)


@pytest.mark.parametrize(
    ("status", "headers", "body"),
    [
        (200, JSON, b'{"error":{"code":"c"}}'),
        (500, JSON, b"<html>"),
        (500, EVENT_STREAM, b""),
        (500, EVENT_STREAM, b'data: {"error":{"code":"c"}}\n\n'),
    ],
)
def test_a_failure_is_one_whatever_it_comes_in(status: int, headers: HeaderList, body: bytes) -> None:
    reading = read(ASKED, body, status=status, headers=headers)
    assert (reading.status, reading.stop_reason, reading.complete) == (Status.FAILED, StopReason.ERROR, True)
    assert reading.stop_reason_raw == ("c" if b"code" in body else None)
    assert ("http_error" in reading.flags) is (status == 500)


# -- what else a stream holds -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "noise",
    [
        ": OPENROUTER PROCESSING\n\n",
        'data: {"type":"ping"}\n\n',
        'event: ping\ndata: {"type":"ping"}\n\n',
        "event: keepalive\ndata: alive\n\n",
        'data: {"id":"","object":"","created":0,"model":"","choices":[]}\n\n',
        'data: {"object":"chat.completion.chunk"}\n\n',
        'data: {"choices":null}\n\n',
        "\n\n",
    ],
)
def test_what_keeps_a_connection_alive_changes_nothing(noise: str) -> None:
    plain = stop(said("Hello"))
    reading = stop(noise if ":" in noise else ":\n\n", said("Hello"), noise if ":" in noise else ":\n\n")
    changed = {"facts", "spoken", "ttft_us", "ttft_visible_us"}
    for name in set(Reading.__slots__) - changed:
        assert getattr(reading, name) == getattr(plain, name), name


def test_a_chunk_under_another_name_is_still_one() -> None:
    frame = "event: completion.chunk\ndata: " + json.dumps(said("Hello")) + "\n\n"
    reading = stop(frame)
    assert (reading.text, reading.facts["unknown_events"]) == ("Hello", {"completion.chunk": 1})


def test_what_comes_after_the_end_marker_is_noted_and_not_read() -> None:
    """No client reads it."""
    reading = read(ASKED, stop_bytes() + sse(said("More"), chunk(finish="length"), {"error": {"code": "c"}}))
    assert (reading.status, reading.text, reading.facts["after_end"]) == (Status.COMPLETED, "Hello", 4)
    first = read(ASKED, b"data: [DONE]\n\n" + stop_bytes())
    assert (first.status, first.complete) == (Status.UNKNOWN, False)
    assert "no_terminal_event" in first.flags


def stop_bytes() -> bytes:
    return sse(said("Hello"), chunk(finish="stop"))


def test_carriage_returns_frame_a_stream_too() -> None:
    reading = read(ASKED, stop_bytes().replace(b"\n", b"\r\n"))
    assert (reading.status, reading.text, reading.flags) == (Status.COMPLETED, "Hello", ())


def test_a_payload_that_is_no_chunk_is_flagged_and_passed_over() -> None:
    reading = read(ASKED, sse(said("Hel"), "data: {broken\n\n", "data: 7\n\n", said("lo"), chunk(finish="stop")))
    assert (reading.status, reading.text, reading.flags) == (Status.COMPLETED, "Hello", ("malformed_json",))
    assert reading.facts["malformed"] == [2, 3]


def test_the_verdicts_of_a_filter_are_kept_where_one_hit() -> None:
    safe = {"hate": {"filtered": False, "severity": "safe"}}
    prompt = {"choices": [], "prompt_filter_results": [{"prompt_index": 0, "content_filter_results": {
        **safe, "jailbreak": {"filtered": False, "detected": True}}}]}  # fmt: skip
    hit = {"violence": {"filtered": True, "severity": "medium"}}

    def filtered(finish: str) -> Reading:
        last = {"index": 0, "delta": {}, "finish_reason": finish, "content_filter_results": {**safe, **hit}}
        return read(ASKED, sse(prompt, said("Open"), {**ABOUT, "choices": [last]}))

    reading = filtered("content_filter")
    assert reading.facts["filtered"] == [
        {"where": "prompt", "category": "jailbreak", "position": 1},
        {"where": "completion", "category": "violence", "severity": "medium", "blocked": True, "position": 3},
    ]
    assert reading.flags == ()
    assert filtered("stop").facts["disagreements"] == ["content_filter"]


# -- tool calls -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "pieces",
    [
        pytest.param(
            [
                called("a", '{"x"', index=0, id="1"),
                called("b", '{"y"', index=1, id="2"),
                called(None, ":1}", index=0),
                called(None, ":2}", index=1),
            ],
            id="interleaved",
        ),
        pytest.param([called("a", '{"x":1}', index=0, id="1"), called("b", '{"y":2}', index=0, id="2")], id="all 0"),
        pytest.param([called("a", '{"x":1}', id="1"), called("b", '{"y":2}', id="2")], id="no index"),
        pytest.param([called("a", '{"x":1}', id=""), called("b", '{"y":2}', id="")], id="no index, no id"),
        pytest.param(
            [
                called("a", '{"x"', index=0, id="1"),
                called("a", ":1}", index=0, id="1"),
                called("b", '{"y"', index=1, id="2"),
                called("", ":2}", index=1, id=""),
            ],
            id="name and id again",
        ),
        pytest.param(
            [
                called("a", '{"x"', index=0, id="1"),
                called(None, ":1}", index=0, id="1b"),
                called("b", '{"y":2}', index=1, id="2"),
            ],
            id="another id with every piece",
        ),
        pytest.param(
            [
                chunk(
                    {
                        "tool_calls": [
                            {"function": {"name": "a", "arguments": '{"x":1}'}},
                            {"function": {"name": "b", "arguments": '{"y":2}'}},
                        ]
                    }
                )
            ],
            id="in one list",
        ),
    ],
)
def test_calls_are_told_apart_however_a_server_numbers_them(pieces: list[dict[str, Any]]) -> None:
    reading = read(ASKED, sse(*pieces, chunk(finish="tool_calls")))
    assert [(name, json.loads(text)) for name, text in calls_of(reading)] == [("a", {"x": 1}), ("b", {"y": 2})]
    assert [step["name"] for step in reading.facts["steps"]] == ["a", "b"]
    assert reading.ttft_us is not None
    assert reading.ttft_visible_us is None


def test_other_shapes_of_a_call() -> None:
    """A custom tool's input is no JSON; some servers give arguments as an object; a call may have none at all."""
    custom = chunk({"tool_calls": [{"index": 0, "type": "custom", "custom": {"name": "sql", "input": "select 1"}}]})
    reading = read(ASKED, sse(custom, chunk(finish="tool_calls")))
    assert [(one.kind, one.name, one.text) for one in reading.spoken] == [("input", "sql", "select 1")]
    message = {"tool_calls": [{"function": {"name": "a", "arguments": {"x": 1}}}, {"function": {"name": "b"}}]}
    answer = {"id": "1", "choices": [{"index": 0, "message": message, "finish_reason": "tool_calls"}]}
    whole = read(asking(stream=False), json.dumps(answer).encode(), headers=JSON)
    assert calls_of(whole) == [("a", '{"x": 1}'), ("b", "")]
    assert [one.ended for one in whole.spoken] == [True, True]


@pytest.mark.parametrize(
    ("finish", "arguments", "flagged"),
    [
        (None, "{}", True),
        ("length", '{"x":', True),
        ("length", '{"x":1}', False),
        ("content_filter", "", True),
        ("tool_calls", '{"x":', False),
        ("stop", '{"x":', False),
        ("tired", '{"x":', True),
    ],
)
def test_a_call_whose_arguments_did_not_end_is_flagged(finish: str | None, arguments: str, flagged: bool) -> None:
    """After `tool_calls` or `stop` the model means them to be whole: then broken arguments are another matter."""
    reading = read(ASKED, sse(called("a", arguments, index=0), chunk(finish=finish)))
    assert ("tool_call_open" in reading.flags) is flagged


# -- first tokens -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("delta", "seen", "kind"),
    [
        ({"content": "x"}, True, "text"),
        ({"refusal": "x"}, True, "refusal"),
        ({"audio": {"transcript": "x"}}, True, "text"),
        ({"content": [{"type": "text", "text": "x"}]}, True, "text"),
        ({"reasoning_content": "x"}, False, "reasoning"),
        ({"reasoning": "x"}, False, "reasoning"),
        ({"reasoning_text": "x"}, False, "reasoning"),
        ({"reasoning_details": [{"type": "reasoning.text", "text": "x"}]}, False, "reasoning"),
        ({"reasoning_details": [{"type": "reasoning.summary", "summary": "x"}]}, False, "reasoning"),
        ({"content": [{"type": "thinking", "thinking": [{"type": "text", "text": "x"}]}]}, False, "reasoning"),
        ({"content": [{"type": "reasoning", "summary": [{"type": "s", "text": "x"}]}]}, False, "reasoning"),
        ({"function_call": {"name": "a", "arguments": "x"}}, False, "arguments"),
        ({"tool_calls": [{"index": 0, "function": {"name": "a", "arguments": "x"}}]}, False, "arguments"),
    ],
)
def test_the_first_token_is_any_and_the_first_visible_one_is_what_the_user_sees(
    delta: dict[str, Any], seen: bool, kind: str
) -> None:
    reading = read(ASKED, sse(chunk({"role": "assistant", "content": ""}), chunk(delta)), step_us=10, chunk=1)
    assert reading.ttft_us is not None
    assert reading.ttft_visible_us == (reading.ttft_us if seen else None)
    assert [(one.kind, one.text, list(one.times)) for one in reading.spoken] == [(kind, "x", [reading.ttft_us])]


@pytest.mark.parametrize(
    "delta",
    [
        {"role": "assistant", "content": "", "refusal": None, "tool_calls": None, "function_call": None},
        {"reasoning": None, "reasoning_details": [], "audio": None},
        {"reasoning_details": [{"type": "reasoning.encrypted", "data": "AAAA"}]},
        {"audio": {"expires_at": 1}},
        {},
    ],
)
def test_what_shows_nothing_is_no_token(delta: dict[str, Any]) -> None:
    reading = stop(chunk(delta))
    assert (reading.ttft_us, reading.ttft_visible_us, reading.text, reading.spoken) == (None, None, None, ())


def test_thoughts_that_come_twice_count_once() -> None:
    twice = {"reasoning": "Hm", "reasoning_content": "Hm", "reasoning_details": [{"text": "Hm"}]}
    assert texts_of(stop(chunk({"content": "", **twice})), "reasoning") == ["Hm"]


def test_parts_in_parts_without_end_are_given_up() -> None:
    deep = '{"content":' + '[{"type":"text","text":' * 400 + '"x"' + "}]" * 400 + "}"
    frame = 'data: {"choices":[{"index":0,"delta":' + deep + "}]}\n\n"
    assert stop(frame, said("Hello")).text == "Hello"


def test_thoughts_inside_the_text_stay_there() -> None:
    reading = stop(said("<think>Hm</think>"), said("Yes"))
    assert (reading.text, texts_of(reading, "reasoning")) == ("<think>Hm</think>Yes", [])


# -- usage ------------------------------------------------------------------------------------------------------------

BASE = {"prompt_tokens": 100, "completion_tokens": 20, "total_tokens": 120}
APART = {**ABOUT, "choices": [], "usage": BASE}


@pytest.mark.parametrize(
    ("usage", "told", "flags"),
    [
        (BASE, {"input_tokens": 100, "output_tokens": 20, "total_tokens": 120}, ()),
        (
            BASE
            | {"prompt_tokens_details": {"cached_tokens": 64}, "completion_tokens_details": {"reasoning_tokens": 8}},
            {"cached_tokens": 64, "uncached_tokens": 36, "reasoning_tokens": 8, "visible_tokens": 12},
            (),
        ),
        (
            BASE | {"prompt_tokens_details": {"cached_tokens": 60, "cache_write_tokens": 30}},
            {"cached_tokens": 60, "cache_write_tokens": 30, "uncached_tokens": 10},
            (),
        ),
        (
            BASE | {"prompt_tokens_details": {"cached_tokens": 60, "cache_creation_input_tokens": 30}},
            {"cached_tokens": 60, "cache_write_tokens": 30, "uncached_tokens": 10},
            (),
        ),
        (BASE | {"prompt_token_details": {"cached_tokens": 64}}, {"cached_tokens": 64, "uncached_tokens": 36}, ()),
        (BASE | {"cached_tokens": 64}, {"cached_tokens": 64, "uncached_tokens": 36}, ()),
        (
            BASE | {"prompt_cache_hit_tokens": 64, "prompt_cache_miss_tokens": 36},
            {"cached_tokens": 64, "uncached_tokens": 36},
            (),
        ),
        (BASE | {"prompt_cache_hit_tokens": 64, "prompt_cache_miss_tokens": 40}, {"cached_tokens": 64}, ("usage_sum",)),
        (BASE | {"prompt_cache_miss_tokens": 36}, {"cached_tokens": None, "uncached_tokens": 36}, ()),
        # xAI: reasoning beside the completion
        (
            BASE | {"total_tokens": 150, "completion_tokens_details": {"reasoning_tokens": 30}},
            {"output_tokens": 50, "reasoning_tokens": 30, "visible_tokens": 20, "total_tokens": 150},
            (),
        ),
        # Gemini's endpoint: thoughts in the total alone
        (BASE | {"total_tokens": 150}, {"output_tokens": 20, "total_tokens": 150}, ("usage_sum",)),
        # MiniMax by OpenRouter, as recorded: more reasoning than output
        (
            BASE | {"completion_tokens_details": {"reasoning_tokens": 21}},
            {"reasoning_tokens": 21, "visible_tokens": None},
            ("usage_sum",),
        ),
        (BASE | {"prompt_tokens_details": None, "completion_tokens_details": None}, {"cached_tokens": None}, ()),
    ],
)
def test_usage_is_told_in_the_same_buckets_whoever_counted(
    usage: dict[str, Any], told: dict[str, Any], flags: tuple[str, ...]
) -> None:
    reading = stop(said("Hello"), usage=usage)
    assert {name: getattr(reading, name) for name in told} == told
    assert reading.flags == flags
    assert reading.usage_quality == UsageQuality.REPORTED
    assert reading.facts["evidence"]["usage"] == {"value": usage, "position": 2}


@pytest.mark.parametrize(
    ("chunks", "quality", "output"),
    [
        pytest.param([said("a"), chunk(finish="stop")], "missing", None, id="none"),
        pytest.param([said("a"), chunk(finish="stop", usage=BASE)], "reported", 20, id="with the finish reason"),
        pytest.param([said("a"), chunk(finish="stop"), chunk(usage=BASE)], "reported", 20, id="after it"),
        pytest.param([said("a"), chunk(finish="stop"), APART], "reported", 20, id="apart"),
        pytest.param([said("a"), APART], "reported", 20, id="apart, no finish reason"),
        pytest.param([chunk({"content": "a"}, usage=BASE)], "partial", 20, id="cut after a count"),
        pytest.param([chunk({"content": "a"}, usage=BASE), said("b")], "partial", 20, id="cut after more text"),
        pytest.param([chunk({"content": "a"}, usage=BASE), chunk(finish="stop")], "reported", 20, id="not again"),
        pytest.param(
            [chunk({}, usage=BASE), said("b"), chunk(finish="stop")], "partial", 20, id="only before the answer"
        ),
        pytest.param([said("a"), chunk(finish="stop"), chunk(usage=None)], "missing", None, id="null"),
        pytest.param([said("a"), chunk(finish="stop"), chunk(usage=[7])], "missing", None, id="no object"),
    ],
)  # fmt: skip
def test_the_last_figures_count_and_are_final_only_where_nothing_came_after(
    chunks: list[dict[str, Any]], quality: str, output: int | None
) -> None:
    reading = read(ASKED, sse(*chunks, done=False))
    assert (reading.usage_quality, reading.output_tokens) == (quality, output)


def test_usage_in_every_chunk_is_not_added_up() -> None:
    counts = [{"prompt_tokens": 9, "completion_tokens": number, "total_tokens": 9 + number} for number in range(1, 5)]
    reading = read(
        ASKED,
        sse(*(chunk({"content": "x"}, usage=count) for count in counts), chunk(finish="stop", usage=counts[-1])),
    )
    assert (reading.input_tokens, reading.output_tokens, reading.usage_quality) == (9, 4, "reported")


def test_usage_in_other_places_is_found() -> None:
    """Groq's x_groq, unless the usual place has it; Moonshot's choice."""
    for more in ({"x_groq": {"usage": BASE}}, {"x_groq": {"usage": {"prompt_tokens": 7}}, "usage": BASE}):
        assert stop(said("a"), **more).total_tokens == 120
    choice = {"index": 0, "delta": {}, "finish_reason": "stop", "usage": BASE}
    assert read(ASKED, sse(said("a"), {**ABOUT, "choices": [choice]})).total_tokens == 120


@pytest.mark.parametrize(
    ("body", "choices", "output", "flagged"),
    [
        ({"max_completion_tokens": 20}, 1, 20, True),
        ({"max_tokens": 20}, 1, 20, True),
        ({"max_completion_tokens": 21}, 1, 20, False),
        ({"max_completion_tokens": 20, "n": 2}, 2, 20, False),
        ({"max_completion_tokens": 20, "n": 2}, 2, 40, True),
        ({"max_completion_tokens": 0}, 1, 20, False),
        ({"max_completion_tokens": None}, 1, 20, False),
        ({}, 1, 20, False),
    ],
)
def test_a_cap_that_was_reached_is_flagged_whatever_the_finish_reason_says(
    body: dict[str, Any], choices: int, output: int, flagged: bool
) -> None:
    """Every choice has the cap for itself; the usage counts them together."""
    usage = {"prompt_tokens": 1, "completion_tokens": output, "total_tokens": 1 + output}
    ends = [chunk({"content": "x"}, "stop", index) for index in range(choices)]
    reading = read(asking(**body), sse(*ends, {**ABOUT, "choices": [], "usage": usage}))
    assert reading.status == Status.COMPLETED
    assert ("output_cap_reached" in reading.flags) is flagged


# -- what was asked, and what the server made of it ------------------------------------------------------------------


@pytest.mark.parametrize(
    "url",
    [
        "https://x.openai.azure.com/openai/deployments/d/chat/completions?api-version=2024-10-21",
        "https://x.services.ai.azure.com/models/chat/completions?api-version=2024-05-01-preview",
        "https://openrouter.ai/api/v1/chat/completions",
        "https://dashscope.aliyuncs.com/compatible-mode/v1/chat/completions",
        "https://generativelanguage.googleapis.com/v1beta/openai/chat/completions",
        "https://api.groq.com/openai/v1/chat/completions",
        "https://open.bigmodel.cn/api/paas/v4/chat/completions/",
        "http://127.0.0.1:9000/router/any/prefix/chat/completions",
    ],
)
def test_the_protocol_is_recognised_below_any_prefix(url: str) -> None:
    asked = request("POST", url, b'{"messages":[]}')
    assert recognise(asked).name == "chat"
    assert CHAT.read(*recorded(asked, stop_bytes())).status == Status.COMPLETED


def test_the_parameter_set_is_what_was_sent() -> None:
    """Null is not absent; what nobody knows is kept; the query belongs to it, and the body goes before it."""
    url = "https://x.openai.azure.com/openai/deployments/d/chat/completions?api-version=2024-10-21&model=x"
    body: dict[str, Any] = {"messages": [], "model": "m", "seed": None, "temperature": 0.5, "new_one": {"a": [1]}}
    asked = request("POST", url, json.dumps(body).encode())
    assert CHAT.asked(asked) == {"api-version": "2024-10-21", **body}
    assert read(asked, stop_bytes()).parameters == CHAT.asked(asked)


@pytest.mark.parametrize("body", [None, b"", b"[1]", b"{"])
def test_a_body_that_was_not_kept_has_no_parameters(body: bytes | None) -> None:
    asked = request("POST", PATH, body)
    assert CHAT.asked(asked) == {}
    assert read(asked, stop_bytes(), dialect="chat").parameters is None


def test_what_the_model_is_told_is_content() -> None:
    assert {"messages", "tools", "functions", "prediction"} == CHAT.contents


@pytest.mark.parametrize(
    ("wanted", "told"),
    [
        ({"type": "text"}, "text"),
        ({"type": "json_object"}, "json_object"),
        ({"type": "json_schema", "json_schema": {"name": "a", "schema": {}}}, "json_schema"),
        ({"type": "regex"}, "regex"),
        ("json", "json"),
        (None, None),
        ({}, None),
        (7, None),
    ],
)
def test_the_response_format_is_told_in_one_word(wanted: Any, told: str | None) -> None:
    assert stop(asked=asking(response_format=wanted)).response_format == told
    assert stop().response_format is None


@pytest.mark.parametrize(
    ("body", "outside"),
    [
        ({"temperature": 0, "top_p": 1, "n": 1, "top_logprobs": 20, "stop": ["a"] * 4, "presence_penalty": -2}, []),
        ({"temperature": 2.1}, ["temperature"]),
        ({"top_p": -0.1}, ["top_p"]),
        ({"n": 129}, ["n"]),
        ({"top_logprobs": 21}, ["top_logprobs"]),
        ({"frequency_penalty": 3, "presence_penalty": -3}, ["frequency_penalty", "presence_penalty"]),
        ({"stop": ["a"] * 5}, ["stop"]),
        ({"stop": "a long sequence of characters"}, []),
        ({"tools": [{}] * 129}, ["tools"]),
        ({"metadata": {str(number): "v" for number in range(17)}}, ["metadata"]),
        ({"metadata": {"k" * 65: "v" * 513}}, ["metadata key", "metadata value"]),
        ({"temperature": "hot", "n": None}, []),
    ],
)
def test_limits_are_told_and_never_enforced(body: dict[str, Any], outside: list[str]) -> None:
    reading = stop(asked=asking(**body))
    assert [each["parameter"] for each in reading.facts.get("limits", [])] == outside
    assert ("outside_limits" in reading.flags) is bool(outside)
    assert reading.status == Status.COMPLETED


@pytest.mark.parametrize(
    ("asked", "served", "same"),
    [
        ("gpt-4o", "gpt-4o-2024-08-06", True),
        ("deepseek/deepseek-r1:free", "deepseek/deepseek-r1", True),
        ("openrouter/auto", "anthropic/claude-sonnet-4.5", False),
    ],
)
def test_a_snapshot_is_the_model_that_was_asked_for(asked: str, served: str, same: bool) -> None:
    reading = stop(asked=asking(model=asked), model=served)
    assert reading.model == served
    assert ("echo_differs" in reading.flags) is not same
    assert reading.facts.get("echo_differs") == (None if same else {"model": [asked, served]})


@pytest.mark.parametrize(
    "url",
    [
        "https://x.openai.azure.com/openai/v1/chat/completions",
        "https://x.openai.azure.com:443/openai/v1/chat/completions",
        "https://gateway/openai/deployments/harbour/chat/completions",
    ],
)
def test_the_name_of_a_deployment_is_no_models(url: str) -> None:
    asked = request("POST", url, json.dumps({"model": "harbour", "messages": []}).encode())
    assert read(asked, stop_bytes()).flags == ()
    assert read(asked, stop_bytes()).model == "gpt-4o-2024-08-06"


@pytest.mark.parametrize(
    ("wanted", "served", "differs"),
    [
        ("flex", "flex", None),
        ("flex", "default", {"service_tier": ["flex", "default"]}),
        ("auto", "default", None),
        (None, "default", None),
        ("flex", None, None),
        ("flex", "", None),
    ],
)
def test_another_service_tier_than_asked_for_is_flagged(
    wanted: str | None, served: str | None, differs: dict[str, Any] | None
) -> None:
    reading = stop(asked=asking(service_tier=wanted), service_tier=served)
    assert (reading.service_tier, reading.facts.get("echo_differs")) == (served or None, differs)


def test_runs_of_the_same_instructions_are_told_by_one_name() -> None:
    def hashed(message: Any) -> str | None:
        found: str | None = stop(asked=asking(messages=[message])).facts.get("instructions_hash")
        return found

    plain = hashed({"role": "system", "content": "Be brief."})
    assert plain is not None
    assert hashed({"role": "developer", "content": [{"type": "text", "text": "Be "}, {"text": "brief."}]}) == plain
    assert hashed({"role": "system", "content": "Be long."}) != plain
    assert hashed({"role": "user", "content": "Be brief."}) is None


# -- the real SDK -----------------------------------------------------------------------------------------------------

PUBLISHED = sorted((CORPUS / "chat").glob("*.sse"))

#: Published streams without blank lines: to an EventSource, and so to the SDK, they hold no event.
UNFRAMED = {"chat-018", "chat-040", "chat-062", "chat-064", "chat-074", "chat-079", "chat-084", "chat-085", "chat-088"}

#: Where this project has something else than one gets by putting the SDK's chunks together, and why it is right.
NOT_AS_CHUNKS: dict[str, tuple[set[str], str]] = {
    "chat-parts": ({"text", "reasoning"}, "content in parts: the SDK hands on the parts as they are"),
    "chat-stop-with-calls": ({"calls"}, "two calls of one index: put together by index they become one, of no tool"),
    "chat-reasoning-beside": ({"usage"}, "reasoning is counted beside the completion, and belongs to the output"),
    "chat-groq": ({"usage"}, "the usage stands in x_groq"),
    "chat-039": ({"usage"}, "the usage stands in x_groq"),
    "chat-020": ({"text"}, "the text stands where a completion has it that is no chat"),
    "chat-050": ({"reasoning"}, "the thoughts stand in reasoning_details alone"),
    "chat-056": ({"usage"}, "the usage stands in the chunk with the error, for which the SDK raises"),
}

#: Streams that the SDK's helper cannot put together, and why; its plain chunks are compared all the same.
NOT_FOR_THE_HELPER: dict[str, str] = {
    **dict.fromkeys(UNFRAMED, "no event"),
    "chat-020": "choices without a delta",
    "chat-032": "a tool call without an index",
    "chat-043": "a tool call without an index",
    "chat-086": "a tool call without an index",
    "chat-092": "a tool call of another type",
    "chat-036": "annotations without an index",
    "chat-049": "a chunk without choices",
    "chat-053": "a chunk without choices",
    "chat-parts": "content in parts",
    "chat-stop-with-calls": "two calls of one index become one",
}


@dataclass
class Heard:
    """What the SDK's chunks come to, put together as its documentation does."""

    contents: dict[int, str] = field(default_factory=dict)
    refusals: dict[int, str] = field(default_factory=dict)
    thoughts: dict[int, str] = field(default_factory=dict)
    calls: dict[tuple[int, int], list[str]] = field(default_factory=dict)
    finishes: dict[int, str] = field(default_factory=dict)
    usage: Any = None
    failed: bool = False

    def chunk(self, chunk: Any) -> None:
        self.usage = chunk.usage or self.usage
        for choice in chunk.choices or ():
            delta, index = choice.delta, choice.index
            if choice.finish_reason:
                self.finishes[index] = choice.finish_reason
            if delta is None:
                continue
            audio = delta.audio
            self._add(self.contents, index, delta.content or (audio and audio.transcript))
            self._add(self.refusals, index, delta.refusal)
            extra = delta.model_extra or {}
            self._add(self.thoughts, index, extra.get("reasoning_content") or extra.get("reasoning"))
            for number, call in enumerate(delta.tool_calls or ()):
                self._call((index, number if call.index is None else call.index), call.function)
            if delta.function_call:
                self._call((index, -1), delta.function_call)

    @staticmethod
    def _add(texts: dict[int, str], index: int, text: object) -> None:
        if text and isinstance(text, str):
            texts[index] = texts.get(index, "") + text

    def _call(self, key: tuple[int, int], function: Any) -> None:
        told = self.calls.setdefault(key, ["", ""])
        told[0] += function.name or ""
        told[1] += function.arguments or ""


def number_of(path: Path) -> str:
    return path.stem if path.parent == STREAMS else path.stem[:8]


def streams() -> list[Path]:
    """The project's own streams and the published ones."""
    return [STREAMS / f"{name}.sse" for name in GOLDEN] + PUBLISHED


def sdk(body: bytes) -> tuple[Any, Any]:
    """openai's client, which gets this stream as the answer to anything; and the module."""
    openai = pytest.importorskip("openai", reason="openai's client is not installed")
    httpx2 = pytest.importorskip("httpx2", reason="httpx2 is not installed")
    answer = httpx2.Response(200, headers={"content-type": "text/event-stream"}, content=body)
    http = httpx2.Client(transport=httpx2.MockTransport(lambda _: answer))
    return openai.OpenAI(api_key="sk-x", http_client=http, max_retries=0), openai


def chunks_of(body: bytes) -> Heard:
    client, openai = sdk(body)
    heard = Heard()
    with client:
        try:
            for each in client.chat.completions.create(model="m", messages=[], stream=True):
                heard.chunk(each)
        except openai.APIError:
            heard.failed = True
    return heard


@pytest.mark.parametrize("path", streams(), ids=lambda path: path.stem[:32])
def test_text_calls_and_usage_are_what_the_sdks_chunks_come_to(path: Path) -> None:
    """Of every choice, refusals, thoughts and ends too; but for the listed differences, each with its reason."""
    body, name = path.read_bytes(), number_of(path)
    heard, reading = chunks_of(body), read(ASKED, body)
    usage = heard.usage
    differences = {
        "text": sorted(heard.contents.values()) != sorted(texts_of(reading, "text")),
        "first": (reading.text or "") != heard.contents.get(min(heard.contents, default=0), ""),
        "refusal": sorted(heard.refusals.values()) != sorted(texts_of(reading, "refusal")),
        "reasoning": sorted(heard.thoughts.values()) != sorted(texts_of(reading, "reasoning")),
        "calls": sorted(map(tuple, heard.calls.values())) != sorted((name, text) for name, text in calls_of(reading)),
        "usage": (usage and (usage.prompt_tokens, usage.completion_tokens, usage.total_tokens))
        != (usage and (reading.input_tokens, reading.output_tokens, reading.total_tokens))
        or (usage is None) is not (reading.total_tokens is None),
        "failed": heard.failed is not (reading.facts.get("evidence", {}).get("error") is not None),
        "finish": not heard.failed and (reading.stop_reason_raw or "") not in (list(heard.finishes.values()) or [""]),
    }
    differences.pop("first") if name in {"chat-parts", "chat-020"} else None
    assert {what for what, differs in differences.items() if differs} == NOT_AS_CHUNKS.get(name, (set(), ""))[0]


@pytest.mark.parametrize("path", streams(), ids=lambda path: path.stem[:32])
@pytest.mark.filterwarnings("ignore:Pydantic serializer warnings:UserWarning")
def test_text_calls_and_usage_are_what_the_sdks_helper_accumulates(path: Path) -> None:
    """`client.chat.completions.stream(...)`: text, refusal, calls of every choice, and usage.

    The helper raises at `length` and `content_filter`, before any usage; what it has by then is compared. Its usage is
    that of the last chunk.
    """
    body, name = path.read_bytes(), number_of(path)
    client, openai = sdk(body)
    stopped = (openai.LengthFinishReasonError, openai.ContentFilterFinishReasonError, openai.APIError)
    usage: Any = None
    with client, client.chat.completions.stream(model="m", messages=[]) as told:
        if name in NOT_FOR_THE_HELPER:
            try:
                snapshot = told.get_final_completion()
            except (AssertionError, TypeError, RuntimeError, AttributeError, ValueError):
                return
            assert name in {"chat-parts", "chat-stop-with-calls"}, snapshot
            return
        with contextlib.suppress(*stopped):
            usage = told.get_final_completion().usage
        choices = told.current_completion_snapshot.choices
    reading = read(ASKED, body)
    messages = [choice.message for choice in choices]
    assert sorted(message.content for message in messages if message.content) == sorted(
        text for text in texts_of(reading, "text") if name != "chat-audio"
    )
    assert sorted(message.refusal for message in messages if message.refusal) == sorted(texts_of(reading, "refusal"))
    calls = [call.function for message in messages for call in message.tool_calls or ()]
    if name != "chat-function-call":
        assert sorted((call.name, call.arguments) for call in calls) == sorted(calls_of(reading))
    if usage and "usage" not in NOT_AS_CHUNKS.get(name, (set(),))[0]:
        assert (usage.prompt_tokens, usage.completion_tokens) == (reading.input_tokens, reading.output_tokens)


# -- broken streams ---------------------------------------------------------------------------------------------------

_DONE = b"[DONE]"
_GOOD = {"stop", "eos", "eos_token", "stop_sequence", "end_turn"}


def payload_of(event: Event) -> bytes:
    """What an EventSource would hand on; b"" for nothing, and for what is no event of the stream."""
    if event.kind != "sse":
        return b""
    return event.data if event.raw is None and event.data else payload(event.type, event.data, event.raw) or b""


def may_be_completed(events: Iterable[Event]) -> bool:
    """Whether a finish reason says so for every choice that appears before the end marker; read off the bytes."""
    finishes: dict[int, set[str]] = {}
    for event in events:
        data = payload_of(event)
        if data.startswith(_DONE):
            break
        try:
            choices = json.loads(data).get("choices") or ()
        except (ValueError, AttributeError):
            continue
        for choice in choices:
            told = finishes.setdefault(choice["index"], set())
            if choice.get("finish_reason"):
                told.add(choice["finish_reason"])
    return bool(finishes) and all(told & _GOOD for told in finishes.values())


def check(tape: tuple[Recording, list[Event]], events: list[Event]) -> None:
    """What must hold of any stream, whatever happened to it."""
    reading = CHAT.read(tape[0], events)
    assert reading.status in set(Status)
    assert reading.stop_reason in {None, *StopReason}
    assert reading.status != Status.COMPLETED or may_be_completed(events)
    if not any(event.kind == "head" for event in events):
        return
    assert reading.complete is ("no_terminal_event" not in reading.flags)
    over = not {"error", "end_marker"}.isdisjoint(reading.facts["evidence"])
    marked = any(payload_of(event).startswith(_DONE) for event in events)
    assert over or not marked
    assert over is not ("no_end_marker" in reading.flags)


TAPES = {name: recorded(ASKED, (STREAMS / f"{name}.sse").read_bytes()) for name in GOLDEN}


@pytest.mark.parametrize("name", GOLDEN)
def test_a_stream_cut_at_any_event_is_never_completed_before_it_says_so(name: str) -> None:
    tape = TAPES[name]
    for cut in range(len(tape[1])):
        check(tape, tape[1][:cut])


@pytest.mark.parametrize("name", GOLDEN)
def test_a_stream_that_lacks_any_one_event_flags_what_is_missing(name: str) -> None:
    tape = TAPES[name]
    for missing in range(len(tape[1])):
        check(tape, tape[1][:missing] + tape[1][missing + 1 :])


@given(st.data())
def test_events_removed_doubled_and_moved_never_raise_and_never_turn_out_completed(data: st.DataObject) -> None:
    """Any number of them, of any golden stream."""
    tape = TAPES[data.draw(st.sampled_from(GOLDEN))]
    order = data.draw(st.lists(st.integers(1, len(tape[1]) - 1), max_size=2 * len(tape[1])))
    check(tape, [tape[1][0], *(tape[1][place] for place in order)])


@pytest.mark.parametrize("path", PUBLISHED, ids=lambda path: path.stem[:24])
def test_published_streams_cut_or_lacking_an_event_are_never_completed_before_they_say_so(path: Path) -> None:
    """At most 40 places of each."""
    tape = recorded(ASKED, path.read_bytes())
    for place in range(0, len(tape[1]), max(1, len(tape[1]) // 40)):
        check(tape, tape[1][:place])
        check(tape, tape[1][:place] + tape[1][place + 1 :])


_JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    *("id", "model", "choices", "usage", "error", "x_groq", "object", "prompt_filter_results"),
                    *("index", "delta", "message", "finish_reason", "content_filter_results", "text"),
                    *("content", "refusal", "tool_calls", "function_call", "audio", "reasoning", "reasoning_details"),
                    *("type", "function", "name", "arguments", "transcript", "prompt_tokens_details", "usage"),
                ]
            ),
            inner,
            max_size=5,
        )
    ),
    max_leaves=20,
)


@given(st.lists(_JUNK, max_size=4), _JUNK)
def test_payloads_and_parameters_of_any_shape_are_read(sent: list[Any], body: Any) -> None:
    """Nothing is trusted, neither what a server sends nor what a client asked."""
    asked = request("POST", PATH, json.dumps(body).encode())
    answer = "".join(f"data: {json.dumps(value)}\n\n" for value in sent).encode()
    assert read(asked, answer, dialect="chat").dialect == "chat"
    for value in sent:
        assert read(asked, json.dumps({"choices": [value]}).encode(), headers=JSON, dialect="chat").action == "create"


@given(st.lists(st.text(max_size=6), max_size=8))
def test_pieces_of_text_come_together_again(pieces: list[str]) -> None:
    """Wherever they were cut; each with its place in the whole."""
    reading = stop(*(said(piece) for piece in pieces))
    whole = "".join(pieces)
    if not whole:
        assert reading.text is None
        return
    (spoken,) = reading.spoken
    assert spoken.text == whole
    assert [whole[start:] for start in spoken.offsets] == [
        "".join(pieces[number:]) for number, piece in enumerate(pieces) if piece
    ]
