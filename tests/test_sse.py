"""The tokenizer against a plain transcription of the WHATWG text, byte by byte and without any speed.

Every comparison says three things at once: the frames are those of the transcription, the messages too, and the frames
and the tail joined are the input.
"""

from __future__ import annotations

import base64
import itertools
import json
import random
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recorder import sse
from recorder.sse import Dispatcher, Frame, Message, Piece, Tokenizer, event_name, messages, payload, wire
from tests.needs import CORPUS, NIGHTLY, examples, need_corpus

BOM: Final = b"\xef\xbb\xbf"

# What streams are made of, and what breaks parsers.
TOKENS: Final = (
    *(b"\r", b"\n", b"\r\n", b"\n\n", b"\r\r", b"\r\n\r\n", b"\n\r"),
    *(b":", b" ", b"x", b"\0", b"\xff", b"\xc3", b"\xa9", b"\xe2\x80\xa8", BOM, BOM[:1], BOM[1:]),
    *(b"data", b"data:", b"data: ", b"data: x", b"data:x\n", b"Data: x", b"datax: y"),
    *(b"event", b"event:", b"event: ", b"event: x", b"event: \xc3\xa9", b"event: \xff", b"event: \0", b"event:  y"),
    *(b"id", b"id:", b"id: 7", b"id: \0", b"retry", b"retry:", b"retry: 10", b"retry: 1x", b"retry: +5", b": hello"),
    *(b"event: a\ndata: b\n\n", b"data: c\n\n", b"event: a\r\ndata: b\r\n\r\n", b"data: d\r\r", b"data: \n\n"),
)


# -- the transcription -------------------------------------------------------------------------------------------------


class Line(NamedTuple):
    content: bytes
    ending: bytes  # b"" only for what follows the last line ending


def spec_lines(stream: bytes) -> Iterator[Line]:
    """Lines end with CRLF, LF or CR (WHATWG 9.2.5)."""
    content = bytearray()
    at = 0
    while at < len(stream):
        byte = stream[at : at + 1]
        at += 1
        if byte == b"\r" and stream[at : at + 1] == b"\n":
            at += 1
            byte = b"\r\n"
        if byte in {b"\r", b"\n", b"\r\n"}:
            yield Line(bytes(content), byte)
            content.clear()
        else:
            content += byte
    if content:
        yield Line(bytes(content), b"")


def spec_cut(stream: bytes) -> tuple[list[bytes], bytes]:
    """The frames' bytes and the tail: a frame ends with the line that is empty (but for a BOM before the first)."""
    frames: list[bytes] = []
    current = b""
    for number, line in enumerate(spec_lines(stream)):
        current += line.content + line.ending
        if line.ending and (line.content == b"" or (number == 0 and line.content == BOM)):
            frames.append(current)
            current = b""
    return frames, current


def spec_field(line: bytes) -> tuple[bytes, bytes]:
    name, _, value = line.partition(b":")
    return name, value.removeprefix(b" ")


def spec_frame(whole: bytes, first: bool) -> Frame:
    """What the frame's bytes must become."""
    lines = list(spec_lines(whole.removeprefix(BOM) if first else whole))
    names = [value for name, value in (spec_field(line.content) for line in lines) if name == b"event"]
    kind = names[-1].decode(errors="replace") or None if names else None
    if all(line.ending == b"\n" for line in lines) and not (first and whole.startswith(BOM)):
        contents = [line.content for line in lines]
        if len(contents) == 2 and contents[0].startswith(b"data: "):
            return Frame(None, contents[0][6:], None, len(whole))
        if len(contents) == 3 and contents[0].startswith(b"event: ") and contents[1].startswith(b"data: "):
            name = contents[0][7:]
            if name and b"\0" not in name and name.decode(errors="replace").encode() == name:
                return Frame(kind, contents[1][6:], None, len(whole))
    return Frame(kind, None, whole, len(whole))


def spec_messages(stream: bytes) -> list[Message]:
    """The event stream interpretation of WHATWG 9.2.6, line by line over the whole decoded stream."""
    out: list[Message] = []
    data: list[str] = []
    name = ""
    last_id: str | None = None
    retry: int | None = None
    for content, ending in spec_lines(stream.removeprefix(BOM)):
        if not ending:
            break
        line = content.decode(errors="replace")
        if not line:
            if data:
                out.append(Message(name or "message", "\n".join(data), last_id, retry))
            data, name, retry = [], "", None
            continue
        field, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if field == "event":
            name = value
        elif field == "data":
            data.append(value)
        elif field == "id" and "\0" not in value:
            last_id = value
        elif field == "retry" and value and set(value) <= set("0123456789"):
            retry = int(value)
    return out


