"""Lets a replica answer its requests itself, where Serve would make two tasks and some records of each.

Serve starts a server in each replica and asks ``middlewares`` what goes before its own application there
(``RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH``). What it would record is for autoscaling, which a fleet does not use,
and for its own metrics: a replica has those of the service. When a replica is to end, that server itself waits for the
requests that have begun.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from starlette.middleware import Middleware

if TYPE_CHECKING:  # Serve's proxies import this module, and need no more of ours
    from tsfm.http.asgi import Asgi, Receive, Send
    from tsfm.http.wsgi import Scope

log = logging.getLogger(__name__)
_services: dict[str, Asgi] = {}


def put(prefix: str, service: Asgi) -> None:
    """Have the servers that this process starts from now on bring paths below ``prefix``, such as /chronos, to it."""
    _services[prefix] = service


def middlewares() -> list[Middleware]:
    """What Serve puts before its application: nothing in its proxies, whose processes have no service."""
    return [Middleware(Direct, prefix, service) for prefix, service in _services.items()]


class Direct:
    """An ASGI application: requests below a prefix go to a service, all others to Serve, such as its checks."""

    def __init__(self, rest: Any, prefix: str, service: Asgi) -> None:
        self._rest, self._prefix, self._service = rest, prefix, service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope["path"] if scope["type"] == "http" else ""
        if path.startswith(self._prefix) and path[len(self._prefix) :][:1] in ("", "/"):
            await self._answer({**scope, "root_path": self._prefix}, receive, send)
        else:
            await self._rest(scope, receive, send)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await self._service(scope, receive, send)
        except Exception:
            log.exception("%s %s", scope["method"], scope["path"])  # Serve has silenced its server's log
            raise
