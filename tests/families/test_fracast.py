"""Fracast with its real weights: the official numbers, and some skill on real series."""

import json
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import load_file, save_file
from statsmodels.datasets import co2, elnino

from tsfm import families
from tsfm.errors import ConfigError
from tsfm.nets import fracast
from tsfm.numerics import scaling
from tsfm.official import load as load_official
from tsfm.series import Runtime, Series

pytestmark = pytest.mark.slow

RNG = np.random.default_rng(5)
NINE = [i / 10 for i in range(1, 10)]
PACKAGED = Path(find_spec("fracast").origin).parent / "weights"


@pytest.fixture(scope="module")
def ours():
    return families.load("fracast", None, Runtime(threads=1))


@pytest.fixture(scope="module")
def official():
    return load_official("fracast", None, Runtime(threads=1))


def season(length, period=24, gap=0):
    values = np.sin(np.arange(length) * 2 * np.pi / period) + RNG.normal(0, 0.3, length) + np.arange(length) / 500
    values[length // 3 : length // 3 + gap] = np.nan
    return values.astype(np.float32)


@pytest.mark.parametrize(
    ("length", "gap", "horizon"), [(8, 0, 1), (30, 3, 48), (512, 100, 49), (2048, 1, 50), (100, 0, 200)]
)
def test_it_gives_the_official_quantiles(ours, official, length, gap, horizon):
    batch = np.stack([season(length, period, gap) for period in (24, 7, 11.5)])
    batch[1] = RNG.normal(size=length)  # no period is significant here
    expected = np.sort(official.quantiles([Series(row) for row in batch], horizon), axis=1)
    answers = ours.forecast([Series(row) for row in batch], horizon, NINE)
    np.testing.assert_allclose([answer.quantiles for answer in answers], expected, atol=1e-4)
    np.testing.assert_allclose([answer.median for answer in answers], expected[:, 4], atol=1e-4)


def test_a_batch_in_one_pass_as_on_a_gpu_gives_the_same_numbers(ours, monkeypatch):
    batch = [Series(season(length, period)) for length, period in ((300, 24), (2048, 7), (100, 11.5))]
    alone = ours.forecast(batch, 60, NINE)
    monkeypatch.setattr(fracast, "pieces", lambda values: [slice(None)])
    for one, other in zip(ours.forecast(batch, 60, NINE), alone, strict=True):
        np.testing.assert_allclose(one.quantiles, other.quantiles, atol=1e-5)


@pytest.mark.parametrize("horizon", [20, 120])
@pytest.mark.parametrize("gap", [slice(0, 70), slice(130, 200), slice(270, 300), slice(0, 300, 3)])
def test_gaps_are_masked_as_the_official_code_does(ours, official, gap, horizon):
    values = 50 + 10 * season(300)
    values[gap] = np.nan
    expected = np.sort(official.quantiles([Series(values)], horizon)[0], axis=0)
    (answer,) = scaling.forecast(ours, [Series(values)], horizon, NINE)
    np.testing.assert_allclose(answer.quantiles, expected, atol=1e-3)  # of a spread of 8


@pytest.mark.parametrize("horizon", [20, 120])
def test_a_batch_of_mixed_lengths_answers_as_each_series_alone(ours, horizon):
    batch = [Series(season(length, gap=gap)) for length, gap in ((10, 0), (2048, 300), (70, 5), (512, 0), (2047, 1))]
    for series, answer in zip(batch, ours.forecast(batch, horizon, [0.02, 0.9]), strict=True):
        (alone,) = ours.forecast([series], horizon, [0.02, 0.9])
        np.testing.assert_allclose(answer.median, alone.median, atol=1e-5)
        np.testing.assert_allclose(answer.quantiles, alone.quantiles, atol=1e-4)


def test_what_is_older_than_the_context_changes_nothing(ours):
    values = season(ours.max_context + 300).astype(float)
    changed = values.copy()
    changed[:300] = 1e6
    answers = [scaling.forecast(ours, [Series(v)], 12, [0.1])[0] for v in (values, changed)]
    np.testing.assert_array_equal(answers[0].median, answers[1].median)


def test_eight_points_among_gaps_are_enough(ours, official):
    values = np.full(40, np.nan, np.float32)
    values[::5] = season(8)
    assert np.isfinite(values).sum() == ours.min_context
    (answer,) = ours.forecast([Series(values)], 10, NINE)
    expected = np.sort(official.quantiles([Series(values)], 10)[0], axis=0)
    np.testing.assert_allclose(answer.quantiles, expected, atol=1e-5)


@pytest.mark.parametrize("horizon", [1, 48, 97, 1024])
def test_any_horizon_has_its_length_and_quantiles_in_order(ours, horizon):
    levels = [0.995, 0.5, 0.005, 0.1, 0.05, 0.9]
    (answer,) = scaling.forecast(ours, [Series(season(300))], horizon, levels)
    assert answer.median.shape == (horizon,)
    assert answer.quantiles.shape == (6, horizon)
    assert np.isfinite(answer.quantiles).all()
    assert (np.diff(answer.quantiles[np.argsort(levels)], axis=0) >= 0).all()
    assert (answer.quantiles[2] < answer.quantiles[3]).all()
    assert (answer.quantiles[0] > answer.quantiles[5]).all()


@pytest.mark.parametrize(("factor", "offset"), [(1e-300, 0), (1e300, 0), (1e-12, 0), (1, 1e9), (2**44, 2**60)])
def test_the_unit_of_a_series_does_not_matter(ours, factor, offset):
    steps = np.round(season(200).astype(float) * 1000)
    (plain,) = scaling.forecast(ours, [Series(steps)], 20, [0.5])
    (other,) = scaling.forecast(ours, [Series(steps * factor + offset)], 20, [0.5])
    np.testing.assert_allclose((other.median - offset) / factor, plain.median, atol=np.ptp(steps) * 1e-4)


def test_a_constant_series_is_answered_with_its_constant(ours):
    constant, moving = scaling.forecast(ours, [Series(np.full(30, 4.5)), Series(season(30))], 7, [0.1, 0.9])
    assert (constant.median == 4.5).all()
    assert (constant.quantiles == 4.5).all()
    assert np.ptp(moving.median) > 0


def mase_ratio(family, values, period, horizon):
    """Mean absolute error of the median over eight origins, over that of repeating the last season."""
    values = np.asarray(values, float)
    filled = scaling.fill(values)
    origins = np.linspace(len(values) // 2, len(values) - horizon, 8).astype(int)
    answers = scaling.forecast(family, [Series(values[:origin]) for origin in origins], horizon, [0.5])
    errors, naive = [], []
    for origin, answer in zip(origins, answers, strict=True):
        truth = filled[origin : origin + horizon]
        errors.append(np.abs(answer.median - truth).mean())
        naive.append(np.abs(np.resize(filled[origin - period : origin], horizon) - truth).mean())
    return np.mean(errors) / np.mean(naive)


def test_on_real_series_it_beats_repeating_the_last_season(ours):
    sea = elnino.load_pandas().data.iloc[:, 1:].to_numpy().ravel()  # monthly
    air = co2.load_pandas().data["co2"]  # weekly, with gaps
    ratios = [mase_ratio(ours, sea, 12, 24), mase_ratio(ours, air, 52, 52)]
    assert np.mean(ratios) < 0.9


def test_a_folder_with_the_same_files_gives_the_same_answers(ours, tmp_path):
    for name in ("config.json", "model.safetensors"):
        (tmp_path / name).write_bytes((PACKAGED / name).read_bytes())
    copied = families.load("fracast", tmp_path, Runtime(threads=1))
    series = Series(season(100))
    np.testing.assert_array_equal(
        copied.forecast([series], 10, [0.1])[0].median, ours.forecast([series], 10, [0.1])[0].median
    )


# Folders that hold something else


def refusal(folder):
    with pytest.raises(ConfigError) as caught:
        families.load("fracast", folder, Runtime(threads=1))
    sentence = str(caught.value)
    assert "\n" not in sentence
    assert "expected" in sentence
    assert "found" in sentence
    return sentence


def test_a_folder_without_its_files_is_refused(tmp_path):
    assert "config.json" in refusal(tmp_path)
    (tmp_path / "config.json").write_text((PACKAGED / "config.json").read_text())
    assert "model.safetensors" in refusal(tmp_path)
    whole = (PACKAGED / "model.safetensors").read_bytes()
    (tmp_path / "model.safetensors").write_bytes(whole[:1000])
    assert "model.safetensors" in refusal(tmp_path)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"causal": False}, "causal"),
        ({"d_model": None}, "d_model"),
        ({"d_model": 32}, "shape"),
        ({"quantiles": "nine"}, "levels between 0 and 1"),
        ({"quantiles": [0.1, 0.9]}, "0.5 among them"),
    ],
)
def test_a_configuration_of_another_network_is_refused(tmp_path, changes, words):
    config = json.loads((PACKAGED / "config.json").read_text())
    config["model"] = {k: v for k, v in (config["model"] | changes).items() if v is not None}
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "model.safetensors").symlink_to(PACKAGED / "model.safetensors")
    assert words in refusal(tmp_path)


def test_another_familys_folder_is_refused(tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "time_moe", "architectures": ["TimeMoeForPrediction"]}')
    assert "model: expected an object" in refusal(tmp_path)


def test_weights_that_are_not_all_there_or_too_many_are_refused(tmp_path):
    weights = load_file(PACKAGED / "model.safetensors")
    (tmp_path / "config.json").write_text((PACKAGED / "config.json").read_text())
    missing = {name: tensor for name, tensor in weights.items() if name != "core.norm.weight"}
    save_file(missing, tmp_path / "model.safetensors")
    assert "core.norm.weight" in refusal(tmp_path)
    save_file(weights | {"core.more": weights["core.norm.weight"].clone()}, tmp_path / "model.safetensors")
    assert "core.more" in refusal(tmp_path)
