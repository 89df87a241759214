"""What was captured comes out again: the same bytes in the same chunks, due at the same times, ending the same way.

Everything goes through a Capture into a real store and is played from there.
"""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import hashlib
import io
import itertools
import pickle
import random
import sqlite3
import subprocess
import sys
import threading
import time
import tracemalloc
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recorder import match
from recorder.capture import Capture
from recorder.errors import NotFound, ReplayMiss, StoreError, UsageError
from recorder.recording import Event, Head, HeaderList, Recording, Request, uuid7
from recorder.replay import Chunk, Chunking, Miss, Pacer, Player, emit, parse_chunks, parse_pace
from recorder.replay.chunks import _random_sizes
from recorder.store import Append, Store
from recorder.store.erasing import Wipe
from recorder.tape.deck import Deck, Track
from recorder.writer.opening import Opening, Options, opened
from tests.loopback import Stream, corpus, seeded_cuts
from tests.needs import ROOT, examples, need_corpus
from tests.payloads import ASSISTANTS, CHAT, DONE, REQUIRES_ACTION, RESPONSES, error_body, frame
from tests.tape import recorded

JSON: Final = (("content-type", "application/json"),)
STREAM: Final = (("content-type", "text/event-stream"),)
URL: Final = "https://api.example/v1/chat/completions"
NUMBERS: Final = itertools.count()
CHUNKINGS: Final = ("recorded", "event", "joined", "size:1", "size:7", "size:100000", "seed:0", "seed:3")


def asked(
    body: bytes = b'{"model":"m"}', *, method: str = "POST", url: str = URL, headers: HeaderList = JSON
) -> Request:
    return Request(method, url, headers, body, len(body))


def answered(*headers: tuple[str, str], status: int = 200, stream: bool = True) -> Head:
    return Head(status, "", headers=(*(STREAM if stream else ()), *headers))


def timed(pieces: Iterable[bytes], step: int = 1000) -> list[Chunk]:
    return [(number * step, piece) for number, piece in enumerate(pieces, 1)]


@dataclass(frozen=True)
class Tape:
    """Records exchanges into a store, as a writer would, and gives them back as the store holds them."""

    store: Store
    path: Path | None = None
    request: Request = field(default_factory=asked)

    def record(
        self,
        chunks: Sequence[Chunk] = (),
        *,
        request: Request | None = None,
        head: Head | None = None,
        refused: bool = False,
        infos: Sequence[tuple[int, Head]] = (),
        ending: str | None = "eof",
        captured: str = "full",
        detail: Mapping[str, Any] | None = None,
        content: str = "full",
        rule: match.Rule = match.DEFAULT,
    ) -> Recording:
        """`refused`: no response came. `ending` None: the recording goes on."""
        opening = Opening(request or self.request, 1_700_000_000_000_000, content, 1.0, None, None, None, {})
        recording = opened(opening, uuid7(), uuid7(), Options(rule=rule, body_limit=1 << 20))
        capture = Capture(recording)
        for at, info in infos:
            capture.info(info, at)
        if not refused:
            capture.head(head or answered(), infos[-1][0] + 1 if infos else 500)
        last = 500
        for last, chunk in chunks:
            capture.data(chunk, last)
        if ending is not None:
            capture.end(ending, last + 250, captured=captured, detail=detail)
        self.store.append([Append(recording.recording_id, capture.recording, capture.take(), capture.ending)])
        return self.store.recording(recording.recording_id)

    def damage(self, recording: Recording, *statements: str) -> Recording:
        """Change the stored rows behind the store's back; `?1` in a statement is the recording's id."""
        assert self.path is not None
        with contextlib.closing(sqlite3.connect(self.path)) as database, database:
            recording_id = recording.recording_id.bytes
            database.execute("INSERT INTO erasures VALUES (?1, ?2, 'test', 'test')", (recording_id, time.time_ns()))
            for statement in statements:
                database.execute(statement, (recording_id,))
        return self.store.recording(recording.recording_id)


@pytest.fixture(scope="module")
def shared_tape(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tape]:
    """One store for all tests: making one takes longer than most of them."""
    path = tmp_path_factory.mktemp("store") / "recorder.db"
    with Store.open(path, create=True) as store:
        yield Tape(store, path)


@pytest.fixture
def tape(shared_tape: Tape) -> Tape:
    """Has a request of its own, so that what other tests recorded does not answer."""
    return replace(shared_tape, request=asked(b'{"test":%d}' % next(NUMBERS)))


@pytest.fixture
def own_tape(tmp_path: Path) -> Iterator[Tape]:
    """A store that is empty."""
    with Store.open(tmp_path / "recorder.db", create=True) as store:
        yield Tape(store, tmp_path / "recorder.db")


@pytest.fixture
def postgres_tape(postgres_database: str) -> Iterator[Tape]:
    with Store.open(postgres_database, create=True) as store:
        yield Tape(store)


def played(store: Store, recording: Recording, chunks: str = "recorded") -> list[Chunk]:
    return list(Player(store, chunks=chunks).play(recording).chunks())


def body_of(chunks: Iterable[Chunk]) -> bytes:
    return b"".join(chunk for _, chunk in chunks)


# -- the same bytes, chunks and times ----------------------------------------------------------------------------------

PARTS: Final = (
    *(
        frame("x", "a"),
        frame("y"),
        frame({"long": "text " * 40}),
        b"event: \xc3\xa9\ndata: z\n\n",
        b": ping\n\n",
        b"\n",
    ),
    *(b"data: a\ndata: b\n\n", b"data: crlf\r\n\r\n", b"\r", b"\r\r", b"retry: 1\n\n", b"event: \0\ndata: x\n\n"),
    *(b"data:tight\n\n", b"\xef\xbb\xbf", b'{"id":1,', b'"b":2}', b"data: cut of", b"\xff\xfe", b"data: \n\n", DONE),
)

HEADERS: Final[tuple[HeaderList, ...]] = (
    STREAM,
    JSON,
    (("content-type", "text/plain"),),
    (),
    (*STREAM, ("content-encoding", "gzip")),
    (*JSON, ("content-encoding", "gzip")),
    (*STREAM, ("content-encoding", "unheard-of")),
)


@st.composite
def exchanges(draw: st.DrawFn) -> tuple[HeaderList, list[Chunk]]:
    """Any body, in any chunks, at any times that do not run backwards, under any type and coding."""
    headers = draw(st.sampled_from(HEADERS))
    body = b"".join(draw(st.lists(st.one_of(st.sampled_from(PARTS), st.binary(max_size=40)), max_size=40)))
    if ("content-encoding", "gzip") in headers and draw(st.booleans()):
        body = gzip.compress(body, mtime=0)[: draw(st.none() | st.integers(0, 200))]
    ends = draw(st.lists(st.integers(1, max(1, len(body))), max_size=30, unique=True)) if body else []
    edges = [0, *sorted({*ends, len(body)})] if body else [0]
    steps = draw(st.lists(st.integers(0, 3_000_000), min_size=len(edges) - 1, max_size=len(edges) - 1))
    times = itertools.accumulate(steps, initial=500)
    next(times)
    return headers, [(at, body[start:end]) for (start, end), at in zip(itertools.pairwise(edges), times, strict=False)]


