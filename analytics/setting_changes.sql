-- D3 Which settings of the requests have changed, and when?
-- Each setting that the runs did not all ask with alike: its values, how many runs asked with each, and from which day to
-- which. A long value (a tool's schema, instructions) is told by its digest. Runs that did not send a setting are a row of
-- their own, whose value is (absent). What is said to the model is no setting.
-- needs: parameters
-- chart: matrix first_day name runs
WITH total AS (
    SELECT slice, count(*) AS runs FROM asked GROUP BY slice
),
told AS (
    SELECT
        a.slice AS slice,
        p.name AS name,
        p.value AS value,
        count(*) AS runs,
        min(a.started_at) AS first_at,
        min(a.day) AS first_day,
        max(a.day) AS last_day
    FROM asked a
    JOIN parameter_values p ON p.run_id = a.run_id
    WHERE p.is_setting
    GROUP BY a.slice, p.name, p.value
),
named AS (
    SELECT slice, name, sum(runs) AS set_by, count(*) AS values_seen FROM told GROUP BY slice, name
),
absent AS (
    SELECT
        a.slice AS slice,
        n.name AS name,
        '(absent)' AS value,
        count(*) AS runs,
        min(a.started_at) AS first_at,
        min(a.day) AS first_day,
        max(a.day) AS last_day
    FROM named n
    JOIN asked a ON a.slice = n.slice OR (a.slice IS NULL AND n.slice IS NULL)
    LEFT JOIN parameter_values p ON p.run_id = a.run_id AND p.name = n.name
    WHERE p.run_id IS NULL
    GROUP BY a.slice, n.name
),
every AS (
    SELECT slice, name, value, runs, first_at, first_day, last_day FROM told
    UNION ALL
    SELECT slice, name, value, runs, first_at, first_day, last_day FROM absent
)
SELECT
    e.slice AS slice,
    e.name AS name,
    e.value AS value,
    e.runs AS runs,
    e.first_day AS first_day,
    e.last_day AS last_day
FROM every e
JOIN named n ON n.name = e.name AND (n.slice = e.slice OR (n.slice IS NULL AND e.slice IS NULL))
JOIN total t ON t.slice = e.slice OR (t.slice IS NULL AND e.slice IS NULL)
WHERE n.values_seen > 1 OR n.set_by < t.runs
ORDER BY e.slice, e.name, e.first_at, e.value
