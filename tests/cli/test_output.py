"""Forecasts as files: each format holds the numbers and times of the forecast, and opens in its own readers."""

from __future__ import annotations

import csv
import json
import math
import re
import xml.etree.ElementTree as ET
from pathlib import Path

import pyarrow.parquet
import pytest
from PIL import Image

from tsfm.cli.output import figure, files, picture
from tsfm.cli.prediction import Failure, Prediction
from tsfm.cli.source.series import Series
from tsfm.errors import UsageError
from tsfm.table.column import Column
from tsfm.table.rows import Rows

STEPS = 4
ROWS = Rows(["kwh"], [], [], True, ",")


def prediction(name: str, values: list[float | None], ahead: list[str], base: float = 5.0) -> Prediction:
    times = [f"2026-03-01 {hour:02}:00:00" for hour in range(len(values))] if ahead else []
    column = Column("x.csv", "kwh", values, list(range(2, len(values) + 2)), times, [], ROWS, 0, None, None)
    steps = [base + step / 3 for step in range(STEPS)]
    quantiles = {level: [value + offset for value in steps] for level, offset in ((0.1, -1.5), (0.5, 0.0), (0.9, 2.0))}
    return Prediction(Series(name, column, ahead), steps, quantiles)


AHEAD = [f"2026-03-01 2{hour}:00:00" for hour in range(STEPS)]
A = prediction("A", [float(i % 5) for i in range(20)], AHEAD)
B = prediction('B <"&', [None, 1.0, None, *map(float, range(17))], AHEAD, base=1e6)
FAILED = Failure("C", "expected at least 10 rows, got 1")


def written(path: Path, *results: Prediction | Failure) -> Path:
    files.write(path, results)
    return path


def test_csv_and_parquet_hold_one_row_for_each_step(tmp_path: Path) -> None:
    with written(tmp_path / "o.csv", A, FAILED, B).open() as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["item_id", "timestamp", "mean", "0.1", "0.5", "0.9"]
    assert [row["item_id"] for row in rows] == ["A"] * STEPS + ['B <"&'] * STEPS
    assert [row["timestamp"] for row in rows] == AHEAD * 2
    assert [float(row["0.9"]) for row in rows] == A.upper + B.upper
    table = pyarrow.parquet.read_table(written(tmp_path / "o.parquet", A, FAILED, B)).to_pydict()
    assert list(table) == list(rows[0])
    assert [f"{moment:%Y-%m-%d %H:%M:%S}" for moment in table["timestamp"]] == AHEAD * 2
    assert table["0.1"] == A.lower + B.lower


@pytest.mark.parametrize(
    ("ahead", "expected"),
    [
        ([], [1, 2, 3, 4]),
        ([str(1772323200000 + i) for i in range(STEPS)], [1772323200000 + i for i in range(STEPS)]),
    ],
)
def test_steps_and_epochs_are_whole_numbers(tmp_path: Path, ahead: list[str], expected: list[int]) -> None:
    one = prediction("A", [1.0] * 20, ahead)
    table = pyarrow.parquet.read_table(written(tmp_path / "o.parquet", one)).to_pydict()
    assert table["timestamp" if ahead else "step"] == expected


def test_json_has_the_names_of_the_service(tmp_path: Path) -> None:
    a, failed, b = json.loads(written(tmp_path / "o.json", A, FAILED, B).read_text())["predictions"]
    assert a == {"item_id": "A", "timestamps": AHEAD, "mean": A.mean, "0.1": A.lower, "0.5": A.median, "0.9": A.upper}
    assert failed == {"item_id": "C", "error": FAILED.reason}
    assert b["item_id"] == 'B <"&'


def test_a_page_loads_nothing_and_holds_plot_and_numbers(tmp_path: Path) -> None:
    page = written(tmp_path / "o.html", A, FAILED, B).read_text()
    assert not re.search(r"(?i)<script|<link|<img|\bsrc=|url\(|https?:", page)
    plots = [ET.fromstring(text) for text in re.findall(r"<svg.*?</svg>", page, re.DOTALL)]
    assert [plot.get("aria-label") for plot in plots] == ["Forecast of A", 'Forecast of B <"&']
    for plot in plots:
        assert len(plot.findall("polygon")) == 1
        for shape in (*plot.findall("polygon"), *plot.findall("polyline")):
            for point in str(shape.get("points")).split():
                x, y = map(float, point.split(","))
                assert 0 <= x <= figure.WIDTH
                assert 0 <= y <= figure.HEIGHT
    assert FAILED.reason in page
    cells = re.findall(r"<td>([^<]*)</td>", page)
    assert cells[0] == AHEAD[0]
    assert float(cells[1]) == pytest.approx(A.mean[0], abs=0.01)


def test_a_picture_shows_each_series_and_is_drawn(tmp_path: Path) -> None:
    with Image.open(written(tmp_path / "o.png", A, FAILED, B)) as image:
        assert (image.format, image.size) == ("PNG", (figure.WIDTH, 2 * figure.HEIGHT))
        for number in range(2):
            panel = image.convert("RGB").crop((0, number * figure.HEIGHT, figure.WIDTH, (number + 1) * figure.HEIGHT))
            colours = {colour for count, colour in panel.getcolors(1 << 20) or [] if count > 20}
            for wanted in (figure.INK, figure.BLUE, figure.BAND):
                red, green, blue = (int(wanted[i : i + 2], 16) for i in (1, 3, 5))
                assert any(abs(r - red) + abs(g - green) + abs(b - blue) < 60 for r, g, b in colours), wanted


def test_names_in_chinese_are_drawn_or_escaped_but_never_left_out() -> None:
    text, font = picture._font("温度", 20)
    assert text == "温度" or text == "\\u6e29\\u5ea6"
    assert font.getlength(text) > 20


@pytest.mark.parametrize(
    "values", [[3.0] * 20, [0.0] * 20, [1e300 * (i % 2 * 2 - 1) for i in range(20)], [1e-300, 2e-300]]
)
def test_any_numbers_have_a_figure(values: list[float]) -> None:
    one = prediction("A", list(values), [], base=values[-1])
    for shape in figure.shapes(one):
        if isinstance(shape, figure.Label):
            assert math.isfinite(shape.x + shape.y)
        else:
            assert all(math.isfinite(x + y) for x, y in shape.points)


def test_too_many_series_for_a_picture_and_a_folder_that_is_missing_are_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="a PNG holds 1 to 20 series, got 21; an HTML file holds all"):
        files.write(tmp_path / "o.png", [A] * 21)
    with pytest.raises(UsageError, match=r"--output: .*o\.csv cannot be written: No such file"):
        files.write(tmp_path / "no/o.csv", [A])
