"""Our lines in taosanode.ini, as TDgpt's own reader sees them, and gone without a trace."""

from __future__ import annotations

import configparser
import socket
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tdgpt.host import SAMPLES
from tsfm.tdgpt import ini, marks
from tsfm.tdgpt.endpoints import Endpoint


def endpoint(key: str, port: int, path: str = "/ds_predict") -> Endpoint:
    return Endpoint(key, key, "127.0.0.1", port, path, "forecast", "a model")


FRACAST = endpoint("fracast", 6076)
CHRONOS = endpoint("chronos", 6038)
TIMEMOE = endpoint("timemoe-fc", 6037)


def registered(text: str, *wanted: Endpoint) -> marks.Edit:
    return ini.register(text, wanted, "taosanode.ini")


def read(text: str) -> dict[str, str]:
    parser = configparser.ConfigParser()
    parser.read_string(text.replace("\r\n", "\n"))
    return dict(parser["tsfm-service"])


def unregistered(text: str) -> str:
    return marks.strip(text, "taosanode.ini").text


@pytest.fixture(params=["g1.ini", "g2.ini"])
def sample(request: pytest.FixtureRequest) -> str:
    return (SAMPLES / request.param).read_text()


def test_tdgpts_reader_finds_the_urls_and_all_that_was_there(sample: str) -> None:
    edit = registered(sample, FRACAST)
    assert read(edit.text) == read(sample) | {"fracast": "http://127.0.0.1:6076/ds_predict"}
    assert unregistered(edit.text) == sample


def test_a_second_time_changes_nothing(sample: str) -> None:
    once = registered(sample, FRACAST, CHRONOS, TIMEMOE).text
    again = registered(once, FRACAST, CHRONOS, TIMEMOE)
    assert again.text == once
    assert again.notes == []


def test_families_come_and_go(sample: str) -> None:
    both = registered(sample, FRACAST, endpoint("naive", 6099)).text
    one = registered(both, FRACAST).text
    assert "naive" not in one
    assert one == registered(sample, FRACAST).text
    assert registered(one).text == sample


def test_a_changed_port_is_followed(sample: str) -> None:
    old = registered(sample, FRACAST).text
    new = registered(old, endpoint("fracast", 7000)).text
    assert read(new)["fracast"] == "http://127.0.0.1:7000/ds_predict"
    assert unregistered(new) == sample


def test_our_lines_stand_in_their_section_before_the_next_one() -> None:
    text = registered((SAMPLES / "g2.ini").read_text(), FRACAST).text
    assert text.index(marks.BEGIN) < text.index("[afterwards]")
    assert text.endswith("\n\n[afterwards]\nkept = yes\n")


def test_a_line_that_already_says_our_url_stays_where_it_is() -> None:
    text = (SAMPLES / "g2.ini").read_text()
    assert registered(text, CHRONOS, TIMEMOE).text == text


def test_somebodys_own_url_is_respected_and_told() -> None:
    text = "[tsfm-service]\nchronos = http://10.1.1.1:80/x\n"
    edit = registered(text, CHRONOS)
    assert edit.text == text
    assert edit.notes == [
        "taosanode.ini: line 2: chronos = http://10.1.1.1:80/x is kept; to use http://127.0.0.1:6038/ds_predict "
        "delete that line and run `tsfm register`"
    ]


class Model(BaseHTTPRequestHandler):
    status = 405

    def do_GET(self) -> None:
        self.send_error(self.status)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def shipped(monkeypatch: pytest.MonkeyPatch) -> HTTPServer:
    """A server at what counts as a shipped default here; 405 on GET, as a model service."""
    with HTTPServer(("127.0.0.1", 0), Model) as server:
        monkeypatch.setitem(ini.endpoints._SHIPPED_PORTS, "chronos", {server.server_port})
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_a_shipped_url_that_answers_is_respected(shipped: HTTPServer) -> None:
    text = f"[tsfm-service]\nchronos = http://127.0.0.1:{shipped.server_port}/ds_predict\n"
    edit = registered(text, CHRONOS)
    assert edit.text == text
    assert "is kept" in edit.notes[0]


def test_a_shipped_url_behind_which_another_model_is_gives_way(
    shipped: HTTPServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Model, "status", 404)
    text = f"[tsfm-service]\nchronos = http://127.0.0.1:{shipped.server_port}/ds_predict\n"
    assert read(registered(text, CHRONOS).text) == {"chronos": CHRONOS.url}


def test_a_shipped_url_where_our_own_service_still_is_gives_way(
    shipped: HTTPServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Model, "version_string", lambda _: "tsfm")
    text = f"[tsfm-service]\nchronos = http://127.0.0.1:{shipped.server_port}/ds_predict\n"
    assert read(registered(text, CHRONOS).text) == {"chronos": CHRONOS.url}


