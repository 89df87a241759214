"""What a client sees through the proxy is what it sees without; and the record holds the very bytes."""

from __future__ import annotations

import contextlib
import dataclasses
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from recorder.proxy import Routes, Settings
from recorder.recording import Head, Recording
from recorder.replay import emit
from recorder.store import RunFilter, Store
from tests.clients import EVERY, Kind, Seen, fetch
from tests.loopback import (
    LAST_CHUNK,
    Act,
    Loopback,
    Refused,
    Request,
    chunk,
    corpus,
    head,
    seeded_cuts,
    stream_head,
    stream_script,
)
from tests.needs import NIGHTLY, each, in_turn, need_corpus
from tests.proxied import Proxied
from tests.scenario import Mode, Scenario
from tests.torture import SCENARIOS, Outcome, direct, drive

BODY = b"".join(b'event: a\ndata: {"n":%d}\n\n' % number for number in range(20))
#: Seconds that a client or a wait may take: never to be reached, and above what a busy machine may need.
PATIENCE = 30.0

#: What cannot be the same, and why.
EXCLUDED = {
    "connection-refused": "our connection is accepted: a refusal behind it is a reset before any byte",
    "transfer-encoding-and-content-length": "RFC 9112 section 6.3: who forwards it must take the length off",
}


@pytest.fixture(scope="module")
def proxy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxied]:
    with Proxied(tmp_path_factory.mktemp("proxy") / "recorder.db", "http://127.0.0.1:9") as running:
        yield running


def behind(proxy: Proxied, *upstreams: str) -> str:
    """Put the proxy before these upstreams; gives its URL."""
    proxy.service.routes = Routes.of(upstreams)
    return proxy.url


def recordings(path: Path, last: int = 1000) -> list[Recording]:
    """The last recordings, oldest first, with their bodies."""
    with Store.open(path, readonly=True) as store:
        listed = store.recordings(RunFilter(limit=last))
        return [store.recording(one.recording.recording_id) for one in reversed(listed)]


def over(proxy: Proxied) -> None:
    """Wait until every exchange has ended for the proxy too, which may hear of it after its client, and is durable."""
    wait_for(lambda: not proxy.service._open)
    proxy.flush()


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def received(sock: socket.socket, size: int) -> bytes:
    """So many bytes, or what came before the end."""
    data = b""
    while len(data) < size and (more := sock.recv(size - len(data))):
        data += more
    return data


def last_of(proxy: Proxied) -> Recording:
    """The latest recording, once it is durable."""
    over(proxy)
    (recording,) = recordings(proxy.path, 1)
    return recording


def body_of(path: Path, recording: Recording) -> bytes:
    pieces: list[bytes] = []
    with Store.open(path, readonly=True) as store:
        emit(store, recording, pieces.append)
    return b"".join(pieces)


def heads_of(path: Path, recording: Recording) -> list[Head]:
    with Store.open(path, readonly=True) as store:
        events = store.events(recording.recording_id, kinds=["info", "head"])
        return [Head.from_json(event.data or b"") for event in events]


# -- the torture suite ---------------------------------------------------------------------------------------------

CASES = [scenario for scenario in SCENARIOS if scenario.server == "http1"]
#: At night all of them, sync and async; else every third one, in one of the two.
EVERY_CASE = pytest.mark.parametrize(
    ("scenario", "mode"),
    [
        pytest.param(scenario, mode, id=f"{scenario.name}-{mode}")
        for number, scenario in each(3, enumerate(CASES))
        for mode in in_turn(number, scenario.modes)
    ],
)


def test_what_is_left_out_is_named() -> None:
    """HTTP/2 upstreams are not spoken to; all else goes over the proxy."""
    left_out = {scenario.name for scenario in SCENARIOS if scenario not in CASES} - set(EXCLUDED)
    assert {name for name in left_out if not name.startswith("http2-")} == set()


