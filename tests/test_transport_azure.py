"""Recording and replay under azure-core, with the real azure-ai-agents client over real sockets, synchronous or not."""

from __future__ import annotations

import asyncio
import gc
import gzip
import io
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp.client_proto import ResponseHandler
from azure.ai.agents import models
from azure.core import AsyncPipelineClient, PipelineClient
from azure.core.exceptions import AzureError
from azure.core.pipeline.transport import HttpTransport, RequestsTransport
from azure.core.rest import HttpRequest
from urllib3.connection import HTTPConnection

import recorder
from recorder.demo import stream
from recorder.demo.upstream import ASSISTANTS, upstream
from recorder.errors import ReplayMiss, UsageError
from recorder.handle import Handle
from recorder.recording import Captured, Head, Transport
from recorder.transport import chains
from tests.azure_calls import KEY, KINDS, Calls, Outcome, See, client, drive, each, opened, settled
from tests.instrumented import chunks, ending, head_of, recordings
from tests.loopback import (
    LAST_CHUNK,
    Act,
    Answer,
    Loopback,
    Refused,
    chunk,
    head,
    in_step,
    pieces,
    stream_head,
    stream_script,
)
from tests.needs import ROOT
from tests.payloads import ASSISTANTS_DONE, frame, run

pytest_plugins = ("tests.instrumented",)

every_kind = pytest.mark.parametrize("kind", KINDS)

FRAMES = [
    frame(run("queued"), "thread.run.created"),
    frame(run("in_progress"), "thread.run.in_progress"),
    frame(run("completed"), "thread.run.completed"),
    ASSISTANTS_DONE,
]
BODY = b"".join(FRAMES)
CHUNKS = [chunk(piece) for piece in FRAMES]


@pytest.fixture
def _collected() -> Iterator[None]:
    """What a test dropped is gone when it ends: found by a later test, it would be that one's warning."""
    yield
    gc.collect()


def drops_streams(test: Any) -> Any:
    """Marks a test whose client leaves connections to the garbage collector."""
    ignored = pytest.mark.filterwarnings("ignore:Unclosed:ResourceWarning")
    return ignored(pytest.mark.usefixtures("_collected")(test))


def replayed(handle: Handle, kind: str, url: str, calls: Calls, **options: Any) -> Outcome:
    """The same calls, answered from the store."""
    with handle.replay(include_partial=True) as replay:
        return drive(kind, url, calls, replay.instrument, **options)


def streaming(assistant: str = "asst_x", **options: Any) -> Calls:
    """Create a run and see each event of its stream; a stream that a tool call continues is one."""

    async def calls(made: Any, see: See) -> None:
        async with opened(made.runs.stream("thread_x", agent_id=assistant, **options)) as events:
            async for event in each(events):
                see(event[0], event[1])

    return calls


stream_run = streaming()


# -- the protocol ------------------------------------------------------------------------------------------------------


def order_status(order_id: str = "") -> str:
    """Look up an order.

    :param order_id: Its id.
    """
    return json.dumps({"order_id": order_id, "state": "shipped"})


def failing(order_id: str = "") -> str:
    """Look up an order, in vain.

    :param order_id: Its id.
    """
    raise RuntimeError("out of order")


failing.__name__ = "order_status"


async def with_tools(made: Any, see: See) -> None:
    """A tool is called, and its output submitted, inside the iteration over the events."""
    made.enable_auto_function_calls({order_status})
    await streaming(ASSISTANTS["order-desk"])(made, see)


async def with_failing_tools(made: Any, see: See) -> None:
    """The client gives up on its tool: it cancels the run and makes up an event that says so."""
    made.enable_auto_function_calls({failing}, max_retry=0)
    handler: Any = models.AsyncAgentEventHandler() if hasattr(made, "__aenter__") else models.AgentEventHandler()
    handler.set_max_retry(0)
    await streaming(ASSISTANTS["order-desk"], event_handler=handler)(made, see)


async def plain_calls(made: Any, see: See) -> None:
    """Everything that is not a stream: create, poll, cancel, and an error."""
    see("agent", await settled(made.create_agent(model="gpt-4o", name="release-notes", instructions="Brief.")))
    thread = await settled(made.threads.create(metadata={"scene": "release-notes"}))
    see("thread", thread)
    see("message", await settled(made.messages.create(thread.id, role="user", content="What is new? \u00fc \u2603")))
    begun = await settled(made.runs.create(thread.id, agent_id=ASSISTANTS["release-notes"]))
    see("run", begun)
    see("poll", await settled(made.runs.get(thread.id, begun.id)))
    see("cancel", await settled(made.runs.cancel(thread.id, begun.id)))
    await settled(made.runs.get(thread.id, "run_unknown"))


