"""The tables, written once for SQLite and PostgreSQL: what alembic migrates to and what the store compiles from.

This module refuses to know how rows are written and what they mean. It keeps four rules, which a test checks, so
that the same statements also run on a PostgreSQL that is sharded by `recording_id`:

- every primary key starts with `recording_id`, a UUIDv7 made by the writer (never a provider's id);
- nothing is unique without it, nothing autoincrements, there are no foreign keys between recordings;
- every constraint and index is named;
- times are integer microseconds UTC, payloads are bytes.

Facts (`recordings`, `events`, `endings`, `tags`, `erasures`) are append-only, which triggers enforce. `readings`
is derived and replaced at will; `leases` says which writer is alive for a recording that is still open; `logged`,
append-only too, is the order in which sealed recordings came under checkpoints.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Dialect,
    Double,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    Table,
    Text,
    TypeDecorator,
    Uuid,
    text,
)

if TYPE_CHECKING:
    from sqlalchemy.types import TypeEngine

__all__ = [
    "APPLICATION_ID",
    "CONTENT",
    "FACT_TABLES",
    "PARAMETERS",
    "REVISION",
    "VIEWS",
    "additions",
    "endings",
    "erasures",
    "events",
    "leases",
    "logged",
    "metadata",
    "readings",
    "recordings",
    "tags",
    "triggers",
    "views",
]

#: The schema this code writes: "major.minor". A newer minor only adds; a newer major is refused.
REVISION = "1.3"

#: SQLite's `PRAGMA application_id`: "recr" in ASCII, so that `file` and recorder can tell a store from other files.
APPLICATION_ID = 0x72656372


class Id(TypeDecorator[UUID]):
    """A recording id: native `uuid` on PostgreSQL, 16 bytes on SQLite."""

    impl = LargeBinary
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        return dialect.type_descriptor(Uuid() if dialect.name == "postgresql" else LargeBinary(16))

    def process_bind_param(self, value: UUID | None, dialect: Dialect) -> Any:
        return value if value is None or dialect.name == "postgresql" else value.bytes

    def process_result_value(self, value: Any, dialect: Dialect) -> UUID | None:
        return value if value is None or isinstance(value, UUID) else UUID(bytes=bytes(value))


metadata = MetaData()


def _table(name: str, key: Sequence[str], *columns: Column[Any]) -> Table:
    return Table(name, metadata, *columns, PrimaryKeyConstraint(*key, name=f"{name}_pkey"))


def _id(name: str = "recording_id", *, nullable: bool = False) -> Column[Any]:
    return Column(name, Id(), nullable=nullable)


recordings = _table(
    "recordings",
    ["recording_id"],
    _id(),
    Column("started_at", BigInteger, nullable=False),
    _id("writer"),
    Column("dialect", Text, nullable=False),
    Column("origin", Text, nullable=False),
    Column("content", Text, nullable=False),
    Column("weight", Double, nullable=False),
    # the request; NULL once erased
    Column("method", Text, nullable=False),
    Column("url", Text),
    Column("headers", Text),
    Column("body", LargeBinary),
    Column("body_encoding", Text),
    Column("body_size", BigInteger, nullable=False),
    Column("body_sha256", LargeBinary),
    Column("salt", LargeBinary),
    Column("match_key", LargeBinary),
    Column("match_rule", Text),
    # whose call it was
    Column("session", Text),
    Column("trace", Text),
    _id("call", nullable=True),
    Column("tags", Text),
    # hot parameters
    Column("model", Text),
    Column("assistant_id", Text),
    Column("thread_id", Text),
    Column("max_prompt_tokens", BigInteger),
    Column("max_completion_tokens", BigInteger),
    Column("truncation_strategy", Text),
    Column("stream", Boolean(create_constraint=False)),
    # the id's last 12 hexadecimal digits, reversed: an index on it finds a recording by a suffix of its id (some
    # languages sort "aa" last, hence the collation)
    Column("suffix", Text().with_variant(Text(collation="C"), "postgresql"), nullable=False),
)

events = _table(
    "events",
    ["recording_id", "position"],
    _id(),
    Column("position", Integer, nullable=False),
    Column("kind", Text, nullable=False),
    Column("elapsed_us", BigInteger, nullable=False),
    Column("type", Text),
    Column("data", LargeBinary),
    Column("raw", LargeBinary),
    Column("size", BigInteger, nullable=False),
    Column("cuts", LargeBinary),
)

endings = _table(
    "endings",
    ["recording_id"],
    _id(),
    Column("ending", Text, nullable=False),
    Column("captured", Text, nullable=False),
    Column("elapsed_us", BigInteger, nullable=False),
    Column("events", BigInteger, nullable=False),
    Column("wire_bytes", BigInteger, nullable=False),
    Column("http_status", Integer),
    Column("head_us", BigInteger),
    Column("facts_digest", LargeBinary, nullable=False),
    Column("payload_digest", LargeBinary, nullable=False),
    Column("seal", LargeBinary, nullable=False),
)

readings = _table(
    "readings",
    ["recording_id"],
    _id(),
    _id("run_id"),
    # 0 means: not read yet (the recording is still open, or its reading is due)
    Column("reader_version", Integer, nullable=False),
    Column("read_at", BigInteger, nullable=False),
    # whether another reading stands for the run, or the exchange is part of no run
    Column("superseded", Boolean(create_constraint=False), nullable=False),
    # copied facts, so that lists and questions touch one table
    Column("started_at", BigInteger, nullable=False),
    Column("dialect", Text, nullable=False),
    Column("origin", Text, nullable=False),
    Column("weight", Double, nullable=False),
    Column("http_status", Integer),
    Column("ending", Text),
    Column("captured", Text),
    Column("events", BigInteger),
    Column("bytes", BigInteger),
    Column("duration_us", BigInteger),
    # what the dialect made of it
    Column("status", Text, nullable=False),
    Column("stop_reason", Text),
    Column("stop_reason_raw", Text),
    Column("complete", Boolean(create_constraint=False)),
    Column("provider_run_id", Text),
    Column("request_id", Text),
    Column("model", Text),
    Column("service_tier", Text),
    Column("assistant_id", Text),
    Column("thread_id", Text),
    Column("group", Text),
    Column("max_prompt_tokens", BigInteger),
    Column("max_completion_tokens", BigInteger),
    Column("truncation_strategy", Text),
    Column("input_tokens", BigInteger),
    Column("output_tokens", BigInteger),
    Column("cached_tokens", BigInteger),
    Column("reasoning_tokens", BigInteger),
    Column("total_tokens", BigInteger),
    Column("ttft_us", BigInteger),
    Column("text", Text),
    Column("metadata", Text),
    Column("flags", Text),
    Column("facts", Text),
    # since 1.1; NULL where an older writer made the reading
    Column("action", Text),
    Column("is_run", Boolean(create_constraint=False)),
    Column("opens_run", Boolean(create_constraint=False)),
    Column("duplicate", Boolean(create_constraint=False)),
    Column("finality", Integer),  # how much the status settles: 3 the run is over, 1 it goes on, 0 unknown
    Column("waited_us", BigInteger),
    Column("previous_response_id", Text),
    Column("parameters", Text),
    Column("response_format", Text),
    Column("uncached_tokens", BigInteger),
    Column("cache_write_tokens", BigInteger),
    Column("cache_write_5m_tokens", BigInteger),
    Column("cache_write_1h_tokens", BigInteger),
    Column("visible_tokens", BigInteger),
    Column("usage_quality", Text),
    Column("ttft_visible_us", BigInteger),
    Column("longest_gap_us", BigInteger),
    Column("stalls", BigInteger),
    Column("stalled_us", BigInteger),
    Column("text_chars", BigInteger),
    Column("blank_chars", BigInteger),
    Column("json_valid", Boolean(create_constraint=False)),
    Column("json_damage", Text),
    Column("head_us", BigInteger),
    # JSON: the names of the columns whose values are those of the run's opener
    Column("inherited", Text),
    # since 1.2: when anything about the recording was last written: this row, a tag, an erasure. Copies follow it
    Column("changed_at", BigInteger),
)

tags = _table(
    "tags",
    ["recording_id", "name", "set_at"],
    _id(),
    Column("name", Text, nullable=False),
    Column("set_at", BigInteger, nullable=False),
    Column("value", Text),  # NULL takes the tag off
)

erasures = _table(
    "erasures",
    ["recording_id", "erased_at"],
    _id(),
    Column("erased_at", BigInteger, nullable=False),
    Column("erased_by", Text, nullable=False),
    Column("reason", Text, nullable=False),
)

leases = _table(
    "leases",
    ["recording_id"],
    _id(),
    _id("writer"),
    Column("expires_at", BigInteger, nullable=False),  # PostgreSQL's clock; SQLite goes by the writer's lock file
)

# since 1.3: the leaves of the tree that checkpoints are the roots of, in the order (batch, recording_id); they stay
# when all else of a recording has gone
logged = _table(
    "logged",
    ["recording_id"],
    _id(),
    Column("batch", BigInteger, nullable=False),
    Column("leaf", LargeBinary, nullable=False),
)


def _index(name: str, *columns: Column[Any], where: str | None = None) -> None:
    condition = text(where) if where else None
    Index(name, *columns, sqlite_where=condition, postgresql_where=condition)


_r = readings.c
_index("recordings_match_key", recordings.c.match_key, recordings.c.recording_id, where="match_key IS NOT NULL")
_index("recordings_suffix", recordings.c.suffix)
_index("recordings_trace", recordings.c.trace, recordings.c.recording_id, where="trace IS NOT NULL")
_index("readings_run", _r.run_id, _r.recording_id)
_index("readings_started", _r.started_at)
_index("readings_status", _r.status, _r.superseded, _r.started_at)
_index("readings_stop_reason", _r.stop_reason, _r.superseded, _r.started_at, where="stop_reason IS NOT NULL")
_index("readings_ending", _r.ending, _r.started_at, where="ending IS NOT NULL")
_index("readings_dialect", _r.dialect, _r.started_at)
_index("readings_model", _r.model, _r.started_at, where="model IS NOT NULL")
_index("readings_provider_run", _r.provider_run_id, _r.recording_id, where="provider_run_id IS NOT NULL")
_index("readings_previous", _r.previous_response_id, _r.recording_id, where="previous_response_id IS NOT NULL")
_index("readings_version", _r.reader_version, _r.recording_id)
_index("readings_request", _r.request_id, where="request_id IS NOT NULL")
_index("readings_assistant", _r.assistant_id, _r.started_at, where="assistant_id IS NOT NULL")
_index("readings_thread", _r.thread_id, _r.started_at, where="thread_id IS NOT NULL")
_index("readings_due", _r.recording_id, where="reader_version = 0 AND ending IS NOT NULL")
_index("readings_changed", _r.changed_at, _r.started_at)
_index("tags_value", tags.c.name, tags.c.value, tags.c.recording_id)
_index("leases_writer", leases.c.writer)
_index("logged_order", logged.c.batch, logged.c.recording_id)

FACT_TABLES = ("recordings", "events", "endings", "tags", "erasures")

#: The columns of `recordings` that are content: covered by the payload digest, and NULL once erased.
CONTENT = (
    "url",
    "headers",
    "body",
    "body_encoding",
    "body_sha256",
    "salt",
    "match_key",
    "match_rule",
    "session",
    "trace",
    "call",
    "tags",
)

#: One reading of a run stands for it; the opener gives its start. Sums are scalar subqueries, so only the runs that a
#: query selects pay for them (a GROUP BY over all readings takes seconds at a million recordings). What was recorded
#: twice is summed once. The migration that brought it holds a copy, which never changes; `analytics/_runs.sql` asks the
#: same of all runs at once. Tests compare both with this text.
_RUNS = """
CREATE VIEW runs AS
SELECT
    l.run_id AS run_id,
    (SELECT count(*) FROM readings s WHERE s.run_id = l.run_id AND NOT coalesce(s.duplicate, false)) AS recordings,
    l.recording_id AS latest_id,
    l.dialect AS dialect,
    l.provider_run_id AS provider_run_id,
    coalesce(l.assistant_id, o.assistant_id) AS assistant_id,
    coalesce(l.thread_id, o.thread_id) AS thread_id,
    o.started_at AS started_at,
    l.started_at AS latest_at,
    coalesce(l.model, o.model) AS model,
    coalesce(l.service_tier, o.service_tier) AS service_tier,
    l.status AS status,
    l.stop_reason AS stop_reason,
    l.stop_reason_raw AS stop_reason_raw,
    l.ending AS ending,
    l.captured AS captured,
    l.complete AS complete,
    l.input_tokens AS input_tokens,
    l.output_tokens AS output_tokens,
    l.cached_tokens AS cached_tokens,
    l.reasoning_tokens AS reasoning_tokens,
    l.total_tokens AS total_tokens,
    coalesce(o.max_prompt_tokens, l.max_prompt_tokens) AS max_prompt_tokens,
    coalesce(o.max_completion_tokens, l.max_completion_tokens) AS max_completion_tokens,
    coalesce(o.truncation_strategy, l.truncation_strategy) AS truncation_strategy,
    (SELECT sum(s.events) FROM readings s WHERE s.run_id = l.run_id AND NOT coalesce(s.duplicate, false)) AS events,
    (SELECT sum(s.bytes) FROM readings s WHERE s.run_id = l.run_id AND NOT coalesce(s.duplicate, false)) AS bytes,
    o.ttft_us AS ttft_us,
    l.started_at + l.duration_us - o.started_at AS duration_us,
    coalesce(l.metadata, o.metadata) AS metadata,
    coalesce(l."group", o."group") AS "group",
    l.flags AS flags,
    l.weight AS weight,
    l.origin AS origin,
    l.request_id AS request_id,
    o.action AS action,
    coalesce(o.previous_response_id, l.previous_response_id) AS previous_response_id,
    o.parameters AS parameters,
    coalesce(l.response_format, o.response_format) AS response_format,
    l.uncached_tokens AS uncached_tokens,
    l.cache_write_tokens AS cache_write_tokens,
    l.cache_write_5m_tokens AS cache_write_5m_tokens,
    l.cache_write_1h_tokens AS cache_write_1h_tokens,
    l.visible_tokens AS visible_tokens,
    l.usage_quality AS usage_quality,
    (SELECT count(*) FROM readings s WHERE s.run_id = l.run_id AND s.duplicate) AS duplicates,
    (SELECT sum(s.waited_us) FROM readings s WHERE s.run_id = l.run_id) AS waited_us,
    (SELECT sum(s.duration_us) FROM readings s WHERE s.run_id = l.run_id AND NOT coalesce(s.duplicate, false)
        AND coalesce(s.action, '') NOT IN ('retrieve', 'cancel', 'modify', 'steps', 'step')) AS streamed_us,
    o.head_us AS head_us,
    o.ttft_visible_us AS ttft_visible_us,
    (SELECT max(s.longest_gap_us) FROM readings s WHERE s.run_id = l.run_id AND NOT coalesce(s.duplicate, false))
        AS longest_gap_us,
    (SELECT sum(s.stalls) FROM readings s WHERE s.run_id = l.run_id AND NOT coalesce(s.duplicate, false)) AS stalls,
    l.text_chars AS text_chars,
    l.blank_chars AS blank_chars,
    l.json_valid AS json_valid,
    l.json_damage AS json_damage
