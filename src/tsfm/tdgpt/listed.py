"""Which of the installed families SQL shall list: those whose unit is enabled, unless tsfm.ini says otherwise."""

from __future__ import annotations

import os
from collections.abc import Iterable

from tsfm import paths, settings
from tsfm.tdgpt.endpoints import Endpoint

# Where `systemctl enable`, `systemctl --runtime enable` and an image's maker link units to what starts them.
_PLACES = ("etc/systemd/system", "run/systemd/system", "usr/lib/systemd/system")


def listed(endpoints: Iterable[Endpoint]) -> list[Endpoint]:
    """Those of the endpoints that are to be registered.

    Raises:
        ConfigError: tsfm.ini is wrong.
    """
    return [endpoint for endpoint in endpoints if is_listed(endpoint.family)]


def is_listed(family: str) -> bool:
    """Whether the family is to be registered.

    Raises:
        ConfigError: tsfm.ini is wrong.
    """
    said = settings.read(family, {}).register
    return bool(said == "yes" or (said == "auto" and is_enabled(family)))


def is_enabled(family: str) -> bool:
    """Whether something starts the family's unit at boot. Where systemd does not run, being installed must do.

    The links are read and systemd is not asked: they are the same while it starts, stops or restarts something.
    """
    if not (paths.ROOT / "run/systemd/system").is_dir():
        return True
    unit = f"tsfm@{family}.service"
    folders = (
        folder
        for place in _PLACES
        for kind in ("wants", "requires")
        for folder in (paths.ROOT / place).glob(f"*.{kind}")
    )
    return any(os.path.lexists(folder / unit) for folder in folders)
