"""Our block in taosanode.config.py, executed as TDgpt does, and gone without a trace."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
from anode import configuration
from hypothesis import given
from hypothesis import strategies as st

from tdgpt.host import SAMPLES
from tsfm.tdgpt import config_py, marks
from tsfm.tdgpt.endpoints import Endpoint

G3 = (SAMPLES / "g3.config.py").read_text()
G4 = (SAMPLES / "g4.config.py").read_text()
KEYS = {"tdtsfm": "tdtsfm_1", "timemoe": "timemoe-fc"}


def endpoint(family: str, port: int, path: str = "/ds_predict", host: str = "127.0.0.1") -> Endpoint:
    return Endpoint(family, KEYS.get(family, family), host, port, path, "forecast", "a model")


FRACAST = endpoint("fracast", 6076)
TIMEMOE = endpoint("timemoe", 6037)
CHRONOS = endpoint("chronos", 6038)
TDTSFM = endpoint("tdtsfm", 6036, "/tdtsfm")
MOMENT = endpoint("moment", 6062, "/imputation")
ALL = [TDTSFM, TIMEMOE, CHRONOS, MOMENT, FRACAST]


@pytest.fixture(autouse=True)
def _nothing_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever this machine runs: the probe itself is tested with the ini."""
    monkeypatch.setattr(config_py.endpoints, "answers", lambda url: False)


def registered(text: str, *wanted: Endpoint) -> marks.Edit:
    return config_py.register(text, wanted, "taosanode.config.py")


def urls(tmp_path: Path, text: str, *wanted: Endpoint) -> dict[str, str | None]:
    path = tmp_path / "taosanode.config.py"
    path.write_text(text)
    return {one.key: configuration.service(path, one.key) for one in wanted}


@pytest.mark.parametrize("text", [G3, G4], ids=["G3", "G4"])
def test_tdgpt_finds_every_url_under_the_name_it_asks_for(text: str, tmp_path: Path) -> None:
    edit = registered(text, *ALL)
    assert urls(tmp_path, edit.text, *ALL) == {one.key: one.url for one in ALL}
    assert marks.strip(edit.text, "").text == text
    assert registered(edit.text, *ALL).text == edit.text


def test_the_third_generation_gets_the_hyphenated_name_as_well() -> None:
    text = registered(G3, TIMEMOE).text
    assert 'timemoe_fc = "http://127.0.0.1:6037/ds_predict"\nglobals()["timemoe-fc"] = timemoe_fc\n' in text


def test_the_fourth_generation_gets_port_and_endpoint() -> None:
    edit = registered(G4, CHRONOS)
    assert 'models["chronos"]["port"] = 6038\nmodels["chronos"]["endpoint"] = "/ds_predict"\n' in edit.text
    assert "chronos was http://127.0.0.1:6063/ds_predict, where no service answers" in edit.notes[0]
    assert registered(edit.text, CHRONOS).notes == []


def test_a_model_that_the_fourth_generation_does_not_know_is_a_global(tmp_path: Path) -> None:
    edit = registered(G4, FRACAST)
    assert edit.notes == []
    assert urls(tmp_path, edit.text, FRACAST) == {"fracast": FRACAST.url}


def test_a_service_on_another_address_is_followed_in_both_generations(tmp_path: Path) -> None:
    away = endpoint("chronos", 6038, host="10.0.0.5")
    for text in (G3, G4):
        assert urls(tmp_path, registered(text, away).text, away) == {"chronos": "http://10.0.0.5:6038/ds_predict"}


def test_a_shipped_address_that_answers_is_respected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(config_py.endpoints, "answers", lambda url: url == "http://127.0.0.1:6062/ds_predict")
    edit = registered(G4, TIMEMOE, FRACAST)
    assert "timemoe" not in edit.text[len(G4) :]
    assert "timemoe-fc = http://127.0.0.1:6062/ds_predict is kept" in edit.notes[0]


@pytest.mark.parametrize(
    "line",
    [
        "chronos = 'http://10.1.1.1/forecast'",
        "models['chronos']['port'] = 7777",
        "models['chronos'] = {'port': 7777}",
        "models = build()",
        "models: dict = dict(chronos={'port': 6063})",
        "if True:\n    chronos = address()",
    ],
)
def test_what_an_operator_wrote_is_respected(line: str) -> None:
    text = (G3 if line.startswith(("chronos", "if")) else G4) + line + "\n"
    edit = registered(text, CHRONOS)
    assert edit.text == text
    assert "is kept" in edit.notes[0]


