"""Recording and replay inside httpx and httpx2, over real sockets: nothing changes for the client, all is stored."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import gzip
import socket
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import httpx
import httpx2
import pytest

import recorder
from recorder.errors import ReplayMiss
from recorder.handle import Handle
from recorder.recording import Recording, Transport
from recorder.transport import bind
from recorder.transport.exchange import Upload, describe
from recorder.transport.faults import rebuild
from tests.clients import EVERY, READS, Kind, Seen, fetch
from tests.instrumented import ending, head_of, recordings
from tests.loopback import (
    PATIENCE,
    Act,
    H2Act,
    Headers,
    Loopback,
    LoopbackH2,
    Refused,
    Step,
    chunk,
    head,
    stream_head,
    stream_script,
)
from tests.payloads import CHAT

pytest_plugins = ("tests.instrumented",)

every_kind = pytest.mark.parametrize("kind", EVERY, ids=str)

STREAM = b"".join(CHAT)
CUTS = (3, 40, 41, 200, 333)
BODY = {"model": "gpt-4o", "stream": True, "messages": []}


def kinds(handle: Handle, recording: Recording) -> list[str]:
    return [event.kind for event in handle.events(recording.recording_id)]


def replayed(handle: Handle, kind: Kind, url: str, read: str = "iter_raw", **options: Any) -> Seen:
    """The same call, answered from the store."""
    with handle.replay(include_partial=True) as replay:
        return fetch(kind, replay.instrument(kind.client()), url, read, **options)


# -- nothing changes for the client ------------------------------------------------------------------------------------


@every_kind
@pytest.mark.parametrize("read", READS)
def test_a_client_sees_the_same_with_recording_and_on_replay(handle: Handle, kind: Kind, read: str) -> None:
    """Status, reason, headers in order, and each piece of the body, whichever way it is read."""
    body = b'{"answer": [1, 2, 3], "text": "h\xc3\xa9llo"}' if read == "json" else STREAM
    script = stream_script(
        body, cuts=CUTS if read != "json" else (5, 20), headers=["X-One: 1", "x-one: 2", b"X-L: \xe9"]
    )
    with Loopback([script], repeat_last=True) as server:
        bare = fetch(kind, kind.client(), server.url, read, json=BODY)
        recorded = fetch(kind, handle.instrument(kind.client()), server.url, read, json=BODY)
    assert bare.status == 200
    assert recorded == bare
    (recording,) = recordings(handle)
    assert handle.body(recording.recording_id) == body
    assert ending(recording).ending == Transport.EOF
    assert replayed(handle, kind, server.url, read, json=BODY) == bare


@every_kind
def test_a_content_encoded_stream_is_kept_as_it_was_on_the_wire(handle: Handle, kind: Kind) -> None:
    packed = gzip.compress(STREAM)
    script = stream_script(packed, cuts=(10, 11, 60), headers=["Content-Encoding: gzip"])
    with Loopback([script], repeat_last=True) as server:
        bare = fetch(kind, kind.client(), server.url, "iter_bytes")
        assert fetch(kind, handle.instrument(kind.client()), server.url, "iter_bytes") == bare
    assert b"".join(bare.pieces) == STREAM
    (recording,) = recordings(handle)
    assert handle.body(recording.recording_id) == packed
    assert replayed(handle, kind, server.url, "iter_bytes") == bare


@every_kind
def test_a_json_exchange_is_recorded_like_a_stream(handle: Handle, kind: Kind) -> None:
    answer = [head("200 OK", "Content-Type: application/json", "Content-Length: 11") + b'{"id": "x"}']
    with Loopback([answer], repeat_last=True) as server:
        bare = fetch(kind, kind.client(), server.url, "read", json=BODY)
        assert fetch(kind, handle.instrument(kind.client()), server.url, "read", json=BODY) == bare
    (recording,) = recordings(handle)
    assert kinds(handle, recording) == ["head", "body", "end"]
    assert handle.body(recording.recording_id) == b'{"id": "x"}'
    assert replayed(handle, kind, server.url, "read", json=BODY) == bare


@every_kind
def test_http_2_is_recorded_with_its_version_and_without_a_reason(handle: Handle, kind: Kind) -> None:
    script: list[Step] = [Headers(((":status", "200"), ("content-type", "text/event-stream"))), STREAM, H2Act.END]
    with LoopbackH2([script], repeat_last=True) as server:
        bare = fetch(kind, kind.client(http1=False, http2=True), server.url)
        assert fetch(kind, handle.instrument(kind.client(http1=False, http2=True)), server.url) == bare
    (recording,) = recordings(handle)
    stored = head_of(handle, recording)
    assert (stored.http_version, stored.reason) == ("HTTP/2", "")
    assert replayed(handle, kind, server.url) == bare


# -- the client leaves early -------------------------------------------------------------------------------------------

HOLD: list[Step] = [stream_head(), chunk(CHAT[0]), Act.HOLD]


def _leave(client: Any, url: str, how: str) -> None:
    response = client.send(client.build_request("POST", url), stream=True)
    pieces = response.iter_raw()
    next(pieces)
    if how == "close":
        response.close()
    elif how == "generator":
        pieces.close()
    else:
        del pieces, response
        gc.collect()


async def _leave_async(client: Any, url: str, how: str) -> None:
    response = await client.send(client.build_request("POST", url), stream=True)
    pieces = response.aiter_raw()
    await anext(pieces)
    if how == "close":
        await response.aclose()
    elif how == "generator":
        await pieces.aclose()
    elif how == "cancel":
        task = asyncio.create_task(anext(pieces))
        await asyncio.sleep(0.05)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
    else:
        del pieces, response
        gc.collect()
        await asyncio.sleep(0.05)


@pytest.mark.parametrize(
    ("kind", "how"),
    [
        pytest.param(kind, how, id=f"{how}-{kind}")
        for how in ("close", "generator", "drop", "cancel")
        for kind in EVERY
        if how != "cancel" or kind.mode == "async"
    ],
)
def test_a_client_that_leaves_is_recorded_as_such_and_reaches_the_upstream(
    handle: Handle, kind: Kind, how: str
) -> None:
    """Whether it closes the response, drops the generator, or is cancelled while it waits; before the client closes."""
    noticed = []
    with Loopback([HOLD]) as server:
        client = handle.instrument(kind.client())
        if kind.mode == "sync":
            with client:
                _leave(client, server.url, how)
                noticed.append(server.wait_gone())
        else:

            async def run() -> None:
                async with client:
                    await _leave_async(client, server.url, how)
                    noticed.append(await asyncio.to_thread(server.wait_gone))

            asyncio.run(run())
    assert noticed == [True]
    (recording,) = recordings(handle)
    assert (ending(recording).ending, ending(recording).captured) == ("client_closed", "full")
    assert handle.body(recording.recording_id) == CHAT[0]


@every_kind
def test_the_body_of_an_error_that_the_client_does_not_read_is_not_read(handle: Handle, kind: Kind) -> None:
    """The upstream holds the body back for good: reading on would hang."""
    script: list[Step] = [head("429 Too Many Requests", "Retry-After: 1", "Content-Length: 99"), Act.HOLD]
    with Loopback([script]) as server:
        client = handle.instrument(kind.client())
        if kind.mode == "sync":
            with client, client.stream("POST", server.url) as response:
                assert response.status_code == 429
        else:

            async def run() -> None:
                async with client, client.stream("POST", server.url) as response:
                    assert response.status_code == 429

            asyncio.run(run())
        assert server.wait_gone()
    (recording,) = recordings(handle)
    assert (ending(recording).ending, ending(recording).http_status, ending(recording).wire_bytes) == (
        "client_closed",
        429,
        0,
    )


@every_kind
def test_an_exception_that_makes_the_client_leave_is_named(handle: Handle, kind: Kind) -> None:
    """That says why it left, as far as Python shows it: an exception in the block round the response."""
    with Loopback([HOLD]) as server:
        client = handle.instrument(kind.client())
        if kind.mode == "sync":
            with pytest.raises(LookupError), client, client.stream("GET", server.url) as response:
                pieces = response.iter_raw()
                next(pieces)
                raise LookupError("the caller's own")
        else:

            async def run() -> None:
                async with client, client.stream("GET", server.url) as response:
                    pieces = response.aiter_raw()
                    await anext(pieces)
                    raise LookupError("the caller's own")

            with pytest.raises(LookupError):
                asyncio.run(run())
    (recording,) = recordings(handle)
    assert ending(recording).ending == "client_closed"
    assert ending(recording).detail["left_by"] == "builtins.LookupError"
    assert "caller" not in str(ending(recording).detail)


# -- failures ----------------------------------------------------------------------------------------------------------

FAILURES: dict[str, tuple[list[Step], dict[str, Any], str, str]] = {
    "reset-mid-stream": ([stream_head(), chunk(CHAT[0]), Act.RESET], {}, "reset", "ReadError"),
    "reset-before-head": ([Act.RESET], {}, "reset", "ReadError"),
    "early-end": ([stream_head(), chunk(CHAT[0]), Act.FIN], {}, "protocol_error", "RemoteProtocolError"),
    "no-answer": ([Act.FIN], {}, "protocol_error", "RemoteProtocolError"),
    "no-http": ([b"SSH-2.0-none\r\n\r\n", Act.FIN], {}, "protocol_error", "RemoteProtocolError"),
    "stall": ([stream_head() + chunk(CHAT[0]), Act.HOLD], {}, "timeout", "ReadTimeout"),
    "stall-before-head": ([Act.HOLD], {"timeout": (PATIENCE, 0.2, PATIENCE, PATIENCE)}, "timeout", "ReadTimeout"),
}


def _client(kind: Kind, failure: str) -> Any:
    """A client for this failure. One that is to lose its patience in the body waits for the head as long as it takes:
    what is sent, and seen, before the silence must not depend on how busy the machine is.
    """

    def hurry(response: Any) -> None:
        response.request.extensions["timeout"]["read"] = 0.2

    async def hurry_async(response: Any) -> None:
        hurry(response)

    if failure != "stall":
        return kind.client()
    return kind.client(event_hooks={"response": [hurry if kind.mode == "sync" else hurry_async]})


@every_kind
@pytest.mark.parametrize("failure", FAILURES)
def test_a_failure_is_recorded_and_replayed_as_the_same_exception(handle: Handle, kind: Kind, failure: str) -> None:
    """Class, message and cause, after the same bytes; below the cause there is no socket in a replay."""
    script, options, expected, name = FAILURES[failure]
    with Loopback([script], repeat_last=True) as server:
        bare = fetch(kind, _client(kind, failure), server.url, json=BODY, **options)
        assert fetch(kind, handle.instrument(_client(kind, failure)), server.url, json=BODY, **options) == bare
    sent = b"".join(step for step in script if isinstance(step, bytes))
    assert bare.pieces == ((CHAT[0],) if CHAT[0] in sent else ())
    assert bare.failure[0][0] == f"{kind.module.__name__}.{name}"
    (recording,) = recordings(handle)
    assert ending(recording).ending == expected
    assert [entry["type"] for entry in ending(recording).detail["exception"]][:2] == [
        type_ for type_, _ in bare.failure[:2]
    ]
    again = replayed(handle, kind, server.url, json=BODY)
    assert (again.status, again.pieces, again.failure[:2]) == (bare.status, bare.pieces, bare.failure[:2])


@every_kind
def test_a_refused_connection_is_recorded_without_a_head(handle: Handle, kind: Kind) -> None:
    with Refused() as nobody:
        bare = fetch(kind, kind.client(), nobody.url)
        assert fetch(kind, handle.instrument(kind.client()), nobody.url) == bare
    (recording,) = recordings(handle)
    assert (ending(recording).ending, ending(recording).http_status) == ("connect_error", None)
    assert kinds(handle, recording) == ["end"]
    assert [(entry["type"], entry["message"]) for entry in ending(recording).detail["exception"]] == list(bare.failure)
    assert replayed(handle, kind, nobody.url).failure == bare.failure


@every_kind
def test_an_unknown_scheme_and_an_unknown_host_are_connect_errors(
    handle: Handle, kind: Kind, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The name is unknown at once: how long the machine's own resolver takes to say so is its affair."""

    def unknown(*asked: Any, **options: Any) -> Any:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    urls = ("nothing://example.test/", "http://no-such-host.invalid/")
    seen = [fetch(kind, handle.instrument(kind.client()), url, method="GET") for url in urls]
    assert [one.failure[0][0].rpartition(".")[2] for one in seen] == ["UnsupportedProtocol", "ConnectError"]
    assert [ending(recording).ending for recording in recordings(handle)] == ["connect_error"] * 2


