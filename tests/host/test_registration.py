"""Living beside TDgpt: installation registers, TDgpt's upgrade is undone, purge leaves TDgpt's files as they were."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable

import pytest
from host import tdgpt
from host.conftest import Host
from host.container import until
from host.tdgpt import G2, G4, SAMPLES, TREE, inside, runs, until_quiet

PORT = 6076
WITHIN_S = 10
# taosAdapter: notes every statement, knows one anode.
ADAPTER = """\
from http.server import BaseHTTPRequestHandler, HTTPServer


class Adapter(BaseHTTPRequestHandler):
    def do_POST(self):
        statement = self.rfile.read(int(self.headers["Content-Length"]))
        with open("/srv/statements", "ab") as file:
            file.write(statement + b"\\n")
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b'{"code": 0, "data": [[1, "127.0.0.1:6035", "ready"]], "rows": 1}')


HTTPServer(("127.0.0.1", 6041), Adapter).serve_forever()
"""


def ask(host: Host, path: str, body: dict) -> dict:
    host.write("/srv/request.json", json.dumps(body))
    return json.loads(host.out(f"curl -sS --data-binary @/srv/request.json http://127.0.0.1:6035{path}"))


WAVE = [10 + 3 * math.sin(i / 4) for i in range(104)]
TS = [1_700_000_000_000 + 60_000 * i for i in range(96)]


def sql(option: str, **columns: list) -> dict:
    """The body that the database makes of a function of TDgpt's over a wave, or over other columns."""
    data = {"val": WAVE[:96], "ts": TS} | columns
    schema = [[name, "TIMESTAMP" if name == "ts" else "DOUBLE", 8] for name in data]
    return {"schema": schema, "data": list(data.values()), "option": option, "prec": "ms", "protocol": 1.0}


def listed(host: Host) -> dict[str, str]:
    """What the anode has, with its state; nothing while it restarts."""
    done = host.run("curl -sS http://127.0.0.1:6035/list", check=False)
    details = json.loads(done.stdout)["details"] if done.returncode == 0 else [{"algo": []}]
    return {algo["name"]: algo["status"] for algo in details[0]["algo"]}


def ready(host: Host, *names: str) -> bool:
    """Whether the anode has these algorithms of any kind, with services that answer."""
    done = host.run("curl -sS http://127.0.0.1:6035/list", check=False)
    details = json.loads(done.stdout)["details"] if done.returncode == 0 else []
    states = {algo["name"]: algo.get("status") for kind in details for algo in kind["algo"]}
    return all(states.get(name) in ("ready", "READY") for name in names)


@pytest.fixture
def statements(host: Host) -> Callable[[], list[str]]:
    return lambda: inside(host, "/srv/statements").read_text().splitlines()


def test_installation_alone_registers_nothing_and_says_what_to_do(host: Host) -> None:
    tdgpt.install(host, G2, "g2.ini")
    host.write("/srv/adapter.py", ADAPTER)
    host.out("systemd-run --unit adapter python3 /srv/adapter.py && systemctl start taosanoded")
    host.write("/etc/apt/sources.list.d/tsfm.list", "deb [trusted=yes] file:/srv/v1 ./\n")
    host.out("apt-get -q update")
    said = host.out("apt-get -q -y -o Dpkg::Use-Pty=0 install taos-tsfm")
    assert "systemctl enable --now tsfm@fracast" in said
    until_quiet(host)
    assert inside(host, G2).read_bytes() == (SAMPLES / "g2.ini").read_bytes()
    assert inside(host, f"{TREE}/tsfm/fracast-server.py").exists()
    assert tdgpt.starts(host) == 1
    assert not inside(host, "/srv/statements").exists()


