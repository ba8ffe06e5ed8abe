"""The page without a browser: its files and headers, tables, and the other models of the host."""

from __future__ import annotations

import bz2
import gzip
import hashlib
import lzma
import os
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from multiprocessing.connection import Connection
from pathlib import Path

import pytest
from conftest import HERE, Live, free_port

from tsfm import card, settings
from tsfm.engine import abilities
from tsfm.errors import OutOfMemory
from tsfm.http import openapi
from tsfm.http.page import files
from tsfm.http.page.neighbours import Neighbour

pytestmark = pytest.mark.slow

STATIC = HERE.parent / "src/tsfm/http/page/static"
SCRIPTS = sorted(path for path in STATIC.glob("*.js") if path.name != "uplot.js")
HTML = (STATIC / "index.html").read_text()
# The files of the npm package uplot 1.6.32, as its registry has them.
VENDORED = {
    "uplot.js": "19c8d4c6ad88929a79f4ae49d6f7161566dfd0ba3d15cc495e974f787eb78f1f",
    "uplot.css": "df630c6a8d6f8eeaff264b50f73ce5b114f646ffd9a0bb74f049b0a00135fa04",
}
TABLE = "time,value\n" + "".join(f"2026-03-{day:02d},{day % 7}.5\n" for day in range(1, 29))
WALK = [3.0, 4.0, 2.0, 5.0, 4.0, 6.0, 5.5, 7.0, 6.0, 8.0, 7.5, 9.0]


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Live]]:
    """Start a naive service with lines of tsfm.ini; all of them end with the file's tests."""
    with ExitStack() as ending:

        def started(lines: str, env: dict[str, str] | None = None) -> Live:
            folder = tmp_path_factory.mktemp("naive")
            (folder / "tsfm.ini").write_text(f"[naive]\n{lines}\n")
            (folder / "token").write_text("geheim")
            live = Live("naive", log=folder / "log", env={"TSFM_INI": str(folder / "tsfm.ini")} | (env or {}))
            ending.callback(live.stop)
            return live.until_ready()

        yield started


@pytest.fixture(scope="module")
def naive(start: Callable[..., Live], neighbour: Live) -> Live:
    """A service to which tsfm.ini names ``neighbour`` as Fracast, and a port where nothing listens as Chronos."""
    return start(f"[fracast]\nport = {neighbour.port}\n[chronos]\nport = {free_port()}\n[moirai]\nport = {free_port()}")


@pytest.fixture(scope="module")
def neighbour(start: Callable[..., Live]) -> Live:
    return start("max_horizon = 9")


def words(language: str) -> dict[str, str]:
    """The texts of one language: the page's own file, read as the JSON that it nearly is."""
    part = (STATIC / "texts.js").read_text().partition(f"  {language}: {{\n")[2].partition("\n  },")[0]
    return dict(re.findall(r'^    (\w+): "(.*)",$', part, re.MULTILINE))


def test_the_page_may_load_and_ask_nothing_but_its_own_service(naive: Live) -> None:
    answer = naive.get("/")
    assert answer.status == 200
    policy = dict(part.split(" ", 1) for part in answer.headers["Content-Security-Policy"].split("; "))
    assert policy.pop("img-src") == "'self' data: blob:"
    assert {name: value for name, value in policy.items() if value == "'self'"}.keys() == {
        "script-src",
        "style-src",
        "connect-src",
    }
    assert {name for name, value in policy.items() if value == "'none'"} == {
        "default-src",
        "base-uri",
        "form-action",
        "frame-ancestors",
    }
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Referrer-Policy"] == "no-referrer"
    assert answer.headers["X-Frame-Options"] == "DENY"


@pytest.mark.parametrize("path", sorted(files.load()))
def test_every_file_is_served_and_again_only_when_it_changed(naive: Live, path: str) -> None:
    answer = naive.get(path)
    source = STATIC / "index.html" if path == "/" else STATIC / Path(path).name
    source = source if source.exists() else HERE.parent / "src/tsfm/share" / Path(path).name
    assert answer.body == source.read_bytes()
    assert answer.headers["Content-Type"] == files.TYPES[source.suffix]
    assert answer.headers["Cache-Control"] == "no-cache"
    again = naive.get(path, headers={"If-None-Match": answer.headers["Etag"]})
    assert (again.status, again.body) == (304, b"")
    assert naive.post(path, {}).status == 405


