"""The files of analytics/ answer alike in another engine: ClickHouse (chDB) over the Parquet files of an export.

It runs where chdb is installed. Questions about money, events and invoices need tables that no export holds.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Final
from uuid import UUID

import pytest

from recorder import queries
from recorder.queries import tables
from recorder.queries.asking import Scope, ask
from recorder.queries.questions import Question, questions
from recorder.store import Store
from tests.asked import as_json, belonging, fill, load

session: Any = pytest.importorskip("chdb.session")

QUESTIONS: Final = [question for question in questions() if question.uses <= {"curve"}]

#: What ClickHouse does otherwise than the SQL standard unless it is told.
_SETTINGS: Final = (
    "join_use_nulls = 1, cast_keep_nullable = 1, aggregate_functions_null_for_empty = 1, "
    "union_default_mode = 'DISTINCT', prefer_column_name_to_alias = 1, "
    "output_format_json_quote_64bit_integers = 0, output_format_json_quote_decimals = 0"
)
#: DuckDB's types, as ClickHouse calls them.
_TYPES: Final = {
    "VARCHAR": "Nullable(String)",
    "DOUBLE": "Nullable(Float64)",
    "BIGINT": "Nullable(Int64)",
    "MOMENT": "Nullable(Int64)",
    "INTEGER": "Nullable(Int32)",
}


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> str:
    url = str(tmp_path_factory.mktemp("engines") / "recorder.db")
    with Store.open(url, create=True) as store:
        for question in QUESTIONS:
            fill(store, question.name, load(question.name)["runs"])
    return url


@pytest.fixture(scope="module")
def other(url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """The other engine, with a view for each file of the export."""
    folder = tmp_path_factory.mktemp("export")
    queries.export(url, folder)
    engine = session.Session()
    engine.query("CREATE DATABASE export ENGINE = Memory")
    engine.query("USE export")
    for path in sorted(folder.glob("*.parquet")):
        engine.query(f"CREATE VIEW {path.stem} AS SELECT * FROM file('{path}', Parquet)")
    yield engine
    engine.cleanup()


def conditions(question: Question) -> str:
    known = [f"coalesce({need.replace('|', ', ')}) IS NOT NULL" for need in question.needs]
    return " AND ".join([belonging(question.name), *known, *([f"({question.among})"] if question.among else [])])


def answer(engine: Any, question: Question, candidates: list[int]) -> list[list[Any]]:
    given = [f"CAST({one.default} AS {_TYPES[one.kind]}) AS {one.name}" for one in question.given]
    caps = " UNION ALL ".join(f"SELECT CAST({cap} AS Int64) AS cap" for cap in candidates)
    for name, select in {
        "asked": f"SELECT 'all' AS slice, * FROM runs WHERE {conditions(question)}",
        "given": f"SELECT {', '.join(given) or '1 AS one'}",
        "candidates": caps or "SELECT CAST(0 AS Int64) AS cap WHERE 0 = 1",
        **({name: tables.shared(name) for name in ("judged", "curve")} if "curve" in question.uses else {}),
    }.items():
        engine.query(f"CREATE OR REPLACE VIEW {name} AS {select}")
    found = engine.query(f"{question.sql}\nSETTINGS {_SETTINGS}", "JSONCompact").bytes()
    return [[plain(value) for value in row] for row in json.loads(found)["data"]]


def plain(value: Any) -> Any:
    """A value whichever engine gave it."""
    if isinstance(value, UUID) or (isinstance(value, str) and len(value) == 36 and value.count("-") == 4):
        return "an id"
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return float(f"{value:.9g}")
    return value


@pytest.mark.parametrize("question", QUESTIONS, ids=lambda question: question.name)
def test_two_engines_give_one_answer(url: str, other: Any, question: Question) -> None:
    told = load(question.name)["asks"][0]
    candidates = told.get("candidates", [])
    with queries.connect(url, refresh=False) as connection:
        asked = Scope(where=belonging(question.name))
        expected = ask(connection, question, asked, candidates=candidates, prices={})
    rows = [[plain(as_json(value)) for value in row] for row in expected.rows]
    assert answer(other, question, candidates) == rows
