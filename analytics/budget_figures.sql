-- B14 Where do the runs stand, in the figures that a budget can limit?
-- Of the runs that are meant: which share of those that are over a token limit cut, brought nothing usable (of those of
-- which that is known), or broke off; what they cost in all, on the dearest day (UTC) and each, and which share has no
-- price (requests that were refused cost nothing, and need none); and how many tokens and how much time to the first
-- token 99 or 95 % of them used at most. Each figure stands beside the number of runs that it is made from.
-- uses: costs
WITH told AS (
    SELECT
        slice,
        weight,
        CAST(weight AS DECIMAL(25, 6)) AS exact_weight,
        day,
        over,
        truncated,
        usable,
        outcome,
        output_tokens,
        input_tokens,
        ttft_us,
        cost_usd,
        CASE WHEN cost_usd IS NOT NULL THEN 1 WHEN unpriced = 'failed_request' THEN NULL ELSE 0 END AS priced
    FROM asked
),
days AS (
    SELECT slice, max(day_usd) AS top_day_usd
    FROM (SELECT slice, day, sum(cost_usd * exact_weight) AS day_usd FROM told GROUP BY slice, day) AS each_day
    GROUP BY slice
),
figures AS (
    SELECT slice, 'output' AS kind, 0.99 AS mark, weight, output_tokens AS figure FROM told
    UNION ALL
    SELECT slice, 'input', 0.99, weight, input_tokens FROM told
    UNION ALL
    SELECT slice, 'ttft', 0.95, weight, ttft_us FROM told
),
ranked AS (
    SELECT
        slice,
        kind,
        mark,
        figure,
        sum(weight) OVER (PARTITION BY slice, kind ORDER BY figure) AS up_to,
        sum(weight) OVER (PARTITION BY slice, kind) AS in_all
    FROM figures
    WHERE figure IS NOT NULL
),
read_off AS (
    SELECT
        slice,
        sum(CASE WHEN kind = 'output' THEN 1 ELSE 0 END) AS output_runs,
        min(CASE WHEN kind = 'output' AND up_to >= mark * in_all THEN figure END) AS p99_output,
        sum(CASE WHEN kind = 'input' THEN 1 ELSE 0 END) AS input_runs,
        min(CASE WHEN kind = 'input' AND up_to >= mark * in_all THEN figure END) AS p99_input,
        sum(CASE WHEN kind = 'ttft' THEN 1 ELSE 0 END) AS ttft_runs,
        min(CASE WHEN kind = 'ttft' AND up_to >= mark * in_all THEN figure END) AS p95_ttft
    FROM ranked
    GROUP BY slice
),
summed AS (
    SELECT
        slice,
        count(*) AS runs,
        sum(CASE WHEN over THEN 1 ELSE 0 END) AS over_runs,
        sum(CASE WHEN over THEN weight ELSE 0 END) AS over_weights,
        sum(CASE WHEN over AND truncated THEN weight ELSE 0 END) AS truncated_weights,
        sum(CASE WHEN over AND outcome IN ('client_abort', 'upstream_cut', 'no_terminal') THEN weight ELSE 0 END)
            AS broken_weights,
        sum(CASE WHEN usable IS NOT NULL THEN 1 ELSE 0 END) AS judged_runs,
        sum(CASE WHEN usable IS NOT NULL THEN weight ELSE 0 END) AS judged_weights,
        sum(CASE WHEN NOT usable THEN weight ELSE 0 END) AS unusable_weights,
        sum(CASE WHEN priced IS NOT NULL THEN 1 ELSE 0 END) AS payable_runs,
        sum(CASE WHEN priced IS NOT NULL THEN weight ELSE 0 END) AS payable_weights,
        sum(CASE WHEN priced = 0 THEN 1 ELSE 0 END) AS unpriced_runs,
        sum(CASE WHEN priced = 0 THEN weight ELSE 0 END) AS unpriced_weights,
        sum(CASE WHEN priced = 1 THEN 1 ELSE 0 END) AS priced_runs,
        sum(CASE WHEN priced = 1 THEN weight ELSE 0 END) AS priced_weights,
        sum(cost_usd * exact_weight) AS total_usd
    FROM told
    GROUP BY slice
)
SELECT
    s.slice AS slice,
    s.runs AS runs,
    s.over_runs AS over_runs,
    s.truncated_weights / nullif(s.over_weights, 0) AS truncated_share,
    s.broken_weights / nullif(s.over_weights, 0) AS broken_share,
    s.judged_runs AS judged_runs,
    s.unusable_weights / nullif(s.judged_weights, 0) AS unusable_share,
    s.payable_runs AS payable_runs,
    s.unpriced_runs AS unpriced_runs,
    s.unpriced_weights / nullif(s.payable_weights, 0) AS unpriced_share,
    s.priced_runs AS priced_runs,
    CAST(s.total_usd AS DECIMAL(38,9)) AS total_usd,
    CAST(d.top_day_usd AS DECIMAL(38,9)) AS top_day_usd,
    CAST(s.total_usd / nullif(s.priced_weights, 0) AS DECIMAL(38,9)) AS mean_usd,
    coalesce(r.output_runs, 0) AS output_runs,
    r.p99_output AS p99_output_tokens,
    coalesce(r.input_runs, 0) AS input_runs,
    r.p99_input AS p99_input_tokens,
    coalesce(r.ttft_runs, 0) AS ttft_runs,
    r.p95_ttft AS p95_ttft_us
FROM summed s
JOIN days d ON d.slice IS NOT DISTINCT FROM s.slice
LEFT JOIN read_off r ON r.slice IS NOT DISTINCT FROM s.slice
ORDER BY s.slice
