"""A package's bill of materials, CycloneDX 1.6: the Python distributions in its environments, the scripts of its site.

Deterministic, as the packages are: no serial number and no time of making.
"""

from __future__ import annotations

import json
import re
from importlib.metadata import Distribution, distributions
from pathlib import Path


def bill(name: str, version: str, *trees: Path, licences: str = "") -> str:
    """The bill of the package ``name``, as JSON.

    Args:
        trees: the environments that it brings.
        licences: the text of docs/assets/LICENSES.txt where it brings the site; that names the scripts.
    """
    libraries = [lib for tree in trees for lib in tree.glob("lib/python3*/site-packages")]
    found = [entry for lib in libraries for entry in _distributions(lib)]
    document = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {"component": {"type": "application", "name": name, "version": version}},
        "components": sorted(
            [*(_component(entry) for entry in found), *_scripts(licences)], key=lambda component: str(component["purl"])
        ),
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


def _component(entry: Distribution) -> dict[str, object]:
    # A package's name in a purl is PyPI's normal form: lower case, one hyphen.
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
