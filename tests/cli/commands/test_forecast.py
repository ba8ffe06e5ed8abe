"""`tsfm forecast` with the services, servers and settings that it may meet."""

from __future__ import annotations

import base64
import json
import math
import os
import re
import select
import signal
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from pathlib import Path

import pytest
from checkpoints import chronos
from conftest import HERE, free_port
from tdgpt import taosadapter
from tdgpt.taosadapter import http, success

from tsfm import card
from tsfm.cli import client
from tsfm.cli.output import chart, digits
from tsfm.errors import ConfigError, TsfmError

pytestmark = pytest.mark.slow

ROOT = HERE.parent
VALUES = [float(i % 7) for i in range(40)]
PROXIES = ("http_proxy", "HTTP_PROXY", "https_proxy", "ALL_PROXY", "all_proxy")


@pytest.fixture
def series(tmp_path: Path) -> Path:
    file = tmp_path / "x.csv"
    file.write_text("val\n" + "".join(f"{value}\n" for value in VALUES))
    return file


@pytest.fixture
def ini(tmp_path: Path) -> Callable[[str], dict[str, str]]:
    """Writes tsfm.ini; gives the environment that names it."""

    def write(text: str) -> dict[str, str]:
        file = tmp_path / "tsfm.ini"
        file.write_text(text)
        return {"TSFM_INI": str(file)}

    return write


def command(*words: object) -> list[str]:
    return [sys.executable, "-m", "tsfm", "forecast", *map(str, words)]


