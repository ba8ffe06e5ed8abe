"""The server scripts: TDengine's documented arguments, and the hand-over to the family's environment."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest
from checkpoints import chronos, tdtsfm
from conftest import HERE, Live, free_port

from tsfm import card, paths
from tsfm.cli import legacy_scripts
from tsfm.errors import ConfigError, UsageError

pytestmark = pytest.mark.long

MASTER = HERE.parent / "src/tsfm/share/server.py"
BOLT = "amazon/chronos-bolt-tiny"
SERIES = {"input": [float(i % 12) for i in range(200)], "next_len": 3}


def payload(root: Path, *families: str) -> Path:
    """The packages' tree below ``root``, with real environments. Gives its root."""
    tree = root / "usr/lib/taos-tsfm"
    for family in families:
        environment(tree / "venvs" / family)
        (root / f"{family}-server.py").write_bytes(MASTER.read_bytes())
    (tree / "lib").mkdir(parents=True)
    (tree / "lib/tsfm").symlink_to(MASTER.parent.parent)
    return root


def environment(home: Path) -> Path:
    """A virtual environment that borrows the packages of the one that runs the tests. Gives its python."""
    packages = Path(sysconfig.get_path("purelib"))
    (home / "bin").mkdir(parents=True)
    (home / "pyvenv.cfg").write_text(f"home = {Path(os.path.realpath(sys.executable)).parent}\n")
    (home / "bin/python").symlink_to(os.path.realpath(sys.executable))
    library = home / packages.relative_to(sys.prefix)
    library.parent.mkdir(parents=True)
    library.symlink_to(packages)
    return home / "bin/python"


class Script(Live):
    """A command in a tree of its own, in a folder that is not ours; its port may come from tsfm.ini."""

    def __init__(self, root: Path, *command: object, port: int, ini: str = "") -> None:
        self.port, self.log = port, root / "log"
        (root / "tsfm.ini").write_text(ini)
        (root / "elsewhere/tsfm").mkdir(parents=True, exist_ok=True)
        (root / "elsewhere/tsfm/__init__.py").write_text("raise SystemExit('not ours')")
        environ = os.environ | {"TSFM_ROOT": str(root), "TSFM_INI": str(root / "tsfm.ini"), "PYTHONPATH": ""}
        with self.log.open("wb") as log:
            words = list(map(str, command))
            self.process = subprocess.Popen(words, env=environ, stderr=log, cwd=root / "elsewhere")

    def ended(self) -> tuple[int, str]:
        return self.process.wait(60), self.log.read_text()


@pytest.mark.parametrize(
    ("words", "arguments", "mirror"),
    [
        ([], ["serve", "chronos"], False),
        (["2"], ["serve", "chronos", "--model-name", "2"], False),
        (
            ["/m", "amazon/chronos-bolt-tiny", "True"],
            ["serve", "chronos", "--model-folder", "/m", "--model-name", "amazon/chronos-bolt-tiny"],
            True,
        ),
        (
            ["/m", "amazon/chronos-bolt-tiny", "False"],
            ["serve", "chronos", "--model-folder", "/m", "--model-name", "amazon/chronos-bolt-tiny"],
            False,
        ),
        (
            ["--model-folder", "/m", "--model-name", "x", "--port", "6038"],
            ["serve", "chronos", "--model-folder", "/m", "--model-name", "x", "--port", "6038"],
            False,
        ),
        (
            ["/m", BOLT, "False", "--port", "6038"],
            ["serve", "chronos", "--model-folder", "/m", "--model-name", BOLT, "--port", "6038"],
            False,
        ),
        (
            ["--port", "6038", "/m", BOLT, "True"],
            ["serve", "chronos", "--model-folder", "/m", "--model-name", BOLT, "--port", "6038"],
            True,
        ),
        (["/m", BOLT], ["serve", "chronos", "--model-folder", "/m", "--model-name", BOLT], False),
        (["/m"], ["serve", "chronos", "--model-folder", "/m"], False),
        ([BOLT], ["serve", "chronos", "--model-name", BOLT], False),
        (["-i", "1"], ["serve", "chronos", "--model-name", "1"], False),
        (["--model-index", "1"], ["serve", "chronos", "--model-name", "1"], False),
        (["--model-index=1"], ["serve", "chronos", "--model-name", "1"], False),
        (["2", "--enable-ep"], ["serve", "chronos", "--model-name", "2"], True),
        (
            ["--enable-ep", "/m", BOLT, "False"],
            ["serve", "chronos", "--model-folder", "/m", "--model-name", BOLT],
            True,
        ),
        (
            ["-f", "/m", "-n", "x", "--port", "6038", "--host", "::1"],
            ["serve", "chronos", "--model-folder", "/m", "--model-name", "x", "--host", "::1", "--port", "6038"],
            False,
        ),
        (["--threads", "2"], ["serve", "chronos", "--threads", "2"], False),
        (["--port", "1", "--help"], ["serve", "chronos", "--help"], False),
    ],
)
def test_the_documented_arguments_are_those_of_serve(words, arguments, mirror):
    assert legacy_scripts.translate("chronos", words) == (arguments, mirror)


