"""`recorder verify`: what is not as it was recorded is named, with exit code 1; what is, in one line, with 0."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from recorder.store import Store
from tests.command import invoke
from tests.verified import append, raw


@pytest.fixture
def path(filled: Path, tmp_path: Path) -> Path:
    return Path(shutil.copy(filled, tmp_path / "recorder.db"))


def ids(path: Path) -> list[bytes]:
    with Store.open(path, readonly=True) as store:
        return [found.bytes for found in store.recording_ids()]


def first(path: Path) -> str:
    with Store.open(path, readonly=True) as store:
        return str(store.recording_ids()[0])


def cut(path: Path) -> None:
    """Take the tail off the first recording."""
    raw(path, ("DELETE FROM events WHERE recording_id = ? AND position > 2", (ids(path)[0],)))


def test_a_store_that_nobody_touched(path: Path) -> None:
    """What is no fault is told apart: erased on purpose, not sealed yet, seen only in part."""
    before = path.read_bytes()
    done = invoke("verify", store=path)
    assert done.exit_code == 0, done.stdout + done.stderr
    last = done.stdout.splitlines()[-1]
    assert last.endswith("2 erased, 17 intact, 1 unfinished, 1 incomplete, 1 removed on purpose; nothing found"), last
    assert "Erased on purpose; facts and seal hold:" in done.stdout
    assert "its writer died before it ended" in done.stdout
    assert path.read_bytes() == before


def test_a_fault_is_named_in_plain_words(path: Path) -> None:
    cut(path)
    done = invoke("verify", store=path)
    assert done.exit_code == 1
    line = done.stdout.splitlines()[0]
    assert line.startswith(f"{first(path)}  altered: it was shortened: it had ")
    assert line.endswith(" of which 3 are left (event 3)")
    assert done.stdout.splitlines()[-1].endswith("1 fault found")


def test_json_has_a_line_for_each_that_is_not_plainly_intact_and_a_summary(path: Path) -> None:
    cut(path)
    done = invoke("verify", "--json", store=path)
    assert done.exit_code == 1
    *told, last = map(json.loads, done.stdout.splitlines())
    (fault,) = [each for each in told if each["problems"]]
    assert (fault["recording_id"], fault["verdict"]) == (first(path), "altered")
    assert fault["problems"][0]["code"] == "cut_off"
    assert sorted(each["verdict"] for each in told) == ["altered", "erased", "erased", "intact", "unfinished"]
    assert [each["complete"] for each in told if each["missing"]] == [False]
    assert last["summary"]["found"] == 1
    assert last["summary"]["recordings"] == 20


def test_one_recording_or_the_run_that_it_is_part_of(path: Path) -> None:
    cut(path)
    assert invoke("verify", first(path), store=path).exit_code == 1
    with Store.open(path, readonly=True) as store:
        other = str(store.recording_ids()[1])
    done = invoke("verify", other, store=path)
    assert done.exit_code == 0
    assert other in done.stdout
    assert "1 intact; nothing found" in done.stdout
    assert invoke("verify", "nothing", store=path).exit_code == 3


def test_since(path: Path) -> None:
    cut(path)
    assert invoke("verify", "--since", "2100-01-01", store=path).exit_code == 0
    assert invoke("verify", "--since", "2020-01-01", store=path).exit_code == 1
    assert invoke("verify", "--since", "yesterday", store=path).exit_code == 2


def test_against_checkpoints_in_a_log_with_other_lines(path: Path, tmp_path: Path) -> None:
    log = tmp_path / "app.log"
    line = invoke("checkpoint", store=path).stdout
    log.write_text(f"started\n2026-11-23 INFO {line}stopped\n", encoding="utf-8")
    with Store.open(path) as store:
        append(store, store.recording(store.recording_ids()[0]).request, b"data: 1\n\n")
    done = invoke("verify", "--against", str(log), store=path)
    assert done.exit_code == 0, done.stdout
    assert "20 recordings: holds" not in done.stdout  # the open one is not sealed
    assert "19 recordings: holds" in done.stdout
    assert "1 sealed recording came after the newest" in done.stdout


def test_a_rolled_back_store_against_its_checkpoint(path: Path, tmp_path: Path) -> None:
    older = shutil.copy(path, tmp_path / "older.db")
    log = tmp_path / "checkpoints"
    invoke("checkpoint", "--to", str(log), store=path)
    done = invoke("verify", "--against", str(log), store=Path(older))
    assert done.exit_code == 1
    assert "the log has 0: the store was rolled back to an older state" in done.stdout
    assert "does not hold" in done.stdout
    told = json.loads(invoke("verify", "--json", "--against", str(log), store=Path(older)).stdout.splitlines()[-1])
    assert [problem["code"] for problem in told["summary"]["problems"]] == ["rolled_back"]
    assert [line["holds"] for line in told["summary"]["checkpoints"]] == [False]


@pytest.mark.parametrize(
    ("content", "code", "said"),
    [
        (None, 3, "no file"),
        ("nothing\n", 2, "holds no checkpoint"),
        ("recorder-checkpoint/1 store=- count=0\n", 2, "line 1: this is no checkpoint of a kind"),
        ("\nrecorder-checkpoint/2 x\n", 2, "line 2: "),
    ],
)
def test_what_is_no_checkpoint(path: Path, tmp_path: Path, content: str | None, code: int, said: str) -> None:
    log = tmp_path / "log"
    if content is not None:
        log.write_text(content, encoding="utf-8")
    done = invoke("verify", "--against", str(log), store=path)
    assert done.exit_code == code
    assert said in done.stderr


def test_signed_checkpoints(path: Path, tmp_path: Path) -> None:
    """A key that did not sign, a line that was changed and a line that was never signed are refused."""
    pytest.importorskip("cryptography")
    for name in ("mine", "other"):
        subprocess.run(["openssl", "genpkey", "-algorithm", "ed25519", "-out", tmp_path / name], check=True)
        subprocess.run(
            ["openssl", "pkey", "-in", tmp_path / name, "-pubout", "-out", tmp_path / f"{name}.pub"], check=True
        )
    log = tmp_path / "log"
    line = invoke("checkpoint", "--sign", str(tmp_path / "mine"), "--to", str(log), store=path).stdout

    def verified(key: str) -> tuple[int, str]:
        done = invoke("verify", "--against", str(log), "--key", str(tmp_path / key), store=path)
        return done.exit_code, done.stdout + done.stderr

    code, said = verified("mine.pub")
    assert (code, "holds, signature checked" in said) == (0, True), said
    assert verified("mine")[0] == 0
    assert verified("other.pub") == (
        2,
        f"recorder: {log}, line 1: this key did not sign the checkpoint; name the key that did\n",
    )
    assert verified("nothing")[0] == 3
    log.write_text(line.replace("count=19", "count=18"), encoding="utf-8")
    assert "the signature does not fit" in verified("mine.pub")[1]
    log.write_text(line.partition(" key=")[0], encoding="utf-8")
    assert "did not sign" in verified("mine.pub")[1]
    log.write_text("x", encoding="utf-8")
    assert "holds no Ed25519 key" in invoke("checkpoint", "--sign", str(log), store=path).stderr


@pytest.mark.parametrize(
    "arguments", [["@last", "--against", "x"], ["--since", "7d", "--against", "x"], ["--key", "x"]]
)
def test_options_that_do_not_go_together(path: Path, arguments: list[str]) -> None:
    assert invoke("verify", *arguments, store=path).exit_code == 2
