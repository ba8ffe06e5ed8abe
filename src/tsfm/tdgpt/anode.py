"""Restarts the anode, waits until it answers, and asks which algorithms it lists."""

from __future__ import annotations

import http.client
import json
import socket
import ssl
import time

from tsfm.errors import TsfmError
from tsfm.system import systemctl
from tsfm.system.subprocesses import Deadline, NotInTime, run
from tsfm.tdgpt.host import UNIT, Anode


class AnodeError(TsfmError):
    """The anode could not be restarted or asked; ``remedy`` is the next step."""

    def __init__(self, text: str, remedy: str = f"run: systemctl restart {UNIT}") -> None:
        super().__init__(text)
        self.remedy = remedy


def restart(address: tuple[str, int], deadline: Deadline) -> str:
    """Restart TDgpt if it runs, and wait until it answers.

    Returns: one sentence about what was done.

    Raises:
        AnodeTrouble: it did not come back in time.
    """
    program = systemctl.find()
    if program is None:
        return "systemd is not running here: restart TDgpt yourself if it runs"
    remedy = f"see: systemctl status {UNIT}"
    try:
        status, _ = run([program, "is-active", "--quiet", UNIT], deadline)
        if status:
            return f"{UNIT} is not running; it will read the change when it starts"
        status, output = run([program, "try-restart", UNIT], deadline)
    except NotInTime:
        raise AnodeError(f"{UNIT} is still restarting; {remedy}") from None
    if status:
        raise AnodeError(f"{UNIT} did not restart: {' '.join(output.split())}; {remedy}")
    while not reachable(address):
        if deadline.passed:
            raise AnodeError(f"{UNIT} restarted, but port {address[1]} does not answer yet; {remedy}")
        time.sleep(0.1)  # there is no event for a port that opens
    return f"{UNIT} restarted"


def reachable(address: tuple[str, int]) -> bool:
    """Whether connections to the address are accepted."""
    try:
        socket.create_connection(address, timeout=1).close()
    except OSError:
        return False
    return True


def listed(where: Anode, timeout_s: float = 3) -> set[str]:
    """The names of the algorithms in the anode's answer to /list.

    Raises:
        AnodeTrouble: no answer, or not such a list.
    """
    try:
        return _listed(where, bool(where.tls), timeout_s)
    except AnodeError:
        if where.tls is not None:
            raise
    # Whether it has a certificate is unknown without running its configuration: try TLS as well.
    return _listed(where, True, timeout_s)


def _listed(where: Anode, tls: bool, timeout_s: float) -> set[str]:
    address = f"{'https://' if tls else ''}{where.host}:{where.port}"
    connection = http.client.HTTPConnection(*where.address, timeout=timeout_s)
    try:
        if tls:
            connection = http.client.HTTPSConnection(*where.address, timeout=timeout_s, context=_context(where))
        connection.request("GET", "/list")
        response = connection.getresponse()
        answer = json.loads(response.read(4_000_000))
        return {str(algo["name"]) for kind in answer["details"] for algo in kind["algo"]}
    except ssl.SSLError as error:
        raise _refusal(address, error) from None
    except (OSError, http.client.HTTPException, ValueError, LookupError, TypeError) as error:
        raise AnodeError(f"{address} gives no list of algorithms: {error or type(error).__name__}") from None
    finally:
        connection.close()


def _context(where: Anode) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False  # we connect to its address, and certificates contain host names
    if where.host in ("localhost", "::1") or where.host.startswith("127."):
        # On loopback nobody can intercept, and an anode's own certificate has no known authority. Old versions and
        # short keys, which its `ssl_version` and `ciphers` may allow, are accepted there as well.
        context.verify_mode = ssl.CERT_NONE
        context.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
        context.set_ciphers("ALL:@SECLEVEL=0")
    elif where.certificate:
        # Accept only the certificate that its configuration names.
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        context.load_verify_locations(where.certificate)
    else:
        context.load_default_certs()
    return context


def _refusal(address: str, error: ssl.SSLError) -> AnodeError:
    reason = error.reason or str(error)
    if isinstance(error, ssl.SSLCertVerificationError):
        return AnodeError(
            f"{address} presents a certificate that differs from the one in its configuration: {error.verify_message}",
            f"if certfile was changed, run: systemctl restart {UNIT}",
        )
    if "CERTIFICATE_REQUIRED" in reason or "HANDSHAKE_FAILURE" in reason:
        return AnodeError(
            f"{address} gives no list of algorithms: it requires a client certificate ({reason})",
            f"check it with a certificate: curl -k --cert FILE --key FILE {address}/list",
        )
    return AnodeError(f"{address} does not speak TLS yet, though its configuration has certfile or keyfile ({reason})")
