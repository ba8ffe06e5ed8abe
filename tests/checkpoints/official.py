"""How the makers' packages read a configuration: their keys, the tensors that they build, and their answers.

One class for each official configuration. ``config`` is a small one, ``state`` returns the tensors of the official
class for any configuration, ``theirs`` and ``ours`` are the answers of both for one folder, and ``keys`` are the keys
that the official class knows in each section of config.json ("": the top level).
"""

from __future__ import annotations

import contextlib
import inspect
import io
import re
import warnings
from collections.abc import Iterator
from dataclasses import fields
from importlib.util import find_spec
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from checkpoints import chronos, flowstate, moirai, moment, timemoe, timesfm

from tsfm import families
from tsfm.nets.moirai import MoiraiMoE as MoiraiNet
from tsfm.nets.moirai_mixture import Mixture
from tsfm.nets.moirai_patches import patches
from tsfm.official import load as load_official
from tsfm.official.flowstate import published as published_flowstate
from tsfm.official.moirai import classes
from tsfm.series import Group, Runtime, Series

FLOAT32 = Runtime(dtype="float32", threads=1)
State = dict[str, torch.Tensor]
Json = dict[str, object]


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        yield


def wave(points: int = 150, gap: int = 0) -> np.ndarray:
    noise = np.random.default_rng(5).normal(size=points)
    values = np.sin(np.arange(points) / 5) + 0.3 * noise
    values[points // 3 : points // 3 + gap] = np.nan
    return ((values - np.nanmean(values)) / np.nanstd(values)).astype(np.float32)


def filled(state: State, head: int = 1) -> State:
    """Random values of unit gain: every layer affects the answer, so a test notices a wrong layer."""
    draw = torch.Generator().manual_seed(0)

    def random(name: str, like: torch.Tensor) -> torch.Tensor:
        noise = torch.randn(like.shape, generator=draw)
        if name.endswith(".pe") or "centroid" in name:
            return like if name.endswith(".pe") else noise.to(like.dtype)
        if "norm" in name and name.endswith("weight"):
            return 1 + 0.1 * noise
        if like.ndim == 1:
            return 0.1 * noise
        return noise * like.shape[-1] ** -0.5 * (head**-0.5 if ".q." in name else 1)

    return {name: random(name, tensor).contiguous() for name, tensor in sorted(state.items())}


class Quantiled:
    """A family whose package returns quantiles; they are sorted before the comparison."""

    family: ClassVar[str]
    points: ClassVar[int] = 150

    def series(self) -> Series:
        return Series(wave(self.points))

    def theirs(self, folder: Path) -> np.ndarray:
        package = load_official(self.family, folder, FLOAT32)
        return np.sort(package.quantiles([self.series()], 70)[0], axis=0)

    def ours(self, folder: Path) -> np.ndarray:
        loaded = families.load(self.family, folder, FLOAT32)
        newest = self.series().newest(loaded.max_context)
        (answer,) = loaded.forecast([newest], 70, self.levels(loaded))
        return answer.quantiles

    def levels(self, loaded: object) -> list[float]:
        return loaded._net.sizes.quantiles


def transformers_keys() -> set[str]:
    from transformers import PretrainedConfig

    return set(vars(PretrainedConfig())) | set(inspect.signature(PretrainedConfig.__init__).parameters) - IGNORED


IGNORED = {"self", "kwargs"}


def own_keys(cls: type) -> set[str]:
    """The keys that a class of transformers adds to ``PretrainedConfig``, including their other names."""
    known = set(vars(cls())) | set(inspect.signature(cls.__init__).parameters) | set(cls.attribute_map)
    return known - transformers_keys() - IGNORED


class Bolt(Quantiled):
    family = "chronos"
    config: ClassVar[Json] = chronos._layout("tiny")[0] | {"num_decoder_layers": 2}

    def keys(self) -> dict[str, set[str]]:
        from chronos.chronos_bolt import ChronosBoltConfig
        from transformers import T5Config

        return {"": own_keys(T5Config), "chronos_config": {field.name for field in fields(ChronosBoltConfig)}}

    def state(self, config: Json) -> State:
        from chronos.chronos_bolt import ChronosBoltModelForForecasting
        from transformers import T5Config

        tensors = ChronosBoltModelForForecasting(T5Config(**config)).state_dict()
        return filled({name: tensor for name, tensor in tensors.items() if "embed_tokens" not in name}, 8)


class Two(Bolt):
    config: ClassVar[Json] = chronos._layout("tiny2")[0]

    def keys(self) -> dict[str, set[str]]:
        from chronos.chronos2.config import Chronos2CoreConfig, Chronos2ForecastingConfig

        own = {field.name for field in fields(Chronos2ForecastingConfig)}
        return {"": own_keys(Chronos2CoreConfig), "chronos_config": own}

    def state(self, config: Json) -> State:
        from chronos.chronos2.config import Chronos2CoreConfig
        from chronos.chronos2.model import Chronos2Model

        return filled(Chronos2Model(Chronos2CoreConfig(**config)).state_dict(), 8)


class TimeMoe:
    family = "timemoe"
    config: ClassVar[Json] = timemoe._config("tiny")

    def keys(self) -> dict[str, set[str]]:
        from sktime.libs.timemoe.timemoe_config import TimeMoeConfig

        return {"": own_keys(TimeMoeConfig)}

    def state(self, config: Json) -> State:
        from sktime.libs.timemoe.timemoe import TimeMoeForPrediction
        from sktime.libs.timemoe.timemoe_config import TimeMoeConfig

        return filled(TimeMoeForPrediction(TimeMoeConfig(**config)).state_dict())

    def theirs(self, folder: Path) -> np.ndarray:
        return load_official(self.family, folder, FLOAT32).forecast([Series(wave())], 43, [])[0].median

    def ours(self, folder: Path) -> np.ndarray:
        return families.load(self.family, folder, FLOAT32).forecast([Series(wave())], 43, [])[0].median


class Moment:
    family = "moment"
    config: ClassVar[Json] = moment._config("tiny")

    def keys(self) -> dict[str, set[str]]:
        from momentfm.models import moment as source
        from transformers import T5Config

        text = inspect.getsource(source.MOMENT)
        named = set(re.findall(r'config\.getattr\(\s*"(\w+)"', text)) | set(re.findall(r"config\.(\w+)\b(?!\()", text))
        kwargs = {"model_kwargs", "model_name"}  # of the pipeline, and of published configurations
        return {"": named - {"from_namespace", "getattr"} | kwargs, "t5_config": own_keys(T5Config)}

    def state(self, config: Json) -> State:
        from momentfm import MOMENTPipeline

        pipeline = MOMENTPipeline(dict(config), model_kwargs={"task_name": "reconstruction"})
        pipeline.init()
        return filled(pipeline.state_dict(), 16)

    def theirs(self, folder: Path) -> np.ndarray:
        package = load_official(self.family, folder, FLOAT32)
        target = wave(package._window, 17)
        return package.reconstruct([target])[0][np.isnan(target)]

    def ours(self, folder: Path) -> np.ndarray:
        loaded = families.load(self.family, folder, FLOAT32)
        target = wave(loaded._window, 17)
        return loaded.impute([Series(target)])[0][np.isnan(target)]


class Moirai2(Quantiled):
    family = "moirai"
    points = 144
    config: ClassVar[Json] = {
        **{"d_model": 128, "d_ff": 64, "num_layers": 2, "max_seq_len": 512, "attn_dropout_p": 0.0, "dropout_p": 0.0},
        **{"scaling": True, "num_predict_token": 4, "patch_size": 16, "quantile_levels": moirai.LEVELS},
    }

    def module(self) -> type:
        return classes().second_module

    def keys(self) -> dict[str, set[str]]:
        return {"": set(inspect.signature(self.module().__init__).parameters) - IGNORED}

    def state(self, config: Json) -> State:
        return filled(self.module()(**config).state_dict())

    def levels(self, loaded: object) -> list[float]:
        return loaded.net.levels


class MoiraiMoE(Moirai2):
    """Compared by the distribution of the next patch, because both sides draw random samples."""

    config: ClassVar[Json] = {
        **{"d_model": 128, "d_ff": 32, "num_layers": 2, "max_seq_len": 512, "attn_dropout_p": 0.0, "dropout_p": 0.0},
        **{"scaling": True, "distr_output": moirai._distribution(), "patch_sizes": [16]},
    }

    def module(self) -> type:
        return classes().moe_module

    def keys(self) -> dict[str, set[str]]:
        own = super().keys()
        from uni2ts.distribution import NormalFixedScaleOutput

        narrow = set(inspect.signature(NormalFixedScaleOutput.__init__).parameters) - IGNORED
        return own | {"distr_output.components[1]": narrow | {"_target_"}, "distr_output": {"_target_", "components"}}

    def state(self, config: Json) -> State:
        module = self.module()
        from uni2ts.model.moirai_moe.module import decode_distr_output

        decoded = config | {"distr_output": decode_distr_output(config["distr_output"])}
        return filled(module(**decoded).state_dict())

    def theirs(self, folder: Path) -> np.ndarray:
        package = load_official(self.family, folder, FLOAT32)
        return torch.stack(package.mixture([Group((Series(wave(self.points)),))], 16)).numpy()

    @torch.no_grad()
    def ours(self, folder: Path) -> np.ndarray:
        net = families.load(self.family, folder, FLOAT32).net
        mixture, _, _ = net.given(patches([Series(wave(self.points))], 16, "cpu"), torch.empty(1, 1, 1, 0))
        return torch.stack([part[:, 0] for part in mixture_parts(net, mixture)]).numpy()


def mixture_parts(net: MoiraiNet, mixture: Mixture) -> list[torch.Tensor]:
    """In the order of the official adapter's ``mixture``."""
    narrow = [*mixture.narrow, torch.full_like(mixture.t[0], net.head.narrow)]
    return [*mixture.shares.unbind(-1), *mixture.t, *narrow, *mixture.counts, *mixture.log]


class FlowState(Quantiled):
    """Of series without a season, so that config.json says the scale."""

    family = "flowstate"
    config: ClassVar[Json] = flowstate.config("tiny")

    def series(self) -> Series:
        return Series(wave(self.points), season=1)

    def model(self, config: Json) -> torch.nn.Module:
        found = published_flowstate()
        return found(found.config_class(**config))

    def keys(self) -> dict[str, set[str]]:
        own = published_flowstate().config_class
        config = own()
        config.check_and_init_preprocessing()
        return {"": own_keys(own) | set(vars(config)) - transformers_keys() | {"use_freq"}}

    def state(self, config: Json) -> State:
        return filled(self.model(config).state_dict())


class Fracast(Quantiled):
    family = "fracast"

    @property
    def config(self) -> Json:
        import json

        return json.loads((self.folder() / "config.json").read_text())

    def folder(self) -> Path:
        return Path(find_spec("fracast").submodule_search_locations[0]) / "weights"

    def keys(self) -> dict[str, set[str]]:
        source = self.folder().parent / "_core"
        text = (source / "model.py").read_text() + (source / "periodic/encoder.py").read_text()
        read = {
            section: set(re.findall(rf'\b(?:{names})(?:\.get\(|\[)"(\w+)"', text))
            for section, names in (("model", "m|model_cfg"), ("pyramid", "p|pyramid_cfg"))
        }
        return {section: names | set(self.config[section]) for section, names in read.items()}

    def state(self, config: Json) -> State:
        from fracast._core.model import build_from_cfg

        core, head = build_from_cfg(config)
        both = {
            f"{name}.{key}": value
            for name, part in (("core", core), ("head", head))
            for key, value in part.state_dict().items()
        }
        return filled(both)


class TimesFm:
    """The package reads no configuration; transformers has one for the same weights."""

    family = "timesfm"
    config: ClassVar[Json] = {"model_type": "timesfm"}

    def keys(self) -> dict[str, set[str]]:
        from transformers import TimesFmConfig

        with quiet():
            from timesfm.pytorch_patched_decoder import TimesFMConfig
            from timesfm.timesfm_base import TimesFmHparams

        package = {field.name for cls in (TimesFmHparams, TimesFMConfig) for field in fields(cls)}
        return {"": own_keys(TimesFmConfig), "package": package}

    def state(self, config: Json) -> State:
        return filled({name: torch.empty(shape) for name, shape in timesfm.shapes(64, 2, 16)})


class TimesFm25:
    """The package reads no configuration. Its fields are stored with its numbers, as it is not installed here."""

    family = "timesfm"
    config: ClassVar[Json] = timesfm.config_25("tiny25")

    def keys(self) -> dict[str, set[str]]:
        stored = np.load(Path(__file__).parents[1] / "reference/timesfm.npz")["keys"]
        return {"": set(self.config), "package": set(stored.tolist())}

    def state(self, config: Json) -> State:
        return timesfm.state_25("tiny25")
