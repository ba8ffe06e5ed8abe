"""The deb packages on a host without a network, from installation by name to purge, in this order."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator

import pytest
from host.conftest import FAMILIES, VERSIONS, Host, request
from host.container import until

from tsfm import card

INI = "/etc/taos/tsfm.ini"
PORT = card.read("fracast").port
# What the system itself keeps on everything that was ever installed or ran.
KEPT_BY_THE_SYSTEM = re.compile(
    r"/var/lib/(dpkg|apt|systemd|dbus)|/etc/(passwd|group|shadow|gshadow|subuid|subgid)-?$|/etc/ld.so.cache|"
    r"/etc/(machine-id|resolv.conf|localtime|\.updated|\.pwd.lock|apt/)"
)


def use(host: Host, *names: str) -> None:
    lines = [f"deb [trusted=yes] file:/srv/{name} ./" for name in names]
    host.write("/etc/apt/sources.list.d/tsfm.list", "\n".join(lines) + "\n")
    host.out("apt-get -q update")


def apt(host: Host, words: str) -> str:
    return host.out(f"apt-get -q -y -o Dpkg::Use-Pty=0 {words}")


def files(host: Host) -> set[str]:
    found = host.out("find /etc /usr /var/lib -xdev").splitlines()
    return {path for path in found if not KEPT_BY_THE_SYSTEM.search(path)}


@pytest.fixture(scope="module")
def before(host: Host) -> set[str]:
    """The host's files before anything of ours."""
    return files(host)


@pytest.fixture
def settings(host: Host) -> Iterator[Callable[[str], None]]:
    """Settings for one test; the shipped ones come back after it."""
    shipped = (host.root / INI.lstrip("/")).read_text()
    yield lambda text: host.write(INI, text)
    host.write(INI, shipped)


def test_the_host_has_no_network(host: Host) -> None:
    assert host.out("ls /sys/class/net") == "lo"


def test_apt_installs_it_by_name_and_starts_nothing(host: Host, before: set[str]) -> None:
    use(host, "v1")
    apt(host, "install taos-tsfm")
    assert before
    assert host.out("dpkg --audit") == ""
    assert host.run("systemctl is-active tsfm@fracast", check=False).stdout.strip() == "inactive"
    assert host.out("systemctl is-enabled tsfm.target") == "enabled"


def test_one_start_makes_it_ready(host: Host) -> None:
    host.out("systemctl start tsfm@fracast")
    assert host.show("tsfm@fracast", "StatusText").startswith("serving fracast")
    assert host.model("fracast")["version"] == VERSIONS["v1"]


def test_curl_shows_405_on_the_documented_check(host: Host) -> None:
    status, body = host.get(PORT, "/ds_predict")
    assert status == 405
    assert json.loads(body)["status"] == "error"


def test_a_real_series_is_forecast_over_http(host: Host) -> None:
    answer = host.ask("fracast")
    assert len(answer["output"]) == 24
    # Sea surface temperatures of the region, in degrees Celsius.
    assert all(
        15 < low <= mid <= high < 35
        for low, mid, high in zip(answer["lower"], answer["output"], answer["upper"], strict=True)
    )


def test_the_journal_tells_what_an_operator_needs(host: Host) -> None:
    said = host.out("journalctl --unit tsfm@fracast --output short")
    assert f"fracast {VERSIONS['v1']} listens on http://127.0.0.1:{PORT}" in said
    assert re.search(r"ready after \d+\.\d s: fracast", said)
    assert "tsfm-fracast[" in said
    assert host.out("journalctl --quiet --unit tsfm@fracast --priority warning") == ""
    assert f"listens on http://127.0.0.1:{PORT}" in host.out("tsfm logs fracast --lines all")


def test_ps_shows_what_runs(host: Host) -> None:
    (one,) = [found for found in json.loads(host.out("tsfm ps --json")) if found["family"] == "fracast"]
    assert (one["state"], one["port"], one["restarts"]) == ("ready", PORT, 0)
    assert one["pid"] == int(host.show("tsfm@fracast", "MainPID"))
    assert one["memory_mib"] > 50


def test_completion_and_the_board_are_where_others_look_for_them(host: Host) -> None:
    loaded = "source /usr/share/bash-completion/completions/tsfm; COMP_WORDS=(tsfm fore); COMP_CWORD=1; _tsfm"
    assert host.out(f"bash -c '{loaded}; echo ${{COMPREPLY[@]}}'") == "forecast"
    assert json.loads(host.out("cat /usr/share/taos-tsfm/grafana/taos-tsfm.json"))["uid"] == "taos-tsfm"
    assert "alert: TsfmRestarts" in host.out("cat /usr/share/taos-tsfm/prometheus/rules.yml")


