"""Synthetic routing tables with a known truth."""

from __future__ import annotations

import numpy as np
from scipy.special import expit
from sklearn.utils import Bunch, check_random_state

from skroute._table.names import make_default_names
from skroute._table.numbers import check_integer, check_number

# USD per query of the cheapest model, the order of magnitude of a 7B model's.
_CHEAPEST = 1e-4
# Spread of the logarithm of a query's length, about that of public prompt sets.
_LENGTH_SPREAD = 0.5
# Distance of a task's centre from the origin, in standard deviations of a trait.
_TASK_DISTANCE = 2.0
# Sum of a Beta outcome's two parameters; larger is closer to its mean.
_CONCENTRATION = 4.0

_DESCR = """\
Synthetic routing table
-----------------------
{n_queries} queries of {n_tasks} tasks, {n_models} models, {n_features} features.
Outcomes follow item response theory: the chance of a right answer is
sigmoid(discrimination of the model * (its skill at the task - the query's
difficulty)). `expected_quality` holds that chance.
"""


def make_routing(
    n_queries: int = 1000,
    n_features: int = 32,
    n_models: int = 5,
    *,
    n_tasks: int = 4,
    difficulty: float = 0.0,
    noise: float = 0.5,
    specialization: float = 1.0,
    graded: bool = False,
    missing: float = 0.0,
    cost_spread: float = 30.0,
    per_query_costs: bool = True,
    random_state: int | np.random.RandomState | None = None,
) -> Bunch:
    """Make a routing table whose truth is known.

    Outcomes follow the two-parameter model of item response theory [1]_. A query q has
    a task t and a difficulty b, a model m has a discrimination a and a skill s for each
    task; m answers q right with the chance ``sigmoid(a_m * (s_mt - b_q))``. Task,
    difficulty and length of a query show in its embedding, blurred by `noise`. More
    expensive models are more skilled on average; `specialization` decides how often a
    cheaper one is better nevertheless.

    Parameters
    ----------
    n_queries, n_features, n_models : int
        Numbers of rows, of features of an embedding, and of models, sorted by price.
    n_tasks : int, default=4
        Number of kinds of query, equally likely.
    difficulty : float, default=0.0
        Mean difficulty; 0 suits a model of middling skill, 1 is one standard deviation
        of difficulty harder.
    noise : float, default=0.5
        Standard deviation of the Gaussian noise on each feature, where a query's
        difficulty has standard deviation 1: 0 hides nothing, above 3 almost everything.
    specialization : float, default=1.0
        Standard deviation of a model's skill from task to task. With 0 skills only
        rise with the price.
    graded : bool, default=False
        Qualities in [0, 1], Beta distributed with the same mean, instead of 0 or 1.
    missing : float, default=0.0
        Share of outcomes set to ``NaN`` at random, in [0, 1).
    cost_spread : float, default=30.0
        Price of the most expensive model over that of the cheapest, at least 1; prices
        between are spaced evenly in their logarithm.
    per_query_costs : bool, default=True
        Costs per query, price times the query's length, instead of one price a model.
    random_state : int, RandomState instance or None, default=None
        Source of randomness; an int gives the same table each time.

    Returns
    -------
    Bunch
        With the attributes

        data : ndarray of shape (n_queries, n_features)
            Embeddings, float64.
        quality : ndarray of shape (n_queries, n_models)
            Outcomes, 0 or 1, or between if `graded`; ``NaN`` where missing.
        expected_quality : ndarray of shape (n_queries, n_models)
            The chance of a right answer, which is the mean of the outcome.
        costs : ndarray of shape (n_queries, n_models) or (n_models,)
            USD per call; known also where the outcome is missing.
        models : ndarray of shape (n_models,)
            Names of the models.
        task : ndarray of shape (n_queries,)
            Names of the queries' tasks.
        prompts : None
            There is no text.
        DESCR : str
            Description of the table.

    Raises
    ------
    ValueError
        If an argument is out of its range.

    References
    ----------
    .. [1] F. M. Lord, "Applications of Item Response Theory to Practical Testing
       Problems", Erlbaum, 1980.

    Examples
    --------
    >>> from skroute.datasets import make_routing
    >>> table = make_routing(200, n_models=3, random_state=0)
    >>> table.data.shape, table.quality.shape, table.costs.shape
    ((200, 32), (200, 3), (200, 3))
    >>> float(table.costs[0, 2] / table.costs[0, 0])
    30.0...
    """
    check_integer(n_queries, "n_queries", low=1)
    check_integer(n_features, "n_features", low=1)
    check_integer(n_models, "n_models", low=1)
    check_integer(n_tasks, "n_tasks", low=1)
    check_number(difficulty, "difficulty")
    check_number(noise, "noise", low=0.0)
    check_number(specialization, "specialization", low=0.0)
    check_number(cost_spread, "cost_spread", low=1.0)
    if check_number(missing, "missing", low=0.0) >= 1:
        raise ValueError(
            f"missing must be a share below 1; got {missing!r}, which would leave no "
            "outcome."
        )
    rng = check_random_state(random_state)

    # Draw everything in a fixed order, so that an option (graded, missing ...) leaves
    # the queries and the models as they were.
    task = rng.randint(n_tasks, size=n_queries)
    hardness = rng.normal(size=n_queries)
    log_length = rng.normal(size=n_queries)
    directions = rng.normal(size=(n_tasks + 2, n_features))
    blur = rng.normal(size=(n_queries, n_features))
    discrimination = np.exp(0.2 * rng.normal(size=n_models))
    special = rng.normal(size=(n_models, n_tasks))
    hidden = rng.uniform(size=(n_queries, n_models)) < missing

    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    data = _TASK_DISTANCE * directions[task] + noise * blur
    data += np.outer(hardness, directions[-2]) + np.outer(log_length, directions[-1])

    rank = np.linspace(-1.0, 1.0, n_models) if n_models > 1 else np.zeros(1)
    skill = rank[:, None] + specialization * special
    distance = skill[:, task].T - (hardness + difficulty)[:, None]
    # A steepness of 1.5 makes most queries clearly easy or hard for each model.
    expected = expit(1.5 * discrimination * distance)
    if graded:
        # A Beta distribution cannot have a mean of exactly 0 or 1.
        mean = np.clip(expected, 1e-6, 1 - 1e-6)
        quality = rng.beta(_CONCENTRATION * mean, _CONCENTRATION * (1 - mean))
    else:
        quality = (rng.uniform(size=expected.shape) < expected).astype(np.float64)
    quality[hidden] = np.nan

    prices = _CHEAPEST * cost_spread ** ((rank - rank[0]) / 2.0)
    length = np.exp(_LENGTH_SPREAD * log_length - _LENGTH_SPREAD**2 / 2)
    return Bunch(
        data=data,
        quality=quality,
        expected_quality=expected,
        costs=np.outer(length, prices) if per_query_costs else prices,
        models=make_default_names(n_models),
        task=np.array([f"task-{i}" for i in task], dtype=object),
        prompts=None,
        DESCR=_DESCR.format(
            n_queries=n_queries,
            n_tasks=n_tasks,
            n_models=n_models,
            n_features=n_features,
        ),
    )
