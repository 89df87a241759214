"""How the network delivered an event: where chunks ended inside it, and when. Packing and unpacking, nothing else.

A *cut* is a pair (offset, elapsed_us): a chunk ended after `offset` bytes of this event, at `elapsed_us` after the
request. An event row's `cuts` column holds

- NULL: exactly one chunk ended in this event, at its last byte, at the row's own `elapsed_us` (the common case);
- empty: no chunk ended in this event;
- otherwise the cuts in order, each as two LEB128 varints: the step from the previous offset, and how long before
  the row's `elapsed_us` the chunk arrived (a chunk never arrives after the event that it belongs to is complete).

Because each row carries its own cuts, a prefix of rows (after a kill) still replays in its true chunks.
"""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["Cut", "pack", "unpack"]

#: (offset, elapsed_us)
Cut = tuple[int, int]

#: A varint of more bits than this is damage: sizes and times are 64-bit columns.
_MOST_BITS = 63


def pack(cuts: Sequence[Cut], size: int, elapsed_us: int) -> bytes | None:
    """The column value for these cuts of an event of `size` bytes that was complete at `elapsed_us`.

    Offsets rise within (0, size]; times rise or stay, and do not exceed `elapsed_us`. Raises ValueError otherwise.
    """
    if len(cuts) == 1 and cuts[0] == (size, elapsed_us):
        return None
    packed = bytearray()
    offset, before = 0, elapsed_us
    for end, arrived in cuts:
        if not offset < end <= size or not 0 <= elapsed_us - arrived <= before:
            raise ValueError(f"a cut must lie behind the one before it: {(end, arrived)} in {size} bytes")
        _varint(packed, end - offset)
        offset, before = end, elapsed_us - arrived
        _varint(packed, before)
    return bytes(packed)


def unpack(packed: bytes | None, size: int, elapsed_us: int) -> list[Cut]:
    """The cuts that `pack` was given. Raises ValueError when the bytes are damaged."""
    if packed is None:
        return [(size, elapsed_us)]
    numbers = _varints(packed)
    if len(numbers) % 2:
        raise ValueError("cuts are damaged: an offset has no time; restore the store from a copy")
    cuts = []
    offset, arrived = 0, 0
    for step, before in zip(numbers[::2], numbers[1::2], strict=True):
        if not step or offset + step > size:
            raise ValueError("cuts are damaged: an offset lies outside its event; restore the store from a copy")
        if elapsed_us - before < arrived:
            raise ValueError(
                "cuts are damaged: a chunk arrived before the one ahead of it; restore the store from a copy"
            )
        offset, arrived = offset + step, elapsed_us - before
        cuts.append((offset, arrived))
    return cuts


def _varint(out: bytearray, value: int) -> None:
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)


def _varints(packed: bytes) -> list[int]:
    numbers = []
    value = shift = 0
    for byte in packed:
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            numbers.append(value)
            value = shift = 0
        elif shift >= _MOST_BITS:
            raise ValueError("cuts are damaged: a number is longer than any can be; restore the store from a copy")
    if shift:
        raise ValueError("cuts are damaged: the last number is cut off; restore the store from a copy")
    return numbers
