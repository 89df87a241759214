"""The bundled streams are well-formed and tell what their names say; the bundled upstream serves real clients."""

from __future__ import annotations

import http.client
import json
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from recorder import demo, sse
from recorder.demo.upstream import ASSISTANTS, upstream
from tests.needs import ROOT

openai = pytest.importorskip("openai", reason="openai's client is not installed")
anthropic = pytest.importorskip("anthropic", reason="anthropic's client is not installed")

# The SDK marks the whole Assistants API as deprecated.
pytestmark = pytest.mark.filterwarnings("ignore:(The Assistants API is )?deprecated:DeprecationWarning")

NAMES = [
    "assistants-completed",
    "assistants-incomplete",
    "assistants-requires-action",
    "assistants-tool-outputs",
    "assistants-whitespace",
    "chat-completed",
    "messages-completed",
    "responses-completed",
]


@pytest.fixture(scope="module")
def base_url() -> Iterator[str]:
    with upstream(pace=0) as url:
        yield url


@pytest.fixture
def client(base_url: str) -> Iterator[Any]:
    with openai.OpenAI(base_url=f"{base_url}/v1", api_key="sk-demo", max_retries=0) as made:
        yield made


def run_of(stream: Any) -> Any:
    """The last Run that a stream of events shows."""
    return [event.data for event in stream if event.event.startswith("thread.run.") and ".step." not in event.event][-1]


def test_the_streams_are_these() -> None:
    assert demo.names() == NAMES


def test_a_stream_that_is_not_there_is_an_error() -> None:
    with pytest.raises(FileNotFoundError):
        demo.stream("nonsense")


@pytest.mark.parametrize("name", NAMES)
def test_every_frame_is_canonical_and_holds_json_or_the_end_marker(name: str) -> None:
    tokenizer = sse.Tokenizer()
    frames = tokenizer.feed(demo.stream(name)) + tokenizer.finish()
    assert tokenizer.close() == b""
    for frame in frames:
        assert isinstance(frame, sse.Frame)
        assert frame.data is not None
        assert frame.data == b"[DONE]" or json.loads(frame.data)


def test_an_assistants_run_streams_to_its_end(client: Any) -> None:
    """The objects that a client makes before a run exist too."""
    assistant = client.beta.assistants.create(name="release-notes", model="gpt-4o")
    thread = client.beta.threads.create()
    client.beta.threads.messages.create(thread.id, role="user", content="What is new in 2.4?")
    with client.beta.threads.runs.stream(thread_id=thread.id, assistant_id=assistant.id) as stream:
        stream.until_done()
        messages = stream.get_final_messages()
        run = stream.get_final_run()
    assert run.status == "completed"
    assert run.assistant_id == assistant.id
    assert run.thread_id == thread.id
    assert messages[0].content[0].text.value.startswith("Version 2.4 is out.")


def test_tool_outputs_make_the_same_run_go_on(client: Any) -> None:
    first = run_of(client.beta.threads.create_and_run(assistant_id=ASSISTANTS["order-desk"], stream=True))
    assert first.status == "requires_action"
    call = first.required_action.submit_tool_outputs.tool_calls[0]
    assert json.loads(call.function.arguments) == {"order_id": "A-1042"}
    second = run_of(
        client.beta.threads.runs.submit_tool_outputs(
            first.id,
            thread_id=first.thread_id,
            tool_outputs=[{"tool_call_id": call.id, "output": "in transit"}],
            stream=True,
        )
    )
    assert (second.id, second.status) == (first.id, "completed")


@pytest.mark.parametrize("role", ["audit-summary", "invoice-intake"])
def test_two_runs_are_cut_by_their_completion_cap(client: Any, role: str) -> None:
    stream = client.beta.threads.runs.create("thread_any", assistant_id=ASSISTANTS[role], stream=True)
    run = run_of(stream)
    assert (run.status, run.incomplete_details.reason) == ("incomplete", "max_completion_tokens")
    assert run.usage.completion_tokens == run.max_completion_tokens


