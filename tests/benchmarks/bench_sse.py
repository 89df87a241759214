"""What cutting frames costs beside other SSE parsers, and that it grows with the bytes and with nothing else.

CPU nanoseconds per event are the best of some rounds in which the parsers take turns; the ratios are the firm figures.
For hostile shapes, time per byte is set against that of a quarter of the size: about 1 where time is linear, about 4
where it is quadratic. A parser that is not installed is left out.
"""

from __future__ import annotations

import codecs
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from importlib.util import find_spec
from typing import Final, NamedTuple

from recorder.sse import LIMIT, Tokenizer
from tests.benchmarks.figures import bar, heading, note, ratio, table, taking_turns

ROUNDS: Final = 12
EVENTS: Final = 1800

_DELTA: Final = (
    b'event: thread.message.delta\ndata: {"id":"msg_abc123","object":"thread.message.delta","delta":{"content":'
    b'[{"index":0,"type":"text","text":{"value":" hello %03d","annotations":[]}}]}}\n\n'
)
ASSISTANTS: Final = [_DELTA % (at % 1000) for at in range(EVENTS)]
CHAT: Final = [event.partition(b"\n")[2] for event in ASSISTANTS]
CRLF: Final = [event.replace(b"\n", b"\r\n") for event in ASSISTANTS]

Parser = Callable[[Iterable[bytes]], None]


def boundaries(chunks: Iterable[bytes]) -> None:
    """The floor: no fields, no state, and wrong wherever a chunk ends inside an event."""
    for chunk in chunks:
        chunk.split(b"\n\n")


def tokenizer(chunks: Iterable[bytes], limit: int | None = LIMIT) -> None:
    feed = Tokenizer(limit).feed
    for chunk in chunks:
        feed(chunk)


def httpx_sse(chunks: Iterable[bytes]) -> None:
    from httpx_sse import _decoders

    text = codecs.getincrementaldecoder("utf-8")()
    lines, decoder = _decoders.SSELineDecoder(), _decoders.SSEDecoder()
    for chunk in chunks:
        for line in lines.decode(text.decode(chunk)):
            decoder.decode(line)


def openai_decoder(chunks: Iterable[bytes]) -> None:
    from openai._streaming import SSEDecoder

    for _ in SSEDecoder().iter_bytes(iter(chunks)):
        pass


def parsers() -> dict[str, Parser]:
    """The parsers that are there, by name."""
    found: dict[str, Parser] = {"bytes.split": boundaries, "Tokenizer": tokenizer}
    if find_spec("httpx_sse"):
        found["httpx-sse"] = httpx_sse
    if find_spec("openai"):
        found["openai"] = openai_decoder
    return found


def of_size(stream: bytes, size: int) -> list[bytes]:
    return [stream[at : at + size] for at in range(0, len(stream), size)]


def chunkings(events: Sequence[bytes]) -> dict[str, list[bytes]]:
    stream = b"".join(events)
    return {"1 event": list(events)} | {f"{size >> 10} KB": of_size(stream, size) for size in (1024, 16384, 65536)}


def seconds(parser: Parser, chunks: Sequence[bytes]) -> float:
    """CPU seconds: what else the machine does counts less in them."""
    start = time.thread_time()
    parser(chunks)
    return time.thread_time() - start


def best(runs: Mapping[tuple[str, str], Callable[[], float]]) -> dict[tuple[str, str], float]:
    """Nanoseconds per event of each."""
    return {name: min(results) / EVENTS * 1e9 for name, results in taking_turns(ROUNDS, runs).items()}


