"""The documents say what the code does: nothing is missing, and nothing is there that the code does not know."""

import importlib.util
import json
import os
import re
from pathlib import Path
from types import ModuleType

import pytest
import yaml
from bench import goals
from conftest import HERE

from tsfm import card, errors, settings
from tsfm.cli import main
from tsfm.engine.metrics import Metrics
from tsfm.fleet import balancer, cluster
from tsfm.http import openapi
from tsfm.tdgpt import database

ROOT = HERE.parent
README = (ROOT / "README.md").read_text()
PAGES = sorted((ROOT / "docs").rglob("*.md"))
FRONT = [ROOT / name for name in ("README.md", "README.zh-CN.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md")]


def page(name: str) -> str:
    return (ROOT / "docs" / name).read_text()


def tables() -> ModuleType:
    """packaging/docs.py, which makes the tables."""
    spec = importlib.util.spec_from_file_location("packaging_docs", ROOT / "packaging/docs.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def first_cells(text: str, heading: str) -> list[str]:
    """The first column of the first table below a heading."""
    below = f"\n{text}".partition(f"\n{heading}\n")[2]
    rows = re.search(r"(?:^\|.*\n)+", below, re.MULTILINE)
    assert rows, heading
    return [row.split("|")[1].strip() for row in rows[0].splitlines()[2:]]


@pytest.mark.parametrize("document", sorted({file for file, *_ in tables().GENERATED}))
def test_the_tables_are_those_of_the_code(document):
    assert tables().renewed(document) == (ROOT / document).read_text(), "run: python packaging/docs.py"


@pytest.mark.parametrize("name", ["README.md", "README.zh-CN.md"])
def test_the_readme_is_a_front_door(name):
    assert len((ROOT / name).read_text().splitlines()) <= 120


def test_both_readmes_have_the_same_structure():
    def shape(name: str) -> list[str]:
        text = (ROOT / name).read_text()
        return re.findall(r"^(#+|```\w*|!\[|<!-- /?\w+ -->)", text, re.MULTILINE)

    assert shape("README.md") == shape("README.zh-CN.md")


def test_the_picture_of_the_readme_is_small():
    picture = (ROOT / "docs/forecast.png").read_bytes()
    assert picture.startswith(b"\x89PNG")
    assert len(picture) < 60_000


@pytest.mark.parametrize("key", sorted({*settings.KEYS, *balancer.KEYS, *cluster.KEYS}))
def test_every_setting_is_in_the_template_and_the_manual(key):
    assert re.search(rf"^#?{key} *=", (ROOT / "etc/tsfm.ini").read_text(), re.MULTILINE)
    assert f"\n.B {key}\n" in (ROOT / "man/tsfm.ini.5").read_text()


def test_the_settings_that_are_documented_are_those_there_are():
    assert re.findall(r"^\| `(\w+)` \|", page("settings.md"), re.MULTILINE) == list(settings.KEYS)
    for name in re.findall(r"^#?(\w+) *=", (ROOT / "etc/tsfm.ini").read_text(), re.MULTILINE):
        assert name in {*settings.KEYS, *balancer.KEYS, *cluster.KEYS, *database.KEYS}, f"etc/tsfm.ini: {name}"


def test_the_metrics_that_are_documented_are_those_there_are():
    shown = Metrics(lambda: 0, lambda: 0)
    shown.info.info({"family": "naive"})
    text = shown.render().decode()
    known = {name.removesuffix("_created") for name in re.findall(r"^# TYPE (\w+)", text, re.MULTILINE)}
    written = set().union(
        *(re.findall(r"\btsfm_\w+", path.read_text()) for path in PAGES if path.parent.name != "decisions")
    )
    written -= {f"tsfm_{family}" for family in (*card.names(), "FAMILY")}  # detectors of anomalies in SQL
    assert {name for name in known if name in written} == known
    assert {re.sub(r"_(bucket|sum|count)$", "", name) for name in written} <= known


def test_the_paths_that_are_documented_are_those_there_are():
    served: set[str] = set()
    for name in card.names(packaged_only=True):
        described = openapi.describe(card.read(name), settings.read(name, {}, Path(os.devnull)))["paths"]
        served |= {path.replace(f"/v2/models/{name}", "/v2/models/FAMILY") for path in described}
    written = {
        path for cell in first_cells(page("http.md"), "# HTTP interface") for path in re.findall(r"/[\w/.-]*", cell)
    }
    assert written == served


def test_the_statuses_that_are_documented_are_those_there_are():
    def below(kind: type[errors.RequestError]) -> set[int]:
        return {kind.status}.union(*(below(one) for one in kind.__subclasses__()))

    # 404 and 405 are the framework's; the transport adds those that any path may refuse with.
    known = {404, 405} | below(errors.RequestError) | {int(status) for status in openapi.ANYWHERE | openapi.REFUSALS}
    assert {int(cell) for cell in first_cells(page("http.md"), "## Errors")} == known


def test_the_goals_that_are_documented_are_those_of_the_benchmark():
    rows = re.findall(
        r"^\| .* \| `(\w*\*?\w*)` \| .* \| (.*) \| `make bench .*` \|$", page("measurements.md"), re.MULTILINE
    )
    shown = {key.replace("*", "chronos"): goal for key, goal in rows}
    assert shown
    for key, goal in shown.items():
        assert (known := goals.of(key)), f"{key}: no key of the benchmark"
        assert str(known) == goal, key
    text = page("measurements.md")
    lacking = [pattern for pattern in goals.lacking(dict.fromkeys(shown, 0.0)) if pattern not in text]
    assert [pattern for pattern in lacking if not pattern.startswith("coverage_")] == []


@pytest.mark.parametrize("name", sorted(set(main.commands()) - {"port-holder"}))
def test_every_command_is_in_the_manual(name):
    assert re.search(rf"^\.B tsfm {re.escape(name)}\b", (ROOT / "man/tsfm.1").read_text(), re.MULTILINE)


def test_every_command_of_the_manual_exists():
    written = set(re.findall(r"^\.B tsfm ([a-z-]+)", (ROOT / "man/tsfm.1").read_text(), re.MULTILINE))
    assert written <= set(main.commands())


@pytest.mark.parametrize("name", ["bug", "model"])
def test_an_issues_form_asks_for_what_the_doctor_says(name):
    form = yaml.safe_load((ROOT / f".github/ISSUE_TEMPLATE/{name}.yml").read_text())
    assert {"name", "description", "body"} <= set(form)
    labels = [part["attributes"].get("label", "") for part in form["body"]]
    assert "Output of `tsfm doctor --json`" in labels
    main._parser({"doctor": main.load("doctor")}).parse_args(["doctor", "--json"])


@pytest.mark.parametrize("path", sorted((ROOT / "docs/decisions").glob("0*.md")), ids=lambda path: path.stem)
def test_a_decision_has_context_choice_and_numbers(path):
    text = path.read_text()
    assert text.startswith(f"# {int(path.name[:4])}. ")
    assert re.findall(r"^\*\*(\w+)\.\*\*", text, re.MULTILINE)[:3] == ["Context", "Choice", "Numbers"]
    assert f"({path.name})" in (ROOT / "docs/decisions/README.md").read_text()


@pytest.mark.parametrize("page", sorted((ROOT / "man").glob("*.[1-8]")), ids=lambda page: page.name)
def test_a_manual_page_has_its_sections(page):
    text = page.read_text()
    assert text.startswith(".TH ")
    for section in ("NAME", "DESCRIPTION", "SEE ALSO"):
        assert f"\n.SH {section}\n" in text


@pytest.mark.parametrize("name", card.names(packaged_only=True))
def test_every_family_has_its_rows(name):
    assert f"\n| {name} | `{card.read(name).keys[0]}` | {card.read(name).port} |" in page("families.md")
    assert f"\n| {name} | `{card.read(name).keys[0]}` |" in README


@pytest.mark.parametrize("name", ["operations.md", "zh/operations.md"])
def test_the_sizing_tables_are_of_what_was_measured(name):
    measured = json.loads((ROOT / "docs/measured.json").read_text())["families"]
    rows = re.findall(r"^\| (\w+)(?: \(.*\))? \| ([\d,]+) \| ([\d.]+) \|$", page(name), re.MULTILINE)
    assert {family: (int(mib.replace(",", "")), float(rate)) for family, mib, rate in rows} == {
        family: (one["memory_mib"], one["series_per_s"]) for family, one in measured.items()
    }
    assert set(measured) == set(card.names(packaged_only=True))


def test_links_in_the_documents_lead_to_files():
    for path in [*FRONT, *PAGES]:
        for target in re.findall(r"\]\(([^)#:\s]+)(?:#[^)]*)?\)", path.read_text()):
            assert (path.parent / target).exists(), f"{path.name}: {target}"


def test_the_changelog_keeps_its_form():
    from tsfm import __version__

    text = (ROOT / "CHANGELOG.md").read_text()
    releases = re.findall(r"^## (.+)$", text, re.MULTILINE)
    assert releases[0] == "[Unreleased]"
    assert re.match(rf"\[{re.escape(__version__)}\]( - \d{{4}}-\d\d-\d\d)?$", releases[1])
    assert set(re.findall(r"^### (.+)$", text, re.MULTILINE)) <= {
        "Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"
    }  # fmt: skip


@pytest.mark.parametrize("page", ["man/tsfm.ini.5", "man/tsfm.1"])
def test_a_sentence_of_the_manual_begins_with_no_word_that_must_be_typed_in_small_letters(page):
    assert not re.findall(
        r"^(?:Cpu|Cuda|Auto|Yes|No|Taosd|TaosAdapter|Tsfm)\b", (ROOT / page).read_text(), re.MULTILINE
    )
