"""Credentials in answers, however the network or the model cut them, never reach a row; all else arrives whole."""

from __future__ import annotations

import gzip
import json
import logging
import random
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any, Final

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from recorder.capture import PIECE, Capture
from recorder.cuts import unpack
from recorder.digest import EventDigest, payload_of
from recorder.reader import interpret
from recorder.recording import Event, Head, Kind, Recording, Request, Row
from recorder.redact import DEFAULT, REDACTED, Passage, Redactor
from recorder.redact import passage as passages
from recorder.redact.shapes import cover
from recorder.sse import Tokenizer
from tests.loopback import every, pieces, seeded_cuts
from tests.needs import examples, need_cassettes, need_corpus
from tests.tape import ORIGIN
from tests.test_capture import STREAM, begun, head, recording
from tests.test_capture import Exchange as Came
from tests.test_decode import ENCODERS
from tests.test_redact_bodies import CREDENTIALS, PEM

KEY: Final = "sk-proj-abcDEF0123456789abcDEF_-x"
ALL: Final = tuple(CREDENTIALS)
Chunks = Sequence[bytes]


def asking(body: bytes, **fields: Any) -> Recording:
    request = Request("POST", f"{ORIGIN}/v1/chat/completions?limit=1", body=body, body_size=len(body))
    return replace(recording(), request=request, **fields)


def captured(
    chunks: Chunks, first: Head, *, redactor: Redactor = DEFAULT, made: Recording | None = None, take_every: int = 1
) -> tuple[Capture, list[Row]]:
    """The rows of a body in these chunks, taken after every so many of them."""
    capture = Capture(made or recording(), redactor=redactor)
    capture.head(first, 10)
    rows = []
    for number, chunk in enumerate(chunks, 1):
        capture.data(chunk, 10 + number * 50)
        if number % take_every == 0:
            rows += capture.take()
    capture.end("eof", 20 + len(chunks) * 50)
    return capture, rows + capture.take()


def cuts_of(data: bytes, seed: int) -> list[bytes]:
    """The data in up to 25 chunks."""
    return pieces(data, seeded_cuts(len(data), str(seed)))


def body_of(rows: Sequence[Row], *kinds: str) -> bytes:
    return b"".join(payload_of(row) for row in rows if row[2] in (kinds or ("sse", "body")))


def check(capture: Capture, rows: Sequence[Row]) -> None:
    """Positions in order, sizes and cuts those of the network, and the digests those of what is stored."""
    assert [row[1] for row in rows] == list(range(len(rows)))
    digest = EventDigest(capture.recording)
    for row in rows:
        digest.rows([row])
        digest.payload(payload_of(row))
        if row[2] in ("sse", "body") or (row[2] == "wire" and row[5] is not None):
            assert len(payload_of(row)) == row[7]
        unpack(row[8], row[7], row[3])
    assert capture.ending is not None
    ending = capture.ending
    assert digest.finish(capture.recording, ending) == (ending.facts_digest, ending.payload_digest, ending.seal)


def redacted(capture: Capture) -> dict[str, Any]:
    assert capture.ending is not None
    told = capture.ending.detail.get("redacted", {})
    assert isinstance(told, dict)
    return told


def masked(data: bytes, *secrets: str) -> bytes:
    for secret in secrets:
        for form in (secret, json.dumps(secret)[1:-1]):
            data = data.replace(form.encode(), cover(len(form)))
    return data


# -- as the network cuts -----------------------------------------------------------------------------------------------


def frames(*texts: str, end: str = "\n\n") -> bytes:
    """Events that each hold a whole text, of canonical form or not."""
    lines = "\r\n" if end == "\r\n\r\n" else "\n"
    told = [
        f"event: e{lines}data: {json.dumps({'type': 'x', 'n': n, 'text': text})}{end}" for n, text in enumerate(texts)
    ]
    return "".join([f": {KEY}{end}", *told]).encode()


@settings(max_examples=examples(50, 5_000))
@given(
    st.lists(st.sampled_from(ALL) | st.text(max_size=30), max_size=6),
    st.sampled_from(["\n\n", "\r\n\r\n"]),
    st.integers(0, 1 << 32),
    st.integers(1, 50),
    st.sampled_from(["text/event-stream", "application/json", "text/plain"]),
)
def test_no_cut_of_the_network_changes_what_is_found(
    texts: list[str], end: str, seed: int, step: int, content_type: str
) -> None:
    """Events, comments, CRLF frames, bodies that are no stream: stored are the bytes of the uncut body, masked."""
    sent = frames(*[f"{text} {KEY} ." if len(text) % 2 else f"{text} ." for text in texts], end=end)
    expected = masked(sent, KEY, *sorted(set(texts) & set(ALL), key=len, reverse=True))
    cut = cuts_of(sent, seed)
    capture, rows = captured(cut, head(content_type), take_every=step)
    assert body_of(rows) == expected
    check(capture, rows)
    whole, _ = captured([sent], head(content_type))
    assert redacted(capture)["response"].keys() == redacted(whole)["response"].keys()


@pytest.mark.parametrize("coding", sorted({*ENCODERS} - {"identity", "none"}))
@pytest.mark.parametrize("content_type", ["text/event-stream", "application/json"])
@pytest.mark.parametrize("size", [1, 7, 100, 1 << 20])
def test_an_encoded_answer_keeps_what_was_decoded_masked_and_withholds_the_rest(
    coding: str, content_type: str, size: int
) -> None:
    """The wire's bytes hold the credential too; up to them they are stored. Without one, all of them are."""
    innocent = frames(*["word"] * 40).replace(KEY.encode(), b"none")
    for plain in (innocent + frames("x", f"a {KEY} b", "y"), innocent):
        name, encode = ENCODERS[coding]
        encoded = b"".join(encode([plain]))
        capture, rows = captured(every(size, encoded), head(content_type, name))
        check(capture, rows)
        wires = [row for row in rows if row[2] == "wire"]
        assert sum(row[7] for row in wires) == len(encoded)
        if plain is innocent:
            assert body_of(rows, "wire") == encoded
            assert "redacted" not in (capture.ending.detail if capture.ending else {})
            continue
        assert redacted(capture)["wire"] == "withheld"
        assert body_of(rows) == masked(plain, KEY)
        kept = [row[5] is not None for row in wires]
        assert kept == sorted(kept, reverse=True), "once withheld, withheld to the end"
        assert encoded.startswith(body_of([row for row in wires if row[5] is not None], "wire"))
        assert not kept[-1]


