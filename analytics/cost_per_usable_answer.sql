-- C2 What does an answer that can be used cost?
-- All that was spent, divided by the runs that brought what was asked for: a run that was cut off, refused, failed or gave
-- damaged JSON is paid for and brings nothing, so that each usable answer costs more than each run.
-- among: over
-- needs: cost_usd, usable
-- uses: costs
-- chart: dumbbell slice per_run_usd per_usable_usd
-- default
SELECT
    slice,
    runs,
    usable_runs,
    usable_weight / all_weight AS usable_share,
    CAST(spent AS DECIMAL(38,9)) AS spent_usd,
    CAST(lost AS DECIMAL(38,9)) AS lost_usd,
    CASE WHEN spent > 0 THEN CAST(lost AS DOUBLE) / CAST(spent AS DOUBLE) END AS lost_share,
    CAST(CAST(spent AS DOUBLE) / all_weight AS DECIMAL(38,9)) AS per_run_usd,
    CASE WHEN usable_weight > 0 THEN CAST(CAST(spent AS DOUBLE) / usable_weight AS DECIMAL(38,9)) END AS per_usable_usd
FROM (
    SELECT
        slice,
        count(*) AS runs,
        sum(CASE WHEN usable THEN 1 ELSE 0 END) AS usable_runs,
        sum(weight) AS all_weight,
        sum(CASE WHEN usable THEN weight ELSE 0 END) AS usable_weight,
        sum(cost_usd * CAST(weight AS DECIMAL(18,6))) AS spent,
        sum(CASE WHEN usable THEN 0 ELSE cost_usd * CAST(weight AS DECIMAL(18,6)) END) AS lost
    FROM asked
    GROUP BY slice
) AS summed
ORDER BY spent DESC, slice
