-- B3 How far do runs go beyond their cap?
-- A cap is a best effort in some protocols (an Assistants run ends with the step that reaches it). Of the runs that had
-- a cap and are over: the share that used more than it, with Wilson's interval at 95 %, and by how much, as a share of
-- the cap (medians and 99 % of those that did) and in tokens, all of them together. What is to be paid at most is the
-- cap times 1 + `max_beyond_share`, not the cap. Where several answers were asked for at once, each has the cap for
-- itself.
-- among: over
-- needs: max_completion_tokens|max_prompt_tokens
-- chart: bars slice cap_kind beyond_share low_share high_share
WITH used AS (
    SELECT
        a.slice AS slice,
        n.kind AS cap_kind,
        a.weight AS weight,
        n.used_tokens - n.room_tokens AS beyond_tokens,
        CAST(n.used_tokens AS DOUBLE) / n.room_tokens - 1 AS beyond
    FROM asked a
    JOIN needs n ON n.run_id = a.run_id
    WHERE n.room_tokens IS NOT NULL AND n.used_tokens IS NOT NULL
),
ranked AS (
    SELECT
        *,
        CASE WHEN beyond_tokens > 0 THEN 1 ELSE 0 END AS is_beyond,
        sum(CASE WHEN beyond_tokens > 0 THEN weight ELSE 0 END)
            OVER (PARTITION BY slice, cap_kind ORDER BY beyond) AS up_to,
        sum(CASE WHEN beyond_tokens > 0 THEN weight ELSE 0 END) OVER (PARTITION BY slice, cap_kind) AS in_all
    FROM used
),
counted AS (
    SELECT
        slice,
        cap_kind,
        count(*) AS runs,
        sum(is_beyond) AS beyond_runs,
        sum(weight * is_beyond) / sum(weight) AS beyond_share,
        sum(weight) * sum(weight) / sum(weight * weight) AS effective,
        min(CASE WHEN is_beyond = 1 AND up_to >= 0.50 * in_all THEN beyond END) AS p50_beyond_share,
        min(CASE WHEN is_beyond = 1 AND up_to >= 0.99 * in_all THEN beyond END) AS p99_beyond_share,
        max(CASE WHEN is_beyond = 1 THEN beyond END) AS max_beyond_share,
        sum(CASE WHEN is_beyond = 1 THEN weight * beyond_tokens END) AS beyond_sum
    FROM ranked
    GROUP BY slice, cap_kind
)
SELECT
    slice,
    cap_kind,
    runs,
    beyond_runs,
    beyond_share,
    CASE
        WHEN beyond_share > 0 THEN (
            beyond_share + 1.9207294103470627 / effective
            - 1.959963984540054
                * sqrt((beyond_share * (1 - beyond_share) + 0.9603647051735313 / effective) / effective)
        ) / (1 + 3.841458820694125 / effective)
        ELSE 0
    END AS low_share,
    CASE
        WHEN beyond_share < 1 THEN (
            beyond_share + 1.9207294103470627 / effective
            + 1.959963984540054
                * sqrt((beyond_share * (1 - beyond_share) + 0.9603647051735313 / effective) / effective)
        ) / (1 + 3.841458820694125 / effective)
        ELSE 1
    END AS high_share,
    p50_beyond_share,
    p99_beyond_share,
    max_beyond_share,
    CAST(round(beyond_sum) AS BIGINT) AS beyond_tokens
FROM counted
ORDER BY slice, cap_kind
