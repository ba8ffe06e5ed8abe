"""Which modules one request goes through, as docs/architecture.md says it, traced in a real server."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys

import pytest
from conftest import HERE, free_port

MOST_ON_THE_EDGE = 14
# The edge's thread is the main thread, so its profile is set there. The second and the third request of a connection
# are traced: the first one of a process imports modules and fills caches, and memory is given back after an answer has
# been sent, so only the third answer of the only inference thread proves that the second request's batch has ended.
PROGRAM = """
import http.client, json, os, signal, sys, threading
from pathlib import Path
import tsfm
from tsfm import card, settings
from tsfm.http import server

port, folder, home, edge = int(sys.argv[1]), Path(sys.argv[2]), Path(tsfm.__file__).parent, threading.get_ident()
seen, tracing = {"edge": set(), "model": set()}, threading.Event()

def trace(frame, event, argument):
    path = Path(frame.f_code.co_filename)
    if event == "call" and tracing.is_set() and path.is_relative_to(home):
        name = threading.current_thread().name
        if threading.get_ident() == edge or name.startswith("inference"):
            seen["edge" if threading.get_ident() == edge else "model"].add(str(path.relative_to(home).with_suffix("")))

connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
def ask():
    body = json.dumps({"input": [3.0, 4.0, 2.0, 5.0, 4.0, 6.0, 5.5, 7.0, 6.0, 8.0, 7.5, 9.0], "next_len": 3})
    connection.request("POST", "/ds_predict", body)
    return json.load(connection.getresponse())

def client():
    try:
        while not process._engine.ready:
            threading.Event().wait(0.01)
        ask()
        tracing.set()
        answer = ask()
        ask()
        tracing.clear()
        print(json.dumps({"answer": answer} | {thread: sorted(names) for thread, names in seen.items()}))
    finally:
        os.kill(os.getpid(), signal.SIGTERM)

threading.setprofile(trace)
process = server.Process(card.read("naive"), settings.read("naive", {"port": str(port), "threads": "1"}), folder)
threading.Thread(target=client).start()
sys.setprofile(trace)
sys.exit(process.run())
"""


@pytest.mark.slow
def test_a_request_goes_through_the_modules_that_the_documentation_lists_and_no_more(tmp_path):
    (tmp_path / "naive.json").write_text('{"delay_s": 0.2}')  # so the answer is not there before it is waited for
    environment = os.environ | {"PYTHONPATH": str(HERE.parent / "src")}
    command = [sys.executable, "-c", PROGRAM, str(free_port()), str(tmp_path)]
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert ended.returncode == 0, ended.stderr
    found = json.loads(ended.stdout)
    assert found["answer"]["status"] == "success"
    page = (HERE.parent / "docs/architecture.md").read_text().split("## A request\n")[1].split("\n## ")[0]
    listed = {"edge": [], "model": []}
    for row in re.findall(r"^\| .* \|$", page, re.MULTILINE):
        file, threads = row.split("|")[1:3]
        for thread in listed:
            if thread in threads.replace(",", " ").split():
                listed[thread] += re.findall(r"`([a-z0-9_/]+)\.py`", file)
    assert found["edge"] == sorted(listed["edge"])
    assert found["model"] == sorted(listed["model"])
    assert len(found["edge"]) <= MOST_ON_THE_EDGE
