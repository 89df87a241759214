-- B7 What if a run saw only the last messages of its thread, or had another cap on its prompt?
-- An estimate for each number of last messages (name some with `--cap`; 1, 3, 5, 11, 21 and 41 otherwise). From
-- a thread's recorded runs it is known by how much the prompt grew from each to the next: by an answer and the user's
-- next message. Dropping the older turns takes that growth off again: of run i, which sees the last 2m + 1 messages,
-- the prompt is taken to be that of the thread's first run plus what came in the last m turns. Exact where each run
-- brings one message of the user's and one answer, all users' messages are as long as the thread's first, and that
-- first run was recorded; where earlier turns were not, too high. What a run with tools sends several times is saved as
-- many times. Left aside are a thread's runs from the first one on whose prompt is not known or shrank, or that saw
-- only its last messages. `prompt_tokens` is all input of these `runs`, `predicted_sum_tokens` what it would have been,
-- `changed_share` the share of runs with less. `p99_now_tokens` and `p99_predicted_tokens` are what 99 % of the runs
-- need at most: a cap on the prompt below cuts more than 1 in 100. Set `max_prompt` to see which share such a cap would
-- cut, now and then. What the answers would have been without those messages, nobody knows.
-- among: over
-- needs: thread_id, input_tokens
-- given: max_prompt BIGINT = 0
-- chart: line last_messages predicted_sum_tokens
WITH wanted AS (
    SELECT cap AS last_messages
    FROM candidates
    WHERE cap > 0
    UNION
    SELECT k
    FROM (VALUES (1), (3), (5), (11), (21), (41)) AS usual (k)
    WHERE NOT EXISTS (SELECT 1 FROM candidates)
),
rounds AS (
    SELECT run_id, count(input_tokens) AS calls
    FROM steps
    GROUP BY run_id
),
begun AS (
    SELECT
        a.slice AS slice,
        a.weight AS weight,
        a.run_id AS run_id,
        a.dialect AS dialect,
        a.origin AS origin,
        a.thread_id AS thread_id,
        a.last_messages AS had_messages,
        a.input_tokens AS run_tokens,
        CASE WHEN coalesce(r.calls, 0) > 1 THEN r.calls ELSE 1 END AS calls,
        CASE
            WHEN s.input_tokens IS NOT NULL THEN s.input_tokens
            WHEN NOT coalesce(f.tools_called, FALSE) THEN a.input_tokens
        END AS prompt,
        row_number() OVER (
            PARTITION BY a.slice, a.dialect, a.origin, a.thread_id ORDER BY a.started_at, a.run_id
        ) AS turn
    FROM asked a
    LEFT JOIN steps s ON s.run_id = a.run_id AND s.number = 1
    LEFT JOIN findings f ON f.run_id = a.run_id
    LEFT JOIN rounds r ON r.run_id = a.run_id
),
followed AS (
    SELECT
        *,
        lag(prompt) OVER (PARTITION BY slice, dialect, origin, thread_id ORDER BY turn) AS prompt_before
    FROM begun
),
whole AS (
    SELECT
        *,
        max(CASE WHEN turn = 1 THEN prompt END) OVER (PARTITION BY slice, dialect, origin, thread_id) AS first_prompt,
        sum(CASE WHEN prompt IS NULL OR prompt < prompt_before OR had_messages IS NOT NULL THEN 1 ELSE 0 END)
            OVER (PARTITION BY slice, dialect, origin, thread_id ORDER BY turn) AS oddities
    FROM followed
),
predicted AS (
    SELECT
        w.slice AS slice,
        k.last_messages AS last_messages,
        w.weight AS weight,
        w.run_tokens AS run_tokens,
        w.run_tokens - w.calls * coalesce(o.prompt - w.first_prompt, 0) AS predicted_tokens,
        CASE WHEN o.prompt > w.first_prompt THEN 1 ELSE 0 END AS changed
    FROM whole w
    CROSS JOIN wanted k
    LEFT JOIN whole o
        ON (o.slice = w.slice OR (o.slice IS NULL AND w.slice IS NULL))
        AND o.dialect = w.dialect AND o.origin = w.origin AND o.thread_id = w.thread_id
        AND o.turn = w.turn - CAST(floor(k.last_messages / 2.0) AS BIGINT)
    WHERE w.oddities = 0
),
ranked AS (
    SELECT
        *,
        sum(weight) OVER (PARTITION BY slice, last_messages ORDER BY run_tokens) AS now_up_to,
        sum(weight) OVER (PARTITION BY slice, last_messages ORDER BY predicted_tokens) AS then_up_to,
        sum(weight) OVER (PARTITION BY slice, last_messages) AS in_all
    FROM predicted
)
SELECT
    slice,
    last_messages,
    count(*) AS runs,
    sum(weight * changed) / max(in_all) AS changed_share,
    CAST(round(sum(weight * run_tokens)) AS BIGINT) AS prompt_tokens,
    CAST(round(sum(weight * predicted_tokens)) AS BIGINT) AS predicted_sum_tokens,
    1 - sum(weight * predicted_tokens) / nullif(sum(weight * run_tokens), 0) AS saved_share,
    min(CASE WHEN now_up_to >= 0.99 * in_all THEN run_tokens END) AS p99_now_tokens,
    min(CASE WHEN then_up_to >= 0.99 * in_all THEN predicted_tokens END) AS p99_predicted_tokens,
    CASE WHEN max(max_prompt) > 0
        THEN sum(CASE WHEN run_tokens > max_prompt THEN weight ELSE 0 END) / max(in_all) END AS cut_now_share,
    CASE WHEN max(max_prompt) > 0
        THEN sum(CASE WHEN predicted_tokens > max_prompt THEN weight ELSE 0 END) / max(in_all) END AS cut_then_share
FROM ranked
CROSS JOIN given
GROUP BY slice, last_messages
ORDER BY slice, last_messages
