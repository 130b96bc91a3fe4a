"""The web application: what is asked over HTTP, and how it is answered."""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any, Literal

import anyio.to_thread
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, StreamingResponse
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException as StarletteHTTPException

from skroute._optional import require
from skroute._version import __version__
from skroute.serve.calls import CallError
from skroute.serve.completions import complete, read_chat
from skroute.serve.decisions import ROUTER, explain, find_rule
from skroute.serve.guard import Guard
from skroute.serve.saved import find_rule_in_force
from skroute.serve.service import Service
from skroute.serve.settings import Settings
from skroute.serve.streams import Stream, asks_for_usage, replay

__all__ = ["create_app"]

MAX_QUERIES = 1000
# Seconds after the start, unless a chat comes before.
_IMPORT_AFTER = 0.25


class Rule(BaseModel):
    """How to decide; what is not given is as it was saved, or as the service says."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    budget: float | None = None
    scope: Literal["mean", "query", "batch"] | None = None
    min_quality: float | str | None = None
    price: float | None = None
    tolerance: float | None = None
    on_infeasible: Literal["raise", "cheapest"] | None = None
    confidence: float | None = None


class Queries(Rule):
    """Queries, how to decide them, and the models that may be called."""

    prompts: Annotated[
        list[str] | None, Field(min_length=1, max_length=MAX_QUERIES)
    ] = None
    embeddings: Annotated[
        list[list[float]] | None, Field(min_length=1, max_length=MAX_QUERIES)
    ] = None
    available: list[str] | None = None
    costs: list[dict[str, float]] | None = None

    def take_costs(self) -> Any:
        """Take costs that are known, a row for each query and a column for a model."""
        if not any(self.costs or ()):
            return None
        return require("pandas", "known costs", "serve").DataFrame(self.costs)

    def take_rule(self) -> dict[str, Any]:
        """Take what is said of the rule."""
        return self.model_dump(include=set(Rule.model_fields), exclude_none=True)


class Outcome(BaseModel):
    """What became of a query of ``/route``, whose caller paid for the calls."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    query: str
    cost: Annotated[float | None, Field(ge=0)] = None
    model: str | None = None


class Outcomes(BaseModel):
    """Outcomes of queries, by the names that ``/route`` gave these."""

    model_config = ConfigDict(extra="forbid")

    outcomes: Annotated[list[Outcome], Field(min_length=1, max_length=MAX_QUERIES)]


class RouteRequest(Queries):
    """Queries to route, and how many models to name for each."""

    top_k: Annotated[int, Field(ge=1)] = 1


