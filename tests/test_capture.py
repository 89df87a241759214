"""Rows give back the exchange: every byte, every chunk, every time, however it came and wherever it stopped.

The reading of rows here is written on its own, from the rules of `recorder.cuts` and `recorder.digest`.
"""

from __future__ import annotations

import dataclasses
import json
import random
import tracemalloc
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple
from uuid import UUID

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from recorder.capture import KEPT, PIECE, Capture, seal_interrupted
from recorder.cuts import unpack
from recorder.digest import EventDigest, payload_of
from recorder.recording import Ending, Event, Head, Recording, Request, Row, uuid7
from recorder.sse import LIMIT, event_name, payload, wire
from recorder.store import Append, Store
from tests.loopback import pieces, seeded_cuts
from tests.needs import examples, need_corpus
from tests.payloads import ASSISTANTS
from tests.test_decode import ENCODERS, bombs

STREAM: Final = "text/event-stream; charset=utf-8"
ID: Final = UUID("01890a5d-ac96-774b-bcce-b302099a8057")


def recording(content: str = "full") -> Recording:
    return Recording(
        recording_id=ID,
        started_at=1_700_000_000_000_000,
        writer=ID,
        dialect="assistants",
        origin="https://api.openai.com",
        request=Request("POST", "https://api.openai.com/v1/threads/runs", body=b"{}", body_size=2),
        salt=bytes(16),
        content=content,
    )


def head(content_type: str | None = STREAM, *codings: str, status: int = 200) -> Head:
    types = () if content_type is None else (("Content-Type", content_type),)
    return Head(status, "OK", headers=(*types, *(("content-encoding", coding) for coding in codings)))


# -- what was sent, and what comes back --------------------------------------------------------------------------------


class Chunk(NamedTuple):
    data: bytes
    at: int


class Exchange(NamedTuple):
    """What a client's side saw. `plain` is the body without its codings, None where these are damaged or unknown.

    `cut` says that the encoded body ends early: then no more than a part of `plain` is in it.
    """

    head: Head | None
    chunks: list[Chunk]
    plain: bytes | None
    infos: int = 0
    cut: bool = False

    @property
    def body(self) -> bytes:
        return b"".join(chunk.data for chunk in self.chunks)


def timed(chunks: Iterable[bytes], step: int = 50) -> list[Chunk]:
    return [Chunk(data, (number + 1) * step) for number, data in enumerate(chunks)]


def begun(exchange: Exchange, content: str = "full", made: Recording | None = None) -> Capture:
    capture = Capture(made or recording(content))
    for number in range(exchange.infos):
        capture.info(Head(103, "Early Hints", headers=(("link", "<x>"),)), number)
    if exchange.head is not None:
        capture.head(exchange.head, 20)
    return capture


def captured(exchange: Exchange, content: str = "full", ending: str = "eof") -> tuple[list[Row], Ending]:
    """The rows and the ending, taken in one piece at the end."""
    capture = begun(exchange, content)
    for data, at in exchange.chunks:
        capture.data(data, at)
    capture.end(ending, exchange.chunks[-1].at if exchange.chunks else 30)
    assert capture.ending is not None
    return capture.take(), capture.ending


def content_of(row: Row) -> bytes:
    """The bytes of a body row."""
    _, _, kind, _, type_, data, raw, size, _ = row
    content = wire(type_, data, raw) if kind == "sse" else data
    assert content is not None
    assert len(content) == size
    return content


def delivered(rows: Sequence[Row]) -> tuple[list[Chunk], bytes]:
    """The chunks that the rows replay, and bytes after the last of them."""
    encoded = any(row[2] == "wire" for row in rows)
    chunks: list[Chunk] = []
    held = b""
    for row in rows:
        if row[2] in ({"wire"} if encoded else {"sse", "body"}):
            data, start = content_of(row), 0
            for end, at in unpack(row[8], row[7], row[3]):
                chunks.append(Chunk(held + data[start:end], at))
                held, start = b"", end
            held += data[start:]
    return chunks, held


def check_shape(rows: Sequence[Row]) -> None:
    """What holds for the rows of every recording, also of one that is not complete."""
    kinds = [row[2] for row in rows]
    order = {"info": 0, "head": 1, "wire": 2, "sse": 2, "body": 2, "end": 3}
    assert [order[kind] for kind in kinds] == sorted(order[kind] for kind in kinds)
    assert kinds.count("head") <= 1
    assert kinds.count("end") <= 1
    assert [row[1] for row in rows] == list(range(len(rows)))
    times = [row[3] for row in rows]
    assert times == sorted(times)
    for recording_id, _, kind, _, type_, data, raw, size, cuts in rows:
        assert recording_id == ID.bytes
        if kind in {"wire", "body"}:
            assert 0 < size <= PIECE
        if kind != "sse":
            assert (type_, raw) == (None, None)
            assert data is not None
            assert len(data) == size
        else:
            assert (data is None) != (raw is None)
            assert type_ is None or "\0" not in type_
        if kind in {"info", "head", "end"}:
            assert cuts == b""


def sealed(capture_recording: Recording, rows: Iterable[Row], ending: Ending) -> Ending:
    """The ending with the digests as they follow from the rows."""
    digest = EventDigest(capture_recording)
    for row in rows:
        digest.rows([row])
        digest.payload(payload_of(row))
    facts, payload_digest, seal = digest.finish(capture_recording, ending)
    return dataclasses.replace(ending, facts_digest=facts, payload_digest=payload_digest, seal=seal)


def unsealed(ending: Ending) -> Ending:
    return dataclasses.replace(ending, facts_digest=None, payload_digest=None, seal=None)