@every_kind
def test_a_credential_that_the_http_library_quotes_is_not_stored(handle: Handle, kind: Kind) -> None:
    """h11 puts an illegal header value into its message, in full."""
    secret = "wJalrXUtnFEMI-opaque"
    with Loopback([stream_script(STREAM)]) as server:
        seen = fetch(kind, handle.instrument(kind.client()), server.url, headers={"api-key": f"{secret}\n"})
    assert secret in seen.failure[0][1], "the library no longer quotes: the test says nothing"
    (recording,) = recordings(handle)
    detail = ending(recording).detail
    assert ending(recording).ending == "protocol_error"
    assert secret not in str(detail)
    assert "[redacted]" in detail["exception"][0]["message"]


def test_an_errno_is_kept() -> None:
    try:
        try:
            raise ConnectionResetError(104, "Connection reset by peer")
        except OSError as error:
            raise httpx2.ReadError(str(error)) from error
    except httpx2.ReadError as error:
        outer, inner = describe(error)["exception"]
    assert outer == {"type": "httpx2.ReadError", "message": "[Errno 104] Connection reset by peer"}
    assert inner == {"type": "builtins.ConnectionResetError", "message": outer["message"], "errno": 104}


def test_messages_are_cleaned_of_credentials_in_urls() -> None:
    error = RuntimeError("could not reach https://me:hunter2@example.test/v1?api_key=abc123&x=1 at all")
    (entry,) = describe(error)["exception"]
    assert "hunter2" not in entry["message"]
    assert "abc123" not in entry["message"]
    assert entry["message"].endswith("&x=1 at all")


