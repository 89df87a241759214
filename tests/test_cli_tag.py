"""`recorder tag`: notes on runs; the last of a name holds, and nothing recorded is changed."""

from __future__ import annotations

from pathlib import Path

import pytest

from recorder import reader
from recorder.store import Store
from tests.command import invoke, json_lines
from tests.golden import stream
from tests.test_cli_show import keep


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A store with one run that was tagged when it was recorded."""
    with Store.open(tmp_path / "recorder.db", create=True) as store:
        keep(store, *stream("assistants-completed"), tags={"app": "shop"})
        reader.read_due(store)
    return tmp_path / "recorder.db"


def test_a_note_is_set_changed_and_taken_off(path: Path) -> None:
    assert invoke("tag", "@last", "case=4711", "ok=no", store=path).stdout == "app=shop\ncase=4711\nok=no\n"
    assert invoke("tag", "@last", "ok=yes", "case=", store=path).stdout == "app=shop\nok=yes\n"
    assert json_lines("tag", "@last", store=path)[0]["tags"] == {"app": "shop", "ok": "yes"}
    assert [run["tags"] for run in json_lines("runs", "--tag", "ok=yes", store=path)] == [{"app": "shop", "ok": "yes"}]
    assert json_lines("runs", "--tag", "ok=no", store=path) == []


def test_a_value_may_hold_anything(path: Path) -> None:
    invoke("tag", "@last", "note=a=b \x1b[31m", store=path)
    assert json_lines("tag", "@last", store=path)[0]["tags"]["note"] == "a=b \x1b[31m"
    assert "\x1b" not in invoke("tag", "@last", store=path).stdout


def test_a_credential_in_a_note_is_masked_as_everywhere(path: Path) -> None:
    key = "sk-proj-" + "aB3" * 16
    assert invoke("tag", "@last", f"note=see {key}", store=path).exit_code == 0
    assert key not in json_lines("tag", "@last", store=path)[0]["tags"]["note"]
    assert key.encode() not in path.read_bytes()


def test_reading_the_notes_needs_no_writing(path: Path) -> None:
    before = path.read_bytes()
    assert invoke("tag", "@last", store=path).stdout == "app=shop\n"
    assert path.read_bytes() == before


@pytest.mark.parametrize("note", ["plain", "=value", ""])
def test_what_is_no_note_is_a_usage_error_and_nothing_is_noted(path: Path, note: str) -> None:
    done = invoke("tag", "@last", "good=1", note, store=path)
    assert done.exit_code == 2
    assert "is not name=value" in done.stderr
    assert json_lines("tag", "@last", store=path)[0]["tags"] == {"app": "shop"}


def test_a_run_that_does_not_exist_is_not_found(path: Path) -> None:
    assert invoke("tag", "run_none", "a=b", store=path).exit_code == 3
