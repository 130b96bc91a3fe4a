"""Content of a router's file, as the command and the service use it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import joblib
import numpy as np
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import check_is_fitted

from skroute import persistence
from skroute._optional import require
from skroute.base import BaseRouter
from skroute.cascade import CascadeDecider
from skroute.decision import BudgetDecider
from skroute.text import TextRouter

_PICKLES = {".joblib", ".pickle", ".pkl"}
# Each of these fixes the shadow price: one that is given replaces the others.
_ALTERNATIVES = ("budget", "min_quality", "price")
# What a rule asks of decisions.
_ASKED = (*_ALTERNATIVES, "scope", "tolerance", "confidence")


class SavedRouter(NamedTuple):
    """Content of a router's file: a router, steps before it, what decides behind it.

    A `TextRouter` stands before the router of vectors that it holds.
    """

    before: Pipeline | TextRouter | None
    router: BaseRouter
    decider: BudgetDecider | None
    cascade: CascadeDecider | None = None

    @property
    def reads_prompts(self) -> bool:
        """Whether queries are given as texts."""
        if isinstance(self.before, TextRouter):
            return True
        # Only steps that take vectors know their number of features.
        return self.before is not None and not hasattr(self.before[0], "n_features_in_")

    @property
    def reads_vectors(self) -> bool:
        """Whether queries are given as embeddings, or have these beside their texts."""
        if isinstance(self.before, TextRouter):
            return self.before.n_features_in_ > 1
        return not self.reads_prompts

    @property
    def reads(self) -> str:
        """What queries are given as, in words."""
        kinds = {"prompts": self.reads_prompts, "embeddings": self.reads_vectors}
        return " and ".join(name for name, is_read in kinds.items() if is_read)


def load_any(file: Path) -> Any:
    """Load a router's file; only one whose name ends as that of a pickle is one."""
    if not file.is_file():
        raise FileNotFoundError(f"{str(file)!r} is not a file.")
    if not is_pickle(file):
        return persistence.load(file)
    try:
        return joblib.load(file)
    except Exception as error:
        # A damaged or foreign pickle fails in as many ways as there are opcodes.
        raise ValueError(f"{str(file)!r} cannot be loaded: {error!r}") from error


def load(file: Path) -> SavedRouter:
    """Load a router, or a pipeline that ends in one, or in what decides behind it."""
    return take_apart(load_any(file), str(file))


def take_apart(loaded: Any, name: str) -> SavedRouter:
    """Take apart what a file called `name` holds; see `load`."""
    steps = list(loaded) if isinstance(loaded, Pipeline) else [loaded]
    decider = cascade = None
    if isinstance(steps[-1], BudgetDecider):
        decider = steps.pop()
    elif isinstance(steps[-1], CascadeDecider):
        cascade = steps.pop()
    if not steps or not isinstance(steps[-1], BaseRouter):
        raise ValueError(
            f"{name!r} holds a {type(loaded).__name__}, not a router that "
            "`skroute fit` saved."
        )
    router: Any = steps[-1]
    if isinstance(router, TextRouter) and len(steps) == 1:
        # One that is not fitted is refused when it is asked.
        inside: Any = getattr(router, "router_", router)
        return SavedRouter(router, inside, decider, cascade)
    before = loaded[: len(steps) - 1] if len(steps) > 1 else None
    return SavedRouter(before, router, decider, cascade)


def is_pickle(file: Path) -> bool:
    """Tell by its ending whether a file is read as a pickle, which can run code."""
    return file.suffix.lower() in _PICKLES


def merge_rule(saved: SavedRouter, given: dict[str, Any]) -> dict[str, Any]:
    """Let options of a call, by the names of ``BaseRouter.route``, override the saved.

    A budget, target or price replaces whichever of the three was saved, with its scope
    and its confidence.
    """
    if saved.decider is None:
        return given
    return override_rule(saved.decider.get_params(deep=False), given)


def find_rule_in_force(saved: SavedRouter, given: Mapping[str, Any]) -> dict[str, Any]:
    """Find what is asked of decisions, by the file and by options over it."""
    last = saved.decider or saved.cascade
    rule = {}
    if last is not None:
        known = last.get_params(deep=False)
        # Without what is as if nothing was said.
        rule = {
            name: known[name]
            for name in _ASKED
            if isinstance(known.get(name), str | int | float)
            and known[name] not in (0, "mean")
        }
    return override_rule(rule, dict(given))


def override_rule(rule: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
    """Override a rule by options of a call; see `merge_rule`."""
    rule = dict(rule)
    if any(name in given for name in _ALTERNATIVES):
        for name in (*_ALTERNATIVES, "scope", "confidence"):
            rule.pop(name, None)
    return {**rule, **given}


def join_vectors(
    prompts: list[str], vectors: np.ndarray, router: Any = None, name: str = "vectors"
) -> Any:
    """Put prompts into a table beside their embeddings, as a fitted router knows it.

    `name` is what errors call the embeddings.
    """
    pd = require("pandas", "a router of prompts and embeddings")
    if vectors.ndim != 2:
        raise ValueError(
            f"{name} must have a row of numbers for each query; the shape is "
            f"{vectors.shape}."
        )
    place = 0 if router is None else router.vectors_.prompt_column
    columns = ["prompt", *(f"embedding_{i}" for i in range(vectors.shape[1]))]
    if hasattr(router, "feature_names_in_"):
        columns = list(router.feature_names_in_)
    elif place:
        columns.insert(place, columns.pop(0))
    column = columns.pop(place)
    if vectors.shape[1] != len(columns):
        raise ValueError(
            f"this router was fitted on embeddings of {len(columns)} numbers; got "
            f"{name} of {vectors.shape[1]}."
        )
    table = pd.DataFrame(vectors, columns=columns)
    table.insert(place, column, pd.Series(prompts, dtype=object))
    return table


def embed(
    saved: SavedRouter,
    prompts: list[str] | None = None,
    vectors: list[list[float]] | None = None,
) -> Any:
    """Embed queries that a request gives as texts, vectors, or both, side by side."""
    given = {"prompts": prompts, "embeddings": vectors}
    kinds = [name for name, queries in given.items() if queries is not None]
    if " and ".join(kinds) != saved.reads:
        raise ValueError(f"this router reads {saved.reads}: give these, and no others.")
    queries: Any = prompts
    if vectors is not None:
        if len({len(vector) for vector in vectors}) > 1:
            raise ValueError("embeddings must all have the same length.")
        queries = np.array(vectors, dtype=np.float64)
        if prompts is not None:
            if len(prompts) != len(queries):
                raise ValueError(
                    f"there are {len(prompts)} prompts but {len(queries)} embeddings."
                )
            queries = join_vectors(prompts, queries, saved.before, "embeddings")
    if saved.before is None:
        return queries
    if isinstance(saved.before, TextRouter):
        check_is_fitted(saved.before)
        return saved.before.embed(queries)
    return saved.before.transform(queries)
