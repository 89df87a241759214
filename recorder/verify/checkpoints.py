"""Checkpoints: one line of text over all that is sealed, to be kept where who can write the store cannot.

The tree is RFC 6962's (section 2.1): a leaf for each recording in the store's log, in its order, which only grows. So
the root of the first n leaves never changes, and a line that was made then can be checked at any later time:

    recorder-checkpoint/1 store=ID time=2026-11-23T12:00:00Z count=N root=HEX [key=HEX signature=BASE64]

`store` is the id of the log's first recording (`-` while there is none), `time` the clock of who made the line. The
signature is Ed25519 (RFC 8032) over the line up to ` key=`; `key` is the beginning of the public key's SHA-256.
"""

from __future__ import annotations

import base64
import re
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

from recorder.errors import NotFound, UsageError

from .keys import name_of, public, signed
from .proofs import node

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

__all__ = ["Checkpoint", "Grown", "Tree", "moment", "parse", "read_lines", "roots"]

_LINE: Final = re.compile(
    r"recorder-checkpoint/1 store=(?P<store>-|[0-9a-f-]{36})"
    r" time=(?P<time>\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ) count=(?P<count>\d{1,18}) root=(?P<root>[0-9a-f]{64})"
    r"(?P<signed> key=(?P<key>[0-9a-f]{16}) signature=(?P<signature>[A-Za-z0-9+/]{86}==))?"
)
_MARK: Final = "recorder-checkpoint/"


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """One line. `trusted`: whether its signature was checked (None: it was not signed, or no key was given)."""

    store: str
    time: str
    count: int
    root: bytes
    key: str | None = None
    signature: bytes | None = None
    trusted: bool | None = None

    def text(self) -> str:
        """The line."""
        signed = ""
        if self.key is not None and self.signature is not None:
            signed = f" key={self.key} signature={base64.b64encode(self.signature).decode('ascii')}"
        return self.unsigned() + signed

    def unsigned(self) -> str:
        """What a signature is over."""
        return f"{_MARK}1 store={self.store} time={self.time} count={self.count} root={self.root.hex()}"


def moment(now: datetime | None = None) -> str:
    """The time of a line that is made now: UTC, to the second."""
    return (now or datetime.now(UTC)).astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


class Tree:
    """The root of the leaves given so far, in memory for a logarithm of them."""

    __slots__ = ("_whole", "count")

    def __init__(self) -> None:
        self.count = 0
        #: The roots of the whole subtrees that the leaves make up, the largest first; their sizes are count's bits.
        self._whole: list[bytes] = []

    def add(self, leaf: Any) -> None:
        """The next leaf's hash as it is stored: what is none gives a root that no checkpoint has."""
        leaf = leaf if isinstance(leaf, bytes) else b""
        size = self.count
        while size & 1:
            leaf = node(self._whole.pop(), leaf)
            size >>= 1
        self._whole.append(leaf)
        self.count += 1

    def root(self) -> bytes:
        """The root: of no leaves the hash of nothing."""
        if not self._whole:
            return sha256(b"").digest()
        root = self._whole[-1]
        for left in reversed(self._whole[:-1]):
            root = node(left, root)
        return root


@dataclass(frozen=True, slots=True)
class Grown:
    """The tree at some size: its first recording, and its root."""

    store: str
    count: int
    root: bytes


def roots(leaves: Iterable[tuple[UUID | None, Any]], counts: Iterable[int]) -> Iterator[Grown]:
    """The tree at each of these sizes that it reaches, and at its end."""
    wanted = set(counts)
    tree, store = Tree(), "-"
    if 0 in wanted:
        yield Grown(store, 0, tree.root())
    for recording_id, leaf in leaves:
        if not tree.count:
            store = str(recording_id)
        tree.add(leaf)
        if tree.count in wanted:
            yield Grown(store, tree.count, tree.root())
    if tree.count not in wanted:
        yield Grown(store, tree.count, tree.root())


# -- lines that were kept ----------------------------------------------------------------------------------------------


def parse(text: str) -> Checkpoint:
    """A line, its signature not checked. Raises UsageError."""
    found = _LINE.fullmatch(text.strip())
    if found is None:
        raise UsageError("this is no checkpoint of a kind that this recorder knows; it was cut, or changed")
    signature = None if found["signed"] is None else base64.b64decode(found["signature"])
    return Checkpoint(
        found["store"], found["time"], int(found["count"]), bytes.fromhex(found["root"]), found["key"], signature
    )


def read_lines(path: Path, key: Path | None = None) -> list[Checkpoint]:
    """The checkpoints in a file, which may be a log with other lines. With a key, each that it did not sign is refused.

    Raises NotFound, UsageError.
    """
    known = None if key is None else public(key)
    try:
        text = sys.stdin.read() if str(path) == "-" else path.read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, IsADirectoryError):
        raise NotFound(f"no file {path}; name the file that checkpoints were kept in") from None
    found = []
    for number, line in enumerate(text.split("\n"), start=1):
        _, mark, rest = line.partition(_MARK)
        if not mark:
            continue
        try:
            checkpoint = parse(mark + rest)
        except UsageError as error:
            raise UsageError(f"{path}, line {number}: {error}") from None
        found.append(checkpoint if known is None else _trusted(checkpoint, known, f"{path}, line {number}"))
    if not found:
        raise UsageError(f"{path} holds no checkpoint; `recorder checkpoint` prints one")
    return found


def _trusted(checkpoint: Checkpoint, known: Ed25519PublicKey, where: str) -> Checkpoint:
    if checkpoint.signature is None or checkpoint.key != name_of(known):
        raise UsageError(f"{where}: this key did not sign the checkpoint; name the key that did")
    if not signed(known, checkpoint.unsigned().encode("ascii"), checkpoint.signature):
        raise UsageError(f"{where}: the signature does not fit: the line was changed after it was signed")
    return replace(checkpoint, trusted=True)
