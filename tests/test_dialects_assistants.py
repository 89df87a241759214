"""The Assistants protocol: every status, both shapes of an answer, every contradiction; and what the real SDK makes of
the same bytes.

The streams in streams/ were written by the project, because the public record lacks most of them.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from recorder.dialects import by_name
from recorder.recording import Reading, Request, Status, StopReason
from recorder.sse import payload
from tests.needs import CORPUS
from tests.payloads import ASSISTANTS_DONE, frame, message_delta, run, run_event
from tests.tape import JSON, post, read, recorded, request

STREAMS = Path(__file__).parent / "streams"
CREATE = post("/v1/threads/thread_1/runs", assistant_id="asst_1", stream=True)
SUBMIT = post("/v1/threads/thread_1/runs/run_torture/submit_tool_outputs", tool_outputs=[], stream=True)
POLL = request("GET", "/v1/threads/thread_1/runs/run_torture")
CANCEL = request("POST", "/v1/threads/thread_1/runs/run_torture/cancel")
SAID = "Four ships can sail today."

# All names of the protocol's events (API reference, AssistantStreamEvent, with `error` and `done`).
EVENTS = {
    "thread.created", "thread.run.created", "thread.run.queued", "thread.run.in_progress", "thread.run.requires_action",
    "thread.run.completed", "thread.run.incomplete", "thread.run.failed", "thread.run.cancelling",
    "thread.run.cancelled", "thread.run.expired", "thread.run.step.created", "thread.run.step.in_progress",
    "thread.run.step.delta", "thread.run.step.completed", "thread.run.step.failed", "thread.run.step.cancelled",
    "thread.run.step.expired", "thread.message.created", "thread.message.in_progress", "thread.message.delta",
    "thread.message.completed", "thread.message.incomplete", "error", "done",
}  # fmt: skip


def golden(name: str) -> bytes:
    return (STREAMS / f"assistants-{name}.sse").read_bytes()


# Reviewed by hand: stream, then status, reason, raw reason, input, output and cached tokens, flags.
READINGS: list[tuple[str, str, str | None, str | None, int | None, int | None, int | None, set[str]]] = [
    ("completed", "completed", "stop", None, 240, 15, 192, set()),
    ("completed-at-the-cap", "completed", "stop", None, 100, 256, 0, {"output_cap_reached"}),
    ("incomplete-output", "incomplete", "output_limit", "max_completion_tokens", 100, 256, 0, {"output_cap_reached"}),
    ("incomplete-input", "incomplete", "input_limit", "max_prompt_tokens", 260, 2, 0, {"input_cap_reached"}),
    (
        "completed-says-incomplete",
        *("incomplete", "output_limit", "max_prompt_tokens", 27, 16, 0),
        {"disagreement", "output_cap_reached"},
    ),
    ("content-filter", "incomplete", "content_filter", "content_filter", 100, 3, 0, {"disagreement"}),
    ("failed", "failed", "error", "rate_limit_exceeded", 100, 3, 0, set()),
    ("cancelled", "cancelled", "cancelled", "run_cancelled", 100, 3, 0, set()),
    ("expired", "expired", "expired", "run_expired", 100, 3, 0, set()),
    ("tools-1", "requires_action", "tool_call", None, None, None, None, set()),
    ("tools-2", "requires_action", "tool_call", None, None, None, None, set()),
    ("tools-3", "completed", "stop", None, 760, 53, 384, set()),
    ("error-nested", "failed", "error", "server_error", None, None, None, set()),
    ("error-flat", "failed", "error", "server_error", None, None, None, set()),
    ("dashscope", "completed", "stop", None, 100, 8, 0, set()),
    ("odd-framing", "completed", "stop", None, 100, 8, 0, set()),
]


@pytest.mark.parametrize("expected", READINGS, ids=lambda expected: expected[0])
def test_golden_streams(expected: Any) -> None:
    name, *told, flags = expected
    reading = read(CREATE, golden(name))
    assert [
        reading.status,
        reading.stop_reason,
        reading.stop_reason_raw,
        reading.input_tokens,
        reading.output_tokens,
        reading.cached_tokens,
    ] == told
    assert set(reading.flags) == flags
    assert reading.complete is True


def test_every_event_name_of_the_protocol_occurs_in_a_golden_stream() -> None:
    seen = set()
    for path in STREAMS.glob("assistants-*.sse"):
        _, events = recorded(CREATE, path.read_bytes())
        seen |= {event.type for event in events if event.kind == "sse"}
    assert seen - {"unknown", None} == EVENTS
    assert {path.stem.removeprefix("assistants-") for path in STREAMS.glob("assistants-*.sse")} == {
        expected[0] for expected in READINGS
    }


@pytest.mark.parametrize(
    "expected", [told for told in READINGS if not told[0].startswith("error")], ids=lambda expected: expected[0]
)
def test_the_same_run_as_json_reads_alike(expected: Any) -> None:
    """A poll answers with the Run that the stream ended with. It has no event name, no message and no text."""
    name, flags = expected[0], expected[-1]
    _, events = recorded(CREATE, golden(name))
    payloads = [payload(event.type, event.data, event.raw) or b"" for event in events if event.kind == "sse"]
    last_run = [data for data in payloads if b'"object":"thread.run",' in data.replace(b"\n", b"")][-1]
    streamed, polled = read(CREATE, golden(name)), read(POLL, last_run, headers=JSON)
    only_in_messages = name == "content-filter"
    for field in ("status", "stop_reason", "stop_reason_raw"):
        if not only_in_messages and name not in {"cancelled", "expired"}:
            assert getattr(polled, field) == getattr(streamed, field)
    for field in (
        *("provider_run_id", "model", "assistant_id", "thread_id", "max_prompt_tokens", "max_completion_tokens"),
        *("truncation_strategy", "input_tokens", "output_tokens", "cached_tokens", "reasoning_tokens", "total_tokens"),
        *("metadata", "complete"),
    ):
        assert getattr(polled, field) == getattr(streamed, field)
    assert set(polled.flags) == flags - ({"disagreement"} if only_in_messages else set())
    assert polled.text is None


def test_a_whole_run_in_detail() -> None:
    reading = read(CREATE, golden("completed"), chunk=1 << 20)
    assert reading.text == f"{SAID}\n\nThree are under repair."
    assert (reading.model, reading.total_tokens, reading.reasoning_tokens) == ("gpt-4o-2024-08-06", 255, 0)
    assert (reading.max_prompt_tokens, reading.max_completion_tokens, reading.truncation_strategy) == (
        4096,
        1024,
        "auto",
    )
    assert (reading.opens_run, reading.continues) == (True, None)
    assert reading.metadata == {}
    facts = reading.facts
    assert facts["action"] == "create"
    assert [step["type"] for step in facts["steps"]] == ["message_creation"] * 2
    assert sum(step["usage"]["total_tokens"] for step in facts["steps"]) == reading.total_tokens
    # Each neutral value with what was said and where.
    assert facts["evidence"]["status"] == {"event": "completed", "value": "completed", "position": 28}
    assert facts["evidence"]["usage"]["position"] == 28
    assert facts["evidence"]["end_marker"] == {"position": 29}
    assert [status for _, _, status in facts["statements"]] == ["queued", "queued", "in_progress", "completed"]
    json.dumps(dict(facts))


def test_the_first_token_is_timed() -> None:
    """At the event that shows the first text, or the first of a tool call's arguments."""
    body = golden("incomplete-output")
    _, events = recorded(CREATE, body)
    first = next(event for event in events if event.type == "thread.message.delta")
    assert read(CREATE, body).ttft_us == first.elapsed_us
    _, events = recorded(CREATE, golden("tools-1"))
    deltas = [event for event in events if event.type == "thread.run.step.delta"]
    assert read(CREATE, golden("tools-1")).ttft_us == deltas[1].elapsed_us > deltas[0].elapsed_us
    assert read(CREATE, golden("tools-1")).facts.get("first_text_us") is None


