"""`tsfm doctor`: every finding names its trouble and its remedy, on hosts made for it."""

from __future__ import annotations

import json
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from conftest import Live
from tdgpt.host import Host

from tsfm.doctor import host as machine
from tsfm.system import ports
from tsfm.tdgpt import endpoints

DATABASE = {"code": 0, "data": [[1, "127.0.0.1:6035", "ready"]], "rows": 1}


class Answers(BaseHTTPRequestHandler):
    """An anode and a taosAdapter in one, as far as the doctor asks."""

    names: tuple[str, ...] = ("fracast", "tsfm_fracast")
    database: object = DATABASE

    def do_GET(self) -> None:
        self.answer({"details": [{"type": "forecast", "algo": [{"name": name} for name in self.names]}]})

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.answer(self.database)

    def answer(self, body: object) -> None:
        data = json.dumps(body).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def around(host: Host, monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """TDgpt with an anode and a database behind one port, systemd, and fracast registered."""
    monkeypatch.setattr(Answers, "names", ("fracast", "tsfm_fracast"))
    monkeypatch.setattr(Answers, "database", DATABASE)
    with HTTPServer(("127.0.0.1", 0), Answers) as server:
        # A daemon: where the steps below fail nobody ends it.
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        config = host.tdgpt("G2")
        config.write_text(config.read_text().replace("0.0.0.0:6035", f"127.0.0.1:{server.server_port}"))
        host.install("fracast")
        settings(host, server.server_port, free_port())
        (host.root / "run/systemd/system").mkdir(parents=True)
        units(host)
        assert host.tsfm("register", "--no-restart", "--no-update").returncode == 0
        yield server.server_port
        server.shutdown()
        thread.join()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def settings(host: Host, database: int, fracast: int) -> None:
    host.settings.write_text(f"[tdengine]\nrest_port = {database}\n[fracast]\nport = {fracast}\n")


def units(host: Host, fracast: str = "ActiveState=inactive\nUnitFileState=disabled", watch: str = "active") -> None:
    """What `systemctl show` says."""
    said = [
        f"Id=tsfm@fracast.service\nLoadState=loaded\nMainPID=0\n{fracast}",
        "Id=taosanoded.service\nLoadState=loaded\nActiveState=inactive",
        f"Id=tsfm-register.path\nLoadState=loaded\nActiveState={watch}",
    ]
    text = "\n\n".join(said)
    host.command("systemctl", f"cat <<'EOT'\n{text}\nEOT")


def findings(host: Host) -> dict[str, list[dict]]:
    done = host.tsfm("doctor", "--json")
    assert done.stderr == ""
    found: dict[str, list[dict]] = {}
    for one in json.loads(done.stdout):
        found.setdefault(one["about"], []).append(one)
    broken = any(one["level"] == "broken" for rows in found.values() for one in rows)
    assert done.returncode == (1 if broken else 0)
    return found


def one(host: Host, about: str) -> tuple[str, str, str]:
    (found,) = findings(host)[about]
    return found["level"], found["text"], found["remedy"]


def test_a_host_without_tdgpt_and_families_is_not_broken(host: Host) -> None:
    done = host.tsfm("doctor")
    assert done.returncode == 0
    rows = done.stdout.splitlines()
    assert rows[0] == "note     TDgpt        not on this host; once it is installed run: tsfm register"
    assert "install one: apt install taos-tsfm" in rows[1]


def test_all_in_order_is_one_screen_with_no_remedy(around: int, host: Host, serve: Callable[..., Live]) -> None:
    live = serve("naive").until_ready()
    settings(host, around, live.port)
    host.tsfm("register", "--no-restart", "--no-update")
    units(host, f"ActiveState=active\nUnitFileState=enabled\nMainPID={live.process.pid}")
    done = host.tsfm("doctor")
    assert done.returncode == 0, done.stdout
    rows = done.stdout.splitlines()
    assert len(rows) <= 24
    assert {row.split()[0] for row in rows} == {"ok"}
    assert f"tsfm@fracast.service runs at http://127.0.0.1:{live.port}/ds_predict" in done.stdout


def test_an_engine_that_is_not_installed_is_broken(around: int, host: Host) -> None:
    settings(host, around, free_port())
    host.settings.write_text(host.settings.read_text() + "engine = official\n")
    (found,) = [one for one in findings(host)["fracast"] if one["level"] == "broken"]
    assert found["text"] == "engine = official needs taos-tsfm-fracast-official"
    assert found["remedy"] == "install taos-tsfm-fracast-official, or set engine = native"


def test_a_registration_out_of_step_is_broken(around: int, host: Host) -> None:
    settings(host, around, free_port())
    level, text, remedy = one(host, "registration")
    assert (level, remedy) == ("broken", "run: tsfm register")
    assert "and 2 more" in text


def test_a_file_that_tdgpt_cannot_read_is_broken(around: int, host: Host) -> None:
    (host.etc / "taosanode.ini").write_text("nonsense\n")
    refused, *_ = findings(host)["registration"]
    assert refused["level"] == "broken"
    assert "neither tsfm nor TDgpt can read it" in refused["text"]


def test_an_anode_that_does_not_list_us_is_broken(around: int, host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Answers, "names", ("chronos",))
    level, text, remedy = one(host, "anode")
    assert (level, remedy) == ("broken", "run: systemctl restart taosanoded.service")
    assert text == f"127.0.0.1:{around} does not list fracast, tsfm_fracast"
    monkeypatch.setattr(Answers, "names", ("fracast",))
    assert one(host, "anode")[1] == f"127.0.0.1:{around} does not list tsfm_fracast"


def test_an_anode_that_is_down_is_broken_with_its_units_state(around: int, host: Host) -> None:
    config = host.etc / "taosanode.ini"
    config.write_text(config.read_text().replace(f"127.0.0.1:{around}", f"127.0.0.1:{free_port()}"))
    level, text, _ = one(host, "anode")
    assert level == "broken"
    assert text.startswith("taosanoded.service is inactive: 127.0.0.1:")


def test_a_database_without_anodes_or_out_of_reach_is_told(
    around: int,
    host: Host,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Answers, "database", {"code": 0, "data": []})
    assert one(host, "database") == (
        "broken",
        "the database has no anode",
        "create one in SQL: CREATE ANODE 'HOST:6035'",
    )
    monkeypatch.setattr(Answers, "database", {"code": 9, "desc": "no"})
    assert one(host, "database")[0] == "warning"
    host.settings.write_text("[tdengine]\npassword_file = /nonexistent\n")
    assert one(host, "database")[2] == "correct [tdengine] of tsfm.ini, or run as root"


@pytest.mark.parametrize(
    ("state", "level", "remedy"),
    [
        ("ActiveState=inactive\nUnitFileState=disabled", "note", "systemctl enable --now tsfm@fracast.service"),
        ("ActiveState=inactive\nUnitFileState=enabled", "broken", "systemctl start tsfm@fracast.service"),
        ("ActiveState=failed\nResult=exit-code", "broken", "journalctl -u tsfm@fracast.service"),
        ("ActiveState=activating\nStatusText=loading weights", "note", ""),
        ("ActiveState=active\nUnitFileState=enabled", "broken", "systemctl restart tsfm@fracast.service"),
    ],
)
def test_each_state_of_a_unit_has_its_remedy(state: str, level: str, remedy: str, around: int, host: Host) -> None:
    units(host, state)
    found = one(host, "fracast")
    assert found[0] == level
    assert remedy in found[2]


def test_a_path_unit_that_does_not_watch_is_broken(around: int, host: Host) -> None:
    units(host, watch="inactive")
    assert one(host, "tsfm-register.path")[2] == "run: systemctl enable --now tsfm-register.path"


def test_a_port_held_by_another_process_is_named_with_it(around: int, host: Host) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        settings(host, around, port)
        found = findings(host)["fracast"]
        holder = ports.holder(port)
    conflict = next(row for row in found if row["level"] == "broken")
    assert conflict["text"] == f"port {port} is in use by {holder}"
    assert "set another port in [fracast] of tsfm.ini" in conflict["remedy"]


def test_two_families_on_one_port_are_told(around: int, host: Host) -> None:
    host.install("naive")
    host.settings.write_text("[DEFAULT]\nport = 7007\n")
    found = findings(host)
    for family in ("fracast", "naive"):
        assert any("for more than one family" in row["text"] for row in found[family])


def test_weights_that_are_missing_are_told_with_the_command(around: int, host: Host, tmp_path: Path) -> None:
    host.install("chronos")
    with host.settings.open("a") as file:
        file.write(f"[chronos]\nmodel_folder = {tmp_path}/none\n")
    rows = findings(host)["chronos"]
    assert any("tsfm pull chronos" in row["remedy"] for row in rows)


def test_a_token_that_tdgpt_cannot_send_is_told(around: int, host: Host) -> None:
    with host.settings.open("a") as file:
        file.write("token_file = /etc/taos/token\n")
    assert any("remove token_file" in row["remedy"] for row in findings(host)["fracast"])


def test_wrong_settings_end_the_look_with_a_sentence(around: int, host: Host) -> None:
    host.settings.write_text("[fracast]\nport = x\n")
    level, text, _ = one(host, "tsfm.ini")
    assert level == "broken"
    assert "[fracast] port: expected a whole number" in text


def test_the_packaged_torch_is_asked_for_its_kernels(around: int, host: Host) -> None:
    python = host.root / "usr/lib/taos-tsfm/runtime/bin/python"
    python.parent.mkdir(parents=True)
    python.write_text("#!/bin/sh\necho 2.13.0+cpu DEFAULT\n")
    python.chmod(0o755)
    found = findings(host)
    assert "torch 2.13.0+cpu" in found["versions"][0]["text"]
    assert "torch uses DEFAULT kernels" in found["CPU"][0]["text"]


def test_a_cpu_whose_avx512_torch_leaves_unused_is_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "PROC", tmp_path)
    (tmp_path / "cpuinfo").write_text("processor : 0\nflags\t\t: fpu avx2 avx512f avx512_bf16\n")
    assert machine._cpu("AVX2").level == "warning"
    assert machine._cpu("AVX512").text == "supports AVX2, AVX512, bf16, but not AMX; torch uses AVX512 kernels"
    (tmp_path / "cpuinfo").write_text("flags\t\t: fpu avx avx2\n")
    assert machine._cpu("DEFAULT").level == "warning"
    assert machine._cpu("AVX2").level == "ok"
    (tmp_path / "cpuinfo").write_text("processor : 0\nFeatures\t: fp asimd\n")
    assert machine._cpu("DEFAULT").text == "supports NEON, but not SVE, bf16; torch uses DEFAULT kernels"


