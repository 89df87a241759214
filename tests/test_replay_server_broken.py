"""Bytes that no client can read: what h11 said of them is what it says again, when it reads what comes out here."""

from __future__ import annotations

from typing import Any

import h11
import pytest

from recorder.replay_server.broken import unreadable
from recorder.wire import Framing

HEAD = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


def complaint(data: bytes) -> str:
    """What h11 says of a response of these bytes, behind which the connection ends."""
    connection = h11.Connection(h11.CLIENT)
    connection.send(h11.Request(method="GET", target="/", headers=[("Host", "h")]))
    connection.send(h11.EndOfMessage())
    with pytest.raises(h11.RemoteProtocolError) as raised:
        for piece in (data, b""):
            if piece or data:
                connection.receive_data(piece)
            for _ in range(9):
                if connection.next_event() is h11.NEED_DATA:
                    break
    return str(raised.value)


def detail(message: str) -> dict[str, Any]:
    return {
        "exception": [{"type": "httpx2.RemoteProtocolError", "message": message}, {"type": "h11.X", "message": "x"}]
    }


@pytest.mark.parametrize(
    "garbage",
    [
        b"\x16\x03\x01 not HTTP at all\r\n\r\n",
        b"\x16\x03\x01",
        b"HTTP/2 200\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX-Bad: a\0b\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX 'quo\"ted' \\ : 1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: one\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n folded: 1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"a" * 300_000,
        b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX-Half: ",
    ],
)
def test_a_head_that_cannot_be_read(garbage: bytes) -> None:
    said = complaint(garbage)
    assert complaint(unreadable(detail(said), None)) == said


@pytest.mark.parametrize(
    "garbage",
    [b"zz\r\n", b"zz\r\ndata: x\r\n", b"-1\r\n", b"5 5\r\n", b"5\r\n: ab\nXX", b"1\r\naXX", b"1\r\na\rX", b"1f"],
)
def test_a_chunk_that_cannot_be_read(garbage: bytes) -> None:
    said = complaint(HEAD + garbage)
    assert complaint(HEAD + unreadable(detail(said), Framing.CHUNKED)) == said


@pytest.mark.parametrize(
    ("message", "framing"),
    [
        ("illegal chunk header", Framing.CHUNKED),
        ("a chunk is not followed by a line end", Framing.CHUNKED),
        ("illegal status line", None),
        ("illegal header line", None),
        ("illegal header value", None),
        ("illegal Content-Length", None),
        ("the head of the response is too large", None),
        ("the first header line is a continuation", None),
    ],
)
def test_what_was_not_quoted_has_its_like(message: str, framing: Framing | None) -> None:
    """The proxy's own words hold no bytes."""
    garbage = unreadable(detail(message), framing)
    assert complaint(HEAD + garbage if framing else garbage)


@pytest.mark.parametrize(
    ("message", "framing"),
    [
        ("peer closed connection without sending complete message body (incomplete chunked read)", Framing.CHUNKED),
        ("illegal chunk header: b'zz'", Framing.LENGTH),
        ("illegal chunk header: b'zz'", Framing.CLOSE),
        ("Server disconnected without sending a response.", None),
        ("<StreamReset stream_id:1>", None),
        ("", None),
    ],
)
def test_where_the_end_of_the_connection_says_it_there_are_none(message: str, framing: Framing | None) -> None:
    assert unreadable(detail(message), framing) == b""


@pytest.mark.parametrize("message", ["illegal status line: bytearray(b'\\", "illegal chunk header: b'\\x'", "x"])
def test_a_damaged_quotation_is_none(message: str) -> None:
    assert isinstance(unreadable(detail(message), None), bytes)
    assert isinstance(unreadable({}, Framing.CHUNKED), bytes)
