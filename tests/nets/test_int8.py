"""Layers with int8 weights: exact sums, a row the same whatever is beside it, near float32, refused where needed."""

from __future__ import annotations

import importlib
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from conftest import HERE, Live
from torch import Tensor

from tsfm import card, families
from tsfm.errors import ConfigError
from tsfm.nets import int8, int8_kernel
from tsfm.series import Runtime, Series

pytestmark = pytest.mark.slow
needs_vnni = pytest.mark.skipif(
    not torch.cpu.get_capabilities().get("avx512_vnni") or shutil.which("gcc") is None,
    reason="this CPU has no AVX512-VNNI, or there is no gcc for the kernel",
)
ABLE = [name for name in card.names() if card.read(name).int8]
# Each kind of network, by family and size of its checkpoint.
NETWORKS = [("timemoe", "tiny"), ("chronos", "tiny"), ("chronos", "tiny2"), ("timesfm", "tiny"), ("moment", "tiny")]
ACTS = {
    "relu": F.relu,
    "silu": F.silu,
    "gelu": F.gelu,
    "gelu_new": lambda x: F.gelu(x, approximate="tanh"),
}
DRIFT = 0.03  # mean, in deviations of the series


def numbers(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)) / shape[-1] ** 0.5


def whole(x: Tensor) -> tuple[Tensor, Tensor]:
    """Rows as whole numbers of at most 127, and their units."""
    units = (x.abs().amax(1) / 127).double()
    return torch.round(x.double() / units[:, None]), units


@needs_vnni
@pytest.mark.parametrize(("rows", "inputs", "outputs"), [(1, 5, 3), (7, 64, 64), (97, 770, 130), (500, 33, 65)])
def test_a_product_is_that_of_whole_numbers(rows, inputs, outputs):
    x, weight, bias = numbers(rows, inputs), numbers(outputs, inputs, seed=1), numbers(outputs, seed=2)
    (left, left_units), (right, right_units) = whole(x), whole(weight)
    exact = left @ right.T * left_units[:, None] * right_units + bias
    found = int8.Product(weight, bias)(x)
    # A number halfway between two whole ones may be rounded either way in float32.
    assert (found - exact).abs().median() < 1e-6
    torch.testing.assert_close(found.double(), exact, rtol=0, atol=float(left_units.max() * right_units.max()) * 130)
    rounded = int8.Product(weight, bias, torch.bfloat16)(x)
    torch.testing.assert_close(rounded, found.bfloat16(), rtol=0, atol=0)


@needs_vnni
@pytest.mark.parametrize("act", ACTS)
@pytest.mark.parametrize("gated", [False, True])
def test_a_feed_forward_is_near_that_of_float32(act, gated):
    x, down = 3 * numbers(150, 96) * 96**0.5, numbers(40, 328, seed=1)
    up = numbers(656 if gated else 328, 96, seed=2)
    hidden = F.linear(x, up)
    gate, value = hidden.chunk(2, -1) if gated else (hidden, 1)
    expected = F.linear(ACTS[act](gate) * value, down)
    apart = int8.Feed(up, down, act, gated)(x) - expected
    assert float(apart.std() / expected.std()) < 0.02
    assert float(apart.abs().max() / expected.std()) < 0.15


@needs_vnni
def test_what_norms_its_rows_gives_what_it_would_of_normed_ones():
    x, norm = 7 * numbers(150, 96), (1 + numbers(96, seed=3), 1e-6)
    normed = F.rms_norm(x, (96,), *norm)
    weight, down = numbers(328, 96, seed=1), numbers(40, 328, seed=2)
    pairs = [
        (int8.Product(weight, norm=norm)(x), int8.Product(weight)(normed)),
        (int8.Feed(weight, down, "relu", norm=norm)(x), int8.Feed(weight, down, "relu")(normed)),
    ]
    for found, expected in pairs:
        # Numbers halfway between two whole ones may be rounded the other way.
        assert (found - expected).abs().median() < 1e-6 * expected.std()
        assert float((found - expected).std() / expected.std()) < 0.002


