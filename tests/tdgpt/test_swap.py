"""TDgpt's installer, or a person, writes a file while we do: nothing of theirs is lost."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from tdgpt.host import Host
from tsfm.tdgpt import files, marks, reconcile, swap

WRITERS = {
    "appends in place": """
        with open(path, "a") as file:
            file.write(f"# version {number}\\n")
    """,
    "writes anew in place": """
        with open(path, "w") as file:
            file.write(original + "".join(f"# version {n}\\n" for n in range(number + 1)))
    """,
    "renames a new one": """
        with open(path + ".new", "w") as file:
            file.write(original + "".join(f"# version {n}\\n" for n in range(number + 1)))
        os.rename(path + ".new", path)
    """,
}
LAST = 400


# Where two names cannot be exchanged, a rename between our look and our own rename cannot be seen.
WITHOUT_EXCHANGE = [(writer, False) for writer in WRITERS if writer != "renames a new one"]


@pytest.mark.parametrize(("writer", "exchanges"), [(writer, True) for writer in WRITERS] + WITHOUT_EXCHANGE)
def test_what_another_process_writes_meanwhile_stays(
    writer: str, exchanges: bool, host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = host.tdgpt("G2")
    host.install("fracast")
    if not exchanges:
        monkeypatch.setattr(swap, "_exchange", lambda *_: False)
    loop = f"for number in range({LAST + 1}):" + WRITERS[writer]
    source = f"import os, sys\npath = sys.argv[1]\noriginal = open(path).read()\n{loop}"
    before = config.read_text()
    with subprocess.Popen([sys.executable, "-c", source, str(config)]) as process:
        rounds = 0
        while process.poll() is None:
            reconcile.register()
            reconcile.unregister()
            rounds += 1
    assert process.returncode == 0
    assert rounds
    text = marks.strip(config.read_text(), "").text
    assert text == before + "".join(f"# version {number}\n" for number in range(LAST + 1))
    reconcile.register()
    assert "fracast = " in config.read_text()
    assert [path.name for path in host.etc.iterdir() if path.name.startswith(".")] == []


def test_a_file_that_changed_since_it_was_read_is_not_replaced(tmp_path: Path) -> None:
    path = tmp_path / "taosanode.ini"
    path.write_bytes(b"theirs, newer")
    with pytest.raises(files.Changed, match="another program is writing it; run `tsfm register` again"):
        files.replace(path, b"theirs, older", b"ours")
    assert path.read_bytes() == b"theirs, newer"
    path.unlink()
    with pytest.raises(files.Changed):
        files.replace(path, b"theirs, older", b"ours")
    assert list(tmp_path.iterdir()) == []


def during(monkeypatch: pytest.MonkeyPatch, act: Callable[[], object]) -> None:
    """Something happens in the very moment between the last look at the file and its replacement."""
    exchange = swap._exchange
    left = [act]

    def late(one: Path, other: Path) -> bool:
        if left:
            left.pop()()
        return exchange(one, other)

    monkeypatch.setattr(swap, "_exchange", late)


@pytest.mark.parametrize("how", ["in place", "by renaming", "by removing"])
def test_a_change_in_the_last_moment_is_edited_in_its_turn(
    how: str, host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = host.tdgpt("G2")
    host.install("fracast")
    theirs = config.read_text() + "[theirs]\nx = 1\n"

    def change() -> None:
        if how == "in place":
            writer = threading.Thread(target=config.write_text, args=[theirs])
            writer.start()
            # It waits for our lease to end; where there are no leases it is done at once.
            while writer.is_alive() and "BREAKING" not in Path("/proc/locks").read_text():
                writer.join(0.01)
        elif how == "by renaming":
            (host.root / "new").write_text(theirs)
            (host.root / "new").rename(config)
        else:
            config.unlink()

    during(monkeypatch, change)
    outcome = reconcile.register()
    assert outcome.refused == []
    if how == "by removing":
        assert not config.exists()
        return
    assert marks.strip(config.read_text(), "").text == theirs
    assert "fracast = " in config.read_text()
    assert len(outcome.diffs) == 1
    assert len([line for line in outcome.done if str(config) in line]) == 1


def test_a_writer_that_does_not_finish_keeps_its_file(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    config = host.tdgpt("G2")
    host.install("fracast")
    monkeypatch.setattr(swap, "_WRITER_S", 0.05)
    with config.open("a") as writer:
        outcome = reconcile.register()
        assert outcome.refused == [
            f"{config}: another program is writing it; run `tsfm register` again when that is done"
        ]
        writer.write("# at last\n")
    assert config.read_text().endswith("# at last\n")
    assert reconcile.register().refused == []


def test_a_writer_that_finishes_is_waited_for(host: Host) -> None:
    config = host.tdgpt("G2")
    host.install("fracast")
    writer = config.open("a")

    def finish() -> None:
        writer.write("# at last\n")
        writer.close()

    timer = threading.Timer(0.1, finish)
    timer.start()
    try:
        assert reconcile.register().refused == []
    finally:
        timer.join()
    assert "# at last" in config.read_text()
    assert "fracast = " in config.read_text()


def test_a_template_is_not_laid_over_the_file_that_tdgpt_brings_meanwhile(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = host.tdgpt("G2")
    config.unlink()
    host.install("fracast")
    create = files.create

    def late(path: Path, data: bytes, mode: int = 0o644, must_be_new: bool = False) -> None:
        if path == config:
            path.write_text("[theirs]\n")
        create(path, data, mode, must_be_new)

    monkeypatch.setattr(files, "create", late)
    assert "another program is writing it" in reconcile.register().refused[0]
    assert config.read_text() == "[theirs]\n"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a link away")
def test_a_link_of_another_users_is_not_followed(host: Host) -> None:
    config = host.tdgpt("G4")
    victim = host.root / "victim.py"
    victim.write_text("x = 1\n")
    real = host.tree / "cfg"
    real.mkdir()
    (real / "taosanode.config.py").symlink_to(victim)
    os.chown(real / "taosanode.config.py", 65534, 65534, follow_symlinks=False)
    config.unlink()
    config.symlink_to(real / "taosanode.config.py")
    host.install("fracast")
    outcome = reconcile.register()
    assert outcome.refused
    assert all(
        f"contains the link {real / 'taosanode.config.py'}, which belongs to another user" in line
        for line in outcome.refused
    )
    assert victim.read_text() == "x = 1\n"
    assert not files.backup_of(victim).exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a link away")
@pytest.mark.parametrize("place", ["tsfm", "lib/taosanalytics/algo/fc", "lib/taosanalytics/algo/ad"])
def test_nothing_is_placed_or_removed_through_another_users_link(place: str, host: Host) -> None:
    host.tdgpt("G2")
    host.install("fracast")
    elsewhere = host.root / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "chronos-server.py").write_text("theirs")
    folder = host.tree / place
    if folder.exists():
        folder.rename(host.root / "moved")
    folder.symlink_to(elsewhere)
    os.chown(folder, 65534, 65534, follow_symlinks=False)
    outcome = reconcile.register()
    assert any("contains the link" in line for line in outcome.refused), outcome
    assert [path.name for path in elsewhere.iterdir()] == ["chronos-server.py"]
