-- L1 How long do answers take to begin, and to end?
-- Of the runs that are over: the time from the request to the response's head, to the first event that carries content of
-- any kind (reasoning and tool calls too), to the first visible text, and to the end; and how long the answers streamed
-- (without what a run waited for tool outputs). Quantiles: so many of the runs took at most so long. Whoever asks many
-- runs at once should look at p99.
-- among: over AND duration_us IS NOT NULL
-- chart: ecdf slice measure p50_us p90_us p99_us
-- default
WITH measured AS (
    SELECT slice, 1 AS place, 'head' AS measure, weight, head_us AS took_us FROM asked WHERE head_us IS NOT NULL
    UNION ALL
    SELECT slice, 2 AS place, 'first content' AS measure, weight, ttft_us AS took_us FROM asked
    WHERE ttft_us IS NOT NULL
    UNION ALL
    SELECT slice, 3 AS place, 'first visible text' AS measure, weight, ttft_visible_us AS took_us FROM asked
    WHERE ttft_visible_us IS NOT NULL
    UNION ALL
    SELECT slice, 4 AS place, 'streaming' AS measure, weight, streamed_us AS took_us FROM asked
    WHERE streamed_us IS NOT NULL
    UNION ALL
    SELECT slice, 5 AS place, 'end' AS measure, weight, duration_us AS took_us FROM asked
),
ranked AS (
    SELECT
        slice,
        place,
        measure,
        weight,
        took_us,
        sum(weight) OVER (PARTITION BY slice, place ORDER BY took_us) AS up_to,
        sum(weight) OVER (PARTITION BY slice, place) AS in_all
    FROM measured
)
SELECT
    slice,
    measure,
    count(*) AS runs,
    min(CASE WHEN up_to >= 0.50 * in_all THEN took_us END) AS p50_us,
    min(CASE WHEN up_to >= 0.90 * in_all THEN took_us END) AS p90_us,
    min(CASE WHEN up_to >= 0.99 * in_all THEN took_us END) AS p99_us,
    max(took_us) AS max_us
FROM ranked
GROUP BY slice, place, measure
ORDER BY slice, place
