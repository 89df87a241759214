"""Where a body ends: the framings of HTTP/1.1 as incremental decoders, sans-IO.

A decoder is fed what the network delivered and gives the pieces of the body in it, one for each HTTP chunk or part of
one, and where in those bytes the message ended. It never joins what came apart. What breaks the framing is noted in
`problem`; the pieces before it are given all the same.
"""

from __future__ import annotations

import enum
import re
from typing import Final, Protocol

from recorder.recording import Head, HeaderList

from .heads import Malformed, Refused, RequestHead, parse_fields, parse_lenient, tokens, values

__all__ = [
    "LAST_CHUNK",
    "Chunked",
    "Decoder",
    "Framing",
    "Length",
    "UntilClose",
    "chunk",
    "decoder_of",
    "last_chunk",
    "request_framing",
    "response_framing",
]

LAST_CHUNK: Final = b"0\r\n\r\n"

#: Bytes that the size line of a chunk, and all trailers together, may have.
_LONGEST_LINE: Final = 4096
_LONGEST_TRAILERS: Final = 16 << 10

#: What must not come after a body: framing, routing, authentication (RFC 9110 section 6.5.1).
_NO_TRAILERS: Final = frozenset(
    {"authorization", "connection", "content-encoding", "content-length", "content-type", "cookie", "expect", "host"}
    | {"proxy-authorization", "te", "trailer", "transfer-encoding", "upgrade"}
)


class Framing(enum.Enum):
    """How the end of a body is told (RFC 9112 section 6.3)."""

    NONE = "there is no body"
    LENGTH = "Content-Length"
    CHUNKED = "chunked"
    CLOSE = "the end of the connection"


class Decoder(Protocol):
    """What all decoders are.

    problem: why the framing cannot be followed any further; None while it can.
    trailers: those behind the last chunk, once it has come.
    missing: what an end of the connection now is called, in the words of h11; None where the body may end so.
    """

    problem: str | None
    trailers: HeaderList

    @property
    def missing(self) -> str | None: ...

    def feed(self, data: bytes) -> tuple[list[bytes], int]:
        """The body's pieces in these bytes, and the offset behind the message's last byte; -1 where it goes on."""
        ...


# -- which framing -------------------------------------------------------------------------------------------------


def request_framing(head: RequestHead) -> tuple[Framing, int]:
    """How the body of a request is framed, and its length where that is told. Raises Refused for any doubt."""
    codings, lengths = head.values("transfer-encoding"), head.values("content-length")
    if codings and lengths:
        raise Refused(400, "both Transfer-Encoding and Content-Length are given")
    if codings:
        if head.version == "1.0":
            raise Refused(400, "Transfer-Encoding is unknown to HTTP/1.0")
        if len(codings) > 1 or codings[0].lower() != "chunked":
            raise Refused(400, "the only transfer coding served is chunked, once")
        return Framing.CHUNKED, 0
    if not lengths:
        return Framing.NONE, 0
    if len(lengths) > 1 or not re.fullmatch("[0-9]{1,18}", lengths[0]):
        raise Refused(400, "Content-Length is not one number")
    size = int(lengths[0])
    return (Framing.LENGTH, size) if size else (Framing.NONE, 0)


def response_framing(head: Head, method: str) -> tuple[Framing, int]:
    """How the body of a response to that method is framed. Raises Malformed where nobody can tell."""
    if method == "HEAD" or head.status < 200 or head.status in (204, 304):
        return Framing.NONE, 0
    codings = tokens(head.headers, "transfer-encoding")
    if codings:
        return (Framing.CHUNKED if codings[-1] == "chunked" else Framing.CLOSE), 0
    lengths = {part.strip() for value in values(head.headers, "content-length") for part in value.split(",")}
    if not lengths:
        return Framing.CLOSE, 0
    told = lengths.pop()
    if lengths:
        raise Malformed("conflicting Content-Length headers")
    if not re.fullmatch("[0-9]{1,18}", told):
        raise Malformed("bad Content-Length")
    size = int(told)
    return (Framing.LENGTH, size) if size else (Framing.NONE, 0)


def decoder_of(framing: Framing, size: int = 0, *, strict: bool = False) -> Decoder | None:
    """A decoder for this framing; None where there is no body."""
    if framing is Framing.CHUNKED:
        return Chunked(strict=strict)
    if framing is Framing.LENGTH:
        return Length(size)
    return UntilClose() if framing is Framing.CLOSE else None


# -- writing -------------------------------------------------------------------------------------------------------


def chunk(data: bytes) -> bytes:
    """One HTTP chunk (RFC 9112 section 7.1). Empty data must not be sent so: it would end the body."""
    return b"%x\r\n%b\r\n" % (len(data), data)


def last_chunk(trailers: HeaderList = ()) -> bytes:
    """The end of a chunked body."""
    if not trailers:
        return LAST_CHUNK
    return b"0\r\n%b\r\n" % "".join(f"{name}: {value}\r\n" for name, value in trailers).encode("latin-1")


# -- reading -------------------------------------------------------------------------------------------------------