def check(exchange: Exchange) -> tuple[list[Row], Ending]:
    """Capture an exchange, and hold everything that can be said of its rows against it."""
    rows, ending = captured(exchange)
    check_shape(rows)
    assert delivered(rows) == (exchange.chunks, b"")
    assert ending == sealed(recording(), rows, ending)
    assert rows[-1][2] == "end"
    assert ending.events == len(rows) - 1
    assert ending.wire_bytes == len(exchange.body)
    assert ending.http_status == (None if exchange.head is None else exchange.head.status)
    assert ending.head_us == (None if exchange.head is None else 20)
    encoded = exchange.head is not None and exchange.head.content_encoding is not None
    assert any(row[2] == "wire" for row in rows) == (encoded and bool(exchange.chunks))
    assert ("undecoded" in ending.detail) <= encoded
    within = b"".join(content_of(row) for row in rows if row[2] in {"sse", "body"})
    if not encoded:
        assert within == exchange.body
    elif exchange.plain is None:
        assert "undecoded" in ending.detail or not exchange.body or media_type(exchange) != "text/event-stream"
    elif exchange.cut:
        assert exchange.plain.startswith(within)
    else:
        assert within == (exchange.plain if is_stream(exchange) else b"")
        assert "undecoded" not in ending.detail
    return rows, ending


def media_type(exchange: Exchange) -> str:
    content_type = (exchange.head and exchange.head.get("content-type")) or ""
    return content_type.split(";")[0].strip().lower()


def is_stream(exchange: Exchange) -> bool:
    """Whether clients read this body as a stream."""
    if media_type(exchange) == "text/event-stream":
        return True
    start = (exchange.body if exchange.plain is None else exchange.plain).removeprefix(b"\xef\xbb\xbf")
    fields = (b"data:", b"event:", b"id:", b"retry:", b":")
    return media_type(exchange) in {"", "text/plain", "application/octet-stream"} and start.startswith(fields)


# -- any exchange ------------------------------------------------------------------------------------------------------

TOKENS: Final = (
    *(b"\n", b"\r\n", b"\r", b"\n\n", b"\r\r", b"\r\n\r\n", b"\xef\xbb\xbf", b"\xef", b":", b": ping\n\n", b"x"),
    *(b"data: x\n\n", b"data: ", b"data", b"data:", b"event: a\ndata: b\n\n", b"event: \xc3\xa9\ndata: \n\n"),
    *(b"event: \xff\ndata: x\n\n", b"event: a\0b\ndata: c\n\n", b"id: 7\n", b"retry: 5\n\n", b"data: y\r\n\r\n"),
    *(
        b"data: z\r\r",
        b"\0",
        b'{"error":{"message":"no"}}',
        b"<html>",
        b"data: [DONE]\n\n",
        b"event",
        b"e",
        b"i",
        b"re",
    ),
)
bodies = st.lists(st.sampled_from(TOKENS) | st.binary(max_size=5) | st.just(ASSISTANTS[3]), max_size=20)
CONTENT_TYPES: Final = (
    *(STREAM, "text/event-stream", " Text/Event-Stream ;x=y", "application/json", "text/html; charset=utf-8"),
    *("text/plain", "TEXT/plain;charset=utf-8", "application/octet-stream", "", None),
)
CODINGS: Final = (None, None, *ENCODERS)


@st.composite
def exchanges(draw: st.DrawFn) -> Exchange:
    """Any body, in any coding (also a wrong or cut one), under any content type, in any chunks, at any times."""
    parts = draw(bodies)
    plain: bytes | None = b"".join(parts)
    cut = False
    coding = draw(st.sampled_from(CODINGS))
    codings: tuple[str, ...] = ()
    if coding is None:
        body = b"".join(parts)
        lie = draw(st.none() | st.none() | st.sampled_from(["gzip", "br", "zstd", "deflate", "sdch", "identity, gzip"]))
        if lie is not None:
            codings, plain = (lie,), None
    else:
        named, encode = ENCODERS[coding]
        codings = tuple(named.split(",")) if draw(st.booleans()) else (named,)
        body = b"".join(encode(parts))
        if cut := draw(st.integers(0, 4)) == 0:
            body = body[: draw(st.integers(0, len(body)))]
    with_head = draw(st.booleans()) or codings
    points = draw(st.lists(st.integers(0, len(body)), max_size=12) | st.just([*range(len(body))]))
    chunks = pieces(body, points)
    times = sorted(
        draw(st.lists(st.integers(20, 5000) | st.integers(20, 4_000_000), min_size=len(chunks), max_size=len(chunks)))
    )
    content_type = draw(st.sampled_from(CONTENT_TYPES))
    return Exchange(
        head(content_type, *codings) if with_head else None,
        [Chunk(chunk, at) for chunk, at in zip(chunks, times, strict=True)],
        plain,
        draw(st.integers(0, 2)) if with_head else 0,
        cut,
    )


@settings(max_examples=examples(100, 50_000))
@given(exchanges())
@example(Exchange(head("text/plain"), timed([b"d", b"ata: x\n\n", b"data: y\n\n"]), None))
@example(Exchange(head(STREAM), timed([b"data: a\r", b"\r", b"data: b\r\r", b"d"]), None))
@example(Exchange(None, timed([b"\xef", b"\xbb", b"\xbfid: 1\n\n"]), None))
@example(Exchange(head("text/plain"), timed([b"d", b"a", b"ta: x\n\n"], 2_000_000), None))
@example(Exchange(head("text/plain"), timed([b"d", b"a", b"y", b"s"], 2_000_000), None))
def test_any_exchange_comes_back_from_its_rows(exchange: Exchange) -> None:
    """Chunks, times, bytes, order, positions, sizes, digests; and the events inside content codings."""
    rows, _ = check(exchange)
    encoded = exchange.head is not None and exchange.head.content_encoding is not None
    if exchange.body and not encoded:
        frames = [row for row in rows if row[2] == "sse"]
        assert not frames or is_stream(exchange)