@EVERY_CASE
def test_a_client_cannot_tell_the_proxy_from_the_upstream(proxy: Proxied, scenario: Scenario, mode: Mode) -> None:
    """Events, exceptions, messages, causes, heads; how often the upstream was asked; that it saw the client leave."""
    first = direct(scenario, mode)
    with scenario.serve() as server:
        through = drive(scenario, behind(proxy, server.url), mode=mode, server=server)
        seen = list(server.requests) if isinstance(server, Loopback) else []
    if scenario.name == "transfer-encoding-and-content-length":
        first, through = without_heads(first), without_heads(through)
    assert through == first
    assert (through.upstream, through.noticed) == (first.upstream, first.noticed)
    over(proxy)
    if scenario.name == "308-absolute":  # where that leads is not behind the proxy
        del seen[1:]
    last = recordings(proxy.path, len(seen))
    assert [recording.ending is not None for recording in last] == [True] * len(seen)
    assert [recording.request.body for recording in last] == [request.body for request in seen]


def without_heads(outcome: Outcome) -> Outcome:
    return dataclasses.replace(outcome, heads=())


@pytest.mark.parametrize("kind", EVERY, ids=str)
def test_a_refused_upstream_is_a_reset_before_any_byte(proxy: Proxied, kind: Kind) -> None:
    with Refused() as nobody:
        seen = fetch(kind, kind.client(timeout=PATIENCE), behind(proxy, nobody.url) + "/v1/x", json={})
    assert seen.failure[0][0].endswith(".ReadError")
    recording = last_of(proxy)
    assert recording.ending is not None
    assert recording.ending.ending == "connect_error"
    assert recording.ending.detail["exception"][0]["type"] == "builtins.ConnectionRefusedError"


# -- bytes ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", EVERY, ids=str)
@pytest.mark.parametrize(
    "script",
    [
        stream_script(BODY, cuts=range(7, len(BODY), 13)),
        [head("200 OK", f"Content-Length: {len(BODY)}", "X-A: 1", "x-a:  2 ") + BODY],
        [head("200 OK", "Connection: close"), BODY[:100], 0.01, BODY[100:], Act.FIN],
        [head("404 Not Found", "Content-Length: 0", "Content-Type: text/plain")],
        [head("204 No Content")],
        [stream_head(), chunk(BODY[:50]), Act.RESET],
        [stream_head(), chunk(BODY[:50]), Act.FIN],
        [Act.RESET],
        [Act.FIN],
    ],
)
def test_every_client_sees_the_same(proxy: Proxied, kind: Kind, script: list[Any]) -> None:
    """The chunks that clients give may differ; the bytes, heads and failures may not."""

    def call(url: str) -> Seen:
        seen = fetch(kind, kind.client(timeout=PATIENCE), url + "/v1/x?a=1", json={"a": 1})
        return dataclasses.replace(seen, pieces=(b"".join(seen.pieces),))

    with Loopback([script], repeat_last=True) as server:
        assert call(behind(proxy, server.url)) == call(server.url)


def streams() -> list[Any]:
    return each(11, corpus())


@pytest.mark.parametrize("stream", streams(), ids=lambda stream: stream.id)
def test_published_streams_pass_byte_for_byte(proxy: Proxied, stream: Any) -> None:
    """To the client and into the record, with its head's spelling, however they are cut."""
    need_corpus()
    data = stream.path.read_bytes()
    odd = ("X-ODD-Case: Aa", "x-odd-case: bB", "openai-Version:2020-10-01")
    for seed in range(3 if NIGHTLY else 1):
        script = stream_script(data, cuts=seeded_cuts(len(data), f"{stream.id} {seed}"), headers=odd)
        with Loopback([script]) as server, httpx.Client(timeout=PATIENCE) as client:
            response = client.post(behind(proxy, server.url) + "/v1/threads/t/runs", json={"stream": True})
            assert response.content == data
            assert [pair for pair in response.headers.raw if pair[0].lower().startswith((b"x-odd", b"openai"))] == [
                (b"X-ODD-Case", b"Aa"),
                (b"x-odd-case", b"bB"),
                (b"openai-Version", b"2020-10-01"),
            ]
    recording = last_of(proxy)
    assert body_of(proxy.path, recording) == data
    (stored,) = heads_of(proxy.path, recording)
    assert stored.headers[2:] == (("X-ODD-Case", "Aa"), ("x-odd-case", "bB"), ("openai-Version", "2020-10-01"))


