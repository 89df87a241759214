-- The run that came next after one that brought nothing usable, and asks the same: the same request or the same
-- messages whatever the model and the caps (`linked_by` is 'request'), or else an Assistants run of the same thread,
-- without a message that was added in between, as far as that was recorded ('thread'). Where content was not kept, only
-- the very same request is known again. The first that began when this one was over; `gap_us` is the time between.
-- Whoever asks says how long a gap still makes a retry.
WITH keyed AS (
    SELECT r.run_id, 'request' AS linked_by, 'task ' || f.task_key AS link_key, r.started_at, r.duration_us, r.usable
    FROM runs r
    JOIN findings f ON f.run_id = r.run_id
    WHERE f.task_key IS NOT NULL
    UNION ALL
    SELECT r.run_id, 'request', 'match ' || k.match_key, r.started_at, r.duration_us, r.usable
    FROM runs r
    JOIN recordings k ON k.recording_id = r.run_id
    LEFT JOIN findings f ON f.run_id = r.run_id
    WHERE k.match_key IS NOT NULL AND f.task_key IS NULL AND r.thread_id IS NULL
    UNION ALL
    SELECT run_id, 'thread', 'thread ' || dialect || ' ' || origin || ' ' || thread_id, started_at, duration_us, usable
    FROM runs
    WHERE thread_id IS NOT NULL AND dialect = 'assistants'
),
failed AS (
    SELECT DISTINCT link_key FROM keyed WHERE NOT usable
),
moments AS (
    SELECT run_id, linked_by, link_key, started_at AS moment, 1 AS begins
    FROM keyed
    WHERE link_key IN (SELECT link_key FROM failed)
    UNION ALL
    SELECT run_id, linked_by, link_key, started_at + coalesce(duration_us, 0), 0
    FROM keyed
    WHERE NOT usable
),
counted AS (
    SELECT
        *,
        sum(begins) OVER (
            PARTITION BY link_key ORDER BY moment, begins, run_id ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW
        ) AS begun
    FROM moments
),
followed AS (
    SELECT
        ends.run_id,
        following.run_id AS next_id,
        ends.linked_by,
        ends.moment AS ended_at,
        following.moment AS next_at
    FROM counted ends
    JOIN counted own ON own.link_key = ends.link_key AND own.run_id = ends.run_id AND own.begins = 1
    JOIN counted following
        ON following.link_key = ends.link_key
        AND following.begins = 1
        AND following.begun = CASE WHEN ends.begun > own.begun THEN ends.begun ELSE own.begun END + 1
    WHERE ends.begins = 0
),
new_turns AS (
    SELECT DISTINCT f.run_id
    FROM followed f
    JOIN runs r ON r.run_id = f.run_id
    JOIN readings m ON m.thread_id = r.thread_id
    WHERE f.linked_by = 'thread' AND m.action = 'add_message' AND m.started_at BETWEEN f.ended_at AND f.next_at
    UNION ALL
    SELECT f.run_id
    FROM followed f
    JOIN findings n ON n.run_id = f.next_id
    WHERE f.linked_by = 'thread' AND n.adds_messages
),
placed AS (
    SELECT
        run_id,
        next_id,
        linked_by,
        next_at - ended_at AS gap_us,
        row_number() OVER (PARTITION BY run_id ORDER BY linked_by, next_at, next_id) AS place
    FROM followed
    WHERE linked_by = 'request' OR run_id NOT IN (SELECT run_id FROM new_turns)
)
SELECT run_id, next_id, linked_by, gap_us
FROM placed
WHERE place = 1
