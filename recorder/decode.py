"""Content codings taken off, incrementally: gzip, deflate, br, zstd, and lists of them (RFC 9110 section 8.4).

Recorder keeps the bytes as the network sent them; this module exists so that events inside an encoded stream can
be read as well. It refuses to know where the bytes come from. It never raises for what a server sent: a damaged
or unknown coding just stops giving bytes, and says why in `problem`.

A body may hold far more than it measures (a decompression bomb). So it is decoded in small slices, and decoding stops
once the output is out of proportion.
"""

from __future__ import annotations

import contextlib
import zlib
from collections.abc import Callable
from typing import Any, Final, Protocol

__all__ = ["Decoder", "codings", "decode_body"]

#: What stands in the header and names no coding. Beside `identity` (RFC 9110 section 12.5.3) it is what servers say to
#: keep a proxy from compressing a stream (`none`), or say in the wrong place. Clients take such bodies as they come.
_NO_CODINGS: Final = frozenset({"", "identity", "none", "utf-8", "utf8", "binary", "chunked", "aws-chunked"})

#: Output above this is only decoded while it stays within RATIO times the input. All layers' output counts. (A run
#: gone astray repeats one event for megabytes, and compresses by some hundred times as well.)
FREE_OUTPUT = 16 << 20
RATIO = 100
#: Longest list of codings. Nobody sends more than two; each layer multiplies what a bomb can do.
MOST_CODINGS = 5
#: Encoded bytes of a block of zstd at most, with what stands before it (RFC 8878 3.1.1). It is decoded as a whole.
BLOCK = (128 << 10) + 32
#: Bytes decoded between two looks at the output: at most 16 MiB of it with zstd (128 KiB of 4 bytes), the worst.
SLICE = 512


class _StopError(Exception):
    """Why nothing more is decoded."""


class _DamagedError(Exception):
    """The data is damaged; `decoded` is what stands before that, as far as the package can tell."""

    def __init__(self, decoded: bytes) -> None:
        super().__init__()
        self.decoded = decoded


class _Coding(Protocol):
    @property
    def finished(self) -> bool:
        """The coded body has ended where it may end."""

    def feed(self, data: bytes, most: int) -> bytes:
        """What these bytes complete; may stop once it has more than `most` bytes.

        Raises _DamagedError, or any other Exception where nothing is known of what stands before the damage.
        """


def _inflate(stream: Any, data: bytes) -> bytes:
    """What zlib's stream makes of these bytes. Raises _DamagedError."""
    before = stream.copy()
    try:
        out: bytes = stream.decompress(data)
    except zlib.error as error:
        # It keeps to itself what it had decoded by then: byte by byte it tells.
        decoded = []
        with contextlib.suppress(zlib.error):
            for at in range(len(data)):
                decoded.append(before.decompress(data[at : at + 1]))  # noqa: PERF401 (what came before the error counts)
        raise _DamagedError(b"".join(decoded)) from error
    return out


class _Members:
    """A coding of one or more parts that each tell their own end: gzip (RFC 1952 2.2), zstd (RFC 8878 3.1).

    `make` gives a decompressor for one part; `magic` is how a part begins: whatever else follows the first one is
    padding, which other readers ignore as well.
    """

    def __init__(
        self,
        make: Callable[[], Any],
        magic: tuple[bytes, ...],
        decompress: Callable[[Any, bytes], bytes] = lambda part, data: part.decompress(data),
    ) -> None:
        self._make = make
        self._magic = magic
        self._decompress = decompress
        self._part = make()
        self._between = b""  # the first bytes after a part, too few yet to tell
        self._over = False  # padding follows the last part

    @property
    def finished(self) -> bool:
        return bool(self._part.eof)

    def feed(self, data: bytes, most: int) -> bytes:
        parts: list[bytes] = []
        while data and not self._over:
            if self._part.eof:
                data = self._next(data)
            if data:
                try:
                    parts.append(self._decompress(self._part, data))
                except Exception as error:
                    decoded = error.decoded if isinstance(error, _DamagedError) else b""
                    raise _DamagedError(b"".join([*parts, decoded])) from error
                data = self._part.unused_data
        return b"".join(parts)

    def _next(self, data: bytes) -> bytes:
        """Begin the next part if one follows; gives what it is to be fed."""
        data = self._between + data
        if data.startswith(self._magic):
            self._between = b""
            self._part = self._make()
            return data
        self._over = not any(magic.startswith(data) for magic in self._magic)
        self._between = data
        return b""


class _Deflate:
    """deflate: RFC 1950, and the bare RFC 1951 form that some servers send under that name."""

    def __init__(self) -> None:
        self._start = b""
        self._stream: Any = None

    @property
    def finished(self) -> bool:
        return self._stream is not None and bool(self._stream.eof)

    def feed(self, data: bytes, most: int) -> bytes:
        if self._stream is None:
            # The two bytes of RFC 1950's header; no encoder of RFC 1951 begins with anything like them.
            data = self._start = self._start + data
            if len(data) < 2:
                return b""
            wrapped = data[0] & 0x0F == 8 and int.from_bytes(data[:2], "big") % 31 == 0
            self._stream = zlib.decompressobj(zlib.MAX_WBITS if wrapped else -zlib.MAX_WBITS)
        return _inflate(self._stream, data)