def test_a_chain_of_causes_is_kept_short_and_may_have_a_broken_message() -> None:
    class Odd(Exception):
        def __str__(self) -> str:
            raise ValueError("no message")

    error: Exception = Odd()
    for number in range(50):
        outer = ValueError(f"{number} " + "x" * 10_000)
        outer.__cause__ = error
        error = outer
    entries = describe(error)["exception"]
    assert len(entries) == 8
    assert all(len(entry["message"]) <= 2000 for entry in entries)
    assert describe(Odd())["exception"][0]["message"] == ""


# -- rebuilding failures -----------------------------------------------------------------------------------------------


def test_only_exceptions_of_known_libraries_are_made_from_a_recording() -> None:
    """A name in a store chooses among a few loaded exceptions; it imports nothing and makes nothing else."""
    libraries = {"httpx": httpx2, "httpx2": httpx2}
    for name in (
        "os.system",
        "subprocess.Popen",
        "builtins.SystemExit",
        "builtins.open",
        "nowhere.Error",
        "",
        "httpx.",
    ):
        assert rebuild({"exception": [{"type": name, "message": "x"}]}, libraries) is None
    assert rebuild({"exception": [{"type": "builtins.UnicodeDecodeError", "message": "x"}]}, libraries) is None
    assert rebuild({}, libraries) is None


