"""Content codings come off in any chunks, damage is told from data, and a bomb stays small."""

from __future__ import annotations

import functools
import gzip
import sys
import tracemalloc
import types
import zlib
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

import brotli
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from recorder import decode
from recorder.decode import Decoder, decode_body
from tests.needs import examples

# -- encoders: what servers do -----------------------------------------------------------------------------------------


def deflated(parts: Iterable[bytes], window: int) -> list[bytes]:
    """One piece for each part, flushed so that the part can be read at once, and one that ends the coding."""
    coder = zlib.compressobj(9, zlib.DEFLATED, window)
    return [coder.compress(part) + coder.flush(zlib.Z_SYNC_FLUSH) for part in parts] + [coder.flush()]


def brotlied(parts: Iterable[bytes]) -> list[bytes]:
    coder = brotli.Compressor(quality=4)
    return [coder.process(part) + coder.flush() for part in parts] + [coder.finish()]


def zstandarded(parts: Iterable[bytes]) -> list[bytes]:
    coder = zstandard.ZstdCompressor(level=3, write_checksum=True).compressobj()
    block = zstandard.COMPRESSOBJ_FLUSH_BLOCK
    return [coder.compress(part) + coder.flush(block) for part in parts] + [coder.flush()]


ENCODERS: Final[dict[str, tuple[str, Callable[[Iterable[bytes]], list[bytes]]]]] = {
    "gzip": ("gzip", lambda parts: deflated(parts, 31)),
    "x-gzip": ("X-GZip", lambda parts: deflated(parts, 31)),
    "deflate": ("deflate", lambda parts: deflated(parts, 15)),
    "deflate, small window": ("deflate", lambda parts: deflated(parts, 9)),
    "deflate, bare": ("deflate", lambda parts: deflated(parts, -15)),
    "br": ("br", brotlied),
    "zstd": ("zstd", zstandarded),
    "gzip, br": ("gzip, br", lambda parts: brotlied(deflated(parts, 31))),
    "br, gzip": (" BR ,identity,gzip", lambda parts: deflated(brotlied(parts), 31)),
    "zstd, deflate, bare": ("zstd, deflate", lambda parts: deflated(zstandarded(parts), -15)),
    "gzip, gzip": ("gzip, x-gzip", lambda parts: deflated(deflated(parts, 31), 31)),
    "gzip members": ("gzip", lambda parts: [*map(gzip.compress, parts), gzip.compress(b"")]),
    "zstd frames": ("zstd", lambda parts: [*map(zstandard.compress, parts), b"\x5a\x2a\x4d\x18\x03\0\0\0any"]),
    "identity": ("identity, ,IDENTITY", list),
    "none": ("None", list),
    "br, and what is no coding": ("br, utf-8, chunked", brotlied),
}

bodies: Final = st.lists(st.binary(max_size=80) | st.integers(1, 3000).map(lambda count: b"x" * count), max_size=8)


def at_points(data: bytes, points: Sequence[int]) -> list[bytes]:
    ends = [*sorted(min(point, len(data)) for point in points), len(data)]
    return [data[start:end] for start, end in zip([0, *ends], ends, strict=False)]


def decoded(content_encoding: str, chunks: Iterable[bytes]) -> tuple[bytes, Decoder]:
    decoder = Decoder(content_encoding)
    return b"".join(map(decoder.feed, chunks)), decoder


# -- what comes off ----------------------------------------------------------------------------------------------------


@settings(max_examples=examples(133, 20_000))
@given(st.sampled_from(sorted(ENCODERS)), bodies, st.lists(st.integers(0, 800), max_size=8))
def test_any_body_comes_back_from_any_coding_in_any_chunks(name: str, parts: list[bytes], points: list[int]) -> None:
    content_encoding, encode = ENCODERS[name]
    data = b"".join(encode(parts))
    out, decoder = decoded(content_encoding, at_points(data, points))
    assert (out, decoder.problem, decoder.finished) == (b"".join(parts), None, True)
    assert decode_body(content_encoding, data) == b"".join(parts)


