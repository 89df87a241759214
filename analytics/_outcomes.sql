-- The runs as the questions see them: the store's columns (`stored_runs`, see _runs.sql), and what became of each run in
-- the words of the questions. The protocol's word goes first; how the transport ended counts only where there is none.
--
-- outcome    completed, tool_wait, paused; truncated_output, truncated_prompt, context_overflow; content_filter, refusal;
--            cancelled, expired, failed, other_incomplete; http_error, unreachable; client_abort, upstream_cut,
--            no_terminal (it ended as if it were whole, and nothing said so); in_progress, unknown
-- over       whether it is known to be over, one way or the other. An Assistants run that waits for tool outputs is not;
--            elsewhere such an answer is whole, and the next request is another run
-- truncated  whether a token limit cut it off
-- usable     whether it brought what was asked for: it came to its end, valid where JSON was asked for or a tool called;
--            NULL where that is not known
-- queued_us  from the request to the event that says that the provider has begun (Assistants)
-- system_fingerprint, instructions_hash   what answered, and a digest of the instructions it had
SELECT
    told.* EXCLUDE (waiting),
    outcome NOT IN ('in_progress', 'unknown') AND NOT waiting AS over,
    outcome IN ('truncated_output', 'truncated_prompt', 'context_overflow') AS truncated,
    CASE
        WHEN outcome IN ('in_progress', 'unknown') OR waiting THEN NULL
        WHEN outcome IN ('completed', 'tool_wait', 'paused')
            THEN coalesce(json_valid, TRUE) AND coalesce(flags, '') NOT LIKE '%"arguments_damaged"%'
        ELSE FALSE
    END AS usable
FROM (
    SELECT
        s.*,
        l.http_status AS http_status,
        CAST(l.facts AS VARCHAR) AS facts,
        CASE WHEN contains(l.facts, '"system_fingerprint"')
            THEN json_extract_string(l.facts, '$.system_fingerprint') END AS system_fingerprint,
        CASE WHEN contains(l.facts, '"instructions_hash"')
            THEN json_extract_string(l.facts, '$.instructions_hash') END AS instructions_hash,
        CASE WHEN contains(o.facts, '"in_progress_us"')
            THEN TRY_CAST(json_extract_string(o.facts, '$.in_progress_us') AS BIGINT) END AS queued_us,
        CASE
            WHEN s.stop_reason_raw IN ('model_context_window_exceeded', 'context_length_exceeded')
                THEN 'context_overflow'
            WHEN s.stop_reason = 'output_limit' THEN 'truncated_output'
            WHEN s.stop_reason = 'input_limit' THEN 'truncated_prompt'
            WHEN s.stop_reason IN ('content_filter', 'refusal', 'cancelled', 'expired', 'paused') THEN s.stop_reason
            WHEN s.status IN ('cancelled', 'expired') THEN s.status
            WHEN s.status = 'requires_action' OR s.stop_reason = 'tool_call' THEN 'tool_wait'
            WHEN s.status = 'completed' THEN 'completed'
            WHEN s.status = 'incomplete' THEN 'other_incomplete'
            WHEN l.http_status >= 400 THEN 'http_error'
            WHEN s.status = 'failed' THEN 'failed'
            WHEN s.ending IS NULL THEN 'in_progress'
            WHEN s.ending IN ('client_closed', 'timeout') AND s.complete IS NOT TRUE THEN 'client_abort'
            WHEN s.ending = 'connect_error' THEN 'unreachable'
            WHEN s.ending IN ('reset', 'protocol_error') AND s.complete IS NOT TRUE THEN 'upstream_cut'
            WHEN s.captured = 'truncated' THEN 'unknown'
            WHEN s.ending = 'eof' AND s.complete = FALSE THEN 'no_terminal'
            WHEN s.status = 'in_progress' THEN 'in_progress'
            ELSE 'unknown'
        END AS outcome,
        s.dialect = 'assistants' AND s.status = 'requires_action' AS waiting,
        CASE WHEN s.truncation_strategy LIKE 'last_messages%' THEN 'last_messages' ELSE s.truncation_strategy END
            AS truncation_type,
        CASE
            WHEN s.truncation_strategy LIKE 'last_messages:%' THEN TRY_CAST(substr(s.truncation_strategy, 15) AS BIGINT)
        END AS last_messages
    FROM stored_runs s
    JOIN readings l ON l.recording_id = s.latest_id
    JOIN readings o ON o.recording_id = s.run_id
) AS told
