"""Which dialect a request belongs to, what every dialect owes, and the published streams of all protocols."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recorder import demo, reader
from recorder.dialects import DIALECTS, RAW, by_name, recognise
from recorder.dialects.base import body_of, error_of, integer, parse, path_of, query_of, string
from recorder.recording import Event, Reading, Recording, Request, Status, StopReason
from tests import golden
from tests.needs import CORPUS, NIGHTLY, need_corpus
from tests.tape import EVENT_STREAM, JSON, post, read, recorded, request

CHAT: dict[str, Any] = {"model": "gpt-4o", "messages": [{"role": "user", "content": "hi"}]}
RUN: dict[str, Any] = {"assistant_id": "asst_1"}
MESSAGES: dict[str, Any] = {"model": "claude", "max_tokens": 9, "messages": []}
VERTEX: dict[str, Any] = {"anthropic_version": "vertex-2023-10-16", "max_tokens": 9, "messages": []}
GENERATE: dict[str, Any] = {"contents": [{"parts": [{"text": "hi"}]}]}

# What a request of each folder of published streams looks like where the source does not say.
ASKED: dict[str, Request] = {
    "assistants": post("/v1/threads/thread_1/runs", **RUN, stream=True),
    "chat": post("/v1/chat/completions", **CHAT, stream=True),
    "responses": post("/v1/responses", input="hi", stream=True),
    "anthropic": post("/v1/messages", **MESSAGES, stream=True),
    "gemini": post("/v1beta/models/gemini-2.5-flash:streamGenerateContent?alt=sse", **GENERATE),
}


# -- recognising ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "url", "body", "name"),
    [
        ("POST", "/v1/threads/thread_1/runs", RUN, "assistants"),
        ("POST", "/v1/threads/runs", RUN, "assistants"),
        ("POST", "/v1/threads/thread_1/runs/run_1/submit_tool_outputs", {"tool_outputs": []}, "assistants"),
        ("POST", "/v1/threads/thread_1/runs/run_1/cancel", None, "assistants"),
        ("POST", "/v1/threads/thread_1/runs/run_1", {"metadata": {}}, "assistants"),
        ("GET", "/v1/threads/thread_1/runs/run_1", None, "assistants"),
        ("GET", "/v1/threads/thread_1/runs/run_1/steps?limit=5", None, "assistants"),
        ("GET", "/v1/threads/thread_1/runs/run_1/steps/step_1", None, "assistants"),
        ("POST", "https://x.services.ai.azure.com/api/projects/p/threads/t/runs?api-version=v1", RUN, "assistants"),
        ("POST", "https://x.openai.azure.com/openai/threads/runs?api-version=2024-05-01-preview", RUN, "assistants"),
        ("POST", "https://dashscope.aliyuncs.com/api/v1/threads/thread_1/runs/", RUN, "assistants"),
        ("post", "http://127.0.0.1:8080/openai/v1/threads/t/runs#part", RUN, "assistants"),
        # exchanges with a thread, outside any run
        ("GET", "/v1/threads/thread_1/runs", None, "assistants"),
        ("POST", "/v1/threads/thread_1/messages", {"role": "user", "content": "hi"}, "assistants"),
        ("GET", "/v1/threads/thread_1/messages?limit=5", None, "assistants"),
        ("GET", "/v1/threads/thread_1/messages/msg_1", None, "assistants"),
        ("DELETE", "/v1/threads/thread_1/messages/msg_1", None, "assistants"),
        ("POST", "/v1/threads", {"messages": []}, "assistants"),
        ("POST", "/v1/threads", {}, "assistants"),
        ("POST", "/v1/threads", None, "assistants"),
        ("POST", "/v1/threads/thread_1", {"metadata": {}}, "assistants"),
        ("GET", "https://x.services.ai.azure.com/api/projects/p/threads/t?api-version=v1", None, "assistants"),
        ("GET", "https://x.services.ai.azure.com/api/projects/p/threads?api-version=v1", None, "assistants"),
        ("POST", "https://x.services.ai.azure.com/api/projects/p/threads?api-version=v1", {}, "assistants"),
        # threads of others
        ("POST", "/threads", {"thread_id": "t", "metadata": {}}, "raw"),
        ("POST", "/threads", {"metadata": {"graph_id": "g"}}, "raw"),
        ("POST", "/v1/threads", {"title": "Lost cat"}, "raw"),
        ("GET", "/forum/threads/42", None, "raw"),
        ("GET", "/forum/threads", None, "raw"),
        ("POST", "/forum/threads/42/messages", {"text": "hi"}, "raw"),
        ("GET", "/threads/thread_1/messages/msg_1/files", None, "raw"),
        ("POST", "/v1/assistants", {"model": "gpt-4o"}, "raw"),
        ("DELETE", "/v1/threads/thread_1/runs/run_1", None, "raw"),
        ("GET", "/v1/threads/thread_1/runs/run_1/cancel", None, "raw"),
        # LangGraph's servers: the same paths, another protocol
        ("POST", "/threads/t/runs", {**RUN, "input": {}, "stream_mode": ["values"]}, "raw"),
        ("POST", "/threads/t/runs/stream", {**RUN, "input": {}}, "raw"),
        ("POST", "/threads/t/runs", {"other": 1}, "raw"),
        ("GET", "/threads/8e0a2b34-8f5e-4f4e-9d5b-0c7b1d3a5f10/runs", None, "raw"),
        ("GET", "/threads/t/runs/8e0a2b34-8f5e-4f4e-9d5b-0c7b1d3a5f10", None, "raw"),
        ("POST", "/threads/t/runs/8e0a2b34-8f5e-4f4e-9d5b-0c7b1d3a5f10/cancel", None, "raw"),
        ("GET", "/threads/8e0a2b34-8f5e-4f4e-9d5b-0c7b1d3a5f10", None, "raw"),
        ("GET", "/threads/t/runs/8e0a2b34-8f5e-4f4e-9d5b-0c7b1d3a5f10?api-version=v1", None, "assistants"),
        ("POST", "/v1/chat/completions", CHAT, "chat"),
        ("POST", "/openai/deployments/d/chat/completions?api-version=2024-10-21", CHAT, "chat"),
        ("POST", "https://openrouter.ai/api/v1/chat/completions", CHAT, "chat"),
        ("POST", "/v1/chat/completions", {"prompt": "hi"}, "raw"),
        ("GET", "/v1/chat/completions/chatcmpl-1", None, "raw"),
        ("POST", "/v1/completions", {"prompt": "hi"}, "raw"),
        ("POST", "/v1/responses", {"input": "hi"}, "responses"),
        ("POST", "/openai/responses?api-version=2025-03-01-preview", {"model": "m"}, "responses"),
        ("GET", "/v1/responses/resp_1?stream=true&starting_after=4", None, "responses"),
        ("POST", "/v1/responses/resp_1/cancel", None, "responses"),
        ("GET", "/v1/responses/resp_1/input_items", None, "raw"),
        ("POST", "/v1/responses/input_tokens", {"input": "hi"}, "raw"),
        ("POST", "/survey/responses", {"answer": 4}, "raw"),
        ("POST", "/v1/messages", MESSAGES, "messages"),
        ("POST", "https://gateway/router/anthropic/v1/messages?beta=true", MESSAGES, "messages"),
        ("POST", "/v1/messages/count_tokens", MESSAGES, "raw"),
        ("POST", "/v1/messages/batches", {"requests": []}, "raw"),
        ("POST", "/inbox/messages", {"to": "a"}, "raw"),
        (
            "POST",
            "/v1/projects/p/locations/l/publishers/anthropic/models/claude-x@1:streamRawPredict",
            VERTEX,
            "messages",
        ),
        ("POST", "/v1/projects/p/locations/l/publishers/anthropic/models/claude-x:rawPredict", VERTEX, "messages"),
        ("POST", "/v1/projects/p/locations/l/publishers/anthropic/models/claude-x:rawPredict", MESSAGES, "raw"),
        ("POST", "/v1/projects/p/locations/l/publishers/anthropic/models/count-tokens:rawPredict", VERTEX, "raw"),
        ("POST", "/v1/projects/p/locations/l/publishers/mistralai/models/m:rawPredict", {"messages": []}, "raw"),
        ("POST", "/model/anthropic.claude-x-v1%3A0/invoke", VERTEX, "messages"),
        ("POST", "/model/anthropic.claude-x-v1%3A0/invoke-with-response-stream", VERTEX, "raw"),
        ("POST", "/model/meta.llama3-8b/invoke", {"prompt": "hi"}, "raw"),
        ("POST", "/v1beta/models/gemini-2.5-flash:streamGenerateContent?alt=sse", GENERATE, "gemini"),
        ("POST", "/v1beta/models/gemini-2.5-flash:generateContent", GENERATE, "gemini"),
        ("POST", "/v1beta/tunedModels/mine%3AgenerateContent?key=k", GENERATE, "gemini"),
        ("POST", "/v1/projects/p/locations/l/publishers/google/models/g:streamGenerateContent", GENERATE, "gemini"),
        ("POST", "/v1/projects/p/locations/l/endpoints/12:generateContent", GENERATE, "gemini"),
        ("POST", "/v1beta/models/gemini-2.5-flash:countTokens", GENERATE, "raw"),
        ("POST", "/v1beta/models/gemini-2.5-flash:batchGenerateContent", GENERATE, "raw"),
        ("POST", "/v1beta/models/gemini-2.5-flash:generateContent", {"prompt": "hi"}, "raw"),
        ("GET", "/v1beta/models/gemini-2.5-flash", None, "raw"),
        ("GET", "/", None, "raw"),
        ("GET", "not a url", None, "raw"),
    ],
)
def test_a_request_is_recognised_by_method_path_and_body(
    method: str, url: str, body: dict[str, Any] | None, name: str
) -> None:
    asked = request(method, url, b"" if body is None else json.dumps(body).encode())
    assert recognise(asked).name == name
    assert [dialect.name for dialect in DIALECTS if dialect.recognises(asked)] == ([] if name == "raw" else [name])


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("/v1/threads/t/runs", "assistants"),
        ("/v1/chat/completions", "chat"),
        ("/v1/responses", "responses"),
        ("/v1/messages", "messages"),
        ("/model/anthropic.claude-x-v1%3A0/invoke", "messages"),
        ("/model/meta.llama3-8b/invoke", "raw"),
        ("/v1beta/models/gemini-2.5-flash:streamGenerateContent", "gemini"),
    ],
)
def test_without_a_kept_body_the_path_decides(url: str, name: str) -> None:
    """A body above the size limit is not there to be asked."""
    assert recognise(request("POST", url, None)).name == name


def test_a_name_of_another_version_is_raw() -> None:
    assert by_name("telepathy") is RAW
    assert [by_name(dialect.name) for dialect in DIALECTS] == list(DIALECTS)


@given(st.text(), st.text(), st.binary())
def test_any_request_is_recognised_and_has_parameters(method: str, url: str, body: bytes) -> None:
    """Nothing that a client sends raises."""
    asked = Request(method=method, url=url, body=body, body_size=len(body))
    assert isinstance(recognise(asked).parameters(asked), dict)
    for dialect in DIALECTS:
        assert isinstance(dialect.parameters(asked), dict)


# -- parameters -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "parameters"),
    [
        (
            post(
                "/v1/threads/thread_1/runs",
                assistant_id="asst_1",
                model="gpt-4o",
                max_prompt_tokens=1024,
                max_completion_tokens=256,
                truncation_strategy={"type": "last_messages", "last_messages": 10},
                stream=True,
            ),
            {
                "model": "gpt-4o",
                "assistant_id": "asst_1",
                "thread_id": "thread_1",
                "max_prompt_tokens": 1024,
                "max_completion_tokens": 256,
                "truncation_strategy": "last_messages:10",
                "stream": True,
            },
        ),
        (
            post("/v1/threads/runs", assistant_id="a", truncation_strategy={"type": "auto"}, stream=False),
            {"assistant_id": "a", "truncation_strategy": "auto", "stream": False},
        ),
        (
            post("/v1/threads/t/runs", assistant_id="a", max_tokens=99),
            {"assistant_id": "a", "thread_id": "t", "max_completion_tokens": 99},
        ),
        (
            post("/v1/threads/t/runs/r/submit_tool_outputs", tool_outputs=[], stream=True),
            {"thread_id": "t", "stream": True},
        ),
        (request("GET", "/v1/threads/t/runs/r"), {"thread_id": "t"}),
        (
            post("/v1/chat/completions", **CHAT, max_tokens=5, stream=True),
            {"model": "gpt-4o", "max_completion_tokens": 5, "stream": True},
        ),
        (
            post("/v1/chat/completions", messages=[], max_tokens=5, max_completion_tokens=6),
            {"max_completion_tokens": 6},
        ),
        (
            post("/v1/responses", model="m", input="", max_output_tokens=16, truncation="auto"),
            {"model": "m", "max_completion_tokens": 16, "truncation_strategy": "auto"},
        ),
        (request("GET", "/v1/responses/resp_1?starting_after=1&stream=true"), {"stream": True}),
        (post("/v1/messages", **MESSAGES), {"model": "claude", "max_completion_tokens": 9}),
        (post("/v1/messages/batches", **MESSAGES), {}),
        (
            post("/model/anthropic.claude-x-v1%3A0/invoke", **VERTEX),
            {"model": "anthropic.claude-x-v1:0", "max_completion_tokens": 9},
        ),
        (
            post("/publishers/anthropic/models/claude-x@1:streamRawPredict", **VERTEX),
            {"model": "claude-x@1", "max_completion_tokens": 9, "stream": True},
        ),
        (
            post("/v1beta/models/gemini-x:streamGenerateContent", **GENERATE, generationConfig={"maxOutputTokens": 7}),
            {"model": "gemini-x", "max_completion_tokens": 7, "stream": True},
        ),
        (post("/v1beta/models/gemini-x:generateContent", **GENERATE), {"model": "gemini-x", "stream": False}),
    ],
)
def test_hot_parameters_have_the_columns_names(asked: Request, parameters: dict[str, Any]) -> None:
    assert recognise(asked).parameters(asked) == parameters


@pytest.mark.parametrize("value", [None, "many", True, 1.5, 1 << 63, [], {}])
def test_a_parameter_that_fits_no_column_is_absent(value: Any) -> None:
    """Null, too: the body still tells it from absent."""
    asked = post("/v1/threads/t/runs", assistant_id="a", max_prompt_tokens=value, stream=[value])
    assert recognise(asked).parameters(asked) == {"assistant_id": "a", "thread_id": "t"}


# -- the parts --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (b'{"a":1,"a":2}', {"a": 2}),
        (b'"\\ud83d"', "\ud83d"),
        (b'"\xff"', "\ufffd"),
        (b"123456789012345678901234567890", 123456789012345678901234567890),
        (b"[" * 200 + b"]" * 200, None),
        (b"[" * 200 + b'"\\ud83d"' + b"]" * 200, None),
    ],
)
def test_parse_reads_what_either_parser_reads(text: bytes, value: Any) -> None:
    assert value is None or parse(text) == value
    assert parse(text) is not None


@pytest.mark.parametrize(
    "text",
    [
        *(b"", b"{", b"nul", b"1" * 5000, b'"\x01"', b"\xef\xbb\xbf"),
        *(b"[" * levels + b'"\\ud83d"' + b"]" * levels for levels in (202, 500, 900, 200_000)),
    ],
)
def test_parse_refuses_the_rest_with_one_exception(text: bytes) -> None:
    with pytest.raises(ValueError):
        parse(text)


def test_strings_are_what_every_database_can_hold() -> None:
    assert string("a\0b") == "a\ufffdb"
    assert "\ud83d" not in (string("x\ud83d") or "")
    assert [string(value) for value in ("", None, 1, b"x", ["a"])] == [None] * 5


def test_integers_are_what_a_64_bit_column_holds() -> None:
    assert [integer(value) for value in (0, -1, 2.0, (1 << 63) - 1)] == [0, -1, 2, (1 << 63) - 1]
    values: list[Any] = [True, 1 << 63, 1.5, float("inf"), float("nan"), "1", None]
    assert [integer(value) for value in values] == [None] * 7


@pytest.mark.parametrize(
    ("value", "error"),
    [
        (
            {"error": {"code": "c", "type": "t", "message": "m", "param": None}},
            {"code": "c", "type": "t", "message": "m"},
        ),
        ({"code": "c", "message": "m", "type": "error"}, {"code": "c", "type": "error", "message": "m"}),
        ({"error": {"code": 400}}, {"code": "400"}),
        ({"error": "overloaded"}, {"message": "overloaded"}),
        ({"error": None}, None),
        ({"id": "x", "type": "message", "message": "m"}, None),
        ({"object": "thread.run"}, None),
        ([], None),
        (None, None),
    ],
)
def test_errors_are_found_nested_and_flat(value: Any, error: dict[str, str] | None) -> None:
    assert error_of(value) == error


def test_urls_are_taken_apart_without_being_changed() -> None:
    asked = request("GET", "https://host:1/a/b%2Fc/?x=1&x=2&flag&y=%20#frag?z=1")
    assert path_of(asked) == "/a/b%2Fc"
    assert query_of(asked) == {"x": "2", "flag": "", "y": "%20"}
    assert path_of(request("GET", "https://host")) == "/"
    assert body_of(request("POST", "/", b"[1]")) == body_of(request("POST", "/", None)) == {}


# -- what every dialect owes ------------------------------------------------------------------------------------------


def asking(name: str) -> Request:
    """A request that asks for the stream that the demo calls `name`."""
    return ASKED[{"messages": "anthropic"}.get(name.partition("-")[0], name.partition("-")[0])]


@pytest.mark.parametrize("name", demo.names())
def test_a_whole_stream_is_complete_and_has_no_flag_of_a_truncation(name: str) -> None:
    reading = read(asking(name), demo.stream(name))
    assert reading.complete is True
    assert set(reading.flags) <= {"output_cap_reached", "echo_differs"}


@pytest.mark.parametrize("name", demo.names())
@pytest.mark.parametrize(
    ("cut", "flags"),
    [
        ("no final blank line", {"unterminated_tail"}),
        ("no last event", set[str]()),
        ("middle of an event", {"no_terminal_event", "unterminated_tail"}),
        ("between events", {"no_terminal_event"}),
        ("nothing", {"no_terminal_event"}),
    ],
)
def test_a_silent_truncation_is_flagged(name: str, cut: str, flags: set[str]) -> None:
    """SDKs take each of these for a normal end. Only Responses has no end marker to miss, but its end is an event."""
    body = demo.stream(name)
    half = body.index(b"\n\n", len(body) // 2) + 2
    left = {
        "no final blank line": body[:-1],
        "no last event": body[: body.rindex(b"\n\n", 0, -2) + 2],
        "middle of an event": body[: half + 9],
        "between events": body[:half],
        "nothing": b"",
    }[cut]
    reading = read(asking(name), left)
    missing = "no_terminal_event" if name.startswith("responses") else "no_end_marker"
    assert set(reading.flags) >= {*flags, missing}
    if "no_terminal_event" in reading.flags:
        assert reading.complete is False
        assert reading.status in {Status.IN_PROGRESS, Status.UNKNOWN}


@pytest.mark.parametrize("protocol", ASKED)
@pytest.mark.parametrize(
    ("status", "headers", "body"),
    [
        (200, JSON, b"{}"),
        (200, (("content-type", "text/html"),), b"<html>"),
        (200, JSON, b""),
        (204, (), b""),
    ],
)
def test_no_stream_where_one_was_asked_for_is_flagged(
    protocol: str, status: int, headers: tuple[tuple[str, str], ...], body: bytes
) -> None:
    reading = read(ASKED[protocol], body, status=status, headers=headers)
    assert {"not_sse", "no_terminal_event"} <= set(reading.flags)
    assert reading.status == Status.UNKNOWN


REFUSAL = b'{"error":{"message":"no","type":"t","code":"c"}}'


@pytest.mark.parametrize("protocol", ASKED)
@pytest.mark.parametrize("body", [REFUSAL, b"[" + REFUSAL + b"]", b"<html>", b"", b'{"error"'])
def test_a_refused_request_failed(protocol: str, body: bytes) -> None:
    """Whatever the error looks like, even if nobody read it. Google's servers put theirs into a list."""
    reading = read(ASKED[protocol], body, status=429, headers=JSON)
    assert (reading.status, reading.stop_reason) == (Status.FAILED, StopReason.ERROR)
    assert "http_error" in reading.flags
    assert "not_sse" not in reading.flags
    told = ("t" if protocol == "anthropic" else "c", "no") if REFUSAL in body else (None, None)
    assert (reading.stop_reason_raw, reading.facts.get("content", {}).get("error_message")) == told


