"""Root at work in a folder that another user owns, who plants links, pipes and files of his own there."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
import tarfile
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tsfm.errors import TsfmError
from tsfm.weights import safe_path
from weights.conftest import COMMAND, MODEL, Box, model
from weights.hub import Fault, Hub

pytestmark = [pytest.mark.slow, pytest.mark.skipif(os.geteuid() != 0, reason="root's rights are what is tried here")]
NOBODY = 65534
FOLDER = "chronos-bolt-tiny"
FILES = ("config.json", "model.safetensors")
COMMANDS = {
    "pull": ["pull", "chronos"],
    "import": ["import", "STICK"],
    "remove": ["remove", "chronos"],
    "verify": ["verify", "chronos"],
    "to": ["pull", "chronos", "--to", "ROOT"],
}


def plant(program: str, folder: Path) -> None:
    """Run a line of Python in the folder as the user who owns it, as he would."""
    command = [sys.executable, "-c", f"import os, pathlib; {program}"]
    subprocess.run(command, cwd=folder, user=NOBODY, group=NOBODY, extra_groups=[], check=True)


@pytest.fixture
def ground() -> Iterator[Path]:
    """A folder that everybody can reach, unlike pytest's own."""
    folder = Path(tempfile.mkdtemp(prefix="tsfm-root-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def box(ground: Path, hub: Hub) -> Box:
    """A host whose family folder belongs to another user."""
    box = Box(ground, hub.url)
    box.root.mkdir(parents=True)
    os.chown(box.root, NOBODY, NOBODY)
    return box


class Treasure:
    """A file and a folder of root's that nobody else may read or change."""

    def __init__(self, ground: Path) -> None:
        self.file = ground / "shadow"
        self.folder = ground / "roots"
        self.folder.mkdir()
        for path in (self.file, *(self.folder / name for name in (*FILES, ".tsfm.lock"))):
            path.write_text("secret")
            path.chmod(0o600)
        self.folder.chmod(0o700)
        self.before = self.facts()

    def facts(self) -> dict[str, tuple[int, int, int, bytes]]:
        found = {}
        for path in (self.file, self.folder, *sorted(self.folder.iterdir())):
            facts = path.stat()
            content = path.read_bytes() if path.is_file() else b""
            found[path.name] = (facts.st_uid, facts.st_mode, facts.st_nlink, content)
        return found


@pytest.fixture
def treasure(ground: Path) -> Treasure:
    return Treasure(ground)


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    hub = Hub()
    hub.models[MODEL] = model()
    folder = tmp_path_factory.mktemp("connected")
    done = Box(folder, hub.url).tsfm("pull", "chronos", "--to", folder / "stick")
    hub.close()
    assert done.returncode == 0, done.stderr
    return folder / "stick"


@pytest.fixture
def stick(ground: Path, exported: Path) -> Path:
    """What was carried here: nobody but root can read it, as with a stick that root has mounted."""
    shutil.copytree(exported, ground / "stick")
    for path in (ground / "stick", *(ground / "stick").rglob("*")):
        path.chmod(0o700 if path.is_dir() else 0o600)
    return ground / "stick"


def run(box: Box, command: str, stick: Path) -> subprocess.CompletedProcess[str]:
    words = {"STICK": str(stick), "ROOT": str(box.root)}
    done = box.tsfm(*[words.get(word, word) for word in COMMANDS[command]])
    assert "Traceback" not in done.stderr, done.stderr
    return done


def complete(box: Box, hub: Hub) -> bool:
    return all((box.weights / name).read_bytes() == hub.models[MODEL][name] for name in FILES)


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize(
    ("name", "kind"),
    [
        (".tsfm.lock", "file"),
        (".tsfm.lock", "pipe"),
        (f".failed-{FOLDER}", "nowhere"),
        (f".partial-{FOLDER}", "folder"),
        (f".old-{FOLDER}", "folder"),
        (FOLDER, "folder"),
        (FOLDER, "device"),
    ],
)
def test_what_is_planted_leads_root_nowhere(
    box: Box, treasure: Treasure, stick: Path, command: str, name: str, kind: str
) -> None:
    if command in ("remove", "verify") and name != FOLDER:
        assert run(box, "pull", stick).returncode == 0
    targets = {
        "file": treasure.file,
        "folder": treasure.folder,
        "nowhere": treasure.folder / "new",
        "device": "/dev/full",
    }
    plant(f"os.mkfifo({name!r})" if kind == "pipe" else f"os.symlink({str(targets[kind])!r}, {name!r})", box.root)
    run(box, command, stick)
    assert treasure.facts() == treasure.before


@pytest.mark.parametrize("command", ["pull", "import", "to"])
@pytest.mark.parametrize("name", ["model.safetensors", "tsfm-manifest.json"])
@pytest.mark.parametrize("link", [os.symlink, os.link])
def test_links_in_the_folder_of_a_broken_off_download_are_not_written_through(
    box: Box, treasure: Treasure, stick: Path, command: str, name: str, link: Callable[[Path, Path], None]
) -> None:
    part = box.root / f".partial-{FOLDER}"
    part.mkdir()
    os.chown(part, NOBODY, NOBODY)
    link(treasure.file, part / name)  # where the kernel does not protect hard links, the other user can do it
    treasure.before = treasure.facts()
    run(box, command, stick)
    after = treasure.facts()
    assert {k: (u, m, c) for k, (u, m, _, c) in after.items()} == {
        k: (u, m, c) for k, (u, m, _, c) in treasure.before.items()
    }


@pytest.mark.parametrize("command", COMMANDS)
def test_a_family_folder_that_is_another_users_link_is_refused_with_the_way_out(
    box: Box, treasure: Treasure, stick: Path, command: str
) -> None:
    os.chown(box.root.parent, NOBODY, NOBODY)
    box.root.rmdir()
    plant(f"os.symlink({str(treasure.folder)!r}, 'chronos')", box.root.parent)
    done = run(box, command, stick)
    assert done.returncode != 0
    assert treasure.facts() == treasure.before
    if command != "verify":  # nothing to verify there: it says so
        assert "symbolic link" in done.stderr or "holds no weights" in done.stderr, done.stderr


@pytest.mark.parametrize("link", ["model", "model/chronos"])
def test_a_link_that_root_made_to_another_disk_is_followed(
    box: Box, ground: Path, stick: Path, hub: Hub, link: str
) -> None:
    box.root.rmdir()
    if link == "model":
        box.root.parent.rmdir()
    disk = ground / "disk"
    disk.mkdir()
    (ground / link).symlink_to(disk)
    for bring in ("pull", "import"):
        assert run(box, bring, stick).returncode == 0
        assert complete(box, hub)
        assert run(box, "verify", stick).returncode == 0
        assert run(box, "remove", stick).returncode == 0
        assert not box.weights.exists()
    assert (ground / link).is_symlink()


@pytest.mark.parametrize("command", ["pull", "import"])
def test_what_root_brings_is_made_by_the_folders_owner_and_all_can_read_it(
    box: Box, stick: Path, hub: Hub, command: str
) -> None:
    words = [str(stick) if word == "STICK" else word for word in COMMANDS[command]]
    done = box.tsfm(*words, umask=0o077)
    assert done.returncode == 0, done.stderr
    assert complete(box, hub)
    found = [box.weights, *box.weights.iterdir()]
    assert {path.stat().st_uid for path in found} == {NOBODY}
    assert {stat.S_IMODE(path.stat().st_mode) for path in found} == {0o755, 0o644}


def test_a_tar_that_only_root_can_read_is_imported_into_another_users_folder(
    box: Box, ground: Path, stick: Path, hub: Hub
) -> None:
    packed = ground / "chronos.tar.gz"
    with tarfile.open(packed, "w:gz") as tar:
        tar.add(stick / FOLDER, FOLDER)
    packed.chmod(0o600)
    done = box.tsfm("import", packed)
    assert done.returncode == 0, done.stderr
    assert complete(box, hub)


def test_a_stick_of_several_families_goes_to_the_owner_of_each(box: Box, ground: Path, stick: Path, hub: Hub) -> None:
    other = ground / "timemoe"
    hub.models["Maple728/TimeMoE-50M"] = model(2_000_000, seed=3)
    with box.ini.open("a") as ini:
        ini.write(f"[timemoe]\nmodel_folder = {other}\n")
    assert box.tsfm("pull", "timemoe", "--to", stick).returncode == 0
    done = box.tsfm("import", stick)
    assert done.returncode == 0, done.stderr
    assert box.weights.stat().st_uid == NOBODY
    assert (other / "TimeMoE-50M").stat().st_uid == 0


@pytest.mark.parametrize("kind", ["link", "hard link", "pipe"])
def test_root_copies_for_nobody_what_he_may_not_read(
    box: Box, ground: Path, treasure: Treasure, hub: Hub, kind: str
) -> None:
    source = ground / "theirs"
    source.mkdir()
    os.chown(source, NOBODY, NOBODY)
    (source / "model.safetensors").write_bytes(hub.models[MODEL]["model.safetensors"])
    if kind == "hard link":
        os.link(treasure.file, source / "config.json")
    else:
        secret = str(treasure.file)
        plant("os.mkfifo('config.json')" if kind == "pipe" else f"os.symlink({secret!r}, 'config.json')", source)
    done = box.tsfm("import", source, "chronos", "0")
    assert done.returncode in (1, 78)
    assert "Traceback" not in done.stderr, done.stderr
    assert not box.weights.exists()
    os.unlink(source / "config.json")


def test_links_to_what_their_owner_may_read_are_imported_as_ever(box: Box, ground: Path, hub: Hub) -> None:
    blobs, snapshot = ground / "blobs", ground / "snapshots"
    for folder in (blobs, snapshot):
        folder.mkdir()
        os.chown(folder, NOBODY, NOBODY)
    for name in FILES:
        (blobs / name).write_bytes(hub.models[MODEL][name])
        plant(f"os.symlink('../blobs/{name}', {name!r})", snapshot)
    done = box.tsfm("import", snapshot, "chronos", "0")
    assert done.returncode == 0, done.stderr
    assert complete(box, hub)


@pytest.mark.parametrize("name", ["x.tar", ".partial-x.tar"])
@pytest.mark.parametrize("kind", ["file", "folder", "nowhere"])
def test_a_tar_is_packed_beside_no_links(box: Box, ground: Path, treasure: Treasure, name: str, kind: str) -> None:
    targets = {"file": treasure.file, "folder": treasure.folder, "nowhere": treasure.folder / "new"}
    plant(f"os.symlink({str(targets[kind])!r}, {name!r})", box.root)
    done = box.tsfm("pull", "chronos", "--to", box.root / "x.tar")
    assert (done.returncode, done.stderr.count("Traceback")) == (1, 0)
    assert f"{box.root / name} is a symbolic link" in done.stderr
    assert treasure.facts() == treasure.before


def test_a_tar_in_another_users_folder_is_made_by_him(box: Box) -> None:
    done = box.tsfm("pull", "chronos", "--to", box.root / "x.tar")
    assert done.returncode == 0, done.stderr
    assert (box.root / "x.tar").stat().st_uid == NOBODY
    assert [path.name for path in box.root.iterdir()] == ["x.tar"]


@pytest.mark.parametrize("name", [f".partial-{FOLDER}", f".old-{FOLDER}", ".tsfm.lock", FOLDER])
@pytest.mark.parametrize("command", ["pull", "import"])
def test_in_a_folder_that_all_can_write_the_things_of_others_are_refused_by_name(
    box: Box, stick: Path, hub: Hub, name: str, command: str
) -> None:
    os.chown(box.root, 0, 0)
    box.root.chmod(0o1777)
    plant(
        f"os.{'open' if name == '.tsfm.lock' else 'mkdir'}({name!r}, {os.O_CREAT if name == '.tsfm.lock' else 0o755})",
        box.root,
    )
    done = run(box, command, stick)
    assert done.returncode == 1
    assert f"{box.root / name} belongs to user nobody, not to user root" in done.stderr
    assert not hub.gets("model.safetensors")


def test_a_list_of_hashes_that_is_a_pipe_holds_nobody_up(box: Box, stick: Path) -> None:
    assert run(box, "pull", stick).returncode == 0
    plant(f"os.unlink('{FOLDER}/tsfm-manifest.json'); os.mkfifo('{FOLDER}/tsfm-manifest.json')", box.root)
    done = run(box, "verify", stick)
    assert done.returncode == 1
    assert "is not a regular file" in done.stderr


def test_weights_behind_a_link_are_verified_as_their_owner_may_read_them(
    box: Box, treasure: Treasure, stick: Path
) -> None:
    assert run(box, "pull", stick).returncode == 0
    weights = box.weights / "model.safetensors"
    shutil.copy(weights, treasure.folder / "model.safetensors")  # of the right size and bytes, but root's
    plant(
        f"os.unlink('{weights.name}'); os.symlink({str(treasure.folder / weights.name)!r}, '{weights.name}')",
        box.weights,
    )
    done = run(box, "verify", stick)
    assert done.returncode == 1
    assert "model.safetensors: cannot be read: Permission denied" in done.stderr


def test_the_download_itself_runs_as_the_owner(box: Box, hub: Hub) -> None:
    seen: list[str] = []
    process: list[int] = []
    started = threading.Event()

    def look() -> None:
        assert started.wait(30)
        status = Path(f"/proc/{process[0]}/status").read_text()
        seen.extend(line for line in status.splitlines() if line.startswith(("Uid:", "Groups:")))

    hub.faults["model.safetensors"] = Fault(at_half=look)
    pull = box.start("pull", "chronos")
    process.append(pull.pid)
    started.set()
    _, said = pull.communicate(timeout=60)
    assert pull.returncode == 0, said
    assert [line.split() for line in seen] == [["Uid:", *[str(NOBODY)] * 4], ["Groups:"]]


def test_a_source_that_a_user_may_not_read_is_told_in_words(ground: Path, stick: Path, hub: Hub) -> None:
    theirs = ground / "mine"
    theirs.mkdir()
    box = Box(theirs, hub.url)
    for path in (theirs, *theirs.rglob("*")):
        os.chown(path, NOBODY, NOBODY)
    for source in (stick, stick / FOLDER):
        done = box.tsfm("import", source, user=NOBODY, group=NOBODY, extra_groups=[])
        assert done.returncode == 1
        assert done.stderr.splitlines() == [done.stderr.strip()]
        assert f"{source} cannot be re" in done.stderr
        assert "user nobody" in done.stderr


def test_a_user_who_downloads_into_another_users_folder_is_told_so(box: Box, hub: Hub) -> None:
    os.chown(box.root, 0, 0)
    done = box.tsfm("pull", "chronos", user=NOBODY, group=NOBODY, extra_groups=[])
    assert done.returncode == 1
    assert f"{box.root} cannot be written (Permission denied)" in done.stderr
    assert hub.requests == []


def test_root_of_a_container_that_does_not_know_the_owner_is_told_so(box: Box, stick: Path) -> None:
    words = ["unshare", "--user", "--map-root-user", sys.executable, "-c", COMMAND]
    if subprocess.run([*words[:3], "true"], capture_output=True).returncode:
        pytest.skip("no user namespaces here")
    for command in COMMANDS.values():
        given = [str(stick) if word == "STICK" else str(box.root) if word == "ROOT" else word for word in command]
        if "verify" in given or "remove" in given:
            continue  # nothing is there
        done = subprocess.run([*words, *given], env=box.env, capture_output=True, text=True)
        assert done.returncode == 1
        assert "root cannot become that user here" in done.stderr
        assert "Traceback" not in done.stderr, done.stderr


def test_a_link_of_roots_to_what_is_not_there_yet_is_followed(box: Box, ground: Path, stick: Path, hub: Hub) -> None:
    box.root.rmdir()
    box.root.parent.rmdir()
    (ground / "model").symlink_to(ground / "disk" / "of" / "many" / "folders" / "that" / "are" / "not" / "there")
    assert run(box, "import", stick).returncode == 0
    assert complete(box, hub)


@pytest.mark.parametrize("planted", ["os.mkdir('new')", "os.symlink('/etc', 'new')"])
def test_a_folder_that_another_user_makes_just_before_root_does_is_refused(ground: Path, planted: str) -> None:
    ground.chmod(0o1777)
    with safe_path.nearest(ground / "new" / "chronos") as near:
        assert near.missing == ("new", "chronos")
        plant(planted, ground)
        with pytest.raises(TsfmError, match=r"/new (belongs to user nobody, not|is a symbolic)"):
            near.make()
    assert [path.name for path in ground.rglob("chronos")] == []
