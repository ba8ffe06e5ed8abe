"""A hub on loopback, and `tsfm` as a process that uses only this hub."""

from __future__ import annotations

import json
import os
import random
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from weights.hub import Hub

SRC = str(Path(__file__).parents[2] / "src")
MODEL = "amazon/chronos-bolt-tiny"
FAMILIES = Path(SRC) / "tsfm" / "families"
# The command with the cards of $TSFM_TEST_FAMILIES, and with short waits between attempts.
CARDS = "import os, pathlib, sys; from tsfm import card;card.FOLDER = pathlib.Path(os.environ['TSFM_TEST_FAMILIES']);"
WAITS = "from tsfm.weights import retry; retry.WAITS_S = (0.05,) * 3; retry.LATER_WAITS_S = (0.05,) * 7;"
PRELUDE = CARDS + WAITS
MAIN = "from tsfm.cli.main import main; sys.exit(main())"
COMMAND = PRELUDE + MAIN
OFFLINE = ("import", "list", "remove", "verify")  # these import nothing that waits for a hub


def safetensors(size: int, seed: int = 0) -> bytes:
    """A valid file of one tensor, with ``size`` bytes of data."""
    header = json.dumps({"w": {"dtype": "U8", "shape": [size], "data_offsets": [0, size]}}).encode()
    return len(header).to_bytes(8, "little") + header + random.Random(seed).randbytes(size)


def model(size: int = 3_000_000, seed: int = 0) -> dict[str, bytes]:
    """The files of a Chronos checkpoint, and one that serving does not need."""
    return {
        "config.json": json.dumps({"seed": seed}).encode(),
        "model.safetensors": safetensors(size, seed),
        "pytorch_model.bin": b"not needed",
    }


def unpinned(folder: Path) -> None:
    """The families' files with cards without pins: the hub on loopback does not have the real bytes."""
    folder.mkdir()
    for path in FAMILIES.glob("*.py"):
        text = re.sub(r'^ +"(revision": ".*"|sha256": \{[^}]*\}),\n', "", path.read_text(), flags=re.MULTILINE)
        (folder / path.name).write_text(text)


class Box:
    """One host: a family's folder, settings, and the command."""

    def __init__(self, folder: Path, address: str) -> None:
        self.folder = folder
        self.root = folder / "model" / "chronos"
        self.ini = folder / "tsfm.ini"
        self.settings("")
        self.env = {k: v for k, v in os.environ.items() if not k.startswith("HF_") and not k.endswith("_proxy")}
        self.env |= {"PYTHONPATH": SRC, "TSFM_INI": str(self.ini), "HF_ENDPOINT": address}
        self.env |= {"HF_HOME": str(folder / "hf"), "HF_HUB_DOWNLOAD_TIMEOUT": "1"}
        self.families = folder / "families"
        unpinned(self.families)
        self.env |= {"TSFM_TEST_FAMILIES": str(self.families)}

    def pin(self, revision: str, sha256: dict[str, str], name: str = MODEL) -> None:
        """Pin a commit of a checkpoint and hashes of its files in the card."""
        path = self.families / "chronos.py"
        pins = f'"name": "{name}",\n            "revision": {revision!r},\n            "sha256": {sha256!r},'
        path.write_text(path.read_text().replace(f'"name": "{name}",', pins))

    @property
    def weights(self) -> Path:
        return self.root / "chronos-bolt-tiny"

    def settings(self, lines: str) -> None:
        self.ini.write_text(f"[chronos]\nmodel_folder = {self.root}\n{lines}\n")

    def start(self, *words: str | Path, **options: object) -> subprocess.Popen[str]:
        code = CARDS + MAIN if words[0] in OFFLINE else COMMAND
        command = [sys.executable, "-c", code, *map(str, words)]
        pipe = subprocess.PIPE
        return subprocess.Popen(command, env=self.env, stdout=pipe, stderr=pipe, text=True, **options)

    def tsfm(self, *words: str | Path, **options: object) -> subprocess.CompletedProcess[str]:
        process = self.start(*words, **options)
        out, err = process.communicate(timeout=60)
        return subprocess.CompletedProcess(words, process.returncode, out, err)


@pytest.fixture
def hub() -> Iterator[Hub]:
    hub = Hub()
    hub.models[MODEL] = model()
    yield hub
    hub.close()


@pytest.fixture
def make_box(tmp_path: Path, hub: Hub) -> Callable[[str], Box]:
    def make(name: str) -> Box:
        (tmp_path / name).mkdir()
        return Box(tmp_path / name, hub.url)

    return make


@pytest.fixture
def box(make_box: Callable[[str], Box]) -> Box:
    return make_box("box")
