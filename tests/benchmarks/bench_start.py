"""How fast recorder starts: `import recorder` in a fresh interpreter, `recorder --help` beside a bare click program.

Bytecode is compiled into a folder of its own first, since an installation has it; each figure is the least of some
starts, less a bare interpreter's where it says so.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

from tests.benchmarks.figures import bar, heading, table, taking_turns
from tests.needs import ROOT

ROUNDS: Final = 20

#: As many commands as recorder has, each with an option, and nothing else.
_CLICK: Final = """
import click

@click.group()
@click.option("--store")
def main(store): ...

def command(name):
    @main.command(name, help=f"What {name} does.")
    @click.option("--json", is_flag=True)
    def run(json): ...

for name in __NAMES__:
    command(name)
main(["--help"])
"""


def starts(environment: dict[str, str]) -> dict[str, list[str]]:
    """The programs whose starts are measured."""
    listing = "import click, recorder.cli as c; print(*c.program.list_commands(click.Context(c.program)))"
    names = subprocess.run(
        [sys.executable, "-c", listing], capture_output=True, text=True, check=True, env=environment, cwd=ROOT
    ).stdout.split()
    return {
        "python": ["-c", "pass"],
        "import recorder": ["-c", "import recorder"],
        "bare click --help": ["-c", _CLICK.replace("__NAMES__", repr(names))],
        "recorder --help": ["-m", "recorder", "--help"],
    }


def main() -> None:
    with tempfile.TemporaryDirectory() as bytecode:
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
        environment |= {"PYTHONPYCACHEPREFIX": bytecode, "PYTHONPATH": str(ROOT)}

        def seconds(arguments: list[str]) -> float:
            begun = time.perf_counter()
            subprocess.run(
                [sys.executable, *arguments], check=True, capture_output=True, env=environment, cwd=Path("/")
            )
            return time.perf_counter() - begun

        programs = {
            name: lambda arguments=arguments: seconds(arguments) for name, arguments in starts(environment).items()
        }
        least = {name: 1e3 * min(taken) for name, taken in taking_turns(ROUNDS, programs).items()}
    heading(f"Milliseconds to start and end, the least of {ROUNDS}")
    bare = least["python"]
    table(("", "ms", "above python"), [(name, took, took - bare) for name, took in least.items()])
    bar("start: import recorder", least["import recorder"] - bare, most=30, unit=" ms")
    bar(
        "start: recorder --help against a bare click program",
        least["recorder --help"] / least["bare click --help"],
        most=1.5,
    )


if __name__ == "__main__":
    main()
