-- T13 Which streams were abandoned or cut, where, and what did that cost unseen?
-- Of the runs that are over: the share that nobody said the end of, by who ended them: `client_abort` (the client left,
-- or its own timeout did), `upstream_cut` (the connection broke), `no_terminal` (the stream ended as if it were whole),
-- with Wilson's interval at 95 %. Where they were: medians, and what 90 % stay at or below, of time since the request,
-- and the medians of events and of characters shown. The provider may bill what was generated and never seen, and the
-- whole prompt. Of their output tokens: `stated_tokens` were told before the cut, and what nobody stated lies between
-- `at_least_tokens` (one token for 128 bytes of what was seen) and `at_most_tokens` (their caps); `unbounded_runs` have
-- no cap, and are in neither that sum nor, where nothing was seen of them, the other. A provider may go on generating
-- after a client left.
-- among: over
-- chart: bars slice outcome runs_share low_share high_share
WITH told AS (
    SELECT
        a.slice AS slice,
        a.outcome AS outcome,
        a.weight AS weight,
        sum(a.weight) OVER (PARTITION BY a.slice) AS slice_weight,
        sum(a.weight * a.weight) OVER (PARTITION BY a.slice) AS slice_squares,
        a.duration_us AS duration_us,
        a.events AS events,
        CASE WHEN f.looked_through THEN coalesce(f.said_chars, 0) END AS chars,
        a.output_tokens AS stated,
        CASE WHEN a.output_tokens IS NULL THEN f.output_at_least END AS least,
        CASE
            WHEN a.output_tokens IS NOT NULL THEN NULL
            WHEN f.output_at_least IS NOT NULL THEN f.output_at_most
            WHEN a.max_completion_tokens > 0 AND f.choices IS NULL THEN a.max_completion_tokens
        END AS most
    FROM asked a
    LEFT JOIN findings f ON f.run_id = a.run_id
),
ranked AS (
    SELECT
        *,
        sum(CASE WHEN duration_us IS NULL THEN 0 ELSE weight END)
            OVER (PARTITION BY slice, outcome ORDER BY duration_us) AS duration_up_to,
        sum(CASE WHEN duration_us IS NULL THEN 0 ELSE weight END) OVER (PARTITION BY slice, outcome) AS duration_in_all,
        sum(CASE WHEN events IS NULL THEN 0 ELSE weight END)
            OVER (PARTITION BY slice, outcome ORDER BY events) AS events_up_to,
        sum(CASE WHEN events IS NULL THEN 0 ELSE weight END) OVER (PARTITION BY slice, outcome) AS events_in_all,
        sum(CASE WHEN chars IS NULL THEN 0 ELSE weight END)
            OVER (PARTITION BY slice, outcome ORDER BY chars) AS chars_up_to,
        sum(CASE WHEN chars IS NULL THEN 0 ELSE weight END) OVER (PARTITION BY slice, outcome) AS chars_in_all
    FROM told
),
counted AS (
    SELECT
        slice,
        outcome,
        count(*) AS runs,
        sum(weight) / max(slice_weight) AS runs_share,
        max(slice_weight) * max(slice_weight) / max(slice_squares) AS effective,
        min(CASE WHEN duration_up_to >= 0.50 * duration_in_all THEN duration_us END) AS p50_duration_us,
        min(CASE WHEN duration_up_to >= 0.90 * duration_in_all THEN duration_us END) AS p90_duration_us,
        min(CASE WHEN events_up_to >= 0.50 * events_in_all THEN events END) AS p50_events,
        min(CASE WHEN chars_up_to >= 0.50 * chars_in_all THEN chars END) AS p50_chars,
        sum(weight * stated) AS stated_sum,
        sum(weight * least) AS least_sum,
        sum(weight * most) AS most_sum,
        sum(CASE WHEN stated IS NULL AND most IS NULL THEN 1 ELSE 0 END) AS unbounded_runs
    FROM ranked
    WHERE outcome IN ('client_abort', 'upstream_cut', 'no_terminal')
    GROUP BY slice, outcome
)
SELECT
    slice,
    outcome,
    runs,
    runs_share,
    CASE
        WHEN runs_share > 0 THEN (
            runs_share + 1.9207294103470627 / effective
            - 1.959963984540054
                * sqrt((runs_share * (1 - runs_share) + 0.9603647051735313 / effective) / effective)
        ) / (1 + 3.841458820694125 / effective)
        ELSE 0
    END AS low_share,
    CASE
        WHEN runs_share < 1 THEN (
            runs_share + 1.9207294103470627 / effective
            + 1.959963984540054
                * sqrt((runs_share * (1 - runs_share) + 0.9603647051735313 / effective) / effective)
        ) / (1 + 3.841458820694125 / effective)
        ELSE 1
    END AS high_share,
    p50_duration_us,
    p90_duration_us,
    p50_events,
    p50_chars,
    CAST(round(stated_sum) AS BIGINT) AS stated_tokens,
    CAST(round(least_sum) AS BIGINT) AS at_least_tokens,
    CAST(round(most_sum) AS BIGINT) AS at_most_tokens,
    unbounded_runs
FROM counted
ORDER BY slice, outcome
