"""The program that looks for pieces of bytes in files: `python searching.py < job.json`; and what pieces are.

Why a process: a SQLite file must not be opened, not even to be read, by a process that uses it: closing the file drops
SQLite's locks. It imports nothing of recorder, so that it starts fast. The pieces come on stdin and stay in memory.

Files are read at every 16th byte alone: a piece is known by all its 16 beginnings of 16 bytes, of which one lies at
such a place wherever the piece is; what begins alike is then compared whole.

The job, as JSON: `files`, and `pieces` as hexadecimal text. The answer, as JSON: `found`, pairs of the numbers of a
file and of a piece; `unreadable`, pairs of a file's number and why it could not be read.
"""

from __future__ import annotations

import json
import struct
import sys
from collections.abc import Iterator, Sequence
from operator import itemgetter
from typing import BinaryIO

__all__ = ["MOST", "SHORTEST", "pieces_of", "search"]

_STRIDE = 16
#: Bytes that are looked at together.
_BLOCK = 1 << 18
#: A shorter piece may have no place in it that is looked at, and may be anybody's.
SHORTEST = 2 * _STRIDE - 1
#: A longer value is looked for by some windows of it: databases keep long values in parts.
_WHOLE = 256
_WINDOW = 128
#: Pieces that are looked for at once.
MOST = 20_000


def pieces_of(value: bytes) -> Iterator[bytes]:
    """What to look for, to find a value or a part of it; nothing where it is too short to be told from others."""
    if SHORTEST <= len(value) <= _WHOLE:
        yield value
    elif len(value) > _WHOLE:
        for share in (1, 2, 3, 4):
            at = (len(value) - _WINDOW) * share // 4
            yield value[at : at + _WINDOW]


def search(files: Sequence[str], pieces: Sequence[bytes]) -> tuple[list[tuple[int, int]], list[tuple[int, str]]]:
    """Which pieces are in which files; and which files could not be read. A file that is gone holds nothing."""
    beginnings: dict[bytes, list[tuple[int, int]]] = {}
    for number, piece in enumerate(pieces):
        for offset in range(_STRIDE):
            beginnings.setdefault(piece[offset : offset + _STRIDE], []).append((number, offset))
    found: list[tuple[int, int]] = []
    unreadable: list[tuple[int, str]] = []
    for place, name in enumerate(files):
        try:
            found += [(place, number) for number in sorted(_in_file(name, pieces, beginnings))]
        except FileNotFoundError:
            continue
        except OSError as error:
            unreadable.append((place, error.strerror or type(error).__name__))
    return found, unreadable


def _in_file(name: str, pieces: Sequence[bytes], beginnings: dict[bytes, list[tuple[int, int]]]) -> set[int]:
    found: set[int] = set()
    with open(name, "rb") as file:  # noqa: PTH123 (nothing else is needed of pathlib)
        for held, begin, end in _blocks(file):
            # Nearly always nothing of a block is looked for, and no code of Python's is needed to see that.
            if beginnings.keys().isdisjoint(map(itemgetter(0), struct.iter_unpack(f"{_STRIDE}s", held[begin:end]))):
                continue
            for at in range(begin, end, _STRIDE):
                for number, offset in beginnings.get(held[at : at + _STRIDE], ()):
                    start = at - offset
                    if start >= 0 and held[start : start + len(pieces[number])] == pieces[number]:
                        found.add(number)
    return found


def _blocks(file: BinaryIO) -> Iterator[tuple[bytes, int, int]]:
    """Each block between two places in what was read, which has as much before and behind it as a piece may reach.

    Read, and not mapped: SQLite may cut its log off meanwhile, and who has a file mapped that shrinks is killed by it.
    """
    first = 0
    while True:
        begin = min(first, _STRIDE)
        file.seek(first - begin)
        held = file.read(begin + _BLOCK + _WHOLE)
        end = min(len(held) - len(held) % _STRIDE, begin + _BLOCK)
        if end <= begin:
            return
        yield held, begin, end
        first += _BLOCK


def _main() -> None:
    job = json.load(sys.stdin)
    found, unreadable = search(job["files"], [bytes.fromhex(piece) for piece in job["pieces"]])
    print(json.dumps({"found": found, "unreadable": unreadable}))  # noqa: T201


if __name__ == "__main__":
    _main()