class Expected(NamedTuple):
    frames: list[Frame]
    tail: bytes
    messages: list[Message]


def expect(stream: bytes) -> Expected:
    frames, tail = spec_cut(stream)
    return Expected([spec_frame(whole, at == 0) for at, whole in enumerate(frames)], tail, spec_messages(stream))


# -- reading and comparing ---------------------------------------------------------------------------------------------


def read(chunks: Iterable[bytes], tokenizer: Tokenizer | None = None) -> tuple[list[Frame | Piece], bytes]:
    tokenizer = tokenizer or Tokenizer()
    items = [item for chunk in chunks for item in tokenizer.feed(chunk)]
    items += tokenizer.finish()
    return items, tokenizer.close()


def joined(items: Sequence[Frame | Piece], tail: bytes) -> bytes:
    parts = [item.data if isinstance(item, Piece) else wire(item.type, item.data, item.raw) for item in items]
    return b"".join(parts) + tail


def at_points(stream: bytes, points: Iterable[int]) -> list[bytes]:
    ends = [*points, len(stream)]
    return [stream[start:end] for start, end in zip([0, *ends], ends, strict=False)]


def of_size(stream: bytes, size: int) -> list[bytes]:
    return [stream[at : at + size] for at in range(0, len(stream), size)]


def every_chunking(stream: bytes) -> Iterator[list[bytes]]:
    inner = range(1, len(stream))
    for count in range(len(stream)):
        for points in itertools.combinations(inner, count):
            yield at_points(stream, points)


def random_chunking(stream: bytes, source: random.Random) -> list[bytes]:
    """Cut at random points, or into even parts; an empty chunk now and then."""
    if source.random() < 0.3:
        return of_size(stream, source.randint(1, 7))
    count = source.randint(0, min(6, len(stream)))
    return at_points(stream, sorted(source.randint(0, len(stream)) for _ in range(count)))


def check(stream: bytes, chunks: Iterable[bytes], expected: Expected) -> None:
    items, tail = read(chunks)
    assert items == expected.frames
    assert tail == expected.tail
    assert joined(items, tail) == stream
    assert list(messages(items)) == expected.messages


# -- vectors and published streams -------------------------------------------------------------------------------------


def vectors() -> list[Any]:
    path = CORPUS / "sse_vectors.json"
    if not path.is_file():
        return [pytest.param({}, marks=pytest.mark.skip("no published streams in ../shared/corpus"))]
    return [pytest.param(vector, id=vector["name"]) for vector in json.loads(path.read_bytes())["vectors"]]


@pytest.mark.parametrize("vector", vectors())
def test_vector_at_every_chunking(vector: dict[str, Any]) -> None:
    """Dispatches what the vector says: at every even size, every one and two cuts, and (if short) every chunking."""
    stream = base64.b64decode(vector["input_base64"])
    expected = expect(stream)
    wanted = [(each["event"], each["data"], each["id"], each["retry"]) for each in vector["expected"]]
    assert [(*message[:2], message.id or "", message.retry) for message in expected.messages] == wanted
    for size in range(1, len(stream) + 1):
        check(stream, of_size(stream, size), expected)
    for point in range(len(stream) + 1):
        check(stream, at_points(stream, [point]), expected)
    source = random.Random(vector["name"])
    pairs = list(itertools.combinations(range(len(stream) + 1), 2))
    for points in source.sample(pairs, min(len(pairs), 2000)):
        check(stream, at_points(stream, points), expected)
    for chunks in every_chunking(stream) if len(stream) <= 12 else ():
        check(stream, chunks, expected)
    for _ in range(examples(100, 5000)):
        check(stream, random_chunking(stream, source), expected)


def test_all_vectors_are_there() -> None:
    """The list is not cut short without anybody's knowledge."""
    need_corpus()
    assert len(vectors()) == 42


def published() -> list[Path]:
    return sorted(CORPUS.rglob("*.sse"))


