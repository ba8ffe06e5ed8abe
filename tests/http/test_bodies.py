"""Large bodies: read in a process of their own, with the same answers, and without anybody else waiting for it."""

import json
import os
import signal
import threading
import time
from concurrent.futures import CancelledError, ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from tsfm import settings
from tsfm.engine import tasks
from tsfm.engine.admission import Admission, Slot
from tsfm.errors import BadRequest, DeadlinePassed, OutOfMemory, TooLarge
from tsfm.http import bodies, reader_process
from tsfm.http.reading import LARGE, Reading

pytestmark = pytest.mark.slow

WALK = [3.0, 4.0, 2.0, 5.0, 4.0, 6.0, 5.5, 7.0, 6.0, 8.0, 7.5, 9.0]
MIB = 1 << 20
PADDING = b" " * (LARGE + 1)


@pytest.fixture
def large():
    made = bodies.LargeBodies(lambda: settings.read("naive", {}))
    yield made
    made.close()


@pytest.fixture
def admission():
    made = Admission(settings.read("naive", {}), lambda: None)
    yield made
    made.close()


def submit(large, admission, body, present=lambda: True, in_s=60.0):
    reading = Reading(tasks.find("forecast").steps)
    return large.read(body, Slot(admission, len(body), time.monotonic() + in_s, present), reading).future


def children(pid) -> list[int]:
    return [
        int(child) for task in Path(f"/proc/{pid}/task").iterdir() for child in (task / "children").read_text().split()
    ]


def cpu_s(pid) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def until(true):
    ends, pause = time.monotonic() + 30, threading.Event()
    while not true():
        assert time.monotonic() < ends
        pause.wait(0.02)


ROW = [round(float(x), 12) for x in np.random.default_rng(7).normal(size=1500)]


@pytest.mark.parametrize(
    "ask",
    [
        {"input": ROW, "next_len": 7, "conf_interval": 0.8},
        {"input": [None, *ROW[:600], None, 2**60, 2**60 + 1, -0.0, 5e-324], "next_len": 3},
        {"input": ROW, "next_len": 2, "past_dynamic_real": [ROW] * 3},
        {"input": ROW, "ts": list(range(1499)), "next_len": 2},
        {"input": [*ROW, "text"]},
        {"input": "text"},
        {"input": ROW, "next_len": 0},
        {"input": ROW[:5]},
        [1, 2],
    ],
    ids=range(9),
)
def test_a_large_body_gets_the_answer_of_a_small_one_to_the_byte(serve, ask):
    live = serve("naive").until_ready()
    body = json.dumps(ask).encode()
    small, large = live.post("/ds_predict", body), live.post("/ds_predict", body + PADDING)
    assert len(body) < LARGE < len(body + PADDING)
    assert (large.status, large.body) == (small.status, small.body)
    assert len(children(live.process.pid)) == 1


def test_what_cannot_be_read_is_refused_in_the_same_words(serve):
    live = serve("naive").until_ready()
    nan = b'{"input":[' + b"NaN," * 20 + b"1e400]}"
    for body in (b"{" + b" " * 10, b'{"input":[1,]}', nan, b'{"a":"\xff"}', b'{"input":' + b"[" * 5000):
        small, large = live.post("/ds_predict", body), live.post("/ds_predict", PADDING + body)
        assert small.status == large.status == 400
        strip = str.maketrans("", "", "0123456789")  # positions differ by the padding
        assert large.json["error"].translate(strip) == small.json["error"].translate(strip)


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b'{"input":[' + b"1," * (15 * MIB) + b"1]}", 413),
        (b'{"input":[' + b"NaN," * (7 * MIB) + b"1]}", 413),
        (b'{"input":' + b"[" * (15 * MIB) + b"]" * (15 * MIB) + b"}", 413),
        (b'{"input":[' + b"[]," * (10 * MIB) + b"1]}", 413),
        (b'{"input":"' + b"a" * (30 * MIB) + b'"}', 400),
        (b'{"input":[' + (b"1" * 4000 + b",") * (30 * MIB // 4001) + b"1]}", 400),
        (b'{"input":[' + b"1" * (30 * MIB) + b"]}", 400),
        (
            b'{"input":%(row)s,"past_dynamic_real":[%(rows)s]}'
            % {b"row": (row := json.dumps(ROW * 13).encode()), b"rows": b",".join([row] * 60)},
            200,
        ),
    ],
    ids=["integers", "nan", "nested", "lists", "text", "digits", "number", "covariates"],
)
def test_the_largest_bodies_take_next_to_nothing_of_the_services_own_time(serve, body, status):
    """Of CPU time, of which a busy host takes a little more: to parse them here took from half a second to two."""
    live = serve("naive").until_ready()
    live.post("/ds_predict", {"input": WALK})
    taken = []
    while len(taken) < 5 and min(taken, default=1) >= 0.3:
        before = cpu_s(live.process.pid)
        assert live.post("/ds_predict", body).status == status
        taken.append(cpu_s(live.process.pid) - before)
    assert min(taken) < 0.3