FROM readings l
JOIN readings o ON o.recording_id = l.run_id
WHERE NOT l.superseded AND coalesce(l.is_run, true)
"""

#: The request parameters that are columns of the view `run_params`: all of the Assistants API's
#: `RunCreateParamsStreaming`, what its other endpoints add, and those of the other protocols.
PARAMETERS = (
    "assistant_id",
    "additional_instructions",
    "additional_messages",
    "include",
    "instructions",
    "max_completion_tokens",
    "max_prompt_tokens",
    "metadata",
    "model",
    "parallel_tool_calls",
    "reasoning_effort",
    "response_format",
    "stream",
    "temperature",
    "tool_choice",
    "tools",
    "top_p",
    "truncation_strategy",
    "thread",
    "tool_resources",
    "tool_outputs",
    "max_output_tokens",
    "max_tokens",
    "max_tool_calls",
    "n",
    "stop",
    "stop_sequences",
    "top_k",
    "seed",
    "frequency_penalty",
    "presence_penalty",
    "logprobs",
    "top_logprobs",
    "service_tier",
    "truncation",
    "context_management",
    "thinking",
    "reasoning",
    "text",
    "stream_options",
    "previous_response_id",
    "conversation",
    "prompt",
    "store",
    "background",
    "output_config",
    "verbosity",
    "generationConfig",
)

#: The JSON text of one parameter, exactly as it is stored; SQL NULL where the parameter is absent, 'null' where it is
#: null. SQLite before 3.38 has no `->`; asked for two paths, of which an object never has the second, json_extract
#: gives "[VALUE,null]" with the value's own spelling. (Older SQLite lets a view use JSON functions only where `PRAGMA
#: trusted_schema` is on, as it is by default; the store's own connections turn it off, and do not use this view.)
_PARAMETER = {
    "sqlite": """CASE WHEN json_type(parameters, '$."{0}"') IS NOT NULL THEN
        substr(json_extract(parameters, '$."{0}"', '$[0]'), 2,
               length(json_extract(parameters, '$."{0}"', '$[0]')) - 7) END""",
    "postgresql": "(parameters::json -> '{0}')::text",
}

#: The views that are one statement for every database; those that are not are in `views`.
VIEWS = {"runs": _RUNS}


def views(backend: str) -> dict[str, str]:
    """The statements that make the views on `backend` ("sqlite" or "postgresql"), by their names."""
    columns = ",\n    ".join(f'{_PARAMETER[backend].format(name)} AS "{name}"' for name in PARAMETERS)
    run_params = f"""
