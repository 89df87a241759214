"""A log that was never recorded here, as the tables that questions are asked of: `--from FILE.csv`, FILE.parquet.

One row of the file is one run. It becomes a reading, from which everything else is made as for recorded runs. The
file is read before the connection is locked; afterwards SQL reaches no file any more. It refuses to guess: what the
file does not say stays NULL, a word that nobody knows counts as unknown and is told of, and a value that is no number
is an error.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from recorder.errors import NotFound, UsageError
from recorder.queries import tables
from recorder.queries.copying import quoted
from recorder.queries.snapshot import locked

if TYPE_CHECKING:
    import duckdb

__all__ = ["FIELDS", "Outside", "connect"]

#: What a column of the file may tell, and how it is read; besides `tag:NAME`.
FIELDS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "output_tokens": "count",
        "input_tokens": "count",
        "cached_tokens": "count",
        "reasoning_tokens": "count",
        "total_tokens": "count",
        "max_completion_tokens": "cap",
        "max_prompt_tokens": "cap",
        "finish_reason": "outcome",
        "outcome": "outcome",
        "http_status": "count",
        "started_at": "time",
        "duration_us": "count",
        "ttft_us": "count",
        "weight": "weight",
        "json_valid": "truth",
        "model": "text",
        "origin": "text",
        "assistant_id": "text",
        "thread_id": "text",
        "group": "text",
        "dialect": "text",
        "service_tier": "text",
        "response_format": "text",
        "truncation_strategy": "text",
        "request_id": "text",
    }
)

#: outcome -> status, stop reason, the provider's word where it decides, complete, how the transport ended: the reading
#: of which analytics/_outcomes.sql makes that outcome again.
_READINGS: Final = {
    "completed": ("completed", "stop", None, True, "eof"),
    "tool_wait": ("completed", "tool_call", None, True, "eof"),
    "paused": ("incomplete", "paused", None, True, "eof"),
    "truncated_output": ("incomplete", "output_limit", None, True, "eof"),
    "truncated_prompt": ("incomplete", "input_limit", None, True, "eof"),
    "context_overflow": ("incomplete", "input_limit", "context_length_exceeded", True, "eof"),
    "content_filter": ("incomplete", "content_filter", None, True, "eof"),
    "refusal": ("completed", "refusal", None, True, "eof"),
    "cancelled": ("cancelled", "cancelled", None, True, "eof"),
    "expired": ("expired", "expired", None, True, "eof"),
    "failed": ("failed", "error", None, True, "eof"),
    "other_incomplete": ("incomplete", None, None, True, "eof"),
    "client_abort": ("unknown", None, None, False, "client_closed"),
    "upstream_cut": ("unknown", None, None, False, "reset"),
    "no_terminal": ("unknown", None, None, False, "eof"),
    "unreachable": ("unknown", None, None, False, "connect_error"),
    "unknown": ("unknown", None, None, None, "eof"),
}

#: The providers' words for why an answer ended, in lower case: OpenAI's finish_reason, status and incomplete_details,
#: Anthropic's stop_reason, Gemini's finishReason.
_WORDS: Final = {
    **{name: name for name in _READINGS},
    "http_error": "failed",
    "stop": "completed",
    "end_turn": "completed",
    "stop_sequence": "completed",
    "length": "truncated_output",
    "max_tokens": "truncated_output",
    "max_output_tokens": "truncated_output",
    "max_completion_tokens": "truncated_output",
    "max_prompt_tokens": "truncated_prompt",
    "model_context_window_exceeded": "context_overflow",
    "context_length_exceeded": "context_overflow",
    "tool_calls": "tool_wait",
    "function_call": "tool_wait",
    "tool_use": "tool_wait",
    "requires_action": "tool_wait",
    "safety": "content_filter",
    "prohibited_content": "content_filter",
    "blocklist": "content_filter",
    "spii": "content_filter",
    "recitation": "content_filter",
    "pause_turn": "paused",
    "canceled": "cancelled",
    "error": "failed",
    "incomplete": "other_incomplete",
    "in_progress": "unknown",
}

#: How programs write that there is no number.
_NOTHING: Final = "('', 'null', 'none', 'nan', 'na', 'n/a', '<na>')"
_GLOB: Final = frozenset("*?[]{}")
#: Words that nobody knows, of which so many are named.
_MOST_WORDS: Final = 5


class Outside(NamedTuple):
    """A locked connection with the tables of `recorder.queries.connect`, the rows the file had, and `notes` on them.

    Close the connection when done. `fields` is what the file tells.
    """

    connection: duckdb.DuckDBPyConnection
    rows: int
    notes: tuple[str, ...]
    fields: frozenset[str]


def connect(path: Path, mapping: Mapping[str, str] = MappingProxyType({})) -> Outside:
    """The runs of a CSV file (with a header; .gz too) or a Parquet file.

    `mapping` says which column of the file tells what: {"output_tokens": "completion_tokens"}, or what holds for all
    rows: {"max_completion_tokens": "=1024"}; a column that is called as in `FIELDS` needs no saying. Times are ISO 8601
    (UTC where they name no zone) or seconds, milliseconds or microseconds since 1970. Tokens and how each run ended
    must be told; for prices also model, origin, both sides' tokens and when.

    Raises NotFound where there is no such file, and UsageError for a file that is neither, a column that is missing,
    and values that are none, with the rows that they stand in.
    """
    import duckdb

    path = _file(path)
    connection = duckdb.connect(config={"python_enable_replacements": False, "autoinstall_known_extensions": False})
    try:
        connection.execute("SET TimeZone = 'UTC'")
        try:
            connection.execute(f"CREATE TEMP VIEW file AS SELECT * FROM {_reader(path)}")  # noqa: S608 (quoted)
            chosen = _chosen(connection, path, mapping)
            picked = ", ".join(f"{_told(column)} AS {_name(to)}" for to, column in chosen.items())
            connection.execute(f"CREATE TEMP TABLE log AS SELECT row_number() OVER () AS row, {picked} FROM file")  # noqa: S608
        except duckdb.Error as error:
            said = " ".join(str(error).split("\n")[0].split())
            raise UsageError(f"{path} cannot be read as {_kind(path)}: {said}") from None
        connection.execute("DROP VIEW file")
        _check(connection, path, chosen)
        notes = tuple(_unknown_words(connection, chosen))
        _fill(connection, chosen)
        ((rows,),) = connection.execute("SELECT count(*) FROM readings").fetchall()
        return Outside(locked(connection), rows, notes, frozenset(chosen))
    except BaseException:
        connection.close()
        raise


# -- the file ----------------------------------------------------------------------------------------------------------


def _file(path: Path) -> Path:
    if not path.is_file():
        raise NotFound(f"there is no file {path}; name a CSV or Parquet file")
    if _GLOB & set(str(path)):
        raise UsageError(f"the name {path} would be taken for a pattern; rename the file, without any of * ? [ ] {{ }}")
    return path


def _kind(path: Path) -> str:
    names = [suffix.lower() for suffix in path.suffixes[-2:]]
    if names[-1:] == [".parquet"]:
        return "Parquet"
    if names[-1:] in ([".csv"], [".tsv"], [".txt"]) or names in ([".csv", ".gz"], [".tsv", ".gz"]):
        return "CSV"
    raise UsageError(f"{path} is neither .csv (.tsv, .csv.gz) nor .parquet; write the log as one of these")


def _reader(path: Path) -> str:
    name = quoted(str(path))
    if _kind(path) == "Parquet":
        return f"read_parquet({name})"
    return f"read_csv({name}, all_varchar = true, header = true, max_line_size = 16777216)"


def _chosen(connection: duckdb.DuckDBPyConnection, path: Path, mapping: Mapping[str, str]) -> dict[str, str]:
    """What is told -> the file's column."""
    columns = [str(name) for name, *_ in connection.execute("DESCRIBE file").fetchall()]
    chosen = {name: name for name in FIELDS if name in columns}
    for field, column in mapping.items():
        if field not in FIELDS and not (field.startswith("tag:") and field != "tag:"):
            near = get_close_matches(field, FIELDS, n=1, cutoff=0.0)[0]
            raise UsageError(f"{field!r} is nothing that a log can tell: did you mean {near!r}? (or tag:NAME)")
        if column not in columns and not column.startswith("="):
            raise UsageError(f"{path} has no column {column!r}: it has {', '.join(columns[:50])}")
        chosen[field] = column
    if not {"finish_reason", "outcome"} & chosen.keys():
        raise UsageError(f"{path} does not tell how runs ended: say which column does, --map finish_reason=COLUMN")
    if not {"output_tokens", "input_tokens"} & chosen.keys():
        raise UsageError(f"{path} tells no tokens: say which column does, --map output_tokens=COLUMN")
    return chosen