@pytest.mark.parametrize("name", ENCODERS)
def test_every_single_byte_may_be_a_chunk(name: str) -> None:
    content_encoding, encode = ENCODERS[name]
    data = b"".join(encode([b"data: one\n\n", b"data: two\n\n" * 40]))
    out, decoder = decoded(content_encoding, [data[at : at + 1] for at in range(len(data))])
    assert (out, decoder.finished) == (b"data: one\n\n" + b"data: two\n\n" * 40, True)


@pytest.mark.parametrize("name", [name for name in ENCODERS if name not in {"gzip, br", "br, gzip"}])
def test_each_flushed_event_is_there_with_its_chunk(name: str) -> None:
    """A live stream is read while it runs, not when its coding ends."""
    content_encoding, encode = ENCODERS[name]
    events = [b"data: %d\n\n" % number for number in range(50)]
    decoder = Decoder(content_encoding)
    assert [decoder.feed(piece) for piece in encode(events)][:50] == events


# -- what does not -----------------------------------------------------------------------------------------------------


@settings(max_examples=examples(66, 10_000))
@given(st.sampled_from(sorted(ENCODERS)), bodies, st.integers(0, 800), st.lists(st.integers(0, 800), max_size=3))
def test_a_cut_body_gives_a_prefix_and_is_not_finished(
    name: str, parts: list[bytes], end: int, points: list[int]
) -> None:
    content_encoding, encode = ENCODERS[name]
    data = b"".join(encode(parts))
    out, decoder = decoded(content_encoding, at_points(data[:end], points))
    assert b"".join(parts).startswith(out)
    assert decoder.problem is None
    if name in {"gzip members", "zstd frames", "identity", "none"}:
        return  # a body may end after any of its members
    assert decoder.finished == (end >= len(data) or not end or out == b"".join(parts) == b"" == data[:end])
    assert (decode_body(content_encoding, data[:end]) is None) == (not decoder.finished)


@settings(max_examples=examples(100, 20_000))
@given(
    st.sampled_from(sorted(ENCODERS)),
    bodies,
    st.integers(0, 10_000),
    st.integers(1, 255),
    st.lists(st.integers(0, 800), max_size=3),
)
def test_damage_never_raises(name: str, parts: list[bytes], at: int, change: int, points: list[int]) -> None:
    """And never passes for the body where the coding has a checksum."""
    content_encoding, encode = ENCODERS[name]
    data = bytearray(b"".join(encode(parts)))
    if data:
        data[at % len(data)] ^= change
    out, decoder = decoded(content_encoding, at_points(bytes(data), points))
    if decoder.problem is not None:
        assert decoder.problem.startswith("content coding ")
        assert decoder.feed(b"more") == b""
        assert not decoder.finished
    elif name == "gzip" and decoder.finished:
        assert b"".join(parts) == out


@pytest.mark.parametrize("content_encoding", ["gzip", "deflate", "br", "zstd", "gzip, br"])
def test_a_header_that_lies_is_a_problem(content_encoding: str) -> None:
    plain = b"data: not encoded at all\n\n" * 3
    out, decoder = decoded(content_encoding, [plain])
    assert out == b""
    outermost = content_encoding.rpartition(", ")[2]
    assert decoder.problem == f"content coding {outermost!r} is damaged"
    assert decode_body(content_encoding, plain) is None


def test_what_came_before_the_damage_is_kept() -> None:
    """Decoded events in front of a damaged byte count, though both arrive in one chunk."""
    good = b"".join(deflated([b"data: %d\n\n" % number for number in range(300)], 31)[:-1])
    out, decoder = decoded("gzip", [good + b"\xff" * 4000])
    assert decoder.problem == "content coding 'gzip' is damaged"
    assert out.startswith(b"data: 0\n\ndata: 1\n\n")
    assert len(good) - out.count(b"\n\n") > decode.SLICE


