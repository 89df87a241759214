-- T10 Which answers contradict themselves?
-- Runs of which one part says otherwise than another; there should be none, and each is worth a look. `what` names it,
-- and `meaning` says it in words: a run that completed with a message that did not, a text that is not what its pieces
-- were, a cap that was not the one that is said to have cut the run, two different endings. The reading has chosen one
-- of the two each time, so rates of outcomes rest on that choice. The newest stand first, at most so many of each
-- slice; `found_runs` and `runs_share` count all runs of the slice with this contradiction. `recorder show ID` shows a
-- run.
-- given: at_most INTEGER = 50
-- chart: table run_id what outcome
WITH told AS (
    SELECT
        a.slice AS slice,
        a.run_id AS run_id,
        a.started_at AS started_at,
        a.dialect AS dialect,
        a.model AS model,
        a.outcome AS outcome,
        a.stop_reason_raw AS stop_reason_raw,
        d.what AS what,
        a.weight AS weight
    FROM asked a
    JOIN disagreements d ON d.run_id = a.run_id
),
totals AS (
    SELECT slice, sum(weight) AS slice_weight
    FROM asked
    GROUP BY slice
),
placed AS (
    SELECT
        *,
        count(*) OVER (PARTITION BY slice, what) AS found_runs,
        sum(weight) OVER (PARTITION BY slice, what) AS found_weight,
        row_number() OVER (PARTITION BY slice ORDER BY started_at DESC, run_id, what) AS place
    FROM told
)
SELECT
    p.slice AS slice,
    p.run_id AS run_id,
    p.started_at AS started_at,
    p.dialect AS dialect,
    p.model AS model,
    p.outcome AS outcome,
    p.stop_reason_raw AS stop_reason_raw,
    p.what AS what,
    CASE p.what
        WHEN 'message' THEN 'the run completed, a message of it did not'
        WHEN 'incomplete_details' THEN 'the run completed, and says why it is incomplete'
        WHEN 'details' THEN 'the run completed, and says why it is incomplete'
        WHEN 'item' THEN 'the run completed, an item of its output did not'
        WHEN 'usage' THEN 'the usage shows another limit than the one that is named'
        WHEN 'text' THEN 'the text is not what its pieces were'
        WHEN 'arguments' THEN 'the arguments of a call are not what their pieces were'
        WHEN 'open_message' THEN 'the run completed, a message was not seen to end'
        WHEN 'open_step' THEN 'the run completed, a step was not seen to end'
        WHEN 'event_status' THEN 'an event has another name than the status in it'
        WHEN 'event_type' THEN 'an event has another name than the type in it'
        WHEN 'order' THEN 'a run that was over was told to go on'
        WHEN 'two_endings' THEN 'it ended in two different ways'
        WHEN 'error' THEN 'an error was told of an answer that did not fail'
        WHEN 'tool_calls' THEN 'the model called a tool, and says that it simply stopped'
        WHEN 'no_tool_call' THEN 'the model says that it called a tool, and did not'
        WHEN 'content_filter' THEN 'content was blocked, and the answer ended as if not'
        WHEN 'tool_use' THEN 'the model called a tool and did not stop for it, or the other way round'
        WHEN 'stop_sequence' THEN 'it stopped at a sequence that is not told, or told one without stopping for it'
        WHEN 'stop_details' THEN 'the details of the stop are of another kind of stop'
        WHEN 'two_messages' THEN 'two messages came in one answer'
        WHEN 'no_message_start' THEN 'the beginning of the message did not come'
        WHEN 'block_not_started' THEN 'the beginning of a content block did not come'
        WHEN 'block_started_twice' THEN 'a content block began twice'
        WHEN 'block_not_ended' THEN 'the message came to its end, a content block did not'
        ELSE 'see what was read of the run'
    END AS meaning,
    p.found_runs AS found_runs,
    p.found_weight / t.slice_weight AS runs_share
FROM placed p
JOIN totals t ON t.slice = p.slice OR (t.slice IS NULL AND p.slice IS NULL)
CROSS JOIN given g
WHERE p.place <= g.at_most
ORDER BY slice, place
