"""Serve a fitted router over HTTP.

::

    pip install '.[examples]'  # in a checkout of the repository
    skroute fit table.csv --embeddings embeddings.npy --out router.skroute
    python examples/serve_fastapi.py router.skroute --port 8000
    curl localhost:8000/health
    curl localhost:8000/route -H 'content-type: application/json' \
        -d '{"embeddings": [[0.1, ...]], "budget": 0.002, "top_k": 2}'

What calls of a query would cost can be said where it is known beforehand, say of a
cached prefix: ``"costs": [{"large": 0.0004}]``, an object for each query.

A router that ``skroute fit`` trained on prompts is asked with ``"prompts": ["..."]``,
and so is a pipeline that starts with an encoder; one that was trained on both is asked
with both. A pipeline that ends in a ``BudgetDecider`` decides as that does, where a
request does not say otherwise.

A file that is replaced is loaded anew; one that cannot be loaded leaves the router in
service as it is. Whatever is wrong with a request is answered with status 400 and a
sentence that says what. A file whose name ends in ``.joblib`` is a pickle, which can
run any code when it is loaded: only serve such files if you trust them.
"""

from __future__ import annotations

import argparse
import logging
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import joblib
import numpy as np
import pandas as pd
import uvicorn
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field
from sklearn.pipeline import Pipeline

import skroute
from skroute import BudgetDecider
from skroute.base import BaseRouter
from skroute.text import TextRouter

MAX_QUERIES = 1000
logger = logging.getLogger("skroute.examples.serve")


class Rule(BaseModel):
    """How to decide; what is not given is as it was saved with the router."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    budget: float | None = None
    scope: Literal["mean", "query", "batch"] | None = None
    min_quality: float | str | None = None
    price: float | None = None
    tolerance: float | None = None
    on_infeasible: Literal["raise", "cheapest"] | None = None


class RouteRequest(Rule):
    """Queries, and how to decide them."""

    prompts: Annotated[
        list[str] | None, Field(min_length=1, max_length=MAX_QUERIES)
    ] = None
    embeddings: Annotated[
        list[list[float]] | None, Field(min_length=1, max_length=MAX_QUERIES)
    ] = None
    available: list[str] | None = None
    # Money per call that is known of each query, by model; others are estimated.
    costs: list[dict[str, float]] | None = None
    top_k: Annotated[int, Field(ge=1)] = 1


class RouteResponse(BaseModel):
    """For each query the model to call, then those to fall back on."""

    models: list[list[str]]


class Loaded(NamedTuple):
    """What a file holds: a router, the steps before it, the decider behind it."""

    before: Pipeline | None
    router: BaseRouter
    decider: BudgetDecider | None

    @property
    def reads(self) -> str:
        """What queries are given as."""
        first = self.before[0] if self.before else self.router
        if isinstance(first, TextRouter):
            beside = first.n_features_in_ > 1
            return "prompts and embeddings" if beside else "prompts"
        # Steps that take vectors know how wide these are; encoders of prompts do not.
        of_text = self.before and not hasattr(first, "n_features_in_")
        return "prompts" if of_text else "embeddings"

    def route(self, request: RouteRequest) -> np.ndarray:
        """Decide the queries of a request."""
        X = self._queries(request)
        rule = request.model_dump(include=set(Rule.model_fields), exclude_none=True)
        # Without any name there is no cost that is known.
        named = request.costs if any(request.costs or ()) else None
        costs = None if named is None else pd.DataFrame(named)
        chosen = {
            "available": request.available,
            "top_k": request.top_k,
            "costs": costs,
        }
        if self.decider is None:
            return self.router.route(X, **rule, **chosen)
        if not rule:
            return self.decider.route(self.router.transform(X), **chosen)
        saved = self.decider.get_params(deep=False)
        if {"budget", "min_quality", "price"} & set(rule):
            # One of them takes the place of whichever was saved.
            for name in ("budget", "min_quality", "price", "scope"):
                del saved[name]
        return self.router.route(X, **{**saved, **rule}, **chosen)

    def _queries(self, request: RouteRequest) -> Any:
        given = {"prompts": request.prompts, "embeddings": request.embeddings}
        if [k for k, v in given.items() if v is not None] != self.reads.split(" and "):
            raise ValueError(
                f"this router reads {self.reads}: give these, and no others."
            )
        queries: Any = request.prompts
        if request.embeddings is not None:
            if len({len(vector) for vector in request.embeddings}) > 1:
                raise ValueError("embeddings must all have the same length.")
            vectors = np.array(request.embeddings)
            both = request.prompts is not None
            queries = self._join(request.prompts, vectors) if both else vectors
        return queries if self.before is None else self.before.transform(queries)

    def _join(self, prompts: Any, vectors: np.ndarray) -> pd.DataFrame:
        """Put prompts beside their embeddings, under the names that were fitted."""
        names = list(self.router.feature_names_in_)
        if (len(prompts), len(names) - 1) != vectors.shape:
            raise ValueError(
                f"embeddings must be {len(names) - 1} numbers for each prompt."
            )
        place = self.router.vectors_.prompt_column
        name = names.pop(place)
        table = pd.DataFrame(vectors, columns=names)
        table.insert(place, name, prompts)
        return table


def load(path: Path) -> Loaded:
    """Load a router, or a pipeline that ends in one or in a decider behind one."""
    pickled = path.suffix == ".joblib"
    loaded = joblib.load(path) if pickled else skroute.load(path)
    steps = list(loaded) if isinstance(loaded, Pipeline) else [loaded]
    decider = steps.pop() if isinstance(steps[-1], BudgetDecider) else None
    if not steps or not isinstance(steps[-1], BaseRouter):
        raise TypeError(f"{path} holds a {type(loaded).__name__}, not a router.")
    before = loaded[: len(steps) - 1] if len(steps) > 1 else None
    return Loaded(before, steps[-1], decider)


class Served:
    """What the file holds now; it is looked at anew for every request."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._stamp = self._look()
        self._loaded = load(path)

    def __call__(self) -> Loaded:
        """Load the file if it was replaced."""
        try:
            stamp = self._look()
        except OSError:  # it is just being replaced, or gone
            return self._loaded
        # Requests that come while a file is loaded are answered by the old one.
        if stamp != self._stamp and self._lock.acquire(blocking=False):
            try:
                self._stamp, self._loaded = stamp, load(self._path)
                logger.info("%s was replaced, and is in service", self._path)
            except Exception:
                self._stamp = stamp
                logger.exception("%s cannot be loaded: the old one stays", self._path)
            finally:
                self._lock.release()
        return self._loaded

    def _look(self) -> tuple[int, int, int]:
        status = self._path.stat()
        return status.st_ino, status.st_mtime_ns, status.st_size


def create_app(path: Path) -> FastAPI:
    """Make an app that routes with the router saved at `path`."""
    served = Served(path)
    app = FastAPI(title="skroute")

    @app.get("/health")
    def health() -> dict[str, Any]:
        now = served()
        models = now.router.models_.tolist()
        return {"status": "ok", "models": models, "reads": now.reads}

    # FastAPI runs a plain function in a thread of its own pool; routers allow that.
    @app.post("/route")
    def route(request: RouteRequest) -> RouteResponse:
        names = served().route(request)
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
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    uvicorn.run(
        create_app(given.router), host=given.host, port=given.port, access_log=False
    )


if __name__ == "__main__":
    main()
