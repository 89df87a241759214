"""The server side over real sockets: hostile requests are refused, good ones served, connections kept and ended."""

from __future__ import annotations

import collections
import json
import select
import socket
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from recorder.recording import Head, HeaderList
from recorder.wire import Exchange, Framing, Gate, Limits, Receiver, Refused, chunk, last_chunk
from tests.hostile import REFUSED, Hostile
from tests.wired import Echo, Wired, exchange, linger_none, read_reply, talk

#: Seconds that anything here may take: never to be reached, and above what a busy machine may need.
PATIENCE = 30.0
GOOD = b"GET /v1/x?a=[1] HTTP/1.1\r\nHost: HOST\r\n\r\n"


@pytest.fixture(scope="module")
def echo() -> Echo:
    return Echo()


@pytest.fixture(scope="module", params=["uvloop", "asyncio"])
def wired(request: pytest.FixtureRequest, echo: Echo) -> Iterator[Wired]:
    with Wired(echo, gate=Gate(), plain_loop=request.param == "asyncio") as server:
        yield server


def to(server: Wired, data: bytes) -> bytes:
    """The bytes with HOST replaced."""
    return data.replace(b"HOST", b"%s:%d" % (server.address[0].encode(), server.address[1]))


def test_there_are_hostile_requests_enough() -> None:
    assert len(REFUSED) >= 300
    assert [name for name, times in collections.Counter(case.name for case in REFUSED).items() if times > 1] == []


@pytest.mark.parametrize("case", REFUSED, ids=lambda case: case.name)
def test_a_hostile_request_is_refused(wired: Wired, echo: Echo, case: Hostile) -> None:
    """With one answer, whatever follows it on the wire; nobody was asked, and others are served."""
    before = len(echo.seen)
    replies, closed = talk(wired.address, to(wired, case.data))
    assert [reply.status in case.statuses for reply in replies] == [True], replies
    assert closed
    assert replies[0].headers[b"connection"] == b"close"
    assert "recorder: " in json.loads(replies[0].body)["error"]["message"]
    assert echo.seen[before:] == []
    assert exchange(wired.address, to(wired, GOOD)).status == 200
    assert [seen[1] for seen in echo.seen[before:]] == ["/v1/x?a=[1]"]


@pytest.mark.parametrize("case", REFUSED[::7], ids=lambda case: case.name)
def test_a_hostile_request_is_refused_however_it_is_cut(wired: Wired, echo: Echo, case: Hostile) -> None:
    before = len(echo.seen)
    replies, closed = talk(wired.address, to(wired, case.data), pieces=min(50, len(case.data)))
    assert closed
    assert all(reply.status in case.statuses for reply in replies)
    assert echo.seen[before:] == []


# -- one request after another -------------------------------------------------------------------------------------


def test_a_connection_is_kept(wired: Wired) -> None:
    with wired.connect() as sock:
        for number in range(50):
            sock.sendall(to(wired, b"POST /n/%d HTTP/1.1\r\nHost: HOST\r\nContent-Length: 3\r\n\r\nabc" % number))
            reply = read_reply(sock)
            assert reply is not None
            assert b"connection" not in reply.headers
            assert json.loads(reply.body)["target"] == f"/n/{number}"


def test_pipelined_requests_are_answered_in_order(wired: Wired, echo: Echo) -> None:
    """A thousand at once, bodies among them."""
    wanted = []
    sent = b""
    for number in range(500):
        sent += b"GET /p/%d HTTP/1.1\r\nHost: HOST\r\n\r\n" % number
        sent += b"POST /q/%d HTTP/1.1\r\nHost: HOST\r\nTransfer-Encoding: chunked\r\n\r\n" % number
        sent += b"1\r\nx\r\n2;a=b\r\nyz\r\n0\r\nX-T: 1\r\n\r\n"
        wanted += [("GET", f"/p/{number}", ""), ("POST", f"/q/{number}", "xyz")]
    with wired.connect() as sock:
        threading.Thread(target=sock.sendall, args=(to(wired, sent),), daemon=True).start()
        held = bytearray()
        got = []
        for _ in wanted:
            reply = read_reply(sock, held)
            assert reply is not None
            told = json.loads(reply.body)
            got.append((told["method"], told["target"], told["body"]))
        assert told["trailers"] == [["X-T", "1"]]
    assert got == wanted


