"""What a Response says: texts told in pieces and as a whole, items, calls, the first token."""

from __future__ import annotations

import json
from typing import Any

import pytest

from recorder.dialects import by_name
from recorder.recording import Status, StopReason
from recorder.sse import payload
from tests import golden
from tests.payloads import response_event, text_delta
from tests.responses import CREATE, begun, call, document, ended, said, stream
from tests.tape import recorded, request

RESPONSES = by_name("responses")
STREAMS = golden.names("responses")


def test_the_last_word_counts() -> None:
    """Pieces, then the end of the text, then its item, then the whole Response; a contradiction is told."""
    place = {"item_id": "msg_torture", "output_index": 0, "content_index": 0}
    pieces = (begun(), text_delta("a", 1), text_delta("b", 2))
    done = response_event("output_text.done", 3, **place, text="abc")
    item = response_event("output_item.done", 4, output_index=0, item=said("abcd"))
    assert stream(*pieces).text == "ab"
    assert stream(*pieces, done).text == "abc"
    assert stream(*pieces, done, item).text == "abcd"
    whole = stream(*pieces, done, item, ended(number=5, output=[said("abcde")]))
    assert (whole.text, whole.flags) == ("abcde", ("disagreement", "text_differs"))
    assert whole.facts["text_differs"] == [["text", 0, 0]]
    assert [(one.text, len(one.offsets)) for one in whole.spoken] == [("abcde", 1)]
    same = stream(*pieces, ended(number=3, output=[said("ab")]))
    assert (same.text, same.flags, list(same.spoken[0].offsets)) == ("ab", (), [0, 1])
    assert list(same.spoken[0].positions) == [2, 3]


def test_an_ending_without_output_leaves_what_was_streamed() -> None:
    reading = stream(begun(), text_delta("Four", 1), ended("failed", 2, output=[]))
    assert (reading.text, reading.flags) == ("Four", ())
    moved = stream(begun(), text_delta("Four", 1), ended(number=2, output=[call("reasoning"), said("Four")]))
    assert (moved.text, moved.flags) == ("Four", ())
    lost = stream(begun(), text_delta("Four", 1), ended(number=2, output=[call("reasoning")]))
    assert (lost.text, lost.flags) == ("Four", ("disagreement", "text_differs"))


def test_a_resumed_stream_takes_its_text_from_the_end() -> None:
    """Its pieces are the rest of the text, which is no contradiction, and no text of its own."""
    asked = request("GET", "/v1/responses/resp_1?stream=true&starting_after=6")
    reading = stream(text_delta("boat.", 7), ended(number=8, output=[said("Row your boat.")]), asked=asked)
    assert (reading.text, reading.flags) == ("Row your boat.", ())
    assert [one.text for one in reading.spoken] == ["Row your boat."]
    assert stream(text_delta("boat.", 7), asked=asked).text == "boat."


def test_everything_that_was_spelled_out() -> None:
    """Each with its kind, the tool's name, and whether its end was seen."""
    told = [
        (one.kind, one.name, one.text, one.ended)
        for name in (
            "reasoning",
            "refusal",
            "function-call-cut",
            "mcp",
            "custom-tool",
            "code-interpreter",
            "audio",
            "shell",
        )
        for one in golden.stream_reading(f"responses-{name}").spoken
    ]
    arguments = ("arguments", "berths", '{"port":"Kiel"}', True)
    assert told == [
        ("reasoning", None, "**Comparing** both", True),
        ("reasoning", None, "9.9 is 9.90.", True),
        ("reasoning", None, "**Deciding**", True),
        ("text", None, "9.9", True),
        ("refusal", None, "I'm sorry, I can't help with that.", True),
        ("arguments", "harbour", '{"port":"Ki', False),
        *(arguments, arguments),
        ("text", None, "Berth 7.", True),
        ("input", "draw", "line 0 0 9 9", True),
        ("input", "code_interpreter_call", "print(6 * 7)", True),
        ("text", None, "42", True),
        ("text", None, "Hello.", True),
        ("input", "shell_call", "ls -l", True),
        ("text", None, "There are none.", True),
    ]  # fmt: skip


@pytest.mark.parametrize("name", STREAMS)
def test_pieces_are_where_they_say(name: str) -> None:
    """The piece at an offset came with the event at that position, at that time."""
    recording, events = golden.tape(name)
    for one in RESPONSES.read(recording, events).spoken:
        assert len(one.offsets) == len(one.positions)
        assert len(one.times) in (0, len(one.offsets))
        for at, (offset, position) in enumerate(zip(one.offsets, one.positions, strict=True)):
            value = json.loads(payload(events[position].type, events[position].data, events[position].raw) or b"")
            until = one.offsets[at + 1] if at + 1 < len(one.offsets) else len(one.text)
            assert one.times or "delta" not in value
            if one.times:
                assert value["delta"] == one.text[offset:until]
                assert one.times[at] == events[position].elapsed_us


