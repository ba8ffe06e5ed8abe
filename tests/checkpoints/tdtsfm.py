"""TDtsfm checkpoints with random weights: the state dict taos.pth, as TDgpt contains it."""

from __future__ import annotations

from pathlib import Path

import torch

PATCH = 96
SIZES = {"tiny": (32, 48, 2), "v1": (1024, 2048, 8)}  # hidden, feed-forward, layers


def make(folder: Path, size: str = "tiny") -> None:
    """Write a checkpoint of one of SIZES; equal sizes give equal weights."""
    folder.mkdir(parents=True, exist_ok=True)
    torch.save(weights(*SIZES[size]), folder / "taos.pth")


def weights(hidden: int, inner: int, layers: int) -> dict[str, torch.Tensor]:
    """The state dict with its official names."""
    generator = torch.Generator().manual_seed(0)
    state: dict[str, torch.Tensor] = {}

    def linear(name: str, rows: int, columns: int, biased: bool = False) -> None:
        state[f"{name}.weight"] = torch.randn(rows, columns, generator=generator) / columns**0.5
        if biased:
            state[f"{name}.bias"] = 0.1 * torch.randn(rows, generator=generator)

    def norm(name: str) -> None:
        state[f"{name}.weight"] = 1 + 0.1 * torch.randn(hidden, generator=generator)
        state[f"{name}.bias"] = 0.1 * torch.randn(hidden, generator=generator)

    linear("Taos_model.Taos_embed_layer.Taos_emb", hidden, PATCH)
    for layer in range(layers):
        at = f"Taos_model.Taos_layers.{layer}"
        for part in "qkv":
            linear(f"{at}.Taos_self_attn.Taos_{part}_proj", hidden, hidden, biased=True)
        linear(f"{at}.Taos_self_attn.Taos_o_proj", hidden, hidden)
        linear(f"{at}.Taos_ffn_layer.Taos_gate_proj", inner, hidden)
        linear(f"{at}.Taos_ffn_layer.Taos_up_proj", inner, hidden)
        linear(f"{at}.Taos_ffn_layer.Taos_down_proj", hidden, inner)
        norm(f"{at}.Taos_norm1")
        norm(f"{at}.Taos_norm2")
    norm("Taos_model.Taos_norm")
    linear("Taos_lm_heads.0", PATCH, hidden)
    return state
