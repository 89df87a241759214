"""runs as they are: duplicates, links, the whole parameter set, disjoint token buckets, stalls

Revision ID: 1.1
Revises: 1.0

It only adds, so writers at 1.0 go on writing. Their rows have NULL in the new columns, which means: not known.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "1.1"
down_revision: str | None = "1.0"
branch_labels: Sequence[str] | None = None
depends_on: Sequence[str] | None = None

_COLUMNS: tuple[sa.Column[Any], ...] = (
    sa.Column("action", sa.Text()),
    sa.Column("is_run", sa.Boolean()),
    sa.Column("opens_run", sa.Boolean()),
    sa.Column("duplicate", sa.Boolean()),
    sa.Column("finality", sa.Integer()),
    sa.Column("waited_us", sa.BigInteger()),
    sa.Column("previous_response_id", sa.Text()),
    sa.Column("parameters", sa.Text()),
    sa.Column("response_format", sa.Text()),
    sa.Column("uncached_tokens", sa.BigInteger()),
    sa.Column("cache_write_tokens", sa.BigInteger()),
    sa.Column("cache_write_5m_tokens", sa.BigInteger()),
    sa.Column("cache_write_1h_tokens", sa.BigInteger()),
    sa.Column("visible_tokens", sa.BigInteger()),
    sa.Column("usage_quality", sa.Text()),
    sa.Column("ttft_visible_us", sa.BigInteger()),
    sa.Column("longest_gap_us", sa.BigInteger()),
    sa.Column("stalls", sa.BigInteger()),
    sa.Column("stalled_us", sa.BigInteger()),
    sa.Column("text_chars", sa.BigInteger()),
    sa.Column("blank_chars", sa.BigInteger()),
    sa.Column("json_valid", sa.Boolean()),
    sa.Column("json_damage", sa.Text()),
    sa.Column("head_us", sa.BigInteger()),
    sa.Column("inherited", sa.Text()),
)


def upgrade() -> None:
    """Add the columns, the indexes and the view of parameters; make the view of runs anew; settle who stands for what.

    Until now `superseded` was a hint, and the view looked for a newer recording of the run; now the mark decides.
    """
    backend = op.get_bind().dialect.name
    for column in _COLUMNS:
        op.add_column("readings", column)
    op.drop_index("readings_provider_run", "readings")
    _index("readings_provider_run", ["provider_run_id", "recording_id"], where="provider_run_id IS NOT NULL")
    _index("readings_previous", ["previous_response_id", "recording_id"], where="previous_response_id IS NOT NULL")
    _index("readings_version", ["reader_version", "recording_id"])
    op.execute(_MARK)
    op.execute(_run_params(backend))
    if backend == "sqlite":
        op.execute("DROP VIEW runs")
        op.execute(_RUNS)
    else:
        # Whoever was granted the view keeps it.
        op.execute(_RUNS.replace("CREATE VIEW", "CREATE OR REPLACE VIEW"))


def _index(name: str, columns: list[str], *, where: str | None = None) -> None:
    condition = sa.text(where) if where else None
    op.create_index(name, "readings", columns, sqlite_where=condition, postgresql_where=condition)


_MARK = """
UPDATE readings SET superseded = EXISTS
    (SELECT 1 FROM readings n WHERE n.run_id = readings.run_id AND n.recording_id > readings.recording_id)
WHERE superseded <> EXISTS
    (SELECT 1 FROM readings n WHERE n.run_id = readings.run_id AND n.recording_id > readings.recording_id)
"""

# What follows is as the code had it then, and stays so when the code moves on.

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

_PARAMETERS = (
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

_PARAMETER = {
    "sqlite": """CASE WHEN json_type(parameters, '$."{0}"') IS NOT NULL THEN
        substr(json_extract(parameters, '$."{0}"', '$[0]'), 2,
               length(json_extract(parameters, '$."{0}"', '$[0]')) - 7) END""",
    "postgresql": "(parameters::json -> '{0}')::text",
}


def _run_params(backend: str) -> str:
    columns = ",\n    ".join(f'{_PARAMETER[backend].format(name)} AS "{name}"' for name in _PARAMETERS)
    return f"""
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
