"""One's own prices: what goes before the list, when, and for whom; and what is wrong with a table."""

from __future__ import annotations

import tomllib
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from recorder import config, prices
from recorder.errors import UsageError
from recorder.prices import Reason, Unpriced
from tests.test_prices import AZURE, LIST, OPENAI, a_use, own

THREE: dict[str, Any] = {"input": "1", "output": "10"}


def at(*day: int) -> int:
    year, month, of_month, hour = (*day, 0)[:4]
    return round(datetime(year, month, of_month, hour, tzinfo=UTC).timestamp()) * 1_000_000


def test_an_alias_says_what_a_deployment_runs() -> None:
    lists = prices.load({"models": {"my-deployment": "gpt-4o", "other.openai.azure.com/chat": "gpt-4.1"}})
    assert lists.cost_of(a_use(origin=AZURE, model="My-Deployment")) == LIST.cost_of(a_use(origin=AZURE))
    assert lists.cost_of(a_use(origin=AZURE, model="chat")) == Unpriced(Reason.UNKNOWN_MODEL)
    other = "https://other.openai.azure.com"
    assert lists.cost_of(a_use(origin=other, model="chat")) == LIST.cost_of(a_use(origin=other, model="gpt-4.1"))


@pytest.mark.parametrize("host", ["localhost:4000", "localhost", "*.example", "LocalHost:4000"])
def test_a_host_may_be_told_whose_prices_it_has(host: str) -> None:
    origin = "http://gate.example" if host.startswith("*") else "http://localhost:4000"
    lists = prices.load({"providers": {host: "openai"}})
    assert lists.cost_of(a_use(origin=origin)) == LIST.cost_of(a_use())


@pytest.mark.parametrize("origin", ["null", "", "http://anything"])
def test_a_star_is_any_host_that_is_not_known_otherwise(origin: str) -> None:
    lists = prices.load({"providers": {"*": "openai", "gate": "azure"}})
    assert lists.cost_of(a_use(origin=origin)) == LIST.cost_of(a_use())
    assert lists.cost_of(a_use(origin="http://gate")) == LIST.cost_of(a_use(origin=AZURE))
    listed = a_use(origin="https://api.anthropic.com", model="claude-sonnet-4-5")
    assert lists.cost_of(listed) == LIST.cost_of(listed)


def test_ones_own_price_goes_before_the_list_where_it_fits() -> None:
    lists = own({"host": "*.corp.example", "model": "GPT-4O*", **THREE})
    assert lists.cost_of(a_use(origin="https://llm.corp.example")) == Decimal("0.002")
    assert lists.cost_of(a_use(origin="https://llm.corp.example", model="o3")) == Unpriced(Reason.UNKNOWN_PROVIDER)
    assert lists.cost_of(a_use()) == LIST.cost_of(a_use())


def test_the_first_that_fits_counts() -> None:
    lists = own({"model": "gpt-4o", **THREE}, {"model": "*", "input": "5", "output": "5"})
    assert lists.cost_of(a_use()) == Decimal("0.002")
    assert lists.cost_of(a_use(model="o3")) == Decimal("0.0055")


def test_the_standard_price_is_not_that_of_another_tier() -> None:
    lists = own({"model": "m", **THREE}, {"model": "n", "tier": "*", **THREE}, {"model": "m", "tier": "Gold", **THREE})
    assert lists.cost_of(a_use(model="m", service_tier="flex")) == Unpriced(Reason.UNKNOWN_MODEL)
    assert lists.cost_of(a_use(model="n", service_tier="flex")) == Decimal("0.002")
    assert lists.cost_of(a_use(model="m", service_tier="gold")) == Decimal("0.002")


def test_a_price_holds_from_a_day_until_another() -> None:
    """Outside of its days the list's price holds."""
    lists = own({"model": "gpt-4o", "from": "2026-09-01", "to": "2026-10-01", **THREE})
    for moment, mine in [(at(2026, 9, 1) - 1, False), (at(2026, 9, 1), True), (at(2026, 10, 1) - 1, True)]:
        expected = Decimal("0.002") if mine else LIST.cost_of(a_use(started_at=moment))
        assert lists.cost_of(a_use(started_at=moment)) == expected
    assert lists.cost_of(a_use(started_at=at(2026, 10, 1))) == LIST.cost_of(a_use(started_at=at(2026, 10, 1)))


def test_a_price_may_depend_on_the_size_of_the_input() -> None:
    lists = own({"model": "m", "above": 1000, "input": "2", "output": "20"}, {"model": "m", **THREE})
    assert lists.cost_of(a_use(model="m")) == Decimal("0.002")
    assert lists.cost_of(a_use(model="m", input_tokens=1001)) == Decimal("0.004002")


def test_a_factor_is_of_the_lists_price_at_that_time() -> None:
    lists = own({"model": "o3", "factor": "0.85", "from": "2025-01-01"})
    for moment in (at(2024, 12, 31), at(2025, 6, 9), at(2025, 6, 10)):
        listed = LIST.cost_of(a_use(model="o3", started_at=moment))
        assert isinstance(listed, Decimal)
        expected = listed * Decimal("0.85") if moment > at(2025, 1, 1) else listed
        assert lists.cost_of(a_use(model="o3", started_at=moment)) == expected


