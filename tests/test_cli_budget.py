"""`recorder budget`: each limit with its figure, and an exit code that CI can go by."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

import pytest

from recorder.store import Store
from tests import fleet as fleets
from tests.command import invoke

FLEET: Final = fleets.make(3000, seed=2)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("budget") / "recorder.db"
    with Store.open(path, create=True) as made:
        fleets.fill(made, FLEET)
    return path


def checked(
    monkeypatch: pytest.MonkeyPatch, folder: Path, store: Path, settings: str, *more: str
) -> tuple[int, list[dict[str, Any]]]:
    """What the command says with these settings beside it."""
    (folder / "recorder.toml").write_text(settings, encoding="utf-8")
    monkeypatch.chdir(folder)
    done = invoke("budget", "--json", *more, store=store)
    assert done.exit_code in (0, 1), done.stderr
    return done.exit_code, [json.loads(line) for line in done.stdout.splitlines()]


def test_a_limit_that_is_kept_is_ok_and_one_that_is_not_is_broken(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, store: Path
) -> None:
    share = sum(run.weight for run in FLEET.runs if run.truncated) / sum(run.weight for run in FLEET.runs)
    code, (row,) = checked(monkeypatch, tmp_path, store, f"[budget]\nmax_truncated_share = {share + 0.001:.6f}")
    assert (code, row["verdict"], row["fails"]) == (0, "ok", False)
    assert row["figure"] == pytest.approx(share)
    assert row["runs"] == len(FLEET.runs)
    code, (row,) = checked(monkeypatch, tmp_path, store, f"[budget]\nmax_truncated_share = {share - 0.001:.6f}")
    assert (code, row["verdict"], row["fails"]) == (1, "broken", True)


def test_each_slice_must_keep_to_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, store: Path) -> None:
    settings = "[budget]\nmax_truncated_share = 0.6\nby = 'tag:app'"
    code, rows = checked(monkeypatch, tmp_path, store, settings)
    assert code == 1
    assert {row["slice"]: row["verdict"] for row in rows} == {
        app.name: "broken" if app.name == "short" else "ok" for app in fleets.APPS
    }


def test_unknown_fails_unless_the_settings_say_otherwise(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, store: Path
) -> None:
    settings = "[budget]\nmax_usd = 1000000\nwhere = \"model = 'house-7b'\""
    code, (row,) = checked(monkeypatch, tmp_path, store, settings)
    assert (code, row["verdict"], row["fails"], row["figure"]) == (1, "unknown", True, None)
    code, (row,) = checked(monkeypatch, tmp_path, store, f"{settings}\nunknown = 'ok'")
    assert (code, row["verdict"], row["fails"]) == (0, "unknown", False)
    code, (row,) = checked(monkeypatch, tmp_path, store, "[budget]\nmax_usd = 1000000\nsince = '2100-01-01'")
    assert (code, row["verdict"], row["why"]) == (1, "unknown", "there are no such runs")


def test_the_spend_is_what_the_runs_cost(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, store: Path) -> None:
    """gpt-4o: 2.50 USD for a million of input, 10 of output."""
    runs = [run for run in FLEET.of("support") if run.known]
    spent = sum(run.prompt * 2.5 + run.output * 10 for run in runs) / 1e6
    settings = (
        "[budget]\nmax_usd = 1\nmax_unpriced_share = 0.1\nwhere = \"model = 'gpt-4o' and dialect = 'assistants'\""
    )
    _, rows = checked(monkeypatch, tmp_path, store, settings)
    (usd,) = [row for row in rows if row["limit"] == "max_usd"]
    assert usd["figure"] == pytest.approx(spent)
    assert usd["runs"] == len(runs)


def test_people_get_a_line_for_each_limit(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, store: Path) -> None:
    (tmp_path / "pyproject.toml").write_text(
        "[tool.recorder.budget]\nmax_truncated_share = 0.01\nmax_p99_output_tokens = 100000\n"
        "[[tool.recorder.budget.also]]\nmax_usd_per_day = 0.001\nby = 'model'\n",
        encoding="utf-8",
    )
    monkeypatch.chdir(tmp_path)
    done = invoke("budget", store=store)
    assert done.exit_code == 1
    lines = done.stdout.splitlines()
    assert lines[0].split() == ["VERDICT", "LIMIT", "OF", "FIGURE", "MAX", "RUNS", "WHY"]
    assert [line.split()[:3] for line in lines[1:3]] == [
        ["BROKEN", "max_truncated_share", "all"],
        ["ok", "max_p99_output_tokens", "all"],
    ]
    assert any(line.startswith("UNKNOWN  max_usd_per_day") and "house-7b" in line for line in lines)
    assert "limits are broken, or not known to be kept" in done.stderr


def test_a_log_can_be_checked_too(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "recorder.toml").write_text("[budget]\nmax_truncated_share = 0.4\nleast_runs = 2", encoding="utf-8")
    (tmp_path / "log.csv").write_text("output_tokens,why\n1,stop\n2,length\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    done = invoke("budget", "--from", "log.csv", "--map", "finish_reason=why", "--json")
    assert done.exit_code == 1
    assert json.loads(done.stdout)["figure"] == 0.5


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ("", "no limit is set"),
        ("[budget]\nmax_usd = 'much'", "budget.max_usd is wrong"),
        ("[budget]\nmax_usd = 1\nsince = 'soon'", "budget.since is wrong"),
        ("[budget]\nmax_usd = 1\nby = 'colour'", "cannot be told apart"),
        ("[budget]\nmax_usd = 1\nwhere = 'colour = 1'", "does not fit the runs"),
        ("budget = 5", "budget is wrong: it must be a table"),
    ],
)
def test_wrong_settings_are_told_in_one_line(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, store: Path, settings: str, said: str
) -> None:
    (tmp_path / "recorder.toml").write_text(settings, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    done = invoke("budget", store=store)
    assert done.exit_code == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr
