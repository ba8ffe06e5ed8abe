"""The benchmark's parts run, on inputs too small to measure anything, and give the keys that are promised."""

import os
import re

import numpy as np
import pytest
import torch
from bench import (
    anomaly,
    api,
    batch,
    common,
    covariates,
    fleet,
    goals,
    int8,
    intervals,
    joint,
    length,
    listing,
    models,
    ranking,
    ray,
    real,
    scale,
    scaling,
    server,
    skill,
    start,
)
from fleet.environment import needs_ray
from fleet.lab import needs_haproxy

pytestmark = pytest.mark.slow


def with_goals(found):
    return {key for key in found if goals.of(key)}


@pytest.mark.long
def test_the_server_part_measures_every_key_of_its_table():
    found = server.run(rounds=1, seconds=1, size="tiny")
    assert with_goals(found) == {goal.key for goal in goals.GOALS[:6]}
    assert all(value != 0 for value in found.values())


@pytest.mark.long
def test_the_models_part_compares_with_the_official_code():
    found = models.run(["chronos_base"], "tiny", 0.1)
    assert with_goals(found) == {
        "chronos_base_speedup_b1",
        "chronos_base_quality_drift",
        "chronos_base_quality_drift_float32",
    }
    assert found["chronos_base_quality_drift_float32"] <= 1e-4


@pytest.mark.long
@pytest.mark.skipif(not torch.cpu.get_capabilities().get("avx512_vnni"), reason="this CPU has no AVX512-VNNI")
def test_the_int8_part_compares_three_formats():
    found = int8.run(["chronos_base"], "tiny", 0.1)
    speeds = {f"chronos_base_int8_{name}_b{count}" for name in ("speedup", "over_float32") for count in (1, 8)}
    assert with_goals(found) == speeds | {"chronos_base_int8_drift", "chronos_base_int8_coverage_change"}
    assert 0 < found["chronos_base_int8_drift"] <= 0.03


@pytest.mark.long
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


@pytest.mark.long
def test_the_api_part_measures_speed_and_fairness():
    found = api.run(rounds=1, seconds=1, size="tiny", series=70)
    assert with_goals(found) == {
        "api_many_efficiency",
        "api_fairness_p99",
        "api_arrow_speedup",
        "get_ms_p99_largest_body",
    }
    assert all(value > 0 for value in found.values())


@pytest.mark.long
def test_the_joint_part_measures_each_family_that_can(monkeypatch):
    sizes = {"": ("chronos", "tiny2"), "_moirai": ("moirai", "tiny"), "_toto": ("toto", "tiny")}
    monkeypatch.setattr(joint, "CASES", sizes)
    found = joint.run(budget_s=0.1)
    assert with_goals(found) == {"joint_cost_8", "joint_cost_8_moirai", "joint_cost_8_toto"}
    assert all(value > 0 for value in found.values())


@pytest.mark.long
@needs_haproxy
def test_the_fleet_part_measures_what_the_balancer_costs():
    found = fleet.balancer(rounds=1, seconds=1, size="tiny")
    assert with_goals(found) == {
        "balancer_overhead_ms",
        "balancer_efficiency_c32",
        "balancer_memory_mib",
        "get_405_over_100ms",
    }
    assert found["balancer_efficiency_c32"] > 0
    assert found["balancer_memory_mib"] > 1


@pytest.mark.long
def test_the_listing_part_asks_services_that_are_fed():
    found = listing.run([("naive", ""), ("chronos", "tiny"), ("moment", "tiny")], points=20_000, seconds=1, turns=1)
    assert with_goals(found) == {"list_over_100ms"}
    assert 0 <= found["list_over_100ms"] <= 1
    assert found["list_get_ms_p99"] >= found["list_get_ms_p50"] > 0


@pytest.mark.long
def test_the_batch_part_compares_a_job_with_the_bare_model(tmp_path, monkeypatch):
    monkeypatch.setattr(common, "BUILD", tmp_path)
    found = batch.run(rounds=1, series=4096, size="tiny")
    assert with_goals(found) == {"batch_job_efficiency"}
    # The rate is taken from the difference of two jobs, which means nothing where both are as short as here.
    assert all(found[key] > 0 for key in ("batch_series_per_s_bare", "batch_series_per_s_with_start", "batch_start_s"))


@pytest.mark.long
@needs_ray
def test_the_fleet_part_measures_what_ray_costs():
    found = ray.run(rounds=1, seconds=5, size="tiny")
    keys = {"fleet_overhead_ms", "fleet_memory_mib"}
    assert with_goals(found) == keys | {f"fleet_efficiency_c32_{name}" for name in ray.FAMILIES.values()}
    assert all(found[key] > 0 for key in found if key != "fleet_overhead_ms")


@pytest.mark.long
@needs_haproxy
def test_the_scaling_part_counts_what_a_host_behind_the_balancer_does():
    rate = scaling.balancer(hosts=1, seconds=2)
    batches_s = 1 / scaling.DELAY_S
    assert batches_s < rate <= 8 * batches_s * 2  # more than one by one, and not more than in batches of eight


