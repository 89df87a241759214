-- R4 Which runs are worth a look?
-- Lists of runs, the first few of each: the dearest, the longest, and those behind each finding, the dearest first. With
-- each list how many runs would be on it, and what they cost together, as far as they have a price.
-- uses: costs
-- given: most BIGINT = 20
-- given: most_cut BIGINT = 20
WITH again AS (
    SELECT DISTINCT run_id FROM retries WHERE gap_us <= 600000000
),
told AS (
    SELECT
        a.run_id AS run_id,
        a.slice AS slice,
        a.started_at AS started_at,
        a.model AS model,
        a.outcome AS outcome,
        a.max_completion_tokens AS cap_tokens,
        a.output_tokens AS output_tokens,
        a.duration_us AS duration_us,
        a.cost_usd AS cost_usd,
        a.weight AS weight,
        a.over AS over,
        a.usable AS usable,
        a.truncated AS truncated,
        a.json_valid AS json_valid,
        a.unpriced AS unpriced,
        coalesce(f.whitespace_runaway, FALSE) AS whitespace,
        coalesce(f.reasoning_starved, FALSE) AS starved,
        coalesce(f.arguments_damaged, FALSE) AS arguments_damaged,
        g.run_id IS NOT NULL AS again
    FROM asked a
    LEFT JOIN findings f ON f.run_id = a.run_id
    LEFT JOIN again g ON g.run_id = a.run_id
),
listed AS (
    SELECT 'dearest' AS list, CAST(NULL AS VARCHAR) AS of_slice, CAST(cost_usd AS DOUBLE) AS rank_by, * FROM told
    WHERE cost_usd IS NOT NULL
    UNION ALL
    SELECT 'longest', NULL, duration_us, * FROM told WHERE over AND duration_us IS NOT NULL
    UNION ALL
    SELECT 'cut', slice, CAST(cost_usd AS DOUBLE), * FROM told WHERE truncated
    UNION ALL
    SELECT 'whitespace', NULL, CAST(cost_usd AS DOUBLE), * FROM told WHERE whitespace
    UNION ALL
    SELECT 'starved', NULL, CAST(cost_usd AS DOUBLE), * FROM told WHERE starved
    UNION ALL
    SELECT 'damaged', NULL, CAST(cost_usd AS DOUBLE), * FROM told WHERE over AND (json_valid = FALSE OR arguments_damaged)
    UNION ALL
    SELECT 'again', NULL, CAST(cost_usd AS DOUBLE), * FROM told WHERE again AND over AND usable = FALSE
    UNION ALL
    SELECT 'broken', NULL, CAST(cost_usd AS DOUBLE), * FROM told
    WHERE outcome IN ('client_abort', 'upstream_cut', 'no_terminal')
    UNION ALL
    SELECT 'failed', NULL, duration_us, * FROM told WHERE outcome IN ('failed', 'http_error', 'unreachable', 'expired')
    UNION ALL
    SELECT 'unpriced', NULL, output_tokens, * FROM told WHERE unpriced IS NOT NULL AND unpriced <> 'failed_request'
),
ranked AS (
    SELECT
        *,
        row_number() OVER (PARTITION BY list, of_slice ORDER BY rank_by DESC NULLS LAST, started_at DESC, run_id) AS place,
        count(*) OVER (PARTITION BY list, of_slice) AS runs,
        sum(cost_usd * CAST(weight AS DECIMAL(18,6))) OVER (PARTITION BY list, of_slice) AS list_usd,
        sum(CASE WHEN unpriced <> 'failed_request' THEN 1 ELSE 0 END) OVER (PARTITION BY list, of_slice) AS unpriced_runs
    FROM listed
)
SELECT
    list,
    of_slice,
    place,
    CAST(run_id AS VARCHAR) AS run_id,
    slice,
    started_at,
    model,
    outcome,
    cap_tokens,
    output_tokens,
    duration_us,
    CAST(cost_usd AS DECIMAL(38,9)) AS cost_usd,
    runs,
    CAST(list_usd AS DECIMAL(38,9)) AS list_usd,
    unpriced_runs
FROM ranked
CROSS JOIN given
WHERE place <= CASE WHEN list = 'cut' THEN most_cut ELSE most END
ORDER BY list, of_slice, place
