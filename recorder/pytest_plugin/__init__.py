"""The pytest plugin: tests that call an LLM are answered from recording files, and recorded into them.

A test with the marker `recorder`, or one that asks for the fixture `tape`, has a tape of its own: a file beside it from
which all that it sends to known LLM hosts is answered. `--recorder=MODE` decides for all tests at once.

pytest loads this module in every run, whether or not a test needs it: so it imports the standard library and pytest,
and nothing else before a test has a tape. What a tape does is `recorder.tape`'s; what a test with one goes through is
in `items`, where its file lies in `names`, what files no test uses any more in `orphans`. It has no assertion for
pytest to rewrite: PYTEST_DONT_REWRITE.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Generator, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import pytest

if TYPE_CHECKING:
    from recorder.tape import Tape

__all__ = ["recorder_config", "tape"]

_MODES: Final = {
    "replay": "answer from the recordings, never from the network (the default)",
    "once": "record where a test has no recording yet, else replay",
    "record": "record anew; what is different is shown",
    "new": "replay, and add what the recording has no answer for",
    "live": "neither replay nor record: ask the network",
}
_MODE_VARIABLE: Final = "RECORDER_MODE"

#: Option of the command line and setting of the configuration file -> (what it means, whether it is a list).
_SETTINGS: Final = {
    "dir": ("folder of the recordings, beside the test or absolute (default: recordings)", False),
    "hosts": ("hosts beside the known ones whose calls are recorded and replayed: name, name:port, *.name", True),
    "others": ("calls to other hosts: pass (default) or block", False),
    "ignore": ("paths in requests that do not count, such as body.metadata.session_id", True),
    "match_headers": ("request headers that count", True),
    "normalise": ("what counts by its place alone: ids, dates, /regular expression/", True),
    "redact": ("what is never stored, beside credentials: /regex/, name: /regex/, or a path in body, response …", True),
    "repeat": ("a request asked more often than recorded: error (default), last or cycle", False),
    "pace": ("instant (default), recorded or xN", False),
    "chunks": ("recorded (default), event, joined, size:N or seed:N", False),
    "unused": ("a recording that a test does not use: error (default), warn or ignore", False),
    "max_age": ("how old recordings may be, such as 90d", False),
    "stale": ("an older one: warn (default) or error", False),
}

#: What becomes of recordings that no test uses any more. They are looked for where the whole suite was run.
_ORPHANS: Final = {
    "warn": "name them at the end (the default)",
    "error": "and let the run fail",
    "delete": "delete them",
    "ignore": "do not look for them",
}

_TAPE: Final = pytest.StashKey[Any]()
_PASSED: Final = pytest.StashKey[bool]()
_NOTES: Final = pytest.StashKey[list[str]]()
_MODE_BEFORE: Final = pytest.StashKey[Any]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """One option for the mode; each of the rest is an option and a setting."""
    group = parser.getgroup("recorder", "recorded LLM runs")
    modes = "; ".join(f"{name}: {text}" for name, text in _MODES.items())
    group.addoption("--recorder", metavar="MODE", choices=tuple(_MODES), dest="recorder_mode", help=modes)
    parser.addini("recorder_mode", "as --recorder", default=None)
    orphans = "recordings that no test uses any more: " + "; ".join(
        f"{name}: {text}" for name, text in _ORPHANS.items()
    )
    group.addoption("--recorder-orphans", choices=tuple(_ORPHANS), dest="recorder_orphans", help=orphans)
    parser.addini("recorder_orphans", orphans, default=None)
    for name, (text, is_list) in _SETTINGS.items():
        action = "append" if is_list else "store"
        group.addoption(f"--recorder-{name.replace('_', '-')}", action=action, dest=f"recorder_{name}", help=text)
        if is_list:
            parser.addini(f"recorder_{name}", text, type="linelist", default=None)
        else:
            parser.addini(f"recorder_{name}", text, default=None)


def pytest_configure(config: pytest.Config) -> None:
    """The marker's name, and the mode for `recorder.replaying` in this process and those that it starts."""
    config.addinivalue_line(
        "markers",
        "recorder(file=, hosts=, others=, ignore=, match_headers=, normalise=, redact=, repeat=, pace=, chunks=,"
        " fault=, unused=, max_age=, stale=, upstreams=): answer this test from its recording; see --recorder",
    )
    config.pluginmanager.register(_Teller(config), "recorder-teller")
    if (config.getini("recorder_orphans") or "warn") not in _ORPHANS:
        raise pytest.UsageError(f"recorder_orphans is none of {', '.join(_ORPHANS)}")
    config.stash[_MODE_BEFORE] = os.environ.get(_MODE_VARIABLE)
    os.environ[_MODE_VARIABLE] = _mode(config)


