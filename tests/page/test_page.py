"""What a person does on the page, each step clicked in Chromium and compared with the API's own numbers."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import struct
import subprocess
import sys
import threading
import zlib
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe
from conftest import HERE, Live
from page.browser import NARROW, WIDE, Host, Open, table
from playwright.sync_api import Page, expect

pytestmark = pytest.mark.slow

DAYS = range(1, 29)
SHARE = HERE.parent / "src/tsfm/share"
LANGUAGES = {"en-US": ("Forecast", "fracast is ready"), "zh-CN": ("预测", "fracast：就绪")}
COLOURS = {"history": (43, 54, 68), "fracast": (29, 79, 145), "chronos": (168, 80, 11), "anomaly": (208, 49, 45)}
JUDGED = ("expected", "lower", "upper", "score", "anomaly")
PIXELS = """() => {
  const canvas = document.querySelector('.uplot canvas');
  const copy = new OffscreenCanvas(canvas.width, canvas.height).getContext('2d', {willReadFrequently: true});
  copy.drawImage(canvas, 0, 0);
  const {data} = copy.getImageData(0, 0, canvas.width, canvas.height);
  const found = {};
  for (let i = 0; i < data.length; i += 4)
    if (data[i + 3] > 250) {
      const key = `${data[i]},${data[i + 1]},${data[i + 2]}`;
      found[key] = (found[key] ?? 0) + 1;
    }
  return found;
}"""


def sample(name: str) -> list[dict[str, str]]:
    return list(csv.DictReader((SHARE / name).read_text().splitlines()))


def asked(series: list[float | None], steps: int, tail: float = 0.1, **more: int) -> dict[str, object]:
    parameters = {"prediction_length": steps, "quantile_levels": [tail, 0.5, round(1 - tail, 6)], **more}
    return {"inputs": [{"target": series}], "parameters": parameters}


def forecast_of(live: Live, series: list[float | None], steps: int, tail: float = 0.1) -> np.ndarray:
    """Median, lower and upper of the API, shape (steps, 3)."""
    (prediction,) = live.post("/v1/forecast", asked(series, steps, tail)).json["predictions"]
    return np.array([prediction[key] for key in ("0.5", str(tail), str(round(1 - tail, 6)))]).T


def judged(live: Live, series: list[float | None], level: float) -> dict[str, list]:
    """What the API says of each point."""
    request = {"inputs": [{"target": series}], "parameters": {"level": level}}
    (prediction,) = live.post("/v1/anomaly_detection", request).json["predictions"]
    return prediction


def meter(name: str) -> tuple[list[str], list[float | None]]:
    """Times and values of one of the meters of the samples."""
    rows = [row for row in sample("meters.csv") if row["meter_id"] == name]
    return [row["ts"].removesuffix(" 00:00:00") for row in rows], [
        float(row["kw"]) if row["kw"] else None for row in rows
    ]


def shown(page: Page) -> np.ndarray:
    """The numbers of the table, shape (steps, columns)."""
    return np.array([[float(cell) for cell in row[1:]] for row in table(page, "#numbers")])


def run(page: Page) -> None:
    """Click the button and wait until the answer is drawn."""
    page.click("#run")
    page.wait_for_selector("body[aria-busy=false] #numbers tbody tr")


def drawn(page: Page) -> dict[tuple[int, ...], int]:
    """How many opaque pixels of each colour the chart has."""
    return {tuple(map(int, key.split(","))): count for key, count in page.evaluate(PIXELS).items()}


def pixels(page: Page, colour: str) -> int:
    """How many pixels of the chart have about this colour: Chromium mixes the edges of lines."""
    return sum(n for found, n in drawn(page).items() if np.abs(np.subtract(found, COLOURS[colour])).max() <= 3)


def png_size(data: bytes) -> tuple[int, int]:
    return struct.unpack(">II", data[16:24])


@pytest.fixture(scope="module")
def celsius() -> list[float]:
    return [float(row["celsius"]) for row in sample("nino12.csv")]


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("size", [WIDE, NARROW], ids=["wide", "narrow"])
def test_the_first_sample_is_forecast_with_the_numbers_of_the_api(
    host: Host, open_page: Open, celsius: list[float], language: str, size: dict[str, int]
) -> None:
    watched = open_page(host.url("fracast"), language, size)
    page, (button, state) = watched.page, LANGUAGES[language]
    expect(page.locator("#run")).to_have_text(button)
    expect(page.locator("#serving")).to_have_text(state)
    assert pixels(page, "history") > 100
    assert not pixels(page, "fracast")
    run(page)
    np.testing.assert_allclose(shown(page), forecast_of(host.lives["fracast"], celsius, 24), rtol=1e-5)
    assert [row[0] for row in table(page, "#numbers")][:2] == ["2011-01-01", "2011-02-01"]
    assert pixels(page, "fracast") > 30
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), "it scrolls sideways"
    watched.shot(f"forecast-{language[:2]}-{size['width']}")


def test_horizon_and_interval_are_used(host: Host, open_page: Open, celsius: list[float]) -> None:
    page = open_page(host.url("fracast")).page
    page.fill("#horizon", "7")
    page.select_option("#interval", "0.95")
    run(page)
    np.testing.assert_allclose(shown(page), forecast_of(host.lives["fracast"], celsius, 7, 0.025), rtol=1e-5)
    page.fill("#horizon", "0")
    page.click("#run")
    assert page.evaluate("document.activeElement.id") == "horizon"
    assert len(shown(page)) == 7


def test_two_models_are_compared_side_by_side(host: Host, open_page: Open, celsius: list[float]) -> None:
    watched = open_page(host.url("fracast"))
    page = watched.page
    page.check("#models input[value=chronos]")
    run(page)
    expected = [forecast_of(host.lives[family], celsius, 24) for family in ("fracast", "chronos")]
    np.testing.assert_allclose(shown(page), np.hstack(expected), rtol=1e-5)
    heads = page.eval_on_selector_all("#numbers thead tr:first-child th", "cells => cells.map(c => c.textContent)")
    assert heads[1:] == ["fracast", "chronos"]
    assert min(pixels(page, "fracast"), pixels(page, "chronos")) > 30
    assert page.locator("#models a").get_attribute("href") == host.url("moment") + "/"
    watched.shot("comparison")


def test_the_backtest_compares_all_models_and_seasonal_naive_by_the_errors_of_the_api(
    host: Host, open_page: Open, celsius: list[float]
) -> None:
    watched = open_page(host.url("fracast"))
    page = watched.page
    page.click("#choose-all")
    page.check("#backtest")
    page.fill("#windows", "2")
    page.fill("#horizon", "12")
    run(page)
    request = asked(celsius, 12, n_windows=2, step_size=12)
    answers = {
        family: host.lives[family].post("/v1/cross_validation", request).json["predictions"][0]
        for family in ("fracast", "chronos")
    }
    rows = {row[0]: row[1:] for row in table(page, "#scores")}
    naive = f"seasonal naive (season of {answers['fracast']['season_length']})"
    assert set(rows) == {*answers, naive}
    scores = {family: answer["metrics"] for family, answer in answers.items()}
    scores[naive] = answers["fracast"]["seasonal_naive"]
    for name, metrics in scores.items():
        covered = metrics["coverage"]["0.9"] - metrics["coverage"]["0.1"]
        expected = [f"{metrics[metric]:.3f}" for metric in ("mase", "rmsse", "wql")]
        assert rows[name][:4] == [*expected, f"{round(100 * covered, 1):g} %"]
        seconds, memory = rows[name][4:]
        if name == naive:
            assert (seconds, memory) == ("–", "–")
        else:
            assert 0 < float(seconds) < 60
            assert 50 < int(memory.removesuffix(" MiB")) < 4000
    first, second, _ = sorted(scores, key=lambda name: scores[name]["mase"])
    best, next_best = scores[first]["mase"], scores[second]["mase"]
    less = f"{round(100 * (1 - best / next_best), 1):g} %"
    said = f"{first} has the lowest MASE, {best:.3f}: {less} lower than {second}, {next_best:.3f}."
    expect(page.locator("#scores-hint strong")).to_have_text(said)
    assert min(pixels(page, "fracast"), pixels(page, "chronos")) > 60
    watched.shot("backtest")


@pytest.mark.parametrize(("language", "size"), [("en-US", WIDE), ("zh-CN", NARROW)], ids=["wide", "narrow"])
def test_anomalies_are_marked_listed_and_saved_with_the_numbers_of_the_api(
    host: Host, open_page: Open, tmp_path: Path, language: str, size: dict[str, int]
) -> None:
    watched = open_page(host.url("fracast"), language, size)
    page = watched.page
    page.select_option("#sample", "meters.csv")
    expect(page.locator("#chart-title")).to_have_text("meters.csv · kw · workshop")
    page.click("#choose-all")
    page.check("#detect")
    page.select_option("#level", "0.95")
    assert not pixels(page, "anomaly")
    run(page)
    times, series = meter("workshop")
    answers = {family: judged(host.lives[family], series, 0.95) for family in ("fracast", "chronos")}
    found = [(at, family) for at in range(len(series)) for family, one in answers.items() if one["anomaly"][at]]
    rows = table(page, "#anomalies")
    assert [row[:2] for row in rows] == [[times[at], family] for at, family in found]
    for row, (at, family) in zip(rows, found, strict=True):
        values = [float(cell) for cell in (*row[2:4], *row[4].split(" … "), row[5])]
        expected = [series[at], *(answers[family][name][at] for name in JUDGED[:4])]
        np.testing.assert_allclose(values, expected, rtol=1e-5)
    for family, note in zip(answers, page.locator("#anomalies-notes li").all_inner_texts(), strict=True):
        flags, scores = answers[family]["anomaly"], answers[family]["score"]
        counts = [flags.count(True), len(scores) - scores.count(None), flags.count(None)]
        assert sorted(map(int, re.findall(r"\d+(?!\d| %)", note))) == sorted(counts), note
        assert note in page.inner_text("#live")
        assert note in page.inner_text("#chart-words")
    assert pixels(page, "anomaly") > 30
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), "it scrolls sideways"
    watched.shot(f"anomalies-{language[:2]}-{size['width']}")
    before = drawn(page)
    page.focus("#anomalies tbody .link")
    page.keyboard.press("Enter")
    expect(page.locator("#live")).to_contain_text(rows[0][4])
    expect(page.locator(".u-legend")).to_contain_text(rows[0][0])
    assert drawn(page) != before, "the chart did not move to the point"
    found_by_axe = Axe().run(page).response["violations"]
    assert [one["id"] for one in found_by_axe if one["impact"] in ("serious", "critical", "moderate")] == []
    saved_and_copied(page, host, tmp_path, (times, series), answers)


def saved_and_copied(
    page: Page, host: Host, folder: Path, known: tuple[list[str], list[float | None]], answers: dict[str, dict]
) -> None:
    """The file of judged points has all digits, and the code asks for the same."""
    times, series = known
    with page.expect_download() as saved:
        page.click("#save-judged")
    assert saved.value.suggested_filename == "meters.csv-kw-workshop.anomalies.csv"
    rows = list(csv.DictReader(io.StringIO(Path(saved.value.path()).read_text())))
    assert list(rows[0]) == ["model", "time", "value", *JUDGED]
    assert [(row["model"], row["time"]) for row in rows] == [(family, time) for family in answers for time in times]
    for family, answer in answers.items():
        mine = [row for row in rows if row["model"] == family]
        assert [float(row["value"]) if row["value"] else None for row in mine] == series
        for name in JUDGED[:4]:
            written = [float(row[name]) if row[name] else np.nan for row in mine]
            np.testing.assert_allclose(written, np.array(answer[name], float), rtol=1e-12, err_msg=name)
        assert [json.loads(row["anomaly"] or "null") for row in mine] == answer["anomaly"]
    page.check('input[name="code-of"][value=anomaly_detection]', force=True)
    with page.expect_download() as saved:
        page.click("#save-request")
    saved.value.save_as(folder / "request.json")
    for kind, command in {"curl": ["sh", "-c"], "python": [sys.executable, "-c"]}.items():
        page.check(f'input[name="code"][value={kind}]', force=True)
        code = page.inner_text("#code")
        ended = subprocess.run([*command, code], cwd=folder, capture_output=True, text=True, timeout=60, check=True)
        answer = json.loads(ended.stdout)
        assert (answer["predictions"][0] if kind == "curl" else answer)["anomaly"] == answers["fracast"]["anomaly"]
    page.check('input[name="code"][value=sql]', force=True)
    expect(page.locator("#code")).to_contain_text("ANOMALY_WINDOW(kw, 'algo=tsfm_fracast,level=0.95');")


def test_a_model_that_fills_gaps_marks_anomalies_by_reconstruction(host: Host, open_page: Open) -> None:
    page = open_page(host.url("moment")).page
    page.select_option("#sample", "meters.csv")
    expect(page.locator("#chart-title")).to_have_text("meters.csv · kw · workshop")
    page.check("#detect")
    page.select_option("#level", "0.9")
    expect(page.locator("#run")).to_have_text("Fill the gaps + anomalies")
    page.click("#run")
    page.wait_for_selector("body[aria-busy=false] #anomalies tbody tr")
    times, series = meter("workshop")
    answer = judged(host.lives["moment"], series, 0.9)
    found = [at for at, flag in enumerate(answer["anomaly"]) if flag]
    rows = table(page, "#anomalies")
    assert [row[:2] for row in rows] == [[times[at], "moment"] for at in found]
    values = [[float(cell) for cell in (row[2], row[3], row[5])] for row in rows]
    expected = [[series[at], answer["expected"][at], answer["score"][at]] for at in found]
    np.testing.assert_allclose(values, expected, rtol=1e-5)


def test_a_file_is_dropped_and_its_columns_are_chosen(host: Host, open_page: Open) -> None:
    page = open_page(host.url("fracast")).page
    text = "day;site;load;heat\n" + "".join(
        f"{day:02d}.03.2026;{site};{day * 2 + at},5;{day * 3 - at},25\n"
        for day in range(1, 29)
        for at, site in enumerate("AB")
    )
    page.evaluate(
        """text => {
          const transfer = new DataTransfer();
          transfer.items.add(new File([text], "plant.csv", {type: "text/csv"}));
          for (const kind of ["dragover", "drop"])
            document.body.dispatchEvent(new DragEvent(kind, {dataTransfer: transfer, bubbles: true, cancelable: true}));
        }""",
        text,
    )
    expect(page.locator("#chart-title")).to_have_text("plant.csv · heat · A")
    page.select_option("#series", "B")
    page.select_option("#value-column", label="load")
    expect(page.locator("#chart-title")).to_have_text("plant.csv · load · B")
    expect(page.locator("#summary")).to_have_text("28 rows · 2026-03-01 to 2026-03-28 · step D")
    page.fill("#horizon", "3")
    run(page)
    series = [day * 2 + 1.5 for day in DAYS]
    np.testing.assert_allclose(shown(page), forecast_of(host.lives["fracast"], series, 3), rtol=1e-5)
    assert [row[0] for row in table(page, "#numbers")] == ["2026-03-29", "2026-03-30", "2026-03-31"]


def test_pasted_text_is_read_and_what_is_doubtful_is_said_in_words(host: Host, open_page: Open) -> None:
    watched = open_page(host.url("fracast"))
    page, watched.may_complain = watched.page, True
    page.check("input[name=source][value=paste]", force=True)
    rows = "".join(f"{i};{i % 7 + 1},{i:03d}\n" for i in range(1, 31))
    page.fill("#pasted", "n;<img src=x onerror=alert(1)>\n" + rows)
    page.click("#read-pasted")
    expect(page.locator("#message")).to_contain_text("give the decimal sign")
    expect(page.locator("#message")).to_contain_text("Something in the data or in the settings is wrong")
    page.click("details summary")
    page.select_option("#decimal", ",")
    expect(page.locator("#message")).to_be_hidden()
    expect(page.locator("#summary")).to_have_text("30 rows")
    expect(page.locator("#chart-title")).to_have_text("pasted text · <img src=x onerror=alert(1)>")
    page.fill("#horizon", "2")
    run(page)
    assert [row[0] for row in table(page, "#numbers")] == ["31", "32"]
    series = [i % 7 + 1 + i / 1000 for i in range(1, 31)]
    np.testing.assert_allclose(shown(page), forecast_of(host.lives["fracast"], series, 2), rtol=1e-5)


def test_zoom_by_drag_by_buttons_and_the_values_under_the_pointer(host: Host, open_page: Open) -> None:
    page = open_page(host.url("fracast")).page
    run(page)
    over = page.locator(".u-over")
    before = drawn(page)
    box = over.bounding_box()
    page.mouse.move(box["x"] + box["width"] * 0.9, box["y"] + 50)
    expect(page.locator(".u-legend")).to_contain_text(re.compile(r"Time20\d\d-\d\d-01history(\d|–)"))
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.99, box["y"] + 60, steps=4)
    page.mouse.up()
    zoomed = drawn(page)
    assert zoomed != before
    page.keyboard.press("Escape")
    for button in ("#zoom-out", "#earlier", "#later", "#zoom-in", "#zoom-reset"):
        page.focus(button)
        last = drawn(page)
        page.keyboard.press("Enter")
        assert drawn(page) != last, button
    over.dblclick()


def test_the_downloads_have_the_numbers_and_the_picture(host: Host, open_page: Open, celsius: list[float]) -> None:
    page = open_page(host.url("fracast")).page
    run(page)
    with page.expect_download() as saved:
        page.click("#save-csv")
    assert saved.value.suggested_filename == "nino12.csv-celsius.csv"
    rows = list(csv.DictReader(io.StringIO(Path(saved.value.path()).read_text())))
    assert rows[0]["model"] == "fracast"
    assert rows[0]["time"] == "2011-01-01"
    values = [[float(row[key]) for key in ("median", "lower", "upper")] for row in rows]
    np.testing.assert_allclose(values, forecast_of(host.lives["fracast"], celsius, 24), rtol=1e-12)
    with page.expect_download() as saved:
        page.click("#save-png")
    picture = Path(saved.value.path()).read_bytes()
    width, height = png_size(picture)
    assert width > 600
    assert height > 400
    at, packed = 8, b""
    while at < len(picture):
        size, kind = struct.unpack(">I4s", picture[at : at + 8])
        packed += picture[at + 8 : at + 8 + size] if kind == b"IDAT" else b""
        at += size + 12
    assert len(set(zlib.decompress(packed))) > 20  # lines, bands and letters, no empty sheet


@pytest.mark.parametrize("source", ["pasted", "nino12"])
def test_the_code_gives_the_numbers_that_are_shown(host: Host, open_page: Open, tmp_path: Path, source: str) -> None:
    page = open_page(host.url("fracast")).page
    if source == "pasted":
        page.check("input[name=source][value=paste]", force=True)
        page.fill("#pasted", "time,it's\n" + "".join(f"2026-03-{i:02d},{i % 5}\n" for i in range(1, 31)))
        page.click("#read-pasted")
        expect(page.locator("#summary")).to_contain_text("30 rows")
    page.fill("#horizon", "4")
    run(page)
    if source == "nino12":
        with page.expect_download() as saved:
            page.click("#save-request")
        saved.value.save_as(tmp_path / "request.json")
    expected = shown(page)
    commands = {"curl": ["sh", "-c"], "python": [sys.executable, "-c"]}
    for kind, command in commands.items():
        page.check(f"input[name=code][value={kind}]", force=True)
        page.click("#copy")
        expect(page.locator("#copy")).to_have_text("Copied")
        code = page.evaluate("navigator.clipboard.readText()")
        environment = os.environ | {"no_proxy": "*"}
        ended = subprocess.run(
            [*command, code], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60, check=True
        )
        answer = json.loads(ended.stdout)
        prediction = answer["predictions"][0] if kind == "curl" else answer
        np.testing.assert_allclose([prediction[key] for key in ("0.5", "0.1", "0.9")], expected.T, rtol=1e-5)
    page.check("input[name=code][value=sql]", force=True)
    column = "celsius" if source == "nino12" else "`it's`"
    expect(page.locator("#code")).to_contain_text(
        f"SELECT _frowts, _flow, _fhigh, FORECAST({column}, 'algo=fracast,rows=4,conf=0.8')"
    )


@pytest.mark.parametrize("language", LANGUAGES)
def test_gaps_are_filled_where_the_model_fills_gaps(host: Host, open_page: Open, language: str) -> None:
    watched = open_page(host.url("moment"), language)
    page = watched.page
    expect(page.locator("#forecast-options")).to_be_hidden()
    page.select_option("#sample", "meters.csv")
    expect(page.locator("#chart-title")).to_have_text("meters.csv · kw · workshop")
    page.select_option("#series", "office")
    expect(page.locator("#chart-title")).to_have_text("meters.csv · kw · office")
    run(page)
    rows = [row for row in sample("meters.csv") if row["meter_id"] == "office"]
    series = [float(row["kw"]) if row["kw"] else None for row in rows]
    (prediction,) = host.lives["moment"].post("/v1/imputation", {"inputs": [{"target": series}]}).json["predictions"]
    filled = [
        (row["ts"], value)
        for row, value, gap in zip(rows, prediction["target"], prediction["mask"], strict=True)
        if gap
    ]
    assert [row[0] for row in table(page, "#numbers")] == [time for time, _ in filled]
    np.testing.assert_allclose(shown(page)[:, 0], [value for _, value in filled], rtol=1e-5)
    page.check("input[name=code][value=sql]", force=True)
    expect(page.locator("#code")).to_contain_text("SELECT _improwts, IMPUTATION(kw, 'algo=moment,freq=")
    watched.shot(f"gaps-{language[:2]}")


def test_the_language_is_switched(host: Host, open_page: Open) -> None:
    page = open_page(host.url("fracast")).page
    run(page)
    words = words_of(page)
    page.select_option("#language", "zh")
    assert page.get_attribute("html", "lang") == "zh-CN"
    expect(page.locator("#run")).to_have_text("预测")
    expect(page.locator("#numbers thead")).to_contain_text("中位数")
    assert len(shown(page)) == 24
    page.select_option("#language", "en")
    assert words_of(page) == words


def words_of(page: Page) -> str:
    """All words but the service's own figures, which change while the page is looked at."""
    return page.evaluate(
        """() => {
          const copy = document.querySelector("main").cloneNode(true);
          for (const figure of copy.querySelectorAll("#facts dd")) figure.remove();
          return copy.textContent;
        }"""
    )