@pytest.mark.long
def test_the_anomaly_part_compares_on_labelled_and_injected_series(monkeypatch):
    monkeypatch.setattr(anomaly, "SPEED", {"fracast": ""})
    found = anomaly.run(cases=1, points=400)
    for method in anomaly.METHODS:
        for measure in ("auc", "vus"):
            names = {f"anomaly_{measure}_pr_over_{method}", f"anomaly_{measure}_pr_better_than_{method}"}
            assert names <= with_goals(found)
            assert 0 < found[f"anomaly_{measure}_pr_{method}"] <= 1
    assert {f"anomaly_false_alarms_{level}" for level in anomaly.LEVELS} <= with_goals(found)
    assert found["anomaly_cpu_s_10k_fracast"] > 0
    assert found["anomaly_s_newest_fracast"] > 0
    assert found["anomaly_s_10k_fracast"] > 0


def test_the_area_under_precision_and_recall_is_scikit_learns():
    from sklearn.metrics import average_precision_score

    source = np.random.default_rng(4)
    labels = source.random(300) < 0.1
    scores = (source.random(300) + labels).round(1)  # with equal ones
    assert np.isclose(ranking.auc_pr(labels, scores), average_precision_score(labels, scores))
    assert np.isclose(ranking.vus_pr(labels, scores, 0), ranking.auc_pr(labels, scores), rtol=0.2)


def test_the_volume_forgives_a_score_beside_a_range():
    labels = np.zeros(200, bool)
    labels[100:110] = True
    beside, far = np.zeros(200), np.zeros(200)
    beside[111:116], far[150:155] = 1, 1
    assert ranking.auc_pr(labels, beside) == ranking.auc_pr(labels, far)
    assert ranking.vus_pr(labels, beside, 20) > 2 * ranking.vus_pr(labels, far, 20)
    assert ranking.vus_pr(labels, labels.astype(float), 0) == 1


def test_a_checkpoint_is_made_again_when_its_maker_has_changed(tmp_path, monkeypatch):
    monkeypatch.setattr(common, "BUILD", tmp_path)
    file = common.checkpoint("tdtsfm", "tiny") / "taos.pth"
    file.write_bytes(b"of an older maker")
    assert common.checkpoint("tdtsfm", "tiny") == file.parent
    assert file.read_bytes() == b"of an older maker"  # as long as the maker is not newer
    os.utime(file.parent, (0, 0))
    common.checkpoint("tdtsfm", "tiny")
    assert file.stat().st_size > 1000


@pytest.mark.long
def test_the_scale_part_measures_series_clients_and_services():
    found = scale.run(series=(10, 40), clients=(1, 2), services=(1, 2), seconds=0.5, size="tiny", largest=30)
    assert with_goals(found) == {f"scale_growth_{part}" for part in ("series", "clients", "services")}
    assert all(value > 0 for value in found.values())
    assert {"scale_series_40_cpu_ms", "scale_clients_2_ms_p99", "scale_services_2_mib_each"} < set(found)


@pytest.mark.long
def test_the_length_part_measures_each_family_beside_its_makers_package(tmp_path, monkeypatch):
    monkeypatch.setattr(common, "BUILD", tmp_path)
    found = length.run(["chronos_bolt", "moment", "tdtsfm"], "tiny", (512, 1024), (48, 96))
    assert with_goals(found) == {"length_jump_chronos_bolt", "length_jump_moment", "length_jump_tdtsfm"}
    assert all(value > 0 for value in found.values())
    assert found["length_official_chronos_bolt_points_1024_ms"] > 0
    assert found["length_official_moment_points_1024_ms"] > 0
    assert "length_official_tdtsfm_points_512_ms" not in found  # it has none
    rows = (tmp_path / "length.md").read_text().splitlines()
    assert [row.split("|")[1].strip() for row in rows[2:]] == ["chronos_bolt", "moment", "tdtsfm"]
    assert "<svg" in (tmp_path / "length.svg").read_text()


def test_a_jump_is_growth_beyond_proportion_and_beyond_the_makers_package():
    costs = {"512": 1.0, "1024": 2.0, "4096": 24.0}
    assert length.jump(costs, {}) == 3
    assert length.jump(costs, {"512": 3.0, "1024": 3.0, "4096": 24.0}) == 1.5
    assert length.jump({"512": 1.0, "1024": 1.0, "2048": 1.5}, {}) == 0.75


@pytest.mark.long
def test_intervals_and_skill_are_measured_on_real_series_and_made_ones():
    covered = intervals.run(origins=2, keys=[], repeats=4)
    promised = [goal.key for goal in goals.GOALS if goal.key.startswith("coverage_") and "timemoe" not in goal.key]
    assert all(any(re.fullmatch(key, name) for name in covered) for key in promised)
    assert {f"coverage_fracast_{level}" for level in (0.5, 0.8, 0.95)} < set(covered)
    assert all(0 <= share <= 1 for share in covered.values())
    assert skill.run(origins=2)["mase_ratio_fracast"] > 0


@pytest.mark.long
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
        ("overhead_ms_c1", 0.5, True),
        ("overhead_ms_c1", 0.51, False),
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
