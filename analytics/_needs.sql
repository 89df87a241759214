-- How many tokens each run used, might have used and needed, as far as that is known: one row for its output (`kind` is
-- 'output') and one for its prompt ('prompt').
--
-- cap_tokens   the cap as it was set; 0 and below are none
-- room_tokens  what that let it use in all: a cap on the output holds for each of several answers
-- used_tokens  what it used; NULL where that is not known or not to be believed
-- tokens   the same of one answer: NULL also where several were asked for at once
-- ended    TRUE: it came to its end by itself, so that this is what it needed. FALSE: something else ended it, and it
--          needed at least this (right-censored): a cap, a filter, a refusal, a client that left, a stream that broke,
--          figures from the middle of a stream, a tool's output that an Assistants run still waits for, or a use of
--          exactly the cap, where an end and a cut look alike
-- cut      its cap, or its context window, ended it: it needed more than `tokens`
-- runaway  it went on and on, without meaning: what it used says nothing of what was needed, and no cap is enough
-- starved  reasoning took all of the output; that is part of the need, so it counts as any other cut
--
-- A prompt is sent whole before an answer begins, so its need is known however the answer ended; unless tools were
-- called in a run that sends more prompts as it goes on (an Assistants run, a response with tools).
SELECT
    r.run_id AS run_id,
    'output' AS kind,
    CASE WHEN r.max_completion_tokens BETWEEN 1 AND 999999999999 THEN r.max_completion_tokens END AS cap_tokens,
    CASE
        WHEN r.max_completion_tokens BETWEEN 1 AND 999999999999 THEN r.max_completion_tokens * coalesce(f.choices, 1)
    END AS room_tokens,
    CASE WHEN r.output_tokens BETWEEN 0 AND 999999999999 THEN r.output_tokens END AS used_tokens,
    CASE
        WHEN coalesce(f.choices, 1) = 1 AND r.output_tokens BETWEEN 0 AND 999999999999 THEN r.output_tokens
    END AS tokens,
    (r.outcome = 'completed' OR (r.outcome = 'tool_wait' AND r.dialect <> 'assistants'))
        AND coalesce(r.usage_quality, '') <> 'partial'
        AND (r.max_completion_tokens IS NULL OR r.output_tokens <> r.max_completion_tokens) AS ended,
    r.outcome IN ('truncated_output', 'context_overflow') AS cut,
    coalesce(f.whitespace_runaway, FALSE) OR coalesce(f.repetition_runaway, FALSE) AS runaway,
    coalesce(f.reasoning_starved, FALSE) AS starved
FROM runs r
LEFT JOIN findings f ON f.run_id = r.run_id
UNION ALL
SELECT
    r.run_id,
    'prompt',
    CASE WHEN r.max_prompt_tokens BETWEEN 1 AND 999999999999 THEN r.max_prompt_tokens END,
    CASE WHEN r.max_prompt_tokens BETWEEN 1 AND 999999999999 THEN r.max_prompt_tokens END,
    CASE WHEN r.input_tokens BETWEEN 0 AND 999999999999 THEN r.input_tokens END,
    CASE WHEN r.input_tokens BETWEEN 0 AND 999999999999 THEN r.input_tokens END,
    (r.outcome = 'completed' OR r.dialect IN ('chat', 'messages', 'gemini') OR NOT coalesce(f.tools_called, FALSE))
        AND r.outcome NOT IN ('truncated_prompt', 'context_overflow')
        AND (r.max_prompt_tokens IS NULL OR r.input_tokens <> r.max_prompt_tokens),
    r.outcome IN ('truncated_prompt', 'context_overflow'),
    FALSE,
    FALSE
FROM runs r
LEFT JOIN findings f ON f.run_id = r.run_id
