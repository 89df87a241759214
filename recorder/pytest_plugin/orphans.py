"""Recordings that no test uses any more: looked for at the end of a run of the whole suite, and never of a part of it.

A recording is left over where its file lies as `names` would have put it, for a module that is gone or was collected
without trouble, and no test has it: none of its name, none whose marker names it, none that opened it in this run. A
file whose name stands in the source of a test is left alone, whoever opens it. With several processes each tells what
it saw, and the one that started them judges. Loaded where a folder of recordings is there.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import names

if TYPE_CHECKING:
    import pytest

__all__ = ["Seen", "delete", "narrowed", "orphans", "seen"]


@dataclass
class Seen:
    """What one process saw. It travels between processes as a dict of plain values.

    part: why it was not the whole suite; None: it was, as far as this process can tell.
    claims: file -> the ids of tests that have it. free: tests that passed and used no tape.
    opened: files that tapes were read from or written to. modules: files of tests that were collected.
    odd: modules that were skipped as a whole: nobody knows their tests.
    """

    part: str | None = None
    claims: dict[str, list[str]] = field(default_factory=dict)
    free: list[str] = field(default_factory=list)
    opened: list[str] = field(default_factory=list)
    modules: list[str] = field(default_factory=list)
    odd: list[str] = field(default_factory=list)

    def add(self, other: Mapping[str, Any]) -> None:
        """What another process saw of the same suite."""
        self.part = self.part or other["part"]
        for path, tests in other["claims"].items():
            self.claims.setdefault(path, []).extend(tests)
        for name in ("free", "opened", "modules", "odd"):
            getattr(self, name).extend(other[name])


def narrowed(config: pytest.Config) -> str | None:
    """Why this run is not one of a whole suite, as its command line says; None: it is, of the folders named there."""
    for argument in config.args:
        if not (config.invocation_params.dir / argument).is_dir():
            return f"{argument} was named"
    for option, shown in (
        ("ignore", "--ignore"),
        ("ignore_glob", "--ignore-glob"),
        ("lf", "--lf"),
        ("stepwise", "--stepwise"),
        ("collectonly", "--collect-only"),
        ("setuponly", "--setup-only"),
        ("setupplan", "--setup-plan"),
    ):
        if config.getoption(option, None):
            return f"{shown} was given"
    return None


def seen(items: Sequence[Any], folder: str, opened: Iterable[str], free: Iterable[str]) -> Seen:
    """What this process saw: the tests that were collected, and the files that its tapes opened."""
    from .items import file_of

    made = Seen(opened=sorted(set(opened)), free=list(free))
    made.modules = sorted({str(item.path) for item in items})
    for item in items:
        marks = list(item.iter_markers("recorder"))
        named = next((mark.kwargs["file"] for mark in marks if mark.kwargs.get("file")), None)
        own = next((mark.kwargs["dir"] for mark in marks if mark.kwargs.get("dir")), folder)
        for path in (file_of(item, own), *([item.path.parent / named] if named else [])):
            made.claims.setdefault(str(path.resolve()), []).append(item.nodeid)
    return made


def orphans(told: Seen, folder: str, patterns: Sequence[str]) -> list[Path]:
    """The recordings that no test uses any more. `patterns`: what the files of tests are called (`python_files`)."""
    used = {*told.opened, *_claimed(told)}
    found = [path for path in _files(told, folder, patterns) if str(path.resolve()) not in used]
    sources = _sources(told.modules) if found else []
    return [path for path in found if _is_recording(path) and not any(path.name in text for text in sources)]


def _claimed(told: Seen) -> Iterator[str]:
    """The files that a test has which did use a tape, or of which nobody knows whether it would have."""
    free = set(told.free)
    return (path for path, tests in told.claims.items() if not free.issuperset(tests))


def _files(told: Seen, folder: str, patterns: Sequence[str]) -> Iterator[Path]:
    """All files that lie as recordings of a test do whose module is gone, or was collected."""
    known: dict[Path, set[str]] = {}
    for module in map(Path, told.modules):
        known.setdefault(module.parent, set()).add(names.folder_of(module.stem))
    odd = {(path.parent, names.folder_of(path.stem)) for path in map(Path, told.odd)}
    for parent, collected in sorted(known.items()):
        place = parent / folder
        # A folder that all tests share may belong to modules anywhere.
        there = {names.folder_of(path.stem) for path in parent.glob("*.py")}
        for within in sorted(place.iterdir()) if place.is_dir() else ():
            gone = within.name not in there and not Path(folder).is_absolute()
            looks_so = any(fnmatch(f"{within.name}.py", pattern) for pattern in patterns)
            if looks_so and (gone or within.name in collected) and (parent, within.name) not in odd:
                yield from sorted(within.glob(f"*{names.SUFFIX}"))


def _sources(modules: Iterable[str]) -> list[str]:
    """The sources of tests, and of what they share."""
    paths = {Path(module) for module in modules}
    paths |= {near for path in list(paths) for near in path.parent.glob("*.py")}
    return [path.read_text(encoding="utf-8", errors="replace") for path in sorted(paths) if path.is_file()]


def _is_recording(path: Path) -> bool:
    from recorder.errors import UsageError
    from recorder.exchange.reading import read_head

    try:
        read_head(path)
    except (UsageError, OSError):
        return False
    return True


def delete(paths: Iterable[Path]) -> None:
    """Remove the files, and the folders that are empty then."""
    for path in paths:
        path.unlink(missing_ok=True)
        if not any(path.parent.iterdir()):
            path.parent.rmdir()