def test_what_the_files_name_is_there_and_nothing_is_of_another_host() -> None:
    named = set(re.findall(r'(?:src|href)="(/page/[^"]+)"', HTML))
    for script in SCRIPTS:
        named |= {f"/page/{name}" for name in re.findall(r'from "\./([\w.]+)"', script.read_text())}
    named |= {f"/page/{name}" for name in re.findall(r'<option value="(\w+\.csv)"', HTML)}
    assert named == set(files.load()) - {"/"}
    for path in (STATIC / "index.html", STATIC / "style.css", *SCRIPTS):
        assert not re.search(r"https?://|@import", path.read_text()), path.name
    assert "url(" not in (STATIC / "style.css").read_text()


def test_no_code_or_style_is_inline() -> None:
    assert not re.search(r"<script(?! src=)|<style|\sstyle=|\son\w+=|javascript:", HTML)


@pytest.mark.parametrize("name", VENDORED)
def test_uplot_is_as_its_makers_released_it(name: str) -> None:
    assert hashlib.sha256((STATIC / name).read_bytes()).hexdigest() == VENDORED[name]
    assert "uplot 1.6.32, " in (STATIC / "LICENSES.txt").read_text()


def test_both_languages_have_the_same_texts_with_the_same_values() -> None:
    english, chinese = words("en"), words("zh")
    assert len(english) > 100
    assert english.keys() == chinese.keys()
    for key, text in english.items():
        assert set(re.findall(r"\{\w+\}", text)) == set(re.findall(r"\{\w+\}", chinese[key])), key


def test_every_text_is_used_and_every_used_one_exists() -> None:
    code = HTML + "".join(path.read_text() for path in SCRIPTS if path.name != "texts.js")
    named, known = set(re.findall(r'"(\w+)"', code)), set(words("en"))
    # From a status, a state, a word of /v1/models or a card.
    made = re.compile(r"error_\d+|state_\w+|how_\w+|commercial_\w+")
    assert {key for key in known - named if not made.fullmatch(key)} == {"title"}
    assert {f"how_{word}" for words in abilities.WORDS.values() for word in words} <= known
    used = set(re.findall(r'data-(?:text|label|placeholder)="(\w+)"', HTML)) | set(re.findall(r'say\("(\w+)"', code))
    assert used <= known
    for status in (0, *(int(code) for code in openapi.REFUSALS), 401, 403, 404, 405):
        assert f"error_{status}" in known


def test_the_page_is_turned_off(start: Callable[..., Live]) -> None:
    live = start("page = no")
    for path in ("/", "/page/app.js", "/v1/neighbours"):
        answer = live.get(path)
        assert (answer.status, answer.json["status"]) == (404, "error")
    assert live.post("/v1/table", TABLE.encode()).status == 404
    assert "/v1/table" not in live.get("/openapi.json").json["paths"]


def test_with_a_token_only_the_static_page_is_open(start: Callable[..., Live], tmp_path: Path) -> None:
    (tmp_path / "token").write_text("geheim")
    live = start(f"token_file = {tmp_path}/token")
    assert live.get("/").status == live.get("/page/app.js").status == 200
    for path in ("/v1/neighbours", "/v1/models", "/page/../v1/models", "/page/a/b"):
        assert live.get(path).status == 401, path
    assert live.post("/v1/table", TABLE.encode()).status == 401
    assert live.post("/", b"{}").status == 401


def test_another_network_does_not_see_the_page(start: Callable[..., Live]) -> None:
    assert start("allow = 10.0.0.0/8").get("/").status == 403


# Tables


def read(live: Live, body: str | bytes, query: str = "") -> dict:
    answer = live.post(f"/v1/table{query}", body if isinstance(body, bytes) else body.encode())
    assert answer.status == 200, answer.json
    return answer.json


def test_a_table_is_read_with_its_times_and_step(naive: Live) -> None:
    found = read(naive, TABLE)
    assert found["columns"] == [
        {"number": 1, "name": "time", "kind": "time"},
        {"number": 2, "name": "value", "kind": "number"},
    ]
    assert (found["time_column"], found["value_column"], found["series_column"]) == (1, 2, None)
    assert found["values"] == [day % 7 + 0.5 for day in range(1, 29)]
    assert (found["times"][0], found["times"][-1], found["freq"]) == ("2026-03-01T00:00:00", "2026-03-28T00:00:00", "D")
    assert read(naive, gzip.compress(TABLE.encode())) == found


