"""HTTP/1.1 on our own sockets: what the recording proxy and the replay server stand on.

It knows sockets, TLS and the grammar of HTTP/1.1. It refuses to know stores, recordings, and what is served.

    heads        request and response heads, to values and back
    targets      which request targets are served
    bodies       where a body ends; chunks
    access       Host, Origin, token
    closing      ending a connection by FIN or RST, at a byte
    exchange     Exchange, Receiver: one request and its response
    connection   one client's connection
    server       Server, Limits: towards clients, strictly
    connecting   Origin, Dialer: how an upstream is reached
    upstream     Link, Pool: towards upstreams, tolerantly
    loops        uvloop where it exists

**A server.** `Server(application, gate=Gate(), limits=Limits(), tls=None)`; `await start(host, port)`; `stop()` lets
what is under way end; `await drained()`; `abort()` ends everything now. `application(exchange)` is called for each
request once its head is in and good; it gives a `Receiver` for the rest: `body`, `complete`, `lost`, `pause`, `resume`.

**An exchange.** `info(head)` any number of times; then `respond(head, framing)`, `write(bytes)` as that framing says
(`chunk(data)`, `last_chunk(trailers)`), and `finish()`; or `answer(status, body)`, or raise `Refused(status, reason)`.
Instead of an end: `cut()` (FIN) or `reset()` (RST), both behind what was written, also before any head.

**An upstream.** `Pool.take(origin)` or `await Pool.connect(origin)` gives a `Link`; `send(answer, method, head)`,
`write(body)`; the `Answer` hears what comes; `release()` when both directions are over.

Nothing here waits with a timeout, but for heads of clients that never come whole.
"""

from __future__ import annotations

from .access import OUR_HEADERS, OUR_PATHS, TOKEN_HEADER, Gate, is_loopback
from .bodies import LAST_CHUNK, Chunked, Framing, Length, UntilClose, chunk, decoder_of, last_chunk, response_framing
from .connecting import Dialer, Origin, ProxyRefused, server_context
from .connection import Connection
from .exchange import UNHEARD, Companion, Exchange, Receiver
from .heads import (
    Malformed,
    Refused,
    RequestHead,
    header,
    parse_request,
    parse_response,
    phrase,
    tokens,
    values,
    write_fields,
)
from .loops import loop_factory
from .server import Limits, Server
from .targets import check_target, first_segment, remounted
from .upstream import Answer, Failure, Link, Owner, Pool, ProtocolError

__all__ = [
    "LAST_CHUNK",
    "OUR_HEADERS",
    "OUR_PATHS",
    "TOKEN_HEADER",
    "UNHEARD",
    "Answer",
    "Chunked",
    "Companion",
    "Connection",
    "Dialer",
    "Exchange",
    "Failure",
    "Framing",
    "Gate",
    "Length",
    "Limits",
    "Link",
    "Malformed",
    "Origin",
    "Owner",
    "Pool",
    "ProtocolError",
    "ProxyRefused",
    "Receiver",
    "Refused",
    "RequestHead",
    "Server",
    "UntilClose",
    "check_target",
    "chunk",
    "decoder_of",
    "first_segment",
    "header",
    "is_loopback",
    "last_chunk",
    "loop_factory",
    "parse_request",
    "parse_response",
    "phrase",
    "remounted",
    "response_framing",
    "server_context",
    "tokens",
    "values",
    "write_fields",
]
