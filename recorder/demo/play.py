"""The demonstration: records a real client against the bundled upstream, replays it with no upstream, and compares.

The client is openai's where that is installed (and anthropic's for Messages), else plain httpx. What is compared is
everything that the client made of the streams, and every stored byte against what the upstream sent.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from recorder.demo import stream
from recorder.demo.upstream import ASSISTANTS, upstream
from recorder.errors import RecorderError

if TYPE_CHECKING:
    from uuid import UUID

__all__ = ["Scene", "Shown", "demonstrate"]

#: For the addresses of the replayed run: nothing listens there, and nothing is asked.
_NOWHERE: Final = "http://replay.invalid"

_OUTCOME: Final = ("status", "stop_reason", "output_tokens", "max_completion_tokens")


@dataclass(frozen=True, slots=True)
class Scene:
    """One call of the demonstration: what it shows, the stream it gets, and the request (below the base URL)."""

    title: str
    stream: str
    path: str
    body: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Shown:
    """A scene after it was played: its recording, and whether replay and store agree with what was seen."""

    scene: Scene
    recording_id: UUID
    events: int
    bytes: int
    replay_same: bool
    bytes_same: bool
    #: status, stop_reason, output_tokens, max_completion_tokens: of this recording alone
    outcome: dict[str, Any]


def _run(role: str, **parameters: Any) -> tuple[str, dict[str, Any]]:
    return "/v1/threads/thread_demo/runs", {"assistant_id": ASSISTANTS[role], **parameters}


def _scenes() -> Iterator[Scene]:
    yield Scene("an Assistants run", "assistants-completed", *_run("release-notes"))
    yield Scene("one that asks for tools", "assistants-requires-action", *_run("order-desk"))
    run = _last_run("assistants-requires-action")
    path = f"/v1/threads/{run['thread_id']}/runs/{run['id']}/submit_tool_outputs"
    calls = run["required_action"]["submit_tool_outputs"]["tool_calls"]
    outputs = [{"tool_call_id": call["id"], "output": '{"status":"shipped"}'} for call in calls]
    yield Scene("… and goes on with them", "assistants-tool-outputs", path, {"tool_outputs": outputs})
    cap = _last_run("assistants-incomplete")["max_completion_tokens"]
    yield Scene("one cut off by its cap", "assistants-incomplete", *_run("audit-summary", max_completion_tokens=cap))
    capped = _last_run("assistants-whitespace")
    parameters = {"max_completion_tokens": capped["max_completion_tokens"], "response_format": {"type": "json_object"}}
    yield Scene("JSON mode running away", "assistants-whitespace", *_run("invoice-intake", **parameters))
    yield Scene("Responses", "responses-completed", "/v1/responses", {"model": "gpt-5-mini", "input": "Hello"})
    asked = [{"role": "user", "content": "Hello"}]
    options = {"include_usage": True}
    chat = {"model": "gpt-4.1-mini", "messages": asked, "stream_options": options}
    yield Scene("Chat Completions", "chat-completed", "/v1/chat/completions", chat)
    messages = {"model": "claude-haiku-4-5", "max_tokens": 512, "messages": asked}
    yield Scene("Anthropic Messages", "messages-completed", "/v1/messages", messages)


def _last_run(name: str) -> dict[str, Any]:
    found = {}
    for line in stream(name).split(b"\n"):
        if line.startswith(b"data: {"):
            value = json.loads(line[6:])
            if value.get("object") == "thread.run":
                found = value
    return found


class _Plain:
    """A client of httpx alone."""

    name = "httpx"

    def __init__(self, base_url: str, wrap: Callable[[Any], Any]) -> None:
        import httpx

        self._client = wrap(httpx.Client(base_url=base_url))

    def play(self, scene: Scene) -> tuple[int, str]:
        """What the client saw: how many lines, and a digest of them."""
        seen = hashlib.sha256()
        lines = 0
        with self._client.stream("POST", scene.path, json={**scene.body, "stream": True}) as response:
            for line in response.iter_lines():
                seen.update(line.encode() + b"\n")
                lines += line.startswith("data:")
        return lines, seen.hexdigest()

    def close(self) -> None:
        """Give the connections back."""
        self._client.close()


class _Sdk:
    """openai's client, and anthropic's where it is installed."""

    name = "openai"

    def __init__(self, base_url: str, wrap: Callable[[Any], Any]) -> None:
        import openai

        self._openai = wrap(openai.OpenAI(base_url=f"{base_url}/v1", api_key="none", max_retries=0))
        self._anthropic: Any = None
        self._plain = _Plain(base_url, wrap)
        if importlib.util.find_spec("anthropic"):
            import anthropic

            self._anthropic = wrap(anthropic.Anthropic(base_url=base_url, api_key="none", max_retries=0))

    def play(self, scene: Scene) -> tuple[int, str]:
        """What the client yielded: how many events, and a digest of them."""
        if scene.path == "/v1/messages" and self._anthropic is None:
            return self._plain.play(scene)
        seen = hashlib.sha256()
        events = 0
        for event in self._open(scene):
            seen.update(repr(event).encode())
            events += 1
        return events, seen.hexdigest()

    def _open(self, scene: Scene) -> Any:
        body = {**scene.body, "stream": True}
        if scene.path == "/v1/messages":
            return self._anthropic.messages.create(**body)
        if scene.path == "/v1/responses":
            return self._openai.responses.create(**body)
        if scene.path == "/v1/chat/completions":
            return self._openai.chat.completions.create(**body)
        # The Assistants methods warn that the hosted API is gone; the protocol itself is what is shown here.
        from openai import Stream
        from openai.types.beta import AssistantStreamEvent

        options = {"headers": {"OpenAI-Beta": "assistants=v2"}}
        return self._openai.post(
            scene.path.removeprefix("/v1"),
            body=body,
            options=options,
            cast_to=object,
            stream=True,
            stream_cls=Stream[AssistantStreamEvent],
        )

    def close(self) -> None:
        """Give the connections back."""
        self._plain.close()
        self._openai.close()
        if self._anthropic is not None:
            self._anthropic.close()


def demonstrate(store: Path | str, say: Callable[[str], None]) -> list[Shown]:
    """Record, replay and compare every scene in a store at this path; `say` is told what is going on."""
    from recorder.handle import open as open_recorder

    scenes = list(_scenes())
    kind = _Sdk if importlib.util.find_spec("openai") else _Plain
    with ExitStack() as stack:
        handle = stack.enter_context(open_recorder(store, strict=True, tags={"app": "demo"}))
        with upstream() as base_url:
            say(f"recording {len(scenes)} streams from a bundled upstream, with {kind.name} as the client")
            recording = kind(base_url, handle.instrument)
            seen = [recording.play(scene) for scene in scenes]
            recording.close()
        if not handle.flush(10):
            raise RecorderError("the store did not take the demo's recordings in 10 seconds; is the disk very slow?")
        say("the upstream is gone; replaying the same calls from the store")
        replaying = kind(_NOWHERE, handle.replay().instrument)
        again = [replaying.play(scene) for scene in scenes]
        replaying.close()
        stored = list(reversed(handle.recordings(limit=len(scenes))))
        bodies = [handle.body(listed.recording.recording_id) for listed in stored]
    return [
        Shown(
            scene=scene,
            recording_id=listed.recording.recording_id,
            events=first[0],
            bytes=len(body),
            replay_same=first == second,
            bytes_same=body == stream(scene.stream),
            outcome={name: getattr(listed.run, name) for name in _OUTCOME},
        )
        for scene, listed, first, second, body in zip(scenes, stored, seen, again, bodies, strict=True)
    ]
