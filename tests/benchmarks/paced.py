"""Many streams at a pace, and the clients that read them: an upstream and a load, each a process of its own.

`python -m tests.benchmarks.paced serve` prints its port and serves until its stdin closes: the query says how many
`events`, and the `gap` between two of them in seconds (0: all at once); each event is an HTTP chunk and, with a gap, a
segment of its own. `… load PORT STREAMS EVENTS GAP` reads so many streams at once, each over a connection of its own,
and prints the median time to the first byte, in seconds, and the time that all took. `… delays PORT STREAMS EVENTS GAP`
prints the median and the 99th percentile of the seconds from an event's sending until its client has it.
"""

from __future__ import annotations

import asyncio
import functools
import re
import statistics
import sys
import time

from recorder.wire import loop_factory
from tests.benchmarks.figures import percentile
from tests.benchmarks.upstream import REQUEST, events

_HEAD = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\nTransfer-Encoding: chunked\r\n"
    b"x-request-id: req_0123456789abcdef\r\n\r\n"
)
_LAST = b"0\r\n\r\n"

#: Processes of one machine read the same clock, so an event can say when it was sent.
_STAMP = re.compile(rb'"sent":(\d+)}')


def _stamped() -> bytes:
    event = b'data: {"sent":%d}\n\n' % time.monotonic_ns()
    return b"%x\r\n%s\r\n" % (len(event), event)


@functools.cache
def _chunks(count: int) -> tuple[bytes, ...]:
    return tuple(b"%x\r\n%s\r\n" % (len(event), event) for event in events(count))


class _Upstream(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: asyncio.Transport = transport  # type: ignore[assignment]  # uvloop's are no subclasses
        self._loop = asyncio.get_running_loop()
        self._held = b""

    def data_received(self, data: bytes) -> None:
        self._held += data
        while (end := self._held.find(b"\r\n\r\n")) >= 0:
            head = self._held[:end].lower()
            length = int(head.partition(b"content-length:")[2].split(b"\r\n")[0] or 0)
            if len(self._held) < end + 4 + length:
                return
            self._held = self._held[end + 4 + length :]
            query = head.split(b" ", 2)[1].partition(b"?")[2].decode()
            asked = dict(pair.split("=") for pair in query.split("&"))
            chunks, gap = _chunks(int(asked["events"])), float(asked["gap"])
            self._transport.write(_HEAD)
            if gap:
                self._stamps = "stamps" in asked
                self._tick(chunks, gap, 0, self._loop.time())
            else:
                self._transport.write(b"".join(chunks) + _LAST)

    def _tick(self, chunks: tuple[bytes, ...], gap: float, number: int, begun: float) -> None:
        if self._transport.is_closing():
            return
        if number == len(chunks):
            self._transport.write(_LAST)
            return
        self._transport.write(_stamped() if self._stamps else chunks[number])
        self._loop.call_at(begun + (number + 1) * gap, self._tick, chunks, gap, number + 1, begun)


class _Client(asyncio.Protocol):
    def __init__(self, request: bytes, done: asyncio.Future[float], delays: list[float]) -> None:
        self._request = request
        self._done = done
        self._delays = delays
        self._first: float | None = None
        self._tail = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: asyncio.Transport = transport  # type: ignore[assignment]  # uvloop's are no subclasses
        self._begun = time.perf_counter()
        self._transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        if self._first is None:
            self._first = time.perf_counter() - self._begun
        for sent in _STAMP.findall(data):
            self._delays.append((time.monotonic_ns() - int(sent)) / 1e9)
        self._tail = (self._tail + data)[-len(_LAST) :]
        if self._tail == _LAST and not self._done.done():
            self._done.set_result(self._first)
            self._transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self._done.done():
            self._done.set_exception(exc or ConnectionError("the stream ended early"))


async def _load(port: int, streams: int, count: int, gap: str, *, stamps: bool) -> tuple[float, float]:
    loop = asyncio.get_running_loop()
    delays: list[float] = []
    path = f"/v1/threads/thread_abc123/runs?events={count}&gap={gap}{'&stamps=1' if stamps else ''}"
    head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: application/json\r\n"
    request = f"{head}Authorization: Bearer sk-none\r\nContent-Length: {len(REQUEST)}\r\n\r\n".encode() + REQUEST
    begun = time.perf_counter()
    waiting = []
    for _ in range(streams):
        done: asyncio.Future[float] = loop.create_future()
        await loop.create_connection(functools.partial(_Client, request, done, delays), "127.0.0.1", port)
        waiting.append(done)
    first = statistics.median(await asyncio.gather(*waiting))
    if stamps:
        return statistics.median(delays), percentile(delays, 0.99)
    return first, time.perf_counter() - begun


async def _serve() -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(_Upstream, "127.0.0.1", 0, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    await loop.run_in_executor(None, sys.stdin.read)


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        if sys.argv[1] == "serve":
            runner.run(_serve())
        else:
            asked, port, streams, count, gap = sys.argv[1:]
            print(*runner.run(_load(int(port), int(streams), int(count), gap, stamps=asked == "delays")))