@settings(max_examples=examples(50, 20_000))
@given(exchanges(), st.randoms(use_true_random=False))
def test_when_rows_are_taken_changes_nothing(exchange: Exchange, source: random.Random) -> None:
    """The same rows and the same digests, taken after every chunk, never, or now and then."""
    expected = captured(exchange)
    capture = begun(exchange)
    rows = capture.take()
    for data, at in exchange.chunks:
        capture.data(data, at)
        if source.random() < 0.5:
            rows += capture.take()
            assert capture.take() == []
    capture.end("eof", exchange.chunks[-1].at if exchange.chunks else 30)
    rows += capture.take()
    assert (rows, capture.ending) == expected
    assert capture.take() == []


@settings(max_examples=examples(26, 20_000))
@given(exchanges())
def test_without_content_the_facts_are_the_same(exchange: Exchange) -> None:
    """`facts` and `none`: no byte of the body in the rows; every position, time, type, size and cut is there."""
    full, full_ending = captured(exchange)
    for content in ("facts", "none"):
        rows, ending = captured(exchange, content)
        assert len(rows) == len(full)
        for row, whole in zip(rows, full, strict=True):
            of_body = whole[2] in {"sse", "wire", "body"}
            assert row == (*whole[:5], None if of_body else whole[5], None, *whole[7:])
        assert ending == sealed(recording(content), rows, ending)
        assert unsealed(ending) == unsealed(full_ending)


@settings(max_examples=examples(50, 10_000))
@given(exchanges())
def test_facts_are_read_from_rows_that_only_memory_has(exchange: Exchange) -> None:
    """`facts` keeps the rows whole until the reading is made; nothing else does."""
    for content, expected in (("full", None), ("none", None), ("facts", captured(exchange)[0])):
        capture = begun(exchange, content)
        for data, at in exchange.chunks:
            capture.data(data, at)
            capture.take()
        capture.end("eof", exchange.chunks[-1].at if exchange.chunks else 30)
        capture.take()
        assert capture.kept == expected


# -- recordings that stop ----------------------------------------------------------------------------------------------


@settings(max_examples=examples(40, 20_000))
@given(exchanges())
def test_rows_taken_before_a_kill_are_a_prefix_that_replays(exchange: Exchange) -> None:
    """After any chunk: the rows so far are the first rows, and deliver the first chunks, minus what was held."""
    whole, _ = captured(exchange)
    capture = begun(exchange)
    rows = capture.take()
    for count, (data, at) in enumerate(exchange.chunks, 1):
        capture.data(data, at)
        rows += capture.take()
        assert rows == whole[: len(rows)]
        check_shape(rows)
        chunks, rest = delivered(rows)
        assert chunks == exchange.chunks[: len(chunks)]
        assert len(chunks) <= count
        received = b"".join(chunk.data for chunk in exchange.chunks[:count])
        assert received.startswith(b"".join(chunk.data for chunk in chunks) + rest)


@settings(max_examples=examples(100, 20_000))
@given(st.lists(st.sampled_from(ASSISTANTS), max_size=12), st.lists(st.integers(0, 3000), max_size=12))
def test_a_plain_stream_holds_back_no_complete_event(events: list[bytes], points: list[int]) -> None:
    """What a client has seen complete is in a row with the chunk that completed it."""
    stream = b"".join(events)
    capture = Capture(recording())
    capture.head(head(), 0)
    capture.take()
    received = 0
    for number, chunk in enumerate(pieces(stream, points)):
        capture.data(chunk, number)
        received += len(chunk)
        ends = [len(b"".join(events[: count + 1])) for count in range(len(events))]
        seen = b"".join(map(content_of, capture.take()))
        complete = max((end for end in ends if end <= received), default=0)
        before = max((end for end in ends if end <= received - len(chunk)), default=0)
        assert seen == stream[before:complete]


@settings(max_examples=examples(33, 10_000))
@given(exchanges(), st.integers(0, 40), st.sampled_from(["full", "facts", "none"]))
def test_a_recording_of_a_dead_writer_is_sealed_the_same_by_everybody(
    exchange: Exchange, count: int, content: str
) -> None:
    """From any number of rows: one `end` row, digests that follow from the rows, and nothing invented."""
    rows = captured(exchange, content)[0][:-1][:count]
    made = recording(content)
    row, ending = seal_interrupted(made, [Event(*stored[1:]) for stored in rows])
    assert (row, ending) == seal_interrupted(made, (Event(*stored[1:]) for stored in rows))
    assert ending == sealed(made, [*rows, row], ending)
    assert row[:4] == (ID.bytes, len(rows), "end", rows[-1][3] if rows else 0)
    assert json.loads(row[5] or b"") == {"ending": "interrupted", "captured": "truncated"} == ending.detail
    assert (ending.ending, ending.captured, ending.events) == ("interrupted", "truncated", len(rows))
    headed = any(stored[2] == "head" for stored in rows)
    assert (ending.http_status, ending.head_us) == ((200, 20) if headed else (None, None))
    of_wire = [stored[7] for stored in rows if stored[2] == "wire"]
    assert ending.wire_bytes == sum(of_wire or [stored[7] for stored in rows if stored[2] in {"sse", "body"}])
    if content == "full":
        check_shape([*rows, row])