@pytest.mark.parametrize("protocol", ASKED)
def test_no_response_at_all_says_nothing(protocol: str) -> None:
    reading = read(ASKED[protocol], None, ending="connect_error")
    assert (reading.status, reading.stop_reason, reading.complete, reading.flags) == (Status.UNKNOWN, None, False, ())
    assert reading.ttft_us is None


@pytest.mark.parametrize("name", [name for name in demo.names() if name.startswith(("chat", "responses", "messages"))])
def test_a_json_answer_reads_like_its_stream(name: str) -> None:
    """Whole answers as the demo's upstream gives them; only times and what makes up a stream differ."""
    from recorder.demo.upstream import answer_to

    asked = asking(name)
    streamed = read(asked, demo.stream(name))
    plain = Request(
        method="POST", url=asked.url, body=(asked.body or b"").replace(b'"stream": true', b'"stream": false')
    )
    path = asked.url.removeprefix("https://api.openai.com")
    whole = read(plain, json.dumps(answer_to("POST", path, plain.body or b"").value).encode(), headers=JSON)
    differing = {field for field in Reading.__slots__ if getattr(whole, field) != getattr(streamed, field)}
    assert differing <= {"ttft_us", "ttft_visible_us", "facts", "parameters", "spoken"}
    assert whole.text