@needs_vnni
@pytest.mark.parametrize("rows", [5, 95, 200, 1000])
def test_what_adds_to_its_own_input_gives_the_sum(rows):
    """More rows than are quantised at once, and fewer than make threads share columns."""
    norm = (1 + numbers(96, seed=3), 1e-6)
    product = int8.Product(numbers(96, 96, seed=1), norm=norm)
    feed = int8.Feed(numbers(3072, 96, seed=1), numbers(96, 3072, seed=2), "relu", norm=norm)
    for layer in (product, feed):
        x = numbers(rows, 96)
        expected = x + layer(x)
        layer(x, x)
        torch.testing.assert_close(x, expected, rtol=0, atol=1e-5)


def layers() -> dict[str, Any]:
    """By name a layer of 96 inputs that takes rows alone."""
    blocks = [(numbers(128, 96, seed=seed), numbers(96, 64, seed=seed + 9)) for seed in range(4)]
    mixture, router = int8.Mixture([*blocks, blocks[0]], "silu", shared=True), numbers(4, 96, seed=30)

    def mixed(x: Tensor) -> Tensor:
        scores = (x[:, None] * router).sum(-1)
        chances, chosen = scores.topk(2)
        return mixture(x, chosen, chances, torch.sigmoid(scores[:, :1]))

    feed = int8.Feed(numbers(3072, 96), numbers(96, 3072), "relu")
    norm = (1 + numbers(96), 1e-6)
    normed = int8.Feed(numbers(3072, 96), numbers(96, 3072), "gelu", norm=norm)
    product = int8.Product(numbers(3000, 96), numbers(3000))
    return {"product": product, "feed": feed, "normed": normed, "mixture": mixed}


@needs_vnni
@pytest.mark.parametrize("name", ["product", "feed", "normed", "mixture"])
def test_a_row_is_the_same_to_the_last_bit_whatever_is_beside_it(name):
    layer, x = layers()[name], numbers(230, 96)
    usual = torch.get_num_threads()
    made = []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            made.append(layer(x))
            for some in (slice(0, 1), slice(5, 22), slice(100, 195), slice(229, 230)):
                assert torch.equal(layer(x[some]), made[0][some])
    finally:
        torch.set_num_threads(usual)
    assert torch.equal(made[0], made[1])
    assert torch.equal(made[0], made[2])


@needs_vnni
def test_with_fewer_threads_than_asked_for_every_row_is_computed():
    """OpenMP gives fewer at its limit, and inside another of its regions."""
    code = (
        "import torch\nfrom nets import test_int8 as t\nx = t.numbers(230, 96)\n"
        "for name, layer in t.layers().items():\n"
        " torch.set_num_threads(1)\n alone = layer(x), layer(x[:9])\n torch.set_num_threads(3)\n"
        " assert torch.equal(alone[0], layer(x)) and torch.equal(alone[1], layer(x[:9])), name\n"
    )
    environment = os.environ | {"PYTHONPATH": f"{HERE.parent / 'src'}:{HERE}", "OMP_THREAD_LIMIT": "2"}
    subprocess.run([sys.executable, "-c", code], env=environment, check=True)


@needs_vnni
@pytest.mark.parametrize("name", ["product", "feed", "mixture"])
@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_row_that_holds_no_number_gives_none_and_touches_no_other(name, bad):
    layer, x = layers()[name], numbers(20, 96)
    fine = layer(x)
    x[7, 50] = bad
    found = layer(x)
    assert not found[7].isfinite().any()
    others = torch.arange(20) != 7
    assert torch.equal(found[others], fine[others])


@needs_vnni
def test_a_row_of_zeros_gives_the_bias():
    bias = numbers(100)
    assert torch.equal(int8.Product(numbers(100, 64), bias)(torch.zeros(3, 64)), bias.expand(3, -1))


def questions(family: str, length: int = 200, count: int = 4) -> list[Series]:
    source = np.random.default_rng(3)
    rows = np.sin(np.arange(length) / 4 + source.uniform(0, 6, (count, 1))) + source.normal(0, 0.3, (count, length))
    rows = ((rows - rows.mean(1, keepdims=True)) / rows.std(1, keepdims=True)).astype(np.float32)
    if card.read(family).task == "imputation":
        rows[:, 60:80] = np.nan
    return [Series(row) for row in rows]


