"""Recordings that no test uses any more are told at the end of a whole run, and never after a part of one."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING

import pytest

from tests.needs import each, need

if TYPE_CHECKING:
    from tests.plugged import Project, Provider

pytest_plugins = ["pytester", "tests.plugged"]

ONE = "@pytest.mark.recorder\ndef test_one():\n    ask()\n"
TWO = "@pytest.mark.recorder\ndef test_two():\n    ask()\n"
LEFT = "left over, no test uses it any more: recordings/"


@pytest.fixture
def suite(project: Project, provider: Provider) -> Project:
    """Two modules of two tests each, recorded; then one test of the first and all of a third module are gone."""
    for name in ("test_app.py", "test_other.py"):
        project.write(ONE + TWO, name)
    project.write((ONE + TWO).replace("def test", "def test_old"), "test_gone.py")
    assert project.run("--recorder=record") == {"passed": 6}
    assert LEFT not in project.said
    project.write(ONE, "test_app.py")
    (project.path / "test_gone.py").unlink()
    return project


GONE = ["test_app/test_two.jsonl", "test_gone/test_old_one.jsonl", "test_gone/test_old_two.jsonl"]


def left(project: Project) -> list[str]:
    """What the last run said was left over."""
    return [line.partition(LEFT)[2] for line in project.said.splitlines() if LEFT in line]


@pytest.mark.parametrize("arguments", [(), (".",), ("-x",), ("--recorder=once",), ("--recorder=live",)])
def test_a_whole_run_names_what_is_left_over(suite: Project, arguments: tuple[str, ...]) -> None:
    assert suite.run(*arguments) == {"passed": 3}
    assert left(suite) == GONE
    assert "to delete what is left over: pytest --recorder-orphans=delete" in suite.said
    assert set(GONE) < set(suite.tapes())


@pytest.mark.parametrize(
    "arguments",
    each(
        3,
        [
            ("test_app.py",),
            ("test_app.py::test_one", "test_other.py"),
            ("-k", "one"),
            ("-m", "not slow and recorder", "-k", "not two"),
            ("--deselect", "test_other.py::test_two"),
            ("--ignore=test_other.py",),
            ("--collect-only",),
            ("--setup-only",),
        ],
    ),
    ids=" ".join,
)
def test_a_part_of_a_suite_says_nothing_of_it(suite: Project, arguments: tuple[str, ...]) -> None:
    """And says why it does not, where it was asked."""
    suite.run("-W", "ignore", *arguments)
    assert left(suite) == []
    suite.run("-W", "ignore", *arguments, "--recorder-orphans=delete")
    assert len(suite.tapes()) == 6
    assert "recordings without a test were not looked for: " in suite.said


def test_the_run_may_be_failed_by_them_or_they_may_be_deleted_or_ignored(suite: Project) -> None:
    suite.write("[pytest]\nrecorder_orphans = error\n", "pytest.ini")
    assert suite.run() == {"passed": 3}
    assert suite.code == pytest.ExitCode.TESTS_FAILED
    assert left(suite) == GONE
    suite.run("--recorder-orphans=ignore")
    assert (suite.code, left(suite)) == (pytest.ExitCode.OK, [])
    suite.run("--recorder-orphans=delete")
    assert suite.said.count("deleted, no test uses it any more: ") == 3
    assert suite.tapes() == ["test_app/test_one.jsonl", "test_other/test_one.jsonl", "test_other/test_two.jsonl"]
    assert not (suite.path / "recordings" / "test_gone").exists()
    assert suite.run() == {"passed": 3}
    assert suite.code == pytest.ExitCode.OK


@pytest.mark.parametrize("arguments", each(3, [(), ("-k", "one"), ("--recorder-orphans=error",)]))
def test_workers_of_xdist_tell_what_they_saw(suite: Project, arguments: tuple[str, ...]) -> None:
    need("xdist", find_spec("xdist") is not None, "pytest-xdist is not installed")
    suite.run("-p", "xdist", "-n", "2", *arguments, apart=True)
    assert left(suite) == ([] if "-k" in arguments else GONE)
    assert suite.code == (pytest.ExitCode.TESTS_FAILED if "--recorder-orphans=error" in arguments else 0)


def test_a_test_that_dies_or_is_stopped_says_nothing_of_others(suite: Project) -> None:
    suite.write("\ndef test_bad():\n    assert False\n", "test_another.py")
    suite.run("-x")
    assert left(suite) == []
    suite.write("\ndef test_bad():\n    raise KeyboardInterrupt\n", "test_zero.py")
    suite.run(apart=True)
    assert left(suite) == []
    suite.write("\ndef test_good():\n    pass\n", "test_zero.py")
    suite.write("import nowhere\n", "test_another.py")
    suite.run("--continue-on-collection-errors")
    assert left(suite) == []


@pytest.mark.parametrize(
    "text",
    [
        "@pytest.mark.recorder(file='recordings/test_app/test_two.jsonl')\ndef test_three():\n    ask()\n",
        "@pytest.mark.skip\n@pytest.mark.recorder\ndef test_two():\n    ask()\n",
        "import recorder\ndef test_a():\n    with recorder.replaying(HERE / ('test_' + 'two.jsonl')):\n        ask()\n",
        "def test_three():\n    pytest.skip('today')\n    open(HERE / 'test_two.jsonl')\n",
        "import recorder\ndef test_three():\n    recorder.replay_suite(lambda case: ask(), HERE).check()\n",
        "@pytest.mark.recorder(unused='ignore')\ndef test_two():\n    pytest.skip('now')\n",
    ],
    ids=["named", "skipped", "opened", "in the source", "in a suite", "skipped later"],
)
def test_what_a_test_has_in_another_way_is_no_orphan(suite: Project, text: str) -> None:
    here = "\nimport pathlib\nHERE = pathlib.Path(__file__).parent / 'recordings' / 'test_app'\n"
    suite.write(ONE + here + text, "test_app.py")
    suite.run()
    assert left(suite) == GONE[1:], suite.said


def test_a_test_that_passes_without_a_tape_has_none(suite: Project) -> None:
    suite.write(ONE + "def test_two():\n    pass\n", "test_app.py")
    suite.run()
    assert left(suite) == GONE


def test_what_no_test_can_have_made_is_left_alone(suite: Project) -> None:
    """Files of other tools and places, and of a module that was skipped as a whole."""
    recording = suite.tape("test_gone/test_old_one.jsonl").read_bytes()
    for name in ("shared/one.jsonl", "one.jsonl", "pinned/test_x.jsonl"):
        suite.tape(name).parent.mkdir(exist_ok=True)
        suite.tape(name).write_bytes(recording)
    suite.tape("test_gone/rows.jsonl").write_text('{"a": 1}\n', encoding="utf-8")
    suite.write("pytest.importorskip('nowhere')\n" + ONE, "test_other.py")
    suite.run("-W", "ignore")
    assert left(suite) == GONE
