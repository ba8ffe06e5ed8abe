"""Build the packages: ``build.py deb|rpm [--only NAME...]``, run with the development environment's Python.

Each package is built from one part of nfpm.yaml, whose placeholders are filled in here. Two builds of one tree give
the same bytes: our files are staged with fixed dates, and venvs.py builds reproducible environments.

Environment: VERSION overrides tsfm.__version__, OUT is the folder for the packages (default dist).
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import re
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from email.parser import HeaderParser
from functools import cached_property
from itertools import repeat
from pathlib import Path
from string import Template

import architecture
import completion
import interpreter
import sbom
import venvs
import website

ROOT = venvs.HERE.parent
SOURCE = ROOT / "src" / "tsfm"
STAGE = venvs.BUILD / "stage"
SIZES = venvs.BUILD / "sizes.json"
sys.path.insert(0, str(ROOT / "src"))

import tsfm  # noqa: E402  (the line above adds its path)
from tsfm import card, official  # noqa: E402

VERSION = os.environ.get("VERSION") or tsfm.__version__
OUT = Path(os.environ.get("OUT") or ROOT / "dist").resolve()
MAINTAINER = "taos-tsfm maintainers <maintainers@taos-tsfm.invalid>"
# The families that "apt install taos-tsfm" installs: those without large packages of their own.
SMALL = ("fracast", "timemoe", "tdtsfm")
SITE = Path("/usr/share/doc/taos-tsfm/html")
# Licences of scripts from npm, by the part of the product whose package has them, and where they are installed.
SCRIPTS = {
    "core": SOURCE / "http/page/static/LICENSES.txt",
    "doc": ROOT / "docs/assets/LICENSES.txt",
}
SCRIPT_FILES = {
    "core": "usr/lib/taos-tsfm/lib/tsfm/http/page/static/uplot.*",
    "doc": "usr/share/doc/taos-tsfm/html/assets/*",
}
APART = ("balancer", "fleet", "cuda")  # parts with units of their own, tsfm-PART*; the others are in the common part
RPM_ONLY = ("posttrans",)  # maintainer scripts that dpkg does not support
BY_NAME = ("taos-tsfm-cuda",)  # built only where --only names them: gigabytes
LICENCES = "https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/"


@dataclass(frozen=True)
class Package:
    """One package: its name, its part of nfpm.yaml, and the values for that part."""

    name: str
    part: str
    summary: str
    family: str = ""
    families: tuple[str, ...] = ()

    @property
    def version(self) -> str:
        """The version; the interpreter has its own, so that a security update replaces this one package."""
        return interpreter.version() if self.part == "python" else VERSION

    @cached_property
    def trees(self) -> dict[str, Path]:
        """The environments in the package, or the interpreter, by name; found once, as all their files are hashed."""
        if self.part == "python":
            return {"python": interpreter.tree(architecture.machine())}
        layers = {"runtime": venvs.SHARED, "family": (self.family,), "arrow": (venvs.OPTIONAL,)}
        layers |= {"fleet": (venvs.FLEET,), "cuda": (venvs.CUDA,)}
        layers["official"] = (f"{self.family}{venvs.OFFICIAL}",)
        return {name: venvs.tree(name) for name in layers.get(self.part, ())}


def packages() -> list[Package]:
    """All packages, each after those that it depends on."""
    families = card.names(packaged_only=True)
    small = tuple(name for name in SMALL if name in families)
    lacking = f" (INCOMPLETE: without {', '.join(venvs.OMITTED)})" if venvs.OMITTED else ""
    return [
        Package("taos-tsfm-python", "python", "Time-series foundation models for TDengine, Python interpreter"),
        Package(
            "taos-tsfm-runtime", "runtime", f"Time-series foundation models for TDengine, common environment{lacking}"
        ),
        Package("taos-tsfm-core", "core", "Time-series foundation models for TDengine, common part"),
        *(
            Package(f"taos-tsfm-{name}", "family", f"Time-series foundation models for TDengine, {name}", name)
            for name in families
        ),
        *(
            Package(
                f"taos-tsfm-{name}-official",
                "official",
                f"Time-series foundation models for TDengine, {name} by its maker",
                name,
            )
            for name in official.names()
        ),
        Package("taos-tsfm-arrow", "arrow", "Time-series foundation models for TDengine, Arrow and Parquet"),
        Package("taos-tsfm-balancer", "balancer", "Time-series foundation models for TDengine, balancer of hosts"),
        Package("taos-tsfm-fleet", "fleet", "Time-series foundation models for TDengine, fleet on Ray Serve"),
        Package("taos-tsfm-cuda", "cuda", "Time-series foundation models for TDengine, PyTorch with CUDA"),
        Package("taos-tsfm", "meta", "Time-series foundation models for TDengine", families=small),
        Package("taos-tsfm-all", "meta", "Time-series foundation models for TDengine, all", families=tuple(families)),
        Package("taos-tsfm-doc", "doc", "Time-series foundation models for TDengine, documentation"),
    ]


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("format", choices=["deb", "rpm"])
    parser.add_argument("--only", nargs="+", metavar="NAME", help="these packages alone")
    args = parser.parse_args(arguments)
    usual = [package.name for package in packages() if package.name not in BY_NAME]
    selected = [package for package in packages() if package.name in (args.only or usual)]
    shutil.rmtree(STAGE, ignore_errors=True)
    stage_core()
    for package in selected:
        if package.part == "doc":
            website.build(STAGE / "html")
        stage_documents(package)
    date(STAGE)
    OUT.mkdir(parents=True, exist_ok=True)
    sizes = json.loads(SIZES.read_text()) if SIZES.exists() else {}
    with ThreadPoolExecutor(os.cpu_count()) as pool:  # each nFPM compresses on one CPU
        files = list(pool.map(make, selected, repeat(args.format)))
    for package, built in zip(selected, files, strict=True):
        row = sizes.setdefault(package.name, {})
        row[args.format] = built.stat().st_size
        row["installed"] = installed_size(package)
    SIZES.write_text(json.dumps(sizes, indent=2, sort_keys=True) + "\n")
    print(table({package.name: sizes[package.name] for package in selected}))
    return 0


def make(package: Package, kind: str) -> Path:
    """Build one package with nFPM and return its file."""
    config = venvs.BUILD / "nfpm" / f"{package.name}.yaml"
    config.parent.mkdir(parents=True, exist_ok=True)
    config.write_text(configuration(package))
    return nfpm(kind, config)


def nfpm(kind: str, config: Path) -> Path:
    """Run nFPM on a finished configuration and return the package's file."""
    program = Path(sys.executable).with_name("nfpm")
    command = [str(program), "package", "--packager", kind, "--config", str(config), "--target", str(OUT)]
    environment = os.environ | {"SOURCE_DATE_EPOCH": str(venvs.EPOCH)}
    ran = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    found = re.search(r"created package: (.+)", ran.stdout)
    if ran.returncode or not found:
        raise SystemExit(f"nfpm {config.stem}: {ran.stdout}{ran.stderr}")
    return Path(found[1])


