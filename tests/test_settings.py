"""tsfm.ini: what beats what, and the sentence for what is wrong."""

import configparser
import os
import re
import subprocess
import sys

import pytest
from conftest import HERE
from hypothesis import example, given
from hypothesis import strategies as st

from tsfm import inifile, kinds, settings
from tsfm.errors import ConfigError
from tsfm.tdgpt import database


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
        ("[naive]\ndtype = int4", "[naive] dtype: expected one of auto, float32, bfloat16, int8, got 'int4'"),
        ("[naive]\nhost = anywhere", "[naive] host: expected an IP address such as 127.0.0.1"),
        ("[naive]\nqueue =", "[naive] queue: expected a whole number from 1 to 1000, got ''"),
        ("[naive]\nporrt = 1", "[naive] porrt: unknown key; known are host, port"),
        ("port = 1", "no section headers"),
        ("[naive]\n[naive]\n", "already exists"),
        ("[naive]\nport = 1\n\n[fracast]\n[naive]\n", "line 5: [naive] already exists, in line 1: keep one of them"),
        ("[naive]\nport = 1\nqueue = 2\nPort = 3", "line 4: [naive] port already exists, in line 2: keep one of them"),
        (
            "[fracst]\nport = 1",
            "line 1: [fracst]: unknown section; known are [DEFAULT], [chronos], [flowstate], [fracast]",
        ),
        ("[fracst]\nport = 1", "; did you mean [fracast]?"),
        ("\n\n[Fracast]", "line 3: [Fracast]: unknown section"),
        ("[ naive ]", "line 1: [ naive ]: unknown section"),
        ("[default]\nthreads = 1", "; did you mean [DEFAULT]?"),
        ("[tdengin]", "; did you mean [tdengine]?"),
        ("[chronos]\n\nprot = 1", "line 3: [chronos] prot: unknown key; known are host, port"),
        ("[naive]\nprot = 1", "; did you mean port?"),
        ("[DEFAULT]\nprot = 1", "line 2: [DEFAULT] prot: unknown key"),
        ("[DEFAULT]\nqueue = none", "[DEFAULT] queue: expected a whole number from 1 to 1000, got 'none'"),
        ("[naive] # mine\n", "line 1: expected a section such as [DEFAULT] alone in its line"),
        ("[naive]\nport", "line 2: expected key = value, got 'port'"),
        ("[naive]\nport\uff1d7001", "line 2: expected key = value"),
        ("[naive]\n= 7001", "line 2: expected key = value"),
        ("[naive]\nport = 7001\n  queue = 5", "line 3: 'queue = 5' is indented, and so goes on with port of line 2"),
        ("[naive]\nport = 7001\n  [fracast]", "line 3: '[fracast]' is indented, and so goes on with port of line 2"),
        ("[naive]\nport = 7001\n  7002", "[naive] port: expected a whole number from 1 to 65535, got '7001\\n7002'"),
        ("[naive]\nthreads = 1 # two", "got '1 # two'; a comment needs a line of its own"),
        ("[naive]\nhost = 127.0.0.1 ; here", "got '127.0.0.1 ; here'; a comment needs a line of its own"),
        ("[naive]\ntoken_file = /etc/taos/token # secret", "a comment needs a line of its own"),
        ("[naive]\ndevice = gpu", "[naive] device: expected cpu, cuda or cuda:N in small letters, got 'gpu'"),
        ("[naive]\nhost = localhost", "[naive] host: expected an IP address such as 127.0.0.1"),
        ("[naive]\nhost = 127.0.0.1:6036", "[naive] host: expected an IP address"),
        ("[naive]\nallow = 10.1.2.3/16", "10.1.2.3/16 has host bits set; write 10.1.0.0/16 or 10.1.2.3"),
        ("[naive]\nallow = example.org", "[naive] allow: expected networks such as 10.0.0.0/8, but"),
        ("[naive]\nmodel_folder = models", "[naive] model_folder: expected a path that begins with /, got 'models'"),
        ("[naive]\nmodel_folder = ~/models", "[naive] model_folder: expected a path that begins with /"),
        ("[naive]\ntoken_file = token", "[naive] token_file: expected a path that begins with /, got 'token'"),
        ("[naive]\nmirror = https://", "[naive] mirror: expected an address such as https://hf-mirror.com"),
        (
            "[naive]\ndeadline_s = 120",
            "[naive] deadline_s: expected less than stall_s = 120, so that the requests of a hung model get 504 before "
            "the service is restarted, got 120; raise stall_s or lower deadline_s",
        ),
        ("[DEFAULT]\nstall_s = 59", "[naive] deadline_s: expected less than stall_s = 59"),
        ("[naive]\nlog_level = INFO", "[naive] log_level: expected one of debug, info, warning, error, got 'INFO'"),
    ],
)
def test_a_mistake_is_one_sentence_with_file_section_and_key(ini, text, said):
    with pytest.raises(ConfigError) as error:
        settings.read("naive", {}, ini(text))
    assert said in str(error.value)
    assert "tsfm.ini" in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("number", ["+5", "-5", "1_0", " 5", "5.0", "\uff15", "\u0665", "0x5", "5e0", "", "9" * 5000])
def test_a_number_is_plain_digits(number):
    with pytest.raises(ConfigError, match=r"--queue: expected a whole number from 1 to 1000, got "):
        settings.read("naive", {"queue": number})
    assert settings.read("naive", {"queue": "005"}).queue == 5


@pytest.mark.parametrize("device", ["cpu", "cuda", "cuda:0", "cuda:12"])
def test_a_device_is_taken_by_its_form(device):
    assert settings.read("naive", {"device": device}).device == device


