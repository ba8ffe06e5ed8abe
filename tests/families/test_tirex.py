"""TiRex against tirex-2, by numbers that the package gave, which is kept apart: ``make reference FAMILY=tirex``."""

import json
import math

import numpy as np
import other_checkpoints
import pytest
from checkpoints import tirex as maker
from reference import tirex as reference
from safetensors.torch import load_file, save_file

from tsfm import card, families
from tsfm.errors import ConfigError
from tsfm.numerics import scaling
from tsfm.series import Group, Runtime, Series, no_covariates

pytestmark = pytest.mark.slow
FLOAT32 = Runtime(dtype="float32", threads=1)
NINE = [i / 10 for i in range(1, 10)]
STORED = np.load(reference.HERE / "tirex.npz")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tirex")
    maker.make(folder)
    return folder


@pytest.fixture(scope="module")
def model(folder):
    return families.load("tirex", folder, FLOAT32)


def group(task):
    first = Series(task.target[0], task.past, task.future)
    return Group((first, *map(Series, task.target[1:])))


def answers(model, case, levels=NINE):
    made = model.forecast_joint([group(task) for task in case.tasks()], case.horizon, levels)
    return np.stack([[one.quantiles for one in variates] for variates in made])


def expected(name):
    stored = STORED[name]
    assert stored.std() > 0.1
    return np.sort(stored, axis=2)


def series(points, seed=0, gap=0):
    noise = np.random.default_rng(seed).normal(size=points)
    values = 2 * np.sin(np.arange(points) / 7) + 0.1 * noise.cumsum() + 0.3 * noise
    values[points // 3 : points // 3 + gap] = np.nan
    return Series(((values - np.nanmean(values)) / np.nanstd(values)).astype(np.float32))


def test_the_stored_numbers_are_of_these_weights_and_small(folder):
    assert reference.digest(folder) == str(STORED["weights"]), "run make reference FAMILY=tirex"
    assert (reference.HERE / "tirex.npz").stat().st_size < 200_000


@pytest.mark.parametrize("at", range(len(reference.CASES)))
def test_the_official_quantiles(model, at):
    np.testing.assert_allclose(answers(model, reference.CASES[at]), expected(f"case{at}"), atol=1e-4)


@pytest.mark.parametrize("at", range(len(reference.BEYOND)))
def test_beyond_the_packages_horizon_further_missing_patches_follow(model, at):
    np.testing.assert_allclose(answers(model, reference.BEYOND[at]), expected(f"beyond{at}"), atol=1e-4)


@pytest.mark.parametrize("at", range(len(reference.CHANGED)))
def test_every_key_that_is_read_means_what_it_means_to_the_package(tmp_path, at):
    changed = reference.CHANGED[at]
    maker.make(tmp_path, **changed)
    levels = changed.get("quantiles", NINE)
    made = answers(families.load("tirex", tmp_path, FLOAT32), reference.MIXED, levels)
    np.testing.assert_allclose(made, expected(f"changed{at}"), rtol=1e-4, atol=1e-4)
    if levels == NINE:
        assert np.abs(made - expected(f"case{len(reference.CASES) - 1}")).max() > 1e-3


# Sizes give the shapes of tensors; the others change no forecast on a CPU.
SHAPES = {"embedding_dim", "input_ff_dim", "input_patch_size", "output_patch_size", "tokenizer_cfg"}
NOTHING = {"device", "dropout", "matmul_precision"}


def test_every_key_of_the_package_is_read_or_gives_shapes_or_changes_nothing():
    read = {key for changed in reference.CHANGED for key in changed}
    assert set(STORED["keys"].tolist()) == read | SHAPES | NOTHING


def of_stack(**changed):
    stack = maker.config("tiny")["stack_config"]
    return {"stack_config": {**stack, **changed}}


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"model_type": "tirex"}, "model_type: expected one of the keys"),
        ({"output_patch_size": 4}, "output_patch_size: expected 8, found 4"),
        ({"context_len": 60}, "context_len: expected a multiple of 8, the points of a patch, found 60"),
        ({"quantiles": [0.1, 0.5, 0.8]}, "quantiles: expected levels that lie symmetrically around 0.5"),
        ({"act_func": "torch.nn.Tanh"}, "act_func: expected one of SiLU, ReLU, GELU"),
        ({"num_blocks": 5}, "num_blocks: expected 4, found 5"),
        (of_stack(recipe=[]), "recipe: expected a list of names"),
        (
            of_stack(recipe=["mlstm", "slstm", "other", "mlstm"]),
            "templates.other: expected an object, found no such key",
        ),
        (
            {"tokenizer_cfg": {"output_patch_size": 8, "input_patch_size": 8, "input_patch_stride": 4}},
            "input_patch_stride: expected 8, found 4",
        ),
    ],
)
def test_what_the_network_lacks_is_refused_with_its_key(folder, tmp_path, changed, words):
    (tmp_path / "config.json").write_text(json.dumps(maker.config("tiny") | changed))
    (tmp_path / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes())
    with pytest.raises(ConfigError, match=rf"config\.json: .*{words}"):
        families.load("tirex", tmp_path, FLOAT32)


def test_a_batch_gives_the_same_numbers_as_one_by_one(model):
    batch = [series(points, seed, gap) for seed, (points, gap) in enumerate([(5, 0), (31, 2), (64, 20), (40, 1)])]
    for one, answer in zip(batch, model.forecast(batch, 30, NINE), strict=True):
        (alone,) = model.forecast([one], 30, NINE)
        np.testing.assert_allclose(answer.median, alone.median, atol=2e-5)
        np.testing.assert_allclose(answer.quantiles, alone.quantiles, atol=2e-5)


