"""TDgpt on a host, as its own installer leaves it, and what it was made to do."""

from __future__ import annotations

import shutil
from pathlib import Path

from anode import installation
from host.conftest import Host
from host.container import until

ANODE = Path(__file__).parents[1] / "anode"
SAMPLES = Path(__file__).parents[1] / "tdgpt/samples"
TREE = "/usr/local/taos/taosanode"
G2, G4 = "/etc/taos/taosanode.ini", "/etc/taos/taosanode.config.py"
UNIT = """\
[Service]
ExecStart=/usr/bin/python3 -B /srv/anode/anode.py {config} /usr/local/taos/taosanode/lib 6035
"""


def inside(host: Host, path: str) -> Path:
    return host.root / path.lstrip("/")


def install(host: Host, config: str, sample: str) -> None:
    """What TDgpt's own installer does: its whole tree goes, a new one comes, and a configuration."""
    shutil.copytree(
        ANODE, inside(host, "/srv/anode"), ignore=shutil.ignore_patterns("tree", "__pycache__"), dirs_exist_ok=True
    )
    shutil.rmtree(inside(host, TREE), ignore_errors=True)
    installation.install(inside(host, TREE), newest=config == G4)
    inside(host, "/etc/taos").mkdir(parents=True, exist_ok=True)
    shutil.copy(SAMPLES / sample, inside(host, config))
    first, _, rest = (ANODE / "tree/lib/taosanalytics/conf.py").read_text().partition("\n")
    assert first
    host.write(f"{TREE}/lib/taosanalytics/conf.py", f"# reads {config}\n{rest}")
    host.write("/etc/systemd/system/taosanoded.service", UNIT.format(config=config))
    host.out("systemctl daemon-reload")


def starts(host: Host) -> int:
    """How often TDgpt has been started."""
    said = host.out("journalctl --quiet --output cat --unit taosanoded.service")
    return said.count("Started taosanoded.service")


def runs(host: Host) -> int:
    """How often the path unit has started the registration."""
    said = host.out("journalctl --quiet --output cat --unit tsfm-register.service")
    return said.count("Finished tsfm-register.service")


def until_quiet(host: Host) -> None:
    """Wait until the registration has nothing more to do."""

    def quiet() -> bool:
        count = runs(host)
        # Longer than one round takes: one that goes round in circles would have gone on.
        host.out("timeout 4 journalctl --follow --lines 0 --unit tsfm-register.service || :")
        return host.show("tsfm-register.service", "ActiveState") == "inactive" and runs(host) == count

    until(quiet, 60, lambda: host.out("journalctl --unit tsfm-register.service"))