def forecast(*words: object, stdin: bytes | None = None, **env: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src")} | env
    done = subprocess.run(command(*words), env=environment, input=stdin, capture_output=True, timeout=300)
    return subprocess.CompletedProcess(done.args, done.returncode, done.stdout.decode(), done.stderr.decode())


class Peer(ThreadingHTTPServer):
    """A server on a port, with an answer for each path, taken in turn; the last one stays. Notes what it is asked."""

    def __init__(self, **answers: list[tuple[int, str, bytes | str]]) -> None:
        super().__init__(("127.0.0.1", 0), Answering)
        self.answers, self.asked = answers, []
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def port(self) -> int:
        return int(self.server_address[1])


class Answering(BaseHTTPRequestHandler):
    server: Peer

    def do_GET(self) -> None:
        self.server.asked.append((self.command, self.path, dict(self.headers)))
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        name = self.path.rpartition("/")[2].partition(":")[0]
        left = self.server.answers.get(name) or self.server.answers["any"]
        status, kind, body = left.pop(0) if len(left) > 1 else left[0]
        data = body.encode() if isinstance(body, str) else body
        self.send_response(status)
        self.send_header("Content-Type", kind.rstrip("!"))
        self.send_header("Retry-After", "1")
        self.send_header("Content-Length", str(len(data) + (10 if kind.endswith("!") else 0)))  # "!": broken off
        self.end_headers()
        self.wfile.write(data)

    do_POST = do_CONNECT = do_GET

    def log_message(self, *_: object) -> None:
        """Not on the tests' stderr."""


@pytest.fixture
def peer() -> Iterator[Callable[..., Peer]]:
    started = []

    def start(**answers: list[tuple[int, str, bytes | str]]) -> Peer:
        started.append(Peer(**answers))
        return started[-1]

    yield start
    for server in started:
        server.shutdown()
        server.server_close()


JSON, HTML = "application/json", "text/html"
READY = (200, JSON, '{"status": "ready"}')
LOADING = (503, JSON, '{"status": "error", "error": "naive is loading"}')


def models(state: str = "ready", family: str = "naive") -> tuple[int, str, str]:
    return 200, JSON, json.dumps({"models": [{"family": family, "task": "forecast", "state": state, "limits": {}}]})


FORECAST = {"item_id": "val", "mean": [5, 6], "0.1": [4, 5], "0.5": [5, 6], "0.9": [6, 7]}


def answer(warnings: list[str] | None = None, **fields: object) -> tuple[int, str, str]:
    return 200, JSON, json.dumps({"predictions": [FORECAST | fields], "warnings": warnings or []})


def refused(sentence: str) -> tuple[int, str, str]:
    return 200, JSON, json.dumps({"predictions": [{"item_id": "val", "error": sentence}]})


@pytest.mark.parametrize("answered", [(403, HTML, "no"), (200, HTML, "<html>hello</html>")])
def test_no_proxy_of_the_environment_is_asked_for_this_host(serve, series, ini, peer, answered):
    live, proxy = serve("naive").until_ready(), peer(any=[answered])
    env = dict.fromkeys(PROXIES, f"http://127.0.0.1:{proxy.port}") | {"no_proxy": "", "NO_PROXY": "example.org"}
    for port in (live.port, free_port()):
        said = forecast(series, "--family", "naive", "--horizon", 2, **env, **ini(f"[naive]\nport = {port}\n"))
        assert said.returncode == 0, said.stderr
        assert ("starting one" in said.stderr) == (port != live.port)
    assert proxy.asked == []


def test_nothing_but_the_way_to_the_hub_takes_a_proxy_from_the_environment():
    for folder in ("src", "bench", "tools"):
        for file in set((ROOT / folder).rglob("*.py")) - set((ROOT / "src/tsfm/weights").iterdir()):
            assert "urllib.request" not in file.read_text(), f"{file}: use tsfm.system.loopback"


def test_the_token_of_the_settings_is_sent(serve, series, ini, tmp_path):
    token = tmp_path / "token"
    token.write_text("secret\n")
    env = ini(f"[naive]\ntoken_file = {token}\nport = {free_port()}\n")
    live = serve("naive", env=env).until_ready()
    env = ini(f"[naive]\ntoken_file = {token}\nport = {live.port}\n")
    said = forecast(series, "--family", "naive", "--horizon", 2, **env)
    assert said.returncode == 0, said.stderr
    assert "starting one" not in said.stderr
    without = forecast(series, "--family", "naive", **ini(f"[naive]\nport = {live.port}\n"))
    assert without.returncode == 78
    assert "requires a token: token_file is not set here; see [naive] of tsfm.ini" in without.stderr
    token.write_text("another\n")
    other = forecast(series, "--family", "naive", **ini(f"[naive]\ntoken_file = {token}\nport = {live.port}\n"))
    assert "its token_file holds another token" in other.stderr
    missing = forecast(series, "--family", "naive", **ini(f"[naive]\ntoken_file = {tmp_path}/no\nport = {live.port}\n"))
    assert missing.returncode == 78
    assert "token_file: " in missing.stderr
    assert "cannot be read: No such file or directory" in missing.stderr


def test_a_service_that_shuts_this_host_out_says_so(serve, series, ini):
    live = serve("naive", env=ini("[naive]\nallow = 10.1.0.0/16\n")).until_ready()
    said = forecast(series, "--family", "naive", **ini(f"[naive]\nport = {live.port}\n"))
    assert said.returncode == 78
    assert "refuses this host: 127.0.0.1 is in none of the networks" in said.stderr
    assert "add it to allow in [naive]" in said.stderr


@pytest.mark.parametrize(
    ("answers", "code", "said"),
    [
        (
            {"any": [(200, HTML, "<html>hello</html>")]},
            78,
            "is no service of taos-tsfm: it answered 200 with text/html",
        ),
        ({"any": [(404, HTML, "no")]}, 78, "is no service of taos-tsfm: it answered 404"),
        ({"any": [(200, JSON, "{")]}, 78, "is no service of taos-tsfm"),
        ({"any": [(200, JSON, "[" * 100_000)]}, 78, "is no service of taos-tsfm"),
        ({"any": [(200, JSON + "!", "{}")]}, 78, "the connection closed before the end of the answer"),
        ({"models": [(200, JSON, '{"models": [{"family": ["x"], "limits": 3}]}')]}, 78, "serves ['x'], not naive"),
        ({"models": [models(family="fracast")]}, 78, "serves fracast, not naive"),
        ({"forecast": [(200, HTML, "<html>")]}, 1, "expected one entry for each of 1 series as predictions"),
        ({"forecast": [(200, JSON, '{"predictions": []}')]}, 1, "expected one entry for each of 1 series"),
        ({"forecast": [(200, JSON + "!", "{}")]}, 1, "the connection closed before the end of the answer"),
        ({"forecast": [answer(mean=[1])]}, 1, "expected 2 numbers as mean"),
        ({"forecast": [answer(**{"0.1": [1, None]})]}, 1, "expected 2 numbers as 0.1"),
        ({"forecast": [answer(**{"0.9": [1, math.nan]})]}, 1, "expected 2 numbers as 0.9"),
        ({"forecast": [answer(mean="ab")]}, 1, "expected 2 numbers as mean"),
        ({"forecast": [(500, JSON, '{"error": "the model failed"}')]}, 1, "the model failed"),
        ({"forecast": [(500, HTML, "<html>")]}, 1, "HTTP status 500"),
        ({"forecast": [refused("target[3]: expected x")]}, 1, "x.csv: line 5, column val: expected x"),
        ({"forecast": [refused("target: too few")]}, 1, "x.csv: column val: too few"),
        ({"forecast": [(400, JSON, '{"error": "prediction_length: too many"}')]}, 1, "--horizon: too many"),
    ],
)
def test_an_answer_that_is_none_of_ours_is_one_sentence(series, ini, peer, answers, code, said):
    server = peer(**answers if "any" in answers else {"models": [models()], "readyz": [READY]} | answers)
    done = forecast(series, "--family", "naive", "--horizon", 2, **ini(f"[naive]\nport = {server.port}\n"))
    assert done.returncode == code
    assert done.stdout == ""
    assert done.stderr.startswith("tsfm: ")
    assert done.stderr.count("\n") == 1
    assert said in done.stderr


def test_a_model_that_loads_is_waited_for_and_no_second_is_started(series, ini, peer):
    server = peer(
        models=[LOADING, models("loading"), models()],
        readyz=[LOADING, LOADING, READY],
        forecast=[
            (503, JSON, '{"error": "naive is loading"}'),
            (429, JSON, '{"error": "full"}'),
            answer(warnings=["a field is ignored"]),
        ],
    )
    done = forecast(series, "--family", "naive", "--horizon", 2, **ini(f"[naive]\nport = {server.port}\n"))
    assert done.returncode == 0, done.stderr
    assert "naive is loading; waiting, 0 of 120 s" in done.stderr
    assert "naive is loading; asking again" in done.stderr
    assert "tsfm: a field is ignored\n" in done.stderr
    assert "starting one" not in done.stderr


def test_a_server_that_speaks_no_http_is_one_sentence(series, ini):
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def greet() -> None:
            connection, _ = listening.accept()
            connection.sendall(b"SSH-2.0-OpenSSH_9.2\r\n")
            connection.recv(1000)
            connection.close()

        thread = threading.Thread(target=greet)
        thread.start()
        port = listening.getsockname()[1]
        done = forecast(series, "--family", "naive", **ini(f"[naive]\nport = {port}\n"))
        thread.join()
    assert done.returncode == 78
    assert "does not speak HTTP" in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_a_service_started_for_a_forecast_ends_with_it(tmp_path, ini, number):
    # The model takes longer than the signal.
    (tmp_path / "naive.json").write_text('{"delay_s": 50}')
    more = ini(f"[naive]\nport = {free_port()}\nmodel_folder = {tmp_path}\n")
    env = os.environ | {"PYTHONPATH": str(ROOT / "src")} | more
    file = tmp_path / "long.csv"
    file.write_text("val\n" + "".join(f"{value}\n" for value in VALUES))
    words = command(file, "--family", "naive")
    # What a shell has put into the background ignores SIGINT, and so would all that it starts.
    heed = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    process = subprocess.Popen(words, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, preexec_fn=heed)
    assert process.stderr
    child = 0
    for line in process.stderr:
        if b"listens on" in line:
            child = int(Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()[0])
            process.send_signal(number)
            break
    assert child
    watched = os.pidfd_open(child)
    process.wait(60)
    ended, _, _ = select.select([watched], [], [], 60)
    os.close(watched)
    process.communicate()
    assert ended, "the service lives on"
    assert process.returncode in {signal.SIGTERM: (143,), signal.SIGINT: (130,), signal.SIGKILL: (-9,)}[number]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--horizon", "0"], "--horizon: expected a whole number from 1 to 1024, got 0"),
        (["--horizon", "9999"], "--horizon: expected a whole number from 1 to 1024, got 9999"),
        (["--horizon", "2.5"], "--horizon: expected a whole number from 1 to 1024, got 2.5"),
        (["--level", "80"], "--level: expected a number from 0 to below 1, got 80 (did you mean 0.8?)"),
        (["--level", "95%"], "--level: expected a number from 0 to below 1, got 95% (did you mean 0.95?)"),
        (["--level", "nan"], "--level: expected a number from 0 to below 1, got nan"),
        (["--separator", "ab"], "--separator: expected one character or tab, comma"),
        (["--decimal", "x"], "--decimal"),
        (["--family", "moment"], "moment fills gaps and does not forecast; these do: chronos, flowstate, "),
    ],
)
def test_a_wrong_option_is_told_before_anything_is_read_or_started(words, said):
    done = forecast("/nonexistent.csv", *words)
    assert done.returncode == 2
    assert said in done.stderr
    assert done.stderr.count("starting one") == 0