@pytest.mark.parametrize("size", [1, 2, 3, 7, 64])
def test_a_request_may_come_in_any_pieces(wired: Wired, size: int) -> None:
    sent = to(
        wired,
        b"POST /a/b?c=d HTTP/1.1\r\nhost: HOST\r\nX-Odd:  a\tb \r\nx-odd:\r\nX-LATIN: \xe9\r\n"
        b"Transfer-Encoding: Chunked\r\n\r\n"
        b'5;name="a b";x\r\nhello\r\n006\r\n world\r\n0\r\nX-Trailer: t\r\n\r\n',
    )
    with wired.connect() as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for start in range(0, len(sent), size):
            sock.sendall(sent[start : start + size])
        reply = read_reply(sock)
    assert reply is not None
    told = json.loads(reply.body)
    assert told["body"] == "hello world"
    assert told["trailers"] == [["X-Trailer", "t"]]
    assert told["headers"][1:4] == [["X-Odd", "a\tb"], ["x-odd", ""], ["X-LATIN", "\xe9"]]


def test_one_empty_line_before_a_request_is_ignored(wired: Wired) -> None:
    assert exchange(wired.address, b"\r\n" + to(wired, GOOD)).status == 200


@pytest.mark.parametrize(
    "request_",
    [
        b"GET /v1/x HTTP/1.1\r\nHost: HOST\r\nConnection: close\r\n\r\n",
        b"GET /v1/x HTTP/1.1\r\nHost: HOST\r\nConnection: x, Close\r\n\r\n",
        b"GET /v1/x HTTP/1.0\r\nHost: HOST\r\n\r\n",
        b"GET /v1/x HTTP/1.0\r\n\r\n",
    ],
)
def test_a_client_that_wants_to_close_is_told_so(wired: Wired, request_: bytes) -> None:
    replies, closed = talk(wired.address, to(wired, request_ + GOOD))
    assert [(reply.status, reply.headers[b"connection"]) for reply in replies] == [(200, b"close")]
    assert closed


@pytest.mark.parametrize(
    ("line", "status"),
    [
        (b"Origin: http://HOST", 200),
        (b"Sec-Fetch-Site: same-origin", 200),
        (b"Sec-Fetch-Site: none", 200),
        (b"X-Fine: \x80\xff", 200),
        (b"Connection: keep-alive", 200),
    ],
)
def test_an_unusual_request_is_served(wired: Wired, line: bytes, status: int) -> None:
    assert exchange(wired.address, to(wired, GOOD[:-2] + line + b"\r\n\r\n")).status == status


@pytest.mark.parametrize(
    "host", [b"localhost", b"LOCALHOST:80", b"127.0.0.1", b"127.1.2.3:1", b"[::1]:80", b"x.localhost"]
)
def test_loopback_has_many_names(wired: Wired, host: bytes) -> None:
    assert exchange(wired.address, GOOD.replace(b"HOST", host)).status == 200


def test_a_head_request_gets_no_body(wired: Wired) -> None:
    with wired.connect() as sock:
        sock.sendall(to(wired, b"HEAD /v1/x HTTP/1.1\r\nHost: HOST\r\n\r\n" + GOOD))
        data = b""
        while data.count(b"\r\n\r\n") < 2:
            data += sock.recv(65536)
    heads = data.split(b"\r\n\r\n")
    assert heads[0].startswith(b"HTTP/1.1 200 OK\r\n")
    assert heads[1].startswith(b"HTTP/1.1 200 OK\r\n")


# -- caps ----------------------------------------------------------------------------------------------------------


def test_a_body_above_the_cap_is_refused(echo: Echo) -> None:
    """By its length before it comes, or once so much of it has come."""
    with Wired(echo, limits=Limits(body=1000)) as server:
        length = b"POST /v1/x HTTP/1.1\r\nHost: HOST\r\nContent-Length: 1001\r\n\r\n"
        replies, closed = talk(server.address, to(server, length))
        assert ([reply.status for reply in replies], closed) == ([413], True)
        chunks = b"POST /v1/x HTTP/1.1\r\nHost: HOST\r\nTransfer-Encoding: chunked\r\n\r\n" + chunk(b"x" * 600) * 2
        replies, closed = talk(server.address, to(server, chunks))
        assert ([reply.status for reply in replies], closed) == ([413], True)
        whole = b"POST /v1/x HTTP/1.1\r\nHost: HOST\r\nContent-Length: 1000\r\n\r\n" + b"x" * 1000
        assert exchange(server.address, to(server, whole)).status == 200


