-- C7 Does what was reckoned agree with the provider's invoice?
-- For each day (UTC) and model of the invoice and of the runs: what was billed, what the runs come to, and the difference.
-- The invoice's models are compared with the names that answers stated and with those of the price list; an invoice
-- without models is compared by day. Reckoned too little means runs that were not recorded or have no price, tools' fees,
-- or a price that is not the list's; too much, discounts. Sampled runs make the reckoned side an estimate.
-- uses: costs, invoice
-- chart: bars day difference_usd model
WITH by_model AS (
    SELECT count(model) > 0 AS told FROM invoice
),
reckoned AS (
    SELECT
        a.day AS day,
        CASE
            WHEN NOT b.told THEN NULL
            WHEN lower(a.model) IN (SELECT lower(model) FROM invoice) THEN lower(a.model)
            WHEN lower(a.matched_model) IN (SELECT lower(model) FROM invoice) THEN lower(a.matched_model)
            ELSE lower(coalesce(a.model, 'not stated'))
        END AS model,
        a.weight AS weight,
        a.cost_usd AS cost_usd,
        a.unpriced AS unpriced
    FROM asked a
    CROSS JOIN by_model b
),
both_sides AS (
    SELECT
        day,
        CASE WHEN b.told THEN lower(coalesce(model, 'not stated')) END AS model,
        billed_usd,
        CAST(NULL AS DECIMAL(38,18)) AS reckoned_usd,
        0 AS runs,
        0 AS unpriced_runs
    FROM invoice
    CROSS JOIN by_model b
    UNION ALL
    SELECT
        day,
        model,
        CAST(NULL AS DECIMAL(38,12)) AS billed_usd,
        CAST(cost_usd * CAST(weight AS DECIMAL(18,6)) AS DECIMAL(38,18)) AS reckoned_usd,
        1 AS runs,
        CASE WHEN unpriced IS NOT NULL AND unpriced <> 'failed_request' THEN 1 ELSE 0 END AS unpriced_runs
    FROM reckoned
),
summed AS (
    SELECT
        day,
        model,
        sum(runs) AS runs,
        sum(unpriced_runs) AS unpriced_runs,
        sum(billed_usd) AS billed,
        sum(reckoned_usd) AS reckoned
    FROM both_sides
    GROUP BY day, model
)
SELECT
    'all' AS slice,
    day,
    model,
    runs,
    unpriced_runs,
    CAST(billed AS DECIMAL(38,9)) AS billed_usd,
    CAST(reckoned AS DECIMAL(38,9)) AS reckoned_usd,
    CAST(coalesce(billed, 0) - coalesce(reckoned, 0) AS DECIMAL(38,9)) AS difference_usd,
    CASE WHEN billed <> 0
        THEN CAST(coalesce(reckoned, 0) - billed AS DOUBLE) / CAST(billed AS DOUBLE) END AS difference_share
FROM summed
ORDER BY day, model
