"""The parts of recorder that everything else trusts, and the tests that hold each of them.

`make coverage` and `make mutation` read it. A list names the tests that belong to a part, and those of its users that
reach what its own do not; the fewer, the sooner both are done.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final, NamedTuple

from tests.needs import ROOT

__all__ = ["AREAS", "PICKED", "Area"]

#: For pytest's -k: without the streams that others published, which take long and reach nothing that the others do not.
PICKED: Final = "not published"


class Area(NamedTuple):
    """A module or package of recorder, and the test files (without .py) that are run for it."""

    source: str
    tests: tuple[str, ...]

    def files(self, root: Path = ROOT) -> list[Path]:
        """Its source files, in order."""
        path = root / "recorder" / self.source
        return sorted(path.rglob("*.py")) if path.is_dir() else [path]


AREAS: Final = {
    "sse": Area("sse.py", ("test_sse",)),
    "capture": Area("capture.py", ("test_capture", "test_redact_passage")),
    "match": Area("match", ("test_match", "test_match_normal")),
    "replay": Area("replay", ("test_replay", "test_replay_sessions")),
    "redact": Area("redact", ("test_redact", "test_redact_bodies", "test_redact_passage")),
    "verify": Area(
        "verify",
        (
            *("test_verify", "test_verify_checkpoints", "test_verify_keys", "test_verify_proofs"),
            *("test_evidence", "test_handle_checkpoints", "test_cli_checkpoint", "test_cli_verify"),
        ),
    ),
    "store": Area(
        "store",
        (
            *("test_store", "test_store_sqlite", "test_store_postgresql", "test_store_admin", "test_store_kinship"),
            *("test_store_roles", "test_store_rows", "test_store_health", "test_store_surely", "test_store_reaching"),
            *("test_doctor", "test_retention", "test_retention_erasing", "test_verify"),
        ),
    ),
}