def test_a_factor_of_what_is_not_listed_is_nothing() -> None:
    assert own({"model": "m", "factor": "0.5"}).cost_of(a_use(model="m")) == Unpriced(Reason.UNKNOWN_MODEL)


def test_a_factor_keeps_thresholds_and_times_of_day() -> None:
    """claude-sonnet-4-5 costs more above 200,000 tokens; deepseek-chat less at night."""
    lists = own({"factor": "0.5"})
    for use in (
        a_use(origin="https://api.anthropic.com", model="claude-sonnet-4-5", input_tokens=200_000),
        a_use(origin="https://api.anthropic.com", model="claude-sonnet-4-5", input_tokens=200_001),
        a_use(origin="https://api.deepseek.com", model="deepseek-chat", started_at=at(2025, 3, 1, 12)),
        a_use(origin="https://api.deepseek.com", model="deepseek-chat", started_at=at(2025, 3, 1, 20)),
    ):
        listed = LIST.cost_of(use)
        assert isinstance(listed, Decimal)
        assert lists.cost_of(use) == listed / 2


def test_capacity_that_is_paid_for_otherwise_costs_nothing() -> None:
    assert own({"model": "*", "input": "0", "output": "0"}).cost_of(a_use(model="m", cached_tokens=5)) == 0


def test_a_machine_of_ones_own_costs_by_the_time_that_a_run_takes() -> None:
    lists = own({"model": "llama-*", "hour": "3.60"})
    assert lists.cost_of(a_use(model="llama-4", duration_us=2_000_000)) == Decimal("0.002")
    assert lists.cost_of(a_use(model="llama-4")) == Unpriced(Reason.DURATION_UNKNOWN)


def test_what_is_not_said_costs_what_it_is_a_part_of() -> None:
    lists = own({"model": "m", **THREE})
    assert lists.cost_of(a_use(model="m", cached_tokens=500, cache_write_1h_tokens=100)) == Decimal("0.002")
    other = own({"model": "m", **THREE, "cached": "0.5", "reasoning": "20", "request": "1"})
    use = a_use(model="m", cached_tokens=500, reasoning_tokens=10)
    assert other.cost_of(use) == Decimal("0.00075") + Decimal("0.0011") + Decimal("0.001")


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"owns": []}, r"prices: key 'owns' is unknown"),
        ({"own": {}}, r"prices\.own is wrong: write each own price below a line \[\[prices\.own\]\]"),
        ({"own": ["x"]}, r"prices\.own\[0\] is wrong: it must be a table"),
        ({"own": [{"inputs": "1"}]}, r"prices\.own\[0\]: key 'inputs' is unknown"),
        ({"own": [{"model": "m"}]}, r"prices\.own\[0\] is wrong: it must say `input` and `output`, or `hour`"),
        ({"own": [{"input": "1"}]}, r"must say `input` and `output`"),
        ({"own": [{"factor": "1", "hour": "1"}]}, r"must say"),
        ({"own": [{"factor": "1", "cached": "1"}]}, r"`factor` stands alone"),
        ({"own": [{"input": 1.5, "output": "1"}]}, r'prices\.own\[0\]\.input is wrong: .* as text, such as "2\.50"'),
        ({"own": [{"input": "-1", "output": "1"}]}, r"prices\.own\[0\]\.input is wrong"),
        ({"own": [{"input": "1e5", "output": "1"}]}, r"prices\.own\[0\]\.input is wrong"),
        ({"own": [{"input": "NaN", "output": "1"}]}, r"prices\.own\[0\]\.input is wrong"),
        ({"own": [THREE, {**THREE, "model": 1}]}, r"prices\.own\[1\]\.model is wrong"),
        ({"own": [{**THREE, "above": "many"}]}, r"prices\.own\[0\]\.above is wrong"),
        ({"own": [{**THREE, "above": True}]}, r"prices\.own\[0\]\.above is wrong"),
        ({"own": [{**THREE, "from": "last week"}]}, r"prices\.own\[0\]\.from is wrong: it must be a day"),
        ({"own": [{**THREE, "from": 5}]}, r"prices\.own\[0\]\.from is wrong: it must be a day"),
        ({"own": [{**THREE, "from": "2026-02-01", "to": "2026-02-01"}]}, r"`to` is the first day on which it no"),
        ({"models": {"a": 1}}, r"prices\.models is wrong: it must be a table of texts"),
        ({"providers": ["a"]}, r"prices\.providers is wrong"),
    ],
)
def test_what_is_wrong_with_a_table_is_said_with_its_place(table: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        prices.load(table)


def test_the_table_is_that_of_the_configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = """
        [prices.models]
        chat = "gpt-4o"
        [[prices.own]]
        model = "m"
        from = 2026-01-31
        to = 2027-01-31T00:00:00Z
        input = "0.000000000001"
        output = "999999.999999999999"
    """
    (tmp_path / "recorder.toml").write_text(text, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    settings = config.load()
    assert settings.prices == tomllib.loads(text)["prices"]
    assert prices.load(settings.prices).cost_of(a_use(model="m", input_tokens=1, output_tokens=1)) == Decimal(
        "0.999999999999999999"
    ) + Decimal("0.000000000000000001")
    assert prices.load(settings.prices).cost_of(a_use(origin=OPENAI, model="chat")) == LIST.cost_of(a_use())
