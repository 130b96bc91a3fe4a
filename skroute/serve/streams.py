"""Streamed chat completions, as server-sent events."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from typing import Any

import anyio
import anyio.to_thread

from skroute.serve.calls import Gateway
from skroute.serve.completions import (
    Chat,
    count_bill,
    read_tokens,
    refuse,
    write_calls,
)
from skroute.serve.plans import Call
from skroute.serve.service import Service

logger = logging.getLogger("skroute.serve")


def replay(response: Any, shows_usage: bool) -> Iterator[str]:
    """Send a whole response as a stream, after its answer was checked."""
    whole = response.model_dump(exclude_none=True, warnings=False)
    head = {name: whole[name] for name in ("id", "created", "model")}
    head["object"] = "chat.completion.chunk"

    def write(choices: list[dict[str, Any]], **more: Any) -> str:
        return f"data: {json.dumps({**head, 'choices': choices, **more})}\n\n"

    for choice in whole["choices"]:
        delta = {k: v for k, v in choice["message"].items() if v is not None}
        for number, call in enumerate(delta.get("tool_calls", ())):
            call.setdefault("index", number)
        at = choice.get("index", 0)
        yield write([{"index": at, "delta": delta, "finish_reason": None}])
        reason = choice.get("finish_reason")
        yield write([{"index": at, "delta": {}, "finish_reason": reason}])
    if shows_usage and "usage" in whole:
        yield write([], usage=whole["usage"])
    yield "data: [DONE]\n\n"


def asks_for_usage(body: Mapping[str, Any]) -> bool:
    """Whether the client expects a chunk that says how many tokens a stream took."""
    asked = body.get("stream_options")
    return isinstance(asked, dict) and bool(asked.get("include_usage"))


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
        self._shows_usage = asks_for_usage(chat.body)
        self._seen: list[Any] = []

    async def open(self) -> dict[str, str]:
        """Wait for the first chunk of the first model that answers; returns headers.

        Before it a model that fails is replaced by the next one; after it nothing is.
        """
        chat, service = self._chat, self._service
        last: Exception | None = None
        plan, failed = chat.make_plan(), list[str]()
        while len(failed) < service.settings.max_calls:
            model = await anyio.to_thread.run_sync(plan.choose, [], failed)
            if model is None:
                break
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
                failed.append(model)
                continue
            self._model, self._seen = model, [first]
            chat.outcomes.append((model, "ok"))
            return chat.make_headers(model)
        write_calls(service, chat, [], None, last)
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
        tokens: dict[str, int] = {}
        for chunk in self._seen:
            tokens = read_tokens(chunk) or tokens
        calls = [Call(model, None, seconds, cost, tokens=tokens)]
        write_calls(self._service, chat, calls, calls[0])
        await count_bill(self._service, chat, calls)