def test_enabling_a_unit_makes_sql_find_it(host: Host, statements: Callable[[], list[str]]) -> None:
    host.out("systemctl enable --now tsfm@fracast")
    until(lambda: listed(host).get("fracast") == "ready", 20, lambda: str(listed(host)))
    assert f"fracast = http://127.0.0.1:{PORT}/ds_predict" in inside(host, G2).read_text()
    assert inside(host, f"{TREE}/lib/taosanalytics/algo/fc/fracast.py").exists()
    assert inside(host, f"{TREE}/lib/taosanalytics/algo/ad/tsfm_fracast.py").exists()
    answer = ask(host, "/forecast", sql("algo=fracast,rows=24"))
    assert answer["rows"] == 24, answer
    truth = [10 + 3 * math.sin(i / 4) for i in range(96, 120)]
    assert max(abs(a - b) for a, b in zip(answer["res"][1], truth, strict=True)) < 1.5
    until_quiet(host)
    assert statements()[-2:] == ["show anodes", "update all anodes"]
    assert tdgpt.starts(host) == 2


def test_disabling_takes_it_out_and_all_at_once_restart_tdgpt_once(host: Host) -> None:
    host.out("systemctl enable tsfm@timemoe tsfm@tdtsfm && systemctl disable --now tsfm@fracast")
    until(lambda: "fracast" not in inside(host, G2).read_text(), 20, lambda: inside(host, G2).read_text())
    until_quiet(host)
    assert {"timemoe-fc", "tdtsfm_1"} <= set(listed(host))
    assert not inside(host, f"{TREE}/lib/taosanalytics/algo/fc/fracast.py").exists()
    detectors = inside(host, f"{TREE}/lib/taosanalytics/algo/ad").glob("tsfm_*.py")
    assert sorted(path.name for path in detectors) == ["tsfm_tdtsfm.py", "tsfm_timemoe.py"]
    assert tdgpt.starts(host) == 3
    host.out("systemctl disable tsfm@timemoe tsfm@tdtsfm && systemctl enable --now tsfm@fracast")
    until(lambda: listed(host).get("fracast") == "ready", 20, lambda: str(listed(host)))
    until_quiet(host)
    assert tdgpt.starts(host) == 4


def test_restarts_and_stops_of_what_is_enabled_leave_the_registration_alone(host: Host) -> None:
    before = tdgpt.starts(host)
    host.out("systemctl stop tsfm@fracast && tsfm register && systemctl start tsfm@fracast && tsfm register")
    until_quiet(host)
    assert tdgpt.starts(host) == before


def test_the_doctor_finds_all_in_order(host: Host) -> None:
    until(lambda: host.show("tsfm-register.service", "ActiveState") == "inactive", 20, lambda: "still registering")
    done = host.run("tsfm doctor", check=False)
    assert "broken" not in done.stdout, done.stdout
    assert done.returncode == 0
    assert len(done.stdout.splitlines()) <= 24


def all_back(host: Host) -> bool:
    config = inside(host, G4)
    return (
        "# >>> tsfm >>>" in config.read_text()
        and inside(host, f"{TREE}/tsfm/fracast-server.py").exists()
        and inside(host, f"{TREE}/lib/taosanalytics/algo/fc/fracast.py").exists()
        and inside(host, f"{TREE}/lib/taosanalytics/algo/custom/ad/tsfm_fracast.py").exists()
    )


def test_tdgpts_upgrade_is_undone_within_ten_seconds(host: Host) -> None:
    before = runs(host)
    inside(host, G2).unlink()
    tdgpt.install(host, G4, "g4.config.py")
    started = time.monotonic()
    until(lambda: all_back(host), WITHIN_S, lambda: host.out("journalctl --unit tsfm-register.service"))
    assert time.monotonic() - started < WITHIN_S
    host.out("systemctl restart taosanoded")
    until(lambda: listed(host).get("fracast") == "ready", 20, lambda: str(listed(host)))
    assert runs(host) >= before


def test_our_own_writing_does_not_go_round_in_circles(host: Host) -> None:
    until_quiet(host)
    assert host.out("systemctl is-active tsfm-register.path") == "active"