def test_a_busy_model_that_does_not_answer_in_time_is_respected(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        monkeypatch.setitem(ini.endpoints._SHIPPED_PORTS, "chronos", {port})
        text = f"[tsfm-service]\nchronos = http://127.0.0.1:{port}/ds_predict\n"
        assert registered(text, CHRONOS).text == text


def free(monkeypatch: pytest.MonkeyPatch) -> int:
    """A port that nobody listens on, made a shipped default."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    monkeypatch.setitem(ini.endpoints._SHIPPED_PORTS, "chronos", {port})
    return port


@pytest.mark.parametrize("end", ["\n", "\r\n", ""])
def test_a_shipped_url_that_nothing_answers_on_gives_way_and_comes_back(
    end: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    eol = end or "\n"
    rows = ["[tsfm-service]", f"Chronos: http://localhost:{free(monkeypatch)}/ds_predict", "other = 1", ""]
    text = eol.join(rows).removesuffix(eol) + end
    edit = registered(text, CHRONOS)
    assert read(edit.text) == {"chronos": CHRONOS.url, "other": "1"}
    assert "where no service answers; now it is http://127.0.0.1:6038/ds_predict" in edit.notes[0]
    again = registered(edit.text, CHRONOS)
    assert (again.text, again.notes) == (edit.text, [])
    assert unregistered(edit.text) == text
    # The family leaves: what was there before it is back.
    assert registered(edit.text).text == text


def test_a_replaced_line_stays_replaced_when_its_server_comes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    port = free(monkeypatch)
    text = registered(f"[tsfm-service]\nchronos = http://127.0.0.1:{port}/ds_predict\n", CHRONOS).text
    with socket.create_server(("127.0.0.1", port)):
        assert registered(text, CHRONOS).text == text


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[a]\nx = 1\n[a]\ny = 2\n", "line 3"),
        ("[tsfm-service]\nx = 1\nX = 2\n", "option 'x'"),
        ("x = 1\n", "line: 1"),
        ("[a]\nwhat is this\n", "[line 2]"),
        ("[a]\n" + marks.BEGIN + "\nx = 1\n", "line 2: the mark"),
        ("[a]\n" + marks.END + "\n", "line 2: the mark"),
        ("[a]\n" + marks.BEGIN + "\n" + marks.BEGIN + "\n" + marks.END + "\n", "line 3: the mark"),
        ("[\0a\0]\0\n\0".replace("[", "\0["), "no section headers"),
    ],
)
def test_a_file_that_cannot_be_read_is_refused_in_one_sentence(text: str, said: str) -> None:
    with pytest.raises(marks.Refused) as refusal:
        registered(text, FRACAST)
    assert said in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_options_further_in_than_ours_and_values_over_lines_do_not_swallow_our_lines() -> None:
    text = "[tsfm-service]\n  chronos = http://127.0.0.1:6038/ds_predict\n    ?more\n  # a remark\n\n[x]\ny = %(z)s\n"
    edit = registered(text, FRACAST, CHRONOS)
    assert read(edit.text)["fracast"] == FRACAST.url
    assert "is kept" in edit.notes[0]
    assert unregistered(edit.text) == text


def test_a_file_without_the_section_gets_one_at_its_end_and_loses_it_again() -> None:
    text = "[uwsgi]\nhttp = :6035"
    edit = registered(text, FRACAST)
    assert read(edit.text) == {"fracast": FRACAST.url}
    assert unregistered(edit.text) == text


def test_lines_that_an_operator_adds_below_ours_survive() -> None:
    text = "[tsfm-service]\nx = 1"
    changed = registered(text, FRACAST).text + "mine = 2\n"
    assert read(unregistered(changed)) == {"x": "1", "mine": "2"}


names = st.text(st.characters(codec="utf-8", exclude_characters="\r\n[]=:#;\0"), min_size=1).filter(str.strip)
values = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r\n"))
shipped_lines = st.sampled_from(
    [
        "chronos = http://127.0.0.1:5003/ds_predict",
        "timemoe-fc=http://127.0.0.1:5001/timemoe",
        "Fracast : elsewhere",
        "  indented = 1",
        "    deeper",
        "# remark",
        "; remark",
        "",
        "log = 100 %",
        "# \udcc4\udca3\udcd0\udccd",  # bytes that are not UTF-8
    ]
)
any_line = st.one_of(shipped_lines, st.builds("{} = {}".format, names, values), st.builds("[{}]".format, names))
section = st.lists(shipped_lines, unique=True).map(lambda rows: ["[tsfm-service]", *rows])
ends = st.sampled_from(["\n", "\r\n", "\r"])
files = st.builds(
    lambda before, rows, after, eol, last: eol.join(["[first]", *before, *rows, *after]) + last,
    st.lists(any_line, max_size=4),
    st.one_of(section, st.just([])),
    st.one_of(st.just([]), st.just(["", "[last]", "x = 1"]), st.lists(any_line, max_size=4)),
    ends,
    st.sampled_from(["", "\n"]),
)


@given(files, st.lists(st.sampled_from([FRACAST, CHRONOS, TIMEMOE]), unique_by=lambda e: e.key))
def test_register_then_unregister_gives_the_same_text_back(text: str, wanted: list[Endpoint]) -> None:
    try:
        edit = registered(text, *wanted)
    except marks.Refused:
        return
    assert unregistered(edit.text) == text
    assert registered(edit.text, *wanted).text == edit.text
    layout = ini.read(edit.text, "taosanode.ini")
    for one in wanted:
        assert layout.values[one.key] == one.url or "is kept" in " ".join(edit.notes)