def test_published_streams_at_several_chunk_sizes() -> None:
    """All of them: the frames join to the file, and are the transcription's at every size."""
    need_corpus()
    assert len(published()) == 216
    for path in published():
        stream = path.read_bytes()
        expected = expect(stream)
        for chunks in (of_size(stream, size) for size in (1, 7, 180, 1024, 16384, max(1, len(stream)))):
            items, tail = read(chunks)
            assert (items, tail) == (expected.frames, expected.tail), path.name
        assert joined(items, tail) == stream, path.name
        assert list(messages(items)) == expected.messages, path.name


def test_published_streams_are_mostly_canonical() -> None:
    """The canonical form is the common one: if it were not, storing it apart would be for nothing."""
    need_corpus()
    frames = [frame for path in published() for frame in read([path.read_bytes()])[0]]
    canonical = [frame for frame in frames if isinstance(frame, Frame) and frame.raw is None]
    assert len(canonical) > 0.9 * len(frames)


# -- any bytes, any chunking -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("lead", [b"", BOM, b"data: x", b"event: x\n", b"\xef\xbb", b"x\r\n"])
def test_every_short_text_of_line_endings_at_every_chunking(lead: bytes) -> None:
    """All texts of up to 5 of CR, LF and x after each lead, cut at every place and in every way after it."""
    for length in range(6):
        for parts in itertools.product(b"\r\nx", repeat=length):
            rest = bytes(parts)
            expected = expect(lead + rest)
            for chunks in every_chunking(rest) if rest else [[]]:
                check(lead + rest, [lead, *chunks], expected)
            check(lead + rest, of_size(lead + rest, 1), expected)


def streams() -> st.SearchStrategy[bytes]:
    adversarial = st.lists(st.sampled_from(TOKENS) | st.binary(max_size=3), max_size=25).map(b"".join)
    return adversarial | st.binary(max_size=60)


@settings(max_examples=examples(666, 20_000))
@given(stream=streams(), points=st.lists(st.integers(0, 120), max_size=8))
def test_any_bytes_in_any_chunks(stream: bytes, points: list[int]) -> None:
    """The same frames and messages as the transcription, and the input when joined."""
    check(stream, at_points(stream, sorted(min(point, len(stream)) for point in points)), expect(stream))


@settings(max_examples=examples(166, 10_000))
@given(streams(), st.integers(4, 30), st.integers(1, 9), st.integers(1, 40))
def test_oversize_frames_come_in_pieces_in_any_chunks(stream: bytes, limit: int, piece: int, size: int) -> None:
    """A frame above the limit is cut at multiples of the piece, wherever the chunks end; all others stay frames."""
    items, tail = read(of_size(stream, size), Tokenizer(limit, piece))
    assert joined(items, tail) == stream
    expected: list[Frame | Piece] = []
    for frame in expect(stream).frames:
        whole = wire(frame.type, frame.data, frame.raw)
        parts = of_size(whole, piece)
        pieces = [Piece(part, at == len(parts) - 1) for at, part in enumerate(parts)]
        expected += pieces if len(whole) > limit else [frame]
    assert items[: len(expected)] == expected
    assert all(isinstance(item, Piece) and not item.final for item in items[len(expected) :])
    assert (items, tail) == read([stream], Tokenizer(limit, piece))


def fuzz(count: int, seed: str) -> int:
    """`count` times a random stream in a random chunking; returns how many were compared."""
    source = random.Random(seed)
    done = 0
    while done < count:
        stream = b"".join(source.choices(TOKENS, k=source.randint(0, 10)))
        check(stream, random_chunking(stream, source), expect(stream))
        done += 1
    return done


def test_random_streams_in_random_chunks(record_property: Callable[[str, object], None]) -> None:
    """Some thousands of examples usually, always the same; a million new ones in the nightly run."""
    count = examples(5000, 1_000_000)
    seed = str(time.time_ns()) if NIGHTLY else "sse"
    record_property("seed", seed)
    record_property("examples", fuzz(count, seed))


# -- frames ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("whole", "frame"),
    [
        (b"event: a\ndata: b\n\n", Frame("a", b"b", None, 18)),
        (b"data: b\n\n", Frame(None, b"b", None, 9)),
        (b"data: \n\n", Frame(None, b"", None, 8)),
        (b"data:   b\n\n", Frame(None, b"  b", None, 11)),
        (b"event:  a\ndata: b\n\n", Frame(" a", b"b", None, 19)),
        (b"data: \xff\0\n\n", Frame(None, b"\xff\0", None, 10)),
        ("event: é\ndata: b\n\n".encode(), Frame("é", b"b", None, 19)),
    ],
)
def test_canonical_frames_keep_their_payload_only(whole: bytes, frame: Frame) -> None:
    for chunks in ([b"\n", whole], [b"\n" + whole], [b"\n", whole * 2], of_size(b"\n" + whole, 1)):
        items, tail = read(chunks)
        assert items[1:] in ([frame], [frame, frame])
        assert all(isinstance(item, Frame) for item in items)
        assert tail == b""
    assert wire(frame.type, frame.data, frame.raw) == whole


