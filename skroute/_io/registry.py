"""What a router file may hold: one table of classes, and what is checked of each.

Files name a class by its tag, never by a place in the code, so modules can be renamed.
Whoever adds a class to a fitted router adds it here; until then `save` refuses it. The
classes of scikit-learn are those that stand around routers and hold nothing but numbers
and text. Each class was audited: the checks refuse states that could reach past an
array, call a function or open a file. They hold for saving too, so that whatever is
saved can be loaded.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache
from importlib import import_module
from typing import Any

import numpy as np

from skroute._table.names import check_printable

_CLASSES = {
    "AnswerBelief": "skroute._cascade.beliefs.AnswerBelief",
    "BlockViews": "skroute._estimate.blocks.BlockViews",
    "BudgetDecider": "skroute.decision.BudgetDecider",
    "Canonical": "skroute._estimate.canonical.Canonical",
    "CascadeDecider": "skroute.cascade.CascadeDecider",
    "CascadePath": "skroute._cascade.path.CascadePath",
    "CascadePlace": "skroute._cascade.path.Place",
    "CascadePolicy": "skroute._cascade.policy.CascadePolicy",
    "CostModel": "skroute._estimate.cost.CostModel",
    "DummyRouter": "skroute.dummy.DummyRouter",
    "ExactCheck": "skroute._cascade.checks.ExactCheck",
    "ExtraEstimates": "skroute._decide.extra_estimates.ExtraEstimates",
    "ExtraScales": "skroute._decide.extra.Scales",
    "FittedCascade": "skroute._cascade.fitted.FittedCascade",
    "FittedRouter": "skroute._estimate.fitted.FittedRouter",
    "Guarantee": "skroute._decide.guarantee.Guarantee",
    "KnownReplays": "skroute._cascade.tested.KnownReplays",
    "Learned": "skroute._estimate.updating.Learned",
    "LearnedCheck": "skroute._cascade.checks.LearnedCheck",
    "LearnedCost": "skroute._estimate.learning.LearnedCost",
    "LearnedGain": "skroute._cascade.gains.LearnedGain",
    "LearnedQuality": "skroute._estimate.learning.LearnedQuality",
    "MissingEncoder": "skroute.text.vectors.MissingEncoder",
    "Moments": "skroute._estimate.moments.Moments",
    "Newcomer": "skroute._estimate.learning.Newcomer",
    "Outlook": "skroute._cascade.outlook.Outlook",
    "Pace": "skroute._decide.pacing.Pace",
    "PairRanker": "skroute._rank.forest.PairRanker",
    "PointwiseRouter": "skroute.pointwise.PointwiseRouter",
    "Price": "skroute._decide.price_path.ShadowPrice",
    "PricePath": "skroute._decide.price_path.PricePath",
    "PromptFeatures": "skroute.text._features.PromptFeatures",
    "QualityModel": "skroute._estimate.quality.QualityModel",
    "QueryViews": "skroute._estimate.feature_maps.QueryViews",
    "RankingRouter": "skroute.ranking.RankingRouter",
    "RidgeFit": "skroute._estimate.ridge.RidgeFit",
    "RunningMean": "skroute._decide.stream.RunningMean",
    "Rule": "skroute._decide.rule.Rule",
    "Settled": "skroute._decide.engine.Settled",
    "SettledExtras": "skroute._decide.extra.SettledExtras",
    "StatedCheck": "skroute._cascade.checks.StatedCheck",
    "StreamMeans": "skroute._decide.stream.StreamMeans",
    "TextRouter": "skroute.text._router.TextRouter",
    "TextVectors": "skroute.text.vectors.TextVectors",
    "TrainingDecisions": "skroute._decide.trade_off.TrainingTradeOff",
    "Unit": "skroute._cascade.fitted.Unit",
    "UsualChecks": "skroute._cascade.checks.UsualChecks",
    "sklearn.KNeighborsRegressor": "sklearn.neighbors.KNeighborsRegressor",
    "sklearn.LinearRegression": "sklearn.linear_model.LinearRegression",
    "sklearn.Normalizer": "sklearn.preprocessing.Normalizer",
    "sklearn.PCA": "sklearn.decomposition.PCA",
    "sklearn.Pipeline": "sklearn.pipeline.Pipeline",
    "sklearn.Ridge": "sklearn.linear_model.Ridge",
    "sklearn.RidgeCV": "sklearn.linear_model.RidgeCV",
    "sklearn.StandardScaler": "sklearn.preprocessing.StandardScaler",
    "sklearn.TfidfTransformer": "sklearn.feature_extraction.text.TfidfTransformer",
    "sklearn.TfidfVectorizer": "sklearn.feature_extraction.text.TfidfVectorizer",
    "sklearn.TruncatedSVD": "sklearn.decomposition.TruncatedSVD",
}

#: Attributes that mean something in one process only.
TRANSIENT = {"_skroute_version", "_stop_words_id"}

_METRICS = {"cosine", "euclidean", "l1", "l2", "manhattan", "minkowski"}
_WORDS = r"(?u)\b\w\w+\b"  # another pattern could take for ever on some prompt
# Limit of threads: above any real machine, below what exhausts one.
_MOST_THREADS = 1024
_ROUTERS = ("DummyRouter", "PointwiseRouter", "RankingRouter")
# Limit of the width of an embedding, far above any encoder's.
_WIDEST = 1 << 20
# Most words in one term: each word of a prompt begins as many terms.
_LONGEST_TERM = 10


@cache
def find_class(tag: str) -> Any:
    """Class of a tag; ``None`` for a tag that is not in the table."""
    if tag not in _CLASSES:
        return None
    module, name = _CLASSES[tag].rsplit(".", 1)
    return getattr(import_module(module), name)


@cache
def _list_tags() -> dict[type, str]:
    return {find_class(tag): tag for tag in _CLASSES}


def find_tag(kind: type) -> str | None:
    """Tag of a class; ``None`` for a class that is not in the table."""
    return _list_tags().get(kind)


def check_object_state(tag: str, state: dict[str, Any]) -> None:
    """Check the attributes of an object before it is saved, or made from a file.

    Raises a ``ValueError`` if they could make it do more than compute.
    """
    for name in ("n_jobs", "n_threads"):
        number = state.get(name)
        if number is not None and not _is_integer(number, -_MOST_THREADS):
            raise ValueError(f"{name} must be at most {_MOST_THREADS}; got {number!r}")
    names = state.get("models_")
    if isinstance(names, np.ndarray) and names.dtype == object:
        check_printable(map(str, names.ravel()), "a model of the router")
    if tag.startswith("sklearn."):
        # scikit-learn prints it in a warning unchanged.
        version = state.get("_sklearn_version", "")
        _require(
            isinstance(version, str) and bool(re.fullmatch(r"[\w.+!-]{0,40}", version)),
            "its version must be one",
        )
    if tag in _CHECKS:
        _CHECKS[tag](state)


def _is_integer(value: Any, low: int, high: int = _MOST_THREADS) -> bool:
    whole = isinstance(value, int | np.integer) and not isinstance(value, bool)
    return whole and low <= value <= high


def _require(holds: bool, what: str) -> None:
    if not holds:
        raise ValueError(what)


def _check_neighbors(state: dict[str, Any]) -> None:
    """Check a KNeighborsRegressor: a brute search over rows as it describes them."""
    _require(
        isinstance(state.get("metric"), str) and state["metric"] in _METRICS,
        f"its metric must be one of {', '.join(sorted(_METRICS))}",
    )
    _require(
        state.get("metric_params") is None and not callable(state.get("weights")),
        "it must have no metric_params, and no function as weights",
    )
    if "_fit_X" not in state:
        return
    rows, target = state["_fit_X"], state.get("_y")
    _require(
        state.get("_fit_method") == "brute" and state.get("_tree") is None,
        "it keeps a search tree, which no file carries: fit it with algorithm='brute'",
    )
    # Compiled code reads these rows without checking their number or width.
    _require(
        isinstance(rows, np.ndarray)
        and isinstance(target, np.ndarray)
        and rows.ndim == 2
        and rows.dtype in (np.float32, np.float64)
        and rows.shape == (state.get("n_samples_fit_"), state.get("n_features_in_"))
        and len(target) == len(rows),
        "its training rows do not fit its targets, or what it says of them",
    )
    _require(
        state.get("effective_metric_") in _METRICS
        and isinstance(state.get("effective_metric_params_"), dict)
        and set(state["effective_metric_params_"]) <= {"p"},
        "its metric is not one that takes no parameters",
    )


def _check_pipeline(state: dict[str, Any]) -> None:
    _require(state.get("memory") is None, "a pipeline's memory must be None")
    steps = state.get("steps")
    _require(
        isinstance(steps, list)
        and all(isinstance(s, tuple) and len(s) == 2 for s in steps)
        and all(isinstance(name, str) for name, _ in steps),
        "a pipeline's steps must be pairs of a name and an estimator",
    )


def _check_vectorizer(state: dict[str, Any]) -> None:
    """Check a TfidfVectorizer: words by its own rule, numbered from 0."""
    _require(state.get("input") == "content", "it must read text: input='content'")
    _require(
        state.get("token_pattern") == _WORDS and state.get("analyzer") == "word",
        "it must have the default token_pattern and analyzer",
    )
    for name in ("preprocessor", "tokenizer", "vocabulary"):
        _require(state.get(name) is None, f"it must have no {name} of its own")
    _require(
        state.get("strip_accents") in (None, "ascii", "unicode"),
        "strip_accents must be None, 'ascii' or 'unicode'",
    )
    # A prompt becomes terms of every length in this range.
    terms = state.get("ngram_range", (1, 1))
    _require(
        isinstance(terms, tuple | list)
        and len(terms) == 2
        and all(_is_integer(size, 1, _LONGEST_TERM) for size in terms),
        f"ngram_range must be two numbers of words up to {_LONGEST_TERM}",
    )
    columns = state.get("vocabulary_")
    if columns is None:
        return
    # They become column indices of a sparse matrix, which does not check them.
    numbers: list[Any] = list(columns.values()) if isinstance(columns, dict) else [""]
    whole = all(type(number) in (int, np.int64, np.int32) for number in numbers)
    _require(
        whole and sorted(numbers) == list(range(len(numbers))),
        "its vocabulary must number its words from 0",
    )


def _check_finite(state: dict[str, Any]) -> None:
    # With NaN estimates, every query would get the first model.
    for name, value in state.items():
        numbers = isinstance(value, np.ndarray) and value.dtype.kind == "f"
        if numbers or isinstance(value, float):
            _require(bool(np.isfinite(value).all()), f"{name} must hold finite numbers")


def _check_views(state: dict[str, Any]) -> None:
    """Check QueryViews: finite numbers, and parts that add up to the centres."""
    scale = state.get("scale")
    # It is infinite where the queries do not differ, in a block of columns for example.
    if scale == float("inf"):
        scale = 1.0
    _check_finite({**state, "scale": scale})
    _require(isinstance(scale, float) and scale > 0, "its scale must be positive")
    # They are the widths of what is made for every query.
    sizes: Any = state.get("sizes")
    centres: Any = state.get("centres")
    _require(
        isinstance(sizes, tuple)
        and isinstance(centres, np.ndarray)
        and all(_is_integer(size, 0, len(centres)) for size in sizes)
        and sum(sizes) == len(centres),
        "its sizes must be those of the parts of its centres",
    )
    # Distances are divided by it.
    softness: Any = state.get("softness")
    _require(
        isinstance(softness, tuple)
        and 1 + len(softness) == len(sizes)
        and all(isinstance(soft, float) and soft > 0 for soft in softness),
        "its profiles must have a positive softness each",
    )


def _check_block_views(state: dict[str, Any]) -> None:
    """Check BlockViews: views of all columns, and of blocks of these widths."""
    widths: Any = state.get("widths")
    parts: Any = state.get("parts")
    _require(
        isinstance(widths, tuple)
        and len(widths) > 1
        and all(_is_integer(width, 1, _WIDEST) for width in widths)
        and isinstance(parts, tuple)
        and all(isinstance(part, find_class("QueryViews")) for part in parts)
        and [len(part.centre) for part in parts] == [sum(widths), *widths],
        "its parts must be views of all columns, and of blocks of its widths",
    )


def _check_cascade(state: dict[str, Any]) -> None:
    find_class("FittedCascade")(**state).check()


def _check_place(state: dict[str, Any]) -> None:
    """Check a place on the path of a cascade: a price and, perhaps, a model."""
    price, single = state.get("price"), state.get("single")
    _require(
        isinstance(price, float)
        and price >= 0
        and isinstance(state.get("escalates"), bool)
        and (single is None or _is_integer(single, 0, 2**31)),
        "it is no place on a path",
    )


def _check_cascade_decider(state: dict[str, Any]) -> None:
    """Check a CascadeDecider: what it learned is of its models, in an order of them."""
    if "_fitted" not in state:
        return
    fitted: Any = state["_fitted"]
    models: Any = state.get("models_")
    _require(
        isinstance(fitted, find_class("FittedCascade"))
        and isinstance(models, np.ndarray)
        and state.get("n_features_in_") == 2 * models.size,
        "it does not say what its models are",
    )
    n_models, order = fitted.check(), state.get("_order")
    _require(models.shape == (n_models,), "what it learned is not of its models")
    _require(
        isinstance(order, np.ndarray)
        and order.dtype.kind == "i"
        and sorted(order.tolist()) == list(range(n_models)),
        "it does not have its models in an order",
    )
    settled: Any = state.get("_settled")
    rule, place, target, guarantee = settled
    _require(
        isinstance(rule, find_class("Rule"))
        and isinstance(place, find_class("CascadePlace"))
        and (target is None or isinstance(target, float))
        and (guarantee is None or isinstance(guarantee, find_class("Guarantee")))
        and isinstance(state.get("_replayed"), dict),
        "it does not say what it was settled for",
    )
    _require(
        guarantee is None or (guarantee.baseline or 0) < n_models,
        "what it promises is not of its models",
    )
    _require(
        place.single is None or place.single < n_models,
        "its best single model is none of its models",
    )


def _check_guarantee(state: dict[str, Any]) -> None:
    """Check a Guarantee: numbers, and the place of a model."""
    _check_finite(state)
    baseline = state.get("baseline")
    _require(
        state.get("bound") in ("betting", "range")
        and (baseline is None or _is_integer(baseline, 0, 2**31)),
        "it does not say what is promised",
    )


def _check_extra_estimates(state: dict[str, Any]) -> None:
    """Check ExtraEstimates: finite numbers, and names; some calls are unknown."""
    _check_finite({k: v for k, v in state.items() if k != "taken"})
    names: Any = state.get("names")
    _require(
        isinstance(names, tuple) and all(isinstance(name, str) for name in names),
        "its extra costs must have names",
    )
    check_printable(names, "an extra cost of the router")


def _check_text_router(state: dict[str, Any]) -> None:
    """Check a TextRouter: a router, and the vectors that it reads."""
    if "router_" not in state:
        return
    _require(
        isinstance(state["router_"], tuple(map(find_class, _ROUTERS)))
        and isinstance(state.get("vectors_"), find_class("TextVectors")),
        "it holds no router, or nothing that makes its vectors",
    )


def _check_text_vectors(state: dict[str, Any]) -> None:
    """Check TextVectors: the width of each part, and a length to divide it by."""
    for name in ("numbers", "encoded"):
        size = state.get(name)
        if size is None:
            continue
        _require(
            isinstance(size, tuple)
            and len(size) == 2
            and _is_integer(size[0], 1, _WIDEST)
            and isinstance(size[1], float)
            and 0.0 < size[1] < float("inf"),
            f"its {name} must be a width and a length",
        )
    _require(
        _is_integer(state.get("prompt_column"), 0, _WIDEST),
        "it does not say which column holds the prompts",
    )


def _check_missing_encoder(state: dict[str, Any]) -> None:
    """Check a MissingEncoder: an error shows its name."""
    name = state.get("name")
    _require(isinstance(name, str), "the encoder must have a name")
    check_printable([name], "the encoder of the router")


_FINITE = (
    "AnswerBelief",
    "Canonical",
    "CostModel",
    "ExtraScales",
    "FittedRouter",
    "LearnedCheck",
    "LearnedCost",
    "LearnedGain",
    "LearnedQuality",
    "Moments",
    "Newcomer",
    "Outlook",
    "PromptFeatures",
    "QualityModel",
    "RidgeFit",
    "RunningMean",
    "StatedCheck",
    "Unit",
    "UsualChecks",
)
_CHECKS: dict[str, Callable[[dict[str, Any]], None]] = {
    **dict.fromkeys(_FINITE, _check_finite),
    "BlockViews": _check_block_views,
    "CascadeDecider": _check_cascade_decider,
    "CascadePlace": _check_place,
    "ExtraEstimates": _check_extra_estimates,
    "FittedCascade": _check_cascade,
    "Guarantee": _check_guarantee,
    "MissingEncoder": _check_missing_encoder,
    "QueryViews": _check_views,
    "TextRouter": _check_text_router,
    "TextVectors": _check_text_vectors,
    "sklearn.KNeighborsRegressor": _check_neighbors,
    "sklearn.Pipeline": _check_pipeline,
    "sklearn.TfidfVectorizer": _check_vectorizer,
}
