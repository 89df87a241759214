-- R1 Which runs are there, and what became of them?
-- The runs that are meant, by what they are told apart by: how many, how many of them are over, were cut by a token limit
-- or brought what was asked for, and when they began.
SELECT
    slice,
    count(*) AS runs,
    sum(weight) AS weighted,
    sum(CASE WHEN over THEN 1 ELSE 0 END) AS over_runs,
    sum(CASE WHEN over THEN weight ELSE 0 END) AS over_weighted,
    sum(CASE WHEN over AND truncated THEN 1 ELSE 0 END) AS cut_runs,
    sum(CASE WHEN over AND truncated THEN weight ELSE 0 END) / nullif(sum(CASE WHEN over THEN weight ELSE 0 END), 0)
        AS cut_share,
    sum(CASE WHEN over AND usable THEN weight ELSE 0 END)
        / nullif(sum(CASE WHEN over AND usable IS NOT NULL THEN weight ELSE 0 END), 0) AS usable_share,
    min(started_at) AS first_at,
    max(started_at) AS last_at
FROM asked
GROUP BY slice
ORDER BY runs DESC, slice
