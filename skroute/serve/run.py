"""Serve until told to stop."""

from __future__ import annotations

import logging
import signal
from typing import Any

from skroute._optional import require
from skroute.serve.app import create_app
from skroute.serve.settings import Settings

logger = logging.getLogger("skroute.serve")

# Connections at once; others are told to come back later (503).
_MOST_CONNECTIONS = 512


def serve(settings: Settings, host: str, port: int) -> None:
    """Serve a router until SIGTERM or SIGINT; requests in progress are answered."""
    uvicorn: Any = require("uvicorn", "skroute serve", "serve")
    app = create_app(settings)
    if settings.api_key is None and host not in ("127.0.0.1", "::1", "localhost"):
        logger.warning("anyone who reaches %s can ask this service: no API key", host)
    # The server stops at either and raises it again at its end, which is no failure.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)
    config = uvicorn.Config(
        app,
        host=host,
        port=port,
        access_log=False,
        log_level="warning",
        limit_concurrency=_MOST_CONNECTIONS,
        timeout_graceful_shutdown=int(settings.timeout) + 1,
    )

    class Server(uvicorn.Server):
        async def startup(self, sockets: Any = None) -> None:
            await super().startup(sockets)
            if self.started:
                logger.info("serving %s on http://%s:%d", settings.router, host, port)

    server = Server(config)
    gateway = app.state.service.gateway
    if gateway is not None:
        gateway.on_failure = lambda: setattr(server, "should_exit", True)
    server.run()
    if gateway is not None and gateway.error is not None:
        raise ValueError(
            f"LiteLLM cannot use {settings.models}: {gateway.error}"
        ) from gateway.error
    logger.info("stopped")
