-- T8 Which runs say that they came to their end, and look as if they had been cut?
-- Runs that completed, or called a tool, and that yet: used all of their output or prompt cap (`at_cap`); end in JSON
-- that would be valid had it gone on (`cut_json`), or in the middle of a tool call's arguments (`cut_call`); end inside
-- a word, a sentence or a code block while at their cap (`cut_text`); or used output and showed nothing at all
-- (`no_text`; reasoning apart). The more of these signs a run has, the higher it stands, then the newest; at most so
-- many of each slice, out of `found_runs`. Prose that stops short below its cap is not noticed. Where several answers
-- were asked for at once, each has the cap for itself. `recorder show ID` shows a run.
-- among: outcome IN ('completed', 'tool_wait')
-- given: at_most INTEGER = 50
-- chart: table run_id signs cap_tokens output_tokens
WITH told AS (
    SELECT
        a.slice AS slice,
        a.run_id AS run_id,
        a.started_at AS started_at,
        a.model AS model,
        a."group" AS run_group,
        a.output_tokens AS output_tokens,
        a.max_completion_tokens * coalesce(f.choices, 1) AS cap_tokens,
        a.input_tokens AS input_tokens,
        a.max_prompt_tokens AS prompt_cap_tokens,
        CASE
            WHEN a.max_completion_tokens > 0
                AND a.output_tokens >= a.max_completion_tokens * coalesce(f.choices, 1) THEN 1
            WHEN a.max_prompt_tokens > 0 AND a.input_tokens >= a.max_prompt_tokens THEN 1
            ELSE 0
        END AS at_cap,
        CASE
            WHEN NOT a.json_valid AND a.json_damage IN (
                'in_string', 'in_number', 'in_literal', 'after_comma', 'after_key', 'after_colon', 'unclosed'
            ) THEN 1
            ELSE 0
        END AS cut_json,
        CASE
            WHEN coalesce(f.tool_call_open, FALSE) OR EXISTS (
                SELECT 1
                FROM calls c
                WHERE c.run_id = a.run_id AND NOT c.valid AND c.damage IN (
                    'in_string', 'in_number', 'in_literal', 'after_comma', 'after_key', 'after_colon', 'unclosed',
                    'empty'
                )
            ) THEN 1
            ELSE 0
        END AS cut_call,
        CASE WHEN f.cut_end IS NOT NULL THEN 1 ELSE 0 END AS cut_text,
        CASE
            WHEN a.outcome = 'completed' AND a.output_tokens > 0
                AND f.looked_through AND NOT f.tools_called AND coalesce(f.said_chars, 0) = 0 THEN 1
            ELSE 0
        END AS no_text,
        f.cut_end AS cut_end,
        CASE WHEN NOT a.json_valid THEN a.json_damage END AS json_damage
    FROM asked a
    LEFT JOIN findings f ON f.run_id = a.run_id
),
placed AS (
    SELECT
        *,
        row_number() OVER (
            PARTITION BY slice
            ORDER BY at_cap + cut_json + cut_call + cut_text + no_text DESC, started_at DESC, run_id
        ) AS place,
        count(*) OVER (PARTITION BY slice) AS found_runs
    FROM told
    WHERE at_cap + cut_json + cut_call + cut_text + no_text > 0
)
SELECT
    slice,
    run_id,
    started_at,
    model,
    run_group,
    trim(
        CASE WHEN at_cap = 1 THEN 'at_cap ' ELSE '' END || CASE WHEN cut_json = 1 THEN 'cut_json ' ELSE '' END
        || CASE WHEN cut_call = 1 THEN 'cut_call ' ELSE '' END || CASE WHEN cut_text = 1 THEN 'cut_text ' ELSE '' END
        || CASE WHEN no_text = 1 THEN 'no_text' ELSE '' END
    ) AS signs,
    output_tokens,
    cap_tokens,
    input_tokens,
    prompt_cap_tokens,
    cut_end,
    json_damage,
    found_runs
FROM placed, given
WHERE place <= at_most
ORDER BY slice, place
