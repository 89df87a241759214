-- T3 Which runs are truncated more than the others?
-- Of the runs that are over: the share that a token limit cut, by model, assistant, response format, whether tools were
-- called, and prompt size (in tenths of the runs, with the tokens from and to: 1 the smallest). `low_share` and
-- `high_share` are Wilson's interval at 95 %; `rest_share` is the share among all other runs of the slice of which the
-- same is known, and `lift` how many times that the share is. One row for each value, the surest excess first (by the
-- interval's lower end), at most so many of each slice; a value that all runs have is left out, as there is nothing to
-- compare with. The features overlap: a long prompt and a large model may be the same runs, and what goes together need
-- not be the cause. The prompt is all input of the run, over all of its steps.
-- among: over
-- given: at_most INTEGER = 50
-- chart: bars feature value truncated_share low_share high_share
WITH told AS (
    SELECT
        a.run_id AS run_id,
        a.slice AS slice,
        a.weight AS weight,
        CASE WHEN a.truncated THEN 1 ELSE 0 END AS cut,
        a.model AS model,
        a.assistant_id AS assistant_id,
        a.response_format AS response_format,
        f.tools_called AS tools_called,
        a.input_tokens AS input_tokens,
        sum(CASE WHEN a.input_tokens IS NULL THEN 0 ELSE a.weight END)
            OVER (PARTITION BY a.slice ORDER BY a.input_tokens) AS up_to,
        sum(CASE WHEN a.input_tokens IS NULL THEN 0 ELSE a.weight END) OVER (PARTITION BY a.slice) AS in_all
    FROM asked a
    LEFT JOIN findings f ON f.run_id = a.run_id
),
tenths AS (
    SELECT slice, weight, cut, input_tokens, CAST(ceil(10 * up_to / in_all) AS INTEGER) AS tenth
    FROM told
    WHERE input_tokens IS NOT NULL
),
bordered AS (
    SELECT
        *,
        min(input_tokens) OVER (PARTITION BY slice, tenth) AS least_tokens,
        max(input_tokens) OVER (PARTITION BY slice, tenth) AS most_tokens
    FROM tenths
),
featured AS (
    SELECT slice, weight, cut, 'model' AS feature, model AS value
    FROM told
    WHERE model IS NOT NULL
    UNION ALL
    SELECT slice, weight, cut, 'assistant', coalesce(assistant_id, 'none')
    FROM told
    UNION ALL
    SELECT slice, weight, cut, 'format', coalesce(response_format, 'none')
    FROM told
    UNION ALL
    SELECT slice, weight, cut, 'tools', CASE WHEN tools_called THEN 'called' ELSE 'not called' END
    FROM told
    WHERE tools_called IS NOT NULL
    UNION ALL
    SELECT
        slice,
        weight,
        cut,
        'prompt tenth',
        CAST(tenth AS VARCHAR) || ' (' || CAST(least_tokens AS VARCHAR) || ' to ' || CAST(most_tokens AS VARCHAR) || ')'
    FROM bordered
),
counted AS (
    SELECT
        slice,
        feature,
        value,
        count(*) AS runs,
        sum(cut) AS truncated_runs,
        sum(weight) AS value_weight,
        sum(weight * cut) AS value_cut,
        sum(weight) * sum(weight) / sum(weight * weight) AS effective,
        sum(sum(weight)) OVER (PARTITION BY slice, feature) AS all_weight,
        sum(sum(weight * cut)) OVER (PARTITION BY slice, feature) AS all_cut,
        count(*) OVER (PARTITION BY slice, feature) AS how_many
    FROM featured
    GROUP BY slice, feature, value
),
compared AS (
    SELECT
        slice,
        feature,
        value,
        runs,
        truncated_runs,
        value_cut / value_weight AS truncated_share,
        effective,
        (all_cut - value_cut) / (all_weight - value_weight) AS rest_share
    FROM counted
    WHERE how_many > 1
),
bounded AS (
    SELECT
        *,
        CASE
            WHEN truncated_share > 0 THEN (
                truncated_share + 1.9207294103470627 / effective
                - 1.959963984540054
                    * sqrt((truncated_share * (1 - truncated_share) + 0.9603647051735313 / effective) / effective)
            ) / (1 + 3.841458820694125 / effective)
            ELSE 0
        END AS low_share,
        CASE
            WHEN truncated_share < 1 THEN (
                truncated_share + 1.9207294103470627 / effective
                + 1.959963984540054
                    * sqrt((truncated_share * (1 - truncated_share) + 0.9603647051735313 / effective) / effective)
            ) / (1 + 3.841458820694125 / effective)
            ELSE 1
        END AS high_share
    FROM compared
),
placed AS (
    SELECT
        *,
        row_number() OVER (PARTITION BY slice ORDER BY low_share DESC, truncated_share DESC, feature, value) AS place
    FROM bounded
)
SELECT
    slice,
    feature,
    value,
    runs,
    truncated_runs,
    truncated_share,
    low_share,
    high_share,
    rest_share,
    truncated_share / nullif(rest_share, 0) AS lift
FROM placed, given
WHERE place <= at_most
ORDER BY slice, place
