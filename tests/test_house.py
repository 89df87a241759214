"""The project's papers, its version, its import, and that no file speaks of anything but the project."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any, Final

import pytest

import recorder
from tests import needs
from tests.needs import ROOT, each, examples, in_turn, left_out, left_out_of_dear, need

# Put together from pieces, or this file would be the first that holds them.
FOREIGN: Final = re.compile(
    "|".join(
        [
            "(?<![A-Za-z0-9_.])/" + "(work|root|home|Users)/",
            "/opt/" + "(venv|wheels|pypi)",
            "/tmp/" + "plan",
            "help" + "er agent",
            "sub" + "agent",
            "design" + r"\.md",
            "files.python" + "hosted",
            "pypi" + r"\.org",
            "registry" + r"\.npmjs",
            "extra-index" + "-url",
        ]
    )
)


def project_files() -> list[Path]:
    """What git tracks or would track; where this is no git checkout, every file that is not a tool's."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    try:
        listed = subprocess.run(command, cwd=ROOT, capture_output=True, check=True).stdout.decode()
    except (OSError, subprocess.CalledProcessError):
        made = {".venv", "__pycache__", ".mypy_cache", ".pytest_cache", ".ruff_cache", ".hypothesis", "dist"}
        paths = [path for path in ROOT.rglob("*") if not made.intersection(path.parts)]
    else:
        paths = [ROOT / name for name in listed.split("\0") if name]
    return [path for path in paths if path.is_file()]


def pyproject() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    "name", ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md", "LICENSE", "Makefile", "alembic.ini"]
)
def test_the_papers_are_there(name: str) -> None:
    assert (ROOT / name).stat().st_size > 0


def test_the_version_is_the_same_everywhere() -> None:
    """In the package, in pyproject.toml and in the newest release heading of the changelog."""
    headings = re.findall(
        r"^## \[?(\d+\.\d+\.\d+)\b", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE
    )
    assert headings[0] == recorder.__version__ == pyproject()["project"]["version"]


def test_files_speak_of_the_project_alone() -> None:
    """No path of one machine, no name of one workplace, no registry's host."""
    found = []
    for path in project_files():
        with contextlib.suppress(FileNotFoundError):  # a file that is not tracked may be gone by now
            text = path.read_bytes().decode("latin-1")
            found += [f"{path.relative_to(ROOT)}: {hit.group()}" for hit in FOREIGN.finditer(text)]
    assert found == []


def test_a_foreign_path_would_be_found() -> None:
    for text in ("see /" + "work/main", "'/" + "root/x'", "the design" + ".md says"):
        assert FOREIGN.search(text)
    for text in ("https://host/v1/home/x", "../shared/corpus", "a/work/b"):
        assert not FOREIGN.search(text)


def test_every_command_is_in_the_readme_and_has_help() -> None:
    """A command that is not written down, or says nothing about itself, is not finished."""
    import click

    from recorder.cli import program

    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    context = click.Context(program)
    commands = {name: program.get_command(context, name) for name in program.list_commands(context)}
    assert [name for name in commands if f"recorder {name}" not in readme] == []
    assert [name for name, command in commands.items() if command is None or not command.help] == []


def test_the_command_is_the_one_that_is_installed() -> None:
    assert pyproject()["project"]["scripts"] == {"recorder": "recorder.cli:main"}


def test_importing_the_package_loads_no_library() -> None:
    """Nor any of its own modules: each public name is loaded when it is first used."""
    code = "import sys; before = set(sys.modules); import recorder; print(*sorted(set(sys.modules) - before))"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    allowed = set(sys.stdlib_module_names)
    assert [name for name in done.stdout.split() if name.partition(".")[0] not in allowed] == ["recorder"]


@pytest.mark.parametrize("name", recorder.__all__)
def test_every_public_name_can_be_had(name: str) -> None:
    assert getattr(recorder, name) is not None
    assert name in dir(recorder)


def test_a_name_that_is_not_public_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = recorder.nonsense


def test_what_is_absent_is_skipped_with_its_reason() -> None:
    with pytest.raises(pytest.skip.Exception, match="none here"):
        need("thing", present=False, reason="none here", required=frozenset())


def test_what_is_absent_and_required_fails() -> None:
    with pytest.raises(pytest.fail.Exception, match="thing is required by RECORDER_REQUIRE: none here"):
        need("thing", present=False, reason="none here", required=frozenset({"thing"}))


def test_what_is_present_goes_on() -> None:
    need("thing", present=True, reason="none here", required=frozenset({"thing"}))


def test_the_nightly_run_takes_more_examples() -> None:
    assert examples(3, 1000) in {3, 1000}


@pytest.mark.parametrize("every", [1, 3, 5, 7, 11])
def test_in_the_end_make_test_takes_every_case_in_every_way(every: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A list that takes turns, of which a part is taken again, and whose cases are done in one of four ways."""
    monkeypatch.setattr(needs, "NIGHTLY", False)
    taken = set()
    for part in range(16 * every):
        monkeypatch.setattr(needs, "SLICE", part)
        cases = [(number, way) for number in each(every, range(200)) for way in in_turn(number, "abcd")]
        now = set(cases) - set(left_out(cases, part))
        assert len({way for _, way in now}) > 2
        taken |= now
    assert len(taken) == 200 * 4


def test_every_part_of_many_cases_has_some_of_all() -> None:
    """Cases that differ in turns of two, three or four; and the parts together are all of them."""
    cases = range(48)
    parts = [set(cases) - set(left_out(cases, part)) for part in range(4)]
    assert sorted(case for part in parts for case in part) == list(cases)
    for turn in (2, 3, 4):
        assert [{case % turn for case in part} for part in parts] == [set(range(turn))] * 4
    assert left_out(cases, None) == []
    assert left_out(range(16), 1) == []


def test_of_a_dear_file_two_runs_take_all_and_each_some_of_both_databases() -> None:
    cases = range(20)
    parts = [set(cases) - set(left_out_of_dear(cases, part)) for part in range(2)]
    assert sorted([*parts[0], *parts[1]]) == list(cases)
    assert [{case % 2 for case in part} for part in parts] == [{0, 1}] * 2
    assert left_out_of_dear(cases, None) == []


def test_no_setting_of_the_shell_reaches_a_test() -> None:
    assert [name for name in os.environ if name.startswith(("RECORDER_", "OPENAI_", "ANTHROPIC_"))] == []


#: A group that is repeated possessively, or an atomic one, in the text of a regular expression.
POSSESSIVE: Final = re.compile(r"[^\\(]\)(?:[?*+]|\{+[0-9,%d]+\}+)\+|\(\?>")


def test_no_expression_repeats_a_group_possessively() -> None:
    """Python's engine matches such groups wrongly before 3.11.5 (gh-106052), and Debian 12 has 3.11.2."""
    assert all(map(POSSESSIVE.search, ["(?:a|b)*+", "(?:a)?+", "(?:a){{1,200}}+", "(?>a)"]))
    assert not any(map(POSSESSIVE.search, ["[a-z]*+(?:x)+", "(?:x)+y", r"\)++"]))
    found = [
        f"{path.relative_to(ROOT)}: {line.strip()}"
        for path in (ROOT / "recorder").rglob("*.py")
        for line in path.read_text(encoding="utf-8").splitlines()
        if POSSESSIVE.search(line)
    ]
    assert found == []