def test_too_few_and_too_many_rows_are_told_in_rows(serve, tmp_path, ini):
    live = serve("naive", env=ini("[naive]\nmax_rows = 30\n")).until_ready()
    env = ini(f"[naive]\nport = {live.port}\n")
    file = tmp_path / "x.csv"
    file.write_text("val\n" + "1\n" * 20 + "".join(f"{i}\n" for i in range(20)))
    done = forecast(file, "--family", "naive", "--horizon", 2, **env)
    assert done.returncode == 0, done.stderr
    assert "of 40 rows the newest 30 are sent" in done.stderr
    file.write_text("val\n1\n")
    done = forecast(file, "--family", "naive", **env)
    assert done.returncode == 2
    assert "x.csv: expected at least 10 rows, got 1" in done.stderr


def test_standard_input_chinese_names_and_a_plain_locale_are_read(serve, tmp_path, ini):
    live = serve("naive").until_ready()
    env = ini(f"[naive]\nport = {live.port}\n") | {
        "LANG": "C",
        "LC_ALL": "C",
        "PYTHONUTF8": "0",
        "PYTHONCOERCECLOCALE": "0",
    }
    content = ("时间,温度\n" + "".join(f"2026-03-{i + 1:02},{i}\n" for i in range(20))).encode("gbk")
    file = tmp_path / "数据.csv"
    file.write_bytes(content)
    for name, stdin in ((file, None), ("-", content)):
        done = forecast(name, "--family", "naive", "--horizon", 2, stdin=stdin, **env)
        assert done.returncode == 0, done.stderr
        assert r"column \u6e29\u5ea6, 20 rows, from 2026-03-01 to 2026-03-20" in done.stdout
        assert "read as GB18030" in done.stderr
        assert ("standard input: " in done.stderr) == (name == "-")


