"""Chronos-Bolt and Chronos-2 against chronos-forecasting, number by number, from small random checkpoints."""

import json
import math

import numpy as np
import pytest
import torch
from checkpoints import chronos as maker
from safetensors.torch import load_file, save_file

from tsfm import card, families
from tsfm.errors import ConfigError
from tsfm.numerics import scaling
from tsfm.official import load as load_official
from tsfm.series import Group, Runtime, Series

# The package warns of every horizon beyond one pass.
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore:We recommend keeping prediction length")]
RNG = np.random.default_rng(3)
FLOAT32 = Runtime(dtype="float32", threads=1)
FACTS = card.read("chronos")


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("chronos")
    for size in ("tiny", "tiny2"):
        maker.make(root / size, size)
    return {size: root / size for size in ("tiny", "tiny2")}


@pytest.fixture(scope="module")
def ours(folders):
    return {size: families.load("chronos", folder, FLOAT32) for size, folder in folders.items()}


@pytest.fixture(scope="module")
def official(folders):
    return {size: load_official("chronos", folder, FLOAT32) for size, folder in folders.items()}


def walk(length, gap=0):
    """A random walk with a season, at unit spread, with a gap that masks whole patches."""
    values = np.cumsum(RNG.normal(size=length)) + 2 * np.sin(np.arange(length) / 4)
    values = (values - values.mean()) / values.std()
    values[length // 3 : length // 3 + gap] = np.nan
    return values.astype(np.float32)


def with_covariates(length, horizon, past, future, gap=0):
    stacks = [RNG.normal(size=(past, length)), RNG.normal(size=(future, length + horizon))]
    return Series(walk(length, gap), *(stack.astype(np.float32) for stack in stacks))


def quantiles_of(package, batch, horizon):
    """Shape (series, quantiles, horizon), in order."""
    return np.sort(package.quantiles(batch, horizon), axis=1)


@pytest.mark.parametrize(
    ("length", "gap", "horizon"),
    [(10, 0, 1), (16, 3, 64), (100, 40, 48), (300, 1, 65), (512, 200, 200), (511, 0, 1024)],
)
def test_bolt_gives_the_official_quantiles(ours, official, length, gap, horizon):
    batch = [Series(walk(length, gap)) for _ in range(3)]
    expected = quantiles_of(official["tiny"], batch, horizon)
    answers = ours["tiny"].forecast(batch, horizon, maker.NINE)
    np.testing.assert_allclose([answer.quantiles for answer in answers], expected, atol=1e-5)
    np.testing.assert_allclose([answer.median for answer in answers], expected[:, 4], atol=1e-5)


@pytest.mark.parametrize(("past", "future"), [(0, 0), (1, 0), (0, 2), (2, 1)])
@pytest.mark.parametrize(("length", "gap", "horizon"), [(10, 0, 5), (100, 40, 48), (512, 7, 200)])
def test_chronos_2_gives_the_official_quantiles(ours, official, past, future, length, gap, horizon):
    batch = [with_covariates(length, horizon, past, future, gap) for _ in range(2)]
    expected = quantiles_of(official["tiny2"], batch, horizon)
    answers = ours["tiny2"].forecast(batch, horizon, maker.TWENTY_ONE)
    np.testing.assert_allclose([answer.quantiles for answer in answers], expected, atol=1e-4)


@pytest.mark.parametrize("horizon", [48, 200])
def test_the_small_sibling_of_chronos_2_with_its_thirteen_quantiles_equals_the_official_one(tmp_path, horizon):
    maker.make(tmp_path, "tiny2-small")
    batch = [with_covariates(300, horizon, 1, 1)]
    expected = quantiles_of(load_official("chronos", tmp_path, FLOAT32), batch, horizon)
    (answer,) = families.load("chronos", tmp_path, FLOAT32).forecast(batch, horizon, maker.THIRTEEN)
    np.testing.assert_allclose(answer.quantiles, expected[0], atol=1e-4)


GAPS = {
    "start": slice(0, 37),
    "middle": slice(100, 140),
    "end": slice(180, 200),
    "every third": slice(0, 200, 3),
    "all but the start": slice(20, 200),
}


@pytest.mark.parametrize("size", ["tiny", "tiny2"])
@pytest.mark.parametrize("gap", GAPS)
@pytest.mark.parametrize("horizon", [20, 150])
def test_gaps_of_the_target_are_masked_as_the_official_code_does(ours, official, size, gap, horizon):
    values = 7 + 3 * walk(200)
    values[GAPS[gap]] = np.nan
    expected = quantiles_of(official[size], [Series(values)], horizon)[0]
    levels = maker.NINE if size == "tiny" else maker.TWENTY_ONE
    (answer,) = scaling.forecast(ours[size], [Series(values)], horizon, levels)
    assert_equal(answer.quantiles, expected)


def assert_equal(ours, expected, name=""):
    """Up to rounding: 1e-4 of the spread, which is 3.

    Beyond one pass upstream reads quantiles off weighted samples, at a sum of weights in float32: which of two samples
    a level meets may turn on rounding, for one value in a thousand.
    """
    off = np.abs(ours - expected)
    assert np.quantile(off, 1 if expected.shape[1] < 64 else 0.998) < 3e-4, f"{name}: {off.max()}"
    assert off.max() < 0.03, f"{name}: {off.max()}"


def covariate_cases(points, horizon):
    """Name and row of ``points + horizon`` values: what covariates look like in the field, in any unit."""
    whole = points + horizon
    wave = 280 + 4 * np.sin(np.arange(whole) / 5) + RNG.normal(size=whole)
    yield "no gap", wave
    for name, gap in GAPS.items():
        yield f"past gap: {name}", np.where(np.isin(np.arange(whole), np.arange(points)[gap]), np.nan, wave)
    yield (
        "half of the future missing",
        np.append(wave[: points + horizon // 2], np.full(horizon - horizon // 2, np.nan)),
    )
    yield (
        "every other future value missing",
        np.where((np.arange(whole) >= points) & (np.arange(whole) % 2 == 0), np.nan, wave),
    )
    yield "whole future missing", np.append(wave[:points], np.full(horizon, np.nan))
    yield "whole past missing", np.append(np.full(points, np.nan), wave[points:] - 280)
    yield "all missing", np.full(whole, np.nan)
    if horizon < 64:  # fed back, forecasts of 5 + 1e-5 x lose most of x to upstream's float32, and none to ours
        yield "constant", np.full(whole, 5.0)
    yield "constant zero", np.zeros(whole)
    yield "holiday never seen", np.append(np.zeros(points), np.arange(horizon) % 7 == 3)
    yield (
        "holiday never seen, with gaps",
        np.append(np.where(np.arange(points) % 4, 0.0, np.nan), np.arange(horizon) % 7 == 3),
    )
    yield "level change", np.append(wave[:points], wave[points:] + 100)
    yield "far level change", np.append(wave[:points] / 1e3, wave[points:] * 1e9)
    yield "huge", wave * 1e15
    yield "tiny", (wave - 280) * 1e-9


@pytest.mark.parametrize("horizon", [20, 150])
def test_covariates_with_gaps_and_changes_give_the_official_quantiles(ours, official, horizon):
    target = 7 + 3 * walk(200)
    for name, row in covariate_cases(200, horizon):
        row = row.astype(np.float32)
        for series in (Series(target, future_covariates=row[None]), Series(target, past_covariates=row[None, :200])):
            expected = quantiles_of(official["tiny2"], [series], horizon)[0]
            (answer,) = scaling.forecast(ours["tiny2"], [series], horizon, maker.TWENTY_ONE)
            assert_equal(answer.quantiles, expected, name)


@pytest.fixture(scope="module")
def pipeline(folders):
    """The package itself, with its own forms of what is forecast together."""
    from chronos import Chronos2Pipeline  # seconds, for the process alone that runs this file

    return Chronos2Pipeline.from_pretrained(str(folders["tiny2"]), torch_dtype=torch.float32)


def variates(count, length):
    """Walks of one length, each with gaps of its own: at the start, in the middle or at the end."""
    rows = np.stack([walk(length) for _ in range(count)])
    for at, row in enumerate(rows):
        gaps = slice(0, 5 + 3 * at), slice(length // 2, length // 2 + 9 * at), slice(length - 1 - at, length)
        row[gaps[at % 3]] = np.nan
    return rows


@pytest.mark.parametrize(("count", "past", "future"), [(1, 0, 0), (3, 0, 0), (2, 1, 2), (64, 1, 1)])
@pytest.mark.parametrize(("length", "horizon"), [(100, 48), (300, 150)])
def test_several_variates_are_forecast_together_as_the_official_code_does(
    ours, pipeline, count, past, future, length, horizon
):
    batch, described = [], []
    for _ in range(2):
        rows, shared = variates(count, length), with_covariates(length, horizon, past, future)
        first = Series(rows[0], shared.past_covariates, shared.future_covariates)
        batch.append(Group((first, *map(Series, rows[1:]))))
        ahead = {f"known{at}": row for at, row in enumerate(shared.future_covariates)}
        known = {f"past{at}": row for at, row in enumerate(shared.past_covariates)}
        known |= {name: row[:length] for name, row in ahead.items()}
        ahead = {name: row[length:] for name, row in ahead.items()}
        described.append({"target": rows, "past_covariates": known, "future_covariates": ahead})
    expected = [np.sort(answer.numpy(), axis=1) for answer in pipeline.predict(described, prediction_length=horizon)]
    for made, rows in zip(ours["tiny2"].forecast_joint(batch, horizon, maker.TWENTY_ONE), expected, strict=True):
        assert len(made) == count
        for one, row in zip(made, rows, strict=True):
            assert_equal(one.quantiles, row)


@pytest.mark.parametrize("horizon", [30, 150])
def test_series_of_different_lengths_learn_from_each_other_as_in_the_official_code(ours, pipeline, horizon):
    targets = [walk(length) for length in (40, 300, 17, 120)]
    answers = pipeline.predict(targets, prediction_length=horizon, cross_learning=True)
    (made,) = ours["tiny2"].forecast_joint([Group(tuple(map(Series, targets)))], horizon, maker.TWENTY_ONE)
    alone = ours["tiny2"].forecast([Series(target) for target in targets], horizon, maker.TWENTY_ONE)
    for one, answer, single in zip(made, answers, alone, strict=True):
        assert_equal(one.quantiles, np.sort(answer.numpy()[0], axis=0))
        assert np.abs(one.quantiles - single.quantiles).max() > 1e-3


def test_groups_stay_whole_where_a_batch_is_computed_in_parts(ours, monkeypatch):
    batch = [Group(tuple(map(Series, variates(3, length)))) for length in (64, 40, 64, 50, 31)]
    whole = ours["tiny2"].forecast_joint(batch, 100, [0.5])
    monkeypatch.setattr("tsfm.families.chronos.POINTS_AT_ONCE", 1000)
    for one, other in zip(whole, ours["tiny2"].forecast_joint(batch, 100, [0.5]), strict=True):
        for a, b in zip(one, other, strict=True):
            np.testing.assert_allclose(a.median, b.median, atol=1e-4)


def test_covariates_change_the_answer_of_chronos_2(ours):
    plain = with_covariates(200, 20, 0, 0)
    rows = RNG.normal(size=(1, 220)).astype(np.float32)
    other_future = np.concatenate((rows[:, :200], rows[:, 200:] + 2), axis=1)
    answers = [
        ours["tiny2"].forecast([series], 20, [0.5])[0].median
        for series in (
            plain,
            Series(plain.target, rows[:, :200]),
            Series(plain.target, future_covariates=rows),
            Series(plain.target, future_covariates=other_future),
        )
    ]
    for at, answer in enumerate(answers):
        for other in answers[:at]:
            assert np.abs(answer - other).max() > 1e-3


@pytest.mark.parametrize("size", ["tiny", "tiny2"])
@pytest.mark.parametrize("horizon", [30, 150])
def test_a_batch_of_mixed_lengths_answers_as_each_series_alone(ours, size, horizon):
    lengths = [(10, 0), (512, 0), (37, 5), (200, 90), (511, 1), (96, 0)]
    covariates = (1, 1) if size == "tiny2" else (0, 0)
    batch = [with_covariates(length, horizon, *covariates, gap) for length, gap in lengths]
    together = ours[size].forecast(batch, horizon, [0.02, 0.9])
    for series, answer in zip(batch, together, strict=True):
        (alone,) = ours[size].forecast([series], horizon, [0.02, 0.9])
        np.testing.assert_allclose(answer.median, alone.median, atol=1e-4)
        np.testing.assert_allclose(answer.quantiles, alone.quantiles, atol=2e-4)


@pytest.mark.parametrize("size", ["tiny", "tiny2"])
def test_a_large_batch_is_computed_in_parts_and_answered_in_order(ours, size, monkeypatch):
    batch = [with_covariates(64, 100, 0, 0) for _ in range(9)]
    whole = ours[size].forecast(batch, 100, [0.5])
    monkeypatch.setattr("tsfm.families.chronos.POINTS_AT_ONCE", 2000)
    parts = ours[size].forecast(batch, 100, [0.5])
    for one, other in zip(whole, parts, strict=True):
        np.testing.assert_allclose(one.median, other.median, atol=1e-5)


@pytest.mark.parametrize("size", ["tiny", "tiny2"])
def test_what_is_older_than_the_context_changes_nothing(ours, size):
    family = ours[size]
    values = walk(family.max_context + 300).astype(float)
    changed = values.copy()
    changed[:300] = 1e6
    answers = [scaling.forecast(family, [Series(v)], 12, [0.1])[0] for v in (values, changed)]
    np.testing.assert_array_equal(answers[0].median, answers[1].median)


@pytest.mark.parametrize("size", ["tiny", "tiny2"])
@pytest.mark.parametrize("horizon", [1, 63, 64, 129, 1024])
def test_any_horizon_has_its_length_and_quantiles_in_order(ours, size, horizon):
    levels = [0.995, 0.5, 0.005, 0.1, 0.05, 0.9]
    (answer,) = scaling.forecast(ours[size], [Series(walk(80))], horizon, levels)
    assert answer.median.shape == (horizon,)
    assert answer.quantiles.shape == (6, horizon)
    assert np.isfinite(answer.quantiles).all()
    assert (np.diff(answer.quantiles[np.argsort(levels)], axis=0) >= 0).all()
    assert (answer.quantiles[2] < answer.quantiles[3]).all()  # beyond the trained levels it goes on widening
    assert (answer.quantiles[0] > answer.quantiles[5]).all()


@pytest.mark.parametrize("size", ["tiny", "tiny2"])
@pytest.mark.parametrize(("factor", "offset"), [(1e-300, 0), (1e300, 0), (-1e-12, 0), (1, 1e9), (2**44, 2**60)])
def test_the_unit_of_a_series_does_not_matter(ours, size, factor, offset):
    steps = np.round(walk(90).astype(float) * 1000)
    (plain,) = scaling.forecast(ours[size], [Series(steps)], 20, [0.5])
    (other,) = scaling.forecast(ours[size], [Series(steps * abs(factor) + offset)], 20, [0.5])
    np.testing.assert_allclose((other.median - offset) / abs(factor), plain.median, atol=np.ptp(steps) * 1e-4)


@pytest.mark.parametrize("size", ["tiny", "tiny2"])
def test_a_constant_series_is_answered_with_its_constant(ours, size):
    constant, moving = scaling.forecast(ours[size], [Series(np.full(30, 4.5)), Series(walk(30))], 7, [0.1, 0.9])
    assert (constant.median == 4.5).all()
    assert (constant.quantiles == 4.5).all()
    assert np.ptp(moving.median) > 0


@pytest.mark.parametrize("size", ["tiny", "tiny2"])
def test_bfloat16_stays_near_float32_and_says_so(folders, ours, size):
    quick = families.load("chronos", folders[size], Runtime(dtype="bfloat16", threads=1))
    assert quick.path.startswith("bfloat16")
    assert "float32" in quick.path
    assert ours[size].path.startswith("float32")
    batch = [Series(walk(length)) for length in (64, 300, 512)]
    pairs = zip(quick.forecast(batch, 48, maker.NINE), ours[size].forecast(batch, 48, maker.NINE), strict=True)
    drift = max(np.abs(a.quantiles - b.quantiles).max() for a, b in pairs)
    assert 0 < drift < 0.02  # of the series' standard deviation


def test_the_configuration_decides_what_a_folder_holds_not_its_name(tmp_path):
    maker.make(tmp_path / "chronos-bolt-tiny", "tiny2")
    family = families.load("chronos", tmp_path / "chronos-bolt-tiny", FLOAT32)
    assert family.capabilities.future_covariates


def test_capabilities_are_those_of_the_card(ours):
    by_size = {"tiny": FACTS.checkpoints[0], "tiny2": FACTS.checkpoints[-1]}
    for size, checkpoint in by_size.items():
        can = ours[size].capabilities
        assert {name for name in can.__dataclass_fields__ if getattr(can, name)} == set(checkpoint.capabilities)


@pytest.mark.parametrize("checkpoint", FACTS.checkpoints, ids=lambda c: c.folder)
def test_the_card_counts_the_parameters_of_the_official_layout(checkpoint):
    size = checkpoint.folder if checkpoint.folder in maker.CHRONOS_2 else checkpoint.folder.removeprefix("chronos-")
    assert sum(map(math.prod, maker.shapes(size).values())) == checkpoint.parameters
    assert checkpoint.bytes == pytest.approx(4 * checkpoint.parameters, rel=1e-3)


# Folders that hold something else


def edited(folder, target, **changes):
    """A copy whose config.json has other values; None takes a key out."""
    target.mkdir()
    (target / "model.safetensors").symlink_to(folder / "model.safetensors")
    config = json.loads((folder / "config.json").read_text()) | changes
    (target / "config.json").write_text(json.dumps({k: v for k, v in config.items() if v is not None}))
    return target


def refusal(folder):
    with pytest.raises(ConfigError) as caught:
        families.load("chronos", folder, FLOAT32)
    sentence = str(caught.value)
    assert "\n" not in sentence
    assert "expected" in sentence
    assert "found" in sentence
    return sentence


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"chronos_config": None, "architectures": ["TimeMoeForPrediction"]}, "TimeMoeForPrediction"),
        ({"chronos_pipeline_class": None}, "the original Chronos"),
        ({"chronos_pipeline_class": "ChronosPipeline"}, "the original Chronos"),
        ({"chronos_pipeline_class": "Chronos3Pipeline"}, "Chronos3Pipeline"),
        ({"d_model": None}, "shape (2, 512)"),
        ({"d_model": "wide"}, "d_model: expected a whole number from 1, found 'wide'"),
        ({"d_ff": 64}, "shape"),
        ({"dense_act_fn": "mish"}, "dense_act_fn: expected one of relu, silu"),
        ({"chronos_config": []}, "chronos_config"),
        ({"num_layers": 1}, "encoder.block.1"),
        ({"num_layers": 3}, "encoder.block.2"),
    ],
)
@pytest.mark.parametrize("size", ["tiny", "tiny2"])
def test_a_configuration_of_another_model_is_refused(folders, tmp_path, size, changes, words):
    assert words in refusal(edited(folders[size], tmp_path / "other", **changes))


