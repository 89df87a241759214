"""Prices in DuckDB: run by run what genai-prices says, and what `recorder.prices` says; each exchange counted once."""

from __future__ import annotations

import contextlib
import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import duckdb
import pytest

from recorder import prices, queries
from recorder.errors import UsageError
from recorder.prices import Reason, Unpriced, Use
from recorder.queries import pricing
from recorder.queries.asking import BOUNDED, ask
from recorder.queries.questions import find
from recorder.recording import Reading
from recorder.store import Store
from tests.payloads import run
from tests.priced import PROVIDERS, fleet, library_says, put
from tests.rows import STARTED, made_reading, recorded
from tests.tape import JSON, post, read
from tests.test_prices import ANSWERS, ASSISTANTS_RUN, MADE_UP, a_use

LIST: Final = prices.load({"providers": PROVIDERS})
#: Prices such as 0.07499999999999998 are taken for 0.075: below a millionth of a millionth of a dollar for any run.
NOTHING: Final = Decimal("0.000000000001")


@pytest.fixture
def connection() -> Iterator[duckdb.DuckDBPyConnection]:
    with contextlib.closing(duckdb.connect()) as connected:
        yield connected


def costs(connection: duckdb.DuckDBPyConnection, columns: str = "cost_usd, unpriced") -> list[tuple[Any, ...]]:
    return connection.execute(f"SELECT {columns} FROM costs ORDER BY CAST(run_id AS BIGINT)").fetchall()


def test_every_run_costs_what_genai_prices_says(connection: duckdb.DuckDBPyConnection) -> None:
    """All providers, models, tiers, dates and thresholds of the list. Where the library prices what it does not know (a
    tier that has no price then: as standard; a kind of token that has none: as nothing), there is no price here."""
    runs = list(fleet(seed=20261123))
    put(connection, [use for use, _, _ in runs])
    assert pricing.install(connection, LIST) == LIST.version
    counted: Counter[str] = Counter()
    for (use, provider, context), (usd, unpriced, bound) in zip(
        runs, costs(connection, "cost_usd, unpriced, cost_bound"), strict=True
    ):
        theirs = library_says(use, provider, context)
        if unpriced is None:
            assert abs(usd - theirs) < NOTHING, use
            counted["exactly" if usd == theirs else "nearly"] += 1
            assert bound == "exact"
        elif unpriced == Reason.UNKNOWN_TIER:
            assert theirs == library_says(use, provider, {}), use
        else:
            assert unpriced == Reason.NO_TOKEN_PRICE, use
        counted[unpriced or "priced"] += 1
    assert counted["priced"] > 4000
    assert counted["nearly"] < counted["priced"] // 100


def odd(use: Use) -> Iterator[Use]:
    """The same, with counts that are not there, contradict each other, or cannot be."""
    changes: tuple[dict[str, Any], ...] = (
        {"cached_tokens": None},
        {"usage_quality": "partial"},
        {"cached_tokens": (use.input_tokens or 0) + 1},
        {"reasoning_tokens": (use.output_tokens or 0) + 1},
        {"reasoning_tokens": None},
        {"input_tokens": None},
        {"output_tokens": None},
        {"input_tokens": None, "output_tokens": None, "http_status": 500},
        {"output_tokens": -1},
        {"input_tokens": (1 << 63) - 1},
        {"cache_write_tokens": 3, "input_tokens": 200_000_000_000},
        {"model": None},
        {"origin": "http://localhost"},
        {"service_tier": None, "asked_tier": "flex"},
        {"service_tier": "auto", "asked_tier": "auto"},
        {"speed": "fast", "service_tier": "standard"},
        {"geography": "us"},
        {"raw": {"a": [{"modality": "AUDIO", "tokenCount": 1}]}},
        {"raw": {"output_tokens_details": {"image_tokens": 9}}},
        {"raw": {"output_tokens_details": {"image_tokens": 0}}},
    )
    return (use._replace(**change) for change in changes)


