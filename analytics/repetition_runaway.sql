-- T7 How often does a model say the same over and over, and what does it cost?
-- A stretch of 2,048 characters that compresses to less than a tenth repeats itself (JSON that came to its end may: a
-- list of zeros). Of the runs that are over: how many ran away so in their text, reasoning or tool arguments
-- (`said_in`; the first one of a run), with Wilson's interval at 95 %; how many of these the output limit cut, and how
-- many went on to the end; medians of where it began (character, and time since the request of that stream) and of what
-- is repeated (`period_chars`, where it repeats exactly). `after_onset_tokens` estimates what was generated from there
-- on, by the share of the stream's events; it is at most `runaway_output_tokens`, all output of these runs.
-- among: over
-- chart: bars slice said_in runaway_share low_share high_share
WITH told AS (
    SELECT
        a.slice AS slice,
        a.weight AS weight,
        sum(a.weight) OVER (PARTITION BY a.slice) AS slice_weight,
        sum(a.weight * a.weight) OVER (PARTITION BY a.slice) AS slice_squares,
        count(*) OVER (PARTITION BY a.slice) AS slice_runs,
        coalesce(f.repetition_runaway, FALSE) AS ran_away,
        coalesce(f.repetition_of, 'unknown') AS said_in,
        CASE WHEN a.outcome = 'truncated_output' THEN 1 ELSE 0 END AS cut,
        CASE WHEN f.repetition_to_end THEN 1 ELSE 0 END AS to_end,
        a.output_tokens AS output_tokens,
        f.repetition_at AS onset,
        f.repetition_us AS onset_us,
        f.repetition_period AS period,
        a.output_tokens * f.repetition_after_share AS after_onset
    FROM asked a
    LEFT JOIN findings f ON f.run_id = a.run_id
),
ranked AS (
    SELECT
        *,
        sum(CASE WHEN onset IS NULL THEN 0 ELSE weight END)
            OVER (PARTITION BY slice, said_in ORDER BY onset) AS at_up_to,
        sum(CASE WHEN onset IS NULL THEN 0 ELSE weight END) OVER (PARTITION BY slice, said_in) AS at_in_all,
        sum(CASE WHEN onset_us IS NULL THEN 0 ELSE weight END)
            OVER (PARTITION BY slice, said_in ORDER BY onset_us) AS us_up_to,
        sum(CASE WHEN onset_us IS NULL THEN 0 ELSE weight END) OVER (PARTITION BY slice, said_in) AS us_in_all,
        sum(CASE WHEN period IS NULL THEN 0 ELSE weight END)
            OVER (PARTITION BY slice, said_in ORDER BY period) AS period_up_to,
        sum(CASE WHEN period IS NULL THEN 0 ELSE weight END) OVER (PARTITION BY slice, said_in) AS period_in_all
    FROM told
    WHERE ran_away
),
counted AS (
    SELECT
        slice,
        said_in,
        max(slice_runs) AS runs,
        count(*) AS runaway_runs,
        sum(weight) / max(slice_weight) AS runaway_share,
        max(slice_weight) * max(slice_weight) / max(slice_squares) AS effective,
        sum(weight * cut) / sum(weight) AS cut_share,
        sum(weight * to_end) / sum(weight) AS to_end_share,
        min(CASE WHEN at_up_to >= 0.5 * at_in_all THEN onset END) AS onset_chars,
        min(CASE WHEN us_up_to >= 0.5 * us_in_all THEN onset_us END) AS median_onset_us,
        min(CASE WHEN period_up_to >= 0.5 * period_in_all THEN period END) AS period_chars,
        CAST(round(sum(weight * after_onset)) AS BIGINT) AS after_onset_tokens,
        CAST(round(sum(weight * output_tokens)) AS BIGINT) AS runaway_output_tokens
    FROM ranked
    GROUP BY slice, said_in
)
SELECT
    slice,
    said_in,
    runs,
    runaway_runs,
    runaway_share,
    CASE
        WHEN runaway_share > 0 THEN (
            runaway_share + 1.9207294103470627 / effective
            - 1.959963984540054
                * sqrt((runaway_share * (1 - runaway_share) + 0.9603647051735313 / effective) / effective)
        ) / (1 + 3.841458820694125 / effective)
        ELSE 0
    END AS low_share,
    CASE
        WHEN runaway_share < 1 THEN (
            runaway_share + 1.9207294103470627 / effective
            + 1.959963984540054
                * sqrt((runaway_share * (1 - runaway_share) + 0.9603647051735313 / effective) / effective)
        ) / (1 + 3.841458820694125 / effective)
        ELSE 1
    END AS high_share,
    cut_share,
    to_end_share,
    onset_chars,
    median_onset_us AS onset_us,
    period_chars,
    after_onset_tokens,
    runaway_output_tokens
FROM counted
ORDER BY slice, runaway_share DESC, said_in
