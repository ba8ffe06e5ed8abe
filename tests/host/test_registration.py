"""Living beside TDgpt: installation registers, TDgpt's upgrade is undone, purge leaves TDgpt's files as they were."""

from __future__ import annotations

import json
import math
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from host.conftest import Host
from host.container import until

HERE = Path(__file__).parent
ANODE = HERE.parent / "anode"
SAMPLES = HERE.parent / "registration/samples"
TREE = "/usr/local/taos/taosanode"
G2, G4 = "/etc/taos/taosanode.ini", "/etc/taos/taosanode.config.py"
PORT = 6076
WITHIN_S = 10
UNIT = """\
[Service]
ExecStart=/usr/bin/python3 -B /srv/anode/anode.py {config} /usr/local/taos/taosanode/lib 6035
"""
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


def inside(host: Host, path: str) -> Path:
    return host.root / path.lstrip("/")


def install_tdgpt(host: Host, config: str, sample: str) -> None:
    """What TDgpt's own installer does: its whole tree goes, a new one comes, and a configuration."""
    shutil.rmtree(inside(host, TREE), ignore_errors=True)
    shutil.copytree(ANODE / "tree", inside(host, TREE))
    inside(host, "/etc/taos").mkdir(parents=True, exist_ok=True)
    shutil.copy(SAMPLES / sample, inside(host, config))
    host.write(f"{TREE}/lib/taosanalytics/conf.py", (ANODE / "tree/lib/taosanalytics/conf.py").read_text())
    first, _, rest = inside(host, f"{TREE}/lib/taosanalytics/conf.py").read_text().partition("\n")
    assert first
    host.write(f"{TREE}/lib/taosanalytics/conf.py", f"# reads {config}\n{rest}")
    host.write("/etc/systemd/system/taosanoded.service", UNIT.format(config=config))
    host.out("systemctl daemon-reload")


def ask(host: Host, path: str, body: dict) -> dict:
    host.write("/srv/request.json", json.dumps(body))
    return json.loads(host.out(f"curl -sS --data-binary @/srv/request.json http://127.0.0.1:6035{path}"))


def sql(option: str) -> dict:
    values = [10 + 3 * math.sin(i / 4) for i in range(96)]
    ts = [1_700_000_000_000 + 60_000 * i for i in range(96)]
    return {"data": [values, ts], "option": option, "prec": "ms"}


def listed(host: Host) -> dict[str, str]:
    """What the anode has, with its state; nothing while it restarts."""
    done = host.run("curl -sS http://127.0.0.1:6035/list", check=False)
    details = json.loads(done.stdout)["details"] if done.returncode == 0 else [{"algo": []}]
    return {algo["name"]: algo["status"] for algo in details[0]["algo"]}


def runs(host: Host) -> int:
    """How often the path unit has started the registration."""
    said = host.out("journalctl --quiet --output cat --unit tsfm-register.service")
    return said.count("Finished tsfm-register.service")


@pytest.fixture
def statements(host: Host) -> Callable[[], list[str]]:
    return lambda: inside(host, "/srv/statements").read_text().splitlines()


def test_installation_registers_with_the_tdgpt_that_is_there(host: Host, statements: Callable[[], list[str]]) -> None:
    shutil.copytree(ANODE, inside(host, "/srv/anode"), ignore=shutil.ignore_patterns("tree", "__pycache__"))
    install_tdgpt(host, G2, "g2.ini")
    host.write("/srv/adapter.py", ADAPTER)
    host.out("systemd-run --unit adapter python3 /srv/adapter.py && systemctl start taosanoded")
    first = host.show("taosanoded", "MainPID")
    host.write("/etc/apt/sources.list.d/tsfm.list", "deb [trusted=yes] file:/srv/v1 ./\n")
    host.out("apt-get -q update && apt-get -q -y -o Dpkg::Use-Pty=0 install taos-tsfm")
    assert f"fracast = http://127.0.0.1:{PORT}/ds_predict" in inside(host, G2).read_text()
    assert inside(host, f"{TREE}/tsfm/fracast-server.py").exists()
    assert inside(host, f"{TREE}/lib/taosanalytics/algo/fc/fracast.py").exists()
    assert host.show("taosanoded", "MainPID") != first
    assert statements()[-2:] == ["show anodes", "update all anodes"]


def test_sql_finds_the_model(host: Host) -> None:
    host.out("systemctl start tsfm@fracast")
    until(lambda: listed(host).get("fracast") == "ready", 20, lambda: str(listed(host)))
    answer = ask(host, "/forecast", sql("algo=fracast,rows=24"))
    assert answer["rows"] == 24, answer
    truth = [10 + 3 * math.sin(i / 4) for i in range(96, 120)]
    assert max(abs(a - b) for a, b in zip(answer["res"][1], truth, strict=True)) < 1.5


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
    )


def test_tdgpts_upgrade_is_undone_within_ten_seconds(host: Host) -> None:
    before = runs(host)
    inside(host, G2).unlink()
    install_tdgpt(host, G4, "g4.config.py")
    started = time.monotonic()
    until(lambda: all_back(host), WITHIN_S, lambda: host.out("journalctl --unit tsfm-register.service"))
    assert time.monotonic() - started < WITHIN_S
    host.out("systemctl restart taosanoded")
    until(lambda: listed(host).get("fracast") == "ready", 20, lambda: str(listed(host)))
    assert runs(host) >= before


def test_our_own_writing_does_not_go_round_in_circles(host: Host) -> None:
    def quiet() -> bool:
        count = runs(host)
        # Longer than one round takes: a loop would have gone on.
        host.out("timeout 4 journalctl --follow --lines 0 --unit tsfm-register.service || :")
        return runs(host) == count

    until(quiet, 30, lambda: host.out("journalctl --unit tsfm-register.service"))
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
    host.out("apt-get -q -y -o Dpkg::Use-Pty=0 remove taos-tsfm-timemoe")
    until(
        lambda: not inside(host, f"{TREE}/tsfm/timemoe-server.py").exists(),
        WITHIN_S,
        lambda: host.out(f"ls {TREE}/tsfm"),
    )
    assert "timemoe" not in inside(host, G4).read_text().partition("# >>> tsfm >>>")[2]


def test_purge_takes_out_every_line_and_file(host: Host) -> None:
    host.out("apt-get -q -y -o Dpkg::Use-Pty=0 purge 'taos-tsfm*'")
    assert inside(host, G4).read_bytes() == (SAMPLES / "g4.config.py").read_bytes()
    assert not inside(host, f"{TREE}/tsfm").exists()
    assert not inside(host, f"{TREE}/lib/taosanalytics/algo/fc/fracast.py").exists()
    left = sorted(path.name for path in inside(host, "/etc/taos").iterdir())
    assert left == ["taosanode.config.py"]
