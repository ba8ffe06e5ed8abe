"""MOMENT against the official package, and how gaps of every shape are filled."""

import json

import numpy as np
import pytest
import torch
from checkpoints import moment as checkpoint
from safetensors.torch import load_file, save_file

from tsfm import settings
from tsfm.card import read
from tsfm.engine import imputation
from tsfm.errors import ConfigError, ModelFailed
from tsfm.families import moment
from tsfm.numerics import scaling
from tsfm.numerics.gaps import plan
from tsfm.series import Runtime, Series

pytestmark = pytest.mark.slow

FLOAT32 = Runtime(dtype="float32")


@pytest.fixture(scope="module")
def model(folder):
    return moment.load(folder, FLOAT32)


def series(points, *gaps, seed=0):
    noise = np.random.default_rng(seed).normal(size=points)
    target = 2 * np.sin(np.arange(points) / 9) + 0.002 * np.arange(points) + 0.3 * noise
    for start, stop in gaps:
        target[start:stop] = np.nan
    return Series(target.astype(np.float32))


def impute(model, one):
    (filled,) = model.impute([one])
    observed = ~np.isnan(one.target)
    np.testing.assert_array_equal(filled[observed], one.target[observed])
    assert np.isfinite(filled).all()
    return filled


@pytest.mark.parametrize(
    ("points", "gaps"),
    [
        (512, [(200, 248)]),
        (512, [(0, 1), (77, 80), (300, 301), (504, 512)]),
        (512, [(100, 400)]),
        (504, [(30, 40)]),
        (333, [(100, 113), (330, 333)]),
        (100, [(0, 2), (50, 60)]),
        (20, [(9, 10)]),
    ],
)
def test_holes_are_filled_as_the_official_pipeline_does(model, official, points, gaps):
    one = series(points, *gaps)
    holes = np.isnan(one.target)
    expected = official.reconstruct([one.target])[0][holes]
    tolerance = 1e-4 * np.abs(expected).max()
    np.testing.assert_allclose(impute(model, one)[holes], expected, rtol=0, atol=tolerance)


def test_a_window_of_a_long_series_is_filled_as_the_official_pipeline_does(model, official):
    one = series(3000, (1000, 1032))
    (window,) = plan(np.isnan(one.target), 512, 8)
    (expected,) = official.reconstruct([one.target[window.start : window.stop]])
    inside = slice(1000 - window.start, 1032 - window.start)
    np.testing.assert_allclose(impute(model, one)[1000:1032], expected[inside], rtol=0, atol=1e-4)


SHAPES = {
    "none": (700, []),
    "one point": (700, [(350, 351)]),
    "at both ends": (700, [(0, 30), (690, 700)]),
    "many": (2000, [(at, at + 3) for at in range(5, 1990, 50)]),
    "as long as a window": (2000, [(700, 1212)]),
    "longer than a window, in front": (3000, [(0, 1500)]),
    "longer than a window, behind": (3000, [(1600, 3000)]),
    "as long as may be": (2058, [(5, 2053)]),
    "more than 64 windows": (40_000, [(at, at + 2) for at in range(20, 39_900, 100)]),
    "most of a short one": (14, [(3, 9)]),
    "all but one patch": (512, [(0, 480), (488, 512)]),
}


@pytest.mark.parametrize("shape", SHAPES)
def test_gaps_of_every_shape_are_filled_and_known_points_stay(model, shape):
    points, gaps = SHAPES[shape]
    one = series(points, *gaps)
    filled = impute(model, one)
    assert filled.shape == (points,)
    # Near its neighbourhood, whatever random weights say.
    assert np.abs(filled - scaling.fill(one.target)).max() < 20


def test_a_batch_gives_the_same_numbers_as_one_by_one(model):
    batch = [series(points, *gaps, seed=len(name)) for name, (points, gaps) in SHAPES.items() if points < 5000]
    for one, filled in zip(batch, model.impute(batch), strict=True):
        np.testing.assert_allclose(filled, impute(model, one), rtol=0, atol=1e-4)


def test_the_callers_series_stays_as_it_is(model):
    one = series(600, (100, 120))
    before = one.target.copy()
    model.impute([one])
    np.testing.assert_array_equal(one.target, before)


def test_far_points_do_not_matter_to_a_hole(model):
    near = series(5000, (2000, 2050))
    far = Series(near.target.copy())
    far.target[:1000] = 7
    far.target[4000:] = -7
    np.testing.assert_array_equal(impute(model, far)[2000:2050], impute(model, near)[2000:2050])


def test_where_the_model_would_see_nothing_the_line_is_straight(model):
    target = np.arange(64, dtype=np.float32)
    target[1::2] = np.nan
    np.testing.assert_allclose(impute(model, Series(target))[:63], np.arange(63), atol=1e-5)


def test_a_long_gap_with_too_little_on_either_side_is_one_straight_line(model):
    target = np.full(1020, np.nan, np.float32)
    target[:5], target[1015:] = 1, 3
    np.testing.assert_allclose(impute(model, Series(target))[4:1016], np.linspace(1, 3, 1012), atol=1e-5)


