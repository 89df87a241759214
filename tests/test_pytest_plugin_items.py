"""What a suite with tapes is for: mistakes in an application fail it, and what it says names the mistake.

A small application that works a tool loop is recorded once; then one mistake after the other is made in it.
"""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any, Final

import pytest

from tests.needs import each

if TYPE_CHECKING:
    from tests.plugged import Project, Provider

pytest_plugins = ["pytester", "tests.plugged"]

APP: Final = '''
import json

import openai

TOOLS = [{"type": "function", "function": {"name": "order_status", "parameters": {"type": "object"}}}]


class Truncated(Exception):
    """The answer is not whole."""


def order_status(order_id):
    return {"order": order_id, "status": "shipped"}


def ask(messages):
    client = openai.OpenAI(max_retries=0)
    text, calls, finish = "", {}, None
    stream = client.chat.completions.create(
        model="gpt-4.1-mini",
        messages=messages,
        tools=TOOLS,
        temperature=0.1,
        max_completion_tokens=200,
        stream=True,
    )
    for chunk in stream:
        for choice in chunk.choices:
            text += choice.delta.content or ""
            for piece in choice.delta.tool_calls or []:
                call = calls.setdefault(piece.index, {"id": piece.id, "name": piece.function.name, "arguments": ""})
                call["arguments"] += piece.function.arguments or ""
            finish = choice.finish_reason or finish
    if finish == "length":
        raise Truncated(text)
    return text, list(calls.values())


def answer(question):
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": question}]
    while True:
        text, calls = ask(messages)
        if not calls:
            return text
        asked = [
            {"id": call["id"], "type": "function", "function": {"name": call["name"], "arguments": call["arguments"]}}
            for call in calls
        ]
        messages.append({"role": "assistant", "tool_calls": asked})
        for call in calls:
            output = json.dumps(order_status(**json.loads(call["arguments"])))
            messages.append({"role": "tool", "tool_call_id": call["id"], "content": output})
'''

TESTS: Final = """
import app


@pytest.mark.recorder
def test_order(tape):
    assert app.answer("Where is A-1042?") == "It has shipped."
    first, second = tape.runs
    assert [(call.name, call.input) for call in first.tool_calls] == [("order_status", {"order_id": "A-1042"})]
    assert second.output_tokens <= 20


@pytest.mark.recorder
def test_an_answer_that_is_cut_off_is_no_answer(tape):
    with pytest.raises(app.Truncated):
        app.answer("Tell me everything.")
    assert (tape.run.status, tape.run.stop_reason) == ("incomplete", "output_limit")


@pytest.mark.recorder(fault="cut@event=2")
def test_a_stream_that_breaks_is_no_answer():
    with pytest.raises(openai.APIError):
        app.answer("Hello?")
"""

#: What is done to the application -> (what stands there, what is put there, what the suite then says).
MISTAKES: Final = {
    "the tool's output is dropped": (
        '            messages.append({"role": "tool"',
        '            ({"role": "tool"',
        'body.messages[3]: wanted absent, stored {"content":"{\\"order\\"',
    ),
    "the cap is wrong": (
        "max_completion_tokens=200",
        "max_completion_tokens=20",
        "body.max_completion_tokens: wanted 20, stored 200",
    ),
    "an incomplete answer is taken for a whole one": (
        'if finish == "length":',
        'if finish == "lenght":',
        "DID NOT RAISE Truncated",
    ),
    "the messages are in another order": (
        'messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": question}]',
        'messages = [{"role": "user", "content": question}, {"role": "system", "content": "Be brief."}]',
        'body.messages[0].role: wanted "user", stored "system"',
    ),
    "the temperature is left to the default": (
        "        temperature=0.1,\n",
        "",
        "body.temperature: wanted absent, stored 0.1",
    ),
    "another model is asked": (
        'model="gpt-4.1-mini"',
        'model="gpt-4.1-nano"',
        'body.model: wanted "gpt-4.1-nano", stored "gpt-4.1-mini"',
    ),
    "the tool's output is no JSON": (
        "output = json.dumps(",
        "output = str(",
        "body.messages[3].content: wanted \"{'order'",
    ),
    "the tools are forgotten": ("        tools=TOOLS,\n", "", "body.tools: wanted absent, stored [{"),
    "the output goes to another call": (
        '"tool_call_id": call["id"]',
        '"tool_call_id": call["name"]',
        'body.messages[3].tool_call_id: wanted "order_status", stored "call_1"',
    ),
    "the loop ends before its answer": (
        "            return text\n        asked",
        "            return text\n        return 'It has shipped.'\n        asked",
        "1 of 2 recordings in the tape recordings/test_app/test_order.jsonl was not used",
    ),
    "everything is asked twice": (
        "        text, calls = ask(messages)\n",
        "        text, calls = ask(messages)\n        text, calls = ask(messages)\n",
        "it was recorded once and replayed as often",
    ),
    "a failure is swallowed, and with it a changed prompt": (
        "        text, calls = ask(messages)\n",
        (
            '        messages[0]["content"] = "Be nice."\n'
            "        try:\n            text, calls = ask(messages)\n"
            "        except Exception:\n            return 'It has shipped.'\n"
        ),
        'body.messages[0].content: wanted "Be nice.", stored "Be brief."',
    ),
    "a broken stream is taken for an answer": (
        "    for chunk in stream:\n",
        "    for chunk in whole(stream):\n",
        "DID NOT RAISE APIError",
    ),
}

