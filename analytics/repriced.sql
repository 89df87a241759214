-- C5 What would the same tokens cost with another model?
-- The tokens of each run at the price of another model, on the day of the run, or on the day that is set (today's prices
-- for last year's runs). Without a model: each model that these runs used, for all of them. Another model counts tokens
-- otherwise and answers at another length, so this compares prices and does not foretell a bill. Names of models are those
-- of the price list; where several providers have the model, each is a row. Runs with a price both ways are compared.
-- needs: cost_usd
-- uses: costs, prices
-- given: model VARCHAR = NULL
-- given: provider VARCHAR = NULL
-- given: tier VARCHAR = 'standard'
-- given: on_day DATE = NULL
-- must: model IS NULL OR lower(model) IN (SELECT lower(model) FROM prices)
-- chart: dumbbell model spent_usd would_be_usd
WITH candidates_of AS (
    SELECT DISTINCT p.provider AS provider, p.model AS model
    FROM prices p
    CROSS JOIN given g
    LEFT JOIN (SELECT DISTINCT matched_provider, matched_model FROM asked) u
        ON u.matched_provider = p.provider AND u.matched_model = p.model
    WHERE CASE WHEN g.model IS NULL THEN u.matched_model IS NOT NULL ELSE lower(p.model) = lower(g.model) END
        AND (g.provider IS NULL OR lower(p.provider) = lower(g.provider))
),
-- DISTINCT keeps a planner from joining all prices of the tier with all runs first: that takes a hundred times as long.
offered AS (
    SELECT DISTINCT p.*
    FROM prices p
    JOIN candidates_of o ON o.provider = p.provider AND o.model = p.model
    CROSS JOIN given g
    WHERE p.tier = g.tier
),
counted AS (
    SELECT
        slice,
        run_id,
        started_at,
        coalesce(g.on_day, day) AS priced_at,
        weight,
        cost_usd,
        input_tokens,
        coalesce(cached_tokens, 0) AS cached,
        coalesce(cache_write_tokens, 0) AS written,
        coalesce(cache_write_5m_tokens, 0) AS written_5m,
        coalesce(cache_write_1h_tokens, 0) AS written_1h,
        output_tokens,
        coalesce(reasoning_tokens, 0) AS reasoned
    FROM asked
    CROSS JOIN given g
    WHERE input_tokens IS NOT NULL AND output_tokens IS NOT NULL
),
compared AS (
    SELECT
        c.slice AS slice,
        p.provider AS provider,
        p.model AS model,
        p.tier AS tier,
        c.cost_usd * CAST(c.weight AS DECIMAL(18,6)) AS spent,
        (
            CAST(c.input_tokens - c.cached - c.written - c.written_5m - c.written_1h AS DECIMAL(13,0))
                * p.input_usd_per_mtok
            + CAST(c.cached AS DECIMAL(13,0)) * p.cache_read_usd_per_mtok
            + CAST(c.written AS DECIMAL(13,0)) * p.cache_write_usd_per_mtok
            + CAST(c.written_5m AS DECIMAL(13,0)) * p.cache_write_5m_usd_per_mtok
            + CAST(c.written_1h AS DECIMAL(13,0)) * p.cache_write_1h_usd_per_mtok
            + CAST(c.output_tokens AS DECIMAL(13,0)) * p.output_usd_per_mtok
            + CAST(c.reasoned AS DECIMAL(13,0)) * (p.reasoning_usd_per_mtok - p.output_usd_per_mtok)
        ) * CAST(0.000001 AS DECIMAL(7,6)) + coalesce(p.request_usd_per_1000, 0) * CAST(0.001 AS DECIMAL(4,3)) AS would_be,
        c.weight AS weight
    FROM counted c
    JOIN offered p
        ON (p.valid_from IS NULL OR p.valid_from <= c.priced_at)
        AND (p.valid_until IS NULL OR p.valid_until > c.priced_at)
        AND c.started_at % 86400000000 >= p.since_tod_us AND c.started_at % 86400000000 < p.until_tod_us
        AND c.input_tokens > p.above_tokens AND c.input_tokens <= p.upto_tokens
),
summed AS (
    SELECT
        slice,
        provider,
        model,
        tier,
        count(*) AS runs,
        sum(spent) AS spent,
        sum(would_be * CAST(weight AS DECIMAL(18,6))) AS would_be
    FROM compared
    WHERE would_be IS NOT NULL
    GROUP BY slice, provider, model, tier
)
SELECT
    slice,
    provider,
    model,
    tier,
    runs,
    CAST(spent AS DECIMAL(38,9)) AS spent_usd,
    CAST(would_be AS DECIMAL(38,9)) AS would_be_usd,
    CAST(would_be - spent AS DECIMAL(38,9)) AS more_usd,
    CASE WHEN spent > 0 THEN CAST(would_be AS DOUBLE) / CAST(spent AS DOUBLE) END AS ratio
FROM summed
ORDER BY slice, would_be, provider, model
