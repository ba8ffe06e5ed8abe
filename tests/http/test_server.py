"""The whole service as a process over HTTP, with the torch-free naive family behind it."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import urllib.request
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from conftest import HERE, free_port, to_the_end

from tsfm.http import lifecycle, server

pytestmark = pytest.mark.slow

WALK = [3.0, 4.0, 2.0, 5.0, 4.0, 6.0, 5.5, 7.0, 6.0, 8.0, 7.5, 9.0]


@pytest.fixture
def naive(serve):
    return serve("naive").until_ready()


def troubled(serve, tmp_path, **trouble):
    (tmp_path / "naive.json").write_text(json.dumps(trouble))
    return lambda *options, **kw: serve("naive", "--model-folder", str(tmp_path), *options, **kw)


def test_a_forecast_has_the_contracts_fields(naive):
    answer = naive.post("/ds_predict", {"input": WALK, "next_len": 4, "conf_interval": 0.8})
    assert answer.status == 200
    assert answer.headers["Content-Type"] == "application/json"
    assert set(answer.json) == {"status", "output", "lower", "upper", "conf_interval"}
    assert answer.json["status"] == "success"
    assert answer.json["conf_interval"] == 0.8
    np.testing.assert_allclose(answer.json["output"], [9.0] * 4, rtol=1e-6)
    widths = np.subtract(answer.json["upper"], answer.json["lower"])
    assert (np.diff(widths) > 0).all()


def test_a_get_on_the_forecast_path_is_405_as_the_documentation_promises(naive):
    answer = naive.get("/ds_predict")
    assert answer.status == 405
    assert answer.headers["Allow"] == "POST"
    assert answer.json["status"] == "error"


def test_an_unknown_path_is_404_in_json(naive):
    answer = naive.post("/nope", {})
    assert answer.status == 404
    assert answer.json == {"status": "error", "error": "POST /nope: Not Found"}


def test_answers_of_the_longest_numbers_do_not_corrupt_memory():
    # orjson's own way with arrays did: in the system's allocator, which notices, and over many lengths.
    code = (
        "import numpy as np; from tsfm.http import app\n"
        "for pad in range(64):\n"
        "  for steps in range(1, 130):\n"
        "    row = np.full(steps, -2.2250738585072014e-308)\n"
        "    app._json({'status': 'x' * pad, 'output': row, 'lower': row, 'upper': row})\n"
    )
    environment = os.environ | {"PYTHONPATH": str(HERE.parent / "src"), "PYTHONMALLOC": "malloc", "MALLOC_CHECK_": "3"}
    environment["LD_PRELOAD"] = "libc_malloc_debug.so.0"  # where it is missing, the loader says so and goes on
    ended = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=120)
    assert ended.returncode == 0, ended.stderr


def test_a_bad_request_names_the_field(naive):
    answer = naive.post("/ds_predict", {"input": WALK, "next_len": 0})
    assert answer.status == 400
    assert answer.json["error"] == "next_len: expected a whole number from 1 to 1024, got 0"


def raw(live, request: bytes) -> bytes:
    """What the service answers to these bytes, to the end of the connection."""
    with socket.create_connection(("127.0.0.1", live.port), timeout=20) as client:
        client.sendall(request)
        return to_the_end(client)


@pytest.mark.parametrize(
    ("request_bytes", "status", "said"),
    [
        (
            b"POST /ds_predict HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % (33 << 20),
            b"413",
            b"body: expected at most 32 MiB, got more",
        ),
        (b"POST /ds_predict HTTP/1.1\r\nContent-Length: x\r\n\r\n", b"400", b"not well-formed HTTP"),
        (b"GET / HTTP/1.1\r\nX: " + b"y" * 16_600 + b"\r\n\r\n", b"431", b"headers are too large"),
    ],
)
def test_what_is_refused_before_it_is_read_is_json_too(naive, request_bytes, status, said):
    head, _, body = raw(naive, request_bytes).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 " + status) or head.startswith(b"HTTP/1.0 " + status)
    assert b"application/json" in head
    assert said in json.loads(body)["error"].encode()


def test_a_constant_series_is_answered_with_its_constant(naive):
    answer = naive.post("/ds_predict", {"input": [7.25] * 20, "next_len": 3})
    assert answer.json["output"] == answer.json["lower"] == answer.json["upper"] == [7.25] * 3


def test_a_meter_that_stands_high_and_moves_little_is_forecast_well(naive):
    meter = [1e9 + x for x in WALK]
    answer = naive.post("/ds_predict", {"input": meter, "next_len": 2})
    np.testing.assert_allclose(np.array(answer.json["output"]) - 1e9, [9.0, 9.0], atol=1e-5)


def test_models_ready_health_and_metrics_tell_what_is_served(naive):
    naive.post("/ds_predict", {"input": WALK})
    naive.post("/ds_predict", {"input": []})
    (model,) = naive.get("/v1/models").json["models"]
    assert model["family"] == "naive"
    assert model["limits"]["max_rows"] == 40_000
    assert naive.get("/readyz").json == {"status": "ready"}
    assert naive.get("/healthz").json == {"status": "alive"}
    text = naive.get("/metrics").body.decode()
    (info,) = [line for line in text.splitlines() if line.startswith("tsfm_info{")]
    assert 'family="naive"' in info
    assert "state=" not in info  # a label keeps what it was told at the start
    assert 'tsfm_requests_total{status="200"} 1.0' in text
    assert 'tsfm_requests_total{status="400"} 1.0' in text
    assert "tsfm_model_ready 1.0" in text
    assert "tsfm_batch_size_count 2.0" in text  # the warm-up and the one good request
    assert 'family="naive"' in text


def test_every_answer_belongs_to_its_own_request(naive):
    def ask(last: float) -> bool:
        series = [*WALK[:-1], last]
        output = naive.post("/ds_predict", {"input": series * (1 + int(last) % 3), "next_len": 2}).json["output"]
        return np.allclose(output, last, rtol=1e-5)

    with ThreadPoolExecutor(24) as pool:
        assert all(pool.map(ask, np.linspace(10, 500, 240)))


def test_gets_are_answered_at_once_while_the_model_works(serve, tmp_path):
    live = troubled(serve, tmp_path, delay_s=0.3)().until_ready()
    with ThreadPoolExecutor(32) as pool:
        posts = [pool.submit(live.post, "/ds_predict", {"input": WALK, "next_len": 1 + n}) for n in range(16)]
        answered = 0
        while not all(post.done() for post in posts):
            assert live.get("/ds_predict", timeout=5).status == 405
            answered += 1
        assert answered > 20  # the posts take 4.8 s one after the other: none held a GET up
    assert {post.result().status for post in posts} == {200}


def test_more_than_the_queue_holds_is_429_at_once_with_retry_after(serve, tmp_path):
    ini = tmp_path / "tsfm.ini"
    ini.write_text("[naive]\nqueue = 4\n")
    live = troubled(serve, tmp_path, delay_s=0.4)(env={"TSFM_INI": str(ini)}).until_ready()
    with ThreadPoolExecutor(16) as pool:
        asks = ({"input": WALK, "next_len": 1 + n} for n in range(16))
        answers = list(pool.map(lambda ask: live.post("/ds_predict", ask), asks))
    statuses = sorted(answer.status for answer in answers)
    assert set(statuses) == {200, 429}
    assert statuses.count(200) >= 4
    full = next(answer for answer in answers if answer.status == 429)
    assert full.headers["Retry-After"] == "1"
    assert full.json["error"] == "queue full (queue = 4); retry in 1 s"
    assert live.post("/ds_predict", {"input": WALK}).status == 200


def test_the_queue_counts_bytes_as_well(serve, tmp_path):
    ini = tmp_path / "tsfm.ini"
    ini.write_text("[naive]\nqueue_mib = 1\n")
    live = troubled(serve, tmp_path, delay_s=0.5)(env={"TSFM_INI": str(ini)}).until_ready()
    large = json.dumps({"input": [0.1234567890123] * 39_998 + [1, 2]}).encode()
    assert 600_000 < len(large) < 1 << 20
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda _: live.post("/ds_predict", large), range(4)))
    assert {answer.status for answer in answers} == {200, 429}
    full = next(answer for answer in answers if answer.status == 429)
    assert full.json["error"] == "too many request bodies in flight (queue_mib = 1 MiB); retry in 1 s"


def test_a_hung_model_is_seen_in_readyz(serve, tmp_path):
    ini = tmp_path / "tsfm.ini"
    ini.write_text("[naive]\nstall_s = 2\ndeadline_s = 1\n")
    live = troubled(serve, tmp_path, hang_above=5)(env={"TSFM_INI": str(ini)}).until_ready()
    assert live.post("/ds_predict", {"input": [0] * 40 + [1]}).status == 504
    while (answer := live.get("/readyz")).status == 200:
        pass
    assert answer.status == 503
    assert answer.json["error"].startswith("naive is not responding: a batch has run for more than stall_s = ")


def test_what_ends_a_hung_process_leaves_the_threads_stacks_in_the_journal(serve, tmp_path):
    ini = tmp_path / "tsfm.ini"
    ini.write_text("[naive]\ndeadline_s = 1\n")
    live = troubled(serve, tmp_path, hang_above=5)(env={"TSFM_INI": str(ini)}).until_ready()
    assert live.post("/ds_predict", {"input": [0] * 40 + [1]}).status == 504
    live.process.send_signal(signal.SIGABRT)  # as systemd's watchdog does
    assert live.process.wait(20) == -signal.SIGABRT
    assert "families/naive.py" in live.log.read_text()


def test_a_hung_model_does_not_hold_up_the_stop(serve, tmp_path):
    ini = tmp_path / "tsfm.ini"
    ini.write_text("[naive]\ndeadline_s = 1\n")
    live = troubled(serve, tmp_path, hang_above=5)(env={"TSFM_INI": str(ini)}).until_ready()
    assert live.post("/ds_predict", {"input": [0] * 40 + [1]}).status == 504
    live.process.send_signal(signal.SIGTERM)
    assert live.process.wait(20) == 0  # systemd would kill it after 30 s


def test_every_lane_hung_does_not_hold_up_the_stop(serve, tmp_path):
    """Whatever number of CPUs this host has: systemd would kill it after TimeoutStopSec=30."""
    ini = tmp_path / "tsfm.ini"
    ini.write_text("[naive]\ndeadline_s = 1\n")
    live = troubled(serve, tmp_path, hang_above=5)("--threads", "4", env={"TSFM_INI": str(ini)}).until_ready()
    hangs = {"input": [0] * 40 + [1]}
    with ThreadPoolExecutor(8) as pool:
        posts = [pool.submit(live.post, "/ds_predict", hangs | {"next_len": 1 + n}) for n in range(8)]
        assert {post.result().status for post in posts} == {504}
    live.process.send_signal(signal.SIGTERM)
    assert live.process.wait(lifecycle.CLOSE_S + server.FLUSH_S + 5) == 0


def test_the_parts_of_the_drain_are_together_below_the_units_limit():
    unit = (HERE.parent / "packaging/systemd/tsfm@.service").read_text()
    limit = int(unit.split("TimeoutStopSec=")[1].split()[0])
    assert limit - 4 >= lifecycle.DRAIN_S + lifecycle.CLOSE_S + server.FLUSH_S


def test_a_signal_is_heeded_whatever_lock_it_interrupts(tmp_path):
    """A thread that is just being started holds a lock which starting another one needs."""
    code = (
        "import os, signal, sys, threading\n"
        "from tsfm import card, settings; from tsfm.http import server\n"
        f"chosen = settings.read('naive', {{'port': '{free_port()}'}})\n"
        "process = server.Process(card.read('naive'), chosen, None)\n"
        "def interrupted():\n"
        "    with threading._active_limbo_lock:\n"
        "        os.kill(os.getpid(), signal.SIGTERM)\n"
        "        assert process._stopping.wait(20)\n"
        "run = process._server.run\n"
        "process._server.run = lambda: (interrupted(), run())\n"
        "sys.exit(process.run())\n"
    )
    environment = os.environ | {"PYTHONPATH": str(HERE.parent / "src")}
    ended = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=60)
    assert ended.returncode == 0, ended.stderr


def test_readyz_says_no_from_the_signal_on_while_what_was_accepted_is_answered(serve, tmp_path):
    live = troubled(serve, tmp_path, delay_s=1)().until_ready()
    with ThreadPoolExecutor(1) as pool:
        post = pool.submit(live.post, "/ds_predict", {"input": WALK})
        while "tsfm_batch_size_count 2.0" not in live.get("/metrics").body.decode():
            pass
        live.process.send_signal(signal.SIGTERM)
        while (ready := live.get("/readyz")).status == 200:
            pass
        assert (ready.status, ready.json["error"]) == (503, "naive is stopping")
        assert live.get("/healthz").status == 200
        assert live.post("/ds_predict", {"input": WALK}).status == 503
        assert post.result().status == 200
    assert live.process.wait(30) == 0


def test_a_model_that_ends_the_loading_thread_is_a_failed_start(serve, tmp_path):
    live = troubled(serve, tmp_path, exit_at_load="no licence")()
    assert live.process.wait(60) == 1
    assert live.log.read_text().splitlines()[-1] == "tsfm: naive could not be loaded: SystemExit: no licence"


def test_the_service_describes_itself_with_its_limits(naive):
    described = naive.get("/openapi.json").json
    assert described["openapi"] == "3.1.0"
    ask = described["paths"]["/ds_predict"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert ask["properties"]["input"]["maxItems"] == 40_000
    assert set(described["paths"]) >= {"/ds_predict", "/readyz", "/v1/models"}


def test_a_request_not_answered_by_its_deadline_is_504(serve, tmp_path):
    ini = tmp_path / "tsfm.ini"
    ini.write_text("[naive]\ndeadline_s = 1\n")
    live = troubled(serve, tmp_path, delay_s=1.3)(env={"TSFM_INI": str(ini)}).until_ready()
    answer = live.post("/ds_predict", {"input": WALK})
    assert answer.status == 504
    assert answer.json["error"] == "no answer within 1 s"


def test_a_model_that_raises_is_500_in_words_and_the_next_request_is_answered(serve, tmp_path):
    # Standardised, a single spike stands at sqrt(n - 1): only such a series is above 5.
    live = troubled(serve, tmp_path, fail_above=5)().until_ready()
    answer = live.post("/ds_predict", {"input": [0] * 40 + [1]})
    assert answer.status == 500
    assert "the model failed: RuntimeError" in answer.json["error"]
    assert live.post("/ds_predict", {"input": WALK}).status == 200


def test_posts_get_503_and_gets_an_answer_while_the_model_loads(serve, tmp_path):
    live = troubled(serve, tmp_path, delay_s=1)()
    seen = set()
    while live.process.poll() is None:
        try:
            ready = live.get("/readyz", timeout=5)
        except OSError:
            continue
        if ready.status == 200:
            break
        answer = live.post("/ds_predict", {"input": WALK})
        if answer.status == 503:
            seen.add((answer.headers["Retry-After"], answer.json["error"], live.get("/ds_predict").status))
    assert seen == {("5", "naive is loading", 405)}


def test_sigterm_answers_what_was_accepted_and_exits_0(serve, tmp_path):
    live = troubled(serve, tmp_path, delay_s=0.7)("--threads", "1").until_ready()
    with ThreadPoolExecutor(3) as pool:
        posts = [pool.submit(live.post, "/ds_predict", {"input": WALK, "next_len": n}) for n in (1, 2, 3)]
        accepted = {"tsfm_queue_length 2.0", "tsfm_batch_size_count 2.0"}  # two wait, and one runs after the trial
        while not accepted <= set(live.get("/metrics").body.decode().split("\n")):
            pass
        live.process.send_signal(signal.SIGTERM)
        assert [post.result().status for post in posts] == [200] * 3
    assert live.process.wait(30) == 0


def test_who_has_connected_before_the_end_is_answered_and_who_comes_later_is_refused(serve, tmp_path):
    live = troubled(serve, tmp_path, delay_s=0.2)().until_ready()
    body = json.dumps({"input": WALK}).encode()
    request = b"POST /ds_predict HTTP/1.1\r\nContent-Length: %d\r\n\r\n" % len(body) + body
    clients = [socket.create_connection(("127.0.0.1", live.port), timeout=20) for _ in range(20)]
    live.process.send_signal(signal.SIGTERM)
    answers = []
    for client in clients:
        client.sendall(request)
        with client, client.makefile("rb") as stream:
            answers.append(stream.readline().split()[1])
    assert answers == [b"503"] * 20
    assert live.process.wait(30) == 0
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", live.port))


def test_systemd_is_told_when_the_model_answers_and_what_is_served(serve, tmp_path):
    address = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
        channel.bind(address)
        channel.settimeout(30)
        live = serve("naive", env={"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "300000"})
        said = b""
        while b"WATCHDOG=1" not in said:
            said += channel.recv(4096) + b"\n"
        assert live.post("/ds_predict", {"input": WALK}).status == 200
    assert b"READY=1\nSTATUS=serving naive" in said


def test_the_watchdog_is_not_fed_while_the_model_hangs(serve, tmp_path):
    ini = tmp_path / "tsfm.ini"
    ini.write_text("[naive]\nstall_s = 2\ndeadline_s = 1\n")
    address = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
        channel.bind(address)
        channel.settimeout(2)
        env = {"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "300000", "TSFM_INI": str(ini)}
        live = troubled(serve, tmp_path, hang_above=5)(env=env).until_ready()
        assert live.post("/ds_predict", {"input": [0] * 40 + [1]}).status == 504
        with pytest.raises(TimeoutError):  # for 2 s, twenty times the watchdog's rhythm, nothing is said
            for _ in range(30):
                channel.recv(4096)
        assert live.get("/healthz").status == 200
    live.process.send_signal(signal.SIGKILL)


def test_an_inference_thread_that_ended_is_seen_in_readyz_and_by_the_watchdog(serve, tmp_path):
    address = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
        channel.bind(address)
        channel.settimeout(2)
        env = {"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "300000"}
        live = troubled(serve, tmp_path, exit_above=5)(env=env).until_ready()
        answer = live.post("/ds_predict", {"input": [0] * 40 + [1]})
        assert (answer.status, answer.json["error"]) == (500, "the inference thread has ended")
        assert live.get("/readyz").status == 503
        assert live.post("/ds_predict", {"input": WALK}).status == 503
        assert live.get("/healthz").status == 200
        with pytest.raises(TimeoutError):
            for _ in range(30):
                channel.recv(4096)
    assert live.stop() == 0


def run_serve(*words, **env):
    command = [sys.executable, "-m", "tsfm", "serve", *words]
    environment = os.environ | {"PYTHONPATH": str(HERE.parent / "src")} | env
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)


def test_a_port_in_use_names_the_process_and_exits_78(naive):
    ended = run_serve("naive", "--port", str(naive.port))
    assert ended.returncode == 78
    last = ended.stderr.splitlines()[-1]
    assert f"port {naive.port} is in use by pid {naive.process.pid}" in last


@pytest.mark.parametrize(
    ("words", "ini", "said"),
    [
        (["nope"], "", "family: expected one of chronos, flowstate, "),
        (["../naive"], "", "family: expected one of"),
        (["naive", "--port", "x"], "", "--port: expected a whole number from 1 to 65535, got 'x'"),
        (["naive"], "[naive]\nqueue = 0\n", "[naive] queue: expected a whole number from 1 to 1000, got '0'"),
        (["naive"], "[naive]\nqeue = 5\n", "[naive] qeue: unknown key"),
        (["naive", "--host", "localhost"], "", "--host: expected an IP address such as 127.0.0.1"),
        (["naive"], "queue = 5\n", "File contains no section headers"),
        (["naive", "--device", "gpu"], "", "--device: expected cpu, cuda or cuda:N in small letters, got 'gpu'"),
        (["naive"], "[naive]\ndevice = CPU\n", "[naive] device: expected cpu, cuda or cuda:N in small letters, got"),
        (["naive"], "[naive]\nport = 0\n[chronos]\nprot = 1\n", "line 4: [chronos] prot: unknown key"),
        (["chronos", "--model-name", "9"], "", "checkpoint: expected one of chronos (0: amazon/chronos-bolt-tiny"),
    ],
)
def test_wrong_configuration_is_one_sentence_and_exit_78(words, ini, said, tmp_path):
    file = tmp_path / "tsfm.ini"
    file.write_text(ini)
    if "--port" not in words:
        words = [*words, "--port", str(free_port())]
    ended = run_serve(*words, TSFM_INI=str(file))
    assert ended.returncode == 78
    assert said in ended.stderr
    assert len(ended.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("words", "source"), [([], "tsfm.ini: [DEFAULT] device"), (["--device", "cuda:9"], "--device")]
)
def test_a_device_that_this_machine_does_not_have_is_wrong_configuration(words, source, serve, tmp_path):
    file = tmp_path / "tsfm.ini"
    file.write_text("[DEFAULT]\ndevice = cuda:9\n")
    live = serve("naive", *words, env={"TSFM_INI": str(file)}, forked=True)  # torch says which devices there are
    status, told = live.process.wait(60), live.log.read_text()
    assert status == 78, told
    assert f"{source}: expected a device of this machine, got 'cuda:9'" in told.splitlines()[-1]
    assert "Traceback" not in told


def test_an_ipv6_address_is_logged_as_it_stands_in_a_url(serve):
    live = serve("naive", "--host", "::1")
    words = re.compile(r"listens on (\S+)")
    waited = threading.Event()
    while not (found := words.search(live.log.read_text())) and live.process.poll() is None:
        waited.wait(0.05)
    assert found
    assert found[1] == f"http://[::1]:{live.port}"
    with urllib.request.urlopen(f"{found[1]}/healthz", timeout=60) as answer:
        assert answer.status == 200


def test_missing_weights_are_worth_a_later_try(tmp_path):
    ended = run_serve("chronos", "--port", str(free_port()), "--model-folder", str(tmp_path))
    assert ended.returncode == 75
    (line,) = ended.stderr.splitlines()
    assert f"{tmp_path} lacks config.json, model.safetensors" in line
    assert "run: tsfm pull chronos amazon/chronos-bolt-tiny" in line


def test_no_data_of_a_request_reaches_the_log(serve):
    live = serve("naive").until_ready()
    live.post("/ds_predict", {"input": [*WALK, "secret\n<2>forged"]})
    live.post("/ds_predict?secret", b"secret")
    live.stop()
    assert "400 input[12]: expected a number or null" in live.log.read_text()
    assert "secret" not in live.log.read_text()


def test_clients_that_leave_do_not_keep_a_worker(serve, tmp_path):
    live = troubled(serve, tmp_path, delay_s=0.3)().until_ready()
    body = json.dumps({"input": WALK}).encode()
    head = b"POST /ds_predict HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body)
    for _ in range(30):
        with socket.create_connection(("127.0.0.1", live.port)) as client:
            client.sendall(head + body)
    assert live.post("/ds_predict", {"input": WALK, "next_len": 7}).status == 200
    waited = threading.Event()
    while "tsfm_queue_length 0.0" not in live.get("/metrics").body.decode():
        waited.wait(0.1)
    text = live.get("/metrics").body.decode()
    ran = float(text.split("tsfm_batch_size_sum ")[1].split()[0])
    assert ran < 32  # those whose client was seen to leave were never computed