def configuration(package: Package) -> str:
    """nFPM's configuration for one package: the first part of nfpm.yaml and the package's own part, filled in."""
    first, *parts = re.split(r"^--- # ", (venvs.HERE / "nfpm.yaml").read_text(), flags=re.MULTILINE)
    part = next(part.partition("\n")[2] for part in parts if part.startswith(package.part))
    found = scripts(package)
    needs = [f"taos-tsfm-{name}" for name in ("core", "runtime", *package.families)]
    values = {
        "name": package.name,
        "version": package.version,
        "python_version": interpreter.version(),
        "maintainer": MAINTAINER,
        "summary": package.summary,
        "family": package.family,
        "families": textwrap.fill(", ".join(package.families), 76).replace("\n", "\n  "),
        "tree": str(next(iter(package.trees.values()), "")),
        "cli": str(package.trees.get("cli")),
        "arch": architecture.deb(),
        "stage": str(STAGE),
        "rpm_docs": "\n  ".join(f"- {entry}" for entry in rpm_documents(package)),
        "scripts": ", ".join(f"{when}: {path}" for when, path in found.items() if when not in RPM_ONLY),
        "rpm_scripts": ", ".join(f"{when}: {path}" for when, path in found.items() if when in RPM_ONLY),
        "deb_depends": ", ".join(f'"{name} (= {VERSION}-1)"' for name in needs),
        "rpm_depends": ", ".join(f'"{name} = {VERSION}-1"' for name in needs),
    }
    return Template(first + part).substitute(values)