def test_others_are_answered_while_a_large_body_is_read(serve):
    live = serve("naive").until_ready()
    body = b'{"input":[' + b"NaN," * (7 * MIB) + b"1]}"
    answers = []
    thread = threading.Thread(target=lambda: answers.append(live.post("/ds_predict", body).status))
    thread.start()
    until(lambda: children(live.process.pid))
    assert live.get("/readyz").status == 200
    assert live.post("/ds_predict", {"input": WALK}).status == 200
    thread.join(60)
    assert answers == [413]


def test_the_process_that_reads_may_be_killed_and_ends_with_the_service(serve):
    live = serve("naive").until_ready()
    body = json.dumps({"input": WALK, "next_len": 2}).encode() + PADDING
    assert live.post("/ds_predict", body).status == 200
    (reader,) = children(live.process.pid)
    os.kill(reader, signal.SIGTERM)  # systemd sends it to all: those who are inside are still answered
    assert live.post("/ds_predict", body).status == 200
    assert children(live.process.pid) == [reader]
    os.kill(reader, signal.SIGKILL)
    until(lambda: ") Z " in Path(f"/proc/{reader}/stat").read_text())
    assert live.post("/ds_predict", body).status == 200  # by another one
    (reader,) = children(live.process.pid)
    before = cpu_s(reader)
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(live.post, "/ds_predict", b'{"input":[' + b"NaN," * (7 * MIB) + b"1]}")
        until(lambda: cpu_s(reader) > before + 0.2)
        os.kill(reader, signal.SIGKILL)
        lost = asked.result(60)
    assert (lost.status, lost.json["error"]) == (507, "the host has not enough memory to read so large a body")
    assert live.post("/ds_predict", body).status == 200
    (reader,) = children(live.process.pid)
    assert live.stop() == 0
    until(lambda: not Path(f"/proc/{reader}").exists())


def test_a_body_whose_client_has_left_or_whose_time_has_passed_is_not_read(large, admission):
    with pytest.raises(CancelledError):
        submit(large, admission, b"{}", present=lambda: False).result(60)
    with pytest.raises(DeadlinePassed):
        submit(large, admission, b'{"input":[' + b"NaN," * (7 * MIB) + b"1]}", in_s=0.3).result(60)
    body = json.dumps({"input": WALK}).encode()
    assert submit(large, admission, body).result(60).series.target.tolist() == WALK


def test_errors_come_back_as_what_they_are(large, admission):
    with pytest.raises(BadRequest, match="body: expected a JSON object, got a list"):
        submit(large, admission, b"[]").result(60)
    with pytest.raises(TooLarge, match="input: expected at most 40000 points, got 40001"):
        submit(large, admission, b'{"input":[' + b"1," * 40_000 + b"1]}").result(60)
    with pytest.raises(TooLarge, match="body: expected at most 1000000 lists and objects, got more"):
        submit(large, admission, b"[" * 1_000_001).result(60)


def test_a_body_that_takes_more_memory_than_one_may_fails_alone(admission):
    chosen = settings.read("naive", {"max_rows": "10000000", "max_body_mib": "1"})  # it is given larger ones
    tight = bodies.LargeBodies(lambda: chosen)
    with pytest.raises(OutOfMemory, match="takes more memory"):
        submit(tight, admission, b'{"input":[' + b"0.5," * (16 * MIB) + b"1]}").result(60)
    body = json.dumps({"input": WALK}).encode()
    assert submit(tight, admission, body).result(60).series.target.tolist() == WALK
    tight.close()


def test_the_process_ends_when_no_large_body_has_come_for_a_while(large, admission, monkeypatch):
    monkeypatch.setattr(reader_process, "IDLE_S", 0.1)
    body = json.dumps({"input": WALK}).encode()
    submit(large, admission, body).result(60)
    until(lambda: large._reader._process is None)
    assert submit(large, admission, body).result(60).series.target.tolist() == WALK