def test_a_changed_port_is_followed(host: Host) -> None:
    ini = inside(host, "/etc/taos/tsfm.ini")
    shipped = ini.read_text()
    ini.write_text(shipped + "\n[fracast]\nport = 7076\n")
    until(lambda: ":7076/" in inside(host, G4).read_text(), WITHIN_S, lambda: inside(host, G4).read_text())
    ini.write_text(shipped)
    until(lambda: ":7076/" not in inside(host, G4).read_text(), WITHIN_S, lambda: inside(host, G4).read_text())


def test_a_family_that_leaves_is_taken_out(host: Host) -> None:
    assert inside(host, f"{TREE}/tsfm/timemoe-server.py").exists()
    block = lambda: inside(host, G4).read_text().partition("# >>> tsfm >>>")[2]  # noqa: E731
    host.out("systemctl enable tsfm@timemoe tsfm@tdtsfm && tsfm register")
    until(lambda: "timemoe" in block(), 20, block)
    until_quiet(host)
    before = tdgpt.starts(host)
    host.out("apt-get -q -y -o Dpkg::Use-Pty=0 remove taos-tsfm-timemoe taos-tsfm-tdtsfm")
    until(
        lambda: not inside(host, f"{TREE}/tsfm/timemoe-server.py").exists(),
        WITHIN_S,
        lambda: host.out(f"ls {TREE}/tsfm"),
    )
    until(lambda: "timemoe" not in block(), 20, block)
    until_quiet(host)
    assert tdgpt.starts(host) == before + 1


def test_sql_reaches_a_regression_an_imputation_and_detectors(host: Host, give_weights: Callable[[str], None]) -> None:
    give_weights("moment")
    host.out("apt-get -q -y -o Dpkg::Use-Pty=0 install taos-tsfm-moment && systemctl enable --now tsfm@moment")
    host.until_ready("moment")
    names = ("fracast", "tsfm_fracast", "tsfm_moment")
    until(lambda: ready(host, *names), 30, lambda: host.out("curl -sS http://127.0.0.1:6035/list"))
    until_quiet(host)

    plan = [float((i * i) % 7) for i in range(104)]
    driven = [value + 4 * plan[i] for i, value in enumerate(WAVE)]
    covariates = {"dynamic_real_1": plan, "past_dynamic_real_1": WAVE[:96]}
    alone = ask(host, "/forecast", sql("algo=fracast,rows=8", val=driven[:96]))
    answer = ask(host, "/forecast", sql("algo=fracast,rows=8", val=driven[:96], **covariates))
    assert answer["rows"] == 8, answer
    error, without = (
        sum(abs(a - b) for a, b in zip(one["res"][1], driven[96:], strict=True)) for one in (answer, alone)
    )
    assert error < 0.5 * without

    rows = [i for i in range(96) if i % 9 != 4]
    answer = ask(host, "/imputation", sql("algo=moment,freq=1T", val=[WAVE[i] for i in rows], ts=[TS[i] for i in rows]))
    assert answer["rows"] == 96, answer
    assert answer["res"][2] == [int(i % 9 == 4) for i in range(96)]

    spiked = [30.0 if i == 60 else value for i, value in enumerate(WAVE[:96])]
    for family in ("fracast", "moment"):
        answer = ask(host, "/anomaly-detect", sql(f"algo=tsfm_{family},level=0.99", val=spiked))
        assert any(start <= TS[60] <= end for start, end in answer["res"]), (family, answer)


def test_purge_takes_out_every_line_and_file(host: Host) -> None:
    host.out("apt-get -q -y -o Dpkg::Use-Pty=0 purge 'taos-tsfm*'")
    assert inside(host, G4).read_bytes() == (SAMPLES / "g4.config.py").read_bytes()
    assert not inside(host, f"{TREE}/tsfm").exists()
    assert not list(inside(host, f"{TREE}/lib/taosanalytics/algo").rglob("*fracast.py"))
    left = sorted(path.name for path in inside(host, "/etc/taos").iterdir())
    assert left == ["taosanode.config.py"]
