-- C3 What does caching save?
-- How much of the input came from a cache, what it would have cost more without one, what writing to the cache cost more
-- than plain input, and what is left of that: net_usd below 0 means that the cache costs more than it brings. Runs whose
-- provider did not say what came from a cache are left out.
-- needs: cost_usd, input_tokens, cached_tokens
-- uses: costs
-- chart: bars slice net_usd saved_usd premium_usd
SELECT
    slice,
    runs,
    all_input AS input_tokens,
    from_cache AS cached_tokens,
    to_cache AS cache_write_tokens,
    CASE WHEN all_input > 0 THEN from_cache / all_input END AS cached_share,
    CAST(spent AS DECIMAL(38,9)) AS spent_usd,
    CAST(saved AS DECIMAL(38,9)) AS saved_usd,
    CAST(premium AS DECIMAL(38,9)) AS premium_usd,
    CAST(saved - premium AS DECIMAL(38,9)) AS net_usd,
    CASE WHEN spent + saved - premium > 0
        THEN CAST(saved - premium AS DOUBLE) / CAST(spent + saved - premium AS DOUBLE) END AS net_share
FROM (
    SELECT
        slice,
        count(*) AS runs,
        sum(weight * input_tokens) AS all_input,
        sum(weight * cached_tokens) AS from_cache,
        sum(weight * (coalesce(cache_write_tokens, 0) + coalesce(cache_write_5m_tokens, 0)
            + coalesce(cache_write_1h_tokens, 0))) AS to_cache,
        sum(cost_usd * CAST(weight AS DECIMAL(18,6))) AS spent,
        sum(cache_saved_usd * CAST(weight AS DECIMAL(18,6))) AS saved,
        sum(cache_premium_usd * CAST(weight AS DECIMAL(18,6))) AS premium
    FROM asked
    GROUP BY slice
) AS summed
ORDER BY net_usd DESC, slice
