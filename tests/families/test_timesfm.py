"""TimesFM 2.0 against the official package, and what the adapter promises beyond it."""

import pickle
import shutil
import sys

import numpy as np
import pytest
import torch
from checkpoints import timesfm as checkpoint

from tsfm.card import read
from tsfm.engine import forecast
from tsfm.errors import BadRequest, ConfigError
from tsfm.families import timesfm
from tsfm.numerics import scaling
from tsfm.series import Runtime, Series

pytestmark = pytest.mark.slow

LEVELS = [0.025, 0.1, 0.25, 0.5, 0.9, 0.975]
FLOAT32 = Runtime(dtype="float32")


@pytest.fixture(scope="module")
def model(folder):
    return timesfm.load(folder, FLOAT32)


def series(points, seed=0):
    noise = np.random.default_rng(seed).normal(size=points)
    wave = 2 * np.sin(np.arange(points) / 7) + 0.01 * np.arange(points) + noise
    return Series(wave.astype(np.float32))


@pytest.mark.parametrize(
    ("points", "horizon"),
    [(1, 3), (2, 3), (10, 10), (33, 48), (34, 48), (35, 129), (512, 48), (1000, 300), (2048, 1), (2048, 500)],
)
def test_forecasts_equal_the_official_ones(model, official, points, horizon):
    one = series(points)
    (expected,) = official.forecast([one], horizon, LEVELS)
    (answer,) = model.forecast([one], horizon, LEVELS)
    tolerance = 1e-4 * np.abs(expected.median).max()
    np.testing.assert_allclose(answer.median, expected.median, rtol=0, atol=tolerance)
    np.testing.assert_allclose(answer.quantiles, expected.quantiles, rtol=0, atol=tolerance)


@pytest.mark.parametrize("frequency", [1, 2])
def test_a_frequency_means_what_it_means_upstream(model, official, frequency):
    one = series(200)
    (expected,) = official.forecast([one], 48, [], frequency=frequency)
    (answer,) = model.forecast([one], 48, [0.5], frequency=frequency)
    np.testing.assert_allclose(answer.median, expected.median, rtol=0, atol=1e-4 * np.abs(expected.median).max())
    (other,) = model.forecast([one], 48, [0.5])
    assert np.abs(other.median - answer.median).max() > 0.01


def test_a_batch_gives_the_same_numbers_as_one_by_one(model):
    batch = [series(points, seed) for seed, points in enumerate([10, 31, 64, 100, 512, 2048, 700, 33])]
    together = model.forecast(batch, 300, LEVELS)
    for one, answer in zip(batch, together, strict=True):
        (alone,) = model.forecast([one], 300, LEVELS)
        np.testing.assert_allclose(answer.median, alone.median, rtol=0, atol=2e-4)
        np.testing.assert_allclose(answer.quantiles, alone.quantiles, rtol=0, atol=4e-4)


def test_a_longer_context_is_cut_from_the_left(model):
    long = series(3000)
    whole, cut = scaling.forecast(model, [long, long.newest(model.max_context)], 48, LEVELS)
    np.testing.assert_array_equal(whole.median, cut.median)


@pytest.mark.parametrize("horizon", [1, 127, 128, 129, 1024])
def test_every_horizon_is_answered_in_full(model, horizon):
    (answer,) = scaling.forecast(model, [series(100)], horizon, LEVELS)
    assert answer.median.shape == (horizon,)
    assert answer.quantiles.shape == (len(LEVELS), horizon)
    assert np.isfinite(answer.median).all()
    assert (np.diff(answer.quantiles, axis=0) >= 0).all()


def test_a_shorter_horizon_is_the_beginning_of_a_longer_one(model):
    (long,) = model.forecast([series(512)], 400, LEVELS)
    (short,) = model.forecast([series(512)], 150, LEVELS)
    np.testing.assert_array_equal(short.median, long.median[:150])


def test_the_interval_goes_on_widening_beyond_the_trained_quantiles(model):
    (answer,) = scaling.forecast(model, [series(512)], 48, [0.01, 0.1, 0.9, 0.99])
    assert (answer.quantiles[0] < answer.quantiles[1]).all()
    assert (answer.quantiles[3] > answer.quantiles[2]).all()


@pytest.mark.parametrize("scale", [1e-12, 1.0, 1e12])
def test_level_and_unit_do_not_matter(model, scale):
    one = series(300)
    (plain,) = scaling.forecast(model, [one], 48, LEVELS)
    moved = Series(one.target.astype(np.float64) * scale + 1e6 * scale)
    (answer,) = scaling.forecast(model, [moved], 48, LEVELS)
    np.testing.assert_allclose(answer.median / scale - 1e6, plain.median, rtol=0, atol=1e-3)


def test_a_beginning_that_never_moves_does_not_blow_up_the_scale(model):
    target = np.concatenate([np.full(64, -1.2345), series(448).target]).astype(np.float32)
    (answer,) = model.forecast([Series(target)], 128, LEVELS)
    assert np.abs(answer.median).max() < 100


