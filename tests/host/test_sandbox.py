"""What the service's sandbox lets a process do, tried from inside it: nothing but to answer on its port."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
from host.conftest import Host
from host.container import until
from host.probe import ALLOWED, ATTEMPTS, HIDDEN, OUTSIDE, SETUID

from tsfm import card

PROBE = Path(__file__).with_name("probe.py")
# The unit as it is, but for what it runs.
DROP_IN = "[Service]\nType=oneshot\nExecStart=\nExecStart=/usr/bin/python3 -B /srv/probe.py\nExecStopPost=\n"
# Refusals that would say nothing of the sandbox.
BY_CHANCE = ("No such file or directory", "Network is unreachable", "Bad address", "Invalid argument")
# SIOCSIFADDR on an alias of lo: an address of this host that is not loopback.
ADDRESS = """
import fcntl, socket, struct
packed = struct.pack("16sHH4s8x", b"lo:1", socket.AF_INET, 0, socket.inet_aton("{address}"))
fcntl.ioctl(socket.socket(socket.AF_INET, socket.SOCK_DGRAM), 0x8916, packed)
"""


@pytest.fixture(scope="module", autouse=True)
def installed(host: Host) -> None:
    host.write("/etc/apt/sources.list.d/tsfm.list", "deb [trusted=yes] file:/srv/v1 ./\n")
    host.out("apt-get -q update && apt-get -q -y -o Dpkg::Use-Pty=0 install taos-tsfm-core taos-tsfm-fracast")


@pytest.fixture(scope="module")
def outside(host: Host) -> Iterator[None]:
    """Somebody who listens on an address of this host that is not loopback, and a setuid program."""
    host.write("/srv/address.py", ADDRESS.format(address=OUTSIDE[0]))
    host.out("python3 /srv/address.py")
    host.out(f"cp /usr/bin/id {SETUID} && chmod 4755 {SETUID}")
    host.out(f"systemd-run --unit outside --collect python3 -m http.server {OUTSIDE[1]}")
    until(lambda: host.get(OUTSIDE[1], "/")[0] == 200, 20, lambda: host.journal("outside"))
    yield
    host.out("systemctl stop outside")


@pytest.fixture(scope="module")
def found(host: Host, outside: None) -> dict[str, object]:
    """What came of each attempt, by its name."""
    host.write("/srv/probe.py", PROBE.read_text())
    host.write("/etc/systemd/system/tsfm@probe.service.d/probe.conf", DROP_IN)
    host.out("systemctl daemon-reload && systemctl start tsfm@probe")
    line = host.out("journalctl --quiet --output cat --unit tsfm@probe --grep ^probe:")
    outcomes: dict[str, object] = json.loads(line.partition(": ")[2])
    return outcomes


@pytest.mark.parametrize("attempt", ATTEMPTS)
def test_the_sandbox_refuses(found: dict[str, object], attempt: str) -> None:
    assert str(found[attempt]).startswith("refused: "), found[attempt]
    assert attempt in HIDDEN or not str(found[attempt]).endswith(BY_CHANCE), found[attempt]


@pytest.mark.parametrize("attempt", ALLOWED)
def test_what_the_service_needs_is_possible(found: dict[str, object], attempt: str) -> None:
    assert found[attempt] == "done"


def test_a_large_body_is_read_by_a_process_inside_the_sandbox(host: Host) -> None:
    """Bodies above 256 KiB are parsed by a process of their own, which the unit must let start."""
    host.out("systemctl start tsfm@fracast")
    values = [10 + (index * 7919 % 1000) / 977 for index in range(20_000)]
    status, answer = host.post(card.read("fracast").port, "/ds_predict", {"input": values, "next_len": 3})
    assert len(json.dumps(values)) > 256 << 10
    assert (status, len(answer["output"])) == (200, 3)
    assert len(host.processes("[t]sfm.http.bodies")) == 1
    host.out("systemctl stop tsfm@fracast")
    assert host.processes("[t]sfm.http.bodies") == []


def test_the_page_reads_tables_and_looks_for_neighbours_inside_the_sandbox(host: Host) -> None:
    """Tables are read by a process in the command line's environment, which has pandas."""
    host.out("systemctl start tsfm@fracast")
    port = card.read("fracast").port
    status, page = host.get(port, "/")
    assert status == 200
    assert "<title>taos-tsfm</title>" in page
    assert host.get(port, "/page/meters.csv")[0] == 200
    url = f"http://127.0.0.1:{port}/v1/table?file=nino12.csv"
    table = json.loads(host.out(f"curl -sS --data-binary @/usr/lib/taos-tsfm/share/nino12.csv '{url}'"))
    assert (table["freq"], len(table["values"]), table["times"][0]) == ("MS", 732, "1950-01-01T00:00:00")
    assert host.processes("cli/bin/python.-B.-m.[t]sfm.table")
    assert json.loads(host.get(port, "/v1/neighbours")[1]) == {"models": []}
    status, answer = host.post(port, "/v1/neighbours?family=chronos\\&task=forecast", {"inputs": []})
    assert (status, answer["status"]) == (503, "error")
    host.out("systemctl stop tsfm@fracast")