def test_a_frame_above_the_limit_is_no_tail() -> None:
    """17 MB in one event: stored in pieces, not parsed, and what comes after it still counts."""
    large = b"data: " + b"x" * (17 << 20) + b"\n\n"
    first, rest = demo.stream("chat-completed").split(b"\n\n", 1)
    recording, events = recorded(ASKED["chat"], first + b"\n\n" + large + rest, chunk=1 << 20)
    reading = by_name("chat").read(recording, events)
    assert set(reading.flags) - {"echo_differs"} == {"oversize_frame"}
    assert reading.status == Status.COMPLETED
    assert "unterminated_tail" not in read(ASKED["chat"], large, chunk=1 << 20).flags


def test_raw_guesses_nothing() -> None:
    reading = read(request("GET", "/v1/models"), b'{"error":{"code":"c"}}', status=500, headers=JSON)
    assert (reading.dialect, reading.status, reading.complete) == ("raw", Status.UNKNOWN, None)
    assert reading.flags == ("http_error",)


# -- published streams ------------------------------------------------------------------------------------------------

# Published as stored: without the last blank line, or without any. What an EventSource would not dispatch is not read.
UNFRAMED = "the file lacks the blank line that ends its last event, and that event tells the outcome"
CLIENT_CALLS = "the output asks the client for a tool's result, which the collector did not look at"
CACHED_INPUT = ("input_tokens", "cache_read_input_tokens", "cache_creation_input_tokens")
GEMINI_COUNTS = ("promptTokenCount", "toolUsePromptTokenCount", "candidatesTokenCount", "thoughtsTokenCount")