# -- edits -------------------------------------------------------------------------------------------------------------


@settings(max_examples=examples(50, 20_000))
@given(exchanges(), st.data())
def test_an_edit_of_any_row_changes_the_right_digest(exchange: Exchange, data: st.DataObject) -> None:
    """One byte of a payload: the payload digest and the seal. Anything else: the facts digest and the seal."""
    rows, ending = captured(exchange)
    at = data.draw(st.integers(0, len(rows) - 1))
    column = data.draw(st.integers(1, 8))
    value: Any = rows[at][column]
    if isinstance(value, bytes) and value:
        place = data.draw(st.integers(0, len(value) - 1))
        value = value[:place] + bytes([value[place] ^ data.draw(st.integers(1, 255))]) + value[place + 1 :]
    elif isinstance(value, bytes) or value is None:
        value = data.draw(st.binary(max_size=2).filter(lambda new: new != rows[at][column]))
        value = value.decode("latin-1") if column == 4 else value
    elif column == 2:
        value = data.draw(st.sampled_from(sorted({"info", "head", "sse", "wire", "body", "end"} - {value})))
    else:
        value = value + "x" if column == 4 else value + data.draw(st.sampled_from([-1, 1, 256]))
    edited: Any = [*rows]
    edited[at] = (*rows[at][:column], value, *rows[at][column + 1 :])
    after = sealed(recording(), edited, ending)
    assert after.seal != ending.seal
    of_payload = rows[at][column] is not None and column in {5, 6}
    assert (after.payload_digest != ending.payload_digest) >= of_payload
    assert of_payload or after.facts_digest != ending.facts_digest


# -- large, slow, hostile ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [65_536, 1_000_003, 40_000_000])
def test_a_frame_above_the_limit_becomes_pieces_and_the_stream_goes_on(size: int) -> None:
    """17 MiB without a blank line: stored, not parsed; the frames around it are events as ever."""
    first, last = b"event: a\ndata: 1\n\n", b"event: b\ndata: 2\n\n"
    stream = first + b"data: " + b"x" * (LIMIT + PIECE) + b"\n\n" + last * 2 + b"data: cut"
    chunks = [stream[at : at + size] for at in range(0, len(stream), size)]
    rows, _ = check(Exchange(head(), timed(chunks), None))
    kinds = [row[2] for row in rows]
    assert kinds == ["head", "sse", *["body"] * 18, "sse", "sse", "body", "end"]
    assert rows[-2][5] == b"data: cut"


def test_a_body_that_is_no_stream_is_cut_into_pieces() -> None:
    """2.5 MiB of JSON in network-sized chunks, and in one."""
    body = b'"' + b"x" * (5 << 19) + b'"'
    for size in (16_384, 3_333_333, 3 << 20):
        chunks = [body[at : at + size] for at in range(0, len(body), size)]
        rows, _ = check(Exchange(head("application/json"), timed(chunks), None))
        assert [row[7] for row in rows if row[2] == "body"] == [PIECE, PIECE, len(body) - 2 * PIECE]


@pytest.mark.parametrize(("content_type", "codings"), [("application/x-ndjson", ()), (STREAM, ("sdch",))])
def test_a_slow_body_that_is_no_stream_waits_a_second_for_its_row(content_type: str, codings: tuple[str, ...]) -> None:
    """However little it is: what waits in memory is lost when the process dies."""
    chunks = [Chunk(b'{"n":%d}\n' % number, 100 + number * 300_000) for number in range(10)]
    exchange = Exchange(head(content_type, *codings), chunks, None)
    rows, _ = check(exchange)
    assert [row[3] for row in rows[1:-1]] == [1_200_100, 2_700_100]
    assert [len(unpack(row[8], row[7], row[3])) for row in rows[1:-1]] == [5, 5]
    capture = begun(exchange)
    for data, at in chunks[:5]:
        capture.data(data, at)
    assert [row[2] for row in capture.take()][1:] == ["wire" if codings else "body"]


@pytest.mark.parametrize(("content_type", "codings"), [("application/x-ndjson", ()), (STREAM, ("sdch",))])
def test_the_second_that_a_row_waits_is_a_whole_one(content_type: str, codings: tuple[str, ...]) -> None:
    """A chunk one microsecond sooner does not end it."""
    capture = begun(Exchange(head(content_type, *codings), [], None))
    taken = []
    for at in (100, 1_000_099, 1_000_100):
        capture.data(b"x", at)
        taken.append([row[7] for row in capture.take() if row[2] in {"body", "wire"}])
    assert taken == [[], [], [3]]


def test_an_encoded_body_that_is_no_stream_does_not_wait_for_something_to_be_decoded() -> None:
    """The head of a gzip file holds nothing of the answer; under a type that may be a stream's it is not known yet."""
    body = ENCODERS["gzip"][1]([b'{"error":"no"}'])[0]
    for content_type, expected in (("application/json", ["wire"]), ("text/plain", [])):
        capture = begun(Exchange(head(content_type, "gzip"), [], None))
        capture.take()
        for number, at in enumerate(range(0, 10, 2)):
            capture.data(body[at : at + 2], 100 + number * 250_000)
        assert [row[2] for row in capture.take()] == expected


def test_an_encoded_body_that_is_no_stream_is_cut_into_pieces() -> None:
    noise = random.Random(1).randbytes(5 << 19)
    body = zlib.compress(noise)
    chunks = [body[at : at + 99_999] for at in range(0, len(body), 99_999)]
    rows, _ = check(Exchange(head("application/json", "deflate"), timed(chunks), noise))
    assert [row[2] for row in rows] == ["head", "wire", "wire", "wire", "end"]
    assert [row[7] for row in rows[1:3]] == [PIECE, PIECE]


