"""The prices that are one's own, as the table `[prices]` of the configuration says them. Knows no list.

    [prices.providers]                     # whose prices hold at a host that no provider is known by
    "localhost:4000" = "openai"            # "*": at every host that is not known otherwise
    [prices.models]                        # what a deployment or an alias runs
    "my-deployment" = "gpt-4o-2024-08-06"
    "contoso.openai.azure.com/chat" = "gpt-4o"        # at that host alone
    [[prices.own]]                         # USD per million tokens, as text, so that no digit is lost
    host = "*.corp.example"
    model = "llama-*"
    input = "0.20"
    output = "0.60"

The first entry of `prices.own` that fits goes before the list. It fits by `host` and `model` (`*` stands for anything,
in any case), `tier` ("standard" unless said; "*" any), the UTC days `from` until before `to`, and `above`: runs of more
input tokens than that. It says one of

- `input`, `output`, and where they differ `cached`, `cache_write`, `cache_write_5m`, `cache_write_1h`, `reasoning`
  (USD per million tokens; `cached` and `cache_write` are as `input` where they are not said, `reasoning` as `output`),
  and `request` (USD per 1,000 requests). Zeros for what is paid for otherwise: provisioned capacity, a seat.
- `hour`: USD per hour that a run takes, for machines of one's own. A machine that serves several runs at a time costs
  its price divided by their number.
- `factor`: the list's price times this: a discount ("0.85") or a surcharge ("1.1", a region).
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from fnmatch import fnmatchcase
from itertools import pairwise
from typing import Any, Final, NamedTuple

from recorder.errors import UsageError
from recorder.prices.rates import DAY_US, EVER, NEVER, Period, Rates

__all__ = ["ANY", "Entry", "Own", "over", "parse"]

ANY: Final = "*"
_STANDARD: Final = "standard"

_MONEY: Final = re.compile(r"[0-9]{1,6}(?:\.[0-9]{1,12})?")
_BUCKETS: Final = ("input", "output", "cached", "cache_write", "cache_write_5m", "cache_write_1h", "reasoning")
_AMOUNTS: Final = (*_BUCKETS, "request", "hour", "factor")
_KEYS: Final = ("host", "model", "tier", "from", "to", "above", *_AMOUNTS)
_TABLES: Final = ("providers", "models", "own")
_EPOCH: Final = date(1970, 1, 1)
#: How exact a list's price times a factor is kept, in USD per million tokens.
_EXACTLY: Final = Decimal("0.000000000001")


class Entry(NamedTuple):
    """One own price. `rates` is None where `factor` says it in terms of the list's."""

    host: str
    model: str
    tier: str
    since: int
    until: int
    above: int
    rates: Rates | None
    factor: Decimal | None

    def fits(self, host: str, model: str, tier: str) -> bool:
        """Whether it is about this host, model and tier, at some time and for some size."""
        return (
            fnmatchcase(host.lower(), self.host) and fnmatchcase(model.lower(), self.model) and self.tier in (ANY, tier)
        )


class Own(NamedTuple):
    """All of the table. Hosts, patterns and names in lower case."""

    providers: Mapping[str, str] = {}
    models: Mapping[str, str] = {}
    entries: tuple[Entry, ...] = ()
    digest: str | None = None

    def provider(self, host: str) -> str | None:
        """Whose prices hold at the host, by its name before a pattern; None where nothing is said of it."""
        exact = self.providers.get(host) or self.providers.get(host.partition(":")[0])
        fitting = (name for each, name in self.providers.items() if each != ANY and fnmatchcase(host, each))
        return exact or next(fitting, None)

    @property
    def other_provider(self) -> str | None:
        """Whose prices hold at hosts that nothing else is known of (`"*"`)."""
        return self.providers.get(ANY)

    def model(self, host: str, name: str) -> str:
        """What the name stands for: at this host, else anywhere, else itself."""
        lower = name.lower()
        return self.models.get(f"{host}/{lower}") or self.models.get(lower) or name


def parse(table: Mapping[str, Any]) -> Own:
    """The table as it stands in the configuration. Raises UsageError that names the place, never the value."""
    _check(table, _TABLES, "prices")
    entries = table.get("own", [])
    if not isinstance(entries, list):
        raise UsageError("prices.own is wrong: write each own price below a line [[prices.own]]")
    digest = hashlib.sha256(json.dumps(table, sort_keys=True, default=str).encode()).hexdigest()[:8] if table else None
    return Own(
        _names(table, "providers"),
        _names(table, "models"),
        tuple(_entry(entry, f"prices.own[{place}]") for place, entry in enumerate(entries)),
        digest,
    )


def _names(table: Mapping[str, Any], name: str) -> dict[str, str]:
    names = table.get(name, {})
    if not isinstance(names, dict) or not all(isinstance(each, str) and each.strip() for each in names.values()):
        raise UsageError(f'prices.{name} is wrong: it must be a table of texts, such as "name" = "text"')
    return {key.strip().lower(): value.strip() for key, value in names.items()}