def test_a_meter_that_rises_by_one_shows_every_step(serve, tmp_path, ini):
    file = tmp_path / "x.csv"
    file.write_text("kwh\n" + "".join(f"{1234567 + i}\n" for i in range(96)))
    live = serve("fracast", forked=True).until_ready()
    done = forecast(file, "--horizon", 3, **ini(f"[fracast]\nport = {live.port}\n"))
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    shown = [[float(cell) for cell in line.split()[1:4]] for line in lines[1:4]]
    for step, row in enumerate(shown, 1):
        assert row == sorted(row)
        assert row[1] == pytest.approx(1234662 + step, abs=1.5)
    assert len({row[1] for row in shown}) == 3
    assert "column kwh, 96 rows" in done.stdout
    labels = [line.partition("|")[0].strip() for line in lines if "|" in line and line.partition("|")[0].strip()]
    assert len(set(labels)) == len(labels) == 4


@pytest.mark.parametrize(
    ("base", "step"),
    [(0, 1), (1e6, 1), (1e9, 1), (1e9, 1e-3), (1e15, 4), (1e300, 1e298), (0, 1e-300), (20, 0.1), (-5, 0), (1234567, 0)],
)
def test_neighbours_differ_in_what_is_shown(base, step):
    values = [base + step * i for i in range(30)]
    form = digits.form(digits.step(values), max(map(abs, values)))
    assert len({format(value, form) for value in values}) == len(set(values))
    assert all(abs(float(format(value, form)) - value) <= step / 10 for value in values)
    assert max(len(format(value, form)) for value in values) <= 24
    drawn = chart.forecast(values, values[-3:], values[-3:], values[-3:]).splitlines()
    labels = [line.partition("|")[0].strip() for line in drawn]
    assert len({label for label in labels if label}) == (4 if step else 1)
    assert len({len(line.partition("|")[0]) for line in drawn}) == 1