def pytest_unconfigure(config: pytest.Config) -> None:
    """Leave the environment as it was."""
    before = config.stash.get(_MODE_BEFORE, None)
    if before is None:
        os.environ.pop(_MODE_VARIABLE, None)
    else:
        os.environ[_MODE_VARIABLE] = before


def _mode(config: pytest.Config) -> str:
    """The mode of this run: the command line, then the environment, then the configuration file. Raises UsageError."""
    said = config.getoption("recorder_mode") or os.environ.get(_MODE_VARIABLE, "").strip()
    mode: str = said or config.getini("recorder_mode") or "replay"
    if mode not in _MODES:
        raise pytest.UsageError(f"recorder mode {mode!r} is none of {', '.join(_MODES)}")
    return mode


def pytest_report_header(config: pytest.Config) -> str | None:
    """Says so where the network may be asked."""
    mode = _mode(config)
    return None if mode == "replay" else f"recorder: {mode} ({_MODES[mode]})"


@pytest.fixture(scope="session")
def recorder_config() -> dict[str, Any]:
    """Options for the tapes of all tests that see it: override it in a conftest.py, in a module or a class.

    Lists add to those of the configuration file, and the marker's to these. What `redact` says is withheld from
    recordings beside credentials, which never get into one.
    """
    return {}


@pytest.fixture
def _recorder_tape(request: pytest.FixtureRequest) -> Iterator[Tape]:
    """The test's tape, whatever the test's own fixtures are called."""
    from .items import tape_of

    config = request.config
    made = tape_of(request, _mode(config), _layer(config.getoption), _layer(config.getini))
    request.node.stash[_TAPE] = made
    try:
        yield made
    finally:
        made.stop()


@pytest.fixture
def tape(_recorder_tape: Tape) -> Tape:
    """The test's tape: `run`, `runs`, `is_replaying`, `instrument(client)`, `base_url`, `env`."""
    return _recorder_tape


@pytest.fixture(autouse=True)
def _recorder(request: pytest.FixtureRequest) -> None:
    """Starts the tape of a test that has one, before its other fixtures and after those of wider scopes.

    A fixture `tape` of somebody else's is left alone: this one's is among the test's fixtures if its name is.
    """
    if request.node.get_closest_marker("recorder") is not None or "_recorder_tape" in request.fixturenames:
        request.getfixturevalue("_recorder_tape")


def _layer(get: Any) -> dict[str, Any]:
    """The settings that one place gives; empty ones are not given."""
    found = {name: get(f"recorder_{name}") for name in _SETTINGS}
    return {name: value for name, value in found.items() if value not in (None, "", [])}