def compare() -> None:
    """An Assistants stream through each parser, by chunk size."""
    chunked = chunkings(ASSISTANTS)
    known = parsers()
    took = best({(name, size): partial(seconds, known[name], chunked[size]) for name in known for size in chunked})
    heading(f"ns per event of {len(ASSISTANTS[0])} B, by chunk")
    table(("parser", *chunked), [(name, *(took[name, size] for size in chunked)) for name in known])
    heading("the Tokenizer against each")
    others = [name for name in known if name != "Tokenizer"]
    rows = [(name, *(ratio(took["Tokenizer", size] / took[name, size]) for size in chunked)) for name in others]
    table(("parser", *chunked), rows)
    if "openai" in known:
        for size, most in (("1 event", 0.5), ("16 KB", 0.25)):
            measured = took["Tokenizer", size] / took["openai", size]
            bar(f"cutting frames, {size} a chunk, against openai's decoder", measured, most=most)
    else:
        note("openai is not installed")


def shapes() -> None:
    """The Tokenizer on events of other shapes."""
    kinds = {"event + data": ASSISTANTS, "data only": CHAT, "event + data, CRLF": CRLF}
    chunked = {name: chunkings(events) for name, events in kinds.items()}
    runs = {
        (name, size): partial(seconds, tokenizer, chunks) for name in kinds for size, chunks in chunked[name].items()
    }
    took = best(runs)
    heading("the Tokenizer, ns per event by shape and chunk")
    sizes = list(chunked["data only"])
    table(("shape", *sizes), [(name, *(took[name, size] for size in sizes)) for name in kinds])


class Shape(NamedTuple):
    """A frame or frames of any size: `unit` over and over, then `end`; fed in chunks of so many bytes."""

    name: str
    unit: bytes
    end: bytes
    size: int
    chunk: int

    def chunks(self, size: int) -> list[bytes]:
        return of_size(self.unit * (size // len(self.unit)) + self.end, self.chunk)


WHOLE: Final = 1 << 30
SHAPES: Final = (
    Shape("1 MB frame in 64 B chunks", b"x", b"\n\n", 1_000_000, 64),
    Shape("1 MB frame of short lines in 64 B chunks", b"data: xyz\n", b"\n", 1_000_000, 64),
    Shape("1 MB frame of CRs in 64 B chunks", b"x\r", b"\r", 1_000_000, 64),
    Shape("100 MB line in 64 KB chunks", b"x", b"\n\n", 100_000_000, 65536),
    Shape("4 MB of 'event: ' on one line", b"event: ", b"\n\n", 4_000_000, WHOLE),
    Shape("4 MB of 'data: ' on one line", b"data: ", b"\nx\n\n", 4_000_000, WHOLE),
    Shape("1 MB of comments in one chunk", b": x\n\n", b"", 1_000_000, WHOLE),
    Shape("1 MB of CRLF comments in one chunk", b": x\r\n\r\n", b"", 1_000_000, WHOLE),
    Shape("0.4 MB of blank lines in one chunk", b"\n", b"", 400_000, WHOLE),
    Shape("0.4 MB of events in 1 B chunks", b"data: xyz\n\n", b"", 400_000, 1),
)


def per_byte(shape: Shape, limit: int | None) -> tuple[float, float]:
    """Nanoseconds for each byte, at a quarter of the size and at the size."""
    sizes = (shape.size // 4, shape.size)
    runs = {size: partial(seconds, partial(tokenizer, limit=limit), shape.chunks(size)) for size in sizes}
    quarter, full = (min(results) / size * 1e9 for size, results in taking_turns(4, runs, warm=0).items())
    return quarter, full


def scaling() -> None:
    """Hostile shapes at a size and at a quarter of it, with the default limit and without one."""
    rows = []
    worst = 0.0
    for shape in SHAPES:
        row: list[object] = [shape.name]
        for limit in (LIMIT, None):
            quarter, full = per_byte(shape, limit)
            worst = max(worst, full / quarter)
            row += [full, ratio(full / quarter)]
        rows.append(row)
    heading("time per byte, and against that of a quarter of the size: with the limit of 16 MiB, and without one")
    table(("shape", "ns/B", "against 1/4", "ns/B, no limit", "against 1/4"), rows)
    bar("cutting frames: time per byte of the worst hostile shape, against a quarter of it", worst, most=2.5)


def main() -> None:
    compare()
    shapes()
    scaling()


if __name__ == "__main__":
    main()
