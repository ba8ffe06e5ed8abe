"""Cost of a joint forecast of eight variates: its CPU time over that of eight single series in one batch, in turns.

CPU time of one thread, since the difference is smaller than what other work on the machine, and threads that wait for
one another, add to the time that passes.
"""

from __future__ import annotations

import time
from statistics import median

from bench import common
from bench.models import turns

VARIATES = 8
LEVELS = (0.1, 0.9)
# key: family and size of its checkpoint
CASES = {"": ("chronos", "chronos-2"), "_moirai": ("moirai", "moe-small"), "_toto": ("toto", "4m")}


def run(budget_s: float = 20) -> dict[str, float]:
    """Ratios, and the milliseconds of CPU time of both."""
    found: dict[str, float] = {}
    for key, (family, size) in CASES.items():
        joint, each = _seconds(family, size, budget_s)
        found[f"joint_cost_8{key}"] = common.ratio(joint, each)
        found[f"joint_8_ms{key}"] = median(joint) * 1000
        found[f"joint_8_each_ms{key}"] = median(each) * 1000
    return found


def _seconds(family: str, size: str, budget_s: float) -> tuple[list[float], list[float]]:
    import torch

    from tsfm import families
    from tsfm.series import Group, Runtime, Series

    torch.set_num_threads(1)
    model = families.load(family, common.checkpoint(family, size), Runtime())
    waves = common.waves([common.CONTEXT] * VARIATES)
    batch = [Series(((wave - wave.mean()) / wave.std()).astype("float32")) for wave in waves]
    return turns(
        lambda: model.forecast_joint([Group(tuple(batch))], common.HORIZON, LEVELS),
        lambda: model.forecast(batch, common.HORIZON, LEVELS),
        budget_s,
        time.process_time,
    )
