"""Bytes that HTTP clients cannot read, where that is how a recording ended.

The record has what a client said of the bytes, not the bytes. HTTP clients quote them (h11 does); where they are quoted
they go out again, and where they are not, others of their kind do. Pure.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping
from typing import Any, Final

from recorder.wire import Framing

__all__ = ["unreadable"]

#: The literal in a message of h11: bytearray(b'…'), or b'…'.
_QUOTED: Final = re.compile(r"""b(?:'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")""")

_STATUS: Final = b"HTTP/1.1 200 OK\r\n"

#: What the messages of h11, and of `recorder.wire`, begin with -> bytes of this kind, in place of a head.
_HEADS: Final[Mapping[str, bytes]] = {
    "illegal status line": b"\x16\x03\x01 no HTTP\r\n\r\n",
    "illegal request line": b"\x16\x03\x01",
    "no response line received": b"\r\n\r\n",
    "peer unexpectedly closed connection": _STATUS,
    "illegal header line": _STATUS + b"no header\r\n\r\n",
    "illegal header value": _STATUS + b"X-Bad: \0\r\n\r\n",
    "continuation line at start of headers": _STATUS + b" X-Folded: 1\r\n\r\n",
    "the first header line is a continuation": _STATUS + b" X-Folded: 1\r\n\r\n",
    "Receive buffer too long": _STATUS + b"X-Long: " + b"a" * (300 << 10),
    "the head of the response is too large": _STATUS + b"X-Long: " + b"a" * (300 << 10),
    "conflicting Content-Length headers": _STATUS + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\n",
    "Found multiple Content-Length headers": _STATUS + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\n",
    "bad Content-Length": _STATUS + b"Content-Length: x\r\n\r\n",
    "illegal Content-Length": _STATUS + b"Content-Length: x\r\n\r\n",
    "Only Transfer-Encoding: chunked is supported": _STATUS + b"Transfer-Encoding: gzip, chunked\r\n\r\n",
    "multiple Transfer-Encoding headers": (
        _STATUS + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n"
    ),
}

#: The same, in place of the next chunk.
_CHUNKS: Final[Mapping[str, bytes]] = {
    "illegal chunk header": b"zz\r\n",
    "malformed chunk footer": b"1\r\n:XX",
    "a chunk is not followed by a line end": b"1\r\n:XX",
    "peer unexpectedly closed connection": b"1",
}


def unreadable(detail: Mapping[str, Any], framing: Framing | None) -> bytes:
    """Bytes that make a client fail as this ending's detail says; none where the end of the connection does that.

    `framing` is that of the body that they come in; None where they come in place of a head.
    """
    message = next((str(entry.get("message", "")) for entry in detail.get("exception") or ()), "")
    if framing is not None and framing is not Framing.CHUNKED:
        return b""
    kinds = _HEADS if framing is None else _CHUNKS
    kind = next((kind for kind in kinds if message.startswith(kind)), None)
    if kind is None:
        return b""
    quoted = _quoted(message)
    if quoted is None:
        return kinds[kind]
    if kind == "illegal status line":
        return quoted + b"\r\n\r\n"
    if kind == "illegal header line":
        return _STATUS + quoted + b"\r\n\r\n"
    if kind == "illegal chunk header":
        return quoted if quoted.endswith(b"\n") else quoted + b"\r\n"
    if kind == "malformed chunk footer":
        return b"1\r\n:" + quoted
    return kinds[kind]


def _quoted(message: str) -> bytes | None:
    found = _QUOTED.search(message)
    if found is None:
        return None
    try:
        value = ast.literal_eval(found[0])
    except (ValueError, SyntaxError):
        return None
    return value if isinstance(value, bytes) else None