def test_chunks_of_http_are_chunks_of_the_record(proxy: Proxied) -> None:
    """Also where the network joined them."""
    from recorder.replay import Player

    script = [stream_head() + b"".join(chunk(BODY[at : at + 9]) for at in range(0, len(BODY), 9)) + LAST_CHUNK]
    with Loopback([script]) as server:
        url = behind(proxy, server.url)
        httpx.post(url + "/v1/chunks", json={}, timeout=PATIENCE)
        recording = last_of(proxy)
        with Store.open(proxy.path, readonly=True) as store:
            chunks = [piece for _, piece in Player(store).play(recording).chunks()]
    assert chunks == [BODY[at : at + 9] for at in range(0, len(BODY), 9)]


# -- requests ------------------------------------------------------------------------------------------------------


def test_the_upstream_gets_the_request_as_it_was_sent(proxy: Proxied) -> None:
    """Names, order and bytes; but for Host, what concerns one hop, and what is meant for us."""
    sent = (
        b"POST /v1/x?b=%20+&a=[1]&a HTTP/1.1\r\nhOST: 127.0.0.1\r\nX-B: 2\r\nx-a: \xe9 \r\n"
        b"X-Recorder-Tag: k=v\r\nx-b: 1\r\n"
        b"Connection: keep-alive, X-Hop\r\nX-Hop: 1\r\nKeep-Alive: timeout=5\r\nTE: trailers\r\n"
        b"Accept-Encoding: gzip, zstd\r\n"
        b"X-Recorder-Session: s\r\nUpgrade: h2c\r\nContent-Length: 5\r\n\r\nhello"
    )
    with Loopback([[head("200 OK", "Content-Length: 0")]]) as server:
        behind(proxy, f"{server.url}/base/")
        with socket.create_connection(proxy.address, PATIENCE) as sock:
            sock.sendall(sent)
            assert sock.recv(1000).startswith(b"HTTP/1.1 200 OK\r\n")
        (request,) = server.requests
    host = server.url.removeprefix("http://").encode()
    assert request.head == (
        b"POST /base/v1/x?b=%20+&a=[1]&a HTTP/1.1\r\nhOST: " + host + b"\r\nX-B: 2\r\nx-a: \xe9\r\nx-b: 1\r\n"
        b"Accept-Encoding: gzip, zstd\r\nContent-Length: 5\r\n\r\n"
    )
    assert request.body == b"hello"
    recording = last_of(proxy)
    assert recording.request.url == f"{server.url}/base/v1/x?b=%20+&a=[1]&a"
    assert recording.origin == server.url
    assert recording.session == "s"
    assert dict(recording.tags) == {"k": "v"}
    assert not [name for name, _ in recording.request.headers if name.lower().startswith("x-recorder")]
    assert recording.request.headers[0] == ("hOST", host.decode())
    assert recording.request.body == b"hello"


@pytest.mark.parametrize("kind", EVERY, ids=str)
def test_a_streamed_body_passes_and_is_recorded(proxy: Proxied, kind: Kind) -> None:
    """Chunk by chunk, while it comes; a large one too."""
    pieces = [b"%d " % number * 5000 for number in range(40)]

    def content() -> Iterator[bytes]:
        yield from pieces

    async def content_async() -> Any:
        for piece in pieces:
            yield piece

    with Loopback([stream_script(BODY)]) as server:
        url = behind(proxy, server.url) + "/v1/files"
        seen = fetch(
            kind, kind.client(timeout=PATIENCE), url, content=content() if kind.mode == "sync" else content_async()
        )
        (request,) = server.requests
    assert b"".join(seen.pieces) == BODY
    assert request.body == b"".join(pieces)
    assert dict(request.headers)[b"Transfer-Encoding"] == b"chunked"
    assert last_of(proxy).request.body == b"".join(pieces)


def test_a_body_above_the_limit_is_forwarded_and_named_by_its_digest(tmp_path: Path) -> None:
    import hashlib

    data = b"x" * 300_000
    with (
        Loopback([[head("200 OK", "Content-Length: 0")]]) as server,
        Proxied(tmp_path / "r.db", server.url, settings=Settings(body_limit=1000)) as proxy,
    ):
        httpx.post(proxy.url + "/v1/x", content=data, timeout=PATIENCE)
        assert server.requests[0].body == data
        over(proxy)
        (recording,) = recordings(proxy.path)
    assert (recording.request.body, recording.request.body_size) == (None, len(data))
    assert recording.request.body_sha256 == hashlib.sha256(data).digest()


