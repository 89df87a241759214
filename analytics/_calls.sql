-- The tool calls of each run whose arguments were looked at, over all of its recordings: whether these are valid JSON, and
-- if not, what is wrong (see recorder.detect). `number` counts from 1 in the order in which they were made.
SELECT
    run_id,
    row_number() OVER (PARTITION BY run_id ORDER BY started_at, recording_id, place) AS number,
    json_extract_string(call, '$.name') AS name,
    TRY_CAST(json_extract_string(call, '$.valid') AS BOOLEAN) AS valid,
    json_extract_string(call, '$.damage') AS damage,
    TRY_CAST(json_extract_string(call, '$.depth') AS BIGINT) AS depth,
    TRY_CAST(json_extract_string(call, '$.chars') AS BIGINT) AS chars
FROM (
    SELECT
        run_id,
        recording_id,
        started_at,
        unnest(json_extract(facts, '$.arguments[*]')) AS call,
        generate_subscripts(json_extract(facts, '$.arguments[*]'), 1) AS place
    FROM readings
    WHERE NOT coalesce(duplicate, FALSE)
        AND coalesce(action, '') NOT IN ('retrieve', 'cancel', 'modify', 'steps', 'step')
) AS told
