-- T12 Are runs cut short by budgets, or by filters and refusals?
-- Of the runs of each day that are over: the share that a token limit cut (`token_limit`: a cap or the model's window;
-- more tokens help), that a content filter stopped (`content_filter`), in which the model refused (`refusal`), and that
-- were left incomplete for another reason, or for none that was told (`other`). More tokens help none of the latter,
-- and no filter explains the former. Low and high are Wilson's interval at 95 %. Refusals that a model merely words,
-- without saying so in the protocol, are not noticed.
-- among: over
-- chart: area day cause_share cause
WITH causes AS (
    SELECT 'token_limit' AS cause
    UNION ALL
    SELECT 'content_filter'
    UNION ALL
    SELECT 'refusal'
    UNION ALL
    SELECT 'other'
),
told AS (
    SELECT
        slice,
        day,
        weight,
        CASE
            WHEN truncated THEN 'token_limit'
            WHEN outcome IN ('content_filter', 'refusal') THEN outcome
            WHEN outcome = 'other_incomplete' THEN 'other'
        END AS stopped_by
    FROM asked
),
counted AS (
    SELECT
        t.slice AS slice,
        t.day AS day,
        c.cause AS cause,
        count(*) AS runs,
        sum(CASE WHEN t.stopped_by = c.cause THEN 1 ELSE 0 END) AS cause_runs,
        sum(CASE WHEN t.stopped_by = c.cause THEN t.weight ELSE 0 END) / sum(t.weight) AS cause_share,
        sum(t.weight) * sum(t.weight) / sum(t.weight * t.weight) AS effective
    FROM told t
    CROSS JOIN causes c
    GROUP BY t.slice, t.day, c.cause
)
SELECT
    slice,
    day,
    cause,
    runs,
    cause_runs,
    cause_share,
    CASE
        WHEN cause_share > 0 THEN (
            cause_share + 1.9207294103470627 / effective
            - 1.959963984540054
                * sqrt((cause_share * (1 - cause_share) + 0.9603647051735313 / effective) / effective)
        ) / (1 + 3.841458820694125 / effective)
        ELSE 0
    END AS low_share,
    CASE
        WHEN cause_share < 1 THEN (
            cause_share + 1.9207294103470627 / effective
            + 1.959963984540054
                * sqrt((cause_share * (1 - cause_share) + 0.9603647051735313 / effective) / effective)
        ) / (1 + 3.841458820694125 / effective)
        ELSE 1
    END AS high_share
FROM counted
ORDER BY slice, day, CASE cause WHEN 'token_limit' THEN 1 WHEN 'content_filter' THEN 2 WHEN 'refusal' THEN 3 ELSE 4 END
