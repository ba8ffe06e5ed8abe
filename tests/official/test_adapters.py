"""Guards every adapter of a maker's package, present and future."""

from __future__ import annotations

import ast
import importlib
import os
import re
import subprocess
import sys
from itertools import chain
from pathlib import Path

import forked
import numpy as np
import pytest
from conftest import HERE

from tsfm import card, families, official
from tsfm.errors import ConfigError
from tsfm.numerics import difference
from tsfm.series import Family, Forecast, Group, Imputer, JointFamily, Model, Runtime, Series

pytestmark = pytest.mark.slow

LOCKS = HERE.parent / "packaging/locks"
FLOAT32 = Runtime(dtype="float32", threads=1)
# TDengine publishes no package for TDtsfm: tests/families/test_tdtsfm.py implements its description a second time.
# TiRex's needs one whose licence has terms for companies: tests compare with numbers that it gave (tests/reference).
WITHOUT_A_PACKAGE = {"tdtsfm", "tirex"}
IMPORTED = {
    "chronos": "chronos",
    "flowstate": "tsfm_public",
    "fracast": "fracast",
    "moirai": "uni2ts",
    "moment": "momentfm",
    "timemoe": "sktime",
    "timesfm": "timesfm",
    "toto": "toto2",
}


def source(name: str) -> ast.Module:
    return ast.parse((official.FOLDER / f"{name}.py").read_text())


def pin(name: str) -> str:
    values = [
        ast.literal_eval(node.value)
        for node in source(name).body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "PIN"
    ]
    (found,) = values
    return found


def run(program: str, *arguments: str) -> str:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(HERE.parent / "src"), str(HERE)])}
    command = [sys.executable, "-c", program, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True, env=environment).stdout.strip()


def test_every_family_with_a_package_of_its_maker_has_an_adapter():
    assert set(official.names()) == set(card.names(packaged_only=True)) - WITHOUT_A_PACKAGE
    assert set(IMPORTED) == set(official.names())


@pytest.mark.parametrize("name", official.names())
def test_the_docstring_and_the_locks_name_the_same_version(name):
    distribution, version = pin(name).split("==")
    assert f"{distribution} {version}" in " ".join(ast.get_docstring(source(name)).split())
    environment = official.environment(name)
    ahead = pin(name) in environment.ahead
    for lock in (f"{name}-official-ahead",) if ahead else ("dev", f"{name}-official"):
        assert re.search(rf"^{re.escape(pin(name))}\s", (LOCKS / f"{lock}.txt").read_text(), re.MULTILINE)
    assert (environment.ahead if ahead else environment.requirements)[0] == pin(name)


@pytest.mark.parametrize("name", official.names())
def test_a_package_is_imported_inside_functions_only(name):
    top = [node for node in source(name).body if isinstance(node, ast.Import | ast.ImportFrom)]
    imported = {alias.name for node in top if isinstance(node, ast.Import) for alias in node.names}
    imported |= {node.module for node in top if isinstance(node, ast.ImportFrom)}
    allowed = ("tsfm.official", "tsfm.series", "tsfm.errors", "tsfm.numerics", "tsfm.weights")
    ours = {module for module in imported if module.startswith("tsfm.")}
    assert all(module.startswith(allowed) for module in ours)
    assert {module.partition(".")[0] for module in imported - ours} <= {"numpy", "torch"} | set(sys.stdlib_module_names)


def test_importing_official_imports_neither_torch_nor_a_package():
    program = "import sys; from tsfm import official; print(sorted({*sys.argv[1:]} & {*sys.modules}))"
    assert run(program, "numpy", "torch", *IMPORTED.values()) == "[]"


MISSING = """
import sys
from pathlib import Path
from tsfm import official
from tsfm.errors import ConfigError
from tsfm.numerics import difference
from tsfm.series import Runtime
for name, package in zip(sys.argv[1::2], sys.argv[2::2]):
    sys.modules[package] = None  # as where it is not installed
    try:
        official.load(name, Path(), Runtime())
    except ConfigError as error:
        print(name, error, sep=": ")
"""


def test_a_missing_package_is_named_with_what_to_install():
    pairs = [part for pair in IMPORTED.items() for part in pair]
    expected = [
        f"{name}: the Python package {package} is not installed; install {pin(name)}"
        for name, package in IMPORTED.items()
    ]
    ended = forked.run(MISSING, *pairs)
    assert ended.stdout.splitlines() == expected, ended.stderr