@settings(max_examples=examples(50, 5000))
@given(exchanges())
def test_any_exchange_comes_back_in_its_chunks_at_its_times(
    shared_tape: Tape, exchange: tuple[HeaderList, list[Chunk]]
) -> None:
    headers, chunks = exchange
    recording = shared_tape.record(chunks, head=Head(200, "", headers=headers))
    assert played(shared_tape.store, recording) == chunks
    for chunking in CHUNKINGS:
        cut = played(shared_tape.store, recording, chunking)
        assert body_of(cut) == body_of(chunks), chunking
        assert [due for due, _ in cut] == sorted(due for due, _ in cut)
        assert b"" not in [chunk for _, chunk in cut]


def test_any_exchange_comes_back_from_postgresql(postgres_tape: Tape) -> None:
    chance = random.Random(7)
    for headers in HEADERS:
        body = b"".join(chance.choices(PARTS, k=200))
        cuts = [0, *sorted(chance.sample(range(1, len(body)), 60)), len(body)]
        chunks = timed(body[start:end] for start, end in itertools.pairwise(cuts))
        recording = postgres_tape.record(chunks, head=Head(200, "", headers=headers))
        assert played(postgres_tape.store, recording) == chunks
        assert body_of(played(postgres_tape.store, recording, "joined")) == body


@pytest.mark.parametrize("stream", [pytest.param(stream, id=stream.id) for stream in corpus()])
def test_a_published_stream_comes_back(shared_tape: Tape, stream: Stream) -> None:
    """In its chunks, and in all other chunkings to the same bytes."""
    need_corpus()
    body = stream.path.read_bytes()
    edges = [0, *seeded_cuts(len(body), stream.id), len(body)]
    chunks = timed(body[start:end] for start, end in itertools.pairwise(edges))
    recording = shared_tape.record(chunks)
    assert played(shared_tape.store, recording) == chunks
    for chunking in ("event", "joined", "size:61", "seed:11"):
        assert body_of(played(shared_tape.store, recording, chunking)) == body