class Told:
    """What an event handler's callbacks were given."""

    def __init__(self) -> None:
        self.runs: list[str] = []
        self.text = ""

    def see(self, see: See) -> None:
        see("statuses", " ".join(self.runs))
        see("text", self.text)


class Handler(models.AgentEventHandler[None]):
    def __init__(self, told: Told) -> None:
        super().__init__()
        self.told = told

    def on_message_delta(self, delta: Any) -> None:
        self.told.text += delta.text

    def on_thread_run(self, run: Any) -> None:
        self.told.runs.append(run.status)


class AsyncHandler(models.AsyncAgentEventHandler[None]):
    def __init__(self, told: Told) -> None:
        super().__init__()
        self.told = told

    async def on_message_delta(self, delta: Any) -> None:
        self.told.text += delta.text

    async def on_thread_run(self, run: Any) -> None:
        self.told.runs.append(run.status)


async def with_handler(made: Any, see: See) -> None:
    """The events go to an event handler, and the stream is run to its end by `until_done`."""
    told = Told()
    handler = AsyncHandler(told) if hasattr(made, "__aenter__") else Handler(told)
    async with opened(
        made.runs.stream("thread_x", agent_id=ASSISTANTS["release-notes"], event_handler=handler)
    ) as events:
        await settled(events.until_done())
    told.see(see)


SCENES: dict[str, tuple[Calls, list[str | None]]] = {
    "completed": (streaming(ASSISTANTS["release-notes"]), ["assistants-completed"]),
    "handler": (with_handler, ["assistants-completed"]),
    "incomplete": (streaming(ASSISTANTS["audit-summary"], max_completion_tokens=256), ["assistants-incomplete"]),
    "tools": (with_tools, ["assistants-requires-action", "assistants-tool-outputs"]),
    "failing-tools": (with_failing_tools, ["assistants-requires-action", None]),
    "plain": (plain_calls, [None] * 7),
}


@every_kind
@pytest.mark.parametrize("scene", SCENES)
def test_a_client_sees_the_same_with_recording_and_on_replay_without_the_upstream(
    handle: Handle, kind: str, scene: str
) -> None:
    """What is yielded, returned and raised; and each stream is in the store as it was sent, one chunk an event."""
    calls, streams = SCENES[scene]
    with upstream(pace=0.0) as url:
        bare = drive(kind, url, calls)
        assert drive(kind, url, calls, handle.instrument) == bare
    assert bool(bare.raised) == (scene == "plain")
    made = recordings(handle)
    assert [ending(recording).ending for recording in made] == ["eof"] * len(streams)
    for recording, name in zip(made, streams, strict=True):
        if name is not None:
            assert handle.body(recording.recording_id) == stream(name)
    assert replayed(handle, kind, url, calls) == bare


@every_kind
def test_tool_outputs_that_are_submitted_inside_the_iteration_are_a_recording_of_the_same_run(
    handle: Handle, kind: str
) -> None:
    with upstream(pace=0.0) as url:
        drive(kind, url, with_tools, handle.instrument)
    first, second = recordings(handle)
    assert second.request.url.partition("?")[0].endswith("/submit_tool_outputs")
    assert json.loads(second.request.body or b"")["tool_outputs"][0]["output"]
    (run_of_both,) = handle.runs()
    assert (run_of_both.run_id, run_of_both.status) == (first.recording_id, "completed")


@every_kind
def test_an_event_that_the_client_makes_up_is_not_recorded(handle: Handle, kind: str) -> None:
    with upstream(pace=0.0) as url:
        seen = drive(kind, url, with_failing_tools, handle.instrument)
    assert "thread.run.cancelled" in seen.names
    bodies = [handle.body(recording.recording_id) for recording in recordings(handle)]
    assert not any(b"thread.run.cancelled" in body for body in bodies)


# -- what is stored ----------------------------------------------------------------------------------------------------


@every_kind
def test_the_request_is_stored_as_it_arrived_and_its_key_nowhere(handle: Handle, kind: str, tmp_path: Path) -> None:
    with Loopback([stream_script(BODY)]) as server:
        drive(kind, server.url, streaming(instructions="\u00fc \u2603"), handle.instrument)
        (arrived,) = server.requests
    (recording,) = recordings(handle)
    asked = recording.request
    assert (asked.method, asked.url) == ("POST", server.url + arrived.target.decode())
    assert (asked.body, asked.body_size) == (arrived.body, len(arrived.body))
    stored = {name.lower(): value for name, value in asked.headers}
    sent = [name.decode().lower() for name, _ in arrived.headers]
    assert [name for name in sent if name in stored] == [name for name in stored if name in sent]
    assert dict(arrived.headers)[b"api-key"].decode() == KEY
    assert stored["api-key"] == "[redacted]"
    handle.close()
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and KEY.encode() in path.read_bytes()]


