"""FlowState checkpoints with random weights in the official format: config.json, model.safetensors.

The rates of the state spaces are those that the package begins its training with; without them nothing would be
remembered, or everything would grow.
"""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors.torch import save_file

Shapes = dict[str, tuple[int, ...]]

# size: width, states, layers, coefficients, context, of the second release (gated, with a deep feed-forward)
SIZES = {
    "tiny": (16, 16, 3, 8, 256, True),
    "tiny1": (16, 24, 2, 8, 256, False),
    "r1": (512, 512, 6, 256, 2048, False),
    "r1.1": (512, 512, 6, 256, 4096, True),
}
BLOCKS, PATCH = 8, 24
NINE = [i / 10 for i in range(1, 10)]


def make(folder: Path, size: str = "tiny", prefix: str = "") -> None:
    """Write a checkpoint of one of SIZES; equal sizes give equal weights.

    Args:
        prefix: before every tensor's name: "model." for what ``FlowStateForPrediction`` saves.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config(size), indent=2), encoding="utf-8")
    source = torch.Generator().manual_seed(0)
    tensors = {prefix + name: _values(name, shape, source) for name, shape in shapes(size).items()}
    save_file(tensors, str(folder / "model.safetensors"), metadata={"format": "pt"})


def config(size: str) -> dict[str, object]:
    width, states, layers, coefficients, context, second = SIZES[size]
    newer = {"mlp_type": "transformer", "out_gating": True} if second else {}
    return newer | {
        "architectures": ["FlowStateModel"],
        "batch_first": False,
        "context_length": context,
        "decoder_dim": coefficients,
        "decoder_patch_len": PATCH,
        "decoder_type": "legs",
        "dtype": "float32",
        "embedding_feature_dim": width,
        "encoder_num_hippo_blocks": BLOCKS,
        "encoder_num_layers": layers,
        "encoder_state_dim": states,
        "init_processing": True,
        "min_context": context,
        "model_type": "flowstate",
        "prediction_length": -1,
        "prediction_type": "quantile",
        "quantiles": NINE,
        "scale_factor": 1.0,
        "transformers_version": "4.56.0",
        "use_freq": True,
        "with_missing": True,
    }


def shapes(size: str) -> Shapes:
    """Every tensor of a checkpoint and its shape."""
    width, states, layers, coefficients, _, second = SIZES[size]
    found: Shapes = _linear("embed.embed", 2, width)
    for layer in range(layers):
        at = f"encoder.layers.{layer}"
        found |= {f"{at}.ssm.{name}": (states,) for name in ("log_Lambda_real", "Lambda_imag", "log_Delta")}
        found |= {f"{at}.ssm.B_tilde_{part}": (states, width) for part in "ri"}
        found |= {f"{at}.ssm.C_tilde_{part}": (width, states) for part in "ri"}
        found |= {f"{at}.ssm.D": (width,), f"{at}.norm.weight": (width,), f"{at}.norm.bias": (width,)}
        if second:
            found |= _linear(f"{at}.ssm.output_gate", width, width) | {f"{at}.mlp.rms_weight": (width,)}
            found |= _linear(f"{at}.mlp.w1", width, 2 * width) | _linear(f"{at}.mlp.w2", width, 2 * width)
            found |= _linear(f"{at}.mlp.w3", 2 * width, width)
        else:
            found |= _linear(f"{at}.out", width, width)
    return found | _linear("decoder.lin", width, len(NINE) * coefficients)


def _linear(name: str, wide: int, out: int) -> Shapes:
    return {f"{name}.weight": (out, wide), f"{name}.bias": (out,)}


def _values(name: str, shape: tuple[int, ...], source: torch.Generator) -> torch.Tensor:
    """Unit gain: every layer affects the answer, so a test notices a wrong layer."""
    if "Lambda" in name:
        rates = _rates(shape[0])
        return (rates.imag if name.endswith("imag") else (-rates.real).log()).contiguous()
    noise = torch.randn(shape, generator=source)
    if name.endswith("log_Delta"):
        return torch.empty(shape).uniform_(-6.9, -2.3, generator=source)  # steps of 0.001 to 0.1
    if name.endswith(("rms_weight", "norm.weight")):
        return 1 + 0.1 * noise
    if name.endswith("ssm.D"):
        return noise
    if len(shape) == 1:
        return 0.1 * noise
    return noise * shape[-1] ** -0.5


def _rates(states: int) -> torch.Tensor:
    """Eigenvalues of the package's HiPPO matrices, (states,) complex64."""
    size = states // BLOCKS
    odd = (2 * torch.arange(1, size + 1, dtype=torch.float64) + 1).sqrt()
    lower = torch.outer(odd, odd) / -2
    matrix = -0.5 * torch.eye(size, dtype=torch.float64) + lower.triu() - lower.tril()
    return torch.linalg.eigvals(matrix).repeat(BLOCKS).to(torch.complex64)