EPOCHS = "ts,x\n" + "".join(f"{1_767_225_600_500 + 900_000 * i},{i}\n" for i in range(12))
HOLE = "t,x\n" + "".join(f"2026-01-01 {h:02d}:00,{h}\n" for h in range(24) if h not in (5, 17))
NEWEST_FIRST = "t,x\n" + "".join(f"2026-{month:02d}-01,{month}\n" for month in range(12, 0, -1))
ODD = "t,x\n" + "".join(f"2026-01-01 00:{second // 60:02d}:{second % 60:02d},1\n" for second in range(0, 600, 45))
YEARS = "year,x\n" + "".join(f"{year},{year % 11}\n" for year in range(1990, 2010))


@pytest.mark.parametrize(
    ("text", "first", "freq"),
    [
        (EPOCHS, "2026-01-01T00:00:00.500", "15min"),
        (HOLE, "2026-01-01T00:00:00", "h"),
        (NEWEST_FIRST, "2026-01-01T00:00:00", "MS"),
        (ODD, "2026-01-01T00:00:00", "45s"),
    ],
    ids=["epochs", "missing rows", "newest first", "45 s"],
)
def test_times_are_given_oldest_first_with_their_usual_step(naive: Live, text: str, first: str, freq: str) -> None:
    found = read(naive, text)
    assert found["times"][0] == first
    assert found["times"] == sorted(found["times"])
    assert found["freq"] == freq
    parameters = {"prediction_length": 2, "freq": found["freq"]}
    body = {"inputs": [{"start": found["times"][0], "target": found["values"]}], "parameters": parameters}
    (prediction,) = naive.post("/v1/forecast", body).json["predictions"]
    assert len(prediction["timestamps"]) == 2, "the forecast does not take the step of the table"


def test_notes_name_parameters_and_not_options_of_the_command_line(naive: Live) -> None:
    assert read(naive, "1\n2\n3\n")["notes"] == ["line 1 is taken as a row, no header; header says otherwise"]


def test_rows_without_calendar_times_have_no_step(naive: Live) -> None:
    found = read(naive, YEARS)
    assert (found["times"], found["freq"], found["time_column"]) == (None, None, 1)
    assert len(found["values"]) == 20


SITES = "t;site;a;b\n" + "".join(
    f"2026-03-{day:02d};{site};{day},5;{day},25\n" for day in range(1, 29) for site in "NS"
)


@pytest.mark.parametrize(
    ("query", "series", "value"),
    [("", "N", 28.25), ("?id=2&series=S&column=3", "S", 28.5), ("?id=2&column=4", "N", 28.25)],
)
def test_one_of_several_series_is_read(naive: Live, query: str, series: str, value: float) -> None:
    found = read(naive, SITES, query)
    assert (found["series_column"], found["series_names"], found["series"]) == (2, ["N", "S"], series)
    assert len(found["values"]) == 28
    assert found["values"][-1] == value


def test_a_name_of_a_series_column_is_enough(naive: Live) -> None:
    # The times of both rise together: the order of the rows alone does not show them.
    text = "ts,meter_id,x\n" + "".join(f"2026-01-{1 + i // 2:02d},{'ab'[i % 2]},{i}\n" for i in range(40))
    assert read(naive, text)["series_names"] == ["a", "b"]


