"""Prices: each protocol's own usage costs what genai-prices says; and what nobody knows has no price."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import genai_prices
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recorder import prices
from recorder.errors import UsageError
from recorder.prices import Key, Match, Reason, Unpriced, Use, listed, tier_of
from recorder.recording import Reading
from tests.needs import CORPUS, need_corpus
from tests.payloads import run
from tests.priced import ENDS, PROVIDERS
from tests.tape import JSON, post, read

OPENAI: Final = "https://api.openai.com"
AZURE: Final = "https://contoso.openai.azure.com"
ANTHROPIC: Final = "https://api.anthropic.com"
GEMINI: Final = "https://generativelanguage.googleapis.com"

#: 2026-09-21, as the runs of the tests.
AT: Final = 1_790_000_000_000_000
LIST: Final = prices.load()


def used(reading: Reading, origin: str, **more: Any) -> Use:
    return Use.of(reading, origin=origin, started_at=AT, **more)


def a_use(**changes: Any) -> Use:
    told = {"origin": OPENAI, "started_at": AT, "model": "gpt-4o", "input_tokens": 1000, "output_tokens": 100}
    return Use(**{**told, "cached_tokens": 0, "usage_quality": "reported", **changes})


def own(*entries: dict[str, Any], **tables: Any) -> prices.Prices:
    return prices.load({"own": list(entries), **tables})


# -- every protocol's own usage, against genai-prices reading the same answer ------------------------------------------

CHAT: Final = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "created": 1,
    "model": "gpt-4o-2024-08-06",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "x"}, "finish_reason": "stop"}],
    "usage": {
        "prompt_tokens": 2006,
        "completion_tokens": 300,
        "total_tokens": 2306,
        "prompt_tokens_details": {"cached_tokens": 1920},
        "completion_tokens_details": {"reasoning_tokens": 64},
    },
}
RESPONSE: Final = {
    "id": "resp_1",
    "object": "response",
    "created_at": 1,
    "status": "completed",
    "model": "gpt-5-2025-08-07",
    "service_tier": "default",
    "output": [{"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "x"}]}],
    "usage": {
        "input_tokens": 5000,
        "input_tokens_details": {"cached_tokens": 4096},
        "output_tokens": 900,
        "output_tokens_details": {"reasoning_tokens": 640},
        "total_tokens": 5900,
    },
}
MESSAGE: Final = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": "claude-sonnet-4-5-20250929",
    "content": [{"type": "text", "text": "x"}],
    "stop_reason": "end_turn",
    "stop_sequence": None,
    "usage": {
        "input_tokens": 100,
        "cache_read_input_tokens": 20_000,
        "cache_creation_input_tokens": 3000,
        "cache_creation": {"ephemeral_5m_input_tokens": 1000, "ephemeral_1h_input_tokens": 2000},
        "output_tokens": 500,
        "service_tier": "standard",
    },
}
GENERATED: Final = {
    "candidates": [{"content": {"parts": [{"text": "x"}], "role": "model"}, "finishReason": "STOP", "index": 0}],
    "usageMetadata": {
        "promptTokenCount": 5000,
        "cachedContentTokenCount": 4000,
        "candidatesTokenCount": 300,
        "thoughtsTokenCount": 200,
        "totalTokenCount": 5500,
        "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 5000}],
    },
    "modelVersion": "gemini-2.5-flash",
    "responseId": "r1",
}
ASSISTANTS_RUN: Final = run(
    "completed",
    usage={
        "prompt_tokens": 3000,
        "completion_tokens": 200,
        "total_tokens": 3200,
        "prompt_token_details": {"cached_tokens": 2048},
    },
)

#: Name: where to, the request, the answer, and genai-prices's provider and flavour of it.
ANSWERS: Final[dict[str, tuple[str, str, dict[str, Any], str, str]]] = {
    "chat": (OPENAI, "/v1/chat/completions", CHAT, "openai", "chat"),
    "responses": (OPENAI, "/v1/responses", RESPONSE, "openai", "responses"),
    "azure": (AZURE, "/openai/deployments/d/chat/completions?api-version=1", CHAT, "azure", "chat"),
    "azure-responses": (AZURE, "/openai/v1/responses", RESPONSE, "azure", "responses"),
    "messages": (ANTHROPIC, "/v1/messages", MESSAGE, "anthropic", "default"),
    "gemini": (GEMINI, "/v1beta/models/gemini-2.5-flash:generateContent", GENERATED, "google", "default"),
}


def read_answer(name: str) -> Use:
    origin, path, body, *_ = ANSWERS[name]
    asked = post(origin + path, model=body.get("model"), messages=[], max_tokens=1000, contents=[])
    return used(read(asked, json.dumps(body).encode(), headers=JSON), origin)


@pytest.mark.parametrize("name", ANSWERS)
def test_an_answer_costs_what_genai_prices_makes_of_it(name: str) -> None:
    _, _, body, provider, flavour = ANSWERS[name]
    expected = genai_prices.data_snapshot.get_snapshot().extract_usage(body, provider, None, flavour)
    theirs = expected.calc_price(genai_request_timestamp=datetime.fromtimestamp(AT / 1_000_000, UTC))
    assert LIST.cost_of(read_answer(name)) == theirs.total_price > 0


def test_an_assistants_run_costs_what_the_chat_form_of_its_usage_does() -> None:
    """genai-prices knows no Assistants API, and no `prompt_token_details`: so the spelling is mended for it."""
    reading = read(post("/v1/threads/t/runs", assistant_id="a"), json.dumps(ASSISTANTS_RUN).encode(), headers=JSON)
    usage = dict(ASSISTANTS_RUN["usage"])
    usage["prompt_tokens_details"] = usage.pop("prompt_token_details")
    body = {"model": ASSISTANTS_RUN["model"], "usage": usage}
    expected = genai_prices.data_snapshot.get_snapshot().extract_usage(body, "openai", None, "chat")
    theirs = expected.calc_price(genai_request_timestamp=datetime.fromtimestamp(AT / 1_000_000, UTC))
    assert LIST.cost_of(used(reading, OPENAI)) == theirs.total_price > 0


MADE_UP: Final = {"input": "1", "cached": "0.1", "cache_write": "1.25", "cache_write_1h": "2", "output": "10"}


@pytest.mark.parametrize(
    ("name", "usd"),
    [
        # (all input - cached) * 1 + cached * 0.1 + output * 10, in millionths
        ("chat", Decimal(2006 - 1920) + Decimal("192.0") + 3000),
        ("responses", Decimal(5000 - 4096) + Decimal("409.6") + 9000),
        ("azure", Decimal(2006 - 1920) + Decimal("192.0") + 3000),
        # Anthropic's input is what is left beside the cache
        ("messages", 100 + Decimal(2000) + Decimal(1250) + 4000 + 5000),
        ("gemini", Decimal(1000 + 400 + 5000)),
    ],
)
def test_cached_tokens_are_counted_once(name: str, usd: Decimal) -> None:
    assert own({"model": "*", **MADE_UP}).cost_of(read_answer(name)) == usd / 1_000_000


def test_what_an_assistants_run_had_from_a_cache_is_counted_once() -> None:
    reading = read(post("/v1/threads/t/runs", assistant_id="a"), json.dumps(ASSISTANTS_RUN).encode(), headers=JSON)
    expected = (Decimal(3000 - 2048) + Decimal("204.8") + 2000) / 1_000_000
    assert own({"model": "*", **MADE_UP}).cost_of(used(reading, OPENAI)) == expected


# -- what is not known -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("use", "reason"),
    [
        (a_use(input_tokens=None, output_tokens=None), Reason.NO_USAGE),
        (a_use(input_tokens=None, output_tokens=None, http_status=429), Reason.FAILED_REQUEST),
        (a_use(model=None), Reason.NO_MODEL),
        (a_use(origin="http://localhost:4000"), Reason.UNKNOWN_PROVIDER),
        (a_use(origin="https://api.openai.com.example.org"), Reason.UNKNOWN_PROVIDER),
        (a_use(origin="https://eu.api.openai.com"), Reason.UNKNOWN_PROVIDER),
        (a_use(origin="null"), Reason.UNKNOWN_PROVIDER),
        (a_use(model="nobody-has-it"), Reason.UNKNOWN_MODEL),
        (a_use(origin=AZURE, model="my-deployment"), Reason.UNKNOWN_MODEL),
        (a_use(service_tier="gold"), Reason.UNKNOWN_TIER),
        (a_use(service_tier="batch", model="gpt-4"), Reason.UNKNOWN_TIER),
        (a_use(origin=AZURE, service_tier="priority"), Reason.UNKNOWN_TIER),
        (a_use(asked_tier="flex"), Reason.TIER_NOT_STATED),
        (a_use(cached_tokens=1001), Reason.USAGE_CONTRADICTS),
        (a_use(input_tokens=-1), Reason.USAGE_CONTRADICTS),
        (a_use(output_tokens=1 << 62), Reason.USAGE_CONTRADICTS),
        (a_use(input_tokens=None), Reason.INPUT_UNKNOWN),
        (a_use(output_tokens=None), Reason.OUTPUT_UNKNOWN),
        (a_use(origin=GEMINI, model="gemma-3"), Reason.NO_TOKEN_PRICE),
        (a_use(model="gpt-realtime", raw={"prompt_tokens_details": {"audio_tokens": 5}}), Reason.PRICED_APART),
        (a_use(model="gpt-4o-audio-preview", raw={"details": {"audio_tokens": 5}}), Reason.PRICED_APART),
        (
            a_use(
                origin=GEMINI,
                model="gemini-2.5-flash",
                raw={"promptTokensDetails": [{"modality": "AUDIO", "tokenCount": 1}]},
            ),
            Reason.PRICED_APART,
        ),
    ],
)
def test_what_is_not_known_has_no_price_and_a_reason(use: Use, reason: Reason) -> None:
    assert LIST.cost_of(use) == Unpriced(reason)


def test_a_tier_that_the_library_takes_for_the_standard_one_is_unknown_here() -> None:
    """The library prices any word that it does not know as standard."""
    usage = genai_prices.Usage(input_tokens=1000, output_tokens=100)
    plain = genai_prices.calc_price(usage, "gpt-4o", provider_id="openai")
    odd = genai_prices.calc_price(usage, "gpt-4o", provider_id="openai", price_context={"service_tier": "gold"})
    assert plain.total_price == odd.total_price
    assert LIST.cost_of(a_use(service_tier="gold")) == Unpriced(Reason.UNKNOWN_TIER)


def test_a_tier_of_openai_is_not_one_of_azures() -> None:
    """Azure's list takes OpenAI's models over without their tiers, and the library then prices them as standard."""
    in_november = a_use(service_tier="priority", started_at=AT + 50 * 86_400_000_000)
    assert isinstance(LIST.cost_of(in_november), Decimal)
    assert LIST.cost_of(in_november._replace(origin=AZURE)) == Unpriced(Reason.UNKNOWN_TIER)


@pytest.mark.parametrize("tier", ["default", "standard", "Default", "on_demand", None, "auto"])
def test_the_ordinary_tier_goes_by_many_names(tier: str | None) -> None:
    assert LIST.cost_of(a_use(service_tier=tier)) == LIST.cost_of(a_use())


@pytest.mark.parametrize(
    ("key", "tier"),
    [
        (Key(OPENAI, service_tier="priority", asked_tier="auto"), "priority"),
        (Key(OPENAI, service_tier="default", asked_tier="flex"), "standard"),
        (Key(OPENAI, asked_tier="flex"), None),
        (Key(OPENAI, service_tier="auto", asked_tier="flex"), None),
        (Key(OPENAI, asked_tier="standard_only"), "standard"),
        (Key(GEMINI, service_tier="ON_DEMAND"), "standard"),
        (Key(GEMINI, service_tier="ON_DEMAND_FLEX"), "flex"),
        (Key(GEMINI, service_tier="PROVISIONED_THROUGHPUT"), "provisioned_throughput"),
        (Key(ANTHROPIC, service_tier="batch"), "batch"),
        (Key(ANTHROPIC, service_tier="standard", speed="fast"), "fast"),
        (Key(ANTHROPIC, service_tier="standard", speed="standard"), "standard"),
        (Key(ANTHROPIC, service_tier="batch", speed="fast"), "batch+fast"),
        (Key(ANTHROPIC, service_tier="standard", geography="us"), "standard@us"),
        (Key(ANTHROPIC, service_tier="standard", geography="not_available"), "standard"),
    ],
)
def test_which_tier_served(key: Key, tier: str | None) -> None:
    assert tier_of(key) == tier


def test_a_snapshot_that_is_known_by_its_family_alone_is_told_from_one_that_is_listed() -> None:
    listed_one, unlisted = LIST.match(Key(OPENAI, "gpt-4o-2024-08-06")), LIST.match(Key(OPENAI, "gpt-4o-2031-01-01"))
    assert isinstance(listed_one, Match)
    assert listed_one.exact
    assert not isinstance(unlisted, Match) or not unlisted.exact


@pytest.mark.parametrize(
    ("use", "bound"),
    [
        (a_use(), "exact"),
        (a_use(usage_quality="partial"), "at_least"),
        (a_use(cached_tokens=None), "at_most"),
        (a_use(origin=ANTHROPIC, model="claude-sonnet-4-5", cache_write_tokens=5), "at_least"),
        (a_use(origin=ANTHROPIC, model="claude-sonnet-4-5", cache_write_1h_tokens=5), "exact"),
    ],
)
def test_how_sure_a_cost_is(use: Use, bound: str) -> None:
    found = LIST.explain(use)
    assert not isinstance(found, Unpriced)
    assert found.bound == bound


# -- time --------------------------------------------------------------------------------------------------------------


def test_a_run_costs_what_it_cost_then() -> None:
    """o3 became cheaper on 2025-06-10."""
    before, after = (
        LIST.cost_of(a_use(model="o3", started_at=round(datetime(2025, 6, day, tzinfo=UTC).timestamp()) * 1_000_000))
        for day in (9, 10)
    )
    assert (before, after) == (Decimal("0.014"), Decimal("0.0028"))


def test_a_price_may_depend_on_the_time_of_day() -> None:
    noon, night = (
        LIST.cost_of(
            a_use(
                origin="https://api.deepseek.com",
                model="deepseek-chat",
                started_at=round(datetime(2025, 3, 1, hour, tzinfo=UTC).timestamp()) * 1_000_000,
            )
        )
        for hour in (12, 20)
    )
    assert isinstance(noon, Decimal)
    assert isinstance(night, Decimal)
    assert noon > night


# -- providers ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("origin", "provider"),
    [
        (OPENAI, "openai"),
        ("https://api.openai.com:8443", "openai"),
        (AZURE, "azure"),
        ("https://res.services.ai.azure.com", "azure"),
        ("https://res.cognitiveservices.azure.com", "azure"),
        (ANTHROPIC, "anthropic"),
        (GEMINI, "google"),
        ("https://us-central1-aiplatform.googleapis.com", "google"),
        ("https://openrouter.ai", "openrouter"),
        ("https://api.moonshot.ai", "moonshotai"),
        ("https://api.groq.com", "groq"),
        ("https://api.moonshot.ai.example.org", None),
        ("https://openrouter.ai.example.org", None),
        ("http://127.0.0.1:1234", None),
        ("", None),
    ],
)
def test_a_provider_is_known_by_its_host(origin: str, provider: str | None) -> None:
    assert listed.provider_of(origin) == provider


@given(st.text(max_size=80), st.text(max_size=40), st.text(max_size=20))
def test_whatever_strangers_say_is_no_error(origin: str, model: str, tier: str) -> None:
    found = LIST.cost_of(a_use(origin=origin, model=model, service_tier=tier, asked_tier=tier, speed=tier))
    assert isinstance(found, (Decimal, Unpriced))


def test_every_provider_of_the_list_can_be_named_for_a_host() -> None:
    lists = prices.load({"providers": PROVIDERS})
    for provider in listed.providers():
        found = lists.match(Key(ENDS.format(provider), "nobody-has-it"))
        assert found == Unpriced(Reason.UNKNOWN_MODEL)


def test_a_provider_that_the_list_has_not_is_a_mistake() -> None:
    with pytest.raises(UsageError, match=r"prices\.providers is wrong: the list has no such provider"):
        prices.load({"providers": {"localhost": "openia"}}).cost_of(a_use(origin="http://localhost:1"))


# -- the version, and what an import costs -----------------------------------------------------------------------------


def test_the_version_names_the_package_its_data_and_ones_own_prices() -> None:
    assert LIST.version.startswith(f"genai-prices {genai_prices.__version__} (")
    mine, other = own({"model": "m", "input": "1", "output": "1"}), own({"model": "m", "input": "2", "output": "1"})
    assert len({LIST.version, mine.version, other.version}) == 3
    assert ", own prices (" in mine.version


def test_nothing_is_loaded_before_a_price_is_looked_up() -> None:
    code = (
        "import sys; from recorder import prices; p = prices.load({}); before = 'genai_prices' in sys.modules\n"
        "p.match(prices.Key('https://api.openai.com', 'gpt-4o')); print(before, 'genai_prices' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "True"]


def test_what_was_looked_up_is_kept_for_the_next_process(tmp_path: Path) -> None:
    """With the file, the list is not even loaded; and what it says is what the list says."""
    keys = [
        Key(OPENAI, "o3"),
        Key(OPENAI, "o3", "flex"),
        Key("http://localhost", "o3"),
        Key(ANTHROPIC, "claude-sonnet-4-5"),
        Key(GEMINI, "gemini-2.5-flash"),
    ]
    first = prices.load({}, tmp_path).matches(keys)
    code = (
        "import sys, json; from pathlib import Path; from recorder import prices\n"
        f"keys = [prices.Key(*key) for key in {[tuple(key) for key in keys]!r}]\n"
        f"found = prices.load({{}}, Path({str(tmp_path)!r})).matches(keys)\n"
        "assert 'genai_prices' not in sys.modules; print(repr(found))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == repr(first)
    (file,) = tmp_path.iterdir()
    assert file.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("damage", [b"", b"{", b"[]", b'{"version": 1}', b'{"version": "x", "matches": {"a": [1]}}'])
def test_a_kept_file_that_is_damaged_is_made_anew(tmp_path: Path, damage: bytes) -> None:
    key = Key(OPENAI, "o3")
    expected = prices.load({}, tmp_path).matches([key])
    (file,) = tmp_path.iterdir()
    whole = file.read_bytes()
    file.write_bytes(damage.replace(b'"x"', json.dumps(LIST.version).encode()))
    assert prices.load({}, tmp_path).matches([key]) == expected
    assert file.read_bytes() == whole


def test_a_file_of_another_version_is_not_believed(tmp_path: Path) -> None:
    key = Key(OPENAI, "o3")
    prices.load({}, tmp_path).matches([key])
    (file,) = tmp_path.iterdir()
    file.write_text(json.dumps({"version": "other", "matches": {json.dumps(key): "unknown_model"}}), encoding="ascii")
    assert isinstance(prices.load({}, tmp_path).match(key), Match)


def test_files_of_old_versions_do_not_pile_up(tmp_path: Path) -> None:
    for number in range(9):
        prices.load({"models": {"a": f"o{number}"}}, tmp_path).matches([Key(OPENAI, "o3")])
    assert len(list(tmp_path.iterdir())) == 4


def test_a_folder_that_cannot_be_written_is_no_error(tmp_path: Path) -> None:
    assert prices.load({}, tmp_path / "absent").matches([Key(OPENAI, "o3")])


# -- what others recorded ---------------------------------------------------------------------------------------------

#: Protocol of the corpus: the path, genai-prices's provider and flavour, the origin.
PROTOCOLS: Final = {
    "chat": ("/v1/chat/completions", "openai", "chat", OPENAI),
    "responses": ("/v1/responses", "openai", "responses", OPENAI),
    "anthropic": ("/v1/messages", "anthropic", "default", ANTHROPIC),
    "gemini": ("/v1beta/models/m:streamGenerateContent?alt=sse", "google", "default", GEMINI),
    "assistants": ("/v1/threads/t/runs", "openai", "chat", OPENAI),
}


def corpus_says(protocol: str, reading: Reading, raw: dict[str, Any]) -> Decimal | None:
    """What genai-prices makes of the usage that the stream stated, without tools' fees; None: it does not know."""
    _, provider, flavour, _ = PROTOCOLS[protocol]
    usage = {name: count for name, count in raw.items() if name != "server_tool_use"}
    if "prompt_token_details" in usage:
        usage["prompt_tokens_details"] = usage.pop("prompt_token_details")
    body = {"model": reading.model, "usage": usage}
    if provider == "google":
        body = {"modelVersion": reading.model, "usageMetadata": usage}
    try:
        found = genai_prices.data_snapshot.get_snapshot().extract_usage(body, provider, None, flavour)
        context = {"service_tier": reading.service_tier} if reading.service_tier else None
        at = datetime.fromtimestamp(AT / 1_000_000, UTC)
        return found.calc_price(genai_request_timestamp=at, price_context=context).total_price
    except (LookupError, ValueError):
        return None


def test_published_streams_cost_what_genai_prices_makes_of_their_usage() -> None:
    """All of those that state a usage: the same to the last digit, or no price here where the library guesses."""
    need_corpus()
    counted: Counter[str] = Counter()
    for path in sorted(CORPUS.glob("*/*.sse")):
        protocol = path.parent.name
        if protocol not in PROTOCOLS:
            continue
        where, _, _, origin = PROTOCOLS[protocol]
        asked = post(origin + where, model="m", messages=[], max_tokens=9, contents=[], assistant_id="a", stream=True)
        reading = read(asked, path.read_bytes(), chunk=1 << 20)
        use = used(reading, origin)
        ours, theirs = LIST.cost_of(use), corpus_says(protocol, reading, dict(use.raw or {})) if use.raw else None
        if isinstance(ours, Decimal):
            assert ours == theirs, path.name
            counted["same"] += 1
        elif theirs is not None:
            assert ours.reason in (Reason.PRICED_APART, Reason.UNKNOWN_TIER), path.name
            counted["declined"] += 1
    assert counted["same"] > 100
    assert counted["declined"] < 10
