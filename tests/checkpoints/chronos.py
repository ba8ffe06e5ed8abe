"""Random Chronos-Bolt and Chronos-2 checkpoints in the official format: config.json, model.safetensors.

Needs only torch and safetensors, so a checkpoint can be made without the official package.
"""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors.torch import save_file

Shapes = dict[str, tuple[int, ...]]

# size: d_model, d_ff, layers, heads, d_kv, context
BOLT = {
    "tiny": (16, 32, 2, 2, 8, 512),
    "bolt-tiny": (256, 1024, 4, 4, 64, 2048),
    "bolt-mini": (384, 1536, 4, 8, 64, 2048),
    "bolt-small": (512, 2048, 6, 8, 64, 2048),
    "bolt-base": (768, 3072, 12, 12, 64, 2048),
}
CHRONOS_2 = {
    "tiny2": (16, 32, 2, 2, 8, 512),
    "tiny2-small": (16, 32, 2, 2, 8, 512),
    "chronos-2": (768, 3072, 12, 12, 64, 8192),
    "chronos-2-small": (512, 2048, 6, 8, 64, 8192),
}
NINE = [i / 10 for i in range(1, 10)]
THIRTEEN = [0.01, 0.05, *NINE, 0.95, 0.99]  # chronos-2-small
TWENTY_ONE = [0.01, *[round(i / 20, 2) for i in range(1, 20)], 0.99]


def make(folder: Path, size: str = "tiny") -> None:
    """Write a checkpoint with random weights; ``size`` is a key of ``BOLT`` or ``CHRONOS_2``."""
    folder.mkdir(parents=True, exist_ok=True)
    config, layout = _layout(size)
    (folder / "config.json").write_text(json.dumps(config, indent=2), encoding="utf-8")
    source = torch.Generator().manual_seed(0)
    tensors = {name: _values(name, shape, config["d_kv"], source) for name, shape in layout.items()}
    save_file(tensors, str(folder / "model.safetensors"), metadata={"format": "pt"})


def shapes(size: str) -> Shapes:
    """Every tensor of a checkpoint and its shape."""
    return _layout(size)[1]


def _layout(size: str) -> tuple[dict[str, object], Shapes]:
    if size in BOLT:
        return _bolt(*BOLT[size])
    return _chronos_2(*CHRONOS_2[size], THIRTEEN if size.endswith("-small") else TWENTY_ONE)


def _values(name: str, shape: tuple[int, ...], d_kv: int, source: torch.Generator) -> torch.Tensor:
    """T5's initialisation: every layer keeps the variance, and attention is neither flat nor sharp."""
    if name.endswith("layer_norm.weight"):
        return 1 + 0.1 * torch.randn(shape, generator=source)
    if len(shape) == 1:
        return 0.1 * torch.randn(shape, generator=source)
    spread = shape[-1] ** -0.5
    if ".q." in name:
        spread *= d_kv**-0.5
    if name.startswith("output_patch_embedding"):
        spread /= 2  # the forecast is about as wide as the context
    return spread * torch.randn(shape, generator=source)


