"""A log that was never recorded here: nothing guessed, nothing dropped unseen, and the same answers as from a store."""

from __future__ import annotations

import contextlib
import csv
import gzip
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import duckdb
import pytest

from recorder import queries
from recorder.errors import NotFound, RecorderError, UsageError
from recorder.queries import outside
from recorder.queries.asking import Scope, ask
from recorder.queries.questions import find
from recorder.store import Store
from tests import fleet as fleets

HOSTILE: Final = "=cmd() \x1b[31m '; DROP TABLE runs; -- </script>"


def written(folder: Path, lines: Sequence[str], name: str = "log.csv") -> Path:
    path = folder / name
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def runs(path: Path, select: str, mapping: Mapping[str, str] | None = None) -> list[tuple[Any, ...]]:
    told = outside.connect(path, mapping or {})
    with contextlib.closing(told.connection) as connection:
        return connection.execute(f"SELECT {select} FROM runs ORDER BY run_id").fetchall()


def test_columns_are_taken_by_their_own_names_or_by_those_that_are_said(tmp_path: Path) -> None:
    path = written(tmp_path, ["model,tokens,why,max_tokens", "m,10,stop,20", "n,20,length,20"])
    mapping = {"output_tokens": "tokens", "finish_reason": "why", "max_completion_tokens": "max_tokens"}
    assert runs(path, "model, output_tokens, outcome, max_completion_tokens, input_tokens", mapping) == [
        ("m", 10, "completed", 20, None),
        ("n", 20, "truncated_output", 20, None),
    ]


def test_what_holds_for_all_rows_is_said_once(tmp_path: Path) -> None:
    path = written(tmp_path, ["output_tokens,finish_reason", "1,stop", "20,length"])
    mapping = {"max_completion_tokens": "=20", "origin": "=https://it's.example", "model": "="}
    told = [(20, "https://it's.example", None)] * 2
    assert runs(path, "max_completion_tokens, origin, model", mapping) == told
    with pytest.raises(UsageError, match="=many is not a whole number"):
        outside.connect(path, {"max_completion_tokens": "=many"})


@pytest.mark.parametrize("outcome", sorted(set(outside._WORDS.values())))
def test_each_word_gives_the_outcome_that_it_stands_for(tmp_path: Path, outcome: str) -> None:
    words = [word for word, stands_for in outside._WORDS.items() if stands_for == outcome]
    spellings = [*words, *(word.upper() for word in words), *(word.replace("_", "-") for word in words)]
    path = written(tmp_path, ["output_tokens,finish_reason", *(f"1,{word}" for word in spellings)])
    assert set(runs(path, "outcome")) == {(outcome,)}


def test_a_word_that_nobody_knows_counts_as_unknown_and_is_told_of(tmp_path: Path) -> None:
    path = written(tmp_path, ["output_tokens,finish_reason", "1,stop", "2,enough", "3,enough", "4,", "5,null"])
    told = outside.connect(path)
    with contextlib.closing(told.connection) as connection:
        found = connection.execute("SELECT outcome, over FROM runs ORDER BY run_id").fetchall()
    assert found == [("completed", True), *[("unknown", False)] * 4]
    assert told.rows == 5
    assert told.notes == ("'enough' says nothing here of how a run ended: 2 of the rows are left out as unknown",)


def test_what_is_not_said_stays_unknown(tmp_path: Path) -> None:
    """Also in the ways in which programs write that there is nothing."""
    nothing = ["", "null", "None", "NaN", "n/a", " "]
    path = written(
        tmp_path, ["output_tokens,input_tokens,finish_reason,weight", *(f'"{value}",0,stop,1' for value in nothing)]
    )
    assert runs(path, "output_tokens, input_tokens, model, started_at") == [(None, 0, None, None)] * len(nothing)


def test_whole_numbers_may_be_written_as_floats_as_pandas_does(tmp_path: Path) -> None:
    path = written(tmp_path, ["output_tokens,finish_reason", "12.0,stop", "1e3,stop"])
    assert runs(path, "output_tokens") == [(12,), (1000,)]


def test_times_are_iso_or_since_1970_in_seconds_milliseconds_or_microseconds(tmp_path: Path) -> None:
    moment = datetime(2026, 3, 1, 12, tzinfo=UTC)
    seconds = int(moment.timestamp())
    spellings = ["2026-03-01T12:00:00Z", "2026-03-01 12:00:00", "2026-03-01T14:00:00+02:00"]
    spellings += [f"{seconds}", f"{seconds}000", f"{seconds}000000", f"{seconds}000000000"]
    path = written(tmp_path, ["output_tokens,finish_reason,started_at", *(f"1,stop,{text}" for text in spellings)])
    assert set(runs(path, "started_at, day")) == {(seconds * 1_000_000, moment.date())}


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (["a,b", "1,2"], "does not tell how runs ended"),
        (["finish_reason", "stop"], "tells no tokens"),
        (
            ["output_tokens,finish_reason", "1,stop", "x,stop", "y,stop"],
            r"row 2 \(and 1 more\): output_tokens is not a wh",
        ),
        (["output_tokens,finish_reason", "-1,stop"], "row 1: output_tokens is not a whole number, 0 or more"),
        (["output_tokens,finish_reason", "1.5,stop"], "row 1: output_tokens is not a whole number"),
        (["output_tokens,finish_reason,weight", "1,stop,0"], "row 1: weight is not a number above 0"),
        (["output_tokens,finish_reason,started_at", "1,stop,tomorrow"], "row 1: started_at is not a time"),
        (["output_tokens,finish_reason,json_valid", "1,stop,maybe"], "row 1: json_valid is not true or false"),
    ],
)
def test_what_is_wrong_is_told_with_its_rows_and_never_with_the_value(
    tmp_path: Path, lines: list[str], said: str
) -> None:
    with pytest.raises(UsageError, match=said) as raised:
        outside.connect(written(tmp_path, lines))
    assert "tomorrow" not in str(raised.value)
    assert "maybe" not in str(raised.value)


