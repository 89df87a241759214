"""`export --evidence` and `verify --evidence`: a run handed over, checked where there is no store."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from recorder import reader
from recorder.store import Store
from tests.command import invoke
from tests.verified import raw


@pytest.fixture(scope="module")
def read(filled: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The store with its readings."""
    path = Path(shutil.copy(filled, tmp_path_factory.mktemp("read") / "recorder.db"))
    with Store.open(path) as store:
        reader.read_due_all(store)
    return path


@pytest.fixture
def path(read: Path, tmp_path: Path) -> Path:
    return Path(shutil.copy(read, tmp_path / "recorder.db"))


def name(path: Path, place: int = 0) -> str:
    with Store.open(path, readonly=True) as store:
        return str(store.recording_ids()[place])


def test_a_run_is_handed_over_and_checked_without_the_store(path: Path, tmp_path: Path) -> None:
    kept, file = tmp_path / "checkpoints", tmp_path / "evidence.jsonl"
    invoke("checkpoint", "--to", str(kept), store=path)
    run = name(path)
    done = invoke("export", run, "--evidence", "--against", str(kept), "-o", str(file), store=path)
    assert (done.exit_code, done.stderr) == (0, f"1 recording in {file}\n")
    path.unlink()
    done = invoke("verify", "--evidence", str(file), "--against", str(kept))
    assert done.exit_code == 0, done.stdout + done.stderr
    assert f"{run}  intact, number 1 in the store's log" in done.stdout
    assert "19 recordings: holds" in done.stdout
    assert done.stdout.splitlines()[-1].endswith("1 intact; nothing found")
    alone = invoke("verify", "--evidence", str(file))
    assert alone.exit_code == 0
    assert "nothing but this file vouches for it" in alone.stdout
    assert "give --against the checkpoints" in alone.stdout


def test_what_was_changed_is_named_with_exit_code_1(path: Path, tmp_path: Path) -> None:
    file = tmp_path / "evidence.jsonl"
    run = name(path)
    file.write_bytes(invoke("export", run, "--evidence", store=path).stdout_bytes.replace(b"chat.comp", b"chit.comp"))
    done = invoke("verify", "--evidence", str(file))
    assert done.exit_code == 1
    assert done.stdout.startswith(f"{run}  altered: its content is not what was sealed")
    *told, last = map(json.loads, invoke("verify", "--evidence", str(file), "--json").stdout.splitlines())
    assert [each["place"] for each in told] == [0]
    assert {problem["code"] for problem in told[0]["problems"]} >= {"content"}
    assert last["summary"]["found"] == 1
    assert last["summary"]["vouched"] is None
    assert [said["verdict"] for said in last["summary"]["said"]] == ["intact"]


def test_what_is_damaged_in_the_store_is_handed_over_as_such(path: Path, tmp_path: Path) -> None:
    """The file says so too, and holds what is there."""
    file = tmp_path / "evidence.jsonl"
    run = name(path)
    raw(path, ("UPDATE events SET elapsed_us = elapsed_us + 1 WHERE kind = 'end'"))
    done = invoke("export", run, "--evidence", "-o", str(file), store=path)
    assert done.exit_code == 1
    assert f"{run} is not as it was sealed: its facts are not what was sealed" in done.stderr
    done = invoke("verify", "--evidence", str(file))
    assert done.exit_code == 1
    assert "its store had 1 not as sealed" in done.stdout


def test_what_still_goes_on_is_left_out(path: Path, tmp_path: Path) -> None:
    file = tmp_path / "evidence.jsonl"
    done = invoke("export", "--evidence", "-o", str(file), store=path)
    assert done.exit_code == 0
    assert "still goes on, and is left out" in done.stderr
    assert len([line for line in file.read_bytes().splitlines() if b'"kind":"request"' in line]) == 19
    with Store.open(path) as store:
        (running,) = [lease.recording_id for lease in store.open_recordings()]
    done = invoke("export", str(running), "--evidence", "-o", str(file), store=path)
    assert (done.exit_code, "none of these recordings has ended" in done.stderr) == (3, True)


def test_a_new_checkpoint_can_be_signed(path: Path, tmp_path: Path) -> None:
    pytest.importorskip("cryptography")
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    key, file = tmp_path / "key", tmp_path / "evidence.jsonl"
    made = Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    key.write_bytes(made)
    invoke("export", name(path), "--evidence", "--sign", str(key), "-o", str(file), store=path)
    done = invoke("verify", "--evidence", str(file), "--key", str(key))
    assert (done.exit_code, "19 recordings: holds" in done.stdout) == (0, True), done.stdout
    told = invoke("verify", "--evidence", str(file), "--key", str(key), "--json").stdout.splitlines()
    last = json.loads(told[-1])["summary"]
    assert (last["vouched"], last["checkpoints"][0]["signature"]) == (19, True)


@pytest.mark.parametrize(
    "arguments",
    [
        ["export", "--against", "x"],
        ["export", "--sign", "x"],
        ["export", "--evidence", "--fixture"],
        ["export", "--evidence", "--format", "har"],
        ["verify", "@last", "--evidence", "x"],
        ["verify", "--since", "7d", "--evidence", "x"],
    ],
)
def test_options_that_do_not_go_together(path: Path, arguments: list[str]) -> None:
    assert invoke(*arguments, store=path).exit_code == 2


def test_what_is_no_evidence(path: Path, tmp_path: Path) -> None:
    file = tmp_path / "file"
    assert invoke("verify", "--evidence", str(file)).exit_code == 3
    file.write_text(json.dumps({"recorder": "evidence"}), encoding="utf-8")
    done = invoke("verify", "--evidence", str(file))
    assert (done.exit_code, "the file is refused whole" in done.stderr) == (2, True)


def test_evidence_is_a_recording_file_behind_its_proofs(path: Path) -> None:
    """From the line on that says so, it is what `export` alone writes."""
    run = name(path)
    data = invoke("export", run, "--evidence", store=path).stdout_bytes
    plain = invoke("export", run, store=path).stdout_bytes
    assert data.endswith(plain)
