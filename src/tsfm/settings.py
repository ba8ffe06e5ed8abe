"""Settings: one table of keys. The command line overrides tsfm.ini, and tsfm.ini overrides the defaults."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace

from tsfm import card, inifile
from tsfm.errors import ConfigError
from tsfm.kinds import Key, absolute, address, device, has_comment, hub_address, networks, one_of, switch, text, whole

DEFAULT_FILE = Path("/etc/taos/tsfm.ini")
DATABASE = "tdengine"
"""The section with the address of the database; ``tsfm.tdgpt.database`` defines its keys."""
BALANCER = "balancer"
"""The section with the hosts that serve together; ``tsfm.fleet.balancer`` defines its keys."""
FLEET = "fleet"
"""The section of the hosts that Ray joins; ``tsfm.fleet.cluster`` defines its keys."""
_OF_OTHERS = (BALANCER, FLEET, DATABASE)
MODEL_ROOT = Path("/var/lib/taos/taosanode/model")


KEYS: dict[str, Key] = {
    "host": Key(address, "127.0.0.1", "IP address to listen on; 0.0.0.0 accepts other hosts"),
    "port": Key(whole(1, 65535), "", "port to listen on; empty: the family's default port"),
    "model_folder": Key(absolute, "", f"folder that holds the weights; empty: {MODEL_ROOT}/FAMILY"),
    "checkpoint": Key(
        text, "", "checkpoint to serve: a name or an index from `tsfm list`; empty: the first one that is complete"
    ),
    "mirror": Key(
        hub_address,
        "no",
        "hub to download weights from: no (huggingface.co), yes (hf-mirror.com) or an address",
    ),
    "engine": Key(
        one_of("native", "official"),
        "native",
        "code that runs the model: native (the network of taos-tsfm) or official (its maker's package, which "
        "taos-tsfm-FAMILY-official brings)",
    ),
    "device": Key(device, "cpu", "device that runs the model: cpu, cuda or cuda:N"),
    "dtype": Key(
        one_of("auto", "float32", "bfloat16", "int8"),
        "auto",
        "number format of the arithmetic: auto, float32, bfloat16 or int8 (some families, on CPUs with AVX512-VNNI); "
        "auto: the faster one of float32 and bfloat16 on this CPU",
    ),
    "threads": Key(whole(0, 1024), "0", "CPU threads for the model; 0: one for each CPU that the service may use"),
    "min_rows": Key(whole(1, 40_000), "10", "minimum number of input points in a request"),
    "max_rows": Key(whole(1, 10_000_000), "40000", "maximum number of input points in a request"),
    "max_horizon": Key(whole(1, 1024), "1024", "maximum number of forecast steps in a request"),
    "max_covariates": Key(whole(0, 1000), "64", "maximum number of covariates in a request, past and future together"),
    "max_series": Key(whole(1, 10_000), "1000", "maximum number of series in a request to /v1"),
    "max_body_mib": Key(whole(1, 1024), "32", "maximum size of a request body, MiB"),
    "queue": Key(whole(1, 1000), "64", "maximum number of requests that wait or run; further ones get 429"),
    "queue_mib": Key(
        whole(1, 4096),
        "128",
        "maximum size of all request bodies in memory, and of all large answers, MiB; further requests get 429",
    ),
    "deadline_s": Key(
        whole(1, 3600),
        "60",
        "seconds after which a request gets 504; raise it if SQL queries use a longer timeout",
    ),
    "stall_s": Key(
        whole(1, 3600),
        "120",
        "seconds after which a running batch counts as hung and the service is restarted; must exceed deadline_s",
    ),
    "register": Key(
        one_of("auto", "yes", "no"),
        "auto",
        "whether SQL lists the family: auto, yes or no; auto: while its unit is enabled or a balancer serves it",
    ),
    "allow": Key(
        networks, "", "networks of clients that may connect, such as 127.0.0.0/8 10.1.0.0/16; empty: all networks"
    ),
    "token_file": Key(absolute, "", "file with a bearer token that every request must carry; empty: no token"),
    "page": Key(switch, "yes", "whether the service shows its page at /: yes or no"),
    "log_level": Key(
        one_of("debug", "info", "warning", "error"),
        "info",
        "lowest level that is logged: debug, info, warning or error",
    ),
}


class Settings(SimpleNamespace):
    """The values of one family's settings, one attribute for each key of ``KEYS``.

    ``sources`` holds the source of each value: an option, or the file with section and key.
    """


def path() -> Path:
    """The path of the settings file. The file need not exist."""
    return Path(os.environ.get("TSFM_INI", DEFAULT_FILE))


def read(family: str, given: Mapping[str, str | None], file: Path | None = None) -> Settings:
    """The family's settings.

    Sections and keys of the whole file are checked, so that a misspelt name is always found. Values are checked only
    if they apply to this family.

    Args:
        given: texts from the command line by key; None: the option is absent.
        file: the ini file; None: $TSFM_INI, else /etc/taos/tsfm.ini, which need not exist.

    Raises:
        ConfigError: the message names the file or option, section and key.
    """
    file = file or path()
    sections = sections_of(file)
    own = {name: sections[name] for name in (inifile.DEFAULT, family) if name in sections}
    texts, sources = {}, {}
    for name, key in KEYS.items():
        texts[name], sources[name] = key.default, f"{file}: [{family}] {name}"
        for section, there in own.items():
            if name in there.keys:
                texts[name], sources[name] = there.keys[name].value, f"{file}: [{section}] {name}"
        if (option := given.get(name)) is not None:
            # A relative path on the command line is relative to the working directory.
            texts[name] = os.path.abspath(option) if option and key.read is absolute else option
            sources[name] = f"--{name.replace('_', '-')}"
    found = Settings(**values(KEYS, texts, sources), sources=sources)
    if found.deadline_s >= found.stall_s:
        # Otherwise who restarts a hung service, or takes its host out, gives its requests to others before their 504.
        raise ConfigError(
            f"{sources['deadline_s']}: expected less than stall_s = {found.stall_s}, so that the requests of a hung "
            f"model get 504 before the service is restarted, got {found.deadline_s}; raise stall_s or lower deadline_s"
        )
    return found


def texts(family: str, file: Path) -> dict[str, str]:
    """What the file sets for the family, in its own section or in [DEFAULT], by key, as it is written there."""
    sections = sections_of(file)
    there = [sections[name].keys for name in (inifile.DEFAULT, family) if name in sections]
    return {key: entry.value for keys in there for key, entry in keys.items()}


def authority(host: str, port: int) -> str:
    """Host and port in URL form; an IPv6 address is put in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def section(name: str, table: Mapping[str, Key], file: Path | None = None) -> dict[str, object]:
    """The values of a section that is no family's; [DEFAULT] is for the services, and does not apply to it.

    Raises:
        ConfigError: the message names the file, section and key.
    """
    file = file or path()
    there = sections_of(file).get(name, inifile.Section(0, {}))
    check_keys(file, name, there, table)
    texts = {key: there.keys[key].value if key in there.keys else known.default for key, known in table.items()}
    return values(table, texts, {key: f"{file}: [{name}] {key}" for key in table})


