"""Build the documentation site: ``website.py FOLDER``. It loads nothing from other hosts; builds are reproducible."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import venvs

ROOT = venvs.HERE.parent


def build(folder: Path) -> None:
    """Write the site into ``folder``; a warning, such as a broken link, is an error."""
    command = [sys.executable, "-m", "mkdocs", "build", "--quiet", "--strict", "--site-dir", str(folder)]
    # jieba, which segments Chinese words, trusts a cache in the temporary folder, so give it a private one.
    with tempfile.TemporaryDirectory() as private:
        environment = os.environ | {"SOURCE_DATE_EPOCH": str(venvs.EPOCH), "TMPDIR": private}
        ran = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    if ran.returncode:
        raise SystemExit(f"mkdocs: {ran.stdout}{ran.stderr}")
    for path in (*folder.rglob("*.map"), *folder.glob("sitemap.xml*")):
        path.unlink()  # a site in a folder has no address for a sitemap, and source maps only serve to debug the theme
    for path in sorted(folder.rglob("*"), reverse=True):
        if path.is_dir() and not any(path.iterdir()):
            path.rmdir()


if __name__ == "__main__":
    target = Path(sys.argv[1]).resolve()
    shutil.rmtree(target, ignore_errors=True)
    build(target)
