"""The official code of each family behind one call: series of shape (b, CONTEXT) in, (b, HORIZON) out."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from bench.common import CONTEXT, HORIZON, THREADS

Call = Callable[[np.ndarray], np.ndarray]


def load(family: str, folder: Path | None) -> Call:
    """The package's own way to an answer, under no_grad and with as many threads as ours."""
    torch.set_num_threads(THREADS)
    call = LOADERS[family](folder)

    def without_gradients(batch: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            return call(batch)

    return without_gradients


def with_gap(batch: np.ndarray) -> np.ndarray:
    """The last HORIZON points missing: imputing them is as much work as forecasting them."""
    gapped = batch.copy()
    gapped[:, -HORIZON:] = np.nan
    return gapped


def _timemoe(folder: Path) -> Call:
    from sktime.libs.timemoe.timemoe import TimeMoeForPrediction
    from transformers import DynamicCache

    class Cache(DynamicCache):
        """What the modelling code asks of a cache, which later transformers took away."""

        def get_usable_length(self, new_seq_length: int, layer_idx: int = 0) -> int:
            return self.get_seq_length(layer_idx)

    # float32 is what the documented from_pretrained gives.
    model = TimeMoeForPrediction.from_pretrained(folder, torch_dtype=torch.float32).eval()

    def call(batch: np.ndarray) -> np.ndarray:
        series = torch.from_numpy(batch)
        mean, deviation = series.mean(-1, keepdim=True), series.std(-1, keepdim=True)
        new, made, cache = ((series - mean) / deviation)[..., None], 0, Cache()
        steps = []
        while made < HORIZON:
            answer = model(new, past_key_values=cache, use_cache=True, max_horizon_length=HORIZON - made)
            cache = answer.past_key_values
            new = answer.logits[:, -1].reshape(len(batch), -1, 1)
            steps.append(new[..., 0])
            made += new.shape[1]
        return (torch.cat(steps, 1)[:, :HORIZON] * deviation + mean).numpy()

    return call


def _moirai(folder: Path) -> Call:
    import jaxtyping

    class PyTree:
        """Stands in for the real one, which needs jax, in annotations."""

        def __class_getitem__(cls, item: object) -> type:
            return cls

    jaxtyping.PyTree = PyTree
    from uni2ts.model.moirai_moe import MoiraiMoEForecast, MoiraiMoEModule

    model = MoiraiMoEForecast(
        module=MoiraiMoEModule.from_pretrained(folder),
        prediction_length=HORIZON,
        context_length=CONTEXT,
        target_dim=1,
        feat_dynamic_real_dim=0,
        past_feat_dynamic_real_dim=0,
        patch_size=16,
        num_samples=100,
    ).eval()

    def call(batch: np.ndarray) -> np.ndarray:
        target = torch.from_numpy(batch)[..., None]
        seen = torch.ones_like(target, dtype=torch.bool)
        padding = torch.zeros(target.shape[:2], dtype=torch.bool)
        samples = model(past_target=target, past_observed_target=seen, past_is_pad=padding)
        return samples.median(1).values.numpy()

    return call


def _timesfm(folder: Path) -> Call:
    import timesfm

    parameters = timesfm.TimesFmHparams(
        backend="cpu",
        per_core_batch_size=1,
        horizon_len=HORIZON,
        context_len=CONTEXT,
        num_layers=50,
        num_heads=16,
        model_dims=1280,
        use_positional_embedding=False,
    )
    weights = timesfm.TimesFmCheckpoint(version="torch", path=str(folder / "torch_model.ckpt"))
    model = timesfm.TimesFm(hparams=parameters, checkpoint=weights)
    return lambda batch: model.forecast(list(batch), freq=[0] * len(batch))[0][:, :HORIZON]


def _moment(folder: Path) -> Call:
    from momentfm import MOMENTPipeline

    model = MOMENTPipeline.from_pretrained(str(folder), model_kwargs={"task_name": "reconstruction"})
    model.init()
    model.eval()

    def call(batch: np.ndarray) -> np.ndarray:
        gapped = torch.from_numpy(with_gap(batch))
        known = (~gapped.isnan()).float()
        answer = model(x_enc=gapped.nan_to_num()[:, None], mask=known, input_mask=torch.ones_like(known))
        return answer.reconstruction[:, 0, -HORIZON:].numpy()

    return call


def _chronos(folder: Path) -> Call:
    from chronos import BaseChronosPipeline

    pipeline = BaseChronosPipeline.from_pretrained(str(folder), torch_dtype=torch.float32)
    # Quantiles that cross are put in order, as ours are: the fifth of nine is then the median.
    return lambda batch: np.sort(pipeline.predict(torch.from_numpy(batch), prediction_length=HORIZON), axis=1)[:, 4]


def _fracast(folder: Path | None) -> Call:
    from fracast import FracastModel

    model = FracastModel.from_pretrained(folder, weights="fp32")
    return lambda batch: np.sort(model.forecast_batch(batch, horizon=HORIZON), axis=-1)[..., 4]


LOADERS: dict[str, Callable[[Path], Call]] = {
    "timemoe": _timemoe,
    "moirai": _moirai,
    "timesfm": _timesfm,
    "moment": _moment,
    "chronos": _chronos,
    "fracast": _fracast,
}
