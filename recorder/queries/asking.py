"""A question asked of the runs that somebody wants to know about: which are meant, who is left out and why, the answer.

It works on a connection that `recorder.queries.connect` made, and makes only temporary views and tables there. It
refuses to know what a question asks; that stands in its file.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeVar, overload

from recorder import config
from recorder.errors import UsageError
from recorder.prices import MOST_TOKENS
from recorder.queries import tables
from recorder.queries.copying import quoted
from recorder.queries.questions import MOMENT, Chart, Question

if TYPE_CHECKING:
    import duckdb
    import pandas
    import polars
    import pyarrow

__all__ = ["BOUNDED", "SLICES", "Answer", "LeftOut", "Scope", "ask", "micros", "slice_of"]

_T = TypeVar("_T")

#: What runs can be told apart by, and the SQL for it; besides `tag:NAME` and `metadata:NAME`.
SLICES: Final[Mapping[str, str]] = {
    "assistant": "r.assistant_id",
    "model": "r.model",
    "group": 'r."group"',
    "thread": "r.thread_id",
    "day": "CAST(r.day AS VARCHAR)",
    "dialect": "r.dialect",
    "origin": "r.origin",
    "tier": "r.service_tier",
    "format": "r.response_format",
    "strategy": "r.truncation_strategy",
    "outcome": "r.outcome",
    "status": "r.status",
    "action": "r.action",
}

#: Figures of which one that nobody can believe would spoil the sums of all: they are taken for unknown then.
BOUNDED: Final = (
    *("input_tokens", "output_tokens", "total_tokens", "cached_tokens", "reasoning_tokens", "visible_tokens"),
    *("uncached_tokens", "cache_write_tokens", "cache_write_5m_tokens", "cache_write_1h_tokens"),
    *("max_prompt_tokens", "max_completion_tokens"),
)
_BELIEVED: Final = ", ".join(
    f"CASE WHEN r.{name} <= {MOST_TOKENS} AND r.{name} >= -{MOST_TOKENS} THEN r.{name} END AS {name}"
    for name in BOUNDED
)

_USAGE_NOT_ASKED_FOR: Final = """dialect = 'chat' AND json_extract_string(parameters, '$.stream') = 'true'
    AND coalesce(json_extract_string(parameters, '$.stream_options.include_usage'), '') <> 'true'"""

#: Why a column is not known, where more can be said than that: a condition on `runs` and the words.
_WHY: Final[Mapping[str, tuple[tuple[str, str], ...]]] = {
    "output_tokens": (
        ("outcome IN ('http_error', 'unreachable')", "requests that were refused or did not arrive"),
        (_USAGE_NOT_ASKED_FOR, "chat streams that did not ask for usage: set stream_options.include_usage"),
        ("complete IS NOT TRUE", "streams that were cut before they told"),
    ),
    "max_completion_tokens": (("TRUE", "no output cap was set"),),
    "max_prompt_tokens": (("TRUE", "no prompt cap was set"),),
    "max_completion_tokens|max_prompt_tokens": (("TRUE", "no cap was set"),),
    "thread_id": (("TRUE", "outside of a thread"),),
    "json_valid": (("TRUE", "no JSON was asked for"),),
    "cost_usd": (("TRUE", "without a price: `recorder analyze unpriced` says why"),),
}
_WHY_ALIKE: Final[Mapping[str, str]] = dict.fromkeys(
    ("input_tokens", "total_tokens", "output_tokens|input_tokens"), "output_tokens"
)

#: What is worked out of the runs that are asked about, by what a question says that it uses, in this order. They are
#: tables, as what reads them reads them several times.
_WORKED_OUT: Final[Mapping[str, tuple[str, ...]]] = {
    "curve": ("judged", "curve"),
    "features": ("features",),
    "marked": ("features", "marked"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """Which runs are meant: begun at or after `since` and before `until` (microseconds UTC), for which the SQL
    condition `where` on `runs` holds; and what they are told apart `by`: one of `SLICES`, `tag:NAME`, `metadata:NAME`.
    """

    since: int | None = None
    until: int | None = None
    where: str | None = None
    by: str | None = None


class LeftOut(NamedTuple):
    """Runs that a question could not take in, because `column` of theirs is not known."""

    column: str
    runs: int
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a question found: `rows` as tuples of `columns`, whose DuckDB types are `types`.

    `selected` runs were meant, of which the question is about `among`, and could take in `asked`; the others of these
    are `left_out`. A sampled run stands for `weight` runs: `stands_for` is the sum over `asked`. `price_list` names the
    prices that were used; `given` what was set.
    """

    question: Question
    columns: tuple[str, ...]
    types: tuple[str, ...]
    rows: Sequence[tuple[Any, ...]]
    selected: int
    among: int
    asked: int
    stands_for: float
    left_out: tuple[LeftOut, ...] = ()
    given: Mapping[str, Any]
    price_list: str | None = None

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """The rows, each a dict."""
        return (dict(zip(self.columns, row, strict=True)) for row in self.rows)

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def chart(self) -> Chart | None:
        return self.question.chart

    def df(self) -> pandas.DataFrame:
        """A pandas frame. Raises UsageError where pandas is not installed."""
        return _library("pandas").DataFrame(list(self.rows), columns=list(self.columns))

    def arrow(self) -> pyarrow.Table:
        """An Arrow table. Raises UsageError where pyarrow is not installed."""
        return _library("pyarrow").table(self._by_column())

    def pl(self) -> polars.DataFrame:
        """A polars frame. Raises UsageError where polars is not installed."""
        return _library("polars").DataFrame(self._by_column(), strict=False)

    def _by_column(self) -> dict[str, list[Any]]:
        return {name: [row[place] for row in self.rows] for place, name in enumerate(self.columns)}


