"""tools/gpu_check.py runs where there is only torch and numpy, and says what is wrong."""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from checkpoints import chronos
from conftest import HERE
from safetensors.torch import load_file

from tsfm import card

SCRIPT = HERE.parent / "tools/gpu_check.py"
# torch, numpy and what they need: all that a machine for the check has.
BARE = (
    *("torch", "torchgen", "functorch", "numpy", "numpy.libs", "typing_extensions.py", "sympy", "mpmath", "networkx"),
    *("jinja2", "markupsafe", "filelock", "fsspec"),
)
FAST = ("--small", "--batches", "1", "4", "--seconds", "0.01", "--minutes", "0")


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of packages with nothing but BARE."""
    folder = tmp_path_factory.mktemp("bare")
    packages = Path(torch.__file__).parent.parent
    for name in BARE:
        if (packages / name).exists():
            (folder / name).symlink_to(packages / name)
    return folder


def check(packages: Path, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run it without the packages of this environment."""
    command = [sys.executable, "-S", str(SCRIPT), *map(str, arguments)]
    environment = os.environ | {"PYTHONPATH": str(packages), "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run(command, env=environment, capture_output=True, text=True)


@pytest.mark.parametrize("cases", ["tools/gpu_check.py", "bench/length.py"])
def test_no_family_is_missing(cases):
    text = (HERE.parent / cases).read_text()
    (found,) = re.findall(r"^CASES = (\{.*?^\})", text, re.MULTILINE | re.DOTALL)
    families = {family for family, *_ in ast.literal_eval(found).values()}
    assert families == set(card.names(packaged_only=True))


@pytest.mark.slow
@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a CUDA device")
def test_without_a_device_it_says_so(bare, tmp_path):
    ended = check(bare, "--output", tmp_path / "found.json")
    assert ended.returncode == 2
    assert ended.stderr == f"torch {torch.__version__} finds no CUDA device; --device cpu checks what a CPU can\n"
    assert not (tmp_path / "found.json").exists()


@pytest.mark.slow
@pytest.mark.long
def test_all_families_are_checked_with_torch_and_numpy_alone(bare, tmp_path):
    prepared = subprocess.run([sys.executable, SCRIPT, "--prepare", tmp_path / "made", "--small"], check=False)
    assert prepared.returncode == 0
    for path in (tmp_path / "made").iterdir():  # only Fracast's weights come from a package
        if path.name != "fracast":
            for file in path.iterdir():
                file.unlink()
            path.rmdir()
    ended = check(
        bare, "--device", "cpu", "--checkpoints", tmp_path / "made", *FAST, "--output", tmp_path / "found.json"
    )
    assert ended.returncode == 0, ended.stderr
    found = json.loads((tmp_path / "found.json").read_text())
    assert (found["passed"], found["device"], found["left_out"]) == (True, "cpu", {})
    families = {"chronos_bolt", "chronos_2", "flowstate", "moirai_moe", "moirai_2", "tirex", "toto"}
    families |= {"fracast", "moment", "tdtsfm", "timemoe", "timesfm", "timesfm_25"}
    assert set(found["families"]) == families
    for one in found["families"].values():
        assert one["parity"] <= 1e-3
        assert set(one["series_per_s"]) == {"1", "4"}
        assert min(one["series_per_s"].values()) > 0
        assert one["peak_mib"] > 0
        assert one["official"].startswith("left out: ")
    assert found["soak"]["calls"] == 13 * 4 * 2
    assert found["soak"]["wrong"] == 0
    # The stand-in for safetensors wrote what the package reads.
    chronos.make(tmp_path / "real", "tiny")
    made, real = (
        load_file(folder / "model.safetensors") for folder in (tmp_path / "made/chronos-tiny", tmp_path / "real")
    )
    assert made.keys() == real.keys()
    assert all(torch.equal(made[name], real[name]) for name in real)


@pytest.mark.slow
@pytest.mark.long
def test_a_family_that_differs_fails_and_one_that_is_missing_is_named(bare, tmp_path):
    arguments = ("--device", "cpu", "--families", "tdtsfm", "fracast", *FAST, "--tolerance", "1e-12")
    ended = check(bare, *arguments, "--output", tmp_path / "found.json")
    assert ended.returncode == 1
    found = json.loads((tmp_path / "found.json").read_text())
    assert found["passed"] is False
    assert 1e-12 < found["families"]["tdtsfm"]["parity"] < 1e-3
    assert found["left_out"] == {
        "fracast": "family fracast: the Python package fracast is not installed; install taos-tsfm-fracast"
    }


@pytest.mark.slow
@pytest.mark.long
def test_a_service_is_kept_busy_and_ends_well(tmp_path):
    script = HERE.parent / "tools/gpu_service.py"
    arguments = ("--device", "cpu", "--families", "fracast", "--seconds", "2", "--checkpoints", tmp_path)
    ended = subprocess.run([sys.executable, script, *map(str, arguments)], capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    found = json.loads(ended.stdout)["fracast"]
    assert found["exit_status"] == 0
    assert min(found[f"series_per_s_c{clients}"] for clients in (1, 32, 128)) > 0
