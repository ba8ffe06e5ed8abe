"""Reads the configuration of a TiRex-2: the arguments of ``TiRex2`` of tirex-2 0.4.0, which its config.json holds."""

from __future__ import annotations

from dataclasses import dataclass

from tsfm.weights.configuration import Config

ACTIVATIONS = ("SiLU", "ReLU", "GELU")
MLSTM, SLSTM = "bi-mlstm", "bi-slstm"
# The package takes no others. Those that are not read: device, dropout, matmul_precision and postprocessor_cfg, which
# change no forecast on a CPU.
KEYS = (
    *("stack_config", "num_blocks", "embedding_dim", "input_patch_size", "output_patch_size", "quantiles"),
    *("tokenizer_cfg", "scaler_cfg", "h_expand", "context_len", "future_len", "input_ff_dim", "act_func", "dropout"),
    *("use_qk_norm", "stack_out_norm_config", "tta_sign_flip", "tta_diff", "device", "matmul_precision"),
    "postprocessor_cfg",
)


@dataclass(frozen=True)
class Kind:
    """A template of blocks: its cell, and the heads of the cell and of the attention."""

    cell: str
    heads: int
    attention: int

    @classmethod
    def read(cls, template: Config, width: int) -> Kind:
        time, variates = template.section("time_mixer"), template.section("variate_mixer")
        time.only({"embedding_dim": width})
        variates.only({"embedding_dim": width})
        cell = time.word("model_type", "")
        if cell not in (MLSTM, SLSTM):
            raise time.refused("model_type", f"{MLSTM} or {SLSTM}")
        heads = time.whole("num_heads", 4)
        return cls(
            cell, time.whole("num_slstm_heads", heads) if cell == SLSTM else heads, variates.whole("num_heads", 4)
        )


@dataclass(frozen=True)
class Sizes:
    """Sizes of the network.

    Attributes:
        context: points that the package fills a series up to.
        future: points ahead, likewise.
        blocks: the kind of each block.
        inner: hidden channels of the embedding.
        outer: hidden channels of the head.
        act: one of ACTIVATIONS.
        norm: the epsilon of the norm behind the blocks; None: there is none.
        qk_norm: queries and keys of the attention are normalised.
        arcsinh: values go through it once they are scaled.
        binary: a series of zeros and ones is not scaled.
        least_scale: of a series.
        flip: the forecast is the mean with that of the series turned upside down.
        difference: a series with a strong trend is forecast by its differences.
    """

    patch: int
    width: int
    context: int
    future: int
    blocks: tuple[Kind, ...]
    inner: int
    outer: int
    quantiles: tuple[float, ...]
    act: str
    norm: float | None
    qk_norm: bool
    arcsinh: bool
    binary: bool
    least_scale: float
    flip: bool
    difference: bool

    @classmethod
    def read(cls, config: Config) -> Sizes:
        """Read the sizes.

        Raises:
            ConfigError: config.json is not a configuration of this network.
        """
        config.no_others(KEYS)
        width, patch = config.whole("embedding_dim"), config.whole("input_patch_size")
        config.only({"output_patch_size": patch})
        same = ("output_patch_size", "input_patch_size", "input_patch_stride")
        config.section("tokenizer_cfg").only(dict.fromkeys(same, patch))
        scaler = config.section("scaler_cfg")
        return cls(
            patch=patch,
            width=width,
            context=_patches(config, "context_len", patch),
            future=_patches(config, "future_len", patch),
            blocks=_blocks(config, width),
            inner=config.whole("input_ff_dim"),
            outer=int(width * config.number("h_expand")),
            quantiles=_levels(config),
            act=_activation(config),
            norm=_norm(config),
            qk_norm=config.flag("use_qk_norm", True),
            arcsinh=scaler.flag("use_arcsinh", False),
            binary=scaler.flag("binaryaware", False),
            least_scale=scaler.number("eps", 1e-8),
            flip=config.flag("tta_sign_flip", False),
            difference=config.flag("tta_diff", True),
        )


def _patches(config: Config, key: str, patch: int) -> int:
    points = config.whole(key)
    if points % patch:
        raise config.refused(key, f"a multiple of {patch}, the points of a patch")
    return points


def _blocks(config: Config, width: int) -> tuple[Kind, ...]:
    stack = config.section("stack_config")
    templates, recipe = stack.section("templates"), stack.get("recipe")
    if not isinstance(recipe, list) or not recipe or not all(isinstance(name, str) for name in recipe):
        raise stack.refused("recipe", "a list of names of templates")
    config.only({"num_blocks": len(recipe)})
    kinds = {name: Kind.read(templates.section(name), width) for name in dict.fromkeys(recipe)}
    return tuple(kinds[name] for name in recipe)


def _levels(config: Config) -> tuple[float, ...]:
    """The package takes the level in the middle for the median, and turns the others about it."""
    levels = config.levels("quantiles")
    if any(abs(low + high - 1) > 1e-6 for low, high in zip(levels, levels[::-1], strict=True)):
        raise config.refused("quantiles", "levels that lie symmetrically around 0.5")
    return levels


def _activation(config: Config) -> str:
    """By its name in ``torch.nn``, with or without the name of a module in front."""
    act = config.word("act_func", "").rpartition(".")[2]
    if act not in ACTIVATIONS:
        raise config.refused("act_func", f"one of {', '.join(ACTIVATIONS)}")
    return act


def _norm(config: Config) -> float | None:
    if config.get("stack_out_norm_config") is None:
        return None
    return config.section("stack_out_norm_config").number("eps", 1e-7)
