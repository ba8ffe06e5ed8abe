"""TDtsfm against a second implementation built from the words of its description."""

from __future__ import annotations

import math
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from checkpoints import tdtsfm as checkpoint
from torch import Tensor, nn

from tsfm.errors import ConfigError
from tsfm.families import tdtsfm
from tsfm.numerics import scaling
from tsfm.series import Runtime, Series

pytestmark = pytest.mark.slow

RUNTIME = Runtime(threads=2)
LEVELS = [0.025, 0.1, 0.5, 0.9, 0.975]
HIDDEN, INNER, LAYERS = checkpoint.SIZES["tiny"]


class Reference(nn.Module):
    """The description word by word, from torch's own modules, one series at a time."""

    def __init__(self, state: dict[str, Tensor]) -> None:
        super().__init__()
        self.state = state

    def linear(self, name: str, x: Tensor) -> Tensor:
        weight, bias = self.state[f"{name}.weight"], self.state.get(f"{name}.bias")
        module = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None)
        module.load_state_dict({"weight": weight} | ({"bias": bias} if bias is not None else {}))
        return module(x)

    def norm(self, name: str, x: Tensor) -> Tensor:
        module = nn.LayerNorm(HIDDEN)
        module.load_state_dict({part: self.state[f"{name}.{part}"] for part in ("weight", "bias")})
        return module(x)

    def turned(self, heads: Tensor) -> Tensor:
        """Rotary positions with theta 10000 by complex numbers: first half real, second imaginary."""
        half = heads.shape[-1] // 2
        angles = torch.outer(torch.arange(len(heads)), 10000.0 ** (-torch.arange(half) / half))
        turn = torch.polar(torch.ones_like(angles), angles)[:, None]
        out = torch.complex(heads[..., :half], heads[..., half:]) * turn
        return torch.cat([out.real, out.imag], -1)

    def attention(self, name: str, x: Tensor) -> Tensor:
        q, k, v = (self.linear(f"{name}_{p}_proj", x).view(len(x), 8, -1) for p in "qkv")
        scores = torch.einsum("ihd,jhd->hij", self.turned(q), self.turned(k)) / math.sqrt(q.shape[-1])
        future = torch.arange(len(x))[None] > torch.arange(len(x))[:, None]
        chances = scores.masked_fill(future, -torch.inf).softmax(-1)
        return self.linear(f"{name}_o_proj", torch.einsum("hij,jhd->ihd", chances, v).reshape(len(x), -1))

    def layer(self, at: str, x: Tensor) -> Tensor:
        x = self.norm(f"{at}.Taos_norm1", x + self.attention(f"{at}.Taos_self_attn.Taos", x))
        block = f"{at}.Taos_ffn_layer.Taos"
        inner = nn.GELU()(self.linear(f"{block}_gate_proj", x)) * self.linear(f"{block}_up_proj", x)
        return self.norm(f"{at}.Taos_norm2", x + self.linear(f"{block}_down_proj", inner))

    @torch.no_grad()
    def forecast(self, series: Series, horizon: int) -> np.ndarray:
        target = torch.from_numpy(np.asarray(series.target, np.float32))
        known = start = target[len(target) % 96 :]
        while len(known) - len(start) < horizon:
            mean, deviation = known.mean(), known.std()
            x = self.linear("Taos_model.Taos_embed_layer.Taos_emb", ((known - mean) / deviation).view(-1, 96))
            for layer in range(LAYERS):
                x = self.layer(f"Taos_model.Taos_layers.{layer}", x)
            made = self.linear("Taos_lm_heads.0", self.norm("Taos_model.Taos_norm", x)[-1])
            known = torch.cat([known, made * deviation + mean])
        return known[len(start) :][:horizon].numpy()


@pytest.fixture(scope="module")
def family(folder: Path) -> tdtsfm.TDtsfm:
    return tdtsfm.load(folder, RUNTIME)


def walk(length: int, seed: int = 0) -> Series:
    values = np.random.default_rng(seed).normal(size=length).cumsum()
    return Series(((values - values.mean()) / values.std()).astype(np.float32))


@pytest.mark.parametrize(("length", "horizon"), [(96, 1), (191, 96), (500, 97), (1000, 300)])
def test_it_equals_the_description(family, length, horizon):
    reference = Reference(checkpoint.weights(HIDDEN, INNER, LAYERS))
    ours = family.forecast([walk(length)], horizon, [])[0].median
    theirs = reference.forecast(walk(length), horizon)
    np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-4 * np.abs(theirs).max())


def test_the_same_request_has_the_same_answer_since_dropout_is_off(family):
    first, second = (family.forecast([walk(300)], 100, LEVELS)[0] for _ in range(2))
    np.testing.assert_array_equal(first.quantiles, second.quantiles)


def test_a_batch_of_any_lengths_gives_what_each_series_gets_alone(family):
    batch = [walk(length, length) for length in (96, 700, 200, 191, 1500)]
    for one, series in zip(family.forecast(batch, 120, LEVELS), batch, strict=True):
        alone = family.forecast([series], 120, LEVELS)[0]
        np.testing.assert_allclose(one.median, alone.median, atol=1e-4)
        np.testing.assert_allclose(one.quantiles, alone.quantiles, atol=1e-4)