def test_a_cpu_without_avx2_is_a_warning_and_one_without_avx_is_broken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "PROC", tmp_path)
    (tmp_path / "cpuinfo").write_text("flags\t\t: fpu sse4_2 avx f16c\n")
    found = machine._cpu("DEFAULT")
    assert (found.level, found.text) == ("warning", "has no AVX2: a forecast takes about twice as long")
    assert "a CPU of 2013 or newer" in found.remedy
    (tmp_path / "cpuinfo").write_text("flags\t\t: fpu sse4_2\n")
    found = machine._cpu(None)
    assert found.level == "broken"
    assert "OPENBLAS_CORETYPE=Nehalem" in found.remedy


def test_a_packaged_torch_that_does_not_run_is_broken(around: int, host: Host) -> None:
    python = host.root / "usr/lib/taos-tsfm/runtime/bin/python"
    python.parent.mkdir(parents=True)
    # An environment without torch: the interpreter's own standard library is all that it has.
    python.write_text(f'#!/bin/sh\nexec {sys.executable} -S "$@"\n')
    python.chmod(0o755)
    level, text, remedy = one(host, "torch")
    assert (level, remedy) == ("broken", "install the package taos-tsfm-runtime again")
    assert text == "does not run: ModuleNotFoundError: No module named 'torch'"


