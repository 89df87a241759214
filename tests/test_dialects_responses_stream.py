"""What the signals of a Responses stream say together: every status, every contradiction, gaps, other servers."""

from __future__ import annotations

import json
from typing import Any

import pytest

from recorder.recording import Status, StopReason, UsageQuality
from tests.payloads import frame, response, response_event, text_delta
from tests.responses import CREATE, PLAIN, begun, call, document, ended, said, stream
from tests.tape import JSON, read, request


@pytest.mark.parametrize(
    ("event", "status", "expected", "complete"),
    [
        ("completed", "completed", "completed", True),
        ("completed", "incomplete", "incomplete", True),
        ("completed", "failed", "failed", True),
        ("completed", "in_progress", "in_progress", True),
        ("failed", "completed", "failed", True),
        ("failed", "in_progress", "failed", True),
        ("incomplete", "completed", "incomplete", True),
        ("cancelled", "failed", "failed", True),
        ("in_progress", "completed", "in_progress", False),
        ("created", "completed", "in_progress", False),
        ("queued", "queued", "in_progress", False),
        ("completed", "dreaming", "completed", True),
        ("completed", None, "completed", True),
        ("dreaming", "completed", "completed", True),
        ("dreaming", "dreaming", "unknown", False),
        ("web_search_call.completed", "completed", "unknown", False),
    ],
)
def test_event_name_and_status_together(event: str, status: str | None, expected: str, complete: bool) -> None:
    """Good news counts only where nothing denies it; a name that nobody knows neither says nor denies anything."""
    reading = stream(response_event(event, 0, response={**response("completed"), "status": status}))
    assert (reading.status, reading.complete) == (expected, complete)
    assert ("no_terminal_event" in reading.flags) is not complete
    known = {"completed", "failed", "incomplete", "cancelled", "in_progress", "created"}
    contradicts = event in known and status in known and event not in (status, "queued")
    assert (reading.facts.get("disagreements") == ["event_status"]) == contradicts


def test_the_name_and_the_type_of_an_event_together() -> None:
    reading = stream(frame({"type": "response.failed", "response": response("completed")}, "response.completed"))
    assert reading.facts["disagreements"] == ["event_type"]
    assert reading.status == Status.COMPLETED
    unnamed = stream(frame({"type": "response.completed", "response": response("completed")}, "chunk"))
    assert (unnamed.status, unnamed.facts.get("disagreements"), unnamed.facts.get("unknown_events")) == (
        Status.COMPLETED,
        None,
        None,
    )


@pytest.mark.parametrize(
    ("reason", "output", "expected"),
    [
        ("max_output_tokens", 256, "output_limit"),
        ("max_output_tokens", 0, "output_limit"),
        ("content_filter", 256, "content_filter"),
        ("steered", 5, "paused"),
        ("max_messages", 5, None),
        ("moon_phase", 256, None),
        (None, 256, "output_limit"),
        (None, 255, None),
    ],
)
def test_why_it_is_incomplete(reason: str | None, output: int, expected: str | None) -> None:
    """The cap is 256. A stated reason stands; where there is none, usage at the cap tells."""
    usage = {"input_tokens": 1, "output_tokens": output, "total_tokens": output + 1}
    fields: dict[str, Any] = {
        "incomplete_details": reason and {"reason": reason},
        "usage": usage,
        "max_output_tokens": 256,
    }
    for reading in (stream(ended("incomplete", **fields)), document("incomplete", **fields)):
        assert (reading.status, reading.stop_reason, reading.stop_reason_raw) == ("incomplete", expected, reason)
        assert ("output_cap_reached" in reading.flags) == (output >= 256)
        if reason:
            assert reading.facts["evidence"]["reason"] == {"value": reason, "position": 1}


def test_an_item_that_is_incomplete_denies_a_completed_response() -> None:
    for item in (said("cut", "incomplete"), call("function_call", name="f", arguments='{"a', status="incomplete")):
        reading = stream(ended(output=[item]))
        assert (reading.status, reading.facts["disagreements"]) == (Status.INCOMPLETE, ["item"])
    searched = stream(ended(output=[call("web_search_call", status="incomplete"), said("x")]))
    assert (searched.status, "disagreement" in searched.flags) == (Status.COMPLETED, False)


def test_an_error_denies_a_completed_response() -> None:
    reading = stream(ended(error={"code": "server_error", "message": "m"}))
    assert (reading.status, reading.stop_reason_raw, reading.facts["disagreements"]) == (
        "failed",
        "server_error",
        ["error"],
    )


