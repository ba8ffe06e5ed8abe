"""The network of TiRex-2: blocks that mix time by an xLSTM, and then the variates of a series by attention.

Written from tirex-2 0.4.0 (``tirex2.model``); reads its tensor names. Targets and past covariates see the past alone;
covariates that are known ahead run through each cell in both directions. Targets attend to all variates of their
group, covariates only to covariates, and a target without company skips the attention.

The package fills every series up to 2,048 points with missing ones and computes the missing patches of 320 points
ahead. Where no covariate is known ahead, missing patches in front look alike in every series: what the cells keep of
them is computed once, when the model is loaded. Patches behind the horizon, which no earlier one can see, are left out.

Shapes: T patches, R series of all groups, V series of a group, D channels, P points of a patch, Q quantiles.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from tsfm.nets.product import Product, product
from tsfm.nets.tirex_sizes import SLSTM, Kind, Sizes
from tsfm.nets.xlstm import Cell, Kept, MLstm, SLstm, Take, linear

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {"SiLU": F.silu, "ReLU": F.relu, "GELU": F.gelu}
EPSILON = 1e-6
ALL = slice(None)


class Weights:
    """Takes the parts of a network out of a checkpoint."""

    def __init__(self, take: Take, width: int, dtype: torch.dtype) -> None:
        self.take, self.width, self.dtype = take, width, dtype

    def norm(self, name: str, epsilon: float = EPSILON) -> Callable[[Tensor], Tensor]:
        scale = self.take(f"{name}.weight", (self.width,)).float().clone()
        return lambda x: F.rms_norm(x, scale.shape, scale, epsilon)

    def product(self, inner: int, outer: int, *names: str) -> Product:
        """One product for those of all names."""
        return linear(torch.cat([self.take(f"{name}.weight", (outer, inner)) for name in names]), self.dtype)

    def residual(self, name: str, inner: int, hidden: int, outer: int, act: str) -> Product:
        """Two products beside one, in float32."""

        def part(which: str, inner: int, outer: int) -> Product:
            at = f"{name}.{which}_layer"
            weight, shift = self.take(f"{at}.weight", (outer, inner)), self.take(f"{at}.bias", (outer,))
            return product(weight.float(), shift.float())

        first, second = part("hidden", inner, hidden), part("output", hidden, outer)
        beside, activation = part("residual", inner, outer), ACTIVATIONS[act]
        return lambda x: second(activation(first(x))).add_(beside(x))

    def cell(self, at: str, kind: Kind) -> Cell:
        if kind.cell == SLSTM:
            return SLstm(self.take, at, self.width, kind.heads)
        return MLstm(self.take, at, self.width, kind.heads, self.dtype)


class OverTime:
    """A cell and a gated feed-forward, each around a residual."""

    def __init__(self, weights: Weights, at: str, kind: Kind) -> None:
        width = weights.width
        hidden = int((width * 2.6667 + 63) // 64 * 64)  # of xlstm_large
        self._norm, self._feed_norm = weights.norm(f"{at}.norm_lstm"), weights.norm(f"{at}.norm_ffn")
        self._cell = weights.cell(f"{at}.fwd_cell", kind)
        self._joined = weights.product(2 * width, width, f"{at}.combination")
        self._up = weights.product(width, hidden, f"{at}.ffn.proj_up_gate", f"{at}.ffn.proj_up")
        self._down = weights.product(hidden, width, f"{at}.ffn.proj_down")

    def kept(self, x: Tensor) -> Kept:
        return self._cell.kept(self._norm(x))

    def before(self, kept: Kept, steps: int) -> Kept | None:
        return self._cell.until(kept, steps) if steps else None

    def __call__(self, x: Tensor, before: Kept | None, known: Tensor | None, wanted: slice) -> Tensor:
        """The wanted patches behind it.

        Args:
            x: shape (T, R, D).
            before: what the cell keeps of patches in front of the first one.
            known: the numbers of the series that are known ahead; None or none: there are none.
        """
        normed = self._norm(x)
        if known is None or not len(known):
            made = self._cell(normed, before)
        else:
            rows = x.shape[1]
            both = self._cell(torch.cat((normed, normed[:, known].flip(0)), 1), before)
            made = both[:, :rows]
            made[:, known] = self._joined(torch.cat((made[:, known], both[:, rows:].flip(0)), -1))
        x = x[wanted] + made[wanted]
        gate, up = self._up(self._feed_norm(x)).chunk(2, -1)
        return x.add_(self._down(F.silu(gate).mul_(up)))


class OverVariates:
    """Attention within each group and a feed-forward, each around a residual."""

    def __init__(self, weights: Weights, at: str, sizes: Sizes, heads: int) -> None:
        width = sizes.width
        self._heads, self._normalised, self._act = heads, sizes.qk_norm, ACTIVATIONS[sizes.act]
        self._norm, self._feed_norm = weights.norm(f"{at}.norm_attn"), weights.norm(f"{at}.norm_ffn")
        self._into = weights.product(width, width, *(f"{at}.attn.W{part}" for part in "QKV"))
        self._out = weights.product(width, width, f"{at}.attn.WO")
        self._up = weights.product(width, 4 * width, f"{at}.ffn.wi")
        self._down = weights.product(4 * width, width, f"{at}.ffn.wo")

    def __call__(self, x: Tensor, mask: Tensor) -> Tensor:
        """Change ``x``, shape (T, R, D).

        Args:
            mask: shape (V, V), where a series of a group may attend; the groups follow one another in x.
        """
        made = self._into(self._norm(x)).view(-1, len(mask), 3, self._heads, x.shape[-1] // self._heads)
        query, key, value = made.permute(2, 0, 3, 1, 4)
        if self._normalised:
            query, key = (F.rms_norm(part, part.shape[-1:]) for part in (query, key))
        mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=mask)
        x = x.add_(self._out(mixed.transpose(1, 2).reshape(x.shape)))
        return x.add_(self._down(self._act(self._up(self._feed_norm(x)))))


class Tirex:
    """The network: takes patches of groups of series, returns quantiles of the patches that follow."""

    def __init__(self, sizes: Sizes, take: Take, dtype: torch.dtype, device: str) -> None:
        self.sizes = sizes
        weights = Weights(take, sizes.width, dtype)
        self._embed = weights.residual("input_patch_embedding", 2 * sizes.patch, sizes.inner, sizes.width, sizes.act)
        self._time, self._variates = [], []
        for i, kind in enumerate(sizes.blocks):
            self._time.append(OverTime(weights, f"stack.{i}.time_mixer", kind))
            self._variates.append(OverVariates(weights, f"stack.{i}.variate_mixer", sizes, kind.attention))
        self._norm = weights.norm("stack_out_norm", sizes.norm) if sizes.norm else lambda x: x
        outputs = len(sizes.quantiles) * sizes.patch
        self._head = weights.residual("output_patch_embedding", sizes.width, sizes.outer, outputs, sizes.act)
        with torch.inference_mode():
            self._missing = self._embed(torch.zeros(1, 2 * sizes.patch, device=device))
            self._kept = {company: self._of_missing(company) for company in (False, True)}

    def _of_missing(self, company: bool) -> list[Kept]:
        """What each cell keeps of a context of missing patches, of a series alone or in a group."""
        x = self._missing.repeat(self.sizes.context // self.sizes.patch, 1, 1)
        alone = torch.ones(1, 1, dtype=torch.bool, device=x.device)
        found = []
        for time, variates in zip(self._time, self._variates, strict=True):
            found.append(time.kept(x))
            x = time(x, None, None, ALL)
            x = variates(x, alone) if company else x
        return found

    @torch.inference_mode()
    def forecast(
        self, values: Tensor, observed: Tensor, group: int, targets: int, known: Tensor | None, ahead: int
    ) -> Tensor:
        """Quantiles of the next ``ahead`` patches of each target, in the scale of the input.

        Args:
            values: shape (R, T, P), float32, 0 where not observed. With ``known``: all patches of ``sizes.context``
                and ahead of it.
            observed: shape (R, T, P), bool.
            group: series of a group, V; the groups follow one another.
            targets: how many of these are targets, the first ones.
            known: numbers of the series that are known ahead, which may be none; None: ``values`` end with the context.

        Returns:
            shape (targets of all groups, Q, ahead * P), float32; quantiles may cross.
        """
        sizes = self.sizes
        rows, patches, _ = values.shape
        x = self._embed(torch.cat((values, observed.float()), -1).transpose(0, 1).flatten(0, 1))
        x = x.view(patches, rows, -1)
        first = sizes.context // sizes.patch - 1
        wanted, lead = slice(first, first + ahead), 0
        if known is None:
            x = torch.cat((x, self._missing.expand(ahead - 1, rows, -1)))
            wanted, lead = slice(patches - 1, None), first + 1 - patches
        is_target = torch.arange(group, device=x.device) < targets
        mask = None if group == 1 else is_target[:, None] | ~is_target
        x = self._run(x, mask, known, wanted, lead)
        x = torch.unflatten(x, 1, (-1, group))[:, :, :targets].flatten(1, 2)
        made = self._head(self._norm(x).flatten(0, 1)).view(ahead, -1, len(sizes.quantiles), sizes.patch)
        return made.permute(1, 2, 0, 3).flatten(2)

    def _run(self, x: Tensor, mask: Tensor | None, known: Tensor | None, wanted: slice, lead: int) -> Tensor:
        """The wanted patches behind all blocks; ``lead``: missing patches in front of the first one."""
        for time, variates, kept in zip(self._time, self._variates, self._kept[mask is not None], strict=True):
            x = time(x, time.before(kept, lead), known, wanted if time is self._time[-1] else ALL)
            x = x if mask is None else variates(x, mask)
        return x
