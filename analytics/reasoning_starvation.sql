-- B10 How often does reasoning eat the output budget?
-- Reasoning counts as output, so a cap may be used up before the answer begins. Of the runs that are over: how many
-- were cut by the output limit, and how many of these are `starved`: reasoning, and nothing that was shown or called;
-- or next to nothing (20 characters) beside reasoning of 90 % of the output and more. Models that reason inside of
-- their text (`<think>`) count too, though they state no reasoning tokens. The share is of all runs, with Wilson's
-- interval at 95 %, and `of_cut_share` of those that were cut. `starved_output_tokens` were spent on nothing. Where
-- reasoning tokens are stated (`known_runs`): which share of the output they are in half of the runs, and how many
-- tokens 50 and 99 % of the runs reason at most. A cap must leave room beyond that; runs that were cut would have gone
-- on.
-- among: over
-- chart: bars slice starved_share low_share high_share
WITH told AS (
    SELECT
        a.slice AS slice,
        a.weight AS weight,
        CASE WHEN a.outcome = 'truncated_output' THEN 1 ELSE 0 END AS cut,
        CASE
            WHEN coalesce(f.reasoning_starved, FALSE) THEN 1
            WHEN a.outcome = 'truncated_output' AND a.reasoning_tokens > 0
                AND f.looked_through AND NOT f.tools_called AND coalesce(f.said_chars, 0) = 0 THEN 1
            ELSE 0
        END AS starved,
        a.output_tokens AS output_tokens,
        a.reasoning_tokens AS reasoning_tokens,
        CASE WHEN a.output_tokens > 0 THEN CAST(a.reasoning_tokens AS DOUBLE) / a.output_tokens END AS reasoned
    FROM asked a
    LEFT JOIN findings f ON f.run_id = a.run_id
),
ranked AS (
    SELECT
        *,
        sum(CASE WHEN reasoned IS NULL THEN 0 ELSE weight END)
            OVER (PARTITION BY slice ORDER BY reasoned) AS share_up_to,
        sum(CASE WHEN reasoned IS NULL THEN 0 ELSE weight END) OVER (PARTITION BY slice) AS share_in_all,
        sum(CASE WHEN reasoning_tokens IS NULL THEN 0 ELSE weight END)
            OVER (PARTITION BY slice ORDER BY reasoning_tokens) AS up_to,
        sum(CASE WHEN reasoning_tokens IS NULL THEN 0 ELSE weight END) OVER (PARTITION BY slice) AS in_all
    FROM told
),
counted AS (
    SELECT
        slice,
        count(*) AS runs,
        sum(cut) AS cut_runs,
        sum(starved) AS starved_runs,
        sum(weight * starved) / sum(weight) AS starved_share,
        sum(weight) * sum(weight) / sum(weight * weight) AS effective,
        sum(weight * starved) / nullif(sum(weight * cut), 0) AS of_cut_share,
        sum(CASE WHEN starved = 1 THEN weight * output_tokens END) AS starved_sum,
        count(reasoning_tokens) AS known_runs,
        min(CASE WHEN share_up_to >= 0.50 * share_in_all THEN reasoned END) AS p50_reasoning_share,
        min(CASE WHEN up_to >= 0.50 * in_all THEN reasoning_tokens END) AS p50_reasoning_tokens,
        min(CASE WHEN up_to >= 0.99 * in_all THEN reasoning_tokens END) AS p99_reasoning_tokens
    FROM ranked
    GROUP BY slice
)
SELECT
    slice,
    runs,
    cut_runs,
    starved_runs,
    starved_share,
    CASE
        WHEN starved_share > 0 THEN (
            starved_share + 1.9207294103470627 / effective
            - 1.959963984540054
                * sqrt((starved_share * (1 - starved_share) + 0.9603647051735313 / effective) / effective)
        ) / (1 + 3.841458820694125 / effective)
        ELSE 0
    END AS low_share,
    CASE
        WHEN starved_share < 1 THEN (
            starved_share + 1.9207294103470627 / effective
            + 1.959963984540054
                * sqrt((starved_share * (1 - starved_share) + 0.9603647051735313 / effective) / effective)
        ) / (1 + 3.841458820694125 / effective)
        ELSE 1
    END AS high_share,
    of_cut_share,
    CAST(round(starved_sum) AS BIGINT) AS starved_output_tokens,
    known_runs,
    p50_reasoning_share,
    p50_reasoning_tokens,
    p99_reasoning_tokens
FROM counted
ORDER BY slice
