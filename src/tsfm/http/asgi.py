"""The same app under any ASGI server, such as uvicorn or Ray Serve, with the same answers byte for byte.

    TSFM_FAMILY=chronos uvicorn --factory tsfm.http.asgi:create

Access is checked before a body is read, and bodies are bounded while they are received, as in ``transport``. What an
ASGI server refuses by itself, such as malformed HTTP, it answers in its own words.
"""

from __future__ import annotations

import asyncio
import logging
import os
import threading
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from tsfm import families, logs, settings
from tsfm.card import Card
from tsfm.engine.engine import Engine
from tsfm.engine.pending import Deferred
from tsfm.errors import BadRequest, NotReady, RequestError, TsfmError
from tsfm.http import auth, lifecycle, refusals, wsgi
from tsfm.http.app import create_app
from tsfm.http.auth import Head
from tsfm.http.ending import Ending
from tsfm.http.turns import Turns, unless
from tsfm.http.wsgi import Incoming, Outgoing, Scope
from tsfm.settings import Settings
from tsfm.system import preload
from tsfm.weights import checkpoints

log = logging.getLogger(__name__)
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
RECEIVE_S = 120.0  # for the whole of one body
LINGER_S = 2.0  # what a refused client still sends is discarded for this long, so that it can read the reason


def create(family: str | None = None, options: Mapping[str, str | None] | None = None) -> Asgi:
    """The ASGI app of one family, with the settings of tsfm.ini.

    Args:
        family: None: the one that the environment variable TSFM_FAMILY names.
        options: settings that go before those of tsfm.ini.

    Raises:
        ConfigError: no such family, a wrong setting, or no weights.
    """
    card = families.find(family or os.environ.get("TSFM_FAMILY", ""))
    chosen = settings.read(card.name, options or {})
    folder = checkpoints.resolve(card, chosen.model_folder, chosen.checkpoint)
    logs.set_up(chosen.log_level)
    if card.packaged:
        preload.begin()
    return Asgi(card, chosen, folder)


