"""tsfm.ini: what beats what, and the sentence for what is wrong."""

import pytest

from tsfm import settings
from tsfm.errors import ConfigError


@pytest.fixture
def ini(tmp_path):
    def write(text, encoding="utf-8"):
        path = tmp_path / "tsfm.ini"
        path.write_bytes(text.encode(encoding))
        return path

    return write


def test_the_command_line_beats_the_section_beats_the_default_section_beats_the_default(ini):
    file = ini("[DEFAULT]\nqueue = 5\nthreads = 3\n[naive]\nthreads = 2\nport = 7001\n")
    got = settings.read("naive", {"port": "7002", "host": None}, file)
    assert (got.port, got.threads, got.queue, got.host) == (7002, 2, 5, "127.0.0.1")


def test_a_family_without_a_section_has_the_default_section(ini):
    assert settings.read("fracast", {}, ini("[DEFAULT]\nqueue = 5\n[naive]\nqueue = 6\n")).queue == 5


def test_no_file_means_defaults(tmp_path):
    got = settings.read("naive", {}, tmp_path / "none.ini")
    assert got.port is None
    assert got.deadline_s == 60


def test_an_empty_value_means_unset_where_the_default_is_empty(ini):
    assert settings.read("naive", {}, ini("[naive]\nport =\nmodel_folder =\n")).port is None


def test_a_percent_sign_is_only_a_percent_sign(ini):
    assert settings.read("naive", {}, ini("[naive]\nmodel_folder = /a%b\n")).model_folder == "/a%b"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[naive]\nport = 70000", "[naive] port: expected a whole number from 1 to 65535, got '70000'"),
        ("[naive]\nport = 6o37", "[naive] port: expected a whole number from 1 to 65535, got '6o37'"),
        ("[naive]\ndtype = int8", "[naive] dtype: expected one of auto, float32, bfloat16, got 'int8'"),
        ("[naive]\nhost = anywhere", "[naive] host: expected an IP address such as 127.0.0.1"),
        ("[naive]\nqueue =", "[naive] queue: expected a whole number from 1 to 1000, got ''"),
        ("[naive]\nporrt = 1", "[naive] porrt: unknown key; known are host, port"),
        ("port = 1", "no section headers"),
        ("[naive]\n[naive]\n", "already exists"),
    ],
)
def test_a_mistake_is_one_sentence_with_file_section_and_key(ini, text, said):
    with pytest.raises(ConfigError) as error:
        settings.read("naive", {}, ini(text))
    assert said in str(error.value)
    assert "tsfm.ini" in str(error.value)
    assert "\n" not in str(error.value)


def test_a_file_that_is_not_utf8_is_refused_in_words(ini):
    with pytest.raises(ConfigError, match=r"tsfm\.ini: cannot be read"):
        settings.read("naive", {}, ini("[naive]\n# 端口\n", "gbk"))


@pytest.mark.parametrize(("text", "truth"), [("True", True), ("False", False), ("no", False), ("1", True)])
def test_the_text_false_is_false(text, truth):
    assert settings.switch(text) is truth


def test_a_switch_is_nothing_else():
    with pytest.raises(ValueError, match="expected yes or no, got 'maybe'"):
        settings.switch("maybe")