def test_it_works_with_the_keyboard_alone(host: Host, open_page: Open) -> None:
    page = open_page(host.url("fracast")).page
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    reached = []
    for _ in range(40):
        page.keyboard.press("Tab")
        focused = page.evaluate("(e => e.id || e.name || e.value)(document.activeElement)")
        reached.append(focused)
        if focused == "run":
            break
    steps = {"language", "source", "sample", "time-column", "value-column", "fracast", "horizon", "interval", "detect"}
    assert steps <= set(reached)
    page.keyboard.press("Enter")
    page.wait_for_selector("#numbers tbody tr")
    expect(page.locator("#live")).to_have_text("fracast: 24 steps are shown.")
    assert page.evaluate("document.activeElement.id") == "run", "the focus was lost"


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("size", [WIDE, NARROW], ids=["wide", "narrow"])
def test_axe_finds_nothing_serious(host: Host, open_page: Open, language: str, size: dict[str, int]) -> None:
    page = open_page(host.url("fracast"), language, size).page
    page.check("#models input[value=chronos]")
    page.check("#backtest")
    for details in page.locator("details > summary").all():
        details.click()
    run(page)
    found = Axe().run(page, options={"resultTypes": ["violations"]}).response["violations"]
    assert [
        (one["id"], one["nodes"][0]["html"]) for one in found if one["impact"] in ("serious", "critical", "moderate")
    ] == []


