-- F11 What can be said of a run, to find others like it?
-- What `run` (the newest, unless it is given) has of the features that F6, F9 and F10 can look for: circumstances under which
-- it ran, symptoms of how it went. `names_fault` marks the one that is its fault, where it has one.
-- uses: features
-- given: run VARCHAR = NULL
WITH chosen AS (
    SELECT
        slice,
        run_id,
        row_number() OVER (PARTITION BY slice ORDER BY started_at DESC, run_id DESC) AS age
    FROM asked
    CROSS JOIN given
    WHERE run IS NULL OR run = CAST(run_id AS VARCHAR)
),
placed AS (
    SELECT
        c.slice AS slice,
        f.kind AS kind,
        f.feature AS feature,
        f.value AS value,
        f.place AS place,
        row_number() OVER (
            PARTITION BY c.slice ORDER BY CASE WHEN f.place IS NULL THEN 1 ELSE 0 END, f.place, f.feature, f.value
        ) AS first_place
    FROM chosen c
    JOIN features f ON f.run_id = c.run_id
    WHERE c.age = 1
)
SELECT slice, kind, feature, value, first_place = 1 AND place IS NOT NULL AS names_fault
FROM placed
ORDER BY slice, kind, feature, value
