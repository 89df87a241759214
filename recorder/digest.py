"""The digests that seal a recording: one over its facts, one over its payloads, and one over both.

Two digests rather than one, because payloads may be erased later: the facts of an erased recording still verify,
and the kept payload digest still binds what was there, without being a way to guess it (it is salted). This module
refuses to know where rows are kept; it turns rows into bytes in one fixed way and hashes them with SHA-256.

What each covers, byte for byte (an *integer* is 8 bytes, little-endian, signed; a *part* is its length as such an
integer and then its bytes, or the length -1 where it is None):

- payload: parts: salt, url, request headers as JSON, request body, its SHA-256 where only that was kept, match key,
  match rule, session, trace, call, tags as JSON; then the payload of every event in order, unframed (an `sse` event
  counts as its wire bytes).
- facts: parts: version, recording id, writer, dialect, origin, method, content, weight, the hot parameters as JSON;
  integers: started_at, body_size; parts: ending, captured; parts that hold an integer: http_status, head_us,
  elapsed_us, events, wire_bytes; then three running hashes over the events in order: five integers each (position,
  elapsed_us, size, the kind's code and flags, the length of its cuts), types each followed by a line feed, and the
  cuts.
- seal: version, facts digest, payload digest.
- leaf, of the tree that checkpoints are the roots of (RFC 6962 section 2.1): the byte 0, recording id, seal.

Sizes and flags are facts, so the unframed payload bytes can be cut into events in one way only: who verifies stored
rows must also hold each `size` against its payload. What `erased` leaves of a row has the same facts.
"""

from __future__ import annotations

import hashlib
import json
import struct
import sys
from array import array
from collections.abc import Iterable, Sequence
from typing import Any, Final, cast
from uuid import UUID

from .recording import Ending, Kind, Recording, Row
from .sse import wire

__all__ = [
    "HAS_CUTS",
    "HAS_RAW",
    "HAS_TYPE",
    "KIND_CODES",
    "Digests",
    "EventDigest",
    "erased",
    "leaf_of",
    "payload_of",
    "seal_of",
]

VERSION: Final = b"recorder 1"

KIND_CODES: Final = {kind.value: code for code, kind in enumerate(Kind)}
HAS_TYPE: Final = 1 << 4
HAS_RAW: Final = 1 << 5
HAS_CUTS: Final = 1 << 6
# No row that was captured has both `data` and `raw`: a `data` beside `raw` would be read instead of it.
_HAS_BOTH: Final = 1 << 7

# Facts are hashed once there are this many integers of them: a call for many costs little more than for few, and what
# waits is memory that each open stream holds.
_PENDING: Final = 5 * 16

#: (facts digest, payload digest, seal), 32 bytes each
Digests = tuple[bytes, bytes, bytes]


def _integer(value: int) -> bytes:
    return struct.pack("<q", value)


def _part(value: bytes | str | None) -> bytes:
    if value is None:
        return _integer(-1)
    data = value.encode("utf-8", "surrogatepass") if isinstance(value, str) else value
    return _integer(len(data)) + data


def _json(value: Any) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"))


def payload_of(row: Row) -> bytes:
    """The payload bytes of a row as the payload digest takes them; b"" where they are not kept."""
    _, _, kind, _, type_, data, raw, _, _ = row
    if raw is not None:
        return raw
    return wire(type_, data, None) if kind == Kind.SSE and data is not None else data or b""


def seal_of(facts: bytes, payload: bytes) -> bytes:
    """The seal over these two digests, 32 bytes."""
    return hashlib.sha256(VERSION + facts + payload).digest()


def leaf_of(recording_id: UUID, seal: bytes) -> bytes:
    """What a checkpoint covers of a recording, 32 bytes."""
    return hashlib.sha256(b"\0" + recording_id.bytes + seal).digest()


def erased(row: Row) -> Row:
    """The row without its payload, and with the same facts: where there was a `raw`, an empty one remains."""
    recording_id, position, kind, elapsed_us, type_, _, raw, size, cuts = row
    return recording_id, position, kind, elapsed_us, type_, None, None if raw is None else b"", size, cuts


