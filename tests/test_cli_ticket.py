"""A run as a page: all that somebody needs who gets it with a ticket, and nothing that could do them harm."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from html import unescape
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import UUID

import pytest

from recorder.recording import Event, Transport
from recorder.store import Store, path_of
from tests import browser
from tests.command import invoke
from tests.kept import put
from tests.needs import ROOT, need
from tests.taped import chat, said

if TYPE_CHECKING:
    from playwright.sync_api import Browser

ATTEMPTS = [
    "</script><script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "<svg onload=alert(1)>",
    "</title><style>*{display:none}</style>",
    "<a href=javascript:alert(1)>x</a><meta http-equiv=refresh content=0;url=http://127.0.0.1/>",
    "\u202egnp.exe\x1b[2J\x07",
]


@pytest.fixture
def kept(golden: tuple[Store, dict[str, UUID]]) -> tuple[Path, dict[str, UUID]]:
    """Where the store with every golden stream is, and their ids."""
    path = path_of(golden[0].url)
    assert path is not None
    return path, golden[1]


@pytest.fixture(scope="module")
def window() -> Iterator[Browser]:
    need("browser", browser.absent() is None, browser.absent() or "")
    with browser.chromium() as running:
        yield running


def page(store: Path, run: object, to: Path | None = None) -> str:
    """The page; also into a file, where one is named."""
    done = invoke("export", str(run), "--format", "html", store=store)
    assert done.exit_code == 0, done.output
    if to is not None:
        to.write_text(done.stdout, encoding="utf-8")
    return done.stdout


def words(text: str) -> str:
    """What somebody reads."""
    return re.sub(r"\s+", " ", unescape(re.sub(r"<style>.*?</style>|<[^>]*>", " ", text, flags=re.DOTALL)))


def test_a_cut_run_tells_why_what_was_asked_and_what_came(kept: tuple[Path, dict[str, UUID]]) -> None:
    """The cap, the parameter set, each event, each check, the digests."""
    path, ids = kept
    told = words(page(path, ids["chat-length"]))
    for part in (
        "The output reached its token limit (8 of 8 tokens), so the answer is cut off.",
        "Output: 8 tokens of 8 tokens (100 %)",
        "max_completion_tokens 8",
        "List the berths.",
        "Not sent: frequency_penalty",
        "2 to 9 8",
        "end marker ok it came",
        "intact",
        str(ids["chat-length"]),
    ):
        assert part in told, part


def test_every_golden_run_has_a_page(kept: tuple[Path, dict[str, UUID]]) -> None:
    """Failures, refusals, tool calls, broken streams; with nothing to load, no script, and only the policy's style."""
    path, ids = kept
    for name in sorted(ids)[::6]:
        text = page(path, ids[name])
        assert "<script" not in text, name
        assert not re.findall(r'(?:src|href)="(?!#)', text), name
        assert text.count("Content-Security-Policy") == 1
        assert "default-src &#x27;none&#x27;" in text


def test_a_broken_stream_is_told(tmp_path: Path) -> None:
    """What the checks found stands out, and a record that was changed does not hold."""
    entry = chat("hi", said("one", "two")[:1], ending=Transport.RESET)
    with Store.open(tmp_path / "a.db", create=True) as store:
        recording = put(store, entry.recording, list(entry.events))
    told = words(page(tmp_path / "a.db", recording.recording_id))
    assert "The connection was reset." in told
    assert "terminal event NOT OK" in told
    assert "Complete no" in told


def test_a_record_that_was_changed_does_not_hold(tmp_path: Path) -> None:
    entry = chat("hi", said("one"))
    events = [*entry.events]
    events[1] = Event(*replace_data(events[1]))
    with Store.open(tmp_path / "a.db", create=True) as store:
        recording = put(store, entry.recording, events)
    told = words(page(tmp_path / "a.db", recording.recording_id))
    assert "Record does NOT hold" in told
    assert "its content is not what was sealed" in told


def replace_data(event: Event) -> Event:
    """Another word of the same length."""
    return event._replace(data=(event.data or b"").replace(b"one", b"two"))


def test_a_page_is_of_one_run(kept: tuple[Path, dict[str, UUID]]) -> None:
    path, _ = kept
    done = invoke("export", "--format", "html", store=path)
    assert (done.exit_code, "a page is of one run" in done.output) == (2, True)


def test_what_a_model_wrote_is_not_obeyed(window: Browser, tmp_path: Path) -> None:
    """In its text, a tool's name and arguments, an event's name, a header, a parameter, a tag: as text, and no more."""
    frames = [b"event: %b\ndata: {}\n\n" % ATTEMPTS[1].encode()]
    for attempt in ATTEMPTS:
        frames += said(attempt)[:-1]
    entry = chat(
        ATTEMPTS[0],
        [*frames, *said()],
        headers=(("content-type", "text/event-stream"), ("x-note", ATTEMPTS[1])),
        tags={ATTEMPTS[3]: ATTEMPTS[2]},
    )
    request = replace(entry.recording.request, url=f"https://api.openai.com/v1/chat/completions?q={ATTEMPTS[2]}")
    with Store.open(tmp_path / "a.db", create=True) as store:
        recording = put(store, replace(entry.recording, request=request), list(entry.events))
    path = tmp_path / "page.html"
    text = page(tmp_path / "a.db", recording.recording_id, path)
    assert not re.search("[\u202a-\u202e\x00-\x08\x0b-\x1f]", text)
    with browser.opened(window, path) as (seen, wrong):
        for each in seen.locator("details").all():
            each.evaluate("each => { each.open = true }")
        assert wrong == []
        assert seen.locator("script, img, a, iframe, link, form, [onload], [onerror]").count() == 0
        assert seen.locator("style").count() == 1
        shown = seen.locator("body").inner_text()
        assert all(attempt in shown for attempt in ATTEMPTS[:5])


@pytest.mark.parametrize(
    ("name", "looks"),
    [("light", {}), ("dark-phone", {"color_scheme": "dark", "viewport": {"width": 390, "height": 844}})],
)
def test_it_can_be_read_anywhere_and_printed(
    window: Browser, kept: tuple[Path, dict[str, UUID]], tmp_path: Path, name: str, looks: dict[str, object]
) -> None:
    """Without scripts, on a phone, on paper."""
    path, ids = kept
    page(path, ids["assistants-approval"], tmp_path / "a.html")
    with browser.opened(window, tmp_path / "a.html", java_script_enabled=True, **looks) as (seen, wrong):
        assert browser.photographed(seen, ROOT / "build" / "screenshots", f"ticket-{name}")
        assert seen.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth") == 0
        seen.emulate_media(media="print")
        assert seen.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
        assert wrong == []
