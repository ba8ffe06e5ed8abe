"""The command line as a person meets it."""

import json
import os
import re
import subprocess
import sys

import pytest
from conftest import HERE

from tsfm.cli import main

SAMPLE = HERE.parent / "src/tsfm/share/nino12.csv"


def tsfm(*words, **env):
    environment = os.environ | {"PYTHONPATH": str(HERE.parent / "src")} | env
    command = [sys.executable, "-m", "tsfm", *words]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)


def test_help_names_every_command_with_its_purpose():
    said = tsfm("--help")
    assert said.returncode == 0
    for name in main.commands():
        assert re.search(rf"\n    {name}\s+[A-Z]", said.stdout), name


@pytest.mark.parametrize("words", [(), ("nope",), ("serve",), ("list", "--nope")])
def test_a_wrong_command_line_is_exit_2(words):
    said = tsfm(*words)
    assert said.returncode == 2
    assert said.stderr


def test_no_command_needs_more_than_the_standard_library_to_say_its_help():
    code = (
        "import sys; from tsfm.cli.main import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: pass\n"
        "print({'numpy', 'torch', 'flask'} & set(sys.modules))"
    )
    said = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"PYTHONPATH": str(HERE.parent / "src")},
        capture_output=True,
        text=True,
    )
    assert said.stdout.endswith("set()\n"), said.stderr


def test_list_shows_every_packaged_family_and_none_for_tests():
    said = tsfm("list").stdout
    assert "amazon/chronos-bolt-tiny" in said
    assert "naive" not in said
    families = {entry["name"]: entry for entry in json.loads(tsfm("list", "--json").stdout)}
    assert families["fracast"]["port"] == 6076
    assert (families["moirai"]["commercial"], families["moirai"]["year"]) == ("no", 2025)
    (row,) = [line for line in said.splitlines() if line.startswith("moirai ")]
    assert re.search(r" CC-BY-NC-4.0 +no +2025 ", row)
    assert families["chronos"]["checkpoints"][0]["name"] == "amazon/chronos-bolt-tiny"


def test_pull_says_first_that_a_licence_permits_no_commercial_use(tmp_path):
    nowhere = {"HF_ENDPOINT": "http://127.0.0.1:9", "TSFM_INI": "/nonexistent/tsfm.ini"}
    said = tsfm("pull", "moirai", "--to", str(tmp_path / "weights"), **nowhere)
    assert said.returncode == 1
    first, *_ = said.stderr.splitlines()
    name = "Salesforce/moirai-moe-1.0-R-small"
    assert first == f"tsfm: {name}: its licence, CC-BY-NC-4.0, does not permit commercial use"
    assert "licence" not in tsfm("pull", "timemoe", "--to", str(tmp_path / "free"), **nowhere).stderr


@pytest.mark.slow
def test_forecast_starts_a_service_asks_it_over_http_and_draws_the_answer(tmp_path):
    ini = tmp_path / "tsfm.ini"
    ini.write_text("[naive]\nport = 1\n")  # where nothing answers
    said = tsfm("forecast", str(SAMPLE), "--family", "naive", "--horizon", "3", TSFM_INI=str(ini))
    assert said.returncode == 0, said.stderr
    lines = said.stdout.splitlines()
    assert lines[0].split()[:4] == ["step", "time", "lower", "forecast"]
    assert [line.split()[:2] for line in lines[1:4]] == [["1", "2011-01"], ["2", "2011-02"], ["3", "2011-03"]]
    assert lines[1].split()[3] == "22.07"  # December 2010, the last value
    assert sum("|" in line for line in lines) == 12
    assert any("o" in line for line in lines[4:])


@pytest.mark.slow
def test_forecast_asks_the_service_that_runs(serve, tmp_path):
    live = serve("naive").until_ready()
    ini = tmp_path / "tsfm.ini"
    ini.write_text(f"[naive]\nport = {live.port}\n")
    png = tmp_path / "chart.png"
    words = ("forecast", str(SAMPLE), "--family", "naive", "--horizon")
    said = tsfm(*words, "2", "--plot", str(png), TSFM_INI=str(ini), MPLCONFIGDIR=str(tmp_path))
    assert said.returncode == 0, said.stderr
    assert "starting one" not in said.stderr
    assert png.read_bytes().startswith(b"\x89PNG")
    refused = tsfm(*words, "0", TSFM_INI=str(ini))
    assert refused.returncode == 2
    assert refused.stderr.endswith("--horizon: expected a whole number from 1 to 1024, got 0\n")


@pytest.mark.parametrize(
    ("text", "options", "said"),
    [
        ("a,b\n1,2\n", ["--column", "c"], "has a, b; got 'c'"),
        ("a,b\n1,x\n", [], "line 2, column b: expected a number, got 'x'"),
        ("", [], "expected a header line and rows, found none"),
    ],
)
def test_a_csv_file_that_cannot_be_read_is_exit_2_with_the_place(tmp_path, text, options, said):
    file = tmp_path / "x.csv"
    file.write_text(text)
    ended = tsfm("forecast", str(file), "--family", "naive", *options)
    assert ended.returncode == 2
    assert said in ended.stderr