@overload
def micros(moment: datetime) -> int: ...
@overload
def micros(moment: _T) -> _T: ...
def micros(moment: Any) -> Any:
    """Microseconds UTC of a datetime (local, where it names no zone); what is none is given back as it is."""
    if isinstance(moment, datetime):
        return (moment.astimezone(UTC) - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
    return moment


def _library(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError:
        raise UsageError(f"this form of the answer needs {name}; run `pip install {name}`") from None


def ask(
    connection: duckdb.DuckDBPyConnection,
    question: Question,
    scope: Scope = Scope(),
    *,
    given: Mapping[str, Any] | None = None,
    candidates: Sequence[int] = (),
    invoice: Path | None = None,
    invoice_columns: Mapping[str, str] | None = None,
    prices: Mapping[str, Any] | None = None,
    price_folder: Path | None = None,
    again: bool = False,
) -> Answer:
    """The question's answer for the runs that are meant. `prices` default to those of the settings. `again`: the one
    before was asked of the same runs, with the same given; what was worked out for it is taken as it is.

    Raises UsageError for a scope, a parameter or a condition that cannot be, and for what the question needs and
    nobody gave; and what DuckDB raises while the question's own SQL runs.
    """
    set_ = _settled(question, given or {})
    price_list = _price(connection, question, prices, price_folder) if "costs" in question.uses else None
    if "invoice" in question.uses:
        _bill(connection, question, invoice, invoice_columns)
    if "events" in question.uses and not _has(connection, "events"):
        raise UsageError(f"{question.name} looks at events: connect with events=True")
    _select(connection, scope, costs="costs" in question.uses)
    _give(connection, question, set_, candidates)
    selected, among, asked, stands_for, left_out = _counted(connection, question)
    connection.execute(f"CREATE OR REPLACE TEMP VIEW asked AS SELECT * FROM selected WHERE {_asked(question)}")  # noqa: S608
    for name in (name for used, names in _WORKED_OUT.items() if used in question.uses for name in names):
        make = "TEMP TABLE IF NOT EXISTS" if again else "OR REPLACE TEMP TABLE"
        connection.execute(f"CREATE {make} {name} AS {tables.shared(name)}")
    result = connection.execute(question.sql)
    described = result.description or []
    return Answer(
        question=question,
        columns=tuple(str(column[0]) for column in described),
        types=tuple(str(column[1]) for column in described),
        rows=result.fetchall(),
        selected=selected,
        among=among,
        asked=asked,
        stands_for=stands_for,
        left_out=left_out,
        given=set_,
        price_list=price_list,
    )


def _price(
    connection: duckdb.DuckDBPyConnection, question: Question, prices: Mapping[str, Any] | None, folder: Path | None
) -> str:
    """Make the table `costs`, and `prices` where the question uses it; the prices' version."""
    from recorder.queries import pricing

    own = config.load().prices if prices is None else prices
    return pricing.install(connection, own, folder, whole="prices" in question.uses)


def _bill(
    connection: duckdb.DuckDBPyConnection, question: Question, invoice: Path | None, columns: Mapping[str, str] | None
) -> None:
    """Make the table `invoice`. Raises UsageError where none is named, or it cannot be read."""
    from recorder.queries import pricing

    if invoice is None:
        raise UsageError(f"{question.name} compares with an invoice; name its CSV file with --invoice")
    pricing.invoice(connection, invoice, columns=dict(columns or {}))


def slice_of(by: str | None) -> str:
    """The SQL of what runs `r` are told apart by. Raises UsageError for what there is not."""
    if by is None:
        return "'all'"
    kind, colon, name = by.partition(":")
    if colon and name and kind == "tag":
        return f"(SELECT t.value FROM run_tags t WHERE t.run_id = r.run_id AND t.name = {quoted(name)})"  # noqa: S608
    if colon and name and kind == "metadata":
        pointer = "/" + name.replace("~", "~0").replace("/", "~1")  # RFC 6901
        return f"json_extract_string(r.metadata, {quoted(pointer)})"
    if by in SLICES:
        return SLICES[by]
    raise UsageError(f"runs cannot be told apart by {by!r}: give {', '.join(SLICES)}, tag:NAME or metadata:NAME")


def _select(connection: duckdb.DuckDBPyConnection, scope: Scope, *, costs: bool) -> None:
    """Make the view `selected` of the runs that are meant. Raises UsageError where the condition does not fit them."""
    import duckdb

    conditions = []
    if scope.since is not None:
        conditions.append(f"r.started_at >= {int(scope.since)}")
    if scope.until is not None:
        conditions.append(f"r.started_at < {int(scope.until)}")
    join = "LEFT JOIN costs c ON c.run_id = r.run_id" if costs else ""
    columns = f"r.* REPLACE ({_BELIEVED})" + (", c.* EXCLUDE (run_id)" if costs else "")
    where = f"WHERE {' AND '.join(conditions)}" if conditions else ""
    wanted = f"WHERE ({scope.where}\n)" if scope.where else ""
    try:
        if scope.where:
            _check_condition(connection, scope.where)
        connection.execute(
            f"CREATE OR REPLACE TEMP VIEW selected AS SELECT * FROM "  # noqa: S608 (the condition is the asker's own)
            f"(SELECT {slice_of(scope.by)} AS slice, {columns} FROM runs r {join} {where}) {wanted}"
        )
    except duckdb.Error as error:
        raise UsageError(f"the condition does not fit the runs: {_first_line(error)}") from None


def _check_condition(connection: duckdb.DuckDBPyConnection, text: str) -> None:
    """Raises UsageError where it is not one expression: it is put into a statement of ours."""
    if len(connection.extract_statements(f"SELECT 1 WHERE {text}\n")) != 1:
        raise UsageError("the condition must be one expression, such as `model = 'gpt-4o' and output_tokens > 500`")


def _known(need: str) -> str:
    """What must not be NULL: a column, or one of several (`a|b`)."""
    return f"coalesce({need.replace('|', ', ')})" if "|" in need else need


def _asked(question: Question) -> str:
    known = [f"{_known(name)} IS NOT NULL" for name in question.needs]
    return " AND ".join([*([question.among] if question.among else []), *known]) or "TRUE"


def _lacks(question: Question) -> list[str]:
    """For each need the condition on the runs that lack it, and none of those before: so each run is counted once."""
    conditions, before = [], [question.among] if question.among else []
    for name in question.needs:
        conditions.append(" AND ".join([*before, f"{_known(name)} IS NULL"]))
        before.append(f"{_known(name)} IS NOT NULL")
    return conditions


def _counted(
    connection: duckdb.DuckDBPyConnection, question: Question
) -> tuple[int, int, int, float, tuple[LeftOut, ...]]:
    """How many runs are meant, asked about, and taken in; what these stand for; and who is left out."""
    among = question.among or "TRUE"
    lacks = _lacks(question)
    lacking = [f"count(*) FILTER ({condition})" for condition in lacks]
    totals = [
        "count(*)",
        f"count(*) FILTER ({among})",
        f"count(*) FILTER ({_asked(question)})",
        f"coalesce(sum(weight) FILTER ({_asked(question)}), 0)",
    ]
    row = connection.execute(f"SELECT {', '.join([*totals, *lacking])} FROM selected").fetchone()  # noqa: S608
    if row is None:
        raise AssertionError("a SELECT of aggregates gives one row")
    left_out: list[LeftOut] = []
    for name, condition, count in zip(question.needs, lacks, row[len(totals) :], strict=True):
        if count:
            left_out += _explained(connection, condition, name, count)
    return row[0], row[1], row[2], float(row[3]), tuple(left_out)


def _explained(connection: duckdb.DuckDBPyConnection, condition: str, column: str, count: int) -> Iterator[LeftOut]:
    """The runs without that column, by the first reason that holds for each."""
    reasons = _WHY.get(_WHY_ALIKE.get(column, column), ())
    branches = " ".join(f"WHEN {holds} THEN {place}" for place, (holds, _) in enumerate(reasons))
    if not branches:
        yield LeftOut(column, count, "it is not known")
        return
    counted = connection.execute(
        f"SELECT CASE {branches} ELSE {len(reasons)} END AS reason, count(*) FROM selected "  # noqa: S608
        f"WHERE {condition} GROUP BY reason ORDER BY reason"
    )
    for place, runs in counted.fetchall():
        yield LeftOut(column, runs, reasons[place][1] if place < len(reasons) else "it is not known")


def _settled(question: Question, given: Mapping[str, Any]) -> dict[str, Any]:
    """What is set, by name; the default (SQL) where nobody set it is None. Raises UsageError for a strange name."""
    known = [one.name for one in question.given]
    for name in given:
        if name not in known:
            may = f"it takes {', '.join(known)}" if known else "it takes nothing"
            raise UsageError(f"{question.name} knows no {name!r}: {may}")
    return {name: given.get(name) for name in known}


def _give(
    connection: duckdb.DuckDBPyConnection, question: Question, set_: dict[str, Any], candidates: Sequence[int]
) -> None:
    """Make the tables `given` (one row) and `candidates`; `set_` then holds the values with the defaults."""
    import duckdb

    columns, values = ["1 AS one"], []
    for one in question.given:
        told = set_[one.name] is not None
        kind = "BIGINT" if one.kind == MOMENT else one.kind
        columns.append(f'CAST({"?" if told else one.default} AS {kind}) AS "{one.name}"')
        values += [micros(set_[one.name])] if told else []
    try:
        connection.execute(f"CREATE OR REPLACE TEMP TABLE given AS SELECT {', '.join(columns)}", values)
    except duckdb.Error as error:
        raise UsageError(f"{question.name} cannot take what was set: {_first_line(error)}") from None
    row = connection.execute("SELECT * EXCLUDE (one) FROM given" if question.given else "SELECT 1").fetchone() or ()
    set_.update({one.name: value for one, value in zip(question.given, row, strict=False)})
    for condition in question.must:
        if not connection.execute(f"SELECT 1 FROM given WHERE {condition}").fetchall():  # noqa: S608 (of the file)
            stated = ", ".join(f"{name} = {value}" for name, value in set_.items())
            raise UsageError(f"{question.name} cannot take {stated}: it must be that {condition}")
    connection.execute("CREATE OR REPLACE TEMP TABLE candidates (cap BIGINT)")
    for cap in candidates:
        connection.execute("INSERT INTO candidates VALUES (?)", [cap])


def _has(connection: duckdb.DuckDBPyConnection, table: str) -> bool:
    return bool(
        connection.execute(
            "SELECT 1 FROM duckdb_tables() WHERE table_name = ? UNION ALL "
            "SELECT 1 FROM duckdb_views() WHERE view_name = ?",
            [table, table],
        ).fetchone()
    )


def _first_line(error: Exception) -> str:
    return " ".join(str(error).split("\n\n")[0].split("LINE")[0].split())