@pytest.mark.parametrize(
    "name", ["gzip", "deflate", "deflate, bare", "br, gzip", "zstd, deflate, bare", "gzip members"]
)
def test_what_came_before_the_damage_does_not_depend_on_the_chunks(name: str) -> None:
    """All of it is there, also where the damage is in the same slice: so it is looked through before it is stored."""
    content_encoding, encode = ENCODERS[name]
    parts = [b"data: %d\n\n" % number for number in range(20)]
    good = b"".join(encode(parts)[:20])
    assert len(good) < decode.SLICE or name == "gzip members"
    for tail in (b"\xff" * 50, b"\x1f\x8b" + b"\xff" * 50):
        out, decoder = decoded(content_encoding, [good + tail])
        assert out.startswith(b"".join(parts))
        assert decoder.problem is not None or (name == "gzip members" and tail[0] == 0xFF)  # that is padding
        assert decoded(content_encoding, [bytes([byte]) for byte in good + tail])[0] == out


@pytest.mark.parametrize("content_encoding", ["compress", "base64", "gzip, sdch", "sdch, gzip", "x" * 5000])
def test_an_unknown_coding_is_named(content_encoding: str) -> None:
    out, decoder = decoded(content_encoding, [b"anything"])
    assert out == b""
    assert decoder.problem is not None
    assert decoder.problem.endswith("cannot be decoded here")
    assert len(decoder.problem) < 100
    assert not decoder.finished
    assert decode_body(content_encoding, b"anything") is None


def test_a_body_without_codings_is_itself() -> None:
    assert decode_body(None, b"x") == b"x"
    assert decode_body("", b"x") == b"x"
    assert decode_body("gzip", b"") == b""


@pytest.mark.parametrize("tail", [b"\0" * 9, b"\x1f", b"\x1fx", b"garbage", b"\x1f" * 3])
@pytest.mark.parametrize("step", [1, 2, 1000])
def test_padding_behind_a_gzip_member_is_ignored(tail: bytes, step: int) -> None:
    """As gzip, curl and urllib3 do; it costs nothing of what came before."""
    data = gzip.compress(b"one") + gzip.compress(b"two") + tail + gzip.compress(b"lost")
    out, decoder = decoded("gzip", [data[at : at + step] for at in range(0, len(data), step)])
    assert (out, decoder.problem, decoder.finished) == (b"onetwo", None, True)


def test_a_damaged_later_member_is_a_problem() -> None:
    second = bytearray(gzip.compress(b"two"))
    second[-8] ^= 1
    assert decode_body("gzip", gzip.compress(b"one") + bytes(second)) is None


# -- packages ----------------------------------------------------------------------------------------------------------


def test_without_its_package_a_coding_is_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("brotli", "brotlicffi", "zstandard", "compression"):
        monkeypatch.setitem(sys.modules, module, None)
    assert Decoder("br").problem == "content coding 'br' cannot be decoded here"
    assert Decoder("zstd").problem == "content coding 'zstd' cannot be decoded here"
    assert Decoder("gzip").problem is None


def test_brotlicffi_serves_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "brotli", None)
    monkeypatch.setitem(sys.modules, "brotlicffi", brotli)
    assert decode_body("br", brotli.compress(b"text")) == b"text"


