"""How long it takes to tell how far an incident reaches: the questions of `recorder blast`, over a fleet from a seed.

`python -m tests.benchmarks.bench_blast` makes the store. BENCH_SIZE in the environment sets the number of runs; all
of them lie in the window or in the time before it, which is the most that a question can have to look at.
"""

from __future__ import annotations

import os
import tempfile
import time
from contextlib import closing
from pathlib import Path
from statistics import median
from typing import Any, Final

from recorder.queries import connect, find
from recorder.queries.asking import ask
from recorder.store import Store
from tests.benchmarks.figures import bar, heading, ms, table
from tests.fleet import FIRST, fill, make

SIZE: Final = int(os.environ.get("BENCH_SIZE", "100000"))
ROUNDS: Final = 5
GIVEN: Final = {"feature": "outcome", "value": "upstream_cut", "at": FIRST + 15 * 86_400_000_000}


def measure(path: Path) -> None:
    """The three questions, of which the second and third go on with what was worked out for the first."""
    seconds: dict[str, list[float]] = {}
    with closing(connect(path)) as connection:
        for _ in range(ROUNDS):
            for place, name in enumerate(("blast_radius", "fault_runs", "fault_times")):
                started = time.perf_counter()
                answer = ask(connection, find(name), given=GIVEN, again=place > 0)
                seconds.setdefault(name, []).append(time.perf_counter() - started)
                assert answer.rows
    rows: list[tuple[Any, ...]] = [(name, ms(median(each)), ms(min(each))) for name, each in seconds.items()]
    heading(f"{SIZE:,} runs, ms")
    table(["question", "median", "least"], rows)
    bar("what goes with a fault, of 100,000 runs", median(seconds["blast_radius"]) * 100_000 / SIZE, most=1, unit=" s")


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "recorder.db"
        with Store.open(path, create=True) as store:
            fill(store, make(SIZE))
        measure(path)


if __name__ == "__main__":
    main()