# The collector's reading and this project's; each difference has its reason.
DIFFERENT: dict[str, tuple[str, str]] = {
    # id up to its number: (status here, why)
    "assistants-008": ("failed", "the event and failed_at say failed, the status completed: good news bears no denial"),
    "assistants-017": ("unknown", "the file has no blank line at all: to an EventSource it holds no event"),
    "assistants-041": ("in_progress", UNFRAMED),
    "chat-018": ("unknown", UNFRAMED),
    "chat-040": ("unknown", UNFRAMED),
    "chat-062": ("unknown", UNFRAMED),
    "chat-064": ("unknown", UNFRAMED),
    "chat-074": ("unknown", UNFRAMED),
    "chat-079": ("unknown", UNFRAMED),
    "chat-084": ("unknown", UNFRAMED),
    "chat-085": ("unknown", UNFRAMED),
    "chat-088": ("unknown", UNFRAMED),
    "gemini-010": ("in_progress", UNFRAMED),
    "gemini-022": ("unknown", UNFRAMED),
    "gemini-024": ("unknown", "the last reason replaces the others, and nobody knows that one"),
    "responses-039": ("unknown", UNFRAMED),
    "responses-045": ("in_progress", UNFRAMED),
    **{
        f"responses-0{number}": ("requires_action", CLIENT_CALLS)
        for number in (19, 20, 24, 25, 26, 27, 37, 38, 50, 52, 53, 54)
    },
}

