"""What doctor is told of a store's inside; most of it is held by test_doctor."""

from __future__ import annotations

from pathlib import Path

from recorder.store import Store, health


def test_a_large_file_is_not_read_through(tmp_path: Path) -> None:
    """That it was not checked is told apart from that nothing was found."""
    path = tmp_path / "recorder.db"
    Store.open(path, create=True).close()
    with health.examined(f"sqlite:///{path}") as found:
        assert found.file(health.CHECKED).damage == ()
        large = found.file(health.CHECKED + 1)
    assert large.damage is None
    assert (large.journal, large.page_size * large.pages) == ("wal", path.stat().st_size)
