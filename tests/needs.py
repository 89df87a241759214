"""What a test may lack on this machine, and what follows: a skip with its reason, or a failure where it is required.

RECORDER_REQUIRE=postgres,corpus names what must be there; CI sets it, so that nothing is skipped unseen.
RECORDER_NIGHTLY=1 lengthens loops and example counts, and takes all of the long lists; RECORDER_SLICE=N takes another
part of them than the usual one. They are read once, because each test runs without RECORDER_*.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Final, TypeVar

import pytest

__all__ = [
    "CASSETTES",
    "CI",
    "CORPUS",
    "NIGHTLY",
    "ROOT",
    "SLICE",
    "SLICED",
    "each",
    "examples",
    "need",
    "need_cassettes",
    "need_corpus",
]

T = TypeVar("T")

ROOT: Final = Path(__file__).resolve().parent.parent
# Streams and cassettes that others published: read in place, where a checkout of them lies beside this one.
CORPUS: Final = ROOT.parent / "shared" / "corpus"
CASSETTES: Final = ROOT.parent / "shared" / "cassettes"

NIGHTLY: Final = os.environ.get("RECORDER_NIGHTLY", "") not in {"", "0"}
#: CI lasts longer where a test is about duration; of the long lists it takes the same slice as `make test`.
CI: Final = os.environ.get("CI", "") not in {"", "0", "false"}
#: Which part of the long lists `make test` takes.
SLICE: Final = int(os.environ.get("RECORDER_SLICE") or 0)
#: Whether tests with many cases take a part of these: in `make test`, which says which part.
SLICED: Final = bool(os.environ.get("RECORDER_SLICE")) and not NIGHTLY
_REQUIRED: Final = frozenset(filter(None, os.environ.get("RECORDER_REQUIRE", "").split(",")))


def need(name: str, present: bool, reason: str, *, required: frozenset[str] = _REQUIRED) -> None:
    """Goes on where `present`; else skips the test with `reason`, or fails it where `name` is required.

    Also usable at the top of a module: then the whole module is skipped or fails.
    """
    if present:
        return
    if name in required:
        pytest.fail(f"{name} is required by RECORDER_REQUIRE: {reason}", pytrace=False)
    pytest.skip(reason, allow_module_level=True)


def need_corpus() -> Path:
    """The folder of published streams, or a skip."""
    need("corpus", (CORPUS / "INDEX.csv").is_file(), "no published streams in ../shared/corpus")
    return CORPUS


def need_cassettes() -> Path:
    """The folder of published cassettes, or a skip."""
    need("cassettes", CASSETTES.is_dir() and any(CASSETTES.iterdir()), "no cassettes in ../shared/cassettes")
    return CASSETTES


def examples(usual: int, nightly: int) -> int:
    """How many examples or rounds a test takes: `usual` in `make test`, `nightly` in `make nightly`."""
    return nightly if NIGHTLY else usual


def each(every: int, cases: Iterable[T]) -> list[T]:
    """All of the cases in `make nightly`; in `make test` one of each `every`, the same ones at each run.

    RECORDER_SLICE=1 takes those behind them, and so on: `every` runs see them all.
    """
    found = list(cases)
    return found if NIGHTLY else found[SLICE % every :: every]