REFUSED = {
    "a decimal sign in doubt": ("a;b\n1;1,234\n2;2,345\n", "", "table: line 2, column b: 1,234 may be 1234 or 1.234"),
    "several series, on request": (SITES, "?id=0", "table: column site names 2 series"),
    "no such series": (SITES, "?id=2&series=X", "table: column site has no 'X'"),
    "a series without its column": (SITES, "?series=N", "series: expected the parameter id too"),
    "no such column": (TABLE, "?column=7", "table: expected a column from 1 to 2, got 7"),
    "a column of text": ("a,b\n1,x\n2,y\n", "?column=2", "table: line 2, column b: expected a number, got 'x'"),
    "no times there": (TABLE, "?time=2", "table: expected times in column 2, found none"),
    "nothing": ("", "", "table: expected a header line and rows, found none"),
    "a workbook": (b"PK\x03\x04", "?file=a.xlsx", "a.xlsx: is a workbook or a zip archive; save it as CSV"),
    "a damaged archive": (b"\x1f\x8b\x08garbage", "", "table: cannot be unpacked, it is cut off or damaged"),
    "an unknown parameter": (TABLE, "?colum=2", "'colum': unknown parameter; known are file, column"),
    "one twice": (TABLE, "?column=1&column=2", "column: expected once, got 2 times"),
    "no number": (TABLE, "?column=x", "column: expected a whole number from 1 to 100000, got 'x'"),
    "another sign": (TABLE, "?decimal=;", "decimal: expected one of ., ,, got ';'"),
    "two lines": (TABLE, "?file=a%0Ab", "file: expected a name on one line"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_no_table_is_refused_in_words(naive: Live, case: str) -> None:
    body, query, sentence = REFUSED[case]
    answer = naive.post(f"/v1/table{query}", body if isinstance(body, bytes) else body.encode())
    assert answer.status == 400
    assert answer.json["error"].startswith(sentence)
    assert "--" not in answer.json["error"], "the command line's options are not the API's"
    assert "1,234" not in naive.log.read_text(), "the journal has cells of a table"


def test_a_table_is_bounded(start: Callable[..., Live]) -> None:
    live = start("max_rows = 15")
    found = read(live, TABLE)
    assert found["values"] == [day % 7 + 0.5 for day in range(14, 29)]
    assert found["times"][0] == "2026-03-14T00:00:00"
    assert found["notes"][-1] == "of 28 rows the newest 15 are taken (max_rows in tsfm.ini)"
    answer = live.post("/v1/table", b"x\n" + b"1\n" * (8 << 20))
    assert (answer.status, answer.json["error"]) == (
        413,
        "body: expected a table of at most 16 MiB, got more; keep the newest rows",
    )


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, lzma.compress])
def test_what_unpacks_to_more_than_it_may_is_refused_early(naive: Live, pack: Callable[[bytes], bytes]) -> None:
    bomb = pack(b"1\n" * (4 << 20)) * 5  # 40 MiB, in parts
    answer = naive.post("/v1/table?file=x", bomb)
    assert (answer.status, answer.json["error"]) == (
        400,
        "x: expected at most 32 MiB when unpacked, got more; keep the newest rows",
    )


def test_a_table_that_takes_too_much_memory_fails_alone() -> None:
    ours, theirs = socket.socketpair()
    code = f"from tsfm.table.__main__ import main; main({theirs.fileno()}, 400 << 20)"
    with theirs, Connection(ours.detach()) as connection:
        process = subprocess.Popen([sys.executable, "-c", code], pass_fds=[theirs.fileno()])
        theirs.close()
        asked = {"file": "x", "options": {}, "number": None, "most": 9}
        connection.send(None)
        for body, kind in ((b"x\n" + b"1\n" * (4 << 20), OutOfMemory), (TABLE.encode(), dict)):
            connection.send(asked)
            connection.send_bytes(body)
            assert type(connection.recv()) is kind
    assert process.wait(60) == 0


def test_others_are_answered_while_a_table_is_read(naive: Live) -> None:
    large = "t,x\n" + "".join(f"{1_700_000_000 + 60 * i},{i % 97}.5\n" for i in range(40_000))
    done = threading.Event()
    with ThreadPoolExecutor(1) as pool:
        reading = pool.submit(lambda: (read(naive, large), done.set()))
        answers = 0
        while not done.wait(0.01):
            assert naive.post("/ds_predict", {"input": WALK, "next_len": 2}).status == 200
            answers += 1
        assert reading.result()[0]["freq"] == "min"
    assert answers > 3


def test_tables_are_not_counted_as_inference(start: Callable[..., Live]) -> None:
    live = start("")
    read(live, TABLE)
    assert live.post("/v1/table", b"").status == 400
    assert 'tsfm_requests_total{status="' not in live.get("/metrics").body.decode()


# Neighbours


