"""A settings file is replaced in one step, and stays what it was but for its text."""

from __future__ import annotations

import os

import pytest

from tsfm.errors import ConfigError
from tsfm.system import atomic


def test_owner_and_mode_stay_and_a_link_stays_a_link(tmp_path):
    real, link = tmp_path / "real.ini", tmp_path / "tsfm.ini"
    real.write_text("old")
    real.chmod(0o640)
    if os.geteuid() == 0:
        os.chown(real, 65534, 65534)
    before = real.stat()
    link.symlink_to(real)
    with real.open() as reader:
        atomic.write(link, "neu: ä")
        assert reader.read() == "old", "who reads it has the whole old file"
    after = real.stat()
    assert link.is_symlink()
    assert real.read_text(encoding="utf-8") == "neu: ä"
    assert (after.st_mode, after.st_uid, after.st_gid) == (before.st_mode, before.st_uid, before.st_gid)
    assert sorted(tmp_path.iterdir()) == [real, link]


def test_a_new_file_may_be_read_by_everybody(tmp_path):
    atomic.write(tmp_path / "new", "text")
    assert (tmp_path / "new").stat().st_mode & 0o777 == 0o644


def test_a_draft_that_is_not_taken_leaves_nothing(tmp_path):
    with pytest.raises(ZeroDivisionError), atomic.beside(tmp_path / "file", "text") as draft:
        assert draft.read_text() == "text"
        raise ZeroDivisionError
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_not_there_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"none/tsfm\.ini: cannot be written: No such file"):
        atomic.write(tmp_path / "none/tsfm.ini", "text")
