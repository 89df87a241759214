-- B4 How often is a cap hit?
-- Of the runs that had a cap: the share that used all of it, or that the provider says was stopped by it, for each value
-- of the cap. Low and high are Wilson's interval: where the true rate lies, at 95 %, if the runs are a fair sample.
-- among: over
-- needs: max_completion_tokens|max_prompt_tokens
-- chart: bars slice cap_kind cap_tokens hit_share low_share high_share
-- default
WITH capped AS (
    SELECT
        a.slice AS slice,
        n.kind AS cap_kind,
        n.cap_tokens AS cap_tokens,
        a.weight AS weight,
        CASE
            WHEN n.used_tokens >= n.room_tokens THEN 1
            WHEN n.kind = 'output' AND a.outcome = 'truncated_output' THEN 1
            WHEN n.kind = 'prompt' AND a.outcome = 'truncated_prompt' THEN 1
            WHEN n.used_tokens IS NOT NULL OR a.outcome = 'completed' THEN 0
        END AS hit
    FROM asked a
    JOIN needs n ON n.run_id = a.run_id
    WHERE n.cap_tokens IS NOT NULL
),
counted AS (
    SELECT
        slice,
        cap_kind,
        cap_tokens,
        count(*) AS runs,
        sum(hit) AS hits,
        sum(weight * hit) / sum(weight) AS hit_share,
        sum(weight) * sum(weight) / sum(weight * weight) AS effective
    FROM capped
    WHERE hit IS NOT NULL
    GROUP BY slice, cap_kind, cap_tokens
)
SELECT
    slice,
    cap_kind,
    cap_tokens,
    runs,
    hits,
    hit_share,
    CASE
        WHEN hit_share > 0 THEN (
            hit_share + 1.9207294103470627 / effective
            - 1.959963984540054 * sqrt((hit_share * (1 - hit_share) + 0.9603647051735313 / effective) / effective)
        ) / (1 + 3.841458820694125 / effective)
        ELSE 0
    END AS low_share,
    CASE
        WHEN hit_share < 1 THEN (
            hit_share + 1.9207294103470627 / effective
            + 1.959963984540054 * sqrt((hit_share * (1 - hit_share) + 0.9603647051735313 / effective) / effective)
        ) / (1 + 3.841458820694125 / effective)
        ELSE 1
    END AS high_share
FROM counted
ORDER BY slice, cap_kind, cap_tokens
