"""Every command in the documents is run, or is one that a named test covers; an unknown one fails."""

import ast
import json
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from functools import cache
from itertools import pairwise
from pathlib import Path

import pandas as pd
import pytest
from checkpoints import chronos, moment
from conftest import HERE, Live
from host.repository import DOCUMENTED

from tsfm.cli import main

pytestmark = pytest.mark.slow

ROOT = HERE.parent
PAGES = [
    *(ROOT / name for name in ("README.md", "README.zh-CN.md", "CONTRIBUTING.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
]
SHELL = ("sh", "bash", "shell", "console")
PLAIN = ("--threads", "1", "--dtype", "float32")  # the same numbers on every CPU
NO_SHELL = ("json", "sql", "ini", "yaml", "mermaid", "text", "python")

# What needs root, systemd, a package manager or a TDengine, and the test that does it.
HOST = {
    r"sudo apt install \./(dist/)?\*\.deb": "host/test_image.py::"
    "test_the_packages_install_and_go_where_no_systemd_runs",
    r"sudo dnf install \./(dist/)?\*\.rpm": "host/test_rpm.py::test_dnf_installs_a_package_from_its_file",
    r"echo '?deb \[trusted=yes\] file:\S+ \./'?": "host/test_deb.py::test_apt_installs_it_by_name_and_starts_nothing",
    r"sudo tee /etc/apt/sources\.list\.d/taos-tsfm\.list": "host/test_deb.py::"
    "test_apt_installs_it_by_name_and_starts_nothing",
    r"sudo apt update": "host/test_deb.py::test_apt_installs_it_by_name_and_starts_nothing",
    r"(sudo )?apt install taos-tsfm": "host/test_deb.py::test_apt_installs_it_by_name_and_starts_nothing",
    r"sudo apt install taos-tsfm-chronos-official": "host/test_deb.py::"
    "test_the_makers_package_installs_beside_a_family_and_serves_it",
    r"(curl -fsSLO \S+/taos-tsfm-repo\.deb|sudo apt install \./taos-tsfm-repo\.deb)": "host/test_repository.py::"
    "test_apt_trusts_it_by_the_readmes_lines_and_by_no_option",
    r"sudo dnf install (\S+/taos-tsfm-repo\.rpm|taos-tsfm)": "host/test_repository.py::"
    "test_dnf_trusts_it_by_the_documented_lines_and_by_no_option",
    r"gpg --quick-generate-key .+ rsa4096 sign never": "host/test_repository.py::"
    "test_apt_trusts_it_by_the_readmes_lines_and_by_no_option",
    r"(gpg --verify SHA256SUMS\.asc|sha256sum --check --quiet) SHA256SUMS": "host/test_repository.py::"
    "test_the_release_is_complete_and_its_sums_are_signed",
    r"skopeo copy oci:dist/image docker-daemon:\S+": "host/test_oci.py::test_another_program_reads_and_copies_it",
    r"docker run --rm --read-only .+": "host/test_oci.py::test_it_forecasts_over_http_as_a_user_without_rights",
    r"sudo dnf --repofrompath=tsfm,\S+ --nogpgcheck install taos-tsfm": "host/test_rpm.py::"
    "test_dnf_installs_it_by_name_and_starts_nothing",
    r"apt install --allow-downgrades taos-tsfm\S*=\S+": "host/test_downgrade.py::"
    "test_apt_goes_back_as_well_when_all_are_named",
    r"dpkg -i --force-confold taos-tsfm\S+\.deb": "host/test_downgrade.py::"
    "test_dpkg_installs_the_older_version_over_it",
    r"(sudo )?systemctl enable --now tsfm@\w+": "host/test_registration.py::test_enabling_a_unit_makes_sql_find_it",
    r"(sudo )?systemctl start tsfm@\w+": "host/test_weights.py::test_one_start_downloads_and_then_serves",
    r"(sudo )?systemctl restart tsfm@\w+": "host/test_registration.py::test_a_changed_port_is_followed",
    r"TSFM_FAMILY=\w+ uvicorn --factory tsfm\.http\.asgi:create --host \S+ --port \d+": "http/test_asgi.py::"
    "test_both_servers_give_the_same_answer",
    r"sudo apt install taos-tsfm-balancer": "host/test_balancer.py::test_apt_installs_it_and_starts_nothing",
    r"sudo tsfm balancer apply": "host/test_balancer.py::test_it_runs_as_documented",
    r"sudo systemctl enable --now tsfm-balancer": "host/test_balancer.py::test_it_runs_as_documented",
    r"sudo tsfm fleet (init \S+ --network \S+|apply|status)": "host/test_fleet_package.py::"
    "test_it_begins_and_serves_as_documented",
    r"sudo tsfm fleet (join \S+ --network \S+|leave)": "cli/commands/test_fleet.py::"
    "test_join_needs_the_token_and_starts_a_node",
    r"sudo tsfm fleet drain \S+": "host/test_ray_fleet.py::test_a_fault_under_load_loses_and_crosses_nothing",
    r"python tools/gpu_check\.py .+": "test_gpu_check.py::test_all_families_are_checked_with_torch_and_numpy_alone",
    r"python tools/gpu_service\.py .+": "test_gpu_check.py::test_a_service_is_kept_busy_and_ends_well",
    r"taos -s SELECT .*FORECAST.*": "tdgpt/test_sql_to_service.py",
}
# Subcommands that need weights or a TDgpt: their words are parsed here, and these tests run them.
COVERED = {
    "compare": "cli/commands/test_compare.py",
    "pull": "weights/test_download.py",
    "import": "weights/test_importer.py",
    "verify": "weights/test_recognise.py",
    "remove": "weights/test_own.py",
    "register": "cli/commands/test_register.py",
    "serve": "cli/commands/test_serve.py",
    "logs": "cli/commands/test_logs.py",
    "batch": "fleet/test_batch.py",
}


@dataclass(frozen=True)
class Block:
    """A block of a page: its language, its text, the line that it begins in, and the JSON right below it."""

    page: Path
    line: int
    language: str
    text: str
    answer: str | None = None


@dataclass(frozen=True)
class Command:
    """One command, its words, and what the document shows as its answer."""

    where: str
    words: tuple[str, ...]
    answer: str | None

    def __str__(self) -> str:
        return f"{self.where}: {' '.join(self.words)}"[:100]


def blocks(page: Path) -> list[Block]:
    """Fenced blocks, and indented ones, which are taken for commands."""
    text = page.read_text(encoding="utf-8")
    fenced = r"^ *```(?P<language>\w*)\n(?P<fenced>.*?)^ *```\n"
    answer = r"(?:\n```json\n(?P<answer>.*?)^```\n)?"
    indented = r"(?<=\n\n)(?P<indented>(?: {4}\S[^\n]*\n)+)"
    found = []
    for match in re.finditer(f"{fenced}{answer}|{indented}", text, re.MULTILINE | re.DOTALL):
        line = text.count("\n", 0, match.start()) + 1
        if match["indented"]:
            found.append(Block(page, line, "sh", match["indented"]))
        else:
            found.append(Block(page, line, match["language"], match["fenced"], match["answer"]))
            if match["answer"]:
                found.append(Block(page, line, "json", match["answer"]))
    return found


def split(text: str) -> Iterator[tuple[list[str], str]]:
    """The commands of a block, each with the comment behind it; a quote may go on in the next line."""
    pending = ""
    for line in text.splitlines():
        pending += f"{line}\n"
        code = pending.rstrip().removesuffix("\\").replace("\\\n", " ")
        try:
            words = shlex.split(code, comments=True)
        except ValueError:  # a quote is open
            continue
        if pending.rstrip().endswith("\\"):
            continue
        comment = re.search(r"\s# (.*)$", pending.rstrip())
        pending = ""
        command: list[str] = []
        for word in [*words, "&&"]:
            if word not in ("&&", "|"):
                command.append(word)
            elif command:
                yield command, comment[1] if comment else ""
                command = []
    assert not pending, f"a quote that does not end: {pending}"


def commands() -> list[Command]:
    found = []
    for page in PAGES:
        for block in blocks(page):
            if block.language in SHELL:
                where = f"{page.relative_to(ROOT)}:{block.line}"
                for words, comment in split(block.text):
                    shown = comment if comment.startswith("{") else block.answer
                    found.append(Command(where, tuple(words), shown))
    return found


def of(program: str) -> list[Command]:
    return [command for command in COMMANDS if command.words[0] == program]


def fetches(command: Command) -> bool:
    """It is curl, and its address stands for the reader's own repository."""
    return command.words[0] == "curl" and DOCUMENTED in command.words[-1]


COMMANDS = commands()
ELSEWHERE = [one for one in COMMANDS if one.words[0] not in ("tsfm", "curl", "make") or fetches(one)]


@pytest.fixture(scope="module")
def ports(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Live]]:
    """The services that the documents ask, by their documented ports."""
    folder = tmp_path_factory.mktemp("services")
    chronos.make(folder / "chronos", "tiny2")
    moment.make(folder / "moment")
    started = {
        "6076": Live("fracast", *PLAIN, log=folder / "fracast.log"),
        "6038": Live("chronos", *PLAIN, "--model-folder", str(folder / "chronos"), log=folder / "chronos.log"),
        "6078": Live("moment", *PLAIN, "--model-folder", str(folder / "moment"), log=folder / "moment.log"),
    }
    try:
        for live in started.values():
            live.until_ready()
        yield started
    finally:
        for live in started.values():
            live.stop()


def test_there_are_commands_of_each_kind():
    assert of("tsfm")
    assert of("curl")
    assert of("make")
    assert ELSEWHERE


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_block_says_what_it_is(page):
    for block in blocks(page):
        assert block.language in (*SHELL, *NO_SHELL), f"{page.name}:{block.line}: expected ```sh, ```json or the like"


@pytest.mark.parametrize("command", ELSEWHERE, ids=str)
def test_what_needs_a_host_is_covered_by_a_test_of_hosts(command):
    typed = " ".join(command.words)
    tests = {test for pattern, test in HOST.items() if re.fullmatch(pattern, typed)}
    assert tests, f"{command}: run it here, or name the test that does in HOST"


@pytest.mark.parametrize("pattern", HOST)
def test_every_pattern_is_of_a_command_that_is_documented(pattern):
    assert any(re.fullmatch(pattern, " ".join(command.words)) for command in ELSEWHERE)


@pytest.mark.parametrize("name", COVERED)
def test_the_tests_that_cover_a_subcommand_run_it(name):
    assert f'"{name}"' in (HERE / COVERED[name]).read_text()


@pytest.mark.parametrize("test", sorted({*HOST.values(), *COVERED.values()}))
def test_the_tests_that_cover_commands_exist(test):
    file, _, function = test.partition("::")
    tree = ast.parse((HERE / file).read_text())
    known = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
    assert function in known if function else any(name.startswith("test_") for name in known)


@cache
def would_make(*words: str) -> str:
    """What make says against these words; empty: it would run."""
    ran = subprocess.run(["make", "-n", "-s", *words], cwd=ROOT, capture_output=True, text=True)
    return ran.stderr or f"exit {ran.returncode}" if ran.returncode else ""


@pytest.mark.parametrize("command", of("make"), ids=str)
def test_make_knows_the_target(command):
    assert would_make(*command.words[1:]) == ""


@pytest.mark.parametrize("command", of("tsfm"), ids=str)
def test_tsfm_knows_the_words(command):
    known = main.commands()
    parser = main._parser({name: main.load(known[name]) for name in known})
    parser.parse_args(list(command.words[1:]))  # exits with 2 where it does not


# A page and its translation show the same command: it is run once.
RUN = {one.words: one for one in reversed(of("tsfm")) if one.words[1] not in COVERED}


@pytest.mark.long
@pytest.mark.parametrize("command", RUN.values(), ids=str)
def test_tsfm_does_what_the_document_says(command, tmp_path):
    (tmp_path / "src").symlink_to(ROOT / "src")
    ran = subprocess.run(
        [sys.executable, "-m", "tsfm", *command.words[1:]], cwd=tmp_path, capture_output=True, text=True, timeout=300
    )
    assert "Traceback" not in ran.stderr
    assert ran.returncode == 0, ran.stdout + ran.stderr
    for option, file in pairwise(command.words):
        if option == "--output":
            begin = (
                b"\x89PNG" if file.endswith(".png") else b"<!DOCTYPE html>" if file.endswith(".html") else b"item_id"
            )
            assert (tmp_path / file).read_bytes().startswith(begin)


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder in which the documents' files are."""
    folder = tmp_path_factory.mktemp("workplace")
    stamps = pd.date_range("2024-01-01", periods=48, freq="h")
    pumps = [pd.DataFrame({"item_id": name, "timestamp": stamps, "target": range(48)}) for name in ("pump-1", "pump-2")]
    pd.concat(pumps, ignore_index=True).to_parquet(folder / "pumps.parquet")
    return folder


@pytest.mark.long
@pytest.mark.parametrize("command", [one for one in of("curl") if one not in ELSEWHERE], ids=str)
def test_curl_gets_the_answer_that_is_shown(command, ports, workplace):
    words = [re.sub(r"^localhost:(\d+)", lambda port: ports[port[1]].url, word) for word in command.words]
    ran = subprocess.run([*words, "--noproxy", "*"], cwd=workplace, capture_output=True, text=True, timeout=120)
    assert ran.returncode == 0, ran.stderr
    if "-o" in words:
        table = pd.read_parquet(workplace / words[words.index("-o") + 1])
        assert table.columns.tolist() == ["item_id", "timestamp", "mean", "0.1", "0.9"]
        assert table.groupby("item_id").size().to_dict() == {"pump-1": 24, "pump-2": 24}
        return
    got = json.loads(ran.stdout)
    if command.answer is None:
        assert got["status"] in ("success", "completed")
    else:
        # A comment may go on in words. Numbers keep the digits that are shown.
        shown, _ = json.JSONDecoder(parse_float=Decimal).raw_decode(command.answer.strip())
        compare(got, shown)


def compare(got: object, shown: object) -> None:
    """The same, but for what differs from host to host and beyond the digits that are shown."""
    if isinstance(shown, dict):
        assert isinstance(got, dict)
        assert list(got) == list(shown)
        for key in shown:
            if key not in ("path", "version"):  # the CPU's instructions, and the release
                compare(got[key], shown[key])
    elif isinstance(shown, list):
        assert isinstance(got, list)
        assert len(got) == len(shown)
        for one, other in zip(got, shown, strict=True):
            compare(one, other)
    elif isinstance(shown, Decimal):
        assert got == pytest.approx(float(shown), rel=1e-4, abs=0.51 * 10.0 ** int(shown.as_tuple().exponent))
    else:
        assert got == shown


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_commands_within_a_sentence_exist(page):
    for words in re.findall(r"`((?:sudo )?(?:tsfm|make) [^`]+)`", page.read_text(encoding="utf-8")):
        program, name = words.removeprefix("sudo ").split()[:2]
        if program == "tsfm":
            assert name in main.commands() or name.startswith("--"), f"{page.name}: {words}"
        else:
            assert would_make(name) == "", f"{page.name}: {words}"
