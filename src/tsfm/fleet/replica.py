"""A family as an application of Ray Serve: one replica is one process, with the engine and its HTTP in it.

It is made for Ray's haproxy mode, in which haproxy on each node brings a request to a replica's own port. The app is
that of ``tsfm.http.asgi``, so a replica gives the answers of a single host, and refuses as one does.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from ray import serve

from tsfm import paths
from tsfm.fleet import direct
from tsfm.fleet.applications import CHECK_S
from tsfm.fleet.balancer import fleet_prefix
from tsfm.http import asgi
from tsfm.http.wsgi import Scope

FAILURES = 3  # of the check one after the other, until Serve starts another replica: it is not a setting
# More than any `queue`, so that the service refuses, in its own words.
MOST_REQUESTS = 1000


class Replica:
    """What Serve starts, asks for its health, and ends."""

    def __init__(self, family: str, given: Mapping[str, str]) -> None:
        paths.use_packages(family)
        self._service = asgi.create(family, given)
        self._service.load()
        direct.put(fleet_prefix(family), self._service)

    def __serve_build_asgi_app__(self) -> Any:
        served = self._service

        # A function: uvicorn takes an object for an app of ASGI 2.
        async def app(scope: Scope, receive: asgi.Receive, send: asgi.Send) -> None:
            if scope["type"] == "lifespan":
                await _live(receive, send)
            else:
                await served(scope, receive, send)

        return app

    async def check_health(self) -> None:
        """The check of the watchdog on a single host, so early that Serve replaces the replica after ``stall_s``."""
        if not await asyncio.to_thread(self._service.healthy, (FAILURES - 1) * CHECK_S):
            raise RuntimeError("a batch has run for more than stall_s")

    def __del__(self) -> None:
        # Serve calls it when nothing is inside any more, or graceful_shutdown_timeout_s have passed.
        if service := getattr(self, "_service", None):
            service.stop()


async def _live(receive: asgi.Receive, send: asgi.Send) -> None:
    """The server's life has nothing to do here: the model is loaded before, and ends with the replica."""
    for what in ("startup", "shutdown"):
        await receive()
        await send({"type": f"lifespan.{what}.complete"})


Deployment = serve.deployment(serve.ingress()(Replica), name="Family", max_ongoing_requests=MOST_REQUESTS)


def build(arguments: dict[str, Any]) -> Any:
    """The application of a family: Serve calls it with the ``args`` of ``tsfm.fleet.applications``."""
    return Deployment.bind(arguments["family"], arguments["settings"])