def test_memory_that_does_not_suffice_is_a_warning(host: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "PROC", tmp_path)
    (tmp_path / "meminfo").write_text("MemTotal: 2048000 kB\nMemAvailable: 102400 kB\n")
    found = machine._memory([endpoints.of("chronos")], None)
    assert found.level == "warning"
    assert found.text.startswith("100 MiB available, the installed families need about ")


def test_one_that_runs_and_is_not_enabled_is_not_listed(around: int, host: Host, serve: Callable[..., Live]) -> None:
    live = serve("naive").until_ready()
    settings(host, around, live.port)
    host.disable("fracast")
    units(host, f"ActiveState=active\nUnitFileState=disabled\nMainPID={live.process.pid}")
    level, text, remedy = one(host, "fracast")
    assert level == "note"
    assert text.startswith("runs, but SQL does not list it")
    assert remedy == "to have it listed: systemctl enable tsfm@fracast.service"


def test_an_allow_that_shuts_this_host_out_is_told(around: int, host: Host) -> None:
    host.settings.write_text(host.settings.read_text() + "host = 0.0.0.0\nallow = 10.1.0.0/16\n")
    (told,) = [row for row in findings(host)["fracast"] if "allow" in row["text"]]
    assert (told["level"], told["remedy"]) == ("warning", "add 127.0.0.1 to allow in tsfm.ini")
    assert "SQL gets 403, because TDgpt here connects from 127.0.0.1" in told["text"]
    host.settings.write_text(host.settings.read_text().replace("10.1.0.0/16", "127.0.0.0/8 10.1.0.0/16"))
    assert not [row for row in findings(host)["fracast"] if "allow" in row["text"]]