# -- its values --------------------------------------------------------------------------------------------------------


def _name(text: str) -> str:
    """SQL's name."""
    return '"' + text.replace('"', '""') + '"'


def _told(column: str) -> str:
    """What a column says, as text; `=VALUE` says the same in each row."""
    return f"CAST({quoted(column[1:])} AS VARCHAR)" if column.startswith("=") else f"CAST({_name(column)} AS VARCHAR)"


def _number(field: str) -> str:
    return f"TRY_CAST(trim({_name(field)}) AS DOUBLE)"


def _absent(field: str) -> str:
    return f"({_name(field)} IS NULL OR lower(trim({_name(field)})) IN {_NOTHING})"


def _moment(field: str) -> str:
    """Microseconds: of a number by its size, as 1e11 seconds are the year 5138; of a text as ISO 8601."""
    number = _number(field)
    return f"""CASE
        WHEN {number} >= 1e17 THEN CAST({number} / 1000 AS BIGINT)
        WHEN {number} >= 1e14 THEN CAST({number} AS BIGINT)
        WHEN {number} >= 1e11 THEN CAST({number} * 1000 AS BIGINT)
        WHEN {number} >= 0 THEN CAST({number} * 1000000 AS BIGINT)
        ELSE epoch_us(TRY_CAST(trim({_name(field)}) AS TIMESTAMPTZ))
    END"""


