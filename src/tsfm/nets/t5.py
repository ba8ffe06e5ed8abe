"""Reads the configuration of a T5-like network, with the defaults of transformers' ``T5Config``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from tsfm.weights.configuration import TRANSFORMERS, Config

Activation = Callable[[Tensor], Tensor]  # may change its argument in place


def _gelu_new(x: Tensor) -> Tensor:
    return F.gelu(x, approximate="tanh")


def _silu(x: Tensor) -> Tensor:
    return F.silu(x, inplace=True)


# The keys are the names in transformers' ACT2FN.
ACTIVATIONS: dict[str, Activation] = {
    "relu": torch.relu_,
    "silu": _silu,
    "swish": _silu,
    "gelu": F.gelu,
    "gelu_new": _gelu_new,
    "gelu_pytorch_tanh": _gelu_new,
}


@dataclass(frozen=True)
class T5Sizes:
    """The keys of ``T5Config`` that change the output of an encoder.

    Attributes:
        act: a key of ``ACTIVATIONS``.
        gated: whether one half of the feed-forward's hidden layer gates the other half.
    """

    width: int
    hidden: int
    head_width: int
    heads: int
    layers: int
    epsilon: float
    act: str
    gated: bool

    @classmethod
    def common(cls, config: Config) -> dict[str, object]:
        """Read the fields above from config.json.

        Raises:
            ConfigError: config.json is not a configuration of these networks.
        """
        config.only(TRANSFORMERS)
        act, gated = _feed_forward(config)
        return {
            "width": config.whole("d_model", 512, also="hidden_size"),
            "hidden": config.whole("d_ff", 2048),
            "head_width": config.whole("d_kv", 64, also="head_dim"),
            "heads": config.whole("num_heads", 8, also="num_attention_heads"),
            "layers": config.whole("num_layers", 6, also="num_hidden_layers"),
            "epsilon": config.number("layer_norm_epsilon", 1e-6),
            "act": act,
            "gated": gated,
        }


def _feed_forward(config: Config) -> tuple[str, bool]:
    """Activation, and whether it is gated.

    As upstream, ``feed_forward_proj`` defines both; ``dense_act_fn`` and ``is_gated_act`` override it.
    """
    projection = config.word("feed_forward_proj", "relu")
    first, _, rest = projection.partition("-")
    if rest and (first != "gated" or "-" in rest):
        raise config.refused("feed_forward_proj", "NAME or gated-NAME")
    derived = "gelu_new" if projection == "gated-gelu" else rest or first
    act = config.word("dense_act_fn", derived)
    if act not in ACTIVATIONS:
        key = "dense_act_fn" if "dense_act_fn" in config else "feed_forward_proj"
        raise config.refused(key, f"one of {', '.join(ACTIVATIONS)}")
    return act, config.flag("is_gated_act", bool(rest))
