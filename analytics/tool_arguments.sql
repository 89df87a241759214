-- T9 Which tools are called with arguments that are cut off or broken?
-- Of the runs that called a tool, by tool: how many of them made a call whose arguments are no JSON (`damaged`), with
-- Wilson's interval at 95 % (of runs, as the calls of one run are not independent). `calls` are all calls that were
-- seen; of the damaged ones `cut_calls` would be valid had they gone on, the others (prose, a wrong comma, text behind)
-- not; `limit_runs` of the damaged runs were cut by the output limit: a larger cap would help these, and no others.
-- `cut_chars` is the median length of the damaged arguments. Calls of streams that broke off are among them
-- (`broken_runs`). Of each stream the first 64 calls are looked at; arguments that are no JSON by their nature (a
-- program, a patch) are not.
-- among: over
-- chart: bars slice tool damaged_share low_share high_share
WITH called AS (
    SELECT
        a.slice AS slice,
        coalesce(c.name, 'unknown') AS tool,
        a.run_id AS run_id,
        a.weight AS weight,
        a.outcome AS outcome,
        CASE WHEN c.valid THEN 0 ELSE 1 END AS damaged,
        CASE
            WHEN NOT c.valid AND c.damage IN (
                'in_string', 'in_number', 'in_literal', 'after_comma', 'after_key', 'after_colon', 'unclosed', 'empty'
            ) THEN 1
            ELSE 0
        END AS cut,
        CASE WHEN NOT c.valid THEN c.chars END AS chars
    FROM asked a
    JOIN calls c ON c.run_id = a.run_id
),
ranked AS (
    SELECT
        *,
        sum(CASE WHEN chars IS NULL THEN 0 ELSE weight END) OVER (PARTITION BY slice, tool ORDER BY chars) AS up_to,
        sum(CASE WHEN chars IS NULL THEN 0 ELSE weight END) OVER (PARTITION BY slice, tool) AS in_all
    FROM called
),
each_tool AS (
    SELECT
        slice,
        tool,
        count(*) AS calls,
        sum(damaged) AS damaged_calls,
        sum(cut) AS cut_calls,
        min(CASE WHEN up_to >= 0.5 * in_all THEN chars END) AS cut_chars
    FROM ranked
    GROUP BY slice, tool
),
each_run AS (
    SELECT slice, tool, run_id, max(weight) AS weight, max(outcome) AS outcome, max(damaged) AS damaged
    FROM called
    GROUP BY slice, tool, run_id
),
counted AS (
    SELECT
        slice,
        tool,
        count(*) AS runs,
        sum(damaged) AS damaged_runs,
        sum(weight * damaged) / sum(weight) AS damaged_share,
        sum(weight) * sum(weight) / sum(weight * weight) AS effective,
        sum(CASE WHEN outcome = 'truncated_output' THEN damaged ELSE 0 END) AS limit_runs,
        sum(CASE WHEN outcome IN ('client_abort', 'upstream_cut', 'no_terminal') THEN damaged ELSE 0 END) AS broken_runs
    FROM each_run
    GROUP BY slice, tool
)
SELECT
    c.slice AS slice,
    c.tool AS tool,
    c.runs AS runs,
    c.damaged_runs AS damaged_runs,
    c.damaged_share AS damaged_share,
    CASE
        WHEN c.damaged_share > 0 THEN (
            c.damaged_share + 1.9207294103470627 / effective
            - 1.959963984540054
                * sqrt((c.damaged_share * (1 - c.damaged_share) + 0.9603647051735313 / effective) / effective)
        ) / (1 + 3.841458820694125 / effective)
        ELSE 0
    END AS low_share,
    CASE
        WHEN c.damaged_share < 1 THEN (
            c.damaged_share + 1.9207294103470627 / effective
            + 1.959963984540054
                * sqrt((c.damaged_share * (1 - c.damaged_share) + 0.9603647051735313 / effective) / effective)
        ) / (1 + 3.841458820694125 / effective)
        ELSE 1
    END AS high_share,
    c.limit_runs AS limit_runs,
    c.broken_runs AS broken_runs,
    t.calls AS calls,
    t.damaged_calls AS damaged_calls,
    t.cut_calls AS cut_calls,
    t.cut_chars AS cut_chars
FROM counted c
JOIN each_tool t ON t.tool = c.tool AND (t.slice = c.slice OR (t.slice IS NULL AND c.slice IS NULL))
ORDER BY slice, damaged_share DESC, runs DESC, tool
