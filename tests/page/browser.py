"""Hosts and pages of the tests in a browser."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from conftest import HERE, Live
from playwright.sync_api import Page

SHOTS = HERE.parent / "build/page"
WIDE, NARROW = {"width": 1280, "height": 900}, {"width": 390, "height": 844}


@dataclass
class Host:
    """Services that find each other by one tsfm.ini."""

    ini: Path
    ports: dict[str, int]
    lives: dict[str, Live] = field(default_factory=dict)

    def url(self, family: str) -> str:
        return f"http://127.0.0.1:{self.ports[family]}"

    def start(self, family: str, folder: Path) -> None:
        options = ["--port", str(self.ports[family]), "--threads", "1"]
        self.lives[family] = Live(family, *options, log=folder / f"{family}.log", env={"TSFM_INI": str(self.ini)})
        self.lives[family].port = self.ports[family]


@dataclass
class Watched:
    """A page with everything that it asked for and complained about."""

    page: Page
    origin: str
    asked: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)
    may_complain: bool = False

    def shot(self, name: str) -> None:
        SHOTS.mkdir(parents=True, exist_ok=True)
        self.page.screenshot(path=SHOTS / f"{name}.png", full_page=True)

    def check(self) -> None:
        foreign = [url for url in self.asked if "{0.scheme}://{0.netloc}".format(urlsplit(url)) != self.origin]
        foreign = [url for url in foreign if not url.startswith(("blob:", "data:"))]
        assert not foreign, foreign
        assert self.asked
        if not self.may_complain:
            assert not self.complaints, self.complaints


Open = Callable[..., Watched]


def table(page: Page, selector: str) -> list[list[str]]:
    """The cells of a table's body."""
    rows: list[list[str]] = page.eval_on_selector_all(
        f"{selector} tbody tr", "rows => rows.map(row => [...row.children].map(cell => cell.textContent))"
    )
    return rows
