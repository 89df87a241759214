-- The runs that are asked about as the estimate of their need takes them, by `given`'s kind: what `needs` says of each, and
-- counts  whether it counts: what it used is known, it did not run away, and it was not asked again
-- again   whether the same was asked again within ten minutes, and then went as far or further: the later run counts
-- age     1 for the run of its slice that began last
WITH told AS (
    SELECT
        a.slice AS slice,
        a.run_id AS run_id,
        a.weight AS weight,
        a.started_at AS started_at,
        n.cap_tokens AS cap_tokens,
        n.tokens AS tokens,
        n.ended AS ended,
        n.cut AS cut,
        n.runaway AS runaway,
        n.starved AS starved
    FROM asked a
    JOIN needs n ON n.run_id = a.run_id
    JOIN given g ON g.kind = n.kind
),
asked_again AS (
    SELECT earlier.run_id AS run_id
    FROM told earlier
    JOIN retries r ON r.run_id = earlier.run_id AND r.linked_by = 'request' AND r.gap_us <= 600000000
    JOIN told later ON later.run_id = r.next_id AND later.slice IS NOT DISTINCT FROM earlier.slice
    WHERE NOT earlier.ended AND NOT later.runaway AND later.tokens >= earlier.tokens
)
SELECT
    t.*,
    t.tokens IS NOT NULL AND NOT t.runaway AND x.run_id IS NULL AS counts,
    t.tokens IS NOT NULL AND NOT t.runaway AND x.run_id IS NOT NULL AS again,
    row_number() OVER (PARTITION BY t.slice ORDER BY t.started_at DESC, t.run_id DESC) AS age
FROM told t
LEFT JOIN asked_again x ON x.run_id = t.run_id
