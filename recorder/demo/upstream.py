"""A provider in miniature on loopback: answers the endpoints of four protocols from the bundled streams.

The same requests get the same bytes in every process: no clock, no randomness, no state between requests. What a
request asks for chooses the stream: an Assistants run by its assistant, the other protocols by their path. Runs for the
customers of the incident (`INCIDENT`) are answered in one of two regions, of which one cuts most of them off. It exists
for `recorder demo` and for tests, knows nothing of recording, and checks no keys.
"""

from __future__ import annotations

import json
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final, NamedTuple

from recorder import sse
from recorder.demo import stream

__all__ = ["ASSISTANTS", "INCIDENT", "Upstream", "upstream"]

#: Seconds between two events of a stream.
PACE: Final = 0.002

#: What an assistant is for -> the stream that a run of it begins with.
_SCENES: Final = {
    "release-notes": "assistants-completed",
    "order-desk": "assistants-requires-action",
    "audit-summary": "assistants-incomplete",
    "invoice-intake": "assistants-whitespace",
}

#: The numbers of the customers of the incident.
INCIDENT: Final = range(4701, 4741)
#: Where those are answered whose numbers are even, and those whose are odd.
_REGIONS: Final = ("East US", "West Europe")
#: Of the latter those that are divisible by this get their whole answer; the others its first events, then nothing for
#: so many seconds, then an end that looks like any other.
_SPARED: Final = 5
_CUT_AFTER: Final = 30
_SILENT: Final = 1.2

#: Where tool outputs make a run go on.
_SEQUELS: Final = {"assistants-requires-action": "assistants-tool-outputs"}


class Scene(NamedTuple):
    """One stream, as events and as the provider's own ids in it."""

    name: str
    frames: tuple[bytes, ...]
    events: tuple[tuple[str, Any], ...]

    def last(self, kind: str) -> dict[str, Any]:
        """The last object of that kind that the stream shows."""
        found: dict[str, Any] = next(value for _, value in reversed(self.events) if value.get("object") == kind)
        return found


def _scene(name: str) -> Scene:
    tokenizer = sse.Tokenizer()
    frames = [frame for frame in tokenizer.feed(stream(name)) if isinstance(frame, sse.Frame)]
    told = [(frame.type or "message", frame.data) for frame in frames if frame.data and frame.data != b"[DONE]"]
    wires = tuple(sse.wire(frame.type, frame.data, frame.raw) for frame in frames)
    return Scene(name, wires, tuple((name, json.loads(data)) for name, data in told))


class _Script:
    """The scenes and how to find one: read once, shared by all requests, never changed."""

    def __init__(self) -> None:
        self.scenes = {name: _scene(name) for name in [*_SCENES.values(), *_SEQUELS.values()]}
        self.others = {name: _scene(name) for name in ("responses-completed", "chat-completed", "messages-completed")}
        self.by_assistant = {
            str(self.scenes[name].last("thread.run")["assistant_id"]): (role, self.scenes[name])
            for role, name in _SCENES.items()
        }
        self.by_run = {
            str(scene.last("thread.run")["id"]): self.scenes[name]
            for name, scene in self.scenes.items()
            if name not in _SEQUELS.values()
        }


_SCRIPT: Final = _Script()

#: What each assistant is for -> its id.
ASSISTANTS: Final = {role: assistant_id for assistant_id, (role, _) in _SCRIPT.by_assistant.items()}


class Answer(NamedTuple):
    """What a request gets: a stream's frames, or a JSON value."""

    status: int
    request_id: str
    frames: tuple[bytes, ...] = ()
    value: Any = None
    region: str | None = None
    silent: float = 0


def _unknown(what: str) -> Answer:
    message = f"the demo's upstream has no {what}"
    error = {"message": message, "type": "invalid_request_error", "param": None, "code": "not_found"}
    return Answer(404, "req_demo_not_found", value={"error": error})


def _play(scene: Scene, body: dict[str, Any], whole: Callable[[Scene], Any]) -> Answer:
    """The scene as a stream where one is asked for, else its outcome."""
    request_id = f"req_demo_{scene.name.replace('-', '_')}"
    if body.get("stream") is True:
        return Answer(200, request_id, frames=scene.frames)
    return Answer(200, request_id, value=whole(scene))


def _run(scene: Scene) -> Any:
    return scene.last("thread.run")


def _begun(scene: Scene) -> Any:
    """The run as a request without a stream sees it at first: queued, to be polled."""
    return next(value for _, value in scene.events if value.get("object") == "thread.run")


# -- the endpoints ----------------------------------------------------------------------------------------------------


