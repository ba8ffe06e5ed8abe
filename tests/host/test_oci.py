"""The image for containers: its layout is OCI's, and it runs unpacked, without rights, on a root that is read-only."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from host.conftest import FAMILIES, ROOT, VERSIONS, request
from host.container import scratch, until

from tsfm import card

USER = 65532
# What an engine gives a container: its own processes, network and names, a read-only root, /proc, a few devices and a
# writable /tmp. Then the image's user, without a way to get more rights.
ENGINE = """
root=$1; shift
ip link set lo up
mount --bind "$root" "$root" && mount -o remount,ro,bind "$root"
mount -t tmpfs tmpfs "$root/tmp"
mount -t proc proc "$root/proc"
mount -t tmpfs tmpfs "$root/dev"
for device in null zero random urandom; do
    touch "$root/dev/$device" && mount --bind "/dev/$device" "$root/dev/$device"
done
exec env -i "$@"
"""


@pytest.fixture(scope="module")
def layout(repositories: Path) -> Path:
    return repositories / "v1" / "image"


def blob(layout: Path, descriptor: dict[str, Any]) -> bytes:
    """The bytes that a descriptor promises."""
    kind, _, digest = descriptor["digest"].partition(":")
    data = (layout / "blobs" / kind / digest).read_bytes()
    assert (kind, len(data)) == ("sha256", descriptor["size"])
    assert hashlib.sha256(data).hexdigest() == digest
    return data


@pytest.fixture(scope="module")
def manifest(layout: Path) -> dict[str, Any]:
    index = json.loads((layout / "index.json").read_text())
    (only,) = index["manifests"]
    assert only["mediaType"] == "application/vnd.oci.image.manifest.v1+json"
    assert only["platform"] == {"architecture": "amd64", "os": "linux"}
    found: dict[str, Any] = json.loads(blob(layout, only))
    return found


@pytest.fixture(scope="module")
def configuration(layout: Path, manifest: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(blob(layout, manifest["config"]))
    return found


@pytest.fixture(scope="module")
def unpacked(layout: Path, manifest: dict[str, Any]) -> Iterator[Path]:
    """The image's root, as an engine would unpack it: layer upon layer."""
    folder = scratch("oci-")
    root = folder / "root"
    root.mkdir(mode=0o755)
    try:
        for layer in manifest["layers"]:
            blob_ = layout / "blobs" / "sha256" / layer["digest"].partition(":")[2]
            command = ["tar", "--extract", "--gzip", "--numeric-owner", "--same-permissions", "--directory", str(root)]
            subprocess.run([*command, "--file", str(blob_)], check=True)
        for name in ("proc", "dev"):
            (root / name).mkdir(exist_ok=True)
        yield root
    finally:
        shutil.rmtree(folder)


class Running:
    """The image's entry point, run as an engine runs it."""

    def __init__(self, root: Path, configuration: dict[str, Any], log: Path, *words: str, **settings: str) -> None:
        how = configuration["config"]
        self.environment = {**dict(entry.split("=", 1) for entry in how["Env"]), **settings}
        spaces = ["unshare", "--mount", "--pid", "--net", "--ipc", "--uts", "--fork", "--kill-child"]
        user = ["/usr/bin/setpriv", "--no-new-privs", "/usr/sbin/chroot", f"--userspec={how['User']}", "--groups="]
        inner = [
            *(f"{key}={value}" for key, value in self.environment.items()),
            *user,
            str(root),
            *how["Entrypoint"],
            *words,
        ]
        command = [*spaces, "sh", "-ec", ENGINE, "engine", str(root), *inner]
        self.log = log
        with log.open("wb") as file:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=file, stderr=file)
        self.first = 0  # the pid of the first process, as this machine sees it

    def inside(self, *command: str) -> subprocess.CompletedProcess[str]:
        """A program of this machine's among the container's processes and on its network."""
        enter = ["nsenter", "--target", str(self.first), "--net", "--pid"]
        return subprocess.run([*enter, *command], capture_output=True, text=True, timeout=60)

    def healthy(self) -> bool:
        """The image's check, run as an engine runs it: in the container, as its user."""
        user = ["--setuid", str(USER), "--setgid", str(USER)]
        enter = ["nsenter", "--target", str(self.first), "--all", "--root", "--wdns=/", *user]
        done = subprocess.run([*enter, "/usr/bin/tsfm-healthy"], env=self.environment, capture_output=True, timeout=60)
        return done.returncode == 0

    def started(self) -> bool:
        assert self.process.poll() is None, self.log.read_text()
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        self.first = int(children[0]) if children else 0
        return bool(self.first) and b"tsfm" in Path(f"/proc/{self.first}/cmdline").read_bytes()

    def stop(self) -> int:
        if self.first:
            os.kill(self.first, signal.SIGTERM)
        try:
            return self.process.wait(60)
        finally:
            self.process.kill()  # which takes the first process with it


def test_every_layer_is_what_the_configuration_says(
    layout: Path, manifest: dict[str, Any], configuration: dict[str, Any]
) -> None:
    assert json.loads((layout / "oci-layout").read_text()) == {"imageLayoutVersion": "1.0.0"}
    assert len(manifest["layers"]) == len(configuration["rootfs"]["diff_ids"]) == 3
    named = {manifest["config"]["digest"]}
    for layer, diff_id in zip(manifest["layers"], configuration["rootfs"]["diff_ids"], strict=True):
        assert layer["mediaType"] == "application/vnd.oci.image.layer.v1.tar+gzip"
        assert f"sha256:{hashlib.sha256(gzip.decompress(blob(layout, layer))).hexdigest()}" == diff_id
        named.add(layer["digest"])
    named |= {entry["digest"] for entry in json.loads((layout / "index.json").read_text())["manifests"]}
    assert {f"sha256:{path.name}" for path in (layout / "blobs" / "sha256").iterdir()} == named
    assert sum(layer["size"] for layer in manifest["layers"]) < 300e6


