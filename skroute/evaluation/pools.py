"""Which few of many models are worth running: forward selection, judged elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from skroute._compute.threads import single_threaded
from skroute._decide.utility import measure_utility
from skroute._optional import require
from skroute._table.names import check_rows
from skroute._table.numbers import check_integer
from skroute.base import BaseRouter
from skroute.evaluation.defaults import default_routers
from skroute.evaluation.scores import find_standard_error
from skroute.evaluation.splits import (
    OutcomeTable,
    Split,
    are_embeddings,
    read_seeds,
)
from skroute.metrics import routing_curve

# Prices at which models are worth something, equally spaced in what is spent there.
_N_PRICES = 16
# Pools that are looked at, unless more are asked for.
_MOST_MODELS = 12


@dataclass(frozen=True)
class SmallerPool:
    """How much of what routing gains is kept by running fewer models.

    Attributes
    ----------
    models : ndarray of str of shape (n_sizes,)
        The models in the order in which they are worth adding, chosen on all queries:
        the best pool of k models that was found is ``models[:k]``.
    kept : ndarray of shape (n_splits, n_sizes)
        Share of the gain of all models over one that k models keep on queries on which
        they were not chosen; each split chooses its own. ``NaN`` where all models gain
        nothing.
    gain : ndarray of shape (n_splits, n_sizes)
        Gain of k models over one, in quality at an equal price: the mean over prices
        of quality less price times spend.
    gain_of_all : ndarray of shape (n_splits,)
        That of all models.
    times_chosen : ndarray of int of shape (n_sizes, n_sizes)
        In how many splits ``models[j]`` is among the first k, at ``[k - 1, j]``.
    """

    models: np.ndarray
    kept: np.ndarray
    gain: np.ndarray
    gain_of_all: np.ndarray
    times_chosen: np.ndarray

    def to_frame(self) -> Any:
        """Tabulate the pools, a row for each size.

        Returns
        -------
        DataFrame
            By the number of models: `added`, the model that comes in; `gain`; `kept`
            and its standard error over the splits, `kept_error`; and
            `times_chosen`, in how many splits the model is in a pool of this size.

        Raises
        ------
        ImportError
            If pandas is missing.
        """
        pd = require("pandas", "SmallerPool.to_frame")
        return pd.DataFrame(
            {
                "added": self.models,
                "gain": self.gain.mean(axis=0),
                "kept": self.kept.mean(axis=0),
                "kept_error": [find_standard_error(kept) for kept in self.kept.T],
                "times_chosen": self.times_chosen.diagonal(),
            },
            index=pd.RangeIndex(1, len(self.models) + 1, name="models"),
        )

    def __str__(self) -> str:
        """Write the pools, a line for each size."""
        width = max(map(len, self.models))
        lines = [f"{'models':>6}  {'added':<{width}}  kept of the gain"]
        for size, (model, kept) in enumerate(
            zip(self.models, self.kept.T, strict=True), 1
        ):
            error, mean = find_standard_error(kept), kept.mean()
            spread = "" if np.isnan(error) else f" ({error:.0%})"
            share = "not known" if np.isnan(mean) else f"{mean:>5.0%}{spread}"
            lines.append(f"{size:>6}  {model:<{width}}  {share}")
        return "\n".join(lines)


def smaller_pool(
    X: Any,
    y: Any,
    costs: Any,
    router: BaseRouter | None = None,
    *,
    max_models: int | None = None,
    models: Any = None,
    encoder: Callable[[Any], Any] | None = None,
    groups: Any = None,
    test_size: float = 0.3,
    seeds: int | Iterable[int] = 5,
    progress: Callable[[int, int], None] | None = None,
) -> SmallerPool:
    """Find which few of many models keep how much of what routing gains.

    Models are added one by one, each time the one that lets the router gain most, by
    cross-fitted estimates of the training queries; what the pools gain is measured on
    the test queries. Fewer models are less to run, to watch and to pay for, but a
    router with all of them is rarely worse: drop models for that, not for quality.

    Parameters
    ----------
    X : array-like of shape (n_queries, n_features)
        Embeddings, or what `encoder` or a :class:`~skroute.text.TextRouter` reads.
    y : array-like of shape (n_queries, n_models)
        Observed qualities; ``NaN`` where unknown.
    costs : array-like of shape (n_models,) or (n_queries, n_models)
        Observed costs.
    router : BaseRouter, default=None
        The router; ``None``: a :class:`~skroute.RankingRouter`.
    max_models : int, default=None
        Models of the largest pool; ``None``: 12, or all where there are fewer.
    models : array-like of str of shape (n_models,), default=None
        Names of the models, if `y` has none.
    encoder, groups, test_size, seeds : object
        As in :func:`compare_routers`.
    progress : callable, default=None
        Called with the number of fits that are done, and their total.

    Returns
    -------
    SmallerPool
        Pools by their number of models.

    Raises
    ------
    ValueError
        If an argument is not as described, or a part has no complete row.

    Examples
    --------
    >>> from sklearn.linear_model import Ridge
    >>> from skroute import PointwiseRouter
    >>> from skroute.datasets import make_routing
    >>> from skroute.evaluation import smaller_pool
    >>> data = make_routing(n_queries=300, n_models=4, random_state=0)
    >>> router = PointwiseRouter(Ridge(), random_state=0)
    >>> pool = smaller_pool(data.data, data.quality, data.costs, router, seeds=2)
    >>> pool.kept.shape, float(pool.kept[0, -1])
    ((2, 4), 1.0)
    """
    check_rows(X=X, y=y, groups=groups)
    encoded = are_embeddings(encoder, () if router is None else (router,))
    table = OutcomeTable.check(X, y, costs, models, groups, encoded)
    n_models = table.quality.shape[1]
    if max_models is None:
        max_models = min(_MOST_MODELS, n_models)
    size = min(check_integer(max_models, "max_models", low=1), n_models)
    seeds = read_seeds(seeds)
    if router is None:
        router = default_routers(random_state=seeds[0])["RankingRouter"]
    chosen, gains, of_all = [], [], []
    for done, seed in enumerate(seeds):
        if progress is not None:
            progress(done, len(seeds) + 1)
        split = Split.draw(table, seed, test_size, encoder)
        with single_threaded():
            fitted, estimates = split.fit_transform(router)
            held_out = fitted.transform(split.X_test)
        known = _Known.of(table, split.train, estimates)
        prices = known.find_prices()
        order = known.select(prices, size)
        test = _Known.of(table, split.test, held_out)
        one = test.rate([order[0]], prices)
        gains.append([test.rate(order[: k + 1], prices) - one for k in range(size)])
        of_all.append(test.rate(range(n_models), prices) - one)
        chosen.append(order)
    if progress is not None:
        progress(len(seeds), len(seeds) + 1)
    everything = Split(table, *_take_all(table, encoder))
    with single_threaded():
        _, estimates = everything.fit_transform(router)
    known = _Known.of(table, everything.train, estimates)
    order = known.select(known.find_prices(), size)
    gain, gain_of_all = np.array(gains), np.array(of_all)
    with np.errstate(divide="ignore", invalid="ignore"):
        kept = np.where(gain_of_all[:, None] > 0, gain / gain_of_all[:, None], np.nan)
    times = [
        [sum(model in some[:k] for some in chosen) for model in order]
        for k in range(1, size + 1)
    ]
    return SmallerPool(table.models[order], kept, gain, gain_of_all, np.array(times))


def _take_all(
    table: OutcomeTable, encoder: Callable[[Any], Any] | None
) -> tuple[np.ndarray, np.ndarray, Any, Any]:
    """Take all queries to train on, and none to test on."""
    rows = np.arange(len(table.quality))
    X = table.X if encoder is None else encoder(table.X)
    return rows, rows[:0], X, X[:0]


@dataclass(frozen=True)
class _Known:
    """Complete queries: what a router expects, and what came of it, (n, M) each."""

    quality: np.ndarray
    cost: np.ndarray
    y: np.ndarray
    spend: np.ndarray

    @classmethod
    def of(cls, table: OutcomeTable, rows: np.ndarray, estimates: Any) -> _Known:
        """Take the complete ones of some rows of a table."""
        complete = table.complete[rows]
        quality, cost = np.hsplit(np.asarray(estimates)[complete], 2)
        rows = rows[complete]
        return cls(quality, cost, table.quality[rows], table.spend[rows])

    def find_prices(self) -> np.ndarray:
        """Find prices at which all models together spend equally spaced amounts."""
        curve = routing_curve(self.y, self.spend, self.quality, self.cost)
        finite = np.isfinite(curve.price)  # at an infinite price only money counts
        if not finite.any():
            return np.zeros(1)  # one model for every query, at any price
        price, spent = curve.price[finite], np.maximum.accumulate(curve.cost[finite])
        at = np.linspace(spent[0], spent[-1], _N_PRICES)
        return price[np.searchsorted(spent, at).clip(0, len(spent) - 1)]

    def rate(self, models: Iterable[int], prices: np.ndarray) -> float:
        """Mean over prices of quality less price times spend, among some models."""
        allowed = np.zeros((1, self.y.shape[1]), dtype=bool)
        allowed[0, list(models)] = True
        tables = self.quality, self.cost, self.y, self.spend
        return float(measure_utility(*tables, prices, allowed).mean())

    def select(self, prices: np.ndarray, size: int) -> list[int]:
        """Select models one by one, each the one that gains most."""
        expected = self.quality - prices[:, None, None] * self.cost
        real = self.y - prices[:, None, None] * self.spend
        best = np.full(real.shape[:2], -np.inf)
        gained = np.zeros(real.shape[:2])
        order: list[int] = []
        for _ in range(size):
            # What each model adds where it would be chosen, (n_models,).
            takes = expected > best[:, :, None]
            added = np.where(takes, real - gained[:, :, None], 0.0).mean(axis=(0, 1))
            added[order] = -np.inf
            model = int(added.argmax())
            gained = np.where(takes[..., model], real[..., model], gained)
            best = np.maximum(best, expected[..., model])
            order.append(model)
        return order