def test_a_chain_is_rebuilt_up_to_the_first_unknown_class() -> None:
    detail = {
        "exception": [
            {"type": "httpx.ReadError", "message": "[Errno 104] gone"},
            {"type": "builtins.ConnectionResetError", "message": "[Errno 104] gone", "errno": 104},
            {"type": "aiohttp.Strange", "message": "?"},
            {"type": "builtins.OSError", "message": "never reached"},
        ]
    }
    error = rebuild(detail, {"httpx": httpx2})
    assert type(error) is httpx2.ReadError
    assert str(error) == "[Errno 104] gone"
    assert isinstance(error.__cause__, ConnectionResetError)
    assert (error.__cause__.errno, str(error.__cause__)) == (104, "[Errno 104] gone")
    assert error.__cause__.__cause__ is None


# -- retries, redirects, calls -----------------------------------------------------------------------------------------


@every_kind
def test_a_redirect_is_a_recording_of_its_own_in_the_same_call(handle: Handle, kind: Kind) -> None:
    first = [head("307 Temporary Redirect", "Location: /elsewhere", "Content-Length: 0")]
    with Loopback([first, stream_script(STREAM)] * 2) as server:
        bare = fetch(kind, kind.client(follow_redirects=True), server.url, json=BODY)
        assert fetch(kind, handle.instrument(kind.client(follow_redirects=True)), server.url, json=BODY) == bare
    one, other = recordings(handle)
    assert [ending(one).http_status, ending(other).http_status] == [307, 200]
    assert other.request.url == f"{server.url}/elsewhere"
    assert one.request.body == other.request.body
    assert one.call == other.call is not None
    with handle.replay() as replay:
        assert fetch(kind, replay.instrument(kind.client(follow_redirects=True)), server.url, json=BODY) == bare


@every_kind
def test_calls_are_told_apart_and_an_sdks_retries_are_one(handle: Handle, kind: Kind) -> None:
    """SDKs number their attempts in a header; anything else is a call of its own."""
    with Loopback([stream_script(STREAM)], repeat_last=True) as server:

        async def run() -> None:
            async with handle.instrument(kind.client()) as client:
                for number in ("0", "1", "2", "0"):
                    await client.post(server.url, headers={"x-stainless-retry-count": number})
                await client.post(server.url)

        def run_sync() -> None:
            with handle.instrument(kind.client()) as client:
                for number in ("0", "1", "2", "0"):
                    client.post(server.url, headers={"x-stainless-retry-count": number})
                client.post(server.url)

        asyncio.run(run()) if kind.mode == "async" else run_sync()
    calls = [recording.call for recording in recordings(handle)]
    assert calls[0] == calls[1] == calls[2]
    assert len({calls[2], calls[3], calls[4]}) == 3


# -- requests ----------------------------------------------------------------------------------------------------------


def _pieces() -> Iterator[bytes]:
    yield b"one, "
    yield b"two, "
    yield b"three"


async def _pieces_async() -> AsyncIterator[bytes]:
    for piece in _pieces():
        yield piece