def installed(root: Path, environment: Path | None) -> dict[str, str]:
    """A tree as the packages make it, with our code and a command line's environment; gives what names it."""
    payload = root / "usr/lib/taos-tsfm"
    payload.mkdir(parents=True)
    (payload / "lib").symlink_to(ROOT / "src")
    if environment:
        (payload / "cli").symlink_to(environment)
    return os.environ | {"TSFM_ROOT": str(root), "PYTHONPATH": str(ROOT / "src")}


def by_the_systems_python(folder: Path, env: dict[str, str], *words: object) -> subprocess.CompletedProcess[str]:
    """The command as /usr/bin/tsfm runs it: by an interpreter without any package."""
    bare = folder / "bare"
    if not bare.exists():
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(bare)], check=True)
    call = [str(bare / "bin/python"), str(ROOT / "packaging/bin/tsfm"), "forecast", *map(str, words)]
    return subprocess.run(call, env=env, cwd=folder, capture_output=True, text=True, timeout=120)


def test_the_command_goes_on_in_the_environment_that_has_pandas(serve, series, ini, tmp_path):
    live = serve("naive").until_ready()
    env = installed(tmp_path, Path(sys.prefix)) | ini(f"[naive]\nport = {live.port}\n")
    (tmp_path / "pandas.py").write_text("raise SystemExit('the working folder is no place for modules')")
    done = by_the_systems_python(tmp_path, env, series, "--family", "naive", "--horizon", 2)
    assert done.returncode == 0, done.stderr
    assert "column val, 40 rows" in done.stdout


def test_without_that_environment_the_package_is_named_and_it_is_entered_once(series, tmp_path):
    env = installed(tmp_path, None)
    missing = by_the_systems_python(tmp_path, env, series)
    (tmp_path / "usr/lib/taos-tsfm/cli").symlink_to(tmp_path / "bare")
    without_pandas = by_the_systems_python(tmp_path, env, series)
    for done in (missing, without_pandas):
        assert done.returncode == 78
        assert "install taos-tsfm-runtime" in done.stderr
        assert done.stderr.count("\n") == 1


def test_a_service_that_ends_while_it_is_asked_is_told_from_another_server():
    """It closes the connection without an answer; only whoever started it knows that it is its own."""
    asked = threading.Event()

    def starting() -> None:
        if asked.is_set():
            raise TsfmError("the service ended")

    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(10)  # where it is asked only once, the thread ends too
        service = client.Target(card.read("naive"), f"http://127.0.0.1:{server.getsockname()[1]}")

        def reset() -> None:
            for _ in range(2):
                connection, _ = server.accept()
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                connection.close()
                asked.set()

        breaking = threading.Thread(target=reset)
        breaking.start()
        with pytest.raises(TsfmError, match=r"^the service ended$"):
            client.wait(service, starting)
        with pytest.raises(ConfigError, match="stop that server, or set another port"):
            client.wait(service)
        breaking.join(30)


