"""`tsfm compare`: both engines of every family on one small checkpoint, and the verdict."""

from __future__ import annotations

import importlib
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tsfm import card, official, paths
from tsfm.cli import engines, main
from tsfm.cli.engines import Measured, Parts
from tsfm.cli.output import verdict
from tsfm.cli.prediction import Failure
from tsfm.cli.source import load, series
from tsfm.table.column import Options

RANDOM = [name for name in official.names() if card.read(name).checkpoints]


@pytest.fixture(autouse=True)
def _one_thread(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    ini = tmp_path / "tsfm.ini"
    ini.write_text("[DEFAULT]\nthreads = 1\n")
    monkeypatch.setenv("TSFM_INI", str(ini))


@pytest.mark.long
@pytest.mark.parametrize("family", RANDOM)
def test_both_engines_are_the_same_on_the_packaged_sample(family, tmp_path, capsys):
    importlib.import_module(f"checkpoints.{family}").make(tmp_path / "weights")
    code = main.main(["compare", family, "--model-folder", str(tmp_path / "weights"), "--horizon", "12", "--json"])
    told = capsys.readouterr()
    assert code == 0, told
    found = json.loads(told.out)
    assert (found["same"], found["series"], found["family"]) == (True, 3, family)
    assert set(found["difference"]) == ({"filled"} if family == "moment" else {"median", "quantiles"})
    assert found["native"]["path"].startswith("float32 with ")
    pins = official.environment(family)
    package = (pins.ahead or pins.requirements)[0].replace("==", " ")
    assert found["official"]["path"] == f"float32, {package}"
    assert all(found[engine][what] > 0 for engine in ("native", "official") for what in ("one_ms", "all_s", "peak_mib"))
    drawn = family == "moirai"  # the small checkpoint is one of Moirai-MoE
    assert (found["scatter"] > 0) == drawn
    assert found["bound"] == pytest.approx(verdict.SCATTERS * found["scatter"] if drawn else 1e-3)
    if not drawn:
        assert max(part["largest"] for part in found["difference"].values()) < 1e-3


@pytest.mark.long
def test_a_users_series_and_the_text_for_a_bug_report(tmp_path, capsys):
    file = tmp_path / "mine.csv"
    file.write_text("value\n" + "".join(f"{10 + at % 7}\n" for at in range(90)))
    assert main.main(["compare", "fracast", str(file), "--horizon", "5", "--level", "0.95"]) == 0
    head, table, apart, said = capsys.readouterr().out.strip().split("\n\n")
    assert head.startswith("taos-tsfm ")
    assert head.endswith(": fracast, checkpoint packaged")
    assert table.splitlines()[0].split() == ["native", "official"]
    assert [line.split()[0] for line in table.splitlines()[1:]] == ["arithmetic", "one", "1", "peak"]
    assert [line.split()[0] for line in apart.splitlines()] == ["difference,", "median", "quantiles"]
    assert said.startswith("fracast: the same: largest difference ")
    assert said.endswith("bound 0.001")


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["tdtsfm"], 78, "engine: official serves chronos, "),
        (["nope"], 78, "family: expected one of "),
        (["fracast", "/nonexistent.csv"], 2, "/nonexistent.csv"),
    ],
)
def test_what_cannot_be_compared_is_said_before_anything_starts(words, code, said, capsys):
    assert main.main(["compare", *words]) == code
    assert said in capsys.readouterr().err


@pytest.fixture(scope="module")
def meters():
    source = load.file(str(paths.share() / "meters.csv"), Options(), None)
    return series.read(source, series.Choice("meter_id", [], 3))


def measured(answers: list[Parts | Failure], again: list[Parts | Failure] | None = None) -> Measured:
    return Measured({"path": "float32 with AVX2"}, answers, again or answers, 1.0, 1.0, 100)


def shifted(answers: list[Parts], by: float) -> list[Parts]:
    return [{name: [value + by for value in values] for name, values in one.items()} for one in answers]


ANSWERS: list[Parts] = [{"median": [5.0, 6.0, 7.0], "quantiles": [4.0, 5.0, 6.0, 7.0, 8.0, 9.0]}] * 3


def test_a_difference_beyond_the_bound_is_told_in_deviations_with_its_series(meters):
    unit = np.nanstd(np.array(meters[1].column.values, float))
    ours = [ANSWERS[0], *shifted(ANSWERS[1:2], 0.01), ANSWERS[2]]
    judged = verdict.judge("chronos", meters, measured(ours), measured(ANSWERS))
    assert not judged.same
    assert judged.parts["median"].largest == pytest.approx(0.01 / unit)
    assert judged.parts["median"].mean == pytest.approx(0.01 / unit / 3)
    assert f"NOT the same: largest difference {0.01 / unit:.2g} deviations in series office, bound 0.001" in (
        judged.sentence()
    )
    assert verdict.judge("chronos", meters, measured(shifted(ANSWERS, 1e-4)), measured(ANSWERS)).same
    low = replace(measured(ours), facts={"path": "bfloat16 with AMX"})
    assert verdict.judge("chronos", meters, low, measured(ANSWERS)).same
    assert not verdict.judge("chronos", meters, measured(shifted(ANSWERS, float("nan"))), measured(ANSWERS)).same


def test_an_answer_that_is_drawn_at_random_is_judged_by_its_own_scatter(meters):
    theirs = measured(ANSWERS, shifted(ANSWERS, 0.5))
    near, far = (verdict.judge("moirai", meters, measured(shifted(ANSWERS, by)), theirs) for by in (-0.6, 0.9))
    assert near.same
    assert not far.same
    assert "is drawn at random and scatters by" in far.sentence()


def test_a_series_that_one_engine_alone_refuses_is_no_equality(meters):
    refused = Failure("office", "the model failed")
    judged = verdict.judge("chronos", meters, measured([ANSWERS[0], refused, ANSWERS[2]]), measured(ANSWERS))
    assert not judged.same
    assert "office: native gives no answer: the model failed" in judged.sentence()
    both = measured([ANSWERS[0], refused, ANSWERS[2]])
    assert verdict.judge("chronos", meters, both, both).same


def test_hidden_points_are_short_runs_away_from_the_start(meters):
    hidden = engines.hide(meters[0])
    before, after = meters[0].column.values, hidden.column.values
    gone = [at for at, value in enumerate(after) if value is None and before[at] is not None]
    assert 30 < len(gone) < 60
    assert min(gone) >= 72