def test_expectations_and_informational_answers_pass(proxy: Proxied) -> None:
    """The client that waits for a 100 gets the upstream's, and sends its body then."""
    infos = head("100 Continue") + head("103 Early Hints", "Link: </x>")

    with socket.create_server(("127.0.0.1", 0)) as listener:
        behind(proxy, f"http://127.0.0.1:{listener.getsockname()[1]}")
        with socket.create_connection(proxy.address, PATIENCE) as sock:
            sock.sendall(b"POST /v1/x HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n")
            upstream, _ = listener.accept()
            with upstream:
                upstream.settimeout(PATIENCE)
                assert b"Expect: 100-continue\r\n" in upstream.recv(10_000)
                upstream.sendall(infos)
                assert received(sock, len(infos)) == infos
                sock.sendall(b"hello")
                assert received(upstream, 5) == b"hello"
                upstream.sendall(head("200 OK", "Content-Length: 2") + b"ok")
                data = b""
                while not data.endswith(b"ok"):
                    data += sock.recv(10_000)
    recording = last_of(proxy)
    assert recording.request.body == b"hello"
    assert [stored.status for stored in heads_of(proxy.path, recording)] == [100, 103, 200]


def test_trailers_are_forwarded_and_recorded(proxy: Proxied) -> None:
    end = b"0\r\nX-Checksum: abc\r\nX-Secret: hush\r\n\r\n"
    with Loopback([[stream_head("Trailer: X-Checksum"), chunk(BODY), end]]) as server:
        behind(proxy, server.url)
        with socket.create_connection(proxy.address, PATIENCE) as sock:
            sock.sendall(b"GET /v1/x HTTP/1.1\r\nHost: localhost\r\n\r\n")
            data = b""
            while not data.endswith(b"\r\n\r\n") or len(data) < len(BODY):
                data += sock.recv(10_000)
    assert data.endswith(chunk(BODY) + end)
    ending = last_of(proxy).ending
    assert ending is not None
    assert ending.detail["trailers"] == [["X-Checksum", "abc"], ["X-Secret", "[redacted]"]]


