"""The adapter to genai-prices: which provider a host is, which model a name means, and what it cost when.

The list is the one that comes with the installed package: nothing is fetched, and the same package always gives the
same price. The library is imported when the first price is looked up (a quarter of a second), not before.

Where the library would guess, this one does not: a tier that a model has no prices of is unknown (the library takes
the standard ones), a host that only begins like a provider's is none of its own, and a price that is missing is none
(the library says 0).
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
import re
from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from recorder.errors import UsageError
from recorder.prices.rates import DAY_US, EVER, KINDS, NEVER, Period, Rates

if TYPE_CHECKING:
    from genai_prices.data_snapshot import DataSnapshot
    from genai_prices.types import MatchLogic, ModelInfo, ModelPrice, PriceVariant, Provider, TieredPrices

__all__ = ["STANDARD", "Found", "everything", "find", "periods", "provider_of", "providers", "tiers", "version"]

#: What the ordinary tier is called here, whatever a provider calls it.
STANDARD: Final = "standard"

#: Where a host ends: a pattern of the list that matched only the beginning of a name has not matched it.
_ENDS: Final = re.compile(r"(?::[0-9]+)?/\Z")
#: Patterns that leave the last label open (`https://api\.moonshot\.`).
_LABEL: Final = re.compile(r"[a-z]+(?::[0-9]+)?/\Z")

#: The list has prices that once were floats, such as 0.07499999999999998.
_DIGITS: Final = Decimal("0.000000000001")

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class Found(NamedTuple):
    """A model of the list, whose price list it is in, and whether it is known by that very name."""

    provider: Provider
    owner: Provider
    model: ModelInfo
    exact: bool


@cache
def version() -> str:
    """Which list this is: the package's version, and the beginning of its data's SHA-256. Imports nothing of it."""
    spec = importlib.util.find_spec("genai_prices")
    if spec is None or spec.origin is None:
        raise UsageError("prices need genai-prices; run `pip install genai-prices`")
    data = Path(spec.origin).with_name("data.py").read_bytes()
    return f"genai-prices {importlib.metadata.version('genai-prices')} ({hashlib.sha256(data).hexdigest()[:8]})"


@cache
def _snapshot() -> DataSnapshot:
    """The package's own list, also where the program around us has loaded another."""
    from genai_prices import data
    from genai_prices.data_snapshot import DataSnapshot

    return DataSnapshot(providers=data.providers, from_auto_update=False)


def providers() -> list[str]:
    """The ids of the list's providers."""
    return [provider.id for provider in _snapshot().providers]


def provider_of(origin: str) -> str | None:
    """The id of the provider whose API is at `origin` (scheme, host, port); None where it is nobody's."""
    address = f"{origin.lower()}/"
    for provider in _snapshot().providers:
        found = re.match(provider.api_pattern, address)
        if found is None:
            continue
        rest = address[found.end() :]
        if found[0].endswith("/") or _ENDS.match(rest) or (found[0].endswith(".") and _LABEL.match(rest)):
            return provider.id
    return None


def find(provider_id: str, name: str) -> Found | None:
    """The model that the provider's list, or that of those whose models it offers, knows by this name."""
    snapshot = _snapshot()
    provider = next((each for each in snapshot.providers if each.id == provider_id), None)
    model = None if provider is None else provider.find_model(name, all_providers=snapshot.providers)
    if provider is None or model is None:
        return None
    owner = next(each for each in snapshot.providers if any(model is one for one in each.models))
    return Found(provider, owner, model, name.lower() == model.id.lower() or _named(model.match, name.lower()))


def _named(clause: MatchLogic, name: str) -> bool:
    """Whether the clause matches by the whole name."""
    from genai_prices import types

    if isinstance(clause, types.ClauseOr):
        return any(_named(each, name) for each in clause.or_)
    return isinstance(clause, types.ClauseEquals) and clause.is_match(name)


# -- prices over time ---------------------------------------------------------------------------------------------


def _context(tier: str) -> list[dict[str, str]]:
    """The contexts under which the list may have the prices of a tier."""
    if tier == STANDARD:
        return [{"service_tier": "default"}]
    return [{"service_tier": tier}, {"processing": tier}, {"speed": tier}]


def tiers(found: Found) -> list[str]:
    """The tiers that the list has prices of for the model, the standard one first."""
    named = [
        next(iter(variant.when.values()))
        for variant in _variants(found)
        if len(variant.when) == 1 and next(iter(variant.when)) in ("service_tier", "processing", "speed")
    ]
    return [STANDARD, *dict.fromkeys(name for name in named if name not in ("default", STANDARD))]


