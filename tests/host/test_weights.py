"""Weights on a host: fetched by the unit before the instance, from a hub on loopback; and installed as a package."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator

import pytest
from checkpoints import chronos
from host.conftest import MODELS, ROOT, WORK, Host
from host.container import until
from weights.hub import REVISION

CHECKPOINT = "chronos-bolt-tiny"
FOLDER = f"{MODELS}/chronos/{CHECKPOINT}"
HUB = "http://127.0.0.1:8099"
PULL = f"tsfm pull chronos --revision {REVISION}"
NEEDED = ["config.json", "model.safetensors"]


@pytest.fixture(scope="module", autouse=True)
def installed(host: Host) -> None:
    """The service, nothing of weights; a hub's program and files, and the unit told where it is."""
    host.write("/etc/apt/sources.list.d/tsfm.list", "deb [trusted=yes] file:/srv/v1 ./\n")
    host.out("apt-get -q update && apt-get -q -y -o Dpkg::Use-Pty=0 install taos-tsfm-core taos-tsfm-chronos")
    chronos.make(host.root / "srv/hub/amazon" / CHECKPOINT, "bolt-tiny")  # of the real one's size
    host.write("/srv/hub.py", (ROOT / "tests/weights/hub.py").read_text())
    # The hub here has not the bytes of the pinned commit.
    command = f"ExecStart=\nExecStart=/usr/bin/tsfm pull %i --revision {REVISION}\n"
    drop_in = f"[Service]\nEnvironment=HF_ENDPOINT={HUB}\n{command}"
    host.write("/etc/systemd/system/tsfm-pull@.service.d/hub.conf", drop_in)
    host.out("systemctl daemon-reload")


@pytest.fixture
def hub(host: Host) -> Iterator[Callable[..., None]]:
    """Start the hub, as fast as it can or slow; it stops at the end of the test."""

    def start(bytes_per_s: str = "") -> None:
        host.out(f"systemd-run --collect --unit hub python3 /srv/hub.py /srv/hub 8099 {bytes_per_s}")
        until(lambda: host.get(8099, "/")[0] == 200, 20, lambda: host.journal("hub"))

    yield start
    host.run("systemctl stop hub", check=False)


@pytest.fixture
def nothing_there(host: Host) -> None:
    host.out(f"systemctl stop tsfm@chronos tsfm-pull@chronos; rm -rf {MODELS}/chronos")


def test_one_start_downloads_and_then_serves(host: Host, hub: Callable[..., None]) -> None:
    hub()
    host.out("systemctl start tsfm@chronos")
    assert len(host.ask("chronos")["output"]) == 24
    assert host.out(f"ls {FOLDER}").split() == [*NEEDED, "tsfm-manifest.json"]
    assert host.out(f"ls -A {MODELS}/chronos") == CHECKPOINT
    assert "100 % of" in host.journal("tsfm-pull@chronos")
    assert host.out("tsfm verify chronos").endswith(f"verified in {FOLDER}")


def test_the_weights_belong_to_the_downloader_and_the_service_cannot_write_them(host: Host) -> None:
    assert host.out(f"stat --format '%U %a' {FOLDER} {FOLDER}/model.safetensors") == "tsfm-pull 755\ntsfm-pull 644"
    pid = host.show("tsfm@chronos", "MainPID")
    assert host.out(f"stat --format %U /proc/{pid}") == "tsfm"
    mounts = host.out(f"cat /proc/{pid}/mounts").splitlines()
    assert not [line for line in mounts if line.split()[1].startswith("/var/lib") and " rw," in line]


def test_with_the_weights_there_nobody_is_asked(host: Host) -> None:
    # No hub runs any more.
    host.out("systemctl restart tsfm@chronos")
    assert host.journal("tsfm-pull@chronos", "_TRANSPORT=stdout") == f"chronos: weights are complete in {FOLDER}"
    assert len(host.ask("chronos")["output"]) == 24


