"""kill -9 at random moments: nothing that was acknowledged is lost, and recovery is idempotent."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable

import pytest

from tests.needs import ROOT, examples

_SHARDS = 2


def _run(url: str, seed: int, record_property: Callable[[str, object], None]) -> None:
    rounds = examples(40, 1000) // _SHARDS
    done = subprocess.run(
        [sys.executable, "-m", "tests.crash", url, str(rounds), str(seed)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    figures = json.loads(done.stdout.splitlines()[-1])
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
