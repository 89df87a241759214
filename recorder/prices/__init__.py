"""What runs cost: the price list that is installed, one's own prices before it, and what neither of them knows.

A price is that of the provider whose API the request went to, of the model that answered, in the tier that served it,
at the time of the run. Whatever of these is not known leaves the run without a price and with a reason; it is never
taken for another, and never 0. Tokens only: fees for tools (web searches, code sandboxes, storage) are not included.

    rates    what tokens cost over time, and the arithmetic of one run
    listed   the adapter to genai-prices
    own      the table `[prices]` of the configuration
    kept     what was looked up once
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any, Final, NamedTuple

from recorder.errors import UsageError
from recorder.prices import listed, own
from recorder.prices.kept import Kept
from recorder.prices.rates import (
    DAY_US,
    EVER,
    KINDS,
    MOST_TOKENS,
    Cost,
    Match,
    Period,
    Rates,
    Reason,
    Unpriced,
    Use,
    cost,
)

__all__ = [
    "DAY_US",
    "EVER",
    "KINDS",
    "MOST_TOKENS",
    "Cost",
    "Key",
    "Match",
    "Period",
    "Prices",
    "Rates",
    "Reason",
    "Unpriced",
    "Use",
    "load",
    "tier_of",
]

#: What providers call their ordinary tier (in answers: OpenAI, Anthropic, Gemini, Vertex AI, Groq), in lower case.
_ORDINARY: Final = frozenset(
    {
        "default",
        "standard",
        "on_demand",
        "service_tier_standard",
        "service_tier_unspecified",
        "traffic_type_unspecified",
    }
)
#: What asks for no particular tier.
_WHATEVER: Final = _ORDINARY | {"auto", "standard_only"}
#: Places of inference that cost what the list says (Anthropic's `inference_geo`).
_ANYWHERE: Final = frozenset({"global", "not_available"})
#: Vertex AI's traffic types, and Gemini's tiers, by the name that the list has for them.
_PREFIXES: Final = re.compile(r"(?:on_demand_|service_tier_)(?=.)")

_HOST: Final = re.compile(r"[a-z][a-z0-9+.-]*://([^/?#]+)")


class Key(NamedTuple):
    """What the rates of a run depend on, as it was recorded; any text, or nothing."""

    origin: str
    model: str | None = None
    service_tier: str | None = None
    asked_tier: str | None = None
    speed: str | None = None
    geography: str | None = None


def load(table: Mapping[str, Any] | None = None, folder: Path | None = None) -> Prices:
    """The prices with the configuration's table `prices`; `folder` is where look-ups are kept from one process to the
    next. Raises UsageError where the table is wrong or the list is not installed."""
    mine = own.parse(table or {})
    version = listed.version() if mine.digest is None else f"{listed.version()}, own prices ({mine.digest})"
    return Prices(version, mine, Kept(folder, version))


def tier_of(key: Key) -> str | None:
    """The tier that served a run, in the list's words; None where one was asked for and none was stated."""
    served = (key.service_tier or "").lower()
    if served in ("", "auto"):
        asked = (key.asked_tier or "").lower()
        if asked and asked not in _WHATEVER:
            return None
        served = listed.STANDARD
    tier = listed.STANDARD if served in _ORDINARY else _PREFIXES.sub("", served)
    speed = (key.speed or "").lower()
    if speed and speed not in _ORDINARY:
        tier = speed if tier == listed.STANDARD else f"{tier}+{speed}"
    place = (key.geography or "").lower()
    return tier if not place or place in _ANYWHERE else f"{tier}@{place}"


@dataclass(frozen=True, slots=True)
class Prices:
    """A price list with one's own prices. `version` names both; the same version always gives the same prices."""

    version: str
    _own: own.Own
    _kept: Kept

    def cost_of(self, use: Use) -> Decimal | Unpriced:
        """What a run cost in USD, exactly."""
        found = self.explain(use)
        return found if isinstance(found, Unpriced) else found.usd

    def explain(self, use: Use) -> Cost | Unpriced:
        """What a run cost, by which price, and how sure that is."""
        return cost(use, self.match(Key(*(getattr(use, name) for name in Key._fields))))

    def match(self, key: Key) -> Match | Unpriced:
        """The rates of runs of this kind, over all time; Unpriced where there are none at any."""
        return self.matches([key])[0]

    def matches(self, keys: Iterable[Key]) -> list[Match | Unpriced]:
        """The matches of many keys, kept for the next process in one go."""
        found = [self._looked_up(key) for key in keys]
        self._kept.save()
        return found

    def _looked_up(self, key: Key) -> Match | Unpriced:
        found = self._kept.get(key)
        if found is None:
            found = self._match(key)
            self._kept.put(key, found)
        return found

    def everything(self) -> Iterator[tuple[str, str, Period]]:
        """The price list without one's own: provider, tier, and the period, which names the model."""
        return listed.everything()

    def _match(self, key: Key) -> Match | Unpriced:
        if not key.model:
            return Unpriced(Reason.NO_MODEL)
        host = _host(key.origin)
        name = self._own.model(host, key.model)
        tier = tier_of(key)
        provider = self._provider(key.origin, host)
        entries = [] if tier is None else [each for each in self._own.entries if each.fits(host, name, tier)]
        base = _listed(provider, name, tier)
        if not entries:
            return base
        if isinstance(base, Unpriced):
            base = Match(provider, tier or "", (), base.reason)
        return base._replace(periods=tuple(own.over(entries, base.periods)), exact=True)

    def _provider(self, origin: str, host: str) -> str | None:
        said = self._own.provider(host)
        known = listed.provider_of(origin) if said is None else None
        if known is not None:
            return known
        said = said or self._own.other_provider
        if said is None:
            return None
        if said not in listed.providers():
            known = ", ".join(listed.providers())
            raise UsageError(f"prices.providers is wrong: the list has no such provider; it has {known}")
        return said


def _host(origin: str) -> str:
    found = _HOST.match(origin.lower())
    return found[1] if found else ""


def _listed(provider: str | None, name: str, tier: str | None) -> Match | Unpriced:
    """What the list has."""
    if provider is None:
        return Unpriced(Reason.UNKNOWN_PROVIDER)
    found = listed.find(provider, name)
    if found is None:
        return Unpriced(Reason.UNKNOWN_MODEL)
    if tier is None:
        return Unpriced(Reason.TIER_NOT_STATED)
    periods = tuple(_with_audio(each, name) for each in listed.periods(found, tier))
    if periods:
        return Match(provider, tier, periods, Reason.UNKNOWN_TIER, found.exact)
    known = tier == listed.STANDARD or tier in listed.tiers(found)
    return Unpriced(Reason.NO_TOKEN_PRICE if known else Reason.UNKNOWN_TIER)


def _with_audio(period: Period, name: str) -> Period:
    """A model that is named for audio bills it apart, also where the list takes it for another of its family."""
    apart = period.rates.apart
    if "audio" not in name.lower() or "audio" in apart:
        return period
    return period._replace(rates=period.rates._replace(apart=("audio", *apart)))