def create_app(settings: Settings) -> FastAPI:
    """Make the application of a service, for an ASGI server.

    Parameters
    ----------
    settings : Settings
        What the service does.

    Returns
    -------
    FastAPI
        The application; ``app.state.service`` holds its parts.

    Raises
    ------
    OSError
        If a file cannot be read, or the log not be written.
    ValueError
        If the router cannot be loaded, cannot keep the rule, or has models that are
        not named; or if the models' file is not as it should be.
    """
    service = Service(settings)

    @asynccontextmanager
    async def watch(_: FastAPI) -> AsyncIterator[None]:
        async def look() -> None:
            while True:
                await asyncio.sleep(settings.reload_seconds)
                await anyio.to_thread.run_sync(service.watched.reload)

        task = asyncio.create_task(look())
        later = None
        if service.gateway is not None:
            # Not before the first look at /health, which an import would hold up.
            loop = asyncio.get_running_loop()
            later = loop.call_later(_IMPORT_AFTER, service.gateway.start)
        try:
            yield
        finally:
            task.cancel()
            if later is not None:
                later.cancel()
            if service.gateway is not None:
                await service.gateway.close()

    app = FastAPI(
        title="skroute",
        version=__version__,
        lifespan=watch,
        docs_url=None,
        redoc_url=None,
    )
    app.state.service = service

    def refuse(status: int, text: str) -> JSONResponse:
        service.meters.count_refused(status)
        kind = "invalid_request_error" if status < 500 else "upstream_error"
        error = {"message": text, "type": kind, "code": status}
        return JSONResponse({"error": error}, status_code=status)

    app.add_middleware(
        Guard, api_key=settings.api_key, max_bytes=settings.max_bytes, refuse=refuse
    )
    _add_decisions(app, service)
    if service.gateway is not None:
        _add_completions(app, service)

    @app.exception_handler(RequestValidationError)
    def refuse_malformed(_: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        return refuse(400, f"{where}: {first['msg']}")

    # Paths and methods that are none.
    @app.exception_handler(StarletteHTTPException)
    def refuse_unknown(request: Request, error: StarletteHTTPException) -> JSONResponse:
        why = {
            404: f"there is no {request.url.path[:80]} here.",
            405: f"{request.url.path[:80]} does not take {request.method}.",
        }.get(error.status_code, str(error.detail))
        refused = refuse(error.status_code, why)
        refused.headers.update(error.headers or {})
        return refused

    # What skroute says of wrong arguments, budgets that cannot be kept among them.
    @app.exception_handler(ValueError)
    def refuse_impossible(_: Request, error: ValueError) -> JSONResponse:
        return refuse(400, str(error))

    @app.exception_handler(CallError)
    def tell_failure(_: Request, error: CallError) -> JSONResponse:
        return refuse(error.status, str(error))

    return app


def _add_decisions(app: FastAPI, service: Service) -> None:
    """Add what decides and tells, and calls no model."""
    settings = service.settings

    @app.get("/health")
    def health() -> dict[str, Any]:
        watched, gateway = service.watched, service.gateway
        status = "ok" if watched.error is None else "stale"
        if gateway is not None and not gateway.is_ready:
            status = "starting"
        elif gateway is not None and gateway.error is not None:
            status = "failed"
        return {
            "status": status,
            "skroute": __version__,
            "models": [str(name) for name in watched.current.router.models_],
            "reads": watched.current.reads,
            "rule": find_rule_in_force(watched.current, settings.rule) or None,
            "shadow": settings.shadow,
            "paced": service.pacer is not None,
            "completions": gateway is not None,
            "loaded": watched.loaded_at.isoformat(timespec="seconds"),
            "reload_error": watched.error,
        }

    @app.get("/metrics")
    def metrics() -> Response:
        content, kind = service.meters.write()
        return Response(content, headers={"content-type": kind})

    # Decisions are made in threads, which routers allow.
    @app.post("/route")
    async def route(request: RouteRequest) -> dict[str, Any]:
        models, queries = await anyio.to_thread.run_sync(
            service.decide_queries,
            request.prompts,
            await service.embed_missing(request.prompts, request.embeddings),
            request.take_rule(),
            request.available,
            request.top_k,
            request.take_costs(),
        )
        return (
            {"models": models}
            if queries is None
            else {"models": models, "queries": queries}
        )

    pacer = service.pacer
    if pacer is not None:

        @app.post("/outcome")
        def count_outcomes(request: Outcomes) -> dict[str, Any]:
            outcomes = [
                (each.query, math.nan if each.cost is None else each.cost, each.model)
                for each in request.outcomes
            ]
            not_counted = pacer.tell(outcomes)
            counted = len(request.outcomes) - len(not_counted)
            return {"counted": counted, "not_counted": not_counted}

    @app.post("/explain")
    async def explain_queries(request: Queries) -> dict[str, Any]:
        vectors = await service.embed_missing(request.prompts, request.embeddings)

        def tell() -> list[dict[str, Any]]:
            saved = service.watched.current
            rule = find_rule(saved, service.rule, request.take_rule())
            X = service.embed(saved, request.prompts, vectors)
            return explain(saved, X, rule, request.available, request.take_costs())

        return {"queries": await anyio.to_thread.run_sync(tell)}


def _add_completions(app: FastAPI, service: Service) -> None:
    """Add what calls models."""
    gateway = service.gateway
    assert gateway is not None

    @app.get("/v1/models")
    def models() -> dict[str, Any]:
        made = int(service.watched.loaded_at.timestamp())
        names = [ROUTER, *gateway.models]
        data = [
            {"id": name, "object": "model", "created": made, "owned_by": ROUTER}
            for name in names
        ]
        return {"object": "list", "data": data}

    @app.post("/v1/chat/completions")
    async def chat_completions(request: Request) -> Response:
        chat = await read_chat(service, gateway, _read_json(await request.body()))
        streams = bool(chat.body.get("stream"))
        if streams and not chat.checks and chat.decision.cascade is None:
            stream = Stream(service, gateway, chat)
            headers = await stream.open()
            return StreamingResponse(
                stream.send(), headers=headers, media_type="text/event-stream"
            )
        if streams:
            chat.notes.append("the stream began when its answer was checked")
        response, headers = await complete(service, gateway, chat)
        if streams:
            lines = replay(response, asks_for_usage(chat.body))
            return StreamingResponse(
                lines, headers=headers, media_type="text/event-stream"
            )
        return Response(
            response.model_dump_json(warnings=False),
            headers=headers,
            media_type="application/json",
        )


def _read_json(body: bytes) -> Any:
    try:
        content = json.loads(body)
        # Python also reads NaN and infinity, which no provider takes.
        json.dumps(content, allow_nan=False)
    except (ValueError, RecursionError):
        raise ValueError("the body is not JSON.") from None
    return content