@pytest.mark.parametrize(
    ("name", "mapping", "error", "said"),
    [
        ("gone.csv", {}, NotFound, "there is no file"),
        ("log.json", {}, UsageError, "neither .csv"),
        ("log.parquet", {}, UsageError, "cannot be read as Parquet"),
        ("a[b].csv", {}, UsageError, "rename the file"),
        ("log.csv", {"output_tokens": "gone"}, UsageError, "has no column 'gone': it has output_tokens, finish_reason"),
        ("log.csv", {"output_token": "output_tokens"}, UsageError, "did you mean 'output_tokens'"),
        ("log.csv", {"tag:": "output_tokens"}, UsageError, "nothing that a log can tell"),
    ],
)
def test_a_file_that_cannot_be_is_refused(
    tmp_path: Path, name: str, mapping: dict[str, str], error: type[RecorderError], said: str
) -> None:
    if name != "gone.csv":
        written(tmp_path, ["output_tokens,finish_reason", "1,stop"], name)
    with pytest.raises(error, match=said):
        outside.connect(tmp_path / name, mapping)


def test_parquet_and_packed_csv_say_the_same(tmp_path: Path) -> None:
    lines = ["output_tokens,finish_reason,started_at", "7,stop,2026-03-01T12:00:00Z", ",length,"]
    plain = written(tmp_path, lines)
    packed = tmp_path / "log.csv.gz"
    packed.write_bytes(gzip.compress(plain.read_bytes()))
    with contextlib.closing(duckdb.connect()) as connection:
        connection.execute(f"COPY (SELECT * FROM read_csv('{plain}')) TO '{tmp_path / 'log.parquet'}' (FORMAT parquet)")
    select = "output_tokens, outcome, started_at"
    assert runs(plain, select) == runs(packed, select) == runs(tmp_path / "log.parquet", select)


def test_hostile_values_are_values(tmp_path: Path) -> None:
    path = tmp_path / "it's.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([["output_tokens", "finish_reason", 'a"; --'], [1, "stop", HOSTILE]])
    told = outside.connect(path, {"model": 'a"; --', "tag:x'y": 'a"; --'})
    with contextlib.closing(told.connection) as connection:
        assert connection.execute("SELECT model FROM runs").fetchall() == [(HOSTILE,)]
        (row,) = ask(connection, find("T1"), Scope(by="tag:x'y"))
        assert row["slice"] == HOSTILE
        for statement in (
            f"SELECT * FROM '{path}'",
            f"COPY runs TO '{tmp_path / 'out.csv'}'",
            "SET memory_limit = '1TB'",
        ):
            with pytest.raises(duckdb.Error):
                connection.execute(statement)


def test_a_log_gives_the_same_answers_as_the_store_that_it_came_from(tmp_path: Path) -> None:
    fleet = fleets.make(1500, seed=4)
    store = tmp_path / "recorder.db"
    with Store.open(store, create=True) as opened:
        fleets.fill(opened, fleet)
    fields = ["model", "origin", "dialect", "input_tokens", "output_tokens", "cached_tokens", "max_completion_tokens"]
    fields += [
        "max_prompt_tokens",
        "outcome",
        "started_at",
        "weight",
        "duration_us",
        "ttft_us",
        "json_valid",
        "http_status",
    ]
    # What a log does not tell: runaways, requests that were asked again, and that a count is of the middle of a stream.
    where = "app = 'support' OR app = 'house'"
    with contextlib.closing(queries.connect(store)) as connection:
        rows = connection.execute(
            f"SELECT {', '.join(fields)}, app FROM (SELECT r.*, t.value AS app FROM runs r JOIN run_tags t "
            f"ON t.run_id = r.run_id AND t.name = 'app') WHERE {where} ORDER BY started_at"
        ).fetchall()
        told = tmp_path / "log.csv"
        with told.open("w", encoding="utf-8", newline="") as file:
            csv.writer(file).writerows([[*fields, "team"], *rows])
        log = outside.connect(told, {"tag:team": "team"})
        with contextlib.closing(log.connection):
            for name in ("B1", "B2", "B3", "B4", "B5", "B6", "B13", "C1"):
                options: dict[str, Any] = {"prices": {}, "given": {"target": 0.9} if name == "B5" else None}
                of_log = ask(log.connection, find(name), Scope(by="tag:team"), **options)
                scope = Scope(by="tag:app", where="slice IN ('support', 'house')")
                of_store = ask(connection, find(name), scope, **options)
                assert of_log.rows == of_store.rows, name
                assert of_log.rows
