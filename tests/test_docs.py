"""The documents say what the code does."""

import re
import subprocess
import sys

import pytest
from conftest import HERE

from tsfm import card, settings
from tsfm.cli import main

ROOT = HERE.parent
README = (ROOT / "README.md").read_text()


@pytest.mark.parametrize(
    "document", ["README.md", "docs/families.md", "docs/settings.md", "docs/registration.md", "man/tsfm.ini.5"]
)
def test_the_tables_are_those_of_the_code(document):
    sys.path.insert(0, str(ROOT / "packaging"))
    try:
        import docs
    finally:
        sys.path.pop(0)
    assert docs.renewed(document) == (ROOT / document).read_text(), "run: python packaging/docs.py"


def test_the_readme_is_short():
    assert len(README.splitlines()) <= 100


@pytest.mark.parametrize("key", settings.KEYS)
def test_every_setting_is_in_the_readme_the_template_and_the_manual(key):
    assert f"| `{key}` |" in README
    assert re.search(rf"^#?{key} *=", (ROOT / "etc/tsfm.ini").read_text(), re.MULTILINE)
    assert f"\n.B {key}\n" in (ROOT / "man/tsfm.ini.5").read_text()


@pytest.mark.parametrize("name", sorted(set(main.commands()) - {"port-holder"}))
def test_every_command_is_in_the_manual(name):
    assert re.search(rf"^\.B tsfm {re.escape(name)}\b", (ROOT / "man/tsfm.1").read_text(), re.MULTILINE)


@pytest.mark.parametrize("page", sorted((ROOT / "man").glob("*.[1-8]")), ids=lambda page: page.name)
def test_a_manual_page_has_its_sections(page):
    text = page.read_text()
    assert text.startswith(".TH ")
    for section in ("NAME", "DESCRIPTION", "SEE ALSO"):
        assert f"\n.SH {section}\n" in text


@pytest.mark.parametrize("name", card.names(packaged_only=True))
def test_every_family_has_a_row_in_the_readme(name):
    assert f"\n| {name} | `{card.read(name).keys[0]}` | {card.read(name).port} |" in README


def test_links_in_the_documents_lead_to_files():
    for page in [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")]:
        for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_the_newest_release_of_the_changelog_is_this_version():
    from tsfm import __version__

    first = re.search(r"^## (?!Unreleased$)(\S+)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert first
    assert first[1] == __version__


def test_make_help_targets_of_the_readme_exist():
    for target in ("run", "test", "check", "deb", "rpm", "repo", "test-host", "bench", "serve", "venvs"):
        known = subprocess.run(["make", "-n", "-s", target], cwd=ROOT, capture_output=True, text=True)
        assert known.returncode == 0, known.stderr


@pytest.mark.parametrize("page", ["man/tsfm.ini.5", "man/tsfm.1"])
def test_a_sentence_of_the_manual_begins_with_no_word_that_must_be_typed_in_small_letters(page):
    assert not re.findall(
        r"^(?:Cpu|Cuda|Auto|Yes|No|Taosd|TaosAdapter|Tsfm)\b", (ROOT / page).read_text(), re.MULTILINE
    )