@every_kind
def test_the_head_is_stored_with_its_headers_in_order_and_as_spelled(handle: Handle, kind: str) -> None:
    lines = ["X-One: 1", "Content-Type: text/event-stream", "x-two: \xe9", "X-One: 2", f"Content-Length: {len(BODY)}"]
    with Loopback([[head("200 Fine", *lines, version="HTTP/1.0") + BODY, Act.FIN]], repeat_last=True) as server:
        bare = drive(kind, server.url, stream_run)
        assert drive(kind, server.url, stream_run, handle.instrument) == bare
    (recording,) = recordings(handle)
    wanted = tuple((name, value) for name, value in (line.split(": ") for line in lines))
    assert head_of(handle, recording) == Head(200, "Fine", "HTTP/1.0", wanted)
    assert replayed(handle, kind, server.url, stream_run) == bare


@every_kind
def test_chunks_reach_the_client_at_once_and_are_stored_and_replayed_as_they_came(handle: Handle, kind: str) -> None:
    """The upstream goes on only when the event before was seen, so a byte held back would stop the test."""
    script, more = in_step(FRAMES)

    async def calls(made: Any, see: See) -> None:
        async with opened(made.runs.stream("thread_x", agent_id="asst_x")) as events:
            async for event in each(events):
                see(event[0], event[1])
                more()

    with Loopback([script]) as server:
        seen = drive(kind, server.url, calls, handle.instrument)
    (recording,) = recordings(handle)
    assert chunks(handle, recording) == FRAMES
    got: list[bytes] = []

    async def raw(made: Any, see: See) -> None:
        asked = HttpRequest(
            "POST",
            server.url + "/threads/thread_x/runs?api-version=v1",
            headers={"Content-Type": "application/json"},
            content=recording.request.body,
        )
        response = await settled(made.send_request(asked, stream=True))
        got.extend([piece async for piece in each(response.iter_raw())])

    replayed(handle, kind, server.url, raw)
    assert got == FRAMES
    assert replayed(handle, kind, server.url, stream_run).seen == seen.seen


def test_chunks_above_the_block_size_of_requests_are_stored_in_the_blocks_that_it_reads(handle: Handle) -> None:
    large = frame(run("completed", instructions="x" * 10_000), "thread.run.completed")
    with Loopback([stream_script(large + ASSISTANTS_DONE, cuts=[len(large)])]) as server:
        drive("requests", server.url, stream_run, handle.instrument)
    (recording,) = recordings(handle)
    assert chunks(handle, recording) == [*pieces(large, [4096, 8192]), ASSISTANTS_DONE]


@every_kind
@pytest.mark.parametrize("framing", ["chunked", "length"])
def test_a_content_encoded_stream_is_kept_as_it_was_on_the_wire(handle: Handle, kind: str, framing: str) -> None:
    packed = gzip.compress(BODY, mtime=0)
    if framing == "chunked":
        script = stream_script(packed, cuts=(10, 11, 60), headers=["Content-Encoding: gzip"])
    else:
        script = [head("200 OK", "Content-Encoding: gzip", f"Content-Length: {len(packed)}") + packed]
    with Loopback([script], repeat_last=True) as server:
        bare = drive(kind, server.url, stream_run)
        assert drive(kind, server.url, stream_run, handle.instrument) == bare
    assert len(bare.seen) == len(FRAMES)
    (recording,) = recordings(handle)
    assert handle.body(recording.recording_id) == packed
    assert replayed(handle, kind, server.url, stream_run) == bare


@every_kind
@pytest.mark.parametrize("recut", ["event", "joined", "size:7", "seed:3"])
def test_a_replay_that_is_cut_otherwise_gives_the_same_events(handle: Handle, kind: str, recut: str) -> None:
    with Loopback([stream_script(BODY, cuts=(5, 100, 700))]) as server:
        bare = drive(kind, server.url, stream_run, handle.instrument)
    recordings(handle)
    with handle.replay(chunks=recut, pace="x50") as replay:
        assert drive(kind, server.url, stream_run, replay.instrument) == bare


