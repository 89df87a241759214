-- T5 How is JSON cut off or broken, and how did these runs end?
-- Of the runs that were asked for JSON and whose answer was looked at: how many are `valid`, and what is wrong with the
-- others. `cut` JSON would be valid had it gone on: inside a string (`in_string`), a number or a literal, behind a
-- comma, a key or a colon, or only the closing brackets are missing (`unclosed`: `open_brackets` of them mend it). The
-- others no further text can mend: `garbage_after` a whole value, `malformed`, `not_json` (prose, or a Markdown fence
-- round it), `empty`. `at_chars` is where the damage is. Both are medians. The share is of all these runs; low and high
-- are Wilson's interval at 95 %. Tool arguments are another question (T9); a refusal or a call instead of an answer is
-- not judged.
-- among: over
-- needs: json_valid
-- chart: bars slice damage runs_share outcome
WITH judged AS (
    SELECT
        a.slice AS slice,
        CASE WHEN a.json_valid THEN 'valid' ELSE coalesce(a.json_damage, 'unknown') END AS damage,
        a.outcome AS outcome,
        a.weight AS weight,
        sum(a.weight) OVER (PARTITION BY a.slice) AS slice_weight,
        sum(a.weight * a.weight) OVER (PARTITION BY a.slice) AS slice_squares,
        CASE WHEN NOT a.json_valid THEN f.json_depth END AS open_count,
        CASE WHEN NOT a.json_valid THEN f.json_at END AS place
    FROM asked a
    LEFT JOIN findings f ON f.run_id = a.run_id
),
ranked AS (
    SELECT
        *,
        sum(CASE WHEN open_count IS NULL THEN 0 ELSE weight END)
            OVER (PARTITION BY slice, damage, outcome ORDER BY open_count) AS open_up_to,
        sum(CASE WHEN open_count IS NULL THEN 0 ELSE weight END)
            OVER (PARTITION BY slice, damage, outcome) AS open_in_all,
        sum(CASE WHEN place IS NULL THEN 0 ELSE weight END)
            OVER (PARTITION BY slice, damage, outcome ORDER BY place) AS place_up_to,
        sum(CASE WHEN place IS NULL THEN 0 ELSE weight END) OVER (PARTITION BY slice, damage, outcome) AS place_in_all
    FROM judged
),
counted AS (
    SELECT
        slice,
        damage,
        outcome,
        count(*) AS runs,
        sum(weight) / max(slice_weight) AS runs_share,
        max(slice_weight) * max(slice_weight) / max(slice_squares) AS effective,
        min(CASE WHEN open_up_to >= 0.5 * open_in_all THEN open_count END) AS open_brackets,
        min(CASE WHEN place_up_to >= 0.5 * place_in_all THEN place END) AS at_chars
    FROM ranked
    GROUP BY slice, damage, outcome
)
SELECT
    slice,
    damage,
    outcome,
    damage IN ('in_string', 'in_number', 'in_literal', 'after_comma', 'after_key', 'after_colon', 'unclosed') AS cut,
    runs,
    runs_share,
    CASE
        WHEN runs_share > 0 THEN (
            runs_share + 1.9207294103470627 / effective
            - 1.959963984540054
                * sqrt((runs_share * (1 - runs_share) + 0.9603647051735313 / effective) / effective)
        ) / (1 + 3.841458820694125 / effective)
        ELSE 0
    END AS low_share,
    CASE
        WHEN runs_share < 1 THEN (
            runs_share + 1.9207294103470627 / effective
            + 1.959963984540054
                * sqrt((runs_share * (1 - runs_share) + 0.9603647051735313 / effective) / effective)
        ) / (1 + 3.841458820694125 / effective)
        ELSE 1
    END AS high_share,
    open_brackets,
    at_chars
FROM counted
ORDER BY slice, CASE damage WHEN 'valid' THEN 0 ELSE 1 END, runs_share DESC, damage, outcome
