"""The Chinese pages follow the English ones."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import HERE

from tsfm import card, kinds, settings
from tsfm.fleet import balancer, cluster
from tsfm.tdgpt import database

ROOT = HERE.parent
sys.path.insert(0, str(ROOT / "packaging"))
try:
    import translations
finally:
    sys.path.pop(0)

TRANSLATED = (
    *("families", "http", "install", "many-hosts", "numerics", "operations", "registration", "settings", "weights"),
)
PAGES = [pytest.param(page, id=str(page.relative_to(ROOT))) for page in translations.pages()]
MANUAL = [page for page in PAGES if "docs" in page.id]


def blocks(page: Path) -> list[str]:
    """The fenced blocks of a page, without comments, which are translated."""
    found = re.findall(r"^```(\w+)\n(.*?)^```$", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    return [f"{language}\n{re.sub(r' +# .*', '', text)}" for language, text in found]


def levels(page: Path) -> list[int]:
    """The levels of a page's headings, in order."""
    text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    return [len(marks) for marks in re.findall(r"^(#+) ", text, re.MULTILINE)]


@pytest.mark.parametrize("page", PAGES)
def test_a_chinese_page_was_looked_at_since_its_english_page_changed(page: Path) -> None:
    source = translations.source(page)
    assert translations.recorded(page) == translations.digest(source), (
        f"{source.relative_to(ROOT)} changed: update {page.relative_to(ROOT)}, "
        "then run: python packaging/translations.py"
    )


@pytest.mark.parametrize("name", TRANSLATED)
def test_operators_find_the_page_in_chinese(name: str) -> None:
    assert translations.source(ROOT / f"docs/zh/{name}.md") == ROOT / f"docs/{name}.md"


@pytest.mark.parametrize("page", MANUAL)
def test_a_chinese_page_has_the_commands_and_answers_of_its_english_page(page: Path) -> None:
    assert blocks(page) == blocks(translations.source(page))


@pytest.mark.parametrize("page", MANUAL)
def test_a_chinese_page_has_the_sections_of_its_english_page(page: Path) -> None:
    assert levels(page) == levels(translations.source(page))


@pytest.mark.parametrize("page", PAGES)
def test_links_of_a_chinese_page_lead_to_files(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text(encoding="utf-8")):
        assert (page.parent / target).exists(), target


@pytest.mark.parametrize(
    ("name", "table"),
    [
        ("settings", settings.KEYS),
        ("registration", database.KEYS),
        ("many-hosts", balancer.KEYS),
        ("many-hosts", cluster.KEYS),
    ],
    ids=["settings", "registration", "balancer", "fleet"],
)
def test_the_chinese_tables_have_every_key_with_its_default(name: str, table: dict[str, kinds.Key]) -> None:
    text = (ROOT / f"docs/zh/{name}.md").read_text(encoding="utf-8")
    sections = [part.partition("\n\n")[0] for part in text.split("| 参数 | 默认值 |")[1:]]
    section = next(part for part in sections if f"| `{next(iter(table))}` |" in part)
    rows = re.findall(r"^\| `(\w+)` \| (\S+) \| .+ \|$", section, re.MULTILINE)
    assert rows == [(key, facts.default or "-") for key, facts in table.items()]


def facts(page: Path, family: card.Card) -> list[str]:
    """What a table says of a family in no language: checkpoints, parameters and sizes."""
    lines = page.read_text(encoding="utf-8").splitlines()
    (row,) = (line for line in lines if line.startswith(f"| {family.name} | `{family.keys[0]}` | {family.port} |"))
    return re.findall(r"[\w-]+/[\w.-]+|\w+\.pth|[\d.]+ (?:M|MB|GB|MiB)\b", row)


@pytest.mark.parametrize("name", card.names(packaged_only=True))
def test_the_chinese_table_has_every_family_with_its_checkpoints(name: str) -> None:
    family = card.read(name)
    shown = facts(ROOT / "docs/zh/families.md", family)
    assert shown == facts(ROOT / "docs/families.md", family)
    assert len(shown) == 3 * len(family.checkpoints) + 1


def test_a_change_of_an_english_page_is_noticed_until_the_hash_is_renewed(tmp_path: Path) -> None:
    english, chinese = tmp_path / "docs/weights.md", tmp_path / "docs/zh/weights.md"
    chinese.parent.mkdir(parents=True)
    (tmp_path / "packaging").mkdir()
    shutil.copy(ROOT / "packaging/translations.py", tmp_path / "packaging")
    english.write_text("# Weights\n\n<!-- keys -->\n| made |\n<!-- /keys -->\n", encoding="utf-8")
    chinese.write_text("# 权重\n\n<!-- source: ../weights.md sha256: new -->\n", encoding="utf-8")

    def run() -> str:
        command = [sys.executable, "packaging/translations.py"]
        environment = {**os.environ, "PYTHONUTF8": "1"}
        return subprocess.run(command, cwd=tmp_path, env=environment, check=True, capture_output=True, text=True).stdout

    assert "docs/zh/weights.md: renewed" in run()
    assert translations.recorded(chinese) == translations.digest(english)
    assert chinese.read_text(encoding="utf-8").startswith("# 权重\n\n<!-- source: ../weights.md sha256: ")
    assert run() == ""
    english.write_text(english.read_text().replace("made", "made anew"), encoding="utf-8")
    assert translations.recorded(chinese) == translations.digest(english), "a generated table is another test's matter"
    english.write_text(english.read_text().replace("# Weights\n\n", "# Weights\n"), encoding="utf-8")
    assert translations.recorded(chinese) == translations.digest(english), "a line broken elsewhere changes no word"
    english.write_text(english.read_text().replace("# Weights", "# Weights of models"), encoding="utf-8")
    assert translations.recorded(chinese) != translations.digest(english)
    assert "renewed" in run()
