"""The loopback servers do what a script says, exactly: a suite that stands on them can trust them."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.loopback import (
    LAST_CHUNK,
    Act,
    GoAway,
    H2Act,
    Headers,
    Loopback,
    LoopbackH2,
    Refused,
    Request,
    ResetStream,
    chunk,
    every,
    head,
    pieces,
    seeded_cuts,
    seeded_pauses,
    serve_stream,
    stream_head,
)

ASK = b"POST /v1/runs?a=b HTTP/1.1\r\nHost: x\r\nX-Odd:  two  words \r\nContent-Length: 4\r\n\r\n\0\r\n\xff"


@contextmanager
def dialled(url: str) -> Iterator[socket.socket]:
    """A bare connection to a server."""
    host, port = url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=30) as sock:
        yield sock


def until_eof(sock: socket.socket) -> bytes:
    """All that comes until the other side ends."""
    return b"".join(iter(lambda: sock.recv(65536), b""))


def test_bytes_go_out_as_they_are() -> None:
    """No header is added, nothing repaired, and FIN follows the last byte."""
    garbage = bytes(range(256))
    with Loopback([(garbage, b"\r\n", Act.FIN)]) as server, dialled(server.url) as sock:
        sock.sendall(ASK)
        assert until_eof(sock) == garbage + b"\r\n"


def test_a_reset_comes_after_every_byte() -> None:
    """The client can read all that was sent before it sees ECONNRESET."""
    body = b"x" * 200_000
    with Loopback([(body, Act.RESET)]) as server, dialled(server.url) as sock:
        sock.sendall(ASK)
        received = bytearray()
        with pytest.raises(ConnectionResetError):
            while True:
                received += sock.recv(65536)
                assert len(received) <= len(body)
        assert bytes(received) == body


def test_a_request_is_kept_as_it_came() -> None:
    with Loopback([(head("204 No Content"),)]) as server, dialled(server.url) as sock:
        for part in every(1, ASK):
            sock.sendall(part)
        assert sock.recv(65536) == b"HTTP/1.1 204 No Content\r\n\r\n"
        (request,) = server.requests
    assert request.head + request.body == ASK
    assert (request.method, request.target, request.index) == (b"POST", b"/v1/runs?a=b", 0)
    assert request.headers == ((b"Host", b"x"), (b"X-Odd", b"two  words"), (b"Content-Length", b"4"))


def test_a_chunked_request_body_is_joined() -> None:
    asked = b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n" + chunk(b"ab") + chunk(b"c\r\n") + LAST_CHUNK
    with Loopback([(head("204 No Content"),)]) as server, dialled(server.url) as sock:
        sock.sendall(asked)
        assert sock.recv(65536)
        assert server.requests[0].body == b"abc\r\n"


def test_one_connection_carries_several_requests() -> None:
    """A script without an ending leaves the connection open; each request gets the next script."""
    first, second = (head("200 OK", "Content-Length: 1") + body for body in (b"1", b"2"))
    with Loopback([(first,), (second,)]) as server, httpx.Client(trust_env=False, verify=False, timeout=30) as client:
        assert [client.get(server.url).text for _ in range(2)] == ["1", "2"]
        assert [len(link.requests) for link in server.connections] == [2]


def test_a_script_may_be_made_from_the_request() -> None:
    def script(request: Request) -> Iterator[bytes]:
        yield head("200 OK", f"Location: {request.origin}", "Content-Length: 0")

    with Loopback([script]) as server, httpx.Client(trust_env=False, verify=False, timeout=30) as client:
        assert client.get(server.url).headers["location"] == server.url


def test_a_request_too_many_fails_the_test() -> None:
    with pytest.raises(ExceptionGroup) as caught, Loopback([]) as server, dialled(server.url) as sock:
        sock.sendall(ASK)
        assert sock.recv(1) == b""
    assert "request 1 came, 0 were expected" in str(caught.value.exceptions[0])


def test_a_step_of_the_other_protocol_fails_the_test() -> None:
    with pytest.raises(ExceptionGroup) as caught, Loopback([(H2Act.END,)]) as server, dialled(server.url) as sock:
        sock.sendall(ASK)
        assert sock.recv(1) == b""
    assert isinstance(caught.value.exceptions[0], TypeError)


@pytest.mark.parametrize("steps", [(Act.HOLD,), (60.0,), (*([b"x", 0.001] * 5000),)], ids=["hold", "pause", "sending"])
def test_a_client_that_leaves_is_noticed(steps: tuple[bytes | float | Act, ...]) -> None:
    """Whatever the script is at: silent, pausing, or sending."""
    with Loopback([steps]) as server:
        with dialled(server.url) as sock:
            sock.sendall(ASK)
            while not server.requests:
                pass
            assert not server.wait_gone(0.01)
        assert server.wait_gone(30)
        (link,) = server.connections
        assert link.gone_how in {"fin", "reset", "send"}
        assert link.gone_at is not None
        assert link.gone_at >= link.requests[0].at


def test_nobody_listens_where_refused() -> None:
    with Refused() as refused, pytest.raises(ConnectionRefusedError), dialled(refused.url):
        pass


def test_nothing_is_left_running() -> None:
    before = set(threading.enumerate())  # others may end meanwhile
    with Loopback([(Act.HOLD,)]) as server, dialled(server.url) as sock:
        sock.sendall(ASK)
        while not server.requests:
            pass
    assert [each.name for each in threading.enumerate() if each not in before] == []


def test_a_served_stream_arrives_cut_as_said() -> None:
    """Each cut is the border of a chunk, for every client; the head's lines are those given."""
    body = b"data: hello\n\n" * 50
    cuts = seeded_cuts(len(body), "a")
    served = serve_stream(body, cuts=cuts, pauses=seeded_pauses(cuts, "a"), headers=["X-A: 1", "X-A: 2"])
    with (
        served as server,
        httpx.Client(trust_env=False, verify=False, timeout=30) as client,
        client.stream("GET", server.url) as response,
    ):
        assert list(response.iter_raw()) == pieces(body, cuts)
        assert response.headers.get_list("x-a") == ["1", "2"]
        assert response.headers["content-type"] == "text/event-stream; charset=utf-8"