def test_tool_calls_with_their_arguments() -> None:
    """From the pieces, from the Run that waits for them, and from the step that has their outputs."""
    reading = read(CREATE, golden("tools-1"))
    calls = reading.facts["content"]["tool_calls"]
    assert [(call["name"], call["arguments"]) for call in calls] == [
        ("harbour", '{"port":"Kiel"}'),
        ("yard", '{"port":"Kiel"}'),
    ]
    assert reading.facts["evidence"]["required_action"]["calls"] == 2
    second = read(SUBMIT, golden("tools-2")).facts["content"]["tool_calls"]
    assert [call["name"] for call in second] == ["harbour", "yard", "harbour"]
    cut = golden("tools-1").partition(b"event: thread.run.requires_action")[0]
    assert read(CREATE, cut).facts["content"]["tool_calls"] == calls


# -- endpoints --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "action", "opens"),
    [
        (CREATE, "create", True),
        (post("/v1/threads/runs", assistant_id="a", stream=True), "create_thread_and_run", True),
        (SUBMIT, "submit_tool_outputs", False),
        (POLL, "retrieve", False),
        (CANCEL, "cancel", False),
        (post("/v1/threads/thread_1/runs/run_torture", metadata={"a": "b"}), "modify", False),
    ],
)
def test_create_opens_a_run_and_everything_else_continues_one(asked: Request, action: str, opens: bool) -> None:
    reading = read(asked, json.dumps(run("in_progress")).encode(), headers=JSON)
    assert (reading.facts["action"], reading.opens_run) == (action, opens)
    assert reading.provider_run_id == "run_torture"
    assert reading.continues == (None if opens else "run_torture")
    assert (reading.status, reading.stop_reason, reading.complete) == (Status.IN_PROGRESS, None, True)