def test_python_and_duckdb_reckon_alike(connection: duckdb.DuckDBPyConnection) -> None:
    """Also what is odd."""
    uses = [one for use, _, _ in list(fleet(seed=7))[::40] for one in odd(use)]
    lists = prices.load(
        {
            "providers": PROVIDERS,
            "own": [
                {"host": "groq.example", "hour": "2.5"},
                {"host": "mistral.example", "factor": "0.87"},
                {"host": "deepseek.example", "above": 1000, **MADE_UP, "request": "7", "reasoning": "11"},
            ],
        }
    )
    uses = [use._replace(duration_us=1_234_567 if number % 3 else None) for number, use in enumerate(uses)]
    put(connection, uses)
    pricing.install(connection, lists)
    for use, (usd, unpriced, bound) in zip(uses, costs(connection, "cost_usd, unpriced, cost_bound"), strict=True):
        found = lists.explain(use)
        if isinstance(found, Unpriced):
            assert (usd, unpriced, bound) == (None, found.reason, None), use
        else:
            assert (usd, unpriced, bound) == (found.usd, None, found.bound), use


def test_the_parts_add_up_and_what_is_known_stands_beside(connection: duckdb.DuckDBPyConnection) -> None:
    put(
        connection,
        [
            a_use(
                model="m", cached_tokens=200, cache_write_5m_tokens=100, cache_write_1h_tokens=50, reasoning_tokens=40
            ),
            a_use(model="m", output_tokens=None),
            a_use(model="nobody-has-it"),
        ],
    )
    pricing.install(connection, {"own": [{"model": "m", **MADE_UP, "request": "3"}]})
    parts = "uncached_usd + cache_read_usd + cache_write_usd + output_usd + request_usd + time_usd"
    whole, partly, nothing = costs(connection, f"cost_usd, {parts}, least_usd, cache_saved_usd, cache_premium_usd")
    usd = Decimal("0.00065") + Decimal("0.00002") + Decimal("0.000225") + Decimal("0.001") + Decimal("0.003")
    assert whole == (usd, usd, usd, Decimal("0.00018"), Decimal("0.000075"))
    assert partly == (None, None, Decimal("0.004"), 0, 0)
    assert nothing == (None,) * 5


@pytest.fixture
def store(tmp_path: Path) -> Iterator[tuple[Store, str]]:
    url = str(tmp_path / "recorder.db")
    with Store.open(url, create=True) as opened:
        yield opened, url


def stored_costs(url: str, columns: str = "cost_usd, unpriced") -> list[tuple[Any, ...]]:
    with contextlib.closing(queries.connect(url)) as connected:
        pricing.install(connected, {})
        return connected.execute(f"SELECT {columns} FROM costs ORDER BY cost_usd").fetchall()


def readings() -> Iterator[tuple[str, Reading]]:
    """Each protocol's reading of an answer of its own, and the origin."""
    for origin, path, body, *_ in ANSWERS.values():
        asked = post(origin + path, model=body.get("model"), messages=[], max_tokens=1000, contents=[])
        yield origin, read(asked, json.dumps(body).encode(), headers=JSON)
    asked = post("/v1/threads/t/runs", assistant_id="a")
    yield "https://api.openai.com", read(asked, json.dumps(ASSISTANTS_RUN).encode(), headers=JSON)


def test_a_store_with_a_run_of_each_protocol(store: tuple[Store, str]) -> None:
    opened, url = store
    expected = []
    for hour, (origin, reading) in enumerate(readings()):
        started = STARTED + hour * 3_600_000_000
        recording = recorded(opened, origin=origin, dialect=reading.dialect, started_at=started)
        opened.put_readings([replace(made_reading(recording), reading=reading)])
        expected.append(prices.load().cost_of(Use.of(reading, origin=origin, started_at=started)))
    assert sorted(stored_costs(url)) == sorted((usd, None) for usd in expected)


