"""`recorder advise`, and `analyze` of a log: figures that are those of the questions, and sentences that say them."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from random import Random
from typing import Any, Final

import pytest

from recorder.store import Store
from tests import fleet as fleets
from tests.command import invoke, json_lines

FLEET: Final = fleets.make(4000, seed=1)
HOSTILE: Final = "=cmd() \x1b[31m</script>"


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("advise") / "recorder.db"
    with Store.open(path, create=True) as made:
        fleets.fill(made, FLEET)
    return path


def a_log(folder: Path, rows: list[tuple[Any, ...]]) -> Path:
    path = folder / "log.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("who", "used", "limit", "why"), *rows])
    return path


#: How a_log's columns are said.
MAPS: Final = tuple(
    part
    for pair in ("assistant_id=who", "output_tokens=used", "max_completion_tokens=limit", "finish_reason=why")
    for part in ("--map", pair)
)


def advised(folder: Path, rows: list[tuple[Any, ...]], *more: str) -> list[dict[str, Any]]:
    done = invoke("advise", "--from", str(a_log(folder, rows)), *MAPS, "--by", "assistant", "--json", *more)
    assert done.exit_code == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_each_group_of_a_store_has_a_row_of_its_own_without_being_told_so(store: Path) -> None:
    rows = {row["slice"]: row for row in json_lines("advise", "--target", "0.95", store=store)}
    assert set(rows) == {"asst_support", "extract", "coder", "reason", "short", "house"}
    support = rows["asst_support"]
    truth = FLEET.need(0.95, "support")
    assert support["low_tokens"] <= truth <= support["high_tokens"]
    assert support["naive_tokens"] < 0.85 * truth
    assert support["saved_usd"] is not None
    assert rows["house"]["saved_usd"] is None
    assert rows["house"]["saved_tokens"] >= 0
    assert rows["short"]["advice_tokens"] is None
    assert "the tail is censored" in rows["short"]["why"]


def test_the_table_says_it_in_figures_and_in_sentences(store: Path) -> None:
    done = invoke("advise", "--target", "0.95", store=store)
    assert done.exit_code == 0
    assert "95% BAND" in done.stdout
    lines = {line.partition(":")[0]: line for line in done.stdout.splitlines() if ": " in line}
    assert "No advice: the tail is censored" in lines["short"]
    assert "Give some of the runs a higher cap" in lines["short"]
    assert "ran away" in lines["extract"]
    assert "reasoning took all of the output" in lines["reason"]
    assert "of the runs would be cut" in lines["asst_support"]
    assert "sampled" in done.stderr


def test_csv_has_the_same_rows_as_json(store: Path) -> None:
    arguments = ("advise", "--target", "0.9", "--by", "tag:app")
    rows = list(csv.DictReader(io.StringIO(invoke(*arguments, "--format", "csv", store=store).stdout)))
    lines = json_lines(*arguments, store=store)
    assert [list(row) for row in rows] == [list(line) for line in lines]
    told = ["" if line["advice_tokens"] is None else str(line["advice_tokens"]) for line in lines]
    assert [row["advice_tokens"] for row in rows] == told


def test_prompt_caps_are_advised_too(store: Path) -> None:
    arguments = ("advise", "--kind", "prompt", "--target", "0.9", "--where", "slice = 'support'", "--by", "tag:app")
    (row,) = json_lines(*arguments, store=store)
    needs = sorted(run.prompt_need for run in FLEET.of("support") if run.outcome != "http_error")
    assert row["cap_kind"] == "prompt"
    assert row["advice_tokens"] == pytest.approx(needs[int(0.9 * len(needs))], rel=0.05)


@pytest.mark.parametrize(
    ("cap", "said"),
    [
        (None, "No cap is set: 90 tokens would be enough"),
        (50, "Raise the cap from 50 to 90"),
        (4000, "Lower the cap from 4,000 to 90"),
        (91, "The cap of 91 is about right: 90 is advised"),
    ],
)
def test_the_sentence_says_what_to_do(tmp_path: Path, cap: int | None, said: str) -> None:
    """100 runs needed 1 to 100 tokens; the cap is that of the last one, which was let go beyond it."""
    rows: list[tuple[Any, ...]] = [("a", tokens, cap if tokens == 100 else None, "stop") for tokens in range(1, 101)]
    (row,) = advised(tmp_path, rows, "--target", "0.9")
    assert row["advice_tokens"] == 90
    assert row["advice"].startswith(said)


def test_a_percentile_of_what_was_used_is_too_low_where_runs_were_cut(tmp_path: Path) -> None:
    random = Random(1)
    needs = [random.randint(1, 1000) for _ in range(4000)]
    caps = [random.choice([300, 500, 1000]) for _ in needs]
    rows = [
        ("a", min(need, cap), cap, "stop" if need <= cap else "length") for need, cap in zip(needs, caps, strict=True)
    ]
    (row,) = advised(tmp_path, rows, "--target", "0.9")
    assert row["advice_tokens"] == pytest.approx(900, rel=0.03)
    assert row["naive_tokens"] < 800


def test_a_log_has_prices_where_it_is_said_who_was_asked(tmp_path: Path) -> None:
    """gpt-4o: 10 USD for a million of output; half of the runs used 10 tokens, the others 1,010."""
    rows: list[tuple[Any, ...]] = [("a", tokens, "", "stop") for tokens in [10] * 50 + [1010] * 50]
    whose: tuple[str, ...] = (
        "--map",
        "model==gpt-4o",
        "--map",
        "origin==https://api.openai.com",
        "--map",
        "input_tokens==0",
    )
    whose += ("--map", "started_at==2026-03-01")
    (row,) = advised(tmp_path, rows, "--target", "0.5", *whose)
    assert (row["advice_tokens"], row["saved_tokens"], row["saved_usd"]) == (10, 50_000, 0.5)


def test_hostile_names_are_inert(tmp_path: Path) -> None:
    path = a_log(tmp_path, [(HOSTILE, 1, "", "stop")])
    arguments = ("advise", "--from", str(path), *MAPS, "--by", "assistant")
    for form in ("table", "json", "csv"):
        done = invoke(*arguments, "--format", form)
        assert done.exit_code == 0
        assert "\x1b" not in done.output
    assert "\n'=cmd" in invoke(*arguments, "--format", "csv").stdout or "\"'=cmd" in done.stdout


def test_nothing_to_go_by_is_said(tmp_path: Path) -> None:
    done = invoke("advise", "--from", str(a_log(tmp_path, [("a", "", "", "stop")])), *MAPS)
    assert done.exit_code == 0
    assert "nothing to say" in done.stdout
    assert "left out 1 run" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("--map", "output_tokens=used"), 2, "name a file"),
        (("--from", "gone.csv"), 3, "there is no file"),
        (("--target", "1"), 2, "--target"),
        (("--by", "colour"), 2, "cannot be told apart"),
        (("--from", "log.csv", "--map", "used"), 2, "not NAME=COLUMN"),
    ],
)
def test_what_cannot_be_asked_is_told_in_one_line(arguments: tuple[str, ...], code: int, said: str) -> None:
    done = invoke("advise", *arguments)
    assert done.exit_code == code
    assert said in done.stderr
    assert "Traceback" not in done.stderr


# -- analyze --from ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("question", ["B1", "B2", "B3", "B4", "B5", "B6"])
def test_the_questions_of_budgets_are_asked_of_a_log(tmp_path: Path, question: str) -> None:
    path = a_log(tmp_path, [("a", 10, 20, "stop"), ("a", 20, 20, "length"), ("b", 7, 20, "stop")])
    done = invoke("analyze", question, "--from", str(path), *MAPS, "--by", "assistant", "--json")
    assert done.exit_code == 0, done.stderr
    assert {json.loads(line)["slice"] for line in done.stdout.splitlines()} <= {"a", "b"}
    assert "log.csv: 3 rows" in done.stderr
    assert json.loads(done.stdout.splitlines()[0])


def test_a_log_that_tells_no_times_cannot_be_asked_since_when(tmp_path: Path) -> None:
    path = a_log(tmp_path, [("a", 10, 20, "stop")])
    done = invoke("analyze", "B4", "--from", str(path), *MAPS, "--since", "7d")
    assert done.exit_code == 2
    assert "tells no times" in done.stderr


def test_a_log_tells_nothing_of_events(tmp_path: Path) -> None:
    question = tmp_path / "mine.sql"
    question.write_text(
        "-- X1 How many events?\n-- uses: events\nSELECT count(*) AS events FROM events", encoding="utf-8"
    )
    path = a_log(tmp_path, [("a", 10, 20, "stop")])
    done = invoke("analyze", str(question), "--from", str(path), *MAPS)
    assert done.exit_code == 2
    assert "nothing of single events" in done.stderr