def test_a_call_whose_arguments_did_not_end_is_flagged() -> None:
    item = call("function_call", name="f", arguments="", status="in_progress")
    start = (begun(), response_event("output_item.added", 1, output_index=0, item=item))
    piece = response_event("function_call_arguments.delta", 2, output_index=0, item_id="x", delta='{"a')
    done = response_event("function_call_arguments.done", 3, output_index=0, item_id="x", arguments='{"a')
    assert "tool_call_open" in stream(*start, piece).flags
    assert "tool_call_open" not in stream(*start, piece, done).flags
    assert "tool_call_open" in document("in_progress", output=[{**item, "arguments": '{"a'}]).flags
    assert "tool_call_open" not in document("completed", output=[{**item, "arguments": "{}"}]).flags


@pytest.mark.parametrize(
    ("event", "visible"),
    [
        (text_delta("x", 1), True),
        (response_event("refusal.delta", 1, delta="x", output_index=0, content_index=0), True),
        (response_event("audio.transcript.delta", 1, delta="x"), True),
        (response_event("output_text.done", 1, text="x", output_index=0, content_index=0), True),
        (response_event("output_item.done", 1, item=said("x"), output_index=0), True),
        (response_event("reasoning_text.delta", 1, delta="x", output_index=0, content_index=0), False),
        (response_event("reasoning_summary_text.delta", 1, delta="x", output_index=0, summary_index=0), False),
        (response_event("function_call_arguments.delta", 1, delta="{", output_index=0), False),
        (response_event("mcp_call_arguments.delta", 1, delta="{", output_index=0), False),
        (response_event("custom_tool_call_input.delta", 1, delta="x", output_index=0), False),
        (response_event("code_interpreter_call_code.delta", 1, delta="x", output_index=0), False),
        (response_event("shell_call_command.delta", 1, delta="x", output_index=0, command_index=0), False),
        (response_event("apply_patch_call_operation_diff.delta", 1, delta="x", output_index=0), False),
        (response_event("audio.delta", 1, delta="UklG"), False),
        (response_event("output_item.added", 1, item=call("mcp_call", arguments="{}"), output_index=0), False),
    ],
)  # fmt: skip
def test_the_first_token_is_timed(event: bytes, visible: bool) -> None:
    """Of whatever sort; apart from it the first that the user sees. Empty pieces are none."""
    empty = response_event("output_text.delta", 0, delta="", output_index=0, content_index=0)
    _, events = recorded(CREATE, empty + event)
    reading = stream(empty, event)
    assert reading.ttft_us == events[2].elapsed_us
    assert reading.ttft_visible_us == (events[2].elapsed_us if visible else None)
    assert stream(empty).ttft_us is None


def test_a_refusal_is_the_reason_where_nothing_else_was_said() -> None:
    refused = {"type": "refusal", "refusal": "No."}
    alone = stream(ended(output=[{**said(""), "content": [refused]}]))
    assert (alone.status, alone.stop_reason, alone.text) == (Status.COMPLETED, StopReason.REFUSAL, None)
    assert alone.facts["content"]["refusals"] == ["No."]
    beside = stream(ended(output=[{**said(""), "content": [*said("But yes.")["content"], refused]}]))
    assert (beside.stop_reason, beside.text) == (StopReason.STOP, "But yes.")


def test_steps_are_bounded() -> None:
    reading = stream(ended(output=[said("x")] * 300))
    assert (len(reading.facts["steps"]), reading.text) == (256, "x" * 300)


@pytest.mark.parametrize(
    ("items", "waiting"),
    [
        ([call("function_call", name="f", arguments="{}")], 1),
        ([call("function_call", name="f", arguments="{}"), call("function_call_output", output="x")], 0),
        ([call("function_call"), call("function_call_output", call_id="call_2")], 1),
        ([call("custom_tool_call", name="f", input="x")], 1),
        ([call("computer_call"), call("local_shell_call"), call("apply_patch_call")], 3),
        ([call("shell_call"), call("shell_call_output")], 0),
        ([call("shell_call")], 1),
        ([call("tool_search_call", execution="client")], 1),
        ([call("tool_search_call", execution="server"), call("tool_search_output")], 0),
        ([call("mcp_approval_request", id="mcpr_1")], 1),
        ([call("mcp_approval_request", id="mcpr_1"), call("mcp_call", approval_request_id="mcpr_1")], 0),
        ([call("mcp_approval_request", id="m"), call("mcp_approval_response", approval_request_id="m")], 0),
        ([call("mcp_call"), call("web_search_call"), call("code_interpreter_call"), said("x")], 0),
        ([{"type": ["odd"]}, 3, None], 0),
    ],
)  # fmt: skip
def test_calls_that_the_client_has_to_answer(items: list[Any], waiting: int) -> None:
    for reading in (stream(ended(output=items)), document("completed", output=items)):
        assert reading.status == (Status.REQUIRES_ACTION if waiting else Status.COMPLETED)
        assert reading.facts["evidence"].get("required_action", {}).get("calls", 0) == waiting
    assert stream(ended("incomplete", output=items)).status == Status.INCOMPLETE
