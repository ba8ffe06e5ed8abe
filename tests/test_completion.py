"""The completion of the command: each shell, in a terminal of its own, completes what is typed and Tab."""

from __future__ import annotations

import importlib.util
import os
import pty
import select
import shutil
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
from conftest import HERE

from tsfm.cli import main

LIMIT_S = 60
SHELLS = {
    "bash": (["bash", "--norc", "--noprofile", "-i"], "source {folder}/tsfm"),
    "zsh": (["zsh", "-f", "-i"], "fpath=({folder} $fpath); autoload -Uz compinit; compinit -u -D; autoload -Uz _tsfm"),
    "fish": (["fish", "--no-config", "-i"], "source {folder}/tsfm.fish"),
}


@pytest.fixture(scope="module")
def completion() -> ModuleType:
    spec = importlib.util.spec_from_file_location("packaging_completion", HERE.parent / "packaging/completion.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def folder(completion: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("completion")
    completion.write(path)
    (path / "a-series.csv").touch()
    return path


class Terminal:
    """A shell that believes that a person types."""

    def __init__(self, words: list[str], folder: Path) -> None:
        self.pid, self.descriptor = pty.fork()
        if self.pid == 0:
            os.chdir(folder)
            os.environ |= {"TERM": "xterm", "COLUMNS": "400", "HOME": str(folder), "LC_ALL": "C.UTF-8"}
            os.execvp(words[0], words)
        self.shown = ""

    def type(self, text: str, expected: str) -> None:
        self.shown = ""
        os.write(self.descriptor, text.encode())
        end = time.monotonic() + LIMIT_S
        while expected not in self.shown:
            ready, _, _ = select.select([self.descriptor], [], [], max(end - time.monotonic(), 0))
            assert ready, f"after {text!r}: expected {expected!r}, the shell shows {self.shown!r}"
            self.shown += os.read(self.descriptor, 65_536).decode(errors="replace")

    def close(self) -> None:
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        os.close(self.descriptor)


@pytest.fixture(params=SHELLS)
def terminal(request: pytest.FixtureRequest, folder: Path) -> Iterator[Terminal]:
    words, setup = SHELLS[request.param]
    if not shutil.which(words[0]):
        pytest.skip(f"{words[0]} is not installed: apt install {words[0]}")
    opened = Terminal(words, folder)
    try:
        # The sum shows that the line has run; its text alone is only the terminal's echo.
        opened.type(f"{setup.format(folder=folder)}; expr 40100 + 23\n", "40123")
        yield opened
    finally:
        opened.close()


@pytest.mark.slow
def test_tab_completes_commands_options_families_and_files(terminal: Terminal) -> None:
    terminal.type("tsfm fore\t", "cast")
    terminal.type("--fam\t", "ily")
    terminal.type(" mome\t", "nt")
    terminal.type("a-ser\t", "ies.csv")
    terminal.type("--deci\t", "mal")


def test_every_command_and_option_is_in_each_file(completion: ModuleType, folder: Path) -> None:
    texts = {name: (folder / name).read_text() for name in completion.FILES}
    for command, (_, options) in completion.commands().items():
        assert command in main.commands()
        for option in options:
            for name in option.names:
                assert name in texts["tsfm"], (command, name)
                assert f"{name}[" in texts["_tsfm"], (command, name)
                assert f" -{'l' if name.startswith('--') else 's'} {name.lstrip('-')} " in texts["tsfm.fish"]
    assert set(completion.commands()) == set(main.commands())
    words = {
        name: next(one.takes for one in options if "--family" in one.names)
        for name, (_, options) in completion.commands().items()
        if name in ("backtest", "detect", "forecast")
    }
    assert {name: "all" in found for name, found in words.items()} == {
        "backtest": True,
        "detect": False,
        "forecast": False,
    }