@pytest.mark.parametrize(
    ("whole", "name"),
    [
        (b"\n", None),
        (b": comment\n\n", None),
        (b"data:b\n\n", None),
        (b"data\n\n", None),
        (b"data: b\r\n\r\n", None),
        (b"data: a\ndata: b\n\n", None),
        (b"data: b\nevent: a\n\n", "a"),
        (b"event: a\ndata: b\nid: 1\n\n", "a"),
        (b"event: a\n\n", "a"),
        (b"event: \ndata: b\n\n", None),
        (b"event: a\nevent: b\ndata: c\n\n", "b"),
        (b"event: a\nevent\ndata: c\n\n", None),
        (b"event: a\0\ndata: b\n\n", "a\0"),
        (b"event: \xff\ndata: b\n\n", "�"),
        (b"event: \xed\xa0\x80\ndata: b\n\n", "���"),
        (BOM + b"event: a\ndata: b\n\n", None),
    ],
)
def test_any_other_frame_keeps_every_byte(whole: bytes, name: str | None) -> None:
    """And its type all the same; the BOM of a later frame makes its field an unknown one."""
    frame = Frame(name, None, whole, len(whole))
    for chunks in ([b"data: first\n\n" + whole], [b"data: first\n\n", whole], of_size(b"data: first\n\n" + whole, 1)):
        assert read(chunks)[0][1:] == [frame]
    assert wire(frame.type, frame.data, frame.raw) == whole


def test_frame_of_neither_data_nor_raw_has_no_wire_form() -> None:
    with pytest.raises(ValueError, match="neither"):
        wire("a", None, None)


def test_names_do_not_pile_up() -> None:
    """Names come from the other side: the memory spent on them is bounded, and they are right all the same."""
    stream = b"".join(b"event: name%d\ndata: x\n\n" % at for at in range(2000))
    stream += b"event: %b\ndata: x\n\n" % (b"n" * 1000)
    frames = read([b"\n", stream])[0][1:]
    assert [frame.type for frame in frames if isinstance(frame, Frame)][-2:] == ["name1999", "n" * 1000]
    assert joined(frames, b"") == stream
    assert len(sse._NAMES) <= 512
    assert max(map(len, sse._NAMES)) <= 64


# -- what is pending ---------------------------------------------------------------------------------------------------


def test_frame_is_delivered_by_the_chunk_that_ends_it() -> None:
    """With LF and with CRLF: nothing waits for the next chunk."""
    for whole in (b"event: a\ndata: b\n\n", b"event: a\r\ndata: b\r\n\r\n", b": ping\n\n", b"\n"):
        tokenizer = Tokenizer()
        for _ in range(3):
            assert [joined([item], b"") for item in tokenizer.feed(whole)] == [whole]
            assert tokenizer.pending == 0


def test_frame_that_ends_in_cr_waits_for_one_byte() -> None:
    tokenizer = Tokenizer()
    assert tokenizer.feed(b"data: a\r\r") == []
    assert tokenizer.pending == 9
    assert tokenizer.feed(b"d") == [Frame(None, None, b"data: a\r\r", 9)]
    assert tokenizer.pending == 1


@pytest.mark.parametrize("whole", [b"data: a\r\r", b"data: a\n\r", b"\r", BOM + b"\r", b"data: a\r\n\r"])
def test_frame_that_waits_at_the_end_is_had_by_finish(whole: bytes) -> None:
    tokenizer = Tokenizer()
    assert tokenizer.feed(whole) == []
    assert tokenizer.finish() == [Frame(None, None, whole, len(whole))]
    assert tokenizer.finish() == []
    assert tokenizer.close() == b""


def test_no_byte_is_lost_where_finish_is_not_called() -> None:
    tokenizer = Tokenizer()
    assert tokenizer.feed(b"data: a\r\r") == []
    assert tokenizer.close() == b"data: a\r\r"