def test_an_answer_that_client_and_proxies_recorded_counts_once_at_the_providers_price(
    store: tuple[Store, str],
) -> None:
    """Each knows only whom it asked itself; the innermost record says who answered."""
    opened, url = store
    fields: dict[str, Any] = {
        "action": "create",
        "provider_run_id": "resp_1",
        "status": "completed",
        "model": "gpt-4o",
        "input_tokens": 1000,
        "output_tokens": 100,
        "cached_tokens": 0,
    }
    hops = ("http://127.0.0.1:8787", "http://gateway:4000", "https://api.openai.com")
    for number, origin in enumerate(hops):
        after, events = number * 1000, 9 - 3 * number
        recording = recorded(opened, origin=origin, started_at=STARTED + after, dialect="responses", events=events)
        opened.put_readings([made_reading(recording, **fields)])
    with contextlib.closing(queries.connect(url)) as connected:
        assert connected.execute("SELECT count(*), max(duplicates) FROM runs").fetchall() == [(1, 2)]
    assert stored_costs(url) == [(prices.load().cost_of(a_use()), None)]


def test_a_run_over_several_exchanges_costs_what_its_last_usage_says(store: tuple[Store, str]) -> None:
    """Tool outputs go to the same run, whose usage is of all of it."""
    opened, url = store
    asked = post("/v1/threads/t/runs", assistant_id="a")
    whole = read(asked, json.dumps(ASSISTANTS_RUN).encode(), headers=JSON)
    waiting = read(asked, json.dumps(run("requires_action", id=ASSISTANTS_RUN["id"])).encode(), headers=JSON)
    opener = recorded(opened, origin="https://api.openai.com")
    opened.put_readings([replace(made_reading(opener), reading=waiting)])
    later = recorded(opened, origin="https://api.openai.com", started_at=STARTED + 10_000_000)
    going_on = replace(whole, action="submit_tool_outputs", opens_run=False)
    opened.put_readings([replace(made_reading(later, opener.recording_id), reading=going_on)])
    expected = prices.load().cost_of(Use.of(whole, origin="https://api.openai.com", started_at=STARTED))
    assert stored_costs(url) == [(expected, None)]


def test_it_works_on_a_locked_connection_and_again(store: tuple[Store, str], tmp_path: Path) -> None:
    opened, url = store
    recording = recorded(opened, origin="https://api.openai.com")
    opened.put_readings([made_reading(recording, model="gpt-4o", input_tokens=10, output_tokens=1)])
    kept = tmp_path / "kept"
    kept.mkdir()
    with contextlib.closing(queries.connect(url)) as connected:
        version = pricing.install(connected, {}, kept)
        assert [path.suffix for path in kept.iterdir()] == [".json"]
        first = connected.execute("SELECT * FROM costs").fetchall()
        assert pricing.install(connected, {}, kept) == version
        assert connected.execute("SELECT * FROM costs").fetchall() == first
        other = {"own": [{"model": "gpt-4o", **MADE_UP}]}
        assert pricing.install(connected, other, kept) != version
        assert connected.execute("SELECT cost_usd, price_list FROM costs").fetchall() == [
            (Decimal("0.00002"), pricing.install(connected, other, kept))
        ]


def test_the_whole_list_can_be_asked(connection: duckdb.DuckDBPyConnection) -> None:
    put(connection, [a_use(model="m")])
    version = pricing.install(connection, {"own": [{"model": "m", **MADE_UP}]}, whole=True)
    o3 = connection.execute(
        "SELECT valid_from, valid_until, input_usd_per_mtok, price_list FROM prices "
        "WHERE provider = 'openai' AND model = 'o3' AND tier = 'standard' ORDER BY valid_from NULLS FIRST LIMIT 1"
    ).fetchone()
    assert o3 is not None
    assert (o3[0], str(o3[1]), o3[2], o3[3]) == (None, "2025-06-10", 10, version)
    own = connection.execute("SELECT model, output_usd_per_mtok FROM prices WHERE provider = 'own'").fetchall()
    assert own == [("m", 10)]


def test_hostile_names_are_only_names(connection: duckdb.DuckDBPyConnection) -> None:
    names = ["'; DROP TABLE runs; --", '"', "\\", "\x1b[31m", "=cmd()", "a\nb", "\x00", "é", "</script>"]
    put(connection, [a_use(model=name, origin=name, service_tier=name) for name in names])
    pricing.install(connection, {})
    assert costs(connection) == [(None, "unknown_provider")] * len(names)


