-- The runs that are asked about, as an incident sees them: which of them are marked, and which began in its window. Marked
-- are the runs that share a feature: `given`'s `feature` and `value`, or what the run `given.run` has of that feature; or,
-- where no feature is given, the fault of that run. Where no run is given either, it is that of the newest run with a fault.
--
-- marked   whether it has what is looked for
-- later    whether it began in the window, which opens at `given.at`, or an hour before the run
-- anchor   whether it is the run itself: `given.run`, or the newest that is marked
-- feature, value   what is looked for
WITH named AS (
    SELECT a.run_id AS run_id, a.started_at AS started_at
    FROM asked a
    JOIN given g ON g.run = CAST(a.run_id AS VARCHAR)
    UNION ALL
    SELECT a.run_id, a.started_at
    FROM features f
    JOIN given g ON g.run IS NULL AND f.feature = g.feature AND (g.value IS NULL OR f.value = g.value)
    JOIN asked a ON a.run_id = f.run_id
    UNION ALL
    SELECT a.run_id, a.started_at
    FROM features f
    JOIN given g ON g.run IS NULL AND g.feature IS NULL AND f.place IS NOT NULL
    JOIN asked a ON a.run_id = f.run_id
),
anchor AS (
    SELECT run_id, started_at
    FROM named
    ORDER BY started_at DESC, run_id DESC
    LIMIT 1
),
own AS (
    SELECT f.feature AS feature, f.value AS value
    FROM anchor n
    JOIN features f ON f.run_id = n.run_id
    JOIN given g ON g.value IS NULL AND (f.feature = g.feature OR (g.feature IS NULL AND f.place IS NOT NULL))
    ORDER BY f.place, f.feature, f.value
    LIMIT 1
),
sought AS (
    SELECT feature, value FROM own
    UNION ALL
    SELECT feature, value FROM given WHERE feature IS NOT NULL AND value IS NOT NULL
),
hits AS (
    SELECT DISTINCT f.run_id AS run_id
    FROM features f
    JOIN sought s ON s.feature = f.feature AND s.value = f.value
)
SELECT
    a.run_id AS run_id,
    a.slice AS slice,
    a.started_at AS started_at,
    a.weight AS weight,
    h.run_id IS NOT NULL AS marked,
    coalesce(a.started_at >= coalesce(g.at, n.started_at - 3600000000), TRUE) AS later,
    coalesce(a.run_id = n.run_id, FALSE) AS anchor,
    s.feature AS feature,
    s.value AS value
FROM asked a
CROSS JOIN sought s
CROSS JOIN given g
LEFT JOIN anchor n ON TRUE
LEFT JOIN hits h ON h.run_id = a.run_id
