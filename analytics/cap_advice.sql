-- B5 Which cap lets enough of the runs come to their end?
-- The smallest cap with which the target share of the runs comes to its end by itself. A run that was cut tells only
-- that it needed more (it is censored), so the share is Kaplan and Meier's product-limit estimate; low and high are its
-- 95 % band (log-log, with Greenwood's variance over the effective number of runs where they are sampled). Where the
-- cuts leave too little to see, there is no advice, and `why` says so. Naive is a plain percentile of the same runs.
-- It assumes that caps were not chosen by how much each single run would need.
-- Runaways (blanks or repetitions without end) use up any cap and are only counted. A run that was cut and asked again
-- counts once, as the one that went furthest. Reasoning is part of the need: runs starved by it are cut like any other.
-- among: over
-- needs: output_tokens|input_tokens
-- uses: curve
-- given: target DOUBLE = 0.99
-- given: kind VARCHAR = 'output'
-- must: target > 0 AND target < 1
-- must: kind IN ('output', 'prompt')
-- chart: dumbbell slice naive_tokens advice_tokens high_tokens
-- What is 1e-12 above the mark has reached it: a product of shares is not exact.
WITH read_off AS (
    SELECT
        c.slice AS slice,
        max(risk_weights) * max(risk_weights) / max(risk_squares) * (1 - max(g.target)) AS runs_beyond,
        min(CASE WHEN survival <= 1 - g.target + 1e-12 THEN tokens END) AS reached,
        min(CASE WHEN low_survival <= 1 - g.target + 1e-12 THEN tokens END) AS low_reached,
        min(CASE WHEN high_survival <= 1 - g.target + 1e-12 THEN tokens END) AS high_reached,
        min(CASE WHEN weights_so_far >= g.target * all_weights - 1e-12 * all_weights THEN tokens END) AS naive,
        max(CASE WHEN ends > 0 THEN tokens END) AS last_end,
        1 - min(survival) AS known
    FROM curve c
    CROSS JOIN given g
    GROUP BY c.slice
),
caps AS (
    SELECT
        slice,
        max(CASE WHEN age = 1 THEN cap_tokens END) AS last_cap,
        min(cap_tokens) AS low_cap,
        max(cap_tokens) AS high_cap,
        sum(CASE WHEN cap_tokens IS NULL THEN weight ELSE 0 END) / sum(weight) AS uncapped,
        sum(CASE WHEN counts THEN 1 ELSE 0 END) AS counted,
        sum(CASE WHEN counts AND ended THEN 1 ELSE 0 END) AS ends,
        sum(CASE WHEN counts AND NOT ended THEN 1 ELSE 0 END) AS censored,
        sum(CASE WHEN counts AND cut THEN weight ELSE 0 END) AS cut_weights,
        sum(CASE WHEN counts THEN weight ELSE 0 END) AS counted_weights,
        sum(CASE WHEN counts AND starved THEN 1 ELSE 0 END) AS starved,
        sum(CASE WHEN tokens IS NOT NULL AND runaway THEN 1 ELSE 0 END) AS runaways,
        sum(CASE WHEN again THEN 1 ELSE 0 END) AS asked_again,
        sum(CASE WHEN tokens IS NULL THEN 1 ELSE 0 END) AS unknown
    FROM judged
    GROUP BY slice
),
at_cap AS (
    SELECT
        c.slice AS slice,
        min(CASE WHEN v.tokens <= c.last_cap THEN v.survival END) AS cut_now,
        max(v.tokens) AS furthest,
        min(v.survival) AS lowest,
        min(CASE WHEN v.tokens <= r.reached THEN v.survival END) AS cut_then,
        min(CASE WHEN v.tokens = r.reached THEN v.risk_runs END) AS went_so_far
    FROM caps c
    JOIN curve v ON v.slice IS NOT DISTINCT FROM c.slice
    JOIN read_off r ON r.slice IS NOT DISTINCT FROM c.slice
    GROUP BY c.slice
),
decided AS (
    SELECT
        c.*,
        r.runs_beyond AS runs_beyond,
        r.reached AS reached,
        r.low_reached AS low_reached,
        r.high_reached AS high_reached,
        r.naive AS naive,
        r.last_end AS last_end,
        r.known AS known,
        p.went_so_far AS went_so_far,
        p.cut_then AS cut_then,
        CASE
            WHEN c.last_cap IS NULL THEN NULL
            WHEN c.last_cap > p.furthest AND p.lowest > 0 THEN NULL
            ELSE coalesce(p.cut_now, 1)
        END AS cut_now,
        r.reached IS NOT NULL AND r.runs_beyond >= 1 - 1e-9 AS estimable,
        CAST(floor(1000 * r.known + 1e-9) AS BIGINT) AS known_thousandths,
        CAST(ceil(1 / (1 - g.target) - 1e-9) AS BIGINT) AS least_runs
    FROM caps c
    CROSS JOIN given g
    LEFT JOIN read_off r ON r.slice IS NOT DISTINCT FROM c.slice
    LEFT JOIN at_cap p ON p.slice IS NOT DISTINCT FROM c.slice
)
SELECT
    c.slice AS slice,
    g.kind AS cap_kind,
    c.counted AS runs,
    c.ends AS ended_runs,
    c.censored AS censored_runs,
    c.runaways AS runaway_runs,
    c.starved AS starved_runs,
    c.asked_again AS retried_runs,
    c.unknown AS unknown_runs,
    c.last_cap AS last_cap_tokens,
    c.low_cap AS low_cap_tokens,
    c.high_cap AS high_cap_tokens,
    c.uncapped AS uncapped_share,
    g.target AS target_share,
    CASE WHEN c.estimable THEN c.reached END AS advice_tokens,
    CASE WHEN c.estimable THEN c.low_reached END AS low_tokens,
    CASE WHEN c.estimable THEN c.high_reached END AS high_tokens,
    c.naive AS naive_tokens,
    c.cut_weights / nullif(c.counted_weights, 0) AS cut_share,
    c.cut_now AS expected_now_share,
    CASE WHEN c.estimable THEN c.cut_then END AS expected_then_share,
    CASE WHEN c.estimable THEN c.went_so_far END AS so_far_runs,
    c.known AS known_share,
    c.last_end AS known_tokens,
    CASE
        WHEN c.counted = 0 THEN 'no run tells what it needed'
        WHEN c.ends = 0 THEN 'no run came to its end by itself'
        WHEN c.runs_beyond < 1 - 1e-9
            THEN 'too few runs: ' || CAST(c.least_runs AS VARCHAR) || ' are the least for this target'
        WHEN c.reached IS NULL
            THEN 'the tail is censored: '
                || CAST(CAST((c.known_thousandths - c.known_thousandths % 10) / 10 AS BIGINT) AS VARCHAR) || '.'
                || CAST(c.known_thousandths % 10 AS VARCHAR) || ' % is known up to ' || CAST(c.last_end AS VARCHAR)
        WHEN c.high_reached IS NULL THEN 'few runs went that far: it may be more, nobody knows how much'
    END AS why
FROM decided c
CROSS JOIN given g
ORDER BY c.slice
