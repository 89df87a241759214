-- B1 How much of each cap is used?
-- Of the runs that had a cap on their output or prompt tokens: the share of it that they used, as quantiles (the smallest
-- share that so many of the runs stay at or below), and how many of them reached it. A run that used all of its cap was
-- cut off by it, or came to its end with luck. A cap on the output counts reasoning, and holds for
-- each of several choices; both caps are of the whole run.
-- among: over
-- needs: max_completion_tokens|max_prompt_tokens
-- chart: ecdf slice cap_kind p10_share p25_share p50_share p75_share p90_share p99_share max_share
-- default
WITH used AS (
    SELECT
        a.slice AS slice,
        n.kind AS cap_kind,
        a.weight AS weight,
        CAST(n.used_tokens AS DOUBLE) / n.room_tokens AS share
    FROM asked a
    JOIN needs n ON n.run_id = a.run_id
    WHERE n.room_tokens IS NOT NULL AND n.used_tokens IS NOT NULL
),
ranked AS (
    SELECT
        slice,
        cap_kind,
        weight,
        share,
        sum(weight) OVER (PARTITION BY slice, cap_kind ORDER BY share) AS up_to,
        sum(weight) OVER (PARTITION BY slice, cap_kind) AS in_all
    FROM used
)
SELECT
    slice,
    cap_kind,
    count(*) AS runs,
    min(CASE WHEN up_to >= 0.10 * in_all THEN share END) AS p10_share,
    min(CASE WHEN up_to >= 0.25 * in_all THEN share END) AS p25_share,
    min(CASE WHEN up_to >= 0.50 * in_all THEN share END) AS p50_share,
    min(CASE WHEN up_to >= 0.75 * in_all THEN share END) AS p75_share,
    min(CASE WHEN up_to >= 0.90 * in_all THEN share END) AS p90_share,
    min(CASE WHEN up_to >= 0.99 * in_all THEN share END) AS p99_share,
    max(share) AS max_share,
    sum(CASE WHEN share >= 1 THEN weight ELSE 0 END) / max(in_all) AS at_cap_share
FROM ranked
GROUP BY slice, cap_kind
ORDER BY slice, cap_kind
