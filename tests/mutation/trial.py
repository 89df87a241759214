"""One mutant against its tests: in a child of a process that has loaded what does not change.

Starting Python and importing the libraries takes longer than most of the tests, so it is done once.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import signal
import sys
import time
import traceback
from pathlib import Path
from typing import Final

__all__ = ["KILLED", "SURVIVED", "TIMED_OUT", "attempt", "prepare"]

KILLED: Final = "killed"
TIMED_OUT: Final = "timed out"
SURVIVED: Final = "survived"

#: Loading libraries before pytest is fine where they are not to be rewritten.
_QUIET: Final = ("-W", "ignore::pytest.PytestAssertRewriteWarning")

#: What the tests import that is not of this project.
_LIBRARIES: Final = ("pytest", "hypothesis", "sqlalchemy", "alembic.command", "httpx", "click", "pydantic", "psycopg")


def prepare() -> None:
    """Loads the libraries; nothing of recorder."""
    for name in _LIBRARIES:
        importlib.import_module(name)
    strange = [name for name in sys.modules if name.split(".")[0] == "recorder"]
    assert not strange, f"loaded before it was changed: {strange}"


def attempt(tree: Path, tests: list[str], limit: float) -> str:
    """Runs the tests in order until one fails. `limit` is in seconds. What they started is ended with them."""
    output, picked = tree.parent / "output", tree.parent / "picked.json"
    picked.write_text(json.dumps(tests), encoding="utf-8")
    child = os.fork()
    if not child:
        code = 70
        try:
            code = _run(tree, tests, picked, output)
        except BaseException:
            traceback.print_exc()
            sys.stderr.flush()
        finally:
            os._exit(code)
    until = time.monotonic() + limit
    while time.monotonic() < until:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            _end_group(child)
            code = os.waitstatus_to_exitcode(status)
            if code == 5:
                raise RuntimeError(f"no test was found: {output.read_text(errors='replace')[-2000:]}")
            return KILLED if code else SURVIVED
        time.sleep(0.05)
    _end_group(child)
    os.waitpid(child, 0)
    return TIMED_OUT


def _end_group(leader: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(leader, signal.SIGKILL)


def _run(tree: Path, tests: list[str], picked: Path, output: Path) -> int:
    os.setsid()
    descriptor = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    os.chdir(tree)
    os.environ.update(PYTHONPATH=str(tree), PYTHONDONTWRITEBYTECODE="1", MUTATION_PICKED=str(picked))
    sys.path[0] = str(tree)
    sys.dont_write_bytecode = True
    for name in [name for name in sys.modules if name.split(".")[0] == "tests"]:
        del sys.modules[name]
    import pytest

    files = sorted({test.partition("::")[0] for test in tests})
    return int(
        pytest.main(
            ["-x", "-q", *_QUIET, "-p", "tests.mutation.plugin", "-p", "no:cacheprovider", "--no-header", *files]
        )
    )
