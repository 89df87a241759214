-- Where what came back contradicts itself: one row for each contradiction of each run (`what`, in the reader's words),
-- over all of its recordings, whoever recorded them.
SELECT run_id, min(started_at) AS first_at, json_extract_string(value, '$') AS what
FROM (
    SELECT run_id, started_at, unnest(json_extract(facts, '$.disagreements[*]')) AS value
    FROM readings
    WHERE contains(facts, '"disagreements"') AND NOT coalesce(duplicate, FALSE) AND coalesce(is_run, TRUE)
) AS told
GROUP BY run_id, what