# Usage that the collector did not look for: (field of its usage, figure here), and where it stands.
USAGE_ELSEWHERE: dict[str, tuple[dict[str, int], str]] = {
    "chat-034": ({"cached": 0}, "Together's usage.cached_tokens"),
    "chat-039": ({"input": 5003, "output": 359, "total": 5362}, "Groq's x_groq.usage"),
}


def published() -> Iterator[dict[str, str]]:
    """The rows of the index that belong to a protocol that is read here."""
    if (CORPUS / "INDEX.csv").is_file():
        with (CORPUS / "INDEX.csv").open(newline="") as index:
            yield from (row for row in csv.DictReader(index) if row["protocol"] in ASKED)


def test_every_listed_difference_is_one() -> None:
    """A difference that has gone must leave the list."""
    need_corpus()
    rows = {"-".join(row["id"].split("-")[:2]): row for row in STREAMS}
    for number, (status, _) in DIFFERENT.items():
        recording, events = tape_of(rows[number])
        assert by_name(recording.dialect).read(recording, events).status == status
        assert {"error": "failed"}.get(rows[number]["outcome"], rows[number]["outcome"]) != status


def tape_of(row: dict[str, str]) -> tuple[Recording, list[Event]]:
    """A published stream as a recording."""
    folder = need_corpus() / row["protocol"]
    told = json.loads((folder / f"{row['id']}.json").read_bytes())["request"] or {}
    asked = ASKED[row["protocol"]]
    if told.get("url") and told.get("params"):
        asked = request(told["method"].upper(), told["url"], json.dumps({**told["params"], "stream": True}).encode())
    return recorded(asked, (folder / f"{row['id']}.sse").read_bytes(), dialect=by_protocol(row["protocol"]))


