-- L2 How evenly do the streams flow?
-- Of the streams of these runs: the time from one event to the next, as quantiles over all gaps, and the longest. A stall
-- is a gap above one second and above twenty times the stream's own median gap; the share is that of the runs with one.
-- Events that came in one read of the network have no gap between them, which is why low quantiles may be 0.
-- among: longest_gap_us IS NOT NULL
-- uses: events
-- chart: ecdf slice p50_us p90_us p99_us p999_us
WITH told AS (
    SELECT
        a.slice AS slice,
        a.weight AS weight,
        e.elapsed_us - lag(e.elapsed_us) OVER (PARTITION BY e.recording_id ORDER BY e.position) AS gap_us
    FROM asked a
    JOIN readings r ON r.run_id = a.run_id
    JOIN events e ON e.recording_id = r.recording_id
    WHERE e.kind = 'sse' AND coalesce(r.duplicate, FALSE) = FALSE
),
counted AS (
    SELECT slice, gap_us, count(*) AS seen, sum(weight) AS weighted
    FROM told
    WHERE gap_us IS NOT NULL
    GROUP BY slice, gap_us
),
ranked AS (
    SELECT
        slice,
        gap_us,
        seen,
        sum(weighted) OVER (PARTITION BY slice ORDER BY gap_us) AS up_to,
        sum(weighted) OVER (PARTITION BY slice) AS in_all
    FROM counted
),
gaps AS (
    SELECT
        slice,
        sum(seen) AS gaps,
        min(CASE WHEN up_to >= 0.50 * in_all THEN gap_us END) AS p50_us,
        min(CASE WHEN up_to >= 0.90 * in_all THEN gap_us END) AS p90_us,
        min(CASE WHEN up_to >= 0.99 * in_all THEN gap_us END) AS p99_us,
        min(CASE WHEN up_to >= 0.999 * in_all THEN gap_us END) AS p999_us,
        max(gap_us) AS max_us
    FROM ranked
    GROUP BY slice
),
stalled AS (
    SELECT
        slice,
        count(*) AS runs,
        sum(CASE WHEN stalls > 0 THEN weight ELSE 0 END) / sum(weight) AS stalled_share,
        sum(stalls) AS stalls
    FROM asked
    GROUP BY slice
)
SELECT
    s.slice AS slice,
    s.runs AS runs,
    g.gaps AS gaps,
    g.p50_us AS p50_us,
    g.p90_us AS p90_us,
    g.p99_us AS p99_us,
    g.p999_us AS p999_us,
    g.max_us AS max_us,
    s.stalls AS stalls,
    s.stalled_share AS stalled_share
FROM stalled s
LEFT JOIN gaps g ON g.slice = s.slice OR (g.slice IS NULL AND s.slice IS NULL)
ORDER BY s.slice
