"""`tsfm pull` against a hub on loopback that does to it what networks do."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import pty
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tsfm import card
from tsfm.errors import ConfigError
from tsfm.weights import checkpoints
from tsfm.weights import hub as hub_module
from weights.conftest import COMMAND, MODEL, PRELUDE, Box, model
from weights.hub import REVISION, Fault, Hub

pytestmark = pytest.mark.slow

WEIGHTS = "model.safetensors"


def complete(box: Box, hub: Hub) -> bool:
    """The folder is what the hub has, and nothing of the download is left."""
    files = {p.name: p.read_bytes() for p in box.weights.iterdir() if p.name != "tsfm-manifest.json"}
    wanted = {name: hub.models[MODEL][name] for name in ("config.json", WEIGHTS)}
    return files == wanted and sorted(p.name for p in box.root.iterdir()) == ["chronos-bolt-tiny"]


def test_a_pull_brings_the_needed_files_and_their_manifest_and_nothing_else(box: Box, hub: Hub) -> None:
    done = box.tsfm("pull", "chronos")
    assert (done.returncode, done.stdout) == (0, f"{MODEL}: complete in {box.weights}\n"), done.stderr
    assert complete(box, hub)
    manifest = json.loads((box.weights / "tsfm-manifest.json").read_text())
    assert (manifest["checkpoint"], manifest["revision"], manifest["family"]) == (MODEL, REVISION, "chronos")
    assert [f["size"] for f in manifest["files"]] == [len(hub.models[MODEL][n]) for n in ("config.json", WEIGHTS)]
    assert not hub.gets("pytorch_model.bin")


def test_it_says_how_much_disk_it_needs_before_it_starts(box: Box) -> None:
    lines = box.tsfm("pull", "chronos").stderr.splitlines()
    assert "3.0 MB to download" in lines[0]
    assert "on the disk" in lines[0]


def test_away_from_a_terminal_there_is_a_line_for_every_tenth(box: Box, hub: Hub) -> None:
    hub.faults[WEIGHTS] = Fault(bytes_per_s=1.5e6)
    lines = [line for line in box.tsfm("pull", "chronos").stderr.splitlines() if " % of 3.0 MB" in line]
    tenths = [int(line.split(": ")[1].split(" ")[0]) // 10 for line in lines]
    assert tenths == sorted(set(tenths))
    assert len(tenths) >= 5
    assert tenths[-1] == 10


def test_on_a_terminal_there_is_a_bar(box: Box) -> None:
    ours, theirs = pty.openpty()
    command = [sys.executable, "-c", COMMAND, "pull", "chronos"]
    process = subprocess.Popen(command, env=box.env, stdout=subprocess.DEVNULL, stderr=theirs)
    os.close(theirs)
    shown = b""
    while block := _read(ours):
        shown += block
    os.close(ours)
    assert process.wait(60) == 0
    assert b"[##############################] 100 % of 3.0 MB" in shown


def _read(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, 4096)
    except OSError as error:
        assert error.errno == errno.EIO  # the other side has closed
        return b""


def test_what_is_there_is_not_downloaded_again(box: Box, hub: Hub) -> None:
    box.tsfm("pull", "chronos")
    hub.requests.clear()
    done = box.tsfm("pull", "chronos")
    assert (done.returncode, done.stdout) == (0, f"chronos: weights are complete in {box.weights}\n")
    assert hub.requests == []


def test_a_connection_that_breaks_is_taken_up_where_it_broke(box: Box, hub: Hub) -> None:
    hub.faults[WEIGHTS] = Fault(cut_after=1_000_000, times=5)
    done = box.tsfm("pull", "chronos")
    assert done.returncode == 0, done.stderr
    assert complete(box, hub)
    starts = [int(asked.span.removeprefix("bytes=").rstrip("-") or 0) for asked in hub.gets(WEIGHTS)]
    assert starts == sorted(starts)
    assert starts[-1] > 2_000_000
    assert hub.sent < 5_000_000  # starting afresh each time would have sent more


def test_a_killed_download_goes_on_the_next_time(box: Box, hub: Hub) -> None:
    go_on = threading.Event()
    hub.faults[WEIGHTS] = Fault(at_half=lambda: go_on.wait(30))
    process = box.start("pull", "chronos")
    deadline = time.monotonic() + 30
    while checkpoints.bytes_below(box.root) < 1_000_000:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    go_on.set()
    assert not box.weights.exists()
    assert checkpoints.state(card.read("chronos"), box.root)[0].status == "partial"
    hub.faults.clear()
    hub.requests.clear()
    assert box.tsfm("pull", "chronos").returncode == 0
    assert complete(box, hub)
    assert hub.gets(WEIGHTS)[0].span.startswith("bytes=1")  # what had reached the disk is not sent again


def test_a_line_that_breaks_again_and_again_ends_with_one_sentence(box: Box, hub: Hub) -> None:
    hub.faults[WEIGHTS] = Fault(cut_after=0)
    done = box.tsfm("pull", "chronos")
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == f"tsfm: the connection to {hub.url} was interrupted"
    assert not box.weights.exists()


@pytest.mark.parametrize("name", ["config.json", WEIGHTS])
def test_bytes_with_the_wrong_hash_are_refused_and_forgotten(box: Box, hub: Hub, name: str) -> None:
    hub.faults[name] = Fault(content=bytes(len(hub.models[MODEL][name])))
    done = box.tsfm("pull", "chronos")
    assert done.returncode == 1
    assert f"{name} of {MODEL} arrived damaged" in done.stderr
    assert not box.weights.exists()
    hub.faults.clear()
    assert box.tsfm("pull", "chronos").returncode == 0
    assert complete(box, hub)


def test_a_model_that_the_hub_has_not_is_said_to_be_missing(box: Box, hub: Hub) -> None:
    hub.models.clear()
    done = box.tsfm("pull", "chronos")
    assert done.returncode == 1
    assert f"{hub.url} has no such model (401): {MODEL}" in done.stderr


def test_a_file_that_the_hub_has_not_is_named(box: Box, hub: Hub) -> None:
    del hub.models[MODEL][WEIGHTS]
    done = box.tsfm("pull", "chronos")
    assert done.returncode == 1
    assert "has no such file (404)" in done.stderr
    assert WEIGHTS in done.stderr


@pytest.mark.parametrize("status", [401, 403])
def test_a_gated_model_asks_for_a_token(box: Box, hub: Hub, status: int) -> None:
    hub.faults["config.json"] = Fault(status=status, headers={"X-Error-Code": "GatedRepo"})
    done = box.tsfm("pull", "chronos")
    assert done.returncode == 1
    assert "HF_TOKEN" in done.stderr
    assert done.stderr.count("\n") == 1


def test_an_address_that_is_no_hub_is_told_so(box: Box, hub: Hub) -> None:
    hub.faults["config.json"] = Fault(status=204)
    done = box.tsfm("pull", "chronos")
    assert done.returncode == 1
    assert done.stderr.startswith(f"tsfm: {hub.url} answers, but not like a model hub")


def test_too_many_requests_are_waited_out(box: Box, hub: Hub) -> None:
    hub.faults["config.json"] = Fault(status=429, headers={"Retry-After": "1"}, times=2)
    done = box.tsfm("pull", "chronos")
    assert done.returncode == 0
    assert done.stderr.count("(429); it asks for a pause of 1 s; trying again in 1 s") == 2


def test_a_hub_that_asks_to_come_back_much_later_is_not_waited_for(box: Box, hub: Hub) -> None:
    hub.faults["config.json"] = Fault(status=429, headers={"Retry-After": "3600"})
    done = box.tsfm("pull", "chronos")
    assert done.returncode == 1
    assert done.stderr.endswith("received too many requests (429); it asks for a pause of 3600 s\n")


def test_a_slow_hub_is_followed_to_the_end(box: Box, hub: Hub) -> None:
    hub.models[MODEL] = model(400_000)
    hub.faults[WEIGHTS] = Fault(bytes_per_s=2e5)  # longer than the client's timeout between two bytes
    assert box.tsfm("pull", "chronos").returncode == 0
    assert complete(box, hub)


def test_a_hub_that_falls_silent_is_asked_again(box: Box, hub: Hub) -> None:
    go_on = threading.Event()
    hub.faults[WEIGHTS] = Fault(at_half=lambda: go_on.wait(30))
    done = box.tsfm("pull", "chronos")
    go_on.set()
    assert done.returncode == 0, done.stderr
    assert complete(box, hub)
    assert len(hub.gets(WEIGHTS)) >= 2


@pytest.mark.parametrize("xet", [False, True])
def test_a_token_goes_to_the_hub_but_not_to_the_host_that_it_redirects_to(box: Box, hub: Hub, xet: bool) -> None:
    box.env["HF_TOKEN"] = "hf_secret"
    hub.xet = xet
    assert box.tsfm("pull", "chronos").returncode == 0
    assert complete(box, hub)
    assert {asked.token for asked in hub.requests if asked.at_cdn} == {""}
    assert "Bearer hf_secret" in {asked.token for asked in hub.requests if not asked.at_cdn}
    assert hub.gets(WEIGHTS)[-1].at_cdn
    assert not [asked for asked in hub.requests if "xet-token" in asked.path]


def test_when_nobody_answers_the_message_says_what_to_run_instead(box: Box) -> None:
    box.env["HF_ENDPOINT"] = "http://127.0.0.1:9"
    done = box.tsfm("pull", "chronos")
    assert done.returncode == 1
    last = done.stderr.splitlines()[-1]
    assert "http://127.0.0.1:9 cannot be reached" in last
    with pytest.raises(ConfigError, match=r"the last download failed: http://127\.0\.0\.1:9 cannot be reached"):
        checkpoints.resolve(card.read("chronos"), str(box.root), None)
    assert f"tsfm pull chronos {MODEL} --to DIR, and then here: tsfm import DIR --folder {box.root}" in last
    assert "HF_ENDPOINT" in last


def test_a_client_that_was_told_to_stay_offline_says_so(box: Box, hub: Hub) -> None:
    box.env["HF_HUB_OFFLINE"] = "1"
    done = box.tsfm("pull", "chronos")
    assert (done.returncode, hub.requests) == (1, [])
    assert done.stderr == "tsfm: HF_HUB_OFFLINE is set in the environment, so nothing can be downloaded\n"


@pytest.mark.parametrize(("text", "seconds"), [("7", 7), ("", 0), ("soon", 0), ("Mon, 01 Jan 2001 00:00:00 GMT", 0)])
def test_both_forms_of_retry_after_are_read(text: str, seconds: float) -> None:
    assert hub_module.retry_after(text) == seconds


def test_what_cannot_fit_is_refused_before_it_begins(box: Box, hub: Hub) -> None:
    hub.faults[WEIGHTS] = Fault(declared=10**15)
    done = box.tsfm("pull", "chronos")
    assert done.returncode == 1
    assert "not enough disk: 1000000000.0 MB are needed" in done.stderr
    assert not hub.gets(WEIGHTS)


@pytest.fixture
def full_disk(box: Box, hub: Hub) -> Iterator[dict[str, object]]:
    """A disk that is full half way: a tmpfs that someone else fills, or where none can be mounted a limit."""
    box.root.mkdir(parents=True)
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=5m", "tsfm-test", box.root], stderr=subprocess.DEVNULL
    )
    if mounted.returncode:
        limit = (2_000_000, resource.RLIM_INFINITY)
        yield {"preexec_fn": lambda: resource.setrlimit(resource.RLIMIT_FSIZE, limit)}
        return
    hub.faults[WEIGHTS] = Fault(at_half=lambda: (box.root / "others").write_bytes(bytes(2_500_000)))
    yield {}
    subprocess.run(["umount", box.root], check=True)


def test_a_disk_that_fills_up_ends_with_a_sentence_and_leaves_no_folder(
    box: Box, hub: Hub, full_disk: dict[str, object]
) -> None:
    done = box.tsfm("pull", "chronos", **full_disk)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith(f"tsfm: {box.root}: the disk is full"), done.stderr
    assert not box.weights.exists()
    (box.root / "others").unlink(missing_ok=True)
    hub.faults.clear()
    assert box.tsfm("pull", "chronos").returncode == 0
    assert complete(box, hub)


def test_two_at_once_download_once_and_both_succeed(box: Box, hub: Hub) -> None:
    half = threading.Event()
    go_on = threading.Event()
    hub.faults[WEIGHTS] = Fault(at_half=lambda: (half.set(), go_on.wait(1.5)))
    first = box.start("pull", "chronos")
    assert half.wait(30)
    second = box.start("pull", "chronos")
    assert second.stderr is not None
    assert f"waiting for process {first.pid}" in second.stderr.readline()
    go_on.set()
    assert (first.wait(60), second.wait(60)) == (0, 0)
    first.communicate()
    second.communicate()
    assert complete(box, hub)
    assert len(hub.gets(WEIGHTS)) == 1


def test_a_lock_left_by_a_dead_process_holds_nobody_up(box: Box) -> None:
    box.root.mkdir(parents=True)
    (box.root / ".tsfm.lock").write_text("4194304\n")
    with (box.root / ".tsfm.lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
    assert box.tsfm("pull", "chronos").returncode == 0


def test_the_mirror_is_taken_from_the_settings(box: Box, hub: Hub) -> None:
    box.settings(f"mirror = {hub.url}/")
    del box.env["HF_ENDPOINT"]
    assert box.tsfm("pull", "chronos").returncode == 0
    assert complete(box, hub)


@pytest.mark.parametrize(("words", "lines"), [(["--mirror"], ""), ([], "mirror = yes")])
def test_the_public_mirror_is_asked_when_that_is_wanted(box: Box, words: list[str], lines: str) -> None:
    box.settings(lines)
    # A proxy that refuses stands for a network without a way out.
    box.env |= {"HTTPS_PROXY": "http://127.0.0.1:9"}
    del box.env["HF_ENDPOINT"]
    last = box.tsfm("pull", "chronos", *words).stderr.splitlines()[-1]
    assert last.startswith("tsfm: https://hf-mirror.com cannot be reached")


def test_without_the_mirror_the_hub_is_asked_and_the_mirror_is_proposed(box: Box) -> None:
    box.env |= {"HTTPS_PROXY": "http://127.0.0.1:9"}
    del box.env["HF_ENDPOINT"]
    last = box.tsfm("pull", "chronos").stderr.splitlines()[-1]
    assert last.startswith("tsfm: https://huggingface.co cannot be reached")
    assert f"try the mirror: tsfm pull chronos {MODEL} --mirror" in last


def test_a_mirror_that_is_neither_yes_nor_an_address_is_refused(box: Box) -> None:
    box.settings("mirror = maybe")
    done = box.tsfm("pull", "chronos")
    assert done.returncode == 78
    assert "mirror: expected yes, no or an address that begins with https://, got 'maybe'" in done.stderr


def test_checkpoints_lie_side_by_side_and_the_settings_pick_one(box: Box, hub: Hub) -> None:
    hub.models["amazon/chronos-bolt-mini"] = model(seed=1)
    assert box.tsfm("pull", "chronos").returncode == 0
    box.settings("checkpoint = 1")
    assert box.tsfm("pull", "chronos").returncode == 0
    assert {p.name for p in box.root.iterdir()} >= {"chronos-bolt-tiny", "chronos-bolt-mini"}


def test_a_family_that_brings_its_weights_needs_no_hub(box: Box, hub: Hub) -> None:
    done = box.tsfm("pull", "fracast")
    assert (done.returncode, done.stdout) == (0, "fracast: its weights come with its package\n")
    assert hub.requests == []


def test_ensure_downloads_what_serving_would_load_and_then_leaves_it(make_box: Callable[[str], Box], hub: Hub) -> None:
    box = make_box("script")
    program = (
        f"{PRELUDE} from tsfm.weights.download import ensure;"
        "ensure(card.read('chronos'), sys.argv[1], 'amazon/chronos-bolt-tiny', False)"
    )
    for _ in range(2):
        command = [sys.executable, "-c", program, str(box.root)]
        subprocess.run(command, env=box.env, check=True, capture_output=True)
    assert complete(box, hub)
    assert len(hub.gets("config.json")) == 1


def test_root_goes_on_as_the_user_whom_the_folder_belongs_to(box: Box) -> None:
    owner = 65534 if os.geteuid() == 0 else os.geteuid()
    box.root.mkdir(parents=True)
    os.chown(box.root, owner, -1)
    program = (
        "import os, sys, pathlib; from tsfm.weights import safe_path\n"
        "with safe_path.nearest(pathlib.Path(sys.argv[1])) as near: near.step_down()\n"
        "print(os.getresuid())"
    )
    command = [sys.executable, "-c", program, box.root]
    said = subprocess.run(command, env=box.env, check=True, capture_output=True, text=True).stdout
    assert said == f"({owner}, {owner}, {owner})\n"


def test_a_read_only_folder_is_named_with_the_way_out(box: Box) -> None:
    done = box.tsfm("pull", "chronos", "--folder", Path("/proc/tsfm"))
    assert done.returncode == 1
    assert "/proc/tsfm" in done.stderr
    assert done.stderr.count("\n") == 1


def test_what_a_crash_left_between_two_renames_is_put_back(box: Box, hub: Hub) -> None:
    assert box.tsfm("pull", "chronos").returncode == 0
    box.weights.rename(box.root / ".old-chronos-bolt-tiny")
    hub.requests.clear()
    assert box.tsfm("pull", "chronos").returncode == 0
    assert complete(box, hub)
    assert hub.requests == []


def test_what_a_crash_left_after_both_renames_is_cleared_away(box: Box, hub: Hub) -> None:
    assert box.tsfm("pull", "chronos").returncode == 0
    (box.root / ".old-chronos-bolt-tiny").mkdir()
    (box.root / ".old-chronos-bolt-tiny" / "config.json").write_text("{}")
    os.truncate(box.weights / WEIGHTS, 1000)
    assert box.tsfm("pull", "chronos").returncode == 0
    assert complete(box, hub)


def test_a_failed_export_says_how_to_export_and_not_how_to_import(box: Box, tmp_path: Path) -> None:
    box.env["HF_ENDPOINT"] = "http://127.0.0.1:9"
    for to in (tmp_path / "x.tar", tmp_path / "stick"):
        last = box.tsfm("pull", "chronos", "--to", to).stderr.splitlines()[-1]
        assert f"run tsfm pull chronos {MODEL} --to {to.name} on another machine with internet" in last
        assert "import" not in last
        assert ".partial" not in last
    del box.env["HF_ENDPOINT"]
    box.env["HTTPS_PROXY"] = "http://127.0.0.1:9"
    last = box.tsfm("pull", "chronos", "--to", tmp_path / "x.tar").stderr.splitlines()[-1]
    assert f"try the mirror: tsfm pull chronos {MODEL} --mirror --to {tmp_path}/x.tar; or " in last


def test_a_broken_off_export_goes_on_the_next_time(box: Box, hub: Hub, tmp_path: Path) -> None:
    packed = tmp_path / "x.tar"
    hub.faults[WEIGHTS] = Fault(cut_after=0)
    assert box.tsfm("pull", "chronos", "--to", packed).returncode == 1
    assert [p.name for p in tmp_path.glob("*x.tar")] == [".partial-x.tar"]
    hub.faults.clear()
    hub.requests.clear()
    assert box.tsfm("pull", "chronos", "--to", packed).returncode == 0
    assert [p.name for p in tmp_path.glob("*x.tar")] == ["x.tar"]
    assert not hub.gets("config.json")


SHA = {name: hashlib.sha256(content).hexdigest() for name, content in model().items() if name != "pytorch_model.bin"}
OTHER = "1" * 40


def test_the_pinned_commit_is_asked_for_and_its_hashes_are_checked(box: Box, hub: Hub) -> None:
    box.pin(REVISION, SHA)
    done = box.tsfm("pull", "chronos")
    assert done.returncode == 0, done.stderr
    assert complete(box, hub)
    assert {f"/{MODEL}/resolve/{REVISION}/{name}" for name in SHA} == {asked.path for asked in hub.requests}
    assert "WARNING" not in done.stderr
    assert f"{MODEL}: commit {REVISION}, as pinned" in box.tsfm("verify", "chronos").stderr
    (facts,) = [c for c in json.loads(box.tsfm("list", "--json").stdout) if c["name"] == "chronos"]
    shown = facts["checkpoints"][0]
    assert (shown["revision"], shown["revision_here"], shown["sha256"]) == (REVISION, REVISION, SHA)


@pytest.mark.parametrize("name", SHA)
def test_bytes_that_are_not_the_pinned_ones_are_refused_though_the_hub_vouches_for_them(
    box: Box, hub: Hub, name: str
) -> None:
    box.pin(REVISION, SHA | {name: "0" * 64})
    done = box.tsfm("pull", "chronos")
    assert done.returncode == 1
    assert f"{name} of {MODEL}, commit {REVISION}, from {hub.url} is not the file that" in done.stderr
    assert f"expected SHA-256 {'0' * 64}, got {SHA[name]}" in done.stderr
    assert not box.weights.exists()
    if hub.is_big(name):
        assert not hub.gets(name)  # the hub's own hash was enough to tell


def test_a_hub_that_gives_another_commit_than_the_pinned_one_is_refused(box: Box, hub: Hub) -> None:
    box.pin(OTHER, SHA)
    hub.commit = REVISION
    done = box.tsfm("pull", "chronos")
    assert done.returncode == 1
    assert f"sends config.json of commit {REVISION}, but commit {OTHER} was requested" in done.stderr


@pytest.mark.parametrize("revision", ["main", "refs/pr/7", "v1.0"])
def test_another_revision_is_taken_when_it_is_asked_for_and_told(box: Box, hub: Hub, revision: str) -> None:
    box.pin(OTHER, SHA | {WEIGHTS: "0" * 64})  # of the pinned commit, so it says nothing of this one
    done = box.tsfm("pull", "chronos", "--revision", revision)
    assert done.returncode == 0, done.stderr
    assert f"{MODEL}: this is commit {REVISION}, not the pinned {OTHER}" in done.stderr
    assert hub.requests[0].path == f"/{MODEL}/resolve/{revision}/config.json"
    assert f"not the pinned {OTHER}" in box.tsfm("verify", "chronos").stderr
    assert f"complete, {REVISION[:8]}" in box.tsfm("list").stdout


def test_where_nothing_is_pinned_the_newest_is_taken_and_the_commit_told(box: Box, hub: Hub) -> None:
    done = box.tsfm("pull", "chronos")
    assert f"{MODEL}: no commit is pinned; this is commit {REVISION}" in done.stderr
    assert hub.requests[0].path == f"/{MODEL}/resolve/main/config.json"


def test_a_card_may_name_a_branch_where_no_commit_is_known(box: Box, hub: Hub) -> None:
    name = "ibm-granite/granite-timeseries-flowstate-r1"
    hub.models[name] = model()
    done = box.tsfm("pull", "flowstate", "--folder", box.folder / "flowstate")
    assert done.returncode == 0, done.stderr
    assert f"{name}: no commit is pinned; this is commit {REVISION}" in done.stderr
    assert hub.requests[0].path == f"/{name}/resolve/r1.1/config.json"


def test_another_revision_replaces_what_is_there(box: Box, hub: Hub) -> None:
    assert box.tsfm("pull", "chronos").returncode == 0
    hub.models[MODEL] = model(seed=5)
    hub.commit = OTHER
    assert box.tsfm("pull", "chronos").returncode == 0
    assert not complete(box, hub)
    assert box.tsfm("pull", "chronos", "--revision", OTHER).returncode == 0
    assert complete(box, hub)
    hub.requests.clear()
    assert box.tsfm("pull", "chronos", "--revision", OTHER).returncode == 0
    assert hub.requests == []
    assert box.tsfm("pull", "chronos", "--revision", "main").returncode == 0
    assert not hub.gets(WEIGHTS)


def test_weights_said_to_be_of_the_pinned_commit_are_compared_on_import(box: Box, hub: Hub, tmp_path: Path) -> None:
    assert box.tsfm("pull", "chronos", "--to", tmp_path / "stick").returncode == 0
    box.pin(REVISION, SHA | {"config.json": "0" * 64})
    done = box.tsfm("import", tmp_path / "stick")
    assert done.returncode == 1
    assert f"config.json: expected SHA-256 {'0' * 64} (commit {REVISION})" in done.stderr
    assert not box.weights.exists()


def test_bare_files_that_are_the_pinned_ones_are_known_by_their_hashes(box: Box, hub: Hub, tmp_path: Path) -> None:
    box.pin(REVISION, SHA)
    for name in SHA:
        (tmp_path / name).write_bytes(hub.models[MODEL][name])
    assert box.tsfm("import", tmp_path, "chronos", "0").returncode == 0
    assert f"commit {REVISION}, as pinned" in box.tsfm("verify", "chronos").stderr
