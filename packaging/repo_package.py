"""Build taos-tsfm-repo, deb and rpm: the address and the public key of a signed repository.

Environment: SIGN_KEY is the key of gpg's that signs the repository, REPO_URL the address that hosts will read it at.
Without SIGN_KEY there is nothing to build. OUT and VERSION are those of build.py.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from string import Template

import build
import venvs

SOURCES = """\
Types: deb
URIs: {url}
Suites: ./
Signed-By: /usr/share/keyrings/taos-tsfm.gpg
"""
REPO = """\
[taos-tsfm]
name=Time-series foundation models for TDengine
baseurl={url}
enabled=1
gpgcheck=1
repo_gpgcheck=1
gpgkey=file:///etc/pki/rpm-gpg/RPM-GPG-KEY-taos-tsfm
"""
COPYRIGHT = """\
Copyright: 2026 The taos-tsfm authors
License: Apache-2.0
On Debian systems the full text is in /usr/share/common-licenses/Apache-2.0.
"""


def main() -> int:
    key, url = os.environ.get("SIGN_KEY", ""), os.environ.get("REPO_URL", "")
    if not key:
        return 0
    if not url.startswith(("https://", "http://", "file:/")):
        sys.exit(f"REPO_URL: expected the address that hosts read the repository at, such as https://..., got {url!r}")
    venvs.BUILD.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=venvs.BUILD, prefix="repo-") as folder:
        stage = Path(folder)
        (stage / "taos-tsfm.gpg").write_bytes(public(key))
        (stage / "taos-tsfm.asc").write_bytes(public(key, "--armor"))
        (stage / "taos-tsfm.sources").write_text(SOURCES.format(url=url))
        (stage / "taos-tsfm.repo").write_text(REPO.format(url=url))
        (stage / "doc").mkdir()
        (stage / "doc" / "copyright").write_text(COPYRIGHT)
        build.changelog(stage / "doc", "taos-tsfm-repo", build.VERSION)
        overrides = (venvs.HERE / "lint" / "repo.lintian-overrides").read_text()
        (stage / "repo.lintian-overrides").write_text(overrides.replace("@NAME@", "taos-tsfm-repo"))
        build.date(stage)
        template = Template((venvs.HERE / "repo-package.yaml").read_text())
        config = stage / "nfpm.yaml"
        config.write_text(template.substitute(version=build.VERSION, maintainer=build.MAINTAINER, stage=stage))
        build.OUT.mkdir(parents=True, exist_ok=True)
        for kind in ("deb", "rpm"):
            build.nfpm(kind, config)
    return 0


def public(key: str, *options: str) -> bytes:
    """The public part of a key of gpg's."""
    if not shutil.which("gpg"):
        sys.exit("gpg not found: install gnupg, which signs the repository")
    command = ["gpg", "--batch", "--export-options", "export-minimal", *options, "--export", key]
    found = subprocess.run(command, check=True, capture_output=True).stdout
    if not found:
        sys.exit(f"SIGN_KEY: expected a key that gpg knows (gpg --list-secret-keys), got {key!r}")
    return found


if __name__ == "__main__":
    sys.exit(main())
