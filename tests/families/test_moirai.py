"""Moirai-MoE and Moirai-2 against uni2ts, and over everything the family promises."""

from __future__ import annotations

import json
import math
import shutil
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from checkpoints import chronos as other_checkpoint
from checkpoints import moirai as checkpoint
from checkpoints.official import mixture_parts

from tsfm import card
from tsfm.engine import forecast
from tsfm.engine.joint import Prepared
from tsfm.engine.v1.forecast import WORDS
from tsfm.errors import BadRequest, ConfigError
from tsfm.families import moirai
from tsfm.nets import moirai_encoder, moirai_mixture
from tsfm.nets.moirai_mixture import NOISE, Mixture
from tsfm.nets.moirai_patches import group_patches, patches
from tsfm.numerics import scaling
from tsfm.official import load as load_official
from tsfm.series import Group, Runtime, Series

pytestmark = pytest.mark.slow

FLOAT32 = Runtime(dtype="float32", threads=2)
LEVELS = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9]
# points, horizon, known covariates, past covariates
SHAPES = [(512, 48, 0, 0), (100, 70, 0, 0), (201, 40, 2, 1), (77, 150, 1, 1), (64, 10, 0, 2)]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folders = {size: tmp_path_factory.mktemp(size) for size in ("tiny", "tiny2")}
    for size, folder in folders.items():
        checkpoint.make(folder, size)
    return folders


@pytest.fixture(scope="module")
def sampled(folders: dict[str, Path]) -> moirai.Sampled:
    return moirai.load(folders["tiny"], FLOAT32)


@pytest.fixture(scope="module")
def quantiled(folders: dict[str, Path]) -> moirai.Quantiled:
    return moirai.load(folders["tiny2"], FLOAT32)


@pytest.fixture(params=["sampled", "quantiled"])
def family(request: pytest.FixtureRequest) -> moirai.Sampled | moirai.Quantiled:
    return request.getfixturevalue(request.param)


@pytest.fixture(scope="module")
def official(folders: dict[str, Path]):
    return {size: load_official("moirai", folder, FLOAT32) for size, folder in folders.items()}


def random_series(points: int, horizon: int, known: int = 0, past: int = 0, seed: int = 0) -> Series:
    draw = np.random.default_rng(seed)

    def rows(count: int, length: int) -> np.ndarray:
        return draw.normal(size=(count, length)).astype(np.float32) if count else np.empty((0, 0), np.float32)

    target = np.sin(np.arange(points) / 5) + 0.5 * draw.normal(size=points)
    target = ((target - target.mean()) / target.std()).astype(np.float32)
    return Series(target, rows(past, points), rows(known, points + horizon))


@pytest.mark.parametrize(("points", "horizon", "known", "past"), SHAPES)
def test_moirai2_equals_the_official_forecast(official, quantiled, points, horizon, known, past):
    batch = [random_series(points, horizon, known, past, seed) for seed in range(2)]
    wanted = official["tiny2"].quantiles(batch, horizon)
    for answer, rows in zip(quantiled.forecast(batch, horizon, LEVELS), wanted, strict=True):
        np.testing.assert_allclose(answer.quantiles, np.sort(rows, axis=0), atol=2e-5)


