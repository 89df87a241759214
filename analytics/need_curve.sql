-- B13 Which share of the runs needs more than so many tokens?
-- The curve that the advice (B5) is read off, for each number of tokens at which a run came to its end or was cut: the
-- share of the runs that needs more (Kaplan and Meier), its 95 % band, how many runs went so far, and how many of these
-- ended there by themselves or were cut. Beyond the last row nothing is known. Who counts, and how, stands in B5.
-- among: over
-- needs: output_tokens|input_tokens
-- uses: curve
-- given: kind VARCHAR = 'output'
-- must: kind IN ('output', 'prompt')
-- chart: survival tokens survival_share slice
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