def test_a_cancel_is_not_yet_cancelled() -> None:
    reading = read(CANCEL, json.dumps(run("cancelling")).encode(), headers=JSON)
    assert (reading.status, reading.stop_reason) == (Status.IN_PROGRESS, None)
    assert reading.facts["evidence"]["status"]["value"] == "cancelling"


@pytest.mark.parametrize("status", [400, 404, 429, 500])
@pytest.mark.parametrize("asked", [SUBMIT, POLL, CANCEL])
def test_a_refused_continuation_says_nothing_about_its_run(asked: Request, status: int) -> None:
    """The exchange failed. The run did not, or not for that."""
    body = b'{"error":{"message":"no","type":"invalid_request_error","code":"bad"}}'
    reading = read(asked, body, status=status, headers=JSON)
    assert (reading.status, reading.stop_reason, reading.stop_reason_raw) == (Status.UNKNOWN, None, None)
    assert "http_error" in reading.flags
    assert reading.facts["evidence"]["error"]["code"] == "bad"
    assert reading.provider_run_id == "run_torture"


def test_steps_are_kept_and_tell_no_status() -> None:
    step = {
        "id": "step_1",
        "object": "thread.run.step",
        "type": "message_creation",
        "status": "completed",
        "usage": None,
    }
    listed = read(
        request("GET", "/v1/threads/t/runs/r/steps"),
        json.dumps({"object": "list", "data": [step]}).encode(),
        headers=JSON,
    )
    one = read(request("GET", "/v1/threads/t/runs/r/steps/step_1"), json.dumps(step).encode(), headers=JSON)
    for reading in (listed, one):
        assert reading.status == Status.UNKNOWN
        assert reading.complete is True
        assert [told["id"] for told in reading.facts["steps"]] == ["step_1"]


# -- what the signals say together ------------------------------------------------------------------------------------


def stream(*events: bytes, done: bool = True) -> Reading:
    return read(CREATE, b"".join(events) + (ASSISTANTS_DONE if done else b""))


