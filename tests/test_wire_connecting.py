"""Reaching upstreams: TLS by one's own certificates, proxies by CONNECT, and what is never asked."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import socket
import ssl
import threading
from collections.abc import Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest

from recorder.errors import UsageError
from recorder.recording import Head, HeaderList
from recorder.wire import Dialer, Failure, Framing, Link, Origin, Pool, ProtocolError, ProxyRefused, loop_factory
from recorder.wire.connecting import server_context
from tests.certificates import Certificate, make
from tests.loopback import Act, Loopback, Refused, head
from tests.wired import Echo, Wired

OK = head("200 OK", "Content-Length: 2") + b"ok"
#: Seconds that anything here may take: never to be reached, and above what a busy machine may need.
PATIENCE = 30.0


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    return make(tmp_path_factory.mktemp("tls"))


@pytest.fixture(params=["uvloop", "asyncio"])
def run(request: pytest.FixtureRequest) -> Any:
    """Runs a coroutine on either loop."""

    def run_(coroutine: Coroutine[Any, Any, Any]) -> Any:
        factory = asyncio.new_event_loop if request.param == "asyncio" else loop_factory()
        with asyncio.Runner(loop_factory=factory) as runner:
            return runner.run(asyncio.wait_for(coroutine, PATIENCE))

    return run_


class Heard:
    """An answer that keeps everything."""

    def __init__(self) -> None:
        self.infos: list[Head] = []
        self.heads: list[tuple[Head, Framing]] = []
        self.raw_bytes = b""
        self.pieces: list[bytes] = []
        self.problems: list[str] = []
        self.failure: Failure | None = None
        self.over = asyncio.Event()

    def info(self, head: Head) -> None:
        self.infos.append(head)

    def head(self, head: Head, framing: Framing) -> None:
        self.heads.append((head, framing))

    def data(self, raw: bytes, pieces: Any) -> None:
        self.raw_bytes += raw
        self.pieces += pieces

    def malformed(self, error: ProtocolError) -> None:
        self.problems.append(str(error))

    def raw(self, data: bytes) -> None:
        self.raw_bytes += data

    def ended(self, trailers: HeaderList) -> None:
        self.over.set()

    def broken(self, failure: Failure) -> None:
        self.failure = failure
        self.over.set()

    def hold_body(self) -> None:
        pass

    def continue_body(self) -> None:
        pass


async def ask(pool: Pool, origin: Origin) -> Heard:
    """One request to the origin."""
    heard = Heard()
    link: Link = pool.take(origin) or await pool.connect(origin)
    link.send(heard, "GET", b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    await heard.over.wait()
    if link.release():
        pool.put(link)
    return heard


async def ask_once(dialer: Dialer, origin: Origin) -> Heard:
    pool = Pool(dialer)
    try:
        return await ask(pool, origin)
    finally:
        pool.close()
        await asyncio.sleep(0)


# -- origins -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "origin", "authority"),
    [
        ("https://api.openai.com", ("https", "api.openai.com", 443), "api.openai.com"),
        ("https://API.openai.com:443/v1", ("https", "api.openai.com", 443), "api.openai.com"),
        ("http://127.0.0.1:8080/x", ("http", "127.0.0.1", 8080), "127.0.0.1:8080"),
        ("http://[::1]:80", ("http", "::1", 80), "[::1]"),
        ("https://[::1]:8443/", ("https", "::1", 8443), "[::1]:8443"),
    ],
)
def test_an_origin_of_a_url(url: str, origin: tuple[str, str, int], authority: str) -> None:
    assert Origin.of(url) == origin
    assert Origin.of(url).authority == authority


@pytest.mark.parametrize(
    "url", ["", "api.openai.com", "ftp://x", "https://", "http://[::1", "http://x:99999", "unix:/x"]
)
def test_what_is_no_origin(url: str) -> None:
    with pytest.raises(UsageError):
        Origin.of(url)


# -- TLS -----------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def speaking_tls(certificate: Certificate) -> Iterator[Origin]:
    with Wired(Echo(), tls=certificate.server()) as server:
        yield Origin("https", "localhost", server.address[1])


def test_an_upstream_is_trusted_by_ca(certificate: Certificate, run: Any) -> None:
    with speaking_tls(certificate) as origin:
        heard = run(ask_once(Dialer(ca=str(certificate.certificate), environment={}), origin))
    assert heard.heads[0][0].status == 200


def test_an_upstream_is_trusted_by_ssl_cert_file(
    certificate: Certificate, run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate.certificate))
    with speaking_tls(certificate) as origin:
        heard = run(ask_once(Dialer(environment={}), origin))
    assert heard.heads[0][0].status == 200


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
def test_a_stranger_is_not_trusted(certificate: Certificate, run: Any, host: str) -> None:
    """Nor is a known one under another name."""
    with speaking_tls(certificate) as origin, pytest.raises(ssl.SSLError, match="verif"):
        run(ask_once(Dialer(environment={}), origin._replace(host=host)))


def test_a_file_without_certificates_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.pem").write_text("nothing")
    with pytest.raises(UsageError, match="--ca"):
        Dialer(ca=str(tmp_path / "x.pem"))
    with pytest.raises(UsageError, match="certificate"):
        server_context(str(tmp_path / "x.pem"), None)


# -- proxies -------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def forward_proxy(answer: bytes = b"HTTP/1.1 200 Connection established\r\n\r\n") -> Iterator[tuple[str, list[bytes]]]:
    """A proxy that opens tunnels; its URL, and the heads it was asked with."""
    asked: list[bytes] = []

    def serve(sock: socket.socket) -> None:
        with sock, contextlib.suppress(OSError):
            data = b""
            while b"\r\n\r\n" not in data:
                piece = sock.recv(1000)
                if not piece:  # it left; going on would take the interpreter from all tests to come
                    return
                data += piece
            asked.append(data)
            sock.sendall(answer)
            if b" 200 " not in answer:
                return
            host, _, port = data.split(b" ")[1].decode().rpartition(":")
            with socket.create_connection((host, int(port)), PATIENCE) as other:
                pipe = threading.Thread(target=copy, args=(other, sock), daemon=True)
                pipe.start()
                copy(sock, other)
                pipe.join(PATIENCE)

    def copy(source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)

    with socket.create_server(("127.0.0.1", 0)) as listener:

        def accept() -> None:
            with contextlib.suppress(OSError):
                while True:
                    sock, _ = listener.accept()
                    threading.Thread(target=serve, args=(sock,), daemon=True).start()

        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        yield f"http://user:pa%20ss@127.0.0.1:{listener.getsockname()[1]}", asked
        listener.shutdown(socket.SHUT_RDWR)
        thread.join(PATIENCE)


def test_https_goes_through_the_proxy_by_connect(certificate: Certificate, run: Any) -> None:
    with speaking_tls(certificate) as origin, forward_proxy() as (url, asked):
        dialer = Dialer(ca=str(certificate.certificate), environment={"HTTPS_PROXY": url})
        heard = run(ask_once(dialer, origin))
    assert heard.heads[0][0].status == 200
    login = base64.b64encode(b"user:pa ss")
    lines = [b"CONNECT localhost:%d HTTP/1.1" % origin.port, b"Host: localhost:%d" % origin.port]
    assert asked == [b"\r\n".join([*lines, b"Proxy-Authorization: Basic " + login, b"", b""])]


@pytest.mark.parametrize(
    "environment",
    [
        {"NO_PROXY": "localhost"},
        {"no_proxy": "*"},
        {"NO_PROXY": "example.com,.localhost,localhost"},
        {"https_proxy": ""},
    ],
)
def test_no_proxy_is_heeded(certificate: Certificate, run: Any, environment: dict[str, str]) -> None:
    with speaking_tls(certificate) as origin, forward_proxy() as (url, asked):
        given = {"HTTPS_PROXY": url, **environment}
        if "https_proxy" in environment:
            del given["HTTPS_PROXY"]
        run(ask_once(Dialer(ca=str(certificate.certificate), environment=given), origin))
    assert asked == []


def test_plain_http_needs_no_proxy(run: Any) -> None:
    with Loopback([[OK]]) as server, forward_proxy() as (url, asked):
        heard = run(ask_once(Dialer(environment={"HTTPS_PROXY": url}), Origin.of(server.url)))
    assert (b"".join(heard.pieces), asked) == (b"ok", [])


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n",
        b"HTTP/1.1 502 Bad\r\nX: 1\r\n\r\n",
        b"",
        b"nonsense\r\n\r\n",
    ],
)
def test_a_proxy_that_refuses_is_a_failed_connection(run: Any, answer: bytes) -> None:
    """An OSError, whose words hold no password."""
    with forward_proxy(answer) as (url, _), pytest.raises(ProxyRefused) as failed:
        run(ask_once(Dialer(environment={"https_proxy": url}), Origin("https", "localhost", 9)))
    assert isinstance(failed.value, OSError)
    assert "pa" not in str(failed.value).replace("proxy", "")


def test_a_proxy_that_is_away_is_a_failed_connection(run: Any) -> None:
    with Refused() as nobody, pytest.raises(ConnectionRefusedError):
        run(ask_once(Dialer(environment={"HTTPS_PROXY": nobody.url}), Origin("https", "localhost", 9)))


@pytest.mark.parametrize("url", ["socks5://127.0.0.1:1", "https://127.0.0.1:1", "http://", "http://x:99999"])
def test_a_proxy_of_another_kind_is_named(run: Any, url: str) -> None:
    with pytest.raises(UsageError, match="HTTPS_PROXY"):
        run(ask_once(Dialer(environment={"HTTPS_PROXY": url}), Origin("https", "localhost", 9)))


# -- links ---------------------------------------------------------------------------------------------------------


def test_a_link_is_used_again_until_it_has_waited_too_long(run: Any) -> None:
    async def four() -> list[int]:
        pool = Pool(idle_seconds=60)
        origin = Origin.of(server.url)
        counts = []
        for number in range(4):
            if number == 2:  # no sooner: the request before finds its link however slow the machine is
                pool._idle_seconds = 0.05
            if number == 3:
                while pool.links:
                    await asyncio.sleep(0.01)
            await ask(pool, origin)
            counts.append(len(server.connections))
        pool.close()
        await asyncio.sleep(0)
        return counts

    with Loopback([[OK]], repeat_last=True) as server:
        assert run(four()) == [1, 1, 1, 2]


@pytest.mark.parametrize(
    "script",
    [
        [head("200 OK", "Content-Length: 2", "Connection: close") + b"ok"],
        [head("200 OK", "Content-Length: 2", version="HTTP/1.0") + b"ok"],
        [head("200 OK", "Content-Length: 2") + b"ok too much"],
        [head("200 OK"), b"ok", Act.FIN],
    ],
)
def test_a_link_that_cannot_be_kept_is_not(run: Any, script: list[Any]) -> None:
    async def two() -> int:
        pool = Pool()
        for _ in range(2):
            heard = await ask(pool, Origin.of(server.url))
            assert b"".join(heard.pieces) == b"ok"
        pool.close()
        await asyncio.sleep(0)
        return len(server.connections)

    with Loopback([script], repeat_last=True) as server:
        assert run(two()) == 2


@pytest.mark.parametrize(
    ("script", "raw", "problem", "failure"),
    [
        ([Act.FIN], b"", None, ("protocol_error", False)),
        ([Act.RESET], b"", None, ("reset", True)),
        ([b"HTTP/1.1 200 OK\r\nX: 1", Act.FIN], b"HTTP/1.1 200 OK\r\nX: 1", None, ("protocol_error", False)),
        ([b"HTTP/1.1 200 OK\r\nX: 1", Act.RESET], b"HTTP/1.1 200 OK\r\nX: 1", None, ("reset", True)),
        (
            [b"SSH-2.0-x\r\n", Act.FIN],
            b"SSH-2.0-x\r\n",
            "illegal status line: bytearray(b'SSH-2.0-x')",
            ("protocol_error", False),
        ),
        (
            [head("200 OK", "X"), b"more", Act.RESET],
            head("200 OK", "X") + b"more",
            "illegal header line: bytearray(b'X')",
            ("reset", True),
        ),
        ([head("200 OK", "Content-Length: 9") + b"ok", Act.FIN], b"ok", None, ("protocol_error", False)),
        ([head("200 OK", "Content-Length: 9") + b"ok", Act.RESET], b"ok", None, ("reset", True)),
        (
            [head("200 OK", "Transfer-Encoding: chunked") + b"zz\r\nmore", Act.FIN],
            b"zz\r\nmore",
            "illegal chunk header: bytearray(b'zz\\r\\n')",
            ("protocol_error", False),
        ),
    ],
)
def test_what_breaks_is_told_and_every_byte_is_handed_on(
    run: Any, script: list[Any], raw: bytes, problem: str | None, failure: tuple[str, bool]
) -> None:
    with Loopback([script]) as server:
        heard: Heard = run(ask_once(Dialer(environment={}), Origin.of(server.url)))
    assert heard.failure is not None
    assert (heard.raw_bytes, heard.problems) == (raw, [problem] if problem else [])
    assert (heard.failure.kind.value, heard.failure.reset) == failure