#: kind -> what a value is in SQL (NULL where it is none), and the words for what it must be.
def _value(field: str, kind: str) -> tuple[str, str]:
    name, number = _name(field), _number(field)
    whole = f"CASE WHEN {number} = floor({number}) AND abs({number}) < 9e15 THEN CAST({number} AS BIGINT) END"
    if kind == "count":
        return f"CASE WHEN {number} >= 0 THEN {whole} END", "a whole number, 0 or more"
    if kind == "cap":  # some clients write -1 for none
        return whole, "a whole number"
    if kind == "weight":
        return f"CASE WHEN {number} > 0 AND isfinite({number}) THEN {number} END", "a number above 0"
    if kind == "truth":
        return f"TRY_CAST(trim({name}) AS BOOLEAN)", "true or false"
    if kind == "time":
        return _moment(field), "a time: ISO 8601, or seconds, milliseconds or microseconds since 1970"
    return name, "a text"


def _check(connection: duckdb.DuckDBPyConnection, path: Path, chosen: Mapping[str, str]) -> None:
    for field, column in chosen.items():
        kind = FIELDS.get(field, "text")
        if kind in {"text", "outcome"}:
            continue
        value, form = _value(field, kind)
        ((wrong, first),) = connection.execute(
            f"SELECT count(*), min(row) FROM log WHERE NOT {_absent(field)} AND ({value}) IS NULL"  # noqa: S608
        ).fetchall()
        if wrong:
            others = f" (and {wrong - 1:,} more)" if wrong > 1 else ""
            raise UsageError(f"{path}, row {first:,}{others}: {column} is not {form}; mend it, or leave it empty")


def _word(field: str) -> str:
    """A word as `_WORDS` has it."""
    return f"replace(replace(lower(trim({_name(field)})), '-', '_'), ' ', '_')"


def _outcome_field(chosen: Mapping[str, str]) -> str:
    return "outcome" if "outcome" in chosen else "finish_reason"