@pytest.mark.parametrize(
    ("event", "status", "expected"),
    [
        ("completed", "completed", "completed"),
        ("completed", "incomplete", "incomplete"),
        ("failed", "completed", "failed"),
        ("in_progress", "completed", "in_progress"),
        ("cancelled", "completed", "cancelled"),
        ("completed", "failed", "failed"),
        ("expired", "cancelled", "cancelled"),
        ("completed", "dreaming", "completed"),
        ("completed", None, "completed"),
        ("dreaming", "completed", "completed"),
        ("dreaming", "dreaming", "unknown"),
    ],
)
def test_event_name_and_status_together(event: str, status: str | None, expected: str) -> None:
    """Good news counts only where nothing denies it; a name that nobody knows neither says nor denies anything."""
    reading = stream(frame({**run("completed"), "status": status}, f"thread.run.{event}"))
    assert reading.status == expected
    known = "dreaming" not in {event, status} and status is not None
    assert ("disagreement" in reading.flags) == (known and event != status)


@pytest.mark.parametrize(
    ("reason", "used", "expected", "contradicts"),
    [
        ("max_prompt_tokens", (1024, 10), "input_limit", False),
        ("max_completion_tokens", (10, 256), "output_limit", False),
        ("max_prompt_tokens", (10, 256), "output_limit", True),
        ("max_completion_tokens", (1024, 10), "input_limit", True),
        ("max_prompt_tokens", (1024, 256), "input_limit", False),
        ("max_prompt_tokens", (10, 10), "input_limit", False),
        ("moon_phase", (10, 10), None, False),
        ("moon_phase", (10, 256), None, False),
        (None, (10, 256), "output_limit", False),
        (None, (10, 10), None, False),
    ],
)
def test_a_stated_reason_stands_unless_the_usage_refutes_it(
    reason: str | None, used: tuple[int, int], expected: str | None, contradicts: bool
) -> None:
    """Caps are 1024 and 256. "Best effort" lets usage end short of the cap or beyond it."""
    usage = {"prompt_tokens": used[0], "completion_tokens": used[1], "total_tokens": sum(used)}
    details = None if reason is None else {"reason": reason}
    reading = stream(run_event("incomplete", usage=usage, incomplete_details=details))
    assert (reading.status, reading.stop_reason, reading.stop_reason_raw) == ("incomplete", expected, reason)
    assert ("disagreement" in reading.flags) == contradicts


def test_a_final_status_is_not_taken_back() -> None:
    reading = stream(run_event("completed"), run_event("in_progress"))
    assert reading.status == Status.COMPLETED
    assert reading.facts["disagreements"] == ["order"]
    assert reading.output_tokens == 5


def test_a_status_that_nobody_knows_yet_takes_nothing_back() -> None:
    reading = stream(run_event("in_progress"), frame(run("paused"), "thread.run.paused"), done=False)
    assert (reading.status, reading.complete) == (Status.IN_PROGRESS, False)
    assert "disagreement" not in reading.flags
    assert reading.facts["statements"][-1][1:] == ("paused", "paused")


def test_two_endings_contradict_each_other() -> None:
    assert stream(run_event("completed"), run_event("failed")).status == Status.FAILED
    assert stream(run_event("completed"), run_event("failed")).facts["disagreements"] == ["two_endings"]
    late = stream(run_event("completed"), frame({"error": {"code": "c", "message": "m"}}, "error"), done=False)
    assert (late.status, late.stop_reason_raw) == (Status.FAILED, "c")
    assert late.facts["disagreements"] == ["two_endings"]


def test_a_stream_cut_before_its_end_keeps_the_last_status_it_stated() -> None:
    reading = stream(run_event("created"), run_event("in_progress"), message_delta("Four"), done=False)
    assert (reading.status, reading.complete, reading.text) == (Status.IN_PROGRESS, False, "Four")
    assert set(reading.flags) == {"no_terminal_event", "no_end_marker"}
    assert (reading.input_tokens, reading.output_tokens, reading.total_tokens) == (None, None, None)


def test_the_end_marker_alone_is_no_ending() -> None:
    """Everything but the Run's last event came."""
    reading = stream(run_event("in_progress"))
    assert (reading.status, reading.complete) == (Status.IN_PROGRESS, False)
    assert reading.flags == ("no_terminal_event",)