def by_protocol(protocol: str) -> str:
    """The dialect that reads a folder of published streams."""
    return "messages" if protocol == "anthropic" else protocol


STREAMS = list(published())


@pytest.mark.parametrize("row", STREAMS, ids=lambda row: row["id"][:24])
def test_published_streams_read_as_their_collector_read_them(row: dict[str, str]) -> None:
    """Status, stop reason and usage, but for the differences that are listed with their reason."""
    recording, events = tape_of(row)
    reading = by_name(recording.dialect).read(recording, events)
    told: Any = json.loads((need_corpus() / row["protocol"] / f"{row['id']}.json").read_bytes())
    number = "-".join(row["id"].split("-")[:2])
    status, _ = DIFFERENT.get(number, ({"error": "failed"}.get(told["outcome"], told["outcome"]), ""))
    usage = (told["usage"] or {}) | USAGE_ELSEWHERE.get(number, ({}, ""))[0]
    if status == "cut off":
        assert reading.complete is False
        assert reading.status in {Status.IN_PROGRESS, Status.UNKNOWN}
    else:
        assert reading.status == status
    if reading.complete is False and number in DIFFERENT:
        usage = {}  # it would have come with the event that is not there
    else:
        raw = told["stop_reason_raw"]
        # The collector joined Gemini's reasons, and wrote before that of a blocked prompt that it is one.
        raw = None if raw is None else str(raw).removeprefix("block:").rpartition(",")[2]
        assert reading.stop_reason_raw == raw
    wire = dict(reading.facts["evidence"]).get("usage", {}).get("value", {}) if "evidence" in reading.facts else {}
    assert reading.cached_tokens == usage.get("cached")
    if row["protocol"] == "gemini":  # the collector left out what tools put in and what was thought
        prompt, tools, candidates, thoughts = (wire.get(name) for name in GEMINI_COUNTS)
        assert (prompt, candidates) == (usage.get("input"), usage.get("output"))
        assert reading.input_tokens == (None if prompt is None else prompt + (tools or 0))
        assert reading.output_tokens == ((candidates or 0) + (thoughts or 0) if wire else None)
        assert (reading.reasoning_tokens or None) == usage.get("reasoning")
        assert reading.total_tokens == usage.get("total")
        return
    assert reading.output_tokens == usage.get("output")
    if row["protocol"] == "anthropic":  # the collector kept the wire figure, which leaves out the cache
        assert wire.get("input_tokens") == usage.get("input")
        assert reading.input_tokens == sum(wire.get(name) or 0 for name in CACHED_INPUT)
    else:
        assert reading.input_tokens == usage.get("input")
        assert reading.reasoning_tokens == usage.get("reasoning")
        assert reading.total_tokens == usage.get("total")


