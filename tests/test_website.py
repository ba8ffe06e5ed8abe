"""The documentation as a site: every page, searchable in both languages, nothing from another host."""

import hashlib
import json
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest
from conftest import HERE

pytestmark = pytest.mark.slow

ROOT = HERE.parent
CDN = re.compile(r"https?://(?:unpkg\.com|cdn\.|cdnjs\.|fonts\.)[^\"'`)]*")


def build(folder: Path) -> Path:
    subprocess.run([sys.executable, ROOT / "packaging/website.py", folder], check=True, cwd=ROOT, timeout=300)
    return folder


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("site") / "html")


class Loads(HTMLParser):
    """What a browser fetches for a page without being asked."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag != "a":
            self.found += [given[name] or "" for name in ("src", "href", "data", "poster") if name in given]


def test_every_page_is_there(site: Path) -> None:
    pages = {path.relative_to(ROOT / "docs").with_suffix("") for path in (ROOT / "docs").rglob("*.md")}
    built = {path.relative_to(site).with_suffix("") for path in site.rglob("*.html")}
    renamed = {path.with_name("index") if path.name == "README" else path for path in pages}
    assert built == renamed | {Path("404")}


def test_no_page_loads_anything_from_another_host(site: Path) -> None:
    for path in site.rglob("*.html"):
        page = Loads()
        page.feed(path.read_text())
        assert page.found, path
        assert [address for address in page.found if re.match(r"(\w+:)?//", address)] == [], path
    for path in site.rglob("*.css"):
        assert re.findall(r"(?:url\(|@import )[\"']?(?:https?:)?//[^)]*", path.read_text()) == [], path


def test_what_the_themes_script_would_fetch_is_there_before_it_asks(site: Path) -> None:
    (bundle,) = site.glob("assets/javascripts/bundle.*.min.js")
    # Mermaid is fetched only where no `mermaid` is defined, the other only by browsers without ResizeObserver.
    assert {address.partition("@")[0] for address in CDN.findall(bundle.read_text())} == {
        "https://unpkg.com/mermaid",
        "https://unpkg.com/resize-observer-polyfill",
    }
    for path in site.rglob("*.html"):
        text = path.read_text()
        assert re.search(r'<script src="(?:\.\./)*assets/mermaid\.tiny\.js">', text) or path.name == "404.html", path
        assert "iframe-worker.js" in text, path
    assert (site / "assets/mermaid.tiny.js").read_text().rstrip().endswith('"].default;')


def test_diagrams_are_left_to_mermaid(site: Path) -> None:
    text = (site / "architecture.html").read_text()
    assert text.count('<pre class="mermaid">') == (ROOT / "docs/architecture.md").read_text().count("```mermaid")


def test_words_of_both_languages_are_found(site: Path) -> None:
    index = json.loads((site / "search/search_index.json").read_text())
    assert index["config"]["lang"] == ["en", "zh"]
    text = " ".join(f"{entry['title']} {entry['text']}" for entry in index["docs"])
    assert "imputation" in text
    # Words of Chinese are kept apart by zero-width spaces, at which the search splits.
    assert "权重" in re.split(r"[\u200b\s]+", text)
    assert (site / "search/search_index.js").exists(), "the index that is read from a folder"


def test_the_scripts_that_are_not_ours_come_with_their_licences() -> None:
    licences = (ROOT / "docs/assets/LICENSES.txt").read_text()
    for path in (ROOT / "docs/assets").glob("*.js"):
        assert f"\n{path.name}: " in licences
    assert licences.count("Permission is hereby granted") >= 3


def test_the_bill_of_materials_names_the_scripts() -> None:
    program = "import sys, sbom; print(sbom.bill('taos-tsfm-doc', '1', licences=sys.stdin.read()))"
    licences = (ROOT / "docs/assets/LICENSES.txt").read_text()
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT / "packaging",
        input=licences,
        check=True,
        capture_output=True,
        text=True,
    )
    names = {component["name"] for component in json.loads(done.stdout)["components"]}
    assert names == {"@mermaid-js/tiny", "iframe-worker"}


def test_two_builds_are_the_same(site: Path, tmp_path: Path) -> None:
    def hashes(folder: Path) -> dict[str, str]:
        files = (path for path in folder.rglob("*") if path.is_file())
        return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}

    assert hashes(build(tmp_path / "again")) == hashes(site)
