"""`recorder analyze`: which question of which runs, in each form, and what is said of those who are left out."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any, Final

import duckdb
import pytest

from recorder.queries import questions
from recorder.store import Store
from tests.asked import fill
from tests.command import invoke, json_lines

HOSTILE: Final = "=cmd|' /C calc'!A0 \x1b[31mred\u202e</script>"

RUNS: Final[list[dict[str, Any]]] = [
    {
        "status": "completed",
        "stop_reason": "stop",
        "model": "a",
        "output_tokens": 50,
        "max_completion_tokens": 100,
        "metadata": {HOSTILE: HOSTILE, "team": "red"},
        "duration_us": 1_500_000,
    },
    {
        "status": "incomplete",
        "stop_reason": "output_limit",
        "model": HOSTILE,
        "output_tokens": 100,
        "weight": 3,
        "max_completion_tokens": 100,
        "started": 86400,
        "tags": {HOSTILE: "x'; DROP TABLE runs; --"},
    },
    {"status": "completed", "stop_reason": "stop", "model": "a", "started": 86400},
]

#: A question of a user's own.
MINE: Final = """\
-- X1 How many?
-- Counts.
-- given: least BIGINT = 1
-- given: at MOMENT = NULL
-- chart: bars slice runs
SELECT slice, count(*) AS runs, max(g.at) AS at, CAST(1 AS DECIMAL(9, 2)) AS money_usd, TRUE AS yes
FROM asked CROSS JOIN given g GROUP BY slice HAVING count(*) >= max(g.least) ORDER BY slice
"""


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("analyze") / "recorder.db"
    with Store.open(path, create=True) as made:
        fill(made, "analyze", RUNS)
    return path


@pytest.fixture
def mine(tmp_path: Path) -> str:
    path = tmp_path / "mine.sql"
    path.write_text(MINE)
    return str(path)


def test_without_a_question_the_first_ones_are_answered(store: Path) -> None:
    done = invoke("analyze", store=store)
    assert done.exit_code == 0, done.stderr
    for question in questions():
        assert (f"{question.id}  {question.title}" in done.stdout) == question.is_default
    assert "B1: 2 runs of 3" in done.stderr
    assert "which stand for 4 (sampled)" in done.stderr
    assert "left out 1 run: no cap was set" in done.stderr


def test_the_questions_are_listed(store: Path) -> None:
    listed = invoke("analyze", "--list").stdout
    assert all(question.id in listed and question.title in listed for question in questions())
    rows = json_lines("analyze", "--list", store=store)
    assert [row["id"] for row in rows] == [question.id for question in questions()]
    assert rows[0]["name"] == "cap_use"


def test_rows_are_json_lines_and_csv(store: Path) -> None:
    rows = json_lines("analyze", "B1", "--by", "model", store=store)
    assert [(row["slice"], row["runs"], row["max_share"]) for row in rows] == [(HOSTILE, 1, 1.0), ("a", 1, 0.5)]
    text = invoke("analyze", "B1", "--by", "model", "--format", "csv", store=store).stdout
    told = list(csv.DictReader(io.StringIO(text)))
    assert told[0]["slice"].startswith("'=cmd")
    assert "\x1b" not in text
    assert "\u202e" not in text


def test_rows_are_a_parquet_file(store: Path, tmp_path: Path) -> None:
    path = tmp_path / "it's.parquet"
    assert invoke("analyze", "B1", "--format", "parquet", "-o", str(path), store=store).exit_code == 0
    found = duckdb.execute(f"SELECT slice, runs, max_share FROM '{str(path).replace(chr(39), chr(39) * 2)}'").fetchall()
    assert found == [("all", 2, 1.0)]
    for wrong in (["--format", "parquet"], ["-o", str(path)]):
        done = invoke("analyze", "B1", *wrong, store=store)
        assert (done.exit_code, "go together" in done.stderr) == (2, True)


def test_nothing_hostile_reaches_the_terminal(store: Path) -> None:
    for by in ("model", f"tag:{HOSTILE}", f"metadata:{HOSTILE}"):
        for arguments in (["B1"], ["B1", "--chart"], ["T1", "--chart"]):
            done = invoke("analyze", *arguments, "--by", by, store=store)
            assert done.exit_code == 0, done.stderr
            assert "\x1b" not in done.stdout + done.stderr
            assert "\u202e" not in done.stdout + done.stderr


def test_figures_have_their_units_and_unknown_is_a_dash(store: Path, mine: str) -> None:
    shown = invoke("analyze", "L1", store=store).stdout
    assert "1.50 s" in shown
    assert "5 us" in shown
    assert "slice" not in shown
    assert "50.0%" in invoke("analyze", "B1", store=store).stdout
    (row,) = [line.split() for line in invoke("analyze", mine, store=store).stdout.splitlines()[2:]]
    assert row == ["3", "-", "$1.0000", "yes"]


def test_only_the_runs_that_are_meant(store: Path) -> None:
    (row,) = json_lines("analyze", "B1", "--until", "2026-09-22T00:00Z", store=store)
    assert (row["runs"], row["max_share"]) == (1, 0.5)
    (row,) = json_lines("analyze", "B1", "--where", "truncated", store=store)
    assert (row["runs"], row["max_share"]) == (1, 1.0)
    assert json_lines("analyze", "B1", "--since", "2026-09-29", store=store) == []


def test_nothing_to_say_is_said(store: Path) -> None:
    done = invoke("analyze", "B1", "--where", "FALSE", "--chart", store=store)
    assert done.exit_code == 0
    assert "nothing to say" in done.stdout


def test_what_a_question_takes_is_set(store: Path, mine: str) -> None:
    assert json_lines("analyze", mine, "--set", "least=4", store=store) == []
    (row,) = json_lines("analyze", mine, "--set", "at=1970-01-01T00:00:01Z", store=store)
    assert row["at"] == 1_000_000
    for wrong, said in (
        ("at=nonsense", "is a moment"),
        ("least=many", "cannot take"),
        ("x=1", "knows no 'x'"),
        ("least", "not NAME=VALUE"),
    ):
        done = invoke("analyze", mine, "--set", wrong, store=store)
        assert (done.exit_code, said in done.stderr) == (2, True), done.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["B99"], 3, "no question 'B99'"),
        (["cap_us"], 3, "did you mean B1 (cap_use)?"),
        (["absent.sql"], 3, "no file absent.sql"),
        (["B1", "--by", "colour"], 2, "tag:NAME"),
        (["B1", "--where", "colour = 1"], 2, "condition"),
        (["B1", "--since", "soon"], 2, "is not a time"),
        (["C7"], 2, "--invoice"),
        (["--json"], 2, "name a QUESTION"),
    ],
)
def test_what_cannot_be_asked_is_told_of_in_a_line(store: Path, arguments: list[str], code: int, said: str) -> None:
    done = invoke("analyze", *arguments, store=store)
    assert (done.exit_code, said in done.stderr) == (code, True), done.stderr
    assert "Traceback" not in done.stderr


def test_a_question_of_ones_own_that_is_wrong_sql_is_told_of(store: Path, tmp_path: Path) -> None:
    path = tmp_path / "mine.sql"
    path.write_text("-- X1 Why?\nSELECT nonsense FROM asked")
    done = invoke("analyze", str(path), store=store)
    assert (done.exit_code, "nonsense" in done.stderr) == (2, True)


def test_no_store_is_told_of(tmp_path: Path) -> None:
    done = invoke("analyze", "B1", store=tmp_path / "absent.db")
    assert done.exit_code in (3, 4)
    assert json.dumps(done.stderr).count("\\n") == 1
