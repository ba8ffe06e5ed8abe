"""Time-MoE checkpoints with random weights, in the hub's format: config.json and model.safetensors."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors.torch import save_file

# hidden, intermediate, layers, heads, experts, type of the weights
SIZES = {
    "tiny": (32, 64, 2, 4, 4, "float32"),
    "tiny-bf16": (32, 64, 2, 4, 4, "bfloat16"),
    "50M": (384, 1536, 12, 12, 8, "bfloat16"),
    "200M": (768, 3072, 12, 12, 8, "bfloat16"),
}


def make(folder: Path, size: str = "tiny") -> None:
    """Write a checkpoint of one of SIZES; equal sizes give equal weights."""
    config = _config(size)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config, indent=2))
    save_file(_weights(config), folder / "model.safetensors", metadata={"format": "pt"})


def _config(size: str) -> dict[str, object]:
    hidden, intermediate, layers, heads, experts, dtype = SIZES[size]
    return {
        "apply_aux_loss": True,
        "architectures": ["TimeMoeForPrediction"],
        "attention_dropout": 0.0,
        "hidden_act": "silu",
        "hidden_size": hidden,
        "horizon_lengths": [1, 8, 32, 64],
        "initializer_range": 0.02,
        "input_size": 1,
        "intermediate_size": intermediate,
        "max_position_embeddings": 4096,
        "model_type": "time_moe",
        "num_attention_heads": heads,
        "num_experts": experts,
        "num_experts_per_tok": 2,
        "num_hidden_layers": layers,
        "num_key_value_heads": heads,
        "rms_norm_eps": 1e-06,
        "rope_theta": 10000,
        "router_aux_loss_factor": 0.02,
        "tie_word_embeddings": False,
        "torch_dtype": dtype,
        "transformers_version": "4.40.1",
        "use_cache": True,
        "use_dense": False,
    }


def _weights(config: dict[str, object]) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    dtype = getattr(torch, config["torch_dtype"])
    hidden, inner, experts = (config[k] for k in ("hidden_size", "intermediate_size", "num_experts"))
    width = inner // config["num_experts_per_tok"]

    def random(*shape: int) -> torch.Tensor:
        # Small sizes: unit gain, so that every layer affects the answer and a test notices a wrong layer.
        # Real sizes: the initialisation of the official code.
        gain = shape[-1] ** -0.5 if hidden < 100 else config["initializer_range"]
        return (torch.randn(*shape, generator=generator) * gain).to(dtype)

    def near_one() -> torch.Tensor:
        return (1 + 0.1 * torch.randn(hidden, generator=generator)).to(dtype)

    state = {f"model.embed_layer.{part}_layer.weight": random(hidden, 1) for part in ("emb", "gate")}
    state["model.norm.weight"] = near_one()
    for layer in range(config["num_hidden_layers"]):
        at = f"model.layers.{layer}"
        state[f"{at}.input_layernorm.weight"] = near_one()
        state[f"{at}.post_attention_layernorm.weight"] = near_one()
        for part in "qkvo":
            state[f"{at}.self_attn.{part}_proj.weight"] = random(hidden, hidden)
        for part in "qkv":
            state[f"{at}.self_attn.{part}_proj.bias"] = 0.1 * random(hidden)
        state[f"{at}.ffn_layer.gate.weight"] = random(experts, hidden)
        state[f"{at}.ffn_layer.shared_expert_gate.weight"] = random(1, hidden)
        blocks = [(f"experts.{e}", width) for e in range(experts)] + [("shared_expert", inner)]
        for block, wide in blocks:
            state[f"{at}.ffn_layer.{block}.gate_proj.weight"] = random(wide, hidden)
            state[f"{at}.ffn_layer.{block}.up_proj.weight"] = random(wide, hidden)
            state[f"{at}.ffn_layer.{block}.down_proj.weight"] = random(hidden, wide)
    for index, horizon in enumerate(config["horizon_lengths"]):
        state[f"lm_heads.{index}.out_layer.weight"] = random(horizon, hidden)
    return state
