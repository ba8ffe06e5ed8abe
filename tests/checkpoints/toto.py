"""Toto 2.0 checkpoints with random weights in the official format: config.json, model.safetensors.

The configurations of 4m and 22m are, byte by byte, those whose SHA-256 public projects state.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import save_file

Shapes = dict[str, tuple[int, ...]]

# size: width, heads, channels of a head, layers, layers of a group, inner width
SIZES = {
    "tiny": (32, 2, 16, 4, 2, 48),
    "4m": (256, 4, 64, 4, 4, 688),
    "22m": (512, 8, 64, 6, 6, 1368),
}
PATCH, QUANTILES, CONTEXT = 32, 9, 4096


def make(folder: Path, size: str = "tiny", **changed: object) -> None:
    """Write a checkpoint of one of SIZES, with keys of its configuration changed; equal arguments, equal weights."""
    folder.mkdir(parents=True, exist_ok=True)
    made = config(size) | changed
    (folder / "config.json").write_text(json.dumps(made, indent=2, sort_keys=True), encoding="utf-8")
    source = torch.Generator().manual_seed(0)
    tensors = {name: _values(name, shape, size, source) for name, shape in shapes(size, made).items()}
    save_file(tensors, str(folder / "model.safetensors"))


def config(size: str) -> dict[str, object]:
    width, heads, head, layers, group, inner = SIZES[size]
    return {
        "attn_bias": True,
        "d_ff": inner,
        "d_model": width,
        "dropout_p": 0.0,
        "heads_per_group": 1,
        "layer_group_size": group,
        "mlp_bias": False,
        "norm_eps": 0.0001,
        "norm_include_weight": False,
        "num_groups": heads,
        "num_heads": heads,
        "num_layers": layers,
        "num_output_patches": 1,
        "num_variate_layers_per_group": 1,
        "patch_size": PATCH,
        "per_dim_scale": True,
        "pre_norm": True,
        "qk_dim": head,
        "qk_norm": False,
        "qk_norm_include_weight": False,
        "residual_attn_ratio": _ratio(),
        "residual_mult": 0.75,
        "use_xpos": True,
        "v_dim": head,
        "variate_layer_first": False,
    }


def shapes(size: str, made: Mapping[str, object]) -> Shapes:
    """Every tensor of a checkpoint with this configuration, and its shape."""
    width, heads, head, layers, _, inner = SIZES[size]
    found = _block("patch_proj", 2 * PATCH, 4 * width, width)
    for layer in range(layers):
        at = f"transformer.layers.{layer}"
        found |= {f"{at}.attn_tau": (), f"{at}.mlp_tau": ()}
        if made["per_dim_scale"]:
            found[f"{at}.attn._pds.per_dim_scale"] = (head,)
        found |= _linear(f"{at}.attn.in_proj", width, 3 * heads * head, made["attn_bias"])
        found |= _linear(f"{at}.attn.out_proj", heads * head, width, made["attn_bias"])
        found |= _linear(f"{at}.ffn.fc1", width, 2 * inner, made["mlp_bias"])
        found |= _linear(f"{at}.ffn.fc2", inner, width, made["mlp_bias"])
    return found | _block("output_head.param_projection.proj", width, 4 * width, PATCH * QUANTILES)


def _ratio() -> float:
    return math.sqrt((CONTEXT / PATCH) / math.log(CONTEXT / PATCH))


def _block(name: str, wide: int, hidden: int, out: int) -> Shapes:
    found = _linear(f"{name}.linear1", wide, hidden) | _linear(f"{name}.linear2", hidden, out)
    return found | _linear(f"{name}.skip_proj", wide, out)


def _linear(name: str, wide: int, out: int, bias: object = True) -> Shapes:
    return {f"{name}.weight": (out, wide)} | ({f"{name}.bias": (out,)} if bias else {})


def _values(name: str, shape: tuple[int, ...], size: str, source: torch.Generator) -> torch.Tensor:
    """Unit scale, as the package initialises; the readout's weights grow as they do in training."""
    if name.endswith("_tau"):
        layer = int(name.split(".")[2])
        return torch.tensor(_tau(2 * layer + name.endswith("mlp_tau"), SIZES[size][3]))
    noise = torch.randn(shape, generator=source)
    readout = name.startswith("output_head") and len(shape) == 2 and "linear1" not in name
    return noise * (0.7 * shape[-1] ** 0.5) if readout else noise


def _tau(index: int, layers: int) -> float:
    """The weight of a branch beside its residual, by u-muP's rule."""
    feed = 0.75 * (2 / (1 + _ratio() ** 2)) ** 0.5
    attention = _ratio() * feed
    before = layers + (index + 1) // 2 * attention**2 + index // 2 * feed**2
    return float((feed if index % 2 else attention) / before**0.5)