def test_other_commands_import_nothing_that_reads_tables(tmp_path):
    program = (
        "import sys; from tsfm.cli.main import main\n"
        "asked = [[name, '--help'] for name in ('forecast', 'backtest', 'detect')]\n"
        "for words in (['list'], ['doctor'], ['serve', 'nope'], *asked):\n"
        "    try: main(words)\n"
        "    except SystemExit: pass\n"
        "print(sorted({'pandas', 'numpy', 'torch'} & set(sys.modules)))"
    )
    env = os.environ | {"PYTHONPATH": str(ROOT / "src"), "TSFM_ROOT": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", program], env=env, capture_output=True, text=True, timeout=120)
    assert done.stdout.endswith("[]\n"), done.stderr


def test_a_service_that_answers_has_not_imported_pandas(serve):
    live = serve("naive").until_ready()
    assert live.post("/ds_predict", {"input": VALUES, "next_len": 2}).status == 200
    assert "pandas" not in Path(f"/proc/{live.process.pid}/maps").read_text()


def table(folder: Path, count: int, bad: int | None = None) -> Path:
    """Series of 30 rows each by id; the bad one is too short for the service."""
    rows = [
        f"m{meter},2026-03-{day + 1:02},{meter + day % 7}"
        for meter in range(count)
        for day in range(5 if meter == bad else 30)
    ]
    file = folder / "many.csv"
    file.write_text("\n".join(("meter,day,kwh", *rows)) + "\n")
    return file


def test_many_series_go_in_several_requests_and_come_back_in_order(serve, ini, tmp_path):
    live = serve("naive", env=ini("[naive]\nmax_series = 40\n")).until_ready()
    env = ini(f"[naive]\nport = {live.port}\n")
    file, out = table(tmp_path, 210, bad=77), tmp_path / "o.json"
    words = ("--family", "naive", "--id", "meter", "--horizon", 2, "--output", out)
    done = forecast(file, *words, **env)
    assert done.returncode == 1
    assert "tsfm: m77: expected at least 10 rows, got 5\n" in done.stderr
    shown = [int(number) for number in re.findall(r"^(\d+) of 209 series$", done.stderr, re.MULTILINE)]
    assert shown[0] == 16
    assert shown[-1] == 209
    assert all(0 < after - before <= 40 for before, after in pairwise(shown))
    predictions = json.loads(out.read_text())["predictions"]
    assert [one["item_id"] for one in predictions] == [f"m{meter}" for meter in range(210)]
    assert predictions[77] == {"item_id": "m77", "error": "expected at least 10 rows, got 5"}
    assert predictions[5]["timestamps"] == ["2026-03-31", "2026-04-01"]
    assert predictions[5]["mean"] == pytest.approx([6, 6], abs=1e-6)
    body = live.post("/ds_predict", {"input": [5 + day % 7 for day in range(30)], "next_len": 2, "conf_interval": 0.8})
    assert [predictions[5][key] for key in ("0.5", "0.1", "0.9")] == [
        pytest.approx(body.json[key], rel=1e-6) for key in ("output", "lower", "upper")
    ]
    lines = done.stdout.splitlines()
    assert len(lines) == 210
    assert lines[1].split() == ["m0", "30", "1.0", "2026-03-31", "1.0", "2026-04-01", "1.0"]


def test_every_series_that_fails_for_one_reason_is_one_sentence(serve, series, ini, tmp_path):
    live = serve("naive", env=ini("[naive]\nmax_covariates = 0\n")).until_ready()
    env = ini(f"[naive]\nport = {live.port}\n")
    words = ("--family", "naive", "--id", "meter", "--horizon", 2, "--covariate", "past:day", "--column", "kwh")
    done = forecast(table(tmp_path, 3), *words, **env)
    assert done.returncode == 1
    assert "past_covariates: expected at most 0, got 1" in done.stderr
    assert done.stderr.count("\n") == 1


def test_json_and_files_hold_what_the_table_shows(serve, ini, tmp_path):
    live = serve("naive").until_ready()
    env = ini(f"[naive]\nport = {live.port}\n")
    outputs = [tmp_path / f"o.{suffix}" for suffix in ("csv", "json", "parquet", "png", "html")]
    words = [word for path in outputs for word in ("--output", path)]
    done = forecast(table(tmp_path, 1), "--family", "naive", "--horizon", 2, "--json", *words, **env)
    assert done.returncode == 0, done.stderr
    (shown,) = json.loads(done.stdout)["predictions"]
    assert shown["item_id"] == "kwh"
    assert shown == json.loads(outputs[1].read_text())["predictions"][0]
    assert all(path.stat().st_size > 50 for path in outputs)
    wrong = forecast(table(tmp_path, 1), "--output", tmp_path / "o.pdf", **env)
    assert wrong.returncode == 2
    assert "expected a name that ends with one of .csv, .json, .parquet, .png, .html, got" in wrong.stderr


def test_covariates_of_past_and_future_reach_the_model(serve, ini, tmp_path):
    chronos.make(tmp_path / "chronos", "tiny2")
    live = serve(
        "chronos", "--model-folder", str(tmp_path / "chronos"), "--dtype", "float32", "--threads", "1", forked=True
    )
    live.until_ready()
    values, known, seen = ([float((3 * i + shift) % 11) for i in range(44)] for shift in (0, 1, 2))
    rows = [f"2026-01-01 00:{i:02},{values[i] if i < 40 else ''},{known[i]},{seen[i]}" for i in range(44)]
    file = tmp_path / "x.csv"
    file.write_text("\n".join(("ts,v,known,seen", *rows)) + "\n")
    words = ("--family", "chronos", "--horizon", 4, "--column", "v", "--json")
    given = ("--covariate", "future:known", "--covariate", "past:seen")
    env = ini(f"[chronos]\nport = {live.port}\n")
    done = forecast(file, *words, *given, **env)
    assert done.returncode == 0, done.stderr
    (shown,) = json.loads(done.stdout)["predictions"]
    covariates = {
        "past_covariates": {"known": known[:40], "seen": seen[:40]},
        "future_covariates": {"known": known[40:]},
    }
    body = {
        "inputs": [{"target": values[:40], **covariates}],
        "parameters": {"prediction_length": 4, "quantile_levels": [0.1, 0.5, 0.9]},
    }
    (theirs,) = live.post("/v1/forecast", body).json["predictions"]
    assert shown["mean"] == theirs["mean"]
    assert shown["timestamps"] == [f"2026-01-01 00:{minute}:00" for minute in range(40, 44)]


def test_a_query_is_forecast_and_its_password_is_never_shown(serve, tmp_path):
    live = serve("naive").until_ready()
    secret = tmp_path / "secret"
    secret.write_text("top-secret\n")
    secret.chmod(0o600)
    rows = [[f"2026-03-01T{hour:02}:00:00.000Z", 1.5 + hour % 5] for hour in range(24)]
    more = f"password_file = {secret}\n[naive]\nport = {live.port}\n"
    words = ("--sql", "SELECT ts, val FROM db.meter", "--family", "naive", "--horizon", 2)
    refusal = http(200, {"code": 0x2662, "desc": "Fail to get table info, error: Table does not exist"})
    with taosadapter.running(tmp_path / "ini", success(rows, ts="TIMESTAMP", val="DOUBLE"), refusal, more=more) as here:
        done = forecast(*words, TSFM_INI=str(tmp_path / "ini"))
        missing = forecast(*words, TSFM_INI=str(tmp_path / "ini"))
        assert b"Basic " + base64.b64encode(b"root:top-secret") in here.requests[0]
    assert done.returncode == 0, done.stderr
    assert "column val, 24 rows, from 2026-03-01T00:00:00.000Z" in done.stdout
    assert done.stdout.splitlines()[1].split()[:2] == ["1", "2026-03-02T00:00:00Z"]
    assert missing.returncode == 1
    assert "Table does not exist (code 0x2662)" in missing.stderr
    assert "top-secret" not in done.stdout + done.stderr + missing.stderr


@pytest.mark.parametrize("words", [[], ["x.csv", "--sql", "select 1"]])
def test_one_source_is_expected(words):
    done = forecast(*words)
    assert done.returncode == 2
    assert "expected one source: SOURCE (a file, or - for standard input), or --sql SELECT" in done.stderr
