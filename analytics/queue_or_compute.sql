-- L5 Does a run wait in a queue, or does the model take its time?
-- Of the Assistants runs that said when they began to work: the time until then (queue), from there to the first content
-- (begin), and from there to the end of the stream (write), as means and medians. Times are the recorder's own, taken as
-- the events arrived; the provider's are whole seconds.
-- among: dialect = 'assistants' AND recordings = 1
-- needs: queued_us, ttft_us, streamed_us
-- chart: bars slice phase mean_us
WITH phases AS (
    SELECT slice, 1 AS place, 'queue' AS phase, weight, queued_us AS took_us FROM asked
    UNION ALL
    SELECT slice, 2 AS place, 'begin' AS phase, weight, ttft_us - queued_us AS took_us FROM asked
    UNION ALL
    SELECT slice, 3 AS place, 'write' AS phase, weight, streamed_us - ttft_us AS took_us FROM asked
),
ranked AS (
    SELECT
        slice,
        place,
        phase,
        weight,
        took_us,
        sum(weight) OVER (PARTITION BY slice, place ORDER BY took_us) AS up_to,
        sum(weight) OVER (PARTITION BY slice, place) AS in_all
    FROM phases
)
SELECT
    slice,
    phase,
    count(*) AS runs,
    sum(weight * took_us) / sum(weight) AS mean_us,
    min(CASE WHEN up_to >= 0.50 * in_all THEN took_us END) AS p50_us,
    min(CASE WHEN up_to >= 0.99 * in_all THEN took_us END) AS p99_us
FROM ranked
GROUP BY slice, place, phase
ORDER BY slice, place