def test_the_whitespace_run_spends_its_cap_on_whitespace(client: Any) -> None:
    stream = client.beta.threads.runs.create("thread_any", assistant_id=ASSISTANTS["invoice-intake"], stream=True)
    pieces = [event.data.delta.content[0].text.value for event in stream if event.event == "thread.message.delta"]
    blank = sum(not piece.strip() for piece in pieces)
    assert blank > 0.9 * len(pieces)


def test_a_run_without_a_stream_is_queued_then_polled_then_cancelled(client: Any) -> None:
    run = client.beta.threads.runs.create("thread_any", assistant_id=ASSISTANTS["release-notes"])
    assert run.status == "queued"
    assert client.beta.threads.runs.retrieve(run.id, thread_id=run.thread_id).status == "completed"
    assert client.beta.threads.runs.cancel(run.id, thread_id=run.thread_id).status == "cancelling"


def test_chat_streams_with_usage_and_answers_whole_alike(client: Any) -> None:
    question: Any = [{"role": "user", "content": "How many ships can sail?"}]
    chunks = list(
        client.chat.completions.create(
            model="gpt-4o-mini", messages=question, stream=True, stream_options={"include_usage": True}
        )
    )
    text = "".join(choice.delta.content or "" for chunk in chunks for choice in chunk.choices)
    whole = client.chat.completions.create(model="gpt-4o-mini", messages=question)
    assert whole.choices[0].message.content == text
    assert whole.usage == chunks[-1].usage


def test_responses_streams_and_answers_whole_alike(client: Any) -> None:
    with client.responses.stream(model="gpt-4.1-mini", input="What is an event store?") as stream:
        final = stream.get_final_response()
    whole = client.responses.create(model="gpt-4.1-mini", input="What is an event store?")
    assert final.output_text == whole.output_text
    assert whole.status == "completed"


def test_messages_streams_and_answers_whole_alike(base_url: str) -> None:
    question: Any = {
        "model": "claude-haiku-4-5",
        "max_tokens": 256,
        "messages": [{"role": "user", "content": "When does the library close?"}],
    }
    with anthropic.Anthropic(base_url=base_url, api_key="sk-demo", max_retries=0) as client:
        with client.messages.stream(**question) as stream:
            final = stream.get_final_message()
        whole = client.messages.create(**question)
    assert final.content[0].text == whole.content[0].text
    assert (final.stop_reason, final.usage.output_tokens) == (whole.stop_reason, whole.usage.output_tokens)


def test_what_it_does_not_know_is_an_api_error(client: Any) -> None:
    with pytest.raises(openai.NotFoundError, match="no such assistant"):
        client.beta.threads.runs.create("thread_any", assistant_id="asst_nobody")
    with pytest.raises(openai.NotFoundError, match="no such run"):
        client.beta.threads.runs.retrieve("run_nobody", thread_id="thread_any")
    with pytest.raises(openai.NotFoundError, match="GET /v1/models"):
        client.models.list()


def test_the_same_request_gets_the_same_bytes_in_any_process(base_url: str) -> None:
    """Status line, headers and body; the other process hashes with another seed."""
    request = json.dumps({"assistant_id": ASSISTANTS["release-notes"], "stream": True}).encode()

    def told(url: str) -> Any:
        connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=60)
        connection.request("POST", "/v1/threads/thread_any/runs", body=request)
        response = connection.getresponse()
        seen = response.status, response.getheaders(), response.read().decode()
        connection.close()
        return seen

    code = """
from recorder.demo.upstream import upstream
with upstream(0) as url:
    print(url, flush=True)
    input()
"""
    with subprocess.Popen(
        [sys.executable, "-c", code],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={"PYTHONPATH": str(ROOT), "PYTHONHASHSEED": "7"},
    ) as other:
        assert other.stdout is not None
        there = told(other.stdout.readline().strip())
        other.communicate("\n", timeout=60)
    assert told(base_url) == there


def test_closing_does_not_wait_for_a_client_that_keeps_its_connection() -> None:
    with upstream(pace=0) as url:
        connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=60)
        connection.request("GET", "/v1/threads/thread_any/runs/run_nobody")
        assert connection.getresponse().read()
    connection.close()
