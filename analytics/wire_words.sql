-- D5 Which events has each protocol sent, and since when?
-- Every name of an event that the streams of these runs had, with how often it came, in how many streams, and when it was
-- seen first and last. A name that is new is a change of the provider's: the recorder keeps it whole, but no reading may
-- know it yet; one that has gone may break those who wait for it.
-- uses: events
-- chart: bars event streams
SELECT
    a.slice AS slice,
    a.dialect AS dialect,
    coalesce(e.type, '(without a name)') AS event,
    count(DISTINCT e.recording_id) AS streams,
    count(*) AS events,
    sum(e.size) AS bytes,
    min(a.day) AS first_day,
    max(a.day) AS last_day
FROM asked a
JOIN readings r ON r.run_id = a.run_id
JOIN events e ON e.recording_id = r.recording_id
WHERE e.kind = 'sse' AND coalesce(r.duplicate, FALSE) = FALSE
GROUP BY a.slice, a.dialect, coalesce(e.type, '(without a name)')
ORDER BY a.slice, a.dialect, events DESC, event
