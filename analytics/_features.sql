-- What can be said of each run that is asked about, to find what runs with the same fault have in common: one row for each
-- feature that is known of it. What is not known has no row; what is known to be absent is the value 'none'.
--
-- kind     'circumstance' (under what it ran) or 'symptom' (how it went)
-- feature  circumstances: model, fingerprint, tier, assistant, group, instructions (a digest), protocol, origin, region (of
--          the provider's, from x-ms-region, cf-ray, x-amz-cf-pop), request_id_prefix (8 characters), format, truncation,
--          output_cap, prompt_cap, tools, request_size, writer (the process that recorded it), tag:NAME
--          symptoms: outcome, stop_word (the provider's), http_status, error, error_message (its shape: what tells one
--          request from another is a #), ending, flag, json_damage, stalled_at and stalled_for (the longest stall), and
--          of a stream that was cut cut_at and cut_after
-- always   whether a run without a row of that feature is known to lack it
-- place    how well it names a fault, the best 1; NULL for what is none
WITH told AS MATERIALIZED (
    SELECT
        a.run_id AS run_id,
        a.model AS model,
        a.system_fingerprint AS system_fingerprint,
        a.service_tier AS service_tier,
        a.assistant_id AS assistant_id,
        a."group" AS "group",
        a.instructions_hash AS instructions_hash,
        a.dialect AS dialect,
        a.origin AS origin,
        a.request_id AS request_id,
        a.response_format AS response_format,
        a.truncation_strategy AS truncation_strategy,
        a.max_completion_tokens AS max_completion_tokens,
        a.max_prompt_tokens AS max_prompt_tokens,
        a.outcome AS outcome,
        a.stop_reason_raw AS stop_reason_raw,
        a.http_status AS http_status,
        a.ending AS ending,
        a.flags AS flags,
        a.json_damage AS json_damage,
        a.events AS events,
        a.duration_us AS duration_us,
        f.tools_offered AS tools_offered,
        k.body_size AS body_size,
        k.writer AS writer,
        CASE WHEN contains(a.facts, '"region"') THEN json_extract_string(a.facts, '$.region') END AS region,
        CASE WHEN contains(a.facts, '"error"') THEN json_extract(a.facts, '$.evidence.error') END AS error,
        CASE WHEN contains(a.facts, '"error_message"') THEN json_extract_string(a.facts, '$.content.error_message') END
            AS error_message,
        CASE WHEN contains(a.facts, '"stalls"') THEN json_extract(a.facts, '$.times.stalls[*]') END AS stalls
    FROM asked a
    JOIN recordings k ON k.recording_id = a.run_id
    LEFT JOIN findings f ON f.run_id = a.run_id
),
stalled AS (
    SELECT run_id, first(event ORDER BY us DESC) AS event, max(us) AS us
    FROM (
        SELECT
            run_id,
            TRY_CAST(json_extract_string(stall, '$[0]') AS BIGINT) AS event,
            TRY_CAST(json_extract_string(stall, '$[1]') AS BIGINT) AS us
        FROM (SELECT run_id, unnest(stalls) AS stall FROM told WHERE stalls IS NOT NULL) AS each
    ) AS known
    GROUP BY run_id
),
-- Numbers, in steps of 1, 2, 5, 10, 20 …
measured AS (
    SELECT run_id, 'circumstance' AS kind, 'request_size' AS feature, CAST(body_size AS DOUBLE) AS size, ' bytes' AS unit
    FROM told
    UNION ALL
    SELECT run_id, 'symptom', 'stalled_at', CAST(event AS DOUBLE), '' FROM stalled WHERE event IS NOT NULL
    UNION ALL
    SELECT run_id, 'symptom', 'stalled_for', us / 1000000.0, ' s' FROM stalled
    UNION ALL
    SELECT run_id, 'symptom', 'cut_at', CAST(events AS DOUBLE), ''
    FROM told
    WHERE outcome IN ('client_abort', 'upstream_cut', 'no_terminal')
    UNION ALL
    SELECT run_id, 'symptom', 'cut_after', duration_us / 1000000.0, ' s'
    FROM told
    WHERE outcome IN ('client_abort', 'upstream_cut', 'no_terminal')
),
powers AS (
    SELECT
        *,
        size / power AS lead
    FROM (SELECT *, CASE WHEN size >= 1 THEN pow(10, floor(log10(size) + 1e-9)) ELSE 1 END AS power FROM measured) AS raised
    WHERE size IS NOT NULL
),
stepped AS (
    SELECT
        *,
        CASE WHEN size < 1 THEN 0 WHEN lead < 2 THEN 1 WHEN lead < 5 THEN 2 ELSE 5 END * power AS low,
        CASE WHEN size < 1 THEN 1 WHEN lead < 2 THEN 2 WHEN lead < 5 THEN 5 ELSE 10 END * power AS high
    FROM powers
),
flagged AS (
    SELECT run_id, unnest(json_extract_string(flags, '$[*]')) AS flag FROM told WHERE flags IS NOT NULL AND flags <> '[]'
)
SELECT run_id, 'circumstance' AS kind, 'model' AS feature, model AS value, FALSE AS always, NULL AS place
FROM told WHERE model IS NOT NULL
UNION ALL
SELECT run_id, 'circumstance', 'fingerprint', system_fingerprint, FALSE, NULL
FROM told WHERE system_fingerprint IS NOT NULL
UNION ALL
SELECT run_id, 'circumstance', 'tier', service_tier, FALSE, NULL FROM told WHERE service_tier IS NOT NULL
UNION ALL
SELECT run_id, 'circumstance', 'assistant', coalesce(assistant_id, 'none'), FALSE, NULL FROM told
UNION ALL
SELECT run_id, 'circumstance', 'group', coalesce("group", 'none'), FALSE, NULL FROM told
UNION ALL
SELECT run_id, 'circumstance', 'instructions', instructions_hash, FALSE, NULL
FROM told WHERE instructions_hash IS NOT NULL
UNION ALL
SELECT run_id, 'circumstance', 'protocol', dialect, FALSE, NULL FROM told
UNION ALL
SELECT run_id, 'circumstance', 'origin', origin, FALSE, NULL FROM told
UNION ALL
SELECT run_id, 'circumstance', 'region', region, FALSE, NULL FROM told WHERE region IS NOT NULL
UNION ALL
SELECT run_id, 'circumstance', 'request_id_prefix', substr(request_id, 1, 8), FALSE, NULL
FROM told WHERE request_id IS NOT NULL
UNION ALL
SELECT run_id, 'circumstance', 'format', coalesce(response_format, 'none'), FALSE, NULL FROM told
UNION ALL
SELECT run_id, 'circumstance', 'truncation', coalesce(truncation_strategy, 'none'), FALSE, NULL FROM told
UNION ALL
SELECT run_id, 'circumstance', 'output_cap', coalesce(CAST(max_completion_tokens AS VARCHAR), 'none'), FALSE, NULL FROM told
UNION ALL
SELECT run_id, 'circumstance', 'prompt_cap', coalesce(CAST(max_prompt_tokens AS VARCHAR), 'none'), FALSE, NULL FROM told
UNION ALL
SELECT run_id, 'circumstance', 'tools', CASE WHEN tools_offered THEN 'offered' ELSE 'none' END, FALSE, NULL
FROM told WHERE tools_offered IS NOT NULL
UNION ALL
SELECT run_id, 'circumstance', 'writer', CAST(writer AS VARCHAR), FALSE, NULL FROM told
UNION ALL
SELECT t.run_id, 'circumstance', 'tag:' || t.name, t.value, TRUE, NULL FROM run_tags t JOIN told ON told.run_id = t.run_id
UNION ALL
SELECT
    run_id,
    'symptom',
    'outcome',
    outcome,
    TRUE,
    CASE WHEN outcome NOT IN ('completed', 'tool_wait', 'paused', 'in_progress', 'unknown') THEN 4 END
FROM told
UNION ALL
SELECT run_id, 'symptom', 'stop_word', stop_reason_raw, TRUE, NULL FROM told WHERE stop_reason_raw IS NOT NULL
UNION ALL
SELECT run_id, 'symptom', 'http_status', CAST(http_status AS VARCHAR), TRUE, CASE WHEN http_status >= 400 THEN 2 END
FROM told WHERE http_status IS NOT NULL
UNION ALL
SELECT
    run_id,
    'symptom',
    'error',
    coalesce(json_extract_string(error, '$.code'), json_extract_string(error, '$.type')),
    TRUE,
    1
FROM told
WHERE coalesce(json_extract_string(error, '$.code'), json_extract_string(error, '$.type')) IS NOT NULL
UNION ALL
SELECT
    run_id,
    'symptom',
    'error_message',
    substr(regexp_replace(error_message, '''[^'']*''|"[^"]*"|`[^`]*`|[A-Za-z_-]*[0-9][A-Za-z0-9_.:-]*', '#', 'g'), 1, 120),
    TRUE,
    NULL
FROM told
WHERE error_message IS NOT NULL
UNION ALL
SELECT run_id, 'symptom', 'ending', ending, TRUE, NULL FROM told WHERE ending IS NOT NULL
UNION ALL
SELECT run_id, 'symptom', 'json_damage', json_damage, TRUE, NULL FROM told WHERE json_damage IS NOT NULL
UNION ALL
SELECT
    run_id,
    'symptom',
    'flag',
    flag,
    TRUE,
    CASE
        WHEN flag IN (
            'arguments_damaged', 'json_damaged', 'malformed_json', 'not_sse', 'reader_error', 'reasoning_starved',
            'repetition_runaway', 'sequence_gap', 'text_differs', 'undecoded', 'whitespace_runaway'
        ) THEN 3
        WHEN flag IN (
            'disagreement', 'mid_word_end', 'no_end_marker', 'no_terminal_event', 'oversize_frame', 'stalled',
            'tool_call_open', 'unterminated_tail'
        ) THEN 5
    END
FROM flagged
UNION ALL
SELECT run_id, 'symptom', 'stalled_at', 'the end', TRUE, NULL FROM stalled WHERE event IS NULL
UNION ALL
SELECT
    run_id,
    kind,
    feature,
    CASE feature WHEN 'stalled_at' THEN 'event ' WHEN 'cut_at' THEN 'event ' ELSE '' END
        || CAST(CAST(low AS BIGINT) AS VARCHAR) || ' to ' || CAST(CAST(high AS BIGINT) AS VARCHAR) || unit,
    kind = 'symptom',
    NULL
FROM stepped
