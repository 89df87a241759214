"""Commands run in this process, with the exit code and the streams that a shell would see."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from recorder.cli import main

__all__ = ["invoke", "json_lines"]


class _Program:
    """`main` as click's runner wants it: something with `main` and a name."""

    name = "recorder"

    def main(self, args: list[str], prog_name: str, **_: Any) -> None:
        main(list(args))


_program: Any = _Program()


def invoke(*arguments: str, store: Path | None = None) -> Result:
    """One command."""
    named = () if store is None else ("--store", str(store))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["recorder"])
        return CliRunner().invoke(_program, [*named, *arguments])


def json_lines(*arguments: str, store: Path) -> list[dict[str, Any]]:
    """What a command that succeeds says with --json."""
    done = invoke(*arguments, "--json", store=store)
    assert done.exit_code == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]