def test_a_large_batch_is_computed_in_parts_and_each_may_know_other_covariates_ahead(model, monkeypatch):
    tasks = reference.MIXED.tasks()
    tasks[0].future[:, 20:] = np.nan
    whole = model.forecast_joint([group(task) for task in tasks], 32, NINE)
    monkeypatch.setattr("tsfm.families.tirex.AT_ONCE", 1)
    for parts in (whole, model.forecast_joint([group(task) for task in tasks], 32, NINE)):
        for task, made in zip(tasks, parts, strict=True):
            (alone,) = model.forecast_joint([group(task)], 32, NINE)
            for one, other in zip(made, alone, strict=True):
                np.testing.assert_allclose(one.quantiles, other.quantiles, atol=1e-4)


def test_the_variates_of_a_target_and_its_covariates_change_the_forecast(model):
    (task, _) = reference.Case(50, 20, variates=2, past=1, future=1).tasks()
    (both,) = model.forecast_joint([group(task)], 20, [])
    (alone,) = model.forecast([Series(task.target[0])], 20, [])
    (one,) = model.forecast([Series(task.target[0], task.past)], 20, [])
    (other,) = model.forecast([Series(task.target[0], no_covariates(), task.future)], 20, [])
    medians = [both[0].median, alone.median, one.median, other.median]
    for at, first in enumerate(medians):
        assert all(np.abs(first - second).max() > 0.01 for second in medians[at + 1 :])


def test_a_series_of_two_values_is_taken_as_zeros_and_ones_in_any_unit(model):
    (task, _) = reference.Case(50, 20, "marks", future=2).tasks()
    future = task.future[1:]
    moved = np.where(future > 0, np.float32(7), np.float32(3))
    (plain,) = model.forecast([Series(task.target[0], no_covariates(), future)], 20, NINE)
    (other,) = model.forecast([Series(5 * task.target[0] - 2, no_covariates(), moved)], 20, NINE)
    np.testing.assert_allclose(other.quantiles, 5 * plain.quantiles - 2, atol=1e-4)


@pytest.mark.parametrize("horizon", [1, 8, 9, 32, 33, 1024])
def test_every_horizon_is_answered_in_full(model, horizon):
    (answer,) = scaling.forecast(model, [series(500, gap=50)], horizon, [0.1, 0.9])
    assert answer.median.shape == (horizon,)
    assert answer.quantiles.shape == (2, horizon)
    assert np.isfinite(answer.quantiles).all()
    assert (answer.quantiles[0] <= answer.quantiles[1]).all()


def test_bfloat16_is_taken_on_request_only_and_drifts_by_a_few_percent_of_the_spread(folder, model):
    assert families.load("tirex", folder, Runtime()).path.startswith("float32")
    fast = families.load("tirex", folder, Runtime(dtype="bfloat16", threads=1))
    assert fast.path.startswith("bfloat16")
    batch = [series(64, seed) for seed in range(4)]
    for exact, quick in zip(model.forecast(batch, 32, []), fast.forecast(batch, 32, []), strict=True):
        assert 0 < np.abs(quick.median - exact.median).max() < 0.05


def test_the_card_tells_the_size_of_the_real_checkpoint():
    (real,) = card.read("tirex").checkpoints
    config = maker.config("38m")
    sizes = {name: math.prod(shape) for name, shape in maker.shapes(config).items()}
    assert real.parameters == sum(sizes.values())
    assert 0 < real.bytes - 4 * real.parameters < 100_000
    assert real.shape.items() <= config.items()
    assert set(real.marks) <= set(config)
    company = sum(size for name, size in sizes.items() if "variate_mixer" in name or "combination" in name)
    # What the maker states: 38.4 M parameters for one variate, and 44.1 M more for several.
    assert [round(part / 1e6, 1) for part in (real.parameters - company, company)] == [38.4, 44.1]


def test_the_other_names_of_a_tensor_are_read_too_where_they_agree(folder, tmp_path, model):
    """The package's modules have a cell under two names, and its file may have either, or both."""
    tensors = load_file(folder / "model.safetensors")
    moved = {
        name.replace(".fwd_cell.", ".rev_cell.").replace("._recurrent_kernel_", ".recurrent_kernel") for name in tensors
    }
    other = {
        name.replace(".fwd_cell.", ".rev_cell.").replace("._recurrent_kernel_", ".recurrent_kernel"): value.clone()
        for name, value in tensors.items()
    }
    assert set(other) == moved
    (tmp_path / "config.json").write_text((folder / "config.json").read_text())
    for both in ({}, tensors):
        save_file(other | both, tmp_path / "model.safetensors")
        (made,) = families.load("tirex", tmp_path, FLOAT32).forecast([series(50)], 20, [])
        np.testing.assert_array_equal(made.median, model.forecast([series(50)], 20, [])[0].median)
    other["stack.0.time_mixer.rev_cell.q.weight"] += 1
    save_file(other | tensors, tmp_path / "model.safetensors")
    with pytest.raises(ConfigError, match=r"rev_cell\.q\.weight to be a copy of stack\.0\.time_mixer\.fwd_cell"):
        families.load("tirex", tmp_path, FLOAT32)


@pytest.mark.parametrize("wrong", other_checkpoints.WRONG)
def test_another_checkpoint_is_refused_in_one_sentence(folder, tmp_path, wrong):
    other_checkpoints.check(wrong, "tirex", folder, tmp_path, "stack.1.time_mixer.ffn.proj_down.weight")
