"""What a test may lack on this machine, and what follows: a skip with its reason, or a failure where it is required.

RECORDER_REQUIRE=postgres,corpus names what must be there; CI sets it, so that nothing is skipped unseen.
RECORDER_NIGHTLY=1 lengthens loops and example counts, and takes all of the long lists; RECORDER_SLICE=N takes another
part of them than the usual one. They are read once, because each test runs without RECORDER_*.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
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
    "in_turn",
    "left_out",
    "left_out_of_dear",
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
#: CI lasts longer where a test is about duration, and follows all of the recipes; of other lists it takes the slice
#: that `make test` takes.
CI: Final = os.environ.get("CI", "") not in {"", "0", "false"}
#: Which part of the long lists `make test` takes.
SLICE: Final = int(os.environ.get("RECORDER_SLICE") or 0)
#: Whether tests with many cases take a part of these: in `make test`, which says which part.
SLICED: Final = bool(os.environ.get("RECORDER_SLICE")) and not NIGHTLY
#: A test with more cases than this takes, in `make test`, one of each so many of them.
_MANY: Final = 16
_EVERY: Final = 4
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

    RECORDER_SLICE=1 takes those behind them, and so on: `every` runs see them all. Where `left_out` takes a part of
    these again, `every` must be odd, or both would go round together and meet the same ones for ever.
    """
    found = list(cases)
    assert every % 2 or len(found) <= every * _MANY, "take an odd one"
    return found if NIGHTLY else found[SLICE % every :: every]


def in_turn(number: int, ways: Sequence[T]) -> list[T]:
    """All ways of doing case `number` in `make nightly`; in `make test` one of them, other cases go other ways.

    Which cases there are goes round with each slice, so the ways go round once these all have had their turn. The way
    changes with every third case: in step with `left_out`, a run could have one way alone.
    """
    return list(ways) if NIGHTLY else [ways[(number // 3 + SLICE // _EVERY) % len(ways)]]


def left_out(
    cases: Sequence[T], part: int | None = SLICE if SLICED else None, *, every: int = _EVERY, many: int = _MANY
) -> list[T]:
    """Those of a test's cases that this run leaves out, where it takes the part `part` of many; None takes all.

    Of each four another one is taken than of the four before: where every second case is asynchronous, or each fourth
    of one client, every part has some of all.
    """
    if part is None or len(cases) <= many:
        return []
    return [case for number, case in enumerate(cases) if (number + number // every - part) % every]


def left_out_of_dear(tests: Sequence[T], part: int | None = SLICE if SLICED and not CI else None) -> list[T]:
    """Every second of the tests of a file, where the part `part` is taken. CI takes all.

    What takes turns inside such a file takes them in odd steps, or one of the two would never meet some of it.
    """
    return left_out(tests, part, every=2, many=1)