class Length:
    """A body of a known length."""

    __slots__ = ("_left", "_size", "problem", "trailers")

    def __init__(self, size: int) -> None:
        self._size = self._left = size
        self.problem: str | None = None
        self.trailers: HeaderList = ()

    @property
    def missing(self) -> str | None:
        if not self._left:
            return None
        got = f"received {self._size - self._left} bytes, expected {self._size}"
        return f"peer closed connection without sending complete message body ({got})"

    def feed(self, data: bytes) -> tuple[list[bytes], int]:
        left = self._left = self._left - len(data)
        if left > 0:
            return [data], -1
        end = len(data) + left
        self._left = 0
        return [data[:end]], end


class UntilClose:
    """A body that ends with the connection."""

    __slots__ = ("problem", "trailers")

    missing = None

    def __init__(self) -> None:
        self.problem: str | None = None
        self.trailers: HeaderList = ()

    def feed(self, data: bytes) -> tuple[list[bytes], int]:
        return [data], -1


_SIZE: Final = re.compile(rb"([0-9A-Fa-f]{1,20})[ \t]*(?:;[^\n]*)?\r?\n")
_STRICT_TOKEN: Final = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]{1,64}"
_STRICT_SIZE: Final = re.compile(
    rb"([0-9A-Fa-f]{1,15})(?:;"
    + _STRICT_TOKEN
    + rb"(?:=(?:"
    + _STRICT_TOKEN
    + rb'|"[\t \x21\x23-\x5b\x5d-\x7e]{0,64}"))?){0,4}\r\n'
)


class Chunked:
    """A chunked body. `strict`: as a client must send it, with CRLF everywhere and nothing but what RFC 9112 names."""

    __slots__ = ("_ending", "_held", "_left", "_size_line", "_strict", "_trailing", "problem", "trailers")

    def __init__(self, *, strict: bool = False) -> None:
        self._strict = strict
        self._size_line = _STRICT_SIZE if strict else _SIZE
        #: Bytes of the current chunk that are still to come; 0 before a size line.
        self._left = 0
        #: Whether the line end behind a chunk's data is due; whether the trailers are.
        self._ending = self._trailing = False
        #: The beginning of a line whose end has not come.
        self._held = b""
        self.problem: str | None = None
        self.trailers: HeaderList = ()

    @property
    def missing(self) -> str | None:
        if self._held or self._trailing:
            return "peer unexpectedly closed connection"
        return "peer closed connection without sending complete message body (incomplete chunked read)"

    def feed(self, data: bytes) -> tuple[list[bytes], int]:
        before = len(self._held)
        if before:
            data = self._held + data
            self._held = b""
        at, size = 0, len(data)
        pieces: list[bytes] = []
        while at < size:
            if self._left:
                end = at + self._left
                if end > size:
                    pieces.append(data[at:])
                    self._left = end - size
                    break
                pieces.append(data[at:end])
                self._left = 0
                self._ending = True
                at = end
            elif self._ending:
                step = self._line_end(data, at)
                if not step:
                    break
                at += step
                self._ending = False
            elif self._trailing:
                return pieces, self._end(data, at, before)
            else:
                found = self._size_line.match(data, at)
                if found is None:
                    self._hold(data, at)
                    break
                self._left = int(found[1], 16)
                self._trailing = not self._left
                at = found.end()
                if self._trailing and at == size:
                    break
        return pieces, -1

    def _line_end(self, data: bytes, at: int) -> int:
        """The length of the line end at this place; 0 where it has not come whole, or is none."""
        if data.startswith(b"\r\n", at):
            return 2
        if not self._strict and data.startswith(b"\n", at):
            return 1
        if data[at:] == b"\r":
            self._held = b"\r"
        else:
            self.problem = f"malformed chunk footer: {bytearray(data[at : at + 2])!r} (expected b'\\r\\n')"
        return 0

    def _hold(self, data: bytes, at: int) -> None:
        """Keep the beginning of a size line; note a problem where it can become none."""
        end = data.find(b"\n", at) + 1
        if end or len(data) - at > _LONGEST_LINE or not _may_be_size(data, at):
            line = data[at : end or at + _LONGEST_LINE]
            self.problem = f"illegal chunk header: {bytearray(line)!r}"
        else:
            self._held = data[at:]

    def _end(self, data: bytes, at: int, before: int) -> int:
        """Where the trailers end, if they do."""
        end = at
        most = at + _LONGEST_TRAILERS
        lines: list[bytes] = []
        while (stop := data.find(b"\n", end, most)) >= 0:
            line = data[end:stop]
            end = stop + 1
            if line.endswith(b"\r"):
                line = line[:-1]
            elif self._strict:
                self.problem = "a trailer line does not end in CRLF"
                return -1
            if not line:
                return self._finish(lines, end - before)
            lines.append(line)
        if len(data) >= most:
            self.problem = "the trailers are too long"
        else:
            self._held = data[at:]
        return -1

    def _finish(self, lines: list[bytes], end: int) -> int:
        try:
            self.trailers = parse_fields(lines) if self._strict else parse_lenient(lines)
        except (Malformed, Refused) as error:
            self.problem = str(error)
            return -1
        if self._strict and any(name.lower() in _NO_TRAILERS for name, _ in self.trailers):
            self.problem = "a trailer says what only a header may"
            return -1
        return end


_SIZE_START: Final = re.compile(rb"[0-9A-Fa-f]{0,20}(?:[ \t]*(?:;[^\n]*|\r))?")


def _may_be_size(data: bytes, at: int) -> bool:
    return _SIZE_START.fullmatch(data, at) is not None or not data[at:].strip(b"0123456789abcdefABCDEF \t")
