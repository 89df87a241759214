-- L4 Do events arrive one by one, or does something on the way hold them back?
-- Of the streams of these runs: how many events came with one read of the network (at the same microsecond), and how many
-- bytes that was. Models send event by event; many events in each read mean that a proxy gathers them, and that a user
-- waits for text that was there already. A stream is called held back where it has ten events or more and half of them
-- came in reads of five or more.
-- among: longest_gap_us IS NOT NULL
-- uses: events
-- chart: bars slice held_back_share
WITH reads AS (
    SELECT
        a.slice AS slice,
        a.weight AS weight,
        e.recording_id AS recording_id,
        e.elapsed_us AS elapsed_us,
        count(*) AS events,
        sum(e.size) AS bytes
    FROM asked a
    JOIN readings r ON r.run_id = a.run_id
    JOIN events e ON e.recording_id = r.recording_id
    WHERE e.kind = 'sse' AND coalesce(r.duplicate, FALSE) = FALSE
    GROUP BY a.slice, a.weight, e.recording_id, e.elapsed_us
),
streams AS (
    SELECT
        slice,
        recording_id,
        max(weight) AS weight,
        sum(events) AS events,
        sum(bytes) AS bytes,
        count(*) AS reads,
        max(events) AS most,
        sum(CASE WHEN events >= 5 THEN events ELSE 0 END) AS gathered
    FROM reads
    GROUP BY slice, recording_id
)
SELECT
    slice,
    count(*) AS streams,
    CAST(sum(weight * events) AS DOUBLE) / sum(weight * reads) AS events_per_read,
    CAST(sum(weight * bytes) AS DOUBLE) / sum(weight * reads) AS bytes_per_read,
    max(most) AS most_events_in_a_read,
    sum(CASE WHEN events >= 10 AND 2 * gathered >= events THEN weight ELSE 0 END) / sum(weight) AS held_back_share
FROM streams
GROUP BY slice
ORDER BY slice
