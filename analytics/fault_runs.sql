-- F9 Which runs have the same fault?
-- The runs that share the fault of a run, as F6 finds it, in the window that `at` opens, the newest first, at most so
-- many; `anchor` is the run itself. `features` is how many circumstances each of them shares with it.
-- uses: marked
-- given: run VARCHAR = NULL
-- given: feature VARCHAR = NULL
-- given: value VARCHAR = NULL
-- given: at MOMENT = NULL
-- given: at_most INTEGER = 1000
WITH own AS (
    SELECT DISTINCT f.feature AS feature, f.value AS value
    FROM features f
    JOIN marked m ON m.run_id = f.run_id
    WHERE m.anchor AND f.kind = 'circumstance'
),
alike AS (
    SELECT m.run_id AS run_id, count(*) AS features
    FROM marked m
    JOIN features f ON f.run_id = m.run_id
    JOIN own o ON o.feature = f.feature AND o.value = f.value
    WHERE m.marked AND m.later
    GROUP BY m.run_id
),
placed AS (
    SELECT
        a.slice AS slice,
        a.run_id AS run_id,
        a.started_at AS started_at,
        a.dialect AS dialect,
        a.model AS model,
        a.status AS status,
        a.outcome AS outcome,
        a.ending AS ending,
        a.events AS events,
        a.duration_us AS duration_us,
        m.anchor AS anchor,
        coalesce(s.features, 0) AS features,
        row_number() OVER (PARTITION BY a.slice ORDER BY a.started_at DESC, a.run_id DESC) AS place
    FROM marked m
    JOIN asked a ON a.run_id = m.run_id
    LEFT JOIN alike s ON s.run_id = m.run_id
    WHERE m.marked AND m.later
)
SELECT slice, run_id, started_at, dialect, model, status, outcome, ending, events, duration_us, features, anchor
FROM placed, given
WHERE place <= at_most OR anchor
ORDER BY slice, place
