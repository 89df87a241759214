"""A module of these tests that is run as a program, in a process of its own: `python -m tests.NAME …`."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

from tests.needs import ROOT

__all__ = ["run"]


def run(name: str, *words: str, env: Mapping[str, str] | None = None, timeout: float | None = None) -> list[Any]:
    """What it prints, a line of JSON each; it succeeds, within so many seconds where they are given."""
    command = [sys.executable, "-m", f"tests.{name}", *words]
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False, timeout=timeout)
    assert done.returncode == 0, done.stderr[-4000:]
    return [json.loads(line) for line in done.stdout.splitlines()]
