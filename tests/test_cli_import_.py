"""`recorder import` of what cannot be: told on stderr, with exit code 2, and nothing stored."""

from __future__ import annotations

from pathlib import Path

from recorder.store import Store
from tests.command import invoke
from tests.kept import keep
from tests.tape import JSON, post


def test_a_damaged_file_is_refused_whole(tmp_path: Path) -> None:
    """The line, and what to do; the store stays empty."""
    (tmp_path / "a.jsonl").write_text(
        '{"recorder":"recordings","version":"1.0","recorded":"2026-03-01T12:00:00Z"}\n{}\n'
    )
    done = invoke("import", str(tmp_path / "a.jsonl"), store=tmp_path / "a.db")
    assert done.exit_code == 2
    assert "a.jsonl line 2: it should open a recording" in done.stderr
    with Store.open(tmp_path / "a.db") as store:
        assert store.recordings() == []


def test_a_file_that_is_not_there_is_a_usage_error(tmp_path: Path) -> None:
    """Nothing is made."""
    assert invoke("import", str(tmp_path / "no.jsonl"), store=tmp_path / "a.db").exit_code == 2
    assert not (tmp_path / "a.db").exists()


def test_what_was_erased_is_refused_and_the_other_files_are_taken(tmp_path: Path) -> None:
    store = tmp_path / "a.db"
    with Store.open(store, create=True) as opened:
        gone, other = (keep(opened, post("/v1/x", a=number), b"{}", headers=JSON).recording_id for number in (1, 2))
    for name, recording_id in (("a", gone), ("b", other)):
        done = invoke("export", str(recording_id), "-o", str(tmp_path / f"{name}.jsonl"), store=store)
        assert done.exit_code == 0, done.stderr
    assert invoke("erase", "--run", str(gone), "--reason", "asked to", "--yes", store=store).exit_code == 0
    done = invoke("import", str(tmp_path / "a.jsonl"), str(tmp_path / "b.jsonl"), store=store)
    assert done.exit_code == 2
    assert "a.jsonl: the content of recording" in done.stderr
    assert "b.jsonl: 1 recording" in done.stdout
    assert invoke("verify", store=store).exit_code == 0
