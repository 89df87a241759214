"""What a test may say about a run, and how two runs are told apart."""

from __future__ import annotations

import gzip
import json
from collections.abc import Sequence
from typing import Any

import pytest

from recorder import match
from recorder.capture import Capture
from recorder.dialects import recognise
from recorder.recording import Event, Head, HeaderList, Recording, Request, Transport, uuid7
from recorder.tape.changes import changed, compared
from recorder.tape.runs import Exchange, TapeRun, ToolCall, Usage, runs_of
from tests.needs import ROOT
from tests.plugged import chat

STREAMS = ROOT / "tests" / "streams"


STREAMED = (("content-type", "text/event-stream"),)


def exchange(path: str, body: dict[str, Any], events: Sequence[bytes], answered: HeaderList = STREAMED) -> Exchange:
    """An exchange that was recorded with this stream."""
    sent = json.dumps(body).encode()
    headers = (("content-type", "application/json"), ("anthropic-version", "2023-06-01"))
    request = Request("POST", f"https://llm.example{path}", headers, sent, len(sent))
    recording = Recording(
        recording_id=uuid7(),
        started_at=0,
        writer=uuid7(),
        dialect=recognise(request).name,
        origin="https://llm.example",
        request=request,
        match_key=match.key(request),
        match_rule=match.DEFAULT.to_text(),
    )
    capture = Capture(recording)
    capture.head(Head(200, headers=answered), 10)
    for number, event in enumerate(events):
        capture.data(event, 20 + number)
    capture.end(Transport.EOF, 900)
    return Exchange(recording, [Event(*row[1:]) for row in capture.take()])


def said(text: str, **body: Any) -> TapeRun:
    """A Chat Completions run that says this."""
    asked = {"model": "gpt-4.1-mini", "messages": [{"role": "user", "content": "Hi"}], "stream": True, **body}
    (run,) = runs_of([exchange("/v1/chat/completions", asked, chat(text))])
    return run


def golden(name: str, path: str, **body: Any) -> TapeRun:
    asked = {"model": "m", "max_tokens": 9, "messages": [], "assistant_id": "asst_1", "stream": True, **body}
    (run,) = runs_of([exchange(path, asked, [(STREAMS / f"{name}.sse").read_bytes()])])
    return run


@pytest.mark.parametrize("coding", [None, "gzip"])
def test_tools_are_called_by_answers_that_come_whole_and_encoded(coding: str | None) -> None:
    called = [{"id": "c", "type": "function", "function": {"name": "ships", "arguments": '{"harbour":"Kiel"}'}}]
    message = {"role": "assistant", "content": None, "tool_calls": called}
    answer = json.dumps({"id": "c1", "choices": [{"index": 0, "finish_reason": "tool_calls", "message": message}]})
    body = answer.encode()
    headers = [("content-type", "application/json")]
    if coding:
        headers.append(("content-encoding", coding))
        body = gzip.compress(body)
    (run,) = runs_of([exchange("/v1/chat/completions", {"model": "m", "messages": []}, [body], tuple(headers))])
    assert [(call.name, call.input) for call in run.tool_calls] == [("ships", {"harbour": "Kiel"})]


def test_a_run_says_what_was_asked_and_what_came_back() -> None:
    run = said("Good morning", temperature=0.2)
    assert (run.status, run.stop_reason, run.complete, run.dialect) == ("completed", "stop", True, "chat")
    assert run.text == "Goodmorning"
    assert run.tool_calls == ()
    assert run.params["temperature"] == 0.2
    assert run.usage == Usage(None, None, None, None, None)
    assert run.skeleton == (("message", 4), ("[DONE]", 1))
    assert repr(run) == "<run chat completed text='Goodmorning'>"


@pytest.mark.parametrize(
    ("name", "path", "calls"),
    [
        ("chat-tool-calls", "/v1/chat/completions", ["get_tide", "get_wind"]),
        ("messages-tool-use", "/v1/messages", ["berth", "tide"]),
        ("responses-custom-tool", "/v1/responses", ["draw"]),
        ("assistants-tools-1", "/v1/threads/thread_1/runs", ["harbour", "yard"]),
    ],
)
def test_tool_calls_are_told_alike_by_every_protocol(name: str, path: str, calls: list[str]) -> None:
    run = golden(name, path)
    assert [call.name for call in run.tool_calls] == calls
    assert all(call.arguments for call in run.tool_calls)


def test_the_arguments_of_a_call_are_a_value_where_they_are_json() -> None:
    assert ToolCall("tide", '{"port": "Kiel"}').input == {"port": "Kiel"}
    assert ToolCall("now", None).input is None
    with pytest.raises(ValueError, match="Expecting"):
        _ = ToolCall("draw", "line 0 0 9 9").input


def test_exchanges_of_one_provider_run_are_one_run() -> None:
    """Tool outputs go on with the run that asked for them; another question is another run."""
    parts = [
        exchange(
            f"/v1/threads/thread_1/runs{'' if number == 1 else '/run_1/submit_tool_outputs'}",
            {"assistant_id": "asst_1", "stream": True, "tool_outputs": []},
            [(STREAMS / f"assistants-tools-{number}.sse").read_bytes()],
        )
        for number in (1, 2, 3)
    ]
    runs = runs_of([*parts, exchange("/v1/chat/completions", {"model": "m", "messages": []}, chat("Hi"))])
    assert [(run.dialect, len(run.exchanges), run.status) for run in runs] == [
        ("assistants", 3, "completed"),
        ("chat", 1, "completed"),
    ]
    assert [call.name for call in runs[0].tool_calls] == ["harbour", "yard", "harbour"]


def test_runs_that_are_the_same_have_no_changes() -> None:
    assert compared(said("Good morning"), said("Good morning")) == []
    assert changed([said("Good morning")], [said("Good morning")]) == []
    said("Good morning").assert_same_as(said("Good morning"))


def test_each_difference_is_named_with_both_sides() -> None:
    before = said("Good morning", temperature=0.2, tools=[{"type": "function", "function": {"name": "tide"}}])
    after = said("Good evening all", temperature=0.7, top_p=1)
    assert [str(change) for change in compared(before, after)] == [
        "params.temperature: 0.2 -> 0.7",
        'params.tools: [{"type": "function", "function": {"name": "tide"}}] -> absent',
        "params.top_p: absent -> 1",
        "events: 5 (message x4, [DONE]) -> 6 (message x5, [DONE])",
        'text: "Goodmorning" -> "Goodeveningall"',
    ]


def test_what_is_to_be_ignored_is_not_told() -> None:
    before, after = said("Good morning", user="a"), said("Good morning", user="b", seed=1)
    after.assert_same_as(before, ignore=["params"])
    with pytest.raises(AssertionError, match=r"the run is not the same:\n  params\.seed: absent -> 1$"):
        after.assert_same_as(before, ignore=["params.user"])


def test_runs_that_came_or_went_are_told() -> None:
    assert changed([said("one")], [said("one"), said("two")]) == ['run 2: new: chat completed "two"']
    assert changed([said("one"), said("two")], [said("one")]) == ['run 2: gone: chat completed "two"']


def test_long_values_are_shown_where_they_differ_and_credentials_never() -> None:
    long = "x" * 300
    (change,) = compared(said(f"{long}a"), said(f"{long}b"))
    assert change.before is not None
    assert len(change.before) < 70
    assert change.before.startswith("…xxxxxxxxxxxxxxx")
    (change,) = compared(said("a", metadata={"api_key": "k1"}), said("a", metadata={"api_key": "k2"}))
    assert str(change) == "params.metadata.api_key: [redacted] -> [redacted]"