def test_neighbours_are_those_of_the_settings_that_answer_as_their_family(naive: Live, neighbour: Live) -> None:
    # Fracast's port is served by another family, and nothing listens on the other one.
    assert naive.get("/v1/neighbours").json == {"models": []}
    assert neighbour.get("/v1/models").status == 200


def test_a_request_is_passed_on_and_the_answer_comes_back_as_it_is(naive: Live, neighbour: Live) -> None:
    body = {"inputs": [{"target": WALK}], "parameters": {"prediction_length": 3}}
    for task in ("forecast", "cross_validation", "imputation", "anomaly_detection"):
        passed = naive.post(f"/v1/neighbours?family=fracast&task={task}", body)
        direct = neighbour.post(f"/v1/{task}", body)
        assert (passed.status, passed.body) == (direct.status, direct.body)
    too_far = body | {"parameters": {"prediction_length": 10}}
    refused = naive.post("/v1/neighbours?family=fracast&task=forecast", too_far)
    assert (refused.status, refused.json["error"]) == (
        400,
        "prediction_length: expected a whole number from 1 to 9, got 10",
    )


@pytest.mark.parametrize(
    ("query", "status", "sentence"),
    [
        ("family=chronos&task=forecast", 503, "chronos: http://127.0.0.1:"),
        ("family=naive&task=forecast", 400, "family: expected one of chronos"),
        ("family=fracast&task=../../healthz", 400, "task: expected one of forecast, cross_validation, imputation"),
        ("family=fracast&task=forecast&port=22", 400, "'port': unknown parameter"),
        ("family=fracast&family=chronos&task=forecast", 400, "family: expected once"),
        ("", 400, "task: expected one of"),
    ],
)
def test_nothing_but_a_known_task_of_a_known_family_is_asked(
    naive: Live, query: str, status: int, sentence: str
) -> None:
    answer = naive.post(f"/v1/neighbours?{query}", {"inputs": []})
    assert answer.status == status
    assert answer.json["error"].startswith(sentence)


def test_the_token_goes_to_the_neighbour_who_decides(start: Callable[..., Live], tmp_path: Path) -> None:
    (tmp_path / "token").write_text("geheim")
    guarded = start(f"token_file = {tmp_path}/token")
    asking = start(f"[fracast]\nport = {guarded.port}")
    path, body = "/v1/neighbours?family=fracast&task=forecast", {"inputs": [{"target": WALK}]}
    assert asking.post(path, body).status == 401
    assert asking.post(path, body, headers={"Authorization": "Bearer falsch"}).status == 401
    assert asking.post(path, body, headers={"Authorization": "Bearer geheim"}).status == 200
    assert asking.get("/v1/neighbours").json["models"] == [
        {"family": "fracast", "task": "forecast", "state": "token", "port": guarded.port}
    ]


@pytest.mark.parametrize(
    ("lines", "client", "answers"),
    [
        ("", "127.0.0.1", True),
        ("", "::ffff:127.0.0.1", True),
        ("", "10.0.0.9", False),  # it listens on loopback only
        ("host = 0.0.0.0", "10.0.0.9", True),
        ("host = 0.0.0.0\nallow = 10.0.0.0/24", "10.0.0.9", True),
        ("host = 0.0.0.0\nallow = 10.0.1.0/24", "10.0.0.9", False),
        ("allow = 10.0.0.0/8", "127.0.0.1", False),
    ],
)
def test_a_neighbour_is_asked_only_for_a_client_that_it_would_answer(
    tmp_path: Path, lines: str, client: str, answers: bool
) -> None:
    (tmp_path / "tsfm.ini").write_text(f"[fracast]\n{lines}\n")
    one = Neighbour(card.read("fracast"), settings.read("fracast", {}, tmp_path / "tsfm.ini"))
    assert one.answers(client) is answers


def test_without_pandas_the_sentence_says_what_to_install(tmp_path: Path) -> None:
    code = (
        "import importlib.util as u; found = u.find_spec\n"
        "u.find_spec = lambda name: None if name == 'pandas' else found(name)\n"
        "from tsfm.http.page import tables\n"
        "try: tables._python()\n"
        "except Exception as error: print(error)\n"
    )
    environment = os.environ | {"TSFM_ROOT": str(tmp_path)}
    ended = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=60)
    assert ended.stdout.startswith("pandas, which reads tables, is missing in"), ended.stderr
