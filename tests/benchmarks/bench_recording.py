"""What recording costs the client: in-process recording against the bare client, httpx and httpx2, sync and async.

The server is another process. Bare and recorded streams take turns; a ratio is the median of the ratios of streams
that followed each other, and a bar takes the mean of the clients. CPU per chunk is that of the client's thread alone;
that of the whole process, with the writer's and the reader's threads, stands beside it. vcrpy records the same streams
for comparison.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from statistics import fmean, median
from typing import Any, Final, NamedTuple

import recorder
from recorder.handle import Handle
from tests.benchmarks.figures import bar, heading, note, percentile, table, taking_turns
from tests.benchmarks.upstream import REQUEST, serving

HEADERS: Final = {"content-type": "application/json", "authorization": "Bearer sk-none", "accept": "text/event-stream"}
#: Seconds that storing what a stream left in the queue may take.
PATIENCE: Final = 60


class Seen(NamedTuple):
    """One stream as its client saw it. Seconds; `process_cpu` and `durable` until all of it is stored."""

    first: float
    wall: float
    thread_cpu: float
    process_cpu: float
    durable: float
    chunks: int


class Start:
    """The clocks when a stream begins."""

    def __init__(self) -> None:
        self.thread, self.process, self.wall = time.thread_time(), time.process_time(), time.perf_counter()

    def seen(self, first: float, chunks: int) -> Seen:
        wall, thread = time.perf_counter(), time.thread_time()
        return Seen(first - self.wall, wall - self.wall, thread - self.thread, 0.0, 0.0, chunks)


def stream(client: Any, url: str) -> Seen:
    """Read a stream as cheaply as a client allows: raw bytes, chunk by chunk."""
    start, first, chunks = Start(), 0.0, 0
    with client.stream("POST", url, content=REQUEST, headers=HEADERS) as response:
        for _ in response.iter_raw():
            chunks += 1
            first = first or time.perf_counter()
    return start.seen(first, chunks)


async def stream_async(client: Any, url: str) -> Seen:
    start, first, chunks = Start(), 0.0, 0
    async with client.stream("POST", url, content=REQUEST, headers=HEADERS) as response:
        async for _ in response.aiter_raw():
            chunks += 1
            first = first or time.perf_counter()
    return start.seen(first, chunks)


Run = Callable[[str], Seen]


class Pair(NamedTuple):
    """The same client, bare and recorded."""

    name: str
    bare: Run
    recorded: Run


@contextmanager
def clients(handle: Handle) -> Iterator[list[Pair]]:
    """Each client library that is installed, in both colours; connections are kept alive."""
    pairs = []
    with asyncio.Runner() as runner:
        opened: list[tuple[Any, Any]] = []

        def runs(module: Any, sync: Any, asynchronous: Any) -> tuple[Run, Run]:
            client, async_client = module.Client(transport=sync), module.AsyncClient(transport=asynchronous)
            opened.append((client, async_client))
            return lambda url: stream(client, url), lambda url: runner.run(stream_async(async_client, url))

        for name in ("httpx", "httpx2"):
            if not find_spec(name):
                note(f"{name} is not installed")
                continue
            module = import_module(name)
            bare, bare_async = runs(module, module.HTTPTransport(), module.AsyncHTTPTransport())
            recorded, recorded_async = runs(
                module, handle.transport(module=module), handle.async_transport(module=module)
            )
            pairs += [Pair(f"{name} sync", bare, recorded), Pair(f"{name} async", bare_async, recorded_async)]
        yield pairs
        for client, async_client in opened:
            client.close()
            runner.run(async_client.aclose())


class Compared(NamedTuple):
    """What streams of a pair showed, in the order in which they took turns."""

    name: str
    bare: list[Seen]
    recorded: list[Seen]

    def medians(self, field: str, scale: float = 1) -> tuple[float, float]:
        """The figure of the bare client and of the recorded one."""
        bare, recorded = (scale * median(getattr(seen, field) for seen in side) for side in (self.bare, self.recorded))
        return bare, recorded

    def paired(self, field: str) -> list[tuple[float, float]]:
        """The figures of streams that followed each other."""
        return [(getattr(b, field), getattr(r, field)) for b, r in zip(self.bare, self.recorded, strict=True)]

    def ratio(self, field: str) -> float:
        return median(recorded / bare for bare, recorded in self.paired(field))

    def difference(self, field: str) -> float:
        return median(recorded - bare for bare, recorded in self.paired(field))


def compare(pairs: list[Pair], handle: Handle, url: str, rounds: int) -> list[Compared]:
    """Stream in turns; each stream is stored and read before the next one begins."""

    def one(run: Run) -> Callable[[], Seen]:
        def go() -> Seen:
            process, wall = time.process_time(), time.perf_counter()
            seen = run(url)
            assert handle.flush(PATIENCE), "the writer did not keep up"
            return seen._replace(process_cpu=time.process_time() - process, durable=time.perf_counter() - wall)

        return go

    sides = {(pair.name, side): one(run) for pair in pairs for side, run in enumerate(pair[1:])}
    results = taking_turns(rounds, sides)
    return [Compared(pair.name, results[pair.name, 0], results[pair.name, 1]) for pair in pairs]


def paced(pairs: list[Pair], handle: Handle, url: str, *, events: int, gap_us: int, rounds: int) -> None:
    """A stream at a pace, each event a segment of its own."""
    heading(f"{events} events, one every {gap_us / 1000:g} ms: CPU in us per chunk, medians of {rounds}")
    rows, ratios = [], []
    for compared in compare(pairs, handle, f"{url}?events={events}&gap_us={gap_us}", rounds):
        thread, process = (compared.medians(field, 1e6 / events) for field in ("thread_cpu", "process_cpu"))
        ratios.append(compared.ratio("thread_cpu"))
        rows.append((compared.name, *thread, f"{ratios[-1]:.3f}x", *process, f"{compared.ratio('process_cpu'):.2f}x"))
    table(("client's thread", "bare", "recorded", "", "process bare", "recorded", ""), rows)
    bar("recording: CPU of the client's thread per chunk, against the bare client", fmean(ratios), most=1.05)


def first_event(pairs: list[Pair], handle: Handle, url: str, *, rounds: int) -> None:
    """Short streams, for the time to their first event."""
    heading(f"Time to the first event in ms, medians of {rounds}, and what 9 of 10 were below")
    rows, added = [], []
    for compared in compare(pairs, handle, f"{url}?events=5&gap_us=2000", rounds):
        tails = [1e3 * percentile([seen.first for seen in side], 0.9) for side in (compared.bare, compared.recorded)]
        added.append(1e3 * compared.difference("first"))
        rows.append((compared.name, *compared.medians("first", 1e3), f"{added[-1]:+.2f}", *tails))
    table(("", "bare", "recorded", "difference", "bare 90 %", "recorded 90 %"), rows)
    bar("recording: later to the first event than the bare client", fmean(added), most=1, unit=" ms")


def burst(pairs: list[Pair], handle: Handle, url: str, *, events: int, rounds: int) -> None:
    """A stream as fast as it comes, each event a chunk."""
    heading(f"{events:,} events at once: thousand events per second, medians of {rounds}; CPU in us per event")
    rows, ratios = [], []
    for compared in compare(pairs, handle, f"{url}?events={events}", rounds):
        ratios.append(1 / compared.ratio("wall"))
        rates = [events / wall / 1e3 for wall in compared.medians("wall")]
        cpu = [*compared.medians("thread_cpu", 1e6 / events), *compared.medians("process_cpu", 1e6 / events)]
        durable = events / compared.medians("durable")[1] / 1e3
        rows.append((compared.name, *rates, f"{ratios[-1]:.2f}x", durable, *cpu))
    columns = (
        "",
        "bare",
        "recorded",
        "",
        "until stored and read",
        "thread bare",
        "recorded",
        "process bare",
        "recorded",
    )
    table(columns, rows)
    bar(f"recording: throughput on a stream of {events:,} events, against the bare client", fmean(ratios), least=0.6)


def vcrpy(pairs: list[Pair], folder: Path, url: str, *, events: int) -> None:
    """What another recorder does to the same streams."""
    if not find_spec("vcr"):
        note("vcrpy is not installed")
        return
    import vcr

    heading(
        f"vcrpy beside it: first chunk of 100 events in ms, one every 5 ms; {events:,} events at once, saving included"
    )
    rows = []
    sync = next((pair for pair in pairs if pair.name == "httpx sync"), None)
    if sync is None:
        note("httpx is not installed")
        return
    for name, run in (("bare", sync.bare), ("recorder", sync.recorded), ("vcrpy", None)):
        times = []
        for number, query in enumerate(("events=100&gap_us=5000", f"events={events}")):
            begun = time.perf_counter()
            if run is None:
                with vcr.use_cassette(folder / f"{number}.yaml", record_mode="all"):
                    seen = sync.bare(f"{url}?{query}")
            else:
                seen = run(f"{url}?{query}")
            times.append(
                (1e3 * seen.first, events / seen.wall / 1e3, events / (time.perf_counter() - begun) / 1e3, seen.chunks)
            )
        rows.append((name, times[0][0], times[0][3], times[1][1], times[1][2]))
    table(("httpx sync", "first chunk ms", "chunks", "thousand ev/s", "and saved"), rows)


def main() -> None:
    with tempfile.TemporaryDirectory() as name, serving() as url:
        folder = Path(name)
        with recorder.open(folder / "recorder.db") as handle, clients(handle) as pairs:
            paced(pairs, handle, url, events=250, gap_us=400, rounds=40)
            first_event(pairs, handle, url, rounds=40)
            burst(pairs, handle, url, events=10_000, rounds=9)
            vcrpy(pairs, folder, url, events=10_000)


if __name__ == "__main__":
    main()
