"""Whole conversations with real clients against a base URL: the same calls wherever it leads, and all that came back.

What is answered are the streams of the bundled upstream (`recorder.demo`), while there is one. Nothing here knows
recording or replay; two results are equal when a program could not tell the two runs apart.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
import time
import warnings
from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

import anthropic
import httpx
import httpx2
import openai
from azure.ai.agents import AgentsClient
from azure.core.credentials import AccessToken, AzureKeyCredential
from azure.core.pipeline.policies import AzureKeyCredentialPolicy

from recorder.demo.upstream import ASSISTANTS
from tests.needs import need

__all__ = ["CONVERSATIONS", "KEY", "Talk", "agents_with_a_token", "need_for"]

NODE: Final = Path(__file__).parent / "node"

#: The secret that every client sends.
KEY = "sk-conversation-canary-0123456789abcdef"

#: Seconds that a client waits for an answer: none may give up where the machine is busy.
PATIENCE: Final = 60

#: What was seen, in order: names and canonical texts.
Talk = list[tuple[str, str]]

_QUESTION = "Which orders are late?"
_TOOL = {
    "type": "function",
    "function": {"name": "find_orders", "parameters": {"type": "object", "properties": {"day": {"type": "string"}}}},
}


def _text(value: Any) -> str:
    if hasattr(value, "model_dump"):
        value = value.model_dump(warnings=False)
    elif hasattr(value, "as_dict"):
        value = value.as_dict()
    return json.dumps(value, sort_keys=True, default=repr)


def _openai(base: str) -> openai.OpenAI:
    return openai.OpenAI(api_key=KEY, base_url=f"{base}/v1", max_retries=0, timeout=PATIENCE)


def assistants(base: str) -> Talk:
    """A thread, a message, a run that asks for tools, its outputs, a second run that is polled and cancelled."""
    told: Talk = []

    def note(name: str, value: Any) -> Any:
        told.append((name, _text(value)))
        return value

    with warnings.catch_warnings(), _openai(base) as client:
        warnings.simplefilter("ignore", DeprecationWarning)
        beta = client.beta
        assistant = note("assistant", beta.assistants.create(model="gpt-4o", name="order-desk", tools=[_TOOL]))  # type: ignore[list-item]
        thread = note("thread", beta.threads.create(metadata={"scene": "order-desk"}))
        note("message", beta.threads.messages.create(thread.id, role="user", content=_QUESTION))
        run: Any = None
        for event in beta.threads.runs.create(thread_id=thread.id, assistant_id=assistant.id, stream=True):
            told.append((type(event).__name__, _text(event)))
            if event.event == "thread.run.requires_action":
                run = event.data
        calls = run.required_action.submit_tool_outputs.tool_calls
        outputs: Any = [{"tool_call_id": call.id, "output": "none"} for call in calls]
        for event in beta.threads.runs.submit_tool_outputs(
            run.id, thread_id=thread.id, tool_outputs=outputs, stream=True
        ):
            told.append((type(event).__name__, _text(event)))
        second = note("created", beta.threads.runs.create(thread.id, assistant_id=assistant.id))
        for _ in range(2):
            note("polled", beta.threads.runs.retrieve(second.id, thread_id=thread.id))
        note("cancelled", beta.threads.runs.cancel(second.id, thread_id=thread.id))
        try:
            beta.threads.runs.retrieve("run_of_nobody", thread_id=thread.id)
        except openai.NotFoundError as error:
            told.append(("refused", f"{error} {error.request_id}"))
    return told


def responses(base: str) -> Talk:
    with _openai(base) as client:
        stream = client.responses.create(model="gpt-4o", input=_QUESTION, stream=True)
        told = [(type(event).__name__, _text(event)) for event in stream]
        told.append(("whole", _text(client.responses.create(model="gpt-4o", input=_QUESTION))))
    return told


def chat(base: str) -> Talk:
    async def talk() -> Talk:
        async with openai.AsyncOpenAI(api_key=KEY, base_url=f"{base}/v1", max_retries=0, timeout=PATIENCE) as client:
            messages: Any = [{"role": "user", "content": _QUESTION}]
            stream = await client.chat.completions.create(model="gpt-4o", messages=messages, stream=True)
            told = [(type(event).__name__, _text(event)) async for event in stream]
            told.append(("whole", _text(await client.chat.completions.create(model="gpt-4o", messages=messages))))
        return told

    return asyncio.run(talk())


def messages(base: str) -> Talk:
    with anthropic.Anthropic(api_key=KEY, base_url=base, max_retries=0, timeout=PATIENCE) as client:
        asked: Any = {"model": "claude-conversation", "max_tokens": 64}
        asked["messages"] = [{"role": "user", "content": _QUESTION}]
        told = [(type(event).__name__, _text(event)) for event in client.messages.create(**asked, stream=True)]
        told.append(("whole", _text(client.messages.create(**asked))))
    return told


def agents(base: str) -> Talk:
    """azure-ai-agents over plain HTTP with a key."""
    nobody: Any = object()  # the policy stands for the credential
    return _agents(base, nobody, authentication_policy=AzureKeyCredentialPolicy(AzureKeyCredential(KEY), "api-key"))


def agents_with_a_token(base: str, certificate: Path) -> Talk:
    """azure-ai-agents with a bearer token, as most use it: it sends one over TLS alone."""
    return _agents(base, _Token(), connection_verify=str(certificate))


class _Token:
    """The credential of somebody who is signed in."""

    def get_token(self, *scopes: str, **options: Any) -> AccessToken:
        return AccessToken(KEY, int(time.time()) + 3600)


def _agents(base: str, credential: Any, **options: Any) -> Talk:
    """A run as a stream, and one that is polled."""
    told: Talk = []
    with AgentsClient(base, credential, retry_total=0, **options) as client:
        thread = client.threads.create(metadata={"scene": "release-notes"})
        told.append(("thread", _text(thread)))
        told.append(("message", _text(client.messages.create(thread.id, role="user", content=_QUESTION))))
        with client.runs.stream(thread.id, agent_id=ASSISTANTS["release-notes"]) as stream:
            told += [(str(event[0]), _text(event[1])) for event in stream]
        run = client.runs.create(thread.id, agent_id=ASSISTANTS["release-notes"])
        told.append(("created", _text(run)))
        told.append(("polled", _text(client.runs.get(thread.id, run.id))))
    return told


def plain(module: Any) -> Callable[[str], Talk]:
    """A bare HTTP client: heads and chunks as they come."""

    def talk(base: str) -> Talk:
        told: Talk = []
        with module.Client(timeout=PATIENCE) as client:
            for path in ("/v1/responses", "/v1/chat/completions"):
                for body in ({"stream": True, "n": path}, {"n": path}):
                    with client.stream("POST", base + path, json=body) as response:
                        told.append((str(response.status_code), repr(response.headers.raw)))
                        told += [("chunk", repr(piece)) for piece in response.iter_raw()]
        return told

    return talk


def curl(base: str) -> Talk:
    """curl, as a script would call it: a stream, and a body above 1 MiB, before which it waits for a 100."""
    told: Talk = []
    for text in ("short", "long " * 300_000):
        body = json.dumps({"stream": True, "input": text})
        arguments = ["curl", "-sSN", "-D", "-", "--max-time", str(PATIENCE), "-H", "Content-Type: application/json"]
        done = subprocess.run(
            [*arguments, "-H", f"Authorization: Bearer {KEY}", "--data-binary", "@-", f"{base}/v1/responses"],
            input=body.encode(),
            capture_output=True,
            check=True,
        )
        told.append(("curl", done.stdout.decode().replace("HTTP/1.1 100 Continue\r\n\r\n", "")))
    return told


def node(base: str) -> Talk:
    """OpenAI's SDK for JavaScript on Node."""
    done = subprocess.run(
        ["node", str(NODE / "talk.mjs"), base, ASSISTANTS["order-desk"], KEY],
        capture_output=True,
        check=False,
        timeout=PATIENCE,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return [("node", line) for line in done.stdout.splitlines()]


def openai_agents(base: str) -> Talk:
    """An agent of openai-agents over the Responses API, as a stream and whole. Its own tracing is off."""
    library: Any = import_module("agents")
    library.set_tracing_disabled(True)

    async def talk() -> Talk:
        async with openai.AsyncOpenAI(api_key=KEY, base_url=f"{base}/v1", max_retries=0, timeout=PATIENCE) as client:
            model = library.OpenAIResponsesModel(model="gpt-4o", openai_client=client)
            agent = library.Agent(name="desk", instructions="Be brief.", model=model)
            streamed = library.Runner.run_streamed(agent, _QUESTION)
            told = [(event.type, _text(getattr(event, "data", None))) async for event in streamed.stream_events()]
            told.append(("streamed", _text(streamed.final_output)))
            told.append(("whole", _text((await library.Runner.run(agent, _QUESTION)).final_output)))
        return told

    return asyncio.run(talk())


def need_for(name: str) -> None:
    """Skips the test where this conversation cannot be had."""
    if name == "curl":
        need("curl", shutil.which("curl") is not None, "no curl here")
    if name == "openai-node":
        there = shutil.which("node") is not None and (NODE / "node_modules" / "openai").is_dir()
        need("node", there, "no Node here, or no openai for it: npm install --prefix tests/node")
    if name == "openai-agents":
        need("agents", find_spec("agents") is not None, "openai-agents is not installed")


CONVERSATIONS: dict[str, Callable[[str], Talk]] = {
    "openai-assistants": assistants,
    "openai-responses": responses,
    "openai-chat-async": chat,
    "openai-agents": openai_agents,
    "openai-node": node,
    "anthropic-messages": messages,
    "azure-ai-agents": agents,
    "httpx": plain(httpx),
    "httpx2": plain(httpx2),
    "curl": curl,
}
