"""One answer on a bare socket: the bytes that an upstream sent come again, and the connection ends as it did."""

from __future__ import annotations

import contextlib
import gzip
import json
import math
import socket
import sqlite3
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from recorder.recording import Head, Transport
from tests.loopback import LAST_CHUNK, Act, Loopback, Step, chunk, head, stream_head
from tests.payloads import CHAT, compact
from tests.proxied import Proxied
from tests.replaying import BODY, EVENTS, PATIENCE, Replaying, asking, hear, kept
from tests.wired import exchange, read_reply


def address_of(url: str) -> tuple[str, int]:
    host, _, port = url.removeprefix("http://").rpartition(":")
    return host, int(port)


STREAM: tuple[Step, ...] = (stream_head("X-Request-Id: req_1"), *map(chunk, CHAT), LAST_CHUNK)
ZIPPED = gzip.compress(b"".join(CHAT), mtime=0)
PLAIN = compact({"object": "thread", "id": "thread_1"}).encode()

#: Answers of which each byte comes again.
EXACT: dict[str, tuple[bytes, Sequence[Step]]] = {
    "a stream": (asking(), STREAM),
    "a stream, and the connection stays": (asking(b"Connection: keep-alive"), STREAM),
    "a stream, and the connection ends": (
        asking(b"Connection: close"),
        (stream_head("Connection: close"), *STREAM[1:], Act.FIN),
    ),
    "odd spelling, order, repeats, spaces and bytes": (
        asking(),
        (
            head(
                "200 Tr\xe8s bien",
                "x-B: 1",
                "X-a: 2",
                "x-B: 3",
                "CONTENT-type: text/event-stream",
                "X-Empty: ",
                b"X-Latin: caf\xe9",
                "Transfer-Encoding: chunked",
                "retry-after-ms: 5",
            ),
            chunk(CHAT[0]),
            LAST_CHUNK,
        ),
    ),
    "chunks that cut events": (asking(), (stream_head(), chunk(CHAT[0][:7]), chunk(CHAT[0][7:]), LAST_CHUNK)),
    "a content coding": (
        asking(),
        (stream_head("Content-Encoding: gzip"), chunk(ZIPPED[:20]), chunk(ZIPPED[20:]), LAST_CHUNK),
    ),
    "trailers": (asking(), (stream_head("Trailer: X-Sum"), chunk(CHAT[0]), b"0\r\nX-Sum: abc\r\nx-more: 1\r\n\r\n")),
    "a length": (
        asking(),
        (head("201 Created", "Content-Type: application/json", f"content-length: {len(PLAIN)}") + PLAIN,),
    ),
    "no body": (asking(), (head("204 No Content", "X-A: 1"),)),
    "nothing, of that length": (asking(), (head("200 OK", "Content-Length: 0"),)),
    "early hints": (asking(), (head("103 Early Hints", "Link: </a>"), *STREAM)),
    "several answers before the answer": (
        asking(),
        (head("100 Continue"), head("102 Processing", "X-A: 1"), head("103 Early Hints", "x-b: 2"), *STREAM),
    ),
    "a head alone": (asking(method=b"HEAD", body=b""), (head("200 OK", "Content-Length: 5000", "X-A: 1"),)),
    "a body that the end of the connection ends": (
        asking(),
        (head("200 OK", "Content-Type: text/event-stream") + CHAT[0], CHAT[1], Act.FIN),
    ),
    "an early end": (asking(), (*STREAM[:3], Act.FIN)),
    "an early end in a length": (asking(), (head("200 OK", "Content-Length: 500") + PLAIN, Act.FIN)),
    "a reset": (asking(), (*STREAM[:3], Act.RESET)),
    "an end before the head": (asking(), (Act.FIN,)),
    "a reset before the head": (asking(), (Act.RESET,)),
    "an upstream of HTTP/1.0": (
        asking(),
        (head("200 OK", "Content-Type: text/event-stream", version="HTTP/1.0") + CHAT[0], Act.FIN),
    ),
    "a client of HTTP/1.0": (
        asking(version=b"HTTP/1.0"),
        (head("200 OK", "Content-Type: text/event-stream") + CHAT[0], Act.FIN),
    ),
}


@pytest.mark.parametrize("name", EXACT)
def test_an_answer_comes_again_byte_for_byte(name: str, tmp_path: Path) -> None:
    """Status line, headers in order and spelling, chunks, trailers, and the way the connection ends."""
    asked, script = EXACT[name]
    with Loopback([script, script]) as server:
        first = hear(address_of(server.url), asked, silent_at=math.inf)
        with Proxied(tmp_path / "recorder.db", server.url) as proxy:
            assert hear(proxy.address, asked, silent_at=math.inf) == first
    with Replaying(tmp_path / "recorder.db") as replay:
        assert hear(replay.address, asked, silent_at=math.inf) == first
    ends: dict[Step, str] = {Act.FIN: "fin", Act.RESET: "reset"}
    assert first == (b"".join(step for step in script if isinstance(step, bytes)), ends.get(script[-1], "silence"))


