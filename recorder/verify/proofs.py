"""Proofs about the tree of checkpoints (RFC 6962 section 2.1), for who has a root and not the store: that a leaf is in
it, and that a later root covers all that an earlier one does.

Whole subtrees are hashed once, so that each root or path after that costs a logarithm of them. No I/O.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from typing import Final

__all__ = ["LONGEST", "Leaves", "consistent", "included", "node"]

_SIZE: Final = 32
#: Hashes in the longest path that is looked at: no tree has more than 2**63 leaves, and a consistency proof one more.
LONGEST: Final = 64


def node(left: bytes, right: bytes) -> bytes:
    """The hash of a node over two others."""
    return sha256(b"\1" + left + right).digest()


class Leaves:
    """Leaves in their order, and what can be shown about any number of the first of them."""

    __slots__ = ("_levels", "count")

    def __init__(self, leaves: Sequence[bytes]) -> None:
        self.count = len(leaves)
        #: At place k the hashes of all whole subtrees of 2**k leaves, one behind the other.
        self._levels: list[bytes] = [b"".join(leaves)]
        while len(self._levels[-1]) > _SIZE:
            below = self._levels[-1]
            starts = range(0, len(below) - 2 * _SIZE + 1, 2 * _SIZE)
            self._levels.append(b"".join([sha256(b"\1" + below[at : at + 2 * _SIZE]).digest() for at in starts]))

    def root(self, count: int) -> bytes:
        """The root of the first so many leaves."""
        return self._over(0, count) if count else sha256(b"").digest()

    def path(self, index: int, count: int) -> list[bytes]:
        """The audit path of a leaf in the tree of the first `count`, the nearest first (section 2.1.1)."""
        found = []
        start, end = 0, count
        while end - start > 1:
            middle = start + _half(end - start)
            if index < middle:
                found.append(self._over(middle, end))
                end = middle
            else:
                found.append(self._over(start, middle))
                start = middle
        return found[::-1]

    def growth(self, earlier: int, later: int) -> list[bytes]:
        """The proof that the tree of the first `later` leaves holds that of the first `earlier` (section 2.1.2)."""
        if not earlier:
            return []
        found: list[bytes] = []
        start, end, whole = 0, later, True
        while earlier != end:
            middle = start + _half(end - start)
            if earlier <= middle:
                found.append(self._over(middle, end))
                end = middle
            else:
                found.append(self._over(start, middle))
                start, whole = middle, False
        return found[::-1] if whole else [self._over(start, end), *found[::-1]]

    def _over(self, start: int, end: int) -> bytes:
        """The root of a part that the RFC's halving comes upon: all but the last of its subtrees are whole."""
        size = end - start
        if size & (size - 1) == 0:
            level = self._levels[size.bit_length() - 1]
            at = start // size * _SIZE
            return level[at : at + _SIZE]
        middle = start + _half(size)
        return node(self._over(start, middle), self._over(middle, end))


def _half(count: int) -> int:
    """The largest power of two below a count."""
    return 1 << (count - 1).bit_length() - 1


def included(leaf: bytes, index: int, count: int, path: Sequence[bytes], root: bytes) -> bool:
    """Whether the path shows that the leaf stands at this place of the tree (RFC 9162 section 2.1.3.2)."""
    if not 0 <= index < count:
        return False
    at, last, found = index, count - 1, leaf
    for each in path:
        if last == 0:
            return False
        if at & 1 or at == last:
            found = node(each, found)
            while at and not at & 1:
                at, last = at >> 1, last >> 1
        else:
            found = node(found, each)
        at, last = at >> 1, last >> 1
    return last == 0 and found == root


def consistent(earlier: int, root: bytes, later: int, grown: bytes, path: Sequence[bytes]) -> bool:
    """Whether the path shows that the first `earlier` of the `later` leaves are those of the earlier root.

    RFC 9162 section 2.1.4.2. A tree of no leaves is the beginning of every other, and needs no path.
    """
    if not 0 <= earlier <= later:
        return False
    if earlier in (0, later):
        return not path and root == (grown if earlier == later else sha256(b"").digest())
    steps = list(path) if earlier & (earlier - 1) else [root, *path]
    if not steps:
        return False
    at, last = earlier - 1, later - 1
    while at & 1:
        at, last = at >> 1, last >> 1
    old = new = steps[0]
    for each in steps[1:]:
        if last == 0:
            return False
        if at & 1 or at == last:
            old, new = node(each, old), node(each, new)
            while at and not at & 1:
                at, last = at >> 1, last >> 1
        else:
            new = node(new, each)
        at, last = at >> 1, last >> 1
    return last == 0 and (old, new) == (root, grown)
