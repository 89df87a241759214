-- R3 Which output caps cut how many runs, and what was paid for these?
-- For each value of the output cap: the runs that had it, those of them that it cut, and what those cost, as far as they
-- have a price.
-- among: over AND (max_completion_tokens IS NULL OR max_completion_tokens > 0)
-- needs: max_completion_tokens
-- uses: costs
SELECT
    slice,
    max_completion_tokens AS cap_tokens,
    count(*) AS runs,
    sum(CASE WHEN outcome = 'truncated_output' THEN 1 ELSE 0 END) AS cut_runs,
    sum(CASE WHEN outcome = 'truncated_output' THEN weight ELSE 0 END) / sum(weight) AS cut_share,
    sum(CASE WHEN outcome = 'truncated_output' THEN weight ELSE 0 END) AS cut_weighted,
    sum(weight) AS weighted,
    CAST(sum(CASE WHEN outcome = 'truncated_output' THEN cost_usd * CAST(weight AS DECIMAL(18,6)) END) AS DECIMAL(38,9))
        AS cut_usd
FROM asked
GROUP BY slice, max_completion_tokens
ORDER BY slice, runs DESC, cap_tokens