@every_kind
def test_uploads_are_stored_as_they_arrived(handle: Handle, kind: str) -> None:
    """A form with a file, a file as a body, and generated pieces."""
    answer = head("200 OK", "Content-Type: application/json", "Content-Length: 13") + b'{"id":"file"}'

    async def calls(made: Any, see: See) -> None:
        form = {"file": ("notes.txt", io.BytesIO(b"line\r\n" * 9000), "text/plain")}
        url = server.url + "/files"
        is_async = kind != "requests"

        def parts() -> Iterator[bytes]:
            yield b"one,"
            yield b"two"

        async def async_parts() -> Any:
            for part in parts():
                yield part

        for asked in (
            HttpRequest("POST", url, files=form),
            HttpRequest("POST", url, content=io.BytesIO(b"a file")),
            HttpRequest("POST", url, content=async_parts() if is_async else parts()),
        ):
            response = await settled(made.send_request(asked))
            see("file", response.text())

    with Loopback([[answer]], repeat_last=True) as server:
        bare = drive(kind, server.url, calls, handle.instrument)
        arrived = [asked.body for asked in server.requests]
    assert bare.names == ["file"] * 3, bare.raised
    made = recordings(handle)
    assert [recording.request.body for recording in made] == arrived
    assert arrived[1:] == [b"a file", b"one,two"]
    assert replayed(handle, kind, server.url, calls) == bare


@every_kind
def test_attempts_of_the_retry_policy_are_recordings_of_one_call(handle: Handle, kind: str) -> None:
    busy = head("429 Too Many Requests", "Retry-After: 0", "Content-Length: 2") + b"{}"
    scripts: list[Answer] = [[busy], stream_script(BODY)]
    with Loopback(scripts * 2) as server:
        bare = drive(kind, server.url, stream_run, retry_total=1)
        assert drive(kind, server.url, stream_run, handle.instrument, retry_total=1) == bare
    assert not bare.raised
    refused, answered = recordings(handle)
    assert (ending(refused).http_status, ending(answered).http_status) == (429, 200)
    assert refused.call is not None
    assert refused.call == answered.call
    assert replayed(handle, kind, server.url, stream_run, retry_total=1) == bare


@every_kind
def test_what_is_said_by_a_context_is_stored(handle: Handle, kind: str) -> None:
    async def calls(made: Any, see: See) -> None:
        with recorder.context(tags={"app": "desk"}, session="s-1"):
            await stream_run(made, see)

    with Loopback([stream_script(BODY)]) as server:
        drive(kind, server.url, calls, handle.instrument)
    (recording,) = recordings(handle)
    assert (recording.tags["app"], recording.session) == ("desk", "s-1")


# -- failures ----------------------------------------------------------------------------------------------------------

HEAD = stream_head()
PARTIAL = b"event: thread.run.in_progress\ndata: {"
LENGTH = head("200 OK", "Content-Type: text/event-stream", "Content-Length: 99999")
ERROR = b'{"error":{"code":"x","message":"no"}}'

#: What the upstream does, how the recording ends, and what arrives of the body.
FAULTS: dict[str, tuple[list[Any], str, bytes]] = {
    "reset": ([HEAD, CHUNKS[0], Act.RESET], "reset", FRAMES[0]),
    "reset-before-the-head": ([Act.RESET], "reset", b""),
    "fin": ([HEAD, CHUNKS[0], Act.FIN], "protocol_error", FRAMES[0]),
    "fin-before-the-head": ([Act.FIN], "protocol_error", b""),
    "fin-before-the-length": ([LENGTH, FRAMES[0], Act.FIN], "protocol_error", FRAMES[0]),
    "no-http": ([b"hello\r\n\r\n", Act.FIN], "protocol_error", b""),
    "silence": ([HEAD, CHUNKS[0], Act.HOLD], "timeout", FRAMES[0]),
    "silence-before-the-head": ([Act.HOLD], "timeout", b""),
    "end-without-a-last-word": ([HEAD, CHUNKS[0], LAST_CHUNK], "eof", FRAMES[0]),
    "end-of-the-connection": (
        [head("200 OK", "Content-Type: text/event-stream"), FRAMES[0], FRAMES[1], Act.FIN],
        "eof",
        FRAMES[0] + FRAMES[1],
    ),
    "unterminated-tail": ([HEAD, CHUNKS[0], chunk(FRAMES[1][:-2]), LAST_CHUNK], "eof", FRAMES[0] + FRAMES[1][:-2]),
    "error-status": (
        [head("400 Bad Request", "Content-Type: application/json", f"Content-Length: {len(ERROR)}") + ERROR],
        "eof",
        ERROR,
    ),
    "error-status-cut-short": (
        [head("400 Bad Request", "Content-Type: application/json", "Content-Length: 99") + ERROR, Act.FIN],
        "protocol_error",
        ERROR,
    ),
    "empty": ([HEAD, LAST_CHUNK], "eof", b""),
    "html": ([head("200 OK", "Content-Type: text/html", "Content-Length: 6") + b"<html>"], "eof", b"<html>"),
}


SHORT = 0.2


def impatience(fault: str, kind: str) -> dict[str, Any]:
    """A client that waits only as long as it must. (AsyncioRequestsTransport takes no other timeout than this one.)

    Where something comes before the silence, it is `Impatience` that waits: on a busy machine it may come late.
    """
    if fault != "silence-before-the-head":
        return {}
    return {"connection_timeout": SHORT} if kind == "asyncio-requests" else {"read_timeout": SHORT}