class Asgi:
    """An ASGI application; the server's lifespan starts and stops it, or the caller does.

    Attributes:
        failure: why the model could not be loaded; every request is refused then, also those of probes.
    """

    def __init__(self, card: Card, settings: Settings, folder: Path | None) -> None:
        self._card, self._settings, self._folder = card, settings, folder
        self._engine = Engine(card, settings)
        self._app = create_app(self._engine).wsgi_app
        self._access = auth.rules(settings)
        if self._access:
            self._access.on_refusal = self._engine.count
        self._turns = Turns(self._engine.ingress)
        self._held = 0  # bytes of all bodies that are being received or wait for their answer
        self._unread = 0  # bytes of answers that clients have not read yet
        self._engine.ingress.unread = lambda: self._unread
        self.failure: TsfmError | None = None

    def start(self) -> None:
        """Begin to load the model; until that is done, requests for it get 503."""
        threading.Thread(target=self._load, name="load", daemon=True).start()

    def load(self) -> None:
        """Load the model; requests are answered from then on.

        Raises:
            TsfmError: it could not be loaded.
        """
        lifecycle.load(self._engine, self._card, self._settings, self._folder)

    def healthy(self, sooner_s: float = 0.0) -> bool:
        """See ``Engine.healthy``; to find out may take ``stall_s``."""
        return self._engine.healthy(sooner_s)

    def stop(self) -> None:
        """Refuse new requests, wait for the accepted ones, and end the inference threads; takes some seconds."""
        lifecycle.drain(self._engine)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection of the server's kind: a request, or its own life."""
        if scope["type"] == "lifespan":
            await self._live(receive, send)
        elif scope["type"] == "http":
            await self._exchange(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close"})  # before it is accepted: the client gets 403
        else:
            raise ValueError(f"scope: expected lifespan, http or websocket, got {scope['type']!r}")

    async def _live(self, receive: Receive, send: Send) -> None:
        ending = Ending(self._engine)
        await receive()  # lifespan.startup
        ending.begin()
        self.start()
        await send({"type": "lifespan.startup.complete"})
        await receive()  # lifespan.shutdown
        ending.end()
        await asyncio.to_thread(self.stop)
        await send({"type": "lifespan.shutdown.complete"})

    def _load(self) -> None:
        try:
            self.load()
        except TsfmError as error:
            log.critical("%s", error)
            self.failure = error

    async def _exchange(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, unless its client leaves first."""
        incoming: Incoming | None = None
        try:
            incoming = Incoming.of(scope)
            self._admit(incoming)
            await self._receive_body(incoming, receive)
            if not incoming.left and (outgoing := await self._answer(incoming, receive)):
                await self._deliver(outgoing, send)
        except RequestError as error:
            self._release(incoming)
            await _send(Outgoing.refusal(error), send, receive)
        finally:
            self._release(incoming)

    async def _deliver(self, outgoing: Outgoing, send: Send) -> None:
        """Send an answer, at the speed of its client; until then it counts as unread."""
        self._unread += outgoing.size
        try:
            await _send(outgoing, send)
        finally:
            self._unread -= outgoing.size

    def _admit(self, incoming: Incoming) -> None:
        """Refuse what can be refused before the body is read."""
        if self._access:
            path = "/" + incoming.path.lstrip("/")
            authorization = incoming.headers.get("AUTHORIZATION", "")
            self._access.check(Head(incoming.address, incoming.method, path, authorization, incoming.has_body))
        if incoming.declared_bytes >= self._most_bytes:
            raise refusals.too_large(self._most_bytes)
        if self.failure:
            raise NotReady(f"{self._card.name} could not be loaded; the log says why")

    async def _receive_body(self, incoming: Incoming, receive: Receive) -> None:
        """Collect the body as long as it and all bodies together are within their bounds."""
        budget, more = self._settings.queue_mib << 20, True
        try:
            async with asyncio.timeout(RECEIVE_S):
                while more and not incoming.left:
                    message = await receive()
                    incoming.left = message["type"] == "http.disconnect"
                    piece, more = message.get("body", b""), message.get("more_body", False)
                    self._held += incoming.add(piece)
                    size = len(incoming.body)
                    if size >= self._most_bytes:
                        raise refusals.too_large(self._most_bytes)
                    if size > refusals.SMALL_BODY and self._held - size > budget:
                        raise refusals.too_many(budget)
        except TimeoutError:
            raise BadRequest(f"body: expected all of it within {RECEIVE_S:g} s") from None

    def _release(self, incoming: Incoming | None) -> None:
        if incoming:
            self._held -= incoming.drop()

    async def _answer(self, incoming: Incoming, receive: Receive) -> Outgoing | None:
        """Run the app; None: the client has left, and what waited for the model is taken back."""
        environ = incoming.environ()
        # Everything but a POST takes next to no time, and goes first.
        post = incoming.method == "POST"
        outcome = await self._turns.run(lambda: wsgi.run(self._app, environ)) if post else wsgi.run(self._app, environ)
        while isinstance(outcome, Deferred):
            deferred = outcome
            rest = self._turns.after(deferred.future, lambda: wsgi.resume(deferred, environ))  # noqa: B023  awaited here
            try:
                outcome = await unless(rest, lambda: _left(incoming, receive))
            except asyncio.CancelledError:
                if not incoming.left:  # the server has given up
                    raise
                return None
            finally:
                deferred.future.cancel()  # has no effect on one that is done
        return outcome

    @property
    def _most_bytes(self) -> int:
        mib: int = self._settings.max_body_mib
        return mib << 20


async def _left(incoming: Incoming, receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    incoming.left = True


async def _send(outgoing: Outgoing, send: Send, unread: Receive | None = None) -> None:
    """Send an answer; ``unread``: then discard the rest of the body for a while before the connection ends.

    With unread input, TCP would discard the answer.
    """
    headers = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in outgoing.headers]
    await send({"type": "http.response.start", "status": outgoing.status, "headers": headers})
    *first, last = outgoing.pieces or [b""]
    for piece in first:
        await send({"type": "http.response.body", "body": piece, "more_body": True})
    await send({"type": "http.response.body", "body": last, "more_body": unread is not None})
    if unread:
        with suppress(TimeoutError):
            async with asyncio.timeout(LINGER_S):
                while (await unread()).get("more_body"):
                    pass
        await send({"type": "http.response.body", "body": b"", "more_body": False})
