"""`python -m tests.mutation AREA ... [--sample N] [--seed S]`: how many changes of the code the tests notice.

For each area a sample of its mutants is drawn, the same from the same seed. Each is put into a copy of the project, and
the tests that reach the changed line are run, the fastest first, until one fails. Survivors are printed as they are
found. Those in `equivalent.json` change nothing that anybody could see, and count apart; each says why.
The exit code is 1 where fewer than --bar percent of the others were killed.
"""

from __future__ import annotations

import argparse
import ast
import json
import os
import random
import sys
import tempfile
from pathlib import Path
from typing import Final, NamedTuple

from tests.areas import AREAS
from tests.mutation import trial
from tests.mutation.operators import Mutant, mutants
from tests.mutation.tree import Reached, compiled, concerned, copied, mutated, reached

_LISTED: Final = Path(__file__).with_name("equivalent.json")
_EQUIVALENT: Final = "equivalent"
#: Seconds at least, and times the usual duration of the tests, after which a mutant counts as hung.
_LEAST, _TIMES = 20.0, 10.0


class Figures(NamedTuple):
    mutants: int
    drawn: int
    killed: int
    survived: int
    equivalent: int

    @property
    def share(self) -> float:
        return 100 * self.killed / max(1, self.killed + self.survived)


def known() -> dict[tuple[str, ...], str]:
    """Why those mutants that change nothing do so, by file, the line's text, what stands there, what stands instead."""
    listed = json.loads(_LISTED.read_text(encoding="utf-8"))
    return {(row["file"], row["line"], row["before"], row["after"]): row["because"] for row in listed}


def drawn(name: str, tree: Path, sample: int, seed: int) -> tuple[int, list[tuple[str, Mutant]]]:
    """How many mutants an area has, and a sample of them."""
    found = [
        (str(file.relative_to(tree)), mutant)
        for file in AREAS[name].files(tree)
        for mutant in mutants(file.read_bytes())
    ]
    chosen = random.Random(f"{name} {seed}").sample(range(len(found)), min(sample, len(found)))
    return len(found), [found[number] for number in sorted(chosen)]


def within(tests: list[str], reach: Reached, budget: float) -> list[str]:
    """As many of the tests as take `budget` seconds together; one at least."""
    spent = 0.0
    taken: list[str] = []
    for test in tests:
        spent += reach.seconds.get(test, 0.0)
        if taken and spent > budget:
            break
        taken.append(test)
    return taken


def reach_of(name: str, folder: Path, tree: Path) -> Reached:
    """Which tests reach what; measured once for a folder."""
    kept = folder / f"{name}.json"
    if not kept.exists():
        kept.write_text(json.dumps(reached(tree, AREAS[name])), encoding="utf-8")
    lines, seconds = json.loads(kept.read_text(encoding="utf-8"))
    return Reached({file: {int(line): tests for line, tests in of.items()} for file, of in lines.items()}, seconds)


def outcome_of(tree: Path, path: str, mutant: Mutant, reach: Reached, given: argparse.Namespace) -> str:
    """What becomes of one mutant; told where it survives."""
    files = {each: ast.parse((tree / each).read_bytes()) for each in {*reach.lines, path}}
    tests = within(reach.tests(path, *concerned(files, path, mutant.line)), reach, given.budget)
    usual = sum(reach.seconds.get(test, 0.0) for test in tests)
    with mutated(tree / path, mutant):
        outcome = trial.attempt(tree, tests, max(_LEAST, _TIMES * usual))
    if outcome == trial.SURVIVED or given.verbose:
        print(f"  {outcome} ({len(tests)} tests) {path}:{mutant.line} {mutant.place} {mutant.kind}:")
        print(f"      {mutant.before}\n   -> {mutant.after}", flush=True)
    return outcome


def measure(name: str, folder: Path, given: argparse.Namespace) -> Figures:
    tree = copied(folder)
    compiled(tree)
    reach = reach_of(name, folder, tree)
    quickest = within(sorted(reach.seconds, key=lambda test: reach.seconds[test]), reach, 2.0)
    if trial.attempt(tree, quickest, 300.0) != trial.SURVIVED:
        raise RuntimeError(f"tests fail without a change: {(folder / 'output').read_text(errors='replace')[-3000:]}")
    every, sample = drawn(name, tree, given.sample, given.seed)
    why, outcomes = known(), []
    print(f"{name}: {len(sample)} of {every} mutants, {len(reach.seconds)} tests", flush=True)
    for path, mutant in sample:
        text = (tree / path).read_text(encoding="utf-8").splitlines()[mutant.line - 1].strip()
        is_known = (path, text, mutant.before, mutant.after) in why
        outcomes.append(_EQUIVALENT if is_known else outcome_of(tree, path, mutant, reach, given))
    killed = sum(outcome in {trial.KILLED, trial.TIMED_OUT} for outcome in outcomes)
    return Figures(every, len(sample), killed, outcomes.count(trial.SURVIVED), outcomes.count(_EQUIVALENT))


def main(words: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.mutation")
    parser.add_argument("areas", nargs="*", metavar="AREA", help=", ".join(AREAS))
    parser.add_argument("--sample", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--bar", type=float, default=85.0)
    parser.add_argument("--budget", type=float, default=60.0, help="seconds of tests for each mutant")
    parser.add_argument("--keep", type=Path, help="a folder for the copy and what was measured, taken up again")
    parser.add_argument("--nice", type=int, default=15)
    parser.add_argument("--verbose", action="store_true")
    given = parser.parse_args(words)
    if strangers := set(given.areas) - set(AREAS):
        parser.error(f"no area named {', '.join(sorted(strangers))}")
    os.nice(given.nice)
    trial.prepare()
    missed = False
    with tempfile.TemporaryDirectory(prefix="mutation-") as temporary:
        folder = given.keep or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        for name in given.areas or AREAS:
            figures = measure(name, folder, given)
            missed = missed or figures.share < given.bar
            print(
                f"{name}: {figures.mutants} mutants, {figures.drawn} drawn, {figures.killed} killed,"
                f" {figures.survived} survived, {figures.equivalent} equivalent: {figures.share:.1f} %",
                flush=True,
            )
    return int(missed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