def _create_assistant(body: dict[str, Any]) -> Answer:
    """An assistant of one of the known roles: its name says which."""
    role = body.get("name")
    if role not in ASSISTANTS:
        return _unknown(f"assistant of the name {role!r}; it has {', '.join(ASSISTANTS)}")
    assistant = {
        "id": ASSISTANTS[role],
        "object": "assistant",
        "created_at": 1763463000,
        "name": role,
        "description": None,
        "model": body.get("model"),
        "instructions": body.get("instructions"),
        "tools": body.get("tools") or [],
        "tool_resources": {},
        "metadata": body.get("metadata") or {},
        "temperature": 1.0,
        "top_p": 1.0,
        "response_format": body.get("response_format") or "auto",
    }
    return Answer(200, "req_demo_assistant", value=assistant)


def _create_thread(body: dict[str, Any]) -> Answer:
    metadata = body.get("metadata") or {}
    scene = _SCRIPT.scenes[_SCENES.get(metadata.get("scene", ""), _SCENES["release-notes"])]
    thread = {
        "id": _run(scene)["thread_id"],
        "object": "thread",
        "created_at": 1763463500,
        "metadata": metadata,
        "tool_resources": {},
    }
    return Answer(200, "req_demo_thread", value=thread)


def _create_message(body: dict[str, Any], thread_id: str) -> Answer:
    text = {"type": "text", "text": {"value": body.get("content"), "annotations": []}}
    message = {
        "id": "msg_demo_question",
        "object": "thread.message",
        "created_at": 1763463550,
        "assistant_id": None,
        "thread_id": thread_id,
        "run_id": None,
        "role": body.get("role", "user"),
        "content": [text],
        "attachments": [],
        "metadata": {},
    }
    return Answer(200, "req_demo_message", value=message)


def _create_run(body: dict[str, Any], *_: str) -> Answer:
    known = _SCRIPT.by_assistant.get(str(body.get("assistant_id")))
    if known is None:
        return _unknown("such assistant")
    customer = _customer(body)
    return _play(known[1], body, _begun) if customer is None else _incident(known[1], customer)


def _customer(body: dict[str, Any]) -> int | None:
    """The customer whom the run is for, where it is one of the incident's."""
    metadata = body.get("metadata")
    named = str(metadata.get("customer")) if isinstance(metadata, dict) else ""
    number = int(named) if named.isascii() and named.isdigit() and len(named) < 9 else 0
    return number if number in INCIDENT else None


def _incident(scene: Scene, customer: int) -> Answer:
    """The scene with ids and metadata of the customer's own, whole or cut off by where it is answered."""
    own = [scene.last(kind)["id"] for kind in ("thread.run", "thread.run.step", "thread.message")]
    frames = b"\0".join(scene.frames)
    for old in (*own, _run(scene)["thread_id"]):
        frames = frames.replace(old.encode(), b"%s_demo%d" % (old.partition("_")[0].encode(), customer))
    theirs = json.dumps({"customer": str(customer)}, separators=(",", ":")).encode()
    frames = frames.replace(json.dumps(_run(scene)["metadata"], separators=(",", ":")).encode(), theirs)
    cut = bool(customer % 2 and customer % _SPARED)
    sent = tuple(frames.split(b"\0"))
    return Answer(
        200,
        f"req_demo_{customer}",
        frames=sent[:_CUT_AFTER] if cut else sent,
        region=_REGIONS[customer % 2],
        silent=_SILENT if cut else 0,
    )


def _submit(body: dict[str, Any], _: str, run_id: str) -> Answer:
    scene = _SCRIPT.by_run.get(run_id)
    if scene is None or scene.name not in _SEQUELS:
        return _unknown("run that waits for tool outputs under this id")
    return _play(_SCRIPT.scenes[_SEQUELS[scene.name]], body, _begun)


def _retrieve(_: dict[str, Any], __: str, run_id: str) -> Answer:
    scene = _SCRIPT.by_run.get(run_id)
    return _unknown("such run") if scene is None else Answer(200, "req_demo_poll", value=_run(scene))


def _cancel(_: dict[str, Any], __: str, run_id: str) -> Answer:
    scene = _SCRIPT.by_run.get(run_id)
    if scene is None:
        return _unknown("such run")
    run = {**_run(scene), "status": "cancelling", "incomplete_details": None, "usage": None}
    return Answer(200, "req_demo_cancel", value=run)


def _responses(body: dict[str, Any]) -> Answer:
    return _play(_SCRIPT.others["responses-completed"], body, lambda scene: next(reversed(scene.events))[1]["response"])


def _chat(body: dict[str, Any]) -> Answer:
    return _play(_SCRIPT.others["chat-completed"], body, _whole_completion)


def _messages(body: dict[str, Any]) -> Answer:
    return _play(_SCRIPT.others["messages-completed"], body, _whole_message)


def _whole_completion(scene: Scene) -> Any:
    """The Chat Completion that the chunks amount to."""
    chunks = [value for _, value in scene.events]
    choices = [choice for chunk in chunks for choice in chunk["choices"]]
    text = "".join(choice["delta"].get("content") or "" for choice in choices)
    choice = {
        "index": 0,
        "message": {"role": "assistant", "content": text, "refusal": None, "annotations": []},
        "logprobs": None,
        "finish_reason": choices[-1]["finish_reason"],
    }
    return {**chunks[-1], "object": "chat.completion", "choices": [choice]}


