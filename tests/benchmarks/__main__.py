"""Runs the benchmarks, each in a fresh process, and sums up which bars are kept: `python -m tests.benchmarks [NAME]`.

Without names all `bench_*.py` of this folder run. The exit code is 0 whether bars are kept or missed, because a busy
machine proves nothing; it is 1 where a benchmark itself failed.
"""

from __future__ import annotations

import os
import platform
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

from tests.benchmarks.figures import BAR, table

HERE = Path(__file__).resolve().parent


def known() -> list[str]:
    return sorted(path.stem.removeprefix("bench_") for path in HERE.glob("bench_*.py"))


def run(name: str) -> tuple[list[str], int]:
    """Run one benchmark, showing what it prints; its bars and its exit code."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("RECORDER_")}
    bars = []
    command = [sys.executable, "-m", f"{__package__}.bench_{name}"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=HERE.parent.parent, env=environment) as child:
        assert child.stdout is not None
        for line in child.stdout:
            if line.startswith(BAR):
                bars.append(line.removeprefix(BAR).rstrip("\n"))
            else:
                print(line, end="", flush=True)
    return bars, child.returncode


def main(names: list[str]) -> int:
    strangers = [name for name in names if name not in known()]
    if strangers:
        print(f"no benchmark named {', '.join(strangers)}; there are: {', '.join(known())}", file=sys.stderr)
        return 2
    print(f"{platform.platform()}, {os.cpu_count()} cores")
    print(f"Python {platform.python_version()}, SQLite {sqlite3.sqlite_version}")
    bars: list[str] = []
    failed = []
    for name in names or known():
        print(f"\n=== {name} ===", flush=True)
        begun = time.monotonic()
        kept, code = run(name)
        bars += kept
        print(f"\n({name} took {time.monotonic() - begun:.0f} s)", flush=True)
        if code:
            failed.append(name)
            print(f"{name} failed with exit code {code}", flush=True)
    print("\n=== summary ===")
    table(("bar", "measured", "asked", ""), [line.split(" | ") for line in bars])
    for name in failed:
        print(f"{name}: FAILED, its figures are missing")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
