"""How each generation of TDgpt reads its configuration, from the contract."""

from __future__ import annotations

import configparser
import runpy
from pathlib import Path


def service(config: Path, key: str) -> str | None:
    """The URL that TDgpt would use for a model's name."""
    return _python(config).get(key) if config.suffix == ".py" else _ini(config, key)


def certificate(config: Path) -> tuple[str, str] | None:
    """(certificate's file, key's file) of an anode that speaks TLS."""
    found = _python(config) if config.suffix == ".py" else {}
    return (found["certfile"], found["keyfile"]) if found.get("certfile") else None


def _ini(config: Path, key: str) -> str | None:
    """First and second generation: ConfigParser, with interpolation."""
    parser = configparser.ConfigParser()
    parser.read(config)
    return parser.get("tsfm-service", key) if parser.has_option("tsfm-service", key) else None


def _python(config: Path) -> dict:
    """Third generation: the file's globals. Fourth: then the addresses made of ``models``."""
    read = runpy.run_path(str(config))  # an import would take a file of the same second and size for the same file
    found = {name: value for name, value in read.items() if not name.startswith("__")}
    for name, model in (found.get("models") or {}).items():
        if model.get("port"):
            url = f"http://127.0.0.1:{model['port']}{model.get('endpoint', '/ds_predict')}"
            found[model.get("algo_name", name)] = url
    return found