def _unknown_words(connection: duckdb.DuckDBPyConnection, chosen: Mapping[str, str]) -> Iterator[str]:
    field = _outcome_field(chosen)
    known = ", ".join(map(quoted, _WORDS))
    found = connection.execute(
        f"SELECT {_name(field)}, count(*) AS runs FROM log "  # noqa: S608
        f"WHERE NOT {_absent(field)} AND {_word(field)} NOT IN ({known}) "
        f"GROUP BY ALL ORDER BY runs DESC, 1 LIMIT {_MOST_WORDS + 1}"
    ).fetchall()
    for word, runs in found[:_MOST_WORDS]:
        yield f"{str(word)[:60]!r} says nothing here of how a run ended: {runs:,} of the rows are left out as unknown"
    if len(found) > _MOST_WORDS:
        yield "and more such words"


# -- the tables --------------------------------------------------------------------------------------------------------


def _fill(connection: duckdb.DuckDBPyConnection, chosen: Mapping[str, str]) -> None:
    """Make the tables of facts, the readings from the log, and what is derived from them."""
    for table in tables.carried("sqlite", content=False):
        typed, _, _ = table.there.partition(" UNION ALL ")
        connection.execute(f"CREATE TEMP TABLE incoming AS {typed}")
        connection.execute(f'CREATE TABLE "{table.name}" AS {table.here}')
        connection.execute("DROP TABLE incoming")
    connection.execute("CREATE TEMP TABLE words AS SELECT unnest(from_json(?, ?), recursive := true)", _words())
    values = _reading(chosen)
    connection.execute(
        f"INSERT INTO readings ({', '.join(map(_name, values))}) SELECT {', '.join(values.values())} "  # noqa: S608
        f"FROM log LEFT JOIN words ON words.word = {_word(_outcome_field(chosen))} ORDER BY row"
    )
    for field in chosen:
        if field.startswith("tag:"):
            connection.execute(
                f"INSERT INTO tags (recording_id, name, set_at, value) SELECT {_ID}, ?, 0, {_name(field)} "  # noqa: S608
                f"FROM log WHERE {_name(field)} IS NOT NULL",
                [field.removeprefix("tag:")],
            )
    connection.execute("DROP TABLE log")
    connection.execute("DROP TABLE words")
    for derived in tables.derived():
        connection.execute(f'CREATE TABLE "{derived.name}" AS {derived.select}')
    for view in tables.views():
        connection.execute(view)


def _words() -> list[str]:
    names = ("status", "stop_reason", "raw", "complete", "ending")
    rows = [{"word": word, **dict(zip(names, _READINGS[outcome], strict=True))} for word, outcome in _WORDS.items()]
    shape = dict.fromkeys(("word", *names), "VARCHAR") | {"complete": "BOOLEAN"}
    return [json.dumps(rows), json.dumps([shape])]


#: A run's id is the number of its row: nothing is said twice, whatever ids the log has.
_ID: Final = "CAST(printf('00000000-0000-0000-0000-%012x', row) AS UUID)"


def _reading(chosen: Mapping[str, str]) -> dict[str, str]:
    """Column of `readings` -> SQL over `log` and `words`."""
    values: dict[str, Any] = {
        "recording_id": _ID,
        "run_id": _ID,
        "reader_version": "1",
        "read_at": "0",
        "superseded": "FALSE",
        "is_run": "TRUE",
        "opens_run": "TRUE",
        "duplicate": "FALSE",
        "captured": "'full'",
        "status": "coalesce(words.status, 'unknown')",
        "stop_reason": "words.stop_reason",
        "stop_reason_raw": f"coalesce(words.raw, {_name(_outcome_field(chosen))})",
        "complete": "words.complete",
        "ending": "coalesce(words.ending, 'eof')",
        "dialect": "'raw'",
        "origin": "''",
        "weight": "1.0",
    }
    for field in chosen:
        kind = FIELDS.get(field)
        if kind is None or kind == "outcome":
            continue
        value, _ = _value(field, kind)
        if kind == "text":
            value = f"nullif({value}, '')"
        values[field] = f"coalesce({value}, {values[field]})" if field in values else value
    if "started_at" in chosen:
        values["started"] = f"make_timestamp({values['started_at']})"
    return values