def test_a_prefix_of_an_encoded_stream_is_stored_up_to_the_credential() -> None:
    """Each event flushed by itself, as servers do: the events before are replayed from the wire as they came."""
    packer = zlib.compressobj(wbits=31)
    sent = [frames(f"{text}.").replace(KEY.encode(), b"", 1) for text in ("one", "two", f"key {KEY}", "three")]
    chunks = [packer.compress(each) + packer.flush(zlib.Z_SYNC_FLUSH) for each in sent]
    chunks.append(packer.flush())
    capture, rows = captured(chunks, head(STREAM, "gzip"))
    check(capture, rows)
    assert [row[5] is not None for row in rows if row[2] == "wire"] == [True, True, False, False, False]
    assert KEY.encode() not in b"".join(payload_of(row) for row in rows)


def flushed(parts: Sequence[bytes], level: int = 9) -> list[bytes]:
    """A chunk of gzip for each part, which decodes to all of it."""
    packer = zlib.compressobj(level, wbits=31)
    chunks = [packer.compress(each) + packer.flush(zlib.Z_SYNC_FLUSH) for each in parts]
    return [*chunks[:-1], chunks[-1] + packer.flush()]


@pytest.mark.parametrize("step", [1, 1000])
def test_a_chunk_that_ends_within_a_credential_is_withheld_with_it(step: int) -> None:
    """Wherever it ends: the event before it is complete with that chunk, and the row of the wire waits all the same."""
    sent = b"".join(told(["one", "two", f"my {KEY} end", "three"], "chat"))
    start = sent.index(KEY.encode())
    first, second = sent.index(b"two"), sent.index(b"my ")
    for cut in range(second, len(sent) - 4):
        capture, rows = captured(
            flushed([sent[:first], sent[first:cut], sent[cut:]]), head(STREAM, "gzip"), take_every=step
        )
        check(capture, rows)
        assert KEY[:3].encode() not in opened(rows), cut
        assert body_of(rows) == masked(sent, KEY)
        kept = [row[5] is not None for row in rows if row[2] == "wire"]
        assert kept == ([True, True, False] if cut <= start else [True, False, False][: len(kept)]), cut


@pytest.mark.parametrize(("end", "waits"), [("two wo", False), ("task sk", True)])
def test_a_chunk_that_ends_within_an_event_waits_only_where_that_may_hold_something(end: str, waits: bool) -> None:
    sent = b"".join(told(["one", "two words", "task sk", "-ing"], "chat"))
    cut = sent.index(end.encode()) + len(end)
    chunks = flushed([sent[:cut], sent[cut:]])
    capture = Capture(recording())
    capture.head(head(STREAM, "gzip"), 1)
    rows = capture.take()
    capture.data(chunks[0], 10)
    first = capture.take()
    assert bool(first) is not waits
    capture.data(chunks[1], 20)
    capture.end("eof", 30)
    rows += first + capture.take()
    check(capture, rows)
    assert body_of(rows, "wire") == b"".join(chunks)
    assert redacted(capture) == {}


def test_an_event_of_several_rows_of_the_wire_is_withheld_with_all_of_them() -> None:
    """As a large one is, which does not compress."""
    noise = random.Random(3).randbytes(1_500_000).hex()
    sent = told(["one", f"{KEY} {noise}", "two"], "chat")
    capture, rows = captured(flushed(sent, 1), head(STREAM, "gzip"))
    check(capture, rows)
    assert KEY.encode() not in opened(rows)
    kept = [row[5] is not None for row in rows if row[2] == "wire"]
    assert len(kept) > 3
    assert kept == [True, *[False] * (len(kept) - 1)]


