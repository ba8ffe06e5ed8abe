"""The server scripts: TDengine's documented arguments, and the hand-over to the family's environment."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tsfm import script
from tsfm.errors import ConfigError, UsageError

MASTER = Path(script.__file__).parent / "share" / "server.py"


@pytest.mark.parametrize(
    ("words", "arguments", "mirror"),
    [
        ([], ["serve", "chronos"], False),
        (["2"], ["serve", "chronos", "--model-name", "2"], False),
        (
            ["/m", "amazon/chronos-bolt-tiny", "True"],
            ["serve", "chronos", "--model-folder", "/m", "--model-name", "amazon/chronos-bolt-tiny"],
            True,
        ),
        (
            ["/m", "amazon/chronos-bolt-tiny", "False"],
            ["serve", "chronos", "--model-folder", "/m", "--model-name", "amazon/chronos-bolt-tiny"],
            False,
        ),
        (
            ["--model-folder", "/m", "--model-name", "x", "--port", "6038"],
            ["serve", "chronos", "--model-folder", "/m", "--model-name", "x", "--port", "6038"],
            False,
        ),
    ],
)
def test_the_documented_arguments_are_those_of_serve(words, arguments, mirror):
    assert script.translate("chronos", words) == (arguments, mirror)


def test_other_arguments_are_refused_with_the_forms_that_there_are():
    with pytest.raises(UsageError, match=r"an index \(0 for amazon/chronos-bolt-tiny"):
        script.translate("chronos", ["a", "b", "c", "d"])
    with pytest.raises(UsageError, match="ENABLE_MIRROR: expected yes or no, got 'perhaps'"):
        script.translate("chronos", ["/m", "x", "perhaps"])
    with pytest.raises(ConfigError, match="family: expected one of"):
        script.translate("nope", [])


def test_any_python_starts_the_script_and_the_familys_own_goes_on(tmp_path):
    python = tmp_path / "usr/lib/taos-tsfm/venvs/naive/bin/python"
    python.parent.mkdir(parents=True)
    python.write_text('#!/bin/sh\necho "$PYTHONPATH" "$@"\n')
    python.chmod(0o755)
    copy = tmp_path / "naive-server.py"
    shutil.copy(MASTER, copy)
    said = subprocess.run(
        [sys.executable, copy, "/m", "x", "False"],
        env=os.environ | {"TSFM_ROOT": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert said.stdout.split() == [
        f"{tmp_path}/usr/lib/taos-tsfm/lib",
        *["-B", "-m", "tsfm.script", "naive", "/m", "x", "False"],
    ]


def test_a_family_that_is_not_installed_is_named_with_its_package(tmp_path):
    copy = tmp_path / "moirai-server.py"
    shutil.copy(MASTER, copy)
    ended = subprocess.run(
        [sys.executable, copy], env=os.environ | {"TSFM_ROOT": str(tmp_path)}, capture_output=True, text=True
    )
    assert ended.returncode == 1
    assert "install the package taos-tsfm-moirai" in ended.stderr