def test_forecast_reads_a_table_with_what_the_packages_bring(host: Host) -> None:
    host.write("/srv/x.csv", "Zeit;Wert\n" + "".join(f"{1 + i:02}.03.2026;{i % 5},5\n" for i in range(28)))
    said = host.out("cd /srv && tsfm forecast x.csv --horizon 3 --output x.png --output x.html 2>&1")
    assert host.out("head -c 4 /srv/x.png | tail -c 3") == "PNG"
    assert "new uPlot(" in host.out("cat /srv/x.html")
    assert "column Wert, 28 rows, from 01.03.2026 to 28.03.2026" in said
    assert "starting one" not in said
    scores = host.out("cd /srv && tsfm backtest x.csv --horizon 3 --windows 2 --family all 2>&1")
    assert re.search(r"^fracast .* \d+ MiB$", scores, re.MULTILINE), scores
    assert "best by " in scores
    assert re.search(r"^timemoe .*; run: tsfm pull timemoe", scores, re.MULTILINE), scores
    anomalies = host.out("cd /srv && tsfm detect x.csv --level 0.9 --output y.html 2>&1")
    assert "judged points; not judged: 16, without a value: 0" in anomalies
    assert "Anomalies found by fracast" in host.out("cat /srv/y.html")
    started = host.out(
        "printf '[fracast]\\nport = 7\\n' >/srv/x.ini; TSFM_INI=/srv/x.ini tsfm forecast /srv/x.csv 2>&1"
    )
    assert "starting one" in started
    port = re.search(r"listens on http://127.0.0.1:(\d+)", started)
    assert port
    assert host.get(int(port[1]), "/healthz")[0] == 0, "the service that was started lives on"


def test_requests_leave_no_data_in_the_journal(host: Host) -> None:
    host.post(PORT, "/ds_predict", {"input": [31415.9265] * 5 + ["x"]})
    assert "31415" not in host.out("journalctl --unit tsfm@fracast")


def test_it_runs_as_its_own_user_and_listens_on_this_host_only(host: Host) -> None:
    pid = host.show("tsfm@fracast", "MainPID")
    assert host.out(f"stat --format %U /proc/{pid}") == "tsfm"
    listening = [line.split()[1] for line in host.out("cat /proc/net/tcp").splitlines()[1:]]
    assert f"0100007F:{PORT:04X}" in listening


def test_the_thread_that_answers_runs_before_those_of_the_models(host: Host) -> None:
    pid = host.show("tsfm@fracast", "MainPID")
    said = host.out(f"chrt --all-tasks --pid {pid}").splitlines()
    policies = re.findall(r"pid (\d+)'s current scheduling policy: (\S+)", "\n".join(said))
    assert dict(policies)[pid] == "SCHED_RR|SCHED_RESET_ON_FORK", said
    assert {policy for thread, policy in policies if thread != pid} == {"SCHED_OTHER"}, said


# The one that registers edits root's files and has TDgpt restarted: that is worth 0.3 to the analysis.
@pytest.mark.parametrize(
    ("unit", "limit"), [("tsfm@.service", 1.0), ("tsfm-pull@.service", 1.0), ("tsfm-register.service", 1.4)]
)
def test_the_sandbox_is_tight(host: Host, unit: str, limit: float) -> None:
    path = f"/usr/lib/systemd/system/{unit}"
    said = host.out(f"systemd-analyze security --offline=true --no-pager {path}")
    found = re.search(r"Overall exposure level for \S+: ([\d.]+)", said)
    assert found
    assert float(found[1]) <= limit, said


KERNELS = """
import torch
a = torch.ones(64, 64, dtype=torch.bfloat16)
c = torch.nn.functional.conv1d(torch.ones(2, 8, 99), torch.ones(8, 8, 3))
backends = torch.backends
facts = backends.cpu.get_cpu_capability(), backends.mkldnn.is_available()
print("kernels:", *facts, float((a @ a).mean()), float(c.mean()))
"""


