-- C4 Which service tier was asked for, and which one served?
-- For each pair of tiers, asked for and stated by the answer: how many runs, and what they cost. They differ where a
-- certain tier was asked for and another one served. `standard` is a provider's ordinary tier, whatever it calls it.
-- uses: costs
-- chart: matrix asked_for served runs
SELECT
    slice,
    asked_for,
    served,
    count(*) AS runs,
    sum(weight) / sum(sum(weight)) OVER (PARTITION BY slice) AS runs_share,
    asked_for NOT IN ('not stated', 'auto') AND served <> 'not stated' AND asked_for <> served AS differs,
    count(cost_usd) AS priced_runs,
    CAST(sum(cost_usd * CAST(weight AS DECIMAL(18,6))) AS DECIMAL(38,9)) AS spent_usd
FROM (
    SELECT
        slice,
        weight,
        cost_usd,
        CASE
            WHEN coalesce(asked_tier, '') = '' THEN 'not stated'
            WHEN lower(asked_tier) IN (
                'default', 'standard', 'standard_only', 'on_demand', 'service_tier_standard',
                'service_tier_unspecified', 'traffic_type_unspecified'
            ) THEN 'standard'
            ELSE lower(asked_tier)
        END AS asked_for,
        CASE
            WHEN lower(coalesce(service_tier, '')) IN ('', 'auto') THEN 'not stated'
            WHEN lower(service_tier) IN (
                'default', 'standard', 'on_demand', 'service_tier_standard', 'service_tier_unspecified',
                'traffic_type_unspecified'
            ) THEN 'standard'
            ELSE lower(service_tier)
        END AS served
    FROM asked
) AS named
GROUP BY slice, asked_for, served
ORDER BY slice, asked_for, served