def test_a_checkpoint_of_the_other_kind_is_refused(folders, tmp_path):
    (tmp_path / "config.json").write_text((folders["tiny"] / "config.json").read_text())
    (tmp_path / "model.safetensors").symlink_to(folders["tiny2"] / "model.safetensors")
    assert "decoder" in refusal(tmp_path) or "shape" in refusal(tmp_path)


def test_a_folder_without_its_files_is_refused(folders, tmp_path):
    assert "config.json" in refusal(tmp_path)
    (tmp_path / "config.json").write_text((folders["tiny"] / "config.json").read_text())
    assert "model.safetensors" in refusal(tmp_path)
    whole = (folders["tiny"] / "model.safetensors").read_bytes()
    (tmp_path / "model.safetensors").write_bytes(whole[: len(whole) // 2])
    assert "model.safetensors" in refusal(tmp_path)


def test_weights_with_one_tensor_more_are_refused_but_not_older_copies_of_the_embedding(folders, tmp_path):
    weights = load_file(folders["tiny"] / "model.safetensors")
    (tmp_path / "config.json").write_text((folders["tiny"] / "config.json").read_text())
    copies = {f"{stack}.embed_tokens.weight": weights["shared.weight"].clone() for stack in ("encoder", "decoder")}
    save_file(weights | copies, tmp_path / "model.safetensors")
    assert families.load("chronos", tmp_path, FLOAT32).max_context == 512
    save_file(weights | {"adapter.weight": torch.zeros(2)}, tmp_path / "model.safetensors")
    assert "adapter.weight" in refusal(tmp_path)
