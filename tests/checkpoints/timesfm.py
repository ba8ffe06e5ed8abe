"""TimesFM checkpoints with random weights, in the hub's formats.

2.0: torch_model.ckpt, a plain state dict. 2.5: model.safetensors and a config.json that the package does not read.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from safetensors.torch import save_file

Shapes = Iterator[tuple[str, tuple[int, ...]]]
State = dict[str, torch.Tensor]
Values = Callable[[str, tuple[int, ...], float, torch.Generator], torch.Tensor]

# width, layers, heads
SIZES = {"tiny": (64, 2, 16), "500m": (1280, 50, 16)}
SIZES_25 = {"tiny25": (64, 2, 4), "2.5-200m": (1280, 20, 16)}
PATCH, HORIZON, SPREAD, HEADS_OUT = 32, 128, 1024, 10


def make(folder: Path, size: str = "tiny") -> None:
    """Write a checkpoint of one of SIZES or SIZES_25; equal sizes give equal weights."""
    folder.mkdir(parents=True, exist_ok=True)
    if size in SIZES_25:
        (folder / "config.json").write_text(json.dumps(config_25(size), indent=2), encoding="utf-8")
        save_file(state_25(size), str(folder / "model.safetensors"), metadata={"format": "pt"})
    else:
        width, layers, heads = SIZES[size]
        torch.save(_state(shapes(width, layers, heads), layers, _values), folder / "torch_model.ckpt")


def state_25(size: str) -> State:
    width, layers, heads = SIZES_25[size]
    return _state(shapes_25(width, layers, heads), layers, _values_25)


def config_25(size: str) -> dict[str, object]:
    """The published config.json of TimesFM 2.5 with this size."""
    width, layers, heads = SIZES_25[size]
    return {
        "architectures": ["TimesFmModelForPrediction"],
        "context_length": 16384,
        "head_dim": width // heads,
        "hidden_size": width,
        "horizon_length": HORIZON,
        "intermediate_size": width,
        "model_type": "timesfm",
        "num_attention_heads": heads,
        "num_hidden_layers": layers,
        "patch_length": PATCH,
        "quantile_horizon_length": SPREAD,
        "quantiles": [i / 10 for i in range(1, 10)],
        "rms_norm_eps": 1e-06,
        "torch_compile": False,
    }


def _state(layout: Shapes, layers: int, values: Values) -> State:
    generator = torch.Generator().manual_seed(0)
    branch = (2 * layers) ** -0.5  # keeps the spread of the sum over the layers, as in trained weights
    return {name: values(name, shape, branch, generator) for name, shape in layout}


def _values(name: str, shape: tuple[int, ...], branch: float, generator: torch.Generator) -> torch.Tensor:
    noise = torch.randn(shape, generator=generator)
    if name.endswith("norm.weight"):
        return 1 + 0.1 * noise
    if len(shape) == 1:
        return 0.1 * noise
    # Unit gain: every layer affects the answer, so a test notices a wrong layer.
    gain = branch if name.endswith(("o_proj.weight", "down_proj.weight")) else 1
    return noise * gain / shape[-1] ** 0.5


def _values_25(name: str, shape: tuple[int, ...], branch: float, generator: torch.Generator) -> torch.Tensor:
    noise = torch.randn(shape, generator=generator)
    if name.endswith(".scale"):
        # The norm after a part sets what the part adds to the stream.
        return (branch if ".post_" in name else 1) * (1 + 0.1 * noise)
    if len(shape) == 1:
        return 0.1 * noise
    gain = 0.5 if name.startswith("output_") else 1  # the forecast is about as wide as the context
    return noise * gain / shape[-1] ** 0.5


def shapes(width: int, layers: int, heads: int) -> Shapes:
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


def shapes_25(width: int, layers: int, heads: int) -> Shapes:
    yield from _block_25("tokenizer", 2 * PATCH, width, width, bias=True)
    for layer in range(layers):
        at = f"stacked_xf.{layer}"
        for norm in ("pre_attn_ln", "post_attn_ln", "pre_ff_ln", "post_ff_ln"):
            yield f"{at}.{norm}.scale", (width,)
        yield f"{at}.attn.qkv_proj.weight", (3 * width, width)
        yield f"{at}.attn.out.weight", (width, width)
        yield f"{at}.attn.query_ln.scale", (width // heads,)
        yield f"{at}.attn.key_ln.scale", (width // heads,)
        yield f"{at}.attn.per_dim_scale.per_dim_scale", (width // heads,)
        yield f"{at}.ff0.weight", (width, width)
        yield f"{at}.ff1.weight", (width, width)
    yield from _block_25("output_projection_point", width, width, HORIZON * HEADS_OUT)
    yield from _block_25("output_projection_quantiles", width, width, SPREAD * HEADS_OUT)


def _block_25(name: str, wide: int, hidden: int, out: int, bias: bool = False) -> Shapes:
    for layer, into, outof in (("hidden", wide, hidden), ("output", hidden, out), ("residual", wide, out)):
        yield f"{name}.{layer}_layer.weight", (outof, into)
        if bias:
            yield f"{name}.{layer}_layer.bias", (outof,)


def _residual_block(name: str, wide: int, hidden: int, out: int) -> Shapes:
    yield from _linear(f"{name}.hidden_layer.0", wide, hidden)
    yield from _linear(f"{name}.output_layer", hidden, out)
    yield from _linear(f"{name}.residual_layer", wide, out)


def _linear(name: str, wide: int, out: int) -> Shapes:
    yield f"{name}.weight", (out, wide)
    yield f"{name}.bias", (out,)
