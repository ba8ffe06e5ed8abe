"""The page in a real browser: Debian's Chromium, and services of this checkout on loopback."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import pytest
from checkpoints import chronos, moment
from conftest import free_port
from page.browser import WIDE, Host, Open, Watched
from playwright.sync_api import Browser, BrowserContext, sync_playwright

FAMILIES = ("fracast", "chronos", "moment")


@pytest.fixture(scope="session")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    """Fracast with its own weights, Chronos and MOMENT with small random ones."""
    folder = tmp_path_factory.mktemp("host")
    ports = {family: free_port() for family in FAMILIES}
    sections = []
    for family in FAMILIES:
        weights = folder / family
        weights.mkdir()
        if make := {"chronos": chronos.make, "moment": moment.make}.get(family):
            make(weights)
        own = f"model_folder = {weights}\n" if make else ""
        sections.append(f"[{family}]\nport = {ports[family]}\ndtype = float32\n{own}")
    (folder / "tsfm.ini").write_text("\n".join(sections))
    started = Host(folder / "tsfm.ini", ports)
    for family in FAMILIES:
        started.start(family, folder)
    for live in started.lives.values():
        live.until_ready()
    yield started
    for live in started.lives.values():
        assert live.stop() == 0
        assert "Traceback" not in live.log.read_text()


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Chromium without a sandbox of its own: the tests run as root."""
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        yield chromium
        chromium.close()


@pytest.fixture
def open_page(browser: Browser) -> Iterator[Open]:
    """Open the page of a service; at the end nothing was asked of another origin and no error was logged."""
    contexts: list[BrowserContext] = []
    pages: list[Watched] = []

    def opened(url: str, language: str = "en-US", size: dict[str, int] = WIDE, ready: bool = True) -> Watched:
        context = browser.new_context(locale=language, viewport=size, accept_downloads=True)
        context.grant_permissions(["clipboard-read", "clipboard-write"])
        contexts.append(context)
        page = context.new_page()
        watched = Watched(page, url)
        page.on("request", lambda request: watched.asked.append(request.url))
        page.on("pageerror", lambda error: watched.complaints.append(str(error)))
        page.on("console", lambda said: said.type in ("error", "warning") and watched.complaints.append(said.text))
        page.goto(url)
        if ready:
            page.wait_for_selector("body[data-ready]")
        pages.append(watched)
        return watched

    yield opened
    for watched in pages:
        watched.check()
    for context in contexts:
        context.close()
