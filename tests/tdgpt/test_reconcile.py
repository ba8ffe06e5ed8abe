"""The whole step on a host's files: what it places, keeps, refuses and gives back."""

from __future__ import annotations

import fcntl
import os
import shutil
import stat
import sys
from pathlib import Path

import pytest
from anode import configuration

from tdgpt.host import SAMPLES, Host
from tsfm.errors import ConfigError
from tsfm.tdgpt import adapters, files, marks, reconcile, trust
from tsfm.tdgpt import host as tdgpt_host


def everything(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


@pytest.mark.parametrize("generation", ["G1", "G2", "G3", "G3flat", "G4"])
def test_every_generation_finds_the_families_and_gets_its_bytes_back(generation: str, host: Host) -> None:
    config = host.tdgpt(generation)
    host.install("fracast", "chronos", "naive")
    before = everything(host.root)
    outcome = reconcile.register()
    assert outcome.refused == []
    assert outcome.stale
    assert outcome.found is not None
    assert outcome.found.generation == generation[:2]
    assert configuration.service(config, "fracast") == "http://127.0.0.1:6076/ds_predict"
    assert configuration.service(config, "naive") == "http://127.0.0.1:6099/ds_predict"
    assert configuration.service(config, "chronos") == "http://127.0.0.1:6038/ds_predict"
    assert not reconcile.register().done
    assert reconcile.unregister().stale
    assert everything(host.root) == before
    assert not reconcile.unregister().done


def test_both_configurations_are_written_where_both_are(host: Host) -> None:
    configs = [host.tdgpt("G2"), host.tdgpt("G4")]
    host.install("fracast")
    reconcile.register()
    assert {configuration.service(config, "fracast") for config in configs} == {"http://127.0.0.1:6076/ds_predict"}


def test_a_host_without_tdgpt_is_told_so_and_gets_the_scripts(host: Host) -> None:
    host.install("fracast")
    outcome = reconcile.register()
    assert outcome.found is None
    assert "no TDgpt on this host" in outcome.notes[0]
    assert [path.name for path in host.scripts.iterdir()] == ["fracast-server.py"]
    assert os.access(host.scripts / "fracast-server.py", os.X_OK)
    reconcile.unregister()
    assert not host.tree.exists()


def test_addresses_come_from_tsfm_ini(host: Host) -> None:
    config = host.tdgpt("G2")
    host.install("fracast", "naive")
    host.settings.write_text("[fracast]\nport = 7001\nhost = 0.0.0.0\n[naive]\nhost = ::1\n[tdengine]\nuser = me\n")
    reconcile.register()
    assert configuration.service(config, "fracast") == "http://127.0.0.1:7001/ds_predict"
    assert configuration.service(config, "naive") == "http://[::1]:6099/ds_predict"


@pytest.mark.parametrize("settings", ["[fracast]\nport = many\n", "[fracast]\nhost = fe80::1%eth0\n"])
def test_wrong_settings_change_nothing(settings: str, host: Host) -> None:
    config = host.tdgpt("G2")
    host.install("fracast")
    host.settings.write_text(settings)
    with pytest.raises(ConfigError):
        reconcile.register()
    assert config.read_bytes() == (SAMPLES / "g2.ini").read_bytes()


def hostile(name: str, data: bytes, host: Host) -> Path:
    config = host.tdgpt("G4" if name.endswith(".py") else "G2")
    config.write_bytes(data)
    host.install("fracast", "timemoe")
    return config


G1 = (SAMPLES / "g1.ini").read_bytes()
G4 = (SAMPLES / "g4.config.py").read_bytes()


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("no final line end.ini", G1.rstrip(b"\n")),
        ("crlf.ini", G1.replace(b"\n", b"\r\n")),
        ("a byte order mark.ini", b"\xef\xbb\xbf" + G1),
        ("gbk.ini", G1.replace(b"where the models are", "模型服务地址".encode("gbk"))),
        ("per cent.ini", G1 + b"[x]\npath = %(nowhere)s 100%\n"),
        ("empty.ini", b""),
        ("no final line end.py", G4.rstrip(b"\n")),
        ("crlf.py", G4.replace(b"\n", b"\r\n")),
        ("a byte order mark.py", b"\xef\xbb\xbf" + G4),
        ("gbk.py", b"# -*- coding: gbk -*-\n# " + "端口".encode("gbk") + b"\n" + G4),
        ("gbk without saying so.py", "# 端口\n".encode("gbk") + G4),
        ("per cent.py", G4 + b"x = '%d' % 1\n"),
        ("empty.py", b""),
    ],
)
def test_hostile_files_are_registered_and_given_back_to_the_byte(name: str, data: bytes, host: Host) -> None:
    config = hostile(name, data, host)
    outcome = reconcile.register()
    assert outcome.refused == []
    assert b"http://127.0.0.1:6076/ds_predict" in config.read_bytes()
    reconcile.unregister()
    assert config.read_bytes() == data


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("duplicate sections.ini", G1 + b"[taosanode]\n"),
        ("text.ini", b"no section\n"),
        ("utf-16.ini", G1.decode().encode("utf-16")),
        ("syntax error.py", G4 + b"def\n"),
    ],
)
def test_what_tdgpt_cannot_read_is_refused_and_left_alone(name: str, data: bytes, host: Host) -> None:
    config = hostile(name, data, host)
    outcome = reconcile.register()
    assert len(outcome.refused) == 1
    assert outcome.refused[0].startswith(f"{config}: ")
    assert config.read_bytes() == data
    assert not files.backup_of(config).exists()