def test_a_websocket_is_tunnelled(proxy: Proxied) -> None:
    """And recorded as far as its head."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        behind(proxy, f"http://127.0.0.1:{listener.getsockname()[1]}")
        with socket.create_connection(proxy.address, PATIENCE) as sock:
            sock.sendall(
                b"GET /v1/realtime HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
            )
            upstream, _ = listener.accept()
            with upstream:
                upstream.settimeout(PATIENCE)
                asked = upstream.recv(10_000)
                assert b"Upgrade: websocket\r\n" in asked
                assert b"Connection: Upgrade\r\n" in asked
                upstream.sendall(
                    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n\x81\x02hi"
                )
                data = b""
                while not data.endswith(b"hi"):
                    data += sock.recv(10_000)
                sock.sendall(b"\x81\x80zzzz")
                assert received(upstream, 6) == b"\x81\x80zzzz"
                more = b"\r\n\r\nGET / HTTP/1.1\r\n\r\n"
                sock.sendall(more)
                assert received(upstream, len(more)) == more
                sock.close()
                assert upstream.recv(100) == b""
    assert data.startswith(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n")
    ending = last_of(proxy).ending
    assert ending is not None
    assert (ending.http_status, ending.captured, ending.ending) == (101, "truncated", "eof")


# -- connections ---------------------------------------------------------------------------------------------------

EMPTY = [head("200 OK", "Content-Length: 0")]


def test_one_client_connection_keeps_one_upstream_connection(proxy: Proxied) -> None:
    with Loopback([stream_script(BODY)], repeat_last=True) as server, httpx.Client(timeout=PATIENCE) as client:
        url = behind(proxy, server.url)
        for number in range(20):
            assert client.post(f"{url}/v1/{number}", json={}).content == BODY
        assert len(server.connections) == 1


def test_a_connection_that_a_client_left_is_used_again(proxy: Proxied, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(proxy.service.pool, "_idle_seconds", 2 * PATIENCE)  # however slowly the next client comes
    with Loopback([EMPTY], repeat_last=True) as server:
        url = behind(proxy, server.url)
        for number in range(5):
            httpx.get(f"{url}/v1/{number}", timeout=PATIENCE)
            wait_for(lambda: not proxy.service.server.connections)  # it may hear of the next client before
        assert len(server.connections) == 1


def test_an_upstream_that_closes_an_idle_connection_closes_the_clients(proxy: Proxied) -> None:
    """As the client would see it without us: nothing is sent into a connection that is dead."""
    with Loopback([EMPTY], repeat_last=True) as server:
        behind(proxy, server.url)
        with socket.create_connection(proxy.address, PATIENCE) as sock:
            sock.sendall(b"GET /v1/x HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert sock.recv(1000)
            server.__exit__(None, None, None)
            assert sock.recv(1000) == b""
        server.__enter__()


def test_what_an_upstream_sends_too_much_reaches_nobody(proxy: Proxied) -> None:
    """A second answer behind the first is no answer to the next request."""
    more = head("200 OK", "Content-Length: 6") + b"poison"
    answers = [[head("200 OK", "Content-Length: 2") + b"ok" + more], [head("200 OK", "Content-Length: 2") + b"go"]]
    with Loopback(answers) as server, httpx.Client(timeout=PATIENCE) as client:
        url = behind(proxy, server.url)
        assert client.get(url + "/1").content == b"ok"
        assert client.get(url + "/2").content == b"go"


def test_pipelined_requests_are_forwarded_in_order(proxy: Proxied) -> None:
    def answer(request: Request) -> list[bytes]:
        return [head("200 OK", f"Content-Length: {len(request.target)}") + request.target]

    with Loopback([answer], repeat_last=True) as server:
        behind(proxy, server.url)
        with socket.create_connection(proxy.address, PATIENCE) as sock:
            sock.sendall(
                b"".join(b"GET /v1/%03d HTTP/1.1\r\nHost: localhost\r\n\r\n" % number for number in range(100))
            )
            data = b""
            while data.count(b"/v1/") < 100 or not data.endswith(b"/v1/099"):
                data += sock.recv(100_000)
        assert [request.target for request in server.requests] == [b"/v1/%03d" % number for number in range(100)]
        assert len(server.connections) == 1


@pytest.mark.parametrize("drain", [False, True])
def test_a_client_that_leaves(tmp_path: Path, drain: bool) -> None:
    """The upstream is let go at once; with `drain` the rest is read and recorded all the same."""
    go_on = threading.Event()

    def answer(_: Request) -> Iterator[Any]:
        yield stream_head()
        yield chunk(BODY[:50])
        assert go_on.wait(2 * PATIENCE)
        yield 0.05 if drain else 20.0  # cut short by the proxy's leaving; without that, the rest comes
        yield chunk(BODY[50:]) + LAST_CHUNK

    with (
        contextlib.suppress(ExceptionGroup),
        Loopback([answer]) as server,
        Proxied(tmp_path / "r.db", server.url, settings=Settings(drain=drain)) as proxy,
    ):
        with httpx.stream("POST", proxy.url + "/v1/x", json={}, timeout=PATIENCE) as response:
            next(response.iter_raw())
        if drain:
            time.sleep(0.1)
            assert server.connections[0].gone_at is None
            go_on.set()
        else:
            go_on.set()
            assert server.wait_gone(PATIENCE)
        over(proxy)
        (recording,) = recordings(proxy.path)
        assert recording.ending is not None
        assert recording.ending.ending == ("eof" if drain else "client_closed")
        assert recording.ending.wire_bytes == (len(BODY) if drain else 50)


def test_a_slow_client_slows_the_upstream_down(tmp_path: Path) -> None:
    """What is between them stays bounded, and everything arrives."""
    total = 60 << 20

    def answer(request: Request) -> Iterator[Any]:
        yield head("200 OK", f"Content-Length: {total}")
        for _ in range(total >> 20):
            yield b"x" * (1 << 20)

    with Loopback([answer]) as server, Proxied(tmp_path / "r.db", server.url) as proxy:
        with socket.create_connection(proxy.address, PATIENCE) as sock:
            sock.sendall(b"GET /v1/x HTTP/1.1\r\nHost: localhost\r\n\r\n")
            wait_for(lambda: bool(proxy.service._open))
            time.sleep(1.0)  # for as much to pile up as would
            (forward,) = proxy.service._open
            waiting = proxy.call(forward._exchange.connection._transport.get_write_buffer_size)
            assert waiting < 2 << 20
            got = 0
            while got < total:
                got += len(sock.recv(1 << 20))


def test_a_slow_upstream_slows_the_client_down(proxy: Proxied) -> None:
    """A body that the upstream does not take is not piled up here."""
    over(proxy)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        behind(proxy, f"http://127.0.0.1:{listener.getsockname()[1]}")
        with socket.create_connection(proxy.address, PATIENCE) as sock:
            sock.sendall(b"POST /v1/x HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000000\r\n\r\n")
            upstream, _ = listener.accept()
            with upstream:
                (forward,) = proxy.service._open
                sock.settimeout(0.5)
                sent, stuck = 0, False
                while not (stuck and forward._held):  # stuck alone: the proxy may just be slow to take more
                    try:
                        sent += sock.send(b"x" * 65536)
                        stuck = False
                    except TimeoutError:
                        stuck = True
                    assert sent < 50_000_000


def test_a_client_that_takes_garbage_for_an_end_is_let_go(proxy: Proxied) -> None:
    """Where we cannot tell the end of a response, no other one follows it: the client's next request ends it all."""
    with Loopback([[stream_head(), b"zz\r\n" + LAST_CHUNK, Act.HOLD]]) as server:
        behind(proxy, server.url)
        with socket.create_connection(proxy.address, PATIENCE) as sock:
            request = b"GET /v1/x HTTP/1.1\r\nHost: localhost\r\n\r\n"
            sock.sendall(request)
            data = b""
            while not data.endswith(LAST_CHUNK):
                data += sock.recv(1000)
            sock.sendall(request)
            with contextlib.suppress(ConnectionResetError):
                assert sock.recv(1000) == b""
        assert server.wait_gone(PATIENCE)
        assert len(server.requests) == 1
    ending = last_of(proxy).ending
    assert ending is not None
    assert (ending.ending, ending.detail["exception"][0]["message"]) == (
        "protocol_error",
        "illegal chunk header: bytearray(b'zz\\r\\n')",
    )


