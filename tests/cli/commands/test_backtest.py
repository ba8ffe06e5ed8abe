"""`tsfm backtest` against running services: the scores are the service's own, beside seasonal naive's."""

from __future__ import annotations

import csv
import json
import math
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from checkpoints import chronos
from conftest import HERE, Live
from tdgpt import taosadapter
from tdgpt.taosadapter import success

from tsfm import card

ROOT = HERE.parent
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """Fracast, which `--family all` finds: its weights are in its package."""
    folder = tmp_path_factory.mktemp("fracast")
    ini = folder / "tsfm.ini"
    ini.write_text("[fracast]\nmax_series = 8\n")
    with Live("fracast", "--threads", "1", log=folder / "log", env={"TSFM_INI": str(ini)}, forked=True) as service:
        yield service


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Twelve series with a season of 12, the last one too short for three windows of eight steps."""
    rows = [
        f"m{meter},{hour},{10 + meter + 3 * math.sin(math.tau * hour / 12) + hour % 5 / 10}"
        for meter in range(12)
        for hour in range(120 if meter < 11 else 20)
    ]
    file = tmp_path / "x.csv"
    file.write_text("\n".join(("meter,hour,v", *rows)) + "\n")
    return file


def backtest(live: Live, folder: Path, *words: object, more: str = "") -> subprocess.CompletedProcess[str]:
    from tsfm import card

    ini = folder / "tsfm.ini"
    # Nothing listens on port 1, and no weights are in that folder.
    others = [name for name in card.names() if name != "fracast" and f"[{name}]" not in more]
    closed = "".join(f"[{name}]\nport = 1\nmodel_folder = {folder}/none\n" for name in others)
    ini.write_text(f"[fracast]\nport = {live.port}\n{closed}{more}")
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src"), "TSFM_INI": str(ini)}
    command = [sys.executable, "-m", "tsfm", "backtest", *map(str, words)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)


WORDS = ("--id", "meter", "--horizon", "8", "--column", "v")


def test_the_scores_over_all_series_are_those_that_the_service_gives(live: Live, source: Path, tmp_path: Path) -> None:
    done = backtest(live, tmp_path, source, *WORDS, "--json", "--output", tmp_path / "o.csv")
    assert done.returncode == 1, done.stderr
    assert "tsfm: m11: " in done.stderr
    assert "x.csv: column v: expected at least 25 points for 3 windows, got 20" in done.stderr
    (run,) = json.loads(done.stdout)
    assert run["family"] == "fracast"
    assert [one.get("season_length") for one in run["series"]] == [12] * 11 + [None]
    # max_series of the service is 8, so the command sent two series at once; here are the first two by HTTP.
    series = [[10 + m + 3 * math.sin(math.tau * h / 12) + h % 5 / 10 for h in range(120)] for m in range(2)]
    parameters = {"prediction_length": 8, "n_windows": 3, "quantile_levels": [0.1, 0.5, 0.9]}
    said = live.post("/v1/cross_validation", {"inputs": [{"target": s} for s in series], "parameters": parameters})
    assert said.status == 200, said.body
    for ours, theirs in zip(run["series"], said.json["predictions"], strict=False):
        for name in ("metrics", "seasonal_naive"):
            assert {key: ours[name][key] for key in ("mase", "rmsse", "wql")} == pytest.approx(
                {key: theirs[name][key] for key in ("mase", "rmsse", "wql")}, rel=1e-4
            )
    mean = sum(one["metrics"]["mase"] for one in run["series"][:11]) / 11
    assert run["metrics"]["mase"] == pytest.approx(mean)
    with (tmp_path / "o.csv").open() as file:
        written = list(csv.DictReader(file))
    assert [row["item_id"] for row in written] == [f"m{meter}" for meter in range(11)]
    assert float(written[3]["mase"]) == run["series"][3]["metrics"]["mase"]


def test_over_all_is_the_services_own_where_one_request_is_enough(live: Live, source: Path, tmp_path: Path) -> None:
    lines = source.read_text().splitlines()
    source.write_text("\n".join(line for line in lines if line.startswith(("meter", "m0,", "m1,"))) + "\n")
    done = backtest(live, tmp_path, source, *WORDS, "--json", "--output", tmp_path / "o.json")
    assert done.returncode == 0, done.stderr
    (run,) = json.loads((tmp_path / "o.json").read_text())
    series = [[float(line.split(",")[2]) for line in lines if line.startswith(f"m{m},")] for m in range(2)]
    parameters = {"prediction_length": 8, "n_windows": 3, "quantile_levels": [0.1, 0.5, 0.9]}
    said = live.post("/v1/cross_validation", {"inputs": [{"target": s} for s in series], "parameters": parameters}).json
    for name in ("metrics", "seasonal_naive"):
        theirs = said[name]
        below = theirs["coverage"]
        expected = {key: theirs[key] for key in ("mase", "rmsse", "wql")} | {"coverage": below["0.9"] - below["0.1"]}
        assert run[name] == pytest.approx(expected, rel=1e-6)
    assert len(run["series"][0]["windows"]) == 3


def only(source: Path, *meters: str) -> None:
    """Leave the other series out."""
    lines = source.read_text().splitlines()
    source.write_text("\n".join(line for line in lines if line.startswith(("meter", *meters))) + "\n")


def test_all_are_those_that_run_and_those_that_can_be_started_one_after_the_other(
    live: Live, source: Path, tmp_path: Path
) -> None:
    """Fracast runs, Chronos is started, the others have no weights."""
    only(source, "m0,")
    chronos.make(tmp_path / "chronos", "tiny2")
    more = f"[chronos]\nport = 1\nmodel_folder = {tmp_path}/chronos\n"
    files = [tmp_path / f"o.{suffix}" for suffix in ("csv", "json", "parquet", "png", "html")]
    outputs = [word for file in files for word in ("--output", file)]
    words = ("--family", "all", "--windows", 2, "--season", 12, *outputs)
    done = backtest(live, tmp_path, source, *WORDS, *words, more=more)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("starting one for this command") == 1
    assert "no chronos answers" in done.stderr
    missing = [name for name in card.names(packaged_only=True) if name not in ("chronos", "fracast", "moment")]
    lines = done.stdout.splitlines()
    head, *rows, naive = lines[:4]
    absent, (summary, best) = lines[4:][: len(missing)], lines[4 + len(missing) :][:2]
    assert head.split() == ["MODEL", "MASE", "WQL", "COVERAGE", "OF", "80", "%", "SECONDS", "MEMORY"]
    assert {row.split()[0] for row in rows} == {"fracast", "chronos"}
    assert float(rows[0].split()[1]) < float(rows[1].split()[1])
    assert all(re.fullmatch(r"\d+\.\d \d{2,4} MiB", " ".join(row.split()[-3:])) for row in rows)
    assert naive.split()[:2] == ["seasonal", "naive"]
    assert [row.split()[:6] for row in absent] == [[name, *"-----"] for name in missing]
    assert all(f"weights of {'taos.pth' if 'tdtsfm' in row else ''}" in row for row in absent)
    assert all(f"{tmp_path}/none" in row for row in absent)
    assert summary == "1 series, 2 forecasts, season of 12 rows"
    mase = {row.split()[0]: float(row.split()[1]) for row in rows} | {"seasonal naive": float(naive.split()[2])}
    first, second, third = sorted(mase, key=mase.__getitem__)
    found = re.fullmatch(rf"best by MASE: {first}, ([\d.]+) % below {second}, ([\d.]+) % below {third}", best)
    assert found, best
    for percent, other in zip(found.groups(), (second, third), strict=True):
        assert float(percent) == pytest.approx(100 * (1 - mase[first] / mase[other]), abs=0.2)
    written = json.loads(files[1].read_text())
    assert [one.get("rank") for one in written] == [1, 2, *(None for _ in missing)]
    assert written[0]["memory_mib"] > 50
    assert "weights of" in written[2]["error"]
    with files[0].open() as file:
        assert [row["family"] for row in csv.DictReader(file)] == [row.split()[0] for row in rows]
    assert all(file.stat().st_size > 200 for file in files)


def test_families_that_are_named_are_compared_and_one_that_cannot_be_started_fails(
    live: Live, source: Path, tmp_path: Path
) -> None:
    only(source, "m0,", "m1,")
    done = backtest(live, tmp_path, source, *WORDS, "--family", "fracast,moirai", "--json")
    assert done.returncode == 1
    ours, absent = json.loads(done.stdout)
    assert (ours["family"], len(ours["series"])) == ("fracast", 2)
    assert absent["family"] == "moirai"
    assert "run: tsfm pull moirai" in absent["error"]
    done = backtest(live, tmp_path, source, *WORDS, "--family", "chronos,moirai")
    assert done.returncode == 1
    assert "no family that forecasts runs on this host or can be started; chronos: weights of" in done.stderr


def test_every_family_is_scored_over_the_series_that_all_have_scores_of() -> None:
    from tsfm.cli import scores
    from tsfm.cli.prediction import Failure
    from tsfm.cli.scores import Scored, Scores, Tried
    from tsfm.cli.source.series import Series
    from tsfm.table.column import Column
    from tsfm.table.rows import Rows

    values: list[float | None] = [float(i * i % 7) for i in range(30)]
    column = Column("x.csv", "v", values, [], [], [], Rows(["v"], [], [], True, ","), 0, None, None)
    empty = Scores(None, None, None, None)

    def scored(name: str, error: float) -> Scored:
        made = [value + error for value in values[26:] if value is not None]
        window: dict[str, object] = {"cutoff": 26, "mean": made, "0.1": made, "0.5": made, "0.9": made}
        return Scored(Series(name, column, []), 1, empty, empty, [window])

    a = Tried("a", [scored("x", 1.0), scored("y", 9.0)], 1.0, None)
    b = Tried("b", [scored("x", 2.0), Failure("y", "too short")], 1.0, None)
    first, second = scores.rank([b, a], [0.1, 0.5, 0.9], 4)
    assert (first.family, second.family) == ("a", "b")  # over both of its series, a is worse
    assert second.scores.mase == pytest.approx(2 * (first.scores.mase or 0))
    assert first.naive == second.naive


def test_where_mase_has_nothing_to_divide_by_wql_decides() -> None:
    from tsfm.cli.output.comparison import Comparison
    from tsfm.cli.scores import Run, Scores

    naive = Scores(None, None, 0.4, 0.8)
    runs = [Run(name, [], 1.0, None, Scores(None, None, wql, 0.8), naive) for name, wql in (("a", 0.2), ("b", 0.25))]
    *_, counts, best = Comparison(runs, [], 0.8, 4).text().splitlines()
    assert best == "best by WQL: a, 20.0 % below b, 50.0 % below seasonal naive"
    assert counts == "no series has scores of every family"


def test_a_family_that_needs_more_memory_than_is_left_is_not_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The figures of a host with 200 MiB left, in files as /proc has them."""
    from tsfm import card, settings
    from tsfm.cli import started
    from tsfm.engine import memory

    (tmp_path / "self").mkdir()
    (tmp_path / "self/cgroup").write_text("0::/\n")
    (tmp_path / "meminfo").write_text("MemTotal: 8000000 kB\nMemAvailable: 204800 kB\n")
    monkeypatch.setattr(memory, "PROC", tmp_path)
    monkeypatch.setattr(memory, "CGROUPS", tmp_path / "none")
    fracast = card.read("fracast")
    with pytest.raises(started.NotStarted, match=rf"needs about {fracast.memory_mib} MiB of memory, 200 MiB are left"):
        started.check(fracast, settings.read("fracast", {}))
    (tmp_path / "meminfo").write_text("MemAvailable: 4000000 kB\n")
    started.check(fracast, settings.read("fracast", {}))