@pytest.mark.usefixtures("nothing_there")
def test_a_host_whose_network_comes_late_serves_by_itself(host: Host, hub: Callable[..., None]) -> None:
    host.out("systemctl start --no-block tsfm@chronos")
    text = "systemctl status --full tsfm@chronos tsfm-pull@chronos"
    waiting = lambda: host.show("tsfm@chronos", "StatusText").startswith("waiting: ")  # noqa: E731
    until(waiting, 60, lambda: host.run(text, check=False).stdout)
    said = host.run("systemctl status --full --lines 0 tsfm@chronos", check=False).stdout
    assert 'Status: "waiting: weights of amazon/chronos-bolt-tiny:' in said
    assert f"the last download failed: {HUB} cannot be reached" in said
    assert "tsfm pull chronos amazon/chronos-bolt-tiny" in said
    until(lambda: host.show("tsfm@chronos", "NRestarts") != "0", 90, lambda: host.run(text, check=False).stdout)
    assert "status=75/TEMPFAIL" in host.out("journalctl --quiet --output cat --unit tsfm@chronos")
    hub()
    host.until_ready("chronos")
    assert len(host.ask("chronos")["output"]) == 24


@pytest.mark.usefixtures("nothing_there")
def test_weights_imported_while_it_waits_are_served_at_once(host: Host, hub: Callable[..., None]) -> None:
    hub()
    host.out(f"HF_ENDPOINT={HUB} {PULL} --to /srv/late && systemctl stop hub")
    host.out("systemctl start --no-block tsfm@chronos")
    waiting = lambda: host.show("tsfm@chronos", "StatusText").startswith("waiting: ")  # noqa: E731
    until(waiting, 60, lambda: host.journal("tsfm@chronos"))
    host.out("tsfm import /srv/late")
    host.until_ready("chronos")


@pytest.mark.usefixtures("nothing_there")
def test_systemctl_status_shows_the_progress(host: Host, hub: Callable[..., None]) -> None:
    hub("10e6")
    host.out("systemctl start --no-block tsfm@chronos")
    text = "systemctl status tsfm-pull@chronos"
    until(
        lambda: " % of " in host.show("tsfm-pull@chronos", "StatusText"), 30, lambda: host.run(text, check=False).stdout
    )
    assert host.show("tsfm@chronos", "ActiveState") == "inactive"
    assert 'Status: "chronos-bolt-tiny: ' in host.run(text, check=False).stdout
    host.until_ready("chronos")


@pytest.mark.usefixtures("nothing_there")
def test_what_root_left_unfinished_the_unit_finishes(host: Host, hub: Callable[..., None]) -> None:
    host.out(f"mkdir -p {MODELS}/chronos && chown tsfm-pull {MODELS}/chronos")
    failed = host.run(f"HF_ENDPOINT=http://127.0.0.1:9 {PULL}", check=False)
    assert failed.returncode == 1
    hub()
    host.out(f"HF_ENDPOINT={HUB} timeout --signal KILL 0.5 {PULL} || true")
    host.out("systemctl start tsfm@chronos")
    assert host.out(f"ls -A {MODELS}/chronos") == CHECKPOINT


def test_a_family_that_brings_its_weights_passes_by(host: Host) -> None:
    host.out("apt-get -q -y -o Dpkg::Use-Pty=0 install taos-tsfm-fracast")
    host.out("systemctl start tsfm@fracast")
    assert host.journal("tsfm-pull@fracast", "_TRANSPORT=stdout") == "fracast: its weights come with its package"


@pytest.mark.usefixtures("nothing_there")
def test_a_folder_carried_here_is_imported_and_served(host: Host, hub: Callable[..., None]) -> None:
    hub()
    host.out(f"HF_ENDPOINT={HUB} {PULL} --to /srv/stick")
    host.out("systemctl stop hub")
    host.out("tsfm import /srv/stick && systemctl start tsfm@chronos")
    assert len(host.ask("chronos")["output"]) == 24


@pytest.mark.usefixtures("nothing_there")
def test_weights_install_as_a_package(host: Host) -> None:
    folder = WORK / "weights"
    subprocess.run(["rm", "-rf", str(folder)], check=True)
    bare = host.root / "srv/hub/amazon" / CHECKPOINT
    words = ["FAMILY=chronos", f"FROM={bare}", f"CHECKPOINT={CHECKPOINT}", f"OUT={folder}"]
    subprocess.run(["make", "-s", "model-package", *words], cwd=ROOT, check=True)
    (deb,) = folder.glob("*.deb")
    (host.root / "srv/weights.deb").write_bytes(deb.read_bytes())
    host.out("apt-get -q -y -o Dpkg::Use-Pty=0 install /srv/weights.deb")
    host.out("systemctl start tsfm@chronos && tsfm verify chronos")
    assert len(host.ask("chronos")["output"]) == 24
    host.out("systemctl stop tsfm@chronos && apt-get -q -y purge taos-tsfm-weights-chronos-bolt-tiny")
    assert not (host.root / FOLDER.lstrip("/")).exists()
