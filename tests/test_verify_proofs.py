"""Proofs are those of RFC 6962 and of its reference implementation, and show nothing but what is so."""

from __future__ import annotations

from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recorder.verify.proofs import Leaves, consistent, included
from tests.test_verify_checkpoints import LEAVES, ROOTS, defined

#: (leaf, tree size, path) and (earlier, later, path) as the reference implementation's own tests have them.
INCLUSION = (
    (0, 1, ()),
    (
        0,
        8,
        (
            "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
            "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
            "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
        ),
    ),
    (
        5,
        8,
        (
            "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
            "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
            "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        ),
    ),
    (2, 3, ("fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",)),
    (
        1,
        5,
        (
            "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
            "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
            "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
        ),
    ),
)
GROWTH = (
    (1, 1, ()),
    (
        1,
        8,
        (
            "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
            "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
            "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
        ),
    ),
    (
        6,
        8,
        (
            "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
            "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
            "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        ),
    ),
    (
        2,
        5,
        (
            "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
            "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
        ),
    ),
)


@pytest.mark.parametrize(("index", "count", "path"), INCLUSION)
def test_paths_are_those_of_certificate_transparency(index: int, count: int, path: tuple[str, ...]) -> None:
    assert [each.hex() for each in Leaves(LEAVES).path(index, count)] == list(path)


@pytest.mark.parametrize(("earlier", "later", "path"), GROWTH)
def test_growth_is_that_of_certificate_transparency(earlier: int, later: int, path: tuple[str, ...]) -> None:
    assert [each.hex() for each in Leaves(LEAVES).growth(earlier, later)] == list(path)


def test_roots_are_those_of_certificate_transparency() -> None:
    leaves = Leaves(LEAVES)
    assert tuple(leaves.root(count).hex() for count in range(9)) == ROOTS


SOME = st.lists(st.binary(min_size=32, max_size=32), min_size=1, max_size=70, unique=True)


@given(SOME, st.data())
def test_a_path_shows_its_leaf_in_its_tree_and_nothing_else(leaves: list[bytes], data: st.DataObject) -> None:
    count = data.draw(st.integers(1, len(leaves)))
    index = data.draw(st.integers(0, count - 1))
    other = data.draw(st.integers(-1, len(leaves)).filter(lambda place: place != index))
    path, root = Leaves(leaves).path(index, count), defined(leaves[:count])
    assert included(leaves[index], index, count, path, root)
    assert not included(b"\1" * 32, index, count, path, root)
    assert not included(leaves[index], other, count, path, root)
    assert not included(leaves[index], index, count, [*path, root], root)
    if path:
        assert not included(leaves[index], index, count, path[:-1], root)
        assert not included(leaves[index], index, count, [*path[:-1], root], root)


@given(SOME, st.data())
def test_growth_shows_that_nothing_before_was_changed(leaves: list[bytes], data: st.DataObject) -> None:
    later = data.draw(st.integers(0, len(leaves)))
    earlier = data.draw(st.integers(0, later))
    made = Leaves(leaves)
    path, old, new = made.growth(earlier, later) if earlier else [], defined(leaves[:earlier]), defined(leaves[:later])
    assert consistent(earlier, old, later, new, path)
    assert not consistent(earlier, old, later, new, [*path, new])
    assert not consistent(later + 1, new, later, old, path)
    if 0 < earlier < later:
        forged = leaves.copy()
        forged[data.draw(st.integers(0, earlier - 1))] = sha256(b"forged").digest()
        assert not consistent(earlier, defined(forged[:earlier]), later, new, path)
        assert not consistent(earlier, old, later, defined(forged[:later]), path)
        assert not consistent(earlier, old, later, new, path[:-1])


def test_nothing_is_the_beginning_of_everything() -> None:
    leaves = Leaves(LEAVES)
    assert leaves.growth(0, 8) == []
    assert consistent(0, leaves.root(0), 8, leaves.root(8), [])
    assert not consistent(0, leaves.root(1), 8, leaves.root(8), [])
    assert not consistent(3, leaves.root(3), 8, leaves.root(8), [])
    assert not consistent(2, leaves.root(2), 8, leaves.root(8), [])


def test_no_leaf_stands_outside_of_the_tree() -> None:
    """Not even in a tree of one, whose root is the leaf."""
    leaf = b"l" * 32
    assert included(leaf, 0, 1, [], leaf)
    for index in (-1, 1, 2):
        assert not included(leaf, index, 1, [], leaf)