class Impatience:
    """Lets the clients of a block wait as long as they like for a first event, and for what follows but shortly."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._sockets: list[Any] = []
        self._protocols: list[Any] = []
        answered, connected = HTTPConnection.getresponse, ResponseHandler.connection_made

        def getresponse(connection: Any) -> Any:
            self._sockets.append(connection.sock)
            return answered(connection)

        def connection_made(protocol: Any, transport: Any) -> None:
            self._protocols.append(protocol)
            connected(protocol, transport)

        monkeypatch.setattr(HTTPConnection, "getresponse", getresponse)
        monkeypatch.setattr(ResponseHandler, "connection_made", connection_made)

    async def stream_run(self, made: Any, see: See) -> None:
        """As the other one, with its read timeout as it is once an event was seen."""

        def seen(name: str, value: Any) -> None:
            see(name, value)
            for sock in self._sockets:
                sock.settimeout(SHORT)
            for protocol in self._protocols:
                protocol.read_timeout = SHORT
                protocol.start_timeout()
            self._sockets, self._protocols = [], []

        await stream_run(made, seen)


@drops_streams  # azure drops a stream over aiohttp that timed out
@every_kind
@pytest.mark.parametrize("fault", FAULTS)
def test_a_stream_that_fails_ends_the_same_way_with_recording_and_on_replay(
    handle: Handle, kind: str, fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same events before it, the same exception with the same causes, at the same byte."""
    script, how, body = FAULTS[fault]
    options = impatience(fault, kind)
    calls = Impatience(monkeypatch).stream_run if fault == "silence" else stream_run
    with Loopback([script], repeat_last=True) as server:
        bare = drive(kind, server.url, calls, **options)
        assert drive(kind, server.url, calls, handle.instrument, **options) == bare
    (recording,) = recordings(handle)
    assert (ending(recording).ending, ending(recording).captured) == (how, "full")
    assert handle.body(recording.recording_id) == body
    told = [entry["type"] for entry in ending(recording).detail.get("exception", ())]
    assert bool(told) == (how != "eof")
    # An error's body is read by other means than a stream: there the library's own exception is on top.
    assert not told or told in ([raised.kind for raised in bare.raised], [raised.kind for raised in bare.raised[1:]])
    assert replayed(handle, kind, server.url, stream_run, **options) == bare


@pytest.mark.parametrize("kind", ["requests", "asyncio-requests"])
@pytest.mark.parametrize(
    ("fault", "how"),
    [
        ([HEAD, CHUNKS[0], b"zz\r\n", Act.FIN], "protocol_error"),
        ([HEAD, CHUNKS[0], chunk(PARTIAL)[:-9], Act.FIN], "protocol_error"),
        ([LENGTH, FRAMES[0], Act.RESET], "reset"),
    ],
    ids=["bad-chunk-size", "inside-a-chunk", "before-the-length"],
)
def test_what_requests_has_not_handed_over_is_not_stored(handle: Handle, kind: str, fault: list[Any], how: str) -> None:
    """Bytes of a chunk, or of a block, that never got whole reach no client of requests, nor the record."""
    with Loopback([fault], repeat_last=True) as server:
        bare = drive(kind, server.url, stream_run)
        assert drive(kind, server.url, stream_run, handle.instrument) == bare
    (recording,) = recordings(handle)
    assert ending(recording).ending == how
    assert handle.body(recording.recording_id) == (b"" if fault[0] is LENGTH else FRAMES[0])
    assert replayed(handle, kind, server.url, stream_run) == bare


@every_kind
def test_a_refused_connection_is_refused_again_on_replay(handle: Handle, kind: str) -> None:
    with Refused() as server:
        bare = drive(kind, server.url, stream_run)
        assert drive(kind, server.url, stream_run, handle.instrument) == bare
    assert bare.raised[0].kind == "azure.core.exceptions.ServiceRequestError"
    (recording,) = recordings(handle)
    assert ending(recording).ending == Transport.CONNECT_ERROR
    assert [entry["type"] for entry in ending(recording).detail["exception"]] == [raised.kind for raised in bare.raised]
    assert replayed(handle, kind, server.url, stream_run) == bare


@every_kind
def test_a_url_that_cannot_be_sent_is_recorded_as_what_never_got_a_connection(handle: Handle, kind: str) -> None:
    bare = drive(kind, "ftp://127.0.0.1:1", stream_run)
    assert drive(kind, "ftp://127.0.0.1:1", stream_run, handle.instrument) == bare
    assert bare.raised
    (recording,) = recordings(handle)
    assert (ending(recording).ending, ending(recording).http_status) == (Transport.CONNECT_ERROR, None)


