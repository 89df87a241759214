-- The steps of each run, as the reading that stands for it tells of them: an Assistants run's steps, the output items of
-- a response, the content blocks of a message. `number` counts from 1 in their order; tokens are NULL where the step
-- states none of its own. `input_tokens` holds what was read from a cache, whatever the protocol.
SELECT
    runs.run_id AS run_id,
    told.number AS number,
    json_extract_string(told.step, '$.id') AS step_id,
    json_extract_string(told.step, '$.type') AS kind,
    json_extract_string(told.step, '$.status') AS status,
    TRY_CAST(coalesce(
        json_extract_string(told.step, '$.usage.prompt_tokens'),
        json_extract_string(told.step, '$.usage.input_tokens')
    ) AS BIGINT) AS input_tokens,
    TRY_CAST(coalesce(
        json_extract_string(told.step, '$.usage.completion_tokens'),
        json_extract_string(told.step, '$.usage.output_tokens')
    ) AS BIGINT) AS output_tokens,
    TRY_CAST(json_extract_string(told.step, '$.usage.total_tokens') AS BIGINT) AS total_tokens
FROM runs
CROSS JOIN LATERAL (
    SELECT
        unnest(json_extract(runs.facts, '$.steps[*]')) AS step,
        generate_subscripts(json_extract(runs.facts, '$.steps[*]'), 1) AS number
) AS told
