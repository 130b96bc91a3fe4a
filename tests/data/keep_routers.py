"""Writes the router files of this format, which every later release has to load.

Run from the root of the repository: ``python tests/data/keep_routers.py``. It replaces
the folder of the current format, and must not be run on one that was released: what
changes the layout of a fitted router then raises ``skroute.persistence.FORMAT`` first.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import sklearn
from sklearn.decomposition import PCA, TruncatedSVD
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import Ridge, RidgeCV
from sklearn.neighbors import KNeighborsRegressor
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import Normalizer, StandardScaler

from skroute import (
    BudgetDecider,
    CascadeDecider,
    DummyRouter,
    PointwiseRouter,
    RankingRouter,
    save,
)
from skroute.datasets import make_routing
from skroute.persistence import FORMAT
from skroute.text import PromptFeatures, TextRouter

FOLDER = Path(__file__).parent / "routers" / f"format_{FORMAT}"


def ranking(**parameters: Any) -> RankingRouter:
    """A small router, with a ranker."""
    settings = {"n_estimators": 4, "n_landmarks": 12, "min_child_samples": 10}
    return RankingRouter(**settings, random_state=0, **parameters)


def routers() -> dict[str, tuple[Any, Any]]:
    """One router of every kind, with queries for it."""
    data = make_routing(
        n_queries=600, n_features=6, n_models=3, random_state=0, per_query_costs=True
    )
    X, C = data.data, data.costs
    Y = pd.DataFrame(data.quality, columns=["small", "medium", "large"])
    prices = {"small": 1.0, "medium": 3.0, "large": 9.0}
    queries = np.round(make_routing(8, n_features=6, random_state=1).data, 3)
    words = np.array(["add", "sum", "poem", "rhyme", "sort", "list", "law", "code"])
    numbers = np.random.RandomState(0).randint(8, size=(600, 5))
    prompts = [" ".join(row) for row in words[numbers]]
    encoder = make_pipeline(
        TfidfVectorizer(), TruncatedSVD(4, random_state=0), Normalizer()
    ).fit(prompts)
    reads = ranking().fit(encoder.transform(prompts), Y, costs=C)
    text = TextRouter(ranking(), prompt_features=PromptFeatures(6, random_state=0))
    estimates = ranking().fit(X, Y, costs=C)
    neighbors = KNeighborsRegressor(10, algorithm="brute")
    with sklearn.config_context(enable_metadata_routing=True):
        pipeline = make_pipeline(
            StandardScaler(), PCA(4), ranking(), BudgetDecider(min_quality="90%")
        ).fit(X, Y, costs=C)
    stream = BudgetDecider(budget=float(C.mean())).fit(estimates.transform(X))
    stream.partial_fit(estimates.transform(X), costs=C[:, 0])
    promise = BudgetDecider(min_quality="80%", confidence=0.8)
    promise.fit(estimates.transform(X), Y, costs=C)
    limited = BudgetDecider(
        float(C.mean()), extra_costs={"latency_s": {"mean": 4.0, "weight": 0.1}}
    )
    seconds = {"latency_s": (C[:, ::-1] / C.mean() + [1.0, 2.0, 3.0])[:100]}
    limited.fit(estimates.transform(X[:100]), Y[:100], extra_costs=seconds)
    is_told = np.random.RandomState(1).random_sample(data.quality.shape) < 0.7
    cascade = CascadeDecider(min_quality="90%", confidence=0.8, random_state=0).fit(
        *(estimates.transform(X[:200]), Y[:200]),
        costs=C[:200],
        checks=np.where(is_told, Y, 1 - Y)[:200],
        answers=np.where(Y == 1, "a", words[numbers[:, :3]])[:200],
    )
    drawn = make_routing(40, n_features=6, random_state=2).quality[:, 0]
    drawing = ranking().set_params(random_state=np.random.RandomState(0))
    grown = ranking(costs=prices).fit(X, Y)
    learning = ranking(forget_after=500.0).fit(X[:300], Y[:300], costs=C[:300])
    learning = learning.add_model("new", drawn, X=X[:40], costs=2.0)
    learning.update(X[300:], np.column_stack([Y, Y["small"]])[300:])
    return {
        "ranking": (estimates, queries),
        "ranking_prices": (ranking(costs=prices, caution=0.5).fit(X, Y), queries),
        "ranking_grown": (grown.add_model("new", drawn, X=X[:40], costs=2.0), queries),
        "ranking_blocks": (ranking(blocks=(4, 2)).fit(X, Y, costs=C), queries),
        "ranking_learning": (learning, queries),
        "ranking_state": (drawing.fit(X, Y, costs=C), queries),
        "pointwise_ridge": (PointwiseRouter(Ridge()).fit(X, Y, costs=C), queries),
        "pointwise_ridge_cv": (PointwiseRouter(RidgeCV()).fit(X, Y, costs=C), queries),
        "pointwise_neighbors": (
            PointwiseRouter(neighbors).fit(X[:200], Y[:200], costs=C[:200]),
            queries,
        ),
        "dummy": (DummyRouter().fit(X, Y, costs=C), queries),
        "pipeline": (pipeline, queries),
        "stream": (stream, estimates.transform(queries)),
        "promise": (promise, estimates.transform(queries)),
        "limited": (limited, estimates.transform(queries)),
        "cascade": (cascade, estimates.transform(queries)),
        "prompts": (Pipeline([*encoder.steps, ("router", reads)]), prompts[:8]),
        "text": (text.fit(prompts, Y, costs=C), prompts[:8]),
    }


def outputs(router: Any, queries: Any) -> dict[str, np.ndarray]:
    """What has to stay: estimates, or one-hot decisions, and choices."""
    if isinstance(router, CascadeDecider):
        said = router.next(queries), np.zeros((len(queries), 1)), ["a"] * len(queries)
        told = router.explain(queries, *said)
        parts = ("expected_quality", "gain", "worth")
        return {
            "predict": router.predict(queries),
            **{name: np.asarray(told[name]) for name in parts},
        }
    return {
        "transform": np.asarray(router.transform(queries)),
        "predict": router.predict(queries),
    }


def main() -> None:
    """Write all files anew."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    for file in FOLDER.iterdir():
        file.unlink()
    for name, (router, queries) in routers().items():
        save(router, FOLDER / f"{name}.skroute")
        np.savez_compressed(
            FOLDER / f"{name}.npz",
            queries=np.asarray(queries),
            **outputs(router, queries),
        )
        print(f"{name}: {(FOLDER / f'{name}.skroute').stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