def test_a_large_event_inside_a_coding_becomes_pieces() -> None:
    """Also one that is not finished when the body ends."""
    plain = b"data: " + b"x" * (LIMIT + 10) + b"\n\ndata: 1\n\ndata: " + b"y" * (2 * PIECE)
    body = zlib.compress(plain, 0)
    rows, ending = check(Exchange(head(STREAM, "deflate"), timed([body[:1000], body[1000:]]), plain))
    assert ending.detail == {"ending": "eof", "captured": "full"}
    decoded = [(row[2], row[7]) for row in rows if row[2] not in {"wire", "head", "end"}]
    assert [kind for kind, _ in decoded] == ["body"] * 17 + ["sse"] + ["body"] * 3
    assert [row[2] for row in rows].index("wire") == 1


def test_cr_only_streams_keep_their_chunks() -> None:
    """Such a frame waits for one more byte; its chunk's end and time are told in its row all the same."""
    stream = [b"data: 1\r\r", b"data: 2\r\r", b"data: 3\r\r"]
    rows, _ = check(Exchange(head(), timed(stream), None))
    frames = [row for row in rows if row[2] == "sse"]
    assert [(row[6], row[3]) for row in frames] == [(stream[0], 100), (stream[1], 150), (stream[2], 150)]
    assert unpack(frames[0][8], 9, 100) == [(9, 50)]
    assert frames[2][8] is None


@pytest.mark.parametrize("content", ["full", "facts", "none"])
@pytest.mark.parametrize("bomb_name", ["gzip", "gzip in gzip"])
def test_a_bomb_stays_bounded(content: str, bomb_name: str) -> None:
    """A hundred MiB in a hundred KB: every byte received is stored, decoding stops, and the record says why."""
    name, bomb = bombs()[bomb_name]
    chunks = timed([bomb[at : at + 16_384] for at in range(0, len(bomb), 16_384)])
    capture = begun(Exchange(head(STREAM, name), chunks, None), content)
    tracemalloc.start()
    rows: list[Row] = []
    for data, at in chunks:
        capture.data(data, at)
        rows += capture.take()
    capture.end("eof", 10_000)
    rows += capture.take()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert capture.ending is not None
    assert capture.ending.detail["undecoded"] == "decoded size is over 100 times the encoded size"
    assert capture.ending.wire_bytes == len(bomb) == sum(row[7] for row in rows if row[2] == "wire")
    assert peak < 100 << 20


def growth(capture: Capture, feed: Callable[[int], bytes], rounds: int) -> list[int]:
    """Bytes held after each round of 2,000 chunks, with rows taken now and then and dropped."""
    held = []
    elapsed_us = 0
    tracemalloc.start()
    for _ in range(rounds):
        for number in range(2_000):
            elapsed_us += 10
            capture.data(feed(number), elapsed_us)
            if number % 100 == 99:
                capture.take()
        held.append(tracemalloc.get_traced_memory()[0])
    tracemalloc.stop()
    return held


@pytest.mark.parametrize("content", ["full", "none"])
@pytest.mark.parametrize("kind", ["stream", "split", "body", "gzip", "unknown coding"])
def test_an_endless_stream_needs_no_more_memory(kind: str, content: str) -> None:
    """Where rows are taken, what is held after ten times the chunks is what was held after few."""
    event = ASSISTANTS[3]
    coder = zlib.compressobj(6, zlib.DEFLATED, 31)
    feeds: dict[str, tuple[Head, Callable[[int], bytes]]] = {
        "stream": (head(), lambda number: event),
        "split": (head(), lambda number: event[:90] if number % 2 else event[90:]),
        "body": (head("application/json"), lambda number: event * 10),
        "gzip": (
            head(STREAM, "gzip"),
            lambda number: coder.compress(event) + coder.flush(zlib.Z_SYNC_FLUSH),
        ),
        "unknown coding": (head(STREAM, "sdch"), lambda number: event * 10),
    }
    made, feed = feeds[kind]
    capture = Capture(recording(content))
    capture.head(made, 0)
    held = growth(capture, feed, 6)
    assert max(held[1:]) < held[0] + 2 * PIECE + (200 << 10)
    assert abs(held[5] - held[1]) < 2 * PIECE


