-- B8 How does the prompt grow from turn to turn?
-- Two levels. `step`: the prompt tokens of each step of a run against those of the step before (each round of tools
-- sends the whole prompt again, with what came back). `run`: the prompt with which a run of a thread begins against
-- that of the run before it. For each turn, counted from 1: how many runs had it and state its tokens (`runs`); what 50
-- and 90 % of these prompts stay at or below; by how many tokens they grew; and the share that shrank, where messages
-- or tool results were dropped (a truncation strategy at work). Turns of a thread are counted among the runs that are
-- asked about. Of a run that called tools and does not state its first step's tokens, the prompt it began with is not
-- known. Only Assistants runs state tokens by the step. `--by thread` shows each thread by itself.
-- among: over
-- given: at_most INTEGER = 50
-- chart: line turn p50_prompt_tokens level
WITH begun AS (
    SELECT
        a.slice AS slice,
        a.weight AS weight,
        a.run_id AS run_id,
        a.dialect AS dialect,
        a.origin AS origin,
        a.thread_id AS thread_id,
        a.started_at AS started_at,
        CASE
            WHEN s.input_tokens IS NOT NULL THEN s.input_tokens
            WHEN NOT coalesce(f.tools_called, FALSE) THEN a.input_tokens
        END AS prompt_tokens
    FROM asked a
    LEFT JOIN steps s ON s.run_id = a.run_id AND s.number = 1
    LEFT JOIN findings f ON f.run_id = a.run_id
    WHERE a.thread_id IS NOT NULL
),
turns AS (
    SELECT
        slice,
        'run' AS level,
        weight,
        CAST(row_number() OVER (PARTITION BY slice, dialect, origin, thread_id ORDER BY started_at, run_id) AS BIGINT)
            AS turn,
        prompt_tokens,
        lag(prompt_tokens) OVER (PARTITION BY slice, dialect, origin, thread_id ORDER BY started_at, run_id) AS before
    FROM begun
    UNION ALL
    SELECT
        a.slice,
        'step',
        a.weight,
        s.number,
        s.input_tokens,
        lag(s.input_tokens) OVER (PARTITION BY s.run_id ORDER BY s.number)
    FROM asked a
    JOIN steps s ON s.run_id = a.run_id
),
grown AS (
    SELECT *, prompt_tokens - before AS growth
    FROM turns
    WHERE prompt_tokens IS NOT NULL
),
ranked AS (
    SELECT
        *,
        sum(weight) OVER (PARTITION BY slice, level, turn ORDER BY prompt_tokens) AS up_to,
        sum(weight) OVER (PARTITION BY slice, level, turn) AS in_all,
        sum(CASE WHEN growth IS NULL THEN 0 ELSE weight END)
            OVER (PARTITION BY slice, level, turn ORDER BY growth) AS growth_up_to,
        sum(CASE WHEN growth IS NULL THEN 0 ELSE weight END) OVER (PARTITION BY slice, level, turn) AS growth_in_all
    FROM grown
)
SELECT
    slice,
    level,
    turn,
    count(*) AS runs,
    min(CASE WHEN up_to >= 0.5 * in_all THEN prompt_tokens END) AS p50_prompt_tokens,
    min(CASE WHEN up_to >= 0.9 * in_all THEN prompt_tokens END) AS p90_prompt_tokens,
    min(CASE WHEN growth_up_to >= 0.5 * growth_in_all THEN growth END) AS p50_growth_tokens,
    min(CASE WHEN growth_up_to >= 0.9 * growth_in_all THEN growth END) AS p90_growth_tokens,
    sum(CASE WHEN growth < 0 THEN weight ELSE 0 END) / nullif(max(growth_in_all), 0) AS shrunk_share
FROM ranked
CROSS JOIN given
WHERE turn <= at_most
GROUP BY slice, level, turn
ORDER BY slice, level, turn