def test_a_query_is_scored(live: Live, tmp_path: Path) -> None:
    rows = [[f"2026-03-{1 + h // 24:02}T{h % 24:02}:00:00.000Z", 10 + h % 12 + h % 5 / 10] for h in range(120)]
    adapter = tmp_path / "adapter.ini"
    words = ("--sql", "SELECT ts, val FROM db.meter", "--horizon", 8, "--json")
    with taosadapter.running(adapter, success(rows, ts="TIMESTAMP", val="DOUBLE")):
        done = backtest(live, tmp_path, *words, more=adapter.read_text())
    assert done.returncode == 0, done.stderr
    (run,) = json.loads(done.stdout)
    assert (run["series"][0]["item_id"], run["series"][0]["season_length"]) == ("val", 12)


def test_covariates_known_in_advance_are_used_in_each_window(tmp_path: Path) -> None:
    chronos.make(tmp_path / "chronos", "tiny2")
    options = ("--model-folder", str(tmp_path / "chronos"), "--dtype", "float32", "--threads", "1")
    service = Live("chronos", *options, log=tmp_path / "log", forked=True)
    rows = [f"{i},{(3 * i) % 11},{(3 * i + 1) % 11}" for i in range(60)]
    (tmp_path / "x.csv").write_text("\n".join(("n,v,known", *rows)) + "\n")
    (tmp_path / "tsfm.ini").write_text(f"[chronos]\nport = {service.port}\n")
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src"), "TSFM_INI": str(tmp_path / "tsfm.ini")}
    words = ("--family", "chronos", "--horizon", "4", "--column", "v", "--covariate", "future:known", "--json")
    command = [sys.executable, "-m", "tsfm", "backtest", str(tmp_path / "x.csv"), *words]
    try:
        service.until_ready()
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
        values, known = ([float((3 * i + shift) % 11) for i in range(60)] for shift in (0, 1))
        one = {"target": values, "past_covariates": {"known": known}, "future_covariates": {"known": []}}
        parameters = {"prediction_length": 4, "n_windows": 3, "quantile_levels": [0.1, 0.5, 0.9]}
        theirs = service.post("/v1/cross_validation", {"inputs": [one], "parameters": parameters}).json
    finally:
        service.stop()
    assert done.returncode == 0, done.stderr
    (run,) = json.loads(done.stdout)
    assert run["metrics"]["wql"] == pytest.approx(theirs["metrics"]["wql"], rel=1e-6)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--windows", "0"], "--windows: expected a whole number from 1 to 1024, got 0"),
        (
            ["--output", "x.pdf"],
            "--output: expected a name that ends with one of .csv, .json, .parquet, .png, .html, got x.pdf",
        ),
        (["--family", "moment"], "--family: moment fills gaps and does not forecast"),
        (["--family", "fracast,moment"], "--family: moment fills gaps and does not forecast"),
        (["--covariate", "temp"], "--covariate: expected past:COLUMN or future:COLUMN, got temp"),
    ],
)
def test_a_wrong_option_is_named(live: Live, source: Path, tmp_path: Path, words: list[str], sentence: str) -> None:
    done = backtest(live, tmp_path, source, *words)
    assert done.returncode == 2
    assert sentence in done.stderr
