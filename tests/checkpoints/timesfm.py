"""TimesFM 2.0 checkpoints with random weights, in the hub's format: torch_model.ckpt, a plain state dict."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import torch

# width, layers, heads
SIZES = {"tiny": (64, 2, 16), "500m": (1280, 50, 16)}
PATCH, HORIZON, HEADS_OUT = 32, 128, 10


def make(folder: Path, size: str = "tiny") -> None:
    """Write a checkpoint of one of SIZES; equal sizes give equal weights."""
    folder.mkdir(parents=True, exist_ok=True)
    generator = torch.Generator().manual_seed(0)
    branch = (2 * SIZES[size][1]) ** -0.5  # keeps the spread of the sum over the layers, as in trained weights
    state = {name: _values(name, shape, branch, generator) for name, shape in shapes(*SIZES[size])}
    torch.save(state, folder / "torch_model.ckpt")


def _values(name: str, shape: tuple[int, ...], branch: float, generator: torch.Generator) -> torch.Tensor:
    noise = torch.randn(shape, generator=generator)
    if name.endswith("norm.weight"):
        return 1 + 0.1 * noise
    if len(shape) == 1:
        return 0.1 * noise
    # Unit gain: every layer affects the answer, so a test notices a wrong layer.
    gain = branch if name.endswith(("o_proj.weight", "down_proj.weight")) else 1
    return noise * gain / shape[-1] ** 0.5


def shapes(width: int, layers: int, heads: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    yield from _residual_block("input_ff_layer", 2 * PATCH, width, width)
    yield "freq_emb.weight", (3, width)
    yield from _residual_block("horizon_ff_layer", width, width, HORIZON * HEADS_OUT)
    for layer in range(layers):
        at = f"stacked_transformer.layers.{layer}"
        yield f"{at}.self_attn.scaling", (width // heads,)
        yield from _linear(f"{at}.self_attn.qkv_proj", width, 3 * width)
        yield from _linear(f"{at}.self_attn.o_proj", width, width)
        yield from _linear(f"{at}.mlp.gate_proj", width, width)
        yield from _linear(f"{at}.mlp.down_proj", width, width)
        yield f"{at}.mlp.layer_norm.weight", (width,)
        yield f"{at}.mlp.layer_norm.bias", (width,)
        yield f"{at}.input_layernorm.weight", (width,)


def _residual_block(name: str, wide: int, hidden: int, out: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    yield from _linear(f"{name}.hidden_layer.0", wide, hidden)
    yield from _linear(f"{name}.output_layer", hidden, out)
    yield from _linear(f"{name}.residual_layer", wide, out)


def _linear(name: str, wide: int, out: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    yield f"{name}.weight", (out, wide)
    yield f"{name}.bias", (out,)
