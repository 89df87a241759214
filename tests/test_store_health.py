"""What doctor is told of a store's inside; most of it is held by test_doctor."""

from __future__ import annotations

from pathlib import Path

from recorder.store import Store, health
from tests.rows import made_reading, recorded


def test_a_large_file_is_not_read_through(tmp_path: Path) -> None:
    """That it was not checked is told apart from that nothing was found."""
    path = tmp_path / "recorder.db"
    Store.open(path, create=True).close()
    with health.examined(f"sqlite:///{path}") as found:
        assert found.file(health.CHECKED).damage == ()
        large = found.file(health.CHECKED + 1)
        assert found.file(250 << 20).damage == ()
        assert found.file(260 << 20).damage is None
    assert large.damage is None
    assert (large.journal, large.page_size * large.pages) == ("wal", path.stat().st_size)


def test_readings_that_are_due_are_not_counted_among_those_of_an_older_reader(tmp_path: Path) -> None:
    """A reading that was not made yet was made by nobody."""
    path = tmp_path / "recorder.db"
    with Store.open(path, create=True) as store:
        for _ in range(2):
            recorded(store)
        store.put_readings([made_reading(recorded(store))])
    with health.examined(f"sqlite:///{path}") as found:
        assert found.contents(2) == health.Contents(recordings=3, due=2, stale=1, open=())
        assert found.contents(1) == health.Contents(recordings=3, due=2, stale=0, open=())
