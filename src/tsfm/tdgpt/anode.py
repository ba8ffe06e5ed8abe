"""The running anode: restarting it, waiting for it, asking what it lists."""

from __future__ import annotations

import http.client
import json
import shutil
import socket
import ssl
import time

from tsfm import paths
from tsfm.errors import TsfmError
from tsfm.system.subprocesses import Deadline, NotInTime, run
from tsfm.tdgpt.host import UNIT, Anode


class AnodeTrouble(TsfmError):
    """The anode does not do what we need."""

    def __init__(self, text: str, remedy: str = f"run: systemctl restart {UNIT}") -> None:
        super().__init__(text)
        self.remedy = remedy


def restart(address: tuple[str, int], deadline: Deadline) -> str:
    """Restart TDgpt if it runs, and wait until it answers.

    Returns: what was done, for a person.

    Raises:
        AnodeTrouble: it did not come back in time.
    """
    systemctl = shutil.which("systemctl")
    if systemctl is None or not (paths.ROOT / "run/systemd/system").is_dir():
        return "no systemd here: restart TDgpt yourself if it runs"
    remedy = f"see: systemctl status {UNIT}"
    try:
        status, _ = run([systemctl, "is-active", "--quiet", UNIT], deadline)
        if status:
            return f"{UNIT} is not running: it reads the change when it starts"
        status, said = run([systemctl, "try-restart", UNIT], deadline)
    except NotInTime:
        raise AnodeTrouble(f"{UNIT} is still restarting; {remedy}") from None
    if status:
        raise AnodeTrouble(f"{UNIT} did not restart: {' '.join(said.split())}; {remedy}")
    while not reachable(address):
        if deadline.passed:
            raise AnodeTrouble(f"{UNIT} restarted, but port {address[1]} does not answer yet; {remedy}")
        time.sleep(0.1)  # a port cannot be waited for
    return f"{UNIT} restarted"


def reachable(address: tuple[str, int]) -> bool:
    """Whether somebody accepts connections there."""
    try:
        socket.create_connection(address, timeout=1).close()
    except OSError:
        return False
    return True


def listed(where: Anode, timeout_s: float = 3) -> set[str]:
    """The names that the anode's /list has.

    Raises:
        AnodeTrouble: no such answer.
    """
    try:
        return _listed(where, bool(where.tls), timeout_s)
    except AnodeTrouble:
        if where.tls is not None:
            raise
    # Only running its configuration would tell whether it has a certificate.
    return _listed(where, True, timeout_s)


def _listed(where: Anode, tls: bool, timeout_s: float) -> set[str]:
    place = f"{'https://' if tls else ''}{where.host}:{where.port}"
    connection = http.client.HTTPConnection(*where.address, timeout=timeout_s)
    try:
        if tls:
            connection = http.client.HTTPSConnection(*where.address, timeout=timeout_s, context=_context(where))
        connection.request("GET", "/list")
        response = connection.getresponse()
        answer = json.loads(response.read(4_000_000))
        return {str(algo["name"]) for kind in answer["details"] for algo in kind["algo"]}
    except ssl.SSLError as error:
        raise _refusal(place, error) from None
    except (OSError, http.client.HTTPException, ValueError, LookupError, TypeError) as error:
        raise AnodeTrouble(f"no list from {place}: {error or type(error).__name__}") from None
    finally:
        connection.close()


def _context(where: Anode) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False  # it is reached by its address, and certificates name hosts
    if where.host in ("localhost", "::1") or where.host.startswith("127."):
        # Loopback only: nobody stands between, and an anode's own certificate is signed by nobody that we know.
        # Old versions and short keys that its `ssl_version` and `ciphers` allow are fine there as well.
        context.verify_mode = ssl.CERT_NONE
        context.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
        context.set_ciphers("ALL:@SECLEVEL=0")
    elif where.certificate:
        # Exactly the certificate that its configuration names.
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        context.load_verify_locations(where.certificate)
    else:
        context.load_default_certs()
    return context


def _refusal(place: str, error: ssl.SSLError) -> AnodeTrouble:
    reason = error.reason or str(error)
    if isinstance(error, ssl.SSLCertVerificationError):
        return AnodeTrouble(
            f"{place} has another certificate than that of its configuration: {error.verify_message}",
            f"after a change of certfile run: systemctl restart {UNIT}",
        )
    if "CERTIFICATE_REQUIRED" in reason or "HANDSHAKE_FAILURE" in reason:
        return AnodeTrouble(
            f"no list from {place}: it asks for a client's certificate ({reason})",
            f"ask it with one: curl -k --cert FILE --key FILE {place}/list",
        )
    return AnodeTrouble(f"{place} does not speak TLS yet, though its configuration has certfile or keyfile ({reason})")