def test_what_an_operator_writes_below_our_block_wins() -> None:
    text = registered(G4, CHRONOS).text + 'models["chronos"]["port"] = 7777\n'
    edit = registered(text, CHRONOS)
    assert marks.BEGIN not in edit.text
    assert edit.text == G4 + 'models["chronos"]["port"] = 7777\n'


SHIPPED = {
    "update": "models.update({'chronos': {'port': 6063, 'endpoint': '/ds_predict'}})",
    "update by name": "models.update(chronos={'port': 6063}, extra={'port': 1})",
    "update of the entry": "models['chronos'].update(port=6063)",
    "merge": "models |= {'chronos': {'port': 6063, 'endpoint': '/ds_predict'}}",
    "merge of the entry": "models['chronos'] |= {'port': 6063}",
    "del": "del models['chronos']",
    "del of all": "del models",
    "pop": "models.pop('chronos', None)",
    "a read": "chronos_port = models['chronos']['port']",
    "a question": "has_chronos = 'chronos' in models and len(models) > 1",
    "an if that changes nothing": "if _os.name == 'posix':\n    models['chronos']['port'] = 6063",
    "another's update": "other = {}\nother.update(chronos={'port': 1})",
    "a type": "models: dict",
}
"""What the value is known of: nobody answers there, so ours goes behind it."""

UNKNOWN = {
    "update": "extra = {}\nmodels.update(extra)",
    "update of the entry": "models['chronos'].update(_os.environ)",
    "merge": "models |= dict([])",
    "union": "models = models | {'chronos': {'port': 1}}",
    "spread": "models = {**models, 'chronos': {'port': 1}}",
    "constructor": "models = dict(models)",
    "loop": "for one in models.values():\n    one['port'] += 10",
    "loop over keys": "for key in list(models):\n    models[key]['port'] = 1",
    "alias": "m = models\nm['chronos']['port'] = 1",
    "alias of the entry": "entry = models['chronos']\nentry['port'] = 1",
    "tuple": "m, n = models, 1",
    "walrus": "print(m := models)",
    "function": "def change():\n    models['chronos']['port'] = 1\nchange()",
    "through globals": "globals()['models']['chronos']['port'] = 1",
    "globals' update": "globals().update(chronos='elsewhere')",
    "exec": "exec('x = 1')",
    "clear": "models.clear()",
    "popitem": "models.popitem()",
    "comprehension": "models = {k: v for k, v in models.items()}",
    "branch": "if _os.name == 'posix':\n    models = {'chronos': {'port': 1}}",
    "branch for the entry": "if _os.name == 'posix':\n    models['chronos']['port'] = 1",
    "del in a branch": "if _os.name == 'posix':\n    del models['chronos']",
    "import": "from os import *",
    "key of a name": "k = 'chronos'\nmodels[k] = {'port': 1}",
}
"""What only running the file tells: it stays, and words say so."""


@pytest.mark.parametrize("line", SHIPPED.values(), ids=SHIPPED)
def test_what_is_written_out_about_models_is_followed(line: str, tmp_path: Path) -> None:
    text = f"{G4}{line}\n"
    edit = registered(text, CHRONOS, FRACAST)
    assert urls(tmp_path, edit.text, CHRONOS, FRACAST) == {"chronos": CHRONOS.url, "fracast": FRACAST.url}
    assert not any("is kept" in note for note in edit.notes)
    assert registered(edit.text, CHRONOS, FRACAST).text == edit.text
    assert marks.strip(edit.text, "").text == text


@pytest.mark.parametrize("line", UNKNOWN.values(), ids=UNKNOWN)
def test_what_is_computed_about_models_stays_and_is_told_in_words(line: str, tmp_path: Path) -> None:
    text = f"{G4}{line}\n"
    edit = registered(text, CHRONOS, FRACAST)
    before = urls(tmp_path, text, CHRONOS)
    assert urls(tmp_path, edit.text, CHRONOS, FRACAST) == before | {"fracast": FRACAST.url}
    (note,) = edit.notes
    assert "chronos = (computed) is kept" in note
    assert CHRONOS.url in note
    assert registered(edit.text, CHRONOS, FRACAST).text == edit.text


