"""Finish a release in OUT: ``release.py check`` before everything is built, ``release.py`` afterwards.

Adds the documentation (docs/), every package's bill of materials (sbom/), a note of what was built from what
(provenance.json, an in-toto statement with SLSA's predicate) and SHA256SUMS with its signature.

Environment: that of build.py, image.py and repo.sh. TRIAL=yes allows changes that are not committed and sources of the
interpreter that are not Debian's newest; the note says so.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import build
import interpreter
import venvs
import website

SUMS = "SHA256SUMS"
# What no lock pins.
TOOLS = ("dpkg-deb", "apt-ftparchive", "rpm", "createrepo_c", "gpg", "make", "strip")
PARAMETERS = ("VERSION", "ARCH", "REPO_URL", "SIGN_KEY", "SIGN_DATE")


def main(arguments: Sequence[str]) -> int:
    trial = os.environ.get("TRIAL") == "yes"
    if list(arguments) == ["check"]:
        check(trial)
        return 0
    shutil.rmtree(build.OUT / "docs", ignore_errors=True)
    website.build(build.OUT / "docs")
    bills(build.OUT / "sbom")
    note = statement(subjects(), trial)
    (build.OUT / "provenance.json").write_text(json.dumps(note, indent=2) + "\n")
    sums = build.OUT / SUMS
    sums.write_text("".join(f"{digest}  {name}\n" for name, digest in subjects().items()))
    sign = ["gpg", "--batch", "--yes", "--quiet", "--digest-algo", "SHA256", "--local-user", os.environ["SIGN_KEY"]]
    subprocess.run([*sign, "--armor", "--detach-sign", str(sums)], check=True)
    print(f"{sums}: {len(subjects())} files")
    return 0


def check(trial: bool) -> None:
    """Stop what would be no release."""
    if not os.environ.get("SIGN_KEY"):
        sys.exit("release: SIGN_KEY is empty; expected a key of gpg's that signs (gpg --list-secret-keys)")
    if trial:
        return
    if changed := output(["git", "status", "--porcelain"]):
        sys.exit(f"release: commit these changes first, or set TRIAL=yes:\n{changed}")
    interpreter.check()


def bills(folder: Path) -> None:
    """Take every package's bill of materials out of its deb."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for path in sorted(build.OUT.glob("*_*.deb")):
        name, *_, architecture = path.stem.split("_")
        tar = subprocess.run(["dpkg-deb", "--fsys-tarfile", str(path)], check=True, capture_output=True).stdout
        member = f"./usr/share/doc/{name}/sbom.cdx.json"
        taken = subprocess.run(["tar", "--extract", "--to-stdout", member], input=tar, capture_output=True)
        if taken.returncode == 0:
            (folder / f"{name}_{architecture}.cdx.json").write_bytes(taken.stdout)


def subjects() -> dict[str, str]:
    """Every file of the release and its SHA-256, without the sums themselves."""
    found = {}
    for path in sorted(build.OUT.rglob("*")):
        name = path.relative_to(build.OUT).as_posix()
        if path.is_file() and name not in (SUMS, f"{SUMS}.asc"):
            with path.open("rb") as file:
                found[name] = hashlib.file_digest(file, "sha256").hexdigest()
    return found


def statement(built: dict[str, str], trial: bool) -> dict[str, object]:
    """What was built, from which commit and locks, with which tools. It has no dates: the same build says the same."""
    built = {name: digest for name, digest in built.items() if name != "provenance.json"}
    commit = {"name": "taos-tsfm", "digest": {"gitCommit": output(["git", "rev-parse", "HEAD"])}}
    locks = [
        {
            "name": path.relative_to(build.ROOT).as_posix(),
            "digest": {"sha256": hashlib.sha256(path.read_bytes()).hexdigest()},
        }
        for path in sorted((venvs.HERE / "locks").glob("*.txt"))
    ]
    return {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"name": name, "digest": {"sha256": digest}} for name, digest in built.items()],
        "predicateType": "https://slsa.dev/provenance/v1",
        "predicate": {
            "buildDefinition": {
                "buildType": "urn:taos-tsfm:make-release:1",
                "externalParameters": {"target": "release", "trial": trial}
                | {name: os.environ[name] for name in PARAMETERS if os.environ.get(name)},
                "internalParameters": {"SOURCE_DATE_EPOCH": venvs.EPOCH},
                "resolvedDependencies": [commit, *locks],
            },
            "runDetails": {"builder": {"id": "urn:taos-tsfm:make", "version": tools()}},
        },
    }


def tools() -> dict[str, str]:
    found = {name: output([name, "--version"]).partition("\n")[0] for name in TOOLS}
    return found | {"python": platform.python_version(), "system": platform.freedesktop_os_release()["PRETTY_NAME"]}


def output(command: list[str]) -> str:
    return subprocess.run(command, cwd=build.ROOT, check=True, capture_output=True, text=True).stdout.strip()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
