-- C10 What was spent on each day?
-- The cost of the runs that began on each day (UTC), what it comes to so far, and how many runs of that day have no price
-- and are therefore not in it.
-- uses: costs
-- chart: area day spent_usd slice
SELECT
    slice,
    day,
    runs,
    unpriced_runs,
    CAST(spent AS DECIMAL(38,9)) AS spent_usd,
    CAST(sum(spent) OVER (PARTITION BY slice ORDER BY day) AS DECIMAL(38,9)) AS so_far_usd
FROM (
    SELECT
        slice,
        day,
        count(*) AS runs,
        sum(CASE WHEN unpriced IS NOT NULL AND unpriced <> 'failed_request' THEN 1 ELSE 0 END) AS unpriced_runs,
        sum(cost_usd * CAST(weight AS DECIMAL(18,6))) AS spent
    FROM asked
    GROUP BY slice, day
) AS summed
ORDER BY slice, day
