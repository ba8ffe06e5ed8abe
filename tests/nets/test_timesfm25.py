"""TimesFM 2.5 against numbers that timesfm 3.0.2 gave (``make reference FAMILY=timesfm``), and what comes with them."""

from __future__ import annotations

import hashlib
import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from checkpoints import timesfm as maker
from reference import timesfm as reference
from safetensors.torch import load_file, save_file

from tsfm import families, official
from tsfm.card import read
from tsfm.errors import ConfigError
from tsfm.nets.timesfm25 import patched
from tsfm.numerics import scaling
from tsfm.series import Family, Forecast, Runtime, Series
from tsfm.weights import recognise
from tsfm.weights.checkpoints import named

pytestmark = pytest.mark.slow

STORED = np.load(reference.HERE / "timesfm.npz")
FLOAT32 = Runtime(dtype="float32", threads=1)
LEVELS = reference.LEVELS


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("checkpoint")
    maker.make(path, "tiny25")
    return path


@pytest.fixture(scope="module")
def model(folder: Path) -> Family:
    return families.load("timesfm", folder, FLOAT32)


def given(case: tuple[int, int, int, int]) -> Series:
    """The series of a case as a model is given it: without the gap at its start, the other one interpolated."""
    values = reference.series(*case).astype(np.float64)
    values = values[case[2] :]
    known = np.flatnonzero(~np.isnan(values))
    return Series(np.interp(np.arange(len(values)), known, values[known]).astype(np.float32))


def equal(answer: Forecast, expected: np.ndarray) -> None:
    np.testing.assert_allclose(answer.quantiles, expected, rtol=0, atol=2e-5)
    np.testing.assert_allclose(answer.median, expected[4], rtol=0, atol=2e-5)


def test_the_stored_numbers_are_those_of_the_small_checkpoint(folder: Path) -> None:
    assert reference.digest(folder) == str(STORED["weights"]), "run make reference FAMILY=timesfm"
    assert (reference.HERE / "timesfm.npz").stat().st_size < 200_000
    spread = STORED["case5"][8] - STORED["case5"][0]
    assert spread.min() >= 0
    assert spread.mean() > 0.5  # so a wrong quantile head is noticed


@pytest.mark.parametrize("at", range(len(reference.CASES)))
def test_forecasts_equal_the_official_ones(model: Family, at: int) -> None:
    case = reference.CASES[at]
    (answer,) = model.forecast([given(case)], case[-1], LEVELS)
    equal(answer, STORED[f"case{at}"])


def test_a_batch_of_different_lengths_equals_the_official_one(model: Family) -> None:
    cases = [reference.CASES[at] for at in reference.TOGETHER]
    answers = model.forecast([given(case) for case in cases], cases[-1][-1], LEVELS)
    for at, answer in enumerate(answers):
        equal(answer, STORED[f"together{at}"])


def test_the_negative_series_has_the_negative_forecast(model: Family) -> None:
    one = given(reference.CASES[5])
    plain, flipped = model.forecast([one, Series(-one.target)], 300, LEVELS)
    np.testing.assert_allclose(flipped.quantiles, -plain.quantiles[::-1], rtol=0, atol=1e-5)


@pytest.mark.parametrize("scale", [1e-12, 1e12])
def test_level_and_unit_do_not_matter(model: Family, scale: float) -> None:
    one = given(reference.CASES[5]).target.astype(np.float64)
    plain, moved = scaling.forecast(model, [Series(one), Series(one * scale + 1e6 * scale)], 48, LEVELS)
    np.testing.assert_allclose(moved.median / scale - 1e6, plain.median, rtol=0, atol=1e-3)


def test_gaps_of_the_input_are_treated_as_the_official_forecast_does(model: Family) -> None:
    case = reference.CASES[4]
    (answer,) = scaling.forecast(model, [Series(reference.series(*case))], case[-1], LEVELS)
    np.testing.assert_allclose(answer.quantiles, STORED["case4"], rtol=0, atol=1e-3)


def test_context_and_horizon_share_what_the_package_allows(model: Family) -> None:
    assert model.max_context == model.context_for(1, (0, 0)) == 16384 - 128
    assert model.context_for(129, (0, 0)) == 16384 - 256
    assert model.context_for(4096, (0, 0)) == 16384 - 4096
    assert model.context_for(4097, (0, 0)) == 0
    last = given(reference.CASES[10]).newest(model.context_for(1024, (0, 0)))
    (answer,) = model.forecast([last], 1024, LEVELS)
    assert answer.quantiles.shape == (9, 1024)
    assert np.isfinite(answer.quantiles).all()