WHOLE: Final = '''

def whole(stream):
    """Swallows what goes wrong on the way."""
    try:
        yield from stream
    except openai.APIError:
        return
'''


def provide(asked: dict[str, Any]) -> list[bytes]:
    """The provider's side: a tool call for an order, a long story for everything, and a greeting for the rest."""
    last = asked["messages"][-1]
    deltas: list[dict[str, Any]]
    if last["role"] == "tool":
        deltas, finish = [{"content": "It has "}, {"content": "shipped."}], "stop"
    elif "A-1042" in str(asked["messages"]):
        call = {"index": 0, "id": "call_1", "type": "function"}
        called = {**call, "function": {"name": "order_status", "arguments": '{"order_id":'}}
        deltas = [{"tool_calls": [called]}, {"tool_calls": [{"index": 0, "function": {"arguments": ' "A-1042"}'}}]}]
        finish = "tool_calls"
    elif "everything" in str(last):
        deltas, finish = [{"content": "Once upon a "}], "length"
    else:
        deltas, finish = [{"content": "Hello"}, {"content": " to"}, {"content": " you"}], "stop"
    value: dict[str, Any] = {
        "id": "chatcmpl-1",
        "object": "chat.completion.chunk",
        "created": 1764000000,
        "model": "gpt-4.1-mini",
    }
    choices: list[Any] = [[{"index": 0, "delta": delta, "finish_reason": None}] for delta in deltas]
    choices.append([{"index": 0, "delta": {}, "finish_reason": finish}])
    usage = {"prompt_tokens": 9, "completion_tokens": 4, "total_tokens": 13}
    events = [{**value, "choices": choice} for choice in choices] + [{**value, "choices": [], "usage": usage}]
    return [*(b"data: " + json.dumps(event).encode() + b"\n\n" for event in events), b"data: [DONE]\n\n"]


_RECORDED: dict[str, bytes] = {}


@pytest.fixture
def suite(project: Project, provider: Provider, monkeypatch: pytest.MonkeyPatch) -> Project:
    """The application, its tests and their recordings, which are made once."""
    monkeypatch.setattr(sys, "dont_write_bytecode", True)  # a file that changes twice a second keeps its bytecode
    provider.answer = provide
    project.write(APP, "app.py")
    project.write(TESTS)
    if not _RECORDED:
        whole = TESTS.replace('(fault="cut@event=2")', "").replace("    with pytest.raises(openai.APIError):\n    ", "")
        project.write(whole)
        assert project.run("--recorder=record") == {"passed": 3}, project.said
        project.write(TESTS)
        _RECORDED.update({name: project.tape(name).read_bytes() for name in project.tapes()})
    for name, data in _RECORDED.items():
        project.tape(name).parent.mkdir(parents=True, exist_ok=True)
        project.tape(name).write_bytes(data)
    return project


def test_the_suite_passes_without_a_mistake(suite: Project, provider: Provider) -> None:
    """And reaches nobody: so what fails it below is the mistake."""
    provider.asked.clear()
    assert suite.run() == {"passed": 3}
    assert provider.asked == []


@pytest.mark.parametrize("mistake", each(3, MISTAKES))
def test_a_mistake_fails_the_suite_and_is_named(suite: Project, provider: Provider, mistake: str) -> None:
    provider.asked.clear()
    before, after, told = MISTAKES[mistake]
    assert APP.count(before) == 1
    suite.write(APP.replace(before, after) + WHOLE, "app.py")
    outcomes = suite.run("--tb=short")
    assert outcomes.get("failed", 0) + outcomes.get("errors", 0) > 0, suite.said
    assert told in suite.said
    assert provider.asked == []
