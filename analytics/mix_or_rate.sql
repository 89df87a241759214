-- D6 Did truncation change because each part changed, or because the mix did?
-- Of the runs that are over: the change of the truncation rate between before and after a moment (`at`; the middle of the
-- runs' time unless it is set), taken apart (Kitagawa 1955): `rate_change` is what the parts' own rates did, weighted by
-- their mean share of the runs; `mix_change` what their shares did, weighted by their mean rate. Give the parts with
-- --by, such as --by assistant. The two sums of all rows are the whole change. A part that is there on one side alone
-- changed the mix.
-- among: over
-- given: at MOMENT = NULL
-- chart: bars slice change_share
WITH split AS (
    SELECT coalesce(max(g.at), (min(a.started_at) + max(a.started_at)) / 2) AS moment
    FROM asked a
    CROSS JOIN given g
),
parts AS (
    SELECT
        a.slice AS slice,
        sum(CASE WHEN a.started_at < s.moment THEN 1 ELSE 0 END) AS runs_before,
        sum(CASE WHEN a.started_at < s.moment THEN 0 ELSE 1 END) AS runs_after,
        sum(CASE WHEN a.started_at < s.moment THEN a.weight ELSE 0 END) AS weight_before,
        sum(CASE WHEN a.started_at < s.moment THEN 0 ELSE a.weight END) AS weight_after,
        sum(CASE WHEN a.started_at < s.moment AND a.truncated THEN a.weight ELSE 0 END) AS cut_before,
        sum(CASE WHEN a.started_at >= s.moment AND a.truncated THEN a.weight ELSE 0 END) AS cut_after
    FROM asked a
    CROSS JOIN split s
    GROUP BY a.slice
),
shares AS (
    SELECT
        slice,
        runs_before,
        runs_after,
        weight_before / nullif(sum(weight_before) OVER (), 0) AS part_before,
        weight_after / nullif(sum(weight_after) OVER (), 0) AS part_after,
        CASE WHEN weight_before > 0 THEN cut_before / weight_before END AS rate_before,
        CASE WHEN weight_after > 0 THEN cut_after / weight_after END AS rate_after
    FROM parts
),
known AS (
    -- The rate of a part that is not there on one side is that of the other: then all of its change is mix.
    SELECT
        slice,
        runs_before,
        runs_after,
        part_before,
        part_after,
        rate_before,
        rate_after,
        coalesce(rate_before, rate_after) AS first_rate,
        coalesce(rate_after, rate_before) AS second_rate
    FROM shares
)
SELECT
    slice,
    runs_before,
    runs_after,
    part_before AS mix_before_share,
    part_after AS mix_after_share,
    rate_before AS rate_before_share,
    rate_after AS rate_after_share,
    (second_rate - first_rate) * (part_before + part_after) / 2 AS rate_change_share,
    (part_after - part_before) * (first_rate + second_rate) / 2 AS mix_change_share,
    (second_rate - first_rate) * (part_before + part_after) / 2
        + (part_after - part_before) * (first_rate + second_rate) / 2 AS change_share
FROM known
ORDER BY abs(coalesce((second_rate - first_rate) * (part_before + part_after) / 2
    + (part_after - part_before) * (first_rate + second_rate) / 2, 0)) DESC, slice