def _bolt(d: int, ff: int, layers: int, heads: int, d_kv: int, context: int) -> tuple[dict[str, object], Shapes]:
    config = _common(d, ff, layers, heads, d_kv) | {
        "architectures": ["ChronosBoltModelForForecasting"],
        "chronos_pipeline_class": "ChronosBoltPipeline",
        "chronos_config": {
            "context_length": context,
            "input_patch_size": 16,
            "input_patch_stride": 16,
            "prediction_length": 64,
            "quantiles": NINE,
            "use_reg_token": True,
        },
        "classifier_dropout": 0.0,
        "decoder_start_token_id": 0,
        "eos_token_id": 1,
        "is_encoder_decoder": True,
        "n_positions": 512,
        "num_decoder_layers": layers,
        "relative_attention_max_distance": 128,
        "relative_attention_num_buckets": 32,
        "transformers_version": "4.40.2",
        "use_cache": True,
    }
    shapes = _residual_block("input_patch_embedding", 32, ff, d)
    shapes |= _residual_block("output_patch_embedding", d, ff, 9 * 64) | {"shared.weight": (2, d)}
    for stack, parts in (("encoder", ["SelfAttention"]), ("decoder", ["SelfAttention", "EncDecAttention"])):
        for layer in range(layers):
            for at, part in enumerate(parts):
                shapes |= _attention(f"{stack}.block.{layer}.layer.{at}", part, d, heads * d_kv)
            last = f"{stack}.block.{layer}.layer.{len(parts)}"
            shapes |= {
                f"{last}.DenseReluDense.wi.weight": (ff, d),
                f"{last}.DenseReluDense.wo.weight": (d, ff),
                f"{last}.layer_norm.weight": (d,),
            }
        shapes[f"{stack}.block.0.layer.0.SelfAttention.relative_attention_bias.weight"] = (32, heads)
        shapes[f"{stack}.final_layer_norm.weight"] = (d,)
    return config, shapes


def _chronos_2(
    d: int, ff: int, layers: int, heads: int, d_kv: int, context: int, levels: list[float]
) -> tuple[dict[str, object], Shapes]:
    config = _common(d, ff, layers, heads, d_kv) | {
        "architectures": ["Chronos2Model"],
        "chronos_pipeline_class": "Chronos2Pipeline",
        "chronos_config": {
            "context_length": context,
            "input_patch_size": 16,
            "input_patch_stride": 16,
            "max_output_patches": 64 if context > 512 else 4,
            "output_patch_size": 16,
            "quantiles": levels,
            "time_encoding_scale": context,
            "use_arcsinh": True,
            "use_reg_token": True,
        },
        "rope_theta": 10000.0,
        "transformers_version": "4.54.1",
    }
    shapes = _residual_block("input_patch_embedding", 48, ff, d)
    shapes |= _residual_block("output_patch_embedding", d, ff, len(levels) * 16) | {"shared.weight": (2, d)}
    for layer in range(layers):
        block = f"encoder.block.{layer}.layer"
        shapes |= _attention(f"{block}.0", "self_attention", d, heads * d_kv)
        shapes |= _attention(f"{block}.1", "self_attention", d, heads * d_kv)
        shapes |= {
            f"{block}.2.mlp.wi.weight": (ff, d),
            f"{block}.2.mlp.wo.weight": (d, ff),
            f"{block}.2.layer_norm.weight": (d,),
        }
    return config, shapes | {"encoder.final_layer_norm.weight": (d,)}


def _common(d: int, ff: int, layers: int, heads: int, d_kv: int) -> dict[str, object]:
    return {
        "d_ff": ff,
        "d_kv": d_kv,
        "d_model": d,
        "dense_act_fn": "relu",
        "dropout_rate": 0.1,
        "feed_forward_proj": "relu",
        "initializer_factor": 0.05,
        "is_gated_act": False,
        "layer_norm_epsilon": 1e-06,
        "model_type": "t5",
        "num_heads": heads,
        "num_layers": layers,
        "pad_token_id": 0,
        "reg_token_id": 1,
        "torch_dtype": "float32",
        "vocab_size": 2,
    }


def _residual_block(name: str, wide: int, hidden: int, out: int) -> Shapes:
    return {
        f"{name}.hidden_layer.weight": (hidden, wide),
        f"{name}.hidden_layer.bias": (hidden,),
        f"{name}.output_layer.weight": (out, hidden),
        f"{name}.output_layer.bias": (out,),
        f"{name}.residual_layer.weight": (out, wide),
        f"{name}.residual_layer.bias": (out,),
    }


def _attention(layer: str, part: str, d: int, inner: int) -> Shapes:
    return {
        f"{layer}.{part}.q.weight": (inner, d),
        f"{layer}.{part}.k.weight": (inner, d),
        f"{layer}.{part}.v.weight": (inner, d),
        f"{layer}.{part}.o.weight": (d, inner),
        f"{layer}.layer_norm.weight": (d,),
    }
