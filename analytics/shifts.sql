-- D1 Which figures have shifted?
-- Of the runs that are over: whether output tokens, input tokens, the time to the first content and the cost of a run are
-- spread as they were before a moment (`at`; the middle of the runs' time unless it is set). ks is the largest distance of
-- the two distributions (Kolmogorov-Smirnov); the word says shifted where it is above what chance brings in one of twenty
-- cases (1.358 * sqrt(1/n + 1/m)), and few where there are less than `least` runs on a side. psi sums up over tenths of
-- the earlier runs how far their shares moved (an empty one counts as 0.0001): below 0.1 is little, above 0.25 is much.
-- among: over
-- uses: costs
-- given: at MOMENT = NULL
-- given: least BIGINT = 30
-- chart: bars slice measure ks_share
WITH split AS (
    SELECT coalesce(max(g.at), (min(a.started_at) + max(a.started_at)) / 2) AS moment, max(g.least) AS least
    FROM asked a
    CROSS JOIN given g
),
measured AS (
    SELECT slice, started_at, weight, 'output tokens' AS measure, CAST(output_tokens AS DOUBLE) AS found FROM asked
    UNION ALL
    SELECT slice, started_at, weight, 'input tokens' AS measure, CAST(input_tokens AS DOUBLE) AS found FROM asked
    UNION ALL
    SELECT slice, started_at, weight, 'first content (us)' AS measure, CAST(ttft_us AS DOUBLE) AS found FROM asked
    UNION ALL
    SELECT slice, started_at, weight, 'cost (usd)' AS measure, CAST(cost_usd AS DOUBLE) AS found FROM asked
),
sides AS (
    SELECT
        m.slice AS slice,
        m.measure AS measure,
        m.found AS found,
        s.least AS least,
        count(CASE WHEN m.started_at < s.moment THEN 1 END) AS runs_before,
        count(CASE WHEN m.started_at >= s.moment THEN 1 END) AS runs_after,
        sum(CASE WHEN m.started_at < s.moment THEN m.weight ELSE 0 END) AS weight_before,
        sum(CASE WHEN m.started_at < s.moment THEN 0 ELSE m.weight END) AS weight_after,
        sum(CASE WHEN m.started_at < s.moment THEN m.weight * m.weight ELSE 0 END) AS squares_before,
        sum(CASE WHEN m.started_at < s.moment THEN 0 ELSE m.weight * m.weight END) AS squares_after
    FROM measured m
    CROSS JOIN split s
    WHERE m.found IS NOT NULL
    GROUP BY m.slice, m.measure, m.found, s.least
),
rising AS (
    SELECT
        slice,
        measure,
        found,
        weight_before / nullif(sum(weight_before) OVER (PARTITION BY slice, measure), 0) AS part_before,
        weight_after / nullif(sum(weight_after) OVER (PARTITION BY slice, measure), 0) AS part_after,
        sum(weight_before) OVER (PARTITION BY slice, measure ORDER BY found)
            / nullif(sum(weight_before) OVER (PARTITION BY slice, measure), 0) AS up_to_before,
        sum(weight_after) OVER (PARTITION BY slice, measure ORDER BY found)
            / nullif(sum(weight_after) OVER (PARTITION BY slice, measure), 0) AS up_to_after
    FROM sides
),
binned AS (
    SELECT
        slice,
        measure,
        CASE WHEN up_to_before <= 0.1 THEN 1 ELSE ceil(10 * up_to_before - 0.000000001) END AS bin,
        CASE WHEN sum(part_before) > 0.0001 THEN sum(part_before) ELSE 0.0001 END AS was,
        CASE WHEN sum(part_after) > 0.0001 THEN sum(part_after) ELSE 0.0001 END AS became
    FROM rising
    WHERE up_to_before IS NOT NULL AND up_to_after IS NOT NULL
    GROUP BY slice, measure, CASE WHEN up_to_before <= 0.1 THEN 1 ELSE ceil(10 * up_to_before - 0.000000001) END
),
indexed AS (
    SELECT slice, measure, sum((became - was) * ln(became / was)) AS psi
    FROM binned
    GROUP BY slice, measure
),
distances AS (
    SELECT
        slice,
        measure,
        max(abs(up_to_after - up_to_before)) AS ks,
        min(CASE WHEN up_to_before >= 0.5 THEN found END) AS p50_before,
        min(CASE WHEN up_to_after >= 0.5 THEN found END) AS p50_after,
        min(CASE WHEN up_to_before >= 0.95 THEN found END) AS p95_before,
        min(CASE WHEN up_to_after >= 0.95 THEN found END) AS p95_after
    FROM rising
    GROUP BY slice, measure
),
sizes AS (
    SELECT
        slice,
        measure,
        max(least) AS least,
        sum(runs_before) AS runs_before,
        sum(runs_after) AS runs_after,
        1.358 * sqrt(sum(squares_before) / nullif(sum(weight_before) * sum(weight_before), 0)
            + sum(squares_after) / nullif(sum(weight_after) * sum(weight_after), 0)) AS chance
    FROM sides
    GROUP BY slice, measure
)
SELECT
    s.slice AS slice,
    s.measure AS measure,
    s.runs_before AS runs_before,
    s.runs_after AS runs_after,
    d.p50_before AS p50_before,
    d.p50_after AS p50_after,
    d.p95_before AS p95_before,
    d.p95_after AS p95_after,
    d.ks AS ks_share,
    s.chance AS chance_share,
    i.psi AS psi,
    CASE
        WHEN s.runs_before < s.least OR s.runs_after < s.least THEN 'few'
        WHEN d.ks > s.chance THEN 'shifted'
        ELSE 'as before'
    END AS verdict
FROM sizes s
JOIN distances d ON d.measure = s.measure AND (d.slice = s.slice OR (d.slice IS NULL AND s.slice IS NULL))
LEFT JOIN indexed i ON i.measure = s.measure AND (i.slice = s.slice OR (i.slice IS NULL AND s.slice IS NULL))
ORDER BY coalesce(d.ks, 0) DESC, s.slice, s.measure