@pytest.mark.parametrize("tail", [b"data: x", b"data: x\n", b"data: x\r", b"\xef", BOM, BOM + b"data", b"x\n\r\nx\r\n"])
def test_unterminated_tail_is_kept_and_dispatches_nothing(tail: bytes) -> None:
    tokenizer = Tokenizer()
    frames = [*tokenizer.feed(tail), *tokenizer.finish()]
    assert list(messages(frames)) == []
    assert tokenizer.pending == len(tail) - len(joined(frames, b""))
    assert joined(frames, tokenizer.close()) == tail
    assert tokenizer.pending == 0


@pytest.mark.parametrize(("limit", "piece"), [(3, 1), (0, 1), (-1, 1), (100, 0)])
def test_limits_that_cannot_work_are_refused(limit: int, piece: int) -> None:
    with pytest.raises(ValueError, match="at least"):
        Tokenizer(limit, piece)


# -- size --------------------------------------------------------------------------------------------------------------

MIB: Final = 1024 * 1024


def test_frame_up_to_16_mib_is_a_frame_and_one_byte_more_is_not() -> None:
    """By default: the pieces are of 1 MiB, in any chunks, and the next frame is parsed again."""
    whole = b"data: " + b"x" * (16 * MIB - 8) + b"\n\n"
    assert [item.size for item in read(of_size(whole, MIB))[0] if isinstance(item, Frame)] == [16 * MIB]
    stream = b"x" + whole + b"data: next\n\n"
    for size in (len(stream), MIB, 100_000):
        items, tail = read(of_size(stream, size))
        pieces = [item for item in items if isinstance(item, Piece)]
        assert [(len(piece.data), piece.final) for piece in pieces] == [(MIB, False)] * 16 + [(1, True)]
        assert items[len(pieces) :] == [Frame(None, b"next", None, 12)]
        assert joined(items, tail) == stream


def test_endless_line_is_handed_on_and_not_held() -> None:
    """What is held of a frame above the limit is one piece and a few bytes."""
    tokenizer = Tokenizer()
    out = 0
    for _ in range(40):
        out += sum(len(item.data) for item in tokenizer.feed(b"x" * MIB) if isinstance(item, Piece))
        assert tokenizer.pending <= 16 * MIB
    assert tokenizer.pending <= MIB + 4
    assert out + len(tokenizer.close()) == 40 * MIB


def test_without_a_limit_a_frame_may_have_any_size() -> None:
    whole = b"event: big\ndata: " + b"x" * (33 * MIB) + b"\n\n"
    items, tail = read(of_size(whole, 65536), Tokenizer(limit=None))
    assert tail == b""
    assert [(item.type, item.size) for item in items if isinstance(item, Frame)] == [("big", len(whole))]
    assert joined(items, tail) == whole


class Meter:
    """Stands before a compiled pattern and adds up how many bytes it is asked to look at."""

    def __init__(self, pattern: Any, seen: list[int]) -> None:
        self._pattern = pattern
        self._seen = seen

    def _metered(self, method: str, text: bytes, start: int = 0) -> Any:
        found = getattr(self._pattern, method)(text, start)
        self._seen[0] += (found.end() if found else len(text)) - start
        return found

    def search(self, text: bytes, start: int = 0) -> Any:
        return self._metered("search", text, start)

    def fullmatch(self, text: bytes) -> Any:
        return self._metered("fullmatch", text)

    def findall(self, text: bytes, *span: int) -> Any:
        self._seen[0] += len(text)
        return self._pattern.findall(text, *span)


LONG: Final = {
    "one line": b"data: " + b"x" * 1_000_000 + b"\n\n",
    "many lines": b"data: xyz\n" * 100_000 + b"\n",
    "many lines, CRLF": b"data: xyz\r\n" * 100_000 + b"\r\n",
    "many lines, CR": b"x\r" * 500_000 + b"\r",
    "many blank lines": b"\n" * 200_000,
    "many frames": b"data: x\n\n" * 100_000,
    "many comments": b": x\n\n" * 100_000,
}