def values(table: Mapping[str, Key], texts: Mapping[str, str], sources: Mapping[str, str]) -> dict[str, object]:
    """The parsed value of each key; None if the text is empty and the key has no default.

    Raises:
        ConfigError: a text is not valid for its key; the message begins with the key's source.
    """
    found: dict[str, object] = {}
    for name, key in table.items():
        try:
            found[name] = key.read(texts[name]) if texts[name] or key.default else None
        except ValueError as error:
            hint = "; a comment needs a line of its own" if has_comment(texts[name]) else ""
            raise ConfigError(f"{sources[name]}: {error}{hint}") from None
    return found


def sections_of(file: Path) -> inifile.Sections:
    """The file's sections. Every section and key is a known one.

    Raises:
        ConfigError: a section or key is unknown; the message has its line and the nearest known name.
    """
    sections = inifile.read(file)
    known = [inifile.DEFAULT, *card.names(), *_OF_OTHERS]
    for name, section in sections.items():
        if name not in known:
            shown = [f"[{one}]" for one in known if one in (inifile.DEFAULT, *_OF_OTHERS) or card.read(one).packaged]
            near = inifile.nearest(f"[{name.strip()}]", [f"[{one}]" for one in known])
            raise ConfigError(
                f"{file}: line {section.line}: [{name}]: unknown section; known are {', '.join(shown)}{near}"
            )
        if name not in _OF_OTHERS:
            check_keys(file, name, section, KEYS)
    return sections


def check_keys(file: Path, name: str, section: inifile.Section, table: Mapping[str, Key]) -> None:
    """Reject a key that is not in ``table``.

    Raises:
        ConfigError: the message has its line and the nearest known name.
    """
    for key, entry in section.keys.items():
        if key not in table:
            near = inifile.nearest(key, table)
            raise ConfigError(
                f"{file}: line {entry.line}: [{name}] {key}: unknown key; known are {', '.join(table)}{near}"
            )
