"""kill -9 at random moments: nothing that was acknowledged is lost, and recovery is idempotent."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests import program
from tests.needs import NIGHTLY, examples

#: A busy machine takes many times as long as an idle one for each kill: this is for what hangs.
pytestmark = pytest.mark.timeout(7200 if NIGHTLY else 600)

_SHARDS = 2


def _run(url: str, seed: int, record_property: Callable[[str, object], None]) -> None:
    rounds = examples(40, 1000) // _SHARDS
    (figures,) = program.run("crash", url, str(rounds), str(seed))
    record_property("figures", figures)
    assert figures["kills"] == rounds
    assert figures["acknowledged"] > rounds, "the writers were killed before anything was acknowledged"


@pytest.mark.parametrize("seed", range(_SHARDS))
def test_sqlite_loses_nothing_acknowledged(
    seed: int, sqlite_url: str, record_property: Callable[[str, object], None]
) -> None:
    """After each kill every acknowledged event is there, every recording is a gapless prefix with its cuts."""
    _run(sqlite_url, seed, record_property)


@pytest.mark.parametrize("seed", range(_SHARDS))
def test_postgresql_loses_nothing_acknowledged(
    seed: int, postgres_database: str, record_property: Callable[[str, object], None]
) -> None:
    """The same on PostgreSQL, once the dead writer's lease has run out."""
    _run(postgres_database, seed, record_property)
