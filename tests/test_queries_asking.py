"""Which runs a question is asked of, who is left out and why, and the forms of an answer."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import recorder
from recorder import queries
from recorder.errors import NotFound, UsageError
from recorder.queries.asking import Scope, ask, micros, slice_of
from recorder.queries.questions import Question, read
from recorder.store import Store
from tests.asked import fill
from tests.rows import STARTED

if TYPE_CHECKING:
    import duckdb

#: Runs that differ in whatever they can be told apart by.
RUNS: list[dict[str, Any]] = [
    {
        "started": 0,
        "status": "completed",
        "stop_reason": "stop",
        "model": "a",
        "output_tokens": 1,
        "assistant_id": "x",
        "metadata": {"k": "it's", "a/b~c": "deep", "$.k": "dollar"},
        "tags": {"team": "red"},
    },
    {
        "started": 10,
        "status": "completed",
        "stop_reason": "stop",
        "model": "b",
        "output_tokens": 2,
        "weight": 4,
        "tags": {"team": "it's"},
    },
    {
        "started": 20,
        "status": "completed",
        "stop_reason": "stop",
        "model": "b",
        "dialect": "chat",
        "complete": True,
        "parameters": {"stream": True},
    },
    {"started": 30, "status": "unknown", "model": "b", "dialect": "chat", "complete": False},
    {"started": 40, "status": "in_progress", "model": "b", "ending": None},
]


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> str:
    found = str(tmp_path_factory.mktemp("asking") / "recorder.db")
    with Store.open(found, create=True) as store:
        fill(store, "asking", RUNS)
    return found


@pytest.fixture(scope="module")
def connection(url: str) -> Iterator[duckdb.DuckDBPyConnection]:
    with contextlib.closing(queries.connect(url)) as connected:
        yield connected


@pytest.fixture
def count(tmp_path: Path) -> Question:
    """How many runs, by slice; it is about those that are over, and needs their output tokens."""
    return made(tmp_path, "-- among: over\n-- needs: output_tokens")


def made(folder: Path, head: str, select: str = "count(*) AS runs, sum(weight) AS weighted") -> Question:
    path = folder / "count.sql"
    path.write_text(f"-- X1 How many?\n{head}\nSELECT slice, {select} FROM asked GROUP BY slice ORDER BY slice")
    return read(path)


def test_who_is_meant_asked_and_left_out_is_counted(connection: duckdb.DuckDBPyConnection, count: Question) -> None:
    found = ask(connection, count)
    assert (found.selected, found.among, found.asked, found.stands_for) == (5, 4, 2, 5.0)
    assert found.rows == [("all", 2, 5.0)]
    assert [(left.column, left.runs, left.why) for left in found.left_out] == [
        ("output_tokens", 1, "chat streams that did not ask for usage: set stream_options.include_usage"),
        ("output_tokens", 1, "streams that were cut before they told"),
    ]


def test_a_column_about_which_nothing_more_is_known(connection: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    (left,) = ask(connection, made(tmp_path, "-- needs: service_tier")).left_out
    assert left == ("service_tier", 5, "it is not known")


@pytest.mark.parametrize(
    ("by", "rows"),
    [
        (None, [("all", 2)]),
        ("model", [("a", 1), ("b", 1)]),
        ("assistant", [("x", 1), (None, 1)]),
        ("tag:team", [("it's", 1), ("red", 1)]),
        ("metadata:k", [("it's", 1), (None, 1)]),
        ("metadata:a/b~c", [("deep", 1), (None, 1)]),
        ("metadata:$.k", [("dollar", 1), (None, 1)]),
        ("tag:it's nowhere", [(None, 2)]),
    ],
)
def test_runs_are_told_apart(
    connection: duckdb.DuckDBPyConnection, count: Question, by: str | None, rows: list[tuple[Any, ...]]
) -> None:
    assert [row[:2] for row in ask(connection, count, Scope(by=by)).rows] == rows


@pytest.mark.parametrize("by", ["nonsense", "tag:", "metadata:", ":k", "label:k", ""])
def test_what_runs_cannot_be_told_apart_by_is_refused(by: str) -> None:
    with pytest.raises(UsageError, match="tag:NAME or metadata:NAME"):
        slice_of(by)


@pytest.mark.parametrize(
    ("scope", "selected"),
    [
        (Scope(since=STARTED + 10_000_000), 4),
        (Scope(until=STARTED + 10_000_000), 1),
        (Scope(since=STARTED + 10_000_000, until=STARTED + 30_000_000), 2),
        (Scope(where="model = 'b' OR model = 'a'", since=STARTED + 30_000_000), 2),
        (Scope(where="model = ';' -- a remark"), 0),
        (Scope(where="slice = 'a'", by="model"), 1),
    ],
)
def test_only_the_runs_that_are_meant_count(
    connection: duckdb.DuckDBPyConnection, count: Question, scope: Scope, selected: int
) -> None:
    assert ask(connection, count, scope).selected == selected


@pytest.mark.parametrize("where", ["nonsense = 1", "model =", "1; DROP VIEW selected", "TRUE) OR (", "run_id = 7 +"])
def test_a_condition_that_does_not_fit_is_told_of(
    connection: duckdb.DuckDBPyConnection, count: Question, where: str
) -> None:
    with pytest.raises(UsageError, match="condition"):
        ask(connection, count, Scope(where=where))


def test_what_a_question_takes_is_set_or_has_its_default(connection: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    question = made(
        tmp_path, "-- given: target DOUBLE = 0.5\n-- given: word VARCHAR = 'it''s'", "(SELECT target FROM given) AS t"
    )
    assert ask(connection, question).given == {"target": 0.5, "word": "it's"}
    told = ask(connection, question, given={"target": "0.25"})
    assert told.rows[0][1] == 0.25
    with pytest.raises(UsageError, match="cannot take what was set"):
        ask(connection, question, given={"target": "high"})
    with pytest.raises(UsageError, match="knows no 'cap': it takes target, word"):
        ask(connection, question, given={"cap": 1})


def test_candidates_are_a_table(connection: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    question = made(tmp_path, "", "(SELECT sum(cap) FROM candidates) AS caps")
    assert ask(connection, question, candidates=[256, 512]).rows == [("all", 768)]
    assert ask(connection, question).rows == [("all", None)]


def test_what_a_question_uses_and_nobody_gave_is_told_of(connection: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="events=True"):
        ask(connection, made(tmp_path, "-- uses: events"))
    with pytest.raises(UsageError, match="--invoice"):
        ask(connection, made(tmp_path, "-- uses: invoice"))


def test_one_question_leaves_nothing_for_the_next(connection: duckdb.DuckDBPyConnection, count: Question) -> None:
    ask(connection, count, Scope(where="FALSE"))
    assert ask(connection, count).selected == 5


def test_an_answer_is_rows_and_frames(connection: duckdb.DuckDBPyConnection, count: Question) -> None:
    found = ask(connection, count, Scope(by="model"))
    assert list(found) == [{"slice": "a", "runs": 1, "weighted": 1.0}, {"slice": "b", "runs": 1, "weighted": 4.0}]
    assert len(found) == 2
    for module, form in (("pandas", found.df), ("pyarrow", found.arrow), ("polars", found.pl)):
        try:
            __import__(module)
        except ImportError:
            with pytest.raises(UsageError, match=f"pip install {module}"):
                form()
        else:
            assert len(form()) == 2


def test_a_store_is_asked_by_its_path_or_through_a_handle(url: str) -> None:
    answer = recorder.query(url, "cap_use", by="model", where="TRUE")
    assert answer.question.id == "B1"
    assert answer.selected == 5
    moment = datetime.fromtimestamp(STARTED / 1_000_000 + 10, UTC)
    assert recorder.query(url, "B1", since=moment).selected == 4
    with pytest.raises(NotFound):
        recorder.query(url, "nonsense")
    with recorder.open(url) as tape:
        assert tape.query("cap_use").selected == 5


def test_moments_are_microseconds_utc() -> None:
    assert micros(None) is None
    assert micros(7) == 7
    assert micros(datetime(1970, 1, 1, 0, 0, 1, 5, tzinfo=UTC)) == 1_000_005


def test_a_figure_that_nobody_can_believe_is_unknown(tmp_path: Path) -> None:
    """One answer that states 2^63-1 tokens, and one weight of ten millions, spoil no question of the others."""
    url = str(tmp_path / "odd.db")
    run: dict[str, Any] = {"status": "completed", "stop_reason": "stop", "model": "gpt-4o", "input_tokens": 1}
    most = 2**63 - 1
    with Store.open(url, create=True) as store:
        odd = {**run, "output_tokens": most, "total_tokens": most, "max_completion_tokens": most, "weight": 1e7}
        fill(store, "odd", [odd, {**run, "output_tokens": 7, "total_tokens": 8}])
    for name in ("no_cap", "waste", "cap_what_if", "cap_advice", "cap_use", "spend", "spend_by_day", "budget_burn"):
        recorder.query(url, name)
    (row,) = recorder.query(url, "no_cap")
    assert row["max_output_tokens"] == 7


def test_odd_figures_inside_the_facts_keep_no_store_from_being_asked(tmp_path: Path) -> None:
    url = str(tmp_path / "odd.db")
    told: list[dict[str, Any]] = [
        {"facts": {"steps": [1, None, {"usage": 3}, {"usage": {"prompt_tokens": "many", "completion_tokens": 2}}]}},
        {"facts": {"steps": "no", "arguments": [{"valid": "perhaps", "chars": "x"}], "in_progress_us": "soon"}},
        {"facts": {"whitespace": {"at": "x", "to_end": 5}, "json": {"depth": "deep"}, "choices": "x"}},
        {"parameters": {"additional_messages": {"$omitted": {"bytes": "all"}}}},
        {"truncation_strategy": "last_messages:all"},
    ]
    with Store.open(url, create=True) as store:
        fill(store, "odd", [{"status": "completed", "stop_reason": "stop", **each} for each in told])
    with contextlib.closing(queries.connect(url)) as connected:
        assert connected.execute("SELECT count(*) FROM runs").fetchall() == [(5,)]
        assert connected.execute("SELECT input_tokens, output_tokens FROM steps WHERE number = 4").fetchall() == [
            (None, 2)
        ]


def test_a_run_that_lacks_several_things_is_left_out_once(
    connection: duckdb.DuckDBPyConnection, tmp_path: Path
) -> None:
    path = tmp_path / "lacks.sql"
    path.write_text("-- X1 Which?\n-- needs: assistant_id, output_tokens\nSELECT count(*) AS runs FROM asked\n")
    answer = ask(connection, read(path))
    assert answer.among == answer.asked + sum(left.runs for left in answer.left_out)
    assert [(left.column, left.runs) for left in answer.left_out] == [("assistant_id", 4)]


@pytest.mark.parametrize(
    ("name", "given"),
    [("cap_advice", {"target": 1}), ("cap_advice", {"target": 99}), ("cap_advice", {"target": "nan"})]
    + [(name, {"kind": "nonsense"}) for name in ("cap_advice", "cap_what_if", "need_curve")],
)
def test_what_makes_no_sense_is_said_and_not_answered(
    connection: duckdb.DuckDBPyConnection, name: str, given: dict[str, Any]
) -> None:
    with pytest.raises(UsageError, match="it must be that"):
        ask(connection, queries.find(name), given=given)


def test_what_was_worked_out_for_one_question_serves_the_next_of_the_same_runs(
    connection: duckdb.DuckDBPyConnection,
) -> None:
    """Asked again it says the same; and of other runs only what was not asked again is worked out anew."""
    given = {"feature": "model", "value": "a"}
    asked_twice = [
        ask(connection, queries.find("fault_times"), given=given, again=again).rows for again in (False, True)
    ]
    assert asked_twice[0] == asked_twice[1] != []
    nobody = Scope(where="FALSE")
    assert ask(connection, queries.find("fault_times"), nobody, given=given, again=True).rows == asked_twice[0]
    assert ask(connection, queries.find("fault_times"), nobody, given=given).rows == []
