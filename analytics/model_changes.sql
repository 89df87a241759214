-- D4 Which model really answered, and when did that change?
-- Each model that the runs were answered by, with the provider's fingerprint of the system behind it where it states one:
-- when it was first and last seen, and how its runs did. A new row with an old row's name is a change that nobody
-- announced: compare its rates with the row before.
-- needs: model
-- chart: matrix first_day model truncated_share
SELECT
    slice,
    model,
    system_fingerprint,
    count(*) AS runs,
    min(day) AS first_day,
    max(day) AS last_day,
    min(started_at) AS first_at,
    max(started_at) AS last_at,
    sum(CASE WHEN truncated THEN weight ELSE 0 END) / sum(weight) AS truncated_share,
    sum(CASE WHEN usable THEN weight ELSE 0 END)
        / nullif(sum(CASE WHEN usable IS NOT NULL THEN weight ELSE 0 END), 0) AS usable_share,
    sum(weight * output_tokens) / sum(CASE WHEN output_tokens IS NOT NULL THEN weight END) AS mean_output_tokens,
    sum(weight * ttft_us) / sum(CASE WHEN ttft_us IS NOT NULL THEN weight END) AS mean_ttft_us
FROM asked
GROUP BY slice, model, system_fingerprint
ORDER BY slice, model, first_at, system_fingerprint
