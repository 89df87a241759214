"""A real browser for tests: Chromium without a window, driven by playwright, and what it asks for and complains of."""

from __future__ import annotations

import importlib.util
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Dialog, Page, Request

__all__ = ["absent", "chromium", "opened", "photographed", "program"]

#: No sandbox, because CI is root; and nothing that a browser does for itself on the network.
_ARGUMENTS: Final = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)

#: The height of a picture.
_PICTURE: Final = 3000


def program() -> str | None:
    """Where Chromium is."""
    return next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


def absent() -> str | None:
    """What is missing, if anything."""
    if program() is None:
        return "no Chromium (apt-get install chromium)"
    return None if importlib.util.find_spec("playwright") else "playwright is not installed"


@contextmanager
def chromium() -> Iterator[Browser]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program(), args=list(_ARGUMENTS))
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def opened(browser: Browser, path: Path, **looks: Any) -> Iterator[tuple[Page, list[str]]]:
    """The file in a window of its own, and what went wrong: words on the console, errors, requests for anything else.

    A breach of the page's policy is a word on the console.
    """
    context = browser.new_context(**{"viewport": {"width": 1280, "height": 900}, **looks})
    wrong: list[str] = []
    page = context.new_page()
    url = path.as_uri()

    def asks(request: Request) -> None:
        if request.url.partition("#")[0] != url:
            wrong.append(f"request: {request.url}")

    def interrupts(dialog: Dialog) -> None:
        wrong.append(f"dialog: {dialog.message}")
        dialog.dismiss()

    page.on("console", lambda message: wrong.append(f"console: {message.text}"))
    page.on("pageerror", lambda error: wrong.append(f"error: {error}"))
    page.on("dialog", interrupts)
    page.on("request", asks)
    try:
        page.goto(url)
        yield page, wrong
    finally:
        context.close()


def photographed(page: Page, folder: Path, name: str) -> list[Path]:
    """Pictures of the whole page, from top to bottom; a single one could be higher than the browser can draw."""
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob(f"{name}-*.png"):
        old.unlink()
    wide, high = page.evaluate("[document.documentElement.clientWidth, document.documentElement.scrollHeight]")
    paths = []
    for number, top in enumerate(range(0, high, _PICTURE)):
        path = folder / f"{name}-{number + 1}.png"
        clip = {"x": 0, "y": top, "width": wide, "height": min(_PICTURE, high - top)}
        page.screenshot(path=path, full_page=True, clip=clip)  # type: ignore[arg-type]
        paths.append(path)
    return paths
