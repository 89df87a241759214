"""What was said in a stream of the Assistants protocol: texts, refusals, tool calls; and what the real SDKs make of the
same bytes.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from recorder.recording import Reading
from tests.assistants import CREATE, SAID, comparable, golden, name_of, ours, stream
from tests.payloads import frame, message_delta, run_event
from tests.tape import read, recorded


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


def test_text_that_no_database_takes_is_made_to_fit() -> None:
    body = b'{"id":"m","delta":{"content":[{"index":0,"type":"text","text":{"value":"a\\u0000b\\ud83d"}}]}}'
    text = stream(b"event: thread.message.delta\ndata: " + body + b"\n\n").text
    assert text is not None
    assert text.startswith("a\ufffdb\ufffd")
    text.encode()


def test_each_text_is_spoken_as_it_came() -> None:
    """Pieces with the positions and times of their events; in one piece where no pieces came."""
    body = golden("completed")
    _, events = recorded(CREATE, body)
    first, second = read(CREATE, body).spoken
    assert (first.kind, first.text, first.ended, second.text) == ("text", SAID, True, "Three are under repair.")
    said = {event.position: event for event in events}
    for spoken in (first, second):
        starts = [*spoken.offsets, len(spoken.text)]
        for number, (position, elapsed_us) in enumerate(zip(spoken.positions, spoken.times, strict=True)):
            value = json.loads(said[position].data or b"")["delta"]["content"][0]["text"]["value"]
            assert spoken.text[starts[number] : starts[number + 1]] == value
            assert said[position].elapsed_us == elapsed_us
    lost = read(CREATE, golden("lost-piece")).spoken
    assert [(spoken.text, list(spoken.offsets)) for spoken in lost] == [("Four ships can sail.", [0])]


@pytest.mark.parametrize(
    ("name", "spoken"),
    [
        ("cut", [("text", None, SAID, True), ("text", None, "Three are", False)]),
        ("cut-arguments", [("arguments", "harbour", '{"port":"Ki', False)]),
        ("incomplete-input", [("text", None, "Four ships", False)]),
        ("refusal", [("refusal", None, "I'm sorry, I can't help with that.", True)]),
        (
            "code-interpreter",
            [
                ("text", None, "There are 21 ships.", True),
                ("input", "code_interpreter", "ships = [12, 9]\nprint(sum(ships))", True),
            ],
        ),
        ("file-search", [("text", None, "Four ships can sail【4:0†ships.txt】.", True)]),
        ("approval", [("arguments", "list_ships", '{"port":"Kiel"}', True)]),
        ("cancelled-in-tools", [("arguments", "harbour", '{"po', False)]),
        ("tools-2", [("arguments", "harbour", '{"port":"Rostock"}', True)]),
        (
            "tools-1",
            [("arguments", "harbour", '{"port":"Kiel"}', True), ("arguments", "yard", '{"port":"Kiel"}', True)],
        ),
    ],
)
def test_what_was_spoken(name: str, spoken: list[tuple[str, str | None, str, bool]]) -> None:
    told = read(CREATE, golden(name)).spoken
    assert [(one.kind, one.name, one.text, one.ended) for one in told] == spoken


def test_a_message_without_pieces_is_spoken_and_timed_when_it_comes() -> None:
    """As servers do that stream only on the outside."""
    part = {"type": "text", "text": {"value": "Four", "annotations": []}}
    message = {"id": "msg_1", "object": "thread.message", "role": "assistant", "status": "completed", "content": [part]}
    reading = stream(run_event("created"), frame(message, "thread.message.completed"), run_event("completed"))
    (spoken,) = reading.spoken
    assert (reading.text, spoken.text, list(spoken.times)) == ("Four", "Four", [reading.ttft_visible_us])
    assert "text_differs" in reading.flags


# -- against the SDKs --------------------------------------------------------------------------------------------------

# Where the SDK raises there is nothing to compare.
NOT_FOR_THE_SDK = {
    "assistants-046": "pieces of a step that was never created",
    "assistants-error-nested": "an error event ends its stream with an exception",
}

# The pieces are not all there, an ellipsis stands for some; the Run that waits for the outputs has the whole.
ABRIDGED_CALLS = {"assistants-047"}

# azure-ai-agents reads server-sent events in its own way.
NOT_FOR_AZURE = {
    "assistants-odd-framing": "it splits at two line feeds only, and takes the last data line for all",
    **dict.fromkeys(
        ("assistants-006", "assistants-022", "assistants-024", "assistants-047"),
        "it takes the ellipsis between their events for an event without a name",
    ),
    **dict.fromkeys(("assistants-038", "assistants-039"), "it takes an unterminated event for a whole one"),
}


def had(ask: Callable[[], list[Any]]) -> list[Any]:
    """What the SDK has; it raises where there is none."""
    try:
        return ask()
    except RuntimeError:
        return []


def calls_of(reading: Reading) -> dict[str, tuple[Any, Any]]:
    """id -> name and arguments, of each call that takes any."""
    calls = dict(reading.facts.get("content", {})).get("tool_calls", [])
    return {call["id"]: (call.get("name"), call["arguments"]) for call in calls if "arguments" in call}


def told_by(steps: list[Any]) -> dict[str, tuple[Any, Any]]:
    """The same of an SDK's steps."""
    calls = [call for step in steps for call in getattr(step.step_details, "tool_calls", None) or ()]
    functions = {
        call.id: (call.function.name, call.function.arguments) for call in calls if getattr(call, "function", None)
    }
    programs = {
        call.id: (None, call.code_interpreter.input) for call in calls if getattr(call, "code_interpreter", None)
    }
    return functions | programs