def big_chunks(size: int, step: int, text: int = 300) -> list[Chunk]:
    """A stream of about `size` bytes whose chunks end anywhere but where its events do."""
    event = frame({"text": "x" * text}, "thread.message.delta")
    body = event * (size // len(event))
    return timed(body[at : at + step] for at in range(0, len(body), step))


@pytest.mark.parametrize("step", [61, 1400, 16384, 1 << 20])
def test_chunks_that_never_end_with_an_event_come_back(tape: Tape, step: int) -> None:
    """Also when they are longer than what is put together at a time, or hold thousands of events."""
    chunks = big_chunks(3_000_000 if step > 100 else 300_000, step)
    recording = tape.record(chunks)
    assert played(tape.store, recording) == chunks
    assert body_of(played(tape.store, recording, "joined")) == body_of(chunks)
    assert played(tape.store, recording, "size:5000") == recut(chunks, itertools.repeat(5000))


def test_a_large_body_that_is_no_stream_comes_back(tape: Tape) -> None:
    """It lies in several rows, and its chunks cross them."""
    body = random.Random(1).randbytes(2_500_000)
    chunks = timed(body[at : at + 700_001] for at in range(0, len(body), 700_001))
    recording = tape.record(chunks, head=answered(("content-type", "image/png"), stream=False))
    assert played(tape.store, recording) == chunks


def test_a_frame_too_large_to_be_parsed_comes_back(tape: Tape) -> None:
    body = frame("a") + frame("x" * (17 << 20)) + frame("b")
    chunks = timed(body[at : at + 3_000_000] for at in range(0, len(body), 3_000_000))
    recording = tape.record(chunks)
    assert played(tape.store, recording) == chunks


def test_memory_stays_within_a_part_of_a_long_stream(tape: Tape) -> None:
    """A page of events is held, never the recording: neither for recorded nor for re-cut chunks."""
    recording = tape.record(big_chunks(32 << 20, 50_000, text=4000))
    assert recording.ending is not None
    for chunking in ("recorded", "event", "size:4096"):
        playback = Player(tape.store, chunks=chunking).play(recording)
        tracemalloc.start()
        try:
            total = sum(len(chunk) for _, chunk in playback.chunks())
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert total == recording.ending.wire_bytes
        assert peak < total / 1.5


# -- other chunks ------------------------------------------------------------------------------------------------------


def recut(chunks: Sequence[Chunk], sizes: Iterator[int]) -> list[Chunk]:
    """The plain way: each byte carries its time, and a chunk is due when its last byte was."""
    body = body_of(chunks)
    times = [due for due, chunk in chunks for _ in chunk]
    out = []
    start = 0
    while start < len(body):
        end = min(start + next(sizes), len(body))
        out.append((times[end - 1], body[start:end]))
        start = end
    return out


@settings(max_examples=examples(25, 2000))
@given(exchanges(), st.integers(1, 400))
def test_a_re_cut_chunk_is_due_when_its_last_byte_was(
    shared_tape: Tape, exchange: tuple[HeaderList, list[Chunk]], size: int
) -> None:
    """All but the last have the size that was asked for."""
    headers, chunks = exchange
    recording = shared_tape.record(chunks, head=Head(200, "", headers=headers))
    assert played(shared_tape.store, recording, f"size:{size}") == recut(chunks, itertools.repeat(size))
    joined = [(chunks[-1][0], body_of(chunks))] if chunks else []
    assert played(shared_tape.store, recording, "joined") == joined


def test_one_chunk_for_each_event_however_it_was_cut(tape: Tape) -> None:
    """An event is due when it was complete; an unterminated tail is a chunk too."""
    body = b"".join(CHAT) + b"data: cut of"
    for step in (1, 13, 100_000):
        chunks = timed(body[at : at + step] for at in range(0, len(body), step))
        events = played(tape.store, tape.record(chunks), "event")
        assert [chunk for _, chunk in events] == [*CHAT, b"data: cut of"]
        assert [due for due, _ in events] == [due for due, _ in recut(chunks, (len(chunk) for _, chunk in events))]


def test_an_encoded_stream_has_no_chunks_by_event(tape: Tape) -> None:
    """Its events lie in one coded text: they come in the recorded chunks, coded."""
    body = gzip.compress(b"".join(CHAT), mtime=0)
    chunks = timed(body[at : at + 17] for at in range(0, len(body), 17))
    recording = tape.record(chunks, head=answered(("content-encoding", "gzip")))
    assert played(tape.store, recording, "event") == chunks
    assert played(tape.store, recording, "joined") == [(chunks[-1][0], body)]


def test_seeded_chunks_are_the_same_everywhere_and_forever(tape: Tape) -> None:
    """These sizes are pinned: a test that a client failed with a seed must fail again, on any Python."""
    recording = tape.record(timed([b"x" * 5000]), head=answered(stream=False))
    sizes = {seed: [len(chunk) for _, chunk in played(tape.store, recording, f"seed:{seed}")] for seed in (0, 1, 2)}
    assert sizes[0][:8] == [900, 20, 44, 333, 50, 770, 14, 80]
    assert sizes[1][:8] == [3, 321, 46, 228, 2, 733, 256, 27]
    assert sizes[1] != sizes[2]
    assert all(sum(each) == 5000 for each in sizes.values())


def test_seeded_chunks_are_small_and_large() -> None:
    """From single bytes, which cut through everything, to some that hold several events."""
    sizes = list(itertools.islice(_random_sizes(5), 5000))
    assert (min(sizes), max(sizes) <= 2047, max(sizes) > 1500) == (1, True, True)
    share = Counter(size.bit_length() for size in sizes)
    assert set(share) == set(range(1, 12))
    assert min(share.values()) > 300


@pytest.mark.parametrize(
    ("text", "chunking"),
    [
        ("recorded", Chunking("recorded")),
        ("event", Chunking("event")),
        ("joined", Chunking("joined")),
        ("size:1", Chunking("size", 1)),
        ("size:65536", Chunking("size", 65536)),
        ("seed:0", Chunking("seed", 0)),
        ("seed:123456789", Chunking("seed", 123456789)),
    ],
)
def test_chunks_are_named_in_one_way(text: str, chunking: Chunking) -> None:
    assert parse_chunks(text) == chunking


@pytest.mark.parametrize(
    "text", ["", "size", "size:0", "size:-1", "size:x", "seed:", "seed:-1", "event:2", "size:٣", "Joined"]
)
def test_other_words_for_chunks_are_refused(tape: Tape, text: str) -> None:
    with pytest.raises(UsageError, match=r"say recorded, event, joined, size:N .* or seed:N"):
        Player(tape.store, chunks=text)


def test_chunks_may_be_asked_for_again(tape: Tape) -> None:
    """Each time from the beginning, also after leaving in the middle."""
    playback = Player(tape.store).play(tape.record(timed(CHAT)))
    assert next(playback.chunks())[1] == CHAT[0]
    assert list(playback.chunks()) == timed(CHAT)
    assert list(playback.chunks()) == timed(CHAT)


# -- pace --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pace", "speed"),
    [
        ("recorded", 1.0),
        ("x1", 1.0),
        ("x2", 2.0),
        ("x0.5", 0.5),
        ("x1.25", 1.25),
        ("x.5", 0.5),
        (4, 4.0),
        (0.25, 0.25),
        ("instant", float("inf")),
    ],
)
def test_a_pace_has_a_name_or_a_factor(
    tape: Tape, pace: str | float, speed: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A moment of the recording is due at its time divided by the speed."""
    assert parse_pace(pace) == speed
    playback = Player(tape.store, pace=pace).play(tape.record(timed(CHAT)))
    assert playback.speed == speed
    monkeypatch.setattr(time, "perf_counter", lambda: 100.0)
    assert playback.pacer().left(3_000_000) == pytest.approx(3.0 / speed)


@pytest.mark.parametrize(
    "pace",
    [
        "",
        "fast",
        "2",
        "x",
        "x0",
        "x-1",
        "xnan",
        "xinf",
        "x2x",
        "xx2",
        " x2",
        "x 2",
        "x1_0",
        "x1e3",
        "x\u0663",
        "X2",
        0,
        -1.0,
        float("nan"),
        float("inf"),
        True,
    ],
)
def test_another_pace_is_refused(tape: Tape, pace: str | float) -> None:
    with pytest.raises(UsageError, match="say instant, recorded, or xN"):
        Player(tape.store, pace=pace)
    with pytest.raises(UsageError, match="say instant"):
        emit(tape.store, tape.record(), io.BytesIO().write, pace)


def test_deadlines_are_counted_from_the_request() -> None:
    """What happened 5 s after the request is due 5 s after the new one, whatever was late before."""
    for speed, seconds in ((1.0, 5.0), (2.0, 2.5), (0.5, 10.0)):
        before = time.perf_counter()
        left = Pacer(speed, before).left(5_000_000)
        assert seconds - (time.perf_counter() - before) <= left <= seconds
        assert Pacer(speed, before - seconds).left(5_000_000) <= 0
    assert Pacer(float("inf"), before + 5).left(5_000_000) == 0


def test_waiting_ends_when_it_is_due() -> None:
    """Never before, and at once for what is past."""
    pacer = Pacer(1.0)
    for due_us in (0, 2_000, 5_000, 5_000, 1_000):
        pacer.wait(due_us)
        assert pacer.left(due_us) <= 0


def test_waiting_in_an_event_loop_ends_when_it_is_due() -> None:
    """Also where the loop's own sleep wakes too early; for what is past it is not asked to sleep at all."""
    begun = time.perf_counter()
    pacer = Pacer(1.0, begun)
    slept: list[float] = []
    passed: list[float] = []

    async def early(seconds: float) -> None:
        """An hour passes in three parts."""
        slept.append(seconds)
        passed.append(time.perf_counter() - begun)
        pacer.start -= 1500

    asyncio.run(pacer.until(3_600_000_000, early))
    assert len(slept) == 3
    assert 3600 - passed[0] <= slept[0] <= 3600
    assert sorted(slept, reverse=True) == slept
    asyncio.run(pacer.until(3_600_000_000, early))
    asyncio.run(Pacer(float("inf")).until(3_600_000_000, early))
    assert len(slept) == 3


def test_a_playback_knows_how_long_its_body_is(tape: Tape) -> None:
    body = b"".join(CHAT)
    assert Player(tape.store).play(tape.record(timed(CHAT))).size == len(body)
    packed = gzip.compress(body)
    recording, events = recorded(asked(), packed, headers=(*STREAM, ("content-encoding", "gzip")))
    assert Player(deck((recording, events))).play(recording).size == len(packed)


def test_a_playback_brings_its_pacer(tape: Tape) -> None:
    playback = Player(tape.store, pace="x3").play(tape.record(timed(CHAT)))
    assert playback.pacer(start=100.0).start == 100.0
    assert playback.pacer().speed == 3.0


# -- heads and endings -------------------------------------------------------------------------------------------------


def test_the_head_comes_back_as_recorded(tape: Tape) -> None:
    """In order, in its spelling, duplicates and all; what was withheld stays withheld."""
    headers = (
        ("X-Request-Id", "req_1"),
        ("content-type", "application/json"),
        ("Set-Cookie", "session=secret"),
        ("x-request-id", "req_2"),
        ("Content-Length", "2"),
        ("x-note", "caf\xe9"),
    )
    head = Head(207, "Multi Status", "HTTP/1.0", headers)
    playback = Player(tape.store).play(tape.record([(900, b"{}")], head=head))
    kept = tuple((name, "[redacted]" if name == "Set-Cookie" else value) for name, value in headers)
    assert playback.head == replace(head, headers=kept)
    assert (playback.head_due_us, playback.infos, playback.info_due_us) == (500, (), ())


def test_answers_before_the_answer_come_back(tape: Tape) -> None:
    hints = Head(103, "Early Hints", headers=(("link", "</a>"),))
    recording = tape.record(timed(CHAT), infos=[(10, Head(100, "Continue")), (20, hints)])
    playback = Player(tape.store).play(recording)
    assert playback.infos == (Head(100, "Continue"), hints)
    assert playback.info_due_us == (10, 20)
    assert playback.head_due_us == 21
    assert list(playback.chunks()) == timed(CHAT)


def test_no_response_comes_back_as_none(tape: Tape) -> None:
    """The ending says why, with the exception that was seen."""
    exception = [{"type": "httpx2.ConnectError", "message": "[Errno 111] Connection refused", "errno": 111}]
    recording = tape.record(refused=True, ending="connect_error", detail={"exception": exception})
    playback = Player(tape.store).play(recording)
    assert playback.head is None
    assert playback.head_due_us is None
    assert [list(playback.chunks()) for _ in range(2)] == [[], []]
    assert playback.finish == playback.ending.ending == "connect_error"
    assert playback.ending.detail["exception"] == exception


def test_a_response_without_a_body_has_no_chunks(tape: Tape) -> None:
    for chunking in CHUNKINGS:
        assert played(tape.store, tape.record(), chunking) == []


@pytest.mark.parametrize("ending", ["eof", "reset", "protocol_error", "timeout", "error"])
def test_what_the_server_did_is_an_answer_and_ends_the_same(tape: Tape, ending: str) -> None:
    """Also in the middle of an event: the bytes until there, then the same end, at its time."""
    recording = tape.record(timed([*CHAT[:2], CHAT[2][:20]]), ending=ending, detail={"trailers": [["a", "b"]]})
    playback = Player(tape.store).play(Player(tape.store).find(tape.request))
    assert playback.recording == recording
    assert list(playback.chunks()) == timed([*CHAT[:2], CHAT[2][:20]])
    assert playback.whole
    assert playback.finish == playback.ending.ending == ending
    assert playback.ending.elapsed_us == 3250
    assert playback.ending.detail["trailers"] == [["a", "b"]]


# -- what is whole -----------------------------------------------------------------------------------------------------

LAST_WORDS: Final[Mapping[str, Sequence[bytes]]] = {
    "chat": CHAT,
    "assistants": ASSISTANTS,
    "assistants, left before the end marker": ASSISTANTS[:-1],
    "requires_action": REQUIRES_ACTION[:-1],
    "responses": RESPONSES,
    "responses without event names": [RESPONSES[0], frame({"type": "response.incomplete", "response": {}})],
    "messages": [frame({"type": "message_start"}, "message_start"), frame({"type": "message_stop"}, "message_stop")],
    "an error event": [CHAT[0], frame(error_body("overloaded"), "error")],
    "an error without a name": [CHAT[0], frame(error_body("overloaded"))],
    "[DONE] in CRLF": [CHAT[0], b"data: [DONE]\r\n\r\n"],
    "[DONE] and a keep-alive": [*CHAT, b": keep-alive\n\n"],
    "[DONE] and the beginning of something": [*CHAT, b"data: ["],
    "[DONE] and odd frames": [*CHAT, b"data: {\n\n", b"data: [1]\n\n", b'data: {"type":[]}\n\n'],
}


@pytest.mark.parametrize("name", LAST_WORDS)
@pytest.mark.parametrize("encoding", [None, "gzip"])
def test_a_client_that_left_after_the_last_word_did_not_leave_early(
    tape: Tape, name: str, encoding: str | None
) -> None:
    """SDKs close there without reading on; whoever reads on in a replay finds a clean end."""
    body = b"".join(LAST_WORDS[name])
    if encoding:
        body = gzip.compress(body)
    head = answered(("content-encoding", encoding)) if encoding else answered()
    tape.record([(1000, body)], head=head, ending="client_closed")
    playback = Player(tape.store).play(Player(tape.store).find(tape.request))
    assert playback.whole
    assert playback.finish == "eof"
    assert playback.ending.ending == "client_closed"
    assert body_of(playback.chunks()) == body


def test_the_last_word_is_looked_for_at_the_end_only(tape: Tape) -> None:
    """A payload far back that reads like one decides nothing."""
    tape.record(timed([DONE, *([CHAT[1]] * 40)]), ending="client_closed")
    with pytest.raises(Miss, match="but never to its end"):
        Player(tape.store).find(tape.request)


PARTIAL: Final[Mapping[str, Mapping[str, Any]]] = {
    "its client left": {"chunks": timed(CHAT[:3]), "ending": "client_closed"},
    "its client left within an event": {"chunks": timed([CHAT[0][:9]]), "ending": "client_closed"},
    "its client left an encoded stream": {
        "chunks": timed([gzip.compress(b"".join(CHAT))[:60]]),
        "head": answered(("content-encoding", "gzip")),
        "ending": "client_closed",
    },
    "its client left a JSON body": {
        "chunks": [(900, b'{"a"')],
        "head": answered(("content-type", "application/json"), ("content-length", "8"), stream=False),
        "ending": "client_closed",
    },
    "its client left a body of unknown length": {
        "chunks": [(900, b'{"a":1}')],
        "head": answered(("content-type", "application/json"), stream=False),
        "ending": "client_closed",
    },
    "its client left before the head": {"refused": True, "ending": "client_closed"},
    "its writer died": {"chunks": timed(CHAT), "ending": "interrupted", "captured": "truncated"},
    "its writer died, and nothing is known to be missing": {"chunks": timed(CHAT), "ending": "interrupted"},
    "its capture was cut short": {"chunks": timed(CHAT), "ending": "eof", "captured": "truncated"},
    "its capture was cut short and its client left": {
        "chunks": timed(CHAT),
        "ending": "client_closed",
        "captured": "truncated",
    },
    "its parser failed and its capture was cut short": {
        "chunks": timed(CHAT[:1]),
        "ending": "client_closed",
        "captured": "truncated",
        "detail": {"left_by": "openai.APIError"},
    },
    "its error was cut short": {"head": answered(status=500), "ending": "client_closed", "captured": "truncated"},
    "it is still running": {"chunks": timed(CHAT), "ending": None},
}


@pytest.mark.parametrize("why", PARTIAL)
def test_what_is_not_whole_is_chosen_only_when_asked_for(tape: Tape, why: str) -> None:
    """Then it plays what is there, and its end is never a clean one."""
    recording = tape.record(**PARTIAL[why])
    with pytest.raises(Miss, match=r"recorded once, but never to its end .* or say include_partial") as missed:
        Player(tape.store).find(tape.request)
    assert missed.value.nearest == recording
    player = Player(tape.store, include_partial=True)
    playback = player.play(player.find(tape.request))
    assert list(playback.chunks()) == PARTIAL[why].get("chunks", [])
    assert not playback.whole
    left = why.startswith("its client left")
    assert playback.finish == ("client_closed" if left else "reset")


def test_what_is_not_whole_takes_no_turn(tape: Tape) -> None:
    """A retry after a dead attempt is what answers, as if the attempt had not been."""
    tape.record(timed(CHAT[:2]), ending="client_closed")
    whole = tape.record(timed(CHAT))
    assert Player(tape.store).find(tape.request) == whole


@pytest.mark.parametrize(
    ("method", "head", "body"),
    [
        ("POST", answered(("Content-Length", " 7 "), stream=False), b'{"a":1}'),
        ("POST", answered(("content-length", "0"), stream=False), b""),
        ("POST", answered(("content-length", "7"), ("content-encoding", "x"), stream=False), b"\0" * 7),
        ("HEAD", answered(("content-length", "7"), stream=False), b""),
        ("DELETE", answered(status=204, stream=False), b""),
        ("GET", answered(status=304, stream=False), b""),
    ],
)
def test_a_body_of_its_whole_length_is_whole_without_its_eof(tape: Tape, method: str, head: Head, body: bytes) -> None:
    request = replace(tape.request, method=method)
    tape.record([(900, body)] if body else [], request=request, head=head, ending="client_closed")
    player = Player(tape.store)
    playback = player.play(player.find(request))
    assert playback.whole
    assert playback.finish == "eof"


@pytest.mark.parametrize("status", [302, 400, 429, 503])
def test_an_error_left_unread_is_chosen(tape: Tape, status: int) -> None:
    """SDKs close it and try again. A client that reads its body this time is not told that there is none."""
    head = answered(("retry-after", "1"), ("content-length", "100"), status=status, stream=False)
    first = tape.record(head=head, ending="client_closed")
    second = tape.record(timed(CHAT))
    player = Player(tape.store)
    assert player.find(tape.request) == first
    assert player.find(tape.request) == second
    playback = player.play(first)
    assert playback.head == head
    assert not playback.whole
    assert playback.finish == "client_closed"


@pytest.mark.parametrize(
    ("exception", "by_the_answer"),
    [
        ("json.decoder.JSONDecodeError", True),
        ("builtins.UnicodeDecodeError", True),
        ("httpx2.DecodingError", True),
        ("openai.APIError", True),
        ("builtins.ValueError", True),
        ("builtins.OSError", False),
        ("openai.RateLimitError", False),
        ("app.errors.OutOfStock", False),
    ],
)
def test_a_client_that_could_not_read_the_answer_is_chosen(tape: Tape, exception: str, by_the_answer: bool) -> None:
    """The same bytes make it raise again; what the program around it raised need not come again."""
    broken = [CHAT[0], b'data: {"id":\n\n']
    recording = tape.record(timed(broken), ending="client_closed", detail={"left_by": exception})
    if not by_the_answer:
        with pytest.raises(Miss, match="but never to its end"):
            Player(tape.store).find(tape.request)
        return
    player = Player(tape.store)
    playback = player.play(player.find(tape.request))
    assert playback.recording == recording
    assert list(playback.chunks()) == timed(broken)
    assert not playback.whole
    assert playback.finish == "client_closed"


@pytest.mark.parametrize("coding", ["gzip", "unheard-of"])
def test_a_client_that_left_a_coding_that_nobody_can_read_is_chosen(tape: Tape, coding: str) -> None:
    """The body is plain under a name that it does not deserve: whether that was all, nobody can tell."""
    recording = tape.record(timed(CHAT), head=answered(("content-encoding", coding)), ending="client_closed")
    player = Player(tape.store)
    assert player.find(tape.request) == recording
    assert player.play(recording).finish == "client_closed"


def test_a_recording_that_goes_on_is_played_as_far_as_it_was(tape: Tape) -> None:
    """What is added meanwhile is left out: bytes and ending belong together."""
    for head in (answered(), answered(("content-encoding", "gzip"))):
        recording = replace(tape.record(ending=None, request=asked(b"%d" % next(NUMBERS))), recording_id=uuid7())
        capture = Capture(recording)
        capture.head(head, 500)
        body = b"".join(CHAT[:2]) if len(head.headers) == 1 else gzip.compress(b"".join(CHAT[:2]))
        capture.data(body, 600)
        tape.store.append([Append(recording.recording_id, recording, capture.take())])
        playback = Player(tape.store, include_partial=True).play(tape.store.recording(recording.recording_id))
        capture.data(CHAT[2], 700)
        capture.end("eof", 800)
        tape.store.append([Append(recording.recording_id, rows=capture.take(), ending=capture.ending)])
        assert (playback.ending.ending, playback.ending.captured, playback.finish) == (
            "interrupted",
            "truncated",
            "reset",
        )
        assert list(playback.chunks()) == [(600, body)]
        assert list(playback.chunks()) == [(600, body)]


def test_a_recording_that_has_only_begun_is_played_as_nothing(tape: Tape) -> None:
    recording = tape.record(ending=None)
    playback = Player(tape.store).play(recording)
    assert playback.head is not None
    assert list(playback.chunks()) == []
    assert playback.finish == "reset"


def test_a_killed_writers_last_bytes_are_a_chunk(tape: Tape) -> None:
    """The prefix ends within a chunk: its beginning is played all the same, when its last event was complete."""
    for before in ([], [(550, CHAT[0])]):
        recording = replace(tape.record(ending=None), recording_id=uuid7())
        capture = Capture(recording)
        capture.head(answered(), 500)
        for at, chunk in (*before, (600, b"".join(CHAT[1:4]))):
            capture.data(chunk, at)
        rows = capture.take()[: 3 + len(before)]
        tape.store.append([Append(recording.recording_id, recording, rows)])
        recording = tape.store.recording(recording.recording_id)
        assert played(tape.store, recording) == [*before, (600, CHAT[1] + CHAT[2])]
        assert played(tape.store, recording, "event") == [*before, (600, CHAT[1]), (600, CHAT[2])]
        assert played(tape.store, recording, "joined") == [(600, body_of(before) + CHAT[1] + CHAT[2])]


# -- repeats -----------------------------------------------------------------------------------------------------------


def test_repeats_are_answered_in_recorded_order_and_then_refused(tape: Tape) -> None:
    recordings = [tape.record(timed((*CHAT[:count], DONE))) for count in (1, 2, 3)]
    player = Player(tape.store)
    assert [player.find(tape.request) for _ in recordings] == recordings
    with pytest.raises(
        Miss, match="it was recorded 3 times and replayed as often; record more, or say repeat=last or cycle"
    ) as missed:
        player.find(tape.request)
    assert missed.value.nearest == recordings[-1]
    assert missed.value.differences == ()


def test_repeats_may_stay_at_the_last_or_begin_again(tape: Tape) -> None:
    one, two = tape.record(timed(CHAT)), tape.record(timed(ASSISTANTS))
    last = Player(tape.store, repeat="last")
    assert [last.find(tape.request) for _ in range(4)] == [one, two, two, two]
    cycle = Player(tape.store, repeat="cycle")
    assert [cycle.find(tape.request) for _ in range(5)] == [one, two, one, two, one]


@pytest.mark.parametrize("repeat", ["error", "last", "cycle"])
def test_what_is_recorded_meanwhile_comes_in_its_turn(tape: Tape, repeat: match.Repeat) -> None:
    player = Player(tape.store, repeat=repeat)
    recordings = [tape.record(timed(CHAT)) for _ in range(3)]
    assert [player.find(tape.request), player.find(tape.request)] == recordings[:2]
    recordings.append(tape.record(timed(ASSISTANTS)))
    assert [player.find(tape.request), player.find(tape.request)] == recordings[2:]


def test_another_word_for_repeat_is_refused(tape: Tape) -> None:
    with pytest.raises(UsageError, match="say error, last, cycle"):
        Player(tape.store, repeat="always")  # type: ignore[arg-type]


def test_each_session_counts_for_itself(tape: Tape) -> None:
    """Players without a session are apart, those of one name share its repeats; one request may name its own."""
    one, two = tape.record(timed(CHAT)), tape.record(timed(ASSISTANTS))
    assert Player(tape.store).find(tape.request) == Player(tape.store).find(tape.request) == one
    shared = [Player(tape.store, session="a") for _ in range(2)]
    assert [player.find(tape.request) for player in shared] == [one, two]
    assert Player(tape.store, session="b").find(tape.request) == one
    assert Player(tape.store).find(tape.request, session="b") == two
    with pytest.raises(Miss, match="replayed as often"):
        shared[0].find(tape.request)


@pytest.mark.parametrize("session", [None, "named"])
def test_what_is_not_used_up_comes_again(tape: Tape, session: str | None) -> None:
    one, two = tape.record(timed(CHAT)), tape.record(timed(ASSISTANTS))
    player = Player(tape.store, session=session)
    assert [player.find(tape.request, use_up=False) for _ in range(2)] == [one, one]
    assert player.find(tape.request) == one
    assert [player.find(tape.request, use_up=False), player.find(tape.request)] == [two, two]
    for use_up in (False, True):
        with pytest.raises(Miss, match="replayed as often"):
            player.find(tape.request, use_up=use_up)


def test_a_request_may_have_been_recorded_under_another_url(tape: Tape) -> None:
    """Its own goes first, and a miss is one of its own; what was made under another rule is tried last."""
    elsewhere, further = ("https://h/mounted/v1/x", "https://h/further/v1/x")
    mounted = [tape.record(timed(CHAT), request=replace(tape.request, url=elsewhere)) for _ in range(2)]
    odd = tape.record(
        timed(CHAT), request=replace(tape.request, url=further), rule=match.Rule(ignore=("body.nothing", "body.test"))
    )
    player = Player(tape.store)
    assert player.find(tape.request, others=[further, elsewhere]) == mounted[0]
    own = tape.record(timed(ASSISTANTS))
    assert player.find(tape.request, others=[elsewhere]) == own
    with pytest.raises(Miss, match="it was recorded once and replayed as often"):
        player.find(tape.request, others=[elsewhere])
    assert Player(tape.store).find(replace(tape.request, url="https://h/none"), others=[elsewhere]) == mounted[0]
    assert Player(tape.store).find(replace(tape.request, url="https://h/none"), others=[further]) == odd
    with pytest.raises(Miss) as missed:
        Player(tape.store).find(replace(tape.request, url="https://h/none"), others=["https://h/neither"])
    assert missed.value.request_summary.startswith("POST /none (")


def test_a_miss_shows_no_key_in_a_path(own_tape: Tape) -> None:
    with pytest.raises(Miss) as missed:
        Player(own_tape.store).find(
            replace(own_tape.request, url="https://h/v1/sk-proj-0123456789abcdef0123456789abcdef/x")
        )
    assert "sk-proj-0123" not in str(missed.value)


def test_threads_are_answered_each_with_another_repeat(tape: Tape) -> None:
    recordings = {tape.record(timed(CHAT)).recording_id for _ in range(24)}
    player = Player(tape.store)
    found: list[Recording] = []

    def ask() -> None:
        for _ in range(4):
            found.append(player.find(tape.request))
            assert body_of(player.play(found[-1]).chunks()) == b"".join(CHAT)

    threads = [threading.Thread(target=ask) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {recording.recording_id for recording in found} == recordings
    assert len(found) == len(recordings)


# -- misses ------------------------------------------------------------------------------------------------------------


def test_a_miss_names_the_nearest_recording_and_the_fields(own_tape: Tape) -> None:
    """The message holds no values, for it ends up in logs; the report has both sides."""
    own_tape.record(timed(CHAT), request=asked(b'{"model":"other","n":7,"user":"u1"}'))
    near = own_tape.record(timed(CHAT), request=asked(b'{"model":"m","temperature":0.75,"user":"u1"}'))
    request = asked(b'{"model":"m","temperature":0.25,"user":"u2"}')
    with pytest.raises(ReplayMiss) as missed:
        Player(own_tape.store).find(request)
    miss = missed.value
    assert isinstance(miss, Miss)
    assert miss.nearest == near
    assert {(each.path, each.wanted, each.stored) for each in miss.differences} == {
        ("body.temperature", "0.25", "0.75"),
        ("body.user", '"u2"', '"u1"'),
    }
    text = str(miss)
    assert text.startswith("no recording answers POST /v1/chat/completions (44 bytes): ")
    assert str(near.recording_id) in text
    assert "body.temperature, body.user; record it, or let the rule ignore these" in text
    assert "\n" not in text
    assert "0.25" not in text
    assert "u2" not in text
    assert miss.request_summary == "POST /v1/chat/completions (44 bytes)"
    assert miss.report().splitlines()[0] == text
    assert "  body.temperature: wanted 0.25, stored 0.75" in miss.report().splitlines()


def test_a_miss_with_many_fields_names_some(own_tape: Tape) -> None:
    own_tape.record(timed(CHAT), request=asked(b"{%s}" % b",".join(b'"f%02d":1' % number for number in range(12))))
    request = asked(b"{%s}" % b",".join(b'"f%02d":2' % number for number in range(12)))
    with pytest.raises(Miss, match=r"differs in body.f00, .*, body.f07 and 4 more; record it") as missed:
        Player(own_tape.store).find(request)
    assert len(missed.value.differences) == 12


def test_a_miss_may_be_nearest_to_another_path(own_tape: Tape) -> None:
    """The recording that differs least is not always of the same call: a renamed path differs in it alone."""
    near = own_tape.record(timed(CHAT))
    own_tape.record(timed(CHAT), request=asked(b"", method="GET", url="https://api.example/v1/models"))
    with pytest.raises(Miss, match=r"differs in path; record it") as missed:
        Player(own_tape.store).find(asked(url="https://api.example/v2/chat/completions"))
    assert missed.value.nearest == near


def test_a_miss_in_an_empty_store_says_so(own_tape: Tape) -> None:
    with pytest.raises(Miss, match="the store has no recording with a body to compare; record it first") as missed:
        Player(own_tape.store).find(asked())
    assert missed.value.nearest is None
    assert missed.value.report() == str(missed.value)


def test_a_miss_survives_pickling(own_tape: Tape) -> None:
    """Test runners carry exceptions between processes."""
    own_tape.record(timed(CHAT), request=asked(b'{"model":"other"}'))
    with pytest.raises(Miss) as missed:
        Player(own_tape.store).find(asked())
    copy = pickle.loads(pickle.dumps(missed.value))
    assert copy.report() == missed.value.report()
    assert copy.request_summary == missed.value.request_summary


def test_a_request_does_not_use_up_what_answers_another(own_tape: Tape) -> None:
    own_tape.record(timed(CHAT))
    player = Player(own_tape.store)
    with pytest.raises(Miss):
        player.find(asked(b'{"model":"x"}'))
    player.find(asked())


# -- rules -------------------------------------------------------------------------------------------------------------

IGNORING: Final = match.Rule(ignore=("body.user",))


def test_what_the_rule_ignores_does_not_count(own_tape: Tape) -> None:
    recording = own_tape.record(timed(CHAT), request=asked(b'{"model":"m","user":"a"}'), rule=IGNORING)
    assert Player(own_tape.store, rule=IGNORING).find(asked(b'{"model":"m","user":"b"}')) == recording


def test_recordings_made_under_another_rule_are_read_again_under_this_one(own_tape: Tape) -> None:
    """In recorded order, and only where no key of this rule decides."""
    request = asked(b'{"model":"m","user":"b"}')
    others = [own_tape.record(timed(CHAT), request=asked(b'{"model":"m","user":"%d"}' % number)) for number in range(2)]
    own_tape.record(timed(CHAT), request=asked(b'{"model":"n","user":"b"}'))
    player = Player(own_tape.store, rule=IGNORING)
    assert [player.find(request), player.find(request)] == others
    with pytest.raises(Miss, match="replayed as often"):
        player.find(request)
    own = own_tape.record(timed(CHAT), request=asked(b'{"model":"m","user":"c"}'), rule=IGNORING)
    assert player.find(request) == own


def test_a_key_of_another_rule_is_not_taken_for_one_of_this_rule(own_tape: Tape) -> None:
    """Two requests that differ in `user` share a key where it was ignored, and must not where it is not."""
    recording = own_tape.record(timed(CHAT), request=asked(b'{"model":"m","user":"a"}'), rule=IGNORING)
    with pytest.raises(Miss, match=r"differs in body\.user, rule"):
        Player(own_tape.store).find(asked(b'{"model":"m"}'))
    assert Player(own_tape.store).find(asked(b'{"model":"m","user":"a"}')) == recording


def test_a_key_of_another_rule_counts_where_the_request_is_the_same(own_tape: Tape) -> None:
    """The rule ignored nothing that is there."""
    recording = own_tape.record(timed(CHAT), rule=IGNORING)
    assert Player(own_tape.store).find(asked()) == recording


def test_a_withheld_header_cannot_be_compared_under_another_rule(own_tape: Tape) -> None:
    """Under the rule that it was recorded with it counts, because the key was made before it was withheld."""
    rule = match.Rule(headers=("x-tenant",))
    request = asked(headers=(*JSON, ("X-Tenant", "blue")))
    other = asked(headers=(*JSON, ("X-Tenant", "green")))
    own_tape.record(timed(CHAT), request=request)
    with pytest.raises(Miss):
        Player(own_tape.store, rule=rule).find(request)
    recording = own_tape.record(timed(CHAT), request=request, rule=rule)
    assert Player(own_tape.store, rule=rule).find(request) == recording
    with pytest.raises(Miss):
        Player(own_tape.store, rule=rule).find(other)


def test_credentials_in_a_url_do_not_keep_a_recording_from_being_found(tape: Tape) -> None:
    recording = tape.record(timed(CHAT), request=asked(url=f"{URL}?api-key=one&v=2"))
    assert "one" not in recording.request.url
    assert Player(tape.store).find(asked(url="http://localhost:1/v1/chat/completions?v=2&api-key=two")) == recording


# -- what cannot be played ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("content", ["facts", "none"])
def test_a_recording_without_payloads_is_never_played(own_tape: Tape, content: str) -> None:
    recording = own_tape.record(timed(CHAT), content=content)
    player = Player(own_tape.store, include_partial=True)
    with pytest.raises(Miss, match="the store has no recording with a body to compare"):
        player.find(asked())
    with pytest.raises(NotFound, match=f"has no payloads: it was recorded with content={content}; choose one"):
        player.play(recording)
    with pytest.raises(NotFound, match="has no payloads"):
        emit(own_tape.store, recording, io.BytesIO().write)


def test_a_request_whose_body_was_too_large_is_never_answered(own_tape: Tape) -> None:
    """It was not kept, so nothing tells whether it is the same. The answer can be played all the same."""
    recording = own_tape.record(timed(CHAT), request=asked(b"x" * ((1 << 20) + 1)))
    for body, why in (
        (b"x" * ((1 << 20) + 1), "record it again with a higher body_limit"),
        (b"{}", "the store has no recording with a body to compare"),
    ):
        with pytest.raises(Miss, match=why):
            Player(own_tape.store, include_partial=True).find(asked(body))
    assert played(own_tape.store, recording) == timed(CHAT)


ERASE: Final = (
    "CREATE TEMP TABLE kept AS SELECT * FROM events WHERE recording_id = ?1",
    "DELETE FROM events WHERE recording_id = ?1",
)


@pytest.mark.parametrize("what", ["data = NULL, raw = NULL", "data = CASE kind WHEN 'head' THEN data END"])
def test_a_recording_whose_payloads_are_gone_says_so(tape: Tape, what: str) -> None:
    """Before anything is sent; no erasure is on record, so none is told of."""
    recording = tape.record(timed(CHAT))
    tape.damage(
        recording,
        *ERASE,
        f"UPDATE temp.kept SET {what} WHERE ?1 NOTNULL",
        "INSERT INTO events SELECT * FROM temp.kept WHERE ?1 NOTNULL",
    )
    with pytest.raises(NotFound, match="has no payloads: it is gone, and no erasure is on record; choose one"):
        Player(tape.store).play(recording)


def test_an_erased_recording_that_its_client_left_says_that_it_was_erased(tape: Tape) -> None:
    """Whether it was whole nobody can tell any more."""
    head = answered(("content-length", "7"), stream=False)
    recording = tape.record([(5000, b'{"a":1}')], head=head, ending="client_closed")
    tape.store.wipe([Wipe(recording.recording_id, None, labels=False)], "Vera", "asked to")
    with pytest.raises(NotFound, match="has no payloads: it was erased; choose one"):
        Player(tape.store, include_partial=True).play(tape.store.recording(recording.recording_id))
    with pytest.raises(Miss):
        Player(tape.store).find(tape.request)


def test_a_recording_whose_request_was_erased_is_not_chosen(tape: Tape) -> None:
    recording = tape.record(timed(CHAT))
    tape.damage(
        recording,
        "CREATE TEMP TABLE one AS SELECT * FROM recordings WHERE recording_id = ?1",
        "DELETE FROM recordings WHERE recording_id = ?1",
        "UPDATE temp.one SET body = NULL WHERE ?1 NOTNULL",
        "INSERT INTO recordings SELECT * FROM temp.one WHERE ?1 NOTNULL",
    )
    with pytest.raises(Miss, match=r"its body was not kept .*; record it again"):
        Player(tape.store, include_partial=True).find(tape.request)


@pytest.mark.parametrize(
    ("how", "says"),
    [
        (
            "UPDATE temp.kept SET data = NULL WHERE position = 4 AND ?1 NOTNULL",
            "event 4 has no payload; restore the store from a copy",
        ),
        (
            "UPDATE temp.kept SET data = x'00' WHERE position = 4 AND ?1 NOTNULL",
            "bytes are where .* should be; restore",
        ),
        (
            "UPDATE temp.kept SET cuts = x'80' WHERE position = 4 AND ?1 NOTNULL",
            "cuts are damaged: .*; restore the store from a copy",
        ),
        ("DELETE FROM temp.kept WHERE position = 4 AND ?1 NOTNULL", "bytes are there; restore the store from a copy"),
    ],
)
@pytest.mark.parametrize("chunking", CHUNKINGS)
def test_a_damaged_recording_is_never_played_to_a_clean_end(tape: Tape, how: str, says: str, chunking: str) -> None:
    recording = tape.record(timed(CHAT))
    tape.damage(recording, *ERASE, how, "INSERT INTO events SELECT * FROM temp.kept WHERE ?1 NOTNULL")
    with pytest.raises(StoreError, match=f"recording {recording.recording_id} is damaged: .*{says}"):
        played(tape.store, recording, chunking)


# -- determinism -------------------------------------------------------------------------------------------------------

REPLAY_ALL: Final = """
import hashlib, sys
from recorder.recording import Request
from recorder.replay import Player
from recorder.store import Store

digest = hashlib.sha256()
with Store.open(sys.argv[1], readonly=True) as store:
    for chunks in ("recorded", "event", "joined", "size:50", "seed:9"):
        player = Player(store, chunks=chunks, repeat="cycle")
        for number in (0, 1, 0, 2, 1, 0, 0):
            body = b'{"user": "u%d", "model": "m"}' % number
            request = Request("POST", "http://other/v1/x?b=1&a=2", (("Content-Type", "application/json"),), body)
            playback = player.play(player.find(request))
            digest.update(repr((playback.head, playback.finish, list(playback.chunks()))).encode())
print(digest.hexdigest())
"""


def test_the_same_requests_give_the_same_bytes_in_every_process(own_tape: Tape) -> None:
    for number in (0, 1, 2, 0, 0, 1):
        request = asked(b'{"model":"m","user":"u%d"}' % number, url="https://api.example/v1/x?a=2&b=1")
        chunks = timed([b"data: %d\n\n" % number, *random.Random(number).sample(CHAT, 5)])
        own_tape.record(chunks, request=request)
    own_tape.store.close()
    digests = set()
    for seed in ("0", "1", "4242"):
        ran = subprocess.run(
            [sys.executable, "-c", REPLAY_ALL, str(own_tape.path)],
            check=True,
            capture_output=True,
            text=True,
            cwd=ROOT,
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"},
        )
        digests.add(ran.stdout)
    assert len(digests) == 1
    assert len(digests.pop().strip()) == 2 * hashlib.sha256().digest_size


def test_a_miss_for_a_body_above_the_limit_says_that_it_was_not_kept(tape: Tape) -> None:
    large = asked(b"x" * ((1 << 20) + 1))
    recording = tape.record(timed(CHAT), request=large)
    with pytest.raises(Miss, match="higher body_limit") as missed:
        Player(tape.store).find(large)
    assert missed.value.nearest == recording
    assert missed.value.differences == ()


# -- emit --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("pace", ["instant", "recorded", "x4", 10])
def test_emit_writes_the_exact_bytes(tape: Tape, pace: str | float) -> None:
    """With their content coding, and with what a dead writer left; it says how the recording ended."""
    coded = gzip.compress(b"".join(CHAT), mtime=0)
    head = answered(("content-encoding", "gzip"))
    for recording, body in (
        (tape.record(timed(CHAT)), b"".join(CHAT)),
        (tape.record(timed([coded]), head=head, ending="reset"), coded),
        (tape.record(timed(CHAT[:2]), ending=None), b"".join(CHAT[:2])),
        (tape.record(refused=True, ending="connect_error"), b""),
    ):
        out = io.BytesIO()
        ending = emit(tape.store, recording, out.write, pace)
        assert out.getvalue() == body
        assert ending.ending == (recording.ending.ending if recording.ending else "interrupted")


def test_emit_keeps_the_recorded_chunks_at_a_pace(tape: Tape) -> None:
    """Each is written when it is due, so what reads the other end sees the stream as it was."""
    written: list[bytes] = []
    take: Callable[[bytes], object] = written.append
    emit(tape.store, tape.record(timed(CHAT)), take, "recorded")
    assert written == list(CHAT)


# -- what was withheld -------------------------------------------------------------------------------------------------

SECRET: Final = "sk-proj-" + "Zx9" * 16


def deck(*recorded: tuple[Recording, Sequence[Event]]) -> Deck:
    return Deck([Track(*one) for one in recorded])


@pytest.mark.parametrize("chunks", ["recorded", "event", "joined", "size:7"])
@pytest.mark.parametrize("streamed", [True, False])
def test_an_encoded_answer_with_something_withheld_is_played_decoded(streamed: bool, chunks: str) -> None:
    """Its undecoded bytes are not stored; the head announces neither coding nor length."""
    whole = b"".join(CHAT) if streamed else b'{"note": "%b"}' % (b"x" * 500)
    said = whole.replace(b"Hel" if streamed else b"xxx", SECRET.encode() + b" ", 1)
    assert said != whole
    headers = (*(STREAM if streamed else JSON), ("content-encoding", "gzip"), ("content-length", "9"), ("x-kept", "1"))
    recording, events = recorded(asked(), gzip.compress(said), headers=headers)
    assert recording.ending is not None
    assert recording.ending.detail["redacted"]["wire"] == "withheld"
    playback = Player(deck((recording, events)), chunks=chunks).play(recording)
    assert playback.head is not None
    assert dict(playback.head.headers[-2:]) == {"x-kept": "1", "transfer-encoding": "chunked"}
    played = b"".join(data for _, data in playback.chunks())
    assert (len(played), playback.size) == (len(said), len(said))
    assert SECRET.encode() not in played
    assert played.replace(b"[redacted]" + b"*" * (len(SECRET) - 10), SECRET.encode()) == said


@pytest.mark.parametrize("told", ["withheld", None, ["wire"], {"wire": ["withheld"]}])
def test_a_note_of_a_strangers_on_what_was_withheld_does_no_harm(told: object) -> None:
    """A file may come from anybody."""
    recording, events = recorded(asked(), b"".join(CHAT), headers=STREAM)
    assert recording.ending is not None
    strange = replace(recording, ending=replace(recording.ending, detail={"redacted": told}))
    playback = Player(deck((strange, events))).play(strange)
    assert b"".join(data for _, data in playback.chunks()) == b"".join(CHAT)


def test_a_request_that_carries_a_mask_finds_what_it_was_before(own_tape: Tape) -> None:
    """A client that was answered with a mask says it again: what is stored is masked in the same way."""
    secret = asked(b'{"messages":["%b"]}' % SECRET.encode())
    recording = own_tape.record(timed(CHAT), request=secret)
    stored = recording.request.body or b""
    assert SECRET.encode() not in stored
    for body in (secret.body or b"", stored):
        assert Player(own_tape.store).find(asked(body)).recording_id == recording.recording_id
    with pytest.raises(Miss):
        Player(own_tape.store).find(asked(stored.replace(b"[redacted]", b"[redacted]*")))


def test_a_secret_request_is_found_under_another_rule(own_tape: Tape) -> None:
    """What is compared then is the stored request, which is masked."""
    recording = own_tape.record(timed(CHAT), request=asked(b'{"messages":["%b"],"seed":1}' % SECRET.encode()))
    rule = match.Rule(ignore=("body.seed",))
    found = Player(own_tape.store, rule=rule).find(asked(b'{"messages":["%b"],"seed":2}' % SECRET.encode()))
    assert found.recording_id == recording.recording_id
