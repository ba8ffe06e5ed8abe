"""The network of Toto 2.0: causal attention over patches of time, and attention over the variates of a group.

Written from toto-2 2.0.0 (``toto2.model``). The last token that the package computes has no reader and is left out, and
in the last layer only the tokens that forecast are.

Shapes: B series, T tokens, D channels, P points of a patch, Q quantiles.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from tsfm.nets.toto_layers import Layer, Places, Sizes, Take, Weights

QUANTILES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)


class Toto:
    """The network: takes patches of many series, returns quantiles of the patches that follow."""

    def __init__(self, sizes: Sizes, take: Take, dtype: torch.dtype) -> None:
        self.sizes = sizes
        weights = Weights(take, dtype)
        self._embed = weights.block("patch_proj", 2 * sizes.patch, 4 * sizes.width, sizes.width, False)
        self._layers = [Layer(weights, i, sizes) for i in range(sizes.layers)]
        outputs = len(QUANTILES) * sizes.patch
        name = "output_head.param_projection.proj"
        self._head = weights.block(name, sizes.width, 4 * sizes.width, outputs, True)

    @torch.inference_mode()
    def forecast(self, values: Tensor, observed: Tensor, ahead: int, group: int) -> Tensor:
        """Quantiles of the next ``ahead`` patches, in the scale of the input before ``asinh``.

        Args:
            values: shape (B, T, P), float32, normalised, 0 where not observed.
            observed: shape (B, T, P), bool; the last patch of each series holds an observed point.
            group: number of series that see one another. They are adjacent; B is a multiple of it.

        Returns:
            shape (B, Q, ahead * P), float32; quantiles may cross.
        """
        inputs = torch.cat((values.asinh(), observed.logical_not().float()), -1)
        # Every patch ahead looks alike: nothing of it is observed.
        unknown = torch.zeros_like(inputs[:1, :1])
        unknown[..., self.sizes.patch :] = 1
        x = torch.cat((self._embed(inputs), self._embed(unknown).expand(len(inputs), ahead - 1, -1)), 1)
        places = Places.of(F.pad(observed.any(-1), (0, ahead - 1), value=True), group, self.sizes)
        for layer in self._layers:
            x = layer(x, places, ahead if layer is self._layers[-1] else x.shape[1])
        made = self._head(F.rms_norm(x, x.shape[-1:], None, self.sizes.epsilon))
        return torch.unflatten(made, -1, (self.sizes.patch, -1)).sinh_().permute(0, 3, 1, 2).flatten(2)