def test_torchs_fast_kernels_work_inside_the_sandbox(host: Host) -> None:
    python = "/usr/lib/taos-tsfm/runtime/bin/python"
    host.write("/srv/kernels.py", KERNELS)
    drop_in = f"[Service]\nType=oneshot\nExecStart=\nExecStart={python} -B /srv/kernels.py\nExecStopPost=\n"
    host.write("/etc/systemd/system/tsfm@kernels.service.d/probe.conf", drop_in)
    host.out("systemctl daemon-reload && systemctl start tsfm@kernels")
    inside = host.out("journalctl --quiet --output cat --unit tsfm@kernels --grep ^kernels:")
    host.out("rm -r /etc/systemd/system/tsfm@kernels.service.d && systemctl daemon-reload")
    assert inside == host.out(f"{python} -B /srv/kernels.py")
    assert inside.split()[2:] == ["True", "64.0", "24.0"]


def test_a_killed_service_is_back(host: Host) -> None:
    first = host.show("tsfm@fracast", "MainPID")
    host.out("systemctl kill --signal KILL tsfm@fracast")
    until(lambda: host.show("tsfm@fracast", "NRestarts") == "1", 30, lambda: host.journal("tsfm@fracast"))
    host.until_ready("fracast")
    assert host.show("tsfm@fracast", "MainPID") != first
    assert len(host.ask("fracast")["output"]) == 24


def test_a_stop_is_clean(host: Host) -> None:
    host.out("systemctl restart tsfm@fracast && systemctl stop tsfm@fracast")
    assert host.show("tsfm@fracast", "ActiveState") == "inactive"
    assert host.show("tsfm@fracast", "ExecMainStatus") == "0"


def test_a_hung_model_is_restarted_by_the_watchdog(host: Host, settings: Callable[[str], None]) -> None:
    # The naive family hangs when told to; it needs no environment of its own.
    host.out("ln -s fracast /usr/lib/taos-tsfm/venvs/naive")
    host.write("/srv/naive/naive.json", '{"hang_above": 3}')
    settings("[naive]\nmodel_folder = /srv/naive\nstall_s = 2\ndeadline_s = 1\n")
    # The same watchdog with less patience.
    host.write("/etc/systemd/system/tsfm@naive.service.d/quick.conf", "[Service]\nWatchdogSec=6\n")
    host.out("systemctl daemon-reload && systemctl start tsfm@naive")
    port = card.read("naive").port
    assert host.ask("naive")["output"]
    status, answer = host.post(port, "/ds_predict", {"input": [0] * 50 + [100]})
    assert (status, answer["status"]) == (504, "error")
    until(lambda: host.show("tsfm@naive", "NRestarts") == "1", 60, lambda: host.journal("tsfm@naive"))
    host.until_ready("naive")
    assert "Watchdog timeout" in host.out("journalctl --unit tsfm@naive")
    assert host.ask("naive")["output"]
    host.out("systemctl stop tsfm@naive")
    host.out("rm -r /usr/lib/taos-tsfm/venvs/naive /etc/systemd/system/tsfm@naive.service.d /srv/naive")
    host.out("systemctl daemon-reload")


def test_wrong_settings_are_told_in_one_sentence_and_not_retried(host: Host, settings: Callable[[str], None]) -> None:
    settings("[fracast]\nport = many\n")
    said = host.refused("tsfm@fracast")
    assert said == f"tsfm: {INI}: [fracast] port: expected a whole number from 1 to 65535, got 'many'"


def test_a_port_in_use_is_told_with_the_process_that_holds_it(host: Host) -> None:
    host.out(f"systemd-run --unit squatter python3 -m http.server --bind 127.0.0.1 {PORT}")
    until(lambda: host.get(PORT, "/")[0] == 200, 20, lambda: host.journal("squatter"))
    said = host.refused("tsfm@fracast")
    pid = host.show("squatter", "MainPID")
    host.out("systemctl stop squatter")
    assert f"port {PORT} is in use" in said
    assert f"port {PORT} is in use by pid {pid} (python3 -m http.server" in said


def test_an_unknown_family_is_told_with_those_there_are(host: Host) -> None:
    said = host.refused("tsfm@nosuch")
    assert said == f"tsfm: family: expected one of {', '.join(FAMILIES)}, got 'nosuch'"


def test_a_family_that_is_not_installed_is_told_with_its_package(host: Host) -> None:
    said = host.refused("tsfm@chronos")
    assert "\n" not in said
    assert "install taos-tsfm-chronos" in said