@pytest.mark.parametrize("plain_loop", [False, True])
def test_nothing_is_left_of_clients_that_come_and_go(tmp_path: Path, plain_loop: bool) -> None:
    """Neither exchanges, connections nor links, whenever a client leaves; and each request has its ending."""

    def answer(_: Request) -> Iterator[Any]:
        yield stream_head()
        for at in range(0, len(BODY), 50):
            yield chunk(BODY[at : at + 50])
            yield 0.001
        yield LAST_CHUNK

    request = b"POST /v1/x HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\n0123456789"
    with (
        Loopback([answer], repeat_last=True) as server,
        Proxied(tmp_path / "r.db", server.url, plain_loop=plain_loop) as proxy,
    ):
        proxy.service.pool._idle_seconds = 0.2
        for number in range(120):
            with socket.create_connection(proxy.address, PATIENCE) as sock:
                sock.sendall(request[: len(request) - number % 3 * 5])
                if number % 4:
                    sock.settimeout(0.002 * (number % 7) + 0.0001)
                    with contextlib.suppress(TimeoutError):
                        sock.recv(1000)
                if number % 2:
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        # Connections are accepted in order: once this one is answered, none of those above is still to come.
        httpx.post(proxy.url + "/v1/x", content=b"0123456789", timeout=PATIENCE)
        wait_for(lambda: not proxy.service.server.connections)
        wait_for(lambda: not proxy.service.pool.links)
        over(proxy)
        stored = recordings(proxy.path)
        assert len(stored) == proxy.service.requests
        assert {recording.ending is not None for recording in stored} == {True}


def test_attempts_of_one_call_are_linked(proxy: Proxied) -> None:
    with Loopback([[Act.RESET], EMPTY, EMPTY]) as server, httpx.Client(timeout=PATIENCE) as client:
        url = behind(proxy, server.url) + "/v1/retried"
        for count in ("0", "1"):
            with contextlib.suppress(httpx.HTTPError):
                client.post(url, json={"a": 1}, headers={"x-stainless-retry-count": count})
        client.post(url, json={"a": 1}, headers={"x-stainless-retry-count": "0"})
    over(proxy)
    first, second, third = (recording.call for recording in recordings(proxy.path, 3))
    assert first == second != third
