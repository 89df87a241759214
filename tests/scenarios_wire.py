"""Torture scenarios of one stream: framing of events, endings of the body, response heads, content encodings.

Each says what was measured with openai 3.54; where the SDK departs from the WHATWG algorithm or from what one would
hope, the note says so.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterable

import brotli
import httpx2
import zstandard

from tests.loopback import LAST_CHUNK, Act, Request, Step, chunk, every, head, stream_head
from tests.payloads import ASSISTANTS, ASSISTANTS_DONE, CHAT, DONE, RESPONSES, chat_chunk, frame, message_delta, run
from tests.scenario import PAGE, REQUEST_ID, STALL, Collection, Expect, chunked

A, C, R = b"".join(ASSISTANTS), b"".join(CHAT), b"".join(RESPONSES)
ALL = {"assistants": Expect(6), "chat": Expect(5), "responses": Expect(5)}
JSON_ERROR = "JSONDecodeError"
listed = Collection()
add, add_each = listed.add, listed.add_each


# -- framing of events ---

add("lf", "assistants", chunked(ASSISTANTS), ALL["assistants"])
add("one-segment", "chat", (stream_head(REQUEST_ID) + chunk(C) + LAST_CHUNK,), ALL["chat"])
add("crlf", "assistants", chunked([A.replace(b"\n", b"\r\n")]), ALL["assistants"])
add("cr-only", "chat", chunked([C.replace(b"\n", b"\r")]), ALL["chat"])
add(
    "crlf-split-across-chunks",
    "assistants",
    chunked(A.replace(b"\n", b"\r\n").replace(b"\r\n", b"\r\0\n").split(b"\0")),
    ALL["assistants"],
)
add(
    "mixed-line-ends",
    "chat",
    chunked([CHAT[0], CHAT[1].replace(b"\n", b"\r\n"), CHAT[2].replace(b"\n", b"\r"), *CHAT[3:]]),
    ALL["chat"],
)
add("seven-byte-chunks", "responses", chunked(every(7, R)), ALL["responses"])
add("one-byte-chunks", "chat", (stream_head(REQUEST_ID) + b"".join(map(chunk, every(1, C))) + LAST_CHUNK,), ALL["chat"])
add("one-byte-segments", "chat", (*every(1, stream_head(REQUEST_ID) + chunk(C) + LAST_CHUNK),), ALL["chat"])
add(
    "multi-line-data",
    "chat",
    chunked([part.replace(b',"choices"', b',\ndata: "choices"') for part in CHAT]),
    ALL["chat"],
)
add(
    "comments-and-keepalives",
    "assistants",
    chunked([b": ping\n\n", *(b":\n" + part + b": OPENROUTER PROCESSING\n\n" for part in ASSISTANTS)]),
    ALL["assistants"],
)
add("unknown-fields", "chat", chunked([b"foo: bar\n" + part for part in CHAT]), ALL["chat"])
add("field-order", "responses", chunked([b"\n".join(f.split(b"\n")[1::-1]) + b"\n\n" for f in RESPONSES]), Expect(5))
add("no-space-after-colon", "responses", chunked([R.replace(b": ", b":")]), ALL["responses"])
add("two-thousand-events", "chat", chunked([CHAT[1] * 2000 + DONE]), Expect(2000))


def _ten_megabytes(_: Request) -> Iterable[Step]:
    yield from chunked([*ASSISTANTS[:3], message_delta("x" * 10_000_000), *ASSISTANTS[5:]])


add("ten-megabyte-line", "assistants", _ten_megabytes, Expect(5))
add(
    "unicode-line-separators",
    "chat",
    chunked([chat_chunk({"content": "a\u2028b\u2029c\u0085d\x0be"}), DONE]),
    Expect(1),
    notes="only CR and LF end a line; str.splitlines would cut here",
)
add(
    "utf-8-split-across-chunks",
    "chat",
    chunked([*every(1, chat_chunk({"content": "Grüezi 🏔"})), DONE]),
    Expect(1),
)
add("done-without-space", "chat", chunked([*CHAT[:-1], b"data:[DONE]\n\n"]), ALL["chat"])
add("done-with-trailing-text", "chat", chunked([*CHAT[:-1], b"data: [DONE] trailing\n\n"]), ALL["chat"])
add(
    "events-after-done",
    "chat",
    chunked([*CHAT, CHAT[1], CHAT[2]]),
    ALL["chat"],
    notes="the sync client leaves at [DONE]; the async one drains, for 0.1 s at most",
)
add(
    "done-without-event-name",
    "assistants",
    chunked([*ASSISTANTS[:-1], DONE]),
    ALL["assistants"],
)
add(
    "slow",
    "assistants",
    (stream_head(REQUEST_ID), *(s for f in ASSISTANTS for s in (0.03, chunk(f))), LAST_CHUNK),
    Expect(6),
)
add(
    "byte-order-mark-before-data",
    "chat",
    chunked([b"\xef\xbb\xbf" + CHAT[0], *CHAT[1:]]),
    Expect(4),
    notes="the SDK does not strip a BOM: the first event is lost without an error",
)
add(
    "byte-order-mark-before-event",
    "assistants",
    chunked([b"\xef\xbb\xbf" + ASSISTANTS[0], *ASSISTANTS[1:]]),
    Expect(6),
    notes="the first event keeps its data and loses its name",
)
add(
    "invalid-utf-8",
    "chat",
    chunked([CHAT[0], CHAT[1].replace(b"Hello", b"He\xffllo"), *CHAT[2:]]),
    Expect(1, "UnicodeDecodeError"),
    notes="the specification says U+FFFD; the SDK raises, unwrapped",
)
add(
    "invalid-utf-8-in-comment",
    "chat",
    chunked([CHAT[0], b": \xff\n\n", *CHAT[1:]]),
    Expect(1, "UnicodeDecodeError"),
)
add("retry-only", "chat", chunked([CHAT[0], b"retry: 100\n\n", *CHAT[1:]]), Expect(1, JSON_ERROR))
add(
    "event-without-data",
    "assistants",
    chunked([*ASSISTANTS[:2], b"event: ping\n\n", *ASSISTANTS[2:]]),
    Expect(2, JSON_ERROR),
)
add(
    "id-then-extra-blank-line",
    "chat",
    chunked([b"id: 7\n" + CHAT[0], b"\n", *CHAT[1:]]),
    Expect(1, JSON_ERROR),
    notes="after one id every further blank line gives an empty event",
)
add("empty-data", "chat", chunked([CHAT[0], b"data:\n\n", *CHAT[1:]]), Expect(1, JSON_ERROR))
add("field-without-colon", "chat", chunked([CHAT[0], b"data\n\n", *CHAT[1:]]), Expect(1, JSON_ERROR))
add("id-on-every-event", "chat", chunked([b"id: %d\n%s" % pair for pair in enumerate(CHAT)]), ALL["chat"])
add(
    "nul-in-data",
    "chat",
    chunked([CHAT[0], CHAT[1].replace(b"Hello", b"He\0llo"), *CHAT[2:]]),
    Expect(1, JSON_ERROR),
)
add(
    "malformed-json",
    "responses",
    chunked([*RESPONSES[:2], RESPONSES[2].replace(b"}\n", b"\n"), *RESPONSES[3:]]),
    Expect(2, JSON_ERROR),
)
add("not-json", "chat", chunked([CHAT[0], b"data: hello\n\n", *CHAT[1:]]), Expect(1, JSON_ERROR))
add("bare-json-values", "chat", chunked([frame("1"), frame("null"), frame('"x"'), frame("[1]"), DONE]), Expect(4))
add(
    "odd-json-values",
    "chat",
    chunked(
        [
            frame('{"id":"a","created":NaN,"choices":[]}'),
            frame('{"id":"b","created":123456789012345678901234567890,"choices":[]}'),
            frame('{"id":"c","id":"d","choices":[]}'),
            frame('{"id":"\\ud83d","choices":[]}'),
            frame('{"id":"nul \\u0000","created":1.10,"choices":[]}'),
            DONE,
        ]
    ),
    Expect(5),
    notes="NaN, a 30-digit integer, duplicate keys, a lone surrogate, an escaped NUL: all accepted",
)
add(
    "five-thousand-digit-integer",
    "chat",
    chunked([CHAT[0], frame('{"id":"a","created":%s,"choices":[]}' % ("9" * 5000)), DONE]),
    Expect(1, "ValueError"),
)
add(
    "hundred-thousand-levels",
    "chat",
    chunked([CHAT[0], frame("[" * 100_000 + "]" * 100_000), DONE]),
    Expect(1, "RecursionError"),
)
add("no-final-blank-line", "responses", chunked([R[:-1]]), Expect(4), notes="the last event is lost without an error")
add("no-done", "chat", chunked(CHAT[:-1]), ALL["chat"], notes="nothing says that the end marker is missing")
add("cut-mid-event-clean-end", "chat", chunked([C[:-60]]), Expect(4), notes="silently fewer events")
add(
    "unknown-event-name",
    "assistants",
    chunked([ASSISTANTS[0], frame(run("queued"), "thread.run.napping"), ASSISTANTS_DONE]),
    Expect(2),
)


# -- endings of the body ---

add(
    "content-length",
    "chat",
    (head("200 OK", "Content-Type: text/event-stream", f"Content-Length: {len(C)}", REQUEST_ID) + C,),
    Expect(5),
)
add("eof-delimited", "chat", (head("200 OK", "Content-Type: text/event-stream", REQUEST_ID), C, Act.FIN), ALL["chat"])
add(
    "eof-delimited-cut-mid-event",
    "assistants",
    (head("200 OK", "Content-Type: text/event-stream", REQUEST_ID), A[:900], A[900:1700], Act.FIN),
    Expect(2),
    notes="silently fewer events",
)
add(
    "eof-delimited-reset",
    "chat",
    (head("200 OK", "Content-Type: text/event-stream", REQUEST_ID), CHAT[0], Act.RESET),
    Expect(1, "APIConnectionError", "ReadError"),
)
add(
    "http-1.0", "chat", (head("200 OK", "Content-Type: text/event-stream", version="HTTP/1.0"), C, Act.FIN), ALL["chat"]
)
add("connection-close", "chat", chunked(CHAT, "Connection: close", end=(LAST_CHUNK, Act.FIN)), ALL["chat"])
add(
    "content-length-longer-than-body",
    "chat",
    (head("200 OK", "Content-Type: text/event-stream", f"Content-Length: {len(C) + 500}"), CHAT[0] + CHAT[1], Act.FIN),
    Expect(2, "APIConnectionError", "RemoteProtocolError"),
)
add(
    "content-length-longer-after-done",
    "chat",
    (head("200 OK", "Content-Type: text/event-stream", f"Content-Length: {len(C) + 500}"), C, Act.FIN),
    ALL["chat"],
)
add(
    "content-length-shorter-than-body",
    "chat",
    (head("200 OK", "Content-Type: text/event-stream", f"Content-Length: {len(C) - 100}"), C, Act.FIN),
    Expect(4),
    notes="what follows the announced length is not read: silently fewer events",
)
add(
    "chunked-early-fin",
    "responses",
    chunked(RESPONSES[:3], end=(Act.FIN,)),
    Expect(3, "APIConnectionError", "RemoteProtocolError"),
)
add(
    "fin-inside-a-chunk",
    "chat",
    chunked(CHAT[:1], end=(b"1f4\r\ndata: {", Act.FIN)),
    Expect(1, "APIConnectionError", "RemoteProtocolError"),
)
add(
    "fin-inside-a-chunk-size",
    "chat",
    chunked(CHAT[:1], end=(b"1f", Act.FIN)),
    Expect(1, "APIConnectionError", "RemoteProtocolError"),
)
add("fin-after-done-without-last-chunk", "chat", chunked(CHAT, end=(Act.FIN,)), ALL["chat"])
add("silence-after-done", "chat", chunked(CHAT, end=(Act.HOLD,)), ALL["chat"])
add("reset-after-done", "chat", chunked(CHAT, end=(Act.RESET,)), ALL["chat"])
add(
    "bad-chunk-size",
    "chat",
    chunked(CHAT[:2], end=(b"zz\r\ndata: x\r\n", Act.HOLD)),
    Expect(2, "APIConnectionError", "RemoteProtocolError"),
)
add(
    "bad-chunk-end",
    "chat",
    chunked(CHAT[:2], end=(b"5\r\n: ab\nXX", Act.HOLD)),
    Expect(2, "APIConnectionError", "RemoteProtocolError"),
)
add(
    "chunk-extension",
    "chat",
    (stream_head(REQUEST_ID), *(chunk(part, b';sig="a;b";n=1') for part in CHAT), LAST_CHUNK),
    ALL["chat"],
)
add(
    "upper-case-and-padded-chunk-size",
    "chat",
    chunked([], end=(b"%08X\r\n%s\r\n" % (len(C), C), LAST_CHUNK)),
    ALL["chat"],
)
add(
    "trailers",
    "responses",
    chunked(RESPONSES, "Trailer: X-Checksum", end=(b"0\r\nX-Checksum: abc\r\nX-Other: 1\r\n\r\n",)),
    ALL["responses"],
)
add(
    "reset-mid-event",
    "chat",
    chunked([*CHAT[:2], CHAT[2][:40]], end=(Act.RESET,)),
    Expect(2, "APIConnectionError", "ReadError"),
)
add(
    "reset-after-first-event",
    "assistants",
    chunked(ASSISTANTS[:1], end=(Act.RESET,)),
    Expect(1, "APIConnectionError", "ReadError"),
)
add("reset-after-head", "assistants", chunked([], end=(Act.RESET,)), Expect(0, "APIConnectionError", "ReadError"))
add("fin-after-head", "chat", chunked([], end=(Act.FIN,)), Expect(0, "APIConnectionError", "RemoteProtocolError"))
add(
    "reset-after-terminal-event",
    "responses",
    chunked(RESPONSES, end=(Act.RESET,)),
    Expect(5, "APIConnectionError", "ReadError"),
    notes="Responses streams have no end marker, so a reset after the terminal event still raises",
)
add(
    "stall-mid-event",
    "chat",
    # In one segment: what comes after its head must not come too late for a client that waits so shortly.
    (stream_head(REQUEST_ID) + b"".join(map(chunk, [*CHAT[:2], CHAT[2][:40]])), Act.HOLD),
    Expect(2, "APITimeoutError", "ReadTimeout"),
    timeout=STALL,
)
add(
    "stall-after-head",
    "assistants",
    chunked([], end=(Act.HOLD,)),
    Expect(0, "APITimeoutError", "ReadTimeout"),
    timeout=STALL,
)
add(
    "transfer-encoding-and-content-length",
    "chat",
    chunked(CHAT, "Content-Length: 10"),
    ALL["chat"],
    notes="Transfer-Encoding wins (RFC 9112, 6.3)",
)
add(
    "two-content-lengths",
    "chat",
    (head("200 OK", "Content-Length: 10", "Content-Length: 11") + C, Act.HOLD),
    Expect(0, "APIConnectionError", "RemoteProtocolError", status=None),
)
add(
    "unknown-transfer-encoding",
    "chat",
    (head("200 OK", "Transfer-Encoding: gzip, chunked") + chunk(C) + LAST_CHUNK, Act.HOLD),
    Expect(0, "APIConnectionError", "RemoteProtocolError", status=None),
)


# -- response heads ---

HINT = head("103 Early Hints", "Link: </style.css>; rel=preload; as=style")
add("early-hints", "chat", (HINT, *chunked(CHAT)), ALL["chat"])
add(
    "several-informational-answers",
    "assistants",
    (head("100 Continue"), HINT, head("102 Processing"), HINT + stream_head(REQUEST_ID), chunk(A), LAST_CHUNK),
    ALL["assistants"],
)
add(
    "duplicate-set-cookie",
    "chat",
    chunked(CHAT, "Set-Cookie: a=1; Path=/", "Set-Cookie: b=2", "set-cookie: a=3"),
    ALL["chat"],
)
add("latin-1-header", "chat", chunked(CHAT, "X-Organisation: Zürich é".encode("latin-1")), ALL["chat"])
add("utf-8-header", "chat", chunked(CHAT, "X-Organisation: Zürich 🏔".encode()), ALL["chat"])
add(
    "odd-header-values",
    "chat",
    chunked(
        CHAT,
        "X-Empty:",
        "X-Spaces:   a  b  ",
        "X-Tab:\ta\tb",
        'X-Quoted: "a, b", c',
        "x-LOWER-upper: kept",
        "X-Empty: ",
    ),
    ALL["chat"],
)
add("folded-header", "chat", chunked(CHAT, "X-Folded: one\r\n two\r\n\tthree"), ALL["chat"])
add("bare-lf-head", "chat", (stream_head(REQUEST_ID).replace(b"\r\n", b"\n"), chunk(C), LAST_CHUNK), ALL["chat"])
add("very-long-header", "chat", chunked(CHAT, "X-Long: " + "a" * 60_000), ALL["chat"])
add("hundred-headers", "chat", chunked(CHAT, *(f"X-Number-{n}: {n}" for n in range(100))), ALL["chat"])
add(
    "oversized-header",
    "chat",
    (stream_head("X-Long: " + "a" * 300_000), Act.HOLD),
    Expect(0, "APIConnectionError", "RemoteProtocolError", status=None),
)
add(
    "header-without-colon",
    "chat",
    (head("200 OK", "Content-Type text/event-stream") + C, Act.HOLD),
    Expect(0, "APIConnectionError", "RemoteProtocolError", status=None),
)
add(
    "control-character-in-header",
    "chat",
    (head("200 OK", b"X-Bad: a\0b") + C, Act.HOLD),
    Expect(0, "APIConnectionError", "RemoteProtocolError", status=None),
)
add(
    "no-reason-phrase",
    "chat",
    (head("200 ", "Content-Type: text/event-stream", f"Content-Length: {len(C)}") + C,),
    ALL["chat"],
)
add(
    "odd-reason-phrase",
    "chat",
    (head("200 Très bien", "Content-Type: text/event-stream", f"Content-Length: {len(C)}") + C,),
    ALL["chat"],
)
add("no-content-type", "chat", (head("200 OK", f"Content-Length: {len(C)}") + C,), ALL["chat"])
add(
    "garbage-status-line",
    "chat",
    (b"\x16\x03\x01 not HTTP at all\r\n\r\n", Act.HOLD),
    Expect(0, "APIConnectionError", "RemoteProtocolError", status=None),
)
add(
    "partial-head-then-fin",
    "chat",
    (b"HTTP/1.1 200 OK\r\nContent-Type: text/ev", Act.FIN),
    Expect(0, "APIConnectionError", "RemoteProtocolError", status=None),
)
add_each(
    "fin-before-head",
    "assistants",
    [(Act.FIN,), (Act.FIN,), (Act.FIN,)],
    Expect(0, "APIConnectionError", "RemoteProtocolError", requests=3, status=None),
    retries=2,
)
add_each(
    "reset-before-head",
    "assistants",
    [(Act.RESET,), (Act.RESET,), (Act.RESET,)],
    Expect(0, "APIConnectionError", "ReadError", requests=3, status=None),
    retries=2,
)
add_each("reset-before-head-then-ok", "chat", [(Act.RESET,), chunked(CHAT)], Expect(5, requests=2), retries=2)
add_each(
    "stall-before-head",
    "chat",
    [(Act.HOLD,), (Act.HOLD,)],
    Expect(0, "APITimeoutError", "ReadTimeout", requests=2, status=None),
    retries=1,
    timeout=STALL,
)
add_each(
    "stall-before-head-then-ok", "chat", [(Act.HOLD,), chunked(CHAT)], Expect(5, requests=2), retries=1, timeout=0.5
)
add_each(
    "connection-refused",
    "assistants",
    [],
    Expect(0, "APIConnectionError", "ConnectError", requests=3, status=None),
    server="refused",
    retries=2,
)


# -- bodies that are no event stream ---

add(
    "json-instead-of-stream",
    "chat",
    (head("200 OK", "Content-Type: application/json", "Content-Length: 15") + b'{"id": "a b c"}',),
    Expect(0),
)
add(
    "html-instead-of-stream",
    "assistants",
    (head("200 OK", "Content-Type: text/html", f"Content-Length: {len(PAGE)}") + PAGE,),
    Expect(0),
)
add("empty-answer", "responses", (head("200 OK", "Content-Type: text/event-stream", "Content-Length: 0"),), Expect(0))
add("empty-chunked-answer", "chat", chunked([]), Expect(0))
add("no-content", "assistants", (head("204 No Content", REQUEST_ID),), Expect(0, status=204))
add("reset-content", "chat", (head("205 Reset Content", "Content-Length: 0"),), Expect(0, status=205))


# -- content encodings ---

GZ = gzip.compress(C, mtime=0)


def _flushed(parts: Iterable[bytes], window: int) -> list[bytes]:
    """Each part compressed and sync-flushed, so that the client can decode it as soon as it comes; then the end."""
    packer = zlib.compressobj(wbits=window)
    return [*(packer.compress(part) + packer.flush(zlib.Z_SYNC_FLUSH) for part in parts), packer.flush()]


def _broken_checksum() -> bytes:
    return GZ[:-8] + bytes(byte ^ 0xFF for byte in GZ[-8:-4]) + GZ[-4:]


ENCODED = "Content-Encoding: "
add("gzip", "chat", chunked([GZ[:50], GZ[50:]], ENCODED + "gzip"), ALL["chat"])
add("gzip-content-length", "chat", (head("200 OK", ENCODED + "gzip", f"Content-Length: {len(GZ)}") + GZ,), ALL["chat"])
add(
    "gzip-one-byte-chunks",
    "chat",
    chunked(every(1, GZ), ENCODED + "gzip"),
    ALL["chat"],
)
add("gzip-flushed-per-event", "assistants", chunked(_flushed(ASSISTANTS, 31), ENCODED + "gzip"), ALL["assistants"])
add("x-gzip-name", "chat", chunked([GZ], ENCODED + "x-gzip"), Expect(0, "UnicodeDecodeError"))
add(
    "gzip-truncated-clean-end",
    "assistants",
    chunked(_flushed(ASSISTANTS, 31)[:3], ENCODED + "gzip"),
    Expect(3),
    notes="a decoder that never saw its end is not an error: silently fewer events",
)
add(
    "gzip-truncated-early-fin",
    "assistants",
    chunked(_flushed(ASSISTANTS, 31)[:3], ENCODED + "gzip", end=(Act.FIN,)),
    Expect(3, "APIConnectionError", "RemoteProtocolError"),
)
add(
    "gzip-reset",
    "assistants",
    chunked(_flushed(ASSISTANTS, 31)[:3], ENCODED + "gzip", end=(Act.RESET,)),
    Expect(3, "APIConnectionError", "ReadError"),
)
add(
    "gzip-two-members",
    "chat",
    chunked([gzip.compress(CHAT[0], mtime=0), GZ], ENCODED + "gzip"),
    Expect(1),
    notes="only the first member is decoded: silently fewer events",
)
add(
    "gzip-wrong-checksum",
    "responses",
    chunked([_broken_checksum()], ENCODED + "gzip"),
    Expect(0, "APIConnectionError", "DecodingError"),
)
add(
    "gzip-bomb-comment",
    "chat",
    chunked([gzip.compress(b":" + b" " * 10_000_000 + b"\n" + C, mtime=0)], ENCODED + "gzip"),
    ALL["chat"],
)
add("gzip-empty-body", "chat", chunked([], ENCODED + "gzip"), Expect(0))
add("brotli", "responses", chunked([brotli.compress(R)], ENCODED + "br"), ALL["responses"])
add("deflate", "chat", chunked([zlib.compress(C)], ENCODED + "deflate"), ALL["chat"])
add("raw-deflate", "chat", chunked(_flushed(CHAT, -15), ENCODED + "deflate"), ALL["chat"])
add("gzip-then-brotli", "chat", chunked([brotli.compress(GZ)], ENCODED + "gzip, br"), ALL["chat"])
add(
    "six-encodings",
    "chat",
    chunked([GZ], ENCODED + ", ".join(["gzip"] * 6)),
    Expect(0, "APIConnectionError", "DecodingError"),
)
add(
    "zstd",
    "chat",
    chunked([zstandard.ZstdCompressor().compress(C)], ENCODED + "zstd"),
    ALL["chat"]
    if "zstd" in httpx2.Client(verify=False).headers["Accept-Encoding"]
    else Expect(0, "UnicodeDecodeError"),
    notes="httpx2 advertises no zstd unless backports.zstd is installed, and hands it on undecoded",
)
add(
    "zstd-on-httpx",
    "chat",
    chunked([zstandard.ZstdCompressor().compress(C)], ENCODED + "zstd"),
    ALL["chat"],
    client="httpx",
)
add(
    "gzip-announced-body-plain",
    "assistants",
    chunked(ASSISTANTS, ENCODED + "gzip"),
    Expect(0, "APIConnectionError", "DecodingError"),
)
add("unknown-encoding-body-plain", "chat", chunked(CHAT, ENCODED + "snappy"), ALL["chat"])
add("identity-encoding", "chat", chunked(CHAT, ENCODED + "identity"), ALL["chat"])
add("encoding-none", "chat", chunked(CHAT, ENCODED + "none"), ALL["chat"])
