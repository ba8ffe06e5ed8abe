"""What root does before the downloader: it makes a folder that is not there, and changes none that is."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import HERE

from tsfm.cli.commands import weights_folder
from tsfm.errors import TsfmError

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root gives folders away")
NOBODY = pwd.getpwnam("nobody")


@pytest.fixture
def root() -> Iterator[Path]:
    """A folder that root alone can change, with all above it: pytest's own lie below /tmp."""
    folder = Path(tempfile.mkdtemp(dir="/var/lib"))
    yield folder
    shutil.rmtree(folder)


def facts(path: Path) -> tuple[int, int, int]:
    found = path.lstat()
    return found.st_uid, found.st_gid, found.st_mode & 0o7777


def test_a_folder_that_is_not_there_is_made_for_the_downloader(root: Path) -> None:
    weights_folder.make(root / "taosanode/model/chronos", NOBODY)
    assert facts(root / "taosanode/model/chronos") == (NOBODY.pw_uid, NOBODY.pw_gid, 0o755)
    assert facts(root / "taosanode/model") == (0, 0, 0o755)


@pytest.mark.parametrize("owner", [0, 1, NOBODY.pw_uid])
def test_one_that_is_there_is_left_as_it_is(root: Path, owner: int) -> None:
    folder = root / "chronos"
    folder.mkdir(mode=0o750)
    (folder / "model.safetensors").write_bytes(b"")
    for path in (folder, folder / "model.safetensors"):
        os.chown(path, owner, owner)
    before = [facts(path) for path in (folder, folder / "model.safetensors")]
    weights_folder.make(folder, NOBODY)
    assert [facts(path) for path in (folder, folder / "model.safetensors")] == before


def test_a_link_that_leads_nowhere_is_left_as_it_is(root: Path) -> None:
    (root / "chronos").symlink_to(root / "shadow")
    weights_folder.make(root / "chronos", NOBODY)
    assert not (root / "shadow").exists()


@pytest.mark.parametrize("change", [lambda path: os.chown(path, 1, 1), lambda path: path.chmod(0o777)])
def test_below_what_somebody_else_can_change_nothing_is_made(root: Path, change) -> None:
    above = root / "model"
    above.mkdir()
    change(above)
    with pytest.raises(
        TsfmError, match=r"model belongs to \w+ and is not root's alone to change; run: install -d -o nobody -g nobody "
    ):
        weights_folder.make(above / "chronos", NOBODY)
    assert not (above / "chronos").exists()


def test_a_download_into_somebody_elses_folder_is_refused_with_the_owner(root: Path) -> None:
    root.chmod(0o755)
    (root / "chronos").mkdir()
    os.chown(root / "chronos", 1, 1)
    settings = root / "tsfm.ini"
    settings.write_text(f"[chronos]\nmodel_folder = {root}/chronos\n")
    # The library where the downloader can read it, whoever may read this checkout.
    shutil.copytree(HERE.parent / "src/tsfm", root / "lib/tsfm", ignore=shutil.ignore_patterns("__pycache__"))
    environment = {"PYTHONPATH": str(root / "lib"), "TSFM_INI": str(settings), "HF_ENDPOINT": "http://127.0.0.1:9"}
    command = [os.path.realpath(sys.executable), "-B", "-m", "tsfm", "pull", "chronos"]
    ran = {"env": environment, "cwd": "/", "user": NOBODY.pw_uid, "group": NOBODY.pw_gid, "extra_groups": []}
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, **ran)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert f"{root}/chronos cannot be written (Permission denied); {root}/chronos belongs to daemon: run the" in line
