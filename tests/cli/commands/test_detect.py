"""`tsfm detect` against running services: the judgement is the service's own, of each point of each series."""

from __future__ import annotations

import csv
import json
import math
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import pytest
from checkpoints import moment
from conftest import HERE, Live
from tdgpt import taosadapter
from tdgpt.taosadapter import success

ROOT = HERE.parent
pytestmark = pytest.mark.slow
ROWS, SPIKE = 160, 111


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    with Live("fracast", "--threads", "1", log=tmp_path_factory.mktemp("fracast") / "log", forked=True) as service:
        yield service


def values(meter: int) -> list[float | None]:
    """A season of 12 with noise, a gap, and in one meter a spike."""
    found: list[float | None] = [
        round(10 + meter + 3 * math.sin(math.tau * hour / 12) + (hour * 37 % 11) / 20, 3) for hour in range(ROWS)
    ]
    found[50] = None
    if meter == 1:
        found[SPIKE] = 40.0
    return found


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Three meters, and one with too few rows."""
    rows = [
        f"m{meter},2026-03-{1 + hour // 24:02} {hour % 24:02}:00,{'' if value is None else value}"
        for meter in range(4)
        for hour, value in enumerate(values(meter)[: ROWS if meter < 3 else 12])
    ]
    file = tmp_path / "x.csv"
    file.write_text("\n".join(("meter,ts,v", *rows)) + "\n")
    return file


def detect(live: Live, folder: Path, *words: object, ini: str = "") -> subprocess.CompletedProcess[str]:
    file = folder / "tsfm.ini"
    file.write_text(f"[fracast]\nport = {live.port}\n{ini}")
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src"), "TSFM_INI": str(file)}
    command = [sys.executable, "-m", "tsfm", "detect", *map(str, words)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)


def test_the_judgements_of_many_series_are_the_services(live: Live, source: Path, tmp_path: Path) -> None:
    files = [tmp_path / f"o.{suffix}" for suffix in ("csv", "json", "parquet", "png", "html")]
    outputs = [word for file in files for word in ("--output", file)]
    done = detect(live, tmp_path, source, "--id", "meter", "--level", "0.995", *outputs)
    assert done.returncode == 1
    assert re.search(r"^tsfm: m3: .*x\.csv: column v: expected more than 16 observed points", done.stderr, re.MULTILINE)
    series = [{"item_id": f"m{meter}", "target": values(meter)} for meter in range(3)]
    said = live.post("/v1/anomaly_detection", {"inputs": series, "parameters": {"level": 0.995}}).json["predictions"]
    written = json.loads(files[1].read_text())["predictions"]
    for ours, theirs in zip(written, said, strict=False):
        assert ours["item_id"] == theirs["item_id"]
        assert ours["anomaly"] == theirs["anomaly"]
        for name in ("score", "expected", "lower", "upper"):
            for one, other in zip(ours[name], theirs[name], strict=True):
                assert one == (None if other is None else pytest.approx(other, rel=1e-4, abs=1e-6))
        assert ours["timestamps"][SPIKE] == "2026-03-05 15:00:00"
    assert said[1]["anomaly"][SPIKE]
    assert set(written[3]) == {"item_id", "error"}
    shown = [line.split()[:3] for line in done.stdout.splitlines() if re.match(r"m\d ", line)]
    expected = [(f"m{meter}", at) for meter in range(3) for at, one in enumerate(said[meter]["anomaly"]) if one]
    assert shown == [[name, f"2026-03-{1 + at // 24:02}", f"{at % 24:02}:00:00"] for name, at in expected]
    judged = sum(one is not None for theirs in said for one in theirs["anomaly"]) - 3
    counts = f"{len(expected)} anomal{'y' if len(expected) == 1 else 'ies'} among {judged} judged points of 3 series"
    assert done.stdout.splitlines()[-1] == f"{counts}; not judged: {3 * (ROWS - 1) - judged}, without a value: 3"
    with files[0].open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 3 * ROWS
    assert (rows[ROWS + SPIKE]["value"], rows[ROWS + SPIKE]["anomaly"]) == ("40.0", "true")
    assert all(file.stat().st_size > 500 for file in files)


def test_one_series_has_a_chart_and_a_window_judges_the_newest_rows(live: Live, source: Path, tmp_path: Path) -> None:
    lines = source.read_text().splitlines()
    source.write_text("\n".join(line for line in lines if line.startswith(("meter", "m1,"))) + "\n")
    done = detect(live, tmp_path, source, "--window", 60)
    assert done.returncode == 0, done.stderr
    assert f"among 60 judged points; not judged: {ROWS - 61}, without a value: 1" in done.stdout
    assert re.search(r"^ +\d+\.\d+ \|.*X", done.stdout, re.MULTILINE)
    text = detect(live, tmp_path, source, "--window", 60, "--json")
    (one,) = json.loads(text.stdout)["predictions"]
    assert next(at for at, flag in enumerate(one["anomaly"]) if flag is not None) == ROWS - 60


class Small(BaseHTTPRequestHandler):
    """A service that takes three series in a request; its answers have nothing but flags."""

    sizes: ClassVar[list[int]] = []

    def do_GET(self) -> None:
        self.answer(200, {"models": [{"family": "naive", "state": "ready", "limits": {"max_series": 1000}}]})

    def do_POST(self) -> None:
        inputs = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["inputs"]
        self.sizes.append(len(inputs))
        if len(inputs) > 3:
            return self.answer(413, {"error": "inputs: expected points that need at most 4000 forecasts"})
        flags = {"anomaly": [False] * 20} | {name: [None] * 20 for name in ("score", "expected", "lower", "upper")}
        return self.answer(200, {"predictions": [{"item_id": one["item_id"], **flags} for one in inputs]})

    def answer(self, status: int, fields: object) -> None:
        body = json.dumps(fields).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Not on the tests' stderr."""


