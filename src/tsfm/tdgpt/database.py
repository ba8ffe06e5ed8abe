"""Makes TDengine ask its anodes again: through taosAdapter's REST API, else through the taos CLI."""

from __future__ import annotations

import os
import re
import shutil
import stat
from collections.abc import Callable
from pathlib import Path

from tsfm import settings
from tsfm.errors import ConfigError
from tsfm.kinds import Key, absolute, host_name, text, whole
from tsfm.system.subprocesses import Deadline, NotInTime, run
from tsfm.tdgpt import rest, trust
from tsfm.tdgpt.rest import SECTION, Access, DatabaseError, Unreachable

UPDATE_COMMAND = 'taos -s "update all anodes"'
"""The command for the operator when the update failed."""

KEYS: dict[str, Key] = {
    "host": Key(host_name, "127.0.0.1", "where taosAdapter and taosd are"),
    "rest_port": Key(whole(1, 65535), "6041", "port of taosAdapter"),
    "native_port": Key(whole(1, 65535), "6030", "port of taosd, for the taos CLI"),
    "user": Key(text, "root", "a user who may update anodes"),
    "password_file": Key(absolute, "", "file of mode 0600 that holds the password; empty: TDengine's default one"),
}


def read(file: Path | None = None) -> Access:
    """The section [tdengine] of tsfm.ini.

    Raises:
        ConfigError: a key is wrong, or the password file is missing or open to others.
    """
    values = settings.section(SECTION, KEYS, file)
    password_file = values.pop("password_file")
    password = _password(Path(str(password_file))) if password_file else "taosdata"
    return Access(**values, password=password, is_default=not password_file)  # type: ignore[arg-type]


def _password(path: Path) -> str:
    try:
        mode = path.stat().st_mode
        if mode & (stat.S_IRWXG | stat.S_IRWXO):
            raise ConfigError(f"{path}: other users may read it (mode {mode & 0o777:04o}); run: chmod 600 {path}")
        first = path.read_text(encoding="utf-8").splitlines()[:1]
    except OSError as error:
        raise ConfigError(f"{path}: the password cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{path}: expected a password in UTF-8") from None
    if not first or not first[0]:
        raise ConfigError(f"{path}: expected a password in its first line")
    return first[0]


def update_anodes(deadline: Deadline) -> str:
    """Make the database ask every anode which algorithms it has.

    Returns: one sentence about the result.

    Raises:
        DatabaseError: the update failed; the sentence gives the reason, not the remedy.
        ConfigError: [tdengine] is wrong.
    """
    access = read()
    try:
        return _update(lambda sql: len(rest.query(access, sql, deadline).rows))
    except Unreachable as refusal:
        if shutil.which("taos") is None or deadline.passed:
            raise
        try:
            return _update(lambda sql: cli(access, sql, deadline))
        except DatabaseError as error:
            raise DatabaseError(f"{refusal}; {error}") from None


def _update(execute: Callable[[str], int]) -> str:
    # Without any anode the update may hang.
    count = execute("show anodes")
    if not count:
        return "the database has no anode yet; create one in SQL: CREATE ANODE 'HOST:6035'"
    execute("update all anodes")
    return f"the database has updated its {count} anode(s)"


def cli(access: Access, sql: str, deadline: Deadline) -> int:
    """Run a statement through the taos CLI, whose exit status is 0 even after an error.

    The password is sent to its prompt (a bare -p reads it from stdin), never on its command line.

    Returns: the number of rows that it reports.

    Raises:
        DatabaseError: it failed, or did not end in time.
    """
    taos = _trusted(shutil.which("taos") or "taos")
    words = [taos, "-h", access.host, "-P", str(access.native_port), "-u", access.user]
    words += [] if access.is_default else ["-p"]
    env = {**os.environ, "HOME": os.environ.get("HOME") or "/root", "LC_ALL": "C.UTF-8"}
    try:
        stdin = "" if access.is_default else access.password + "\n"
        _, output = run([*words, "-s", sql], deadline, stdin, env)
    except (OSError, NotInTime) as error:
        raise DatabaseError(f"the taos CLI: {error}") from None
    done = re.search(r"\bOK, (\d+) rows?\b", output)
    failed = re.search(r"(?im)^.*\b(?:error|failed|denied|invalid)\b.*$", output)
    if failed or not done:
        reason = failed.group() if failed else (output.strip().splitlines() or ["no answer"])[-1]
        raise DatabaseError(f"the taos CLI: {' '.join(reason.replace(access.password, '***').split())[:200]}")
    return int(done.group(1))


def _trusted(program: str) -> str:
    """The program, unless root would run what another user can exchange, and give it the password.

    Raises:
        DatabaseError: it would.
    """
    if os.geteuid() == 0 and os.path.exists(program):
        found = trust.walk(Path(program))
        os.close(found.descriptor)
        if found.untrusted:
            raise DatabaseError(f"the taos CLI: {program} is not run as root: {found.untrusted}; make root its owner")
    return program
