"""recordings and events: the first schema

Revision ID: 1.0
Revises:

A migration is written out and imports nothing from recorder: it must still do the same when the code has moved on.
It runs inside one transaction, on SQLite and on PostgreSQL. There is no downgrade.
"""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision = "1.0"
down_revision: str | None = None
branch_labels: Sequence[str] | None = None
depends_on: Sequence[str] | None = None

_ID = sa.LargeBinary(16).with_variant(sa.Uuid(), "postgresql")
_SORTED_BY_BYTES = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
_FACT_TABLES = ("recordings", "events", "endings", "tags", "erasures")


def upgrade() -> None:
    """Make the tables, the indexes, the view of runs, the triggers that keep facts as they are, statistics."""
    _tables()
    _indexes()
    backend = op.get_bind().dialect.name
    for statement in _sqlite_triggers() if backend == "sqlite" else (*_postgresql_triggers(), *_STATISTICS):
        op.execute(statement)
    op.execute(_RUNS)


def _tables() -> None:
    op.create_table(
        "recordings",
        sa.Column("recording_id", _ID, nullable=False),
        sa.Column("started_at", sa.BigInteger(), nullable=False),
        sa.Column("writer", _ID, nullable=False),
        sa.Column("dialect", sa.Text(), nullable=False),
        sa.Column("origin", sa.Text(), nullable=False),
        sa.Column("content", sa.Text(), nullable=False),
        sa.Column("weight", sa.Double(), nullable=False),
        sa.Column("method", sa.Text(), nullable=False),
        sa.Column("url", sa.Text()),
        sa.Column("headers", sa.Text()),
        sa.Column("body", sa.LargeBinary()),
        sa.Column("body_encoding", sa.Text()),
        sa.Column("body_size", sa.BigInteger(), nullable=False),
        sa.Column("body_sha256", sa.LargeBinary()),
        sa.Column("salt", sa.LargeBinary()),
        sa.Column("match_key", sa.LargeBinary()),
        sa.Column("match_rule", sa.Text()),
        sa.Column("session", sa.Text()),
        sa.Column("trace", sa.Text()),
        sa.Column("call", _ID),
        sa.Column("tags", sa.Text()),
        sa.Column("model", sa.Text()),
        sa.Column("assistant_id", sa.Text()),
        sa.Column("thread_id", sa.Text()),
        sa.Column("max_prompt_tokens", sa.BigInteger()),
        sa.Column("max_completion_tokens", sa.BigInteger()),
        sa.Column("truncation_strategy", sa.Text()),
        sa.Column("stream", sa.Boolean()),
        sa.Column("suffix", _SORTED_BY_BYTES, nullable=False),
        sa.PrimaryKeyConstraint("recording_id", name="recordings_pkey"),
    )
    op.create_table(
        "events",
        sa.Column("recording_id", _ID, nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("elapsed_us", sa.BigInteger(), nullable=False),
        sa.Column("type", sa.Text()),
        sa.Column("data", sa.LargeBinary()),
        sa.Column("raw", sa.LargeBinary()),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("cuts", sa.LargeBinary()),
        sa.PrimaryKeyConstraint("recording_id", "position", name="events_pkey"),
    )
    op.create_table(
        "endings",
        sa.Column("recording_id", _ID, nullable=False),
        sa.Column("ending", sa.Text(), nullable=False),
        sa.Column("captured", sa.Text(), nullable=False),
        sa.Column("elapsed_us", sa.BigInteger(), nullable=False),
        sa.Column("events", sa.BigInteger(), nullable=False),
        sa.Column("wire_bytes", sa.BigInteger(), nullable=False),
        sa.Column("http_status", sa.Integer()),
        sa.Column("head_us", sa.BigInteger()),
        sa.Column("facts_digest", sa.LargeBinary(), nullable=False),
        sa.Column("payload_digest", sa.LargeBinary(), nullable=False),
        sa.Column("seal", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("recording_id", name="endings_pkey"),
    )
    op.create_table(
        "readings",
        sa.Column("recording_id", _ID, nullable=False),
        sa.Column("run_id", _ID, nullable=False),
        sa.Column("reader_version", sa.Integer(), nullable=False),
        sa.Column("read_at", sa.BigInteger(), nullable=False),
        sa.Column("superseded", sa.Boolean(), nullable=False),
        sa.Column("started_at", sa.BigInteger(), nullable=False),
        sa.Column("dialect", sa.Text(), nullable=False),
        sa.Column("origin", sa.Text(), nullable=False),
        sa.Column("weight", sa.Double(), nullable=False),
        sa.Column("http_status", sa.Integer()),
        sa.Column("ending", sa.Text()),
        sa.Column("captured", sa.Text()),
        sa.Column("events", sa.BigInteger()),
        sa.Column("bytes", sa.BigInteger()),
        sa.Column("duration_us", sa.BigInteger()),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("stop_reason", sa.Text()),
        sa.Column("stop_reason_raw", sa.Text()),
        sa.Column("complete", sa.Boolean()),
        sa.Column("provider_run_id", sa.Text()),
        sa.Column("request_id", sa.Text()),
        sa.Column("model", sa.Text()),
        sa.Column("service_tier", sa.Text()),
        sa.Column("assistant_id", sa.Text()),
        sa.Column("thread_id", sa.Text()),
        sa.Column("group", sa.Text()),
        sa.Column("max_prompt_tokens", sa.BigInteger()),
        sa.Column("max_completion_tokens", sa.BigInteger()),
        sa.Column("truncation_strategy", sa.Text()),
        sa.Column("input_tokens", sa.BigInteger()),
        sa.Column("output_tokens", sa.BigInteger()),
        sa.Column("cached_tokens", sa.BigInteger()),
        sa.Column("reasoning_tokens", sa.BigInteger()),
        sa.Column("total_tokens", sa.BigInteger()),
        sa.Column("ttft_us", sa.BigInteger()),
        sa.Column("text", sa.Text()),
        sa.Column("metadata", sa.Text()),
        sa.Column("flags", sa.Text()),
        sa.Column("facts", sa.Text()),
        sa.PrimaryKeyConstraint("recording_id", name="readings_pkey"),
    )
    op.create_table(
        "tags",
        sa.Column("recording_id", _ID, nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("set_at", sa.BigInteger(), nullable=False),
        sa.Column("value", sa.Text()),
        sa.PrimaryKeyConstraint("recording_id", "name", "set_at", name="tags_pkey"),
    )
    op.create_table(
        "erasures",
        sa.Column("recording_id", _ID, nullable=False),
        sa.Column("erased_at", sa.BigInteger(), nullable=False),
        sa.Column("erased_by", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("recording_id", "erased_at", name="erasures_pkey"),
    )
    op.create_table(
        "leases",
        sa.Column("recording_id", _ID, nullable=False),
        sa.Column("writer", _ID, nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("recording_id", name="leases_pkey"),
    )


def _indexes() -> None:
    _index("recordings_match_key", "recordings", ["match_key", "recording_id"], where="match_key IS NOT NULL")
    _index("recordings_suffix", "recordings", ["suffix"])
    _index("recordings_trace", "recordings", ["trace", "recording_id"], where="trace IS NOT NULL")
    _index("readings_assistant", "readings", ["assistant_id", "started_at"], where="assistant_id IS NOT NULL")
    _index("readings_dialect", "readings", ["dialect", "started_at"])
    _index("readings_due", "readings", ["recording_id"], where="reader_version = 0 AND ending IS NOT NULL")
    _index("readings_ending", "readings", ["ending", "started_at"], where="ending IS NOT NULL")
    _index("readings_model", "readings", ["model", "started_at"], where="model IS NOT NULL")
    _index("readings_provider_run", "readings", ["provider_run_id"], where="provider_run_id IS NOT NULL")
    _index("readings_request", "readings", ["request_id"], where="request_id IS NOT NULL")
    _index("readings_run", "readings", ["run_id", "recording_id"])
    _index("readings_started", "readings", ["started_at"])
    _index("readings_status", "readings", ["status", "superseded", "started_at"])
    _index(
        "readings_stop_reason", "readings", ["stop_reason", "superseded", "started_at"], where="stop_reason IS NOT NULL"
    )
    _index("readings_thread", "readings", ["thread_id", "started_at"], where="thread_id IS NOT NULL")
    _index("tags_value", "tags", ["name", "value", "recording_id"])
    _index("leases_writer", "leases", ["writer"])


def _index(name: str, table: str, columns: list[str], *, where: str | None = None) -> None:
    condition = sa.text(where) if where else None
    op.create_index(name, table, columns, sqlite_where=condition, postgresql_where=condition)


_RUNS = """
CREATE VIEW runs AS
SELECT
    l.run_id AS run_id,
    (SELECT count(*) FROM readings s WHERE s.run_id = l.run_id) AS recordings,
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
    (SELECT sum(s.events) FROM readings s WHERE s.run_id = l.run_id) AS events,
    (SELECT sum(s.bytes) FROM readings s WHERE s.run_id = l.run_id) AS bytes,
    o.ttft_us AS ttft_us,
    l.started_at + l.duration_us - o.started_at AS duration_us,
    coalesce(l.metadata, o.metadata) AS metadata,
    coalesce(l."group", o."group") AS "group",
    l.flags AS flags,
    l.weight AS weight,
    l.origin AS origin,
    l.request_id AS request_id
FROM readings l
JOIN readings o ON o.recording_id = l.run_id
WHERE NOT EXISTS (SELECT 1 FROM readings n WHERE n.run_id = l.run_id AND n.recording_id > l.recording_id)
"""

_STATISTICS = (
    "CREATE STATISTICS readings_status_statistics (mcv) ON status, superseded FROM readings",
    "CREATE STATISTICS readings_stop_reason_statistics (mcv) ON stop_reason, superseded FROM readings",
)


_REFUSAL = "recorder: facts are append-only"
_ERASED = "EXISTS (SELECT 1 FROM erasures e WHERE e.recording_id = OLD.recording_id)"


def _sqlite_triggers() -> list[str]:
    statements = []
    for name in _FACT_TABLES:
        statements.append(
            f"CREATE TRIGGER {name}_no_update BEFORE UPDATE ON {name} BEGIN SELECT RAISE(ABORT, '{_REFUSAL}'); END"
        )
        condition = "" if name == "erasures" else f"WHEN NOT {_ERASED} "
        statements.append(
            f"CREATE TRIGGER {name}_no_delete BEFORE DELETE ON {name} {condition}"
            f"BEGIN SELECT RAISE(ABORT, '{_REFUSAL}'); END"
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
    for name in _FACT_TABLES:
        statements.append(
            f"CREATE TRIGGER {name}_append_only BEFORE UPDATE OR DELETE ON {name} "
            "FOR EACH ROW EXECUTE FUNCTION recorder_append_only()"
        )
        statements.append(
            f"CREATE TRIGGER {name}_no_truncate BEFORE TRUNCATE ON {name} "
            "FOR EACH STATEMENT EXECUTE FUNCTION recorder_no_truncate()"
        )
    return statements
