-- B13 Which share of the runs needs more than so many tokens?
-- The curve that the advice (B5) is read off, for each number of tokens at which a run came to its end or was cut: the
-- share of the runs that needs more (Kaplan and Meier), its 95 % band, how many runs went so far, and how many of these
-- ended there by themselves or were cut. Beyond the last row nothing is known. Who counts, and how, stands in B5.
-- among: over
-- needs: output_tokens|input_tokens
-- given: kind VARCHAR = 'output'
-- must: kind IN ('output', 'prompt')
-- chart: survival tokens survival_share slice
WITH told AS (
    SELECT
        a.slice AS slice,
        a.run_id AS run_id,
        a.weight AS weight,
        n.tokens AS tokens,
        n.ended AS ended,
        n.runaway AS runaway
    FROM asked a
    JOIN needs n ON n.run_id = a.run_id
    JOIN given g ON g.kind = n.kind
),
asked_again AS (
    SELECT earlier.run_id AS run_id
    FROM told earlier
    JOIN retries r ON r.run_id = earlier.run_id AND r.linked_by = 'request' AND r.gap_us <= 600000000
    JOIN told later ON later.run_id = r.next_id AND later.slice IS NOT DISTINCT FROM earlier.slice
    WHERE NOT earlier.ended AND NOT later.runaway AND later.tokens >= earlier.tokens
),
counted AS (
    SELECT t.*
    FROM told t
    LEFT JOIN asked_again x ON x.run_id = t.run_id
    WHERE t.tokens IS NOT NULL AND NOT t.runaway AND x.run_id IS NULL
),
at_tokens AS (
    SELECT
        slice,
        tokens,
        count(*) AS runs,
        sum(weight) AS weights,
        sum(weight * weight) AS squares,
        sum(CASE WHEN ended THEN 1 ELSE 0 END) AS ends,
        sum(CASE WHEN ended THEN weight ELSE 0 END) AS end_weights
    FROM counted
    GROUP BY slice, tokens
),
at_risk AS (
    SELECT
        slice,
        tokens,
        runs,
        ends,
        end_weights,
        sum(runs) OVER further AS risk_runs,
        sum(weights) OVER further AS risk_weights,
        sum(squares) OVER further AS risk_squares
    FROM at_tokens
    WINDOW further AS (PARTITION BY slice ORDER BY tokens DESC)
),
steps_down AS (
    SELECT
        *,
        CASE WHEN ends = risk_runs THEN 1 ELSE 0 END AS is_last,
        CASE WHEN ends = 0 OR ends = risk_runs THEN 0 ELSE ln(1 - end_weights / risk_weights) END AS log_step,
        CASE
            WHEN ends = 0 OR ends = risk_runs THEN 0
            ELSE end_weights / (risk_weights - end_weights) * risk_squares / (risk_weights * risk_weights)
        END AS variance_step
    FROM at_risk
),
summed AS (
    SELECT
        *,
        max(is_last) OVER so_far AS is_over,
        sum(log_step) OVER so_far AS log_survival,
        sum(variance_step) OVER so_far AS variance
    FROM steps_down
    WINDOW so_far AS (PARTITION BY slice ORDER BY tokens)
),
curve AS (
    SELECT
        *,
        CASE WHEN is_over = 1 THEN 0 ELSE exp(log_survival) END AS survival,
        CASE
            WHEN is_over = 1 THEN 0
            WHEN log_survival = 0 THEN 1
            ELSE exp(log_survival * exp(-1.959963984540054 * sqrt(variance) / log_survival))
        END AS low_survival,
        CASE
            WHEN is_over = 1 THEN NULL
            WHEN log_survival = 0 THEN 1
            ELSE exp(log_survival * exp(1.959963984540054 * sqrt(variance) / log_survival))
        END AS high_survival
    FROM summed
)
SELECT
    slice,
    tokens,
    survival AS survival_share,
    low_survival AS low_share,
    high_survival AS high_share,
    risk_runs,
    ends AS ended_runs,
    runs - ends AS censored_runs
FROM curve
ORDER BY slice, tokens
