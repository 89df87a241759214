-- T11 Are truncated runs tried again, and does that help?
-- Of the runs that a token limit cut, and that were not themselves such a retry: whether the same was asked again
-- within so many minutes of their end, and again if that was cut too (20 times at most). `linked_by` says how the first
-- retry is known: `request` (the same messages or input, whatever the model and the caps), `thread` (another Assistants
-- run of the same thread, and no message that was seen to be added in between), `nothing` (no retry). `cap_change`
-- compares the last run's cap with the first one's: the cap that cut it. `last_outcome` is how the last of these runs
-- ended, and `cured_share` of them brought what was asked for. `attempts` is how many runs it took on average,
-- `lost_tokens` what all but the last of them used. The share is of all such runs of the slice with the same first
-- outcome. A retry with other words, or one that was not recorded, is not noticed; a user's next turn is taken for one
-- where its message was not recorded. Where content was not kept, a retry is known by its thread, or by being the very
-- same request.
-- among: truncated
-- given: within_minutes DOUBLE = 10
-- chart: table first_outcome linked_by cap_change last_outcome runs_share
WITH RECURSIVE links AS (
    SELECT r.run_id AS run_id, r.next_id AS next_id, r.linked_by AS linked_by
    FROM retries r
    JOIN runs t ON t.run_id = r.run_id
    CROSS JOIN given g
    WHERE t.truncated AND r.gap_us <= g.within_minutes * 60000000
),
chain AS (
    SELECT a.run_id AS first_id, a.run_id AS run_id, 1 AS attempt
    FROM asked a
    WHERE a.run_id NOT IN (SELECT next_id FROM links)
    UNION ALL
    SELECT c.first_id, l.next_id, c.attempt + 1
    FROM chain c
    JOIN links l ON l.run_id = c.run_id
    WHERE c.attempt < 20
),
numbered AS (
    SELECT
        c.first_id AS first_id,
        c.run_id AS run_id,
        c.attempt AS attempt,
        max(c.attempt) OVER (PARTITION BY c.first_id) AS attempts,
        coalesce(t.total_tokens, t.input_tokens + t.output_tokens) AS all_tokens
    FROM chain c
    JOIN runs t ON t.run_id = c.run_id
),
chains AS (
    SELECT
        first_id,
        max(attempts) AS attempts,
        sum(CASE WHEN attempt < attempts THEN all_tokens END) AS lost_tokens
    FROM numbered
    GROUP BY first_id
),
ended AS (
    SELECT
        a.slice AS slice,
        a.weight AS weight,
        a.outcome AS first_outcome,
        coalesce(k.linked_by, 'nothing') AS linked_by,
        CASE
            WHEN k.linked_by IS NULL THEN 'no retry'
            WHEN a.outcome = 'context_overflow' THEN 'not by a cap'
            WHEN a.outcome = 'truncated_output' THEN CASE
                WHEN coalesce(a.max_completion_tokens, 0) <= 0 THEN 'unknown'
                WHEN coalesce(t.max_completion_tokens, 0) <= 0 THEN 'removed'
                WHEN t.max_completion_tokens > a.max_completion_tokens THEN 'raised'
                WHEN t.max_completion_tokens < a.max_completion_tokens THEN 'lowered'
                ELSE 'same'
            END
            ELSE CASE
                WHEN coalesce(a.max_prompt_tokens, 0) <= 0 THEN 'unknown'
                WHEN coalesce(t.max_prompt_tokens, 0) <= 0 THEN 'removed'
                WHEN t.max_prompt_tokens > a.max_prompt_tokens THEN 'raised'
                WHEN t.max_prompt_tokens < a.max_prompt_tokens THEN 'lowered'
                ELSE 'same'
            END
        END AS cap_change,
        t.outcome AS last_outcome,
        CASE WHEN t.usable THEN 1 ELSE 0 END AS cured,
        c.attempts AS attempts,
        c.lost_tokens AS lost_tokens
    FROM asked a
    JOIN chains c ON c.first_id = a.run_id
    JOIN numbered n ON n.first_id = a.run_id AND n.attempt = n.attempts
    JOIN runs t ON t.run_id = n.run_id
    LEFT JOIN links k ON k.run_id = a.run_id
),
counted AS (
    SELECT
        slice,
        first_outcome,
        linked_by,
        cap_change,
        last_outcome,
        count(*) AS runs,
        sum(weight) / sum(sum(weight)) OVER (PARTITION BY slice, first_outcome) AS runs_share,
        sum(weight * cured) / sum(weight) AS cured_share,
        sum(weight * attempts) / sum(weight) AS mean_attempts,
        CAST(round(sum(weight * lost_tokens)) AS BIGINT) AS lost_sum
    FROM ended
    GROUP BY slice, first_outcome, linked_by, cap_change, last_outcome
)
SELECT
    slice,
    first_outcome,
    linked_by,
    cap_change,
    last_outcome,
    runs,
    runs_share,
    cured_share,
    mean_attempts AS attempts,
    lost_sum AS lost_tokens
FROM counted
ORDER BY slice, first_outcome DESC, runs DESC, linked_by, cap_change, last_outcome
