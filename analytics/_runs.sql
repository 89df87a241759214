-- The runs: the store's view of that name (recorder/schema.py), with the same columns, in a form that DuckDB is good at.
-- The store's view sums each run by itself, which costs nothing where a few runs are listed; here all runs are wanted,
-- and one pass sums them (4 times as fast at 300,000 readings). A test compares the two, column by column.
WITH sums AS (
    SELECT
        run_id,
        count(*) FILTER (counts) AS recordings,
        sum(events) FILTER (counts) AS events,
        sum(bytes) FILTER (counts) AS bytes,
        count(*) FILTER (duplicate) AS duplicates,
        sum(waited_us) AS waited_us,
        sum(duration_us) FILTER (
            counts AND coalesce(action, '') NOT IN ('retrieve', 'cancel', 'modify', 'steps', 'step')
        ) AS streamed_us,
        max(longest_gap_us) FILTER (counts) AS longest_gap_us,
        sum(stalls) FILTER (counts) AS stalls
    FROM (SELECT *, NOT coalesce(duplicate, false) AS counts FROM readings)
    GROUP BY run_id
)
SELECT
    l.run_id AS run_id,
    s.recordings AS recordings,
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
    s.events AS events,
    s.bytes AS bytes,
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
    s.duplicates AS duplicates,
    s.waited_us AS waited_us,
    s.streamed_us AS streamed_us,
    o.head_us AS head_us,
    o.ttft_visible_us AS ttft_visible_us,
    s.longest_gap_us AS longest_gap_us,
    s.stalls AS stalls,
    l.text_chars AS text_chars,
    l.blank_chars AS blank_chars,
    l.json_valid AS json_valid,
    l.json_damage AS json_damage
FROM readings l
JOIN readings o ON o.recording_id = l.run_id
JOIN sums s ON s.run_id = l.run_id
WHERE NOT l.superseded AND coalesce(l.is_run, true)
