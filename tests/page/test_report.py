"""The files that `--output FILE.html` writes: opened from the disk they draw with the page's chart and load nothing."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from conftest import HERE
from page.browser import NARROW, SHOTS, WIDE, Host, Watched, table
from playwright.sync_api import Browser, Page

pytestmark = pytest.mark.slow
# Shares of the canvas that are not transparent, and that are red as a mark is.
INK = """canvas => {
  const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
  let [drawn, red] = [0, 0];
  for (let i = 0; i < data.length; i += 4) {
    drawn += data[i + 3] > 0;
    red += data[i + 3] > 200 && data[i] > 150 && data[i + 1] < 80 && data[i + 2] < 80;
  }
  return [drawn / (data.length / 4), red];
}"""


@pytest.fixture
def open_file(browser: Browser) -> Iterator[Callable[..., Page]]:
    """Open a file; at the end nothing but it was asked for, no error was logged, and axe finds nothing serious."""
    opened: list[Watched] = []

    def open_(file: Path, language: str = "en-US", size: dict[str, int] = WIDE) -> Page:
        page = browser.new_context(locale=language, viewport=size, accept_downloads=True).new_page()
        watched = Watched(page, file.as_uri())
        page.on("request", lambda request: watched.asked.append(request.url))
        page.on("pageerror", lambda error: watched.complaints.append(str(error)))
        page.on("console", lambda said: said.type in ("error", "warning") and watched.complaints.append(said.text))
        page.goto(file.as_uri())
        page.wait_for_selector("[data-drawn]")
        opened.append(watched)
        return page

    yield open_
    for watched in opened:
        assert [url for url in watched.asked if not url.startswith("blob:")] == [watched.origin]
        assert not watched.complaints, watched.complaints
        found = Axe().run(watched.page, options={"resultTypes": ["violations"]}).response["violations"]
        serious = [one for one in found if one["impact"] in ("serious", "critical", "moderate")]
        assert [(one["id"], one["nodes"][0]["html"]) for one in serious] == []
        watched.page.context.close()


def tsfm(host: Host, *words: object) -> str:
    environment = os.environ | {"PYTHONPATH": str(HERE.parent / "src"), "TSFM_INI": str(host.ini)}
    command = [sys.executable, "-m", "tsfm", *map(str, words)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout


def shot(page: Page, name: str) -> None:
    SHOTS.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=SHOTS / f"{name}.png", full_page=True)


def canvas(page: Page, at: int = 0) -> tuple[float, int]:
    drawn, red = page.locator(".chart canvas").nth(at).evaluate(INK)
    return drawn, red


def test_a_forecast_is_drawn_by_the_pages_chart_and_its_numbers_are_those_of_json(
    host: Host, open_file: Callable[..., Page], tmp_path: Path
) -> None:
    file = tmp_path / "o.html"
    source = HERE.parent / "src/tsfm/share/nino12.csv"
    said = json.loads(tsfm(host, "forecast", source, "--horizon", 12, "--json", "--output", file))
    page = open_file(file)
    assert canvas(page)[0] > 0.02
    assert page.locator(".u-legend .u-label").all_text_contents()[:3] == ["Time", "history", "fracast, 80 %"]
    page.get_by_text("Numbers").click()
    rows = table(page, "details")
    (one,) = said["predictions"]
    assert [row[0] for row in rows] == one["timestamps"]
    assert [float(row[1]) for row in rows] == pytest.approx(one["mean"], abs=0.01)
    before = page.evaluate("document.querySelector('.u-over').getBoundingClientRect().width")
    assert before > 500
    shot(page, "report-forecast")
    with page.expect_download() as download:
        page.get_by_role("button", name="PNG").click()
    assert Path(download.value.path()).read_bytes().startswith(b"\x89PNG")


def test_the_policy_of_a_file_lets_nothing_else_run_and_names_cannot_leave_their_place(
    host: Host, open_file: Callable[..., Page], tmp_path: Path
) -> None:
    source, file = tmp_path / "x.csv", tmp_path / "o.html"
    name = "</script><img src=x onerror=alert(1)> & <!--"
    rows = [f'"{name}",{row},{row % 7}' for row in range(60)]
    source.write_text("\n".join(("meter,n,v", *rows)) + "\n")
    tsfm(host, "forecast", source, "--id", "meter", "--column", "v", "--horizon", 4, "--output", file)
    page = open_file(file, "zh-CN", NARROW)
    assert page.locator("h2").text_content() == name
    assert page.locator("summary").text_content() == "数值"
    assert page.evaluate("document.documentElement.scrollWidth") <= NARROW["width"]
    shot(page, "report-zh-narrow")
    policy = re.search(r'http-equiv="Content-Security-Policy" content="([^"]*)"', file.read_text())
    assert policy
    assert "unsafe" not in policy[1]
    assert policy[1].startswith("default-src 'none'; script-src 'sha256-")
    text = file.read_text()
    other = tmp_path / "other.html"
    other.write_text(text.replace("</main>", "</main><script>document.title = 'changed'</script>"))
    again = page.context.new_page()
    again.goto(other.as_uri())
    again.wait_for_selector("[data-drawn]")
    assert again.title() == "Forecast by fracast"


def test_a_backtest_shows_every_family_over_what_was_hidden(
    host: Host, open_file: Callable[..., Page], tmp_path: Path
) -> None:
    file = tmp_path / "o.html"
    source = HERE.parent / "src/tsfm/share/meters.csv"
    words = ("--id", "meter_id", "--horizon", 24, "--family", "fracast,chronos", "--json", "--output", file)
    said = json.loads(tsfm(host, "backtest", source, *words))
    page = open_file(file)
    assert page.locator("[data-plot]").count() == 3
    rows = table(page, "section:first-of-type")
    assert [row[0] for row in rows] == [*(one["family"] for one in said), "seasonal naive"]
    for row, one in zip(rows, said, strict=False):
        assert [float(cell) for cell in row[1:3]] == pytest.approx(
            [one["metrics"][name] for name in ("mase", "wql")], rel=1e-3
        )
    page.locator("[data-plot]").last.scroll_into_view_if_needed()
    page.wait_for_function("document.querySelectorAll('[data-drawn]').length === 3")
    assert min(canvas(page, at)[0] for at in range(3)) > 0.02
    labels = page.locator("[data-plot]").last.locator(".u-legend .u-series:not(.edge) .u-label").all_text_contents()
    assert labels == ["Time", "history", *(one["family"] for one in said)]
    shot(page, "report-backtest")


def test_anomalies_are_marked_where_they_are(host: Host, open_file: Callable[..., Page], tmp_path: Path) -> None:
    source, file = tmp_path / "x.csv", tmp_path / "o.html"
    rows = [
        f"2026-03-{1 + h // 24:02} {h % 24:02}:00,{60 if h == 200 else 10 + h % 12 + h * 37 % 11 / 20}"
        for h in range(240)
    ]
    source.write_text("\n".join(("ts,v", *rows)) + "\n")
    said = json.loads(tsfm(host, "detect", source, "--json", "--output", file))
    (one,) = said["predictions"]
    flagged = [at for at, flag in enumerate(one["anomaly"]) if flag]
    assert 200 in flagged
    page = open_file(file)
    drawn, red = canvas(page)
    assert drawn > 0.02
    assert red > 20
    page.get_by_text("Numbers").click()
    rows_ = table(page, "details")
    assert [row[0] for row in rows_] == [one["timestamps"][at] for at in flagged]
    assert [float(row[-1]) for row in rows_] == pytest.approx([one["score"][at] for at in flagged], abs=1e-6)
    shot(page, "report-anomalies")
