-- What was found in each run that no column of `runs` says, over all of its recordings but those that only look at it
-- (polls, cancellations). A run of which there are only such has no row here.
--
-- whitespace_*, repetition_*
--     the first runaway of each kind: in what (`of`: text, reasoning, arguments), from which character on (`at`), how
--     many characters, how many pieces of the stream (`pieces`) or after how many characters it repeats (`period`),
--     microseconds after its request (`us`), whether it went on to the end. `after_share` estimates the share of the
--     run's output tokens that came from there on, `whitespace_share` that of those that were nothing but that
--     whitespace: by the events that brought them (reasoning that is counted and not streamed has none). A stream
--     with one token in each event has a few events more than tokens.
-- looked_through
--     whether all that came back was there to be read: only then no text means that nothing was said
-- said_chars, blank_chars
--     characters that the user was shown, and how many of them in whitespace runaways
-- json_depth, json_at, cut_end
--     of the exchange that stands for the run: open brackets, and the character where its JSON is damaged; in what its
--     text ends (word, sentence, fence) where it was or may have been cut
-- output_at_least, output_at_most
--     between what the output tokens lie where nobody stated them
-- choices
--     how many answers were asked for at once, where more than one
-- tools_offered, tools_called
--     whether the request held tools (NULL where its parameters were not kept), and whether one was called
-- adds_messages
--     whether a run of a thread brought messages of its own
-- task_key
--     a name for what was asked (messages, input, instructions), whatever the model and the caps; NULL where it stands
--     in a thread, or was not kept
-- and the flags of the readings, as BOOLEANs
WITH parts AS (
    SELECT
        run_id,
        recording_id,
        started_at,
        coalesce(events, 0) AS events,
        coalesce(flags, '') AS flags,
        facts,
        text_chars,
        blank_chars
    FROM readings
    WHERE NOT coalesce(duplicate, FALSE)
        AND coalesce(is_run, TRUE)
        AND coalesce(action, '') NOT IN ('retrieve', 'cancel', 'modify', 'steps', 'step')
),
told AS (
    SELECT
        *,
        CASE WHEN contains(facts, '"whitespace"') THEN json_extract(facts, '$.whitespace') END AS whitespace,
        CASE WHEN contains(facts, '"repetition"') THEN json_extract(facts, '$.repetition') END AS repetition,
        CASE WHEN contains(facts, '"usage_bounds"') THEN json_extract(facts, '$.usage_bounds.output_tokens') END
            AS bounds
    FROM parts
),
gathered AS (
    SELECT
        run_id,
        sum(events) AS events,
        first(whitespace ORDER BY started_at, recording_id) FILTER (whitespace IS NOT NULL) AS whitespace,
        first(events ORDER BY started_at, recording_id) FILTER (whitespace IS NOT NULL) AS whitespace_events,
        first(repetition ORDER BY started_at, recording_id) FILTER (repetition IS NOT NULL) AS repetition,
        first(events ORDER BY started_at, recording_id) FILTER (repetition IS NOT NULL) AS repetition_events,
        sum(text_chars) AS said_chars,
        sum(blank_chars) AS blank_chars,
        sum(TRY_CAST(json_extract_string(bounds, '$.at_least') AS BIGINT)) AS output_at_least,
        max(TRY_CAST(json_extract_string(bounds, '$.at_most') AS BIGINT)) AS output_at_most,
        bool_and(
            facts IS NOT NULL AND flags NOT LIKE '%"payload_missing"%' AND flags NOT LIKE '%"reader_error"%'
        ) AS looked_through,
        bool_or(flags LIKE '%"whitespace_runaway"%') AS whitespace_runaway,
        bool_or(flags LIKE '%"repetition_runaway"%') AS repetition_runaway,
        bool_or(flags LIKE '%"reasoning_starved"%') AS reasoning_starved,
        bool_or(flags LIKE '%"arguments_damaged"%') AS arguments_damaged,
        bool_or(flags LIKE '%"json_not_asked_for"%') AS json_not_asked_for,
        bool_or(flags LIKE '%"tool_call_open"%') AS tool_call_open,
        bool_or(flags LIKE '%"output_cap_reached"%') AS output_cap_reached,
        bool_or(flags LIKE '%"input_cap_reached"%') AS input_cap_reached
    FROM told
    GROUP BY run_id
),
called AS (
    SELECT run_id, count(*) AS calls FROM calls GROUP BY run_id
),
stepped AS (
    SELECT run_id, count(*) AS calls
    FROM steps
    WHERE lower(kind) LIKE '%call%' OR kind IN ('function', 'custom', 'tool_use', 'server_tool_use', 'mcp_tool_use')
    GROUP BY run_id
),
asked_for AS (
    SELECT
        recording_id AS run_id,
        parameters,
        CASE
            WHEN parameters IS NULL THEN NULL
            WHEN contains(parameters, '"tools"') THEN coalesce(
                json_type(parameters, '$.tools') = 'OBJECT' OR json_array_length(parameters, '$.tools') > 0, FALSE
            )
            ELSE FALSE
        END AS tools_offered,
        coalesce(
            CASE json_type(parameters, '$.additional_messages')
                WHEN 'ARRAY' THEN json_array_length(parameters, '$.additional_messages') > 0
                WHEN 'OBJECT'
                    THEN TRY_CAST(
                        json_extract_string(parameters, '$.additional_messages."$omitted".bytes') AS BIGINT
                    ) > 2
            END,
            FALSE
        ) AS adds_messages,
        CASE
            WHEN coalesce(
                json_type(parameters, '$.messages'), json_type(parameters, '$.input'),
                json_type(parameters, '$.contents'), json_type(parameters, '$.thread.messages')
            ) IS NOT NULL
                THEN CAST(json_extract(parameters, [
                    '$.messages', '$.input', '$.contents', '$.thread.messages', '$.instructions', '$.system',
                    '$.systemInstruction', '$.assistant_id', '$.prompt', '$.previous_response_id', '$.conversation'
                ]) AS VARCHAR)
        END AS task
    FROM readings
    WHERE recording_id = run_id
),
placed AS (
    SELECT
        g.*,
        TRY_CAST(json_extract_string(whitespace, '$.position') AS BIGINT) AS whitespace_position,
        TRY_CAST(json_extract_string(whitespace, '$.pieces') AS BIGINT) AS whitespace_pieces,
        TRY_CAST(json_extract_string(whitespace, '$.to_end') AS BOOLEAN) AS whitespace_to_end,
        TRY_CAST(json_extract_string(repetition, '$.position') AS BIGINT) AS repetition_position,
        r.output_tokens AS output_tokens,
        CASE
            WHEN g.events < r.output_tokens AND r.visible_tokens IS NOT NULL
                AND coalesce(json_extract_string(whitespace, '$.of'), json_extract_string(repetition, '$.of'))
                    <> 'reasoning'
                THEN r.visible_tokens
            ELSE r.output_tokens
        END AS streamed_tokens
    FROM gathered g
    JOIN runs r ON r.run_id = g.run_id
    WHERE whitespace IS NOT NULL OR repetition IS NOT NULL
),
measured AS (
    SELECT
        run_id,
        whitespace_pieces,
        whitespace_to_end,
        CAST(CASE
            WHEN whitespace_to_end AND whitespace_pieces IS NOT NULL THEN whitespace_pieces
            WHEN whitespace_position <= whitespace_events THEN whitespace_events - whitespace_position
        END AS DOUBLE) AS whitespace_after,
        CAST(CASE
            WHEN whitespace_pieces IS NOT NULL THEN whitespace_pieces
            WHEN whitespace_to_end AND whitespace_position <= whitespace_events
                THEN whitespace_events - whitespace_position
        END AS DOUBLE) AS whitespace_only,
        CAST(CASE
            WHEN repetition_position <= repetition_events THEN repetition_events - repetition_position
        END AS DOUBLE) AS repetition_after,
        CASE WHEN streamed_tokens BETWEEN events - 16 AND events THEN streamed_tokens ELSE events END AS all_events,
        CASE WHEN output_tokens > 0 THEN CAST(streamed_tokens AS DOUBLE) / output_tokens ELSE 1 END AS streamed_share
    FROM placed
),
shared AS (
    SELECT
        run_id,
        whitespace_pieces,
        whitespace_to_end,
        CASE WHEN whitespace_after > all_events THEN 1 ELSE whitespace_after / nullif(all_events, 0) END
            * streamed_share AS whitespace_after_share,
        CASE WHEN whitespace_only > all_events THEN 1 ELSE whitespace_only / nullif(all_events, 0) END
            * streamed_share AS whitespace_share,
        CASE WHEN repetition_after > all_events THEN 1 ELSE repetition_after / nullif(all_events, 0) END
            * streamed_share AS repetition_after_share
    FROM measured
)
SELECT
    g.run_id AS run_id,
    g.whitespace_runaway AS whitespace_runaway,
    json_extract_string(g.whitespace, '$.of') AS whitespace_of,
    TRY_CAST(json_extract_string(g.whitespace, '$.at') AS BIGINT) AS whitespace_at,
    TRY_CAST(coalesce(json_extract_string(g.whitespace, '$.all_chars'), json_extract_string(g.whitespace, '$.chars'))
        AS BIGINT) AS whitespace_chars,
    m.whitespace_pieces AS whitespace_pieces,
    TRY_CAST(json_extract_string(g.whitespace, '$.elapsed_us') AS BIGINT) AS whitespace_us,
    m.whitespace_to_end AS whitespace_to_end,
    m.whitespace_after_share AS whitespace_after_share,
    m.whitespace_share AS whitespace_share,
    g.repetition_runaway AS repetition_runaway,
    json_extract_string(g.repetition, '$.of') AS repetition_of,
    TRY_CAST(json_extract_string(g.repetition, '$.at') AS BIGINT) AS repetition_at,
    TRY_CAST(json_extract_string(g.repetition, '$.chars') AS BIGINT) AS repetition_chars,
    TRY_CAST(json_extract_string(g.repetition, '$.period') AS BIGINT) AS repetition_period,
    TRY_CAST(json_extract_string(g.repetition, '$.elapsed_us') AS BIGINT) AS repetition_us,
    TRY_CAST(json_extract_string(g.repetition, '$.to_end') AS BOOLEAN) AS repetition_to_end,
    m.repetition_after_share AS repetition_after_share,
    g.looked_through AS looked_through,
    g.said_chars AS said_chars,
    g.blank_chars AS blank_chars,
    CASE WHEN contains(r.facts, '"json"') THEN TRY_CAST(json_extract_string(r.facts, '$.json.depth') AS BIGINT) END
        AS json_depth,
    CASE WHEN contains(r.facts, '"json"') THEN TRY_CAST(json_extract_string(r.facts, '$.json.at') AS BIGINT) END
        AS json_at,
    CASE WHEN contains(r.facts, '"cut_end"') THEN json_extract_string(r.facts, '$.cut_end') END AS cut_end,
    CASE
        WHEN NOT contains(r.facts, '"choices"') THEN NULL
        WHEN json_type(r.facts, '$.choices') = 'OBJECT' THEN len(json_keys(r.facts, '$.choices'))
        ELSE TRY_CAST(json_extract_string(r.facts, '$.choices') AS BIGINT)
    END AS choices,
    g.output_at_least AS output_at_least,
    g.output_at_most AS output_at_most,
    a.tools_offered AS tools_offered,
    a.adds_messages AS adds_messages,
    c.calls IS NOT NULL OR s.calls IS NOT NULL AS tools_called,
    CASE WHEN NOT regexp_matches(a.task, '"\$omitted":\{"bytes":[0-9]+\}') THEN md5(a.task) END AS task_key,
    g.reasoning_starved AS reasoning_starved,
    g.arguments_damaged AS arguments_damaged,
    g.json_not_asked_for AS json_not_asked_for,
    g.tool_call_open AS tool_call_open,
    g.output_cap_reached AS output_cap_reached,
    g.input_cap_reached AS input_cap_reached
FROM gathered g
JOIN runs r ON r.run_id = g.run_id
LEFT JOIN shared m ON m.run_id = g.run_id
LEFT JOIN asked_for a ON a.run_id = g.run_id
LEFT JOIN called c ON c.run_id = g.run_id
LEFT JOIN stepped s ON s.run_id = g.run_id