def test_the_draft_stands_until_the_message_says_otherwise() -> None:
    message = {"id": "msg_torture", "object": "thread.message", "role": "assistant", "status": "completed"}
    whole = {**message, "content": [{"type": "text", "text": {"value": "Five ships", "annotations": []}}]}
    delta = message_delta("Four ships")
    draft_id = json.loads(delta.partition(b"data: ")[2])["id"]
    assert stream(delta).text == "Four ships"
    reading = stream(delta, frame({**whole, "id": draft_id}, "thread.message.completed"), run_event("completed"))
    assert reading.text == "Five ships"
    assert reading.facts["disagreements"] == ["text"]


def test_the_messages_of_users_are_not_its_text() -> None:
    asked = {
        "id": "msg_0",
        "object": "thread.message",
        "role": "user",
        "status": "completed",
        "content": [{"type": "text", "text": {"value": "How many?", "annotations": []}}],
    }
    assert stream(frame(asked, "thread.message.created"), run_event("completed")).text is None


def test_a_refusal_is_kept_apart_from_the_text() -> None:
    part = {"index": 0, "type": "refusal", "refusal": "I cannot."}
    delta = frame(
        {"id": "msg_1", "object": "thread.message.delta", "delta": {"content": [part]}}, "thread.message.delta"
    )
    reading = stream(delta, run_event("completed"))
    assert reading.text is None
    assert reading.facts["content"]["refusals"] == ["I cannot."]
    assert reading.ttft_us is not None


def test_names_that_nobody_knows_are_counted_and_their_runs_still_read() -> None:
    reading = stream(
        frame({"object": "thread.mood", "mood": "good"}, "thread.mood.changed"),
        frame({"object": "thread.mood"}, "thread.mood.changed"),
        frame(run("completed"), "unknown"),
    )
    assert reading.facts["unknown_events"] == {"thread.mood.changed": 2, "unknown": 1}
    assert reading.status == Status.COMPLETED


def test_what_is_no_json_is_noted_by_position_and_the_rest_is_read() -> None:
    reading = stream(run_event("created"), frame("{", "thread.message.delta"), run_event("completed"))
    assert reading.status == Status.COMPLETED
    assert reading.flags == ("malformed_json",)
    assert reading.facts["malformed"] == [2]


def test_a_parameter_that_comes_back_changed_is_flagged() -> None:
    asked = post(
        "/v1/threads/t/runs",
        assistant_id="asst_torture",
        model="gpt-5",
        max_prompt_tokens=2048,
        max_completion_tokens=256,
        truncation_strategy={"type": "last_messages", "last_messages": 3},
        stream=True,
    )
    reading = read(asked, run_event("completed") + ASSISTANTS_DONE)
    assert reading.facts["echo_differs"] == {
        "model": ["gpt-5", "gpt-4o"],
        "max_prompt_tokens": [2048, 1024],
        "truncation_strategy": ["last_messages:3", "auto"],
    }
    assert (reading.model, reading.max_prompt_tokens, reading.truncation_strategy) == ("gpt-4o", 1024, "auto")
    assert "echo_differs" in reading.flags
    unechoed = read(asked, run_event("in_progress", max_prompt_tokens=None))
    assert unechoed.max_prompt_tokens == 2048
    assert unechoed.facts["echo_differs"]["max_prompt_tokens"] == [2048, None]


def test_steps_and_messages_name_the_run_where_no_run_was_seen() -> None:
    step = {
        "id": "step_1",
        "object": "thread.run.step",
        "run_id": "run_9",
        "thread_id": "thread_9",
        "assistant_id": "asst_9",
    }
    reading = read(post("/v1/threads/runs", stream=True, assistant_id="asst_1"), frame(step, "thread.run.step.created"))
    assert (reading.provider_run_id, reading.thread_id, reading.assistant_id) == ("run_9", "thread_9", "asst_9")