@every_kind
@pytest.mark.parametrize("what", ["bytes", "generator", "multipart", "nothing"])
def test_the_request_is_kept_as_it_was_sent(handle: Handle, kind: Kind, what: str) -> None:
    """Method, URL, headers in order, and the body, which may be a generator or a form."""
    given: dict[str, dict[str, Any]] = {
        "bytes": {"content": b"\x00\xff raw"},
        "generator": {"content": _pieces() if kind.mode == "sync" else _pieces_async()},
        "multipart": {"files": {"file": ("a.jsonl", b"{}\n" * 1000, "application/jsonl")}, "data": {"purpose": "x"}},
        "nothing": {},
    }
    with Loopback([stream_script(STREAM)]) as server:
        fetch(kind, handle.instrument(kind.client()), f"{server.url}/v1/x?b=2&a=1", **given[what])
        (arrived,) = server.requests
    (recording,) = recordings(handle)
    assert recording.request.body == arrived.body
    assert recording.request.body_size == len(arrived.body)
    assert (recording.request.method, recording.request.url) == ("POST", f"{server.url}/v1/x?b=2&a=1")
    assert [name.encode() for name, _ in recording.request.headers] == [name for name, _ in arrived.headers]


@every_kind
def test_a_streamed_body_above_the_limit_is_forwarded_and_not_kept(tmp_path: Path, kind: Kind) -> None:
    with (
        recorder.open(tmp_path / "small.db", strict=True, body_limit=8) as handle,
        Loopback([stream_script(STREAM)]) as server,
    ):
        fetch(
            kind,
            handle.instrument(kind.client()),
            server.url,
            content=_pieces() if kind.mode == "sync" else _pieces_async(),
        )
        assert server.requests[0].body == b"one, two, three"
        (recording,) = recordings(handle)
        assert (recording.request.body, recording.request.body_size) == (None, 15)
        assert recording.request.body_sha256 == sha256(b"one, two, three").digest()
        assert recording.match_key is None


@every_kind
def test_a_body_that_breaks_off_fails_as_without_recording(handle: Handle, kind: Kind) -> None:
    """The application's own exception passes, and what was sent so far is counted."""

    def broken() -> Iterator[bytes]:
        yield b"one"
        raise KeyError("the application's own")

    async def broken_async() -> AsyncIterator[bytes]:
        for piece in broken():
            yield piece

    content = broken if kind.mode == "sync" else broken_async
    with Loopback([], repeat_last=False) as server:
        bare = fetch(kind, kind.client(), server.url, content=content())
        assert fetch(kind, handle.instrument(kind.client()), server.url, content=content()) == bare
    assert bare.failure == (("builtins.KeyError", '"the application\'s own"'),)
    (recording,) = recordings(handle)
    assert (recording.request.body, recording.request.body_size) == (None, 3)
    assert ending(recording).ending == "error"


def test_an_upload_is_hashed_beyond_its_limit_and_begins_again_when_it_is_read_again() -> None:
    upload = Upload(limit=4)
    for _ in range(2):
        upload.restart()
        for piece in (b"abc", b"", b"def", b"ghi"):
            upload.add(piece)
        assert upload.request("POST", "/", ()).body_sha256 is None
        upload.complete = True
    request = upload.request("POST", "/", ())
    assert (request.body, request.body_size, request.body_sha256) == (None, 9, sha256(b"abcdefghi").digest())


@every_kind
def test_a_body_of_no_bytes_is_refused_as_without_recording(handle: Handle, kind: Kind) -> None:
    def text() -> Iterator[Any]:
        yield "not bytes"

    async def text_async() -> AsyncIterator[Any]:
        yield "not bytes"

    content = text if kind.mode == "sync" else text_async
    with Loopback([]) as server:
        bare = fetch(kind, kind.client(), server.url, content=content())
        assert fetch(kind, handle.instrument(kind.client()), server.url, content=content()) == bare
    assert bare.failure
    assert recordings(handle)[0].request.body is None


# -- what stands below -------------------------------------------------------------------------------------------------


@every_kind
def test_an_answer_that_is_in_memory_already_is_recorded_whole(handle: Handle, kind: Kind) -> None:
    """Mocks and caches answer with content, not with a stream."""
    module = kind.module
    packed = gzip.compress(b"hello")

    def answer(request: Any) -> Any:
        return module.Response(200, headers={"content-encoding": "gzip"}, content=packed)

    seen = fetch(kind, handle.instrument(kind.client(transport=module.MockTransport(answer))), "http://x.test/", "read")
    assert seen.pieces == (b"hello",)
    (recording,) = recordings(handle)
    assert ending(recording).ending == "eof"
    assert handle.body(recording.recording_id) == packed
    assert head_of(handle, recording).reason == "OK"


