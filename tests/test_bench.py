"""The benchmark's parts run, on inputs too small to measure anything, and give the keys that are promised."""

import os
import re

import pytest
from bench import api, common, covariates, goals, intervals, models, real, server, skill, start

pytestmark = pytest.mark.slow


def with_goals(found):
    return {key for key in found if goals.of(key)}


def test_the_server_part_measures_every_key_of_its_table():
    found = server.run(rounds=1, seconds=1, size="tiny")
    assert with_goals(found) == {goal.key for goal in goals.GOALS[:6]}
    assert all(value != 0 for value in found.values())


def test_the_models_part_compares_with_the_official_code():
    found = models.run(["chronos_base"], "tiny", 0.1)
    assert with_goals(found) == {
        "chronos_base_speedup_b1",
        "chronos_base_quality_drift",
        "chronos_base_quality_drift_float32",
    }
    assert found["chronos_base_quality_drift_float32"] <= 1e-4


def test_the_start_part_measures_time_and_memory():
    found = start.run(["fracast"], turns=1, idle_s=0.2, many=60, busy_s=0.5)
    assert with_goals(found) == {
        "start_ratio_fracast",
        "import_s_ratio",
        "rss_ratio_fracast",
        "idle_cpu_percent",
        "rss_growth",
    }
    assert found["ready_s_fracast"] > 0


def test_the_api_part_measures_speed_and_fairness():
    found = api.run(rounds=1, seconds=1, size="tiny", series=70)
    assert with_goals(found) == {"api_many_efficiency", "api_fairness_p99", "api_arrow_speedup"}
    assert all(value > 0 for value in found.values())


def test_a_checkpoint_is_made_again_when_its_maker_has_changed(tmp_path, monkeypatch):
    monkeypatch.setattr(common, "BUILD", tmp_path)
    file = common.checkpoint("tdtsfm", "tiny") / "taos.pth"
    file.write_bytes(b"of an older maker")
    assert common.checkpoint("tdtsfm", "tiny") == file.parent
    assert file.read_bytes() == b"of an older maker"  # as long as the maker is not newer
    os.utime(file.parent, (0, 0))
    common.checkpoint("tdtsfm", "tiny")
    assert file.stat().st_size > 1000


def test_intervals_and_skill_are_measured_on_real_series_and_made_ones():
    covered = intervals.run(origins=2, keys=[], repeats=4)
    promised = [goal.key for goal in goals.GOALS if goal.key.startswith("coverage_") and "timemoe" not in goal.key]
    assert all(any(re.fullmatch(key, name) for name in covered) for key in promised)
    assert {f"coverage_fracast_{level}" for level in (0.5, 0.8, 0.95)} < set(covered)
    assert all(0 <= share <= 1 for share in covered.values())
    assert skill.run(origins=2)["mase_ratio_fracast"] > 0


def test_covariates_help_where_they_drive_a_series_and_do_no_harm_elsewhere():
    found = covariates.run(cases=12)
    assert found["covariate_gain"] < 0.7
    assert found["covariate_gain_real"] < 0.7
    assert found["covariate_noise"] < 1.05


def test_the_wide_set_is_wide_and_its_halves_share_nothing():
    series = {one.name: one for one in real.series()}
    chosen, reported = ({one.name for one in half} for half in (real.choosing(), real.reporting()))
    assert chosen | reported == set(series)
    assert not chosen & reported
    assert min(len(chosen), len(reported)) >= 40
    assert min(len(one.values) for one in series.values()) == 36
    assert max(len(one.values) for one in series.values()) == 17_000
    assert real.DATA.stat().st_size <= 300_000
    documented = (real.DATA.parent / "README.md").read_text()
    assert all(f"`{name}`" in documented for name in series)


@pytest.mark.parametrize(
    ("key", "value", "met"),
    [
        ("overhead_ms_c1", 1.0, True),
        ("overhead_ms_c1", 1.01, False),
        ("moirai_quality_drift", 0.03, False),
        ("timesfm_quality_drift_float32", 0.001, False),
        ("coverage_timemoe_0.8", 0.76, True),
        ("coverage_persistence_0.8", 0.76, False),
        ("coverage_persistence_0.8", 0.78, True),
        ("coverage_short_50_48", 0.89, False),
        ("coverage_gap_end_0.5", 0.57, True),
        ("coverage_variance_d4", 0.91, False),
    ],
)
def test_a_value_is_marked_by_its_goal(key, value, met):
    assert ("MISSED" in goals.table({key: value}).splitlines()[0]) is not met
