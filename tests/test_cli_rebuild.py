"""`recorder rebuild`: what an older reader made is made again, wherever it was stopped before."""

from __future__ import annotations

from pathlib import Path
from uuid import UUID

import pytest

from recorder import reader
from recorder.reader import core
from recorder.store import Store
from tests.command import invoke, json_lines
from tests.golden import names, stream
from tests.test_cli_show import keep


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A store whose readings were made by the reader before this one."""
    with Store.open(tmp_path / "recorder.db", create=True) as store:
        for name in names("assistants"):
            keep(store, *stream(name))
        with monkeypatch.context() as older:
            older.setattr(core, "VERSION", reader.VERSION - 1)
            assert reader.read_due_all(store) == len(names("assistants"))
        assert store.count_stale(reader.VERSION) == len(names("assistants"))
    return tmp_path / "recorder.db"


def stale(path: Path) -> int:
    with Store.open(path, readonly=True) as store:
        return store.count_stale(reader.VERSION)


def test_all_that_an_older_reader_made_is_made_again_once(path: Path) -> None:
    count = len(names("assistants"))
    assert json_lines("rebuild", store=path) == [{"readings": count, "reader_version": reader.VERSION}]
    assert stale(path) == 0
    assert json_lines("rebuild", store=path) == [{"readings": 0, "reader_version": reader.VERSION}]
    assert json_lines("rebuild", "--all", store=path) == [{"readings": count, "reader_version": reader.VERSION}]


def test_the_run_that_is_named_and_no_other(path: Path) -> None:
    (newest, *_) = json_lines("runs", store=path)
    parts = newest["recordings"]
    assert json_lines("rebuild", newest["run_id"], store=path)[0]["readings"] >= parts
    assert stale(path) <= len(names("assistants")) - parts


def test_stopped_half_way_it_goes_on_where_it_was(path: Path) -> None:
    """Ctrl-C after some readings: those are done, the store is whole, and the next start does the rest."""

    class Stopped(Exception):
        pass

    seen: list[UUID] = []

    def stop(recording_id: UUID) -> None:
        seen.append(recording_id)
        if len(seen) == 5:
            raise Stopped

    count = len(names("assistants"))
    with Store.open(path) as store:
        with pytest.raises(Stopped):
            reader.rebuild_stale(store, stop, batch=4)
        left = store.count_stale(reader.VERSION)
        assert 0 < left < count
        assert reader.rebuild_stale(store) == left
        assert store.count_stale(reader.VERSION) == 0


def test_runs_and_all_exclude_each_other(path: Path) -> None:
    done = invoke("rebuild", "@last", "--all", store=path)
    assert done.exit_code == 2
    assert "not both" in done.stderr
