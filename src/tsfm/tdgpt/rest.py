"""Runs one SQL statement through taosAdapter's REST API."""

from __future__ import annotations

import base64
import http.client
import json
import socket
import threading
from dataclasses import dataclass, field

from tsfm import settings
from tsfm.errors import TsfmError
from tsfm.system.subprocesses import Deadline

SECTION = settings.DATABASE
LARGEST = 4 << 20
SILENCE_S = 5.0


class DatabaseError(TsfmError):
    """The database refused the statement or did not answer."""


class Unreachable(DatabaseError):
    """No database answers this way; another way may work."""


@dataclass(frozen=True)
class Access:
    """How to reach the database; ``repr`` hides the password."""

    host: str
    rest_port: int
    native_port: int
    user: str
    password: str = field(repr=False)
    is_default: bool


@dataclass(frozen=True)
class Answer:
    """A result set: the columns' names, and rows of JSON values, each as long as ``names``."""

    names: list[str]
    rows: list[list[object]]


def query(access: Access, sql: str, deadline: Deadline, largest: int = LARGEST, silence_s: float = SILENCE_S) -> Answer:
    """Run a statement.

    Args:
        largest: bytes of an answer that are read at most.
        silence_s: seconds without a byte after which the adapter counts as out of reach.

    Raises:
        Unreachable: nothing answers there, or something else than taosAdapter.
        DatabaseError: the database refuses the statement, or the answer is larger.
    """
    where = f"taosAdapter at {access.host}:{access.rest_port}"
    connection = http.client.HTTPConnection(access.host, access.rest_port, timeout=min(deadline.left, silence_s))
    token = base64.b64encode(f"{access.user}:{access.password}".encode()).decode()
    # The timeout of a socket starts again with each byte; this timer does not.
    watch = threading.Timer(deadline.left, _shut_down, [connection])
    watch.start()
    try:
        connection.request("POST", "/rest/sql", sql.encode(), {"Authorization": f"Basic {token}"})
        response = connection.getresponse()
        status, body = response.status, response.read(largest + 1)
        if len(body) <= largest and response.length:
            raise http.client.IncompleteRead(body, response.length)
    except (OSError, http.client.HTTPException) as error:
        reason = "did not answer in time" if deadline.passed else f"cannot be reached ({_reason(error)})"
        raise Unreachable(f"{where} {reason}") from None
    finally:
        watch.cancel()
        connection.close()
    if len(body) > largest:
        raise DatabaseError(f"{where}: expected an answer of at most {largest >> 20} MiB, got more; select fewer rows")
    if status == 401:
        raise DatabaseError(f"{where} refuses user {access.user}: set user and password_file in [{SECTION}]")
    return _answer(where, status, body)


def _answer(where: str, status: int, body: bytes) -> Answer:
    try:
        fields = json.loads(body)
        code = int(fields["code"])
        names = [str(column[0]) for column in fields.get("column_meta", ())] if not code else []
    except (ValueError, LookupError, TypeError, RecursionError):
        raise Unreachable(f"{where} answered {status}, but not in the form of taosAdapter") from None
    if code:
        raise DatabaseError(f"{where}: {str(fields.get('desc', 'no reason given'))[:200]} (code {code:#x})")
    if status != 200:
        raise Unreachable(f"{where} answered {status}")
    rows = fields.get("data")
    return Answer(names, rows if isinstance(rows, list) else [])


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


def _shut_down(connection: http.client.HTTPConnection) -> None:
    sock = connection.sock
    if isinstance(sock, socket.socket):
        try:
            sock.shutdown(socket.SHUT_RDWR)
        except OSError:
            return  # it is already closed
