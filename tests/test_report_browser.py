"""The report in a real browser: from a file, without the network, light, dark, on a phone, and on paper."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest

from recorder import queries, report
from recorder.queries import Scope
from recorder.report.wording import UNKNOWN, count, share, usd
from recorder.store import Store
from tests import asked, browser, fleet
from tests.needs import CI, NIGHTLY, ROOT, each, need

if TYPE_CHECKING:
    from playwright.sync_api import Browser

need("browser", browser.absent() is None, browser.absent() or "")

MADE_AT: Final = 1_800_000_000_000_000
RUNS: Final = 100_000 if NIGHTLY else 2000
#: What somebody may send by mail.
MOST_BYTES: Final = 2_000_000
#: What was seen, for people to look at.
SCREENSHOTS: Final = ROOT / "build" / "screenshots"


@pytest.fixture(scope="module")
def window() -> Iterator[Browser]:
    with browser.chromium() as running:
        yield running


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("fleet") / "recorder.db"
    with Store.open(path, create=True) as opened:
        fleet.fill(opened, fleet.make(RUNS, seed=1))
    return path


@pytest.fixture(scope="module")
def page(store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("report") / "report.html"
    path.write_text(report.make(store, Scope(by="tag:app"), made_at=MADE_AT).page, encoding="utf-8")
    return path


def test_the_page_is_small_enough_to_be_sent(page: Path, record_property: Any) -> None:
    record_property(f"bytes of a report on {RUNS} runs", page.stat().st_size)
    assert page.stat().st_size <= MOST_BYTES


LOOKS: Final[list[tuple[str, dict[str, Any]]]] = [
    ("desktop-light", {}),
    ("desktop-dark", {"color_scheme": "dark"}),
    ("tablet-light", {"viewport": {"width": 820, "height": 1180}}),
    ("phone-light", {"viewport": {"width": 390, "height": 844}, "device_scale_factor": 2}),
    ("phone-dark", {"viewport": {"width": 390, "height": 844}, "color_scheme": "dark"}),
    ("without-scripts", {"java_script_enabled": False}),
]


@pytest.mark.parametrize(("name", "looks"), LOOKS if CI else each(3, LOOKS))
def test_it_opens_without_a_complaint_or_a_request(
    window: Browser, page: Path, name: str, looks: dict[str, Any]
) -> None:
    with browser.opened(window, page, **looks) as (seen, wrong):
        assert browser.photographed(seen, SCREENSHOTS, f"report-{name}")
        wide = seen.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        assert wrong == []
        assert wide == 0, "the page scrolls sideways"
        assert seen.locator("noscript").is_visible() == (name == "without-scripts")


def test_it_can_be_printed(window: Browser, page: Path) -> None:
    with browser.opened(window, page, color_scheme="dark") as (seen, wrong):
        SCREENSHOTS.mkdir(parents=True, exist_ok=True)
        seen.pdf(path=SCREENSHOTS / "report.pdf", format="A4", print_background=True)
        seen.emulate_media(media="print")
        assert seen.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
        assert not seen.locator("nav").is_visible()
        assert wrong == []


def test_the_slider_shows_what_the_question_answers(window: Browser, page: Path, store: Path) -> None:
    words: dict[str, Callable[[Any], str]] = {"share": share, "count": count, "usd": usd}
    with browser.opened(window, page) as (seen, wrong):
        told = seen.evaluate("JSON.parse(document.getElementById('figures').textContent)")
        slider, stops = seen.locator("#slider-c0"), told["groups"]["c0"]["cap_tokens"]
        places = sorted({0, 1, *range(2, len(stops) - 1, max(1, len(stops) // 12)), len(stops) - 1})
        answer = queries.query(store, "cap_what_if", by="tag:app", candidates=[stops[place] for place in places])
        rows = [row for row in answer if row["slice"] == "support"]
        shown = []
        for place, row in zip(places, rows, strict=True):
            slider.fill(str(place))
            assert seen.locator("#cap-c0").inner_text() == f"{count(row['cap_tokens'])}\u00a0tokens"
            texts = {name: seen.locator(f'[data-figure="c0-{name}"]').inner_text() for name in told["kinds"]}
            assert texts == {name: words[kind](row[name]) for name, kind in told["kinds"].items()}
            shown.append(texts["certain_share"])
        assert len(set(shown)) > 5
        assert wrong == []


def test_the_slider_moves_by_the_keyboard_and_the_curve_follows(window: Browser, page: Path) -> None:
    with browser.opened(window, page) as (seen, wrong):
        marker = seen.locator('.wide [data-marker="c0"]')
        before, cap = float(marker.get_attribute("x1") or 0), seen.locator("#cap-c0").inner_text()
        seen.locator("#slider-c0").focus()
        for _ in range(5):
            seen.keyboard.press("ArrowRight")
        assert float(marker.get_attribute("x1") or 0) > before
        assert seen.locator("#cap-c0").inner_text() != cap
        assert seen.locator("#slider-c0").get_attribute("aria-valuetext") == seen.locator("#cap-c0").inner_text()
        assert wrong == []


def test_a_table_is_sorted_by_a_click_and_what_is_unknown_comes_last(window: Browser, page: Path) -> None:
    with browser.opened(window, page) as (seen, wrong):
        title = seen.locator("#adviser table >> nth=0 >> thead th >> nth=2")
        column = "[...document.querySelector('#adviser table').tBodies[0].rows].map(row => row.cells[2].innerText)"
        title.locator("button").click()
        down = seen.evaluate(column)
        title.locator("button").click()
        up = seen.evaluate(column)
        assert title.get_attribute("aria-sort") == "ascending"
        known = [text for text in down if text != "not estimable"]
        assert known == sorted(known, key=lambda text: -int(text.replace(",", "")))
        assert up == [*reversed(known), *["not estimable"] * (len(up) - len(known))]
        assert 0 < len(known) < len(down)
        assert wrong == []


def test_a_link_opens_the_list_that_it_leads_to(window: Browser, page: Path) -> None:
    with browser.opened(window, page) as (seen, wrong):
        link = seen.locator("a", has_text="The runs").first
        target = seen.locator(link.get_attribute("href") or "")
        assert target.get_attribute("open") is None
        link.click()
        target.locator("table").wait_for()
        assert target.get_attribute("open") is not None
        assert wrong == []


def test_each_field_has_a_name_and_each_heading_its_level(window: Browser, page: Path) -> None:
    with browser.opened(window, page) as (seen, _):
        nameless = seen.evaluate("[...document.querySelectorAll('input')].filter(each => !each.labels.length).length")
        assert nameless == 0
        levels = seen.evaluate("[...document.querySelectorAll('h1,h2,h3,h4')].map(each => Number(each.tagName[1]))")
        assert levels[0] == 1
        assert levels.count(1) == 1
        assert all(after - before <= 1 for before, after in pairwise(levels))
        doubled = seen.evaluate(
            "(ids => ids.filter((id, at) => ids.indexOf(id) !== at))"
            "([...document.querySelectorAll('[id]')].map(each => each.id))"
        )
        assert doubled == []


def test_words_can_be_read_against_what_they_stand_on(window: Browser, page: Path) -> None:
    """WCAG 2.2, 1.4.3: a contrast of 4.5, in light and in dark."""
    for scheme in ("light", "dark"):
        with browser.opened(window, page, color_scheme=scheme) as (seen, _):
            for selector in (
                "p.lead",
                ".note",
                ".tile span",
                ".tile dt",
                "a",
                "td",
                "th",
                "header dt",
                "footer",
                ".what-if output",
            ):
                assert seen.evaluate(_CONTRAST, selector) >= 4.5, (scheme, selector)


_CONTRAST: Final = """selector => {
    const light = colour => {
        const [r, g, b] = colour.match(/[\\d.]+/g).map(Number).map(v => v / 255)
            .map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const element = document.querySelector(selector);
    let ground = element;
    const clear = each => ["rgba(0, 0, 0, 0)", "transparent"].includes(getComputedStyle(each).backgroundColor);
    while (ground.parentElement && clear(ground)) ground = ground.parentElement;
    const [one, other] = [light(getComputedStyle(element).color), light(getComputedStyle(ground).backgroundColor)];
    return (Math.max(one, other) + 0.05) / (Math.min(one, other) + 0.05);
}"""


def test_what_somebody_wrote_into_a_run_is_not_obeyed(window: Browser, tmp_path: Path) -> None:
    attempts = [
        "</script><script>alert(1)</script>",
        '"><img src=x onerror=alert(1)>',
        "<svg onload=alert(1)>",
        "\u202egnp.exe",
    ]
    with Store.open(tmp_path / "hostile.db", create=True) as store:
        runs = [
            {
                "dialect": "chat",
                "model": text,
                "group": text,
                "metadata": {attempts[0]: text},
                "max_completion_tokens": 5,
                "output_tokens": 5,
                "status": "incomplete",
                "stop_reason": "output_limit",
                "times": 5,
            }
            for text in attempts
        ]
        asked.fill(store, "report", runs)
    for number, by in enumerate(["model", f"metadata:{attempts[0]}"]):
        path = tmp_path / f"{number}.html"
        made = report.make(tmp_path / "hostile.db", Scope(by=by), made_at=MADE_AT, title=attempts[1])
        path.write_text(made.page, encoding="utf-8")
        with browser.opened(window, path) as (seen, wrong):
            assert wrong == []
            assert seen.locator("h1").inner_text() == attempts[1]
            assert seen.locator("img").count() == 0
            assert seen.locator("script").count() == 2


@pytest.mark.parametrize("runs", [0, 1])
def test_little_to_tell_is_a_page_too(window: Browser, tmp_path: Path, runs: int) -> None:
    with Store.open(tmp_path / "small.db", create=True) as store:
        asked.fill(store, "report", [{"dialect": "chat", "status": "completed", "output_tokens": 3}] * runs)
    path = tmp_path / "small.html"
    path.write_text(report.make(tmp_path / "small.db", Scope(), made_at=MADE_AT).page, encoding="utf-8")
    with browser.opened(window, path) as (seen, wrong):
        assert browser.photographed(seen, SCREENSHOTS, f"report-of-{runs}")
        assert wrong == []
        assert UNKNOWN in seen.locator("main").inner_text() or runs == 0
