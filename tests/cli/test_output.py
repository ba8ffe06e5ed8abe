"""Results as files: each format holds the numbers and times, and opens in its own readers.

The page that HTML files hold is opened in a browser by tests/page/test_report.py.
"""

from __future__ import annotations

import csv
import json
import math
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet
import pytest
from PIL import Image

from tsfm.cli.judgement import Judgement
from tsfm.cli.output import chart, comparison, figure, files, picture, plot
from tsfm.cli.output.forecasts import Forecasts
from tsfm.cli.output.judgements import Judgements
from tsfm.cli.prediction import Failure, Prediction
from tsfm.cli.scores import Scored, Scores
from tsfm.cli.source.series import Series
from tsfm.errors import ConfigError, UsageError
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
    files.write(path, Forecasts("naive", 0.8, results))
    return path


def drawn(one: Prediction) -> plot.Plot:
    (found,) = Forecasts("naive", 0.8, [one]).report().plots
    assert isinstance(found, plot.Plot)
    return found


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


def test_a_picture_shows_each_series_and_is_drawn(tmp_path: Path) -> None:
    with Image.open(written(tmp_path / "o.png", A, FAILED, B)) as image:
        assert (image.format, image.size) == ("PNG", (figure.WIDTH, 2 * figure.HEIGHT))
        for number in range(2):
            panel = image.convert("RGB").crop((0, number * figure.HEIGHT, figure.WIDTH, (number + 1) * figure.HEIGHT))
            colours = {colour for count, colour in panel.getcolors(1 << 20) or [] if count > 20}
            for wanted in (figure.INK, plot.COLOURS[0], figure._pale(plot.COLOURS[0])):
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
    for shape in figure.shapes(drawn(one)):
        if isinstance(shape, figure.Label):
            assert math.isfinite(shape.x + shape.y)
        else:
            assert all(math.isfinite(x + y) for x, y in shape.points)


def test_too_many_series_for_a_picture_and_a_folder_that_is_missing_are_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="a PNG holds 1 to 20 series, got 21; an HTML file holds all"):
        written(tmp_path / "o.png", *[A] * 21)
    with pytest.raises(UsageError, match=r"--output: .*o\.csv cannot be written: No such file"):
        written(tmp_path / "no/o.csv", A)


def test_what_would_keep_a_file_from_being_written_is_found_before_the_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files.check([tmp_path / "o.parquet", tmp_path / "o.png", Path("o.html")])
    with pytest.raises(UsageError, match=r"--output: .*no/o\.csv cannot be written: there is no such folder"):
        files.check([tmp_path / "no/o.csv"])
    monkeypatch.setitem(sys.modules, "pyarrow", None)  # what Python does where a package is not installed
    with pytest.raises(ConfigError, match=r"o\.parquet: pyarrow, .* is missing: install taos-tsfm-arrow"):
        files.check([tmp_path / "o.parquet"])


VALUES = [5.0, 6.0, None, 7.0, 90.0, 6.0]
FLAGS = [None, False, False, False, True, False]
LINES = [None, 5.5, None, 6.5, 6.25, 6.5]


def judgement(ahead: list[str]) -> Judgement:
    series = prediction("A", VALUES, ahead).series
    return Judgement(series, FLAGS, [None, 0.5, None, 0.25, 0.999, 0.5], LINES, LINES, LINES)


def test_a_judgement_is_one_row_for_each_point_and_the_anomaly_stands_out(tmp_path: Path) -> None:
    found = Judgements("naive", 0.99, [judgement(AHEAD), FAILED])
    files.write(tmp_path / "o.csv", found)
    with (tmp_path / "o.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["anomaly"] for row in rows] == ["", "false", "false", "false", "true", "false"]
    assert [row["value"] for row in rows] == ["5.0", "6.0", "", "7.0", "90.0", "6.0"]
    assert rows[4]["timestamp"] == "2026-03-01 04:00:00"
    files.write(tmp_path / "o.parquet", found)
    table = pyarrow.parquet.read_table(tmp_path / "o.parquet").to_pydict()
    assert (table["anomaly"], table["expected"]) == (FLAGS, LINES)
    head, line, counts = found.text().splitlines()
    assert head.split() == ["SERIES", "TIME", "VALUE", "EXPECTED", "LOWER", "UPPER", "SCORE"]
    assert line.split() == ["A", "2026-03-01", "04:00:00", "90.00", "6.25", "6.25", "6.25", "0.999000"]
    assert counts == "1 anomaly among 4 judged points; not judged: 1, without a value: 1"
    files.write(tmp_path / "o.png", found)
    with Image.open(tmp_path / "o.png") as image:
        red = sum(
            count for count, (r, g, b) in image.convert("RGB").getcolors(1 << 20) if r > 140 and g < 70 and b < 80
        )
    assert red > 20


def test_without_times_rows_are_numbered_and_the_chart_marks_the_point() -> None:
    text = Judgements("naive", 0.99, [judgement([])]).text()
    assert text.splitlines()[1].split()[:2] == ["A", "5"]
    marked = [line for line in text.splitlines() if "X" in line.partition("|")[2]]
    assert [line.partition("|")[2].index("X") for line in marked] == [4]


def test_a_long_series_is_drawn_whole_with_its_anomalies() -> None:
    lines = chart.judged([float(i % 10) for i in range(999)] + [50.0], [999]).splitlines()
    assert max(map(len, lines)) <= 14 + chart.WIDTH
    assert lines[0].endswith("X")


def test_an_axis_is_of_times_where_they_rise_and_goes_on_in_their_step() -> None:
    month = 30 * 86_400
    seconds = [month * i for i in range(20)]
    column = replace(A.series.column, instants=np.array(seconds) * 10**9)
    timed = plot.axis(replace(A.series, column=column, ahead=[]), 2)
    assert (timed.timed, timed.xs, timed.ahead) == (True, seconds, [month * 20, month * 21])
    written_ = plot.axis(replace(A.series, column=column, ahead=["1971-09-01T00:00:00+02:00", "1971-10-01"]), 2)
    assert written_.ahead == [52_524_000.0, 55_123_200.0]
    again = replace(column, instants=np.array([0, *seconds[:-1]]) * 10**9)
    assert plot.axis(replace(A.series, column=again), 2).xs == list(range(1, 21))


def test_of_windows_that_overlap_the_later_one_is_drawn_and_between_others_is_a_gap() -> None:
    def window(cutoff: int, value: float) -> dict[str, object]:
        return {"cutoff": cutoff, "0.1": [value] * 2, "0.5": [value] * 2, "0.9": [value] * 2}

    scores = Scores(1.0, 1.0, 1.0, 0.8)
    one = Scored(A.series, 1, scores, scores, [window(5, 1.0), window(6, 2.0), window(10, 3.0)])
    points = comparison._points(one, 0.8)
    layer = comparison._layer("naive", plot.axis(A.series), points)
    assert layer.median == [1.0, 2.0, 2.0, None, None, 3.0, 3.0]
    assert list(layer.xs) == list(range(6, 13))