# -- what cannot be the same, and what is made of it -------------------------------------------------------------------


def test_http2_goes_out_as_chunked_http1(tmp_path: Path) -> None:
    kept(tmp_path / "r.db", Head(200, "", "HTTP/2", EVENTS), CHAT[0], CHAT[1], trailers=[["x-sum", "1"]])
    with Replaying(tmp_path / "r.db", repeat="last") as replay:
        heard = hear(replay.address, asking())
        assert heard.data == (
            b"HTTP/1.1 200 \r\ncontent-type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
            + chunk(CHAT[0])
            + chunk(CHAT[1])
            + b"0\r\nx-sum: 1\r\n\r\n"
        )
        old = hear(replay.address, asking(version=b"HTTP/1.0"), silent_at=math.inf)
        assert old.data.endswith(b"\r\n\r\n" + CHAT[0] + CHAT[1])
        assert old.ending == "fin"


@pytest.mark.parametrize(
    ("ending", "begun", "heard"),
    [
        (Transport.CONNECT_ERROR, False, "reset"),
        (Transport.ERROR, False, "reset"),
        (Transport.ERROR, True, "reset"),
        (Transport.INTERRUPTED, True, "reset"),
        (Transport.TIMEOUT, False, "silence"),
        (Transport.TIMEOUT, True, "silence"),
        (Transport.CLIENT_CLOSED, True, "silence"),
        (Transport.PROTOCOL_ERROR, False, "fin"),
        (Transport.PROTOCOL_ERROR, True, "fin"),
    ],
)
def test_each_ending_has_its_like(tmp_path: Path, ending: str, begun: bool, heard: str) -> None:
    """Silence where nobody knows what would have come; never a clean end, and never an answer of our own."""
    answered = Head(200, "OK", "HTTP/1.1", (*EVENTS, ("transfer-encoding", "chunked")))
    kept(tmp_path / "r.db", answered if begun else None, *([CHAT[0]] if begun else []), ending=ending)
    sent = (
        b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n" + chunk(CHAT[0])
        if begun
        else b""
    )
    with Replaying(tmp_path / "r.db", include_partial=True) as replay:
        came = hear(replay.address, asking(), silent_at=len(sent) if heard == "silence" else math.inf)
    assert came == (sent, heard)


def test_what_is_not_whole_is_not_chosen_unless_asked_for(tmp_path: Path) -> None:
    kept(tmp_path / "r.db", Head(200, "OK", "HTTP/1.1", EVENTS), CHAT[0], ending=Transport.CLIENT_CLOSED)
    with Replaying(tmp_path / "r.db") as replay:
        reply = exchange(replay.address, asking())
        assert reply.status == 404
        assert "never to its end" in json.loads(reply.body)["error"]["message"]


def test_a_body_shorter_than_its_length_is_no_clean_end(tmp_path: Path) -> None:
    """A client that left after the last word has heard less than the head announced: so does this one."""
    answered = Head(200, "OK", "HTTP/1.1", (*EVENTS, ("content-length", "5000")))
    kept(tmp_path / "r.db", answered, *CHAT, ending=Transport.CLIENT_CLOSED)
    with Replaying(tmp_path / "r.db") as replay:
        heard = hear(replay.address, asking(), silent_at=math.inf)
    assert heard.ending == "fin"
    assert heard.data.endswith(b"".join(CHAT))


def test_a_client_that_waits_for_a_hundred_gets_it_once(tmp_path: Path) -> None:
    """Also where the upstream's own is in the record."""
    asked = asking(b"Expect: 100-continue")
    start, _, _ = asked.partition(BODY)
    script = (head("100 Continue"), *STREAM)
    with Loopback([script]) as server, Proxied(tmp_path / "r.db", server.url) as proxy:
        hear(proxy.address, asked)
    with Replaying(tmp_path / "r.db") as replay, socket.create_connection(replay.address, PATIENCE) as sock:
        sock.sendall(start)
        assert sock.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        sock.sendall(BODY)
        data = b""
        while not data.endswith(LAST_CHUNK):
            data += sock.recv(1 << 16)
        assert data.startswith(b"HTTP/1.1 200 OK\r\n")


def test_a_redirect_to_the_recorded_origin_leads_back(tmp_path: Path) -> None:
    """Else a client would follow it to the network. One to elsewhere stays as it is."""
    answered = Head(307, "Temporary Redirect", "HTTP/1.1", (("Location", "https://api.openai.com/v2/x?y=1"),))
    kept(tmp_path / "r.db", Head(307, "", "HTTP/1.1", (*answered.headers, ("content-length", "0"))))
    kept(tmp_path / "r.db", Head(307, "", "HTTP/1.1", (("Location", "https://cdn.test/a"), ("content-length", "0"))))
    with Replaying(tmp_path / "r.db") as replay:
        assert exchange(replay.address, asking()).headers[b"location"] == b"http://127.0.0.1/v2/x?y=1"
        assert exchange(replay.address, asking()).headers[b"location"] == b"https://cdn.test/a"


