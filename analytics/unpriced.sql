-- C9 Which runs have no price, and why?
-- Runs without a cost, by the reason, the host they went to, the model and the service tier, and what would give them a
-- price. Nothing is guessed: an unknown model, tier or host has no price, and neither has a usage that was not stated.
-- uses: costs
-- chart: bars unpriced runs model
SELECT
    slice,
    unpriced,
    origin,
    model,
    service_tier,
    count(*) AS runs,
    sum(weight * input_tokens) AS input_tokens,
    sum(weight * output_tokens) AS output_tokens,
    CASE unpriced
        WHEN 'failed_request' THEN 'nothing: refused requests are not billed'
        WHEN 'no_usage' THEN 'ask for usage (chat streams: stream_options.include_usage); streams that were cut have none'
        WHEN 'no_model' THEN 'nothing: neither request nor answer names a model'
        WHEN 'unknown_provider' THEN 'say whose prices hold for the host, in prices.providers'
        WHEN 'unknown_model' THEN 'say what the deployment runs, in prices.models, or its price, in prices.own'
        WHEN 'unknown_tier' THEN 'give the tier a price, in prices.own'
        WHEN 'tier_not_stated' THEN 'nothing: the answer does not say which tier served'
        WHEN 'usage_contradicts' THEN 'nothing: the provider''s figures contradict each other'
        WHEN 'input_unknown' THEN 'nothing: only the output was stated'
        WHEN 'output_unknown' THEN 'nothing: the stream was cut before the output was stated'
        WHEN 'duration_unknown' THEN 'nothing: the run has not ended'
        ELSE 'give the model a price, in prices.own'
    END AS what_helps
FROM asked
WHERE unpriced IS NOT NULL
GROUP BY slice, unpriced, origin, model, service_tier
ORDER BY slice, runs DESC, unpriced, origin, model, service_tier
