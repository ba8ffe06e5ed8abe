"""The documents say what `tsfm register` reads."""

from __future__ import annotations

import configparser
from pathlib import Path

import pytest

from tsfm.tdgpt import database

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(("name", "key"), database.KEYS.items())
def test_every_key_is_in_the_document_the_manual_and_the_template(name: str, key: database.Key) -> None:
    assert f"| `{name}` | {key.default or '-'} | {key.meaning} |" in (ROOT / "docs/registration.md").read_text()
    manual = (ROOT / "man/tsfm.ini.5").read_text().partition('.\\" tdengine')[2]
    assert f"\n.B {name}\n" in manual
    template = (ROOT / "etc/tsfm.ini").read_text().partition("[tdengine]")[2]
    assert f"\n#{name} = {key.default}".rstrip() in template


def test_the_template_is_one_that_all_readers_take() -> None:
    parser = configparser.ConfigParser(interpolation=None)
    parser.read(ROOT / "etc/tsfm.ini")
    assert parser.sections() == ["balancer", "fleet", "tdengine"]
    assert database.read(ROOT / "etc/tsfm.ini").user == "root"