def _whole_message(scene: Scene) -> Any:
    """The Message that the events amount to."""
    told = {value["type"]: value for _, value in scene.events}
    pieces = [value["delta"]["text"] for _, value in scene.events if value["type"] == "content_block_delta"]
    start, delta = told["message_start"]["message"], told["message_delta"]
    return {
        **start,
        **delta["delta"],
        "content": [{"type": "text", "text": "".join(pieces)}],
        "usage": {**start["usage"], **delta["usage"]},
    }


#: Method, end of the path (any prefix may stand before it), and who answers.
_ROUTES: Final[tuple[tuple[str, re.Pattern[str], Callable[..., Answer]], ...]] = tuple(
    (method, re.compile(rf"(?:^|/){path}/?$"), answer)
    for method, path, answer in (
        ("POST", "assistants", _create_assistant),
        ("POST", "threads/runs", _create_run),
        ("POST", "threads", _create_thread),
        ("POST", "threads/([^/]+)/messages", _create_message),
        ("POST", "threads/([^/]+)/runs", _create_run),
        ("GET", "threads/([^/]+)/runs/([^/]+)", _retrieve),
        ("POST", "threads/([^/]+)/runs/([^/]+)/submit_tool_outputs", _submit),
        ("POST", "threads/([^/]+)/runs/([^/]+)/cancel", _cancel),
        ("POST", "responses", _responses),
        ("POST", "chat/completions", _chat),
        ("POST", "messages", _messages),
    )
)


def answer_to(method: str, target: str, body: bytes) -> Answer:
    """What this request gets. A body that is no JSON object counts as an empty one."""
    try:
        value = json.loads(body) if body else {}
    except ValueError:
        value = {}
    path = target.partition("?")[0]
    for wanted, pattern, handler in _ROUTES:
        found = pattern.search(path)
        if wanted == method and found is not None:
            return handler(value if isinstance(value, dict) else {}, *found.groups())
    return _unknown(f"{method} {path}")


# -- the server -------------------------------------------------------------------------------------------------------


class _Handler(BaseHTTPRequestHandler):
    """HTTP/1.1 with keep-alive. Sends no date and no server name, so that answers are the same bytes every time."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: Upstream

    def handle_one_request(self) -> None:
        try:
            super().handle_one_request()
        except OSError:  # the client left: it had what it wanted
            self.close_connection = True

    def do_GET(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 (the name is http.server's)
        """Says nothing: whoever records sees it all."""

    def _answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        answer = answer_to(self.command, self.path, body)
        self.send_response_only(answer.status)
        self.send_header("x-request-id", answer.request_id)
        if answer.region is not None:
            self.send_header("x-ms-region", answer.region)
        if answer.frames:
            self._stream(answer.frames, answer.silent)
        else:
            data = json.dumps(answer.value, ensure_ascii=False, separators=(",", ":")).encode()
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

    def _stream(self, frames: tuple[bytes, ...], silent: float) -> None:
        """One chunk an event, at an even pace counted from the first; the end follows after so many seconds."""
        self.send_header("content-type", "text/event-stream; charset=utf-8")
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        due = time.monotonic()
        for frame in frames:
            self.wfile.write(b"%x\r\n%b\r\n" % (len(frame), frame))
            due += self.server.pace
            time.sleep(max(0.0, due - time.monotonic()))
        time.sleep(silent)
        self.wfile.write(b"0\r\n\r\n")


class Upstream(ThreadingHTTPServer):
    """The server; `base_url` is `http://127.0.0.1:PORT`, to which openai's clients want `/v1` added."""

    daemon_threads = False  # so that closing waits for them
    request_queue_size = 64

    def __init__(self, pace: float = PACE) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.pace = pace
        self._open: set[socket.socket] = set()
        self._guard = threading.Lock()

    @property
    def base_url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.server_address[1]}"

    def process_request(self, request: Any, client_address: Any) -> None:
        """Notes the connection, so that closing can end it."""
        with self._guard:
            self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        """The connection is over."""
        with self._guard:
            self._open.discard(request)
        super().shutdown_request(request)

    def server_close(self) -> None:
        """Ends the connections that clients keep alive, then waits for their threads."""
        with self._guard:
            for connection in self._open:
                try:
                    connection.shutdown(socket.SHUT_RDWR)
                except OSError:
                    continue  # the client was faster
        super().server_close()


@contextmanager
def upstream(pace: float = PACE) -> Iterator[str]:
    """Runs the server while the block runs; gives its `base_url`. `pace` is in seconds between two events."""
    server = Upstream(pace)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), name="recorder-demo-upstream")
    thread.start()
    try:
        yield server.base_url
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
