"""`recorder blast` as a shell sees it: what shares a run's fault, what goes with it, and what cannot be said."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import pytest

from recorder.store import RunFilter, Store
from tests.asked import fill
from tests.command import invoke, json_lines

HOUR: Final = 3600
GOOD: Final = {"status": "completed", "stop_reason": "stop"}
CUT: Final = {"status": "in_progress", "ending": "reset", "complete": False, "duration_us": 5_000_000}
HERE: Final = {"facts": {"region": "FRA"}}
THERE: Final = {"facts": {"region": "AMS"}}
REFUSED: Final = {
    "status": "failed",
    "stop_reason": "error",
    "http_status": 429,
    "facts": {"evidence": {"error": {"code": "rate_limit_exceeded"}}, "content": {"error_message": "Slow down 17"}},
}


#: A quiet day; then within an hour eight runs that were cut, all answered in one region; later others.
RUNS: Final[list[dict[str, Any]]] = [
    {**GOOD, **HERE, "started": 0, "model": "a", "times": 40},
    {**GOOD, **THERE, "started": 0, "model": "a", "times": 40},
    {**CUT, **THERE, "started": 0, "model": "a"},
    {**GOOD, **HERE, "started": 30 * HOUR, "model": "a", "times": 2},
    {**GOOD, **THERE, "started": 30 * HOUR, "model": "a", "times": 12},
    {**CUT, **HERE, "started": 30 * HOUR, "model": "a", "times": 7},
    {**CUT, **HERE, "started": 30 * HOUR + 60, "model": "a", "provider_run_id": "run_bad"},
    {**GOOD, "started": 40 * HOUR, "provider_run_id": "run_good"},
    {**REFUSED, "started": 40 * HOUR, "provider_run_id": "run_429"},
    {**CUT, "started": 40 * HOUR, "tags": {"who": "\x1b[2Jx"}, "provider_run_id": "run_esc"},
]


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One store for all: nothing here changes it."""
    path = tmp_path_factory.mktemp("blast") / "recorder.db"
    with Store.open(path, create=True) as store:
        fill(store, "blast", RUNS)
    return path


def told(path: Path, *arguments: str) -> dict[str, list[dict[str, Any]]]:
    """The lines of `--json` by what they are about."""
    found: dict[str, list[dict[str, Any]]] = {"fault": [], "feature": [], "time": [], "run": []}
    for line in json_lines("blast", *arguments, store=path):
        found[line.pop("about")].append(line)
    return found


WIDE: Final = ("--before", "2d")


def test_what_the_faulty_runs_have_in_common_stands_first(path: Path) -> None:
    found = told(path, "run_bad", *WIDE)
    (fault,) = found["fault"]
    assert (fault["feature"], fault["value"]) == ("outcome", "upstream_cut")
    assert (fault["window_runs"], fault["window_all"]) == (8, 22)
    assert (fault["before_runs"], fault["before_all"]) == (1, 81)
    assert fault["change_verdict"] == "more"
    assert fault["low_change"] < fault["change"] < fault["high_change"]
    assert fault["change"] == pytest.approx(8 / 22 * 81)
    first = next(one for one in found["feature"] if one["kind"] == "circumstance")
    assert (first["feature"], first["value"], first["verdict"], first["shared"]) == ("region", "FRA", "more", True)
    assert (first["fault_runs"], first["fault_all"], first["rest_runs"], first["rest_all"]) == (8, 8, 2, 14)
    assert [one["verdict"] for one in found["feature"] if one["feature"] == "model"] == ["unclear"]


def test_the_runs_that_share_it_are_listed_and_so_is_when(path: Path) -> None:
    found = told(path, "run_bad", *WIDE, "--limit", "5")
    assert [run["anchor"] for run in found["run"]] == [True, *[False] * 4]
    with Store.open(path) as store:
        (bad,) = [run for run in store.runs(RunFilter(limit=1000)) if run.provider_run_id == "run_bad"]
    assert found["run"][0]["run_id"] == str(bad.run_id)
    assert sum(span["fault_runs"] for span in found["time"] if span["later"]) == 8
    assert sum(span["runs"] for span in found["time"]) == 103