@given(st.binary(max_size=200), st.lists(st.integers(-5, 300)))
def test_pieces_join_to_the_whole(data: bytes, cuts: list[int]) -> None:
    parts = pieces(data, cuts)
    assert b"".join(parts) == data
    assert b"" not in parts


@given(st.integers(0, 5000), st.text(max_size=5))
def test_seeds_decide_the_cuts(length: int, seed: str) -> None:
    cuts = seeded_cuts(length, seed)
    assert cuts == seeded_cuts(length, seed) == sorted(set(cuts))
    assert all(0 < cut < length for cut in cuts)
    assert seeded_pauses(cuts, seed) == seeded_pauses(cuts, seed)
    assert set(seeded_pauses(cuts, seed)) <= set(cuts)


def test_the_cuts_of_a_seed_never_change() -> None:
    """In any process, whatever PYTHONHASHSEED: a cut that a failure named can be cut again."""
    assert seeded_cuts(1000, "assistants-006 httpx-sync", most=6) == [175, 357, 537]


H2_HEAD = Headers(((":status", "200"), ("x-a", "1")))


def h2_client() -> httpx.Client:
    """A client that speaks HTTP/2 without asking first."""
    return httpx.Client(http1=False, http2=True, trust_env=False, verify=False, timeout=30)


def test_http2_is_spoken() -> None:
    with LoopbackH2([(H2_HEAD, b"ab", b"c", H2Act.END)] * 2) as server, h2_client() as client:
        for _ in range(2):
            response = client.post(server.url + "/path?q", content=b"body")
            assert (response.http_version, response.content, response.headers["x-a"]) == ("HTTP/2", b"abc", "1")
        assert [(request.target, request.body) for request in server.requests] == [(b"/path?q", b"body")] * 2
        assert len(server.connections) == 1


@pytest.mark.parametrize(
    ("ending", "message"),
    [
        ((ResetStream(8),), "StreamReset stream_id:1, error_code:8"),
        ((GoAway(2, 1),), "ConnectionTerminated error_code:2, last_stream_id:1"),
        ((Act.FIN,), "Server disconnected"),
        ((Act.RESET,), "Connection reset by peer"),
    ],
    ids=["reset-stream", "goaway", "fin", "reset"],
)
def test_http2_ends_as_the_script_says(ending: tuple[Act], message: str) -> None:
    """After the barrier the client has read all data, so that every run ends at the same byte."""
    with LoopbackH2([(H2_HEAD, b"ab", H2Act.BARRIER, *ending)]) as server, h2_client() as client:
        received = b""
        with (
            pytest.raises(httpx.TransportError, match=message),
            client.stream("GET", server.url) as response,
        ):
            for part in response.iter_raw():
                received += part
        assert received == b"ab"


def test_a_head_is_what_its_lines_are() -> None:
    assert stream_head("X-A: 1", b"X-B: \xff") == (
        b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\nTransfer-Encoding: chunked\r\n"
        b"X-A: 1\r\nX-B: \xff\r\n\r\n"
    )