CREATE VIEW run_params AS
SELECT
    recording_id,
    run_id,
    dialect,
    action,
    {columns}
FROM readings
WHERE parameters IS NOT NULL
"""  # noqa: S608
    return {"run_params": run_params, **VIEWS}


#: Only readings of few statuses are ever superseded. PostgreSQL takes the two for independent unless it is told to
#: look, and then goes through all readings instead of an index.
_STATISTICS = (
    "CREATE STATISTICS readings_status_statistics (mcv) ON status, superseded FROM readings",
    "CREATE STATISTICS readings_stop_reason_statistics (mcv) ON stop_reason, superseded FROM readings",
)


def additions(backend: str) -> list[str]:
    """The statements that make, on `backend` ("sqlite" or "postgresql"), what the tables above do not say."""
    statistics = _STATISTICS if backend == "postgresql" else ()
    return [*triggers(backend), *views(backend).values(), *statistics]


def triggers(backend: str) -> list[str]:
    """The statements that make the fact tables append-only on `backend` ("sqlite" or "postgresql").

    An UPDATE of a fact is refused always. A DELETE is refused unless an erasure of that recording was appended
    before it, so that erasing stays possible and never goes unrecorded.
    """
    return _sqlite_triggers() if backend == "sqlite" else _postgresql_triggers()


_REFUSAL = "recorder: facts are append-only"
_ERASED = "EXISTS (SELECT 1 FROM erasures e WHERE e.recording_id = OLD.recording_id)"


def _sqlite_triggers() -> list[str]:
    statements = []
    for name in FACT_TABLES:
        statements.append(
            f"CREATE TRIGGER {name}_no_update BEFORE UPDATE ON {name} BEGIN SELECT RAISE(ABORT, '{_REFUSAL}'); END"
        )
        condition = "" if name == "erasures" else f"WHEN NOT {_ERASED} "
        statements.append(
            f"CREATE TRIGGER {name}_no_delete BEFORE DELETE ON {name} {condition}"
            f"BEGIN SELECT RAISE(ABORT, '{_REFUSAL}'); END"
        )
    for name, what in (("update", "UPDATE"), ("delete", "DELETE")):
        statements.append(
            f"CREATE TRIGGER logged_no_{name} BEFORE {what} ON logged BEGIN SELECT RAISE(ABORT, '{_REFUSAL}'); END"
        )
    return statements


def _postgresql_triggers() -> list[str]:
    statements = [
        f"""CREATE FUNCTION recorder_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            IF TG_OP = 'DELETE' AND TG_TABLE_NAME <> 'erasures' AND {_ERASED} THEN
                RETURN OLD;
            END IF;
            RAISE EXCEPTION '{_REFUSAL}';
        END $$""",
        f"""CREATE FUNCTION recorder_no_truncate() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN RAISE EXCEPTION '{_REFUSAL}'; END $$""",
    ]
    for name in FACT_TABLES:
        statements.append(
            f"CREATE TRIGGER {name}_append_only BEFORE UPDATE OR DELETE ON {name} "
            "FOR EACH ROW EXECUTE FUNCTION recorder_append_only()"
        )
        statements.append(
            f"CREATE TRIGGER {name}_no_truncate BEFORE TRUNCATE ON {name} "
            "FOR EACH STATEMENT EXECUTE FUNCTION recorder_no_truncate()"
        )
    statements.append(
        "CREATE TRIGGER logged_append_only BEFORE UPDATE OR DELETE ON logged "
        "FOR EACH ROW EXECUTE FUNCTION recorder_no_truncate()"
    )
    statements.append(
        "CREATE TRIGGER logged_no_truncate BEFORE TRUNCATE ON logged "
        "FOR EACH STATEMENT EXECUTE FUNCTION recorder_no_truncate()"
    )
    return statements
