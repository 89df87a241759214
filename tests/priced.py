"""What the tests of prices share: runs as a table, and what genai-prices itself says of a run."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from random import Random
from typing import TYPE_CHECKING, Any, Final

import genai_prices
from genai_prices import types
from genai_prices.data import providers

from recorder.prices import Use

if TYPE_CHECKING:
    import duckdb

__all__ = ["ENDS", "PROVIDERS", "fleet", "library_says", "put", "usage_of"]

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_DAY_US: Final = 86_400_000_000

#: Every provider of the list at a host of its own, as the configuration says it.
ENDS: Final = "https://{}.example"
PROVIDERS: Final = {f"{provider.id}.example": provider.id for provider in providers}

_COLUMNS: Final = {
    **dict.fromkeys(
        ("run_id", "origin", "model", "service_tier", "dialect", "parameters", "facts", "usage_quality"), "VARCHAR"
    ),
    **dict.fromkeys(
        (
            "started_at",
            "duration_us",
            "http_status",
            *(name for name in Use._fields if name.endswith("_tokens")),
        ),
        "BIGINT",
    ),
    "weight": "DOUBLE",
}


def put(connection: duckdb.DuckDBPyConnection, uses: Sequence[Use], **more: Any) -> None:
    """The runs as tables `runs` and `readings`, numbered from 0 (`run_id`); `more` goes into every row."""
    rows = [
        {
            "run_id": str(number),
            "dialect": "messages",
            "weight": 1.0,
            "parameters": json.dumps({"service_tier": use.asked_tier} if use.asked_tier is not None else {}),
            "facts": json.dumps({"evidence": {"usage": {"value": _raw(use)}}}),
            **{name: getattr(use, name) for name in _COLUMNS if name in Use._fields},
            **more,
        }
        for number, use in enumerate(uses)
    ]
    connection.execute(
        f"CREATE OR REPLACE TABLE runs AS SELECT unnest(from_json(?, '{json.dumps([_COLUMNS])}'), recursive := true)",
        [json.dumps(rows)],
    )
    connection.execute(
        "CREATE OR REPLACE TABLE readings "
        "(run_id VARCHAR, recording_id VARCHAR, origin VARCHAR, started_at BIGINT, duplicate BOOLEAN)"
    )


def _raw(use: Use) -> dict[str, Any]:
    said = {"speed": use.speed, "inference_geo": use.geography}
    return {**(use.raw or {}), **{name: value for name, value in said.items() if value is not None}}


def usage_of(use: Use) -> genai_prices.Usage:
    """The run's tokens as genai-prices counts them: what was written to a cache is also told as a whole."""
    lives = (use.cache_write_tokens, use.cache_write_5m_tokens, use.cache_write_1h_tokens)
    told = {
        "input_tokens": use.input_tokens,
        "output_tokens": use.output_tokens,
        "cache_read_tokens": use.cached_tokens,
        "cache_write_tokens": sum(life or 0 for life in lives),
        "cache_write_5m_tokens": use.cache_write_5m_tokens,
        "cache_write_1h_tokens": use.cache_write_1h_tokens,
        "output_reasoning_tokens": use.reasoning_tokens,
    }
    return genai_prices.Usage(**{name: count for name, count in told.items() if count is not None})


def library_says(use: Use, provider: str, context: Mapping[str, str]) -> Decimal:
    """What genai-prices itself says that the run cost."""
    assert use.model is not None
    return genai_prices.calc_price(
        usage_of(use),
        use.model,
        provider_id=provider,
        genai_request_timestamp=_EPOCH + timedelta(microseconds=use.started_at),
        price_context=context or None,
    ).total_price


def fleet(seed: int) -> Iterator[tuple[Use, str, dict[str, str]]]:
    """A run for each provider, model, tier, change of prices (just before and at it) and threshold (at it and above);
    with the provider and the context of the tier in genai-prices's words."""
    random = Random(seed)
    for provider in providers:
        for model in provider.models:
            if provider.find_model(model.id) is not model:
                continue  # an earlier model of the list goes by that name too
            for tier, context in _tiers(model):
                for at in _times(model, random):
                    for size in _sizes(model, random):
                        use = _use(random, ENDS.format(provider.id), model.id, tier=tier, at=at, size=size)
                        yield use, provider.id, context


def _tiers(model: types.ModelInfo) -> Iterator[tuple[str | None, dict[str, str]]]:
    yield None, {}
    for variant in model.price_variants or ():
        ((kind, name),) = variant.when.items()
        if kind in ("service_tier", "processing", "speed"):
            yield name, dict(variant.when)


def _times(model: types.ModelInfo, random: Random) -> Iterator[int]:
    yield random.randrange(1_700_000_000_000_000, 1_795_000_000_000_000)
    prices = model.prices if isinstance(model.prices, list) else []
    for constraint in [each.constraint for each in (*prices, *(model.price_variants or ()))]:
        if isinstance(constraint, types.StartDateConstraint):
            day = (constraint.start_date - _EPOCH.date()).days * _DAY_US
            yield from (day - 1, day)
        elif constraint is not None:
            for time in (constraint.start_time, constraint.end_time):
                of_day = (datetime.combine(_EPOCH.date(), time) - _EPOCH) // timedelta(microseconds=1)
                yield from (20_500 * _DAY_US + of_day - 1, 20_500 * _DAY_US + of_day)


def _sizes(model: types.ModelInfo, random: Random) -> Iterator[int]:
    yield random.randrange(100_000)
    prices = [each.prices for each in model.prices] if isinstance(model.prices, list) else [model.prices]
    tiered = [price for each in prices for price in each.__dict__.values() if isinstance(price, types.TieredPrices)]
    for start in {tier.start for price in tiered for tier in price.tiers}:
        yield from (start, start + 1)


def _use(random: Random, origin: str, model: str, *, tier: str | None, at: int, size: int) -> Use:
    cached, written, for_long = sorted(random.randrange(size + 1) for _ in range(3))
    output = random.randrange(20_000)
    return Use(
        origin=origin,
        started_at=at,
        model=model,
        service_tier=tier,
        input_tokens=size,
        output_tokens=output,
        cached_tokens=cached,
        cache_write_5m_tokens=(written - cached) // 2,
        cache_write_1h_tokens=(for_long - written) // 2,
        reasoning_tokens=random.randrange(output + 1),
        usage_quality="reported",
    )
