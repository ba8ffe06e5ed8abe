"""TiRex-2 checkpoints with random weights in the official format: config.json, model.safetensors.

Heads, patches and hidden sizes of 38m are those of the package's public tests, at the number of blocks that the maker's
count of parameters follows from. Biases of the gates are those that training begins with: cells remember.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import save_file

Shapes = dict[str, tuple[int, ...]]

# size: width, heads, patch, points of the context and ahead, blocks, inner width
SIZES = {
    "tiny": (32, 2, 8, 64, 32, 4, 48),
    "38m": (512, 4, 32, 2048, 320, 12, 2048),
}
NINE = [i / 10 for i in range(1, 10)]


def make(folder: Path, size: str = "tiny", **changed: object) -> None:
    """Write a checkpoint of one of SIZES, with keys of its configuration changed; equal arguments, equal weights."""
    folder.mkdir(parents=True, exist_ok=True)
    made = config(size) | changed
    (folder / "config.json").write_text(json.dumps(made, indent=2), encoding="utf-8")
    source = torch.Generator().manual_seed(0)
    tensors = {name: _values(name, shape, source) for name, shape in shapes(made).items()}
    save_file(tensors, str(folder / "model.safetensors"))


def config(size: str) -> dict[str, object]:
    width, heads, patch, context, future, blocks, inner = SIZES[size]
    return {
        "act_func": "SiLU",
        "context_len": context,
        "dropout": 0.1,
        "embedding_dim": width,
        "future_len": future,
        "h_expand": 4,
        "input_ff_dim": inner,
        "input_patch_size": patch,
        "num_blocks": blocks,
        "output_patch_size": patch,
        "quantiles": NINE,
        "scaler_cfg": {"use_arcsinh": True, "binaryaware": True},
        "stack_config": {
            "recipe": ["mlstm", "slstm"] * (blocks // 2),
            "templates": {name: template(name, width, heads) for name in ("mlstm", "slstm")},
        },
        "stack_out_norm_config": {"eps": 1e-7},
        "tokenizer_cfg": dict.fromkeys(("output_patch_size", "input_patch_size", "input_patch_stride"), patch),
        "tta_diff": True,
        "tta_sign_flip": False,
        "use_qk_norm": True,
    }


def template(cell: str, width: int, heads: int) -> dict[str, object]:
    return {
        "dropout": 0.1,
        "eps": 1e-7,
        "time_mixer": {
            "model_type": f"bi-{cell}",
            "embedding_dim": width,
            "num_heads": heads,
            "num_slstm_heads": heads,
        },
        "variate_mixer": {"embedding_dim": width, "num_heads": heads},
    }


def shapes(made: Mapping[str, object]) -> Shapes:
    """Every tensor of a checkpoint with this configuration, and its shape."""
    width, patch, inner = (made[key] for key in ("embedding_dim", "input_patch_size", "input_ff_dim"))
    stack = made["stack_config"]
    found = _residual("input_patch_embedding", 2 * patch, inner, width)
    for block, name in enumerate(stack["recipe"]):
        found |= _block(f"stack.{block}", stack["templates"][name], width)
    if made["stack_out_norm_config"] is not None:
        found["stack_out_norm.weight"] = (width,)
    outputs = len(made["quantiles"]) * patch
    return found | _residual("output_patch_embedding", width, int(width * made["h_expand"]), outputs)


def _block(at: str, template: Mapping[str, object], width: int) -> Shapes:
    time, variates = f"{at}.time_mixer", f"{at}.variate_mixer"
    mixer, cell = template["time_mixer"], f"{time}.fwd_cell"
    hidden = math.ceil(width * 2.6667 / 64) * 64
    found: Shapes = {f"{time}.{name}.weight": (width,) for name in ("norm_lstm", "norm_ffn")}
    if mixer["model_type"] == "bi-slstm":
        heads = mixer["num_slstm_heads"]
        size = width // heads
        found |= {f"{cell}.{name}gate.weight": (heads, size, size) for name in "fizo"}
        found |= {f"{cell}._recurrent_kernel_": (heads, size, 4, size), f"{cell}._bias_": (heads, 4, size)}
        found[f"{cell}.group_norm.weight"] = (width,)
    else:
        sizes = {"q": width // 2, "k": width // 2, "v": width, "ogate_preact": width, "out_proj": width}
        found |= {f"{cell}.{name}.weight": (out, width) for name, out in sizes.items()}
        for name in ("igate_preact", "fgate_preact"):
            found |= {
                f"{cell}.{name}.weight": (mixer["num_heads"], width),
                f"{cell}.{name}.bias": (mixer["num_heads"],),
            }
        found[f"{cell}.multihead_norm.weight"] = (width,)
    found[f"{time}.combination.weight"] = (width, 2 * width)
    found |= {f"{time}.ffn.{name}.weight": (hidden, width) for name in ("proj_up_gate", "proj_up")}
    found[f"{time}.ffn.proj_down.weight"] = (width, hidden)
    found |= {f"{variates}.{name}.weight": (width,) for name in ("norm_attn", "norm_ffn")}
    found |= {f"{variates}.attn.W{part}.weight": (width, width) for part in "KQVO"}
    return found | {f"{variates}.ffn.wi.weight": (4 * width, width), f"{variates}.ffn.wo.weight": (width, 4 * width)}


def _residual(name: str, wide: int, hidden: int, out: int) -> Shapes:
    sizes = {"hidden_layer": (hidden, wide), "output_layer": (out, hidden), "residual_layer": (out, wide)}
    found: Shapes = {}
    for part, shape in sizes.items():
        found |= {f"{name}.{part}.weight": shape, f"{name}.{part}.bias": shape[:1]}
    return found


def _values(name: str, shape: tuple[int, ...], source: torch.Generator) -> torch.Tensor:
    """Unit gain: every layer affects the answer, so a test notices a wrong layer."""
    noise = torch.randn(shape, generator=source)
    if name.endswith("fgate_preact.bias"):
        return torch.linspace(3, 6, shape[0])
    if name.endswith("_bias_"):
        noise *= 0.1
        noise[:, 1] += 5 - 12 * torch.linspace(0, 1, shape[-1]) ** 0.9
        return noise
    if name.endswith("_recurrent_kernel_"):
        return 0.5 * noise * shape[1] ** -0.5
    if "norm" in name:
        return 1 + 0.1 * noise
    if name.startswith("output_patch_embedding"):  # behind it is a sinh
        noise *= 0.5
    return 0.1 * noise if len(shape) == 1 else noise * shape[-1] ** -0.5