@pytest.mark.parametrize(
    "line",
    [
        "models.update(chronos={'port': 7777})",
        "models |= {'chronos': {'port': 7777}}",
        "models['chronos'] |= {'port': 7777}",
    ],
)
def test_an_address_of_the_operators_own_is_kept_in_whichever_way_it_is_written(line: str) -> None:
    text = f"{G4}{line}\n"
    edit = registered(text, CHRONOS)
    assert edit.text == text
    assert "chronos = http://127.0.0.1:7777/ds_predict is kept" in edit.notes[0]


def test_the_line_that_the_note_on_a_computed_dict_proposes_settles_it(tmp_path: Path) -> None:
    text = f"{G4}models.update(globals())\n"
    for one in (TDTSFM, CHRONOS):
        note = registered(text, one).notes[0]
        assert f"line {text.count(chr(10))} computes `models`" in note
        mended = text + note.partition("write `")[2].partition("`")[0] + "\n"
        edit = registered(mended, one)
        assert edit.notes == []
        assert one.url in urls(tmp_path, edit.text.replace("models.update(globals())", ""), one).values()


@pytest.mark.parametrize(
    "line",
    [
        "if x:\n    chronos = 'http://127.0.0.1:6063/ds_predict'",
        "chronos = 'http://127.0.0.1:6063/ds_predict'\nchronos += x",
        "chronos, y = x, x",
        "for chronos in x:\n    pass",
        "with x as chronos:\n    pass",
        "import chronos",
        "try:\n    chronos = y\nexcept OSError:\n    pass",
    ],
)
def test_a_key_that_may_be_bound_in_other_ways_is_not_taken_for_a_constant(line: str) -> None:
    edit = registered(f"{G3}{line}\n", CHRONOS)
    assert marks.BEGIN not in edit.text
    assert "chronos = (computed) is kept" in edit.notes[0]


@pytest.mark.parametrize(
    ("text", "said"),
    [("bind = '0.0.0.0:6035\n", "line 1"), ("x = (1,\n", "line 1"), ("x = 1\n\\", "line"), ("x = '\0'\n", "null")],
)
def test_a_file_with_a_syntax_error_is_refused_with_its_line(text: str, said: str) -> None:
    with pytest.raises(marks.Refused, match="neither tsfm nor TDgpt can read it") as refusal:
        registered(text, FRACAST)
    assert said in str(refusal.value)


def test_the_file_is_never_executed(tmp_path: Path) -> None:
    trap = tmp_path / "trap"
    text = f"open({str(trap)!r}, 'w')\nraise SystemExit\n"
    assert marks.BEGIN in registered(text, FRACAST).text
    assert not trap.exists()


def test_a_file_that_warns_when_parsed_is_taken() -> None:
    assert marks.BEGIN in registered("x = '\\d'\nassert (1, 'always true')\n", FRACAST).text


rows = st.sampled_from(
    [
        "x = 1",
        "chronos = 'http://127.0.0.1:6063/ds_predict'",
        "fracast = 'elsewhere'",
        "models = {'chronos': {'port': 6063}}",
        "models = {}",
        "models = dict()",
        "if x:\n    y = 2",
        "# été, \u4e2d\u6587",
        "s = '''# >>> not ours >>>\n'''",
        "",
        "\f",
    ]
)
sources = st.builds(
    lambda lines, eol, last: "\n".join(["x = 0", *lines]).replace("\n", eol) + last,
    st.lists(rows),
    st.sampled_from(["\n", "\r\n"]),
    st.sampled_from(["", "\n", "\n\n  \n"]),
)


@given(sources, st.lists(st.sampled_from(ALL), unique_by=lambda e: e.key))
def test_register_then_unregister_gives_the_same_source_back(text: str, wanted: list[Endpoint]) -> None:
    edit = registered(text, *wanted)
    ast.parse(edit.text)
    assert marks.strip(edit.text, "").text == text
    assert registered(edit.text, *wanted).text == edit.text