def test_another_model_costs_what_genai_prices_says(connection: duckdb.DuckDBPyConnection) -> None:
    """C5: the same tokens, at another model's price of the day of the run, or of a day that is set."""
    uses = [use._replace(origin="https://openai.example") for use, provider, _ in fleet(seed=3) if provider == "openai"]
    uses = [use._replace(model="gpt-4o", service_tier=None) for use in uses]
    put(connection, uses)
    connection.execute(
        "ALTER TABLE runs ADD COLUMN day DATE; UPDATE runs SET day = CAST(make_timestamp(started_at) AS DATE)"
    )
    for name in BOUNDED:
        connection.execute(f"ALTER TABLE runs ADD COLUMN IF NOT EXISTS {name} BIGINT")
    for given, day in (({}, None), ({"on_day": "2025-01-01"}, 1_735_689_600_000_000)):
        found = ask(
            connection,
            find("repriced"),
            given={"model": "claude-sonnet-4-5", "provider": "anthropic", **given},
            prices={"providers": PROVIDERS},
        )
        (row,) = found
        moved = [use._replace(model="claude-sonnet-4-5", started_at=day or use.started_at) for use in uses]
        theirs = sum((library_says(use, "anthropic", {}) for use in moved), Decimal(0))
        assert row["runs"] == len(uses)
        assert abs(row["would_be_usd"] - theirs) < Decimal("0.000000001")


# -- invoices ----------------------------------------------------------------------------------------------------------


def billed(connection: duckdb.DuckDBPyConnection, folder: Path, text: str, **columns: str) -> list[tuple[Any, ...]]:
    path = folder / "invoice.csv"
    path.write_bytes(text.encode())
    pricing.invoice(connection, path, columns)
    return connection.execute("SELECT CAST(day AS VARCHAR), model, billed_usd FROM invoice").fetchall()


def test_an_invoice_is_read_by_its_own_columns(connection: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    lines = [
        "\ufeffdate,Model,cost (usd),other",
        '2026-01-31,gpt-4o,"$1,234.50",x',
        "",
        ",,,",
        "2026-02-01T10:00Z,,1e-7,",
    ]
    text = "\r\n".join(lines)
    rows = billed(connection, tmp_path, text, day="date", model="Model", billed_usd="cost (usd)")
    assert rows == [("2026-01-31", "gpt-4o", Decimal("1234.5")), ("2026-02-01", None, Decimal("0.0000001"))]


def test_an_invoice_need_not_tell_models(connection: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    assert billed(connection, tmp_path, "day,billed_usd\n2026-01-31,-3\n") == [("2026-01-31", None, Decimal(-3))]


@pytest.mark.parametrize(
    ("text", "columns", "message"),
    [
        ("a,b\n1,2\n", {}, r"invoice\.csv has no column 'day'; say which is its day with day=COLUMN: it has a, b"),
        ("", {}, r"it has none"),
        ("day,billed_usd\n2026-01-31,1\n", {"model": "m"}, r"has no column 'm'"),
        ("day,billed_usd\n31.1.2026,1\n", {}, r"invoice\.csv, line 2: the day must begin as 2026-01-31 does"),
        ("day,billed_usd\n2026-01-31,secret\n", {}, r"line 2: the amount must be a number of USD, such as 12\.50$"),
        ("day,billed_usd\n2026-01-31,NaN\n", {}, r"line 2: the amount"),
        ("day,billed_usd\n2026-01-31,1e99\n", {}, r"line 2: the amount"),
        ("day,billed_usd\n2026-01-31\n", {}, r"line 2: the amount"),
        ("day,billed_usd\n", {"days": "x"}, r"an invoice has no 'days': name the columns for day, model, billed_usd"),
    ],
)
def test_what_is_wrong_with_an_invoice_is_said_with_its_line(
    connection: duckdb.DuckDBPyConnection, tmp_path: Path, text: str, columns: dict[str, str], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        billed(connection, tmp_path, text, **columns)


@pytest.mark.parametrize("content", [None, b"\xff\xfe\x00"])
def test_an_invoice_that_cannot_be_read_is_said(
    connection: duckdb.DuckDBPyConnection, tmp_path: Path, content: bytes | None
) -> None:
    path = tmp_path / "invoice.csv"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UsageError, match="cannot be read"):
        pricing.invoice(connection, path)