@pytest.mark.filterwarnings("ignore:(The Assistants API is )?deprecated:DeprecationWarning")
@pytest.mark.parametrize("path", comparable(), ids=lambda path: path.stem[:32])
def test_text_calls_and_usage_are_what_the_sdk_accumulates(path: Path) -> None:
    openai = pytest.importorskip("openai", reason="openai's client is not installed")
    httpx2 = pytest.importorskip("httpx2", reason="httpx2 is not installed")
    body, name = path.read_bytes(), name_of(path)

    def answer(_: Any) -> Any:
        return httpx2.Response(200, headers={"content-type": "text/event-stream"}, content=body)

    ended: dict[str, Any] = {}

    base: Any = openai.AssistantEventHandler

    class Handler(base):  # type: ignore[misc]
        def on_run_step_done(self, run_step: Any) -> None:
            ended[run_step.id] = run_step

    stream_of = {"thread_id": "thread_1", "assistant_id": "asst_1", "event_handler": Handler()}
    with (
        httpx2.Client(transport=httpx2.MockTransport(answer)) as http,
        openai.OpenAI(api_key="sk-x", http_client=http, max_retries=0) as client,
        client.beta.threads.runs.stream(**stream_of) as told,
    ):
        if name in NOT_FOR_THE_SDK:
            with pytest.raises((RuntimeError, KeyError, openai.APIError)):
                told.until_done()
            return
        told.until_done()
        messages, steps = had(told.get_final_messages), had(told.get_final_run_steps)
        usage = getattr(told.current_run, "usage", None)
    reading = ours(path)
    assert_said(reading, messages, usage)
    if name not in ABRIDGED_CALLS:
        assert told_by(steps).items() <= calls_of(reading).items()
        assert (
            told_by([step for step in ended.values() if step.status == "completed"]).items()
            <= calls_of(reading).items()
        )
    used = {name: step.usage.total_tokens for name, step in ended.items() if step.usage}
    counted = [step for step in reading.facts.get("steps", ()) if "usage" in step]
    assert {step["id"]: step["usage"]["total_tokens"] for step in counted} == used


def assert_said(reading: Reading, messages: list[Any], usage: Any) -> None:
    texts = ["".join(part.text.value for part in message.content if part.type == "text") for message in messages]
    assert (reading.text or "") == "\n\n".join(filter(None, texts))
    refusals = [part.refusal for message in messages for part in message.content if part.type == "refusal"]
    assert dict(reading.facts.get("content", {})).get("refusals", []) == refusals
    assert reading.input_tokens == (usage and usage.prompt_tokens)
    assert reading.output_tokens == (usage and usage.completion_tokens)
    assert reading.total_tokens == (usage and usage.total_tokens)


def azure_handler(base: Any) -> Any:
    """A handler that puts together what it is handed, for either kind of iteration."""

    class Handler(base):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.messages: dict[str, str] = {}
            self.steps: dict[str, Any] = {}
            self.usage: Any = None

        def take(self, value: Any) -> None:
            kind = type(value).__name__
            if kind == "MessageDeltaChunk":
                self.messages[value.id] = self.messages.get(value.id, "") + value.text
            elif kind == "ThreadMessage" and value.status in ("completed", "incomplete"):
                self.messages[value.id] = "".join(part.text.value for part in value.text_messages)
            elif kind == "ThreadRun":
                self.usage = value.usage or self.usage
            elif kind == "RunStep":
                self.steps[value.id] = value

    return Handler()


def handled(kind: str, body: bytes) -> Any:
    """azure-ai-agents' handler after it has seen the bytes, in pieces of a size that fits nothing."""
    models = pytest.importorskip("azure.ai.agents.models", reason="azure-ai-agents is not installed")
    pieces = [body[start : start + 61] for start in range(0, len(body), 61)]
    handler = azure_handler(getattr(models, kind))

    async def chunks() -> AsyncIterator[bytes]:
        for piece in pieces:
            yield piece

    async def nothing(*_: Any) -> list[Any]:
        return []

    async def drive() -> None:
        handler.initialize(chunks(), nothing)
        async for _, value, _ in handler:
            handler.take(value)

    if kind.startswith("Async"):
        asyncio.run(drive())
    else:
        handler.initialize(iter(pieces), lambda *_: [])
        for _, value, _ in handler:
            handler.take(value)
    return handler


@pytest.mark.parametrize("path", comparable(), ids=lambda path: path.stem[:32])
@pytest.mark.parametrize("kind", ["AgentEventHandler", "AsyncAgentEventHandler"])
def test_text_calls_and_usage_are_what_azures_handler_is_handed(kind: str, path: Path) -> None:
    reading = ours(path)
    if name_of(path) in NOT_FOR_AZURE:
        with pytest.raises((ValueError, AssertionError)):
            assert_alike(reading, handled(kind, path.read_bytes()))
    else:
        assert_alike(reading, handled(kind, path.read_bytes()))


def assert_alike(reading: Reading, handler: Any) -> None:
    assert (reading.text or "") == "\n\n".join(filter(None, handler.messages.values()))
    assert reading.input_tokens == (handler.usage and handler.usage.prompt_tokens)
    assert reading.output_tokens == (handler.usage and handler.usage.completion_tokens)
    told = told_by([step for step in handler.steps.values() if step.status == "completed"])
    assert told.items() <= calls_of(reading).items()
