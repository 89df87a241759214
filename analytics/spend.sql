-- C1 What was spent, and on what?
-- The cost of the runs at the prices of their time, by where it went: input that was new, read from a cache or written to
-- one, output (of which reasoning), and what is billed by the request or the hour. Fees for tools are not included. A run
-- without a price is counted, never taken for free (`unpriced` says why); at_least_usd adds what is known of those.
-- Requests that were refused cost nothing and are counted apart. Of bounded_runs only a bound of the cost is known (their
-- stream was cut, or the provider did not tell of its cache). A run that was recorded twice counts once.
-- uses: costs
-- chart: bars slice spent_usd uncached_usd cache_read_usd cache_write_usd output_usd
-- default
SELECT
    slice,
    runs,
    priced_runs,
    unpriced_runs,
    refused_runs,
    bounded_runs,
    CAST(spent AS DECIMAL(38,9)) AS spent_usd,
    CASE WHEN sum(spent) OVER () > 0 THEN CAST(spent AS DOUBLE) / CAST(sum(spent) OVER () AS DOUBLE) END AS spent_share,
    CAST(at_least AS DECIMAL(38,9)) AS at_least_usd,
    CAST(uncached AS DECIMAL(38,9)) AS uncached_usd,
    CAST(cache_read AS DECIMAL(38,9)) AS cache_read_usd,
    CAST(cache_write AS DECIMAL(38,9)) AS cache_write_usd,
    CAST(output AS DECIMAL(38,9)) AS output_usd,
    CAST(reasoning AS DECIMAL(38,9)) AS reasoning_usd,
    CAST(other AS DECIMAL(38,9)) AS other_usd,
    CAST(CAST(spent AS DOUBLE) / priced_weight AS DECIMAL(38,9)) AS per_run_usd
FROM (
    SELECT
        slice,
        count(*) AS runs,
        count(cost_usd) AS priced_runs,
        sum(CASE WHEN unpriced IS NOT NULL AND unpriced <> 'failed_request' THEN 1 ELSE 0 END) AS unpriced_runs,
        sum(CASE WHEN unpriced = 'failed_request' THEN 1 ELSE 0 END) AS refused_runs,
        sum(CASE WHEN cost_bound <> 'exact' THEN 1 ELSE 0 END) AS bounded_runs,
        sum(CASE WHEN cost_usd IS NOT NULL THEN weight END) AS priced_weight,
        sum(cost_usd * CAST(weight AS DECIMAL(18,6))) AS spent,
        sum(least_usd * CAST(weight AS DECIMAL(18,6))) AS at_least,
        sum(CASE WHEN cost_usd IS NOT NULL THEN uncached_usd * CAST(weight AS DECIMAL(18,6)) END) AS uncached,
        sum(CASE WHEN cost_usd IS NOT NULL THEN cache_read_usd * CAST(weight AS DECIMAL(18,6)) END) AS cache_read,
        sum(CASE WHEN cost_usd IS NOT NULL THEN cache_write_usd * CAST(weight AS DECIMAL(18,6)) END) AS cache_write,
        sum(CASE WHEN cost_usd IS NOT NULL THEN output_usd * CAST(weight AS DECIMAL(18,6)) END) AS output,
        sum(CASE WHEN cost_usd IS NOT NULL THEN reasoning_usd * CAST(weight AS DECIMAL(18,6)) END) AS reasoning,
        sum((request_usd + time_usd) * CAST(weight AS DECIMAL(18,6))) AS other
    FROM asked
    GROUP BY slice
) AS summed
ORDER BY spent DESC NULLS LAST, slice
