"""An upgrade that is killed at any of its steps leaves the old store or the new one, on SQLite and PostgreSQL.

There is no way back to an older schema (`recorder.migrate` never downgrades): the store of before is its backup.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from recorder import schema
from recorder.errors import SchemaMismatch
from recorder.store import Store, check_store, describe_store, migrate_store
from tests import program
from tests.faulted import say
from tests.killed import before
from tests.needs import NIGHTLY, examples
from tests.older import REVISIONS, make_older
from tests.postgres import Postgres

#: A busy machine takes many times as long as an idle one for each kill: this is for what hangs.
pytestmark = pytest.mark.timeout(7200 if NIGHTLY else 600)

Figures = Callable[[str, object], None]


def kill(url: str, record_property: Figures) -> None:
    """At some steps of an upgrade from each revision, at night at all of them."""
    (figures,) = program.run("killed", url, "kill", str(examples(3, 0)), *REVISIONS[: examples(1, 9)])
    record_property("figures", figures)
    assert figures["kills"] >= 3


def test_sqlite_is_old_or_new(tmp_path: Path, record_property: Figures) -> None:
    """Schema and rows are those of before, or the upgrade is whole; and it can be gone on with."""
    kill(str(tmp_path / "x.db"), record_property)


def test_postgresql_is_old_or_new(postgres: Postgres, record_property: Figures) -> None:
    """The same on a server, which rolls back what the dead one had begun."""
    kill(postgres.url(), record_property)


def test_an_upgrade_keeps_every_row(url: str) -> None:
    """Facts are the same rows, readings that were made stay read, and what is written now goes beside them."""
    make_older(url, REVISIONS[0])
    was = before(url)["rows"]
    assert min(map(len, was.values())) > 0
    assert migrate_store(url) == (REVISIONS[0], schema.REVISION)
    assert check_store(url) == []
    assert before(url)["rows"] == was
    with Store.open(url) as store:
        assert store.unread() == []
        assert all(store.reading(recording_id) is not None for recording_id in store.recording_ids())


def test_the_backup_is_the_way_back(tmp_path: Path) -> None:
    """It is a store of the older schema with every row; put in place it can be upgraded again."""
    path = tmp_path / "x.db"
    make_older(path, REVISIONS[0])
    was = before(str(path))
    migrate_store(path)
    backup = path.with_name(f"x.db.backup-{REVISIONS[0]}")
    assert describe_store(backup).revision == REVISIONS[0]
    assert before(str(backup)) == was
    shutil.move(backup, path)
    assert migrate_store(path) == (REVISIONS[0], schema.REVISION)
    assert before(str(path))["rows"] == was["rows"]


def test_a_newer_schema_is_refused(url: str) -> None:
    """Nothing is written to it, whoever asks, and the message says what to do."""
    Store.open(url, create=True).close()
    newer = f"{int(schema.REVISION.split('.')[0]) + 1}.0"
    say(url, f"UPDATE recorder_version SET version_num = '{newer}'")
    was = before(url)
    for options in ({}, {"create": True}, {"readonly": True}):
        with pytest.raises(SchemaMismatch, match="install a newer run-recorder"):
            Store.open(url, **options)
    with pytest.raises(SchemaMismatch, match="install a newer run-recorder"):
        migrate_store(url)
    assert describe_store(url).revision == newer
    assert before(url) == was
