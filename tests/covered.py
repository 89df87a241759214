"""`python -m tests.covered [AREA ...]`: which branches of the parts in `tests.areas` no test reaches.

Runs the tests that are named there, once, and prints a table of what is missing; the exit code is 0 where nothing is.
What a process did until it was killed with SIGKILL is not seen.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

from tests.areas import AREAS, PICKED
from tests.needs import ROOT

_FOLDER = ROOT / "build" / "coverage"
_SETTINGS = ROOT / "tests" / "coverage.ini"
_PYTEST = ("-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", PICKED)


def main(names: list[str]) -> int:
    if strangers := [name for name in names if name not in AREAS]:
        print(f"no area named {', '.join(strangers)}; there are: {', '.join(AREAS)}", file=sys.stderr)
        return 2
    areas = [AREAS[name] for name in names or AREAS]
    tests = dict.fromkeys(f"tests/{test}.py" for area in areas for test in area.tests)
    files = ",".join(str(file.relative_to(ROOT)) for area in areas for file in area.files())
    shutil.rmtree(_FOLDER, ignore_errors=True)
    _FOLDER.mkdir(parents=True)
    if coverage("run", *_PYTEST, *tests) or coverage("combine", "--quiet"):
        return 1
    return coverage("report", f"--include={files}")


def coverage(command: str, *words: str) -> int:
    given = [sys.executable, "-m", "coverage", command, f"--rcfile={_SETTINGS}", *words]
    return subprocess.run(given, check=False, cwd=ROOT, env={**os.environ, "COVERED": str(_FOLDER)}).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
