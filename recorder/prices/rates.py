"""What tokens cost: rates, the periods they hold for, and the arithmetic of one run. Knows no list and no database.

Money is Decimal throughout. Rates are USD per million tokens, as price lists write them.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import ROUND_HALF_UP, Decimal, localcontext
from enum import StrEnum
from typing import Any, Final, NamedTuple

from recorder.recording import Reading, UsageQuality

__all__ = [
    "DAY_US",
    "EVER",
    "KINDS",
    "MOST_TOKENS",
    "NEVER",
    "Cost",
    "Match",
    "Period",
    "Rates",
    "Reason",
    "Unpriced",
    "Use",
    "cost",
]

#: Microseconds of a day, and the ends of time: as far as a 64-bit count of them reaches.
DAY_US: Final = 86_400_000_000
NEVER: Final = -(1 << 62)
EVER: Final = 1 << 62

#: The kinds of tokens that a list may price apart.
KINDS: Final = ("audio", "image", "video", "citation")
#: No run has a million million tokens.
MOST_TOKENS: Final = 999_999_999_999

_MILLION: Final = Decimal(1_000_000)
_THOUSAND: Final = Decimal(1_000)
_HOUR_US: Final = Decimal(3_600_000_000)
#: The last digit that is kept of money. Only a price by the hour needs rounding to it.
_LEAST: Final = Decimal("0.000000000000000001")
#: More digits than any sum of ours has.
_PRECISION: Final = 60


class Reason(StrEnum):
    """Why a run has no price. The first that holds, in this order."""

    #: The request was refused (HTTP 400 or above) and no usage was stated: providers bill nothing for it.
    FAILED_REQUEST = "failed_request"
    #: Neither input nor output tokens were stated.
    NO_USAGE = "no_usage"
    NO_MODEL = "no_model"
    #: The host belongs to no provider that the list knows, and the configuration does not say whose prices it has.
    UNKNOWN_PROVIDER = "unknown_provider"
    #: The provider's list has no such model; a deployment needs an alias.
    UNKNOWN_MODEL = "unknown_model"
    #: The list has no price of that service tier for the model at that time.
    UNKNOWN_TIER = "unknown_tier"
    #: A tier was asked for, and the answer does not say which one served.
    TIER_NOT_STATED = "tier_not_stated"
    #: The usage contradicts itself (more cached than input, for one) or is beyond all bounds.
    USAGE_CONTRADICTS = "usage_contradicts"
    INPUT_UNKNOWN = "input_unknown"
    OUTPUT_UNKNOWN = "output_unknown"
    #: Billed by the hour, and the run's duration is not known.
    DURATION_UNKNOWN = "duration_unknown"
    #: The list has the model, and no price for a kind of token that was used.
    NO_TOKEN_PRICE = "no_token_price"  # noqa: S105 (a reason)
    #: Audio, image or video tokens were used, which the model bills at rates of their own.
    PRICED_APART = "priced_apart"


class Unpriced(NamedTuple):
    """That something has no price, and why."""

    reason: Reason


class Rates(NamedTuple):
    """USD per million tokens of each disjoint bucket, to 12 decimal places; None where there is no price.

    `request`: USD per 1,000 requests. `hour`: USD per hour of the run's duration. `search`: USD per 1,000 web searches,
    which are never part of a run's cost here. `apart`: kinds of tokens that have other rates: "audio", "image", …
    """

    uncached: Decimal | None = None
    cached: Decimal | None = None
    write: Decimal | None = None
    write_5m: Decimal | None = None
    write_1h: Decimal | None = None
    output: Decimal | None = None
    reasoning: Decimal | None = None
    request: Decimal | None = None
    hour: Decimal | None = None
    search: Decimal | None = None
    apart: tuple[str, ...] = ()

    def filled(self) -> Rates:
        """The rates where what has no price of its own costs what it is a part of, as price lists mean it."""
        write = self.uncached if self.write is None else self.write
        return self._replace(
            cached=self.uncached if self.cached is None else self.cached,
            write=write,
            write_5m=write if self.write_5m is None else self.write_5m,
            write_1h=write if self.write_1h is None else self.write_1h,
            reasoning=self.output if self.reasoning is None else self.reasoning,
        )

    @property
    def empty(self) -> bool:
        """Whether nothing of a run has a price."""
        return self.uncached is None and self.output is None and self.hour is None and self.request is None


class Period(NamedTuple):
    """Rates, and when they hold: from `since` until before `until` (microseconds UTC), daily from `since_tod` until
    before `until_tod` (microseconds of the day), for runs of more than `above` and at most `upto` input tokens.

    `provider` and `model` name the price's place in its list, which for an own price is `own`.
    """

    since: int
    until: int
    since_tod: int
    until_tod: int
    above: int
    upto: int
    provider: str
    model: str
    rates: Rates

    def holds(self, at: int, input_tokens: int) -> bool:
        """Whether it holds for a run that started `at` and has so much input."""
        return (
            self.since <= at < self.until
            and self.since_tod <= at % DAY_US < self.until_tod
            and self.above < input_tokens <= self.upto
        )


class Match(NamedTuple):
    """The prices of one model of one provider in one tier. Periods never overlap; between them stands `otherwise`.

    `exact` is False where the list has no such name and the model was taken for one of its family (a prefix).
    """

    provider: str | None
    tier: str
    periods: tuple[Period, ...]
    otherwise: Reason
    exact: bool = False


class Use(NamedTuple):
    """What the price of a run depends on. Tokens as in `recorder.recording.Reading`."""

    origin: str
    started_at: int
    model: str | None = None
    service_tier: str | None = None
    asked_tier: str | None = None
    speed: str | None = None
    geography: str | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    cached_tokens: int | None = None
    cache_write_tokens: int | None = None
    cache_write_5m_tokens: int | None = None
    cache_write_1h_tokens: int | None = None
    reasoning_tokens: int | None = None
    usage_quality: str | None = None
    duration_us: int | None = None
    http_status: int | None = None
    #: What the provider stated, as it stated it.
    raw: Mapping[str, Any] | None = None

    @classmethod
    def of(
        cls,
        reading: Reading,
        *,
        origin: str,
        started_at: int,
        duration_us: int | None = None,
        http_status: int | None = None,
    ) -> Use:
        """What the run that this reading stands for used. `started_at`: when its opener was sent, microseconds UTC."""
        raw = _stated(reading.facts)
        names = [name for name in cls._fields if hasattr(reading, name)]
        return cls(
            origin=origin,
            started_at=started_at,
            duration_us=duration_us,
            http_status=http_status,
            asked_tier=_text((reading.parameters or {}).get("service_tier")),
            speed=_text(raw.get("speed")),
            geography=_text(raw.get("inference_geo")),
            raw=raw,
            **{name: getattr(reading, name) for name in names},
        )


class Cost(NamedTuple):
    """What a run cost in USD, exactly.

    `bound`: "exact"; "at_least" (usage of a stream that was cut, or tokens written to a cache for an unknown time);
    "at_most" (the provider did not say what came from the cache, which costs less).
    """

    usd: Decimal
    bound: str
    period: Period


def _stated(facts: Mapping[str, Any]) -> Mapping[str, Any]:
    """The usage as the provider stated it; {} where it stated none."""
    value: Any = facts
    for name in ("evidence", "usage", "value"):
        value = value.get(name) if isinstance(value, Mapping) else None
    return value if isinstance(value, Mapping) else {}


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def cost(use: Use, match: Match | Unpriced) -> Cost | Unpriced:
    """What the run cost at these prices. The same as the table `costs` of `recorder.queries.pricing` says, by test."""
    if use.input_tokens is None and use.output_tokens is None:
        refused = use.http_status is not None and use.http_status >= 400
        return Unpriced(Reason.FAILED_REQUEST if refused else Reason.NO_USAGE)
    if isinstance(match, Unpriced):
        return match
    if not all(0 <= count <= MOST_TOKENS for count in _counts(use)):
        return Unpriced(Reason.USAGE_CONTRADICTS)
    period = next((each for each in match.periods if each.holds(use.started_at, use.input_tokens or 0)), None)
    if period is None:
        return Unpriced(match.otherwise)
    reason = _hindrance(use, period.rates)
    if reason is not None:
        return Unpriced(reason)
    with localcontext(prec=_PRECISION):
        usd = _usd(use, period.rates).quantize(_LEAST, ROUND_HALF_UP)
    return Cost(usd, _bound(use, period.rates), period)


def _usd(use: Use, rates: Rates) -> Decimal:
    tokens = sum((count * (rate or 0) for count, rate in _buckets(use, rates)), Decimal(0)) / _MILLION
    time = (rates.hour or 0) * (use.duration_us or 0) / _HOUR_US
    return tokens + (rates.request or 0) / _THOUSAND + time


def _counts(use: Use) -> list[int]:
    counts = (use.input_tokens, use.output_tokens, use.cached_tokens, use.reasoning_tokens)
    written = (use.cache_write_tokens, use.cache_write_5m_tokens, use.cache_write_1h_tokens)
    return [count for count in (*counts, *written) if count is not None]


def _buckets(use: Use, rates: Rates) -> list[tuple[int, Decimal | None]]:
    """The disjoint buckets with their rates. What is not told apart is priced as what it is a part of."""
    cached = use.cached_tokens or 0
    written = [use.cache_write_tokens or 0, use.cache_write_5m_tokens or 0, use.cache_write_1h_tokens or 0]
    reasoning = use.reasoning_tokens or 0 if rates.reasoning != rates.output else 0
    return [
        ((use.input_tokens or 0) - cached - sum(written), rates.uncached),
        (cached, rates.cached),
        *zip(written, (rates.write, rates.write_5m, rates.write_1h), strict=True),
        ((use.output_tokens or 0) - reasoning, rates.output),
        (reasoning, rates.reasoning),
    ]


def _hindrance(use: Use, rates: Rates) -> Reason | None:
    """Why these rates give no cost for this use."""
    buckets = _buckets(use, rates)
    if use.input_tokens is not None and buckets[0][0] < 0:
        return Reason.USAGE_CONTRADICTS
    if use.output_tokens is not None and buckets[5][0] < 0:
        return Reason.USAGE_CONTRADICTS
    if use.input_tokens is None:
        return Reason.INPUT_UNKNOWN
    if use.output_tokens is None and rates.output is not None:
        return Reason.OUTPUT_UNKNOWN
    if rates.hour is not None and use.duration_us is None:
        return Reason.DURATION_UNKNOWN
    if rates.hour is None and any(count > 0 and rate is None for count, rate in buckets):
        return Reason.NO_TOKEN_PRICE
    return Reason.PRICED_APART if any(_uses(use.raw, kind) for kind in rates.apart) else None


def _uses(raw: object, kind: str) -> bool:
    """Whether the stated usage counts tokens of that kind, anywhere: `audio_tokens`, `"modality": "AUDIO"`."""
    if isinstance(raw, Mapping):
        if raw.get(f"{kind}_tokens") or raw.get("modality") == kind.upper():
            return True
        return any(_uses(value, kind) for value in raw.values())
    return isinstance(raw, (list, tuple)) and any(_uses(value, kind) for value in raw)


def _bound(use: Use, rates: Rates) -> str:
    if use.usage_quality == UsageQuality.PARTIAL or (use.cache_write_tokens and rates.write != rates.write_1h):
        return "at_least"
    return "at_most" if use.cached_tokens is None and use.input_tokens and rates.cached != rates.uncached else "exact"
