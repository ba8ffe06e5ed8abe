"""Every family on a CPU with AVX2, and on one without: the same numbers, and the service answers.

The libraries are told to use no more than these sets. Programs that cannot run at all on such a CPU show only in an
emulator.
"""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from conftest import HERE, Live

from tsfm import card

pytestmark = pytest.mark.long

# What each library takes for the newest instruction set: torch's own kernels, oneDNN, MKL.
AVX2 = {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2", "MKL_ENABLE_INSTRUCTIONS": "AVX2"}
NONE = {"ATEN_CPU_CAPABILITY": "default", "ONEDNN_MAX_CPU_ISA": "SSE41", "MKL_ENABLE_INSTRUCTIONS": "SSE4_2"}
FAMILIES = card.names(packaged_only=True)
# Of measurements.md: the largest difference in float32, the mean one as served, in deviations of the series.
FLOAT32, SERVED = 1e-4, 0.02

CHILD = """
import json, pathlib, sys
import numpy as np
import torch
from tsfm import card, families
from tsfm.series import Runtime, Series

def answer(name, folder, dtype):
    model = families.load(name, folder, Runtime(dtype=dtype, threads=1))
    times = np.arange(192)
    values = (np.sin(times / 4) + 0.3 * np.cos(times / 11)).astype(np.float32) * 1.4
    if card.read(name).task == "imputation":
        values[100:108] = np.nan
        return [np.asarray(one).tolist() for one in model.impute([Series(values)])]
    return [one.quantiles.tolist() for one in model.forecast([Series(values)] * 2, 24, (0.1, 0.5, 0.9))]

root = pathlib.Path(sys.argv[1])
folders = {name: root / name if (root / name).is_dir() else None for name in sys.argv[2:]}
answers = {
    name: {dtype: answer(name, folder, dtype) for dtype in ("float32", "auto")} for name, folder in folders.items()
}
print(json.dumps({"kernels": torch.backends.cpu.get_cpu_capability(), "answers": answers}))
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Callable[[dict[str, str]], dict[str, Any]]:
    """Gives the answers of all families, from small random checkpoints, under some instruction sets."""
    root = tmp_path_factory.mktemp("checkpoints")
    for family in FAMILIES:
        if card.read(family).checkpoints:
            importlib.import_module(f"checkpoints.{family}").make(root / family)

    def answers(limits: dict[str, str]) -> dict[str, Any]:
        environment = os.environ | {"PYTHONPATH": str(HERE.parent / "src")} | limits
        command = [sys.executable, "-c", CHILD, str(root), *FAMILIES]
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return answers


@pytest.fixture(scope="module")
def reference(run: Callable[[dict[str, str]], dict[str, Any]]) -> dict[str, Any]:
    """With all that this CPU has."""
    return run({})["answers"]


@pytest.mark.parametrize(("limits", "kernels"), [(AVX2, "AVX2"), (NONE, "DEFAULT")], ids=["avx2", "none"])
def test_the_numbers_stay_within_the_documented_drift(
    run: Callable[[dict[str, str]], dict[str, Any]], reference: dict[str, Any], limits: dict[str, str], kernels: str
) -> None:
    found = run(limits)
    assert found["kernels"] == kernels
    for family, answers in found["answers"].items():
        expected = np.array(reference[family]["float32"])
        assert np.ptp(expected) > 0.01, f"{family}: an answer that tells nothing"
        assert np.abs(np.array(answers["float32"]) - expected).max() <= FLOAT32, family
        assert np.abs(np.array(answers["auto"]) - expected).mean() <= SERVED, family


@pytest.mark.parametrize(("limits", "kernels"), [(AVX2, "AVX2"), (NONE, "DEFAULT")], ids=["avx2", "none"])
def test_a_service_answers(serve: Callable[..., Live], limits: dict[str, str], kernels: str) -> None:
    live = serve("fracast", env=limits).until_ready()
    (model,) = live.get("/v1/models").json["models"]
    assert model["path"] == f"float32 with {kernels}"
    answer = live.post("/ds_predict", {"input": [3, 4, 6, 5, 7, 9, 8, 10, 12, 11, 13, 15], "next_len": 3})
    # The numbers of the README.
    np.testing.assert_allclose(answer.json["output"], [15.28, 16.11, 16.84], atol=0.01)