def test_one_refused_file_does_not_keep_the_other_from_being_done(host: Host) -> None:
    broken, good = host.tdgpt("G2"), host.tdgpt("G4")
    broken.write_text("nonsense")
    host.install("fracast")
    outcome = reconcile.register()
    assert len(outcome.refused) == 1
    assert configuration.service(good, "fracast")


def test_a_running_tdgpt_is_not_restarted_over_a_byte_order_mark_it_would_stop_at(host: Host) -> None:
    hostile("bom.ini", b"\xef\xbb\xbf" + G1, host)
    reconcile.register()
    (host.etc / "taosanode.ini").write_bytes(b"\xef\xbb\xbf" + G1)
    outcome = reconcile.register()
    assert outcome.done
    assert not outcome.stale
    assert "byte order mark" in outcome.notes[-1]


def test_owner_and_mode_are_kept_and_one_backup_holds_what_was_there(host: Host) -> None:
    config = host.tdgpt("G1")
    config.chmod(0o440)
    if os.geteuid() == 0:
        os.chown(config, 1234, 4321)
    before = config.stat()
    host.install("fracast")
    reconcile.register()
    after = config.stat()
    facts = ("st_mode", "st_uid", "st_gid")
    assert [getattr(after, name) for name in facts] == [getattr(before, name) for name in facts]
    assert files.backup_of(config).read_bytes() == G1
    host.install("naive")
    reconcile.register()
    assert files.backup_of(config).stat().st_mode == before.st_mode
    assert sorted(path.name for path in host.etc.iterdir()) == ["taosanode.ini", "taosanode.ini.tsfm-backup"]


def test_a_link_into_tdgpts_tree_stays_a_link(host: Host) -> None:
    config = host.tdgpt("G1")
    real = host.tree / "cfg/taosanode.ini"
    real.parent.mkdir()
    config.rename(real)
    config.symlink_to(real)
    host.install("fracast")
    reconcile.register()
    assert config.is_symlink()
    assert b"fracast" in real.read_bytes()
    reconcile.unregister()
    assert real.read_bytes() == G1
    assert [path.name for path in real.parent.iterdir()] == ["taosanode.ini"]


def test_a_folder_in_the_files_place_is_refused(host: Host) -> None:
    config = host.tdgpt("G1")
    config.unlink()
    config.mkdir()
    host.install("fracast")
    assert reconcile.register().refused == [f"{config}: expected a file, found something else"]


