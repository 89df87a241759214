-- D2 Which rates have changed?
-- Of the runs that are over: the rate of each kind of failure before and after a moment (`at`; the middle of the runs' time
-- unless it is set), their difference, and the interval in which it lies at 95 % (Newcombe's hybrid score). The word says
-- what that allows to claim: up or down where the interval leaves out 0, unclear otherwise, and few where there are less
-- than `least` runs on a side.
-- among: over
-- given: at MOMENT = NULL
-- given: least BIGINT = 30
-- chart: bars slice measure after_share
WITH split AS (
    SELECT coalesce(max(g.at), (min(a.started_at) + max(a.started_at)) / 2) AS moment, max(g.least) AS least
    FROM asked a
    CROSS JOIN given g
),
measured AS (
    SELECT slice, started_at, weight, 'truncated' AS measure, CASE WHEN truncated THEN 1 ELSE 0 END AS hit FROM asked
    UNION ALL
    SELECT slice, started_at, weight, 'invalid JSON' AS measure, CASE WHEN json_valid THEN 0 ELSE 1 END AS hit
    FROM asked
    WHERE json_valid IS NOT NULL
    UNION ALL
    SELECT slice, started_at, weight, 'refused or filtered' AS measure,
        CASE WHEN outcome IN ('refusal', 'content_filter') THEN 1 ELSE 0 END AS hit
    FROM asked
    UNION ALL
    SELECT slice, started_at, weight, 'failed' AS measure,
        CASE WHEN outcome IN ('failed', 'http_error', 'unreachable', 'expired') THEN 1 ELSE 0 END AS hit
    FROM asked
    UNION ALL
    SELECT slice, started_at, weight, 'cut' AS measure,
        CASE WHEN outcome IN ('client_abort', 'upstream_cut', 'no_terminal') THEN 1 ELSE 0 END AS hit
    FROM asked
    UNION ALL
    SELECT slice, started_at, weight, 'not usable' AS measure, CASE WHEN usable THEN 0 ELSE 1 END AS hit
    FROM asked
    WHERE usable IS NOT NULL
),
counted AS (
    SELECT
        m.slice AS slice,
        m.measure AS measure,
        CASE WHEN m.started_at < s.moment THEN 0 ELSE 1 END AS later,
        max(s.least) AS least,
        count(*) AS runs,
        sum(m.weight * m.hit) / sum(m.weight) AS share,
        sum(m.weight) * sum(m.weight) / sum(m.weight * m.weight) AS effective
    FROM measured m
    CROSS JOIN split s
    GROUP BY m.slice, m.measure, CASE WHEN m.started_at < s.moment THEN 0 ELSE 1 END
),
known AS (
    SELECT
        slice,
        measure,
        later,
        least,
        runs,
        share,
        (share + 1.9207294103470627 / effective
            - 1.959963984540054 * sqrt((share * (1 - share) + 0.9603647051735313 / effective) / effective))
            / (1 + 3.841458820694125 / effective) AS low,
        (share + 1.9207294103470627 / effective
            + 1.959963984540054 * sqrt((share * (1 - share) + 0.9603647051735313 / effective) / effective))
            / (1 + 3.841458820694125 / effective) AS high
    FROM counted
),
paired AS (
    SELECT
        slice,
        measure,
        max(least) AS least,
        coalesce(max(CASE WHEN later = 0 THEN runs END), 0) AS runs_before,
        coalesce(max(CASE WHEN later = 1 THEN runs END), 0) AS runs_after,
        max(CASE WHEN later = 0 THEN share END) AS before_share,
        max(CASE WHEN later = 1 THEN share END) AS after_share,
        max(CASE WHEN later = 0 THEN low END) AS low_before,
        max(CASE WHEN later = 0 THEN high END) AS high_before,
        max(CASE WHEN later = 1 THEN low END) AS low_after,
        max(CASE WHEN later = 1 THEN high END) AS high_after
    FROM known
    GROUP BY slice, measure
),
compared AS (
    SELECT
        slice,
        measure,
        least,
        runs_before,
        runs_after,
        before_share,
        after_share,
        after_share - before_share
            - sqrt((after_share - low_after) * (after_share - low_after)
                + (high_before - before_share) * (high_before - before_share)) AS low,
        after_share - before_share
            + sqrt((high_after - after_share) * (high_after - after_share)
                + (before_share - low_before) * (before_share - low_before)) AS high
    FROM paired
)
SELECT
    slice,
    measure,
    runs_before,
    runs_after,
    before_share,
    after_share,
    after_share - before_share AS change_share,
    low AS low_share,
    high AS high_share,
    CASE
        WHEN runs_before < least OR runs_after < least THEN 'few'
        WHEN low > 0 THEN 'up'
        WHEN high < 0 THEN 'down'
        ELSE 'unclear'
    END AS verdict
FROM compared
ORDER BY slice, abs(coalesce(after_share - before_share, 0)) DESC, measure