@every_kind
@pytest.mark.parametrize("encoded", [False, True])
def test_a_body_that_was_read_below_is_recorded_as_far_as_it_is_known(
    handle: Handle, kind: Kind, encoded: bool
) -> None:
    """A transport may read the body before the client gets it; what was decoded then is no wire."""
    module = kind.module
    content = gzip.compress(b"hello") if encoded else b"hello"
    coding = {"content-encoding": "gzip"} if encoded else {}

    class Reading(module.BaseTransport, module.AsyncBaseTransport):  # type: ignore[misc, name-defined]
        def handle_request(self, request: Any) -> Any:
            response = module.Response(200, headers=coding, stream=module.ByteStream(content))
            response.read()
            response.stream = _Empty()
            return response

        async def handle_async_request(self, request: Any) -> Any:
            return self.handle_request(request)

    class _Empty(module.SyncByteStream, module.AsyncByteStream):  # type: ignore[misc, name-defined]
        pass

    with contextlib.closing(handle):
        sink = handle._source
        bound = bind(module)
        wrap = bound.RecordingTransport if kind.mode == "sync" else bound.AsyncRecordingTransport
        transport = wrap(Reading(), sink)
        request = module.Request("GET", "http://x.test/")
        if kind.mode == "sync":
            response = transport.handle_request(request)
        else:
            response = asyncio.run(transport.handle_async_request(request))
        assert response.content == b"hello"
        (recording,) = recordings(handle)
        assert ending(recording).captured == ("truncated" if encoded else "full")
        assert handle.body(recording.recording_id) == (b"" if encoded else b"hello")


@every_kind
def test_an_upgraded_connection_is_recorded_as_its_head_alone(handle: Handle, kind: Kind) -> None:
    upgrade = {"Upgrade": "websocket", "Connection": "Upgrade"}
    script: list[Step] = [head("101 Switching Protocols", "Upgrade: websocket", "Connection: Upgrade"), Act.HOLD]
    with Loopback([script]) as server:
        client = handle.instrument(kind.client())
        if kind.mode == "sync":
            with client, client.stream("GET", server.url, headers=upgrade) as response:
                assert "network_stream" in response.extensions
        else:

            async def run() -> None:
                async with client, client.stream("GET", server.url, headers=upgrade) as response:
                    assert "network_stream" in response.extensions

            asyncio.run(run())
    (recording,) = recordings(handle)
    assert (ending(recording).http_status, ending(recording).captured) == (101, "truncated")
    assert "upgraded" in ending(recording).detail["reason"]


@every_kind
def test_one_recording_transport_around_another_records_once(handle: Handle, kind: Kind) -> None:
    made = handle.transport if kind.mode == "sync" else handle.async_transport
    with Loopback([stream_script(STREAM)]) as server:
        fetch(kind, handle.instrument(kind.client(transport=made(module=kind.module))), server.url)
        with handle.patch(hosts=["127.0.0.1"]):
            pass
    assert len(recordings(handle)) == 1


@every_kind
def test_a_defect_of_the_recorder_is_logged_and_the_call_goes_on(kind: Kind, caplog: pytest.LogCaptureFixture) -> None:
    class Broken:
        def start(self, *given: Any, **named: Any) -> Any:
            raise RuntimeError("a defect")

    bound = bind(kind.module)
    with Loopback([stream_script(STREAM, cuts=CUTS)], repeat_last=True) as server:
        bare = fetch(kind, kind.client(), server.url)
        if kind.mode == "sync":
            transport = bound.RecordingTransport(kind.module.HTTPTransport(), Broken())
        else:
            transport = bound.AsyncRecordingTransport(kind.module.AsyncHTTPTransport(), Broken())
        assert fetch(kind, kind.client(transport=transport), server.url) == bare
    assert "recorder failed on its own" in caplog.text


def test_a_module_is_bound_once_and_keeps_its_own_classes() -> None:
    assert bind(httpx) is bind(httpx)
    assert bind(httpx) is not bind(httpx2)
    assert issubclass(bind(httpx2).RecordingTransport, httpx2.BaseTransport)
    assert issubclass(bind(httpx).AsyncReplayTransport, httpx.AsyncBaseTransport)


@every_kind
def test_a_wrapped_transport_still_shows_its_pool(handle: Handle, kind: Kind) -> None:
    """Monitoring looks at `client._transport._pool`."""
    client = handle.instrument(kind.client())
    assert client._transport._pool is client._transport.inner._pool
    with pytest.raises(AttributeError):
        _ = client._transport.nothing_like_it


# -- whose call --------------------------------------------------------------------------------------------------------


@pytest.fixture
def told(handle: Handle) -> Iterator[Callable[..., Recording]]:
    """Makes a call in the current context and gives its recording."""
    with Loopback([stream_script(STREAM)], repeat_last=True) as server, handle.instrument(httpx2.Client()) as client:

        def call(**options: Any) -> Recording:
            client.post(server.url, **options)
            return recordings(handle)[-1]

        yield call


