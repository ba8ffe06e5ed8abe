"""A host without pyarrow: tables are refused in words, and all else is as it is."""

import json
import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest
from conftest import HERE

pytestmark = pytest.mark.slow

PROGRAM = """\
import json
from tsfm import card, settings
from tsfm.engine.engine import Engine
from tsfm.http.app import create_app

client = create_app(Engine(card.read("naive"), settings.read("naive", {}))).test_client()
stream, parquet = "application/vnd.apache.arrow.stream", "application/x-parquet"
for headers in ({"Content-Type": stream}, {"Content-Type": parquet}, {"Accept": stream}, {"Accept": "*/*"}):
    answer = client.post("/v1/forecast", data=b"{}", headers=headers)
    print(json.dumps([answer.status_code, answer.json["error"]]))
"""


def test_a_table_is_refused_with_the_name_of_the_package_that_is_missing(tmp_path):
    for path in Path(sysconfig.get_path("purelib")).iterdir():
        if not path.name.startswith("pyarrow"):
            (tmp_path / path.name).symlink_to(path)
    environment = os.environ | {"PYTHONPATH": f"{HERE.parent / 'src'}:{tmp_path}"}
    command = [sys.executable, "-S", "-c", PROGRAM]
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert ended.returncode == 0, ended.stderr
    *refused, read = map(json.loads, ended.stdout.splitlines())
    package = "expected application/json, since the package taos-tsfm-arrow is not installed on this host, got"
    stream, parquet = "application/vnd.apache.arrow.stream", "application/vnd.apache.parquet"
    assert refused == [
        [415, f"Content-Type: {package} {stream}"],
        [415, f"Content-Type: {package} {parquet}"],
        [415, f"Accept: {package} {stream}"],
    ]
    assert read == [503, "naive is loading"]