def test_outside_the_sandbox_the_same_would_succeed(host: Host, outside: None) -> None:
    """Else the refusals above would prove nothing."""
    host.out(f"curl -s --max-time 5 http://{OUTSIDE[0]}:{OUTSIDE[1]}/ > /dev/null")
    assert host.out(f"setpriv --reuid tsfm --clear-groups {SETUID} -u") == "0"


def test_its_tmp_is_its_own(host: Host, found: dict[str, object]) -> None:
    assert found["write to its own /tmp"] == "done"
    assert host.run("ls /tmp/probe", check=False).returncode != 0


def test_the_running_service_has_the_privileges_of_the_probe_none(host: Host, found: dict[str, object]) -> None:
    none = "0" * 16
    wanted = {"CapEff": none, "CapPrm": none, "CapBnd": none, "NoNewPrivs": "1", "Seccomp": "2"}
    assert found["privileges"] == wanted
    host.out("systemctl start tsfm@fracast")
    pid = host.show("tsfm@fracast", "MainPID")
    status = dict(line.split(":\t") for line in host.out(f"cat /proc/{pid}/status").splitlines() if ":\t" in line)
    assert {key: status[key].strip() for key in wanted} == wanted


def test_the_service_computes_with_the_cpus_fast_kernels(host: Host) -> None:
    host.write("/srv/level.py", "import torch; print(torch.backends.cpu.get_cpu_capability())")
    level = host.out("/usr/lib/taos-tsfm/runtime/bin/python -B /srv/level.py")
    flags = Path("/proc/cpuinfo").read_text()
    assert level.startswith("AVX") or "avx2" not in flags
    assert "float" in str(host.model("fracast")["path"])


@pytest.mark.parametrize("package", ["taos-tsfm-core", "taos-tsfm-runtime", "taos-tsfm-fracast"])
def test_every_package_brings_its_bill_of_materials(host: Host, package: str) -> None:
    bill = json.loads((host.root / f"usr/share/doc/{package}/sbom.cdx.json").read_text())
    assert bill["bomFormat"] == "CycloneDX"
    assert bill["metadata"]["component"]["name"] == package
    names = {component["name"] for component in bill["components"]}
    assert names & {"torch", "pandas"} == ({"torch", "pandas"} if package == "taos-tsfm-runtime" else set())


def test_nothing_of_the_tests_was_left_by_the_service(host: Host) -> None:
    left = host.out("find / -xdev -user tsfm -not -path '/proc/*' -not -path '/tmp/systemd-private*'")
    assert [path for path in left.splitlines() if "/var/tmp/systemd-private" not in path] == []


def forecast_of_a_table(host: Host) -> str:
    """The status of a Parquet file's forecast and the start of the answer, as curl gets them on the host."""
    address = f"http://127.0.0.1:{card.read('fracast').port}/v1/forecast?prediction_length=3"
    head = "Content-Type: application/vnd.apache.parquet"
    command = f"curl -s -o /srv/answer -w '%{{http_code}} ' --data-binary @/srv/pumps.parquet -H '{head}' '{address}'"
    return host.out(f"echo none > /srv/answer; {command}; head -c 4 /srv/answer")


def test_tables_are_read_inside_the_sandbox_once_their_package_is_here(host: Host) -> None:
    """What runs restarts when the package comes, and when it goes."""
    stamps = pd.date_range("2024-01-01", periods=48, freq="h")
    table = pd.DataFrame({"item_id": "pump-1", "timestamp": stamps, "target": range(48)}).to_parquet()
    host.write("/srv/pumps", base64.b64encode(table).decode())
    host.out("base64 -d /srv/pumps > /srv/pumps.parquet && systemctl start tsfm@fracast")
    for step, wanted in (("", '415 {"st'), ("install", "200 PAR1"), ("remove", '415 {"st')):
        if step:
            host.out(f"apt-get -q -y -o Dpkg::Use-Pty=0 {step} taos-tsfm-arrow")
        until(lambda wanted=wanted: forecast_of_a_table(host) == wanted, 60, lambda: host.journal("tsfm@fracast"))
    host.out("systemctl stop tsfm@fracast")