FORMS = {
    "launcher": ["{dir}", "{name}", "False", "--port", "7001"],
    "launcher of tdtsfm": ["{dir}", "--action", "server", "--port", "7001"],
    "short options": ["-f", "{dir}", "-n", "{name}", "--port", "7001"],
    "long options": ["--model-folder", "{dir}", "--model-name", "{name}", "--port", "7001"],
    "with a mirror": ["--enable-ep", "-f", "{dir}", "-i", "0", "--port", "7001"],
    "with a host": ["{dir}", "{name}", "True", "--host", "127.0.0.1", "--port", "7001"],
    "model index": ["-f", "{dir}", "--model-index", "0", "--port", "7001"],
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("family", card.names())
def test_every_familys_script_takes_every_form(family, form, tmp_path):
    facts = card.read(family)
    name = facts.checkpoints[0].name if facts.checkpoints else family
    words = [word.format(dir=tmp_path, name=name) for word in FORMS[form]]
    serve, told, *arguments = legacy_scripts.translate(family, words)[0]
    assert (serve, told) == ("serve", family)
    given = dict(zip(arguments[::2], arguments[1::2], strict=True))
    assert given["--port"] == "7001"
    assert ("--host" in given) == ("--host" in words)
    if not facts.checkpoints:
        assert not {"--model-folder", "--model-name"} & set(given), "its weights are in its package"
        return
    assert given["--model-folder"] == str(tmp_path)
    assert given.get("--model-name") in ({"0"} if "0" in words else {name} if name in words else {None})


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--foo"], "unknown argument '--foo'"),
        (["/m", "x", "--port", "1", "-q"], "unknown argument '-q'"),
        (["--mod", "1"], "unknown argument '--mod'"),
        (["--port"], "argument --port: expected one argument"),
        (["/m", "--action", "train"], "argument --action: invalid choice: 'train'"),
        (["/m", "x", "--model-name", "y"], "'x' and 'y' are both given as the model"),
        (["/m", "x", "-f", "/n"], "'/m' and '/n' are both given as the model's folder"),
    ],
)
def test_arguments_that_are_not_understood_are_named(words, said):
    with pytest.raises(UsageError) as refusal:
        legacy_scripts.translate("chronos", words)
    assert said in str(refusal.value)
    assert str(refusal.value).startswith("chronos-server.py: ")


@pytest.mark.parametrize(
    ("family", "words", "ini"),
    [
        ("naive", [], "[naive]\nport = {port}\n"),
        ("naive", ["x", "naive", "False", "--port", "{port}"], ""),
        ("chronos", [], "[chronos]\nport = {port}\nmodel_folder = {dir}\n"),
        ("chronos", ["0"], "[chronos]\nport = {port}\nmodel_folder = {dir}\n"),
        ("chronos", ["{dir}", BOLT, "False", "--port", "{port}"], ""),
        ("chronos", ["-f", "{dir}", "-n", BOLT, "--port", "{port}", "--host", "127.0.0.1"], ""),
        ("chronos", ["--enable-ep", "--model-folder", "{dir}", "--model-index", "0", "--port", "{port}"], ""),
        ("tdtsfm", ["{dir}", "--action", "server", "--port", "{port}"], ""),
    ],
)
def test_a_script_serves_as_it_is_called(family, words, ini, tmp_path):
    chronos.make(tmp_path / "models/chronos/chronos-bolt-tiny")
    tdtsfm.make(tmp_path / "models/tdtsfm")
    facts = {"dir": tmp_path / "models" / family, "port": free_port()}
    given = [word.format(**facts) for word in words]
    root = payload(tmp_path, family)
    started = Script(
        root, sys.executable, root / f"{family}-server.py", *given, port=facts["port"], ini=ini.format(**facts)
    )
    try:
        answer = started.until_ready().post("/tdtsfm" if family == "tdtsfm" else "/ds_predict", SERIES)
        assert answer.status == 200, answer.body
        assert len(answer.json["output"]) == 3
    finally:
        assert started.stop() in (0, -15)


