"""One HTTP request with the standard library only: proxies, redirects, and errors as sentences."""

from __future__ import annotations

import http.client
import ipaddress
import os
import re
import ssl
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from email.message import Message
from functools import cache, partial
from urllib.error import URLError
from urllib.parse import SplitResult, urljoin, urlsplit

from tsfm import __version__
from tsfm.errors import ConfigError, TsfmError

_REDIRECTS = (301, 302, 303, 307, 308)
_MOST_REDIRECTS = 5
_SILENCE_S = 10.0


class Unreachable(TsfmError):
    """The hub did not answer at all; another source of the weights may help."""


class Busy(TsfmError):
    """The hub or the connection failed for now; a retry may work."""

    def __init__(self, message: str, wait_s: float | None = None) -> None:
        super().__init__(message)
        self.wait_s = wait_s


@dataclass(frozen=True)
class Reply:
    """A response whose body is not read yet: ``read`` returns the next bytes, and b"" at the end."""

    url: str
    status: int
    headers: Message
    read: Callable[[], bytes]


class _Unprocessed(urllib.request.HTTPErrorProcessor):
    """Return every response as it is; the caller handles redirects and errors."""

    def http_response(self, request: urllib.request.Request, response: http.client.HTTPResponse) -> object:
        return response

    def https_response(self, request: urllib.request.Request, response: http.client.HTTPResponse) -> object:
        return response


@contextmanager
def send(
    method: str,
    url: str,
    headers: dict[str, str],
    token: tuple[str, str] = ("", ""),
    enough: Callable[[Reply], bool] = lambda _: False,
) -> Iterator[Reply]:
    """Send one request and follow its redirects.

    Args:
        token: an address and the access token for it; the token is sent to that host only.
        enough: returns True if a redirect response already holds what the caller needs.

    Raises:
        Unreachable, Busy, TsfmError: no response, with the reason; also while the body is read.
    """
    home, secret = token
    for _ in range(_MOST_REDIRECTS):
        known = {"Authorization": f"Bearer {secret}"} if secret and origin(url) == origin(home) else {}
        known |= {"User-Agent": f"taos-tsfm/{__version__}", "Accept-Encoding": "identity"}
        request = urllib.request.Request(url, None, headers | known, method=method)  # noqa: S310
        with _as_sentences(url), _opener(urlsplit(url)).open(request, timeout=silence_s()) as response:
            reply = Reply(url, response.status, response.headers, partial(response.read1, 1 << 18))
            if reply.status not in _REDIRECTS or enough(reply):
                yield reply
                return
            url = onward(reply)
    raise TsfmError(f"{url}: redirected more than {_MOST_REDIRECTS} times")


def silence_s() -> float:
    """Read timeout: seconds without a byte after which a connection counts as dead."""
    text = os.environ.get("HF_HUB_DOWNLOAD_TIMEOUT") or str(_SILENCE_S)
    if not re.fullmatch(r"\d+(\.\d+)?", text) or not float(text):
        raise ConfigError(f"HF_HUB_DOWNLOAD_TIMEOUT: expected seconds above 0, got {text!r}")
    return float(text)


def onward(reply: Reply) -> str:
    """The target of a redirect; the response's own address if it is no redirect."""
    return _target(reply.url, reply.headers.get("Location", "")) if reply.status in _REDIRECTS else reply.url


def shown(url: str) -> str:
    """Scheme, host and port of an address, without a password, for messages."""
    split = urlsplit(url)
    return f"{split.scheme}://{split.netloc.rpartition('@')[2]}"


def origin(url: str) -> tuple[str, str, int]:
    """Scheme, host and port of an address.

    Raises:
        ConfigError: the address is not a valid http or https address.
    """
    try:
        split = urlsplit(url)
        if split.username is not None:
            raise ConfigError(f"{shown(url)}: expected an address without a user name and a password: use HF_TOKEN")
        if split.scheme in ("http", "https") and split.hostname:
            return split.scheme, split.hostname, split.port or {"http": 80, "https": 443}[split.scheme]
    except ValueError as error:
        raise ConfigError(f"{url!r}: expected an address like https://huggingface.co: {error}") from None
    raise ConfigError(f"{url!r}: expected an address that begins with https:// or http://")


