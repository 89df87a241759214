-- T6 How often does whitespace run away, when does it begin, and what does it cost?
-- A model in JSON mode may write blanks and line breaks until its token limit. It counts as a runaway from 64
-- characters of whitespace in a row outside the strings of a JSON answer or at any text's end, from 256 elsewhere, or
-- from 20 pieces of the stream in a row that hold nothing else (indentation is none). Of the runs of each response
-- format: how many ran away, with Wilson's interval at 95 %; how many of these the output limit cut; where it began
-- (median character and median time since the request of that stream). `after_onset_tokens` estimates what was
-- generated from there on, by the share of the stream's events; it is at most `runaway_output_tokens`, all output of
-- these runs, and stands as a share of all output of the format. `not_told_runs` asked for `json_object` without the
-- word JSON in any message, which brings this about; that is known only where the request held all that the model was
-- told. `--where` finds the runs: `flags LIKE '%whitespace_runaway%'`.
-- among: over
-- chart: bars slice format runaway_share low_share high_share
-- default
WITH told AS (
    SELECT
        a.slice AS slice,
        coalesce(a.response_format, 'none') AS format,
        a.weight AS weight,
        CASE WHEN coalesce(f.whitespace_runaway, FALSE) THEN 1 ELSE 0 END AS ran_away,
        CASE WHEN coalesce(f.json_not_asked_for, FALSE) THEN 1 ELSE 0 END AS not_told,
        CASE WHEN a.outcome = 'truncated_output' THEN 1 ELSE 0 END AS cut,
        a.output_tokens AS output_tokens,
        f.whitespace_at AS onset,
        f.whitespace_us AS onset_us,
        a.output_tokens * f.whitespace_after_share AS after_onset
    FROM asked a
    LEFT JOIN findings f ON f.run_id = a.run_id
),
ranked AS (
    SELECT
        *,
        sum(CASE WHEN onset IS NULL THEN 0 ELSE weight END)
            OVER (PARTITION BY slice, format ORDER BY onset) AS at_up_to,
        sum(CASE WHEN onset IS NULL THEN 0 ELSE weight END) OVER (PARTITION BY slice, format) AS at_in_all,
        sum(CASE WHEN onset_us IS NULL THEN 0 ELSE weight END)
            OVER (PARTITION BY slice, format ORDER BY onset_us) AS us_up_to,
        sum(CASE WHEN onset_us IS NULL THEN 0 ELSE weight END) OVER (PARTITION BY slice, format) AS us_in_all
    FROM told
),
counted AS (
    SELECT
        slice,
        format,
        count(*) AS runs,
        sum(ran_away) AS runaway_runs,
        sum(weight * ran_away) / sum(weight) AS runaway_share,
        sum(weight) * sum(weight) / sum(weight * weight) AS effective,
        sum(weight * ran_away * cut) / nullif(sum(weight * ran_away), 0) AS cut_share,
        min(CASE WHEN at_up_to >= 0.5 * at_in_all THEN onset END) AS onset_chars,
        min(CASE WHEN us_up_to >= 0.5 * us_in_all THEN onset_us END) AS median_onset_us,
        sum(weight * after_onset) AS after_sum,
        sum(CASE WHEN ran_away = 1 THEN weight * output_tokens END) AS runaway_sum,
        sum(weight * output_tokens) AS output_sum,
        sum(not_told) AS not_told_runs,
        sum(not_told * ran_away) AS not_told_runaway_runs
    FROM ranked
    GROUP BY slice, format
)
SELECT
    slice,
    format,
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
    onset_chars,
    median_onset_us AS onset_us,
    CAST(round(after_sum) AS BIGINT) AS after_onset_tokens,
    after_sum / nullif(output_sum, 0) AS after_onset_share,
    CAST(round(runaway_sum) AS BIGINT) AS runaway_output_tokens,
    not_told_runs,
    not_told_runaway_runs
FROM counted
ORDER BY slice, runaway_share DESC, runs DESC, format
