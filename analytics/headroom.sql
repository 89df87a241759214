-- B2 How much room do the caps leave?
-- For each value of a cap: what the runs used (the number of tokens that 50, 90, 99 % of them stay at or below), what
-- was left of the cap (in half of the runs at least `p50_left_tokens`, in 90 % at least `p10_left_tokens`, in 99 % at
-- least `p01_left_tokens`; below 0 where the cap was overshot), and how many times the 99 % the cap is: `cap_per_p99`
-- of 4 says that a quarter of it would do for 99 of 100 runs. Only runs that came to their end or were cut by a token
-- limit; those that broke off would have used more. What was cut would have used more too: where `cut_share` is not
-- small, the cap is too tight and these figures say little of the need (B5 does). Where several answers were asked for
-- at once, each has the cap for itself. The caps with the most runs stand first, at most so many of each slice.
-- among: outcome IN ('completed', 'tool_wait', 'truncated_output', 'truncated_prompt', 'context_overflow')
-- needs: max_completion_tokens|max_prompt_tokens
-- given: at_most INTEGER = 50
-- chart: dumbbell slice cap_kind p50_tokens p99_tokens cap_tokens
WITH used AS (
    SELECT
        a.slice AS slice,
        n.kind AS cap_kind,
        n.room_tokens AS cap_tokens,
        a.weight AS weight,
        n.used_tokens AS used_tokens,
        CASE
            WHEN n.kind = 'output' AND a.outcome = 'truncated_output' THEN 1
            WHEN n.kind = 'prompt' AND a.outcome IN ('truncated_prompt', 'context_overflow') THEN 1
            ELSE 0
        END AS cut
    FROM asked a
    JOIN needs n ON n.run_id = a.run_id
    WHERE n.room_tokens IS NOT NULL AND n.used_tokens IS NOT NULL
),
ranked AS (
    SELECT
        *,
        sum(weight) OVER (PARTITION BY slice, cap_kind, cap_tokens ORDER BY used_tokens) AS up_to,
        sum(weight) OVER (PARTITION BY slice, cap_kind, cap_tokens) AS in_all
    FROM used
),
counted AS (
    SELECT
        slice,
        cap_kind,
        cap_tokens,
        count(*) AS runs,
        sum(weight) AS stands_for,
        min(CASE WHEN up_to >= 0.50 * in_all THEN used_tokens END) AS p50_tokens,
        min(CASE WHEN up_to >= 0.90 * in_all THEN used_tokens END) AS p90_tokens,
        min(CASE WHEN up_to >= 0.99 * in_all THEN used_tokens END) AS p99_tokens,
        sum(weight * cut) / sum(weight) AS cut_share
    FROM ranked
    GROUP BY slice, cap_kind, cap_tokens
),
placed AS (
    SELECT
        *,
        row_number() OVER (PARTITION BY slice ORDER BY stands_for DESC, cap_kind, cap_tokens) AS place
    FROM counted
)
SELECT
    slice,
    cap_kind,
    cap_tokens,
    runs,
    p50_tokens,
    p90_tokens,
    p99_tokens,
    cap_tokens - p50_tokens AS p50_left_tokens,
    cap_tokens - p90_tokens AS p10_left_tokens,
    cap_tokens - p99_tokens AS p01_left_tokens,
    CAST(cap_tokens AS DOUBLE) / nullif(p99_tokens, 0) AS cap_per_p99,
    cut_share
FROM placed, given
WHERE place <= at_most
ORDER BY slice, place