# -- many requests -----------------------------------------------------------------------------------------------------


def test_a_connection_carries_one_exchange_after_another(tmp_path: Path) -> None:
    """Hits, misses and pipelined requests, in order."""
    answered = Head(200, "OK", "HTTP/1.1", (("content-length", "2"),))
    for text in (b"{}", b"[]"):
        kept(tmp_path / "r.db", answered, text)
    with Replaying(tmp_path / "r.db") as replay, socket.create_connection(replay.address, PATIENCE) as sock:
        sock.sendall(asking() + asking() + asking())
        held = bytearray()
        replies = [read_reply(sock, held) for _ in range(3)]
        assert [reply and (reply.status, reply.body[:2]) for reply in replies] == [
            (200, b"{}"),
            (200, b"[]"),
            (404, b'{"'),
        ]


def test_a_client_that_leaves_is_forgotten(tmp_path: Path) -> None:
    """Its answer ends with it; others go on."""
    answered = Head(200, "OK", "HTTP/1.1", (*EVENTS, ("transfer-encoding", "chunked")))
    kept(tmp_path / "r.db", answered, CHAT[0], ending=Transport.TIMEOUT)
    with Replaying(tmp_path / "r.db", repeat="last") as replay:
        for _ in range(3):
            with socket.create_connection(replay.address, PATIENCE) as sock:
                sock.sendall(asking())
                assert sock.recv(10) == b"HTTP/1.1 2"
        until = time.monotonic() + PATIENCE
        while True:
            told = json.loads(
                exchange(replay.address, b"GET /__recorder/health HTTP/1.1\r\nHost: localhost\r\n\r\n").body
            )
            if not told["open_streams"] or time.monotonic() > until:
                break
            time.sleep(0.01)
        assert told == {"status": "ok", "answered": 3, "misses": 0, "open_streams": 0}


def test_a_slow_client_holds_up_itself_alone(tmp_path: Path) -> None:
    """A stream of 40 MB is not put into the socket's buffer before it is read; every byte of it comes in the end."""
    event = b"data: " + b"x" * 40_000 + b"\n\n"
    answered = Head(200, "OK", "HTTP/1.1", (*EVENTS, ("content-length", str(1000 * len(event)))))
    kept(tmp_path / "r.db", answered, *([event] * 1000))
    with Replaying(tmp_path / "r.db", repeat="cycle") as replay:
        with socket.create_connection(replay.address, PATIENCE) as sock:
            sock.sendall(asking())
            until = time.monotonic() + PATIENCE
            while not replay.call(lambda: max(map(_unsent, replay.service.server._connections), default=0)):
                assert time.monotonic() < until, "nothing waits for the client, who reads nothing"
                time.sleep(0.01)
            time.sleep(0.3)  # time enough to put it all there, did it not wait
            buffered = replay.call(lambda: max(map(_unsent, replay.service.server._connections)))
            assert 0 < buffered < 2 << 20
            assert exchange(replay.address, b"GET /__recorder/health HTTP/1.1\r\nHost: localhost\r\n\r\n").status == 200
            count = 0
            while count < 1000 * len(event):
                count += len(sock.recv(1 << 20))


def _unsent(connection: Any) -> int:
    size: int = connection._transport.get_write_buffer_size()
    return size


def damage(path: Path, position: int) -> None:
    """Take one event out of the store, past all that guards it."""
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
            connection.execute(f"DROP TRIGGER {name}")
        connection.execute("DELETE FROM events WHERE position = ?", (position,))


def test_a_recording_that_is_damaged_further_on_is_broken_off(tmp_path: Path) -> None:
    """Bytes were sent before that was seen: the end is a reset, never a clean one."""
    answered = Head(200, "OK", "HTTP/1.1", (*EVENTS, ("transfer-encoding", "chunked")))
    pieces = [b"data: %0500d\n\n" % number for number in range(3000)]
    kept(tmp_path / "r.db", answered, *pieces)
    damage(tmp_path / "r.db", 2900)
    with Replaying(tmp_path / "r.db") as replay:
        heard = hear(replay.address, asking(), silent_at=math.inf)
        assert heard.ending == "reset"
        assert len(heard.data) > 1000 * 500
        assert not heard.data.endswith(LAST_CHUNK)
        (said,) = replay.said
        assert "is damaged" in said


def test_a_damaged_recording_is_no_answer(tmp_path: Path) -> None:
    """Where nothing was sent yet, an error that says so; the log has it too."""
    answered = Head(200, "OK", "HTTP/1.1", (*EVENTS, ("transfer-encoding", "chunked")))
    kept(tmp_path / "r.db", answered, *CHAT)
    damage(tmp_path / "r.db", 2)
    with Replaying(tmp_path / "r.db") as replay:
        reply = exchange(replay.address, asking())
        assert reply.status == 500
        assert reply.headers[b"x-should-retry"] == b"false"
        assert "is damaged" in json.loads(reply.body)["error"]["message"]
        assert len(replay.said) == 1
        assert "is damaged" in replay.said[0]
