"""The grammar of HTTP/1.1, without sockets: heads, targets, framings. h11 says what clients read."""

from __future__ import annotations

import contextlib
import itertools
import re
import string
from typing import Any

import h11
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recorder.recording import Head, HeaderList
from recorder.wire import (
    LAST_CHUNK,
    Chunked,
    Framing,
    Gate,
    Length,
    Malformed,
    Refused,
    RequestHead,
    UntilClose,
    check_target,
    chunk,
    decoder_of,
    is_loopback,
    last_chunk,
    parse_request,
    parse_response,
    response_framing,
    tokens,
    values,
)
from recorder.wire.bodies import Decoder, request_framing
from recorder.wire.heads import write_fields

NAMES = st.text(string.ascii_letters + string.digits + "!#$%&'*+-.^_`|~", min_size=1, max_size=20)
VALUES = st.text(st.characters(min_codepoint=0x20, max_codepoint=0xFF, exclude_characters="\x7f"), max_size=40).map(
    lambda text: text.strip(" ")
)
EARLY = "peer closed connection without sending complete message body"
HEADERS = st.lists(st.tuples(NAMES, VALUES), max_size=12).map(tuple)


def feed(decoder: Decoder, data: bytes, cuts: list[int]) -> tuple[list[bytes], int]:
    """Feed the data in pieces; the body's pieces, and where the message ended; -1 where it did not."""
    edges = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    found: list[bytes] = []
    for start, stop in itertools.pairwise(edges):
        if start == stop:
            continue
        pieces, end = decoder.feed(data[start:stop])
        found += pieces
        if decoder.problem is not None:
            return found, -1
        if end >= 0:
            return found, start + end
    return found, -1


# -- heads ---------------------------------------------------------------------------------------------------------


@given(headers=HEADERS)
def test_a_request_head_survives_with_spelling_order_and_bytes(headers: HeaderList) -> None:
    block = b"POST /v1/x?a=b HTTP/1.1\r\n" + write_fields(headers)
    head = parse_request(block[:-2])
    assert head == RequestHead("POST", "/v1/x?a=b", "1.1", headers)


@given(headers=HEADERS)
def test_a_response_head_survives_with_spelling_order_and_bytes(headers: HeaderList) -> None:
    block = b"HTTP/1.1 299 An odd \xe9 reason\r\n" + write_fields(headers)
    assert parse_response(block[:-2]) == Head(299, "An odd é reason", "HTTP/1.1", headers)


@given(data=st.binary(max_size=200))
def test_no_request_head_raises_anything_but_refused(data: bytes) -> None:
    for block in (data, b"GET / HTTP/1.1\r\n" + data):
        with contextlib.suppress(Refused):
            assert parse_request(block).target.startswith("/")


@given(data=st.binary(max_size=200))
def test_no_response_head_raises_anything_but_malformed(data: bytes) -> None:
    for block in (data, b"HTTP/1.1 200 OK\r\n" + data):
        try:
            head = parse_response(block)
            response_framing(head, "GET")
        except Malformed:
            continue
        assert 100 <= head.status <= 999


def read_by_h11(data: bytes) -> tuple[int, bytes, list[tuple[bytes, bytes]]] | None:
    """What h11, and so every Python client, makes of a response head; None where it refuses it."""
    client = h11.Connection(h11.CLIENT)
    client.send(h11.Request(method="GET", target="/", headers=[("Host", "a")]))
    client.send(h11.EndOfMessage())
    client.receive_data(data)
    try:
        event: Any = client.next_event()
    except h11.RemoteProtocolError:
        return None
    return event.status_code, event.reason, list(event.headers.raw_items())


@pytest.mark.parametrize(
    "data",
    [
        b"HTTP/1.1 200 OK\r\nA: 1\r\n\r\n",
        b"HTTP/1.0 200 OK\r\nA: 1\r\n\r\n",
        b"HTTP/1.1 200\r\nA: 1\r\n\r\n",
        b"HTTP/1.1 200 \r\nA: 1\r\n\r\n",
        b"HTTP/1.1 200 Tr\xe8s bien\r\n\r\n",
        b"HTTP/1.1 200 OK\nA: 1\nB: 2\n\n",
        b"HTTP/1.1 200 OK\r\nA: 1\n\r\n",
        b"HTTP/1.1 200 OK\r\nA:\t1 \t\r\nB:\r\nC: \r\n\r\n",
        b"HTTP/1.1 200 OK\r\nA: one\r\n two\r\n\tthree\r\nB: 2\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nA: \xc3\xa9\xff\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nA: a\x01b\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nSet-Cookie: a\r\nSet-Cookie: b\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5, 5\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\n",
    ],
)
def test_what_clients_read_is_read_alike(data: bytes) -> None:
    head = parse_response(re.sub(rb"\r?\n\r?\n\Z", b"", data))
    found = read_by_h11(data)
    assert found is not None
    assert (head.status, head.reason.encode("latin-1")) == found[:2]
    if "content-length" not in data.decode("latin-1").lower():
        assert [(name.encode("latin-1"), value.encode("latin-1")) for name, value in head.headers] == found[2]
    response_framing(head, "GET")