def answers(model: Any, family: str, batch: list[Series]) -> np.ndarray:
    if card.read(family).task == "imputation":
        return np.stack([made[60:80] for made in model.impute(batch)])
    return np.stack([made.median for made in model.forecast(batch, 40, (0.1, 0.9))])


@needs_vnni
@pytest.mark.parametrize(("family", "size"), NETWORKS)
def test_a_family_stays_near_float32_and_answers_a_series_as_beside_others(family, size, tmp_path):
    importlib.import_module(f"checkpoints.{family}").make(tmp_path, size)
    exact, fast = (families.load(family, tmp_path, Runtime(dtype=dtype, threads=2)) for dtype in ("float32", "int8"))
    assert fast.path.startswith("int8 with AVX512-VNNI")
    batch = questions(family)
    found = answers(fast, family, batch)
    apart = np.abs(found - answers(exact, family, batch)).mean()
    assert 0 < apart <= DRIFT
    alone = np.concatenate([answers(fast, family, [series]) for series in batch])
    assert np.abs(found - alone).mean() <= DRIFT / 10


def test_every_family_that_says_so_is_tested():
    assert {family for family, _ in NETWORKS} == set(ABLE)


@pytest.mark.parametrize("family", ["fracast", "naive"])
def test_a_family_without_such_layers_says_which_have_them(family):
    with pytest.raises(ConfigError, match=rf"family {family}: dtype: int8 is for {', '.join(ABLE)}, whose large"):
        families.load(family, None, Runtime(dtype="int8"))


def test_a_gpu_is_refused():
    with pytest.raises(ConfigError, match=r"dtype: int8 is for CPUs; .* with device cuda"):
        int8.arithmetic(Runtime(device="cuda", dtype="int8"))


@needs_vnni
def test_without_the_kernel_the_package_that_has_it_is_named(monkeypatch):
    monkeypatch.setattr(int8_kernel, "FILE", "no_such_kernel.so")
    int8_kernel.library.cache_clear()
    with pytest.raises(ConfigError, match=r"no_such_kernel\.so beside torch, found none; install taos-tsfm-runtime"):
        int8.arithmetic(Runtime(dtype="int8"))


@needs_vnni
def test_a_torch_with_another_openmp_is_refused(monkeypatch):
    monkeypatch.setattr(int8_kernel, "THREADS", ("no_such_function",))
    int8_kernel.library.cache_clear()
    with pytest.raises(ConfigError, match=r"needs a torch that uses GNU's OpenMP, .*no_such_function\); expected auto"):
        int8.arithmetic(Runtime(dtype="int8"))


def test_a_cpu_that_lacks_the_instructions_is_refused(tmp_path):
    """The library is told to use no more than AVX2."""
    code = "from tsfm.nets import int8; from tsfm.series import Runtime; int8.arithmetic(Runtime(dtype='int8'))"
    environment = os.environ | {"PYTHONPATH": str(HERE.parent / "src"), "ATEN_CPU_CAPABILITY": "avx2"}
    ended = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert ended.returncode == 1
    assert "int8 needs a CPU with AVX512-VNNI, and this one has none (torch uses AVX2); expected auto" in ended.stderr


@needs_vnni
def test_a_service_runs_in_int8_and_says_so(tmp_path: Path):
    importlib.import_module("checkpoints.timemoe").make(tmp_path / "weights")
    options = ("--model-folder", str(tmp_path / "weights"), "--dtype", "int8", "--threads", "1")
    with Live("timemoe", *options, log=tmp_path / "log") as live:
        (model,) = live.get("/v1/models").json["models"]
        assert model["path"] == "int8 with AVX512-VNNI"
        answer = live.post("/ds_predict", {"input": np.sin(np.arange(100) / 4), "next_len": 12})
        assert answer.status == 200
        assert np.isfinite(answer.json["output"]).all()


def test_a_service_that_cannot_says_why_and_does_not_start(tmp_path: Path):
    live = Live("fracast", "--dtype", "int8", log=tmp_path / "log")
    assert live.process.wait(120) == ConfigError.exit_code
    assert "family fracast: dtype: int8 is for" in live.log.read_text()