def _entry(entry: Any, where: str) -> Entry:
    _check(entry, _KEYS, where)
    amounts = {name: _money(entry[name], f"{where}.{name}") for name in _AMOUNTS if name in entry}
    kinds = [name for name in ("input", "hour", "factor") if name in amounts]
    if len(kinds) != 1 or (kinds == ["input"] and "output" not in amounts):
        raise UsageError(f"{where} is wrong: it must say `input` and `output`, or `hour`, or `factor`")
    if kinds[0] != "input" and len(amounts) > 1:
        raise UsageError(f"{where} is wrong: `{kinds[0]}` stands alone; make two entries of it, or take the rest away")
    above = entry.get("above", -1)
    if isinstance(above, bool) or not isinstance(above, int) or not -1 <= above < EVER:
        raise UsageError(f"{where}.above is wrong: it must be a number of tokens, such as 200000")
    since, until = _day(entry, "from", NEVER, where), _day(entry, "to", EVER, where)
    if since >= until:
        raise UsageError(f"{where} is wrong: `to` is the first day on which it no longer holds, after `from`")
    return Entry(
        _pattern(entry, "host", ANY, where),
        _pattern(entry, "model", ANY, where),
        _pattern(entry, "tier", _STANDARD, where),
        since,
        until,
        above,
        None if "factor" in amounts else _rates(amounts),
        amounts.get("factor"),
    )


def _rates(amounts: Mapping[str, Decimal]) -> Rates:
    return Rates(
        uncached=amounts.get("input"),
        cached=amounts.get("cached"),
        write=amounts.get("cache_write"),
        write_5m=amounts.get("cache_write_5m"),
        write_1h=amounts.get("cache_write_1h"),
        output=amounts.get("output"),
        reasoning=amounts.get("reasoning"),
        request=amounts.get("request"),
        hour=amounts.get("hour"),
    ).filled()


def _check(table: Any, names: Iterable[str], where: str) -> None:
    if not isinstance(table, Mapping):
        raise UsageError(f"{where} is wrong: it must be a table")
    unknown = next((name for name in table if name not in names), None)
    if unknown is not None:
        raise UsageError(f"{where}: key {unknown!r} is unknown; it may be {', '.join(names)}")


def _money(value: Any, where: str) -> Decimal:
    if not isinstance(value, str) or not _MONEY.fullmatch(value.strip()):
        raise UsageError(f'{where} is wrong: it must be a decimal number as text, such as "2.50"')
    return Decimal(value.strip())


def _pattern(entry: Mapping[str, Any], name: str, default: str, where: str) -> str:
    value = entry.get(name, default)
    if not isinstance(value, str) or not value.strip():
        raise UsageError(f'{where}.{name} is wrong: it must be a text, such as "gpt-4o*"')
    return value.strip().lower()


def _day(entry: Mapping[str, Any], name: str, default: int, where: str) -> int:
    value = entry.get(name)
    if value is None:
        return default
    if isinstance(value, str):
        try:
            value = date.fromisoformat(value)
        except ValueError:
            value = None
    if isinstance(value, datetime):  # a datetime is a date as well
        value = value.astimezone(UTC).date() if value.tzinfo is not None else None
    if not isinstance(value, date):
        raise UsageError(f"{where}.{name} is wrong: it must be a day, such as 2026-01-31")
    return (value - _EPOCH).days * DAY_US


# -- one's own prices before the list's --------------------------------------------------------------------------------


def over(entries: Sequence[Entry], below: Sequence[Period]) -> Iterator[Period]:
    """One's own prices, and the list's periods `below` where none of them holds. The first entry that holds counts."""
    days = _edges((NEVER, EVER), *((e.since, e.until) for e in entries), *((p.since, p.until) for p in below))
    sizes = _edges((-1, EVER), *((each.above,) for each in entries), *((each.above, each.upto) for each in below))
    times = _edges((0, DAY_US), *((each.since_tod, each.until_tod) for each in below))
    for since, until in pairwise(days):
        for above, upto in pairwise(sizes):
            entry = next((each for each in entries if each.since <= since < each.until and each.above <= above), None)
            if entry is not None and entry.rates is not None:
                yield Period(since, until, 0, DAY_US, above, upto, "own", entry.model, entry.rates)
                continue
            for since_tod, until_tod in pairwise(times):
                found = next((each for each in below if _covers(each, since, since_tod, above)), None)
                if found is not None:
                    cell = found._replace(
                        since=since, until=until, since_tod=since_tod, until_tod=until_tod, above=above, upto=upto
                    )
                    yield cell if entry is None or entry.factor is None else _times(cell, entry.factor)


def _edges(*groups: Iterable[int]) -> list[int]:
    return sorted({edge for group in groups for edge in group})


def _covers(period: Period, since: int, since_tod: int, above: int) -> bool:
    return (
        period.since <= since < period.until
        and period.since_tod <= since_tod < period.until_tod
        and period.above <= above < period.upto
    )


def _times(period: Period, factor: Decimal) -> Period:
    """The period at the list's price times the factor."""
    *amounts, apart = period.rates
    changed = [each if each is None else (each * factor).quantize(_EXACTLY) for each in amounts]
    return period._replace(provider="own", rates=Rates._make([*changed, apart]))