class _Brotli:
    """br (RFC 7932). A few bytes of it may stand for 16 MiB, so slices alone would not bound it."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    @property
    def finished(self) -> bool:
        return bool(self._stream.is_finished())

    def feed(self, data: bytes, most: int) -> bytes:
        return bytes(self._stream.process(data, output_buffer_limit=most + 1))


def _brotli() -> _Coding | None:
    try:
        import brotli
    except ImportError:
        import brotlicffi as brotli
    stream = brotli.Decompressor()
    # Before 1.2 its output could not be bounded.
    return _Brotli(stream) if hasattr(stream, "can_accept_more_data") else None


def _zstd() -> _Coding:
    magic = (b"\x28\xb5\x2f\xfd", *(bytes([number]) + b"\x2a\x4d\x18" for number in range(0x50, 0x60)))
    try:
        from compression import zstd  # type: ignore[import-not-found,unused-ignore]  # Python 3.14

        return _Members(zstd.ZstdDecompressor, magic)
    except ImportError:
        import zstandard

        return _Members(lambda: zstandard.ZstdDecompressor().decompressobj(), magic)


def _coding(name: str) -> _Coding | None:
    if name in ("gzip", "x-gzip"):
        return _Members(lambda: zlib.decompressobj(zlib.MAX_WBITS | 16), (b"\x1f\x8b",), _inflate)
    if name == "deflate":
        return _Deflate()
    try:
        if name == "br":
            return _brotli()
        if name == "zstd":
            return _zstd()
    except ImportError:
        pass
    return None


def codings(content_encoding: str) -> list[str]:
    """The codings that a `Content-Encoding` value names, in the order they were applied, in lower case."""
    names = [name.strip().lower() for name in content_encoding.split(",")]
    return [name for name in names if name not in _NO_CODINGS]


class Decoder:
    """Takes the codings of one `Content-Encoding` value off a body, chunk by chunk.

    `problem` is None while all is well, then a short reason: the coding is unknown or its package is not
    installed, the data is damaged, or the output is out of proportion. After that nothing more is decoded.
    """

    def __init__(self, content_encoding: str) -> None:
        names = codings(content_encoding)[::-1]
        self.problem: str | None = None
        self._codings: list[tuple[str, _Coding]] = []
        self._taken = self._given = 0
        if len(names) > MOST_CODINGS:
            self.problem = f"{len(names)} content codings are more than anybody means"
            return
        for name in names:
            coding = _coding(name)
            if coding is None:
                self.problem = f"content coding {name[:40]!r} cannot be decoded here"
                return
            self._codings.append((name, coding))

    @property
    def finished(self) -> bool:
        """Whether the body may end here: nothing came at all, or every coding has seen its end."""
        if self.problem is not None:
            return False
        return not self._taken or all(coding.finished for _, coding in self._codings)

    @property
    def behind(self) -> int:
        """So many of the last bytes that were fed, at most, may hold what is not decoded yet."""
        if self.problem is not None or self.finished:
            return 0
        return BLOCK * sum(name == "zstd" for name, _ in self._codings)

    def feed(self, data: bytes) -> bytes:
        """The decoded bytes that these encoded ones complete; empty once there is a problem."""
        if self.problem is not None:
            return b""
        self._taken += len(data)
        out: list[bytes] = []
        try:
            self._decode(data, 0, out)
        except _StopError as stop:
            self.problem = str(stop)
        return b"".join(out)

    def _decode(self, data: bytes, layer: int, out: list[bytes]) -> None:
        """Feed one coding, and with what it gives the next; what the last one gives goes to `out`."""
        if layer == len(self._codings):
            out.append(data)
            return
        name, coding = self._codings[layer]
        for start in range(0, len(data), SLICE):
            most = max(FREE_OUTPUT, RATIO * self._taken) - self._given
            try:
                decoded = coding.feed(data[start : start + SLICE], most)
            except Exception as error:  # each package has its own error classes; all of them mean the same
                if isinstance(error, _DamagedError):
                    self._decode(error.decoded, layer + 1, out)
                raise _StopError(f"content coding {name!r} is damaged") from error
            self._given += len(decoded)
            if len(decoded) > most:
                raise _StopError(f"decoded size is over {RATIO} times the encoded size")
            self._decode(decoded, layer + 1, out)


def decode_body(content_encoding: str | None, data: bytes) -> bytes | None:
    """A whole body without its codings; None when it cannot be decoded to its end."""
    if not content_encoding:
        return data
    decoder = Decoder(content_encoding)
    out = decoder.feed(data)
    return out if decoder.finished else None
