-- B12 Is the month's budget going to last?
-- What the runs of each day (UTC) cost, the month up to that day, and where it ends if it goes on as in the last seven
-- days (`projected_usd`: the month so far, and for each day left the mean of the seven days up to this one; days
-- without runs count, those before the first run do not). With `monthly` set (USD of each slice): the share of it that
-- is spent and that is projected. The last day counts as whole: ask `--until` midnight, or it pulls the projection
-- down. Money is of the runs that have a price: the share of the others (`unpriced_share`) is spent besides; refused
-- requests cost nothing. A run counts on the day it began.
-- uses: costs
-- given: monthly DOUBLE = 0
-- chart: line day month_to_date_usd projected_usd
WITH told AS (
    SELECT
        slice,
        day,
        CAST(floor(CAST(started_at AS DOUBLE) / 86400000000) AS BIGINT) AS day_number,
        weight,
        cost_usd AS money,
        unpriced IS NOT NULL AND unpriced <> 'failed_request' AS lacks_price
    FROM asked
),
daily AS (
    SELECT
        slice,
        day,
        day_number,
        count(*) AS runs,
        sum(money * CAST(weight AS DECIMAL(18,6))) AS day_usd,
        sum(CASE WHEN lacks_price THEN weight ELSE 0 END) / sum(weight) AS unpriced_share
    FROM told
    GROUP BY slice, day, day_number
),
first_days AS (
    SELECT slice, min(day_number) AS first_number
    FROM daily
    GROUP BY slice
),
summed AS (
    SELECT
        d.slice AS slice,
        d.day AS day,
        d.runs AS runs,
        d.day_usd AS day_usd,
        d.unpriced_share AS unpriced_share,
        d.day_number - f.first_number + 1 AS days_known,
        sum(CASE
            WHEN EXTRACT(YEAR FROM e.day) = EXTRACT(YEAR FROM d.day)
                AND EXTRACT(MONTH FROM e.day) = EXTRACT(MONTH FROM d.day) THEN e.day_usd
        END) AS month_usd,
        sum(CASE WHEN e.day_number > d.day_number - 7 THEN e.day_usd END) AS week_usd
    FROM daily d
    JOIN first_days f ON f.slice = d.slice OR (f.slice IS NULL AND d.slice IS NULL)
    JOIN daily e
        ON (e.slice = d.slice OR (e.slice IS NULL AND d.slice IS NULL))
        AND e.day_number <= d.day_number
        AND e.day_number > d.day_number - 31
    GROUP BY d.slice, d.day, d.runs, d.day_usd, d.unpriced_share, d.day_number, f.first_number
),
placed AS (
    SELECT
        *,
        CASE
            WHEN EXTRACT(MONTH FROM day) IN (4, 6, 9, 11) THEN 30
            WHEN EXTRACT(MONTH FROM day) <> 2 THEN 31
            WHEN EXTRACT(YEAR FROM day) % 400 = 0 THEN 29
            WHEN EXTRACT(YEAR FROM day) % 100 = 0 THEN 28
            WHEN EXTRACT(YEAR FROM day) % 4 = 0 THEN 29
            ELSE 28
        END - EXTRACT(DAY FROM day) AS days_left,
        CASE WHEN days_known < 7 THEN days_known ELSE 7 END AS week_days
    FROM summed
),
projected AS (
    SELECT
        *,
        CASE
            WHEN month_usd IS NOT NULL OR week_usd IS NOT NULL
                THEN coalesce(CAST(month_usd AS DOUBLE), 0)
                    + coalesce(CAST(week_usd AS DOUBLE), 0) / week_days * days_left
        END AS month_end
    FROM placed
)
SELECT
    slice,
    day,
    runs,
    CAST(day_usd AS DECIMAL(38,9)) AS cost_usd,
    CAST(month_usd AS DECIMAL(38,9)) AS month_to_date_usd,
    CAST(month_end AS DECIMAL(38,2)) AS projected_usd,
    CASE WHEN monthly > 0 THEN CAST(month_usd AS DOUBLE) / monthly END AS spent_share,
    CASE WHEN monthly > 0 THEN month_end / monthly END AS projected_share,
    unpriced_share
FROM projected
CROSS JOIN given
ORDER BY slice, day
