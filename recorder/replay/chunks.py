"""Event rows to the bytes that they were, in chunks: as the network delivered them, or cut anew.

Sans-IO, and without any knowledge of heads, endings and clocks. Times are microseconds since the request.
"""

from __future__ import annotations

import random
import re
import sys
from bisect import bisect_left
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import repeat
from typing import Final

from .. import cuts, sse
from ..errors import UsageError
from ..recording import Event, Kind

__all__ = ["RECORDED", "Block", "Chunk", "Chunking", "blocks", "cut", "parse_chunks"]

_SSE: Final = Kind.SSE.value
_END: Final = Kind.END.value

#: (microseconds since the request, bytes)
Chunk = tuple[int, bytes]


@dataclass(frozen=True, slots=True)
class Chunking:
    """How a body is cut: `mode` is recorded, event, joined, size or seed; `number` goes with the last two."""

    mode: str
    number: int = 0


#: As the network delivered them.
RECORDED: Final = Chunking("recorded")

_CHUNKS: Final = re.compile(r"(recorded|event|joined)|(size):([1-9][0-9]{0,11})|(seed):([0-9]{1,18})")


def parse_chunks(chunks: str) -> Chunking:
    """The meaning of "recorded", "event", "joined", "size:N" or "seed:N". Raises UsageError for anything else."""
    found = _CHUNKS.fullmatch(chunks)
    if found is None:
        raise UsageError(
            f"chunks {chunks!r} is none: say recorded, event, joined, size:N (N bytes, from 1) or seed:N (from 0)"
        )
    plain, size, size_number, seed, seed_number = found.groups()
    return Chunking(plain or size or seed, int(size_number or seed_number or 0))


def _random_sizes(seed: int) -> Iterator[int]:
    """Chunk sizes from 1 to 2047 bytes, small ones as likely as large ones; the same for a seed on every Python.

    Python promises that for `random()` after an integer seed, and for nothing else of the module.
    """
    draw = random.Random(seed).random  # noqa: S311 (cuts for a test, not secrets)
    while True:
        least = 1 << int(draw() * 11)
        yield least + int(draw() * least)


#: Bytes, where chunks end in them (the last one at their end), and when each of these chunks arrived.
Block = tuple[bytes, list[int], list[int]]

#: Bytes after which a block is handed on, once a chunk has ended in it.
_BLOCK: Final = 1 << 16

_FRAME_END: Final = b"\n\n"


class _Openings(dict[str | None, bytes]):
    """Event type -> what stands before the data of a canonical frame. A stream repeats a few types all the time."""

    def __missing__(self, type_: str | None) -> bytes:
        opening = self[type_] = sse.wire(type_, b"", None).removesuffix(_FRAME_END)
        return opening


def blocks(events: Iterable[Event], *, one_each: bool = False) -> Iterator[Block]:
    """The body in blocks that are cut as the network cut it, or into one chunk for each event.

    Bytes after the last cut (of a writer that died) are a chunk of their own. Raises ValueError for damaged events.
    """
    openings = _Openings()
    parts: list[bytes] = []
    ends: list[int] = []
    times: list[int] = []
    at = now = 0  # `at`: how many bytes the parts should have together
    for position, kind, elapsed_us, type_, data, raw, size, packed in events:
        if kind == _END:
            break
        if data is None:
            if raw is None:
                raise ValueError(f"event {position} has no payload; restore the store from a copy")
            parts.append(raw)
        elif kind == _SSE:
            parts += (openings[type_], data, _FRAME_END)
        else:
            parts.append(data)
        at += size
        now = elapsed_us
        if packed is None:
            ends.append(at)
            times.append(now)
        elif one_each:
            ends.append(at)
            times.append(_arrival(packed, size, now))
        elif packed:
            for offset, arrived in cuts.unpack(packed, size, now):
                ends.append(at - size + offset)
                times.append(arrived)
        if at >= _BLOCK and ends:
            block, last = _joined(parts, at), ends[-1]
            yield block[:last], ends, times
            parts, ends, times = [block[last:]], [], []
            at -= last
    if at:
        if not ends or ends[-1] < at:
            ends.append(at)
            times.append(now)
        yield _joined(parts, at), ends, times


def _arrival(packed: bytes, size: int, now: int) -> int:
    """When the last byte of an event came: the end of the stream makes an event of a tail that came before."""
    inside = cuts.unpack(packed, size, now)
    return inside[-1][1] if inside and inside[-1][0] == size else now


def _joined(parts: list[bytes], size: int) -> bytes:
    block = b"".join(parts)
    if len(block) != size:
        raise ValueError(f"{len(block)} bytes are where {size} should be; restore the store from a copy")
    return block


def cut(blocks: Iterable[Block], chunking: Chunking) -> Iterator[Chunk]:
    """The chunks of these blocks: those that are marked in them, or of other sizes where these are asked for."""
    if chunking.mode == "joined":
        return _recut(blocks, repeat(sys.maxsize))
    if chunking.mode == "size":
        return _recut(blocks, repeat(chunking.number))
    if chunking.mode == "seed":
        return _recut(blocks, _random_sizes(chunking.number))
    return _marked(blocks)


def _marked(blocks: Iterable[Block]) -> Iterator[Chunk]:
    for block, ends, times in blocks:
        start = 0
        for end, due in zip(ends, times, strict=True):
            yield due, block[start:end]
            start = end


def _recut(blocks: Iterable[Block], sizes: Iterator[int]) -> Iterator[Chunk]:
    """The same bytes in chunks of these sizes, each due when its last byte was; only the last one may be shorter."""
    held: list[bytes] = []
    have = due = 0
    wanted = next(sizes)
    for block, ends, times in blocks:
        before, due = have, times[-1]
        held.append(block)
        have += len(block)
        if have < wanted:
            continue
        text = b"".join(held)
        start = 0
        while have - start >= wanted:
            end = start + wanted
            yield times[bisect_left(ends, end - before)], text[start:end]
            start = end
            wanted = next(sizes)
        held = [text[start:]]
        have -= start
    if have:
        yield due, b"".join(held)