def test_a_token_is_asked_for_once_and_kept_in_memory_only(
    serve, open_page: Open, tmp_path: Path, celsius: list[float]
) -> None:
    (tmp_path / "token").write_text("geheim\n")
    (tmp_path / "tsfm.ini").write_text(f"[fracast]\ntoken_file = {tmp_path}/token\n")
    live = serve("fracast", "--threads", "1", env={"TSFM_INI": str(tmp_path / "tsfm.ini")}).until_ready()
    watched = open_page(live.url, ready=False)
    page, watched.may_complain = watched.page, True  # the browser logs each 401
    dialog = page.locator("#token-dialog")
    expect(dialog).to_be_visible()
    found = Axe().run(page).response["violations"]
    assert [one["id"] for one in found if one["impact"] in ("serious", "critical")] == []
    watched.shot("token")
    page.fill("#token", "falsch")
    page.keyboard.press("Enter")
    expect(page.locator("#token-wrong")).to_be_visible()
    refused = [url for url in watched.asked if "/v1/models" in url]
    assert len(refused) == 2, "it asks with a refused token again and again"
    page.fill("#token", "geheim")
    page.keyboard.press("Enter")
    expect(dialog).to_be_hidden()
    run(page)
    assert shown(page).shape == (24, 3)
    stored = "JSON.stringify([document.cookie, {...localStorage}, {...sessionStorage}]) + document.body.outerHTML"
    assert "geheim" not in page.evaluate(stored)
    page.check("input[name=code][value=curl]", force=True)
    expect(page.locator("#code")).to_contain_text('"Authorization: Bearer $TOKEN"')
    page.reload()
    expect(dialog).to_be_visible()
    page.click("#token-cancel")
    expect(page.locator("#message")).to_contain_text("The token is missing or wrong.")
    page.select_option("#sample", "co2.csv")
    expect(dialog).to_be_visible()


