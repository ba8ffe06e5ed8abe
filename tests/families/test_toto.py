"""Toto against toto-2, number by number; what every adapter of a package must do is in tests/official."""

import hashlib
import json
from dataclasses import fields

import numpy as np
import other_checkpoints
import pytest
from checkpoints import toto as maker

from tsfm import card, families, official
from tsfm.errors import ConfigError
from tsfm.numerics import scaling
from tsfm.series import Group, Runtime, Series

pytestmark = pytest.mark.slow
FLOAT32 = Runtime(dtype="float32", threads=1)
NINE = [i / 10 for i in range(1, 10)]

# points, points missing in the middle, points missing at the end, horizon
CASES = [
    (3, 0, 0, 5),  # fewer points than make a scale, in one patch with zeros
    (20, 2, 0, 40),
    (40, 0, 1, 10),
    (150, 70, 5, 32),  # a whole patch is missing
    (200, 3, 40, 33),  # the last patch is missing: it counts as observed
    (512, 0, 0, 48),
    (300, 1, 0, 300),
]
# Configurations other than the published ones, each with the case of 150 points.
CHANGED: list[dict[str, object]] = [
    {"variate_layer_first": True},
    {"layer_group_size": 4},
    {"use_xpos": False},
    {"per_dim_scale": False},
    {"attn_bias": False},
    {"mlp_bias": True},
    {"norm_eps": 0.1},
]
# Variates that are forecast together: size, variates, points, horizon.
TOGETHER = [("tiny", 3, 70, 12), ("tiny", 8, 200, 33)] + [
    (size, variates, 512, 40) for size in ("4m", "22m") for variates in (2, 8)
]


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """A checkpoint of each size."""
    place = tmp_path_factory.mktemp("toto")
    found = {size: place / size for size in maker.SIZES}
    for size, folder in found.items():
        maker.make(folder, size)
    return found


@pytest.fixture(scope="module")
def folder(folders):
    return folders["tiny"]


@pytest.fixture(scope="module")
def model(folder):
    return families.load("toto", folder, FLOAT32)


@pytest.fixture(scope="module")
def theirs(folder):
    return official.load("toto", folder, FLOAT32)


