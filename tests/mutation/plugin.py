"""For the pytest process of a measurement: which test reached which line and how long it took, or which tests to run.

MUTATION_TOLD names a file that gets {test: seconds}; the coverage that is being measured is told apart by test.
MUTATION_PICKED names a file with the tests to run, in order.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest

_seconds: dict[str, float] = {}
#: Taken at once: a test sees none of it.
_told = os.environ.pop("MUTATION_TOLD", None)
_picked = os.environ.pop("MUTATION_PICKED", None)


@pytest.hookimpl(trylast=True)
def pytest_configure(config: pytest.Config) -> None:
    """The same examples for each mutant; the smallest example that fails is of no interest."""
    quick = (hypothesis.Phase.explicit, hypothesis.Phase.generate)
    hypothesis.settings.register_profile(
        "mutation", hypothesis.settings.get_profile("default"), derandomize=True, database=None, phases=quick
    )
    hypothesis.settings.load_profile("mutation")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    if _told:
        import coverage

        measured = coverage.Coverage.current()
        assert measured is not None, "run it under coverage"
        measured.switch_context(item.nodeid)
        measured.config.context = item.nodeid  # of the processes that it starts
        os.environ["COVERAGE_PROCESS_CONFIG"] = measured.config.serialize()
    return (yield)


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    _seconds[report.nodeid] = _seconds.get(report.nodeid, 0.0) + report.duration


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if _picked:
        order = {name: number for number, name in enumerate(json.loads(Path(_picked).read_text(encoding="utf-8")))}
        items[:] = sorted((item for item in items if item.nodeid in order), key=lambda item: order[item.nodeid])


def pytest_sessionfinish() -> None:
    if _told:
        Path(_told).write_text(json.dumps(_seconds), encoding="utf-8")
