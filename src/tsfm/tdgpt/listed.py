"""Decides which families SQL lists: those that are enabled or balanced, unless tsfm.ini sets ``register``."""

from __future__ import annotations

import os
from collections.abc import Iterable

from tsfm import paths, settings
from tsfm.fleet import balancer
from tsfm.tdgpt.endpoints import Endpoint

# Folders of the links that `systemctl enable`, `systemctl --runtime enable` or the maker of an image creates.
_UNIT_FOLDERS = ("etc/systemd/system", "run/systemd/system", "usr/lib/systemd/system")


def listed(endpoints: Iterable[Endpoint]) -> list[Endpoint]:
    """The endpoints that are to be registered.

    Raises:
        ConfigError: tsfm.ini is wrong.
    """
    return [endpoint for endpoint in endpoints if is_listed(endpoint.family)]


def is_listed(family: str) -> bool:
    """Whether the family is to be registered.

    Raises:
        ConfigError: tsfm.ini is wrong.
    """
    choice = settings.read(family, {}).register
    return bool(choice == "yes" or (choice == "auto" and (is_balanced(family) or is_enabled(family))))


def is_balanced(family: str) -> bool:
    """Whether the balancer of this host stands before the family's services.

    Raises:
        ConfigError: tsfm.ini is wrong.
    """
    balanced = balancer.read()
    return balanced is not None and family in balanced.families


def is_enabled(family: str) -> bool:
    """Whether the family's unit is enabled. Where systemd does not run, every installed family counts as enabled.

    The links are read, and systemd is not asked: they do not change while it starts, stops or restarts a unit.
    """
    if not (paths.ROOT / "run/systemd/system").is_dir():
        return True
    unit = f"tsfm@{family}.service"
    folders = (
        folder
        for parent in _UNIT_FOLDERS
        for kind in ("wants", "requires")
        for folder in (paths.ROOT / parent).glob(f"*.{kind}")
    )
    return any(os.path.lexists(folder / unit) for folder in folders)
