"""A provider whose words a test chooses, and a folder of tests that a pytest of its own runs with the plugin.

It asserts nothing that pytest would rewrite, and may be imported as well as loaded: PYTEST_DONT_REWRITE.
"""

from __future__ import annotations

import importlib
import json
import os
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final

import pytest

from tests.needs import ROOT

__all__ = ["ALONE", "ASK", "PLUGIN", "Project", "Provider", "chat", "project", "provider", "serving"]

# Loaded before any test runs a pytest within this process, which forgets what was loaded since: a library that is then
# loaded once more has other classes than those that others have kept of it.
for _name in (
    "aiohttp",
    "anthropic",
    "anyio._backends._asyncio",
    "httpx",
    "httpx2",
    "openai",
    "requests",
    "unittest.mock",
):
    importlib.import_module(_name)
for _name in ("httpx", "httpx2"):
    with sys.modules[_name].Client():  # loads what it stands on
        pass
for _name in (
    "handle",
    "proxy",
    "pytest_plugin.items",
    "replay_server",
    "store",
    "tape",
    "tape.changes",
    "tape.damage",
):
    importlib.import_module(f"recorder.{_name}")
importlib.import_module("recorder.tape.serving").loop_factory()

#: What makes pytest load the plugin, and no other: whether or not the package is installed, and quickly.
PLUGIN: Final = ("-p", "recorder.pytest_plugin")
ALONE: Final = "PYTEST_DISABLE_PLUGIN_AUTOLOAD"

#: How the tests of a project ask: openai's client as an application makes it, at whatever base URL the environment has.
ASK: Final = """
import openai
import pytest


def ask(prompt="Hi", **options):
    client = openai.OpenAI(max_retries=0)
    messages = [{"role": "user", "content": prompt}]
    stream = client.chat.completions.create(model="gpt-4.1-mini", messages=messages, stream=True, **options)
    return "".join(chunk.choices[0].delta.content or "" for chunk in stream if chunk.choices)
"""


def chat(text: str) -> list[bytes]:
    """The events of a Chat Completions stream that says this, a word an event."""

    def event(delta: dict[str, str], finish: str | None = None, **more: Any) -> bytes:
        choices = [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}]
        value = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1764000000, "model": "gpt-4.1-mini"}
        return b"data: " + json.dumps({**value, "choices": choices, **more}).encode() + b"\n\n"

    words = [event({"content": word}) for word in text.split(" ")]
    return [event({"role": "assistant", "content": ""}), *words, event({}, "stop"), b"data: [DONE]\n\n"]


class Provider(ThreadingHTTPServer):
    """A server on loopback. `say` is what it answers: the texts one after the other, the last one for ever.

    `asked` are the requests' bodies. `answer`, if set, gives the pieces of the body instead: an Exception among them
    resets the connection, a number pauses for as many seconds.
    """

    daemon_threads = True
    request_queue_size = 64

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.say = ["Hello there"]
        self.answer: Any = None
        self.asked: list[dict[str, Any]] = []
        self.lock = threading.Lock()

    @property
    def origin(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients may leave."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Provider

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
        with self.server.lock:
            self.server.asked.append(asked)
            number = len(self.server.asked) - 1
        pieces = self.server.answer
        if pieces is None:
            pieces = chat(self.server.say[min(number, len(self.server.say) - 1)])
        elif callable(pieces):
            pieces = pieces(asked)
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        for piece in pieces:
            if isinstance(piece, Exception):
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
                self.close_connection = True
                for end in (self.rfile, self.wfile, self.connection):
                    end.close()  # the last one resets
                return
            if isinstance(piece, float):
                time.sleep(piece)
                continue
            self.wfile.write(b"%x\r\n%b\r\n" % (len(piece), piece))
        self.wfile.write(b"0\r\n\r\n")

    def log_message(self, *told: object) -> None:
        """Says nothing."""


@contextmanager
def serving() -> Iterator[Provider]:
    server = Provider()
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def provider(monkeypatch: pytest.MonkeyPatch) -> Iterator[Provider]:
    """A provider to which openai's and anthropic's clients are led by the environment."""
    with serving() as server:
        monkeypatch.setenv("OPENAI_BASE_URL", f"{server.origin}/v1")
        monkeypatch.setenv("ANTHROPIC_BASE_URL", server.origin)
        monkeypatch.setenv("OPENAI_API_KEY", "sk-test-of-a-secret-that-must-not-be-kept")
        monkeypatch.setenv("ANTHROPIC_API_KEY", "none")
        yield server


class Project:
    """A folder of tests. `run` gives pytest's result; `said` is what the last run printed, `code` its exit code."""

    def __init__(self, pytester: pytest.Pytester) -> None:
        self._pytester = pytester
        self.path = pytester.path
        self.said = ""
        self.code = 0

    def write(self, text: str, name: str = "test_app.py") -> None:
        """A file of the project; tests begin with `ASK`."""
        path = self.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text((ASK if path.name.startswith("test_") else "") + text, encoding="utf-8")

    def run(self, *arguments: str, apart: bool = False, plugin: tuple[str, ...] = PLUGIN) -> dict[str, int]:
        """The outcomes of a run, in this process or `apart` from it."""
        run = self._pytester.runpytest_subprocess if apart else self._pytester.runpytest_inprocess
        result = run(*plugin, "-p", "no:cacheprovider", "-W", "default", *arguments)
        self.said = result.stdout.str() + result.stderr.str()
        self.code = int(result.ret)
        try:
            outcomes = result.parseoutcomes()
        except ValueError:  # it did not come so far
            return {}
        return {name: count for name, count in outcomes.items() if name not in ("warnings", "warning")}

    def tape(self, name: str = "test_app/test_it.jsonl") -> Path:
        """A recording of the project."""
        return self.path / "recordings" / name

    def tapes(self) -> list[str]:
        """All recordings of the project."""
        folder = self.path / "recordings"
        return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


@pytest.fixture
def project(pytester: pytest.Pytester, provider: Provider, monkeypatch: pytest.MonkeyPatch) -> Project:
    """An empty project that talks to the provider."""
    monkeypatch.setenv(ALONE, "1")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH", "")])))
    return Project(pytester)
