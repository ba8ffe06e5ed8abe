"""The goal of each key, and the tables of results."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Goal:
    """A key (a pattern if there is one for each family) with its lower or upper bound."""

    key: str
    meaning: str
    least: float | None = None
    most: float | None = None

    def met(self, value: float) -> bool:
        return (self.least is None or value >= self.least) and (self.most is None or value <= self.most)

    def __str__(self) -> str:
        if self.least is not None and self.most is not None:
            return f"{self.least:g} to {self.most:g}"
        return f"at least {self.least:g}" if self.least is not None else f"at most {self.most:g}"


def _coverage(names: str, level: float, within: float, of: str) -> Goal:
    """A goal for the keys ``coverage_<names>``: a share ``level`` of the points inside, plus or minus ``within``."""
    meaning = f"share of points inside the {level:.0%} interval, {of}"
    return Goal(f"coverage_{names}", meaning, round(level - within, 3), round(level + within, 3))


LEVELS = (0.5, 0.8, 0.95)
GOALS = [
    Goal("overhead_ms_c1", "HTTP round trip minus the bare forward, ms", most=0.5),
    Goal("batch_efficiency_c32", "series/s of 32 clients over a bare batch of 32", least=0.9),
    Goal("batch_efficiency_mixed", "the same, 64 to 2048 points, over sorted bare batches of 8", least=0.85),
    Goal("speedup_vs_plain_c32", "series/s of 32 clients over a plain Flask server", least=4),
    Goal("get_ms_p99_busy", "GET while 32 clients keep it busy, 99th percentile, ms", most=5),
    Goal("p99_over_p50_c32", "tail of the answers to 32 clients", most=2),
    Goal("list_over_100ms", "GETs at seven loaded services that took over 100 ms, share", most=0.01),
    Goal("timemoe_speedup_b1", "Time-MoE-50M against the official code, one series", least=3.0),
    Goal("timemoe_speedup_b8", "the same, eight series", least=5.0),
    Goal("moirai_speedup_b1", "Moirai-MoE-small against uni2ts, one series", least=10),
    Goal("moirai_speedup_b8", "the same, eight series", least=20),
    Goal("timesfm_speedup_b1", "TimesFM 2.0 against timesfm 1.3.0, one series", least=3.5),
    Goal("timesfm25_speedup_b1", "TimesFM 2.5 against timesfm 3.0.2, one series", least=1.5),
    Goal("timesfm25_speedup_b8", "the same, eight series", least=2),
    Goal("moment_speedup_b1", "MOMENT-small against momentfm, one window", least=2.0),
    Goal("chronos_base_speedup_b1", "Chronos-Bolt-base against chronos-forecasting, one series", least=3.0),
    Goal("chronos2_speedup_b1", "Chronos-2 against chronos-forecasting, one series", least=1.5),
    Goal("chronos2_speedup_b8", "the same, eight series", least=2.0),
    Goal("flowstate_speedup_b1", "FlowState r1.1 against granite-tsfm, one series", least=1.5),
    Goal("flowstate_speedup_b8", "the same, eight series", least=2),
    Goal(r"toto_\w+_speedup_b1", "Toto 2.0 against toto-2, one series", least=1.5),
    Goal(r"toto_\w+_speedup_b8", "the same, eight series", least=2),
    Goal("fracast_speedup_b32", "Fracast against its package, 32 series", least=4.0),
    Goal(r"\w+_quality_drift_float32", "largest difference to the reference, in deviations, float32", most=1e-4),
    Goal(r"\w+_quality_drift", "largest difference to the reference, in deviations, as served", most=0.02),
    Goal("(timemoe|chronos_base|chronos2|timesfm|moment)_int8_speedup_b[18]", "int8 over our bfloat16", least=1.3),
    Goal("timesfm25_int8_speedup_b[18]", "the same, TimesFM 2.5, of whose time half is something else", least=1.1),
    Goal("(timemoe|chronos_base|chronos2|timesfm|moment)_int8_over_float32_b[18]", "int8 over our float32", least=2.5),
    Goal("timesfm25_int8_over_float32_b[18]", "the same, TimesFM 2.5, of whose time half is something else", least=1.6),
    Goal(r"\w+_int8_drift", "mean difference to our float32, in deviations", most=0.03),
    Goal(r"\w+_int8_coverage_change", "share of points inside the 80% interval, beside bfloat16's", most=0.01),
    Goal(r"start_ratio_\w+", "READY over bare import and load", most=1.2),
    Goal("import_s_ratio", "imports of serving over `import torch`", most=1.3),
    Goal(r"rss_ratio_\w+", "memory while serving over weights and bare torch", most=1.3),
    Goal("rest_ratio_timemoe_int8", "memory after serving in int8 over weights in bfloat16 and bare torch", most=1.0),
    Goal("covariate_gain", "error with covariates over error without, where they drive the series", most=0.7),
    Goal(
        "covariate_gain_real",
        "the same, consumption, product, employment and temperature by their parts or causes: real series",
        most=0.7,
    ),
    Goal("covariate_noise", "the same, where the covariates are noise", most=1.02),
    Goal("interpreter_ratio", "time of the packages' interpreter over that of Debian's own", most=1.03),
    Goal("idle_cpu_percent", "CPU while nothing is asked, percent", most=0.5),
    Goal("rss_growth", "memory after 10,000 requests over that after 1,000, minus 1", most=0.05),
    *(_coverage(f"persistence_{level}", level, 0.03, "conformal, real series") for level in LEVELS),
    *(_coverage(f"(timemoe|tdtsfm)_{level}", level, 0.05, "random weights, made series") for level in LEVELS),
    _coverage(r"short_\d+_\d+", 0.95, 0.05, "by points of history and lead"),
    *(_coverage(rf"gap_(middle|end)_{level}", level, 0.08, "points missing") for level in (0.5, 0.8)),
    _coverage("variance_(x4|d4)", 0.8, 0.10, "variance changed in the last fifth"),
    Goal("api_many_efficiency", "one request of 1,000 series over bare batches of 32", least=0.95),
    Goal("api_arrow_speedup", "a million points and numbers as an Arrow stream over JSON", least=10.0),
    Goal("get_ms_p99_largest_body", "GET while a client sends the largest bodies, 99th percentile, ms", most=5),
    Goal("api_fairness_p99", "single requests beside it, p99 over 3 times alone plus a batch", most=1.0),
    Goal("joint_cost_8", "a joint forecast of 8 variates over 8 single ones in a batch, Chronos-2", most=1.0),
    Goal("joint_cost_8_moirai", "the same with Moirai-MoE-small", most=1.0),
    Goal("joint_cost_8_toto", "the same with Toto-2.0-4m", most=1.0),
    Goal(r"anomaly_\w+_pr_over_\w+", "Fracast's area over that of a method without a model", least=1.0),
    Goal(r"anomaly_\w+_pr_better_than_\w+", "share of series where Fracast's area is larger", least=0.6),
    Goal(r"anomaly_false_alarms_[\d.]+", "share of clean points above a level, over what it promises", 0.5, 2.0),
    Goal("anomaly_s_10k_fracast", "10,000 points judged, s", most=10),
    Goal("anomaly_s_10k_chronos", "the same with Chronos-Bolt-tiny, s", most=3),
    Goal("balancer_overhead_ms", "one request through the balancer minus one to the service itself, ms", most=0.4),
    Goal("balancer_efficiency_c32", "series/s of 32 clients through the balancer over those without it", least=0.9),
    Goal("balancer_memory_mib", "memory of the balancer's processes, MiB", most=64),
    Goal("get_405_over_100ms", "GET through the busy balancer that took over 100 ms", most=0),
    Goal("batch_job_efficiency", "series/s of `tsfm batch` over the bare model's in one process", least=0.95),
    Goal("fleet_overhead_ms", "one request by the entry of a fleet's node minus one to a single host, ms", most=0.3),
    Goal("fleet_efficiency_c32_fracast", "series/s of 32 clients there over those of a single host", least=0.95),
    Goal("fleet_efficiency_c32_bolt_tiny", "the same with Chronos-Bolt-tiny", least=0.9),
    Goal("fleet_memory_mib", "memory of a head that is a node too, without its replicas, MiB", most=1350),
    Goal("(balancer|fleet)_scaling_3", "series/s of three hosts over those of one", least=2.7),
    Goal(r"scale_growth_\w+", "CPU time of a series over that with fewer series, clients or services", most=1.3),
    Goal(r"length_jump_\w+", "growth of CPU time with length and horizon, over proportion or the maker's", most=1.5),
    Goal("mase_ratio_fracast", "error of Fracast over seasonal naive's (MASE)", most=1.0),
]


def of(key: str) -> Goal | None:
    """The goal of a key; None for medians and counts, which have no goal."""
    return next((goal for goal in GOALS if re.fullmatch(goal.key, key)), None)


def lacking(known: Mapping[str, float]) -> list[str]:
    """Goals without a measured key."""
    return [goal.key for goal in GOALS if not any(re.fullmatch(goal.key, key) for key in known)]


def table(known: Mapping[str, float]) -> str:
    """A table of all keys: first those with a goal, in the goals' order, marked met or MISSED."""
    rows = []
    for goal in GOALS:
        for key, value in known.items():
            if of(key) is goal:
                rows.append((key, f"{value:g}", str(goal), "met" if goal.met(value) else "MISSED", goal.meaning))
    rows += [(key, f"{value:g}", "", "", "") for key, value in known.items() if of(key) is None]
    rows += [(key, "-", str(of(key) or ""), "not run", "") for key in lacking(known)]
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    return "\n".join(
        "  ".join([*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[4]]).rstrip()
        for row in rows
    )
