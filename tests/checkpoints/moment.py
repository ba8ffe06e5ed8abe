"""MOMENT-1 checkpoints with random weights, in the hub's format: config.json and model.safetensors."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import torch
from safetensors.torch import save_file

# width, feed-forward, layers, heads, width of a head, vocabulary
SIZES = {
    "tiny": (32, 64, 2, 2, 16, 64),
    "small": (512, 1024, 8, 6, 64, 32128),
    "base": (768, 2048, 12, 12, 64, 32128),
    "large": (1024, 2816, 24, 16, 64, 32128),
}
PATCH, POSITIONS = 8, 5000


def make(folder: Path, size: str = "tiny") -> None:
    """Write a checkpoint of one of SIZES; equal sizes give equal weights."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(_config(size), indent=2), encoding="utf-8")
    generator = torch.Generator().manual_seed(0)
    head = SIZES[size][4]
    state = {name: _values(name, shape, head, generator) for name, shape in shapes(*SIZES[size])}
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})


def _values(name: str, shape: tuple[int, ...], head: int, generator: torch.Generator) -> torch.Tensor:
    if name.endswith(".pe"):
        return _sinusoids(shape[1], shape[2])[None]
    noise = torch.randn(shape, generator=generator)
    if name.endswith("layer_norm.weight"):
        return 1 + 0.1 * noise
    if len(shape) == 1:
        return 0.1 * noise
    # T5's initialisation: attention is not scaled by the width of a head, so queries are; the rest has unit variance.
    return noise * shape[-1] ** -0.5 * (head**-0.5 if ".q." in name else 1)


def _sinusoids(positions: int, width: int) -> torch.Tensor:
    rate = 10000 ** (-torch.arange(0, width, 2) / width)
    angle = torch.arange(positions)[:, None] * rate
    return torch.stack([angle.sin(), angle.cos()], dim=-1).reshape(positions, width)


def shapes(
    width: int, inner: int, layers: int, heads: int, head: int, vocabulary: int
) -> Iterator[tuple[str, tuple[int, ...]]]:
    yield "patch_embedding.value_embedding.weight", (width, PATCH)
    yield "patch_embedding.mask_embedding", (width,)
    yield "patch_embedding.position_embedding.pe", (1, POSITIONS, width)
    yield "encoder.embed_tokens.weight", (vocabulary, width)
    yield "encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight", (32, heads)
    for layer in range(layers):
        at = f"encoder.block.{layer}.layer"
        for part in "qkv":
            yield f"{at}.0.SelfAttention.{part}.weight", (heads * head, width)
        yield f"{at}.0.SelfAttention.o.weight", (width, heads * head)
        yield f"{at}.0.layer_norm.weight", (width,)
        yield f"{at}.1.DenseReluDense.wi_0.weight", (inner, width)
        yield f"{at}.1.DenseReluDense.wi_1.weight", (inner, width)
        yield f"{at}.1.DenseReluDense.wo.weight", (width, inner)
        yield f"{at}.1.layer_norm.weight", (width,)
    yield "encoder.final_layer_norm.weight", (width,)
    yield "head.linear.weight", (PATCH, width)
    yield "head.linear.bias", (PATCH,)


def _config(size: str) -> dict[str, object]:
    width, inner, layers, heads, head, vocabulary = SIZES[size]
    return {
        "task_name": "reconstruction",
        "model_name": "MOMENT",
        "transformer_type": "encoder_only",
        "d_model": None,
        "seq_len": 512,
        "patch_len": PATCH,
        "patch_stride_len": PATCH,
        "device": "cpu",
        "transformer_backbone": f"google/flan-t5-{'small' if size == 'tiny' else size}",
        "model_kwargs": {},
        "t5_config": {
            "architectures": ["T5ForConditionalGeneration"],
            "d_ff": inner,
            "d_kv": head,
            "d_model": width,
            "decoder_start_token_id": 0,
            "dropout_rate": 0.1,
            "eos_token_id": 1,
            "feed_forward_proj": "gated-gelu",
            "initializer_factor": 1.0,
            "is_encoder_decoder": True,
            "layer_norm_epsilon": 1e-06,
            "model_type": "t5",
            "n_positions": 512,
            "num_decoder_layers": layers,
            "num_heads": heads,
            "num_layers": layers,
            "output_past": True,
            "pad_token_id": 0,
            "relative_attention_max_distance": 128,
            "relative_attention_num_buckets": 32,
            "tie_word_embeddings": False,
            "use_cache": True,
            "vocab_size": vocabulary,
        },
    }
