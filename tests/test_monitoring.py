"""The files for Prometheus and Grafana: they name nothing that a service does not show."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from conftest import HERE, Live

from tsfm import card
from tsfm.cli import metrics

FOLDER = HERE.parent / "packaging/monitoring"
RULES = FOLDER / "prometheus/rules.yml"
BOARD = FOLDER / "grafana/taos-tsfm.json"
METRIC = re.compile(r"(?<![\w:])tsfm_\w+")
LABEL = re.compile(r'(\w+)=~?"')


def rules() -> list[dict]:
    return [rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]


def panels() -> list[dict]:
    return json.loads(BOARD.read_text())["panels"]


def expressions() -> list[str]:
    variables = [
        one["definition"] for one in json.loads(BOARD.read_text())["templating"]["list"] if "definition" in one
    ]
    shown = [target["expr"] for panel in panels() for target in panel["targets"]]
    return [*variables, *shown, *(rule["expr"] for rule in rules())]


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> Iterator[metrics.Samples]:
    """What a service shows after a request that it answered and one that it refused."""
    live = Live("naive", log=tmp_path_factory.mktemp("naive") / "log")
    try:
        live.until_ready()
        assert live.post("/ds_predict", {"input": [1.0] * 20, "next_len": 2}).status == 200
        assert live.post("/ds_predict", {"input": []}).status == 400
        yield metrics.read(live.get("/metrics").body.decode())
    finally:
        live.stop()


@pytest.mark.slow
def test_a_service_shows_every_metric_and_label_that_is_named(samples: metrics.Samples) -> None:
    names = {name for name, _, _ in samples}
    labels = {label for _, found, _ in samples for label in found} | {"job", "instance"}
    for expression in expressions():
        asked = set(METRIC.findall(expression)) - set(re.findall(r"family:tsfm_\w+", expression))
        assert asked <= names, expression
        assert set(LABEL.findall(expression)) <= labels, expression
        grouped = re.findall(r"\b(?:by|on|group_left) \(([^)]*)\)", expression)
        assert {label.strip() for group in grouped for label in group.split(",")} <= labels, expression
    assert metrics.total(samples, "tsfm_requests_total") == 2
    assert metrics.quantile(samples, "tsfm_request_seconds", 0.99) is not None


def test_a_panel_has_its_place_and_says_what_it_shows() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in panels():
        place = panel["gridPos"]
        cells = {(place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])}
        assert not cells & taken, panel["title"]
        assert max(x for x, _ in cells) < 24, panel["title"]
        assert panel["description"]
        taken |= cells
    assert len({panel["id"] for panel in panels()}) == len(panels())


def test_every_alert_says_what_to_do() -> None:
    alerts = [rule for rule in rules() if "alert" in rule]
    assert {"TsfmServiceDown", "TsfmModelNotReady", "TsfmQueueFull", "TsfmSlow", "TsfmModelFails", "TsfmRestarts"} <= {
        rule["alert"] for rule in alerts
    }
    for rule in alerts:
        assert rule["labels"]["severity"] in ("warning", "critical")
        assert rule["annotations"]["summary"]
        assert rule["annotations"]["description"]


def test_the_services_are_looked_for_where_they_listen() -> None:
    (job,) = yaml.safe_load((FOLDER / "prometheus/scrape.yml").read_text())["scrape_configs"]
    assert job["job_name"] == "tsfm"
    targets = [target for config in job["static_configs"] for target in config["targets"]]
    assert targets == [f"127.0.0.1:{card.read(name).port}" for name in card.names(packaged_only=True)]


def test_grafana_looks_for_the_board_where_the_package_puts_it() -> None:
    (provider,) = yaml.safe_load((FOLDER / "grafana/provisioning.yaml").read_text())["providers"]
    assert provider["options"]["path"] == "/usr/share/taos-tsfm/grafana"


SERIES = """
rule_files: [{rules}]
evaluation_interval: 1m
tests:
  - interval: 1m
    input_series:
      - series: 'up{{job="tsfm", instance="a"}}'
        values: '1x10 0x20'
      - series: 'up{{job="tsfm", instance="never"}}'
        values: '0x30'
      - series: 'tsfm_info{{job="tsfm", instance="a", family="chronos"}}'
        values: '1x30'
      - series: 'tsfm_requests_total{{job="tsfm", instance="a", status="429"}}'
        values: '0+60x30'
      - series: 'tsfm_process_start_time_seconds{{job="tsfm", instance="a"}}'
        values: '1 2 3 3x27'
    alert_rule_test:
      - eval_time: 5m
        alertname: TsfmRestarts
        exp_alerts: [{{exp_labels: {{severity: warning, job: tsfm, instance: a}}}}]
      - {{eval_time: 5m, alertname: TsfmServiceDown}}
      - eval_time: 15m
        alertname: TsfmServiceDown
        exp_alerts: [{{exp_labels: {{severity: critical, job: tsfm, instance: a}}}}]
      - eval_time: 20m
        alertname: TsfmQueueFull
        exp_alerts: [{{exp_labels: {{severity: warning, job: tsfm, instance: a, status: "429"}}}}]
    promql_expr_test:
      - expr: family:tsfm_requests:rate5m
        eval_time: 20m
        exp_samples: [{{labels: 'family:tsfm_requests:rate5m{{family="chronos", status="429"}}', value: 1}}]
"""


@pytest.mark.skipif(not shutil.which("promtool"), reason="promtool is not installed: it is in Debian's prometheus")
def test_alerts_fire_for_what_they_name_and_for_nothing_else(tmp_path: Path) -> None:
    cases = tmp_path / "cases.yml"
    cases.write_text(SERIES.format(rules=tmp_path / "rules.yml"))
    text = yaml.safe_load(RULES.read_text())
    for group in text["groups"]:
        for rule in group["rules"]:
            rule.pop("annotations", None)  # the cases compare labels alone
    (tmp_path / "rules.yml").write_text(yaml.safe_dump(text))
    for words in (["check", "rules", RULES], ["test", "rules", cases]):
        ran = subprocess.run(["promtool", *map(str, words)], capture_output=True, text=True)
        assert ran.returncode == 0, ran.stdout + ran.stderr
