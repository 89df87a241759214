"""How fast the replay server is beside an upstream with the same bytes at hand, and how late it is at a pace.

The server is a process of its own, as is the upstream. Streams have one event a chunk. Throughput: 10,000 events to
httpx and to a bare socket, taking turns with the upstream. Pace: a stream of 60 seconds (BENCH_SECONDS), alone and
with 50 others beside it; the time of each event at a bare socket is compared with its recorded one.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from statistics import median
from typing import Final

import httpx

from recorder.recording import Head
from recorder.store import Store
from tests.benchmarks.bench_replay import EVENTS, read, record
from tests.benchmarks.figures import bar, heading, medians, ms, percentile, table, taking_turns
from tests.benchmarks.upstream import REQUEST, serving

ROUNDS: Final = 7
SECONDS: Final = int(os.environ.get("BENCH_SECONDS", "60"))
GAP_US: Final = 20_000
BESIDE: Final = 50
HEAD: Final = Head(
    200, "OK", "HTTP/1.1", (("Content-Type", "text/event-stream"), ("Transfer-Encoding", "chunked"), ("x-id", "req_1"))
)
TARGET: Final = "/v1/threads/thread_abc123/runs"


@contextlib.contextmanager
def answering(path: Path, *options: str) -> Iterator[str]:
    """The base URL of a replay server in a process of its own."""
    command = [sys.executable, "-m", "recorder", "--store", str(path), "replay", "--port", "0", "--repeat", "cycle"]
    with subprocess.Popen([*command, *options], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as child:
        assert child.stdout is not None
        try:
            yield child.stdout.readline().split()[-1]
        finally:
            child.terminate()


def _request(target: str, body: bytes) -> bytes:
    return b"POST %b HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (
        target.encode(),
        len(body),
        body,
    )


def _connect(base: str) -> socket.socket:
    host, _, port = base.removeprefix("http://").partition("/")[0].rpartition(":")
    return socket.create_connection((host, int(port)), 120)


def swallow(base: str, target: str, body: bytes) -> float:
    """Seconds that one exchange takes at a bare socket, which parses nothing."""
    with _connect(base) as sock:
        begun = time.perf_counter()
        sock.sendall(_request(target, body))
        tail = b""
        while not tail.endswith(b"\r\n0\r\n\r\n"):
            data = sock.recv(1 << 18)
            assert data, "the connection ended early"
            tail = (tail + data)[-16:]
        return time.perf_counter() - begun


def timed(work: Callable[[], object]) -> float:
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def throughput(path: Path, body: bytes) -> None:
    with (
        answering(path) as replayed,
        serving() as upstream,
        httpx.Client(trust_env=False, timeout=120) as one,
        httpx.Client(trust_env=False, timeout=120) as other,
    ):
        base, _, target = upstream.removeprefix("http://").partition("/")
        query = f"?events={EVENTS}"
        results = medians(
            taking_turns(
                ROUNDS,
                {
                    "httpx, direct": lambda: timed(partial(read, one, upstream + query, REQUEST)),
                    "httpx, replay": lambda: timed(partial(read, other, replayed + TARGET, body)),
                    "socket, direct": lambda: swallow(f"http://{base}", f"/{target}{query}", REQUEST),
                    "socket, replay": lambda: swallow(replayed, TARGET, body),
                },
            )
        )
    heading(f"A stream of {EVENTS:,} events, one a chunk, as fast as it goes (medians of {ROUNDS})")
    table(
        ("", "ms", "kev/s", "of direct"),
        [
            (name, ms(took), EVENTS / took / 1e3, f"{results[name.split(',')[0] + ', direct'] / took:.2f}x")
            for name, took in results.items()
        ],
    )
    bar(
        "replay server: unpaced, events a second through httpx, against direct",
        results["httpx, direct"] / results["httpx, replay"],
        least=0.55,
    )


def arrivals(bases: list[tuple[str, bytes]]) -> list[list[float]]:
    """For each (base URL, body): seconds from its request to each chunk that came."""
    found: list[list[float]] = [[] for _ in bases]
    with selectors.DefaultSelector() as ready:
        begun = []
        for at, (base, body) in enumerate(bases):
            sock = _connect(base)
            begun.append(time.perf_counter())
            sock.sendall(_request(TARGET, body))
            ready.register(sock, selectors.EVENT_READ, at)
        while ready.get_map():
            for key, _ in ready.select():
                now = time.perf_counter()
                data = key.fileobj.recv(1 << 18)  # type: ignore[union-attr]
                at = key.data
                found[at] += [now - begun[at]] * (data.count(b"event: ") + data.count(b"data: [DONE]"))
                if not data or data.endswith(b"0\r\n\r\n"):
                    ready.unregister(key.fileobj)
                    key.fileobj.close()  # type: ignore[union-attr]
    return found


def lateness(path: Path, body: bytes, count: int, beside: int) -> None:
    with answering(path, "--pace", "recorded") as base:
        (first, *_) = arrivals([(base, body)] * (1 + beside))
    assert len(first) == count, f"{len(first)} of {count} events came"
    late = [came - (number + 2) * GAP_US / 1e6 for number, came in enumerate(first)]
    drift = median(late[-100:]) - median(late[:100])
    heading(f"Late at the recorded pace, {count:,} events in {count * GAP_US / 1e6:g} s, {beside} streams beside it")
    table(
        ("", "first", "p50", "p99", "max", "drift"),
        [("ms", ms(late[0]), ms(percentile(late, 0.5)), ms(percentile(late, 0.99)), ms(max(late)), ms(drift))],
    )
    bar(
        f"replay server: late at the recorded pace, p50, {beside} beside", ms(percentile(late, 0.5)), most=5, unit=" ms"
    )
    bar(f"replay server: drift over {SECONDS} s, {beside} beside", ms(abs(drift)), most=5, unit=" ms")


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "recorder.db"
        count = SECONDS * 1_000_000 // GAP_US
        with Store.open(path, create=True) as store:
            whole = record(store, EVENTS, head=HEAD).request.body or b""
            paced = record(store, count, GAP_US, HEAD).request.body or b""
        throughput(path, whole)
        lateness(path, paced, count, 0)
        lateness(path, paced, count, BESIDE)


if __name__ == "__main__":
    main()
