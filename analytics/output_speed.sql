-- L3 How fast does the output come?
-- Of the streamed runs that state their output: tokens a second after the first content, as quantiles: the slowest tenth
-- of the runs is below p10. Reasoning counts as output, whether it is shown or not. And how many events carry a token:
-- far below 1 means that tokens are sent in bundles, above 1 that the protocol has many events of its own.
-- among: over AND streamed_us > ttft_us AND recordings = 1
-- needs: output_tokens
-- chart: ecdf slice p10_tokens_per_s p50_tokens_per_s p90_tokens_per_s
WITH rated AS (
    SELECT
        slice,
        weight,
        CAST(output_tokens AS DOUBLE) * 1000000 / (streamed_us - ttft_us) AS speed,
        CASE WHEN output_tokens > 0 THEN CAST(events AS DOUBLE) / output_tokens END AS ratio
    FROM asked
),
ranked AS (
    SELECT
        slice,
        weight,
        speed,
        ratio,
        sum(weight) OVER (PARTITION BY slice ORDER BY speed) AS up_to,
        sum(weight) OVER (PARTITION BY slice) AS in_all
    FROM rated
)
SELECT
    slice,
    count(*) AS runs,
    min(CASE WHEN up_to >= 0.10 * in_all THEN speed END) AS p10_tokens_per_s,
    min(CASE WHEN up_to >= 0.50 * in_all THEN speed END) AS p50_tokens_per_s,
    min(CASE WHEN up_to >= 0.90 * in_all THEN speed END) AS p90_tokens_per_s,
    sum(weight * ratio) / sum(CASE WHEN ratio IS NOT NULL THEN weight END) AS events_per_token
FROM ranked
GROUP BY slice
ORDER BY slice