@pytest.mark.parametrize(
    "data",
    [
        b"HTTP/1.1 OK\r\n\r\n",
        b"HTTP/2 200 OK\r\n\r\n",
        b"ICY 200 OK\r\n\r\n",
        b"HTTP/1.1 20 OK\r\n\r\n",
        b"HTTP/1.1 2000 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nA\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nA : 1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n: 1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nA(B): 1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n A: 1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nA: a\0b\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n",
    ],
)
def test_what_clients_refuse_is_malformed(data: bytes) -> None:
    assert read_by_h11(data) is None
    with pytest.raises(Malformed):
        response_framing(parse_response(data[:-4]), "GET")


def test_comma_separated_headers_are_taken_apart() -> None:
    headers = (("Connection", "a, B"), ("X", "c"), ("connection", " ,D ,"))
    assert tokens(headers, "connection") == ["a", "b", "d"]
    assert values(headers, "connection") == ["a, B", " ,D ,"]


# -- framings ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "method", "headers", "framing"),
    [
        (200, "GET", (), (Framing.CLOSE, 0)),
        (200, "GET", (("Content-Length", "5"),), (Framing.LENGTH, 5)),
        (200, "GET", (("Content-Length", "0"),), (Framing.NONE, 0)),
        (200, "HEAD", (("Content-Length", "5"),), (Framing.NONE, 0)),
        (200, "GET", (("Transfer-Encoding", "Chunked"),), (Framing.CHUNKED, 0)),
        (200, "GET", (("Transfer-Encoding", "gzip, chunked"),), (Framing.CHUNKED, 0)),
        (200, "GET", (("Transfer-Encoding", "gzip"),), (Framing.CLOSE, 0)),
        (200, "GET", (("Content-Length", "5"), ("Transfer-Encoding", "chunked")), (Framing.CHUNKED, 0)),
        (200, "HEAD", (("Transfer-Encoding", "chunked"),), (Framing.NONE, 0)),
        (204, "GET", (("Content-Length", "5"),), (Framing.NONE, 0)),
        (304, "GET", (("Content-Length", "5"),), (Framing.NONE, 0)),
        (205, "GET", (("Content-Length", "5"),), (Framing.LENGTH, 5)),
        (103, "GET", (("Content-Length", "5"),), (Framing.NONE, 0)),
    ],
)
def test_the_framing_of_a_response(status: int, method: str, headers: HeaderList, framing: tuple[Framing, int]) -> None:
    """RFC 9112 section 6.3."""
    assert response_framing(Head(status, "", "HTTP/1.1", headers), method) == framing


def test_the_framing_of_a_request() -> None:
    def framing(*headers: tuple[str, str]) -> tuple[Framing, int]:
        return request_framing(RequestHead("POST", "/", "1.1", headers))

    assert framing() == (Framing.NONE, 0)
    assert framing(("Content-Length", "7")) == (Framing.LENGTH, 7)
    assert framing(("content-length", "0")) == (Framing.NONE, 0)
    assert framing(("transfer-encoding", "CHUNKED")) == (Framing.CHUNKED, 0)
    assert decoder_of(Framing.NONE) is None


@given(
    pieces=st.lists(st.binary(min_size=1, max_size=60), max_size=12),
    cuts=st.lists(st.integers(0, 2000), max_size=12),
    rest=st.binary(max_size=30),
    strict=st.booleans(),
    trailers=st.lists(st.tuples(NAMES.map("X-{}".format), VALUES), max_size=3).map(tuple),
)
def test_a_chunked_body_is_read_at_any_cutting(
    pieces: list[bytes], cuts: list[int], rest: bytes, strict: bool, trailers: HeaderList
) -> None:
    """Its bytes, its trailers, and where it ended; without cuts, its chunks too."""
    data = b"".join(map(chunk, pieces)) + last_chunk(trailers)
    decoder = Chunked(strict=strict)
    found, end = feed(decoder, data + rest, cuts)
    assert (decoder.problem, b"".join(found), end) == (None, b"".join(pieces), len(data))
    assert decoder.trailers == trailers
    assert Chunked(strict=strict).feed(data + rest) == (pieces, len(data))