def test_two_endings_contradict_each_other() -> None:
    for first, second in (("completed", "failed"), ("failed", "completed"), ("incomplete", "failed")):
        reading = stream(ended(first, 1), ended(second, 2))
        assert (reading.status, reading.facts["disagreements"]) == (Status.FAILED, ["two_endings"])
    twice = stream(ended(number=0), ended(number=1))
    assert (twice.status, twice.flags) == (Status.COMPLETED, ())
    late = stream(ended(number=0), frame({"type": "error", "code": "c", "message": "m", "sequence_number": 1}, "error"))
    assert (late.status, late.stop_reason_raw, late.facts["disagreements"]) == ("failed", "c", ["two_endings"])


def test_a_final_status_is_not_taken_back() -> None:
    reading = stream(ended(number=0), response_event("in_progress", 1, response=response("in_progress")))
    assert (reading.status, reading.output_tokens, reading.facts["disagreements"]) == (Status.COMPLETED, 5, ["order"])
    odd = stream(begun(), response_event("paused", 1, response=response("paused")))
    assert (odd.status, odd.complete, odd.facts["unknown_events"]) == (
        Status.IN_PROGRESS,
        False,
        {"response.paused": 1},
    )


@pytest.mark.parametrize(
    "error",
    [
        frame({"type": "error", "code": "c", "message": "m", "param": None, "sequence_number": 1}, "error"),
        frame({"type": "error", "error": {"type": "t", "code": "c", "message": "m"}}, "error"),
        frame({"error": {"code": "c", "message": "m"}}),
        frame({"error": {"code": "c", "message": "m"}}, "response.error"),
        frame({"type": "error", "code": "c", "message": "m"}),
    ],
)
def test_an_error_in_any_shape_fails_the_run(error: bytes) -> None:
    reading = stream(begun(), error)
    assert (reading.status, reading.stop_reason, reading.stop_reason_raw) == (Status.FAILED, StopReason.ERROR, "c")
    assert (reading.complete, reading.flags) == (True, ())
    assert reading.facts["evidence"]["error"]["position"] == 2
    assert reading.facts["content"] == {"error_message": "m"}


def test_a_tool_that_fails_does_not_fail_the_run() -> None:
    failed = frame(
        {"type": "response.mcp_call.failed", "error": {"code": "x", "message": "m"}}, "response.mcp_call.failed"
    )
    assert stream(begun(), failed, ended()).status == Status.COMPLETED


def test_a_stream_cut_before_its_end_keeps_the_last_status_it_stated() -> None:
    reading = stream(begun(), text_delta("Four", 1))
    assert (reading.status, reading.complete, reading.text) == (Status.IN_PROGRESS, False, "Four")
    assert reading.flags == ("no_terminal_event",)
    assert (reading.output_tokens, reading.usage_quality) == (None, UsageQuality.MISSING)
    assert reading.facts["last_sequence_number"] == 1


@pytest.mark.parametrize(
    ("numbers", "after", "gaps"),
    [
        ([0, 1, 2], None, []),
        ([1, 2, 3], None, []),
        ([None, None, None], None, []),
        ([0, None, 1], None, []),
        ([0, 2, 3], None, [[2, 1, 2]]),
        ([0, 1, 1], None, [[3, 2, 1]]),
        ([0, 2, 1], None, [[2, 1, 2], [3, 3, 1]]),
        ([5, 6, 7], None, [[1, 1, 5]]),
        ([5, 6, 7], 4, []),
        ([1, 2, 3], 0, []),
        ([7, 8, 9], 4, [[1, 5, 7]]),
        ([0, 1, 2], 4, []),
        (["0", [1], 1.5], None, []),
    ],
)
def test_sequence_numbers(numbers: list[Any], after: int | None, gaps: list[list[int]]) -> None:
    """From 0, from 1, or from where the stream was resumed; servers that send none are no fault."""
    asked = CREATE if after is None else request("GET", f"/v1/responses/r?stream=true&starting_after={after}")
    body = b"".join(
        frame({"type": "keepalive"} if number is None else {"type": "keepalive", "sequence_number": number})
        for number in numbers
    )
    reading = stream(body, asked=asked)
    assert reading.facts.get("sequence_gaps", []) == gaps
    assert ("sequence_gap" in reading.flags) == bool(gaps)


def test_what_is_no_json_is_noted_by_position_and_the_rest_is_read() -> None:
    reading = stream(begun(), frame("{", "response.output_text.delta"), frame("[]", "x"), ended(number=1))
    assert (reading.status, reading.flags, reading.facts["malformed"]) == ("completed", ("malformed_json",), [2, 3])


def test_a_response_that_does_not_say_that_it_is_one() -> None:
    """A server that leaves out `object`."""
    told = {"id": "r", "status": "completed", "output": [said("x")]}
    assert (read(PLAIN, json.dumps(told).encode(), headers=JSON).text) == "x"
    stranger = read(PLAIN, b'{"id":"r","status":"completed"}', headers=JSON)
    assert (stranger.status, stranger.provider_run_id) == (Status.UNKNOWN, None)