@pytest.mark.parametrize("exact", [False, True])
@pytest.mark.parametrize(("points", "horizon", "known", "past"), SHAPES)
def test_the_distribution_behind_given_paths_equals_the_official_one(
    official, sampled, points, horizon, known, past, exact
):
    """With the paths marked as predicted, uni2ts leaves them out of its scale, as it does in training."""
    batch = [random_series(points, horizon, known, past, seed) for seed in range(2)]
    steps = -(-horizon // 16)
    paths = torch.randn(2, 3, 1, steps * 16, generator=torch.Generator().manual_seed(1))
    assert_equal_distributions(official["tiny"], sampled.net, batch, horizon, paths, exact)


def assert_equal_distributions(package, net, batch, horizon: int, paths: torch.Tensor, exact: bool) -> None:
    steps = paths.shape[-1] // 16
    batch = [one if isinstance(one, Group) else Group((one,)) for one in batch]
    tokens = group_patches(batch, horizon, "cpu")
    with torch.inference_mode():
        ours = exact_steps(net, tokens, paths, steps) if exact else frozen_steps(net, tokens, paths, steps)
    for path in range(paths.shape[1]):
        for step in range(steps):
            counted = step if exact else 0
            wanted = package.mixture(batch, horizon, future=paths[:, path], step=step, observed=counted)
            for part, other in zip(mixture_parts(net, ours[step]), wanted, strict=True):
                mine = part[:, min(path, part.shape[1] - 1)]
                torch.testing.assert_close(mine, other, atol=2e-5, rtol=2e-5)


def exact_steps(net, tokens, paths, steps: int) -> list[Mixture]:
    return [net.given(tokens, paths[..., : step * 16])[0] for step in range(steps)]


def frozen_steps(net, tokens, paths, steps: int) -> list[Mixture]:
    targets = slice(0, tokens.targets)
    scaled = (paths - tokens.loc[:, None, targets, None]) / tokens.scale[:, None, targets, None]
    following = net.follow(tokens, steps, paths.shape[1])
    mixtures = [next(following)]
    for step in range(steps - 1):
        mixtures.append(following.send(scaled[..., step * 16 : step * 16 + 16]))
    return mixtures


# points, horizon, targets, known covariates, past covariates
JOINT = [(200, 48, 3, 0, 0), (100, 70, 2, 2, 1), (64, 10, 7, 0, 1)]


def joint(points: int, horizon: int, targets: int, known: int = 0, past: int = 0, seed: int = 0) -> Group:
    """A group whose members have gaps of their own: inside, at the start (but in the first), and at the end."""
    first = random_series(points, horizon, known, past, seed)
    others = [random_series(points, horizon, seed=100 * seed + at).target for at in range(1, targets)]
    for at, target in enumerate((first.target, *others)):
        target[(slice(30, 41 + at), slice(0, 19), slice(points - 3, points))[at % 3]] = np.nan
    return Group((first, *map(Series, others)))


@pytest.mark.parametrize(("points", "horizon", "targets", "known", "past"), JOINT)
def test_moirai2_forecasts_several_variates_together_as_the_official_code_does(
    official, quantiled, points, horizon, targets, known, past
):
    batch = [joint(points, horizon, targets, known, past, seed) for seed in range(2)]
    wanted = np.sort(official["tiny2"].joint_quantiles(batch, horizon), axis=2)
    for made, rows in zip(quantiled.forecast_joint(batch, horizon, LEVELS), wanted, strict=True):
        np.testing.assert_allclose([one.quantiles for one in made], rows, atol=3e-5)


@pytest.mark.parametrize("exact", [False, True])
@pytest.mark.parametrize(("points", "horizon", "targets", "known", "past"), JOINT)
def test_the_distribution_of_several_variates_behind_given_paths_equals_the_official_one(
    official, sampled, points, horizon, targets, known, past, exact
):
    batch = [joint(points, horizon, targets, known, past, seed) for seed in range(2)]
    steps = -(-horizon // 16)
    paths = torch.randn(2, 2, targets, steps * 16, generator=torch.Generator().manual_seed(2))
    assert_equal_distributions(official["tiny"], sampled.net, batch, horizon, paths, exact)


@pytest.mark.parametrize("horizon", [16, 40])
def test_several_variates_are_sampled_together(official, folders, horizon, monkeypatch):
    """Against the official samples, as for one variate below; and a batch answers as each group alone."""
    monkeypatch.setenv("TSFM_MOIRAI_EXACT", "1")
    monkeypatch.setattr("tsfm.nets.moirai.PATHS", 500)
    family = moirai.load(folders["tiny"], FLOAT32)
    batch = [joint(96, horizon, 3, seed=0), joint(150, horizon, 3, seed=1)]
    made = family.forecast_joint(batch, horizon, LEVELS)
    (alone,) = family.forecast_joint(batch[1:], horizon, LEVELS)
    for one, other in zip(made[1], alone, strict=True):
        np.testing.assert_allclose(one.quantiles, other.quantiles, atol=2e-4)
    torch.manual_seed(0)
    for one, samples in zip(made[0], official["tiny"].joint_samples(batch[:1], horizon, 1000)[0], strict=True):
        for level, row in zip(LEVELS, one.quantiles, strict=True):
            assert ((samples < row - 2e-3).mean(0) < level + 0.1).all()
            assert ((samples < row + 2e-3).mean(0) > level - 0.1).all()


@pytest.mark.parametrize("exact", [False, True])
def test_quantiles_agree_with_the_official_samples(official, folders, exact, monkeypatch):
    monkeypatch.setenv("TSFM_MOIRAI_EXACT", "1" if exact else "0")
    monkeypatch.setattr("tsfm.nets.moirai.PATHS", 1000)
    family = moirai.load(folders["tiny"], FLOAT32)
    horizon = 40 if exact else 16  # the scale of a second patch is the only thing in which they differ
    series = random_series(96, horizon)
    torch.manual_seed(0)
    (samples,) = official["tiny"].samples([series], horizon, 2000)
    (answer,) = family.forecast([series], horizon, LEVELS)
    # The share of official samples below a quantile is its level, up to 0.02 (one standard deviation of
    # 1,000 paths against 2,000) and up to the atoms of the mixture: 0.002 to either side.
    for level, row in zip(LEVELS, answer.quantiles, strict=True):
        assert ((samples < row - 2e-3).mean(0) < level + 0.08).all()
        assert ((samples < row + 2e-3).mean(0) > level - 0.08).all()


def test_draws_have_the_moments_of_their_distribution(sampled):
    """Each component alone: mean and variance by the textbook."""
    shape = (20_000, 16)
    ones = torch.ones(1, 16)
    noise = torch.rand((NOISE, *shape), generator=torch.Generator().manual_seed(0))
    for number, (mean, variance) in enumerate([(2.0, 0.25 * 9 / 7), (3.0, 1e-6), (5.0, 15.0), (1.1331, 0.3647)]):
        shares = torch.zeros(1, 16, 4)
        shares[..., number] = 1
        log = (0 * ones, 0.5 * ones)
        counts = (2.5 * ones, float(np.log(2)) * ones)
        mixture = Mixture(shares, (9 * ones, 2 * ones, 0.5 * ones), (3 * ones,), counts, log)
        drawn = sampled.net.head.draw(mixture, noise).double()
        assert drawn.mean() == pytest.approx(mean, rel=0.005)
        assert drawn.var() == pytest.approx(variance, rel=0.02)


def test_large_counts_keep_their_mean(sampled):
    ones, shares = torch.ones(1, 16), torch.tensor([0.0, 0, 1, 0]).expand(1, 16, 4)
    mixture = Mixture(shares, (9 * ones, ones, ones), (ones,), (0.3 * ones, 7 * ones), (ones, ones))
    noise = torch.rand((NOISE, 20_000, 16), generator=torch.Generator().manual_seed(0))
    assert sampled.net.head.draw(mixture, noise).double().mean() == pytest.approx(0.3 * np.exp(7), rel=0.02)


def test_draws_of_all_components_of_every_point_as_on_a_gpu_are_the_same(sampled, monkeypatch):
    source = torch.Generator().manual_seed(1)
    mixture = sampled.net.head(torch.randn(5, 128, generator=source)).each()
    noise = torch.rand((NOISE, 5, 10, 16), generator=source)
    gathered = sampled.net.head.draw(mixture, noise)
    monkeypatch.setattr(sampled.net.head, "gathers", False)
    torch.testing.assert_close(sampled.net.head.draw(mixture, noise), gathered, rtol=1e-6, atol=1e-6)


def test_a_batch_gives_the_same_numbers_as_one_by_one(family):
    batch = [random_series(n, 40, 1, 1, seed=n) for n in (300, 64, 17, 129)]
    together = family.forecast(batch, 40, LEVELS)
    for series, answer in zip(batch, together, strict=True):
        (alone,) = family.forecast([series], 40, LEVELS)
        np.testing.assert_allclose(answer.quantiles, alone.quantiles, atol=2e-4)


def test_the_same_request_gets_the_same_answer_in_any_order(sampled):
    batch = [random_series(100, 40, seed=seed) for seed in range(3)]
    one, other = sampled.forecast(batch, 40, LEVELS), sampled.forecast(batch[::-1], 40, LEVELS)[::-1]
    for a, b in zip(one, other, strict=True):
        np.testing.assert_allclose(a.quantiles, b.quantiles, atol=2e-4)
    assert (sampled.forecast(batch, 40, LEVELS)[0].median == one[0].median).all()


def test_series_in_another_unit_are_forecast_alike(family):
    shape = random_series(200, 32).target.astype(np.float64)
    plain, moved = (scaling.forecast(family, [Series(values)], 32, LEVELS)[0] for values in (shape, 1e9 + shape * 1e-3))
    np.testing.assert_allclose((moved.median - 1e9) / 1e-3, plain.median, atol=1e-2)


@pytest.mark.parametrize("kind", ["past_covariates", "future_covariates"])
def test_covariates_change_the_answer(family, kind):
    series = random_series(160, 40, 1, 1)
    changed = {"past_covariates": series.past_covariates, "future_covariates": series.future_covariates}
    changed[kind] = changed[kind] * np.linspace(-1, 2, changed[kind].shape[1], dtype=np.float32)
    before, after = (
        family.forecast([series], 40, LEVELS)[0],
        family.forecast([Series(series.target, **changed)], 40, LEVELS)[0],
    )
    assert np.abs(before.median - after.median).max() > 1e-3


def test_past_covariates_have_no_tokens_behind_the_context():
    series = random_series(160, 48, 1, 2)
    tokens = patches([series], 48, "cpu")
    assert tokens.values.shape == (1, 4, 10, 16)
    assert tokens.future.shape == (1, 1, 3, 16)
    numbers = tokens.ids(3).variates.tolist()
    assert [numbers.count(variate) for variate in range(4)] == [13, 13, 10, 10]
    assert (tokens.values[0, 2:].reshape(2, -1).numpy() == series.past_covariates).all()


def test_gaps_count_as_unobserved(family):
    whole = random_series(160, 40)
    gappy = whole.target.copy()
    gappy[[3, 50, 51, 52, 159]] = np.nan
    (answer,) = family.forecast([Series(gappy)], 40, LEVELS)
    assert np.isfinite(answer.quantiles).all()
    tokens = patches([Series(gappy)], 40, "cpu")
    assert (~tokens.observed).sum() == 5
    assert tokens.loc[0, 0] == pytest.approx(np.nanmean(gappy), abs=1e-6)
    assert tokens.values[0, 0].flatten()[50] == pytest.approx(np.nanmean(gappy[[*range(3), *range(4, 50)]]), abs=0.05)


def test_gaps_are_filled_as_gluonts_does_it():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from gluonts.transform import CausalMeanValueImputation
    values = random_series(160, 40).target.astype(np.float64)
    values[[0, 1, 2, 50, 51, 99, 159]] = np.nan
    with np.errstate(invalid="ignore"):  # the first mean is of nothing, and thrown away
        wanted = CausalMeanValueImputation()(values.copy())
    ours = patches([Series(values)], 40, "cpu").values.flatten().numpy()
    np.testing.assert_allclose(ours, wanted, atol=1e-6)


GAPS = {
    "start": slice(0, 37),
    "whole patches": slice(64, 96),
    "middle": slice(50, 71),
    "end": slice(140, 160),
    "every third": slice(0, 160, 3),
}


def assert_equals_the_official(official, family, series: Series, horizon: int, name: str) -> None:
    """The quantiles of Moirai-2, the distribution of Moirai-MoE behind the context."""
    if isinstance(family, moirai.Quantiled):
        wanted = np.sort(official["tiny2"].quantiles([series], horizon)[0], axis=0)
        (answer,) = family.forecast([series], horizon, LEVELS)
        np.testing.assert_allclose(answer.quantiles, wanted, atol=3e-5, err_msg=name)
        return
    tokens = patches([series], horizon, "cpu")
    with torch.inference_mode():
        mine = family.net.given(tokens, tokens.values.new_empty(1, 1, 1, 0))[0]
    wanted = official["tiny"].mixture([Group((series,))], horizon)
    for part, other in zip(mixture_parts(family.net, mine), wanted, strict=True):
        torch.testing.assert_close(part[:, 0], other, atol=3e-5, rtol=3e-5, msg=lambda words: f"{name}: {words}")


@pytest.mark.parametrize("gap", GAPS)
def test_gaps_of_the_target_give_the_official_numbers(official, family, gap):
    series = random_series(160, 40)
    series.target[GAPS[gap]] = np.nan
    assert_equals_the_official(official, family, series, 40, gap)


def test_covariates_with_gaps_and_changes_give_the_official_numbers(official, family):
    whole = random_series(160, 40, 1).future_covariates[0]
    rows = {name: whole.copy() for name in (*GAPS, "future", "half of the future", "level change")}
    for name, gap in GAPS.items():
        rows[name][gap] = np.nan
    rows["future"][160:] = np.nan
    rows["half of the future"][180:] = np.nan
    rows["level change"][160:] += 50
    rows["holiday never seen"] = np.append(np.zeros(160), np.arange(40) % 7 == 3).astype(np.float32)
    rows["constant"], rows["all missing"] = np.full(200, 3, np.float32), np.full(200, np.nan, np.float32)
    for name, row in rows.items():
        plain = random_series(160, 40)
        assert_equals_the_official(official, family, Series(plain.target, future_covariates=row[None]), 40, name)
        assert_equals_the_official(official, family, Series(plain.target, row[None, :160]), 40, f"past only, {name}")


def test_gaps_of_covariates_hold_the_mean_of_their_past_in_any_unit(family):
    series = random_series(160, 40, 1)
    series.future_covariates[0, [*range(50, 71), *range(180, 200)]] = np.nan
    moved = Series(series.target, future_covariates=280.0 + 10 * series.future_covariates)
    one, other = (scaling.forecast(family, [given], 40, LEVELS)[0] for given in (series, moved))
    np.testing.assert_allclose(one.quantiles, other.quantiles, atol=5e-4)


def test_a_long_series_is_cut_from_the_left(family):
    long = random_series(5000, 20)
    cut = long.newest(family.max_context)
    whole, part = (scaling.forecast(family, [one], 20, LEVELS)[0] for one in (long, cut))
    assert (whole.quantiles == part.quantiles).all()


def test_covariates_make_the_context_shorter_so_that_all_fits(family):
    series = random_series(4000, 20, 3, 0)
    fits = (512 - 4 * 2) // 4 * 16
    assert family.context_for(20, (0, 3)) == fits
    whole, part = (scaling.forecast(family, [one], 20, LEVELS)[0] for one in (series, series.newest(fits)))
    assert (whole.quantiles == part.quantiles).all()


@pytest.mark.parametrize(
    ("horizon", "known", "past", "words"),
    [
        (1024, 0, 60, "60 past covariates and next_len 1024 leave room for 112 points of context"),
        (24, 0, 64, "64 past covariates and next_len 24 leave room for 112 points of context"),
        (1024, 10, 0, "10 future covariates and next_len 1024 leave room for 0 points of context"),
        (
            24,
            30,
            33,
            "33 past covariates and 30 future covariates and next_len 24 leave room for 112 points of context",
        ),
    ],
)
def test_too_many_covariates_are_refused_in_words(family, horizon, known, past, words):
    asked = forecast.ForecastRequest(random_series(200, horizon, known, past), horizon, 0.9)
    with pytest.raises(BadRequest) as caught:
        forecast.check_fit(scaling.fitted(asked.series, family, horizon), asked.horizon, family, "moirai")
    assert str(caught.value) == (
        f"covariates: {words}; at least 128 are needed: send fewer covariates or a smaller next_len"
    )


def test_too_many_variates_are_refused_in_words(family):
    def prepared(count: int, horizon: int, past: int = 0) -> Prepared:
        return Prepared.of(joint(200, horizon, count, 0, past), horizon, family, "moirai", WORDS)

    assert len(prepared(30, 24).group.members[0]) == 200
    assert len(prepared(30, 24, 5).group.members[0]) == (512 - 30 * 2) // 35 * 16
    for count, horizon, past, words in (
        (60, 24, 0, "target: 60 variates and prediction_length 24 leave room for 96 points of context"),
        (
            30,
            200,
            5,
            "covariates: 30 variates and 5 past covariates and prediction_length 200 leave room for 48",
        ),
    ):
        with pytest.raises(BadRequest) as caught:
            prepared(count, horizon, past)
        assert str(caught.value).startswith(words)
        assert "at least 128 are needed: send fewer variates or " in str(caught.value)


def test_newest_points_that_are_missing_beyond_what_the_covariates_leave_are_refused_in_words(family):
    series = random_series(2000, 24, 0, 15)
    series.target[-700:] = np.nan
    asked = forecast.ForecastRequest(series, 24, 0.9)
    with pytest.raises(BadRequest, match="moirai needs at least 1 observed points among the newest 496, got 0"):
        forecast.check_fit(scaling.fitted(series, family, 24), asked.horizon, family, "moirai")


@pytest.mark.parametrize("horizon", [1, 16, 17, 64, 1024])
def test_every_horizon_has_its_length_and_is_finite(family, horizon):
    (answer,) = family.forecast([random_series(64, horizon)], horizon, [0.025, 0.975])
    assert answer.median.shape == (horizon,)
    assert answer.quantiles.shape == (2, horizon)
    assert np.isfinite(answer.quantiles).all()
    assert (answer.quantiles[0] <= answer.quantiles[1]).all()


def test_many_paths_under_way_are_taken_in_parts(sampled, monkeypatch):
    batch = [random_series(64, 60, 1, seed=seed) for seed in range(3)]
    at_once = sampled.forecast(batch, 60, LEVELS)
    monkeypatch.setattr("tsfm.nets.moirai.BYTES", 2**18)
    for answer, other in zip(sampled.forecast(batch, 60, LEVELS), at_once, strict=True):
        np.testing.assert_allclose(answer.quantiles, other.quantiles, atol=2e-4)


def test_bfloat16_stays_near_float32(folders, family):
    """Of the distribution itself: a quantile may lie in a gap between two atoms of the mixture."""
    size = "tiny" if isinstance(family, moirai.Sampled) else "tiny2"
    fast = moirai.load(folders[size], Runtime(dtype="bfloat16", threads=2))
    batch = [random_series(512, 16, seed=seed) for seed in range(3)]
    if size == "tiny2":
        pairs = zip(fast.forecast(batch, 16, LEVELS), family.forecast(batch, 16, LEVELS), strict=True)
        assert max(np.abs(a.quantiles - b.quantiles).max() for a, b in pairs) < 0.02
        return
    tokens = patches(batch, 16, "cpu")
    none = tokens.values.new_empty(3, 1, 1, 0)
    with torch.inference_mode():
        mixtures = [net.given(tokens, none)[0] for net in (fast.net, family.net)]
    for a, b in zip(*(mixture_parts(family.net, mixture) for mixture in mixtures), strict=True):
        assert (a - b).abs().max() < 0.02


def test_the_card_tells_the_capabilities_that_a_loaded_model_has(family):
    has = {name for name, value in vars(family.capabilities).items() if value}
    second = isinstance(family, moirai.Quantiled)
    for facts in card.read("moirai").checkpoints:
        assert set(facts.capabilities) == has or ("moirai-2" in facts.name) != second


def broken(source: Path, target: Path, **changes: object) -> Path:
    shutil.copytree(source, target)
    config = json.loads((target / "config.json").read_text())
    (target / "config.json").write_text(json.dumps(config | changes))
    return target


def test_another_familys_folder_says_what_was_expected(tmp_path):
    other_checkpoint.make(tmp_path)
    with pytest.raises(
        ConfigError, match=r"config\.json: model_type: expected the configuration of Moirai-MoE or Moirai-2, found"
    ):
        moirai.load(tmp_path, FLOAT32)


def test_a_missing_config_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"config\.json: expected the checkpoint's configuration, found no such file"):
        moirai.load(tmp_path, FLOAT32)


def test_no_folder_is_refused():
    with pytest.raises(ConfigError, match="moirai: expected a folder with a checkpoint, got none"):
        moirai.load(None, FLOAT32)


@pytest.mark.parametrize(
    ("size", "changes", "words"),
    [
        ("tiny", {"d_ff": 48}, r"experts\.0\..*shape \(48, 128\), found it with shape \(32, 128\)"),
        ("tiny", {"num_layers": 1}, r"encoder\.centroid of shape \(1, 32, 128\), found it with shape \(2, 32, 128\)"),
        ("tiny", {"d_model": 100}, "d_model: expected a multiple of 64, found 100"),
        ("tiny", {"patch_sizes": [8, 16]}, r"patch_sizes: expected \[16\], found \[8, 16\]"),
        (
            "tiny",
            {"distr_output": {"components": []}},
            "distr_output: expected MixtureOutput of StudentTOutput, .* found",
        ),
        ("tiny2", {"num_layers": 3}, r"layers\.2\..*found none of that name"),
        ("tiny2", {"num_layers": 1}, "expected no more tensors, found 12 unknown ones"),
        ("tiny2", {"num_predict_token": 2.5}, "num_predict_token: expected a whole number from 1, found 2.5"),
        (
            "tiny2",
            {"quantile_levels": [0.9, 0.1]},
            "quantile_levels: expected levels between 0 and 1 with 0.5 among them",
        ),
    ],
)
def test_a_config_that_does_not_fit_the_weights_is_refused_in_words(folders, tmp_path, size, changes, words):
    with pytest.raises(ConfigError, match=words):
        moirai.load(broken(folders[size], tmp_path / "broken", **changes), FLOAT32)


def test_truncated_weights_are_refused(folders, tmp_path):
    folder = broken(folders["tiny"], tmp_path / "broken")
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1000])
    with pytest.raises(ConfigError, match="expected whole weights as safetensors"):
        moirai.load(folder, FLOAT32)


@pytest.mark.parametrize("rate", [0.0, 1e-4, 0.3, 4.0, 31.9])
def test_a_count_is_found_bit_by_bit_as_by_adding_up_terms(rate):
    uniform = torch.rand(500, generator=torch.Generator().manual_seed(3))
    uniform[:2] = torch.tensor([0.0, 1 - 2.0**-24])
    terms = [math.exp(-rate)]
    while len(terms) < 200:
        terms.append(terms[-1] * rate / len(terms))
    reached = np.cumsum(terms)
    expected = [int((float(u) > reached).sum()) for u in uniform]
    assert moirai_mixture._least(uniform, torch.full((500,), rate).double()).tolist() == expected


def test_on_a_gpu_the_experts_are_held_once(tmp_path, monkeypatch):
    """A view of nothing would keep all of the weights that it was taken from."""
    checkpoint.make(tmp_path, "tiny")
    monkeypatch.setattr(moirai_encoder, "is_gpu", lambda device: True)  # its numbers: test_on_a_card.py
    for layer in moirai.load(tmp_path, Runtime("cpu", "float32", 1)).net.encoder.layers:
        assert layer.dense is not None
        assert [part.untyped_storage().nbytes() for part in layer.feed] == [0, 0]