def test_contexts_merge_their_tags_and_end(told: Callable[..., Recording]) -> None:
    with recorder.context(tags={"app": "search", "step": 1}, session="s1"):
        with recorder.context(tags={"step": 2}):
            inner = told()
        outer = told()
    outside = told()
    assert (dict(inner.tags), inner.session) == ({"app": "search", "step": "2"}, "s1")
    assert (dict(outer.tags), outer.session) == ({"app": "search", "step": "1"}, "s1")
    assert (dict(outside.tags), outside.session) == ({}, None)


def test_a_context_holds_in_the_tasks_begun_inside_and_not_in_other_threads(told: Callable[..., Recording]) -> None:
    found: list[Recording] = []

    async def task() -> None:
        found.append(told())

    async def run() -> None:
        with recorder.context(session="mine"):
            begun = asyncio.create_task(task())
        await begun

    asyncio.run(run())
    with recorder.context(session="mine"):
        thread = threading.Thread(target=lambda: found.append(told()))
        thread.start()
        thread.join()
    assert found[0].session == "mine"
    assert found[1].session is None or hasattr(threading.Thread, "context")


def test_a_context_may_end_in_another_context_than_it_began_in() -> None:
    """As the finaliser of a generator-based fixture does."""
    import contextvars

    manager = recorder.context(session="x")
    contextvars.copy_context().run(manager.__enter__)
    manager.__exit__(None, None, None)


def test_the_trace_is_the_header_or_else_the_active_span(told: Callable[..., Recording]) -> None:
    trace = pytest.importorskip("opentelemetry.trace")
    header = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    assert told(headers={"traceparent": header}).trace == header
    assert told(headers={"traceparent": "rubbish"}).trace is None
    assert told().trace is None
    span = trace.NonRecordingSpan(trace.SpanContext(0xABC, 0xDEF, is_remote=False, trace_flags=trace.TraceFlags(1)))
    with trace.use_span(span):
        assert told().trace == f"00-{0xABC:032x}-{0xDEF:016x}-01"
        assert told(headers={"traceparent": header}).trace == header


# -- replay ------------------------------------------------------------------------------------------------------------


@every_kind
def test_what_one_library_recorded_the_other_replays(handle: Handle, kind: Kind) -> None:
    """With the classes of the one that replays."""
    other = next(one for one in EVERY if one.mode == kind.mode and one.module is not kind.module)
    script: list[Step] = [stream_head(), chunk(CHAT[0]), Act.RESET]
    with Loopback([script], repeat_last=True) as server:
        bare = fetch(other, other.client(), server.url, json=BODY)
        fetch(kind, handle.instrument(kind.client()), server.url, json=BODY)
    again = replayed(handle, other, server.url, json=BODY)
    assert (again.pieces, again.failure[:2]) == (bare.pieces, bare.failure[:2])


@every_kind
def test_a_miss_is_raised_at_once_and_reaches_no_network(handle: Handle, kind: Kind) -> None:
    with Loopback([stream_script(STREAM)]) as server:
        fetch(kind, handle.instrument(kind.client()), server.url, json=BODY)
        assert handle.flush(PATIENCE)
        other = replayed(handle, kind, server.url, json={**BODY, "model": "gpt-5"})
        assert len(server.requests) == 1
    assert other.status is None
    assert "body.model" in other.failure[0][1]


@every_kind
def test_an_sdk_cannot_take_a_miss_for_a_broken_connection(handle: Handle, kind: Kind) -> None:
    """Where anthropic or openai is loaded a miss is one of its errors (openai 2 lets nothing else pass), unchanged."""
    anthropic, openai = pytest.importorskip("anthropic"), pytest.importorskip("openai")
    seen = replayed(handle, kind, "http://nowhere.test/")
    assert seen.failure[0][0] == "recorder.errors.ReplayMiss"
    with handle.replay() as replay, replay.instrument(httpx2.Client()) as client:
        with pytest.raises(ReplayMiss) as miss:
            client.get("http://nowhere.test/x")
        assert isinstance(miss.value, anthropic.AnthropicError)
        assert isinstance(miss.value, openai.OpenAIError)
        assert "GET /x" in str(miss.value)