@pytest.mark.parametrize(
    "device", ["CPU", "Cpu", "gpu", "Cuda", "cuda:", "cuda:x", "cuda:-1", "cuda:01", "cuda: 0", "mps"]
)
def test_a_device_of_another_form_is_refused(device):
    with pytest.raises(ConfigError, match="--device: expected cpu, cuda or cuda:N in small letters, got "):
        settings.read("naive", {"device": device})


def test_a_byte_order_mark_is_no_part_of_the_settings(ini):
    assert settings.read("naive", {}, ini("[naive]\r\nport = 7001\r\n", "utf-8-sig")).port == 7001


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be"])
def test_utf16_is_named(ini, encoding):
    with pytest.raises(ConfigError, match=r"tsfm\.ini: cannot be read: it looks like UTF-16 .*; save it as UTF-8"):
        settings.read("naive", {}, ini("[naive]\nport = 1\n", encoding))


def test_a_file_that_is_not_utf8_is_refused_in_words(ini):
    with pytest.raises(ConfigError, match=r"tsfm\.ini: cannot be read: line 2 is not UTF-8"):
        settings.read("naive", {}, ini("[naive]\n# 端口\n", "gbk"))


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_line_ends_of_every_system_are_taken(ini, end):
    file = ini(end.join(["[naive]", "port = 7001", "allow = 10.0.0.0/8,", "  # the anodes", "  192.168.0.0/16", ""]))
    got = settings.read("naive", {}, file)
    assert (got.port, [str(network) for network in got.allow]) == (7001, ["10.0.0.0/8", "192.168.0.0/16"])


def test_a_relative_folder_on_the_command_line_counts_from_here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert settings.read("naive", {"model_folder": "models"}).model_folder == str(tmp_path / "models")


def test_where_each_value_stands_is_known(ini):
    file = ini("[DEFAULT]\nqueue = 5\nthreads = 1\n[naive]\nthreads = 2\n")
    sources = settings.read("naive", {"port": "7001"}, file).sources
    assert sources["queue"] == f"{file}: [DEFAULT] queue"
    assert sources["threads"] == f"{file}: [naive] threads"
    assert sources["port"] == "--port"
    assert sources["model_folder"] == f"{file}: [naive] model_folder"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[tdengine]\nhost = db one", "[tdengine] host: expected a host name or an IP address, got 'db one'"),
        ("[tdengine]\nhost = http://db", "[tdengine] host: expected a host name"),
        ("[tdengine]\nrest_port = 6041 # http", "got '6041 # http'; a comment needs a line of its own"),
        ("[tdengine]\npassword_file = password", "[tdengine] password_file: expected a path that begins with /"),
        ("\n[tdengine]\nuse = root", "line 3: [tdengine] use: unknown key; known are host, rest_port"),
        ("\n[tdengine]\nuse = root", "; did you mean user?"),
        ("[tdengin]\n", "line 1: [tdengin]: unknown section"),
    ],
)
def test_the_databases_section_is_judged_alike(ini, text, said):
    with pytest.raises(ConfigError) as error:
        database.read(ini(text))
    assert said in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "command",
    [
        ["serve", "fracast"],
        ["forecast", str(HERE.parent / "src/tsfm/share/nino12.csv")],
        ["list"],
        ["pull", "fracast"],
        ["verify", "fracast"],
        ["remove", "chronos", "chronos-bolt-tiny"],
        ["register"],
        ["doctor"],
    ],
    ids=lambda words: words[0],
)
def test_every_command_says_the_same_sentence(ini, tmp_path, command):
    file = ini("[DEFAULT]\n[fracst]\n")
    venv = tmp_path / "usr/lib/taos-tsfm/venvs/fracast/bin"
    venv.mkdir(parents=True)
    (venv / "python").symlink_to(sys.executable)
    root = {} if command[0] == "serve" else {"TSFM_ROOT": str(tmp_path)}
    env = os.environ | root | {"PYTHONPATH": str(HERE.parent / "src"), "TSFM_INI": str(file)}
    done = subprocess.run([sys.executable, "-m", "tsfm", *command], env=env, capture_output=True, text=True, timeout=60)
    assert done.returncode == (1 if command[0] == "doctor" else 78)
    said = f"{file}: line 2: [fracst]: unknown section; known are "
    assert said in done.stderr + done.stdout
    assert len((done.stderr + done.stdout).splitlines()) == 1


WORDS = st.text(alphabet="abc1 =:#;[]%'\t", max_size=6)
LINES = st.one_of(WORDS, st.sampled_from(["[a]", "[b]", "x = 1", "y: 2 = 3", "z=", "# c", "  ; d", "  more", ""]))


@example(["[]"])
@given(st.lists(LINES, max_size=12))
def test_what_it_takes_it_reads_as_configparser_does(lines):
    text = "\n".join(["[a]", *lines])
    try:
        mine = inifile.parse(text, "here")
    except ConfigError:
        return
    reference = configparser.RawConfigParser(interpolation=None, default_section="none")
    reference.read_string(text)
    taken = {name: {key: entry.value for key, entry in section.keys.items()} for name, section in mine.items()}
    # Empty lines within a value are left out here.
    assert taken == {
        name: {key: re.sub(r"\n+", "\n", value) for key, value in reference.items(name)}
        for name in reference.sections()
    }


@pytest.mark.parametrize(("text", "truth"), [("True", True), ("False", False), ("no", False), ("1", True)])
def test_the_text_false_is_false(text, truth):
    assert kinds.switch(text) is truth


def test_a_switch_is_nothing_else():
    with pytest.raises(ValueError, match="expected yes or no, got 'maybe'"):
        kinds.switch("maybe")
