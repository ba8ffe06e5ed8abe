"""A key that signs for the tests, and a server that hosts read the signed repository from."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from host.container import Container, until

ROOT = Path(__file__).resolve().parents[2]
PORT = 8099
URL = f"http://127.0.0.1:{PORT}/taos-tsfm"
# The address in the documents, in place of the reader's own.
DOCUMENTED = "https://packages.example.com/taos-tsfm"


@dataclass(frozen=True)
class Key:
    """A key of gpg's, in a home of its own."""

    fingerprint: str
    environment: dict[str, str]


@contextmanager
def key() -> Iterator[Key]:
    """A key that is thrown away. It is older than the date that packages and signatures get."""
    # Not below the checkout: the path of gpg's socket must be short.
    home = tempfile.mkdtemp(prefix="tsfm-key-")
    environment = os.environ | {"GNUPGHOME": home}
    options = ["gpg", "--batch", "--quiet", "--faked-system-time", "20250101T000000", "--passphrase", ""]
    person = "The tests of taos-tsfm <tests@taos-tsfm.invalid>"
    try:
        command = [*options, "--quick-generate-key", person, "rsa3072", "sign", "never"]
        subprocess.run(command, env=environment, check=True, capture_output=True)
        listing = ["gpg", "--list-keys", "--with-colons"]
        listed = subprocess.run(listing, env=environment, check=True, capture_output=True, text=True).stdout
        found = re.search(r"^fpr:+([0-9A-F]{40}):", listed, re.MULTILINE)
        assert found, listed
        yield Key(found[1], environment)
    finally:
        subprocess.run(["gpgconf", "--kill", "all"], env=environment, check=True)
        shutil.rmtree(home, ignore_errors=True)


@contextmanager
def served(container: Container, folder: Path) -> Iterator[None]:
    """The folder by HTTP on the container's own loopback; a link in it is followed anew at each request."""
    options = ["--bind", "127.0.0.1", "--directory", str(folder)]
    server = container.beside([sys.executable, "-m", "http.server", *options, str(PORT)])
    answers = f"curl -s -o /dev/null http://127.0.0.1:{PORT}/"
    try:
        until(lambda: container.run(answers, check=False).returncode == 0, 20, lambda: "the server does not answer")
        yield
    finally:
        server.terminate()
        server.wait()


def documented(page: str, heading: str) -> list[str]:
    """The commands of the first block below a heading of a page, for root and with the tests' address."""
    text = (ROOT / page).read_text().partition(f"\n{heading}\n")[2]
    block = re.search(r"```sh\n(.*?)```", text, re.DOTALL)
    assert block, f"{page}: no commands below {heading}"
    lines = [line for line in block[1].splitlines() if line and not line.startswith("#")]
    assert any(DOCUMENTED in line for line in lines), f"{page}: {DOCUMENTED} is not in the block"
    return [line.replace(DOCUMENTED, URL).replace("sudo ", "") for line in lines]
