"""The tree is RFC 6962's; its roots stay what they were; a line that was changed is none."""

from __future__ import annotations

from datetime import UTC, datetime
from hashlib import sha256
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recorder.errors import UsageError
from recorder.verify.checkpoints import Checkpoint, Tree, parse, roots

#: The inputs and roots that the reference implementation of Certificate Transparency tests itself with.
INPUTS = ("", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f")
ROOTS = (
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
)
LEAVES = [sha256(b"\0" + bytes.fromhex(each)).digest() for each in INPUTS]


def defined(leaves: list[bytes]) -> bytes:
    """The root as RFC 6962 section 2.1 writes it down."""
    if not leaves:
        return sha256(b"").digest()
    if len(leaves) == 1:
        return leaves[0]
    half = 1
    while half * 2 < len(leaves):
        half *= 2
    return sha256(b"\1" + defined(leaves[:half]) + defined(leaves[half:])).digest()


def test_roots_are_those_of_certificate_transparency() -> None:
    tree = Tree()
    found = [tree.root().hex()]
    for leaf in LEAVES:
        tree.add(leaf)
        found.append(tree.root().hex())
    assert tuple(found) == ROOTS
    assert tree.count == 8


@given(st.lists(st.binary(min_size=32, max_size=32), max_size=70))
def test_the_root_is_what_the_rfc_defines(leaves: list[bytes]) -> None:
    tree = Tree()
    for leaf in leaves:
        tree.add(leaf)
    assert tree.root() == defined(leaves)


def test_roots_are_given_at_the_sizes_asked_for_and_at_the_end() -> None:
    ids = [UUID(int=number) for number in range(8)]
    found = list(roots(zip(ids, LEAVES, strict=True), {0, 3, 99}))
    assert [(each.store, each.count, each.root.hex()) for each in found] == [
        ("-", 0, ROOTS[0]),
        (str(ids[0]), 3, ROOTS[3]),
        (str(ids[0]), 8, ROOTS[8]),
    ]


LINE = Checkpoint("-", "2026-11-23T12:00:00Z", 0, bytes.fromhex(ROOTS[0]))


def test_a_line_is_read_as_it_was_written() -> None:
    assert parse(LINE.text() + "\n") == LINE
    signed = Checkpoint(str(UUID(int=1)), LINE.time, 12, LINE.root, "0123456789abcdef", b"s" * 64)
    assert parse(signed.text()) == signed
    assert signed.text().startswith(signed.unsigned() + " key=0123456789abcdef signature=")


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text[:-1],
        lambda text: text + "0",
        lambda text: text.replace("/1", "/2"),
        lambda text: text.replace("count=0", "count=-1"),
        lambda text: text.replace("12:00", "12-00"),
        lambda text: text + " key=0123456789abcdef signature=short",
        lambda text: "",
    ],
)
def test_what_is_no_line_is_refused(change: object) -> None:
    assert callable(change)
    with pytest.raises(UsageError, match="no checkpoint"):
        parse(change(LINE.text()))


def test_the_time_of_a_line_is_utc() -> None:
    from recorder.store import Store
    from recorder.verify import make

    with Store.open("sqlite:///:memory:") as store:
        assert make(store, now=datetime(2026, 11, 23, 12, tzinfo=UTC)) == LINE
