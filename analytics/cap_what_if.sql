-- B6 What would another cap have done?
-- The same runs with each cap to try: those given; else the caps they had, and what half, 90, 95 and 99 % needed.
-- Certain to be cut: runs that used more, or were cut just there. Unknown: runs that something else ended before; at
-- most these are cut too. Expected: Kaplan and Meier's estimate of it with its 95 % band, where it reaches so far (B5
-- says who counts: no runaways, and of a run that was asked again the one that went furthest). Harmed: runs that came to
-- their end, and would have been cut. Avoided, at most: runs that their cap cut below this one; and the expected share of it.
-- Saved, at most: tokens beyond the cap, those of runaways too, if nobody had asked again. Wasted, at least: the tokens
-- of the runs that are certain to be cut; in money, with their prompts. Added, as expected: what the avoided ones would
-- use more. Money is that of the runs with a price; the others are counted.
-- among: over
-- needs: output_tokens|input_tokens
-- uses: costs, curve
-- given: kind VARCHAR = 'output'
-- must: kind IN ('output', 'prompt')
-- chart: line cap_tokens expected_share slice
WITH known AS (
    SELECT
        j.slice AS slice,
        j.weight AS weight,
        CAST(j.weight AS DECIMAL(25, 6)) AS exact_weight,
        j.cap_tokens AS cap_tokens,
        j.tokens AS tokens,
        j.ended AS ended,
        j.cut AS cut,
        j.runaway AS runaway,
        CASE WHEN j.counts THEN 1 ELSE 0 END AS counts,
        a.cost_usd AS cost_usd,
        CASE WHEN g.kind = 'output' THEN a.output_usd_per_mtok ELSE a.input_usd_per_mtok END AS usd_per_mtok
    FROM judged j
    JOIN asked a ON a.run_id = j.run_id
    CROSS JOIN given g
    WHERE j.tokens IS NOT NULL
),
-- What a run uses on average, if it may use so many tokens: the area under the curve up to there.
areas AS (
    SELECT
        slice,
        tokens,
        survival,
        low_survival,
        high_survival,
        sum(width) OVER (PARTITION BY slice ORDER BY tokens) AS area
    FROM (
        SELECT
            slice,
            tokens,
            survival,
            low_survival,
            high_survival,
            coalesce(lag(survival) OVER rising, 1) * (tokens - coalesce(lag(tokens) OVER rising, 0)) AS width
        FROM curve
        WINDOW rising AS (PARTITION BY slice ORDER BY tokens)
    ) AS stretches
),
marks AS (
    SELECT 0.50 AS mark UNION ALL SELECT 0.90 UNION ALL SELECT 0.95 UNION ALL SELECT 0.99
),
frequent AS (
    SELECT slice, cap_tokens, row_number() OVER (PARTITION BY slice ORDER BY count(*) DESC, cap_tokens) AS place
    FROM known
    WHERE cap_tokens IS NOT NULL
    GROUP BY slice, cap_tokens
),
tried AS (
    SELECT s.slice, c.cap AS cap
    FROM (SELECT DISTINCT slice FROM known) AS s
    CROSS JOIN candidates c
    UNION
    SELECT slice, cap_tokens FROM frequent WHERE place <= 8 AND NOT EXISTS (SELECT 1 FROM candidates)
    UNION
    SELECT slice, min(tokens)
    FROM curve
    CROSS JOIN marks
    WHERE survival <= 1 - mark + 1e-12 AND tokens > 0 AND NOT EXISTS (SELECT 1 FROM candidates)
    GROUP BY slice, mark
),
-- The runs that used so many tokens, summed; and among them, with nothing to add, the caps to try.
alike AS (
    SELECT
        j.slice AS slice,
        j.tokens AS tokens,
        0 AS is_cap,
        max(v.survival) AS survival,
        max(v.low_survival) AS low_survival,
        max(v.high_survival) AS high_survival,
        max(v.area) AS area,
        count(*) AS runs,
        sum(j.counts) AS counted_runs,
        sum(j.counts * j.weight) AS counted_weights,
        sum(CASE WHEN j.cut THEN j.counts ELSE 0 END) AS cut_runs,
        sum(CASE WHEN j.cut THEN j.counts * j.weight ELSE 0 END) AS cut_weights,
        sum(CASE WHEN j.ended THEN 0 ELSE j.counts END) AS open_runs,
        sum(CASE WHEN j.ended THEN 0 ELSE j.counts * j.weight END) AS open_weights,
        sum(CASE WHEN j.ended AND NOT j.runaway THEN 1 ELSE 0 END) AS whole_runs,
        sum(CASE WHEN j.cut AND NOT j.runaway THEN 1 ELSE 0 END) AS curable_runs,
        sum(CASE WHEN j.runaway THEN 1 ELSE 0 END) AS runaway_runs,
        sum(j.weight) AS weights,
        sum(CASE WHEN j.cut THEN j.weight ELSE 0 END) AS all_cut_weights,
        sum(CASE WHEN j.cut AND j.counts = 1 THEN j.weight / v.survival ELSE 0 END) AS cut_over_survival,
        sum(CASE WHEN j.cut AND j.counts = 1 THEN j.weight / v.survival * v.area ELSE 0 END) AS cut_areas,
        coalesce(sum(CASE WHEN j.cut AND j.cost_usd IS NOT NULL THEN j.counts * j.weight * j.usd_per_mtok END), 0)
            / max(CASE WHEN v.survival > 0 THEN v.survival ELSE 1 END) AS rate_over_survival,
        coalesce(sum(CASE WHEN j.cut AND j.cost_usd IS NOT NULL THEN j.counts * j.weight * j.usd_per_mtok END), 0)
            / max(CASE WHEN v.survival > 0 THEN v.survival ELSE 1 END) * max(coalesce(v.area, 0)) AS rate_areas,
        sum(CASE WHEN j.cost_usd IS NULL THEN 1 ELSE 0 END) AS unpriced_runs,
        coalesce(sum(CASE WHEN j.cost_usd IS NOT NULL THEN j.usd_per_mtok * j.exact_weight END), 0) AS usd_per_mtok,
        coalesce(sum(j.cost_usd * j.exact_weight), 0) AS cost_usd,
        coalesce(sum(CASE WHEN j.cut THEN j.cost_usd * j.exact_weight END), 0) AS cut_cost_usd
    FROM known j
    LEFT JOIN areas v ON v.slice IS NOT DISTINCT FROM j.slice AND v.tokens = j.tokens
    GROUP BY j.slice, j.tokens
    UNION ALL
    SELECT slice, cap, 1, NULL, NULL, NULL, NULL, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0
    FROM tried
),
-- Of each cap: the sums over what used as much or more, exactly as much, as much or less; and over all.
placed AS (
    SELECT
        slice,
        tokens,
        is_cap,
        sum(runs) OVER whole AS all_runs,
        sum(counted_weights) OVER whole AS all_weights,
        sum(runaway_runs) OVER whole AS all_runaways,
        sum(unpriced_runs) OVER whole AS all_unpriced,
        max(CASE WHEN survival IS NOT NULL THEN tokens END) OVER whole AS furthest,
        min(survival) OVER whole AS lowest,
        min(survival) OVER upto AS upto_survival,
        min(low_survival) OVER upto AS upto_low,
        CASE WHEN min(survival) OVER upto > 0 THEN min(high_survival) OVER upto END AS upto_high,
        max(area) OVER upto AS upto_area,
        max(CASE WHEN survival IS NOT NULL THEN tokens END) OVER upto AS upto_tokens,
        sum(counted_runs) OVER down_to - sum(counted_runs) OVER same + sum(cut_runs) OVER same AS certain_runs,
        sum(counted_weights) OVER down_to - sum(counted_weights) OVER same + sum(cut_weights) OVER same
            AS certain_weights,
        sum(open_runs) OVER upto - sum(cut_runs) OVER same AS unknown_runs,
        sum(open_weights) OVER upto - sum(cut_weights) OVER same AS unknown_weights,
        sum(whole_runs) OVER down_to - sum(whole_runs) OVER same AS harmed_runs,
        sum(curable_runs) OVER upto - sum(curable_runs) OVER same AS avoided_runs,
        sum(cut_weights) OVER upto - sum(cut_weights) OVER same AS avoided_weights,
        sum(cut_over_survival) OVER upto - sum(cut_over_survival) OVER same AS avoided_over_survival,
        sum(cut_areas) OVER upto - sum(cut_areas) OVER same AS avoided_areas,
        sum(rate_over_survival) OVER upto - sum(rate_over_survival) OVER same AS rates_over_survival,
        sum(rate_areas) OVER upto - sum(rate_areas) OVER same AS rate_areas,
        sum(weights * tokens) OVER down_to - tokens * sum(weights) OVER down_to AS saved_tokens,
        tokens * (sum(weights) OVER down_to - sum(weights) OVER same + sum(all_cut_weights) OVER same) AS wasted_tokens,
        sum(usd_per_mtok * CAST(tokens AS DECIMAL(19, 0))) OVER down_to
            - CAST(tokens AS DECIMAL(19, 0)) * sum(usd_per_mtok) OVER down_to AS saved_micro_usd,
        sum(cost_usd) OVER down_to - sum(cost_usd) OVER same + sum(cut_cost_usd) OVER same AS certain_usd
    FROM alike
    WINDOW
        whole AS (PARTITION BY slice),
        same AS (PARTITION BY slice, tokens),
        upto AS (PARTITION BY slice ORDER BY tokens),
        down_to AS (PARTITION BY slice ORDER BY tokens DESC)
),
read_off AS (
    SELECT
        *,
        furthest IS NULL OR (tokens > furthest AND lowest > 0) AS is_beyond,
        coalesce(upto_survival, 1) AS survival,
        coalesce(upto_area, 0) + coalesce(upto_survival, 1) * (tokens - coalesce(upto_tokens, 0)) AS area,
        saved_micro_usd * CAST('0.000001' AS DECIMAL(7, 6)) AS saved_usd,
        all_unpriced < all_runs AS is_priced
    FROM placed
    WHERE is_cap = 1
)
SELECT
    r.slice AS slice,
    g.kind AS cap_kind,
    r.tokens AS cap_tokens,
    r.all_runs AS runs,
    r.certain_runs AS certain_runs,
    r.certain_weights / nullif(r.all_weights, 0) AS certain_share,
    r.unknown_runs AS unknown_runs,
    (r.certain_weights + r.unknown_weights) / nullif(r.all_weights, 0) AS at_most_share,
    CASE WHEN NOT r.is_beyond THEN r.survival END AS expected_share,
    CASE WHEN NOT r.is_beyond THEN coalesce(r.upto_low, 1) END AS low_share,
    CASE WHEN NOT r.is_beyond AND r.survival > 0 THEN coalesce(r.upto_high, 1) END AS high_share,
    r.harmed_runs AS harmed_runs,
    r.avoided_runs AS avoided_runs,
    CASE
        WHEN r.avoided_weights = 0 THEN 0
        WHEN NOT r.is_beyond THEN (r.avoided_weights - r.survival * r.avoided_over_survival) / r.all_weights
    END AS expected_avoided_share,
    r.all_runaways AS runaway_runs,
    r.saved_tokens AS saved_tokens,
    r.wasted_tokens AS wasted_tokens,
    CASE
        WHEN r.avoided_weights = 0 THEN 0
        WHEN NOT r.is_beyond THEN r.area * r.avoided_over_survival - r.avoided_areas
    END AS added_tokens,
    CAST(CASE WHEN r.is_priced THEN r.saved_usd END AS DECIMAL(38,9)) AS saved_usd,
    CAST(CASE WHEN r.is_priced THEN r.certain_usd - r.saved_usd END AS DECIMAL(38,9)) AS wasted_usd,
    CASE
        WHEN NOT r.is_priced THEN NULL
        WHEN r.avoided_weights = 0 THEN 0
        WHEN NOT r.is_beyond
            THEN CAST((r.area * r.rates_over_survival - r.rate_areas) / 1000000 AS DECIMAL(38,9))
    END AS added_usd,
    r.all_unpriced AS unpriced_runs
FROM read_off r
CROSS JOIN given g
ORDER BY r.slice, r.tokens
