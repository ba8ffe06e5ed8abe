"""The detectors of anomalies that we place in TDgpt's tree: what SQL gets through them, in every generation."""

from __future__ import annotations

import ast
import math
import random
import sys
import types
from collections.abc import Iterator

import pytest
from conftest import Live

from tdgpt.host import Host
from tsfm.tdgpt import adapters, endpoints, reconcile, templates

from .test_sql_to_service import anode, registered, sql

STEP_MS = 60_000
SPIKE = 300
LOST = (50, 51, 120)  # rows that the table does not have


def series() -> tuple[list[float | None], list[int]]:
    """A noisy wave with a spike, a null and a few rows that are missing."""
    noise = random.Random(7)
    values: list[float | None] = [10 + 3 * math.sin(math.tau * i / 24) + noise.gauss(0, 0.2) for i in range(400)]
    values[SPIKE], values[30] = 25.0, None
    rows = [i for i in range(400) if i not in LOST]
    return [values[i] for i in rows], [1_700_000_000_000 + STEP_MS * i for i in rows]


def at_the_spike(answer: dict) -> bool:
    spike = 1_700_000_000_000 + STEP_MS * SPIKE
    return any(start <= spike <= end for start, end in answer["res"])


@pytest.fixture(scope="module")
def fracast(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    with Live("fracast", log=tmp_path_factory.mktemp("fracast") / "log", forked=True) as live:
        yield live


@pytest.mark.slow
@pytest.mark.parametrize("generation", ["G1", "G2", "G3", "G3flat", "G4"])
def test_sql_finds_anomalies_in_every_generation(generation: str, host: Host, fracast: Live) -> None:
    config = registered(host, generation, ("fracast", fracast))
    values, times = series()
    with anode(host, config) as asked:
        details = {kind["type"]: {one["name"]: one for one in kind["algo"]} for kind in asked("/list")["details"]}
        found = asked("/anomaly-detect", sql("algo=tsfm_fracast,level=0.999", values, times))
        many = asked("/anomaly-detect", sql("algo=tsfm_fracast,level=0.5", values, times))
        newest = asked("/anomaly-detect", sql("algo=tsfm_fracast,level=0.5,window=50", values, times))
        wrong = asked("/anomaly-detect", sql("algo=tsfm_fracast,level=much", values, times))
        short = asked("/anomaly-detect", sql("algo=tsfm_fracast", values[:12], times[:12]))
        forecast = asked("/forecast", sql("algo=fracast,rows=5"))
    assert at_the_spike(found), found
    assert found["rows"] == len(found["res"]) <= 3
    assert many["rows"] > found["rows"]
    assert newest["rows"] > 0
    assert all(start >= times[-50] for start, _ in newest["res"])
    assert all(set(one.get("mask", [-1])) == {-1} for one in (found, many))
    failed = -1 if generation == "G4" else 0
    assert (wrong["rows"], short["rows"], forecast["rows"]) == (failed, failed, 5)
    assert "failed to request the service" in wrong["msg"]
    assert "level: expected a number" in wrong["msg"]
    assert short["msg"].startswith("failed to request the service, target: expected more than 16 observed points")
    described = details["anomaly-detection"]["tsfm_fracast"]
    assert described["desc"].startswith("Anomaly detection: Fracast")
    if generation == "G4":
        assert (described["status"], described["builtins"]) == ("READY", False)
    assert "tsfm_fracast" not in details["forecast"]


@pytest.mark.slow
def test_the_windows_are_those_of_the_service_and_missing_rows_keep_the_season(host: Host, fracast: Live) -> None:
    config = registered(host, "G4", ("fracast", fracast))
    values, times = series()
    grid: list[float | None] = [None] * 400
    for value, time in zip(values, times, strict=True):
        grid[(time - times[0]) // STEP_MS] = value
    direct = fracast.post("/v1/anomaly_detection", {"inputs": [{"target": grid}], "parameters": {"level": 0.9}}).json
    flagged = [i for i, flag in enumerate(direct["predictions"][0]["anomaly"]) if flag]
    with anode(host, config) as asked:
        found = asked("/anomaly-detect", sql("algo=tsfm_fracast,level=0.9", values, times))
    within = [i for i in range(400) for start, end in found["res"] if start <= times[0] + STEP_MS * i <= end]
    assert [i for i in within if i not in LOST] == flagged
    assert flagged


@pytest.mark.slow
def test_an_anomaly_in_any_of_several_columns_is_one(host: Host, fracast: Live) -> None:
    config = registered(host, "G4", ("fracast", fracast))
    values, times = series()
    calm, _ = series()
    calm[calm.index(25.0)] = 10.0
    request = sql("algo=tsfm_fracast,level=0.999", calm, times)
    request["schema"].append(["val1", "DOUBLE", 8])
    request["data"].append(values)
    with anode(host, config) as asked:
        found = asked("/anomaly-detect", request)
    assert at_the_spike(found), found


@pytest.mark.slow
def test_a_detector_whose_service_is_down_says_so(host: Host, fracast: Live) -> None:
    registered(host, "G4", ("fracast", fracast))
    host.settings.write_text("[fracast]\nport = 1\n")
    assert reconcile.register().stale
    with anode(host, host.etc / "taosanode.config.py") as asked:
        kinds = {kind["type"]: kind["algo"] for kind in asked("/list")["details"]}
        answer = asked("/anomaly-detect", sql("algo=tsfm_fracast"))
    states = {one["name"]: one["status"] for one in kinds["anomaly-detection"]}
    assert states == {"ksigma": "READY", "tsfm_fracast": "UNAVAIL"}
    assert answer["msg"].startswith("failed to connect the service: http://127.0.0.1:1/v1/anomaly_detection, ")


def sources(host: Host) -> dict[str, str]:
    """Every adapter of every family, by its name in SQL."""
    host.tdgpt("G4")
    found = {}
    for name in ("chronos", "timemoe", "moment", "fracast", "tdtsfm"):
        for algorithm in adapters.algorithms(endpoints.of(name)):
            found[algorithm.key] = algorithm.source("taosanalytics.base").decode()
    return found


def test_sql_gets_a_detector_of_each_family_beside_the_models_that_tdgpt_does_not_know(host: Host) -> None:
    detectors = ["tsfm_chronos", "tsfm_timemoe", "tsfm_moment", "tsfm_fracast", "tsfm_tdtsfm"]
    assert sorted(sources(host)) == sorted([*detectors, "fracast"])
    assert set(templates.BY_FOLDER) == {"fc", "ad"}


def test_an_adapter_needs_nothing_but_tdgpt_and_an_old_python(host: Host) -> None:
    for source in sources(host).values():
        assert source.isascii()
        tree = ast.parse(source, feature_version=(3, 7))
        imported = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
        imported |= {name.name for node in ast.walk(tree) if isinstance(node, ast.Import) for name in node.names}
        outside = {name for name in imported if name.partition(".")[0] not in sys.stdlib_module_names}
        assert outside == {"taosanalytics.base"}
        # What an older generation takes for an algorithm is one class alone.
        assert len([n for n in tree.body if isinstance(n, ast.ClassDef) and n.name.startswith("_")]) == 1


@pytest.fixture
def detector(host: Host, monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    """The module that TDgpt imports."""
    source = sources(host)["tsfm_chronos"]
    monkeypatch.syspath_prepend(str(host.tree / "lib"))
    for name in [name for name in sys.modules if name.split(".")[0] == "taosanalytics"]:
        monkeypatch.delitem(sys.modules, name)
    module = types.ModuleType("tsfm_chronos")
    exec(compile(source, "tsfm_chronos.py", "exec"), module.__dict__)
    for name in [name for name in sys.modules if name.split(".")[0] == "taosanalytics"]:
        monkeypatch.delitem(sys.modules, name)
    return module


@pytest.mark.parametrize(
    ("times", "positions"),
    [
        ([0, 10, 20], [0, 1, 2]),
        ([5, 15, 45], [0, 1, 4]),
        ([0, 10, 25], [0, 1, 2]),  # on no grid
        ([0, 10, 1000], [0, 1, 2]),  # most of it would be empty
        ([0, 0, 10], [0, 1, 2]),
        ([20, 10, 0], [0, 1, 2]),
        ([7], [0]),
    ],
)
def test_missing_rows_are_missing_points(times: list[int], positions: list[int], detector: types.ModuleType) -> None:
    assert detector._positions(times) == positions


def test_a_grid_is_never_longer_than_what_a_query_may_have(detector: types.ModuleType) -> None:
    times = [60 * i for i in range(30_000)] + [60 * 45_000]
    assert detector._positions(times) == list(range(30_001))
    assert detector._positions([*times[:-1], 60 * 39_999])[-1] == 39_999


def test_no_rows_need_no_service(detector: types.ModuleType) -> None:
    service = detector._ChronosAnomalyService()
    service.set_input_list([], [])
    service.set_params({"algo": "tsfm_chronos", "valid_code": "1"})
    assert service.execute() == []


def test_a_user_of_the_newest_generation_finds_it_in_the_folder_for_ones_own(host: Host) -> None:
    host.tdgpt("G4")
    host.install("chronos")
    reconcile.register()
    assert adapters.ours(host.code) == [host.code / "algo/custom/ad/tsfm_chronos.py"]
    (host.code / "algo/custom/ad").rename(host.root / "away")
    outcome = reconcile.register()
    assert adapters.ours(host.code) == [host.code / "algo/ad/tsfm_chronos.py"]
    assert outcome.stale
    reconcile.unregister()
    assert adapters.ours(host.code) == []
