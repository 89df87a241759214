-- T2 Which truncation strategy goes with which kind of truncation?
-- Of the runs of each truncation strategy that are over (`auto`, `disabled`, `last_messages:K`; `none` where none was
-- set or the protocol has none): how many a limit cut, by which limit: `truncated_output`, `truncated_prompt` (a cap on
-- the prompt, or the provider's), `context_overflow` (the model's own window). Low and high are Wilson's interval at 95
-- %; a share of 0 of few runs may still be much. That a strategy drops messages without cutting the run is not to be
-- seen here; the prompt's growth (B8) shows it. The strategies with the most runs stand first.
-- among: over
-- chart: heatmap strategy outcome outcome_share
WITH kinds AS (
    SELECT 'truncated_output' AS outcome
    UNION ALL
    SELECT 'truncated_prompt'
    UNION ALL
    SELECT 'context_overflow'
),
counted AS (
    SELECT
        a.slice AS slice,
        coalesce(a.truncation_strategy, 'none') AS strategy,
        k.outcome AS outcome,
        count(*) AS runs,
        sum(CASE WHEN a.outcome = k.outcome THEN 1 ELSE 0 END) AS outcome_runs,
        sum(CASE WHEN a.outcome = k.outcome THEN a.weight ELSE 0 END) / sum(a.weight) AS outcome_share,
        sum(a.weight) * sum(a.weight) / sum(a.weight * a.weight) AS effective
    FROM asked a
    CROSS JOIN kinds k
    GROUP BY a.slice, coalesce(a.truncation_strategy, 'none'), k.outcome
)
SELECT
    slice,
    strategy,
    outcome,
    runs,
    outcome_runs,
    outcome_share,
    CASE
        WHEN outcome_share > 0 THEN (
            outcome_share + 1.9207294103470627 / effective
            - 1.959963984540054
                * sqrt((outcome_share * (1 - outcome_share) + 0.9603647051735313 / effective) / effective)
        ) / (1 + 3.841458820694125 / effective)
        ELSE 0
    END AS low_share,
    CASE
        WHEN outcome_share < 1 THEN (
            outcome_share + 1.9207294103470627 / effective
            + 1.959963984540054
                * sqrt((outcome_share * (1 - outcome_share) + 0.9603647051735313 / effective) / effective)
        ) / (1 + 3.841458820694125 / effective)
        ELSE 1
    END AS high_share
FROM counted
ORDER BY slice, runs DESC, strategy, outcome DESC
