"""The replay server: any program, in any language, is answered from a store, and from nothing else.

It speaks HTTP/1.1 on our own sockets, so that what was recorded goes out as it came: status line, headers in order and
spelling, chunks, their times, trailers, and the recorded ending as the same thing that happened to the socket. There
is no upstream, and no code here that could connect to one.

    mounts    under which URLs a request may have been recorded
    faults    failures put on top of a recording, for tests
    broken    bytes that HTTP clients cannot read, where that is how a recording ended
    answer    one request and its answer
    service   the whole

**What cannot be the same.** HTTP/2 goes out as chunked HTTP/1.1. A connection that was refused, or whose TLS failed,
is a reset before any byte. Where a client timed out or left, nobody knows what would have come: the answer falls
silent there. Headers that concern one hop are written anew.
"""

from __future__ import annotations

from .faults import Fault, Faults
from .mounts import Mounts
from .service import Service, Settings

__all__ = ["Fault", "Faults", "Mounts", "Service", "Settings"]