def _target(url: str, location: str) -> str:
    found = urljoin(url, location)
    if urlsplit(found).scheme not in ("http", "https") or (url.startswith("https:") and found.startswith("http:")):
        raise TsfmError(f"{shown(url)} redirects to {found[:200]!r}: expected an address with https://")
    origin(found)
    return found


def _proxy(target: SplitResult) -> str:
    """The proxy that the environment sets for the address; empty: none.

    Raises:
        ConfigError: its protocol is not supported.
    """
    host, known = target.hostname or "", urllib.request.getproxies()
    proxy = known.get(target.scheme) or known.get("all") or ""
    if not proxy or urllib.request.proxy_bypass(host) or _in_networks(host, known.get("no", "")):
        return ""
    kind, separator, _ = proxy.rpartition("://")
    if separator and kind.lower() not in ("http", "https"):
        raise ConfigError(
            f"the environment names a proxy {kind}://... that tsfm cannot use: set {target.scheme.upper()}_PROXY to "
            f"an HTTP proxy, http://host:port, or NO_PROXY={host} to go without one"
        )
    return proxy if separator else f"http://{proxy}"


def _in_networks(host: str, listed: str) -> bool:
    """Whether an IP address is in one of NO_PROXY's networks, for example 10.0.0.0/8."""
    for entry in filter(None, (part.strip() for part in listed.split(","))):
        try:
            if ipaddress.ip_address(host) in ipaddress.ip_network(entry, strict=False):
                return True
        except ValueError:
            continue  # a host name; proxy_bypass compares those
    return False


def _opener(target: SplitResult) -> urllib.request.OpenerDirector:
    proxy = _proxy(target)
    handlers = [urllib.request.ProxyHandler({target.scheme: proxy} if proxy else {}), _Unprocessed()]
    if "https" in (target.scheme, urlsplit(proxy).scheme):
        bundle = os.environ.get("REQUESTS_CA_BUNDLE") or os.environ.get("CURL_CA_BUNDLE")
        handlers.append(urllib.request.HTTPSHandler(context=_trusted(bundle)))
    return urllib.request.build_opener(*handlers)


@cache  # to read the certificates of a host takes longer than a short request
def _trusted(bundle: str | None) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=bundle)
    except OSError as error:
        raise ConfigError(f"REQUESTS_CA_BUNDLE: {bundle}: expected certificates in PEM form: {error}") from None


@contextmanager
def _as_sentences(url: str) -> Iterator[None]:
    address = shown(url)
    try:
        yield
    except http.client.InvalidURL as error:
        raise ConfigError(f"{url!r}: {error}") from error
    except http.client.HTTPException as error:
        if isinstance(error, http.client.RemoteDisconnected | http.client.IncompleteRead):
            raise Busy(f"the connection to {address} was interrupted") from error
        raise TsfmError(f"{address} answers, but not in HTTP ({type(error).__name__})") from error
    except URLError as error:
        raise _unreachable(address, url, error.reason) from error
    except TimeoutError as error:
        raise Busy(f"{address} has sent nothing for {silence_s():g} s") from error
    except (ConnectionError, ssl.SSLError) as error:
        raise Busy(f"the connection to {address} was interrupted") from error


def _unreachable(address: str, url: str, reason: object) -> TsfmError:
    message = reason.strerror if isinstance(reason, OSError) and reason.strerror else str(reason)
    if isinstance(reason, ssl.SSLCertVerificationError):
        return TsfmError(
            f"{address}: its certificate is not accepted ({reason.verify_message}): install ca-certificates, or name "
            "your own certificates in REQUESTS_CA_BUNDLE"
        )
    proxy = _proxy(urlsplit(url))
    through = f" through the proxy {shown(proxy)}" if proxy else ""
    if refused := re.search(r"Tunnel connection failed: (\d+)", message):
        return proxy_refusal(address, int(refused[1]), through)
    return Unreachable(f"{address} cannot be reached{through} ({message})")


def proxy_refusal(address: str, status: int, through: str = "") -> TsfmError:
    """The error for a response in which the proxy itself refuses."""
    if status == 407:
        return TsfmError(
            f"{address} cannot be reached{through}: the proxy requires a user name and a password (407): "
            "set HTTPS_PROXY to http://name:password@host:port"
        )
    if status >= 500:
        return Unreachable(f"{address} cannot be reached{through}: the proxy answers {status}")
    return Unreachable(f"{address} cannot be reached{through}: the proxy refuses the connection ({status})")