def test_a_shorter_horizon_is_the_beginning_of_a_longer_one(model: Family) -> None:
    one = given(reference.CASES[5])
    (long,), (short,) = (model.forecast([one], horizon, LEVELS) for horizon in (400, 150))
    np.testing.assert_allclose(short.quantiles, long.quantiles[:, :150], rtol=0, atol=1e-5)


def test_a_beginning_that_never_moves_has_no_deviation() -> None:
    row = np.concatenate([np.full(40, -1.2345), np.arange(10.0)])
    tokens = patched(row).tokens
    assert tokens.shape == (2, 64)
    np.testing.assert_array_equal(tokens[0, :32], 0)
    np.testing.assert_array_equal(tokens[:, 32:].sum(axis=1), [14, 0])
    assert patched(row).mean == pytest.approx(row.mean())
    assert patched(row).deviation == pytest.approx(row.std())


def test_bfloat16_drifts_by_less_than_two_percent_of_the_spread(folder: Path, model: Family) -> None:
    fast = families.load("timesfm", folder, Runtime(dtype="bfloat16", threads=1))
    assert fast.path.startswith("bfloat16")
    batch = [given(reference.CASES[at]) for at in (3, 5, 7)]
    for exact, quick in zip(model.forecast(batch, 48, LEVELS), fast.forecast(batch, 48, LEVELS), strict=True):
        assert 0 < np.abs(quick.median - exact.median).max() < 0.02


# The checkpoint


def test_the_card_tells_the_size_of_the_real_checkpoint() -> None:
    real = named(read("timesfm"), "timesfm-2.5-200m-pytorch")
    shapes = dict(maker.shapes_25(*maker.SIZES_25["2.5-200m"]))
    assert real.parameters == sum(map(math.prod, shapes.values()))
    header, at = {}, 0
    for name in sorted(shapes):
        end = at + 4 * math.prod(shapes[name])
        header[name], at = {"dtype": "F32", "shape": shapes[name], "data_offsets": [at, end]}, end
    text = len(json.dumps(header, separators=(",", ":")))
    published = 8 + math.ceil(text / 8) * 8 + at  # of a file with these names, in the format of safetensors
    assert real.bytes == published + len(json.dumps(maker.config_25("2.5-200m"), indent=2))


def test_the_published_configuration_is_recognised() -> None:
    real = named(read("timesfm"), "timesfm-2.5-200m-pytorch")
    published = json.dumps(maker.config_25("2.5-200m"), indent=2)
    assert hashlib.sha256(published.encode()).hexdigest() == real.sha256["config.json"]
    assert recognise.kinds(json.loads(published)) == [(read("timesfm"), real)]


def test_the_installed_package_of_2_0_is_told_from_that_of_2_5(folder: Path) -> None:
    with pytest.raises(ConfigError, match=r"TimesFM 2\.5 needs timesfm==3\.0\.2, found timesfm 1\.3\.0"):
        official.load("timesfm", folder, FLOAT32)


def test_a_folder_needs_no_configuration(folder: Path, model: Family, tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").symlink_to(folder / "model.safetensors")
    bare = families.load("timesfm", tmp_path, FLOAT32)
    one = given(reference.CASES[3])
    (with_it,), (without,) = (each.forecast([one], 10, LEVELS) for each in (model, bare))
    np.testing.assert_array_equal(without.quantiles, with_it.quantiles)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"lm_head": torch.zeros(2, 2)}, "expected no more tensors"),
        ({"stacked_xf.1.ff0.weight": torch.zeros(3, 64)}, r"stacked_xf\.1\.ff0\.weight .* shape \(3, 64\)"),
        ({"stacked_xf.0.ff0.weight": torch.zeros(3)}, r"stacked_xf\.0\.ff0\.weight of 2 axes"),
    ],
)
def test_other_tensors_are_refused(folder: Path, tmp_path: Path, change: dict[str, torch.Tensor], words: str) -> None:
    save_file(load_file(folder / "model.safetensors") | change, tmp_path / "model.safetensors")
    with pytest.raises(ConfigError, match=words) as caught:
        families.load("timesfm", tmp_path, FLOAT32)
    assert "\n" not in str(caught.value)
