-- Which share of the runs needs more than so many tokens: Kaplan and Meier's product-limit estimate over the runs of
-- `judged` that count, for each number of tokens at which one of them came to its end or was cut. Its 95 % band is
-- log-log, with Greenwood's variance over the effective number of runs at risk where they are sampled.
--
-- ends, runs          how many came to their end there by themselves, and how many stopped there in all
-- risk_*              those that used so much or more; `weights_so_far` and `all_weights`: so much or less, and all
-- survival, low_survival, high_survival   the estimate and its band; `high_survival` is NULL where the estimate is 0
WITH at_tokens AS (
    SELECT
        slice,
        tokens,
        count(*) AS runs,
        sum(weight) AS weights,
        sum(weight * weight) AS squares,
        sum(CASE WHEN ended THEN 1 ELSE 0 END) AS ends,
        sum(CASE WHEN ended THEN weight ELSE 0 END) AS end_weights
    FROM judged
    WHERE counts
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
        sum(squares) OVER further AS risk_squares,
        sum(weights) OVER so_far AS weights_so_far,
        sum(weights) OVER (PARTITION BY slice) AS all_weights
    FROM at_tokens
    WINDOW
        further AS (PARTITION BY slice ORDER BY tokens DESC),
        so_far AS (PARTITION BY slice ORDER BY tokens)
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
)
SELECT
    slice,
    tokens,
    runs,
    ends,
    risk_runs,
    risk_weights,
    risk_squares,
    weights_so_far,
    all_weights,
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