@pytest.mark.parametrize("dialect", [dialect.name for dialect in DIALECTS if dialect is not RAW])
def test_status_and_stop_reason_are_of_the_neutral_vocabulary_only(dialect: str) -> None:
    """Whatever the golden and the published streams say, the columns hold words that queries can rely on."""
    tapes = [golden.tape(name) for name in golden.names(dialect)]
    tapes += [tape_of(row) for row in STREAMS if by_protocol(row["protocol"]) == dialect]
    for recording, events in tapes:
        reading = by_name(recording.dialect).read(recording, events)
        assert reading.status in set(Status)
        assert reading.stop_reason in {None, *StopReason}


# What, in an event's own bytes, says that a run is completed.
SAYS_COMPLETED: dict[str, re.Pattern[bytes]] = {
    "assistants": re.compile(rb'"status"\s*:\s*"completed"'),
    "responses": re.compile(rb'"status"\s*:\s*"completed"|response\.completed'),
    "chat": re.compile(rb'"finish_reason"\s*:\s*"'),
    "messages": re.compile(rb'"stop_reason"\s*:\s*"'),
    "gemini": re.compile(rb'"finishReason"\s*:\s*"'),
}
CUT_SHORT = {"no_terminal_event", "no_end_marker", "not_sse", "unterminated_tail"}


def says_completed(dialect: str, event: Event) -> bool:
    told = b"".join(part for part in ((event.type or "").encode(), event.data, event.raw) if part)
    return event.type == "thread.run.completed" or SAYS_COMPLETED[dialect].search(told) is not None


def damaged(events: list[Event], at: int) -> Iterator[tuple[str, list[Event]]]:
    """The rows cut before the one at `at`; that one taken out, doubled, and changed for the next."""
    yield "cut", events[:at]
    yield "removed", [*events[:at], *events[at + 1 :]]
    yield "doubled", [*events[: at + 1], *events[at:]]
    yield "reordered", [*events[:at], *events[at + 1 : at + 2], events[at], *events[at + 2 :]]