# -- the test's way ---------------------------------------------------------------------------------------------------


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, Any, Any]:
    """A request that nothing answered fails the test, whoever swallowed the exception."""
    made = item.stash.get(_TAPE, None)
    if made is None:
        return (yield)
    try:
        result = yield
    except BaseException:
        if (told := made.misses or made.leftover) is not None:
            item.add_report_section("call", "recorder", told)
        raise
    if (told := made.misses) is not None:
        pytest.fail(told, pytrace=False)
    return result


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item) -> Generator[None, Any, Any]:
    """After everything: what was left over, and the file where it is to be written."""
    result = yield
    made = item.stash.get(_TAPE, None)
    if made is not None:
        from .items import finish

        item.stash[_NOTES] = finish(item, made, passed=item.stash.get(_PASSED, False))
    return result


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Notes whether the test has passed, and lets what is to be said travel with the report, also between processes."""
    report = yield
    if call.when == "call":
        item.stash[_PASSED] = report.passed and not hasattr(report, "wasxfail")
    notes = item.stash.get(_NOTES, None)
    if call.when == "teardown" and notes:
        report.recorder_notes = notes  # type: ignore[attr-defined]  # what is there travels
    return report


def _opened() -> Sequence[str]:
    """The files that tapes of this process were opened on; none where no test has loaded them."""
    files = sys.modules.get("recorder.tape.files")
    return () if files is None else files.OPENED


class _Teller:
    """Hears the reports of all tests, also of other processes', and says at the end what became of recordings."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._notes: list[str] = []
        self._part: str | None = None
        self._odd: list[str] = []
        self._told: list[Mapping[str, Any]] = []
        self._before = len(_opened())

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Keeps what `pytest_runtest_makereport` put there."""
        self._notes += getattr(report, "recorder_notes", ())

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """What was recorded, replaced or left alone."""
        if self._notes:
            terminalreporter.section("recorder")
            for note in self._notes:
                terminalreporter.write_line(note)

    # -- recordings that no test uses any more --

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """A module that cannot be collected, or is skipped, has tests that nobody knows."""
        if report.failed:
            self._part = f"{report.nodeid} could not be collected"
        elif report.skipped:
            self._odd.append(str(self._config.rootpath / report.nodeid.partition("::")[0]))

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> Generator[None, Any, Any]:
        """Tests that are taken out have recordings, too."""
        before = len(items)
        result = yield
        if len(items) != before:
            self._part = "tests were deselected"
        return result

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any, error: object) -> None:
        """Another process is through with its part of the suite (pytest-xdist)."""
        told = getattr(node, "workeroutput", {}).get("recorder_seen")
        if error or told is None:
            self._part = "a process of the run was lost"
        else:
            self._told.append(told)

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Tells the process that started this one what was seen here; that one looks for what is left over."""
        from . import names

        config = self._config
        said = config.getoption("recorder_orphans") or config.getini("recorder_orphans")
        folder = config.getoption("recorder_dir") or config.getini("recorder_dir") or names.FOLDER
        items = getattr(session, "items", [])
        there = any((parent / folder).is_dir() for parent in {item.path.parent for item in items})
        output = getattr(config, "workeroutput", None)
        if output is not None:
            output["recorder_seen"] = {}
        if said == "ignore" or not (there or any(self._told)):
            return
        from . import orphans

        free = [item.nodeid for item in items if item.stash.get(_PASSED, False) and _TAPE not in item.stash]
        seen = orphans.seen(items, folder, _opened()[self._before :], free)
        seen.part, seen.odd = self._part, self._odd
        if output is not None:
            output["recorder_seen"] = vars(seen)
            return
        for told in filter(None, self._told):
            seen.add(told)
        whole = session.exitstatus in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED)
        stopped = session.shouldstop or session.shouldfail or not whole
        part = seen.part or ("the run was stopped" if stopped else orphans.narrowed(config))
        if part is not None:
            if said in ("error", "delete"):
                self._notes.append(f"recordings without a test were not looked for: {part}")
            return
        left = orphans.orphans(seen, folder, config.getini("python_files"))
        if left:
            self._judge(session, said or "warn", left)

    def _judge(self, session: pytest.Session, said: str, left: list[Any]) -> None:
        verb = "deleted" if said == "delete" else "left over"
        self._notes += [
            f"{verb}, no test uses it any more: {os.path.relpath(one, self._config.rootpath)}" for one in left
        ]
        if said == "delete":
            from . import orphans

            orphans.delete(left)
            return
        self._notes.append("to delete what is left over: pytest --recorder-orphans=delete")
        if said == "error" and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED
