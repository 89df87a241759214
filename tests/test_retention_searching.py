"""A piece is found wherever it lies in a file, and nothing else is."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recorder.retention import searching
from recorder.retention.searching import SHORTEST, pieces_of, search


@given(st.binary(max_size=200), st.binary(min_size=SHORTEST, max_size=300), st.binary(max_size=200))
def test_it_is_found_at_any_place(before: bytes, value: bytes, after: bytes) -> None:
    with tempfile.NamedTemporaryFile() as file:
        file.write(before + value + after)
        file.flush()
        pieces = list(pieces_of(value))
        assert pieces
        found, unreadable = search([file.name], pieces)
    assert {number for _, number in found} == set(range(len(pieces)))
    assert unreadable == []


@pytest.mark.parametrize("off", [*range(-300, 40, 17), -256, -255, -16, -1, 0, 1])
def test_it_is_found_where_two_blocks_meet(tmp_path: Path, off: int) -> None:
    value = bytes(range(256))
    (tmp_path / "a").write_bytes(b"\0" * (searching._BLOCK + off) + value + b"\0" * searching._BLOCK)
    assert search([str(tmp_path / "a")], list(pieces_of(value))) == ([(0, 0)], [])


def test_a_file_that_is_cut_off_meanwhile_kills_nobody(tmp_path: Path) -> None:
    """As SQLite's log is when another process empties it."""
    path = tmp_path / "a"
    path.write_bytes(bytes(4 * searching._BLOCK))
    cut = (
        "import os, struct, sys; from recorder.retention import searching; unpack = struct.iter_unpack;"
        "struct.iter_unpack = lambda *given: os.truncate(sys.argv[1], 100) or unpack(*given);"
        "print(searching.search(sys.argv[1:], [bytes(range(1, 41))]))"
    )
    done = subprocess.run([sys.executable, "-c", cut, str(path)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "([], [])\n"), done.stderr
    assert path.stat().st_size == 100


def test_what_is_not_there_is_not_found(tmp_path: Path) -> None:
    piece = bytes(range(64))
    (tmp_path / "a").write_bytes(piece[:-1] + b"!" + piece[1:])
    (tmp_path / "b").write_bytes(b"")
    assert search([str(tmp_path / name) for name in ("a", "b", "gone")], [piece]) == ([], [])


def test_what_cannot_be_read_is_told(tmp_path: Path) -> None:
    assert search([str(tmp_path)], [bytes(40)])[1][0][0] == 0


def test_short_texts_are_left_out_and_long_ones_are_looked_for_in_parts() -> None:
    assert list(pieces_of(b"x" * (SHORTEST - 1))) == []
    value = bytes(range(256)) * 40
    pieces = list(pieces_of(value))
    assert len(pieces) == 4
    assert all(piece in value for piece in pieces)
    assert value.endswith(pieces[-1])


def test_the_program_answers_in_json(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"0" * 999 + b"the very thing that was to go from here")
    job = {"files": [str(tmp_path / "a")], "pieces": [b"the very thing that was to go from here".hex(), "00" * 40]}
    done = subprocess.run(
        [sys.executable, "-P", searching.__file__], input=json.dumps(job), capture_output=True, text=True, check=True
    )
    assert json.loads(done.stdout) == {"found": [[0, 0]], "unreadable": []}
