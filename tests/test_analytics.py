"""Every question of analytics/ has runs whose answer was worked out by hand, and gives that answer."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest

from recorder import dialects, prices, queries
from recorder.cli.analyze import analyze
from recorder.queries import tables
from recorder.queries.asking import SLICES, Answer, Scope, ask
from recorder.queries.questions import Question, find, questions
from recorder.store import Store
from tests.asked import FOLDER, as_json, belonging, fill, load
from tests.rows import STARTED

if TYPE_CHECKING:
    import duckdb

    from tests.postgres import Postgres

NAMES: Final = [question.name for question in questions()]
#: Functions and forms that only DuckDB knows: another engine must be able to run the same files.
FOREIGN: Final = re.compile(
    r"\b(quantile\w*|list_\w+|array_agg|unnest|json_\w+|struct_pack|approx_\w+|arg_max|arg_min|max_by|min_by|date_trunc|"
    r"strftime|epoch_\w+|make_timestamp|any_value|median|mad|generate_series|range|histogram)\s*\(|"
    r"\b(QUALIFY|EXCLUDE|ILIKE|FILTER)\b|::|->",
    re.IGNORECASE,
)


@pytest.fixture(scope="module")
def connection(tmp_path_factory: pytest.TempPathFactory) -> Iterator[duckdb.DuckDBPyConnection]:
    """The runs of all questions, in one SQLite store."""
    yield from connected(str(tmp_path_factory.mktemp("analytics") / "recorder.db"))


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def either(request: pytest.FixtureRequest) -> Iterator[duckdb.DuckDBPyConnection]:
    """The same from each kind of store."""
    if request.param == "sqlite":
        yield request.getfixturevalue("connection")
        return
    server: Postgres = request.getfixturevalue("postgres")
    name = server.create_database()
    yield from connected(server.url(name))
    server.drop_database(name)


def connected(url: str) -> Iterator[duckdb.DuckDBPyConnection]:
    with Store.open(url, create=True) as store:
        for path in sorted(FOLDER.glob("*.json")):
            fill(store, path.stem, load(path.stem)["runs"])
    with contextlib.closing(queries.connect(url, events=True)) as connection:
        yield connection


def answer(connection: duckdb.DuckDBPyConnection, name: str, told: dict[str, Any], folder: Path) -> Answer:
    where = f"{belonging(name)} AND ({told.get('where', 'TRUE')})"
    moments = {key: STARTED + told[key] * 1_000_000 for key in ("since", "until") if key in told}
    return ask(
        connection,
        find(name),
        Scope(where=where, by=told.get("by"), **moments),
        given=told.get("given"),
        candidates=told.get("candidates", ()),
        prices=told.get("prices", {}),
        invoice=an_invoice(folder, told.get("invoice", ["day,billed_usd"])),
    )


def an_invoice(folder: Path, lines: Sequence[str]) -> Path:
    """A CSV file for the questions that compare with one."""
    path = folder / "invoice.csv"
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


@pytest.mark.parametrize("name", NAMES)
def test_the_answer_is_the_one_worked_out_by_hand(either: duckdb.DuckDBPyConnection, name: str, tmp_path: Path) -> None:
    asks = load(name)["asks"]
    assert asks
    for told in asks:
        found = answer(either, name, told, tmp_path)
        expected = [[as_json(value) for value in row] for row in told["rows"]]
        assert [[as_json(value) for value in row] for row in found.rows] == expected
        if "left_out" in told:
            assert [[left.column, left.runs] for left in found.left_out] == told["left_out"]


@pytest.mark.parametrize("question", questions(), ids=lambda question: question.name)
def test_a_question_is_said_for_people_and_in_portable_sql(question: Question) -> None:
    assert question.title.endswith("?")
    assert question.text
    assert not FOREIGN.search(question.sql), FOREIGN.search(question.sql)
    if question.chart:
        assert question.chart.columns


@pytest.mark.parametrize("name", ["judged", "curve"])
def test_what_is_made_of_the_runs_that_are_asked_about_is_portable_too(name: str) -> None:
    assert not FOREIGN.search(tables.shared(name))


def test_wilsons_interval_is_the_same_wherever_it_stands() -> None:
    """Portable SQL has no functions of one's own, so each file spells it out: in one way, once for each end."""
    spelled = re.compile(
        r"([\w.]+) \+ 1\.9207294103470627 / ([\w.]+) ([-+]) 1\.959963984540054 \* "
        r"sqrt\(\(\1 \* \(1 - \1\) \+ 0\.9603647051735313 / \2\) / \2\) ?\) / \(1 \+ 3\.841458820694125 / \2\)"
    )
    files = [question for question in questions() if re.search(r"3\.84|1\.92|0\.960", question.sql)]
    assert len(files) > 10
    for question in files:
        ends = [match[3] for match in spelled.finditer(" ".join(question.sql.split()))]
        assert ends == ["-", "+"], question.name


def test_what_stands_in_several_files_is_the_same_in_all() -> None:
    """Which JSON would be valid had it gone on; what no run can have used; what providers call their ordinary tier."""
    cut = [
        re.findall(r"'(\w+)'", found) for one in questions() for found in re.findall(r"IN \(\s*('in_[^)]*)", one.sql)
    ]
    assert len(cut) == 4
    assert {frozenset(words) - {"empty"} for words in cut} == {frozenset(cut[0]) - {"empty"}}
    assert set(re.findall(r"\b9{4,}\b", tables.shared("needs"))) == {str(prices.MOST_TOKENS)}
    ordinary = re.findall(r"IN \(\s*('default'[^)]*)", find("tiers").sql)
    asked, served = (set(re.findall(r"'(\w+)'", found)) for found in ordinary)
    assert served == prices._ORDINARY
    assert asked == prices._WHATEVER - {"auto"}


def test_a_question_names_only_options_that_there_are() -> None:
    there = {option for each in analyze.params for option in each.opts}
    named = {option for one in questions() for option in re.findall(r"(?<!\S)`?(--[a-z-]+)", one.text)}
    assert named
    assert named <= there


@pytest.mark.parametrize("name", NAMES)
def test_no_runs_are_no_error(connection: duckdb.DuckDBPyConnection, name: str, tmp_path: Path) -> None:
    """A count may be 0 then; nothing else is."""
    found = ask(
        connection, find(name), Scope(where="FALSE"), prices={}, invoice=an_invoice(tmp_path, ["day,billed_usd"])
    )
    assert (found.selected, found.asked, found.stands_for) == (0, 0, 0)


@pytest.mark.parametrize("by", [*SLICES, "tag:set", "metadata:it's"])
def test_each_question_can_be_asked_by_anything(connection: duckdb.DuckDBPyConnection, by: str, tmp_path: Path) -> None:
    name = NAMES[len(by) % len(NAMES)]
    invoice = an_invoice(tmp_path, ["day,billed_usd"])
    assert "slice" in ask(connection, find(name), Scope(by=by), prices={}, invoice=invoice).columns


def test_ids_and_names_are_taken_once() -> None:
    ids = [question.id for question in questions()]
    assert len(set(ids)) == len(ids)
    assert {path.stem for path in FOLDER.glob("*.json")} == set(NAMES)


def test_every_contradiction_that_is_noted_is_said_in_words() -> None:
    """T10 tells what is wrong with an answer; the dialects' sources say which words there are."""
    sources = Path(dialects.__file__).parent.glob("*.py")
    noted = {word for path in sources for word in re.findall(r'disagree\("(\w+)"\)', path.read_text(encoding="utf-8"))}
    assert len(noted) > 20
    for word in noted:
        assert f"WHEN '{word}' THEN" in find("disagreements").sql