def test_a_row_of_the_wire_that_waits_too_long_is_withheld(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its coding is damaged, so that the event that began in it never ends."""
    monkeypatch.setattr("recorder.capture.PATIENCE", 0)
    monkeypatch.setattr(passages, "_MOST_ROWS", 20)
    first, second = told(["one", f"my {KEY} end"], "chat")
    for cut in (second.index(KEY.encode()) + len(KEY), second.index(KEY.encode()) + 20):
        before, *others = flushed([first, second[:cut], b"x"])[:2]
        capture, rows = captured([before, *others, *[b"\xff" * 500] * 100], head(STREAM, "gzip"))
        check(capture, rows)
        assert KEY[:10].encode() not in opened(rows)
        assert body_of([row for row in rows if row[5] is not None], "wire") == before
        assert redacted(capture)["wire"] == "withheld"


def test_the_first_of_two_events_that_spell_it_out_may_begin_in_an_earlier_chunk() -> None:
    """That chunk's row waits as long as the first of them does."""
    sent = b"".join(told(["hi ", KEY[:20], KEY[20:], " bye"], "chat"))
    first, second = sent.index(KEY[:20].encode()) + 20, sent.index(KEY[20:].encode()) - 10
    capture, rows = captured(flushed([sent[:first], sent[first:second], sent[second:]], 0), head(STREAM, "gzip"))
    check(capture, rows)
    assert KEY[:8].encode() not in opened(rows)
    assert texts_of(rows, "chat") == masked(f"hi {KEY} bye".encode(), KEY).decode()


@pytest.mark.parametrize(("level", "length", "size"), [(-5, 900, 20), (-5, 900, 500), (1, 400_000, 5_000)])
@pytest.mark.parametrize("content_type", [STREAM, "application/json"])
def test_what_zstd_has_not_decoded_yet_is_not_stored(
    content_type: str, level: int, length: int, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It decodes block by block, and a block may have its letters as they are: its rows wait for what they say."""
    zstandard = pytest.importorskip("zstandard")
    monkeypatch.setattr("recorder.capture.PATIENCE", 100)
    noise = "".join(random.Random(5).choices("".join(map(chr, range(35, 92))), k=length))
    texts = [noise[:60], f"{noise[:300]} {KEY} {noise[300:]}", noise[:60]]
    sent = b"".join(told(texts, "chat")) if content_type == STREAM else json.dumps(texts).encode()
    packed = zstandard.ZstdCompressor(level=level).compress(sent)
    assert (KEY[3:].encode() in packed) == (level < 0)
    capture, rows = captured(every(size, packed), head(content_type, "zstd"))
    check(capture, rows)
    assert body_of(rows) == masked(sent, KEY)
    stored = body_of([row for row in rows if row[5] is not None], "wire")
    assert KEY[3:].encode() not in stored
    assert KEY.encode() not in zstandard.ZstdDecompressor().decompressobj().decompress(stored)


def test_what_a_damaged_coding_hides_is_kept_as_it_came() -> None:
    """Nobody can look into it; the reading says so by its flag `undecoded`."""
    encoded = gzip.compress(frames(KEY))
    capture, rows = captured([b"\x1f\x8b\x08" + encoded[::-1]], head("application/json", "gzip"))
    check(capture, rows)
    assert body_of(rows, "wire") == b"\x1f\x8b\x08" + encoded[::-1]


@pytest.mark.parametrize("coding", ["base64", "snappy", "gzip", "deflate", "br", "zstd"])
@pytest.mark.parametrize("content_type", [STREAM, "application/json", "text/plain"])
@pytest.mark.parametrize("slow", [True, False])
def test_what_is_plain_under_the_name_of_a_coding_is_masked_as_it_stands(
    content_type: str, coding: str, slow: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some servers name what is no content coding, and some proxies decode a body and leave the head as it was."""
    if slow and coding not in ("deflate", "br"):  # these decode some letters before they see that it is none
        monkeypatch.setattr("recorder.capture.PATIENCE", 0)
    sent = frames("one", f"my {KEY} end", "two") if content_type == STREAM else json.dumps(["one", KEY, 2]).encode()
    for seed in range(20):
        cut = cuts_of(sent, seed)
        capture, rows = captured(cut, head(content_type, coding), take_every=1 + seed % 4)
        check(capture, rows)
        assert body_of(rows, "wire") == masked(sent, KEY), seed
        assert redacted(capture).keys() == {"response"}
        innocent = [chunk.replace(b"sk", b"--") for chunk in cut]
        if sent.replace(b"sk", b"--") == b"".join(innocent):
            capture, rows = captured(innocent, head(content_type, coding))
            assert (body_of(rows, "wire"), redacted(capture)) == (b"".join(innocent), {})


@pytest.mark.parametrize("named", ["none", "UTF-8", "identity"])
@pytest.mark.parametrize("content_type", [STREAM, "application/json", "text/plain"])
def test_what_names_no_coding_is_masked_like_what_names_none(content_type: str, named: str) -> None:
    sent = frames("one", f"my {KEY} end", "two") if content_type == STREAM else json.dumps(["one", KEY, 2]).encode()
    for seed in range(20):
        capture, rows = captured(cuts_of(sent, seed), head(content_type, named), take_every=1 + seed % 4)
        check(capture, rows)
        assert body_of(rows) == masked(sent, KEY), seed
        assert redacted(capture).keys() == {"response"}


@pytest.mark.parametrize("content_type", [STREAM, "application/json"])
@pytest.mark.parametrize("size", [7, 1 << 20])
@pytest.mark.parametrize("after", [b"", b"\xff" * 600], ids=["cut off", "damaged"])
def test_a_block_of_zstd_that_is_never_whole_is_masked_where_its_letters_stand_as_they_are(
    content_type: str, size: int, after: bytes
) -> None:
    """As it is where the client left in the middle of it."""
    zstandard = pytest.importorskip("zstandard")
    packer = zstandard.ZstdCompressor(level=-5).compressobj()
    noise = "".join(random.Random(5).choices("".join(map(chr, range(35, 92))), k=900))
    sent = told(["one", f"{noise[:300]} {KEY} {noise[300:]}"], "chat")
    packed = packer.compress(sent[0]) + packer.flush(zstandard.COMPRESSOBJ_FLUSH_BLOCK)
    packed += packer.compress(sent[1]) + packer.flush()
    packed = packed[: packed.index(KEY[3:].encode()) + 60] + after
    capture, rows = captured(every(size, packed), head(content_type, "zstd"))
    check(capture, rows)
    stored = body_of(rows, "wire")
    assert KEY[3:].encode() not in stored
    assert len(stored) == len(packed)
    assert stored.split(b"[redacted]")[0] == packed[: packed.index(KEY.encode())]


def opened(rows: Sequence[Row]) -> bytes:
    """What anybody can decode of the bytes of the wire that are stored."""
    return zlib.decompressobj(wbits=31).decompress(body_of([row for row in rows if row[5] is not None], "wire"))


def parts(text: str, level: int) -> list[bytes]:
    """JSON with this text, compressed, in chunks of 4,000 bytes of what it says."""
    packer = zlib.compressobj(level, wbits=31)
    sent = json.dumps({"text": text}).encode()
    chunks = [packer.compress(each) + packer.flush(zlib.Z_SYNC_FLUSH) for each in every(4_000, sent)]
    return [*chunks, packer.flush()]


@pytest.mark.parametrize("patience", [0, 1_000_000])
@pytest.mark.parametrize("complete", [True, False])
def test_a_credential_in_the_chunk_that_is_damaged_is_withheld(
    patience: int, complete: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its event may be complete before the damage or not; a slow stream's row does not go before that is known."""
    monkeypatch.setattr("recorder.capture.PATIENCE", patience)
    first, second = told(["one", f"my {KEY} end"], "chat")
    second = second if complete else second[: second.index(KEY.encode()) + len(KEY)]
    before, chunk = flushed([first, second, b"x"], 0)[:2]
    for slowly in ([chunk + b"\xff" * 50], [chunk[:20], chunk[20:] + b"\xff" * 50, b"\xff" * 50]):
        capture, rows = captured([before, *slowly], head(STREAM, "gzip"))
        check(capture, rows)
        assert KEY.encode() not in b"".join(payload_of(row) for row in rows)
        assert body_of(rows) == masked(first + second, KEY)
        assert redacted(capture)["wire"] == "withheld"


#: 400 KB that do not look like anything.
LARGE: Final = " ".join(str(n * 7919 % 99991) for n in range(70_000))


@pytest.mark.parametrize("level", [0, 9])
@pytest.mark.parametrize("slow", [True, False])
def test_an_encoded_answer_larger_than_memory_is_stored_whole_where_it_holds_nothing(
    slow: bool, level: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was searched is forgotten, and what comes after it is searched as well."""
    monkeypatch.setattr("recorder.capture.KEPT", 100_000)
    monkeypatch.setattr("recorder.capture.PATIENCE", 1_000 if slow else 1 << 40)
    chunks = parts(LARGE, level)
    capture, rows = captured(chunks, head("application/json", "gzip"))
    check(capture, rows)
    assert body_of(rows, "wire") == b"".join(chunks)
    assert capture.ending is not None
    assert capture.ending.detail == {"ending": "eof", "captured": "full"}


@pytest.mark.parametrize("level", [0, 9])
@pytest.mark.parametrize("slow", [True, False])
@pytest.mark.parametrize("before", [0, 150_000, len(LARGE)])
def test_an_encoded_answer_too_large_to_be_searched_is_withheld_from_where_it_may_hold_something(
    before: int, slow: bool, level: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is no whole answer then, and says why; without content nothing is withheld, as nothing is stored."""
    monkeypatch.setattr("recorder.capture.KEPT", 100_000)
    monkeypatch.setattr("recorder.capture.PATIENCE", 1_000 if slow else 1 << 40)
    chunks = parts(f"{LARGE[:before]} {KEY} {LARGE[before:]}", level)
    capture, rows = captured(chunks, head("application/json", "gzip"))
    check(capture, rows)
    assert KEY.encode() not in opened(rows)
    assert body_of(rows) == b""
    wires = [row for row in rows if row[2] == "wire"]
    assert sum(row[7] for row in wires) == len(b"".join(chunks))
    stored = [row[5] is not None for row in wires]
    assert stored == sorted(stored, reverse=True)
    assert not stored[-1]
    assert stored[0] == (slow and before > 0)
    assert capture.ending is not None
    assert capture.ending.captured == capture.ending.detail["captured"] == "truncated"
    assert (
        capture.ending.detail["reason"] == "an encoded answer that may hold a credential was too large to be searched"
    )
    assert redacted(capture)["wire"] == "withheld"
    for content in ("facts", "none"):
        told, _ = captured(chunks, head("application/json", "gzip"), made=recording(content))
        assert told.ending is not None
        assert told.ending.detail == {"ending": "eof", "captured": "full"}


def test_no_more_bytes_of_an_encoded_answer_wait_than_memory_should_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where they may hold something they wait; as soon as there are so many they are withheld, and no longer wait."""
    monkeypatch.setattr("recorder.capture.PATIENCE", 0)
    encoded = gzip.compress(json.dumps({"text": f"{KEY} {LARGE}"}).encode(), 0)
    monkeypatch.setattr("recorder.capture.KEPT", 10_000)
    capture = Capture(recording())
    capture.head(head("application/json", "gzip"), 1)
    capture.take()
    taken = []
    for number, chunk in enumerate([encoded[:9_999], encoded[9_999:10_000], encoded[10_000:10_007]], 2):
        capture.data(chunk, number)
        taken.append([(row[2], row[7], row[5]) for row in capture.take()])
    assert taken == [[], [("wire", 10_000, None)], [("wire", 7, None)]]


@pytest.mark.parametrize("level", [0, 9])
@pytest.mark.parametrize("content_type", [STREAM, "text/plain"])
def test_a_slow_event_of_an_encoded_stream_waits_till_it_is_known_what_it_holds(
    content_type: str, level: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows that waited their second before would have what its first bytes spell out, for anybody who decodes them."""
    monkeypatch.setattr("recorder.capture.PATIENCE", 0)
    before, after = frames("one", f"say {KEY} to him").replace(f": {KEY}".encode(), b": x"), frames("three")
    packer = zlib.compressobj(level, wbits=31)
    sent = before + after
    start = before.rindex(b"event:")
    cut = (sent[:start], *every(10, sent[start : len(before)]), after)
    chunks = [packer.compress(part) + packer.flush(zlib.Z_SYNC_FLUSH) for part in cut]
    capture, rows = captured(chunks, head(content_type, "gzip"))
    check(capture, rows)
    assert opened(rows) == sent[:start]
    assert body_of(rows) == masked(sent, KEY)


def test_what_was_decoded_of_a_large_answer_is_kept_in_pieces() -> None:
    """Masked, where something in it is: no row is above a MiB."""
    plain = json.dumps({"text": f"{KEY} " + "word " * 500_000}).encode()
    capture, rows = captured([gzip.compress(plain, 1)], head("application/json", "gzip"))
    check(capture, rows)
    assert [row[7] for row in rows if row[2] == "body"] == [PIECE, PIECE, len(plain) - 2 * PIECE]
    assert body_of(rows) == masked(plain, KEY)


def test_a_credential_before_a_damage_of_the_coding_is_not_stored(monkeypatch: pytest.MonkeyPatch) -> None:
    """However slowly it came: what was decoded up to there is kept, masked."""
    monkeypatch.setattr("recorder.capture.PATIENCE", 1_000)
    chunks = parts(f"{KEY} {LARGE[:20_000]}", 9)
    chunks[3:] = [b"\xff" * 500] * 40
    capture, rows = captured(chunks, head("application/json", "gzip"))
    check(capture, rows)
    assert KEY.encode() not in opened(rows)
    assert body_of(rows) == masked(json.dumps({"text": f"{KEY} {LARGE}"}).encode()[:12_000], KEY)
    assert redacted(capture)["wire"] == "withheld"


# -- as a model cuts ---------------------------------------------------------------------------------------------------

#: What an event of each protocol looks like around a piece of text.
DELTAS: Final[dict[str, Callable[[int, str], tuple[str | None, Any]]]] = {
    "chat": lambda n, text: (
        None,
        {"id": "c", "choices": [{"index": 0, "delta": {"content": text}}], "obfuscation": "x" * n},
    ),
    "chat choices": lambda n, text: (
        None,
        {"choices": [{"index": 1, "delta": {"content": text}, "finish_reason": None}]},
    ),
    "chat tools": lambda n, text: (
        None,
        {"choices": [{"index": 0, "delta": {"tool_calls": [{"index": 0, "function": {"arguments": text}}]}}]},
    ),
    "assistants": lambda n, text: (
        "thread.message.delta",
        {"id": "msg_1", "delta": {"content": [{"index": 0, "type": "text", "text": {"value": text}}]}},
    ),
    "responses": lambda n, text: (
        "response.output_text.delta",
        {"type": "response.output_text.delta", "sequence_number": n, "item_id": "m", "output_index": 0, "delta": text},
    ),
    "messages": lambda n, text: (
        "content_block_delta",
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": text}},
    ),
    "messages tools": lambda n, text: (
        "content_block_delta",
        {"type": "content_block_delta", "index": 1, "delta": {"type": "input_json_delta", "partial_json": text}},
    ),
    "gemini": lambda n, text: (None, {"candidates": [{"content": {"parts": [{"text": text}], "role": "model"}}]}),
}
OTHER: Final = b'event: ping\ndata: {"type": "ping"}\n\n'


def told(parts: Sequence[str], protocol: str, *, other: bool = False) -> list[bytes]:
    """An event for each piece, and others between them."""
    out = []
    for number, piece in enumerate(parts):
        type_, value = DELTAS[protocol](number, piece)
        out.append((f"event: {type_}\n" if type_ else "").encode() + b"data: " + json.dumps(value).encode() + b"\n\n")
        if other and number % 2:
            out.append(OTHER)
            _, value = DELTAS["chat"](0, "sk-")
            out.append(
                b"data: "
                + json.dumps(value | {"choices": [{"index": 7, "delta": {"content": "sk"}}]}).encode()
                + b"\n\n"
            )
    return out


def texts_of(rows: Sequence[Row], protocol: str) -> str:
    """What the events say together."""
    marker = DELTAS[protocol](0, "\x00")[1]
    values = [json.loads(row[5]) for row in rows if row[2] == "sse" and row[5] is not None and row[5][:1] == b"{"]
    return "".join(text for value in values if (text := _find(value, marker)) is not None)


def _find(value: Any, marker: Any) -> str | None:
    """The text that stands where the marker has its own."""
    if marker == "\x00":
        return value if isinstance(value, str) else None
    if isinstance(marker, dict) and isinstance(value, dict):
        if "index" in marker and value.get("index") != marker["index"]:
            return None
        found = [_find(value[name], marker[name]) for name in marker if name in value]
    elif isinstance(marker, list) and isinstance(value, list):
        found = [_find(inner, each) for each, inner in zip(marker, value, strict=False)]
    else:
        return None
    return next((each for each in found if each is not None), None)


def cut_up(text: str, seed: int, most: int = 6) -> list[str]:
    """The text in pieces of 1 to `most` characters."""
    rng = random.Random(seed)
    parts = []
    while text:
        size = rng.randint(1, most)
        parts.append(text[:size])
        text = text[size:]
    return parts


TOKENS: Final = {
    KEY: [
        "Your",
        " key",
        ":",
        " sk",
        "-",
        "proj",
        "-abc",
        "DEF",
        "012",
        "345",
        "678",
        "9abc",
        "DEF",
        "_-",
        "x",
        " ok",
        ".",
    ],
    "AIzaSyA0123456789abcdefghijklmnopqrstuvw": [
        *("key=", "AI", "za", "Sy", "A", "012", "345", "678", "9", "abcdef", "ghijklmnop", "qrst", "uvw", "\n", "done")
    ],
    "AKIAIOSFODNN7EXAMPLE": ["id", "\n", "AK", "IA", "IO", "SF", "ODNN", "7", "EX", "AMPLE", "\n"],
    "ghp_0123456789abcdefghijklmnopqrstuvwxyz": [
        "a",
        " gh",
        "p",
        "_",
        "0123456789",
        "abcdefghijklm",
        "nopqrstuvwxyz",
        "!",
    ],
    "xoxb-123456789012-abcdefghij": ["a ", "x", "oxb", "-", "123456789012", "-", "abcdefghij", ""],
    "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N": [
        *("t ", "eyJ", "hbGciOiJIUzI1NiJ9", ".", "eyJ", "zdWIiOiIxMjM0NTY3ODkwIn0", ".do", "zjgNryP4J3jVmNHl0w5N", " b")
    ],
    "hf_abcdefghijklmnopqrstuvwxyzABCDEFGH": [" ", "hf", "_", "abcdefghijklmnopqrstuvwxyz", "ABCDEFGH", "."],
    PEM: [" it is\n", "-----", "BEGIN", " RSA", " PRIVATE", " KEY", *cut_up(PEM[26:], 1, 9), "\nthat was it"],
}


@pytest.mark.parametrize("step", [1, 3, 1000])
@pytest.mark.parametrize("protocol", DELTAS)
@pytest.mark.parametrize("secret", TOKENS, ids=lambda secret: secret[:8])
def test_a_credential_that_a_model_spells_out_is_masked_in_every_event(secret: str, protocol: str, step: int) -> None:
    """Cut as tokenizers cut, among events of other texts; nothing has told beforehand that there would be one."""
    chunks = told(TOKENS[secret], protocol, other=True)
    capture, rows = captured(chunks, head(), take_every=step)
    check(capture, rows)
    said = texts_of(rows, protocol)
    expected = json.loads(masked(json.dumps("".join(TOKENS[secret])).encode(), secret))
    # One or two letters say too little (`AI`) to wait for what follows.
    before = next((length for begin, length in (("AI", 2), ("AK", 2), ("x", 1)) if secret.startswith(begin)), 0)
    at = expected.index(REDACTED)
    assert said in {expected, expected[:at] + secret[:before] + expected[at + before :]}
    assert redacted(capture) == {"response": {CREDENTIALS[secret]: 1}}
    assert body_of(rows).count(b"ping") == 2 * chunks.count(OTHER)


#: After how many letters of it a tokenizer may cut what a credential begins with.
BEGINNINGS: Final = {
    "sk-proj-": (2,),
    "hf_": (2,),
    "gsk_": (2, 3),
    "AIza": (2, 3),
    "GOCSPX-": (6,),
    "AKIA": (1, 2, 3),
    "ASIA": (1, 2, 3),
    "ghp_": (2, 3),
    "github_pat_": (6, 10),
    "glpat-": (2, 5),
    "npm_": (2, 3),
    "xoxb-": (1, 4),
    "xapp-": (4,),
    "eyJ": (2,),
    "-----BEGIN ": (5, 10),
}


@pytest.mark.parametrize("lead", ["", "see "])
@pytest.mark.parametrize(("begin", "cut"), [(begin, cut) for begin, cuts in BEGINNINGS.items() for cut in cuts])
def test_a_beginning_that_a_tokenizer_cuts_is_noticed(begin: str, cut: int, lead: str) -> None:
    """Also at the very start of a text. What is stored before may be a letter or two, which say nothing."""
    secret = next(each for each in CREDENTIALS if each.startswith(begin))
    rest = secret[cut:]
    sent = told([*([lead] if lead else []), secret[:cut], rest[:6], rest[6:13], rest[13:], " ok"], "chat")
    capture, rows = captured(sent, head())
    check(capture, rows)
    said = texts_of(rows, "chat")
    assert said.startswith(lead)
    assert said.endswith(" ok")
    assert rest[:6] not in said
    assert rest[-6:] not in said
    assert len(json.dumps(said)) == len(json.dumps(f"{lead}{secret} ok"))


@pytest.mark.parametrize("step", [1, 1000])
@pytest.mark.parametrize("protocol", ["chat", "messages tools", "assistants"])
@pytest.mark.parametrize(
    ("pieces_of", "secret", "rule"),
    [
        (
            ["dsn", " postgresql", "://", "svc", ":", "Zr8", "kq2Lp", "@", "db", ".internal", "/x"],
            "svc:Zr8kq2Lp",
            "url_password",
        ),
        (
            ["see https", "://", "h", ".example", "/k", "?a=1", "&sig=", "aB3dEfGh", "%2F", "ijKlMnOpQr", " ok"],
            "aB3dEfGh%2FijKlMnOpQr",
            "signed_url",
        ),
        (
            ["?X", "-Amz", "-Signature", "=", "0123456789", "abcdef0123", "456789", ")"],
            "0123456789abcdef0123456789",
            "signed_url",
        ),
    ],
)
def test_what_signs_a_url_is_masked_where_a_model_spells_it_out(
    pieces_of: list[str], secret: str, rule: str, protocol: str, step: int
) -> None:
    """A parameter's name in two pieces is known where its second begins with `-Signature`."""
    capture, rows = captured(told(pieces_of, protocol, other=True), head(), take_every=step)
    check(capture, rows)
    assert texts_of(rows, protocol) == masked("".join(pieces_of).encode(), secret).decode()
    assert redacted(capture) == {"response": {rule: 1}}


@settings(max_examples=examples(50, 5_000))
@given(
    st.sampled_from([each for each in ALL if each != PEM]),
    st.sampled_from(sorted(DELTAS)),
    st.integers(0, 1 << 32),
    st.integers(1, 12),
    st.integers(1, 40),
)
@example(KEY, "chat", 0, 1, 1)
def test_any_cut_is_noticed_once_the_request_held_a_credential(
    secret: str, protocol: str, seed: int, most: int, step: int
) -> None:
    """One character an event, too: whoever pastes a key gets it repeated."""
    text = f"You sent {secret}; it is\n{secret} indeed. risk- task-force sk"
    chunks = told(cut_up(text, seed, most), protocol)
    asked = asking(json.dumps({"messages": [{"content": secret}]}).encode())
    capture, rows = captured(chunks, head(), made=asked, take_every=step)
    check(capture, rows)
    assert texts_of(rows, protocol) == masked(text.encode(), secret).decode()
    assert set(redacted(capture)) == {"request", "response"}
    assert secret.encode() not in (capture.recording.request.body or b"")


@given(st.integers(0, 1 << 32), st.integers(1, 12), st.integers(1, 40))
def test_a_users_pattern_finds_what_a_model_spells_out(seed: int, most: int, step: int) -> None:
    redactor = Redactor([r"mail: /[a-z.]+@[a-z.]+\.example/"])
    text = "Write to jane.doe@mail.example or\nto bob@b.example" + " and so on" * 40 + " a@b.example"
    capture, rows = captured(told(cut_up(text, seed, most), "chat"), head(), redactor=redactor, take_every=step)
    check(capture, rows)
    said = texts_of(rows, "chat")
    assert len(said) == len(text)
    assert ".example" not in said
    assert "@" not in said
    assert said.endswith("*")
    assert set(redacted(capture)["response"]) == {"mail"}


@pytest.mark.parametrize("patience", [0, 1_000_000])
@pytest.mark.parametrize("level", [0, 9])
def test_no_cut_of_an_encoded_stream_leaves_a_credential_in_the_wire(
    patience: int, level: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Parts of events that are flushed, and chunks of what that gives; what holds nothing is stored as it came."""
    monkeypatch.setattr("recorder.capture.PATIENCE", patience)
    said = [" one two", " risk", " sk", " s", f" my {KEY} end", f" {KEY[:9]}", KEY[9:]]
    for seed in range(examples(30, 2_000)):
        rng = random.Random(seed)
        protocol = rng.choice(sorted(DELTAS))
        sent = b"".join(told(rng.choices(said, k=rng.randint(1, 8)), protocol))
        encoded = b"".join(flushed(cuts_of(sent, seed), level))
        capture, rows = captured(cuts_of(encoded, seed + 1), head(STREAM, "gzip"), take_every=rng.choice([1, 2, 5, 99]))
        check(capture, rows)
        assert KEY[:12].encode() not in opened(rows), seed
        assert KEY not in texts_of(rows, protocol), seed
        if not redacted(capture):
            assert body_of(rows, "wire") == encoded, seed


def test_rows_wait_only_while_it_is_open_what_they_begin() -> None:
    """Ordinary text is handed out with its event; the beginning of a credential, and what follows, when it is known."""
    capture = Capture(recording())
    capture.head(head(), 1)
    capture.take()
    taken = []
    for number, chunk in enumerate(
        told(["I", " am", " sk", "-", "ing", " and", " s", "k", "i", " sk", "eptical", "."], "chat")
    ):
        capture.data(chunk, 100 + number)
        taken.append(len(capture.take()))
    assert taken == [1, 1, 0, 0, 0, 4, 1, 1, 1, 0, 2, 1]
    capture.end("eof", 1000)
    assert redacted(capture) == {}


def test_what_waits_is_stored_when_the_answer_ends() -> None:
    """As it is where it became no credential; masked where it did."""
    for parts, expected in (
        (["a sk", "-", "proj"], "a sk-proj"),
        (["a sk", KEY[2:]], "a " + cover(len(KEY)).decode()),
    ):
        capture, rows = captured(told(parts, "chat"), head())
        check(capture, rows)
        assert texts_of(rows, "chat") == expected


def test_what_waits_too_long_is_masked(monkeypatch: pytest.MonkeyPatch) -> None:
    """A run without end is no reason to hold a stream back for ever, nor to let its beginning go."""
    monkeypatch.setattr(passages, "_MOST_ROWS", 50)
    capture, rows = captured(told(["x ", "sk-", *["a" * 5] * 200], "chat"), head())
    check(capture, rows)
    assert "sk-aaaaa" not in texts_of(rows, "chat")
    assert redacted(capture)["response"]["unfinished"]


def test_what_is_masked_already_is_not_given_up_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another text's credential that waited behind the first counts by its own rule alone."""
    monkeypatch.setattr(passages, "_MOST_ROWS", 50)
    other = b"data: " + json.dumps({"choices": [{"index": 7, "delta": {"content": KEY}}]}).encode() + b"\n\n"
    sent = told(["x ", "sk-", *["a" * 5] * 20], "chat")
    capture, rows = captured([*sent, other, *told(["a" * 5] * 40, "chat")], head())
    check(capture, rows)
    assert KEY.encode() not in body_of(rows)
    found = redacted(capture)["response"]
    assert found.keys() == {"provider_key", "unfinished"}
    assert found["provider_key"] == 1


def test_what_is_held_back_is_not_looked_at_again_for_each_new_event(monkeypatch: pytest.MonkeyPatch) -> None:
    """A key that a model writes line by line holds back thousands of events: each look goes through all of them."""
    looks: list[int] = []
    look = Passage._look

    def counted(self: Passage, rows: list[Row], *, last: bool) -> list[Row]:
        looks.append(len(rows))
        return look(self, rows, last=last)

    monkeypatch.setattr(Passage, "_look", counted)
    sent = told(
        ["x ", "-----BEGIN RSA PRIVATE KEY-----\n", *["MIIE"] * 1500, "\n-----END RSA PRIVATE KEY-----", " y"], "chat"
    )
    capture, rows = captured(sent, head())
    check(capture, rows)
    assert "MII" not in texts_of(rows, "chat")
    assert texts_of(rows, "chat").endswith(" y")
    assert len(looks) < 200


def test_an_encoded_answer_that_waits_is_not_looked_at_again_for_each_chunk(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a key at its beginning it waits to the end: looking each time would be quadratic."""
    looked: list[int] = []
    holds = Passage.holds

    def counted(self: Passage, decoded: bytes) -> bool:
        looked.append(len(decoded))
        return holds(self, decoded)

    monkeypatch.setattr(Passage, "holds", counted)
    plain = json.dumps({"text": f"{KEY} " + " ".join(str(n * 7919 % 99991) for n in range(40_000))}).encode()
    packed = gzip.compress(plain)
    capture = Capture(recording())
    capture.head(head("application/json", "gzip"), 1)
    for number, at in enumerate(range(0, len(packed), 500), 1):
        capture.data(packed[at : at + 500], number * 1_500_000)
    capture.end("eof", 1 << 40)
    assert body_of(capture.take()) == masked(plain, KEY)
    assert sum(looked) < 40 * len(plain)


@pytest.mark.parametrize("step", [1, 2, 5])
def test_each_credential_counts_once(step: int) -> None:
    """Whether one event holds it, or several do; also where it is looked at again in its context."""
    sent = told(["a ", f"{KEY} b", " c ", KEY[:9], KEY[9:], " d ", f"{KEY} and {KEY}", " e"], "chat")
    capture, rows = captured(sent, head(), take_every=step)
    check(capture, rows)
    assert redacted(capture)["response"] == {"provider_key": 4}


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_a_name_of_an_event_is_redacted(end: str) -> None:
    """It stands in a column of its own, and in the frame's bytes where these are kept."""
    sent = f"event: {KEY}{end}data: x{end}{end}".encode()
    for cut in range(len(sent)):
        capture, rows = captured([sent[:cut], sent[cut:]], head())
        check(capture, rows)
        assert body_of(rows) == masked(sent, KEY)
        assert [row[4] for row in rows if row[2] == "sse"] == [cover(len(KEY)).decode()]
        assert redacted(capture)["response"] == {"provider_key": 1}


def test_a_failure_in_here_withholds_and_stops_nothing(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """What cannot be looked at is not stored; frames, sizes and the writer go on."""

    def fail(self: Passage, rows: list[Row], *, last: bool) -> list[Row]:
        raise RuntimeError(KEY)

    monkeypatch.setattr(Passage, "_look", fail)
    sent = frames(KEY, "y", end="\r\n\r\n") + frames(KEY)
    with caplog.at_level(logging.WARNING, "recorder"):
        capture, rows = captured([sent], head())
    check(capture, rows)
    assert KEY not in caplog.text
    assert KEY.encode() not in body_of(rows)
    assert redacted(capture)["withheld"] == ["response"]
    assert len(Tokenizer().feed(body_of(rows))) == len(Tokenizer().feed(sent))
    with caplog.at_level(logging.WARNING, "recorder"):
        capture, rows = captured([gzip.compress(sent)], head(STREAM, "gzip"))
    check(capture, rows)
    assert [row[5] for row in rows if row[2] == "wire"] == [None]
    assert KEY.encode() not in body_of(rows)
    assert redacted(capture)["withheld"] == ["response"]
    assert redacted(capture)["wire"] == "withheld"


# -- bodies that are no stream -----------------------------------------------------------------------------------------


@settings(max_examples=examples(40, 500))
@given(st.integers(0, 1 << 32), st.sampled_from(ALL))
def test_a_slow_body_is_masked_across_its_rows(seed: int, secret: str) -> None:
    """Chunks a second apart are rows of their own; a credential across them is found all the same."""
    sent = json.dumps({"content": [{"text": f"a {secret} b"}] * 3}).encode()
    capture = Capture(recording())
    capture.head(head("application/json"), 1)
    rows = []
    for number, chunk in enumerate(cuts_of(sent, seed), 1):
        capture.data(chunk, number * 1_500_000)
        rows += capture.take()
    capture.end("eof", 1 << 40)
    rows += capture.take()
    check(capture, rows)
    assert body_of(rows) == masked(sent, secret)


def test_a_credential_may_begin_rows_before_the_last_that_are_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """As they are together where the writer could not come by for a while; or with those of the time before."""
    monkeypatch.setattr("recorder.capture.PATIENCE", 0)
    sent = json.dumps({"content": [{"text": f"a {KEY} b"}] * 3}).encode()
    for seed in range(examples(60, 2_000)):
        for step in (2, 3, 5):
            capture, rows = captured(cuts_of(sent, seed), head("application/json"), take_every=step)
            check(capture, rows)
            assert body_of(rows) == masked(sent, KEY), (seed, step)


@pytest.mark.parametrize("size", [1 << 19, 1 << 20, (1 << 20) + 5, 3 << 20])
def test_a_large_body_is_masked_across_its_rows(size: int) -> None:
    sent = b'{"a":"' + b"x " * (size // 2 - 80) + KEY.encode() + b" " + b"y" * 100 + b" " + KEY.encode() + b'"}'
    capture, rows = captured([sent[at : at + 60_001] for at in range(0, len(sent), 60_001)], head("application/json"))
    check(capture, rows)
    assert body_of(rows) == masked(sent, KEY)


def test_paths_and_hooks_see_an_answers_body_as_a_whole() -> None:
    sent = json.dumps({"data": [{"email": "a@b.example", "n": n} for n in range(50)], "who": "Alice"}).encode()
    redactor = Redactor(["response.data[*].email"], [lambda text, place: ["Alice"] if text.endswith("}") else 1 / 0])  # type: ignore[list-item,return-value]
    capture = Capture(recording(), redactor=redactor)
    capture.head(head("application/json"), 1)
    rows = []
    for number, at in enumerate(range(0, len(sent), 100), 1):
        capture.data(sent[at : at + 100], number * 1_500_000)
        rows += capture.take()
    capture.end("eof", 1 << 40)
    rows += capture.take()
    check(capture, rows)
    value = json.loads(body_of(rows))
    assert {each["email"] for each in value["data"]} == {"[redacted]*"}
    assert [each["n"] for each in value["data"]] == list(range(50))
    assert value["who"] == "*****"


# -- requests, and what a recording tells ------------------------------------------------------------------------------


def test_a_body_too_large_to_be_seen_as_a_whole_is_withheld_where_a_rule_wants_that(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its length stays; one that is small enough is masked where the rule says."""
    monkeypatch.setattr("recorder.capture.KEPT", 10_000)
    redactor = Redactor(["response.name"])
    for words in (500, 4_000):
        sent = json.dumps({"name": "Alice Smith", "text": "word " * words}).encode()
        capture, rows = captured(every(1_000, sent), head("application/json"), redactor=redactor)
        check(capture, rows)
        assert len(body_of(rows)) == len(sent)
        assert b"Alice" not in body_of(rows)
        if words == 500:
            assert body_of(rows) == sent.replace(b"Alice Smith", b"[redacted]*")
            assert redacted(capture) == {"response": {"response.name": 1}}
        else:
            assert b"word" not in body_of(rows)[:10_000]
            assert redacted(capture)["withheld"] == ["response"]


def test_a_body_that_a_rule_wants_whole_waits_for_no_more_than_memory_should_hold(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Then its bytes are withheld, and no longer wait."""
    monkeypatch.setattr("recorder.capture.KEPT", 10_000)
    monkeypatch.setattr("recorder.capture.PATIENCE", 0)
    capture = Capture(recording(), redactor=Redactor(["response.name"]))
    capture.head(head("application/json"), 1)
    capture.take()
    taken = []
    for number, size in enumerate((9_999, 1), 2):
        capture.data(b"x" * size, number)
        taken.append([(row[2], row[7]) for row in capture.take()])
    assert taken == [[], [("body", 10_000)]]
    capture.end("eof", 9)
    assert redacted(capture) == {"withheld": ["response"]}


def test_an_encoded_stream_is_stored_as_it_came_where_a_rule_finds_nothing() -> None:
    sent = gzip.compress(frames("x", "y").replace(KEY.encode(), b"none"))
    capture, rows = captured(every(20, sent), head(STREAM, "gzip"), redactor=Redactor(["/zzz/"]))
    check(capture, rows)
    assert body_of(rows, "wire") == sent
    assert redacted(capture) == {}


def test_a_request_is_masked_everywhere_and_keeps_its_key() -> None:
    body = json.dumps({"model": "m", "max_tokens": 12345, "messages": [{"content": f"my key is {KEY}"}]}).encode()
    made = replace(
        asking(body, match_key=b"k" * 32, session=f"s {KEY}", parameters={"model": KEY, "max_tokens": 12345})
    )
    made = replace(made, tags={"note": f"x {KEY}"})
    capture = Capture(made)
    kept = capture.recording
    assert kept.request.body == masked(body, KEY)
    assert json.loads(kept.request.body or b"")["max_tokens"] == 12345
    assert kept.parameters == {"model": "[redacted]", "max_tokens": 12345}
    assert (kept.match_key, kept.request.body_size) == (b"k" * 32, len(body))
    assert KEY not in repr(kept)
    capture.head(replace(head(), reason=f"No {KEY}", headers=(("x-error", KEY),)), 1)
    capture.end("error", 5, detail={"exception": [{"type": "E", "message": f"bad {KEY}", "args": [KEY, 5]}]})
    rows = capture.take()
    assert KEY.encode() not in b"".join(map(payload_of, rows))
    assert redacted(capture) == {"request": {"provider_key": 1, "text": 3}}
    assert capture.ending is not None
    assert capture.ending.detail["exception"] == [{"type": "E", "message": "bad [redacted]", "args": [REDACTED, 5]}]
    check(capture, rows)


@pytest.mark.parametrize("content", ["facts", "none"])
def test_without_content_nothing_changes(content: str) -> None:
    """Payloads are not stored, and a reading is made of them as they came."""
    capture = begun(Came(head(), [], b""), content)
    sent = frames(KEY)
    capture.data(sent, 100)
    capture.end("eof", 200)
    assert redacted(capture) == {}
    assert all(row[5] is None and row[6] is None for row in capture.take() if row[2] == "sse")
    if content == "facts":
        assert body_of(capture.kept or []) == sent


# -- what is published -------------------------------------------------------------------------------------------------


def corpus() -> Iterator[tuple[str, bytes]]:
    """The published streams by name."""
    for path in sorted(need_corpus().glob("*/*.sse")):
        yield path.stem, path.read_bytes()


def test_no_published_stream_is_altered() -> None:
    """None of them holds a credential; whoever finds one should look at it, and name it here."""
    count = 0
    for number, (name, sent) in enumerate(corpus()):
        count += 1
        for encoded in (False, True):
            body = gzip.compress(sent, 1) if encoded else sent
            capture, rows = captured(cuts_of(body, number), head(STREAM, *["gzip"] * encoded), take_every=7)
            assert body_of(rows, *["wire"] if encoded else ["sse", "body"]) == body, name
            assert redacted(capture) == {}, name
    assert count >= 200


def test_no_published_cassette_is_altered() -> None:
    """Neither a request's body nor an answer, as text or as bytes."""
    yaml = pytest.importorskip("yaml")
    count = 0
    for path in sorted(need_cassettes().glob("*.yaml")):
        count += 1
        for text in _strings(yaml.load(path.read_bytes(), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))):
            assert DEFAULT.clean(text, "response", Counter()) is text, path.name
    assert count >= 100


def _strings(value: Any, name: str = "") -> Iterator[bytes]:
    if isinstance(value, str):
        yield value.encode("utf-8", "surrogatepass")
    elif isinstance(value, bytes):
        yield value
        if value.startswith(b"\x1f\x8b"):
            yield gzip.decompress(value)
    elif isinstance(value, dict):
        for key, each in value.items():
            if key != "headers":
                yield from _strings(each)
    elif isinstance(value, list):
        for each in value:
            yield from _strings(each)


#: What a masked text may change about a reading: the text itself, and that it was masked.
OF_TEXT: Final = {"text", "flags", "facts", "spoken", "parameters", "metadata", "group", "json_valid", "json_damage"}


def test_what_published_streams_say_is_the_same_but_for_the_texts() -> None:
    """With a key put into their texts: status, reason, tokens, caps and times are read as before, in every stream."""
    count = 0
    for name, sent in corpus():
        injected = sent
        for member in (b'"text":"', b'"text": "', b'"content":"', b'"content": "', b'"value":"', b'"instructions":"'):
            injected = injected.replace(member, member + KEY.encode() + b" ")
        if injected == sent:
            continue
        count += 1
        protocol = {"anthropic": "messages", "other": "chat"}.get(kind := _kind(name), kind)
        readings = []
        for redactor in (DEFAULT, None):
            made = replace(recording("full" if redactor else "facts"), dialect=protocol)
            capture, rows = captured([injected], head(), made=made)
            rows = rows if redactor else [*(capture.kept or [])]
            assert (KEY.encode() in body_of(rows)) == (redactor is None), name
            readings.append(
                interpret(replace(made, content="full", ending=capture.ending), [Event(*row[1:]) for row in rows])
            )
        for field in readings[0].__slots__:
            if field not in OF_TEXT:
                assert getattr(readings[0], field) == getattr(readings[1], field), (name, field)
        assert {*readings[0].flags} - {*readings[1].flags} <= {"redacted"}, name
        assert "redacted" in readings[0].flags
    assert count >= 150


def _kind(name: str) -> str:
    return name.partition("-")[0]


def test_the_harness_can_fail() -> None:
    """A stream that is not looked at keeps its credential, and the search for it finds it."""
    sent = frames(KEY)
    assert KEY.encode() in sent
    assert body_of([(b"", 0, Kind.BODY.value, 0, None, sent, None, len(sent), None)]) == sent