def test_missing_weights_are_told_with_what_to_do(host: Host) -> None:
    apt(host, "install taos-tsfm-chronos")
    said = host.waits("tsfm@chronos")
    assert "\n" not in said
    assert "amazon/chronos-bolt-tiny" in said
    assert "tsfm pull chronos" in said


@pytest.mark.parametrize("family", FAMILIES)
def test_each_family_serves_its_checkpoint_in_the_sandbox(
    host: Host, give_weights: Callable[[str], None], family: str
) -> None:
    apt(host, f"install taos-tsfm-{family}")
    give_weights(family)
    host.out(f"systemctl start tsfm@{family}")
    facts = card.read(family)
    assert host.get(facts.port, facts.paths[0])[0] == 405
    answer = host.ask(family)
    assert answer["status"] == "success"
    if facts.task == "forecast":
        assert len(answer["output"]) == request(facts.task)["next_len"]
    if family not in ("fracast", "chronos"):
        host.out(f"systemctl stop tsfm@{family}")


@pytest.mark.parametrize(("family", "package"), [("chronos", "chronos-forecasting"), ("timesfm", "timesfm")])
def test_the_makers_package_installs_beside_a_family_and_serves_it(
    host: Host, settings: Callable[[str], None], family: str, package: str
) -> None:
    settings(f"[{family}]\nengine = official\n")
    host.out(f"systemctl stop tsfm@{family}")
    assert f"needs the package taos-tsfm-{family}-official; install it" in host.refused(f"tsfm@{family}")
    apt(host, f"install taos-tsfm-{family}-official")
    host.out(f"systemctl start tsfm@{family}")
    model = host.model(family)
    assert (model["engine"], model["state"]) == ("official", "ready")
    assert str(model["path"]).startswith(f"float32, {package} ")
    assert len(host.ask(family)["output"]) == request("forecast")["next_len"]
    assert host.journal(f"tsfm@{family}", "--priority warning") == ""
    assert f"{family}: the same: largest difference " in host.out(f"tsfm compare {family}")
    host.out(f"systemctl stop tsfm@{family}")


def test_an_upgrade_restarts_what_ran_and_keeps_edited_settings(host: Host) -> None:
    host.write(INI, "[fracast]\nmax_horizon = 48\n")
    host.out("systemctl restart tsfm@fracast && systemctl stop tsfm@chronos")
    first = host.show("tsfm@fracast", "MainPID")
    use(host, "v1", "v2")
    apt(host, "upgrade")
    host.until_ready("fracast", VERSIONS["v2"])
    assert host.show("tsfm@fracast", "MainPID") != first
    assert host.model("fracast")["limits"]["max_horizon"] == 48
    assert host.show("tsfm@chronos", "ActiveState") == "inactive"
    assert host.out("dpkg --audit") == ""
    assert host.out(f"cat {INI}") == "[fracast]\nmax_horizon = 48"


def test_a_family_is_removed_while_it_runs_and_the_others_stay(host: Host) -> None:
    host.out("systemctl start tsfm@chronos && systemctl enable tsfm@chronos tsfm@fracast")
    fracast = host.show("tsfm@fracast", "MainPID")
    apt(host, "remove taos-tsfm-chronos")
    assert host.show("tsfm@chronos", "ActiveState") in ("inactive", "failed")
    assert host.get(card.read("chronos").port, "/healthz")[0] == 0
    assert host.show("tsfm@fracast", "MainPID") == fracast
    assert "install taos-tsfm-chronos" in host.refused("tsfm@chronos")


def test_after_a_removal_it_installs_again(host: Host) -> None:
    apt(host, "remove taos-tsfm-core taos-tsfm-runtime taos-tsfm-python")
    assert host.out("systemctl list-units --no-legend --state running 'tsfm*'") == ""
    assert not (host.root / "usr/lib/taos-tsfm").exists()
    apt(host, "install taos-tsfm")
    host.out("systemctl start tsfm.target")
    host.until_ready("fracast")
    assert host.model("fracast")["limits"]["max_horizon"] == 48


def test_a_purge_leaves_nothing(host: Host, before: set[str]) -> None:
    # Weights are nobody's to delete but who laid them there.
    host.out("rm -r /var/lib/taos/taosanode/model/*")
    apt(host, "purge 'taos-tsfm*'")
    assert sorted(files(host) - before) == []
    assert host.out("dpkg --audit") == ""
    assert host.out("systemctl list-units --all --no-legend 'tsfm*'") == ""
