"""The newest TDgpt: an anode behind TLS, and configurations in other places than /etc/taos."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from anode import configuration
from conftest import Live, free_port

from tdgpt.host import SAMPLES, Host
from tsfm.tdgpt import anode, files, reconcile
from tsfm.tdgpt import host as tdgpt_host

from .test_sql_to_service import anode as running
from .test_sql_to_service import sql

G4 = (SAMPLES / "g4.config.py").read_text()


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """(certificate, key), signed by itself for a name that nobody asks for."""
    folder = tmp_path_factory.mktemp("tls")
    cert, key = folder / "cert.pem", folder / "key.pem"
    words = "openssl req -x509 -newkey rsa:2048 -nodes -days 1 -subj /CN=anode.example -keyout"
    subprocess.run([*words.split(), str(key), "-out", str(cert)], check=True, capture_output=True)
    return cert, key


def secured(host: Host, pair: tuple[Path, Path], port: int, lines: str = "certfile = {0!r}\nkeyfile = {1!r}\n") -> Path:
    config = host.tdgpt("G4")
    text = G4.replace("0.0.0.0:6035", f"0.0.0.0:{port}")
    config.write_text(text + lines.format(*map(str, pair)))
    return config


@pytest.mark.parametrize(
    "lines",
    [
        "certfile = {0!r}\nkeyfile = {1!r}\n",
        "certfile = _os.path.abspath({0!r})\nkeyfile = _os.path.abspath({1!r})\n",
        "if _os.path.exists({0!r}):\n    certfile = {0!r}\n    keyfile = {1!r}\n",
    ],
    ids=["written out", "computed", "in a branch"],
)
def test_an_anode_behind_tls_is_healthy_and_sql_reaches_us(
    lines: str, host: Host, pair: tuple[Path, Path], serve: Callable[..., Live]
) -> None:
    port = free_port()
    config = secured(host, pair, port, lines)
    live = serve("naive").until_ready()
    host.install("naive")
    host.settings.write_text(f"[naive]\nport = {live.port}\n")
    assert host.tsfm("register", "--no-restart", "--no-update").returncode == 0
    with running(host, config, "https", port) as asked:
        assert asked("/forecast", sql("algo=naive,rows=5"))["rows"] == 5
        said = host.tsfm("doctor").stdout
    assert f"ok       anode        127.0.0.1:{port} lists naive" in said, said


def test_tls_that_begins_with_the_next_start_is_told_with_the_restart(host: Host, pair: tuple[Path, Path]) -> None:
    port = free_port()
    config = secured(host, pair, port)
    host.install("fracast")
    plain = host.root / "plain.config.py"
    plain.write_text(G4)
    with running(host, plain, "http", port):
        said = host.tsfm("doctor").stdout
    assert config.exists()
    (line,) = [row for row in said.splitlines() if row.startswith("broken   anode")]
    assert f"https://127.0.0.1:{port} does not speak TLS yet" in line
    assert line.endswith("; run: systemctl restart taosanoded.service")


def test_a_configuration_without_a_certificate_is_asked_in_plain(host: Host) -> None:
    config = host.tdgpt("G4")
    config.write_text(
        G4.replace("0.0.0.0:6035", f"0.0.0.0:{(port := free_port())}") + "certfile = None\nkeyfile = ''\n"
    )
    found = tdgpt_host.find()
    assert found is not None
    with running(host, config, "http", port):
        assert "chronos" in anode.listed(found.anode)


@pytest.mark.parametrize(
    ("lines", "tls"),
    [
        ("", False),
        ("certfile = ''", False),
        ("certfile = 'a.pem'", True),
        ("keyfile = 'a.pem'", True),
        ("certfile = None\nkeyfile = 'a.pem'", True),
        ("certfile = path()", None),
        ("certfile = 'a.pem'\ndel certfile", False),
    ],
)
def test_whether_the_anode_speaks_tls_is_read_from_its_file(lines: str, tls: bool | None, host: Host) -> None:
    (host.etc / "taosanode.config.py").write_text(f"bind = ['127.0.0.1:7000', '[::1]:7000']\n{lines}\n")
    found = tdgpt_host.find()
    assert found is not None
    assert found.anode.tls is tls
    assert found.address == ("127.0.0.1", 7000)


def test_an_ini_may_have_the_anode_behind_tls_as_well(host: Host) -> None:
    (host.etc / "taosanode.ini").write_text("[uwsgi]\nhttps = 0.0.0.0:7000,/a/cert.pem,/a/key.pem\n")
    found = tdgpt_host.find()
    assert found is not None
    assert found.anode == tdgpt_host.Anode("127.0.0.1", 7000, True, "/a/cert.pem")


def test_off_loopback_the_anodes_certificate_must_be_that_of_its_file(pair: tuple[Path, Path]) -> None:
    context = anode._context(tdgpt_host.Anode("192.0.2.1", 6035, True, str(pair[0])))
    assert context.verify_mode.name == "CERT_REQUIRED"
    assert len(context.get_ca_certs()) == 1
    assert anode._context(tdgpt_host.Anode("127.0.0.1", 6035, True, str(pair[0]))).verify_mode.name == "CERT_NONE"


def config_in(folder: Path, name: str = "taosanode.config.py") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_text(G4)
    return path


def fracast_of(path: Path) -> str | None:
    return configuration.service(path, "fracast")


OURS = "http://127.0.0.1:6076/ds_predict"


@pytest.mark.parametrize("in_etc", [True, False])
def test_the_installations_own_configuration_comes_before_that_in_etc(in_etc: bool, host: Host) -> None:
    etc = host.tdgpt("G4")
    own = config_in(host.tree / "cfg")
    own.write_text(own.read_text().replace("6035", "7035"))
    (own.parent / "enabled_models.txt").write_text("tdtsfm\nchronos\n")
    if not in_etc:
        etc.unlink()
    before = {path: path.read_bytes() for path in (own, etc, own.parent / "enabled_models.txt") if path.exists()}
    host.install("fracast")
    outcome = reconcile.register()
    assert outcome.found is not None
    assert (outcome.found.expected, outcome.found.address) == (own, ("127.0.0.1", 7035))
    assert {fracast_of(path) for path in outcome.found.configs} == {OURS}
    assert len(outcome.found.configs) == 1 + in_etc
    assert (own.parent / "enabled_models.txt").read_bytes() == b"tdtsfm\nchronos\n"
    reconcile.unregister()
    assert {path: path.read_bytes() for path in before} == before
    assert sorted(path.name for path in own.parent.iterdir()) == ["enabled_models.txt", "taosanode.config.py"]


def test_one_file_under_two_names_is_edited_once(host: Host) -> None:
    etc = host.tdgpt("G4")
    own = config_in(host.tree / "cfg")
    etc.unlink()
    etc.symlink_to(own)
    host.install("fracast")
    outcome = reconcile.register()
    assert outcome.found is not None
    assert outcome.found.configs == (etc,)
    assert outcome.found.expected == etc
    assert fracast_of(own) == OURS
    assert etc.is_symlink()


def test_the_variable_of_our_own_environment_names_the_file(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    host.tdgpt("G4")
    named = config_in(host.root / "opt", "mine.py")
    monkeypatch.setenv("TDGPT_CONF", str(named))
    host.install("fracast")
    outcome = reconcile.register()
    assert outcome.found is not None
    assert outcome.found.expected == named
    assert fracast_of(named) == OURS
    reconcile.unregister()
    assert named.read_text() == G4
    assert list(named.parent.iterdir()) == [named]


UNITS = {
    "Environment": ("etc/systemd/system/taosanoded.service", "[Service]\nEnvironment=A=b TDGPT_CONF={0}\n"),
    "quoted": ("lib/systemd/system/taosanoded.service", '[Service]\nEnvironment="A=b c" "TDGPT_CONF={0}"\n'),
    "continued": ("usr/lib/systemd/system/taosanoded.service", "[Service]\nEnvironment=A=b \\\n  'TDGPT_CONF={0}'\n"),
    "drop-in": ("etc/systemd/system/taosanoded.service.d/x.conf", "[Service]\nEnvironment=TDGPT_CONF={0}\n"),
    "the last": (
        "etc/systemd/system/taosanoded.service",
        "[Service]\nEnvironment=TDGPT_CONF=/x\nEnvironment=TDGPT_CONF={0}\n",
    ),
    "file": ("etc/systemd/system/taosanoded.service", "[Service]\nEnvironmentFile=-/etc/default/taosanode\n"),
}


@pytest.mark.parametrize(("unit", "text"), UNITS.values(), ids=UNITS)
@pytest.mark.parametrize("absolute", [True, False], ids=["full path", "path of the host's"])
def test_the_variable_of_tdgpts_unit_names_the_file(unit: str, text: str, absolute: bool, host: Host) -> None:
    host.tdgpt("G4")
    named = config_in(host.root / "opt/a folder" if "quoted" in text else host.root / "opt", "mine.py")
    told = str(named) if absolute else f"/{named.relative_to(host.root)}"
    path = host.root / unit
    path.parent.mkdir(parents=True)
    path.write_text(text.format(told))
    (host.root / "etc/default").mkdir()
    (host.root / "etc/default/taosanode").write_text(f'# here\nOTHER=1\nTDGPT_CONF="{told}"\n')
    host.install("fracast")
    outcome = reconcile.register()
    assert outcome.found is not None
    assert outcome.found.expected == named
    assert fracast_of(named) == OURS


@pytest.mark.parametrize(
    "text",
    [
        "[Unit]\nEnvironment=TDGPT_CONF=/opt/mine.py\n",
        "[Service]\n#Environment=TDGPT_CONF=/opt/mine.py\n",
        "[Service]\nEnvironment=TDGPT_CONF=/opt/mine.py\nEnvironment=\n",
        "[Service]\nEnvironment='TDGPT_CONF=/opt/mine.py\n",
        "[Service]\nEnvironment=TDGPT_CONF=mine.py\n",
        "[Service]\nEnvironmentFile=/none\n",
    ],
)
def test_a_unit_that_does_not_set_it_changes_nothing(text: str, host: Host) -> None:
    etc = host.tdgpt("G4")
    config_in(host.root / "opt", "mine.py")
    unit = host.root / "etc/systemd/system/taosanoded.service"
    unit.parent.mkdir(parents=True)
    unit.write_text(text)
    found = tdgpt_host.find()
    assert found is not None
    assert (found.expected, found.configs) == (etc, (etc,))


def test_a_named_file_that_is_missing_is_told(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    host.tdgpt("G4")
    monkeypatch.setenv("TDGPT_CONF", str(host.root / "opt/mine.py"))
    host.install("fracast")
    assert any("opt/mine.py: TDgpt reads it, but it is missing" in note for note in reconcile.register().notes)


def test_a_backup_beside_a_named_file_goes_with_the_registration(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    host.tdgpt("G4")
    named = config_in(host.root / "opt", "mine.py")
    monkeypatch.setenv("TDGPT_CONF", str(named))
    host.install("fracast")
    reconcile.register()
    assert files.backup_of(named).exists()
    named.unlink()
    reconcile.unregister()
    assert not files.backup_of(named).exists()