def series(points, seed=0, gap=0):
    noise = np.random.default_rng(seed).normal(size=points)
    values = 2 * np.sin(np.arange(points) / 7) + 0.01 * np.arange(points) + noise
    values[points // 3 : points // 3 + gap] = np.nan
    return Series(((values - np.nanmean(values)) / np.nanstd(values)).astype(np.float32))


def variates(count: int, points: int) -> np.ndarray:
    """Variates of unit spread that begin one after the other, (count, points) float32, with gaps of their own."""
    made = np.concatenate([batch(points + at, 0, 0)[:1, at:] for at in range(count)])
    for at, row in enumerate(made):
        row[: at * points // (2 * count)] = np.nan
        row[points // 2 + at : points // 2 + at + 40 * (at % 3)] = np.nan  # of one variate whole patches are missing
        row[points - at % 2 * 35 :] = np.nan  # of one more than the last patch is
        row -= np.nanmean(row)
        row /= np.nanstd(row)
    return made


def batch(points: int, middle: int, end: int) -> np.ndarray:
    """Two series of unit spread, (2, points) float32, NaN where missing."""
    noise = np.random.default_rng(points).normal(size=(2, points))
    values = np.sin(np.arange(points) / 5) + 0.01 * np.arange(points) + 0.3 * noise
    values = (values - values.mean(axis=1, keepdims=True)) / values.std(axis=1, keepdims=True)
    values[:, points // 3 : points // 3 + middle] = np.nan
    values[:, points - end :] = np.nan
    return values.astype(np.float32)


def answers(model, case):
    """Shape (series, 9, horizon)."""
    *gaps, horizon = case
    made = model.forecast([Series(row) for row in batch(*gaps)], horizon, NINE)
    return np.stack([one.quantiles for one in made])


def group(count, points):
    return Group(tuple(Series(row) for row in variates(count, points)))


def together(model, groups, horizon):
    """Shape (groups, variates, 9, horizon)."""
    return np.array([[one.quantiles for one in made] for made in model.forecast_joint(groups, horizon, NINE)])


@pytest.mark.parametrize("case", CASES)
def test_the_official_quantiles(model, theirs, case):
    expected = answers(theirs, case)
    assert expected.std() > 0.1
    np.testing.assert_allclose(answers(model, case), expected, atol=2e-5)


@pytest.mark.parametrize(("size", "count", "points", "horizon"), TOGETHER)
def test_the_official_quantiles_of_variates_that_are_forecast_together(folders, size, count, points, horizon):
    """With gaps of each and beginnings of each; 2 and 8 variates in real sizes."""
    ours, theirs = (package.load("toto", folders[size], FLOAT32) for package in (families, official))
    asked = group(count, points)
    (made,) = together(ours, [asked], horizon)
    np.testing.assert_allclose(made, together(theirs, [asked], horizon)[0], atol=2e-5)
    each = np.stack([one.quantiles for one in ours.forecast(asked.members, horizon, NINE)])
    assert (np.abs(made - each).max(axis=(1, 2)) > 0.01).all(), "a variate does not see the others"


@pytest.mark.parametrize("changed", CHANGED, ids=str)
def test_every_key_that_is_read_means_what_it_means_to_the_package(model, tmp_path, changed):
    maker.make(tmp_path, **changed)
    ours, theirs = (package.load("toto", tmp_path, FLOAT32) for package in (families, official))
    made = answers(ours, CASES[3])
    np.testing.assert_allclose(made, answers(theirs, CASES[3]), atol=2e-5)
    assert np.abs(made - answers(model, CASES[3])).max() > 1e-3
    asked = [group(3, 70)]
    np.testing.assert_allclose(together(ours, asked, 12), together(theirs, asked, 12), atol=2e-5)


def test_groups_of_a_batch_and_their_order_change_no_number(model):
    """Each group alone, of other lengths, and with its variates the other way round."""
    groups = [group(3, points) for points in (200, 70, 130)]
    for one, made in zip(groups, together(model, groups, 40), strict=True):
        np.testing.assert_allclose(made, together(model, [one], 40)[0], atol=2e-5)
        (turned,) = together(model, [Group(one.members[::-1])], 40)
        np.testing.assert_allclose(made, turned[::-1], atol=2e-5)


def test_a_variate_that_begins_later_may_be_shorter_or_begin_with_a_gap(model):
    whole = group(3, 200)
    cut = Group(tuple(one.between(one.observed_span()[0], len(one)) for one in whole.members))
    assert len({len(one) for one in cut.members}) == 3
    np.testing.assert_allclose(together(model, [cut], 40), together(model, [whole], 40), atol=2e-5)


REFUSED = {
    "num_output_patches": 2,
    "num_variate_layers_per_group": 2,
    "dropout_p": 0.1,
    "norm_include_weight": True,
    "qk_norm_include_weight": True,
    "num_groups": 1,
    "heads_per_group": 2,
    "v_dim": 8,
    "qk_norm": True,
    "pre_norm": False,
}
# Sizes give the shapes of tensors; the taus are stored beside the weights; the package computes heads_per_group anew.
SHAPES = {"patch_size", "d_model", "num_heads", "num_layers", "d_ff", "qk_dim"}
NOTHING = {"residual_mult", "residual_attn_ratio"}


@pytest.mark.parametrize("key", REFUSED)
def test_what_the_network_lacks_is_refused_with_its_key(folder, tmp_path, key):
    (tmp_path / "config.json").write_text(json.dumps(maker.config("tiny") | {key: REFUSED[key]}))
    (tmp_path / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes())
    with pytest.raises(ConfigError, match=rf"config\.json: {key}: expected .*, found {REFUSED[key]}"):
        families.load("toto", tmp_path, FLOAT32)


def test_every_key_of_the_package_is_read_or_refused_or_changes_nothing():
    from toto2 import Toto2ModelConfig

    read = {key for changed in CHANGED for key in changed}
    assert {field.name for field in fields(Toto2ModelConfig)} == read | set(REFUSED) | SHAPES | NOTHING


def test_a_batch_gives_the_same_numbers_as_one_by_one(model):
    batch = [series(points, seed, gap) for seed, (points, gap) in enumerate([(10, 0), (31, 2), (64, 40), (700, 1)])]
    for one, answer in zip(batch, model.forecast(batch, 100, NINE), strict=True):
        (alone,) = model.forecast([one], 100, NINE)
        np.testing.assert_allclose(answer.median, alone.median, atol=2e-5)
        np.testing.assert_allclose(answer.quantiles, alone.quantiles, atol=2e-5)


@pytest.mark.parametrize("horizon", [1, 31, 32, 33, 1024])
def test_every_horizon_is_answered_in_full(model, horizon):
    (answer,) = scaling.forecast(model, [series(5000, gap=50)], horizon, [0.1, 0.9])
    assert answer.median.shape == (horizon,)
    assert answer.quantiles.shape == (2, horizon)
    assert np.isfinite(answer.quantiles).all()
    assert (answer.quantiles[0] <= answer.quantiles[1]).all()


def test_context_and_horizon_share_the_points_of_training(model):
    assert model.context_for(32, (0, 0)) == 4096
    assert model.context_for(33, (0, 0)) == 4064
    assert model.context_for(10_000, (0, 0)) < model.min_room


def test_bfloat16_drifts_by_less_than_two_percent_of_the_spread(folder, model):
    fast = families.load("toto", folder, Runtime(dtype="bfloat16", threads=1))
    assert fast.path.startswith("bfloat16")
    batch = [series(512, seed) for seed in range(4)]
    for exact, quick in zip(model.forecast(batch, 48, []), fast.forecast(batch, 48, []), strict=True):
        assert np.abs(quick.median - exact.median).max() < 0.02
    (exact,), (quick,) = (one.forecast_joint([Group(tuple(batch))], 48, []) for one in (model, fast))
    for one, other in zip(exact, quick, strict=True):
        assert np.abs(one.median - other.median).max() < 0.02


@pytest.mark.parametrize(("at", "size"), [(0, "4m"), (1, "22m")])
def test_the_card_tells_the_sizes_and_the_configurations_of_the_real_checkpoints(at, size):
    real = card.read("toto").checkpoints[at]
    config = maker.config(size)
    text = json.dumps(config, indent=2, sort_keys=True)
    assert hashlib.sha256(text.encode()).hexdigest() == real.sha256["config.json"]
    taus = 2 * config["num_layers"]  # stored beside the weights, and no parameters
    assert real.parameters == sum(int(np.prod(shape)) for shape in maker.shapes(size, config).values()) - taus
    assert 0 < real.bytes - 4 * real.parameters < 10_000
    assert real.shape.items() <= config.items()


@pytest.mark.parametrize("wrong", other_checkpoints.WRONG)
def test_another_checkpoint_is_refused_in_one_sentence(folder, tmp_path, wrong):
    other_checkpoints.check(wrong, "toto", folder, tmp_path, "transformer.layers.1.ffn.fc2.weight")