class EventDigest:
    """Running digests over one recording's events. Fed in order; the batching does not matter."""

    __slots__ = ("_cuts", "_names", "_numbers", "_payload", "_pending", "_types", "payload")

    def __init__(self, recording: Recording) -> None:
        self._numbers = hashlib.sha256()
        self._types = hashlib.sha256()
        self._cuts = hashlib.sha256()
        self._payload = hashlib.sha256(_payload_opening(recording))
        # Facts taken and not yet hashed.
        self._pending: list[int] = []
        self._names: list[str] = []
        #: Takes payload bytes, in the order of the rows. (Not a method: there is a call for every chunk.)
        self.payload = self._payload.update

    def rows(self, rows: Iterable[Row]) -> None:
        """Take the facts of these rows, and not their payloads (see `payload`)."""
        numbers, types = self._pending, self._names
        for _, position, kind, elapsed_us, type_, data, raw, size, cuts in rows:
            flags = KIND_CODES[kind]
            if type_ is not None:
                flags |= HAS_TYPE
                types.append(type_)
            if raw is not None:
                flags |= HAS_RAW if data is None else HAS_RAW | _HAS_BOTH
            if cuts is None:
                numbers += (position, elapsed_us, size, flags, 0)
            else:
                numbers += (position, elapsed_us, size, flags | HAS_CUTS, len(cuts))
                if cuts:
                    self._cuts.update(cuts)
        if len(numbers) > _PENDING:
            self._hash_pending()

    def frames(
        self,
        positions: Sequence[int],
        elapsed: Sequence[int],
        types: Sequence[str | None],
        sizes: Sequence[int],
        cuts: Sequence[bytes | None],
    ) -> None:
        """`rows` for events of kind `sse` that have no `raw`, given as columns: the same in a fraction of the time.

        Raises TypeError and OverflowError for values of types that no such row has.
        """
        self._hash_pending()
        numbers = array("q", bytes(40 * len(positions)))
        numbers[0::5] = array("q", positions)
        numbers[1::5] = array("q", elapsed)
        numbers[2::5] = array("q", sizes)
        named, split = KIND_CODES[Kind.SSE.value] | HAS_TYPE, len(cuts) - cuts.count(None)
        flags = array("q", [named]) * len(types)
        for at, type_ in enumerate(types) if None in types else ():
            if type_ is None:
                flags[at] ^= HAS_TYPE
        if split:
            numbers[4::5] = array("q", [len(each) if each else 0 for each in cuts])
            for at, each in enumerate(cuts):
                if each is not None:
                    flags[at] |= HAS_CUTS
            self._cuts.update(b"".join([each for each in cuts if each]))
        numbers[3::5] = flags
        if sys.byteorder != "little":
            numbers.byteswap()
        self._numbers.update(numbers)
        present = [type_ for type_ in types if type_ is not None] if None in types else cast("Sequence[str]", types)
        names = "\n".join([*present, ""])
        self._types.update(names.encode("utf-8", "surrogatepass"))

    def finish(self, recording: Recording, ending: Ending) -> Digests:
        """The three digests, once every row (the `end` row too) has been taken."""
        self._hash_pending()
        taken = hashlib.sha256(_facts_opening(recording))
        taken.update(_facts_ending(ending))
        for part in (self._numbers, self._types, self._cuts):
            taken.update(part.digest())
        facts, payload = taken.digest(), self._payload.digest()
        return facts, payload, seal_of(facts, payload)

    def _hash_pending(self) -> None:
        self._numbers.update(struct.pack(f"<{len(self._pending)}q", *self._pending))
        self._types.update("".join(name + "\n" for name in self._names).encode("utf-8", "surrogatepass"))
        self._pending.clear()
        self._names.clear()


def _payload_opening(recording: Recording) -> bytes:
    request = recording.request
    parts: tuple[bytes | str | None, ...] = (
        recording.salt,
        request.url,
        _json(request.headers),
        request.body,
        request.body_sha256,
        recording.match_key,
        recording.match_rule,
        recording.session,
        recording.trace,
        recording.call.bytes if recording.call else None,
        _json(dict(recording.tags)),
    )
    return b"".join(map(_part, parts))


def _facts_opening(recording: Recording) -> bytes:
    parameters = {name: value for name, value in recording.parameters.items() if value is not None}
    parts: tuple[bytes | str | None, ...] = (
        VERSION,
        recording.recording_id.bytes,
        recording.writer.bytes,
        recording.dialect,
        recording.origin,
        recording.request.method,
        recording.content,
        repr(float(recording.weight)),
        _json(parameters),
    )
    return b"".join(map(_part, parts)) + _integer(recording.started_at) + _integer(recording.request.body_size)


def _facts_ending(ending: Ending) -> bytes:
    numbers = (ending.http_status, ending.head_us, ending.elapsed_us, ending.events, ending.wire_bytes)
    fixed = _part(ending.ending) + _part(ending.captured)
    return fixed + b"".join(_part(None if number is None else _integer(number)) for number in numbers)