def test_a_feature_alone_is_the_runs_and_with_a_value_needs_no_run(path: Path) -> None:
    (own,) = told(path, "run_bad", "--feature", "region", *WIDE)["fault"]
    assert (own["feature"], own["value"], own["window_runs"]) == ("region", "FRA", 10)
    window = ("--since", "2026-09-21T00:00+00:00", "--until", "2026-09-24T00:00+00:00")
    found = told(path, "--feature", "region=AMS", *window)
    assert (found["fault"][0]["value"], found["fault"][0]["run_id"]) == ("AMS", None)
    assert {one["value"] for one in found["feature"] if one["feature"] == "outcome"} == {"completed", "upstream_cut"}


def test_an_error_is_named_before_the_outcome_and_its_message_by_its_shape(path: Path) -> None:
    found = told(path, "run_429")
    assert (found["fault"][0]["feature"], found["fault"][0]["value"]) == ("error", "rate_limit_exceeded")
    assert {("http_status", "429"), ("error_message", "Slow down #"), ("outcome", "http_error")} <= {
        (one["feature"], one["value"]) for one in found["feature"]
    }


def test_too_few_are_not_said_to_be_more(path: Path) -> None:
    """One run with its error, and a few without: whatever it has alone, that says nothing."""
    found = told(path, "run_429")
    assert {one["verdict"] for one in found["feature"]} == {"few"}
    done = invoke("blast", "run_429", store=path)
    assert "too few to say whether it is more often now" in done.stdout


def test_people_see_the_finding_and_no_terminal_is_obeyed(path: Path) -> None:
    done = invoke("blast", "run_esc", "--chart", *WIDE, store=path)
    assert done.exit_code == 0, done.stderr
    assert "\x1b" not in done.stdout
    assert "outcome=upstream_cut, as in run " in done.stdout
    assert "What goes with it" in done.stdout
    assert "How it shows" in done.stdout


def test_shares_are_of_what_sampled_runs_stand_for(tmp_path: Path) -> None:
    """Eight faulty runs among ten that stand for ten each: the share beside the counts lies in its interval."""
    path = tmp_path / "recorder.db"
    with Store.open(path, create=True) as store:
        fill(store, "sampled", [
            {**GOOD, **THERE, "started": 0, "model": "a", "weight": 10.0, "times": 10},
            {**CUT, **HERE, "started": 1, "model": "a", "times": 8},
        ])  # fmt: skip
    (fault,) = told(path, "@last")["fault"]
    assert fault["window_share"] == pytest.approx(8 / 108)
    said = invoke("blast", "@last", store=path).stdout
    assert "8 of 18 runs (7.4 %)" in said
    assert "sampled" in said


def test_what_is_known_of_a_run_is_listed(path: Path) -> None:
    known = json_lines("blast", "run_bad", "--list", store=path)
    assert [one["feature"] for one in known if one["names_fault"]] == ["outcome"]
    assert {"region", "model", "ending", "cut_after", "tag:set"} <= {one["feature"] for one in known}
    assert "its fault" in invoke("blast", "run_bad", "--list", store=path).stdout


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        ((), 2, "name a RUN"),
        (("--feature", "model"), 2, "--feature NAME=VALUE"),
        (("run_good",), 2, "nothing went wrong with RUN: say what to look for with --feature, one of assistant"),
        (("run_bad", "--feature", "colour"), 2, "RUN has no 'colour'"),
        (("run_bad", "--where", "model = 'b'"), 3, "none of the runs that --where leaves"),
        (("run_bad", "--where", "nonsense"), 2, "the condition does not fit the runs"),
        (("run_bad", "--since", "1h"), 2, "outside of the window"),
        (("run_bad", "--since", "1h", "--until", "2h"), 2, "ends before it begins"),
        (("run_bad", "--since", "9000d", "--until", "1h", "--window", "1h"), 2, "leave --window out"),
        (("--feature", "model=zzz"), 3, "no run has model=zzz in this window"),
        (("run_nobody",), 3, "run_nobody"),
    ],
)
def test_what_cannot_be_answered_says_why(path: Path, arguments: tuple[str, ...], code: int, said: str) -> None:
    done = invoke("blast", *arguments, store=path)
    assert done.exit_code == code, done.stderr
    assert said in " ".join(done.stderr.split())
    assert done.stdout == ""
