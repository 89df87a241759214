-- The parameters that each run set, a row each: the value's JSON text, or a digest of it where that is longer than 60
-- characters; and whether it is a setting, not what was said to the model.
SELECT
    run_id,
    name,
    CASE WHEN length(text) > 60 THEN 'md5:' || md5(text) ELSE text END AS value,
    name NOT IN (
        'messages', 'input', 'contents', 'thread', 'additional_messages', 'tool_outputs', 'metadata', 'user',
        'previous_response_id', 'conversation', 'safety_identifier', 'prompt_cache_key'
    ) AS is_setting
FROM (
    SELECT runs.run_id AS run_id, told.key AS name, CAST(told.value AS VARCHAR) AS text
    FROM runs, json_each(runs.parameters) AS told
    WHERE runs.parameters IS NOT NULL
) AS each
