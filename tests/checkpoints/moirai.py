"""Moirai checkpoints with random weights, in the hub's format: config.json and model.safetensors."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors.torch import save_file

# width, feed-forward width, layers, experts (0: a Moirai-2)
SIZES = {
    "tiny": (128, 32, 2, 32),
    "tiny2": (128, 64, 2, 0),
    "moe-small": (384, 512, 6, 32),
    "2-small": (384, 1024, 6, 0),
}
PATCH, HEAD, AHEAD = 16, 64, 4
LEVELS = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9]
PARAMETERS = ("0.df", "0.loc", "0.scale", "1.loc", "2.total_count", "2.logits", "3.loc", "3.scale")


def make(folder: Path, size: str = "tiny") -> None:
    """Write a checkpoint of one of SIZES; equal sizes give equal weights."""
    width, inner, layers, experts = SIZES[size]
    common = {"d_model": width, "d_ff": inner, "num_layers": layers, "max_seq_len": 512}
    common |= {"attn_dropout_p": 0.0, "dropout_p": 0.0, "scaling": True}
    own = {"distr_output": _distribution(), "patch_sizes": [PATCH]}
    own2 = {"num_predict_token": AHEAD, "patch_size": PATCH, "quantile_levels": LEVELS}
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(common | (own if experts else own2), indent=2))
    weights = _encoder(width, inner, layers, experts) | (_ends(width) if experts else _ends2(width))
    draw = torch.Generator().manual_seed(0)
    tensors = {name: _random(name, shape, draw) for name, shape in weights.items()}
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def _distribution() -> dict[str, object]:
    kinds = ("student_t.StudentT", "normal.NormalFixedScale", "negative_binomial.NegativeBinomial")
    parts: list[dict[str, object]] = [
        {"_target_": f"uni2ts.distribution.{kind}Output"} for kind in (*kinds, "log_normal.LogNormal")
    ]
    parts[1]["scale"] = 0.001
    return {"_target_": "uni2ts.distribution.mixture.MixtureOutput", "components": parts}


def _encoder(width: int, inner: int, layers: int, experts: int) -> dict[str, tuple[int, ...]]:
    shapes: dict[str, tuple[int, ...]] = {"encoder.norm.weight": (width,)}
    if experts:
        shapes["encoder.centroid"] = (layers, experts, width)
    for layer in range(layers):
        prefix = f"encoder.layers.{layer}."
        shapes |= {f"{prefix}norm{i}.weight": (width,) for i in (1, 2)}
        shapes |= {f"{prefix}self_attn.{name}_proj.weight": (width, width) for name in ("q", "k", "v", "out")}
        shapes |= {f"{prefix}self_attn.{name}_norm.weight": (HEAD,) for name in "qk"}
        shapes[f"{prefix}self_attn.var_attn_bias.emb.weight"] = (2, width // HEAD)
        for feed in [f"experts.{e}." for e in range(experts)] or [""]:
            shapes |= {f"{prefix}ffn.{feed}{name}.weight": (inner, width) for name in ("fc1", "fc_gate")}
            shapes[f"{prefix}ffn.{feed}fc2.weight"] = (width, inner)
    return shapes


def _ends(width: int) -> dict[str, tuple[int, ...]]:
    sizes = [("in_proj", width, PATCH), ("feat_proj", width, width), ("res_proj", width, PATCH)]
    sizes.append(("param_proj.proj.weights_logits", 4 * PATCH, width))
    sizes += [(f"param_proj.proj.components.{name}", PATCH, width) for name in PARAMETERS]
    return _affine([(name, (1, out, into)) for name, out, into in sizes])


def _ends2(width: int) -> dict[str, tuple[int, ...]]:
    sizes: list[tuple[str, tuple[int, ...]]] = []
    for name, into, out in (("in_proj", 2 * PATCH, width), ("out_proj", width, AHEAD * len(LEVELS) * PATCH)):
        sizes.append((f"{name}.hidden_layer", (width, into)))
        sizes.append((f"{name}.output_layer", (out, width)))
        sizes.append((f"{name}.residual_layer", (out, into)))
    return _affine(sizes)


def _affine(sizes: list[tuple[str, tuple[int, ...]]]) -> dict[str, tuple[int, ...]]:
    weights = {f"{name}.weight": shape for name, shape in sizes}
    return weights | {f"{name}.bias": shape[:-1] for name, shape in sizes}


def _random(name: str, shape: tuple[int, ...], draw: torch.Generator) -> torch.Tensor:
    if name == "encoder.centroid":
        return torch.randn(shape, generator=draw, dtype=torch.float64)
    if "norm" in name:
        return 1 + 0.1 * torch.randn(shape, generator=draw)
    spread = 0.3 if name.endswith("bias") or "attn_bias" in name else shape[-1] ** -0.5
    return torch.randn(shape, generator=draw) * spread
