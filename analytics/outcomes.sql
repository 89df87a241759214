-- T1 How do runs end, and how does that change?
-- Of the runs of each day that are over: how many ended in which way, and which share that is. Truncated is what a token
-- limit cut off; client_abort, upstream_cut and no_terminal are streams that nobody said the end of.
-- among: over
-- chart: area day outcome_share outcome
-- default
SELECT
    slice,
    day,
    outcome,
    count(*) AS runs,
    sum(weight) / sum(sum(weight)) OVER (PARTITION BY slice, day) AS outcome_share
FROM asked
GROUP BY slice, day, outcome
ORDER BY slice, day DESC, runs DESC, outcome