def test_a_brotli_that_cannot_be_bounded_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before 1.2 it takes no limit, and a few bytes would fill the memory."""
    old = types.ModuleType("brotli")
    old.Decompressor = type("Decompressor", (), {"process": lambda self, data: data})  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "brotli", old)
    assert Decoder("br").problem == "content coding 'br' cannot be decoded here"


def test_the_standard_librarys_zstd_comes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """Python 3.14 has one, of the same shape."""
    made: list[Any] = []

    def decompressor() -> Any:
        made.append(zstandard.ZstdDecompressor().decompressobj())
        return made[-1]

    compression, zstd = types.ModuleType("compression"), types.ModuleType("compression.zstd")
    compression.zstd = zstd  # type: ignore[attr-defined]
    zstd.ZstdDecompressor = decompressor  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "compression", compression)
    monkeypatch.setitem(sys.modules, "compression.zstd", zstd)
    assert decode_body("zstd", zstandard.compress(b"one") + zstandard.compress(b"two")) == b"onetwo"
    assert len(made) == 2


# -- bombs -------------------------------------------------------------------------------------------------------------

MIB: Final = 1 << 20


def zeros(make: Callable[[bytes], bytes], finish: Callable[[], bytes], amount: int) -> bytes:
    return b"".join(make(bytes(MIB)) for _ in range(amount // MIB)) + finish()


@functools.cache
def bombs() -> dict[str, tuple[str, bytes]]:
    """A hundred MiB of zeros or more, in a hundred KiB or less."""
    coder = zlib.compressobj(9, zlib.DEFLATED, 31)
    gzipped = zeros(coder.compress, coder.flush, 96 * MIB)
    coder = zlib.compressobj(9, zlib.DEFLATED, -15)
    bare = zeros(coder.compress, coder.flush, 96 * MIB)
    brotlis = brotli.Compressor(quality=5)
    small = zeros(brotlis.process, brotlis.finish, 256 * MIB)
    zstd = zstandard.ZstdCompressor(level=3).compressobj()
    frames = zeros(zstd.compress, zstd.flush, 256 * MIB)
    return {
        "gzip": ("gzip", gzipped),
        "gzip members": ("gzip", gzip.compress(bytes(MIB)) * 96),
        "deflate, bare": ("deflate", bare),
        "br": ("br", small),
        "zstd": ("zstd", frames),
        "zstd, run-length": ("zstd", b"\x28\xb5\x2f\xfd\x00\x58" + b"\x02\x00\x10\x00" * 4096 + b"\x03\x00\x10\x00"),
        "gzip in gzip": ("gzip, gzip", gzip.compress(gzipped)),
        "gzip in br in zstd": ("gzip, br, zstd", zstandard.compress(brotli.compress(gzipped, quality=5))),
    }


def test_a_bomb_stays_small_and_is_named() -> None:
    """A thousand to one and worse: the memory follows the bytes received (a free amount, 100 times, and one slice)."""
    for name, (content_encoding, data) in bombs().items():
        decoder = Decoder(content_encoding)
        tracemalloc.start()
        out = sum(len(decoder.feed(data[at : at + 65536])) for at in range(0, len(data), 65536))
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert decoder.problem == f"decoded size is over {decode.RATIO} times the encoded size", name
        assert out <= max(decode.FREE_OUTPUT, decode.RATIO * len(data)), name
        assert peak < 4 * decode.FREE_OUTPUT, (name, peak)
        assert not decoder.finished, name


def test_a_coding_listed_without_end_is_refused() -> None:
    """Each layer multiplies; nobody applies more than two."""
    assert Decoder(", ".join(["gzip"] * 5)).problem is None
    assert Decoder(",".join(["gzip"] * 6)).problem == "6 content codings are more than anybody means"
    assert Decoder(",".join(["gzip"] * 100_000)).feed(b"x") == b""


def test_many_empty_members_take_linear_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is left after a member is handed on in small slices: bytes copied stay a few dozen times the input."""
    copied = 0

    class Counting:
        def __init__(self, stream: Any) -> None:
            self.stream = stream

        def decompress(self, data: bytes) -> bytes:
            nonlocal copied
            copied += len(data)
            return bytes(self.stream.decompress(data))

        def __getattr__(self, name: str) -> Any:
            return getattr(self.stream, name)

    plain = zlib.decompressobj
    monkeypatch.setattr(zlib, "decompressobj", lambda window: Counting(plain(window)))
    data = gzip.compress(b"") * 20_000
    assert decode_body("gzip", data) == b""
    assert len(data) <= copied < 30 * len(data)


def test_a_run_that_repeats_itself_is_no_bomb() -> None:
    """Ten megabytes of one and the same event, as a model gone astray sends them, are decoded whole."""
    body = b'data: {"choices":[{"index":0,"delta":{"content":"\\n"}}]}\n\n' * 180_000
    data = gzip.compress(body, 9)
    assert len(body) > 200 * len(data)
    assert decode_body("gzip", data) == body
