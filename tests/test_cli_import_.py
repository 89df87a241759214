"""`recorder import` of what cannot be: told on stderr, with exit code 2, and nothing stored."""

from __future__ import annotations

from pathlib import Path

from recorder.store import Store
from tests.command import invoke


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