def rpm_documents(package: Package) -> list[str]:
    """nFPM's entries for the documents. rpm marks each file as documentation."""
    folders = {STAGE / "doc" / package.name: f"/usr/share/doc/{package.name}"}
    if package.part == "core":
        folders |= {path: f"/usr/share/man/{path.name}" for path in sorted((STAGE / "man").iterdir())}
    if package.part == "doc":
        site = STAGE / "html"
        below = [site, *sorted(path for path in site.rglob("*") if path.is_dir())]
        folders |= {path: str(SITE / path.relative_to(site)) for path in below}
    directories = [
        f"{{dst: {target}, type: dir, packager: rpm, file_info: {{mode: 0755}}}}"
        for folder, target in folders.items()
        if folder.is_relative_to(STAGE / "html")
    ]
    return directories + [
        f"{{src: {path}, dst: {target}/{path.name}, type: doc, packager: rpm}}"
        for folder, target in folders.items()
        for path in sorted(folder.iterdir())
        if path.is_file()
    ]


def scripts(package: Package) -> dict[str, Path]:
    """The package's maintainer scripts; each begins with the shared code in lib.sh."""
    shared = (venvs.HERE / "scripts" / "lib.sh").read_text()
    found = {}
    for source in sorted((venvs.HERE / "scripts").glob(f"{package.part}-*.sh")):
        target = STAGE / "scripts" / package.name / source.name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(f"{shared}\nfamily={package.family}\n{source.read_text()}")
        found[source.stem.partition("-")[2]] = target
    return found


def stage_core() -> None:
    """Stage our own files as they are installed, with compiled modules."""
    ignored = shutil.ignore_patterns("__pycache__", "share", "*.c", "*.h")
    shutil.copytree(SOURCE, STAGE / "lib" / "tsfm", ignore=ignored)
    version = STAGE / "lib" / "tsfm" / "__init__.py"
    version.write_text(version.read_text().replace(f'"{tsfm.__version__}"', f'"{VERSION}"'))
    compiler = [venvs.python(), "-m", "compileall", "-q", "--invalidation-mode", "unchecked-hash"]
    final = f"{venvs.PAYLOAD}/lib"
    subprocess.run([*compiler, "-s", str(STAGE / "lib"), "-p", final, str(STAGE / "lib")], check=True)
    shutil.copytree(SOURCE / "share", STAGE / "share", ignore=ignored)
    for folder in ("bin", "etc", "units", *APART):
        (STAGE / folder).mkdir()
    shutil.copy(venvs.HERE / "bin" / "tsfm", STAGE / "bin")
    shutil.copy(ROOT / "etc" / "tsfm.ini", STAGE / "etc")
    shutil.copy(ROOT / "etc" / "taosanode.ini", STAGE / "share")
    completion.write(STAGE / "completion")
    shutil.copytree(venvs.HERE / "monitoring", STAGE / "monitoring")
    for unit in (venvs.HERE / "systemd").iterdir():
        part = next((name for name in APART if unit.name.startswith(f"tsfm-{name}")), "units")
        shutil.copy(unit, STAGE if unit.suffix in (".sysusers", ".tmpfiles") else STAGE / part)


