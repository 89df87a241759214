"""`recorder checkpoint`: one line that covers all that is sealed, the same whenever nothing was sealed since."""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from recorder.store import Store
from recorder.verify import parse
from tests.command import invoke, json_lines
from tests.needs import ROOT
from tests.verified import append

LINE = re.compile(
    r"recorder-checkpoint/1 store=\S{36} time=\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ count=19 root=[0-9a-f]{64}\n"
)


@pytest.fixture
def path(filled: Path, tmp_path: Path) -> Path:
    return Path(shutil.copy(filled, tmp_path / "recorder.db"))


def test_it_is_one_line_and_the_same_again(path: Path) -> None:
    done = invoke("checkpoint", store=path)
    assert done.exit_code == 0
    assert LINE.fullmatch(done.stdout)
    again = invoke("checkpoint", store=path).stdout
    assert parse(again).root == parse(done.stdout).root


def test_what_was_sealed_since_is_in_the_next(path: Path) -> None:
    before = parse(invoke("checkpoint", store=path).stdout)
    with Store.open(path) as store:
        append(store, store.recording(store.recording_ids()[0]).request, b"data: 1\n\n")
    after = parse(invoke("checkpoint", store=path).stdout)
    assert (after.store, after.count) == (before.store, before.count + 1)
    assert after.root != before.root


def test_it_is_appended_to_a_file(path: Path, tmp_path: Path) -> None:
    kept = tmp_path / "checkpoints"
    lines = [invoke("checkpoint", "--to", str(kept), store=path).stdout for _ in range(2)]
    assert kept.read_text(encoding="ascii") == "".join(lines)
    assert kept.stat().st_mode & 0o777 == 0o600
    assert invoke("checkpoint", "--to", str(tmp_path / "no" / "folder"), store=path).exit_code == 4


def test_it_stays_and_makes_one_whenever_something_was_sealed(path: Path, tmp_path: Path) -> None:
    """And none while nothing was: a line in the file is news."""
    kept = tmp_path / "checkpoints"
    command = [sys.executable, "-m", "recorder", "--store", str(path), "checkpoint", "--every", "1s", "--to", str(kept)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        first = parse(child.stdout.readline())
        with Store.open(path) as store:
            append(store, store.recording(store.recording_ids()[0]).request, b"data: 1\n\n")
        second = parse(child.stdout.readline())
        child.send_signal(signal.SIGINT)
        assert child.stdout.read() == ""
    assert child.returncode == 130
    assert (first.count, second.count) == (19, 20)
    assert len(kept.read_text(encoding="ascii").splitlines()) == 2


@pytest.mark.parametrize("span", ["0s", "often", "10"])
def test_what_is_no_span(path: Path, span: str) -> None:
    assert invoke("checkpoint", "--every", span, store=path).exit_code == 2


def test_json(path: Path) -> None:
    (told,) = json_lines("checkpoint", store=path)
    made = parse(told["line"])
    assert (told["count"], told["root"], told["store"], told["key"]) == (19, made.root.hex(), made.store, None)


def test_a_key_that_is_not_there(path: Path, tmp_path: Path) -> None:
    assert invoke("checkpoint", "--sign", str(tmp_path / "none"), store=path).exit_code == 3


def test_no_store(tmp_path: Path) -> None:
    assert invoke("checkpoint", store=tmp_path / "none.db").exit_code == 3