def test_the_module_hands_over_with_the_arguments_that_it_was_given(tmp_path):
    root, port = payload(tmp_path, "naive"), free_port()
    python = environment(tmp_path / "another")
    source = (
        "import sys; sys.path.insert(0, sys.argv.pop(1)); "
        "from tsfm.cli import legacy_scripts; legacy_scripts.main(sys.argv[1:])"
    )
    lib = root / "usr/lib/taos-tsfm/lib"
    started = Script(root, python, "-c", source, lib, "naive", "/x", "naive", "False", "--port", port, port=port)
    try:
        started.until_ready()
        assert os.readlink(f"/proc/{started.process.pid}/exe") == os.path.realpath(sys.executable)
        command = Path(f"/proc/{started.process.pid}/cmdline").read_text().split("\0")
        assert command[0] == str(root / "usr/lib/taos-tsfm/venvs/naive/bin/python")
        assert "TSFM_ENTERED" not in started.log.read_text()
    finally:
        started.stop()


@pytest.mark.parametrize("how", ["script", "serve"])
def test_an_environment_whose_python_is_another_ones_is_told_and_not_entered_for_ever(how, tmp_path):
    root = payload(tmp_path, "naive")
    python = root / "usr/lib/taos-tsfm/venvs/naive/bin/python"
    shutil.rmtree(python.parent.parent)
    python.parent.mkdir(parents=True)
    python.symlink_to(environment(tmp_path / "another"))
    called = [root / "naive-server.py"] if how == "script" else ["-P", "-m", "tsfm", "serve", "naive"]
    started = Script(root, sys.executable, *called, port=free_port())
    code, said = started.ended()
    assert (code, said.count("\n")) == (78, 1), said
    assert f"{python} does not run in its own environment {python.parent.parent}" in said
    assert "reinstall the package" in said


@pytest.mark.parametrize(
    ("own", "reason"),
    [(False, "does not run in its own environment"), (True, "pandas, which reads tables, is missing in ")],
    ids=["foreign", "empty"],
)
def test_an_environment_for_the_command_line_that_cannot_be_used_is_entered_once(own, reason, tmp_path):
    root = payload(tmp_path)
    home = root / paths.COMMAND_LINE.relative_to(paths.ROOT)
    (home / "bin").mkdir(parents=True)
    (home / "bin/python").symlink_to(os.path.realpath(sys.executable))
    if own:
        (home / "pyvenv.cfg").write_text(f"home = {Path(os.path.realpath(sys.executable)).parent}\n")
    source = "import sys; sys.path[:0] = [sys.argv.pop(1)]; from tsfm.cli.main import main; sys.exit(main())"
    bare = [os.path.realpath(sys.executable), "-I", "-S", "-c", source, root / "usr/lib/taos-tsfm/lib"]
    started = Script(root, *bare, "forecast", tmp_path / "x.csv", port=free_port())
    code, said = started.ended()
    assert (code, said.count("\n")) == (78, 1), said
    assert reason in said


def test_other_arguments_are_refused_with_the_forms_that_there_are():
    with pytest.raises(UsageError, match=r"an index \(0 for amazon/chronos-bolt-tiny"):
        legacy_scripts.translate("chronos", ["a", "b", "c", "d"])
    with pytest.raises(UsageError, match="ENABLE_MIRROR: expected yes or no, got 'perhaps'"):
        legacy_scripts.translate("chronos", ["/m", "x", "perhaps"])
    with pytest.raises(ConfigError, match="family: expected one of"):
        legacy_scripts.translate("nope", [])


def test_any_python_starts_the_script_and_the_familys_own_goes_on(tmp_path):
    python = tmp_path / "usr/lib/taos-tsfm/venvs/naive/bin/python"
    python.parent.mkdir(parents=True)
    python.write_text('#!/bin/sh\necho "$PYTHONPATH" "$@"\n')
    python.chmod(0o755)
    copy = tmp_path / "naive-server.py"
    shutil.copy(MASTER, copy)
    said = subprocess.run(
        [sys.executable, copy, "/m", "x", "False"],
        env=os.environ | {"TSFM_ROOT": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert said.stdout.split() == [
        f"{tmp_path}/usr/lib/taos-tsfm/lib",
        *["-B", "-m", "tsfm.cli.legacy_scripts", "naive", "/m", "x", "False"],
    ]


def test_a_family_that_is_not_installed_is_named_with_its_package(tmp_path):
    copy = tmp_path / "moirai-server.py"
    shutil.copy(MASTER, copy)
    ended = subprocess.run(
        [sys.executable, copy], env=os.environ | {"TSFM_ROOT": str(tmp_path)}, capture_output=True, text=True
    )
    assert ended.returncode == 1
    assert "install the package taos-tsfm-moirai" in ended.stderr