def checkpoint(name: str, tmp_path: Path, size: str = "tiny") -> Path | None:
    if not card.read(name).checkpoints:
        return None
    importlib.import_module(f"checkpoints.{name}").make(tmp_path, size)
    return tmp_path


def wave(points: int, gap: int = 0) -> Series:
    values = np.sin(np.arange(points) / 5) + 0.3 * np.random.default_rng(points).normal(size=points)
    target = ((values - values.mean()) / values.std()).astype(np.float32)
    target[points // 2 : points // 2 + gap] = np.nan
    return Series(target)


SIZES = [(name, "tiny") for name in official.names()] + [("chronos", "tiny2"), ("moirai", "tiny2")]


@pytest.mark.parametrize(("name", "size"), SIZES)
def test_an_adapter_has_the_whole_protocol_and_answers_as_the_family_does(name, size, tmp_path):
    """Batches of mixed lengths: what each package needs for them is the adapter's work."""
    folder = checkpoint(name, tmp_path, size)
    theirs, ours = official.load(name, folder, FLOAT32), families.load(name, folder, FLOAT32)
    assert theirs.capabilities == ours.capabilities
    assert theirs.path == f"float32, {pin(name).replace('==', ' ')}"
    assert theirs.batch_points >= theirs.min_context >= 1
    if card.read(name).task == "imputation":
        check_imputation(theirs, ours)
    else:
        check_forecast(theirs, ours, sampled=(name, size) == ("moirai", "tiny"))


def check_imputation(theirs: Imputer, ours: Imputer) -> None:
    batch = [wave(512, 20), wave(100, 5), wave(1300, 300)]
    for one, other in zip(theirs.impute(batch), ours.impute(batch), strict=True):
        assert difference.summary([difference.between(one, other, 1.0)]).largest < 1e-4


def check_forecast(theirs: Family, ours: Family, sampled: bool) -> None:
    batch = [wave(128), wave(100), wave(128)]
    levels = [0.1, 0.9, 0.975]
    assert theirs.min_room >= 1
    assert theirs.context_for(40, (0, 0)) >= 128
    for one, other in zip(theirs.forecast(batch, 40, levels), ours.forecast(batch, 40, levels), strict=True):
        assert one.median.shape == (40,)
        assert one.quantiles.shape == (len(levels), 40)
        if not sampled:  # draws are random: tests/families/test_moirai.py compares the distributions
            check_near(one, other)
    if ours.capabilities.multivariate:
        check_joint(theirs, ours, sampled)


def check_near(one: Forecast, other: Forecast) -> None:
    """Of a series that has the deviation 1."""
    assert difference.summary([difference.between(one.median, other.median, 1.0)]).largest < 1e-4
    assert difference.summary([difference.between(one.quantiles, other.quantiles, 1.0)]).largest < 3e-4


def check_joint(theirs: JointFamily, ours: JointFamily, sampled: bool) -> None:
    beside = wave(180).target.astype(float)
    first = (
        Series(wave(140).target, beside[None, :140], beside[None]) if ours.capabilities.past_covariates else wave(140)
    )
    batch = [Group((first, wave(140, 30), wave(140))), Group((first, wave(140), wave(140, 9)))]
    made, expected = (family.forecast_joint(batch, 40, [0.1, 0.9]) for family in (ours, theirs))
    for one, other in zip(*(chain.from_iterable(groups) for groups in (made, expected)), strict=True):
        assert (one.median.shape, one.quantiles.shape) == ((40,), (2, 40))
        if not sampled:
            check_near(one, other)


def test_what_an_adapter_does_not_load_is_refused_in_one_sentence(tmp_path):
    def refusal(name: str, folder: Path | None, runtime: Runtime = FLOAT32) -> str:
        with pytest.raises(ConfigError) as caught:
            loaded: Model = official.load(name, folder, runtime)
            raise AssertionError(loaded)
        assert "\n" not in str(caught.value)
        return str(caught.value)

    assert "engine: official serves chronos, " in refusal("tdtsfm", tmp_path)
    assert "chronos-forecasting==2.3.2: expected a folder with a checkpoint, got none" in refusal("chronos", None)
    assert "dtype: expected auto or float32" in refusal("fracast", None, Runtime(dtype="bfloat16"))
    for name in official.names():
        assert str(tmp_path) in refusal(name, tmp_path)
