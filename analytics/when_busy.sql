-- L6 Are answers slower at some hours, or with long prompts?
-- Of the runs whose first content was timed: the time to it, and the speed of the output after it, by the hour of the day
-- (UTC) and by the size of the prompt. Look along a row for what the hour does, down a column for what the prompt does.
-- among: ttft_us IS NOT NULL
-- needs: input_tokens
-- chart: heatmap hour prompt p50_ttft_us
WITH placed AS (
    SELECT
        slice,
        weight,
        ttft_us,
        EXTRACT(HOUR FROM started) AS hour,
        CASE
            WHEN input_tokens < 1000 THEN 1
            WHEN input_tokens < 10000 THEN 2
            WHEN input_tokens < 100000 THEN 3
            ELSE 4
        END AS size
    FROM asked
),
ranked AS (
    SELECT
        slice,
        hour,
        size,
        weight,
        ttft_us,
        sum(weight) OVER (PARTITION BY slice, hour, size ORDER BY ttft_us) AS up_to,
        sum(weight) OVER (PARTITION BY slice, hour, size) AS in_all
    FROM placed
)
SELECT
    slice,
    hour,
    CASE size WHEN 1 THEN 'below 1 k' WHEN 2 THEN '1 k to 10 k' WHEN 3 THEN '10 k to 100 k' ELSE 'from 100 k' END
        AS prompt,
    count(*) AS runs,
    min(CASE WHEN up_to >= 0.50 * in_all THEN ttft_us END) AS p50_ttft_us,
    min(CASE WHEN up_to >= 0.90 * in_all THEN ttft_us END) AS p90_ttft_us
FROM ranked
GROUP BY slice, hour, size
ORDER BY slice, size, hour