def later(server: Wired, seconds: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let so many seconds pass on a server's plain loop, and what is due by then happen.

    Real ones would have to be longer than a busy machine may hold up a client, and be waited for each time.
    """
    now = server.loop.time
    monkeypatch.setattr(server.loop, "time", lambda: now() + seconds)
    server.call(lambda: None)


def heads_begun(server: Wired) -> int:
    """Of how many connections a part of a head has come."""
    begun: int = server.call(lambda: sum(bool(each._buffer) for each in server.server._connections))
    return begun


def wait_for(condition: Callable[[], bool]) -> None:
    until = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.002)


def test_heads_that_never_end_are_ended(echo: Echo, monkeypatch: pytest.MonkeyPatch) -> None:
    """Slowloris: many connections that trickle. Others are served meanwhile; the slow ones get a 408 each."""
    with Wired(echo, limits=Limits(head_seconds=1000), plain_loop=True) as server:
        slow = [socket.create_connection(server.address, PATIENCE) for _ in range(100)]
        silent = [socket.create_connection(server.address, PATIENCE) for _ in range(20)]
        for sock in slow:
            sock.sendall(b"GET /v1/x HTTP/1.1\r\nX-Slow: 1")
        wait_for(lambda: heads_begun(server) == 100)
        assert exchange(server.address, to(server, GOOD)).status == 200
        later(server, 500, monkeypatch)
        for sock in slow:
            sock.sendall(b"1")
        assert exchange(server.address, to(server, GOOD)).status == 200
        wait_for(lambda: server.server.connections == 120)
        later(server, 501, monkeypatch)
        for sock in slow:
            reply = read_reply(sock)
            assert reply is not None
            assert reply.status == 408
            assert sock.recv(1) == b""
            sock.close()
        for sock in silent:
            assert sock.recv(1) == b""
            sock.close()


def test_a_kept_connection_may_be_idle_for_longer_than_a_head_may_take(
    echo: Echo, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Wired(echo, limits=Limits(head_seconds=1000), plain_loop=True) as server, server.connect() as sock:
        for _ in range(3):
            sock.sendall(to(server, GOOD))
            reply = read_reply(sock)
            assert reply is not None
            assert reply.status == 200
            later(server, 1001, monkeypatch)
        sock.sendall(to(server, GOOD[:20]))
        wait_for(lambda: heads_begun(server) == 1)
        later(server, 1001, monkeypatch)
        reply = read_reply(sock)
        assert reply is not None
        assert reply.status == 408


def test_when_all_connections_are_taken_the_longest_idle_one_goes(echo: Echo) -> None:
    with Wired(echo, limits=Limits(connections=5)) as server:
        socks = [socket.create_connection(server.address, PATIENCE) for _ in range(5)]
        for sock in socks:
            sock.sendall(to(server, GOOD))
            assert read_reply(sock) is not None
        assert exchange(server.address, to(server, GOOD)).status == 200
        assert socks[0].recv(1) == b""
        socks[1].sendall(to(server, GOOD))
        assert read_reply(socks[1]) is not None
        for sock in socks:
            sock.close()


class Silent:
    """An application that keeps every exchange open, and notes who leaves."""

    def __init__(self) -> None:
        self.exchanges: list[Exchange] = []
        self.lost_ones = 0
        self.paused = 0
        self.resumed = 0
        self.completed = threading.Event()
        self.left = threading.Event()

    def __call__(self, exchange: Exchange) -> Receiver:
        self.exchanges.append(exchange)
        return self

    def body(self, data: bytes) -> None:
        pass

    def complete(self, trailers: HeaderList) -> None:
        self.completed.set()

    def lost(self) -> None:
        self.lost_ones += 1
        self.left.set()

    def pause(self) -> None:
        self.paused += 1

    def resume(self) -> None:
        self.resumed += 1


def test_when_all_connections_are_busy_a_new_one_is_turned_away() -> None:
    application = Silent()
    with Wired(application, limits=Limits(connections=2)) as server:
        socks = [socket.create_connection(server.address, PATIENCE) for _ in range(2)]
        for sock in socks:
            sock.sendall(to(server, GOOD))
        while len(application.exchanges) < 2:
            time.sleep(0.01)
        replies, closed = talk(server.address, b"")
        assert ([reply.status for reply in replies], closed) == ([503], True)
        assert b"x-should-retry" not in replies[0].headers
        for sock in socks:
            sock.close()


def test_a_token_is_asked_for(echo: Echo) -> None:
    """With a token, any Host will do, and nothing passes without it."""
    with Wired(echo, gate=Gate(token="t" * 32)) as server:
        for line, status in [
            (b"", 401),
            (b"X-Recorder-Token: wrong\r\n", 401),
            (b"X-Recorder-Token: \xe9\r\n", 401),
            (b"x-recorder-token: " + b"t" * 32 + b"\r\n", 200),
        ]:
            data = b"GET /v1/x HTTP/1.1\r\nHost: my.example\r\n" + line + b"\r\n"
            assert exchange(server.address, data).status == status


# -- what an application can do ------------------------------------------------------------------------------------


class Doing(Silent):
    """An application that does one thing once the request is whole."""

    def __init__(self, do: object) -> None:
        super().__init__()
        self.do = do

    def complete(self, trailers: HeaderList) -> None:
        self.do(self.exchanges[-1])  # type: ignore[operator]


def read_all(sock: socket.socket) -> tuple[bytes, str]:
    """Everything until the end, and how it ended."""
    data = b""
    try:
        while got := sock.recv(65536):
            data += got
    except ConnectionResetError:
        return data, "reset"
    return data, "fin"


OK = Head(200, "Fine é", "HTTP/1.1", (("X-A", "1"), ("Transfer-Encoding", "chunked"), ("x-a", "2")))


@pytest.mark.parametrize("plain_loop", [False, True])
@pytest.mark.parametrize("size", [0, 1, 5_000_000])
def test_a_reset_comes_behind_every_byte(size: int, plain_loop: bool) -> None:
    """Also behind more than the sockets' buffers hold, for a client that reads late."""

    def do(exchange: Exchange) -> None:
        exchange.respond(OK, Framing.CHUNKED)
        if size:
            exchange.write(chunk(b"x" * size))
        exchange.reset()

    with Wired(Doing(do), plain_loop=plain_loop) as server, server.connect() as sock:
        sock.sendall(to(server, GOOD))
        time.sleep(0.2)
        data, how = read_all(sock)
    assert how == "reset"
    assert data.startswith(
        "HTTP/1.1 200 Fine é\r\nX-A: 1\r\nTransfer-Encoding: chunked\r\nx-a: 2\r\n\r\n".encode("latin-1")
    )
    assert data.count(b"x" * 1000) == size // 1000
    assert data.endswith(chunk(b"x" * size) if size else b"\r\n\r\n")


@pytest.mark.parametrize("plain_loop", [False, True])
@pytest.mark.parametrize("size", [0, 1, 5_000_000])
def test_a_cut_comes_behind_every_byte(size: int, plain_loop: bool) -> None:
    """As a FIN, also when the client has sent what nobody read."""

    def do(exchange: Exchange) -> None:
        exchange.respond(OK, Framing.CHUNKED)
        if size:
            exchange.write(chunk(b"x" * size))
        exchange.cut()

    with Wired(Doing(do), plain_loop=plain_loop) as server, server.connect() as sock:
        sock.sendall(to(server, GOOD) * 3)
        time.sleep(0.2)
        data, how = read_all(sock)
    assert how == "fin"
    assert data.endswith(chunk(b"x" * size) if size else b"\r\n\r\n")


@pytest.mark.parametrize(("act", "how"), [("cut", "fin"), ("reset", "reset")])
def test_a_connection_may_end_before_any_byte(act: str, how: str) -> None:
    with Wired(Doing(lambda exchange: getattr(exchange, act)())) as server, server.connect() as sock:
        sock.sendall(to(server, GOOD))
        assert read_all(sock) == (b"", how)


def test_an_http_1_0_client_gets_no_chunks() -> None:
    framings = []

    def do(exchange: Exchange) -> None:
        exchange.info(Head(103, "Early Hints"))
        framings.append(exchange.respond(OK, Framing.CHUNKED))
        exchange.write(b"hello")
        exchange.finish()

    with Wired(Doing(do)) as server, server.connect() as sock:
        sock.sendall(b"GET / HTTP/1.0\r\n\r\n")
        data, how = read_all(sock)
    assert framings == [Framing.CLOSE]
    assert (data, how) == ("HTTP/1.1 200 Fine é\r\nX-A: 1\r\nx-a: 2\r\n\r\nhello".encode("latin-1"), "fin")


def test_informational_answers_and_trailers_are_sent() -> None:
    def do(exchange: Exchange) -> None:
        exchange.info(Head(100, "Continue"))
        exchange.info(Head(103, "Early Hints", "HTTP/1.1", (("Link", "</x>"),)))
        exchange.respond(OK, Framing.CHUNKED)
        exchange.write(chunk(b"hi") + last_chunk((("X-T", "1"),)))
        exchange.finish()

    with Wired(Doing(do)) as server, server.connect() as sock:
        sock.sendall(to(server, GOOD.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")))
        data, _ = read_all(sock)
    assert data.startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\nHTTP/1.1 200")
    assert data.endswith(b"Connection: close\r\n\r\n2\r\nhi\r\n0\r\nX-T: 1\r\n\r\n")


@pytest.mark.parametrize(
    ("framing", "given", "sent"),
    [
        (Framing.CHUNKED, [("Content-Length", "10"), ("Transfer-Encoding", "chunked")], ["Transfer-Encoding: chunked"]),
        (Framing.CHUNKED, [("A", "1")], ["A: 1", "Transfer-Encoding: chunked"]),
        (Framing.LENGTH, [("content-length", "0"), ("Keep-Alive", "timeout=5")], ["content-length: 0"]),
        (
            Framing.LENGTH,
            [("Connection", "keep-alive"), ("Content-Length", "0")],
            ["Connection: keep-alive", "Content-Length: 0"],
        ),
        (
            Framing.LENGTH,
            [("Connection", "close"), ("Content-Length", "0")],
            ["Connection: close", "Content-Length: 0"],
        ),
        (Framing.LENGTH, [("Connection", "x-hop"), ("X-Hop", "1"), ("Content-Length", "0")], ["Content-Length: 0"]),
        (Framing.LENGTH, [("Connection", "close, x-hop"), ("X-Hop", "1")], ["Connection: close"]),
        (Framing.LENGTH, [("Upgrade", "h2c"), ("Proxy-Connection", "x"), ("TE", "x")], []),
        (Framing.CLOSE, [("A", "1")], ["A: 1"]),
        (
            Framing.NONE,
            [("Content-Length", "5"), ("Transfer-Encoding", "chunked")],
            ["Content-Length: 5", "Transfer-Encoding: chunked"],
        ),
    ],
)
def test_headers_of_one_hop_are_decided_here(framing: Framing, given: list[tuple[str, str]], sent: list[str]) -> None:
    """All others go out in order and spelling."""

    def do(exchange: Exchange) -> None:
        exchange.respond(Head(200, "OK", "HTTP/1.1", tuple(given)), framing)
        exchange.write(b"")
        exchange.cut()

    with Wired(Doing(do)) as server, server.connect() as sock:
        sock.sendall(to(server, GOOD))
        data, _ = read_all(sock)
    assert data.decode().split("\r\n") == ["HTTP/1.1 200 OK", *sent, "", ""]


@pytest.mark.parametrize("plain_loop", [False, True])
def test_a_slow_reader_is_waited_for(plain_loop: bool) -> None:
    """The application is told to pause, and to go on once the client has read."""
    application = Silent()
    with Wired(application, plain_loop=plain_loop) as server, server.connect() as sock:
        sock.sendall(to(server, GOOD))
        assert application.completed.wait(PATIENCE)
        (exchange,) = application.exchanges
        server.call(lambda: exchange.respond(OK, Framing.CHUNKED))
        sent = 0

        def waits() -> bool:
            told: bool = server.call(lambda: application.paused > application.resumed)
            return told

        while not waits():
            while not waits():
                server.call(lambda: exchange.write(chunk(b"x" * 100_000)))
                sent += 100_000
                assert sent < 50_000_000
            time.sleep(0.1)  # the kernel may take more than it did at first: then there is room, though nobody read
        before = application.resumed
        while application.resumed == before:
            # The last of it may be read before the application is told, and then there is no more to wait for.
            if select.select([sock], [], [], 0.05)[0]:
                assert sock.recv(1 << 20)
        server.call(lambda: exchange.write(last_chunk()))
        server.call(exchange.finish)
        assert application.lost_ones == 0


@pytest.mark.parametrize("plain_loop", [False, True])
@pytest.mark.parametrize("how", ["fin", "reset"])
@pytest.mark.parametrize("begun", [False, True])
def test_a_client_that_leaves_is_noticed(how: str, begun: bool, plain_loop: bool) -> None:
    application = Silent()
    with Wired(application, plain_loop=plain_loop) as server, server.connect() as sock:
        sock.sendall(to(server, GOOD))
        assert application.completed.wait(PATIENCE)
        if begun:
            server.call(lambda: application.exchanges[0].respond(OK, Framing.CHUNKED))
        if how == "reset":
            linger_none(sock)
        sock.close()
        assert application.left.wait(PATIENCE)
    assert application.lost_ones == 1


def test_a_request_that_breaks_loses_its_client() -> None:
    application = Silent()
    with Wired(application) as server:
        data = to(server, b"POST / HTTP/1.1\r\nHost: HOST\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhelloXX")
        replies, closed = talk(server.address, data)
        assert ([reply.status for reply in replies], closed, application.lost_ones) == ([400], True, 1)


def test_a_refusal_by_the_application_keeps_the_connection(wired: Wired) -> None:
    def refuse(exchange: Exchange) -> Receiver:
        raise Refused(404, "nothing is here")

    with Wired(refuse) as server, server.connect() as sock:
        for _ in range(3):
            sock.sendall(to(server, GOOD))
            reply = read_reply(sock)
            assert reply is not None
            assert (reply.status, reply.headers[b"x-should-retry"]) == (404, b"false")
            assert json.loads(reply.body)["error"]["message"] == "recorder: nothing is here"


def test_a_failing_application_ends_one_connection_alone(caplog: pytest.LogCaptureFixture) -> None:
    def fail(exchange: Exchange) -> Receiver:
        if exchange.head.target == "/fail":
            raise ValueError("a defect")
        return Echo()(exchange)

    with Wired(fail) as server, server.connect() as other:
        with server.connect() as sock:
            sock.sendall(to(server, GOOD.replace(b"/v1/x?a=[1]", b"/fail")))
            assert read_all(sock)[0] == b""
        other.sendall(to(server, GOOD))
        assert read_reply(other) is not None
    assert "recorder failed on its own" in caplog.text


def test_a_tunnel_passes_bytes_as_they_are() -> None:
    class Tunnel(Silent):
        def complete(self, trailers: HeaderList) -> None:
            exchange = self.exchanges[-1]
            exchange.respond(Head(101, "Switching Protocols", "HTTP/1.1", (("Upgrade", "x"),)), Framing.NONE)
            exchange.tunnel()

        def body(self, data: bytes) -> None:
            self.exchanges[-1].write(data.upper())

    application = Tunnel()
    with Wired(application) as server, server.connect() as sock:
        sock.sendall(to(server, GOOD) + b"early ")
        sock.sendall(b"GET / HTTP/1.1\r\n\r\n")
        data = b""
        while b"\r\n\r\nEARLY GET / HTTP/1.1\r\n\r\n" not in data:
            data += sock.recv(65536)
        sock.close()
        assert application.left.wait(PATIENCE)


# -- stopping ------------------------------------------------------------------------------------------------------


def test_a_graceful_stop_lets_what_is_under_way_end() -> None:
    """Idle connections end at once, no new ones are taken, and an answer that begins now says that it is the last."""
    application = Silent()
    with Wired(application) as server:
        idle = socket.create_connection(server.address, PATIENCE)
        with server.connect() as sock:
            sock.sendall(to(server, GOOD))
            assert application.completed.wait(PATIENCE)
            server.call(server.server.stop)
            assert idle.recv(1) == b""
            with pytest.raises(OSError, match=r"refused|reset"), socket.create_connection(server.address, PATIENCE):
                pass
            (exchange,) = application.exchanges
            server.call(lambda: exchange.answer(200, b"{}"))
            data, how = read_all(sock)
        assert b"Connection: close" in data
        assert how == "fin"
        idle.close()
