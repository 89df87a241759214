"""A copy of the project in which code is changed, and what its tests reach there."""

from __future__ import annotations

import ast
import json
import os
import py_compile
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import coverage

from tests.areas import PICKED, Area
from tests.mutation.operators import Mutant
from tests.needs import ROOT

__all__ = ["Reached", "concerned", "copied", "mutated", "reached"]

#: What fewer tests reach may have been run once for all of them.
_MANY = 5
_LEFT_OUT = shutil.ignore_patterns(".*", "build", "dist", "node_modules", "__pycache__", "*.db*", "htmlcov")


class Reached(NamedTuple):
    """Which tests reach which line of which file, and how many seconds each test takes."""

    lines: dict[str, dict[int, list[str]]]
    seconds: dict[str, float]

    def tests(self, path: str, *lines: tuple[str, int]) -> list[str]:
        """The tests that reach one of these lines, each with its file, the fastest first.

        What is run once for all, by a function that remembers, others see as well: the file's other tests come behind.
        """
        reach = self.lines.get(path, {})
        names = {name for file, line in lines for name in self.lines.get(file, {}).get(line, ())}
        if len(names) >= _MANY:
            return sorted(names, key=self._cost)
        near = {name for found in reach.values() for name in found} - names
        rest = self.seconds.keys() - near - names
        return [name for some in (names, near, rest) for name in sorted(some, key=self._cost)]

    def _cost(self, name: str) -> float:
        return self.seconds.get(name, 0.0)


def concerned(files: Mapping[str, ast.Module], path: str, line: int) -> list[tuple[str, int]]:
    """The lines that have to do with one: itself, or where it names something on import, those that use what it names.

    On import each line is reached by whichever test comes first; that says nothing. A private name is used in its own
    file alone.
    """
    top = {each: list(_top(module)) for each, module in files.items()}
    named = {name for first, last, names, _ in top[path] if first <= line <= last for name in names}
    if not named:
        return [(path, line)]
    found: set[tuple[str, int]] = set()
    while True:
        before = len(named), len(found)
        for file, statements in top.items():
            known = {name for name in named if file == path or not name.startswith("_")}
            for _, _, names, uses in statements:
                used = {at for name, at in uses if name in known}
                named |= names if used else set()
                found |= set() if names else {(file, at) for at in used}
        if before == (len(named), len(found)):
            return sorted(found) or [(path, line)]


def _top(module: ast.Module) -> Iterator[tuple[int, int, set[str], list[tuple[str, int]]]]:
    """Of each statement of a module: its first line and its last, what it assigns, and the names it uses, where."""
    for statement in module.body:
        targets = {
            target.id
            for node in ([statement] if isinstance(statement, ast.Assign | ast.AnnAssign) else [])
            for target in (node.targets if isinstance(node, ast.Assign) else [node.target])
            if isinstance(target, ast.Name)
        }
        uses = [
            (node.id if isinstance(node, ast.Name) else node.attr, node.lineno)
            for node in ast.walk(statement)
            if isinstance(node, ast.Name | ast.Attribute) and isinstance(node.ctx, ast.Load)
        ]
        yield statement.lineno, statement.end_lineno or statement.lineno, targets, uses


def copied(folder: Path) -> Path:
    """The project as it stands, copied into `folder`."""
    tree = folder / "tree"
    if not tree.exists():
        shutil.copytree(ROOT, tree, ignore=_LEFT_OUT)
    return tree


def reached(tree: Path, area: Area) -> Reached:
    """Runs the tests of an area in the copy. Raises RuntimeError where one fails."""
    told, data, settings = tree.parent / "told.json", tree.parent / "measured", tree.parent / "coverage.ini"
    settings.write_text(
        f"[run]\nparallel = true\ndata_file = {data}\nsource = {tree / 'recorder'}\npatch = subprocess,fork,_exit\n"
    )
    command = [sys.executable, "-m", "coverage", "run", f"--rcfile={settings}", "-m", "pytest", "-q"]
    command += ["-p", "tests.mutation.plugin", "-p", "no:cacheprovider", "-k", PICKED]
    command += [f"tests/{name}.py" for name in area.tests]
    done = subprocess.run(
        command,
        check=False,
        cwd=tree,
        env={**os.environ, "PYTHONPATH": str(tree), "MUTATION_TOLD": str(told)},
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise RuntimeError(f"the tests fail before anything is changed:\n{done.stdout[-4000:]}{done.stderr[-2000:]}")
    measured = coverage.Coverage(data_file=str(data), config_file=str(settings))
    measured.combine()
    found = measured.get_data()
    lines = {}
    for file in area.files(tree):
        contexts = found.contexts_by_lineno(str(file))
        lines[str(file.relative_to(tree))] = {
            line: sorted(filter(None, names)) for line, names in contexts.items() if any(names)
        }
    return Reached(lines, json.loads(told.read_text(encoding="utf-8")))


@contextmanager
def mutated(file: Path, mutant: Mutant) -> Iterator[None]:
    """The file with this change, and as it was afterwards; its compiled form stays that of the unchanged one."""
    status, source = file.stat(), file.read_bytes()
    file.write_bytes(mutant.applied(source))
    try:
        yield
    finally:
        file.write_bytes(source)
        os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))


def compiled(tree: Path) -> None:
    """Compiles the package once, so that a changed tree compiles one file only."""
    for file in (tree / "recorder").rglob("*.py"):
        py_compile.compile(str(file), doraise=True)