@every_kind
def test_a_recording_whose_client_left_ends_in_an_error_for_one_that_stays(
    handle: Handle, kind: Kind, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Never in a clean end: nobody knows what would have come."""
    monkeypatch.setattr("recorder.replay.SILENCE", 0.01)
    with Loopback([HOLD]) as server:
        client = handle.instrument(kind.client())
        if kind.mode == "sync":
            with client:
                _leave(client, server.url, "close")
        else:

            async def run() -> None:
                async with client:
                    await _leave_async(client, server.url, "close")

            asyncio.run(run())
    assert handle.flush(PATIENCE)
    seen = replayed(handle, kind, server.url)
    assert seen.pieces == (CHAT[0],)
    assert seen.failure[0][0] == f"{kind.module.__name__}.ReadError"
    assert "its client left here" in seen.failure[0][1]


def test_a_replay_leaves_time_to_be_cancelled_where_its_client_was(handle: Handle) -> None:
    """A deadline that fired in silence fires again, instead of an error that was not there."""
    with Loopback([HOLD]) as server:

        async def run(client: Any) -> str:
            got: list[bytes] = []
            async with client:
                try:
                    async with asyncio.timeout(None) as limit, client.stream("POST", server.url) as response:
                        async for piece in response.aiter_raw():
                            got.append(piece)
                            # From here on: a busy machine may take any time for the piece itself.
                            limit.reschedule(asyncio.get_running_loop().time() + 0.3)
                except TimeoutError:
                    return f"{len(got)} pieces, then the deadline"
            return f"{len(got)} pieces"

        first = asyncio.run(run(handle.instrument(httpx2.AsyncClient())))
    assert handle.flush(PATIENCE)
    with handle.replay(include_partial=True) as replay:
        assert asyncio.run(run(replay.instrument(httpx2.AsyncClient()))) == first == "1 pieces, then the deadline"


def test_others_run_while_a_replay_gives_what_is_due_already(handle: Handle) -> None:
    with Loopback([stream_script(STREAM * 20, cuts=range(10, 5000, 10))]) as server:
        asyncio.run(_drain(handle.instrument(httpx2.AsyncClient()), server.url))
    assert handle.flush(PATIENCE)
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    async def run() -> None:
        counting = asyncio.create_task(count())
        with handle.replay() as replay:
            await _drain(replay.instrument(httpx2.AsyncClient()), server.url)
        counting.cancel()

    asyncio.run(run())
    assert turns > 10


async def _drain(client: Any, url: str) -> None:
    async with client, client.stream("POST", url) as response:
        async for _ in response.aiter_raw():
            pass


@every_kind
def test_a_replay_is_paced_by_deadlines_and_gives_the_same_pieces(handle: Handle, kind: Kind) -> None:
    script = stream_script(STREAM, cuts=CUTS, pauses={CUTS[1]: 0.05})
    with Loopback([script], repeat_last=True) as server:
        bare = fetch(kind, kind.client(), server.url)
        fetch(kind, handle.instrument(kind.client()), server.url)
    assert handle.flush(PATIENCE)
    with handle.replay(pace="x2") as replay:
        assert fetch(kind, replay.instrument(kind.client()), server.url) == bare
    with handle.replay(chunks="joined") as replay:
        joined = fetch(kind, replay.instrument(kind.client()), server.url)
        assert joined.pieces == (STREAM,)


@every_kind
def test_a_replay_transport_serves_a_client_that_is_built_with_it(handle: Handle, kind: Kind) -> None:
    with Loopback([stream_script(STREAM, cuts=CUTS)], repeat_last=True) as server:
        bare = fetch(kind, kind.client(), server.url)
        fetch(kind, handle.instrument(kind.client()), server.url)
    assert handle.flush(PATIENCE)
    with handle.replay() as replay:
        made = replay.transport if kind.mode == "sync" else replay.async_transport
        assert fetch(kind, kind.client(transport=made(module=kind.module)), server.url) == bare


@every_kind
def test_a_streamed_request_is_matched_by_its_bytes(handle: Handle, kind: Kind) -> None:
    def content() -> Any:
        return _pieces() if kind.mode == "sync" else _pieces_async()

    with Loopback([stream_script(STREAM)]) as server:
        bare = fetch(kind, handle.instrument(kind.client()), server.url, content=content())
    assert handle.flush(PATIENCE)
    assert replayed(handle, kind, server.url, content=content()) == bare


def test_the_writers_death_ends_a_replay_in_an_error(handle: Handle, tmp_path: Path) -> None:
    """A recording that was closed while its exchange went on is a prefix: it never ends cleanly."""
    with Loopback([HOLD]) as server, handle.instrument(httpx2.Client()) as client:
        with client.stream("POST", server.url) as response:
            next(response.iter_raw())
            assert handle._shut(PATIENCE)
    with recorder.open(tmp_path / "store.db") as later, later.replay(include_partial=True) as replay:
        seen = fetch(EVERY[2], replay.instrument(httpx2.Client()), server.url)
    assert seen.pieces == (CHAT[0],)
    assert seen.failure[0][0] == "httpx2.ReadError"
    assert "goes no further" in seen.failure[0][1]
