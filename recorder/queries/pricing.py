"""What each run cost, in DuckDB: the tables `costs` and `prices`, and an `invoice` to compare them with.

Only the distinct combinations of origin, model and tier are looked up in `recorder.prices`; the rest is one join by
time and size of the input, in DuckDB. Money is DECIMAL from end to end. It makes temporary tables on any connection
that has `runs`, also on a locked one, and refuses to know what is asked of them.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import date
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from recorder import prices as price_lists
from recorder.errors import UsageError
from recorder.prices import Key, Match, Period, Prices, Unpriced

if TYPE_CHECKING:
    import duckdb

__all__ = ["install", "invoice"]

#: USD per million tokens; USD per one, which is as exact; and sums of money. Nothing of it is ever rounded, which would
#: also cost more than all of the arithmetic. (Rates of 18 digits would do, but DuckDB multiplies these in 64 bits.)
_RATE: Final = "DECIMAL(25,12)"
_SMALL: Final = "DECIMAL(25,18)"
_MONEY: Final = "DECIMAL(38,18)"
_BILLED: Final = "DECIMAL(38,12)"

#: The column of `prices` for each of `recorder.prices.Rates`, in their order; `apart` is a text there.
_RATES: Final = (
    "input_usd_per_mtok",
    "cache_read_usd_per_mtok",
    "cache_write_usd_per_mtok",
    "cache_write_5m_usd_per_mtok",
    "cache_write_1h_usd_per_mtok",
    "output_usd_per_mtok",
    "reasoning_usd_per_mtok",
    "request_usd_per_1000",
    "usd_per_hour",
    "web_search_usd_per_1000",
)
#: The first of these, per token.
_TOKEN_RATES: Final = (
    "input_rate",
    "read_rate",
    "write_rate",
    "write_5m_rate",
    "write_1h_rate",
    "output_rate",
    "reasoning_rate",
)
#: When and for what size of the input a price holds: `Period`'s first fields.
_EXTENT: Final = ("since_us", "until_us", "since_tod_us", "until_tod_us", "above_tokens", "upto_tokens")


def install(
    connection: duckdb.DuckDBPyConnection,
    prices: Mapping[str, Any] | Prices | None = None,
    folder: Path | None = None,
    *,
    whole: bool = False,
) -> str:
    """Make the temporary table `costs` of the runs on the connection, and with `whole` the table `prices`.

    `prices` is the configuration's table of that name, or what `recorder.prices.load` made of it; what is looked up is
    kept in `folder` for the next time. Returns the version of the prices, which belongs to every answer.

    `costs` has a row for each run: `cost_usd`, NULL where `unpriced` says why; its parts; `cost_bound` (exact,
    at_least, at_most: see `recorder.prices.Cost`); `least_usd`: what is known to be spent even where the whole is not;
    `cache_saved_usd`, what the tokens from a cache would have cost more without it, and `cache_premium_usd`, what
    writing to it cost more; and the price's place. `prices` has the whole list, and one's own prices that runs have.

    Raises UsageError where the table is wrong or the list is not installed.
    """
    lists = prices if isinstance(prices, Prices) else price_lists.load(prices, folder)
    if not _is_there(connection, lists.version):
        _make_costs(connection, lists)
    if whole:
        _make_prices(connection, lists)
    return lists.version


def _is_there(connection: duckdb.DuckDBPyConnection, version: str) -> bool:
    """Whether `costs` is already that of these runs at these prices: a connection shows one moment of its store."""
    import duckdb

    try:
        found = connection.execute("SELECT price_list, runs, (SELECT count(*) FROM runs) FROM temp._priced").fetchone()
    except duckdb.CatalogException:
        return False
    return found is not None and found[0] == version and found[1] == found[2]


def _make_costs(connection: duckdb.DuckDBPyConnection, lists: Prices) -> None:
    connection.execute(_KEYED)
    found = connection.execute(
        "SELECT DISTINCT origin, model, service_tier, asked_tier, speed, geography FROM keyed ORDER BY ALL"
    ).fetchall()
    keys = [Key(*row) for row in found]
    matches = lists.matches(keys)
    numbered = list(enumerate(zip(keys, matches, strict=True)))
    _load(connection, "looked_up", _LOOKED_UP, (_looked_up(number, *pair) for number, pair in numbered))
    rates = ({"key": number, **row} for number, (_, match) in numbered for row in _rows(match))
    _load(connection, "_rates", {"key": "BIGINT", **_ROW}, rates)
    connection.execute(_NUMBERED)
    connection.execute(_COSTS, {"price_list": lists.version})
    for name in ("keyed", "looked_up", "rates"):
        connection.execute(f"DROP TABLE temp.{name}")
    connection.execute(
        "CREATE OR REPLACE TEMP TABLE _priced AS SELECT CAST(? AS VARCHAR) AS price_list, count(*) AS runs FROM runs",
        [lists.version],
    )


def _make_prices(connection: duckdb.DuckDBPyConnection, lists: Prices) -> None:
    everything = (_row(provider, tier, period) for provider, tier, period in lists.everything())
    _load(connection, "listed", _ROW, everything)
    connection.execute(_PRICES, {"price_list": lists.version})
    connection.execute("DROP TABLE temp.listed")


# -- from Python to DuckDB ------------------------------------------------------------------------------------------

_LOOKED_UP: Final = {
    "key": "BIGINT",
    **dict.fromkeys(Key._fields, "VARCHAR"),
    **dict.fromkeys(("provider", "tier", "otherwise"), "VARCHAR"),
    "exact_model": "BOOLEAN",
}
_ROW: Final = {
    **dict.fromkeys(("provider", "tier", "matched_provider", "matched_model", "apart"), "VARCHAR"),
    **dict.fromkeys(_EXTENT, "BIGINT"),
    **dict.fromkeys(_RATES, "VARCHAR"),
}


def _looked_up(number: int, key: Key, match: Match | Unpriced) -> dict[str, Any]:
    found = {"key": number, **key._asdict()}
    if isinstance(match, Unpriced):
        return {**found, "otherwise": match.reason}
    return {
        **found,
        "provider": match.provider,
        "tier": match.tier,
        "otherwise": match.otherwise,
        "exact_model": match.exact,
    }


def _rows(match: Match | Unpriced) -> Iterator[dict[str, Any]]:
    if isinstance(match, Match):
        yield from (_row(match.provider, match.tier, period) for period in match.periods)


def _row(provider: str | None, tier: str, period: Period) -> dict[str, Any]:
    *rates, apart = period.rates
    return {
        "provider": provider,
        "tier": tier,
        "matched_provider": period.provider,
        "matched_model": period.model,
        "apart": "|".join(apart),
        **dict(zip(_EXTENT, period, strict=False)),
        **{name: None if rate is None else str(rate) for name, rate in zip(_RATES, rates, strict=True)},
    }


def _load(
    connection: duckdb.DuckDBPyConnection, name: str, columns: Mapping[str, str], rows: Iterable[Mapping[str, Any]]
) -> None:
    """A temporary table of rows: as one JSON text, because row by row takes a second for a thousand."""
    shape = json.dumps([dict(columns)])
    connection.execute(
        f"CREATE OR REPLACE TEMP TABLE {name} AS SELECT unnest(from_json(?, '{shape}'), recursive := true)",
        [json.dumps(list(rows))],
    )


# -- the statements -------------------------------------------------------------------------------------------------

_COUNTS: Final = (
    "input_tokens",
    "output_tokens",
    "cached_tokens",
    "cache_write_tokens",
    "cache_write_5m_tokens",
    "cache_write_1h_tokens",
    "reasoning_tokens",
)
_MOST: Final = price_lists.MOST_TOKENS
_ALL_SANE: Final = " AND ".join(f"coalesce({name}, 0) BETWEEN 0 AND {_MOST}" for name in _COUNTS)
_USAGE: Final = "'$.evidence.usage.value"

#: What the price of each run depends on. A count that nobody can believe becomes NULL, and the run `odd`. Of an
#: exchange that was recorded more than once the innermost record tells to whom it went: the others went to a proxy.
_KEYED: Final = f"""
CREATE OR REPLACE TEMP TABLE keyed AS
SELECT
    r.run_id AS run_id, started_at, started_at % {price_lists.DAY_US} AS time_of_day_us,
    coalesce(n.origin, r.origin) AS origin, model, service_tier,
    CASE WHEN contains(parameters, '"service_tier"') THEN json_extract_string(parameters, '$.service_tier') END
        AS asked_tier,
    CASE WHEN dialect = 'messages' AND contains(facts, '"speed"') THEN json_extract_string(facts, {_USAGE}.speed') END
        AS speed,
    CASE
        WHEN dialect = 'messages' AND contains(facts, '"inference_geo"')
            THEN json_extract_string(facts, {_USAGE}.inference_geo')
    END AS geography,
    {", ".join(f"CASE WHEN {name} BETWEEN 0 AND {_MOST} THEN {name} END AS {name}" for name in _COUNTS)},
    NOT ({_ALL_SANE}) AS odd,
    input_tokens IS NULL AND output_tokens IS NULL AS silent,
    coalesce(http_status >= 400, FALSE) AS refused,
    CASE WHEN duration_us BETWEEN 0 AND {_MOST} THEN duration_us END AS duration_us,
    usage_quality, facts
FROM runs r
LEFT JOIN (
    SELECT run_id, origin, row_number() OVER (PARTITION BY run_id ORDER BY started_at DESC, recording_id DESC) AS place
    FROM readings
    WHERE duplicate
) n ON n.run_id = r.run_id AND n.place = 1
"""  # noqa: S608


def _usd(count: str, rate: str) -> str:
    """So many tokens at a rate, exactly."""
    return f"CAST({count} AS DECIMAL(13,0)) * coalesce({rate}, 0)"


#: The rates as numbers: as a list says them, and per token.
_NUMBERED: Final = f"""
CREATE OR REPLACE TEMP TABLE rates AS
SELECT
    * EXCLUDE ({", ".join(_RATES)}),
    {", ".join(f"CAST({name} AS {_RATE}) AS {name}" for name in _RATES)},
    {
    ", ".join(
        f"CAST(CAST({told} AS {_RATE}) * CAST('0.000001' AS DECIMAL(7,6)) AS {_SMALL}) AS {name}"
        for name, told in zip(_TOKEN_RATES, _RATES, strict=False)
    )
}
FROM _rates
"""  # noqa: S608

_SAVED: Final = _usd("cached", "input_rate - read_rate")
_WRITTEN: Final = " + ".join(_usd(name, f"{name}_rate") for name in ("write", "write_5m", "write_1h"))
_PREMIUM: Final = f"{_WRITTEN} - {_usd('written', 'input_rate')}"
#: In whole numbers of 10^-18 USD: DuckDB divides no decimals without making them floats.
_TIME: Final = """CAST((CAST(usd_per_hour * 1000000000000 AS HUGEINT) * duration_us * 1000000 + 1800000000)
    // 3600000000 AS DECIMAL(38,0)) * CAST('0.000000000000000001' AS DECIMAL(18,18))"""
#: One constant pattern for each kind: one made of a column would be compiled for each row.
_APART: Final = " OR ".join(
    f"""(contains(apart, '{kind}') AND regexp_matches(
        coalesce(facts, ''), '"{kind}_tokens"\\s*:\\s*[1-9]|"modality"\\s*:\\s*"{kind.upper()}"'))"""
    for kind in price_lists.KINDS
)

_COSTS: Final = f"""
CREATE OR REPLACE TEMP TABLE costs AS
WITH joined AS (
    SELECT
        k.*, l.tier, l.otherwise, l.exact_model, r.key IS NOT NULL AS priced,
        r.matched_provider, r.matched_model, r.apart,
        {", ".join(f"r.{name}" for name in (*_RATES, *_TOKEN_RATES))},
        coalesce(k.cached_tokens, 0) AS cached,
        coalesce(k.cache_write_tokens, 0) AS write,
        coalesce(k.cache_write_5m_tokens, 0) AS write_5m,
        coalesce(k.cache_write_1h_tokens, 0) AS write_1h
    FROM keyed k
    JOIN looked_up l
        ON l.origin = k.origin AND l.model IS NOT DISTINCT FROM k.model
        AND l.service_tier IS NOT DISTINCT FROM k.service_tier AND l.asked_tier IS NOT DISTINCT FROM k.asked_tier
        AND l.speed IS NOT DISTINCT FROM k.speed AND l.geography IS NOT DISTINCT FROM k.geography
    LEFT JOIN rates r
        ON r.key = l.key
        AND k.started_at >= r.since_us AND k.started_at < r.until_us
        AND k.time_of_day_us >= r.since_tod_us AND k.time_of_day_us < r.until_tod_us
        AND coalesce(k.input_tokens, 0) > r.above_tokens AND coalesce(k.input_tokens, 0) <= r.upto_tokens
), counted AS (
    SELECT
        *,
        write + write_5m + write_1h AS written,
        input_tokens - cached - write - write_5m - write_1h AS uncached,
        CASE WHEN reasoning_rate IS DISTINCT FROM output_rate THEN coalesce(reasoning_tokens, 0)
            ELSE 0 END AS reasoned_apart
    FROM joined
), judged AS (
    SELECT
        *,
        output_tokens - reasoned_apart AS plain_output,
        CASE
            WHEN silent AND refused THEN 'failed_request'
            WHEN silent THEN 'no_usage'
            WHEN NOT priced AND tier IS NULL THEN otherwise
            WHEN odd THEN 'usage_contradicts'
            WHEN NOT priced THEN otherwise
            WHEN uncached < 0 OR reasoned_apart > output_tokens THEN 'usage_contradicts'
            WHEN input_tokens IS NULL THEN 'input_unknown'
            WHEN output_tokens IS NULL AND output_rate IS NOT NULL THEN 'output_unknown'
            WHEN usd_per_hour IS NOT NULL THEN CASE WHEN duration_us IS NULL THEN 'duration_unknown' END
            WHEN (uncached > 0 AND input_rate IS NULL) OR (cached > 0 AND read_rate IS NULL)
                OR (write > 0 AND write_rate IS NULL)
                OR (write_5m > 0 AND write_5m_rate IS NULL)
                OR (write_1h > 0 AND write_1h_rate IS NULL)
                OR (output_tokens - reasoned_apart > 0 AND output_rate IS NULL)
                OR (reasoned_apart > 0 AND reasoning_rate IS NULL) THEN 'no_token_price'
            WHEN CASE WHEN apart <> '' THEN {_APART} END THEN 'priced_apart'
        END AS unpriced
    FROM counted
), parts AS (
    SELECT
        *,
        {_usd("uncached", "input_rate")} AS uncached_part,
        {_usd("cached", "read_rate")} AS read_part,
        {_WRITTEN} AS write_part,
        {_usd("plain_output", "output_rate")}
            + {_usd("reasoned_apart", "reasoning_rate")} AS output_part,
        {_usd("reasoning_tokens", "reasoning_rate")} AS reasoning_part,
        coalesce(request_usd_per_1000, 0) * CAST('0.001' AS DECIMAL(4,3)) AS request_part,
        coalesce({_TIME}, 0) AS time_part,
        unpriced IS NULL AS whole,
        coalesce(unpriced, '') IN ('', 'input_unknown', 'output_unknown') AND priced AS partly
    FROM judged
)
SELECT
    run_id,
    CAST(CASE WHEN whole THEN uncached_part + read_part + write_part + coalesce(output_part, 0)
        + request_part + time_part END AS {_MONEY}) AS cost_usd,
    CAST(CASE WHEN partly THEN uncached_part END AS {_MONEY}) AS uncached_usd,
    CAST(CASE WHEN partly THEN read_part END AS {_MONEY}) AS cache_read_usd,
    CAST(CASE WHEN partly THEN write_part END AS {_MONEY}) AS cache_write_usd,
    CAST(CASE WHEN partly THEN output_part END AS {_MONEY}) AS output_usd,
    CAST(CASE WHEN partly THEN reasoning_part END AS {_MONEY}) AS reasoning_usd,
    CAST(CASE WHEN whole THEN request_part END AS {_MONEY}) AS request_usd,
    CAST(CASE WHEN whole THEN time_part END AS {_MONEY}) AS time_usd,
    CAST(CASE WHEN partly THEN coalesce(uncached_part, 0) + read_part + write_part + coalesce(output_part, 0)
        + request_part + time_part END AS {_MONEY}) AS least_usd,
    CAST(CASE WHEN partly THEN {_SAVED} END AS {_MONEY}) AS cache_saved_usd,
    CAST(CASE WHEN partly THEN {_PREMIUM} END AS {_MONEY}) AS cache_premium_usd,
    CASE
        WHEN NOT whole THEN NULL
        WHEN usage_quality = 'partial' OR (write > 0
            AND write_rate IS DISTINCT FROM write_1h_rate) THEN 'at_least'
        WHEN cached_tokens IS NULL AND input_tokens > 0
            AND read_rate IS DISTINCT FROM input_rate THEN 'at_most'
        ELSE 'exact'
    END AS cost_bound,
    unpriced,
    tier,
    asked_tier,
    matched_provider,
    matched_model,
    exact_model,
    input_usd_per_mtok,
    cache_read_usd_per_mtok,
    output_usd_per_mtok,
    web_search_usd_per_1000,
    CAST($price_list AS VARCHAR) AS price_list
FROM parts
"""  # noqa: S608

_PRICES: Final = f"""
CREATE OR REPLACE TEMP TABLE prices AS
SELECT
    matched_provider AS provider, matched_model AS model, tier,
    CASE WHEN since_us > 0 THEN CAST(make_timestamp(since_us) AS DATE) END AS valid_from,
    CASE WHEN until_us < {price_lists.EVER} THEN CAST(make_timestamp(until_us) AS DATE) END AS valid_until,
    {", ".join(_EXTENT)},
    {", ".join(f"CAST({name} AS {_RATE}) AS {name}" for name in _RATES)},
    apart AS priced_apart,
    CAST($price_list AS VARCHAR) AS price_list
FROM (SELECT * FROM listed UNION SELECT * EXCLUDE (key) FROM _rates WHERE matched_provider = 'own')
"""  # noqa: S608


# -- an invoice -----------------------------------------------------------------------------------------------------

_AMOUNT: Final = re.compile(r"[+-]?[0-9]*\.?[0-9]+(?:[eE][+-]?[0-9]{1,2})?")
_INVOICE: Final = ("day", "model", "billed_usd")
_LONGEST: Final = 200


def invoice(connection: duckdb.DuckDBPyConnection, path: Path, columns: Mapping[str, str] | None = None) -> None:
    """Make the temporary table `invoice` (day DATE, model VARCHAR, billed_usd DECIMAL(38,12)) of a CSV file.

    `columns` names the file's columns for `day`, `model` and `billed_usd`, where they are called otherwise. Days are
    ISO 8601, also with a time behind; amounts are USD, `$` and commas between thousands allowed. A file without a
    column for models is taken as a whole: then `model` is NULL.

    Raises UsageError where a column is missing or a line cannot be read: it names the line, never what is in it.
    """
    names = {name: name for name in _INVOICE} | dict(columns or {})
    unknown = next((name for name in names if name not in _INVOICE), None)
    if unknown is not None:
        raise UsageError(f"an invoice has no {unknown!r}: name the columns for {', '.join(_INVOICE)}")
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = list(_billed(csv.DictReader(file), names, path, asked=columns or {}))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"{path} cannot be read: {type(error).__name__}; give a readable CSV file in UTF-8") from None
    _load(connection, "billed", {"day": "VARCHAR", "model": "VARCHAR", "billed_usd": "VARCHAR"}, rows)
    connection.execute(
        f"CREATE OR REPLACE TEMP TABLE invoice AS SELECT CAST(day AS DATE) AS day, model, "  # noqa: S608
        f"CAST(billed_usd AS {_BILLED}) AS billed_usd FROM billed"
    )
    connection.execute("DROP TABLE temp.billed")


def _billed(
    lines: csv.DictReader[str], names: Mapping[str, str], path: Path, *, asked: Mapping[str, str]
) -> Iterator[dict[str, str | None]]:
    there = lines.fieldnames or []
    for name in ("day", "billed_usd", *(["model"] if "model" in asked else [])):
        if names[name] not in there:
            raise UsageError(
                f"{path} has no column {names[name]!r}; say which is its {name} with {name}=COLUMN: it has "
                f"{', '.join(there)[:_LONGEST] or 'none'}"
            )
    for line in lines:
        where = f"{path}, line {lines.line_num}"
        amount = (line[names["billed_usd"]] or "").strip().lstrip("$").replace(",", "")
        day = (line[names["day"]] or "").strip()[:10]
        if not amount and not day:
            continue
        model = (line.get(names["model"]) or "").strip() or None
        yield {"day": _day(day, where), "model": model, "billed_usd": _amount(amount, where)}


def _day(text: str, where: str) -> str:
    try:
        return date.fromisoformat(text).isoformat()
    except ValueError:
        raise UsageError(f"{where}: the day must begin as 2026-01-31 does") from None


def _amount(text: str, where: str) -> str:
    try:
        value = Decimal(text) if _AMOUNT.fullmatch(text) else None
    except InvalidOperation:
        value = None
    if value is None or not abs(value) < Decimal(10) ** 20:
        raise UsageError(f"{where}: the amount must be a number of USD, such as 12.50")
    return format(value, "f")