def test_another_program_reads_and_copies_it(layout: Path, configuration: dict[str, Any], tmp_path: Path) -> None:
    source = f"oci:{layout}"
    told = subprocess.run(["skopeo", "inspect", "--config", source], check=True, capture_output=True, text=True).stdout
    assert json.loads(told)["config"]["Entrypoint"] == configuration["config"]["Entrypoint"]
    # As "docker load" takes it; the program checks every hash on the way.
    copy = [
        "skopeo",
        "copy",
        "--quiet",
        "--insecure-policy",
        source,
        f"docker-archive:{tmp_path}/image.tar:taos-tsfm:1",
    ]
    subprocess.run(copy, check=True, env=os.environ | {"TMPDIR": str(tmp_path)})
    assert (tmp_path / "image.tar").stat().st_size > 300e6


def test_an_engine_reads_how_to_run_it(configuration: dict[str, Any]) -> None:
    how = configuration["config"]
    assert (configuration["os"], configuration["architecture"]) == ("linux", "amd64")
    assert how["Entrypoint"] == ["/usr/bin/tsfm", "serve"]
    assert "TSFM_FAMILY=fracast" in how["Env"]
    assert set(how["ExposedPorts"]) == {f"{card.read(name).port}/tcp" for name in FAMILIES}
    assert int(how["User"].partition(":")[0]) > 0
    assert how["Healthcheck"]["Test"] == ["CMD", "/usr/bin/tsfm-healthy"]


def test_nothing_in_it_gives_rights_and_all_of_it_is_named(unpacked: Path) -> None:
    for path in unpacked.rglob("*"):
        if path.is_file() and not path.is_symlink():
            assert not path.stat().st_mode & 0o6000, path
    for name in ("bin/sh", "usr/bin/apt", "usr/bin/dpkg"):
        assert not (unpacked / name).exists()
    listed = {path.name for path in (unpacked / "var/lib/dpkg/status.d").iterdir()}
    assert listed >= {"libc6", "libstdc++6", "taos-tsfm-python", "taos-tsfm-runtime", "taos-tsfm-fracast"}
    assert (unpacked / "etc/ssl/certs/ca-certificates.crt").read_text().count("BEGIN CERTIFICATE") > 100


def test_it_forecasts_over_http_as_a_user_without_rights(
    unpacked: Path, configuration: dict[str, Any], tmp_path: Path
) -> None:
    running = Running(unpacked, configuration, tmp_path / "log")
    port = card.read("fracast").port
    url = f"http://127.0.0.1:{port}"
    try:
        until(running.started, 30, running.log.read_text)
        until(running.healthy, 60, running.log.read_text)
        body = json.dumps(request("forecast"))
        answer = json.loads(running.inside("curl", "-sS", "--data-binary", body, f"{url}/ds_predict").stdout)
        assert len(answer["output"]) == 24
        assert all(15 < value < 35 for value in answer["output"])
        model = json.loads(running.inside("curl", "-sS", f"{url}/v1/models").stdout)["models"][0]
        assert model["version"] == VERSIONS["v1"]
        status = Path(f"/proc/{running.first}/status").read_text()
        assert "\t".join(["\nUid:", *[str(USER)] * 4]) in status
        for name in ("CapEff", "CapPrm", "CapAmb"):
            assert f"\n{name}:\t{'0' * 16}\n" in status
        assert "\nNoNewPrivs:\t1\n" in status
        listening = running.inside("cat", "/proc/net/tcp").stdout
        assert f"00000000:{port:04X} 00000000:0000 0A" in listening
        os.kill(running.first, signal.SIGSTOP)
        assert not running.healthy(), "it stands still"
        os.kill(running.first, signal.SIGCONT)
    finally:
        code = running.stop()
    assert code == 0, running.log.read_text()


@pytest.mark.parametrize(
    ("words", "settings"),
    [(["chronos"], {}), ([], {"TSFM_FAMILY": "chronos"})],
    ids=["argument", "environment"],
)
def test_another_family_is_named_by_argument_or_environment(
    unpacked: Path, configuration: dict[str, Any], tmp_path: Path, words: list[str], settings: dict[str, str]
) -> None:
    running = Running(unpacked, configuration, tmp_path / "log", *words, **settings)
    assert running.process.wait(60) == 75
    assert "tsfm pull chronos" in running.log.read_text()


def test_the_documented_compose_file_fits_the_image(configuration: dict[str, Any]) -> None:
    text = (ROOT / "docs/containers.md").read_text()
    (block,) = (part.partition("```")[0] for part in text.split("```yaml\n")[1:])
    services = yaml.safe_load(block)["services"]
    ours = [service for service in services.values() if service["image"].startswith("taos-tsfm:")]
    assert ours
    for service in ours:
        assert service["read_only"]
        family = service.get("environment", {}).get("TSFM_FAMILY", "fracast")
        assert f"{card.read(family).port}/tcp" in configuration["config"]["ExposedPorts"]
