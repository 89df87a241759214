"""The Assistants protocol: every status, both shapes of an answer, every contradiction, and what a lost event leaves.

The streams in streams/ were written by the project, because the public record lacks most of them. What each of them
says was read by hand; a sidecar beside it holds that reading (see `tests.golden`).
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from recorder.dialects import by_name
from recorder.recording import Event, Reading, Request, Status, StopReason
from recorder.sse import payload
from tests.assistants import CREATE, POLL, SAID, SUBMIT, comparable, golden, ours, stream
from tests.golden import as_json, document_differences, names, sidecar, stream_reading
from tests.payloads import frame, message_delta, run, run_event
from tests.tape import JSON, post, read, recorded, request

CANCEL = request("POST", "/v1/threads/thread_1/runs/run_torture/cancel")

# All names of the protocol's events (API reference, AssistantStreamEvent, with `error` and `done`).
EVENTS = {
    "thread.created", "thread.run.created", "thread.run.queued", "thread.run.in_progress", "thread.run.requires_action",
    "thread.run.completed", "thread.run.incomplete", "thread.run.failed", "thread.run.cancelling",
    "thread.run.cancelled", "thread.run.expired", "thread.run.step.created", "thread.run.step.in_progress",
    "thread.run.step.delta", "thread.run.step.completed", "thread.run.step.failed", "thread.run.step.cancelled",
    "thread.run.step.expired", "thread.message.created", "thread.message.in_progress", "thread.message.delta",
    "thread.message.completed", "thread.message.incomplete", "error", "done",
}  # fmt: skip

# What matters of each, once more in one place: status, reason, raw reason, input, output, cached tokens, flags.
READINGS: list[tuple[str, str, str | None, str | None, int | None, int | None, int | None, set[str]]] = [
    ("approval", "requires_action", "tool_call", None, None, None, None, set()),
    ("azure", "completed", "stop", None, 100, 8, 0, set()),
    ("cancelled", "cancelled", "cancelled", "run_cancelled", 100, 3, 0, set()),
    ("cancelled-in-tools", "cancelled", "cancelled", None, None, None, None, {"tool_call_open"}),
    ("changed", "completed", "stop", None, 100, 4, 0, {"echo_differs", "outside_limits"}),
    ("code-interpreter", "completed", "stop", None, 394, 69, 0, set()),
    ("completed", "completed", "stop", None, 240, 15, 192, set()),
    ("completed-at-the-cap", "completed", "stop", None, 100, 256, 0, {"output_cap_reached"}),
    (
        "completed-says-incomplete",
        *("incomplete", "output_limit", "max_prompt_tokens", 27, 16, 0),
        {"disagreement", "output_cap_reached", "outside_limits"},
    ),
    ("content-filter", "incomplete", "content_filter", "content_filter", 100, 3, 0, {"disagreement"}),
    ("cut", "in_progress", None, None, None, None, None, {"no_end_marker", "no_terminal_event"}),
    (
        "cut-arguments",
        *("in_progress", None, None, None, None, None),
        {"no_end_marker", "no_terminal_event", "tool_call_open"},
    ),
    ("dashscope", "completed", "stop", None, 100, 8, 0, set()),
    ("error-flat", "failed", "error", "server_error", None, None, None, set()),
    ("error-nested", "failed", "error", "server_error", None, None, None, set()),
    ("expired", "expired", "expired", "run_expired", 100, 3, 0, set()),
    ("failed", "failed", "error", "rate_limit_exceeded", 100, 3, 0, set()),
    ("failed-at-once", "failed", "error", "server_error", 0, 0, 0, set()),
    ("file-search", "completed", "stop", None, 2028, 40, 1024, set()),
    ("incomplete-input", "incomplete", "input_limit", "max_prompt_tokens", 260, 2, 0, {"input_cap_reached"}),
    ("incomplete-output", "incomplete", "output_limit", "max_completion_tokens", 100, 256, 0, {"output_cap_reached"}),
    ("json-cut", "incomplete", "output_limit", "max_completion_tokens", 100, 256, 0, {"output_cap_reached"}),
    ("lost-piece", "completed", "stop", None, 100, 8, 0, {"disagreement", "text_differs"}),
    ("odd-framing", "completed", "stop", None, 100, 8, 0, {"byte_order_mark"}),
    ("reasoning", "completed", "stop", None, 100, 1029, 0, set()),
    ("refusal", "completed", "stop", None, 100, 9, 0, set()),
    ("sums", "completed", "stop", None, 200, 8, 0, {"step_usage_sum", "usage_sum"}),
    ("tools-1", "requires_action", "tool_call", None, None, None, None, set()),
    ("tools-2", "requires_action", "tool_call", None, None, None, None, set()),
    ("tools-3", "completed", "stop", None, 760, 53, 384, set()),
    ("unknown-words", "completed", "stop", None, 100, 4, 0, set()),
]


@pytest.mark.parametrize("name", names("assistants"))
def test_a_golden_stream_reads_as_its_sidecar_says(name: str) -> None:
    assert as_json(stream_reading(name)) == sidecar(name)["reading"]


@pytest.mark.parametrize("name", names("assistants"))
def test_the_same_answer_as_json_reads_alike(name: str) -> None:
    """A poll answers with the Run that the stream ended with. It has no event name, no message and no text."""
    assert document_differences(name) == {}
    differing = set(sidecar(name).get("document_reading", {}))
    if not {"cut", "error", "content", "unknown"} & set(name.split("-")):
        assert differing <= {"text", "flags", "stop_reason_raw", "usage_quality"}


@pytest.mark.parametrize("expected", READINGS, ids=lambda expected: expected[0])
def test_golden_streams(expected: Any) -> None:
    name, *told, flags = expected
    reading = stream_reading(f"assistants-{name}")
    assert [
        reading.status,
        reading.stop_reason,
        reading.stop_reason_raw,
        reading.input_tokens,
        reading.output_tokens,
        reading.cached_tokens,
    ] == told
    assert set(reading.flags) == flags
    assert reading.complete is not name.startswith("cut")


def payloads(name: str) -> Iterator[tuple[str | None, Any]]:
    """The names and JSON payloads of a golden stream."""
    _, events = recorded(CREATE, golden(name))
    for event in events:
        data = payload(event.type, event.data, event.raw) if event.kind == "sse" else None
        if data is not None and not data.startswith(b"[DONE]"):
            yield event.type, json.loads(data)


def test_the_golden_streams_hold_every_word_of_the_protocol() -> None:
    """Names of events, statuses, reasons and strategies, as the API reference lists them."""
    seen, said = set(), Counter[Any]()
    for name, *_ in READINGS:
        _, events = recorded(CREATE, golden(name))
        seen |= {event.type for event in events if event.kind == "sse"}
        for _, value in payloads(name):
            kind, reason = value.get("object"), (value.get("incomplete_details") or {}).get("reason")
            said[kind, "status", value.get("status")] += 1
            said[kind, "reason", reason] += 1
            said[kind, "strategy", (value.get("truncation_strategy") or {}).get("type")] += 1
            said[kind, "type", value.get("type")] += 1
            for call in (value.get("step_details") or {}).get("tool_calls") or ():
                said[kind, "call", call["type"]] += 1
    assert seen - {"unknown", None, "thread.mood.changed", "thread.run.paused"} == EVENTS
    over = ("completed", "incomplete", "failed", "cancelled", "expired")
    wanted = [("thread.run", "status", word) for word in (*over, "queued", "in_progress", "requires_action")]
    wanted += [("thread.run", "status", "cancelling")]
    wanted += [("thread.run", "reason", word) for word in ("max_prompt_tokens", "max_completion_tokens")]
    wanted += [("thread.run", "strategy", word) for word in ("auto", "last_messages")]
    wanted += [("thread.run.step", "status", word) for word in over if word != "incomplete"]
    wanted += [("thread.run.step", "type", word) for word in ("message_creation", "tool_calls")]
    wanted += [("thread.run.step", "call", word) for word in ("function", "code_interpreter", "file_search")]
    wanted += [
        ("thread.message", "reason", word)
        for word in ("content_filter", "max_tokens", "run_cancelled", "run_expired", "run_failed")
    ]
    assert [word for word in wanted if not said[word]] == []
    assert {f"assistants-{name}" for name, *_ in READINGS} == set(names("assistants"))


def test_a_whole_run_in_detail() -> None:
    reading = read(CREATE, golden("completed"), chunk=1 << 20)
    assert reading.text == f"{SAID}\n\nThree are under repair."
    assert (reading.model, reading.total_tokens, reading.reasoning_tokens) == ("gpt-4o-2024-08-06", 255, 0)
    assert (reading.max_prompt_tokens, reading.max_completion_tokens, reading.truncation_strategy) == (
        4096,
        1024,
        "auto",
    )
    assert (reading.action, reading.is_run, reading.opens_run, reading.continues) == ("create", True, True, None)
    assert (reading.uncached_tokens, reading.visible_tokens, reading.usage_quality) == (48, 15, "reported")
    assert (reading.response_format, reading.metadata) == ("auto", {})
    facts = reading.facts
    assert [step["type"] for step in facts["steps"]] == ["message_creation"] * 2
    assert sum(step["usage"]["total_tokens"] for step in facts["steps"]) == reading.total_tokens
    # Each neutral value with what was said and where.
    assert facts["evidence"]["status"] == {"event": "completed", "value": "completed", "position": 28}
    assert facts["evidence"]["usage"]["position"] == 28
    assert facts["evidence"]["end_marker"] == {"position": 29}
    assert "statements" not in facts  # they say no more than the evidence
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
    assert read(CREATE, golden("tools-1")).ttft_visible_us is None
    body = golden("code-interpreter")
    _, events = recorded(CREATE, body)
    first = next(event for event in events if event.type == "thread.message.delta" and b'"text"' in (event.data or b""))
    reading = read(CREATE, body)
    assert reading.ttft_visible_us == first.elapsed_us > (reading.ttft_us or 0) > 0


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
    assert [(call["name"], call.get("earlier")) for call in second] == [
        ("harbour", True),
        ("yard", True),
        ("harbour", None),
    ]
    cut = golden("tools-1").partition(b"event: thread.run.requires_action")[0]
    assert read(CREATE, cut).facts["content"]["tool_calls"] == calls


# -- endpoints ---------------------------------------------------------------------------------------------------------


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
    assert (reading.action, reading.is_run, reading.opens_run) == (action, True, opens)
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


# -- what the signals say together -------------------------------------------------------------------------------------


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


def test_an_error_event_ends_the_run_whatever_it_holds() -> None:
    for sent in ("Internal Server Error", "null", "[]", "7"):
        reading = stream(run_event("in_progress"), frame(sent, "error"), done=False)
        assert (reading.status, reading.stop_reason, reading.complete) == (Status.FAILED, StopReason.ERROR, True)
        assert reading.facts["evidence"]["error"]["position"] == 2
        assert ("malformed_json" in reading.flags) == (sent == "Internal Server Error")


# -- usage of steps ----------------------------------------------------------------------------------------------------


def usage(into: int, out: int) -> dict[str, int]:
    return {"prompt_tokens": into, "completion_tokens": out, "total_tokens": into + out}


def step_event(number: int, used: dict[str, int] | None, status: str = "completed") -> bytes:
    step = {
        "id": f"step_{number}",
        "object": "thread.run.step",
        "type": "message_creation",
        "status": status,
        "usage": used,
    }
    return frame(step, f"thread.run.step.{status}")


@pytest.mark.parametrize(
    ("events", "contradicts"),
    [
        ([run_event("created"), step_event(1, usage(20, 5))], False),
        ([run_event("created"), step_event(1, usage(10, 2)), step_event(2, usage(10, 3))], False),
        ([run_event("created"), step_event(1, usage(10, 2)), step_event(1, usage(20, 5))], False),
        ([run_event("created"), step_event(1, usage(19, 5))], True),
        ([run_event("created"), step_event(1, usage(21, 5))], True),
        ([run_event("created"), step_event(1, usage(10, 5)), step_event(2, None, "failed")], False),
        ([run_event("created"), step_event(1, usage(21, 5)), step_event(2, None, "failed")], True),
        ([run_event("created"), step_event(1, usage(10, 5)), frame("{", "thread.run.step.completed")], False),
        # not from its creation: earlier steps may have been completed in another stream
        ([step_event(2, usage(10, 5)), run_event("queued")], False),
        ([step_event(2, usage(21, 5)), run_event("queued")], True),
        ([run_event("created")], False),
    ],
)
def test_steps_must_add_up_to_their_run_where_all_were_seen(events: list[bytes], contradicts: bool) -> None:
    """The run used 20 and 5 tokens."""
    assert ("step_usage_sum" in stream(*events, run_event("completed")).flags) == contradicts


def test_the_usage_of_steps_stands_in_for_none() -> None:
    """A run's usage is what the Run says. Without it the steps' sum is told beside, and that it is not all."""
    reading = stream(run_event("created"), step_event(1, usage(10, 2)), step_event(2, usage(9, 1)), done=False)
    assert (reading.input_tokens, reading.total_tokens, reading.usage_quality) == (None, None, "partial")
    assert reading.facts["step_usage"] == usage(19, 3)
    assert "step_usage" not in stream(step_event(1, usage(20, 5)), run_event("completed")).facts
    assert stream(run_event("created"), done=False).usage_quality == "missing"
    waiting = stream(run_event("requires_action", usage=usage(10, 2)))
    assert (waiting.input_tokens, waiting.usage_quality) == (10, "partial")


# -- streams that lost something ---------------------------------------------------------------------------------------


def lost(name: str, data: bytes) -> set[str]:
    """What must be told of a completed run whose stream lacks this event; any of these will do, {} for none."""
    if name == "done":
        return {"no_end_marker"}
    if name in ("thread.run.completed", "thread.run.incomplete", "thread.run.requires_action"):
        return {"no_terminal_event"}
    if name in ("thread.message.completed", "thread.run.step.completed"):
        return {"disagreement"}
    if name == "thread.message.delta":
        return {"text_differs"} if b'"value":"' in data or b'"refusal"' in data else set()
    if name == "thread.run.step.delta":
        empty = b'"arguments":""' in data or b'"input":""' in data or b'"outputs"' in data or b'"results"' in data
        return set() if empty else {"disagreement"}
    return set()


@pytest.mark.parametrize("path", comparable(), ids=lambda path: path.stem[:32])
def test_a_stream_with_an_event_removed_doubled_or_moved_says_what_is_missing(path: Path) -> None:
    """At most 40 places of each stream; never an exception, and completed only where a terminal event says so."""
    dialect = by_name("assistants")
    recording, events = recorded(CREATE, path.read_bytes())
    whole = dialect.read(recording, events)
    places = [place for place, event in enumerate(events) if event.kind == "sse"]
    for place in places[:: max(1, len(places) // 40)] + places[-3:]:
        event = events[place]
        rest = events[:place] + events[place + 1 :]
        name = event.type or ""
        told = dialect.read(recording, rest)
        for changed in (told, *moved(recording, events, place)):
            left = {one.type for one in (rest if changed is told else events)}
            assert changed.status != Status.COMPLETED or left & {"thread.run.completed", "unknown"}
        first = place == places[0]  # what completes a step of an earlier stream: nothing here knows of that step
        if whole.status == Status.COMPLETED and "disagreement" not in whole.flags and not first:
            wanted = lost(name, event.data or b"")
            assert not wanted or wanted & set(told.flags), f"{name} at {event.position}"


def moved(recording: Any, events: list[Event], place: int) -> Iterator[Reading]:
    """The readings of the stream with one event doubled, and with it one place later."""
    dialect = by_name("assistants")
    yield dialect.read(recording, [*events[: place + 1], *events[place:]])
    if place + 1 < len(events):
        yield dialect.read(recording, [*events[:place], events[place + 1], events[place], *events[place + 2 :]])


def test_a_doubled_piece_is_told() -> None:
    recording, events = recorded(CREATE, golden("completed"))
    place = next(place for place, event in enumerate(events) if event.type == "thread.message.delta")
    reading, swapped = moved(recording, events, place)
    assert "text_differs" in reading.flags
    assert "text_differs" in swapped.flags
    assert reading.text == swapped.text == f"{SAID}\n\nThree are under repair."


def test_facts_stay_small() -> None:
    """Whatever the streams say, but for the texts that they hold."""
    for path in comparable():
        small = {name: value for name, value in ours(path).facts.items() if name != "content"}
        assert len(json.dumps(small)) < 1500