@pytest.mark.parametrize("row", STREAMS, ids=lambda row: row["id"][:24])
def test_a_published_stream_that_was_damaged_is_read_and_never_better_than_it_says(row: dict[str, str]) -> None:
    """Cut at any event, or any one removed, doubled or reordered: no exception, never completed unless an event that is
    there says so, and what is missing is flagged. A sample of the events; all of them at night."""
    recording, events = tape_of(row)
    dialect = by_name(recording.dialect)
    told = [says_completed(dialect.name, event) for event in events]
    ends = {at for at, is_so in enumerate(told) if is_so}
    step = 1 if NIGHTLY else max(1, len(events) // 12)
    whole_is_cut = CUT_SHORT & set(reader.interpret(recording, events).flags)
    for at in sorted({*range(1, len(events), step), *range(max(1, len(events) - 4), len(events)), *sorted(ends)[:3]}):
        for how, rows in damaged(events, at):
            reading = reader.interpret(recording, rows)
            assert "reader_error" not in reading.flags, (how, at)
            there = any(is_so for index, is_so in enumerate(told) if index != at or how != "removed")
            there = any(told[:at]) if how == "cut" else there
            assert there or reading.status != Status.COMPLETED, (how, at)
            if how in ("cut", "removed") and ends and not there:
                assert CUT_SHORT & set(reading.flags) or reading.status == Status.FAILED, (how, at)
            if how in ("doubled", "reordered") and at < len(events) - 3:
                assert CUT_SHORT & set(reading.flags) <= whole_is_cut | {"no_end_marker"}, (how, at)


@given(st.data())
def test_a_stream_with_an_event_removed_doubled_or_moved_is_still_read(data: st.DataObject) -> None:
    """Of the project's own streams of all protocols."""
    name = data.draw(st.sampled_from(demo.names()))
    recording, events = recorded(asking(name), demo.stream(name), headers=EVENT_STREAM)
    where = data.draw(st.integers(1, len(events) - 1))
    other = data.draw(st.integers(1, len(events) - 1))
    taken = events.pop(where)
    how = data.draw(st.sampled_from(["removed", "doubled", "moved"]))
    if how == "doubled":
        events[where:where] = [taken, taken]
    elif how == "moved":
        events.insert(other, taken)
    reading = by_name(recording.dialect).read(recording, events)
    whole = read(asking(name), demo.stream(name))
    assert reading.status in {whole.status, Status.IN_PROGRESS, Status.UNKNOWN, Status.COMPLETED}
    if reading.status == Status.COMPLETED:
        assert whole.status == Status.COMPLETED


@given(
    st.sampled_from(sorted(ASKED)),
    st.lists(
        st.tuples(
            st.sampled_from(
                ["thread.run.completed", "thread.message.delta", "thread.run.step.delta", "error", "done", ""]
            ),
            st.recursive(
                st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
                lambda inner: (
                    st.lists(inner, max_size=3)
                    | st.dictionaries(
                        st.sampled_from(
                            [
                                "id",
                                "object",
                                "status",
                                "usage",
                                "delta",
                                "content",
                                "choices",
                                "type",
                                "response",
                                "message",
                                "error",
                                "step_details",
                                "tool_calls",
                                "index",
                                "text",
                                "incomplete_details",
                                "required_action",
                            ]
                        ),
                        inner,
                        max_size=4,
                    )
                ),
                max_leaves=12,
            ),
        ),
        max_size=4,
    ),
)
def test_payloads_of_any_shape_are_read(protocol: str, sent: list[tuple[str, Any]]) -> None:
    """No dialect trusts what a payload looks like."""
    body = "".join(f"event: {name}\ndata: {json.dumps(value)}\n\n" for name, value in sent).encode()
    assert read(ASKED[protocol], body).dialect == by_protocol(protocol)
    for _, value in sent:
        assert read(ASKED[protocol], json.dumps(value).encode(), headers=JSON).dialect == by_protocol(protocol)


# -- published streams of protocols that are not read here -----------------------------------------------------------

# The collector's reading of these is not held against the project's: it says nothing of them, each for this reason.
NOT_READ = {
    "other-004": "no request; a Responses stream whose JSON is escaped as a source file had it, so no event is JSON",
    "other-005": "images",
    "other-006": "speech",
    "other-007": "Cohere's chat",
    "other-008": "Cohere's chat",
    "other-009": "no request, and the file lacks the blank line that ends its only event",
    "other-013": "A2A",
    "other-014": "Cohere's chat",
    "other-015": "legacy completions",
    "other-016": "Cohere's chat",
    "other-017": "MCP",
}


def test_streams_of_other_protocols_are_raw_and_nothing_is_guessed() -> None:
    """All that are published beside those above."""
    folder = need_corpus()
    with (folder / "INDEX.csv").open(newline="") as index:
        others = [row["id"] for row in csv.DictReader(index) if row["protocol"] not in ASKED]
    assert {"-".join(name.split("-")[:2]) for name in others} == NOT_READ.keys()
    assert {path.stem for path in (folder / "other").glob("*.sse")} == set(others)
    for name in others:
        told = json.loads((folder / "other" / f"{name}.json").read_bytes())["request"] or {}
        asked = post(told.get("url") or "https://api.example.com/stream", **(told.get("params") or {}))
        reading = reader.interpret(*recorded(asked, (folder / "other" / f"{name}.sse").read_bytes()))
        assert (reading.dialect, reading.status, reading.stop_reason) == ("raw", Status.UNKNOWN, None)
        assert (reading.complete, reading.input_tokens, reading.output_tokens) == (None, None, None)
        assert "reader_error" not in reading.flags
