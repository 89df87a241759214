"""Cuts come back as they were packed, in as few bytes as possible, and damage is told from data."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recorder.cuts import Cut, pack, unpack
from tests.needs import examples


@st.composite
def cut_events(draw: st.DrawFn) -> tuple[list[Cut], int, int]:
    """(cuts, size, elapsed_us) as a capture makes them: offsets rise, times rise or stay."""
    size = draw(st.integers(1, 1 << 24) | st.integers(1, 300))
    offsets = sorted(draw(st.sets(st.integers(1, size) | st.just(size), max_size=12)))
    times = sorted(draw(st.lists(st.integers(0, 1 << 50), min_size=len(offsets), max_size=len(offsets))))
    last = times[-1] if times else 0
    return list(zip(offsets, times, strict=True)), size, last + draw(st.just(0) | st.integers(0, 1 << 40))


@settings(max_examples=examples(166, 20_000))
@given(cut_events())
def test_cuts_come_back(event: tuple[list[Cut], int, int]) -> None:
    """And NULL stands for the common case alone, empty for none alone."""
    cuts, size, elapsed_us = event
    packed = pack(cuts, size, elapsed_us)
    assert unpack(packed, size, elapsed_us) == cuts
    assert (packed is None) == (cuts == [(size, elapsed_us)])
    assert (packed == b"") == (cuts == [])


def test_a_row_costs_nothing_in_the_common_case_and_little_else() -> None:
    """One chunk at the end: NULL. A chunk that ended 300 bytes in and 20 ms earlier: five bytes."""
    assert pack([(187, 5_000)], 187, 5_000) is None
    assert pack([], 187, 5_000) == b""
    assert pack([(300, 5_000)], 400, 25_000) == b"\xac\x02\xa0\x9c\x01"
    assert pack([(187, 4_999)], 187, 5_000) == b"\xbb\x01\x01"
    assert pack([(127, 4_873)], 187, 5_000) == b"\x7f\x7f"


@pytest.mark.parametrize(
    "cuts",
    [
        [(0, 5)],
        [(-1, 5)],
        [(11, 5)],
        [(3, 5), (3, 5)],
        [(5, 5), (3, 5)],
        [(3, 6), (5, 5)],
        [(3, 11)],
        [(3, -1)],
    ],
)
def test_cuts_that_no_network_makes_are_refused(cuts: list[Cut]) -> None:
    """Outside the event, out of order, later than the event itself or before the request."""
    with pytest.raises(ValueError, match="must lie behind the one before it"):
        pack(cuts, 10, 10)


@settings(max_examples=examples(333, 50_000))
@given(st.binary(max_size=24), st.integers(1, 1000), st.integers(0, 1 << 20))
def test_any_bytes_are_cuts_or_damage(packed: bytes, size: int, elapsed_us: int) -> None:
    """What is read from damaged bytes is at least possible: it can be packed and read again."""
    try:
        cuts = unpack(packed, size, elapsed_us)
    except ValueError:
        with pytest.raises(ValueError, match=r"^cuts are damaged: .*; restore the store from a copy$"):
            unpack(packed, size, elapsed_us)
    else:
        assert unpack(pack(cuts, size, elapsed_us), size, elapsed_us) == cuts


@pytest.mark.parametrize(
    ("packed", "reason"),
    [
        (b"\x01", "an offset has no time"),
        (b"\x01\x00\x01", "an offset has no time"),
        (b"\x01\x80", "the last number is cut off"),
        (b"\x0b\x00", "outside its event"),
        (b"\x05\x00\x06\x00", "outside its event"),
        (b"\x00\x00", "outside its event"),
        (b"\x05\x00\x00\x00", "outside its event"),
        (b"\x05\x0b", "before the one ahead of it"),
        (b"\x05\x01\x02\x02", "before the one ahead of it"),
        (b"\x80" * 9 + b"\x01\x00", "longer than any can be"),
    ],
)
def test_damage_is_named(packed: bytes, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        unpack(packed, 10, 10)


def test_a_flipped_bit_gives_other_cuts_or_damage() -> None:
    """No bit of the column is without meaning."""
    cuts = [(3, 100), (200, 100), (201, 90_000)]
    packed = pack(cuts, 300, 100_000)
    assert packed is not None
    for at in range(len(packed)):
        for bit in range(8):
            flipped = packed[:at] + bytes([packed[at] ^ 1 << bit]) + packed[at + 1 :]
            with contextlib.suppress(ValueError):
                assert unpack(flipped, 300, 100_000) != cuts


class Counted(bytes):
    """Bytes that know how many of them were looked at."""

    seen = 0

    def __iter__(self) -> Iterator[int]:
        for byte in super().__iter__():
            self.seen += 1
            yield byte


def test_an_endless_number_is_given_up_at_once() -> None:
    """A million continuation bytes (a damaged row) cost no more than the longest number there is."""
    packed = Counted(b"\x80" * 1_000_000)
    with pytest.raises(ValueError, match="longer than any can be"):
        unpack(packed, 10, 10)
    assert packed.seen == 9
