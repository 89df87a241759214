"""Writing a file's bytes again changes none of them, and what is not there is left so."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from recorder.store import surely


@pytest.mark.parametrize("size", [0, 1, (1 << 20) - 1, 1 << 20, (5 << 19) + 7])
def test_a_file_has_the_same_bytes_afterwards(tmp_path: Path, size: int) -> None:
    """All of them were written, however many pieces it takes: a file system's own time of change says that."""
    path = tmp_path / "file"
    data = random.Random(size).randbytes(size)
    path.write_bytes(data)
    before = path.stat()
    surely.write_again(path)
    after = path.stat()
    assert path.read_bytes() == data
    assert (after.st_ino, after.st_size) == (before.st_ino, size)
    assert size == 0 or after.st_mtime_ns > before.st_mtime_ns


def test_what_is_not_there_is_not_made(tmp_path: Path) -> None:
    surely.write_again(tmp_path / "none")
    surely.settle(tmp_path / "none")
    surely.settle(tmp_path / "none" / "none")
    assert list(tmp_path.iterdir()) == []


def test_files_and_folders_can_be_settled(tmp_path: Path) -> None:
    """What is in the way of a folder is told: nothing can be made sure of there."""
    path = tmp_path / "file"
    path.write_bytes(b"data")
    surely.settle(path)
    surely.settle(tmp_path)
    assert path.read_bytes() == b"data"
    with pytest.raises(OSError, match="Not a directory"):
        surely.settle(path / "below")