@given(data=st.binary(max_size=80), cuts=st.lists(st.integers(0, 100), max_size=5))
def test_garbage_is_never_read_twice_nor_lost(data: bytes, cuts: list[int]) -> None:
    """Whatever comes, a decoder gives the same at any cutting, and knows when it is lost."""
    whole = Chunked()
    first = feed(whole, data, [])
    again = Chunked()
    second = feed(again, data, cuts)
    assert b"".join(first[0]) == b"".join(second[0])
    assert (first[1], whole.problem is None) == (second[1], again.problem is None)


@pytest.mark.parametrize(
    ("data", "body"),
    [
        (b"5\r\nhello\r\n0\r\n\r\n", b"hello"),
        (b"005\r\nhello\r\n000\r\n\r\n", b"hello"),
        (b"A\r\n0123456789\r\n0\r\n\r\n", b"0123456789"),
        (b"5 \t\r\nhello\r\n0\r\n\r\n", b"hello"),
        (b'5;a="b;c";d\r\nhello\r\n0;x\r\n\r\n', b"hello"),
        (b"5\nhello\n0\n\n", b"hello"),
        (b"0\r\nX: folded\r\n on\r\n\r\n", b""),
    ],
)
def test_odd_chunks_of_upstreams_are_read(data: bytes, body: bytes) -> None:
    pieces, end = Chunked().feed(data)
    assert (b"".join(pieces), end) == (body, len(data))


@pytest.mark.parametrize(
    "data",
    [
        b"zz\r\n",
        b"\r\n",
        b"-1\r\n",
        b"1" * 30 + b"\r\n",
        b"5\r\nhelloXX",
        b"5\r\nhello\rX",
        b"5 x\r\nhello",
        b"0\r\nno colon\r\n\r\n",
        b"0\r\nX: " + b"a" * 20_000 + b"\r\n\r\n",
        b"5;" + b"a" * 5000,
    ],
)
def test_broken_chunks_are_noticed(data: bytes) -> None:
    for decoder in (Chunked(), Chunked(strict=True)):
        _, end = decoder.feed(data)
        assert end == -1
        assert decoder.problem is not None


@given(
    size=st.integers(1, 100), data=st.binary(min_size=1, max_size=150), cuts=st.lists(st.integers(0, 150), max_size=5)
)
def test_a_body_of_known_length(size: int, data: bytes, cuts: list[int]) -> None:
    decoder = Length(size)
    found, end = feed(decoder, data, cuts)
    assert b"".join(found) == data[:size]
    assert end == (size if len(data) >= size else -1)
    told = f"(received {len(data)} bytes, expected {size})"
    assert decoder.missing == (None if len(data) >= size else f"{EARLY} {told}")


def test_a_body_until_the_end_never_misses_anything() -> None:
    decoder = UntilClose()
    assert decoder.feed(b"abc") == ([b"abc"], -1)
    assert decoder.missing is None
    assert Chunked().missing == f"{EARLY} (incomplete chunked read)"
    within = Chunked()
    within.feed(b"1f")
    assert within.missing == "peer unexpectedly closed connection"
    assert last_chunk() == LAST_CHUNK


# -- who and where -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "target",
    [
        "/",
        "/v1/threads/thread_abc/runs",
        "/v1/threads?limit=20&order=desc&after=a%20b",
        "/openai/deployments/my-model/chat/completions?api-version=2024-06-01",
        "/v1beta/models/gemini-2.0-flash:streamGenerateContent?alt=sse",
        "/v1/projects/p/locations/l/publishers/anthropic/models/claude-3-5-sonnet@20240620:streamRawPredict",
        "/v1/threads/t/runs?include[]=step_details.tool_calls[*].file_search.results[*].content",
        "/v1/files/a%20b%C3%A9",
        "/v1/x?url=https://example.com/../x//y&at=a@b",
        "/v1/x?a=%2e%2e%2f",
        "/.well-known/x",
        "/v1/...",
        "/v1/a..b",
        "/v1/x/",
    ],
)
def test_a_target_of_everyday_life_is_served(target: str) -> None:
    assert check_target(target) is None


@pytest.mark.parametrize(
    ("host", "is_here"),
    [
        ("127.0.0.1", True),
        ("127.9.9.9", True),
        ("::1", True),
        ("[::1]", True),
        ("localhost", True),
        ("LocalHost.", True),
        ("a.localhost", True),
        ("0.0.0.0", False),
        ("::", False),
        ("10.0.0.1", False),
        ("example.com", False),
        ("127.0.0.1.example.com", False),
    ],
)
def test_loopback_is_recognised_by_name_and_address(host: str, is_here: bool) -> None:
    assert is_loopback(host) is is_here


def test_a_gate_opens_for_names_that_it_was_given() -> None:
    head = RequestHead("GET", "/", "1.1", (("Host", "Box.Example:80"),))
    Gate(hosts=["box.example"]).check(head)
    with pytest.raises(Refused, match="another server"):
        Gate().check(head)