def test_a_service_that_went_away_is_said(serve, open_page: Open) -> None:
    live = serve("fracast", "--threads", "1").until_ready()
    watched = open_page(live.url)
    page, watched.may_complain = watched.page, True
    live.stop()
    page.click("#run")
    expect(page.locator("#message")).to_contain_text("The service does not answer")
    expect(page.locator("#serving")).to_have_text("The service does not answer")


def test_what_is_served_and_how_busy_it_is(host: Host, open_page: Open) -> None:
    page = open_page(host.url("chronos")).page
    facts = dict(
        zip(page.locator("#facts dt").all_inner_texts(), page.locator("#facts dd").all_inner_texts(), strict=True)
    )
    model = host.lives["chronos"].get("/v1/models").json["models"][0]
    assert facts["Model"] == f"chronos · {model['checkpoint']}"
    assert facts["Arithmetic"] == model["path"]
    assert facts["Licence"] == f"Apache-2.0 ({model['year']}); commercial use: yes"
    assert model["future_covariates_how"] == "regression"
    assert facts["Covariates"] == "used by a regression"
    assert facts["Several variates"] == "each computed by itself"
    assert facts["Anomalies"] == "judged by forecasts"
    assert facts["Waiting now"] == f"0 / {model['limits']['queue']}"
    before = int(facts["Requests"].split()[0])
    run(page)
    expect(page.locator("#facts")).to_contain_text(f"{before + 1} answered")
    page.click("#errors summary")
    assert page.locator("#error-list dd").count() == 13
    assert urlsplit(page.url).path == "/"


