"""A package's bill of materials, CycloneDX 1.6: Python distributions, the interpreter's sources, scripts of the site.

The output is reproducible, like the packages: it has no serial number and no timestamp.
"""

from __future__ import annotations

import json
import re
from importlib.metadata import Distribution, distributions
from pathlib import Path
from urllib.parse import quote

import interpreter


def bill(name: str, version: str, *trees: Path, licences: str = "") -> str:
    """The bill of the package ``name``, as JSON.

    Args:
        trees: the environments in the package, or the interpreter.
        licences: the text of LICENSES.txt, which names the scripts from npm, if the package contains some.
    """
    libraries = [lib for tree in trees for lib in tree.glob("lib/python3*/site-packages")]
    found = [entry for lib in libraries for entry in _distributions(lib)]
    components = [*map(_component, found), *_scripts(licences)]
    components += [source for tree in trees for source in _sources(tree)]
    document = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {"component": {"type": "application", "name": name, "version": version}},
        "components": sorted(components, key=lambda component: str(component["purl"])),
    }
    return json.dumps(document, indent=2) + "\n"


def _scripts(licences: str) -> list[dict[str, object]]:
    found = re.findall(r"^\S+\.js: (\S+) ([\d.]+), ", licences, re.MULTILINE)
    return [
        {
            "type": "library",
            "name": name,
            "version": version,
            "purl": f"pkg:npm/{name.replace('@', '%40')}@{version}",
            "licenses": [{"license": {"name": "MIT"}}],
        }
        for name, version in found
    ]


def _distributions(folder: Path) -> list[Distribution]:
    return list(distributions(path=[str(folder)]))


def _sources(tree: Path) -> list[dict[str, object]]:
    """The Debian sources that an interpreter is built from; none for an environment."""
    return [_source(*row) for row in interpreter.sources(tree).items()] if (tree / "SOURCES").exists() else []


def _source(name: str, version: str) -> dict[str, object]:
    # Scanners look up Debian's advisories by this form of the name.
    purl = f"pkg:deb/debian/{name}@{quote(version, safe='')}?arch=source&distro=bookworm"
    return {"type": "library", "name": name, "version": version, "purl": purl}


def _component(entry: Distribution) -> dict[str, object]:
    # A purl uses PyPI's normalised name: lower case, and one hyphen for each run of - _ and dots.
    name = re.sub(r"[-_.]+", "-", entry.metadata["Name"]).lower()
    version = entry.version.partition("+")[0]
    component: dict[str, object] = {
        "type": "library",
        "name": name,
        "version": entry.version,
        "purl": f"pkg:pypi/{name}@{version}",
    }
    licence = entry.metadata["License-Expression"] or (entry.metadata["License"] or "").partition("\n")[0].strip()
    if licence:
        component["licenses"] = [{"license": {"name": licence}}]
    return component