def test_a_request_that_is_too_large_is_halved(live: Live, tmp_path: Path) -> None:
    rows = [f"m{meter},{(meter + 7 * row) % 13}" for meter in range(20) for row in range(20)]
    (tmp_path / "x.csv").write_text("\n".join(("meter,v", *rows)) + "\n")
    words = ("--id", "meter", "--column", "v", "--family", "naive", "--json")
    with ThreadingHTTPServer(("127.0.0.1", 0), Small) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        done = detect(live, tmp_path, tmp_path / "x.csv", *words, ini=f"[naive]\nport = {server.server_port}\n")
        server.shutdown()
    assert done.returncode == 0, done.stderr
    assert Small.sizes[:4] == [1, 4, 2, 2]
    assert sum(size for size in Small.sizes if size <= 3) == 20
    assert [one["item_id"] for one in json.loads(done.stdout)["predictions"]] == [f"m{meter}" for meter in range(20)]
    assert done.stderr.splitlines()[-1] == "20 of 20 series"


def test_a_query_is_judged_also_by_a_family_that_fills_gaps(live: Live, tmp_path: Path) -> None:
    moment.make(tmp_path / "moment")
    options = ("--model-folder", str(tmp_path / "moment"), "--dtype", "float32", "--threads", "1")
    service = Live("moment", *options, log=tmp_path / "log", forked=True)
    rows = [[f"2026-03-{1 + h // 24:02}T{h % 24:02}:00:00.000Z", value] for h, value in enumerate(values(1))]
    adapter = tmp_path / "adapter.ini"
    try:
        service.until_ready()
        with taosadapter.running(adapter, success(rows, ts="TIMESTAMP", val="DOUBLE")):
            more = f"[moment]\nport = {service.port}\n{adapter.read_text()}"
            sql = ("--sql", "SELECT ts, val FROM db.meter", "--family", "moment")
            done = detect(live, tmp_path, *sql, ini=more)
    finally:
        service.stop()
    assert done.returncode == 0, done.stderr
    assert "2026-03-05T15:00:00Z" in done.stdout
    assert "column val, 160 rows (1 without a value)" in done.stdout


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--level", "99"], "--level: expected a number from 0 to below 1, got 99 (did you mean 0.99?)"),
        (["--window", "0"], "--window: expected a whole number from 1 to 10000000, got 0"),
        (["--family", "nope"], "family: expected one of"),
        (["--covariate", "past:x"], "unrecognized arguments: --covariate past:x"),
        (["--output", "x.pdf"], "--output: expected a name that ends with one of .csv, .json, .parquet, .png, .html"),
    ],
)
def test_a_wrong_option_is_named(live: Live, source: Path, tmp_path: Path, words: list[str], sentence: str) -> None:
    done = detect(live, tmp_path, source, *words)
    assert done.returncode == (78 if "nope" in words else 2)
    assert sentence in done.stderr


def test_the_services_sentence_names_the_option(live: Live, source: Path, tmp_path: Path) -> None:
    done = detect(live, tmp_path, source, "--id", "meter", "--level", "0")
    assert done.returncode == 1
    assert "--level: expected" in done.stderr
