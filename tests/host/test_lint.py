"""What Debian's and rpm's own critics say of the packages: nothing that is not answered in packaging/lint."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from host.conftest import ROOT

REASONS = ROOT / "packaging" / "lint"


def lint(*command: object) -> str:
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True)
    return done.stdout + done.stderr


def test_lintian_has_nothing_to_say(repositories: Path) -> None:
    debs = sorted((repositories / "v1").glob("*.deb"), key=lambda path: path.stat().st_size)
    assert debs
    cpus = os.cpu_count() or 1  # it looks at each package by itself, on one of them
    shares = [debs[number::cpus] for number in range(cpus)]
    command = ["lintian", "--allow-root", "--fail-on", "error,warning"]
    with ThreadPoolExecutor() as pool:
        said = list(pool.map(lambda share: lint(*command, *share), filter(None, shares)))
    assert "".join(said) == ""


def test_rpmlint_has_nothing_to_say(repositories: Path) -> None:
    # taos-tsfm-repo.rpm is a copy of a package, under a name that stays.
    rpms = sorted(path for path in (repositories / "v1").glob("*.rpm") if path.name != "taos-tsfm-repo.rpm")
    assert rpms
    said = lint("rpmlint", "--config", REASONS / "rpmlint.toml", *rpms)
    assert "0 errors, 0 warnings" in said, said


def scriptlets(repositories: Path, folder: Path) -> Iterator[Path]:
    """Every maintainer script, taken out of every package of one version."""
    tags = ("PREIN", "POSTIN", "PREUN", "POSTUN", "PRETRANS", "POSTTRANS")
    for package in sorted((repositories / "v1").glob("*.rpm")):
        for tag in tags:
            query = ["rpm", "--query", "--package", "--queryformat", f"%{{{tag}PROG}}\n%{{{tag}}}", str(package)]
            program, _, text = subprocess.check_output(query, text=True, stderr=subprocess.DEVNULL).partition("\n")
            if text != "(none)":
                assert program == "/bin/sh", f"{package.name} {tag}"
                (folder / f"{package.stem}.{tag.lower()}").write_text(text)
    for package in sorted((repositories / "v1").glob("*.deb")):
        subprocess.run(["dpkg-deb", "--control", str(package), str(folder / f"{package.stem}.control")], check=True)
    for name in ("preinst", "postinst", "prerm", "postrm"):
        yield from folder.glob(f"*/{name}")
    yield from folder.glob("*.p*")


def test_every_maintainer_script_is_plain_sh_without_a_known_mistake(repositories: Path, tmp_path: Path) -> None:
    """The scripts as the packages hold them: rpm gives RHEL 8's bash and Debian's dash the same text."""
    found = list(scriptlets(repositories, tmp_path))
    assert len(found) > 30
    for shell in ("dash", "bash"):
        for script in found:
            subprocess.run([shell, "-n", str(script)], check=True)
    # SC2034: the code that every script begins with sets variables that not every script reads.
    assert lint("shellcheck", "--shell", "sh", "--exclude", "SC2034", *found) == ""


@pytest.mark.parametrize("path", sorted(REASONS.iterdir()), ids=lambda path: path.name)
def test_every_override_comes_with_its_reason(path: Path) -> None:
    reason = False
    for line in path.read_text().splitlines():
        if line.startswith("#"):
            reason = True
        elif line.strip():
            assert reason, f"{path.name}: no reason above: {line}"
