"""Any operation on the store's files may fail: the error is one of ours, nothing is lost or damaged, nothing hangs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests import program
from tests.disk import environment, ram
from tests.io_errors import SCENES


def fail(library: Path, take: int, scenes: Sequence[str], record_property: Callable[[str, object], None]) -> None:
    """Play the scenes, each with so many faults (0: with every operation), in a process of its own."""
    with TemporaryDirectory(dir=ram(library.parent), prefix="recorder-io-") as root:
        told = program.run("io_errors", root, "seed", str(take), *scenes, env=environment(library, Path(root)))
    for figures in told:
        record_property("figures", figures)
        assert figures["tries"] >= take
        # How many operations these need is a matter of time: a few tries may all come after the last.
        assert figures["operations failed"] > 0 or (take and figures["scene"] in ("client", "live"))


def test_any_operation_may_fail(disk_shim: Path, record_property: Callable[[str, object], None]) -> None:
    """Opening, syncing, reading …, once or for a while, with EIO or a full disk. What was acknowledged is there
    afterwards, what was refused can be done again, and the store is sound.
    """
    fail(disk_shim, 3, sorted(SCENES), record_property)


@pytest.mark.nightly
@pytest.mark.parametrize("scene", sorted(SCENES))
def test_each_operation_may_fail(scene: str, disk_shim: Path, record_property: Callable[[str, object], None]) -> None:
    """The same with every operation, and with other kinds of fault."""
    fail(disk_shim, 0, [scene], record_property)