def test_a_file_system_that_forbids_it_is_told_in_a_sentence(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    config = host.tdgpt("G1")
    host.install("fracast")

    def read_only(*_: object, **__: object) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(files.tempfile, "mkstemp", read_only)
    refused = reconcile.register().refused
    assert f"{config}: cannot be replaced: Read-only file system; run as root" in refused
    assert config.read_bytes() == G1


def test_a_dry_run_shows_the_lines_and_changes_nothing(host: Host) -> None:
    host.tdgpt("G1")
    host.install("fracast")
    before = everything(host.root)
    outcome = reconcile.register(dry=True)
    assert everything(host.root) == before
    assert "+fracast = http://127.0.0.1:6076/ds_predict" in outcome.diffs[0].splitlines()
    assert len(outcome.done) == 4  # a script, the adapters of the forecast and of the detector, the configuration


def test_the_template_serves_where_tdgpt_has_no_file_and_goes_again(host: Host) -> None:
    config = host.tdgpt("G2")
    config.unlink()
    host.install("fracast")
    assert reconcile.register().stale
    assert configuration.service(config, "fracast") == "http://127.0.0.1:6076/ds_predict"
    assert not reconcile.register().done
    reconcile.unregister()
    assert not config.exists()


def test_a_template_that_somebody_went_on_writing_stays_without_our_lines(host: Host) -> None:
    config = host.tdgpt("G2")
    config.unlink()
    host.install("fracast")
    reconcile.register()
    config.write_text(config.read_text() + "[mine]\nx = 1\n")
    reconcile.unregister()
    assert config.read_text().endswith("[mine]\nx = 1\n")
    assert "tsfm >>>" not in config.read_text()


def test_no_python_configuration_is_made_up(host: Host) -> None:
    host.tdgpt("G4").unlink()
    host.install("fracast")
    outcome = reconcile.register()
    assert not (host.etc / "taosanode.config.py").exists()
    assert "reinstall TDgpt's configuration" in outcome.notes[-1]


def test_an_upgrade_that_wipes_the_tree_is_undone(host: Host) -> None:
    host.tdgpt("G2")
    host.install("fracast")
    reconcile.register()
    shutil.rmtree(host.tree)
    host.tdgpt("G4")
    (host.etc / "taosanode.ini").unlink()
    assert reconcile.register().stale
    assert (host.scripts / "fracast-server.py").exists()
    assert (host.code / "algo/fc/fracast.py").exists()
    assert (host.code / "algo/custom/ad/tsfm_fracast.py").exists()
    assert configuration.service(host.etc / "taosanode.config.py", "fracast")


def test_the_backup_of_a_file_that_tdgpts_removal_took_goes_as_well(host: Host) -> None:
    config = host.tdgpt("G2")
    host.install("fracast")
    reconcile.register()
    config.unlink()
    shutil.rmtree(host.tree)
    reconcile.unregister()
    assert list(host.etc.iterdir()) == []


def test_what_has_left_is_taken_out(host: Host) -> None:
    config = host.tdgpt("G2")
    host.install("fracast", "naive")
    reconcile.register()
    host.uninstall("fracast")
    assert reconcile.register().stale
    assert configuration.service(config, "fracast") is None
    assert [path.name for path in host.scripts.iterdir()] == ["naive-server.py"]
    assert [path.name for path in adapters.ours(host.code)] == ["tsfm_naive.py", "naive.py"]


def test_an_adapter_goes_only_where_its_base_class_is(host: Host) -> None:
    host.tdgpt("G1")
    host.install("fracast")
    (host.code / "algo/tsfm.py").unlink()
    outcome = reconcile.register()
    assert [path.name for path in adapters.ours(host.code)] == ["tsfm_fracast.py"]
    assert "SQL cannot use fracast; upgrade TDgpt" in outcome.notes[0]
    (host.code / "service.py").unlink()
    outcome = reconcile.register()
    assert adapters.ours(host.code) == []
    assert "SQL cannot use fracast, tsfm_fracast; upgrade TDgpt" in outcome.notes[0]


def test_an_algorithm_of_tdgpts_own_with_the_name_is_left_alone(host: Host) -> None:
    host.tdgpt("G1")
    theirs = host.code / "algo/fc/fracast.py"
    theirs.write_text("# comes with TDgpt\n")
    host.install("fracast")
    outcome = reconcile.register()
    assert "TDgpt's own adapter for fracast" in outcome.notes[0]
    reconcile.unregister()
    assert theirs.read_text() == "# comes with TDgpt\n"


def test_an_adapter_that_tdgpts_interpreter_does_not_compile_is_not_placed(own_host: Host) -> None:
    host = own_host
    host.tdgpt("G1")
    python = host.tree / "venv/bin/python3"
    python.parent.mkdir(parents=True)
    python.write_text("#!/bin/sh\necho 'SyntaxError: too new' >&2\nexit 1\n")
    python.chmod(0o755)
    host.install("fracast")
    outcome = reconcile.register()
    assert outcome.refused == [
        f"{host.code}/algo/{name}.py: not written: {python} cannot compile it: SyntaxError: too new"
        for name in ("fc/fracast", "ad/tsfm_fracast")
    ]
    assert adapters.ours(host.code) == []
    python.unlink()
    python.symlink_to(Path(sys.base_prefix, "bin/python3"))  # of the system: a checkout may lie where others can write
    outcome = reconcile.register()
    assert (outcome.refused, outcome.notes) == ([], [])
    assert adapters.ours(host.code) != []


def trapped(host: Host) -> Path:
    """TDgpt's interpreter, which leaves a trace when it is run, behind a link and in an installation of its own."""
    host.tdgpt("G1")
    python = host.root / "opt/python/bin/python3.10"
    (host.root / "opt/python/lib/python3.10").mkdir(parents=True)
    python.parent.mkdir()
    python.write_text(f"#!/bin/sh\ntouch {host.root}/trapped\n")
    python.chmod(0o755)
    link = host.tree / "venv/bin/python3"
    link.parent.mkdir(parents=True)
    link.symlink_to(host.root / "opt/alias/bin/python3.10")
    (host.root / "opt/alias").symlink_to("python")
    host.install("fracast")
    return link


def test_an_interpreter_that_nobody_else_can_change_is_run(own_host: Host) -> None:
    trapped(own_host)
    outcome = reconcile.register()
    assert (outcome.refused, outcome.notes) == ([], [])
    assert (own_host.root / "trapped").exists()


PLACES = ["usr/local/taos/taosanode", "usr/local/taos/taosanode/venv", "usr/local/taos/taosanode/venv/bin", "opt"]
PLACES += ["opt/python", "opt/python/bin", "opt/python/bin/python3.10", "opt/python/lib", "opt/python/lib/python3.10"]


@pytest.mark.parametrize("mode", [0o777, 0o775, 0o1777, 0o2775])
@pytest.mark.parametrize("place", PLACES)
def test_an_interpreter_that_others_may_change_is_not_run(place: str, mode: int, own_host: Host) -> None:
    link = trapped(own_host)
    (own_host.root / place).chmod(mode)
    assert_not_run(own_host, link, place)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
@pytest.mark.parametrize("place", [*PLACES, "usr/local/taos/taosanode/venv/bin/python3", "opt/alias"])
def test_an_interpreter_below_somebody_elses_folder_or_link_is_not_run(place: str, own_host: Host) -> None:
    link = trapped(own_host)
    os.chown(own_host.root / place, 65534, 65534, follow_symlinks=False)
    assert_not_run(own_host, link, place)


def assert_not_run(host: Host, link: Path, place: str) -> None:
    outcome = reconcile.register()
    assert not (host.root / "trapped").exists()
    assert outcome.refused == []
    assert adapters.ours(host.code) != [], "our own grammar takes it"
    (told,) = outcome.notes
    assert f"compiled with tsfm's own Python only; TDgpt's {link} was not run: {host.root / place} " in told
    assert reconcile.register().notes == []


def test_an_interpreter_below_tmp_is_not_run(host: Host) -> None:
    link = trapped(host)
    outcome = reconcile.register()
    assert not (host.root / "trapped").exists()
    assert f"TDgpt's {link} was not run: /tmp may be changed by other users" in outcome.notes[
        0
    ] or not host.root.is_relative_to("/tmp")


def test_a_path_whose_links_go_round_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    before = os.listdir("/proc/self/fd")
    with pytest.raises(OSError, match="symbolic links"):
        trust.walk(tmp_path / "a")
    with pytest.raises(FileNotFoundError):
        trust.walk(tmp_path / "none/x")
    assert len(os.listdir("/proc/self/fd")) == len(before)


def test_a_lock_that_somebody_holds_for_ever_does_not_stop_it(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    config = host.tdgpt("G2")
    host.install("fracast")
    monkeypatch.setattr(reconcile, "_LOCK_S", 0.1)
    folder = os.open(host.etc, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        reconcile.register()
    finally:
        os.close(folder)
    assert configuration.service(config, "fracast")


def test_a_script_that_lost_its_mode_gets_it_back(host: Host) -> None:
    host.install("fracast")
    reconcile.register()
    script = host.scripts / "fracast-server.py"
    script.chmod(0o600)
    reconcile.register()
    assert stat.S_IMODE(script.stat().st_mode) == 0o755


@pytest.mark.parametrize(
    ("text", "generation", "address"),
    [
        ("[uwsgi]\nhttp = 0.0.0.0:6090\n", "G1", ("127.0.0.1", 6090)),
        ("[uwsgi]\nhttp=:6035\n", "G2", ("127.0.0.1", 6035)),
        ("[uwsgi]\nhttp-socket = 10.0.0.1:7000\n", "G2", ("10.0.0.1", 7000)),
        ("[tsfm-service]\n", "G2", ("127.0.0.1", 6035)),
    ],
)
def test_the_anodes_address_is_read_from_its_ini(
    text: str, generation: str, address: tuple[str, int], host: Host
) -> None:
    (host.etc / "taosanode.ini").write_text(text)
    found = tdgpt_host.find()
    assert found is not None
    assert (found.generation, found.address) == (generation, address)


@pytest.mark.parametrize(
    ("text", "generation", "address"),
    [
        ("bind = '[::]:7000'\n", "G3", ("127.0.0.1", 7000)),
        ("bind = ':7001'\nmodels = {}\n", "G4", ("127.0.0.1", 7001)),
        ("models = {'a': {}}\nbind = port()\n", "G4", ("127.0.0.1", 6035)),
        ("syntax error\n", "G3", ("127.0.0.1", 6035)),
    ],
)
def test_the_anodes_address_is_read_from_its_python_file(
    text: str, generation: str, address: tuple[str, int], host: Host
) -> None:
    (host.etc / "taosanode.config.py").write_text(text)
    found = tdgpt_host.find()
    assert found is not None
    assert (found.generation, found.address) == (generation, address)


def test_a_lone_mark_is_refused_when_taking_out(host: Host) -> None:
    config = host.tdgpt("G1")
    config.write_text(f"[a]\n{marks.BEGIN}\n")
    assert "without its counterpart" in reconcile.unregister().refused[0]


@pytest.mark.parametrize("generation", ["G1", "G2", "G3", "G3flat", "G4"])
def test_an_upgrade_moves_timesfm_and_moment_from_their_old_ports(generation: str, host: Host) -> None:
    config = host.tdgpt(generation)
    before = config.read_bytes()
    host.install("timesfm", "moment")
    host.settings.write_text("[timesfm]\nport = 6061\n[moment]\nport = 6062\n")
    assert reconcile.register().refused == []
    old = {key: configuration.service(config, key) for key in ("timesfm", "moment")}
    assert old == {"timesfm": "http://127.0.0.1:6061/ds_predict", "moment": "http://127.0.0.1:6062/imputation"}
    host.settings.write_text("[moment]\nport = 6062\n")
    reconcile.register()
    assert configuration.service(config, "timesfm") == "http://127.0.0.1:6077/ds_predict"
    assert configuration.service(config, "moment") == old["moment"], "a port that the operator chose stays"
    host.settings.write_text("")
    reconcile.register()
    assert configuration.service(config, "moment") == "http://127.0.0.1:6078/imputation"
    reconcile.unregister()
    assert config.read_bytes() == before
