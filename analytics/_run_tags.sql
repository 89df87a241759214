-- The tags of each run: of every name the one that was set last on any of its recordings, unless that took it off.
SELECT run_id, name, value
FROM (
    SELECT
        r.run_id AS run_id,
        t.name AS name,
        t.value AS value,
        row_number() OVER (PARTITION BY r.run_id, t.name ORDER BY t.set_at DESC, t.recording_id DESC) AS place
    FROM tags t
    JOIN readings r ON r.recording_id = t.recording_id
) AS ranked
WHERE place = 1 AND value IS NOT NULL