@pytest.mark.parametrize("place", ["prompt_token_details", "prompt_tokens_details"])
def test_cached_tokens_under_either_spelling(place: str) -> None:
    usage = {"prompt_tokens": 20, "completion_tokens": 5, "total_tokens": 25, place: {"cached_tokens": 16}}
    assert (
        stream(
            run_event("completed", usage={**usage, "completion_tokens_details": {"reasoning_tokens": 3}})
        ).cached_tokens
        == 16
    )


def test_text_that_no_database_takes_is_made_to_fit() -> None:
    body = b'{"id":"m","delta":{"content":[{"index":0,"type":"text","text":{"value":"a\\u0000b\\ud83d"}}]}}'
    text = stream(b"event: thread.message.delta\ndata: " + body + b"\n\n").text
    assert text is not None
    assert text.startswith("a\ufffdb\ufffd")
    text.encode()


# -- against the SDK --------------------------------------------------------------------------------------------------

# Where the SDK raises there is nothing to compare.
NOT_FOR_THE_SDK = {
    "assistants-046": "pieces of a step that was never created",
    "assistants-error-nested": "an error event ends its stream with an exception",
}


# The pieces are not all there, an ellipsis stands for some; the Run that waits for the outputs has the whole.
ABRIDGED_CALLS = {"assistants-047"}


def comparable() -> list[Path]:
    """The project's own streams and the published ones."""
    return [*sorted(STREAMS.glob("assistants-*.sse")), *sorted((CORPUS / "assistants").glob("*.sse"))]


def had(ask: Callable[[], list[Any]]) -> list[Any]:
    """What the SDK has; it raises where there is none."""
    try:
        return ask()
    except RuntimeError:
        return []


@pytest.mark.filterwarnings("ignore:(The Assistants API is )?deprecated:DeprecationWarning")
@pytest.mark.parametrize("path", comparable(), ids=lambda path: path.stem[:32])
def test_text_calls_and_usage_are_what_the_sdk_accumulates(path: Path) -> None:
    openai = pytest.importorskip("openai", reason="openai's client is not installed")
    httpx2 = pytest.importorskip("httpx2", reason="httpx2 is not installed")
    body = path.read_bytes()

    def answer(_: Any) -> Any:
        return httpx2.Response(200, headers={"content-type": "text/event-stream"}, content=body)

    name = path.stem if path.parent == STREAMS else path.stem[:14]
    with (
        httpx2.Client(transport=httpx2.MockTransport(answer)) as http,
        openai.OpenAI(api_key="sk-x", http_client=http, max_retries=0) as client,
        client.beta.threads.runs.stream(thread_id="thread_1", assistant_id="asst_1") as told,
    ):
        if name in NOT_FOR_THE_SDK:
            with pytest.raises((RuntimeError, KeyError, openai.APIError)):
                told.until_done()
            return
        told.until_done()
        messages, steps = had(told.get_final_messages), had(told.get_final_run_steps)
        usage = getattr(told.current_run, "usage", None)
    recording, events = recorded(CREATE, body)
    reading = by_name("assistants").read(recording, events)
    texts = ["".join(part.text.value for part in message.content if part.type == "text") for message in messages]
    assert (reading.text or "") == "\n\n".join(texts)
    assert reading.input_tokens == (usage and usage.prompt_tokens)
    assert reading.output_tokens == (usage and usage.completion_tokens)
    ours = {call["id"]: call for call in dict(reading.facts.get("content", {})).get("tool_calls", [])}
    for step in steps:
        for call in getattr(step.step_details, "tool_calls", None) or ():
            if call.type == "function" and name not in ABRIDGED_CALLS:
                assert (ours[call.id]["name"], ours[call.id]["arguments"]) == (
                    call.function.name,
                    call.function.arguments,
                )


def test_reasons_of_the_neutral_vocabulary_only() -> None:
    """Whatever the streams say, the columns hold words that queries can rely on."""
    for path in comparable():
        recording, events = recorded(CREATE, path.read_bytes())
        reading = by_name("assistants").read(recording, events)
        assert reading.status in set(Status)
        assert reading.stop_reason in {None, *StopReason}