def test_what_memory_keeps_for_a_reading_is_bounded() -> None:
    """`facts` gives up the payloads of a recording that is too large for memory; the facts go on."""
    capture = Capture(recording("facts"))
    capture.head(head(), 0)
    event = b"data: " + b"x" * (1 << 20) + b"\n\n"
    for number in range(KEPT // len(event)):
        capture.data(event, number)
    rows = capture.take()
    assert len(capture.kept or ()) == KEPT // len(event) + 1
    capture.data(event, 1_000)
    capture.data(event, 1_000)
    rows += capture.take()
    assert capture.kept is None
    capture.data(event, 1_001)
    capture.end("eof", 1_001)
    rows += capture.take()
    assert capture.kept is None
    assert capture.ending is not None
    assert capture.ending == sealed(recording("facts"), rows, capture.ending)


def test_what_memory_keeps_for_a_reading_is_so_much_and_not_a_byte_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("recorder.capture.KEPT", 1_000)
    for size, kept in ((1_000, True), (1_001, False)):
        capture = Capture(recording("facts"))
        capture.data(b"data: " + b"x" * (size - 8) + b"\n\n", 10)
        assert [row[7] for row in capture.take()] == [size]
        assert (capture.kept is not None) == kept


# -- who looks on ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("content", ["full", "facts", "none"])
def test_who_watches_is_shown_every_row_as_it_came(content: str) -> None:
    """Whatever of it is stored: no payload at all, or one that is masked."""
    key = b"sk-proj-" + b"a1B2c3D4" * 6
    shown: list[Row] = []
    capture = Capture(recording(content), shown.extend)
    capture.head(head(), 20)
    for number, text in enumerate((b"before", key, b"behind")):
        capture.data(b"data: " + text + b"\n\n", 30 + number)
        capture.take()
    capture.end("eof", 40)
    assert [row[5] for row in shown if row[2] == "sse"] == [b"before", key, b"behind"]
    assert [row[1] for row in shown] == list(range(len(shown)))


def test_an_event_without_end_inside_a_coding_waits_for_no_more_than_memory_should_hold(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Till then its bytes wait to be known; its rows are as many whatever is kept of them."""
    monkeypatch.setattr("recorder.capture.KEPT", 10_000)
    monkeypatch.setattr("recorder.capture.PATIENCE", 0)
    packer = zlib.compressobj(0)
    first = packer.compress(b"data: 1\n\n") + packer.flush(zlib.Z_SYNC_FLUSH)
    body = packer.compress(b"data: " + b"x" * 50_000) + packer.flush()
    capture = begun(Exchange(head(STREAM, "deflate"), [], None), "none")
    capture.data(first, 50)
    assert [row[2] for row in capture.take()] == ["head", "wire", "sse"]
    taken = []
    for number, chunk in enumerate((body[:9_999], body[9_999:10_000])):
        capture.data(chunk, 100 + number)
        taken.append([(row[2], row[7]) for row in capture.take()])
    assert taken == [[], [("wire", 10_000)]]


# -- heads -------------------------------------------------------------------------------------------------------------


def test_heads_are_stored_in_order_and_without_secrets() -> None:
    """103 first, then the answer; a withheld header keeps its place and its name."""
    capture = Capture(recording())
    capture.info(Head(103, "Early Hints", headers=(("link", "</x>"), ("Set-Cookie", "secret1"))), 0)
    capture.head(Head(429, "Too Many", "HTTP/1.0", (("Set-Cookie", "secret2"), ("x-latin", "\xe9"))), 9)
    capture.end("eof", 12)
    rows = capture.take()
    assert [(row[2], row[3]) for row in rows] == [("info", 0), ("head", 9), ("end", 12)]
    assert b"secret" not in b"".join(map(payload_of, rows))
    assert Head.from_json(rows[0][5] or b"").headers == (("link", "</x>"), ("Set-Cookie", "[redacted]"))
    stored = Head.from_json(rows[1][5] or b"")
    assert stored == Head(429, "Too Many", "HTTP/1.0", (("Set-Cookie", "[redacted]"), ("x-latin", "\xe9")))
    assert capture.ending is not None
    assert (capture.ending.http_status, capture.ending.head_us, capture.ending.wire_bytes) == (429, 9, 0)


def test_several_content_encoding_lines_are_one_list() -> None:
    named, encode = ENCODERS["gzip, br"]
    exchange = Exchange(head(STREAM, "gzip", "br"), timed(encode(ASSISTANTS)), b"".join(ASSISTANTS))
    rows, _ = check(exchange)
    assert [row[4] for row in rows if row[2] == "sse"] == [frame.split(b"\n")[0][7:].decode() for frame in ASSISTANTS]
    assert named == "gzip, br"


@pytest.mark.parametrize("named", ["identity", "none", "UTF-8", "identity, none"])
def test_what_is_no_coding_leaves_events(named: str) -> None:
    rows, _ = check(Exchange(head(STREAM, named), timed(ASSISTANTS), None))
    assert [row[2] for row in rows] == ["head", *["sse"] * len(ASSISTANTS), "end"]


@pytest.mark.parametrize(
    "start", [b"data: x\n\n", b"event: x\n", b"id: 1\n", b"retry: 1\n", b": ping\n\n", b"data:x\n\n", b":\n\n"]
)
@pytest.mark.parametrize("bom", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("content_type", ["text/plain; charset=utf-8", "application/octet-stream", None])
@pytest.mark.parametrize("coding", [None, "gzip"])
def test_a_stream_under_a_vague_type_is_a_stream_in_any_chunks(
    start: bytes, bom: bytes, content_type: str | None, coding: str | None
) -> None:
    """Whether its first chunk holds a whole line or a single byte."""
    plain = bom + start + b"data: y\n\n"
    for points in ([], [1], [2], [4], [7], range(len(plain))):
        chunks = pieces(plain, points)
        if coding is not None:
            chunks = ENCODERS[coding][1](chunks)
        codings = () if coding is None else (coding,)
        rows, _ = check(Exchange(head(content_type, *codings), timed(chunks), plain))
        frames = [row for row in rows if row[2] == "sse"]
        assert b"".join(map(content_of, frames)) == plain


@pytest.mark.parametrize(
    "body", [b"dat", b"database: x\n\n", b"{}", b"\xef\xbb\xbf", b"\xef\xbb\xbf{}", b"eventually:"]
)
@pytest.mark.parametrize("coding", [None, "gzip"])
def test_another_body_under_a_vague_type_is_no_stream(body: bytes, coding: str | None) -> None:
    for chunks in ([body], pieces(body, range(len(body)))):
        sent = chunks if coding is None else ENCODERS[coding][1](chunks)
        codings = () if coding is None else (coding,)
        rows, _ = check(Exchange(head("text/plain", *codings), timed(sent), body))
        assert {row[2] for row in rows} == {"head", "end", "body" if coding is None else "wire"}


def test_a_stream_under_a_telling_type_is_not_guessed() -> None:
    rows, _ = check(Exchange(head("application/json"), timed([b"data: x\n\n"]), None))
    assert [row[2] for row in rows] == ["head", "body", "end"]


# -- frames ------------------------------------------------------------------------------------------------------------


def test_a_name_with_nul_stays_in_the_bytes_alone() -> None:
    """PostgreSQL's text has no U+0000; the reader finds the name in the frame."""
    for codings in ((), ("gzip",)):
        stream = [b"data: first\n\n", b"event: a\0b\ndata: c\n\n"]
        sent = ENCODERS["gzip"][1](stream) if codings else stream
        rows, _ = check(Exchange(head(STREAM, *codings), timed(sent), b"".join(stream)))
        row = [row for row in rows if row[2] == "sse"][1]
        assert (row[4], row[5], row[6]) == (None, None, b"event: a\0b\ndata: c\n\n")
        assert event_name(row[4], row[6]) == "a\0b"
        assert payload(row[4], row[5], row[6]) == b"c"


# -- endings -----------------------------------------------------------------------------------------------------------


def test_the_end_row_says_what_the_ending_says() -> None:
    capture = Capture(recording())
    capture.data(b"abc", 10)
    detail = {"trailers": [["x", "\xe9"]], "exception": [{"type": "httpx.ReadError", "message": "\ud800"}]}
    capture.end("reset", 20, captured="truncated", detail={**detail, "ending": "eof", "captured": "full"})
    row = capture.take()[-1]
    assert capture.ending is not None
    assert json.loads(row[5] or b"") == {**detail, "ending": "reset", "captured": "truncated"} == capture.ending.detail
    assert (capture.ending.ending, capture.ending.captured) == ("reset", "truncated")
    assert row[5] is not None
    assert row[5].isascii()


@pytest.mark.parametrize(
    ("ending", "sent", "codings", "told"),
    [
        ("eof", 0.5, ("gzip",), "the body ended before its content coding did"),
        ("eof", 0.5, ("br",), "the body ended before its content coding did"),
        ("client_closed", 0.5, ("gzip",), None),
        ("reset", 0.5, ("gzip",), None),
        ("eof", 1, ("gzip",), None),
        ("eof", 0, ("gzip",), None),
        ("client_closed", 1, ("sdch",), "content coding 'sdch' cannot be decoded here"),
        ("eof", 1, ("identity, br",), "content coding 'br' is damaged"),
    ],
)
def test_the_end_row_says_what_was_not_decoded(
    ending: str, sent: float, codings: tuple[str, ...], told: str | None
) -> None:
    """A cut coding is news only where the body claims to be whole: a client that leaves at [DONE] leaves it cut."""
    named = "br" if codings == ("br",) else "gzip"
    body = b"".join(ENCODERS[named][1](ASSISTANTS))
    chunks = timed(pieces(body[: int(len(body) * sent)], range(0, len(body), 100)))
    _, made = captured(Exchange(head(STREAM, *codings), chunks, None), ending=ending)
    assert made.detail.get("undecoded") == told


def test_times_never_run_backwards() -> None:
    """Clocks of two threads may disagree by a little; the record does not."""
    capture = Capture(recording())
    capture.info(Head(100), 50)
    capture.head(head(), 40)
    capture.data(b"data: 1\n\n", 45)
    capture.data(b"data: 2\n\n", 60)
    capture.data(b"data: 3", 55)
    capture.end("eof", 10)
    rows = capture.take()
    assert [row[3] for row in rows] == [50, 50, 50, 60, 60, 60]
    assert delivered(rows)[0] == [(b"data: 1\n\n", 50), (b"data: 2\n\n", 60), (b"data: 3", 60)]
    assert capture.ending is not None
    assert (capture.ending.head_us, capture.ending.elapsed_us) == (50, 60)


def test_nothing_came_before_the_request() -> None:
    """Whatever a clock says; and what came at its very time is cut where the network cut it."""
    capture = Capture(recording())
    chunks = [Chunk(b"data:", 0), Chunk(b" 1\n\nd", 0), Chunk(b"ata: 2\n\n", 0)]
    for (data, _), at in zip(chunks, (-9, -5, 0), strict=True):
        capture.data(data, at)
    capture.end("eof", -1)
    rows = capture.take()
    check_shape(rows)
    assert [row[3] for row in rows] == [0, 0, 0]
    assert delivered(rows) == (chunks, b"")


def test_an_empty_chunk_is_none() -> None:
    """HTTP has no empty chunk (it would end the body); some clients hand one over."""
    capture = Capture(recording())
    capture.head(head(), 1)
    capture.data(b"", 5)
    capture.data(b"data: 1\n\n", 6)
    capture.data(b"", 7)
    capture.end("eof", 8)
    rows = capture.take()
    assert delivered(rows)[0] == [(b"data: 1\n\n", 6)]
    assert rows[-1][3] == 8


def calls_out_of_order() -> Iterator[Any]:
    def after_end(capture: Capture) -> None:
        capture.end("eof", 1)

    def after_data(capture: Capture) -> None:
        capture.data(b"x", 1)

    def after_head(capture: Capture) -> None:
        capture.head(head(), 1)

    calls: Mapping[str, Callable[[Capture], None]] = {
        "head": lambda capture: capture.head(head(), 2),
        "info": lambda capture: capture.info(Head(103), 2),
        "data": lambda capture: capture.data(b"x", 2),
        "end": lambda capture: capture.end("eof", 2),
    }
    for before, names in ((after_end, calls), (after_data, ("head", "info")), (after_head, ("head", "info"))):
        for name in names:
            yield pytest.param(before, calls[name], id=f"{name} {before.__name__}")


@pytest.mark.parametrize(("before", "call"), list(calls_out_of_order()))
def test_a_call_out_of_order_is_refused_and_changes_nothing(
    before: Callable[[Capture], None], call: Callable[[Capture], None]
) -> None:
    """Rows in another order than info, head, body, end would mislead every reader."""
    made = []
    for wrong in (False, True):
        capture = Capture(recording())
        before(capture)
        if wrong:
            with pytest.raises(ValueError, match=r"comes too late|has ended"):
                call(capture)
        if capture.ending is None:
            capture.end("eof", 3)
        made.append((capture.take(), capture.ending))
    assert made[0] == made[1]


@pytest.mark.parametrize("detail", [{"reason": b"bytes"}, {"reason": float("nan")}, {1j: 1}])
def test_a_detail_that_is_no_json_leaves_the_end_to_be_said_again(detail: Any) -> None:
    """Nothing is lost or counted twice by the call that failed."""
    made = []
    for wrong in (False, True):
        capture = begun(Exchange(head(STREAM, "gzip"), [], None))
        capture.data(b"".join(ENCODERS["gzip"][1](ASSISTANTS))[:-30], 100)
        if wrong:
            with pytest.raises((TypeError, ValueError)):
                capture.end("eof", 200, detail=detail)
        capture.end("eof", 150)
        made.append((capture.take(), capture.ending))
    assert made[0] == made[1]


def test_a_chunk_that_could_not_be_read_is_not_in_the_record(monkeypatch: pytest.MonkeyPatch) -> None:
    """Out of memory in the tokenizer: what is stored up to there still verifies."""
    capture = Capture(recording())
    capture.head(head(), 0)
    capture.data(b"data: 1\n\nda", 10)

    def fail(chunk: bytes) -> Any:
        raise MemoryError

    monkeypatch.setattr(capture, "_feed", fail)
    with pytest.raises(MemoryError):
        capture.data(b"ta: 2\n\n", 20)
    capture.end("interrupted", 30, captured="truncated")
    rows = capture.take()
    assert delivered(rows) == ([(b"data: 1\n\nda", 10)], b"")
    assert capture.ending is not None
    assert capture.ending.wire_bytes == 11
    assert capture.ending == sealed(recording(), rows, capture.ending)


# -- stores ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("database", ["sqlite_url", "postgres_database"])
def test_what_a_store_gives_back_verifies(database: str, request: pytest.FixtureRequest) -> None:
    """Digests are made before rows are stored, and must follow again from what any database has kept of them."""
    nul = b"event: a\0b\ndata: c\n\n"
    cases = {
        "stream": Exchange(head(), timed([*ASSISTANTS, nul, b"data: \0\xff\n\nevent: \xff\n\ndata: cut"]), None),
        "encoded": Exchange(head(STREAM, "gzip"), timed(ENCODERS["gzip"][1]([*ASSISTANTS, nul])), None, 2),
        "body": Exchange(head("application/json", status=400), timed([b'{"error', b'"}']), None),
        "nothing": Exchange(None, [], None),
    }
    with Store.open(request.getfixturevalue(database), create=True) as store:
        for name, exchange in cases.items():
            for content in ("full", "facts", "none"):
                made = dataclasses.replace(
                    recording(content),
                    recording_id=uuid7(),
                    request=Request(
                        "POST", "https://x/?a=\u20ac", (("X", "\xe9\0"),), None if content != "full" else b"{}" * 5000
                    ),
                    match_key=bytes(32),
                    match_rule="ignore \u20ac",
                    weight=1 / 3,
                    session="s",
                    trace="t",
                    call=uuid7(),
                    tags={"b": "\u20ac", "a": ""},
                    parameters={"model": "gpt-4o", "max_prompt_tokens": 2**62, "stream": True, "thread_id": None},
                )
                capture = begun(exchange, content, made)
                for data, at in exchange.chunks:
                    capture.data(data, at)
                capture.end("eof", 9_999, detail={"exception": [{"type": "\ud800"}]})
                store.append([Append(made.recording_id, made, capture.take(), capture.ending)])
                stored = store.recording(made.recording_id)
                rows = [(made.recording_id.bytes, *event) for event in store.events(made.recording_id)]
                assert stored.ending == capture.ending, (name, content)
                assert stored.ending is not None
                assert sealed(stored, rows, stored.ending) == stored.ending, (name, content)


# -- published streams -------------------------------------------------------------------------------------------------


def test_published_streams_come_back_in_their_chunks() -> None:
    """All of them, cut at seeded places: plain and gzip-encoded; chunks, times, events and digests."""
    corpus = need_corpus()
    paths = sorted(corpus.rglob("*.sse"))
    assert len(paths) == 216
    for path in paths:
        stream = path.read_bytes()
        chunks = pieces(stream, seeded_cuts(len(stream), path.name, 200))
        plain, _ = check(Exchange(head(), timed(chunks), None))
        coded = ENCODERS["gzip"][1](chunks)
        encoded, _ = check(Exchange(head(STREAM, "gzip"), timed(coded), stream))
        frames = [[row[4:8] for row in rows if row[2] in {"sse", "body"}] for rows in (plain, encoded)]
        assert frames[0] == frames[1], path.name


def test_ids_of_rows_are_those_of_their_recording() -> None:
    """Sixteen bytes, so that one list of rows can hold those of many recordings."""
    made = dataclasses.replace(recording(), recording_id=uuid7())
    capture = Capture(made)
    capture.data(b"data: 1\n\n", 1)
    capture.end("eof", 2)
    assert {row[0] for row in capture.take()} == {made.recording_id.bytes}
