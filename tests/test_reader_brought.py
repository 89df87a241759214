"""What each event brought: over all golden streams, and where payloads are gone."""

from __future__ import annotations

import json

import pytest

from recorder.dialects import by_name
from recorder.reader import interpret
from recorder.reader.brought import PIECES, ToolCall, What, brought, name_of, said_so_far, tool_calls
from recorder.recording import Event, Kind
from tests.golden import tape
from tests.kept import GOLDEN, bare
from tests.payloads import frame
from tests.tape import post, recorded

CREATE = post("/v1/threads/thread_1/runs", assistant_id="asst_1", stream=True)
_KINDS = {
    "text": What.TEXT,
    "refusal": What.TEXT,
    "reasoning": What.REASONING,
    "arguments": What.ARGUMENTS,
    "input": What.ARGUMENTS,
}


@pytest.mark.parametrize("name", GOLDEN)
def test_an_event_that_a_piece_came_with_brought_it_and_every_row_brought_something(name: str) -> None:
    recording, events = tape(name)
    told = brought(recording, events)
    assert len(told.whats) == len(told.names) == len(events)
    read = by_name(recording.dialect).read(recording, [event for event in events if event.kind != Kind.WIRE])
    assert told.reading == read
    pieces = {position: _KINDS[spoken.kind] for spoken in read.spoken for position in spoken.positions}
    for event, what in zip(told.events, told.whats, strict=True):
        if event.kind != Kind.SSE:
            assert what.value in ("head", "body", "end")
        elif event.position in pieces and what not in (What.ERROR, What.DONE):
            assert what in {_KINDS[spoken.kind] for spoken in read.spoken if event.position in spoken.positions}
        else:
            assert what not in (What.HEAD, What.BODY, What.END, What.WIRE)


@pytest.mark.parametrize("name", GOLDEN)
def test_names_alone_never_contradict_what_the_payloads_say(name: str) -> None:
    """Without payloads less is known; what is said all the same is what would have been said."""
    recording, events = tape(name)
    full, blind = brought(recording, events), brought(recording, bare(events))
    for event, known, guessed, label in zip(full.events, full.whats, blind.whats, full.names, strict=True):
        if guessed in PIECES and known != guessed:
            # A delta that brings something else than its name says: another tool's output, an empty piece.
            assert label.endswith("delta"), (event.position, known, guessed)
        if guessed in (What.DONE, What.ERROR, What.PING):
            assert known in (guessed, What.ERROR)


def test_rows_are_named_as_a_client_hears_them() -> None:
    body = (
        frame({"a": 1}, "thread.run.created")
        + frame({"b": 1})
        + b": ping\n\nretry: 5\n\ndata:[DONE]\r\n\r\n"
        + frame("[DONE]")
    )
    _, events = recorded(CREATE, body)
    assert [name_of(event) for event in events] == [
        "head",
        "thread.run.created",
        "message",
        "comment",
        "comment",
        "[DONE]",
        "[DONE]",
        "end",
    ]
    assert name_of(Event(0, Kind.SSE.value, 0)) == "message"


def test_a_text_of_very_many_pieces_is_text_throughout() -> None:
    """Above 65,536 pieces the dialect notes only every second one."""
    chunk = {"id": "c", "object": "chat.completion.chunk", "choices": [{"index": 0, "delta": {"content": "x"}}]}
    number = 70_000
    body = frame(chunk) * number + frame("[DONE]")
    told = brought(*recorded(post("/v1/chat/completions", model="m", messages=[], stream=True), body, chunk=1 << 16))
    (spoken,) = told.reading.spoken
    assert len(spoken.positions) < number
    assert sum(what == What.TEXT for what in told.whats) >= number - 2


def test_calls_are_those_of_the_answer() -> None:
    assert tool_calls(said_so_far(*tape("chat-tool-calls"))[0]) == tuple(
        ToolCall(spoken.name, spoken.text)
        for spoken in said_so_far(*tape("chat-tool-calls"))[0].spoken
        if spoken.kind == "arguments"
    )
    waiting = tool_calls(said_so_far(*tape("assistants-tools-1"))[0])
    assert [(call.name, call.input) for call in waiting] == [("harbour", {"port": "Kiel"}), ("yard", {"port": "Kiel"})]
    assert all(call.id for call in waiting)
    with pytest.raises(ValueError, match="Unterminated string"):
        _ = ToolCall("cut", '{"a": "b').input


def test_what_is_said_so_far_is_what_the_reading_of_a_stream_cut_there_says() -> None:
    """The ending is not looked at: it lies in the future."""
    recording, events = tape("assistants-incomplete-output")
    half, _ = said_so_far(recording, events[:10])
    assert half.status == "in_progress"
    whole, _ = said_so_far(recording, events)
    assert whole.text == interpret(recording, events).text


def test_a_mistake_of_a_dialects_leaves_the_names(monkeypatch: pytest.MonkeyPatch) -> None:
    recording, events = tape("chat-stop")

    def fail(*_: object) -> None:
        raise LookupError

    monkeypatch.setattr(type(by_name("chat")), "read", fail)
    told = brought(recording, events)
    assert told.reading.flags == ("reader_error",)
    assert told.whats[-2] == What.DONE
    assert json.dumps(dict(told.reading.facts)) == '{"reader_error": "LookupError"}'
