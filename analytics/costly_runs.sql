-- C6 Which runs cost the most, and which far more than others like them?
-- The dearest runs, and those that stand out among runs of the same group (assistant, prompt or app; where there is none,
-- model): z is the distance from the group's median in units of 1.4826 times the median distance (the robust form of a
-- standard deviation), told for groups of at least 5 runs that do not all cost the same.
-- needs: cost_usd
-- uses: costs
-- given: top BIGINT = 20
-- given: z DOUBLE = 6
-- chart: scatter started cost_usd z
WITH alike AS (
    SELECT *, coalesce(assistant_id, "group", model) AS kind FROM asked
),
placed AS (
    SELECT
        slice,
        kind,
        weight,
        cost_usd,
        sum(weight) OVER (PARTITION BY slice, kind ORDER BY cost_usd) AS up_to,
        sum(weight) OVER (PARTITION BY slice, kind) AS in_all
    FROM alike
),
medians AS (
    SELECT slice, kind, count(*) AS runs, min(CASE WHEN up_to >= 0.5 * in_all THEN cost_usd END) AS median_usd
    FROM placed
    GROUP BY slice, kind
),
distances AS (
    SELECT
        p.slice AS slice,
        p.kind AS kind,
        m.runs AS runs,
        m.median_usd AS median_usd,
        abs(p.cost_usd - m.median_usd) AS distance,
        sum(p.weight) OVER (PARTITION BY p.slice, p.kind ORDER BY abs(p.cost_usd - m.median_usd)) AS up_to,
        p.in_all AS in_all
    FROM placed p
    JOIN medians m ON m.slice IS NOT DISTINCT FROM p.slice AND m.kind IS NOT DISTINCT FROM p.kind
),
spreads AS (
    SELECT
        slice,
        kind,
        max(runs) AS runs,
        max(median_usd) AS median_usd,
        min(CASE WHEN up_to >= 0.5 * in_all THEN distance END) AS spread
    FROM distances
    GROUP BY slice, kind
),
scored AS (
    SELECT
        a.slice AS slice,
        a.run_id AS run_id,
        a.started AS started,
        a.kind AS kind,
        a.model AS model,
        a.outcome AS outcome,
        a.input_tokens AS input_tokens,
        a.output_tokens AS output_tokens,
        a.cost_usd AS cost_usd,
        s.median_usd AS median_usd,
        CASE WHEN s.runs >= 5 AND s.spread > 0
            THEN CAST(a.cost_usd - s.median_usd AS DOUBLE) / (1.4826 * CAST(s.spread AS DOUBLE)) END AS score,
        row_number() OVER (PARTITION BY a.slice ORDER BY a.cost_usd DESC, a.run_id) AS place
    FROM alike a
    JOIN spreads s ON s.slice IS NOT DISTINCT FROM a.slice AND s.kind IS NOT DISTINCT FROM a.kind
),
ranked AS (
    SELECT *, row_number() OVER (PARTITION BY slice ORDER BY score DESC NULLS LAST, run_id) AS score_place FROM scored
)
SELECT
    r.slice AS slice,
    r.run_id AS run_id,
    r.started AS started,
    r.kind AS kind,
    r.model AS model,
    r.outcome AS outcome,
    r.input_tokens AS input_tokens,
    r.output_tokens AS output_tokens,
    CAST(r.cost_usd AS DECIMAL(38,9)) AS cost_usd,
    CAST(r.median_usd AS DECIMAL(38,9)) AS kind_median_usd,
    r.score AS z,
    r.place <= g.top AS among_the_dearest,
    coalesce(r.score >= g.z, FALSE) AS stands_out
FROM ranked r
CROSS JOIN given g
WHERE r.place <= g.top OR (r.score >= g.z AND r.score_place <= g.top)
ORDER BY r.slice, r.cost_usd DESC, r.run_id
