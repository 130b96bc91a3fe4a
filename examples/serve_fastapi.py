"""Serve a fitted router over HTTP.

::

    pip install '.[examples]'  # in a checkout of the repository
    skroute fit table.csv --embeddings embeddings.npy --out router.skroute
    python examples/serve_fastapi.py router.skroute --port 8000
    curl localhost:8000/health
    curl localhost:8000/route -H 'content-type: application/json' \
        -d '{"embeddings": [[0.1, ...]], "budget": 0.002, "top_k": 2}'

A router that ``skroute fit`` trained on prompts is asked with ``"prompts": ["..."]``.
Whatever is wrong with a request is answered with status 400 and a sentence that says
what. A file whose name ends in ``.joblib`` is a pickle, which can run any code when it
is loaded: only serve such files if you trust them.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import joblib
import numpy as np
import uvicorn
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field
from sklearn.pipeline import Pipeline

import skroute
from skroute.base import BaseRouter

MAX_QUERIES = 1000


class RouteRequest(BaseModel):
    """Queries, and how to decide them."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    prompts: Annotated[
        list[str] | None, Field(min_length=1, max_length=MAX_QUERIES)
    ] = None
    embeddings: Annotated[
        list[list[float]] | None, Field(min_length=1, max_length=MAX_QUERIES)
    ] = None
    budget: float | None = None
    scope: Literal["mean", "query", "batch"] = "mean"
    min_quality: float | str | None = None
    price: float | None = None
    available: list[str] | None = None
    top_k: Annotated[int, Field(ge=1)] = 1


class RouteResponse(BaseModel):
    """For each query the model to call, then those to fall back on."""

    models: list[list[str]]


def load(path: Path) -> tuple[Pipeline | None, BaseRouter]:
    """Load a router, and the steps before it where it reads prompts."""
    pickled = path.suffix == ".joblib"
    loaded = joblib.load(path) if pickled else skroute.load(path)
    before, router = None, loaded
    if isinstance(loaded, Pipeline):
        before, router = loaded[:-1], loaded[-1]
    if not isinstance(router, BaseRouter):
        raise TypeError(f"{path} holds a {type(router).__name__}, not a router.")
    return before, router


def create_app(path: Path) -> FastAPI:
    """Make an app that routes with the router saved at `path`."""
    before, router = load(path)
    app = FastAPI(title="skroute")

    def vectors(request: RouteRequest) -> Any:
        wanted = "embeddings" if before is None else "prompts"
        queries = getattr(request, wanted)
        if (request.prompts is None) == (request.embeddings is None) or queries is None:
            raise ValueError(f"this router reads {wanted}: give these, and no others.")
        if before is not None:
            return before.transform(queries)
        if len({len(vector) for vector in queries}) > 1:
            raise ValueError("embeddings must all have the same length.")
        return np.array(queries)

    @app.get("/health")
    def health() -> dict[str, Any]:
        return {"status": "ok", "models": router.models_.tolist()}

    # FastAPI runs a plain function in a thread of its own pool; routers allow that.
    @app.post("/route")
    def route(request: RouteRequest) -> RouteResponse:
        names = router.route(
            vectors(request),
            budget=request.budget,
            scope=request.scope,
            min_quality=request.min_quality,
            price=request.price,
            available=request.available,
            top_k=request.top_k,
        )
        # None fills the rows of queries for which fewer models are left.
        return RouteResponse(models=[[n for n in row if n] for row in names])

    @app.exception_handler(RequestValidationError)
    def not_a_request(_: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        return JSONResponse({"error": f"{where}: {first['msg']}"}, status_code=400)

    # What skroute says of wrong arguments, budgets that cannot be kept among them.
    @app.exception_handler(ValueError)
    def not_possible(_: Request, error: ValueError) -> JSONResponse:
        return JSONResponse({"error": str(error)}, status_code=400)

    return app


def main(arguments: Sequence[str] | None = None) -> None:
    """Serve until interrupted."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("router", type=Path, help="a file that `skroute fit` saved")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8000)
    given = parser.parse_args(arguments)
    uvicorn.run(
        create_app(given.router), host=given.host, port=given.port, access_log=False
    )


if __name__ == "__main__":
    main()
