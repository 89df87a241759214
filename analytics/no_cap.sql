-- B11 Which runs have no cap, and what do they spend?
-- Of the runs that are over: how many set a cap on their output, their prompt, on `both` or on `none`, and what they
-- used: the number of tokens that 50 and 99 % of them stay at or below, the sum of their tokens, and what the dearest 1
-- % cost at least (`p99_usd`). A run without a cap can use all that the model allows. `unknown` are those whose request
-- was not kept and whose answer does not say it either. A cap of 0 or below is none. Runs whose tokens nobody stated
-- are in no figure of tokens; `unpriced_runs` are in none of money (requests that were refused cost nothing, and are not
-- among them).
-- among: over
-- uses: costs
-- chart: bars slice cap runs_share
WITH told AS (
    SELECT
        slice,
        weight,
        CASE
            WHEN coalesce(max_completion_tokens, 0) > 0 AND coalesce(max_prompt_tokens, 0) > 0 THEN 'both'
            WHEN coalesce(max_completion_tokens, 0) > 0 THEN 'output'
            WHEN coalesce(max_prompt_tokens, 0) > 0 THEN 'prompt'
            WHEN parameters IS NULL THEN 'unknown'
            ELSE 'none'
        END AS cap,
        output_tokens,
        coalesce(total_tokens, input_tokens + output_tokens) AS all_tokens,
        cost_usd AS money,
        CASE WHEN unpriced <> 'failed_request' THEN 1 ELSE 0 END AS lacks_price
    FROM asked
),
ranked AS (
    SELECT
        *,
        sum(weight) OVER (PARTITION BY slice) AS slice_weight,
        sum(CASE WHEN output_tokens IS NULL THEN 0 ELSE weight END)
            OVER (PARTITION BY slice, cap ORDER BY output_tokens) AS output_up_to,
        sum(CASE WHEN output_tokens IS NULL THEN 0 ELSE weight END) OVER (PARTITION BY slice, cap) AS output_in_all,
        sum(CASE WHEN money IS NULL THEN 0 ELSE weight END)
            OVER (PARTITION BY slice, cap ORDER BY money) AS money_up_to,
        sum(CASE WHEN money IS NULL THEN 0 ELSE weight END) OVER (PARTITION BY slice, cap) AS money_in_all
    FROM told
)
SELECT
    slice,
    cap,
    count(*) AS runs,
    sum(weight) / max(slice_weight) AS runs_share,
    min(CASE WHEN output_up_to >= 0.50 * output_in_all THEN output_tokens END) AS p50_output_tokens,
    min(CASE WHEN output_up_to >= 0.99 * output_in_all THEN output_tokens END) AS p99_output_tokens,
    max(output_tokens) AS max_output_tokens,
    CAST(round(sum(weight * all_tokens)) AS BIGINT) AS tokens,
    CAST(min(CASE WHEN money_up_to >= 0.50 * money_in_all THEN money END) AS DECIMAL(38,9)) AS p50_usd,
    CAST(min(CASE WHEN money_up_to >= 0.99 * money_in_all THEN money END) AS DECIMAL(38,9)) AS p99_usd,
    CAST(sum(money * CAST(weight AS DECIMAL(18,6))) AS DECIMAL(38,9)) AS cost_usd,
    sum(lacks_price) AS unpriced_runs
FROM ranked
GROUP BY slice, cap
ORDER BY slice, runs_share DESC, cap
