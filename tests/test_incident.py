"""docs/incident.md, typed as it stands on the practice store: each command runs, and prints what the page shows."""

from __future__ import annotations

import os
import re
import shlex
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.command import invoke
from tests.needs import need
from tests.test_docs import paper, typed

PAGE = "docs/incident.md"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder, and one stands in it; `recorder` and `pytest` are programs there."""
    programs = tmp_path / "bin"
    programs.mkdir()
    for name, module in (
        ("recorder", "recorder"),
        ("pytest", "pytest -q -p recorder.pytest_plugin -p no:cacheprovider"),
    ):
        program = programs / name
        program.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m {module} "$@"\n', encoding="utf-8")
        program.chmod(0o755)
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")  # the plugin is named above, installed or not
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def printed_by(command: str, folder: Path) -> str:
    """What a command prints. One of recorder's alone runs in this process, which saves starting a program."""
    differs = command.startswith("recorder diff")  # what finds something exits with 1
    if command.startswith("recorder ") and ">" not in command:
        done = invoke(*shlex.split(command)[1:])
        assert done.exit_code == differs, f"{command}\n{done.output}"
        return done.stdout
    return typed(command, folder).decode()


def said_after_each() -> list[tuple[list[str], list[str]]]:
    """Commands, and the lines that the page shows of what they print, block for block in its order."""
    found: list[tuple[list[str], list[str]]] = []
    for language, block in re.findall(r"^```(sh|text)\n(.*?)^```$", paper(PAGE), re.MULTILINE | re.DOTALL):
        if language == "sh":
            found.append((block.splitlines(), []))
        else:
            found[-1][1].extend(block.splitlines())
    return found


def plain(text: str) -> str:
    return " ".join(text.split())


def test_the_walk_through_does_what_it_says(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    need("httpx", find_spec("httpx") is not None, "httpx is not installed")
    typed_so_far = 0
    for commands, shown in said_after_each():
        printed: list[str] = []
        for command in commands:
            if assigned := re.fullmatch(r"export (\w+)=(.*)", command):
                monkeypatch.setenv(assigned[1], assigned[2])
                continue
            printed += printed_by(command, folder).splitlines()
            typed_so_far += 1
        for line in shown:
            form = re.escape(plain(line)).replace("…", ".*")
            assert any(re.search(form, plain(each)) for each in printed), f"{line!r} is not in\n" + "\n".join(printed)
    assert typed_so_far > 20


def test_the_page_lists_the_ways_of_the_lists_options() -> None:
    """What its tables tell to type is understood."""
    from recorder.cli.lists import runs

    known = {option for parameter in runs.params for option in parameter.opts}
    for row in re.findall(r"^\| (?:you have|a |the |words|nothing).*$", paper(PAGE), re.MULTILINE):
        assert set(re.findall(r"(?<![\w-])--[a-z-]+", row)) <= known, row
