-- F10 When did runs have the same fault?
-- The runs that share the fault of a run, as F6 finds it, and all runs, in equal spans of time (`span_us`, of which there
-- are about `spans`) over all that is asked about; `later` says which lie in the window that `at` opens.
-- uses: marked
-- given: run VARCHAR = NULL
-- given: feature VARCHAR = NULL
-- given: value VARCHAR = NULL
-- given: at MOMENT = NULL
-- given: spans INTEGER = 48
-- must: spans >= 1
-- chart: line started_at fault_share slice
WITH bounds AS (
    SELECT min(started_at) AS first_at, max(started_at) - min(started_at) + 1 AS lasts_us FROM marked
),
spread AS (
    SELECT
        m.slice AS slice,
        m.weight AS weight,
        m.marked AS marked,
        m.later AS later,
        b.first_at AS first_at,
        CAST(ceil(b.lasts_us / CAST(g.spans AS DOUBLE)) AS BIGINT) AS span_us,
        m.started_at - b.first_at AS after_us
    FROM marked m
    CROSS JOIN bounds b
    CROSS JOIN given g
),
placed AS (
    SELECT *, CAST(floor(after_us / CAST(span_us AS DOUBLE)) AS BIGINT) AS place FROM spread
)
SELECT
    slice,
    max(first_at) + place * max(span_us) AS started_at,
    max(span_us) AS span_us,
    max(CASE WHEN later THEN 1 ELSE 0 END) = 1 AS later,
    count(*) AS runs,
    sum(CASE WHEN marked THEN 1 ELSE 0 END) AS fault_runs,
    sum(CASE WHEN marked THEN weight ELSE 0 END) / sum(weight) AS fault_share
FROM placed
GROUP BY slice, place
ORDER BY slice, place