def test_one_model_may_fail_while_the_others_are_shown(host: Host, open_page: Open) -> None:
    watched = open_page(host.url("fracast"))
    page, watched.may_complain = watched.page, True
    page.check("input[name=source][value=paste]", force=True)
    page.fill("#pasted", "x\n" + "".join(f"{i % 5}\n" for i in range(40)))
    page.click("#read-pasted")
    expect(page.locator("#summary")).to_have_text("40 rows")
    page.check("#models input[value=chronos]")
    page.check("#backtest")
    page.fill("#windows", "50")
    page.click("#run")
    expect(page.locator("#message strong")).to_have_text(
        [re.compile("fracast: target: expected at least"), re.compile("chronos: target: expected at least")]
    )
    page.uncheck("#backtest")
    run(page)
    expect(page.locator("#message")).to_be_hidden()


def test_a_page_that_was_opened_while_the_model_loads_goes_on_when_it_is_ready(
    serve, open_page: Open, tmp_path: Path
) -> None:
    (tmp_path / "naive.json").write_text('{"delay_s": 12}')  # of the trial, which is a part of the start
    live = serve("naive", "--model-folder", str(tmp_path))
    bound(live)
    watched = open_page(live.url, ready=False)
    page, watched.may_complain = watched.page, True
    expect(page.locator("#message")).to_contain_text("naive is loading")
    expect(page.locator("#serving")).to_have_text("naive is ready", timeout=60_000)
    expect(page.locator("#chart-title")).to_have_text("nino12.csv · celsius")
    expect(page.locator("#message")).to_be_hidden()


def bound(live: Live) -> None:
    """Wait until the service listens."""
    for _ in range(600):
        with suppress(OSError):
            assert live.get("/healthz").status == 200
            return
        threading.Event().wait(0.05)
    raise AssertionError(live.log.read_text())