def test_the_oldest_points_that_fill_no_patch_do_not_count(family):
    long = walk(290)
    ours = family.forecast([long], 10, [])[0].median
    np.testing.assert_allclose(ours, family.forecast([long.newest(288)], 10, [])[0].median, atol=1e-5)


@pytest.mark.parametrize("horizon", [1, 95, 96, 97, 1024])
def test_every_horizon_has_every_level_in_order(family, horizon):
    for answer in family.forecast([walk(96), walk(400)], horizon, LEVELS):
        assert answer.median.shape == (horizon,)
        assert answer.quantiles.shape == (len(LEVELS), horizon)
        assert np.isfinite(answer.quantiles).all()
        assert (np.diff(answer.quantiles[[0, 1, 3, 4]], axis=0) >= 0).all()
        np.testing.assert_allclose(answer.quantiles[2], answer.median, rtol=1e-6)


def test_asking_for_intervals_leaves_the_forecast_as_it_is(family):
    plain = family.forecast([walk(400)], 50, [])[0]
    assert plain.quantiles.shape == (0, 50)
    np.testing.assert_allclose(family.forecast([walk(400)], 50, LEVELS)[0].median, plain.median, atol=1e-5)


def test_series_of_any_size_and_a_constant_one_are_answered(family):
    shape = walk(200).target.astype(np.float64)
    batch = [Series(shape), Series(1e9 + shape), Series(1e-12 * shape), Series(np.full(100, 7.5))]
    plain, high, small, constant = scaling.forecast(family, batch, 10, LEVELS)
    np.testing.assert_allclose(high.median - 1e9, plain.median, atol=1e-3)
    np.testing.assert_allclose(small.quantiles * 1e12, plain.quantiles, atol=1e-3)
    assert (constant.quantiles == 7.5).all()


def test_whole_patches_that_are_constant_are_answered_with_their_constant(family):
    target = np.concatenate([np.ones(50), np.full(96, -0.5)]).astype(np.float32)
    np.testing.assert_allclose(family.forecast([Series(target)], 100, [])[0].median, -0.5)


def test_bfloat16_is_used_on_demand_only(folder, family):
    assert family.path.startswith("float32")
    fast = tdtsfm.load(folder, Runtime(dtype="bfloat16", threads=2))
    assert fast.path.startswith("bfloat16")
    near = fast.forecast([walk(400)], 96, [])[0].median
    np.testing.assert_allclose(near, family.forecast([walk(400)], 96, [])[0].median, atol=0.2)


def saved(folder: Path, state: object) -> Path:
    torch.save(state, folder / "taos.pth")
    return folder


def test_a_missing_a_strange_and_an_odd_tensor_are_named(tmp_path):
    state = checkpoint.weights(HIDDEN, INNER, LAYERS)
    lacking = {name: tensor for name, tensor in state.items() if "1.Taos_norm2.bias" not in name}
    with pytest.raises(ConfigError, match=r"Taos_layers.1.Taos_norm2.bias of shape \(32,\), found none"):
        tdtsfm.load(saved(tmp_path, lacking), RUNTIME)
    with pytest.raises(ConfigError, match=r"found 1 unknown ones, first Taos_lm_heads.1.weight"):
        tdtsfm.load(saved(tmp_path, {**state, "Taos_lm_heads.1.weight": torch.zeros(1)}), RUNTIME)
    wide = {**state, "Taos_lm_heads.0.weight": torch.zeros(48, HIDDEN)}
    with pytest.raises(ConfigError, match=r"Taos_lm_heads.0.weight of shape \(96, 32\).*\(48, 32\)"):
        tdtsfm.load(saved(tmp_path, wide), RUNTIME)
    with pytest.raises(ConfigError, match="a tensor for each name, found 'model' with a dict"):
        tdtsfm.load(saved(tmp_path, {"model": state}), RUNTIME)


def test_a_missing_and_a_truncated_file_are_refused_in_words(folder, tmp_path):
    with pytest.raises(ConfigError, match=r"taos.pth: expected .* found no such file"):
        tdtsfm.load(tmp_path, RUNTIME)
    (tmp_path / "taos.pth").write_bytes((folder / "taos.pth").read_bytes()[:9000])
    with pytest.raises(ConfigError, match="truncated or foreign file"):
        tdtsfm.load(tmp_path, RUNTIME)


def test_a_pickle_with_code_in_it_runs_nothing(tmp_path):
    class Trap:
        def __reduce__(self) -> tuple[object, ...]:
            return os.mkdir, (str(tmp_path / "sprung"),)

    with pytest.raises(ConfigError, match=r"would call posix.mkdir; it was not run"):
        tdtsfm.load(saved(tmp_path, {"Taos_lm_heads.0.weight": Trap()}), RUNTIME)
    assert not (tmp_path / "sprung").exists()