def test_a_request_comes_back_with_its_own_points_and_the_models_in_the_holes(model):
    rng = np.random.default_rng(1)
    values = 1e9 + np.cumsum(rng.normal(size=1200))
    times = 1_700_000_000 + 300 * np.arange(1200)
    kept = np.ones(1200, bool)
    kept[[5, 300, 301, 302, 900]] = False
    kept[600:700] = False
    body = {"input": values[kept].tolist(), "ts": times[kept].tolist(), "precision": "s", "freq": "5T"}
    asked = imputation.read(body, settings.read("moment", {}))
    (filled,) = scaling.impute(model, [asked.series])
    answer = imputation.finish(asked, filled)
    np.testing.assert_array_equal(answer["ts"], times)
    np.testing.assert_array_equal(answer["mask"], ~kept)
    assert answer["target"][kept].tobytes() == values[kept].tobytes()
    assert np.abs(answer["target"] - values)[~kept].max() < 20 * values.std()


@pytest.mark.parametrize("scale", [1e-12, 1e12])
def test_level_and_unit_do_not_matter(model, scale):
    one = series(800, (300, 320))
    (plain,) = scaling.impute(model, [one])
    (moved,) = scaling.impute(model, [Series(one.target.astype(np.float64) * scale - 1e5 * scale)])
    np.testing.assert_allclose(moved / scale + 1e5, plain, rtol=0, atol=1e-3)


def test_bfloat16_drifts_by_less_than_two_percent_of_the_spread(folder, model):
    fast = moment.load(folder, Runtime(dtype="bfloat16"))
    assert fast.path.startswith("bfloat16")
    batch = [scaling.standardise(series(600, (250, 298), seed=seed), False)[0] for seed in range(4)]
    for exact, quick in zip(model.impute(batch), fast.impute(batch), strict=True):
        assert np.abs(quick - exact).max() < 0.02


@pytest.mark.parametrize("tensor", ["head.linear.bias", "encoder.final_layer_norm.weight"])
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_weights_that_give_no_numbers_fail_at_once_instead_of_being_asked_again(copied, tensor, bad):
    state = load_file(copied / "model.safetensors")
    state[tensor][0] = bad
    save_file(state, copied / "model.safetensors")
    spoilt = moment.load(copied, FLOAT32)
    for one in (series(400, (100, 120)), series(3000, (100, 120), (700, 2400))):
        with pytest.raises(ModelFailed, match="holds values that are not numbers"):
            spoilt.impute([one])


def test_the_card_tells_the_sizes_of_the_real_checkpoints():
    for real in read("moment").checkpoints:
        shapes = dict(checkpoint.shapes(*checkpoint.SIZES[real.name.rpartition("-")[2]]))
        positions = int(np.prod(shapes.pop("patch_embedding.position_embedding.pe")))
        assert real.parameters == sum(int(np.prod(shape)) for shape in shapes.values())
        assert 0 < real.bytes - 4 * (real.parameters + positions) < 100_000


@pytest.fixture
def copied(folder, tmp_path):
    """A checkpoint of the test's own, to be spoilt."""
    for file in folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    return tmp_path


def configure(folder, change):
    file = folder / "config.json"
    config = json.loads(file.read_text())
    change(config)
    file.write_text(json.dumps(config))


def refused(folder):
    with pytest.raises(ConfigError) as caught:
        moment.load(folder, FLOAT32)
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith(str(folder))
    return message.removeprefix(f"{folder}/")


@pytest.mark.parametrize("file", ["config.json", "model.safetensors"])
def test_a_missing_file_is_named(copied, file):
    (copied / file).unlink()
    assert refused(copied).startswith(f"{file}: expected ")


def test_a_truncated_file_is_refused(copied):
    weights = copied / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:5000])
    assert refused(copied).startswith("model.safetensors: expected whole weights as safetensors")


def test_another_familys_configuration_is_refused(copied):
    (copied / "config.json").write_text('{"model_type": "time_moe", "hidden_size": 384}')
    assert (
        refused(copied)
        == "config.json: model_type: expected the configuration of a MOMENT checkpoint, found 'time_moe'"
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c.update(transformer_type="decoder_only"), "transformer_type: expected 'encoder_only'"),
        (lambda c: c.update(revin_affine=True), "revin_affine: expected False, found True"),
        (lambda c: c.update(patch_stride_len=4), "patch_stride_len: expected 8, found 4"),
        (lambda c: c.update(seq_len=500), "seq_len: expected a multiple of 32, found 500"),
        (lambda c: c["t5_config"].update(feed_forward_proj="relu"), "t5_config.feed_forward_proj: expected a gated"),
        (
            lambda c: c["t5_config"].update(num_heads="2"),
            "t5_config.num_heads: expected a whole number from 1, found '2'",
        ),
        (lambda c: c["t5_config"].update(d_ff=0), "t5_config.d_ff: expected a whole number from 1, found 0"),
    ],
)
def test_a_configuration_that_means_other_arithmetic_is_refused(copied, change, message):
    configure(copied, change)
    assert refused(copied).startswith(f"config.json: {message}")


def test_weights_that_do_not_fit_the_configuration_are_refused(copied):
    configure(copied, lambda config: config["t5_config"].update(num_layers=3))
    assert "expected a tensor encoder.block.2.layer.0" in refused(copied)
    state = load_file(copied / "model.safetensors")
    state["head.linear.bias"] = torch.zeros(5)
    save_file(state, copied / "model.safetensors")
    configure(copied, lambda config: config["t5_config"].update(num_layers=2))
    assert refused(copied).endswith("head.linear.bias of shape (8,), found it with shape (5,)")
