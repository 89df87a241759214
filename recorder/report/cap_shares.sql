-- R2 Which share of the runs used how much of their cap?
-- The distribution of the used share of each cap, exact at each two-hundredth of the cap; beyond one and a half caps all
-- are one step.
-- among: over
-- needs: max_completion_tokens|max_prompt_tokens
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
stepped AS (
    SELECT
        slice,
        cap_kind,
        CASE WHEN share > 1.5 THEN 301 ELSE CAST(ceil(share * 200 - 1e-9) AS BIGINT) END AS step,
        count(*) AS runs,
        sum(weight) AS weights
    FROM used
    GROUP BY slice, cap_kind, CASE WHEN share > 1.5 THEN 301 ELSE CAST(ceil(share * 200 - 1e-9) AS BIGINT) END
)
SELECT
    slice,
    cap_kind,
    CAST(step AS DOUBLE) / 200 AS used_share,
    runs,
    sum(weights) OVER (PARTITION BY slice, cap_kind ORDER BY step)
        / sum(weights) OVER (PARTITION BY slice, cap_kind) AS up_to_share
FROM stepped
ORDER BY slice, cap_kind, step
