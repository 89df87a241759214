-- B9 Which steps of a run use up its budget?
-- A cap is of the whole run, and each round of tools sends the prompt again. Of the runs that had a cap and state the
-- tokens of their steps, for each step, counted from 1: the tokens of that step (what 50 and 90 % stay at or below),
-- the share of the cap that was used up when it ended (likewise), the share of these runs whose cap was used up by
-- then, and the share in which this step called tools. A run counts with the steps it has, up to the first that states
-- nothing. At most so many steps. Only Assistants runs state tokens by the step.
-- among: over
-- needs: max_completion_tokens|max_prompt_tokens
-- given: at_most INTEGER = 50
-- chart: line step p50_used_share cap_kind
WITH each_step AS (
    SELECT
        a.slice AS slice,
        'output' AS cap_kind,
        a.weight AS weight,
        s.number AS step,
        s.kind AS kind,
        a.max_completion_tokens AS cap_tokens,
        s.output_tokens AS tokens,
        sum(s.output_tokens) OVER (PARTITION BY s.run_id ORDER BY s.number) AS so_far,
        count(s.output_tokens) OVER (PARTITION BY s.run_id ORDER BY s.number) AS known
    FROM asked a
    JOIN steps s ON s.run_id = a.run_id
    WHERE a.max_completion_tokens > 0
    UNION ALL
    SELECT
        a.slice,
        'prompt',
        a.weight,
        s.number,
        s.kind,
        a.max_prompt_tokens,
        s.input_tokens,
        sum(s.input_tokens) OVER (PARTITION BY s.run_id ORDER BY s.number),
        count(s.input_tokens) OVER (PARTITION BY s.run_id ORDER BY s.number)
    FROM asked a
    JOIN steps s ON s.run_id = a.run_id
    WHERE a.max_prompt_tokens > 0
),
used AS (
    SELECT *, CAST(so_far AS DOUBLE) / cap_tokens AS used
    FROM each_step
    WHERE known = step
),
ranked AS (
    SELECT
        *,
        sum(weight) OVER (PARTITION BY slice, cap_kind, step ORDER BY tokens) AS tokens_up_to,
        sum(weight) OVER (PARTITION BY slice, cap_kind, step ORDER BY used) AS used_up_to,
        sum(weight) OVER (PARTITION BY slice, cap_kind, step) AS in_all
    FROM used
)
SELECT
    slice,
    cap_kind,
    step,
    count(*) AS runs,
    min(CASE WHEN tokens_up_to >= 0.5 * in_all THEN tokens END) AS p50_tokens,
    min(CASE WHEN tokens_up_to >= 0.9 * in_all THEN tokens END) AS p90_tokens,
    min(CASE WHEN used_up_to >= 0.5 * in_all THEN used END) AS p50_used_share,
    min(CASE WHEN used_up_to >= 0.9 * in_all THEN used END) AS p90_used_share,
    sum(CASE WHEN used >= 1 THEN weight ELSE 0 END) / max(in_all) AS used_up_share,
    sum(CASE WHEN kind = 'tool_calls' THEN weight ELSE 0 END) / max(in_all) AS tools_share
FROM ranked
CROSS JOIN given
WHERE step <= at_most
GROUP BY slice, cap_kind, step
ORDER BY slice, cap_kind, step