@drops_streams
@pytest.mark.parametrize("kind", ["requests", "aiohttp"])
@pytest.mark.parametrize("fault", ["reset", "reset-before-the-head", "fin", "fin-before-the-head", "silence"])
def test_another_library_replays_a_failure_as_the_nearest_of_its_own(
    handle: Handle, kind: str, fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was recorded over requests is replayed over aiohttp as azure's exception, and the other way round."""
    other = "aiohttp" if kind == "requests" else "requests"
    calls = Impatience(monkeypatch).stream_run if fault == "silence" else stream_run
    with Loopback([FAULTS[fault][0]]) as server:
        recorded = drive(other, server.url, calls, handle.instrument)
    again = replayed(handle, kind, server.url, stream_run)
    assert again.seen == recorded.seen
    assert again.raised[0].kind.startswith("azure.core.exceptions.")


@every_kind
def test_content_that_the_client_cannot_decode_fails_the_same_way(handle: Handle, kind: str) -> None:
    """That is the client's affair: the bytes came, and it left."""
    script = [stream_head("Content-Encoding: gzip"), CHUNKS[0], LAST_CHUNK]
    with Loopback([script], repeat_last=True) as server:
        bare = drive(kind, server.url, stream_run)
        assert drive(kind, server.url, stream_run, handle.instrument) == bare
    assert bare.raised
    (recording,) = recordings(handle)
    assert ending(recording).ending in {Transport.CLIENT_CLOSED, Transport.EOF}
    assert handle.body(recording.recording_id) == FRAMES[0]
    assert replayed(handle, kind, server.url, stream_run) == bare


# -- clients that leave ------------------------------------------------------------------------------------------------


async def leave_by_break(made: Any, see: See) -> None:
    async with opened(made.runs.stream("thread_x", agent_id="asst_x")) as events:
        async for event in each(events):
            see(event[0], event[1])
            break


async def leave_by_exception(made: Any, see: See) -> None:
    async with opened(made.runs.stream("thread_x", agent_id="asst_x")) as events:
        async for event in each(events):
            see(event[0], event[1])
            raise KeyError("enough")


async def leave_by_close(made: Any, see: See) -> None:
    asked = HttpRequest("POST", "/threads/thread_x/runs")
    response = await settled(made.send_request(asked, stream=True))
    async for piece in each(response.iter_bytes()):
        see("piece", piece)
        await settled(response.close())
        break


async def leave_unread(made: Any, see: See) -> None:
    response = await settled(made.send_request(HttpRequest("POST", "/threads/thread_x/runs"), stream=True))
    see("status", str(response.status_code))
    await settled(response.close())


async def leave_by_cancellation(made: Any, see: See) -> None:
    waiting = asyncio.Event()

    async def consume() -> None:
        async for event in await (await made.runs.stream("thread_x", agent_id="asst_x")).__aenter__():
            see(event[0], event[1])
            waiting.set()

    task = asyncio.create_task(consume())
    await waiting.wait()
    await asyncio.sleep(0)
    task.cancel()
    try:
        await task
    except asyncio.CancelledError:
        see("cancelled", "")


LEAVING = [leave_by_break, leave_by_exception, leave_by_close, leave_unread]


@drops_streams  # azure's streams over aiohttp are only ever dropped
@pytest.mark.parametrize(
    ("kind", "leave"),
    [*((kind, leave) for kind in KINDS for leave in LEAVING), ("aiohttp", leave_by_cancellation)],
)
def test_a_client_that_leaves_is_recorded_as_such_and_missed_by_the_upstream(
    handle: Handle, kind: str, leave: Calls
) -> None:
    with Loopback([[HEAD, CHUNKS[0], Act.HOLD]], repeat_last=True) as server:
        bare = drive(kind, server.url, leave)
        assert drive(kind, server.url, leave, handle.instrument) == bare
        assert server.wait_gone()
    (recording,) = recordings(handle)
    assert ending(recording).ending == Transport.CLIENT_CLOSED
    assert handle.body(recording.recording_id) == (b"" if leave is leave_unread else FRAMES[0])
    assert replayed(handle, kind, server.url, leave) == bare


# -- instrumenting -----------------------------------------------------------------------------------------------------


@every_kind
def test_uninstrumenting_gives_back_the_very_transport(handle: Handle, kind: str, tmp_path: Path) -> None:
    """However often it was instrumented, in whichever order recording and replay came."""
    made = client(kind, "http://127.0.0.1:1")
    pipeline = made._client._pipeline
    own, runner = pipeline._transport, pipeline._impl_policies[-1].next
    assert handle.instrument(handle.instrument(made)) is made
    assert pipeline._transport is runner._sender is not own
    assert pipeline._transport.inner is own
    assert handle.uninstrument(made) is made
    assert pipeline._transport is runner._sender is own
    with handle.replay() as replay, recorder.open(tmp_path / "other.db") as other:
        replay.instrument(made)
        handle.instrument(made)
        other.instrument(made)
        handle.uninstrument(made)
        assert pipeline._transport.inner.sink is other._source
        replay.uninstrument(made)
        assert pipeline._transport.inner is own
        other.uninstrument(made)
        other.uninstrument(made)
    assert pipeline._transport is runner._sender is own


@every_kind
def test_an_instrumented_client_can_be_uninstrumented_and_closed_while_it_is_used(handle: Handle, kind: str) -> None:
    """Its session is its own all the time: opened once, used by both, closed with the client."""

    async def calls(made: Any, see: See) -> None:
        await stream_run(made, see)
        session = made._client._pipeline._transport.session
        handle.instrument(made)
        await stream_run(made, see)
        with handle.replay() as replay:
            replay.instrument(made)
            await stream_run(made, see)
            replay.uninstrument(made)
        handle.uninstrument(made)
        await stream_run(made, see)
        assert made._client._pipeline._transport.session is session

    with Loopback([stream_script(BODY)], repeat_last=True) as server:
        seen = drive(kind, server.url, calls)
        assert (len(server.requests), len(server.connections)) == (3, 1)
    assert len(seen.seen) == 4 * len(FRAMES), seen.raised
    assert len(recordings(handle)) == 1


@every_kind
def test_a_sub_client_stands_for_its_client(handle: Handle, kind: str) -> None:
    made = client(kind, "http://127.0.0.1:1")
    handle.instrument(made.runs)
    pipeline = made._client._pipeline
    assert pipeline._transport.sink is handle._source
    handle.uninstrument(made.threads)
    assert not hasattr(pipeline._transport, "sink")


@every_kind
def test_a_projects_client_is_instrumented_with_its_agents(handle: Handle, kind: str) -> None:
    """`AIProjectClient` has a pipeline of its own, and an `agents` with another one."""

    class Project:
        def __init__(self) -> None:
            base: Any = PipelineClient if kind == "requests" else AsyncPipelineClient
            self._client: Any = base("http://127.0.0.1:1", policies=[], transport=KINDS[kind]())
            self.agents = client(kind, "http://127.0.0.1:1")

    project = Project()
    handle.instrument(project)
    transports = [made._client._pipeline._transport for made in (project, project.agents)]
    assert [transport.sink for transport in transports] == [handle._source] * 2
    handle.uninstrument(project)
    assert [made._client._pipeline._transport for made in (project, project.agents)] == [
        transport.inner for transport in transports
    ]


def test_another_transport_is_refused_by_name(handle: Handle) -> None:
    class Own(HttpTransport[Any, Any]):
        def send(self, request: Any, **options: Any) -> Any:
            raise AssertionError

        def open(self) -> None: ...

        def close(self) -> None: ...

        def __exit__(self, *error: object) -> None: ...

    made: Any = PipelineClient("http://127.0.0.1:1", policies=[], transport=Own())
    with pytest.raises(
        UsageError, match=r"Own cannot be instrumented: give the client an azure-core RequestsTransport"
    ):
        handle.instrument(made)


def test_a_transport_of_ones_own_keeps_what_it_does(handle: Handle) -> None:
    """A subclass that adds to each request, and a session that is the user's own."""

    class Adding(RequestsTransport):  # type: ignore[misc]
        def send(self, request: Any, **options: Any) -> Any:
            request.headers["x-added"] = "yes"
            return super().send(request, **options)

    import requests

    with requests.Session() as session, Loopback([stream_script(BODY)], repeat_last=True) as server:
        session.params = {"mine": "1"}
        made: Any = PipelineClient(server.url, policies=[], transport=Adding(session=session, session_owner=False))
        handle.instrument(made)
        with made:
            made.send_request(HttpRequest("GET", server.url + "/x"))
        (arrived,) = server.requests
        with handle.replay() as replay:
            replay.instrument(made)
            assert made.send_request(HttpRequest("GET", server.url + "/x")).read() == BODY
        assert len(server.requests) == 1
    (recording,) = recordings(handle)
    assert arrived.target == b"/x?mine=1"
    assert (b"x-added", b"yes") in arrived.headers
    assert recording.request.url == server.url + "/x?mine=1"


@every_kind
def test_a_miss_is_raised_at_once_and_asks_no_network(handle: Handle, kind: str) -> None:
    with Loopback([stream_script(BODY)]) as server:
        drive(kind, server.url, stream_run, handle.instrument)
        recordings(handle)
        missed = replayed(handle, kind, server.url, streaming("asst_other"), retry_total=3)
        assert len(server.requests) == 1
    assert [raised.kind.rpartition(".")[2] in {"Miss", "ReplayMiss"} for raised in missed.raised] == [True]
    assert "assistant_id" in missed.raised[0].message
    assert issubclass(ReplayMiss, Exception)
    assert not issubclass(ReplayMiss, AzureError)


@every_kind
def test_a_client_that_never_was_open_is_replayed_to_without_a_session(handle: Handle, kind: str) -> None:
    with Loopback([stream_script(BODY)]) as server:
        bare = drive(kind, server.url, stream_run, handle.instrument)
    recordings(handle)

    async def calls(made: Any, see: See) -> None:
        await stream_run(made, see)
        assert made._client._pipeline._transport.inner.session is None

    assert replayed(handle, kind, server.url, calls) == bare


@every_kind
def test_a_defect_of_the_recorder_is_not_the_clients(
    handle: Handle, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    class Broken:
        def start(self, *_: Any, **__: Any) -> Any:
            raise ZeroDivisionError

    with Loopback([stream_script(BODY)], repeat_last=True) as server:
        bare = drive(kind, server.url, stream_run)

        def instrument(made: Any) -> None:
            recorder.transport.attach.record(made, Broken(), 1 << 20)

        assert drive(kind, server.url, stream_run, instrument) == bare
    assert "recorder failed on its own" in caplog.text


def test_a_session_that_decodes_below_is_recorded_below_that(handle: Handle) -> None:
    """aiohttp then hands over no byte of what came; the record has the bytes all the same."""
    import aiohttp
    from azure.core.pipeline.transport import AioHttpTransport

    async def call() -> bytes:
        async with aiohttp.ClientSession() as session:
            made: Any = AsyncPipelineClient(
                server.url, policies=[], transport=AioHttpTransport(session=session, session_owner=False)
            )
            handle.instrument(made)
            async with made:
                response = await made.send_request(HttpRequest("GET", server.url))
                return bytes(response.content)

    packed = gzip.compress(BODY, mtime=0)
    with Loopback([stream_script(packed, headers=["Content-Encoding: gzip"])]) as server:
        assert asyncio.run(call()) == BODY
    (recording,) = recordings(handle)
    assert ending(recording).captured == Captured.FULL
    assert handle.body(recording.recording_id) == packed


def test_nothing_of_azure_is_loaded_that_the_application_has_not_loaded() -> None:
    code = (
        "import sys, recorder.handle, recorder.transport.azure as a; a.places(object());"
        "loaded = {name.partition('.')[0] for name in sys.modules};"
        "print(sorted({'azure', 'requests', 'urllib3', 'aiohttp', 'multidict'} & loaded))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.strip() == "[]"


# -- exceptions from words ---------------------------------------------------------------------------------------------


def test_only_exceptions_of_known_modules_are_made_from_a_recording() -> None:
    import requests

    entries = [
        {"type": "os.system", "message": "true"},
        {"type": "subprocess.CalledProcessError", "message": "no"},
        {"type": "requests.exceptions.Nothing", "message": "no"},
        {"type": "builtins.print", "message": "no"},
        {"type": "requests.exceptions.ConnectionError", "message": "words"},
        {"type": "builtins.KeyboardInterrupt", "message": ""},
        {"type": "builtins.ConnectionResetError", "message": "[Errno 104] gone", "errno": 104},
    ]
    first, second = chains.links({"exception": entries})
    assert (type(first), str(first)) == (requests.ConnectionError, "words")
    assert isinstance(second, ConnectionResetError)
    assert (second.errno, str(second)) == (104, "[Errno 104] gone")
    assert first.__cause__ is second


@pytest.mark.parametrize(
    ("type_", "message"),
    [
        ("urllib3.exceptions.ReadTimeoutError", "HTTPConnectionPool(host='h', port=1): Read timed out."),
        ("urllib3.exceptions.InvalidChunkLength", "InvalidChunkLength(got length b'zz', 0 bytes read)"),
        ("urllib3.exceptions.IncompleteRead", "IncompleteRead(8 bytes read, 9 more expected)"),
        ("http.client.IncompleteRead", "IncompleteRead(8 bytes read)"),
        ("http.client.IncompleteRead", "IncompleteRead(99999999999 bytes read)"),
        ("aiohttp.client_exceptions.ClientConnectorError", "Cannot connect to host h:1 ssl:default [no]"),
        ("aiohttp.http_exceptions.TransferEncodingError", "400, message:\n  short"),
        ("builtins.UnicodeDecodeError", "five arguments are wanted"),
    ],
)
def test_an_exception_that_wants_other_arguments_than_words_is_made_with_its_words(type_: str, message: str) -> None:
    (made,) = chains.links({"exception": [{"type": type_, "message": message}]})
    assert (f"{type(made).__module__}.{type(made).__name__}", str(made)) == (type_, message)