def stage_documents(package: Package) -> None:
    """Stage a package's copyright, changelog and bill of materials, and its lintian overrides with their reasons."""
    folder = STAGE / "doc" / package.name
    folder.mkdir(parents=True)
    (folder / "copyright").write_text(copyright_file(package))
    scripts = SCRIPTS[package.part].read_text() if package.part in SCRIPTS else ""
    (folder / "sbom.cdx.json").write_text(
        sbom.bill(package.name, package.version, *package.trees.values(), licences=scripts)
    )
    changelog(folder, package.name, package.version)
    if package.part == "core":
        for path in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]:
            shutil.copy(path, folder)
        (folder / "changelog.gz").write_bytes(gzip.compress((ROOT / "CHANGELOG.md").read_bytes(), 9, mtime=0))
        for path in sorted((ROOT / "man").iterdir()):
            target = STAGE / "man" / f"man{path.suffix[1:]}" / f"{path.name}.gz"
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(gzip.compress(path.read_bytes(), 9, mtime=0))
    reasons = venvs.HERE / "lint" / f"{package.part}.lintian-overrides"
    if reasons.exists():
        (STAGE / "lintian").mkdir(exist_ok=True)
        (STAGE / "lintian" / package.name).write_text(reasons.read_text().replace("@NAME@", package.name))


def changelog(folder: Path, name: str, version: str) -> None:
    """Write a package's changelog in Debian's format."""
    changes = f"{name} ({version}-1) bookworm; urgency=medium\n\n"
    changes += "  * See changelog.gz among the documents of taos-tsfm-core.\n\n"
    changes += f" -- {MAINTAINER}  {rfc_date()}\n"
    (folder / "changelog.Debian.gz").write_bytes(gzip.compress(changes.encode(), 9, mtime=0))


def copyright_file(package: Package) -> str:
    """Our copyright, and each distribution in the package's environments with the licence in its metadata."""
    lines = [f"Format: {LICENCES}", "Upstream-Name: taos-tsfm", ""]
    lines += ["Files: *", "Copyright: 2026 The taos-tsfm authors", "License: Apache-2.0"]
    lines += [" On Debian systems the full text is in /usr/share/common-licenses/Apache-2.0.", ""]
    if package.part in SCRIPTS:
        lines += [f"Files: {SCRIPT_FILES[package.part]}", "Copyright: their authors", "License: Expat"]
        lines += [f" {line}".rstrip() or " ." for line in SCRIPTS[package.part].read_text().splitlines()]
        lines.append("")
    if package.part == "python":
        lines += [
            "Comment:",
            " CPython and the libraries in it are built from these sources of Debian's. Their licences",
        ]
        lines += [f" lie in {interpreter.PREFIX}/licenses:"]
        lines += [f" {name} {version}" for name, version in interpreter.sources(package.trees["python"]).items()]
    metadata = [path for tree in package.trees.values() for path in sorted(tree.rglob("*.dist-info/METADATA"))]
    if metadata:
        lines += ["Comment:", " The environments hold these Python distributions; where they bring their licences'"]
        lines += [" texts, those lie in the .dist-info folder of each:"]
    for path in metadata:
        facts = HeaderParser().parsestr(path.read_text(encoding="utf-8"))
        licence = facts["License-Expression"] or (facts["License"] or "see its files").splitlines()[0]
        lines.append(f" {facts['Name']} {facts['Version']}: {licence}")
    return "\n".join(lines).rstrip() + "\n"


def rfc_date() -> str:
    command = ["date", "--utc", "--rfc-email", f"--date=@{venvs.EPOCH}"]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def date(folder: Path) -> None:
    """Set fixed dates and modes for all files and folders below ``folder``."""
    for path in [folder, *folder.rglob("*")]:
        path.chmod(0o755 if path.is_dir() or path.parent.name == "bin" else 0o644)
        os.utime(path, (venvs.EPOCH, venvs.EPOCH))


def installed_size(package: Package) -> int:
    if package.part == "doc":
        return venvs.size(STAGE / "html")
    if package.part == "balancer":
        return venvs.size(STAGE / "balancer")
    if package.part == "core":
        return sum(venvs.size(STAGE / name) for name in ("lib", "share", "units"))
    return sum(map(venvs.size, package.trees.values()))


def table(sizes: dict[str, dict[str, int]]) -> str:
    rows = [f"{'PACKAGE':<28}{'DEB MB':>10}{'RPM MB':>10}{'INSTALLED MB':>14}"]
    for name, row in sizes.items():
        cells = (f"{row[kind] / 1e6:.1f}" if kind in row else "-" for kind in ("deb", "rpm", "installed"))
        rows.append("{:<28}{:>10}{:>10}{:>14}".format(name, *cells))
    return "\n".join(rows)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
