"""FlowState against granite-tsfm, number by number, from small random checkpoints; and its seasons and scales."""

import json
import shutil

import numpy as np
import pytest
import torch
from checkpoints import flowstate as maker
from safetensors.torch import load_file, save_file

from tsfm import card, families, settings
from tsfm.engine.v1 import forecast as v1_forecast
from tsfm.errors import BadRequest, ConfigError
from tsfm.numerics import scaling
from tsfm.official import load as load_official
from tsfm.series import Runtime, Series

pytestmark = pytest.mark.slow
FLOAT32 = Runtime(dtype="float32", threads=1)
FACTS = card.read("flowstate")
LIMITS = settings.read("flowstate", {})
SIZES = ("tiny", "tiny1")


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("flowstate")
    for size in SIZES:
        maker.make(root / size, size)
    return {size: root / size for size in SIZES}


@pytest.fixture(scope="module")
def ours(folders):
    return {size: families.load("flowstate", folder, FLOAT32) for size, folder in folders.items()}


@pytest.fixture(scope="module")
def official(folders):
    return {size: load_official("flowstate", folder, FLOAT32) for size, folder in folders.items()}


def series(points, season=None, gap=0, seed=0):
    noise = np.random.default_rng(seed).normal(size=points)
    values = np.cumsum(0.2 * noise) + 2 * np.sin(np.arange(points) / 4)
    values = (values - values.mean()) / values.std()
    values[points // 3 : points // 3 + gap] = np.nan
    return Series(values.astype(np.float32), season=season)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(
    ("points", "gap", "season", "horizon"),
    [
        (2, 0, 24, 5),
        (40, 3, 24, 24),  # the horizon of one point
        (100, 40, 24, 1),
        (150, 1, 24, 70),  # two seasons and a rest
        (150, 0, 24, 72),  # three whole seasons
        (300, 0, 24, 48),  # cut to 256 points less 24 that are missing
        (150, 5, 96, 200),  # a quarter of the time
        (1500, 5, 96, 96),  # at a quarter of the time there is room for 1024 points
        (200, 0, 7.5, 33),  # a season that is no whole number
        (130, 9, 12, 60),
        (150, 0, None, 40),  # found: near 25
    ],
)
def test_the_official_quantiles(ours, official, size, points, gap, season, horizon):
    batch = [series(points, season, gap, seed) for seed in range(2)]
    expected = np.sort(official[size].quantiles(batch, horizon), axis=1)
    answers = ours[size].forecast(batch, horizon, maker.NINE)
    np.testing.assert_allclose([answer.quantiles for answer in answers], expected, atol=1e-4)
    np.testing.assert_allclose([answer.median for answer in answers], expected[:, 4], atol=1e-4)


def test_lengths_scales_and_gaps_share_a_batch(ours):
    lengths, seasons = [5, 300, 150, 151, 40], [24, 96, 7, 24, None]
    asked = enumerate(zip(lengths, seasons, strict=True))
    batch = [series(points, season, 2 * at, at) for at, (points, season) in asked]
    together = ours["tiny"].forecast(batch, 60, [0.1, 0.9])
    for one, answer in zip(batch, together, strict=True):
        (alone,) = ours["tiny"].forecast([one], 60, [0.1, 0.9])
        np.testing.assert_allclose(answer.median, alone.median, atol=2e-5)
        np.testing.assert_allclose(answer.quantiles, alone.quantiles, atol=2e-5)


@pytest.mark.parametrize("horizon", [1, 23, 24, 25, 47, 48, 95, 1024])
def test_every_horizon_is_answered_in_full(ours, horizon):
    """The package returns 24 steps of 47, and fails at 1024 steps of a season of 4."""
    for season in (24, 4):
        (answer,) = scaling.forecast(ours["tiny"], [series(200, season)], horizon, [0.1, 0.9])
        assert answer.median.shape == (horizon,)
        assert answer.quantiles.shape == (2, horizon)
        assert np.isfinite(answer.quantiles).all()
        assert (answer.quantiles[0] <= answer.quantiles[1]).all()


def test_a_season_stretches_time(ours):
    """Every fourth point of a smooth series at a quarter of the season is the same function of time."""
    hours = np.arange(800) / 4
    slow = np.sin(2 * np.pi * hours / 24) + 0.5 * np.sin(2 * np.pi * hours / 12)
    (fine,) = ours["tiny"].forecast([Series(slow.astype(np.float32), season=96)], 96, [])
    (coarse,) = ours["tiny"].forecast([Series(slow[3::4].astype(np.float32), season=24)], 24, [])
    (wrong,) = ours["tiny"].forecast([Series(slow.astype(np.float32), season=24)], 96, [])
    moved = np.abs(fine.median[3::4] - coarse.median).mean()
    assert moved < 0.25 * np.abs(coarse.median).mean()
    assert np.abs(wrong.median[3::4] - coarse.median).mean() > 2 * moved


def test_a_season_is_found_where_none_is_given_and_short_ones_do_not_count(ours):
    target = series(240).target
    (found,) = ours["tiny"].forecast([Series(target)], 24, [])
    (given,) = ours["tiny"].forecast([Series(target, season=25)], 24, [])
    np.testing.assert_array_equal(found.median, given.median)
    (short,) = ours["tiny"].forecast([Series(target, season=1)], 24, [])
    (usual,) = ours["tiny"].forecast([Series(target, season=24)], 24, [])
    np.testing.assert_array_equal(short.median, usual.median)


def test_bfloat16_drifts_by_less_than_two_percent_of_the_spread(folders, ours):
    fast = families.load("flowstate", folders["tiny"], Runtime(dtype="bfloat16", threads=1))
    assert fast.path.startswith("bfloat16")
    batch = [series(200, 24, 0, seed) for seed in range(4)]
    for exact, quick in zip(ours["tiny"].forecast(batch, 48, []), fast.forecast(batch, 48, []), strict=True):
        assert np.abs(quick.median - exact.median).max() < 0.02


def test_the_card_tells_the_size_of_the_real_checkpoint(tmp_path):
    (real,) = FACTS.checkpoints
    shapes = maker.shapes("r1.1")
    assert real.parameters == sum(int(np.prod(shape)) for shape in shapes.values())
    assert real.shape.items() | real.marks.items() <= maker.config("r1.1").items()
    assert 0 < real.bytes - 4 * real.parameters < 100_000


def test_what_the_package_saves_for_predictions_is_read_too(tmp_path, ours):
    maker.make(tmp_path, "tiny", "model.")
    model = families.load("flowstate", tmp_path, FLOAT32)
    (answer,), (expected,) = (one.forecast([series(100)], 30, []) for one in (model, ours["tiny"]))
    np.testing.assert_array_equal(answer.median, expected.median)


def test_another_folder_is_refused_in_one_sentence(folders, tmp_path):
    with pytest.raises(ConfigError, match="flowstate: expected a folder with a checkpoint, got none"):
        families.load("flowstate", None, FLOAT32)
    with pytest.raises(ConfigError, match=r"config\.json: expected .* found no such file"):
        families.load("flowstate", tmp_path, FLOAT32)
    shutil.copytree(folders["tiny"], tmp_path / "other")
    (tmp_path / "other/config.json").write_text(json.dumps(maker.config("tiny") | {"decoder_type": "four"}))
    with pytest.raises(ConfigError, match="decoder_type: expected legs or hlegs, found 'four'"):
        families.load("flowstate", tmp_path / "other", FLOAT32)


@pytest.mark.parametrize("wrong", ["shape", "more"])
def test_tensors_that_do_not_fit_are_refused(folders, tmp_path, wrong):
    shutil.copytree(folders["tiny"], tmp_path / "other")
    tensors = load_file(tmp_path / "other/model.safetensors")
    if wrong == "shape":
        tensors["encoder.layers.1.ssm.D"] = torch.zeros(3)
    else:
        tensors["encoder.layers.9.ssm.D"] = torch.zeros(16)
    save_file(tensors, tmp_path / "other/model.safetensors")
    expected = r"layers\.1\.ssm\.D of shape \(16,\), found it with" if wrong == "shape" else "expected no more tensors"
    with pytest.raises(ConfigError, match=expected):
        families.load("flowstate", tmp_path / "other", FLOAT32)


def through_v1(model, **parameters):
    target = (50 + 9 * series(200).target).tolist()
    asked = {"inputs": [{"target": target}], "parameters": {"prediction_length": 30, **parameters}}
    work = v1_forecast.work(v1_forecast.read(asked, LIMITS), model, "flowstate")
    (item,) = work.parts
    (made,) = item.call.run([item.series])
    return made.median


def test_a_request_says_the_season_by_its_length_or_by_its_frequency(ours):
    found = through_v1(ours["tiny"])
    daily = through_v1(ours["tiny"], freq="15min")
    np.testing.assert_array_equal(through_v1(ours["tiny"], season_length=96), daily)
    np.testing.assert_array_equal(through_v1(ours["tiny"], season_length=96, freq="h", context_length=200), daily)
    np.testing.assert_array_equal(through_v1(ours["tiny"], season_length=25), found)
    assert np.abs(found - daily).max() > 0.01
    with pytest.raises(BadRequest, match="season_length: expected a whole number from 1"):
        through_v1(ours["tiny"], season_length=0)