def _variants(found: Found) -> list[PriceVariant]:
    # The library ignores the tier for a model that another provider's list describes.
    return (found.model.price_variants or []) if found.owner is found.provider else []


def periods(found: Found, tier: str) -> Iterator[Period]:
    """What the model costs in the tier, over all time; nothing for times at which the tier has no prices."""
    days, times = _breaks(found)
    for since, until in zip([NEVER, *days], [*days, EVER], strict=True):
        for since_tod, until_tod in zip(times, [*times[1:], DAY_US], strict=True):
            day = days[0] - DAY_US if since == NEVER and days else max(since, 0)
            at = _EPOCH + timedelta(microseconds=day + since_tod)
            prices = _prices(found, tier, at)
            if prices is None:
                continue
            for above, upto, rates in _bands(prices):
                if not rates.empty:
                    yield Period(since, until, since_tod, until_tod, above, upto, found.owner.id, found.model.id, rates)


def _prices(found: Found, tier: str, at: datetime) -> ModelPrice | None:
    """The library's prices at that time; None where it has none of the tier."""
    for context in _context(tier):
        if any(
            variant.when == context and (variant.constraint is None or variant.constraint.active(at))
            for variant in _variants(found)
        ):
            return found.model.get_prices(at, context)
    return found.model.get_prices(at) if tier == STANDARD else None


def _breaks(found: Found) -> tuple[list[int], list[int]]:
    """When prices may change: the days (microseconds UTC), and the times of day, the first of which is 0."""
    from genai_prices import types

    prices = found.model.prices
    constraints = [each.constraint for each in prices] if isinstance(prices, list) else []
    constraints += [variant.constraint for variant in found.model.price_variants or ()]
    days: set[int] = set()
    times = {0}
    for constraint in constraints:
        if isinstance(constraint, types.StartDateConstraint):
            days.add(_day_us(constraint.start_date))
        elif constraint is not None:
            times |= {_time_us(constraint.start_time), _time_us(constraint.end_time)}
    return sorted(days), sorted(times)


def _day_us(day: date) -> int:
    return (day - _EPOCH.date()).days * DAY_US


def _time_us(value: time) -> int:
    aware = value if value.tzinfo is not None else value.replace(tzinfo=UTC)
    return (datetime.combine(_EPOCH.date(), aware) - _EPOCH) // timedelta(microseconds=1) % DAY_US


def _bands(prices: ModelPrice) -> Iterator[tuple[int, int, Rates]]:
    """The rates by size of the input: above so many tokens and up to so many, everything costs so much."""
    from genai_prices.types import TieredPrices

    given: Mapping[str, Decimal | TieredPrices] = {
        name: price for name, price in prices.__dict__.items() if price is not None
    }
    starts = sorted({tier.start for price in given.values() if isinstance(price, TieredPrices) for tier in price.tiers})
    for above, upto in zip([-1, *starts], [*starts, EVER], strict=True):
        yield above, upto, _rates({name: _at(price, above) for name, price in given.items()})


def _at(price: Decimal | TieredPrices, above: int) -> Decimal:
    if not isinstance(price, Decimal):
        price = next((tier.price for tier in reversed(price.tiers) if tier.start <= above), price.base)
    return price.quantize(_DIGITS)


def _rates(prices: Mapping[str, Decimal]) -> Rates:
    """The rates of the buckets."""
    return Rates(
        uncached=prices.get("input_mtok"),
        cached=prices.get("cache_read_mtok"),
        write=prices.get("cache_write_mtok"),
        write_5m=prices.get("cache_write_5m_mtok"),
        write_1h=prices.get("cache_write_1h_mtok"),
        output=prices.get("output_mtok"),
        reasoning=prices.get("output_reasoning_mtok"),
        request=prices.get("requests_kcount"),
        search=prices.get("web_searches_kcount"),
        apart=tuple(kind for kind in KINDS if any(f"_{kind}_" in name for name in prices)),
    ).filled()


def everything() -> Iterator[tuple[str, str, Period]]:
    """The whole list: provider, tier, and the period, which names the model."""
    for provider in _snapshot().providers:
        for model in provider.models:
            found = Found(provider, provider, model, exact=True)
            for tier in tiers(found):
                for period in periods(found, tier):
                    yield provider.id, tier, period