@pytest.mark.parametrize("name", LONG)
@pytest.mark.parametrize("size", [64, 1000, 16384, 2_000_000])
def test_each_byte_is_looked_at_a_few_times_whatever_the_chunks(
    name: str, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Linear time, by counting: the bytes the patterns scan are a small multiple of the input."""
    seen = [0]
    for pattern in ("_FRAME_END", "_FRAME_END_LF", "_CANONICAL", "_PLAIN_FRAME", "_PLAIN_RUN"):
        monkeypatch.setattr(sse, pattern, Meter(getattr(sse, pattern), seen))
    stream = LONG[name]
    items, tail = read(of_size(stream, size))
    assert joined(items, tail) == stream
    assert len(stream) / 2 < seen[0] < 8 * len(stream)


# -- messages ----------------------------------------------------------------------------------------------------------


def dispatched(stream: bytes) -> list[Message]:
    return list(messages(read([stream])[0]))


def test_last_event_id_stays_until_it_is_reset() -> None:
    stream = b"data: a\n\nid: 1\n\ndata: b\n\nid: \0\ndata: c\n\nid\ndata: d\n\n"
    assert [message.id for message in dispatched(stream)] == [None, "1", "1", ""]


def test_retry_is_the_frames_own_and_stays_with_the_dispatcher() -> None:
    assert Dispatcher().retry is None
    dispatcher = Dispatcher()
    assert dispatcher.dispatch(None, None, b"retry: 100\n\n") is None
    assert dispatcher.retry == 100
    assert dispatcher.dispatch(None, b"x", None) == Message("message", "x", None, None)
    assert dispatcher.dispatch(None, None, b"retry: 007\nretry: no\ndata: x\n\n") == Message("message", "x", None, 7)
    assert dispatcher.retry == 7


@pytest.mark.parametrize(
    ("value", "retry"),
    [
        (b"0", 0),
        (b"000", 0),
        (b"0" * 5000 + b"5", 5),
        (b"9" * 18, 10**18 - 1),
        (b"9" * 19, None),
        (b"9" * 5000, None),
        (b"", None),
        (b" 7", None),
        (b"+7", None),
        (b"1_0", None),
        ("٣".encode(), None),
    ],
)
def test_retry_is_ascii_digits_and_of_a_sane_length(value: bytes, retry: int | None) -> None:
    assert Dispatcher().dispatch(None, None, b"retry: " + value + b"\ndata: x\n\n") == Message(
        "message", "x", None, retry
    )


def test_bom_counts_at_the_start_of_the_stream_only() -> None:
    """Later it is part of a field's name, here of the name's: that frame has none."""
    frame = BOM + b"event: a\ndata: b\n\n"
    assert dispatched(frame + frame) == [Message("a", "b", None, None), Message("message", "b", None, None)]


def test_stored_frames_read_the_same_without_a_tokenizer() -> None:
    """Rows (type, data, raw) are all that is needed; the first one alone may have a BOM to skip."""
    stream = BOM + b"event: a\ndata: b\n\nevent: c\ndata: d\n\ndata: e\ndata\n\n: f\n\n"
    rows = [frame[:3] for frame in expect(stream).frames]
    dispatcher = Dispatcher()
    assert [message for row in rows if (message := dispatcher.dispatch(*row))] == spec_messages(stream)
    assert [payload(*row, first=at == 0) for at, row in enumerate(rows)] == [b"b", b"d", b"e\n", None]
    assert [event_name(row[0], row[2]) for row in rows] == ["a", "c", "message", "message"]


def test_payload_of_a_row_without_any_bytes_is_none() -> None:
    """An erased payload is not an empty one, and dispatches nothing."""
    assert payload("a", None, None) is None
    assert Dispatcher().dispatch("a", None, None) is None


def test_name_that_could_not_be_stored_is_read_again() -> None:
    """A type with U+0000 fits no PostgreSQL text: kept as None, it is still in the bytes."""
    assert event_name(None, b"event: a\0b\ndata: c\n\n") == "a\0b"
    assert event_name(None, BOM + b"event: a\n\n") == "message"
    assert event_name(None, BOM + b"event: a\n\n", first=True) == "a"
    assert event_name(None, b"data: event\n\n") == "message"
    assert event_name(None, None) == "message"
    assert Dispatcher().dispatch(None, None, b"event: a\0b\ndata: c\n\n") == Message("a\0b", "c", None, None)


def test_piece_dispatches_nothing_and_still_is_the_streams_start() -> None:
    """After an unparsed first frame a BOM is no longer at the start."""
    stream = BOM + b"data: " + b"x" * 30 + b"\n\n" + BOM + b"data: y\n\ndata: z\n\n"
    items, _ = read([stream], Tokenizer(limit=20, piece=10))
    assert [message.data for message in messages(items)] == ["z"]
