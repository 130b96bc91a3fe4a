"""Streamed chat completions, as server-sent events."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import AsyncIterator
from typing import Any

import anyio

from skroute.serve.calls import Gateway
from skroute.serve.completions import Call, Chat, count_bill, refuse, write_calls
from skroute.serve.service import Service

logger = logging.getLogger("skroute.serve")


class Stream:
    """The stream of a model that began to answer.

    Parameters
    ----------
    service : Service
        Counts and logs the call at its end.
    gateway : Gateway
        What the model is called by.
    chat : Chat
        The request.
    """

    def __init__(self, service: Service, gateway: Gateway, chat: Chat) -> None:
        self._service = service
        self._gateway = gateway
        self._chat = chat
        asked = chat.body.get("stream_options")
        self._shows_usage = isinstance(asked, dict) and bool(asked.get("include_usage"))
        self._seen: list[Any] = []

    async def open(self) -> dict[str, str]:
        """Wait for the first chunk of the first model that answers; returns headers.

        Before it a model that fails is replaced by the next one; after it nothing is.
        """
        chat, service = self._chat, self._service
        last: Exception | None = None
        for model in chat.make_plan()[: service.settings.max_calls]:
            self._start = time.perf_counter()
            try:
                first, self._rest = await self._gateway.open_stream(
                    model, chat.messages, chat.options
                )
            except (Exception, StopAsyncIteration) as error:
                logger.warning(
                    "%s failed: %s: %s", model, type(error).__name__, str(error)
                )
                chat.outcomes.append((model, type(error).__name__))
                service.meters.count_call(model, "error", 0.0, 0.0, 0.0)
                last = error
                continue
            self._model, self._seen = model, [first]
            chat.outcomes.append((model, "ok"))
            return chat.make_headers(model)
        write_calls(service, chat, [], last)
        raise refuse(chat, last)

    async def send(self) -> AsyncIterator[str]:
        """Send the chunks as they come; the call is counted at their end.

        That is also where the client goes away, or the model breaks off.
        """
        outcome = "ok"
        try:
            yield self._write(self._seen[0])
            while True:
                async with asyncio.timeout(self._service.settings.timeout):
                    chunk = await anext(self._rest, None)
                if chunk is None:
                    break
                self._seen.append(chunk)
                # That of the tokens has no choices: only who asked for it expects it.
                if chunk.choices or self._shows_usage:
                    yield self._write(chunk)
            yield "data: [DONE]\n\n"
        except Exception as error:
            outcome = "error"
            logger.warning("%s broke off: %s", self._model, repr(error))
            said = {"message": f"{self._model} broke off.", "type": "upstream_error"}
            yield f"data: {json.dumps({'error': said})}\n\n"
        finally:
            with anyio.CancelScope(shield=True):
                await self._end(outcome)

    def _write(self, chunk: Any) -> str:
        # LiteLLM finds the price by the model that the provider names.
        named = chunk.model_copy(update={"model": self._model})
        return f"data: {named.model_dump_json(exclude_none=True, warnings=False)}\n\n"

    async def _end(self, outcome: str) -> None:
        """Close the stream, and count and log what it cost."""
        close = getattr(self._rest, "aclose", None)
        if close is not None:
            try:
                await close()
            except Exception as error:
                logger.warning("a stream cannot be closed: %s", repr(error))
        chat, model = self._chat, self._model
        seconds = time.perf_counter() - self._start
        try:
            cost = self._gateway.find_stream_cost(self._seen, chat.messages, model)
        except Exception as error:
            logger.warning("the cost of a stream is unknown: %s", repr(error))
            cost = float("nan")
        self._service.meters.count_call(
            model, outcome, seconds, cost, chat.expect(model)
        )
        calls = [Call(model, None, seconds, cost)]
        write_calls(self._service, chat, calls)
        await count_bill(self._service, chat, calls)
