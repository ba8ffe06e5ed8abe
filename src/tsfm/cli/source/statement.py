"""Reads the result of a SELECT statement through taosAdapter, with the settings of [tdengine]."""

from __future__ import annotations

import re
from itertools import chain

from tsfm.cli.source import typed
from tsfm.errors import UsageError
from tsfm.system.subprocesses import Deadline
from tsfm.table.rows import Rows
from tsfm.tdgpt import database, rest

LIMIT_S = 300.0
LARGEST = 256 << 20


def read(sql: str) -> Rows:
    """The rows of the result; a line is a row, and the names are line 1.

    Raises:
        UsageError: it is no SELECT, or gives no rows.
        ConfigError: [tdengine] is wrong.
        DatabaseError: the database refuses it, or is out of reach.
    """
    # The settings may name a user who may change data: a forecast must not.
    if not re.match(r"\s*select\b", sql, re.IGNORECASE) or re.search(r";\s*\S", sql):
        raise UsageError(f"--sql: expected one SELECT statement, got {sql[:60]!r}")
    answer = rest.query(database.read(), sql.rstrip().rstrip(";"), Deadline.after(LIMIT_S), LARGEST, LIMIT_S)
    if not answer.rows:
        raise UsageError(f"--sql: the statement gives no rows: {sql[:200]}")
    rows = ([typed.text(cell) for cell in row] for row in answer.rows)
    return typed.table("--sql", chain([answer.names], rows), header=True)
