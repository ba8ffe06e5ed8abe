"""Build a deb and an rpm of weights: ``model_package.py FAMILY FROM [CHECKPOINT]``, for sites without a network.

FROM is any source that ``tsfm import`` accepts: the output of ``tsfm pull FAMILY --to FROM``, or a folder of bare
files. The checks are those of ``tsfm import``. The same weights give the same bytes.

Environment: OUT is the folder for the packages (default dist), VERSION overrides 1.0+REVISION.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from string import Template

import build
import venvs

from tsfm import families, settings
from tsfm.card import Card, Checkpoint
from tsfm.errors import TsfmError
from tsfm.weights import identify, importer, manifest
from tsfm.weights.manifest import Manifest


def main(words: Sequence[str]) -> int:
    if len(words) not in (2, 3):
        sys.exit("usage: make model-package FAMILY=... FROM=DIR [CHECKPOINT=...]")
    family, path, *name = words
    families.find(family)
    with importer.sources(Path(path)) as found:
        for source in found:
            card, checkpoint = identify.identify(source, family, name[0] if name else None, None)
            venvs.BUILD.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=venvs.BUILD, prefix="weights-") as stage:
                folder = importer.install(source, card, checkpoint, f"{stage}/in")
                package(card, checkpoint, folder, Path(stage))
    return 0


def package(card: Card, checkpoint: Checkpoint, folder: Path, stage: Path) -> None:
    """Build the deb and the rpm of one checked checkpoint."""
    listed = manifest.read(folder)
    assert listed is not None  # noqa: S101  (install wrote it)
    title = checkpoint.folder if checkpoint.pullable else card.name
    name = f"taos-tsfm-weights-{title.lower().replace('_', '-')}"
    version = os.environ.get("VERSION") or f"1.0+{listed.revision[:8] or listed.files[-1].sha256[:8]}"
    folder.rename(stage / "weights")
    document(stage / "doc", name, version, card, listed)
    build.date(stage)
    template = (venvs.HERE / "model-package.yaml").read_text()
    config = stage / f"{name}.yaml"
    target = settings.MODEL_ROOT / card.name / (checkpoint.folder if checkpoint.pullable else "")
    values = {
        "name": name,
        "version": version,
        "maintainer": build.MAINTAINER,
        "licence": card.licence,
        "checkpoint": checkpoint.name,
        "parameters": f"{checkpoint.parameters / 1e6:.0f}",
        "family": card.name,
        "parent": str(target.parent),
        "place": str(target),
        "stage": str(stage),
    }
    config.write_text(Template(template).substitute(values))
    build.OUT.mkdir(parents=True, exist_ok=True)
    for kind in ("deb", "rpm"):
        print(build.nfpm(kind, config))


def document(folder: Path, name: str, version: str, card: Card, listed: Manifest) -> None:
    """Write the copyright file, with the origin of the weights and the packed files, and the changelog."""
    folder.mkdir()
    lines = [f"Weights of {listed.checkpoint}, commit {listed.revision or 'unknown'}.", ""]
    lines += [f"License: {card.licence}", f"Paper: {card.paper}", ""]
    lines += [f"SHA-256 {file.sha256}  {file.name}" for file in listed.files]
    (folder / "copyright").write_text("\n".join(lines) + "\n")
    build.changelog(folder, name, version)


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except TsfmError as error:
        sys.exit(f"model-package: {error}")