@pytest.mark.parametrize("missing", [1, 5, 31, 32, 40, 300])
def test_a_gap_at_the_start_is_cut_off_as_the_official_forecast_does(model, official, missing):
    target = series(300 + missing).target.copy()
    target[:missing] = np.nan
    target[missing + 100 : missing + 110] = np.nan
    (expected,) = official.forecast([Series(target)], 48, [])
    (answer,) = scaling.forecast(model, [Series(target)], 48, LEVELS)
    np.testing.assert_allclose(answer.median, expected.median, rtol=0, atol=1e-4 * np.abs(expected.median).max())


def test_a_gap_at_the_end_is_a_part_of_the_horizon_up_to_a_bound(model):
    target = series(300).target.copy()
    (longer,) = scaling.forecast(model, [Series(target[:280])], 68, LEVELS)
    target[280:] = np.nan
    (answer,) = scaling.forecast(model, [Series(target)], 48, LEVELS)
    np.testing.assert_array_equal(answer.median, longer.median[20:])
    asked = forecast.ForecastRequest(Series(np.append(target, np.full(5000, np.nan))), 48, 0.9)
    with pytest.raises(BadRequest) as caught:
        forecast.check_fit(scaling.fitted(asked.series, model, 48), asked.horizon, model, "timesfm")
    assert str(caught.value) == (
        "input: next_len 48 after 5020 missing points at the end of input leave room for 0 points of context; "
        "at least 1 are needed: send newer points or a smaller next_len"
    )


def test_gaps_are_filled_before_the_model_sees_them(model):
    target = series(300).target.astype(np.float64)
    filled = target.copy()
    target[100:110] = np.nan
    filled[100:110] = np.interp(np.arange(100, 110), [99, 110], [filled[99], filled[110]])
    gaps, none = scaling.forecast(model, [Series(target), Series(filled)], 10, LEVELS)
    np.testing.assert_allclose(gaps.median, none.median, rtol=0, atol=0.2)


def test_bfloat16_drifts_by_less_than_two_percent_of_the_spread(folder, model):
    fast = timesfm.load(folder, Runtime(dtype="bfloat16"))
    assert fast.path.startswith("bfloat16")
    batch = [scaling.standardise(series(512, seed), False)[0] for seed in range(4)]
    for exact, quick in zip(model.forecast(batch, 48, LEVELS), fast.forecast(batch, 48, LEVELS), strict=True):
        assert np.abs(quick.median - exact.median).max() < 0.02


def test_the_card_tells_the_size_of_the_real_checkpoint():
    real = read("timesfm").checkpoints[0]
    shapes = checkpoint.shapes(*checkpoint.SIZES["500m"])
    assert real.parameters == sum(int(np.prod(shape)) for _, shape in shapes)
    assert 0 < real.bytes - 4 * real.parameters < 1_000_000


def save(folder, state):
    torch.save(state, folder / "torch_model.ckpt")
    return folder


def test_a_folder_without_weights_says_what_was_expected(tmp_path):
    with pytest.raises(ConfigError, match=r"torch_model\.ckpt: expected .* found no such file"):
        timesfm.load(tmp_path, FLOAT32)


def test_a_truncated_file_is_refused_in_one_sentence(folder, tmp_path):
    whole = (folder / "torch_model.ckpt").read_bytes()
    (tmp_path / "torch_model.ckpt").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ConfigError, match=r"torch_model\.ckpt: expected .* found") as caught:
        timesfm.load(tmp_path, FLOAT32)
    assert "\n" not in str(caught.value)


def test_another_models_checkpoint_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"freq_emb\.weight .* found none of that name but lm_head"):
        timesfm.load(save(tmp_path, {"lm_head": torch.zeros(2, 2)}), FLOAT32)


def test_timesfm_1_is_told_by_its_depth(tmp_path):
    shapes = checkpoint.shapes(64, 20, 16)
    save(tmp_path, {name: torch.ones(shape) for name, shape in shapes})
    with pytest.raises(ConfigError, match=r"expected TimesFM 2\.0 \(50 layers\), found 20: TimesFM 1\.0 .* not served"):
        timesfm.load(tmp_path, FLOAT32)


def test_tensors_that_do_not_fit_together_are_refused(folder, tmp_path):
    state = torch.load(folder / "torch_model.ckpt", weights_only=True)
    state["stacked_transformer.layers.1.mlp.gate_proj.weight"] = torch.zeros(3, 64)
    with pytest.raises(ConfigError, match=r"layers\.1\.mlp\.gate_proj\.weight .* found it with shape \(3, 64\)"):
        timesfm.load(save(tmp_path, state), FLOAT32)
    state.pop("stacked_transformer.layers.1.self_attn.scaling")
    with pytest.raises(ConfigError, match="expected no more tensors, found"):
        timesfm.load(save(tmp_path, state), FLOAT32)


class Intruder:
    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return shutil.copy, (sys.executable, str(self.mark))


@pytest.mark.parametrize("plain", [True, False])
def test_a_pickle_with_code_in_it_is_refused_and_not_run(tmp_path, plain):
    mark = tmp_path / "mark"
    if plain:
        (tmp_path / "torch_model.ckpt").write_bytes(pickle.dumps({"freq_emb.weight": Intruder(mark)}))
    else:
        save(tmp_path, {"freq_emb.weight": Intruder(mark)})
    with pytest.raises(ConfigError, match=r"found a pickle that .*; it was not run"):
        timesfm.load(tmp_path, FLOAT32)
    assert not mark.exists()
