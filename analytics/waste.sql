-- T4 Which tokens were spent on nothing?
-- Of all tokens (prompt and output) of the runs that are over: how many went into runs that brought what was asked for
-- (`usable`), and how many did not: `retried` (nothing usable, and the same was asked again within so many minutes, as
-- T11 knows it: it was paid for twice), `truncated_useless` (cut by a token limit, with nothing to be seen, or with
-- broken JSON or tool arguments), `truncated_partial` (cut, but with a text that somebody may have use for, or nobody
-- knows), `damaged` (it came to its end with broken JSON or arguments), `aborted` (the client left, or the connection
-- broke), `other` (failed, cancelled, expired, filtered, refused). Each run is in one of these. `whitespace` is the
-- part of all their outputs that was whitespace without end, taken out of them: an estimate by the events that brought
-- it. Runs whose tokens nobody stated are counted (`unknown_runs`) and are in no sum of tokens; those without a price
-- (`unpriced_runs`) in none of money. Requests that were refused cost nothing, and need no price.
-- among: over
-- uses: costs
-- given: within_minutes DOUBLE = 10
-- chart: bars slice spent_on tokens_share
-- default
WITH repeated AS (
    SELECT DISTINCT run_id
    FROM retries, given
    WHERE gap_us <= within_minutes * 60000000
),
judged AS (
    SELECT
        a.slice AS slice,
        a.weight AS weight,
        CASE
            WHEN a.usable THEN 'usable'
            WHEN p.run_id IS NOT NULL THEN 'retried'
            WHEN a.truncated AND (
                a.json_valid = FALSE
                OR coalesce(f.arguments_damaged, FALSE)
                OR (
                    f.looked_through AND NOT f.tools_called
                    AND coalesce(f.said_chars, 0) - coalesce(f.blank_chars, 0) <= 0
                )
            ) THEN 'truncated_useless'
            WHEN a.truncated THEN 'truncated_partial'
            WHEN a.outcome IN ('client_abort', 'upstream_cut', 'no_terminal') THEN 'aborted'
            WHEN a.outcome IN ('completed', 'tool_wait', 'paused') THEN 'damaged'
            ELSE 'other'
        END AS spent_on,
        coalesce(a.total_tokens, coalesce(a.input_tokens, 0) + coalesce(a.output_tokens, 0)) AS all_tokens,
        CASE WHEN coalesce(a.total_tokens, a.input_tokens, a.output_tokens) IS NULL THEN 1 ELSE 0 END AS is_unknown,
        coalesce(a.output_tokens * f.whitespace_share, 0) AS blank_tokens,
        a.cost_usd AS money,
        CASE WHEN a.unpriced <> 'failed_request' THEN 1 ELSE 0 END AS lacks_price,
        CASE
            WHEN a.cost_usd IS NULL THEN NULL
            ELSE CAST(coalesce(a.output_usd * CAST(f.whitespace_share AS DECIMAL(9,8)), 0) AS DECIMAL(38,18))
        END AS blank_money
    FROM asked a
    LEFT JOIN findings f ON f.run_id = a.run_id
    LEFT JOIN repeated p ON p.run_id = a.run_id
),
parts AS (
    SELECT
        slice,
        spent_on,
        weight,
        CASE WHEN is_unknown = 0 THEN all_tokens - blank_tokens END AS part_tokens,
        is_unknown,
        money - blank_money AS part_money,
        lacks_price
    FROM judged
    UNION ALL
    SELECT slice, 'whitespace', weight, blank_tokens, 0, blank_money, lacks_price
    FROM judged
    WHERE blank_tokens > 0
),
summed AS (
    SELECT
        slice,
        spent_on,
        count(*) AS runs,
        sum(weight * part_tokens) AS tokens_sum,
        sum(is_unknown) AS unknown_runs,
        sum(part_money * CAST(weight AS DECIMAL(18,6))) AS money_sum,
        sum(lacks_price) AS unpriced_runs
    FROM parts
    GROUP BY slice, spent_on
),
compared AS (
    SELECT
        *,
        sum(tokens_sum) OVER (PARTITION BY slice) AS slice_tokens,
        CAST(sum(money_sum) OVER (PARTITION BY slice) AS DOUBLE) AS slice_money
    FROM summed
)
SELECT
    slice,
    spent_on,
    runs,
    CAST(round(tokens_sum) AS BIGINT) AS tokens,
    tokens_sum / nullif(slice_tokens, 0) AS tokens_share,
    unknown_runs,
    CAST(money_sum AS DECIMAL(38,9)) AS cost_usd,
    CAST(money_sum AS DOUBLE) / nullif(slice_money, 0) AS cost_share,
    unpriced_runs
FROM compared
ORDER BY
    slice,
    CASE spent_on
        WHEN 'usable' THEN 1
        WHEN 'retried' THEN 2
        WHEN 'truncated_useless' THEN 3
        WHEN 'truncated_partial' THEN 4
        WHEN 'whitespace' THEN 5
        WHEN 'damaged' THEN 6
        WHEN 'aborted' THEN 7
        ELSE 8
    END
