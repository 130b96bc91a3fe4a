"""The door of a service: who may come in, and with how much."""

from __future__ import annotations

import hmac
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import anyio

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

# Seconds in which a request's body has to come.
_PATIENCE = 30.0
_OPEN = "/health"


class Guard:
    """ASGI middleware that checks the key and reads the body, up to a limit.

    Parameters
    ----------
    app : ASGI application
        What answers requests that pass.
    api_key : str or None
        The key; None lets anyone in. ``/health`` is open.
    max_bytes : int
        Largest body.
    refuse : callable
        Makes the ASGI response of a status and a sentence.
    """

    def __init__(
        self,
        app: Any,
        *,
        api_key: str | None,
        max_bytes: int,
        refuse: Callable[[int, str], Any],
    ) -> None:
        self._app = app
        self._key = None if api_key is None else api_key.encode()
        self._max_bytes = max_bytes
        self._refuse = refuse

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        if scope["path"] != _OPEN and not self._is_allowed(headers):
            why = "the API key is missing or wrong: send Authorization: Bearer KEY."
            await self._refuse(401, why)(scope, receive, send)
            return
        try:
            with anyio.fail_after(_PATIENCE):
                body = await self._read(headers, receive)
        except TimeoutError:
            await self._refuse(408, "the body took too long.")(scope, receive, send)
            return
        if body is None:
            why = f"the body has more than {self._max_bytes:,} bytes."
            await self._refuse(413, why)(scope, receive, send)
            return
        await self._app(scope, _replay(body, receive), send)

    def _is_allowed(self, headers: dict[bytes, bytes]) -> bool:
        if self._key is None:
            return True
        kind, _, given = headers.get(b"authorization", b"").partition(b" ")
        return kind.lower() == b"bearer" and hmac.compare_digest(
            given.strip(), self._key
        )

    async def _read(
        self, headers: dict[bytes, bytes], receive: Receive
    ) -> bytes | None:
        """Read a body; None if it is too large."""
        said = headers.get(b"content-length", b"")
        if said.isdigit() and int(said[:20]) > self._max_bytes:
            return None
        parts: list[bytes] = []
        n_bytes = 0
        while True:
            message = await receive()
            if message["type"] != "http.request":  # the client went away
                return b"".join(parts)
            parts.append(message.get("body", b""))
            n_bytes += len(parts[-1])
            if n_bytes > self._max_bytes:
                return None
            if not message.get("more_body"):
                return b"".join(parts)


def _replay(body: bytes, receive: Receive) -> Receive:
    """Give a body that was read, then what comes after it."""
    given = False

    async def again() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return again
