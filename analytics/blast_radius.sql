-- F6 What do the runs with the same fault have in common?
-- For each feature that occurs with the fault: in how many runs of the window that have the fault (`fault_runs` of
-- `fault_all`) and of those that do not (`rest_runs` of `rest_all`), how many times as often that is (`ratio`), and the
-- interval in which this lies at 95 % (from Wilson's intervals of both shares, by Donner and Zou's method; without an upper
-- end where the rest has none). The word says what that allows to claim: more or less where the interval leaves out 1,
-- unclear otherwise, few where there are less than `least` runs on a side. `shared` says whether the run has it. Then the
-- same for the window against the time before it: `window_runs` of `window_all`, `before_runs` of `before_all`, how many
-- times as often (`change`), and its word (`change_verdict`).
--
-- The fault is that of the run `run` (of the newest that has one unless it is given): its error, HTTP status, flag or
-- outcome; or whatever is set as `feature`, with its `value` or the run's. It is the first row, with `kind` fault. Then
-- the circumstances, the surest excess first, and the symptoms. `at` opens the window, which has no end but that of the runs.
-- What goes together need not be the cause, and of twenty features one may stand out by chance.
-- uses: marked
-- given: run VARCHAR = NULL
-- given: feature VARCHAR = NULL
-- given: value VARCHAR = NULL
-- given: at MOMENT = NULL
-- given: least BIGINT = 5
-- given: at_most INTEGER = 60
-- must: least >= 1
-- chart: bars feature value ratio low_ratio high_ratio
WITH sides AS (
    SELECT
        run_id,
        slice,
        weight,
        anchor,
        CASE WHEN NOT later THEN 'before' WHEN marked THEN 'fault' ELSE 'rest' END AS side
    FROM marked
),
counted AS (
    SELECT
        s.slice AS slice,
        f.kind AS kind,
        f.feature AS feature,
        f.value AS value,
        f.always AS always,
        s.side AS side,
        count(*) AS runs,
        sum(s.weight) AS weights,
        sum(s.weight * s.weight) AS squares,
        max(CASE WHEN s.anchor THEN 1 ELSE 0 END) AS shared
    FROM features f
    JOIN sides s ON s.run_id = f.run_id
    GROUP BY s.slice, f.kind, f.feature, f.value, f.always, s.side
),
occurring AS (
    SELECT DISTINCT kind, feature, value, always FROM counted WHERE side = 'fault'
),
-- Among how many: all runs; or where not to have a feature may be not to be known, those of which it is known.
totals AS (
    SELECT slice, side, count(*) AS runs, sum(weight) AS weights, sum(weight * weight) AS squares
    FROM sides
    GROUP BY slice, side
),
known AS (
    SELECT slice, feature, side, sum(runs) AS runs, sum(weights) AS weights, sum(squares) AS squares
    FROM counted
    WHERE NOT always
    GROUP BY slice, feature, side
),
filled AS (
    SELECT
        t.slice AS slice,
        o.kind AS kind,
        o.feature AS feature,
        o.value AS value,
        t.side AS side,
        coalesce(c.runs, 0) AS runs,
        coalesce(c.weights, 0) AS weights,
        coalesce(c.shared, 0) AS shared,
        CASE WHEN o.always THEN t.runs ELSE coalesce(k.runs, 0) END AS all_runs,
        CASE WHEN o.always THEN t.weights ELSE coalesce(k.weights, 0) END AS all_weights,
        CASE WHEN o.always THEN t.squares ELSE coalesce(k.squares, 0) END AS all_squares
    FROM totals t
    CROSS JOIN occurring o
    LEFT JOIN counted c
        ON c.slice IS NOT DISTINCT FROM t.slice AND c.feature = o.feature AND c.value = o.value AND c.side = t.side
    LEFT JOIN known k ON k.slice IS NOT DISTINCT FROM t.slice AND k.feature = o.feature AND k.side = t.side
),
with_window AS (
    SELECT * FROM filled
    UNION ALL
    SELECT
        slice, kind, feature, value, 'window', sum(runs), sum(weights), max(shared), sum(all_runs), sum(all_weights),
        sum(all_squares)
    FROM filled
    WHERE side <> 'before'
    GROUP BY slice, kind, feature, value
),
shares AS (
    SELECT
        *,
        weights / nullif(all_weights, 0) AS share,
        all_weights * all_weights / nullif(all_squares, 0) AS effective
    FROM with_window
),
bounded AS (
    SELECT
        *,
        CASE WHEN share > 0 THEN (
            share + 1.9207294103470627 / effective
            - 1.959963984540054 * sqrt((share * (1 - share) + 0.9603647051735313 / effective) / effective)
        ) / (1 + 3.841458820694125 / effective) ELSE 0 * share END AS low,
        CASE WHEN share < 1 THEN (
            share + 1.9207294103470627 / effective
            + 1.959963984540054 * sqrt((share * (1 - share) + 0.9603647051735313 / effective) / effective)
        ) / (1 + 3.841458820694125 / effective) ELSE share END AS high
    FROM shares
),
-- Two shares against each other: those with the fault and the rest of the window; the window and the time before.
pairs AS (
    SELECT
        slice,
        kind,
        feature,
        value,
        CASE WHEN side IN ('fault', 'rest') THEN 'rest' ELSE 'before' END AS against,
        max(shared) AS shared,
        coalesce(max(CASE WHEN side IN ('fault', 'window') THEN runs END), 0) AS runs,
        coalesce(max(CASE WHEN side IN ('fault', 'window') THEN all_runs END), 0) AS all_runs,
        max(CASE WHEN side IN ('fault', 'window') THEN share END) AS p,
        max(CASE WHEN side IN ('fault', 'window') THEN low END) AS low_p,
        max(CASE WHEN side IN ('fault', 'window') THEN high END) AS high_p,
        coalesce(max(CASE WHEN side IN ('rest', 'before') THEN runs END), 0) AS other_runs,
        coalesce(max(CASE WHEN side IN ('rest', 'before') THEN all_runs END), 0) AS other_all,
        max(CASE WHEN side IN ('rest', 'before') THEN share END) AS q,
        max(CASE WHEN side IN ('rest', 'before') THEN low END) AS low_q,
        max(CASE WHEN side IN ('rest', 'before') THEN high END) AS high_q
    FROM bounded
    GROUP BY slice, kind, feature, value, CASE WHEN side IN ('fault', 'rest') THEN 'rest' ELSE 'before' END
),
-- What is under a root is never below 0 but for rounding.
rooted AS (
    SELECT
        *,
        p / nullif(q, 0) AS ratio,
        greatest(p * p * q * q - low_p * high_q * (2 * p - low_p) * (2 * q - high_q), 0) AS low_square,
        greatest(p * p * q * q - high_p * low_q * (2 * p - high_p) * (2 * q - low_q), 0) AS high_square
    FROM pairs
),
compared AS (
    SELECT
        *,
        CASE
            WHEN low_p = 0 THEN 0
            ELSE low_p * (2 * p - low_p) / nullif(p * q + sqrt(low_square), 0)
        END AS low_ratio,
        (p * q + sqrt(high_square)) / nullif(low_q * (2 * q - low_q), 0) AS high_ratio
    FROM rooted
),
judged AS (
    SELECT
        *,
        CASE
            WHEN all_runs < g.least OR other_all < g.least OR runs + other_runs < g.least THEN 'few'
            WHEN low_ratio > 1 THEN 'more'
            WHEN high_ratio < 1 THEN 'less'
            ELSE 'unclear'
        END AS verdict
    FROM compared
    CROSS JOIN given g
),
placed AS (
    SELECT
        w.*,
        b.runs AS window_runs,
        b.all_runs AS window_all,
        b.p AS window_share,
        b.low_p AS low_share,
        b.high_p AS high_share,
        b.other_runs AS before_runs,
        b.other_all AS before_all,
        b.q AS before_share,
        b.ratio AS change,
        b.low_ratio AS low_change,
        b.high_ratio AS high_change,
        b.verdict AS change_verdict,
        CASE WHEN s.feature IS NULL THEN w.kind ELSE 'fault' END AS role,
        row_number() OVER (
            PARTITION BY w.slice
            ORDER BY
                CASE WHEN s.feature IS NULL THEN 1 ELSE 0 END,
                w.kind,
                CASE w.verdict WHEN 'more' THEN 0 WHEN 'few' THEN 2 ELSE 1 END,
                w.low_ratio DESC,
                w.p DESC,
                w.runs DESC,
                w.feature,
                w.value
        ) AS place
    FROM judged w
    JOIN judged b
        ON b.slice IS NOT DISTINCT FROM w.slice AND b.feature = w.feature AND b.value = w.value AND b.against = 'before'
    LEFT JOIN (SELECT DISTINCT feature, value FROM marked) AS s ON s.feature = w.feature AND s.value = w.value
    WHERE w.against = 'rest'
)
SELECT
    slice,
    role AS kind,
    feature,
    value,
    shared = 1 AS shared,
    runs AS fault_runs,
    all_runs AS fault_all,
    p AS fault_share,
    other_runs AS rest_runs,
    other_all AS rest_all,
    q AS rest_share,
    ratio,
    low_ratio,
    high_ratio,
    verdict,
    window_runs,
    window_all,
    window_share,
    low_share,
    high_share,
    before_runs,
    before_all,
    before_share,
    change,
    low_change,
    high_change,
    change_verdict
FROM placed
WHERE place <= at_most
ORDER BY slice, place
